// SPDX-License-Identifier: MIT
/*
 * lfpool bench: what a get and put costs here, beside malloc and free.
 *
 * Each thread measures its ways in turn, a slice of about a millisecond each,
 * so that whatever else the machine does meets all of them alike; the median
 * of the slices counts. A get of a simd buffer clears it, so it is compared
 * with calloc.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define SLICE_NS	1000000
#define THREADS_MAX	256
#define BURST_MAX	1024
#define SAMPLES_MAX	100000

enum way { INLINE, CALL, HEAP, WAYS };

static const char *const way_names[] = { "inline", "call", "malloc" };

struct bench {
	const char *name;
	struct lfpool *pool;
	struct lfpool_info info;
	unsigned int threads;
	unsigned int burst;
	double seconds;
	pthread_barrier_t start;
};

struct worker {
	struct bench *bench;
	pthread_t thread;
	bool shows_progress;
	int err;		/* why it stopped early */
	unsigned int samples;
	double *sample[WAYS];	/* nanoseconds of a get and put */
};

static void use(void *buffer)
{
	*(volatile char *)buffer = 1;
}

/* @rounds bursts; nanoseconds, or 0 if a buffer could not be had */
static uint64_t run_way(struct bench *b, struct lfpool_thread *t, enum way way, void **buffers,
			uint64_t rounds)
{
	bool clear = b->info.pool_flags & LFPOOL_POOL_ZERO;
	size_t size = b->info.buffer_size;
	unsigned int n = b->burst, i;
	uint64_t begin, r;
	bool exhausted;

	begin = now_ns();
	for (r = 0; r < rounds; r++) {
		for (i = 0; i < n; i++) {
			void *p = way == INLINE ? lfpool_thread_get(t) :
				  way == CALL ? lfpool_get(b->pool) :
				  clear ? calloc(1, size) : malloc(size);

			if (!p)
				break;
			use(p);
			buffers[i] = p;
		}
		exhausted = i < n;
		while (i--) {
			if (way == INLINE)
				lfpool_thread_put(t, buffers[i]);
			else if (way == CALL)
				lfpool_put(b->pool, buffers[i]);
			else
				free(buffers[i]);
		}
		if (exhausted)
			return 0;
	}
	return now_ns() - begin + 1;
}

