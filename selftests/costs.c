// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the module's calls cost, as tables in Markdown: beside getppid() and the
 * mmap and munmap of as much anonymous memory, and as the pool grows. One boot,
 * medians; in an emulated machine only the ratios say anything. No test: see
 * "make bench-module".
 *
 * vm: insmod=no timeout=600
 */
#include <lfpool.h>

#include "lfpool_test.h"

#define POOL		"serialization"
#define BATCH		28U
#define REPS		15U

static int error;	/* of a call that must not fail: the figures are worthless */

static void must(bool ok, const char *what)
{
	if (!ok && !error) {
		error = 1;
		printf("# %s: %s\n", what, strerror(errno));
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *ns)
{
	qsort(ns, REPS, sizeof(*ns), compare);
	return ns[REPS / 2];
}

/*
 * Nanoseconds of one call out of @n: the median of REPS rounds. @undo, if any,
 * takes back what the @n calls did, and is not timed.
 */
static double cost(void (*call)(unsigned int), void (*undo)(unsigned int), unsigned int n)
{
	double ns[REPS];
	unsigned int r, k;
	uint64_t begin;

	for (r = 0; r < REPS; r++) {
		begin = now_ns();
		for (k = 0; k < n; k++)
			call(k);
		ns[r] = (double)(now_ns() - begin) / n;
		for (k = 0; undo && k < n; k++)
			undo(k);
	}
	return median(ns);
}

/* What is measured; the client is the one that all of them use. */
static struct client client;
static uint32_t items[65536];
static int slot_nr[64];
static struct lfpool *pool;
static size_t bytes;	/* of anonymous memory */

static void call_getppid(unsigned int k)
{
	(void)k;
	getppid();
}

static void call_anonymous(unsigned int k)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	(void)k;
	must(p != MAP_FAILED && !munmap(p, bytes), "anonymous memory");
}

static void call_refill(unsigned int k)
{
	must(do_refill(client.fd, 0, items + k * BATCH, BATCH) == (int)BATCH, "REFILL");
}

static void call_release(unsigned int k)
{
	must(do_release(client.fd, 0, items + k * BATCH, BATCH) == (int)BATCH, "RELEASE");
}

static void call_attach(unsigned int k)
{
	slot_nr[k] = do_attach(client.fd);
	must(slot_nr[k] >= 0, "ATTACH");
}

static void call_detach(unsigned int k)
{
	must(!do_detach(client.fd, slot_nr[k]), "DETACH");
}

static void call_stats(unsigned int k)
{
	struct lfpool_stats stats;

	(void)k;
	must(!do_stats(client.fd, &stats), "STATS");
}

static void call_audit(unsigned int k)
{
	struct lfpool_audit audit;

	(void)k;
	must(!do_audit(client.fd, &audit), "AUDIT");
}

static void call_get_put(unsigned int k)
{
	(void)k;
	must(!lfpool_put(pool, lfpool_get(pool)), "get and put");
}

/* The library's flags; the whole mapping is there when it returns. */
static void call_map(unsigned int k)
{
	struct client c = { .fd = node_open(POOL, O_RDWR) };

	(void)k;
	must(c.fd >= 0 && !do_info(c.fd, &c.info), "open");
	c.map = mmap(NULL, c.info.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		     c.fd, 0);
	must(c.map != MAP_FAILED, "mmap");
	must(!munmap(c.map, c.info.mmap_size) && !close(c.fd), "munmap");
}

/*
 * From the last munmap of a client that holds all buffers until they are all
 * back, found out by STATS.
 */
static double recovery(unsigned int buffers)
{
	double ns[REPS];
	unsigned int r, n;
	struct client c;
	uint64_t begin;
	int got;

	for (r = 0; r < REPS; r++) {
		must(!client_open(&c, POOL), "open");
		for (n = 0; n < buffers; n += got) {
			got = buffers - n < LFPOOL_XFER_MAX ? buffers - n : LFPOOL_XFER_MAX;
			got = do_refill(c.fd, 0, items, got);
			must(got > 0, "REFILL");
			if (got <= 0)
				return 0;
		}
		begin = now_ns();
		client_close(&c);
		while (stats_of(POOL).reserve < buffers)
			;
		ns[r] = now_ns() - begin;
	}
	return median(ns);
}

static void start(unsigned int buffers, unsigned int size)
{
	char args[160];

	snprintf(args, sizeof(args), "buffer_count=%u max_count=%u serialization_size=%u "
		 "compression_size=64 simd_elements=1", buffers, buffers, size);
	must(!module_fresh(args), args);
	must(!client_open(&client, POOL), "open");
}

static void end(void)
{
	client_close(&client);
	must(!module_unload(), "rmmod");
}

static double syscall_ns;

static void row(const char *what, double ns, double beside, const char *what_beside)
{
	printf("# | %s | %.1f |", what, ns / syscall_ns);
	if (beside)
		printf(" %.2f x %s |\n", ns / beside, what_beside);
	else
		printf(" |\n");
	fflush(stdout);
}

static void each_call(void)
{
	unsigned int k;
	double ns;

	printf("# | call | in calls of getppid() | beside |\n# | --- | ---: | --- |\n");
	start(256, 131072);
	bytes = 131072;
	ns = cost(call_anonymous, NULL, 100);
	row("mmap and munmap of 128 KiB of anonymous memory", ns, 0, NULL);
	row("REFILL of 28", cost(call_refill, call_release, 8), ns, "that");
	for (k = 0; k < 8; k++)
		call_refill(k);
	row("RELEASE of 28", cost(call_release, call_refill, 8), ns, "that");
	for (k = 0; k < 8; k++)
		call_release(k);
	row("ATTACH", cost(call_attach, call_detach, 16), ns, "that");
	row("STATS", cost(call_stats, NULL, 100), ns, "that");
	row("AUDIT", cost(call_audit, NULL, 20), ns, "that");
	bytes = 32U << 20;
	ns = cost(call_anonymous, NULL, 1);
	row("mmap and munmap of 32 MiB of anonymous memory", ns, 0, NULL);
	row("open, mmap, populate, munmap and close of 256 x 128 KiB", cost(call_map, NULL, 1), ns,
	    "that");
	row("recovery of a client that held 256 x 128 KiB", recovery(256), ns, "that");
	end();
}

/* A row for each, and how much more than in the first one. */
static void grows(bool is_first, unsigned int n, bool threads)
{
	unsigned int buffers = threads ? 4096 : n, k;
	static double first[5];
	double ns[5];

	start(buffers, 64);
	pool = lfpool_open(POOL, 0);
	must(pool, "lfpool_open");
	for (k = 0; threads && k < n; k++)
		call_attach(k);
	ns[0] = cost(call_get_put, NULL, 100000);
	lfpool_close(pool);
	ns[1] = cost(call_refill, call_release, 8);
	ns[2] = cost(call_stats, NULL, 100);
	ns[3] = cost(call_audit, NULL, 3);
	ns[4] = recovery(buffers);
	printf("# | %u |", n);
	for (k = 0; k < 5; k++) {
		if (is_first)
			first[k] = ns[k];
		printf(" %.2f (%.1f x) |", ns[k] / syscall_ns, ns[k] / first[k]);
	}
	printf("\n");
	fflush(stdout);
	end();
}

static void growing(const char *what, const unsigned int *n, unsigned int count, bool threads)
{
	unsigned int k;

	printf("#\n# | %s | get and put | REFILL of 28 | STATS | AUDIT | recovery |\n", what);
	printf("# | ---: | ---: | ---: | ---: | ---: | ---: |\n");
	for (k = 0; k < count; k++)
		grows(!k, n[k], threads);
}

int main(void)
{
	static const unsigned int capacity[] = { 256, 1024, 4096, 16384, 65536 };
	static const unsigned int threads[] = { 1, 4, 16, 64 };

	if (geteuid() || access(module_path(), R_OK))
		ksft_exit_skip("needs root and the module\n");
	ksft_print_header();
	ksft_set_plan(1);
	syscall_ns = cost(call_getppid, NULL, 20000);
	printf("# getppid(): %.0f ns\n#\n", syscall_ns);
	each_call();
	growing("buffers", capacity, ARRAY_SIZE(capacity), false);
	growing("threads, 4096 buffers", threads, ARRAY_SIZE(threads), true);
	ksft_test_result(!error, "every call succeeded\n");
	ksft_finished();
}