/* how many bursts make a slice, found by doubling; also warms up */
static uint64_t calibrate(struct bench *b, struct lfpool_thread *t, enum way way, void **buffers)
{
	uint64_t rounds = 1, ns;

	for (;;) {
		ns = run_way(b, t, way, buffers, rounds);
		if (!ns || ns >= SLICE_NS / 2 || rounds > 1 << 24)
			break;
		rounds *= 2;
	}
	return ns ? rounds : 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct bench *b = w->bench;
	struct lfpool_thread *t = lfpool_attach(b->pool);
	uint64_t rounds[WAYS] = { 0 }, begin, passed, ns;
	void *buffers[BURST_MAX];
	enum way way;

	if (!t)
		w->err = errno;
	for (way = 0; way < WAYS && !w->err; way++) {
		errno = 0;
		rounds[way] = calibrate(b, t, way, buffers);
		if (!rounds[way])
			w->err = errno ? errno : ENOBUFS;
	}
	pthread_barrier_wait(&b->start);
	begin = now_ns();
	while (!w->err && w->samples < SAMPLES_MAX) {
		passed = now_ns() - begin;
		if (w->shows_progress)
			progress(b->name, passed / 1e9 / b->seconds);
		if (passed >= b->seconds * 1e9 && w->samples)
			break;
		for (way = 0; way < WAYS; way++) {
			errno = 0;
			ns = run_way(b, t, way, buffers, rounds[way]);
			if (!ns) {
				w->err = errno ? errno : ENOBUFS;
				break;
			}
			w->sample[way][w->samples] = (double)ns / rounds[way] / b->burst;
		}
		w->samples += !w->err;
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct result {
	double ns[WAYS];
	uint64_t samples;
};

/* the median of what all threads measured */
static void summarize(struct worker *workers, unsigned int n, struct result *result)
{
	double *all;
	unsigned int i;
	enum way way;
	size_t k;

	result->samples = 0;
	for (i = 0; i < n; i++)
		result->samples += workers[i].samples;
	all = xrealloc(NULL, result->samples, sizeof(*all));
	for (way = 0; way < WAYS; way++) {
		for (i = 0, k = 0; i < n; k += workers[i++].samples)
			memcpy(all + k, workers[i].sample[way],
			       workers[i].samples * sizeof(*all));
		if (k)
			qsort(all, k, sizeof(*all), compare);
		result->ns[way] = k ? all[k / 2] : 0;
	}
	free(all);
}

/* 0 or a negative errno; 1 and a message if it cannot be measured */
static int measure(struct bench *b, struct result *result)
{
	struct worker *workers = xrealloc(NULL, b->threads, sizeof(*workers));
	struct lfpool_counts counts;
	unsigned int i, started;
	enum way way;
	int err;

	err = lfpool_info(b->pool, &b->info);
	if (!err)
		err = lfpool_counts(b->pool, &counts);
	if (!err && (uint64_t)b->threads * b->burst > counts.available) {
		say("%s: %u threads with %u buffers each are more than the %" PRIu64 " that are "
		    "free", b->name, b->threads, b->burst, counts.available);
		err = 1;
	}
	if (err) {
		free(workers);
		return err;
	}
	memset(workers, 0, b->threads * sizeof(*workers));
	pthread_barrier_init(&b->start, NULL, b->threads);
	for (i = 0; i < b->threads; i++) {
		workers[i].bench = b;
		workers[i].shows_progress = i == 0;
		for (way = 0; way < WAYS; way++)
			workers[i].sample[way] = xrealloc(NULL, SAMPLES_MAX, sizeof(double));
	}
	for (started = 0; started + 1 < b->threads && !err; started++)
		err = pthread_create(&workers[started + 1].thread, NULL, work,
				     &workers[started + 1]);
	if (err) {
		/* the others wait at the barrier for ever */
		say("cannot start %u threads: %s", b->threads, strerror(err));
		exit(TOOL_WRONG);
	}
	work(&workers[0]);
	for (i = 1; i < b->threads; i++)
		pthread_join(workers[i].thread, NULL);
	progress_end();
	for (i = 0; i < b->threads && !err; i++)
		err = -workers[i].err;
	if (err == -ENOBUFS) {
		say("%s: other programs took the buffers meanwhile", b->name);
		err = 1;
	}
	if (!err)
		summarize(workers, b->threads, result);
	pthread_barrier_destroy(&b->start);
	for (i = 0; i < b->threads; i++) {
		for (way = 0; way < WAYS; way++)
			free(workers[i].sample[way]);
	}
	free(workers);
	return err;
}

static void row(struct table *t, const struct bench *b, const struct result *r)
{
	char size[16];
	enum way way;

	table_cell(t, PLAIN, "%s", b->name);
	table_cell(t, PLAIN, "%s", human_size(b->info.buffer_size, size, sizeof(size)));
	for (way = 0; way < WAYS; way++)
		table_cell(t, PLAIN, "%.1f ns", r->ns[way]);
	table_cell(t, BOLD, "%.1fx", r->ns[HEAP] / r->ns[INLINE]);
}

static struct json_object *bench_json(const struct bench *b, const struct result *r)
{
	struct json_object *o = json_dict(), *ns = json_dict();
	enum way way;

	json_object_object_add(o, "pool", json_object_new_string(b->name));
	json_add(o, "buffer_size", b->info.buffer_size);
	json_add(o, "samples", r->samples);
	for (way = 0; way < WAYS; way++)
		json_object_object_add(ns, way_names[way], json_fraction(r->ns[way], 2));
	json_object_object_add(o, "ns", ns);
	json_object_object_add(o, "malloc_to_inline",
			       json_fraction(r->ns[HEAP] / r->ns[INLINE], 2));
	json_object_object_add(o, "malloc_to_call", json_fraction(r->ns[HEAP] / r->ns[CALL], 2));
	return o;
}

/* The pools of its own: named like the three that every module has. */
static int select_embedded(char **names, unsigned int n, struct pools *pools)
{
	unsigned int i, k;

	pools->at = xrealloc(NULL, n ? n : KINDS, sizeof(*pools->at));
	for (i = 0; i < (n ? n : KINDS); i++) {
		for (k = 0; n && k < KINDS && strcmp(names[i], kinds[k].name); k++)
			;
		if (n && pools_have(pools, names[i]))
			continue;
		if (k == KINDS) {
			say("there is no embedded pool '%s'; there are: serialization, "
			    "compression, simd", names[i]);
			return TOOL_NO_POOL;
		}
		strcpy(pools->at[pools->n++].name, kinds[n ? k : i].name);
	}
	return TOOL_OK;
}

static struct lfpool *open_embedded(const char *name)
{
	unsigned int k;

	for (k = 0; k + 1 < KINDS && strcmp(kinds[k].name, name); k++)
		;
	return lfpool_create(&kinds[k]);
}

/* Exit status. */
static int bench_pool(struct bench *b, bool embedded, struct result *result)
{
	int err;

	b->pool = embedded ? open_embedded(b->name) : lfpool_open(b->name, 0);
	if (!b->pool)
		return pool_refused(b->name, -errno);
	err = measure(b, result);
	lfpool_close(b->pool);
	return err > 0 ? TOOL_WRONG : err ? pool_refused(b->name, err) : TOOL_OK;
}

static int run(int argc, char **argv)
{
	static const char *const heads[] = {
		"-POOL", "SIZE", "INLINE", "CALL", "MALLOC", "MALLOC:INLINE",
	};
	static const struct option options[] = {
		{ "threads", required_argument, NULL, 't' },
		{ "burst", required_argument, NULL, 'b' },
		{ "seconds", required_argument, NULL, 's' },
		{ "embedded", no_argument, NULL, 'e' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	struct table table = { .heads = heads, .columns = ARRAY_SIZE(heads) };
	struct bench b = { .threads = 1, .burst = 1, .seconds = 1 };
	bool json = false, embedded = false;
	struct json_object *report, *array;
	struct pools pools = { 0 };
	unsigned int i;
	uint64_t number;
	int status, c;

	while ((c = getopt_long(argc, argv, "t:b:s:ejh", options, NULL)) != -1) {
		switch (c) {
		case 't':
			if (!parse_count(optarg, THREADS_MAX, &number))
				return usage(&cmd_bench, "'%s' is no number of threads: 1 to %d",
					     optarg, THREADS_MAX);
			b.threads = number;
			break;
		case 'b':
			if (!parse_count(optarg, BURST_MAX, &number))
				return usage(&cmd_bench, "'%s' is no burst: 1 to %d buffers",
					     optarg, BURST_MAX);
			b.burst = number;
			break;
		case 's':
			if (!parse_seconds(optarg, &b.seconds))
				return usage(&cmd_bench, "'%s' is no time: seconds, 0.01 to 86400",
					     optarg);
			break;
		case 'e':
			embedded = true;
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			return show_help(&cmd_bench);
		default:
			return bad_option(&cmd_bench);
		}
	}
	status = embedded ? select_embedded(argv + optind, argc - optind, &pools) :
			    pools_select(argv + optind, argc - optind, &pools);
	/* before the first of them takes its time */
	for (i = 0; i < pools.n && !status && !embedded; i++) {
		int err = pool_writable(pools.at[i].name);

		if (err)
			status = pool_refused(pools.at[i].name, err);
	}
	report = json_report("bench");
	array = json_array();
	for (i = 0; i < pools.n && !status; i++) {
		struct result result = { .samples = 0 };

		b.name = pools.at[i].name;
		status = bench_pool(&b, embedded, &result);
		if (status)
			break;
		if (json)
			json_object_array_add(array, bench_json(&b, &result));
		else
			row(&table, &b, &result);
	}
	json_add(report, "threads", b.threads);
	json_add(report, "burst", b.burst);
	json_object_object_add(report, "pools", array);
	/* what was measured before another pool failed is shown, too */
	if (json && i) {
		json_print(report, false);
	} else {
		json_object_put(report);
		if (table.cells) {
			printf("One get and put, %u thread%s, %u buffer%s at a time:\n\n",
			       b.threads, b.threads == 1 ? "" : "s", b.burst,
			       b.burst == 1 ? "" : "s");
			table_print(&table, stdout);
		}
	}
	free(pools.at);
	return status;
}

const struct command cmd_bench = {
	.name = "bench",
	.args = "[-t THREADS] [-b BUFFERS] [-s SECONDS] [--embedded] [--json]\n"
		"                    [POOL...]",
	.summary = "what a get and put costs here, beside malloc and free",
	.help = "Measure a get and put of one buffer, by the inline functions and by the\n"
		"library's calls, and malloc and free of the same size (calloc for a pool whose\n"
		"buffers come cleared), in turns in the same run. The buffers are real: what\n"
		"bench does shows in the pool's statistics.\n"
		"\n"
		"  -t, --threads=THREADS  number of threads (1)\n"
		"  -b, --burst=BUFFERS    number of buffers to get before they are put (1)\n"
		"  -s, --seconds=SECONDS  time for each pool (1)\n"
		"  -e, --embedded         measure pools of its own, which need no module\n"
		"  -j, --json             print JSON\n"
		"  -h, --help             this text\n",
	.run = run,
};
