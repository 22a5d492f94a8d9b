// SPDX-License-Identifier: GPL-2.0-only
/*
 * An empty pool: it grows, takes back what idles, lets one wait, gives from the
 * heap, or says no; and whatever it does, it says so exactly.
 *
 * Every test ends with all buffers free, each in one place, as many as there
 * are, and with a kernel that killed nobody for want of memory.
 *
 * vm: smp=2 mem=512M timeout=900 insmod=no
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <lfpool.h>

#include "lfpool_test.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/uio.h>

#define POOL		"serialization"
#define MAX		256U	/* most buffers of a pool, but where memory is the limit */

/* seconds until what somebody else does is done, on a machine with other work */
#define DEADLINE	30
/* seconds a test may take */
#define TIMEOUT		150

#define MS		1000000LL
#define SECOND		1000000000LL

/* The pool of the test's process; children join it as clients of their own. */
static struct lfpool *pool;
static struct owners *owners;

/*
 * A pool as a test wants it; the module's other two are as small as can be.
 */
struct shape {
	unsigned int buffers, max, size, batch, threads, flags;
};

/* for tests to which it does not matter */
static const struct shape four = { .buffers = 4, .max = 4, .size = 4096 };

static struct lfpool *make_pool(const struct shape *s)
{
	struct lfpool_config config = {
		.name = POOL,
		.buffer_size = s->size,
		.buffer_count = s->buffers,
		.max_count = s->max,
		.max_threads = s->threads,
		.batch = s->batch,
		.flags = s->flags,
	};
	char args[256];
	int err;

	if (embedded())
		return lfpool_create(&config);
	snprintf(args, sizeof(args), "buffer_count=%u max_count=%u batch=%u max_threads=%u "
		 "serialization_size=%u compression_size=64 simd_elements=1",
		 s->buffers, s->max, s->batch ?: 28, s->threads ?: 256, s->size);
	err = module_fresh(args);
	if (err) {
		errno = -err;
		return NULL;
	}
	return lfpool_open(POOL, s->flags);
}

/* The same pool in a child. */
static struct lfpool *join_pool(unsigned int flags)
{
	return embedded() ? pool : lfpool_open(POOL, flags);
}

static void start_pool(struct __test_metadata *_metadata, struct shape s)
{
	owners = owners_new(s.max);
	ASSERT_NE(NULL, owners);
	pool = make_pool(&s);
	ASSERT_NE(NULL, pool) {
		TH_LOG("%s", strerror(errno));
	}
}

/* The module alone: the test works with clients in the raw. */
static void start_module(struct __test_metadata *_metadata, struct shape s)
{
	start_pool(_metadata, s);
	lfpool_close(pool);
	pool = NULL;
	ASSERT_TRUE(wait_until(stats_of(POOL).clients == 0, DEADLINE));
}

/* a number out of a file of lines "name[:] number"; -1 if it is not there */
static long long number_in(const char *path, const char *name)
{
	long long value = -1, n;
	char line[256];
	FILE *file = fopen(path, "re");
	size_t len = strlen(name);

	while (file && value < 0 && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, len) && strchr(": \t", line[len]) &&
		    sscanf(line + len + strspn(line + len, ": \t"), "%lld", &n) == 1)
			value = n;
	}
	if (file)
		fclose(file);
	return value;
}

static struct lfpool_stats stats(void)
{
	struct lfpool_stats s;

	if (!pool)
		return stats_of(POOL);
	if (lfpool_stats(pool, &s))
		memset(&s, 0xff, sizeof(s));
	return s;
}

/* Nobody has a buffer, none is missing, and there are so many. */
static void expect_all_free(struct __test_metadata *_metadata, uint64_t capacity)
{
	struct lfpool_audit a;

	if (pool) {
		expect_quiet(_metadata, pool, capacity);
		return;
	}
	a = audit_of(POOL);
	EXPECT_EQ(capacity, a.capacity);
	EXPECT_EQ(capacity, stats_of(POOL).capacity);
	EXPECT_EQ(capacity, a.reserve);
	EXPECT_EQ(0, a.lost + a.duplicate + a.damaged);
}

FIXTURE(exhaustion) {
	long long oom_kills;
};

FIXTURE_SETUP(exhaustion)
{
	self->oom_kills = number_in("/proc/vmstat", "oom_kill");
}

FIXTURE_TEARDOWN(exhaustion)
{
	uint64_t clients = pool ? 1 : 0;

	EXPECT_TRUE(wait_until(stats().clients == clients, DEADLINE));
	expect_all_free(_metadata, stats().capacity);
	lfpool_close(pool);
	EXPECT_EQ(0, owners->faults);
	if (embedded())
		return;
	EXPECT_EQ(0, module_unload());
	EXPECT_EQ(self->oom_kills, number_in("/proc/vmstat", "oom_kill"));
}

/* For what only the module does. */
#define MODULE_ONLY() do {						\
	if (embedded()) {						\
		owners = owners_new(1);					\
		pool = make_pool(&four);				\
		SKIP(return, "the module's alone");			\
	}								\
} while (0)

/*
 * Buffers and who has them
 */

/* Get one and make it @name's; NULL and errno. */
static void *take(struct lfpool *p, uint32_t name)
{
	void *buffer = lfpool_get(p);

	if (buffer)
		owners_move(owners, buffer_index(p, buffer), 0, name);
	return buffer;
}

static int give(struct lfpool *p, void *buffer, uint32_t name)
{
	owners_move(owners, buffer_index(p, buffer), name, 0);
	return lfpool_put(p, buffer);
}

/* Up to @n; how many it got. */
static unsigned int take_all(struct lfpool *p, void **buffers, unsigned int n, uint32_t name)
{
	unsigned int k;

	for (k = 0; k < n; k++) {
		buffers[k] = take(p, name);
		if (!buffers[k])
			break;
	}
	return k;
}

static void give_all(struct __test_metadata *_metadata, void **buffers, unsigned int n,
		     uint32_t name)
{
	while (n--)
		EXPECT_EQ(0, give(pool, buffers[n], name));
}

/* How many clients and threads the puts believe to be waiting. */
static uint32_t waiters_of(struct lfpool *p)
{
	struct lfpool_thread *t = lfpool_attach(p);

	return t ? LFPOOL_READ(*t->waiters) : UINT32_MAX;
}

static bool all_are(const void *buffer, size_t size, unsigned char value)
{
	const unsigned char *p = buffer;

	return p[0] == value && !memcmp(p, p + 1, size - 1);
}

static void expect_enobufs(struct __test_metadata *_metadata, struct lfpool *p)
{
	errno = 0;
	EXPECT_EQ(NULL, lfpool_get(p));
	EXPECT_EQ(ENOBUFS, errno);
}

/* Clients in the raw */

static int refill(const struct client *c, uint32_t *items, uint32_t count, uint32_t *grown)
{
	struct lfpool_xfer xfer = {
		.size = sizeof(xfer), .count = count, .items = (uintptr_t)items,
	};
	int err = do_ioctl(c->fd, LFPOOL_IOC_REFILL, &xfer);

	*grown = xfer.grown;
	return err ? err : (int)xfer.count;
}

/* All that it can get, up to @n. */
static unsigned int refill_all(const struct client *c, uint32_t *items, unsigned int n)
{
	unsigned int k = 0;
	uint32_t grown;
	int got;

	while (k < n) {
		got = refill(c, items + k, n - k < LFPOOL_XFER_MAX ? n - k : LFPOOL_XFER_MAX,
			     &grown);
		if (got <= 0)
			break;
		k += got;
	}
	return k;
}

/* How many it could not give back. */
static unsigned int release_all(const struct client *c, const uint32_t *items, unsigned int n)
{
	while (n) {
		unsigned int some = n < LFPOOL_XFER_MAX ? n : LFPOOL_XFER_MAX;

		if (do_release(c->fd, 0, items + n - some, some) != (int)some)
			break;
		n -= some;
	}
	return n;
}

static bool all_in_reserve(struct __test_metadata *_metadata, const struct client *c)
{
	static uint32_t items[1024];
	struct lfpool_stats s = stats_of(POOL);
	unsigned int n;

	if (s.reserve == s.capacity)
		return true;
	n = refill_all(c, items, s.available);
	EXPECT_EQ(0, release_all(c, items, n));
	return false;
}

/*
 * All of the pool into the reserve: what nobody holds, nor sits in the depot,
 * where it outlives those who put it there. From there the kernel may take it back at
 * any time, if it needs memory.
 */
static void into_reserve(struct __test_metadata *_metadata)
{
	struct client c;

	ASSERT_EQ(0, client_open(&c, POOL));
	EXPECT_TRUE(wait_until(all_in_reserve(_metadata, &c), DEADLINE));
	client_close(&c);
}

static sigjmp_buf bus;

static void on_sigbus(int signal)
{
	siglongjmp(bus, 1);
}

/* The byte at an address, or -1 if that is SIGBUS. */
static int probe(const volatile unsigned char *p)
{
	volatile int byte = -1;

	signal(SIGBUS, on_sigbus);
	if (!sigsetjmp(bus, 1))
		byte = *p;
	return byte;
}

/*
 * 1. Growth
 */

FIXTURE(growth) {
	uint64_t unused;
};

FIXTURE_VARIANT(growth) {
	unsigned int size, buffers, max;
};

/* many to a page, one to a page, many pages, the largest there are */
FIXTURE_VARIANT_ADD(growth, of_64_bytes) { .size = 64, .buffers = 40, .max = 200 };
FIXTURE_VARIANT_ADD(growth, of_2048_bytes) { .size = 2048, .buffers = 33, .max = 160 };
FIXTURE_VARIANT_ADD(growth, of_a_page) { .size = 4096, .buffers = 64, .max = 160 };
FIXTURE_VARIANT_ADD(growth, of_128_kib) { .size = 131072, .buffers = 16, .max = 64 };
FIXTURE_VARIANT_ADD(growth, of_4_mib) { .size = 4194304, .buffers = 2, .max = 8 };

FIXTURE_SETUP(growth)
{
	start_pool(_metadata, (struct shape){
		.buffers = variant->buffers, .max = variant->max, .size = variant->size,
	});
}

FIXTURE_TEARDOWN(growth)
{
	EXPECT_EQ(0, owners->faults);
	expect_quiet(_metadata, pool, variant->max);
	lfpool_close(pool);
	if (!embedded())
		EXPECT_EQ(0, module_unload());
}

TEST_F_TIMEOUT(growth, goes_to_max_count_and_no_further, TIMEOUT)
{
	const unsigned int grown = variant->max - variant->buffers, failed = 3;
	uint64_t asked = variant->max + failed;
	struct lfpool_stats s;
	void *held[MAX];
	unsigned int n;

	for (n = 0; n < variant->max; n++) {
		held[n] = take(pool, 1);
		ASSERT_NE(NULL, held[n]) {
			TH_LOG("buffer %u: %s", n, strerror(errno));
		}
		if (n >= variant->buffers)
			ASSERT_TRUE(all_are(held[n], variant->size, 0));
		memset(held[n], 0xff, variant->size);
		ASSERT_EQ(n < variant->buffers ? variant->buffers : n + 1, stats().capacity);
	}
	for (n = 0; n < failed; n++)
		expect_enobufs(_metadata, pool);

	s = stats();
	EXPECT_EQ(variant->buffers, s.pool_hits);
	EXPECT_EQ(grown + failed, s.pool_misses);
	EXPECT_EQ(grown, s.allocations);
	EXPECT_EQ(grown, s.grown);
	EXPECT_EQ(variant->max, s.capacity);
	EXPECT_EQ(variant->max, s.in_use);
	EXPECT_EQ(variant->max, s.peak_granted);
	EXPECT_EQ(0, s.available);
	EXPECT_EQ(variant->buffers * 1000000ULL / asked, s.hit_rate_ppm);
	if (!embedded()) {
		double rate = (double)variant->buffers / asked;

		EXPECT_LT(rate - 0.000002, sysfs_double(POOL, "hit_rate"));
		EXPECT_GT(rate + 0.000002, sysfs_double(POOL, "hit_rate"));
		EXPECT_EQ(grown, sysfs_u64(POOL, "grown"));
		EXPECT_EQ(variant->max, sysfs_u64(POOL, "capacity"));
	}

	/* it is a pool of that many now: no growth, and no more misses */
	give_all(_metadata, held, variant->max, 1);
	EXPECT_EQ(variant->max, take_all(pool, held, variant->max, 2));
	give_all(_metadata, held, variant->max, 2);
	s = stats();
	EXPECT_EQ(variant->buffers + variant->max, s.pool_hits);
	EXPECT_EQ(grown + failed, s.pool_misses);
	EXPECT_EQ(2 * variant->max, s.deallocations);
	EXPECT_EQ(grown, s.grown);
}

/* New buffers are in every mapping that there is, and the same ones. */
TEST_F_TIMEOUT(exhaustion, grown_buffers_appear_in_living_mappings, TIMEOUT)
{
	struct client a, b;
	uint32_t items[MAX], grown;
	unsigned int k, n;
	int *seen;
	pid_t pid;

	MODULE_ONLY();
	start_module(_metadata, (struct shape){ .buffers = 16, .max = 48, .size = 8192 });
	ASSERT_EQ(0, client_open(&a, POOL));
	ASSERT_EQ(0, client_open(&b, POOL));
	seen = shared_alloc(2 * sizeof(*seen));
	ASSERT_NE(NULL, seen);
	pid = child_fork();
	if (!pid) {
		struct client c;
		unsigned int found = 0;

		child_assert(!client_open(&c, POOL));
		child_assert(probe(client_buffer(&c, 16)) == -1);
		seen[0] = 1;
		while (seen[0] == 1)
			usleep(1000);
		for (k = 0; k < 48; k++)
			found += stamp_check(client_buffer(&c, k), 8192, k);
		seen[1] = found;
		_exit(0);
	}
	ASSERT_TRUE(wait_until(seen[0], DEADLINE));

	EXPECT_EQ(16, refill_all(&a, items, 16));
	for (k = 16; k < 48; k++)
		EXPECT_EQ(-1, probe(client_buffer(&a, k)));
	for (n = 16; n < 48; n++) {
		ASSERT_EQ(1, refill(&a, items + n, 8, &grown));
		EXPECT_EQ(1, grown);
		EXPECT_TRUE(all_are(client_buffer(&b, items[n]), 8192, 0));
	}
	EXPECT_EQ(-ENOBUFS, refill(&a, items + n, 1, &grown));
	for (k = 0; k < 48; k++)
		stamp_write(client_buffer(&a, items[k]), 8192, items[k]);
	for (k = 0; k < 48; k++)
		EXPECT_TRUE(stamp_check(client_buffer(&b, k), 8192, k));
	seen[0] = 2;
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_EQ(48, seen[1]);
	EXPECT_EQ(0, release_all(&a, items, 48));
	client_close(&a);
	client_close(&b);
}

/* Many ask for the last buffers at once: nobody gets beyond max_count. */
static void *ask_for_all(void *arg)
{
	unsigned int *got = arg, k, n, round;
	void *held[MAX];

	for (round = 0; round < 20; round++) {
		n = take_all(pool, held, MAX, *got + 1);
		if (n > got[1])
			got[1] = n;
		for (k = 0; k < n; k++)
			give(pool, held[k], *got + 1);
	}
	return NULL;
}

TEST_F_TIMEOUT(exhaustion, growth_by_many_at_once_stops_at_max_count, TIMEOUT)
{
	unsigned int arg[6][2] = { 0 }, i, most = 0;
	pthread_t thread[6];
	bool over = false;

	start_pool(_metadata, (struct shape){ .buffers = 8, .max = 100, .size = 4096 });
	for (i = 0; i < 6; i++) {
		arg[i][0] = i;
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, ask_for_all, arg[i]));
	}
	for (i = 0; i < 200 && !over; i++) {
		over = stats().capacity > 100 || stats().in_use > 100;
		usleep(1000);
	}
	for (i = 0; i < 6; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
		most = arg[i][1] > most ? arg[i][1] : most;
	}
	EXPECT_FALSE(over);
	EXPECT_GE(100, most);
	EXPECT_EQ(100, stats().capacity);
	EXPECT_EQ(92, stats().grown);
	EXPECT_EQ(100, stats().peak_granted);
}

/*
 * Growth when memory is short
 */

static long long memory_free(void)
{
	return free_kb() * 1024LL;
}

/*
 * A shrinker leaves a pool alone that the worker is at: until it is done with who died, and
 * @clients are left. Then one call takes all that may go.
 */
static bool shrinkers_may_come(unsigned int clients)
{
	return wait_until(stats().clients == clients, DEADLINE);
}

/*
 * The largest buffers until there is no memory for another one. The kernel is
 * not to kill anybody for them, nor to complain; the pool is to work on.
 */
TEST_F_TIMEOUT(exhaustion, growth_without_memory_is_enobufs, TIMEOUT)
{
	const unsigned int buffers = 4, max = 512, size = 4194304;
	static void *held[512];
	struct lfpool_stats s;
	const size_t spare = 16 << 20;
	unsigned int n, k;
	long long before;
	char line[512];
	void *kept;
	int log;

	MODULE_ONLY();
	log = kmsg_open();
	ASSERT_LE(0, log);
	/* what is left for all others to live on, this test among them */
	kept = mmap(NULL, spare, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, kept);
	start_pool(_metadata, (struct shape){ .buffers = buffers, .max = max, .size = size });
	if (memory_free() > (long long)(max - 100) * size)
		SKIP(return, "this machine has too much memory");
	for (n = 0; n < max; n++) {
		held[n] = take(pool, 1);
		if (!held[n])
			break;
		memcpy(held[n], &n, sizeof(n));
	}
	EXPECT_EQ(ENOBUFS, errno);
	EXPECT_LT(buffers, n);
	EXPECT_GT(max, n);
	TH_LOG("grew from %u to %u buffers of %u bytes, then ENOBUFS with %lld MiB free",
	       buffers, n, size, memory_free() >> 20);
	ASSERT_EQ(0, munmap(kept, spare));
	s = stats();
	EXPECT_EQ(n, s.capacity);
	EXPECT_EQ(n, s.in_use);
	EXPECT_EQ(buffers, s.pool_hits);
	EXPECT_EQ(n - buffers, s.grown);
	EXPECT_EQ(n - buffers, s.allocations);
	EXPECT_EQ(n - buffers + 1, s.pool_misses);

	/* it harmed nothing: who puts can get, and all is where it was */
	for (k = 0; k < 100; k++) {
		ASSERT_EQ(0, give(pool, held[n - 1], 1));
		held[n - 1] = take(pool, 1);
		ASSERT_NE(NULL, held[n - 1]);
	}
	for (k = 0; k < n; k++)
		EXPECT_EQ(k, *(unsigned int *)held[k]);
	EXPECT_EQ(n, stats().capacity);
	give_all(_metadata, held, n, 1);
	expect_all_free(_metadata, n);

	/* back to the reserve, and from there to the system */
	before = memory_free();
	lfpool_close(pool);
	pool = NULL;
	into_reserve(_metadata);
	/* a shrinker leaves a pool alone that the worker is at, still */
	EXPECT_TRUE(wait_until(!drop_slab() && stats().capacity == buffers, DEADLINE));
	EXPECT_LT((long long)(n - buffers) * size / 10 * 9, memory_free() - before);
	expect_all_free(_metadata, buffers);

	/* and growth works again */
	pool = lfpool_open(POOL, 0);
	ASSERT_NE(NULL, pool);
	EXPECT_EQ(buffers + 16, take_all(pool, held, buffers + 16, 1));
	for (k = buffers; k < buffers + 16; k++)
		EXPECT_TRUE(all_are(held[k], size, 0));
	give_all(_metadata, held, buffers + 16, 1);
	EXPECT_EQ(buffers + 16, stats().capacity);

	while (kmsg_line(log, line, sizeof(line))) {
		EXPECT_EQ(NULL, strstr(line, "allocation failure")) {
			TH_LOG("%s", line);
		}
		EXPECT_EQ(NULL, strcasestr(line, "out of memory")) {
			TH_LOG("%s", line);
		}
	}
	close(log);
}

/*
 * The kernel fails one allocation after the other for us, where it was built to
 * do so: of every way into a failure, the pool comes back whole.
 */
static int fault_setting(const char *what, const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", what, name);
	return text_write(path, value);
}

static int fail_nth(unsigned int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", nth);
	return text_write("/proc/thread-self/fail-nth", text);
}

TEST_F_TIMEOUT(exhaustion, growth_with_failed_allocations, TIMEOUT)
{
	static const char *const kinds[] = {
		"fail_page_alloc", "failslab", "fail_usercopy", "fail_futex",
	};
	unsigned int nth, k, rounds = 0, failed = 0, n = 0;
	uint32_t items[MAX], grown;
	struct client c;
	char left[16];
	int got;

	MODULE_ONLY();
	start_module(_metadata, (struct shape){ .buffers = 8, .max = 200, .size = 65536 });
	if (access("/sys/kernel/debug/fail_page_alloc", F_OK) ||
	    access("/proc/self/fail-nth", F_OK))
		SKIP(return, "this kernel has no fail_page_alloc");
	for (k = 0; k < ARRAY_SIZE(kinds); k++) {
		/* each failure with its stack would look like trouble */
		fault_setting(kinds[k], "verbose", "0");
		fault_setting(kinds[k], "ignore-gfp-wait", "N");
		fault_setting(kinds[k], "min-order", "0");
	}
	ASSERT_EQ(0, client_open(&c, POOL));
	n = refill_all(&c, items, 8);
	ASSERT_EQ(8, n);
	/* 1st, 2nd... allocation of a REFILL that has to grow, until it has no more */
	while (rounds < 10) {
		for (nth = 1; nth < 50; nth++) {
			int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

			ASSERT_LE(0, fd);
			ASSERT_EQ(0, fail_nth(nth));
			got = refill(&c, items + n, 1, &grown);
			memset(left, 0, sizeof(left));
			/* if it is this read that fails, there was no earlier one */
			if (pread(fd, left, sizeof(left) - 1, 0) <= 0)
				left[0] = '1';
			fail_nth(0);
			close(fd);
			if (got > 0) {
				EXPECT_EQ(1, grown);
				EXPECT_EQ(0, probe(client_buffer(&c, items[n])));
				n++;
			} else {
				EXPECT_TRUE(got == -ENOBUFS || got == -EFAULT);
				failed++;
				/* only the rest of the answer failed: this one is ours */
				if (got == -EFAULT && audit_of(POOL).held == n + 1) {
					EXPECT_EQ(0, probe(client_buffer(&c, items[n])));
					n++;
				}
			}
			/* EFAULT after the growth: that one is in the reserve */
			ASSERT_EQ(0, audit_of(POOL).lost);
			ASSERT_EQ(n, audit_of(POOL).held);
			ASSERT_EQ(audit_of(POOL).capacity, n + audit_of(POOL).reserve);
			n += refill_all(&c, items + n, stats().reserve);
			if (atoi(left))
				break;
		}
		ASSERT_GT(50, nth);
		rounds++;
	}
	EXPECT_LT(0, failed);
	TH_LOG("%u calls, %u of them failed; %u buffers, capacity %llu", rounds * nth, failed, n,
	       (unsigned long long)stats().capacity);
	EXPECT_EQ(n, stats().capacity);
	EXPECT_EQ(n - 8, stats().grown);
	EXPECT_EQ(0, release_all(&c, items, n));
	expect_all_free(_metadata, n);
	EXPECT_EQ(200, refill_all(&c, items, MAX));
	EXPECT_EQ(0, release_all(&c, items, 200));
	client_close(&c);
}

/*
 * Memory is charged to who asked for it.
 */

#define CGROUP		"/tmp/lfpool-cgroup"

static bool cgroup_start(void)
{
	mkdir(CGROUP, 0755);
	if (mount("none", CGROUP, "cgroup2", 0, NULL))
		return false;
	text_write(CGROUP "/cgroup.subtree_control", "+memory");
	mkdir(CGROUP "/rich", 0755);
	mkdir(CGROUP "/poor", 0755);
	return !access(CGROUP "/rich/memory.current", F_OK) &&
	       !access(CGROUP "/poor/memory.max", F_OK);
}

static void cgroup_end(void)
{
	rmdir(CGROUP "/rich");
	rmdir(CGROUP "/poor");
	umount(CGROUP);
}

static long long cgroup_bytes(const char *group)
{
	long long value = -1;
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), CGROUP "/%s/memory.current", group);
	file = fopen(path, "re");
	if (file) {
		if (fscanf(file, "%lld", &value) != 1)
			value = -1;
		fclose(file);
	}
	return value;
}

/* What a test and its processes tell each other. */
struct shared {
	volatile uint32_t ready, go, done;
	volatile uint32_t count;
};

static bool step_run(struct shared *s, uint32_t step)
{
	s->go = step;
	return wait_until(s->done == step, DEADLINE);
}

static void step_wait(struct shared *s, uint32_t step)
{
	while (s->go < step)
		usleep(1000);
}

/* In a group: grow until it has @s->count more, or may not. */
static void grow_in_group(struct shared *s, const char *group)
{
	char path[128];
	uint32_t items[MAX], grown;
	struct client c;
	uint32_t step;

	snprintf(path, sizeof(path), CGROUP "/%s/cgroup.procs", group);
	child_assert(!text_write(path, "0"));
	child_assert(!client_open(&c, POOL));
	s->ready = 1;
	for (step = 1; step <= 2; step++) {
		uint32_t n = 0, want;

		step_wait(s, step);
		want = s->count;
		while (n < want && refill(&c, items + n, 1, &grown) == 1) {
			child_assert(grown == 1);
			n++;
		}
		child_assert(n == want || errno == ENOBUFS);
		s->count = n;
		s->done = step;
	}
	step_wait(s, 3);
	_exit(0);
}

TEST_F_TIMEOUT(exhaustion, growth_is_charged_to_who_asks, TIMEOUT)
{
	const long long size = 262144, slack = 2 << 20;
	struct shared *s = shared_alloc(sizeof(*s));
	long long rich, poor, taken;
	uint32_t items[MAX], grown;
	char text[32];
	struct client c;
	pid_t pid;

	MODULE_ONLY();
	start_module(_metadata, (struct shape){ .buffers = 8, .max = 200, .size = size });
	if (!cgroup_start()) {
		cgroup_end();
		SKIP(return, "no cgroup2 with a memory controller");
	}
	ASSERT_NE(NULL, s);
	ASSERT_EQ(0, client_open(&c, POOL));
	ASSERT_EQ(8, refill_all(&c, items, 8));
	pid = child_fork();
	if (!pid)
		grow_in_group(s, "poor");
	ASSERT_TRUE(wait_until(s->ready, DEADLINE));

	/* the one group pays, for all of it; nobody else does */
	rich = cgroup_bytes("rich");
	poor = cgroup_bytes("poor");
	s->count = 64;
	ASSERT_TRUE(step_run(s, 1));
	EXPECT_EQ(64, s->count);
	taken = cgroup_bytes("poor") - poor;
	TH_LOG("64 buffers of %lld bytes: charged %lld", size, taken);
	EXPECT_LT(64 * size - slack, taken);
	EXPECT_GT(64 * size + slack, taken);
	EXPECT_EQ(rich, cgroup_bytes("rich"));

	/*
	 * With 4 MiB more it gets as much and not more, and nobody is killed. What the
	 * kernel takes back from the rest of the group, its page tables, makes room, too.
	 */
	snprintf(text, sizeof(text), "%lld", cgroup_bytes("poor") + (4LL << 20));
	ASSERT_EQ(0, text_write(CGROUP "/poor/memory.max", text));
	s->count = 64;
	ASSERT_TRUE(step_run(s, 2));
	EXPECT_LT(0, s->count);
	EXPECT_GE(((4 << 20) + slack) / size, s->count);
	EXPECT_EQ(0, number_in(CGROUP "/poor/memory.events", "oom_kill"));
	TH_LOG("with a limit 4 MiB above: %u more", s->count);
	EXPECT_EQ(8 + 64 + s->count, stats().capacity);

	/* others go on */
	EXPECT_EQ(1, refill(&c, items + 8, 1, &grown));
	EXPECT_EQ(1, grown);
	EXPECT_EQ(0, release_all(&c, items, 9));

	s->go = 3;
	EXPECT_EQ(0, child_wait(pid));
	ASSERT_TRUE(shrinkers_may_come(1));
	/* what is given back is not charged any more */
	EXPECT_EQ(0, drop_slab());
	EXPECT_EQ(8, stats().capacity);
	EXPECT_GT(poor + slack, cgroup_bytes("poor"));
	/* what failed has cost no place: it can grow to the last one */
	EXPECT_EQ(200, refill_all(&c, items, MAX));
	EXPECT_EQ(0, release_all(&c, items, 200));
	client_close(&c);
	cgroup_end();
}

/*
 * Shrinker
 */

/* How many buffers two mappings show, which must be the same ones. */
static unsigned int count_mapped(struct __test_metadata *_metadata, const struct client *a,
				 const struct client *b)
{
	unsigned int k, n = 0;

	for (k = 0; k < a->info.max_count; k++) {
		bool mapped = probe(client_buffer(a, k)) >= 0;

		EXPECT_EQ(mapped, probe(client_buffer(b, k)) >= 0);
		n += mapped;
	}
	return n;
}

/* Have every page of the buffer in the page tables; those of a client that writes, too. */
static void touch(const struct client *c, uint32_t item, bool writes)
{
	volatile unsigned char *p = client_buffer(c, item);
	size_t at;

	for (at = 0; at < c->info.buffer_size; at += 4096) {
		if (writes)
			p[at] = 0xee;
		else
			(void)p[at];
	}
}

TEST_F_TIMEOUT(exhaustion, shrinks_to_buffer_count, TIMEOUT)
{
	const unsigned int buffers = 64, max = 256, size = 262144;
	long long before, rise, due = (long long)(max - buffers) * size;
	uint32_t items[MAX], generation[MAX];
	unsigned int k, fresh = 0;
	struct client a, b;

	MODULE_ONLY();
	start_module(_metadata, (struct shape){ .buffers = buffers, .max = max, .size = size });
	ASSERT_EQ(0, client_open(&a, POOL));
	ASSERT_EQ(0, client_open(&b, POOL));
	ASSERT_EQ(max, refill_all(&a, items, MAX));
	for (k = 0; k < max; k++) {
		touch(&a, k, true);
		touch(&b, k, false);
		generation[k] = word_generation(client_desc(&a, k)->word);
	}
	EXPECT_EQ(max, count_mapped(_metadata, &a, &b));
	/* what is in use does not go */
	ASSERT_EQ(0, drop_slab());
	EXPECT_EQ(max, stats().capacity);
	ASSERT_EQ(0, release_all(&a, items, max));

	before = memory_free();
	ASSERT_EQ(0, drop_slab());
	rise = memory_free() - before;
	expect_all_free(_metadata, buffers);
	EXPECT_EQ(buffers, count_mapped(_metadata, &a, &b));
	EXPECT_LT(due / 10 * 9, rise);
	TH_LOG("capacity %u -> %llu, MemFree +%lld MiB of %lld", max,
	       (unsigned long long)stats().capacity, rise >> 20, due >> 20);
	/* it is history that it grew */
	EXPECT_EQ(max - buffers, stats().grown);

	/* new buffers at the old addresses: nothing of the old is to be seen */
	ASSERT_EQ(max, refill_all(&a, items, MAX));
	EXPECT_EQ(2 * (max - buffers), stats().grown);
	for (k = 0; k < max; k++) {
		fresh += all_are(client_buffer(&a, k), size, 0) &&
			 all_are(client_buffer(&b, k), size, 0);
		EXPECT_LT(generation[k], word_generation(client_desc(&a, k)->word));
	}
	EXPECT_EQ(max - buffers, fresh);
	ASSERT_EQ(0, release_all(&a, items, max));
	ASSERT_EQ(0, drop_slab());
	expect_all_free(_metadata, buffers);
	client_close(&a);
	client_close(&b);
}

/* Of those in use none goes, wherever they are; of the others as many as can. */
TEST_F_TIMEOUT(exhaustion, shrinks_around_what_is_in_use, TIMEOUT)
{
	/* of a page, and two to a page: then both of them must be free */
	static const unsigned int sizes[] = { 4096, 2048 };
	uint32_t items[MAX], kept[MAX];
	unsigned int i, k, n;
	struct client a, b;

	MODULE_ONLY();
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		start_module(_metadata, (struct shape){
			.buffers = 64, .max = 256, .size = sizes[i],
		});
		ASSERT_EQ(0, client_open(&a, POOL));
		ASSERT_EQ(0, client_open(&b, POOL));
		ASSERT_EQ(256, refill_all(&a, items, MAX));
		for (k = n = 0; k < 256; k++) {
			stamp_write(client_buffer(&a, k), sizes[i], k);
			/* 100 of them, each with a neighbour that goes */
			if (k >= 56 && !(k & 1))
				kept[n++] = k;
			else
				ASSERT_EQ(1, do_release(a.fd, 0, &k, 1));
		}
		ASSERT_EQ(100, n);
		ASSERT_EQ(0, drop_slab());
		EXPECT_EQ(sizes[i] == 4096 ? 100 : 200, stats().capacity);
		EXPECT_EQ(100, stats().in_use);
		EXPECT_EQ(0, audit_of(POOL).lost + audit_of(POOL).duplicate);
		for (k = 0; k < n; k++) {
			EXPECT_TRUE(stamp_check(client_buffer(&a, kept[k]), sizes[i], kept[k]));
			EXPECT_TRUE(stamp_check(client_buffer(&b, kept[k]), sizes[i], kept[k]));
		}
		EXPECT_EQ(0, release_all(&a, kept, n));
		ASSERT_EQ(0, drop_slab());
		expect_all_free(_metadata, 64);
		EXPECT_EQ(64, count_mapped(_metadata, &a, &b));
		client_close(&a);
		client_close(&b);
		ASSERT_TRUE(wait_until(stats().clients == 0, DEADLINE));
	}
}

/* Free ones in caches and depot are the threads': they are not taken. */
TEST_F_TIMEOUT(exhaustion, shrinks_by_the_reserve_only, TIMEOUT)
{
	struct lfpool_stats s;
	void *held[MAX];

	MODULE_ONLY();
	start_pool(_metadata, (struct shape){ .buffers = 64, .max = 256, .size = 4096 });
	ASSERT_EQ(256, take_all(pool, held, MAX, 1));
	give_all(_metadata, held, 256, 1);
	s = stats();
	EXPECT_EQ(0, s.reserve);
	EXPECT_EQ(256, s.available);
	ASSERT_EQ(0, drop_slab());
	EXPECT_EQ(256, stats().capacity);
	/* the kernel has them now */
	lfpool_close(pool);
	pool = NULL;
	into_reserve(_metadata);
	ASSERT_TRUE(shrinkers_may_come(0));
	EXPECT_EQ(256, stats().reserve);
	ASSERT_EQ(0, drop_slab());
	EXPECT_EQ(64, stats().capacity);
}

/* Pages that a pipe still has, say, are not freed under it. */
TEST_F_TIMEOUT(exhaustion, shrinks_around_pinned_pages, TIMEOUT)
{
	struct iovec iov = { .iov_len = 4096 };
	uint32_t items[MAX];
	char page[4096];
	struct client c;
	unsigned int k;
	int fds[2];

	MODULE_ONLY();
	start_module(_metadata, (struct shape){ .buffers = 8, .max = 32, .size = 16384 });
	ASSERT_EQ(0, client_open(&c, POOL));
	ASSERT_EQ(32, refill_all(&c, items, MAX));
	for (k = 0; k < 32; k++)
		memset(client_buffer(&c, k), k + 1, 16384);
	ASSERT_EQ(0, pipe(fds));
	iov.iov_base = client_buffer(&c, 20) + 8192;
	ASSERT_EQ(4096, vmsplice(fds[1], &iov, 1, 0));
	/* a careless program: it puts what it still sends */
	ASSERT_EQ(0, release_all(&c, items, 32));
	ASSERT_EQ(0, drop_slab());
	EXPECT_EQ(8, stats().capacity);
	EXPECT_EQ(21, probe(client_buffer(&c, 20)));
	EXPECT_EQ(4096, read(fds[0], page, 4096));
	EXPECT_TRUE(all_are(page, 4096, 21));
	EXPECT_EQ(0, audit_of(POOL).lost);
	client_close(&c);
	close(fds[0]);
	close(fds[1]);
}

/*
 * Real pressure: a process needs more than there is, unless the pool gives some
 * back. The kernel may kill it at once if it must kill anybody.
 */
static void eat(long long bytes, long long rest)
{
	char *p = mmap(NULL, bytes + rest, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	long long at;

	child_assert(p != MAP_FAILED);
	child_assert(!text_write("/proc/self/oom_score_adj", "1000"));
	/* what is there can be had by huge pages, if there are any: fewer faults */
	madvise(p, bytes, MADV_HUGEPAGE);
	for (at = 0; at < bytes + rest; at += 4096)
		p[at] = 1;
	_exit(0);
}

TEST_F_TIMEOUT(exhaustion, shrinks_under_memory_pressure, TIMEOUT)
{
	const unsigned int buffers = 16, max = 96, size = 1 << 20;
	const long long extra = 40LL << 20;
	uint32_t items[MAX];
	long long room;
	struct client c;
	unsigned int k;
	pid_t pid;

	MODULE_ONLY();
	start_module(_metadata, (struct shape){ .buffers = buffers, .max = max, .size = size });
	if (memory_free() > 2LL << 30)
		SKIP(return, "this machine has too much memory");
	ASSERT_EQ(0, client_open(&c, POOL));
	ASSERT_EQ(max, refill_all(&c, items, MAX));
	for (k = 0; k < max; k++)
		touch(&c, k, true);
	ASSERT_EQ(0, release_all(&c, items, max));

	room = memory_free();
	pid = child_fork();
	if (!pid)
		eat(room - extra, 2 * extra);
	EXPECT_EQ(0, child_wait(pid));
	k = stats().capacity;
	TH_LOG("%lld MiB free, a process took %lld: capacity %u -> %u", room >> 20,
	       (room + extra) >> 20, max, k);
	EXPECT_LE(buffers, k);
	EXPECT_GE(max - extra / size, k);
	EXPECT_EQ(k, stats().available);
	/* and now that there is memory again it grows again, by clean pages */
	ASSERT_EQ(max, refill_all(&c, items, MAX));
	EXPECT_EQ(max - buffers + max - k, stats().grown);
	EXPECT_EQ(0, release_all(&c, items, max));
	client_close(&c);
}

/* Shrinking against growth, use, and faults of mappings in other processes. */
#define RACE_HOLD	40U

static unsigned int race_rounds(void)
{
	return 20 * rounds(3);
}

static void race_grow(struct shared *s, uint32_t name)
{
	uint32_t items[RACE_HOLD], grown, round, random = name;
	struct client c;
	unsigned int k, n;

	child_assert(!client_open(&c, POOL));
	for (round = 0; round < race_rounds(); round++) {
		for (n = 0; n < RACE_HOLD; n++) {
			unsigned char *p;

			if (refill(&c, items + n, 1, &grown) != 1)
				break;
			p = client_buffer(&c, items[n]);
			child_assert(owners_move(owners, items[n], 0, name));
			/* a new one is new, whatever was at this address */
			child_assert(!grown || all_are(p, c.info.buffer_size, 0));
			stamp_write(p, c.info.buffer_size, random_next(&random));
			child_assert(stamp_check(p, c.info.buffer_size, random));
			stamp_write(p, c.info.buffer_size, items[n]);
		}
		if (round & 1)
			sched_yield();
		for (k = 0; k < n; k++) {
			child_assert(stamp_check(client_buffer(&c, items[k]),
						 c.info.buffer_size, items[k]));
			child_assert(owners_move(owners, items[k], name, 0));
		}
		child_assert(!release_all(&c, items, n));
		__atomic_fetch_add(&s->count, n, __ATOMIC_SEQ_CST);
	}
	_exit(0);
}

static void race_fault(struct shared *s)
{
	struct client c;
	uint32_t random = 1;

	child_assert(!client_open(&c, POOL));
	while (!s->go)
		probe(client_buffer(&c, random_next(&random) % c.info.max_count) +
		      random % c.info.buffer_size);
	_exit(0);
}

FIXTURE(shrink_race) {
	struct shared *s;
};

FIXTURE_VARIANT(shrink_race) {
	unsigned int size;
};

/* folios of their own, and folios that they share with others */
FIXTURE_VARIANT_ADD(shrink_race, of_16384_bytes) { .size = 16384 };
FIXTURE_VARIANT_ADD(shrink_race, of_512_bytes) { .size = 512 };

FIXTURE_SETUP(shrink_race)
{
	if (embedded())
		return;
	start_module(_metadata, (struct shape){ .buffers = 8, .max = 96, .size = variant->size });
	self->s = shared_alloc(sizeof(*self->s));
	ASSERT_NE(NULL, self->s);
}

FIXTURE_TEARDOWN(shrink_race)
{
	if (embedded())
		return;
	EXPECT_EQ(0, owners->faults);
	EXPECT_TRUE(wait_until(stats().clients == 0, DEADLINE));
	expect_all_free(_metadata, stats().capacity);
	EXPECT_EQ(0, module_unload());
}

TEST_F_TIMEOUT(shrink_race, against_growth_and_faults, TIMEOUT)
{
	unsigned int i, drops = 0, running = 2;
	struct lfpool_stats before;
	pid_t pid[3];

	if (embedded())
		SKIP(return, "the module's alone");
	for (i = 0; i < 3; i++) {
		pid[i] = child_fork();
		if (!pid[i] && i < 2)
			race_grow(self->s, i + 1);
		if (!pid[i])
			race_fault(self->s);
	}
	while (running) {
		EXPECT_EQ(0, drop_slab());
		drops++;
		EXPECT_GE(96, stats().capacity);
		for (i = 0; i < 2; i++) {
			int status;

			if (pid[i] && waitpid(pid[i], &status, WNOHANG) == pid[i]) {
				EXPECT_EQ(0, status);
				pid[i] = 0;
				running--;
			}
		}
	}
	self->s->go = 1;
	EXPECT_EQ(0, child_wait(pid[2]));
	ASSERT_TRUE(shrinkers_may_come(0));
	before = stats();
	EXPECT_EQ(0, drop_slab());
	EXPECT_EQ(8, stats().capacity);
	TH_LOG("%u buffers used, %llu grown, %llu taken away by %u calls", self->s->count,
	       (unsigned long long)before.grown,
	       (unsigned long long)(before.grown + 8 - before.capacity), drops);
	EXPECT_EQ(2 * race_rounds() * RACE_HOLD, self->s->count);
	EXPECT_LT(RACE_HOLD, before.grown);
}

/*
 * 2. Scavenge
 */

#define SLEEPERS	16U

/* A thread that has buffers in its cache and does nothing, until it is told to go on. */
struct sleeper {
	pthread_t thread;
	struct lfpool *pool;
	void *buffer[MAX];	/* what it shall put */
	unsigned int n;
	uint32_t name;
	bool idle, go;
	unsigned int faults;
};

/* Up to three at a time, with stamps. */
static void use(struct sleeper *s, unsigned int rounds)
{
	size_t size = lfpool_buffer_size(s->pool);
	uint32_t random = s->name;
	unsigned int n, k;
	void *held[3];

	while (rounds--) {
		n = take_all(s->pool, held, 1 + random_next(&random) % 3, s->name);
		for (k = 0; k < n; k++)
			stamp_write(held[k], size, (uint64_t)s->name << 32 | k);
		if (!(rounds % 4))
			sched_yield();
		for (k = 0; k < n; k++) {
			s->faults += !stamp_check(held[k], size, (uint64_t)s->name << 32 | k);
			s->faults += !!give(s->pool, held[k], s->name);
		}
	}
}

static void *sleep_on_cache(void *arg)
{
	struct sleeper *s = arg;
	unsigned int k;

	for (k = 0; k < s->n; k++)
		s->faults += !!lfpool_put(s->pool, s->buffer[k]);
	__atomic_store_n(&s->idle, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&s->go, __ATOMIC_SEQ_CST))
		usleep(1000);
	use(s, 100);
	return NULL;
}

/* How many the thread shall have: more than a batch, or one. */
static unsigned int share_of(unsigned int sleeper)
{
	return sleeper % 4 ? 1 : 13;
}

/* All 64 buffers into the caches of 16 threads; false if it cannot. */
static bool sleepers_start(struct sleeper *s, struct lfpool *p)
{
	unsigned int i, k;

	memset(s, 0, SLEEPERS * sizeof(*s));
	for (i = 0; i < SLEEPERS; i++) {
		s[i].pool = p;
		s[i].name = 100 + i;
		s[i].n = share_of(i);
		for (k = 0; k < s[i].n; k++) {
			s[i].buffer[k] = lfpool_get(p);
			if (!s[i].buffer[k])
				return false;
		}
	}
	for (i = 0; i < SLEEPERS; i++) {
		if (pthread_create(&s[i].thread, NULL, sleep_on_cache, &s[i]) ||
		    !wait_until(__atomic_load_n(&s[i].idle, __ATOMIC_SEQ_CST), DEADLINE))
			return false;
	}
	return true;
}

/* Wake them up, and see them do well: how many things went wrong. */
static unsigned int sleepers_end(struct sleeper *s)
{
	unsigned int i, faults = 0;

	for (i = 0; i < SLEEPERS; i++)
		__atomic_store_n(&s[i].go, true, __ATOMIC_SEQ_CST);
	for (i = 0; i < SLEEPERS; i++) {
		pthread_join(s[i].thread, NULL);
		faults += s[i].faults;
	}
	return faults;
}

static struct sleeper sleepers[SLEEPERS];

static void sleepers_process(struct shared *s)
{
	struct lfpool *p = join_pool(0);

	child_assert(p);
	child_assert(sleepers_start(sleepers, p));
	s->ready = 1;
	step_wait(s, 1);
	child_assert(!sleepers_end(sleepers));
	lfpool_close(p);
	_exit(0);
}

/* The get of one thread reaches all that idles, and no more than there is. */
static void expect_all_reachable(struct __test_metadata *_metadata, uint64_t scavenged)
{
	struct lfpool_stats s = stats(), t;
	void *held[MAX];

	EXPECT_EQ(64, s.cached);
	EXPECT_EQ(0, s.reserve);
	EXPECT_EQ(64, take_all(pool, held, MAX, 1));
	EXPECT_EQ(ENOBUFS, errno);
	t = stats();
	EXPECT_EQ(s.scavenged + scavenged, t.scavenged);
	EXPECT_EQ(s.pool_hits + 64, t.pool_hits);
	EXPECT_EQ(s.pool_misses + 1, t.pool_misses);
	EXPECT_EQ(0, t.cached);
	EXPECT_EQ(64, t.in_use);
	EXPECT_EQ(64, t.capacity);
	give_all(_metadata, held, 64, 1);
}

TEST_F_TIMEOUT(exhaustion, gets_reach_what_idle_threads_have, TIMEOUT)
{
	start_pool(_metadata, (struct shape){ .buffers = 64, .max = 64, .size = 4096 });
	ASSERT_TRUE(sleepers_start(sleepers, pool));
	expect_all_reachable(_metadata, 64);
	EXPECT_EQ(0, sleepers_end(sleepers));
}

TEST_F_TIMEOUT(exhaustion, gets_reach_what_idle_processes_have, TIMEOUT)
{
	struct shared *s = shared_alloc(sizeof(*s));
	pid_t pid;

	start_pool(_metadata, (struct shape){ .buffers = 64, .max = 64, .size = 4096 });
	ASSERT_NE(NULL, s);
	pid = child_fork();
	if (!pid)
		sleepers_process(s);
	ASSERT_TRUE(wait_until(s->ready, DEADLINE));
	expect_all_reachable(_metadata, 64);
	s->go = 1;
	EXPECT_EQ(0, child_wait(pid));
}

/* A thread with its slot in use, as one that was stopped half-way. */
static void *be_busy(void *arg)
{
	struct sleeper *s = arg;
	struct lfpool_slot *slot = lfpool_attach(s->pool)->slot;
	unsigned int k;

	for (k = 0; k < s->n; k++)
		s->faults += !!lfpool_put(s->pool, s->buffer[k]);
	LFPOOL_WRITE_RELEASE(slot->busy, 1);
	__atomic_store_n(&s->idle, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&s->go, __ATOMIC_SEQ_CST))
		usleep(1000);
	/* nobody took anything, nor forgot to let it go on */
	s->faults += LFPOOL_READ(slot->n) != s->n;
	s->faults += LFPOOL_READ(slot->revoked) != 0;
	for (k = 0; k < s->n; k++)
		s->faults += LFPOOL_READ(slot->item[k]) !=
			     buffer_index(s->pool, s->buffer[k]);
	LFPOOL_WRITE_RELEASE(slot->busy, 0);
	__atomic_store_n(&s->idle, false, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&s->go, __ATOMIC_SEQ_CST))
		usleep(1000);
	/* whatever was taken meanwhile */
	use(s, 100);
	return NULL;
}

TEST_F_TIMEOUT(exhaustion, busy_thread_is_left_alone, TIMEOUT)
{
	struct sleeper busy = { .name = 2, .n = 5 }, idle = { .name = 3, .n = 3 };
	void *held[MAX];
	unsigned int k;

	start_pool(_metadata, (struct shape){ .buffers = 32, .max = 32, .size = 4096 });
	busy.pool = pool;
	idle.pool = pool;
	ASSERT_EQ(5, lfpool_get_bulk(pool, busy.buffer, 5));
	ASSERT_EQ(3, lfpool_get_bulk(pool, idle.buffer, 3));
	ASSERT_EQ(0, pthread_create(&busy.thread, NULL, be_busy, &busy));
	ASSERT_EQ(0, pthread_create(&idle.thread, NULL, sleep_on_cache, &idle));
	ASSERT_TRUE(wait_until(__atomic_load_n(&busy.idle, __ATOMIC_SEQ_CST), DEADLINE));
	ASSERT_TRUE(wait_until(__atomic_load_n(&idle.idle, __ATOMIC_SEQ_CST), DEADLINE));

	EXPECT_EQ(27, take_all(pool, held, MAX, 1));
	for (k = 0; k < 100; k++)
		expect_enobufs(_metadata, pool);
	EXPECT_EQ(3, stats().scavenged);
	EXPECT_EQ(5, stats().available);
	EXPECT_EQ(5, stats().cached);

	__atomic_store_n(&busy.go, true, __ATOMIC_SEQ_CST);
	ASSERT_TRUE(wait_until(!__atomic_load_n(&busy.idle, __ATOMIC_SEQ_CST), DEADLINE));
	EXPECT_EQ(0, busy.faults);
	EXPECT_EQ(5, take_all(pool, held + 27, MAX - 27, 1));
	EXPECT_EQ(8, stats().scavenged);
	give_all(_metadata, held, 32, 1);
	__atomic_store_n(&busy.go, false, __ATOMIC_SEQ_CST);
	__atomic_store_n(&idle.go, true, __ATOMIC_SEQ_CST);
	EXPECT_EQ(0, pthread_join(busy.thread, NULL));
	EXPECT_EQ(0, pthread_join(idle.thread, NULL));
	EXPECT_EQ(0, busy.faults + idle.faults);
}

/*
 * Scavenging against threads that run. A round is a get that finds the pool
 * empty, and goes for the caches: in vain, or with what it found in one, two
 * at most since batches are of one here.
 */
#define SCAVENGE_ROUNDS	10000U

static uint64_t scavenge_rounds(void)
{
	struct lfpool_stats s = stats();

	return s.pool_misses + s.scavenged / 2;
}

static bool stop;	/* in each process its own */

/* Mostly it has them in its cache, and is about to get or put one. */
static void *run(void *arg)
{
	struct sleeper *s = arg;
	size_t size = lfpool_buffer_size(s->pool);
	unsigned int round, n, k;
	void *held[2];

	for (round = 0; !__atomic_load_n(&stop, __ATOMIC_SEQ_CST); round++) {
		n = take_all(s->pool, held, 2, s->name);
		for (k = 0; k < n; k++)
			stamp_write(held[k], size, (uint64_t)s->name << 32 | round);
		for (k = 0; k < n; k++) {
			s->faults += !stamp_check(held[k], size, (uint64_t)s->name << 32 | round);
			s->faults += !!give(s->pool, held[k], s->name);
		}
		/* so that it goes on whether there is another CPU or not */
		if (n < 2 || round % 8 == 0)
			usleep(1);
	}
	return NULL;
}

static void run_two(struct sleeper *s, struct lfpool *p, uint32_t name)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		s[i] = (struct sleeper){ .pool = p, .name = name + i };
		if (pthread_create(&s[i].thread, NULL, run, &s[i]))
			s[i].faults++;
	}
}

static unsigned int end_two(struct sleeper *s)
{
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	pthread_join(s[0].thread, NULL);
	pthread_join(s[1].thread, NULL);
	return s[0].faults + s[1].faults;
}

TEST_F_TIMEOUT(exhaustion, scavenge_against_running_threads, 2 * TIMEOUT)
{
	struct shared *s = shared_alloc(sizeof(*s));
	uint64_t end = deadline_ns(2 * (TIMEOUT - DEADLINE));
	const unsigned int enough = rounds(SCAVENGE_ROUNDS);
	unsigned int n, k;
	struct sleeper two[2];
	void *held[MAX];
	pid_t pid;

	start_pool(_metadata, (struct shape){ .buffers = 12, .max = 12, .size = 512 });
	ASSERT_NE(NULL, s);
	pid = child_fork();
	if (!pid) {
		struct lfpool *p = join_pool(0);

		child_assert(p);
		run_two(two, p, 10);
		step_wait(s, 1);
		child_assert(!end_two(two));
		lfpool_close(p);
		_exit(0);
	}
	run_two(two, pool, 20);
	while ((scavenge_rounds() < enough || stats().scavenged < enough / 2) &&
	       now_ns() < end) {
		for (k = 0; k < 20; k++) {
			n = take_all(pool, held, MAX, 1);
			EXPECT_GE(12, n);
			give_all(_metadata, held, n, 1);
		}
	}
	EXPECT_EQ(0, end_two(two));
	s->go = 1;
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_LE(enough, scavenge_rounds());
	EXPECT_LE(enough / 2, stats().scavenged);
	TH_LOG("%llu rounds at least against 4 running threads; %llu buffers "
	       "taken from their caches, handed out twice: %u",
	       (unsigned long long)scavenge_rounds(), (unsigned long long)stats().scavenged,
	       owners->faults);
}

/*
 * 3. Waiting
 */

/* A process that has all buffers, and does with them what it is told. */
enum order { PUT, PUT_BULK, PUT_BY_A_THREAD, CLOSE, EXIT, KILL, END };

struct keeper {
	pid_t pid;
	volatile uint32_t has;
	volatile uint32_t step, done;
	volatile enum order order;
	volatile bool when_waited;	/* not before somebody waits */
};

static void *put_one(void *arg)
{
	void **p = arg;

	child_assert(!lfpool_put(p[0], p[1]));
	return NULL;
}

static void keeper_run(struct keeper *k, unsigned int flags)
{
	struct lfpool *p = join_pool(flags);
	static void *held[MAX], *arg[2];
	pthread_t thread;

	child_assert(p);
	while ((held[k->has] = lfpool_get(p)))
		k->has++;
	child_assert(errno == ENOBUFS);
	for (k->done = 1;; k->done++) {
		while (k->step == k->done)
			usleep(500);
		while (k->when_waited && !waiters_of(p))
			usleep(500);
		switch (k->order) {
		case PUT:
			child_assert(!lfpool_put(p, held[--k->has]));
			break;
		case PUT_BULK:
			child_assert(lfpool_put_bulk(p, held, k->has) == k->has);
			k->has = 0;
			break;
		case PUT_BY_A_THREAD:
			arg[0] = p;
			arg[1] = held[--k->has];
			child_assert(!pthread_create(&thread, NULL, put_one, arg));
			child_assert(!pthread_join(thread, NULL));
			break;
		case CLOSE:
		case END:
			lfpool_close(p);
			if (k->order == END)
				_exit(0);
			break;
		case EXIT:
			_exit(0);
		case KILL:
			raise(SIGKILL);
		}
	}
}

static struct keeper *keeper_start(struct __test_metadata *_metadata, unsigned int has)
{
	struct keeper *k = shared_alloc(sizeof(*k));
	pid_t pid;

	ASSERT_NE(NULL, k);
	k->step = 1;
	pid = child_fork();
	if (!pid)
		keeper_run(k, 0);
	k->pid = pid;
	ASSERT_TRUE(wait_until(k->done == 1, DEADLINE));
	ASSERT_EQ(has, k->has);
	return k;
}

/* Say what to do, and go on at once. */
static void keeper_order(struct keeper *k, enum order what, bool when_waited)
{
	k->order = what;
	k->when_waited = when_waited;
	k->step++;
}

static bool keeper_does(struct keeper *k, enum order order)
{
	keeper_order(k, order, false);
	return wait_until(k->done == k->step, DEADLINE);
}

static void keeper_end(struct __test_metadata *_metadata, struct keeper *k)
{
	keeper_order(k, END, false);
	EXPECT_EQ(0, child_wait(k->pid));
}

TEST_F_TIMEOUT(exhaustion, wait_is_over_in_time_and_not_before, TIMEOUT)
{
	static const int64_t timeouts[] = {
		0, 1, 100000, MS, 3 * MS, 4 * MS, 10 * MS, 25 * MS, 100 * MS, 333 * MS,
	};
	unsigned int i, round, asked = 0;
	void *held[4];

	start_pool(_metadata, four);
	ASSERT_EQ(4, take_all(pool, held, 4, 1));
	for (round = 0; round < 5; round++) {
		for (i = 0; i < ARRAY_SIZE(timeouts); i++) {
			uint64_t start = now_ns();

			/* begin anywhere within a tick of the clock */
			usleep(round * 777);
			start = now_ns();
			EXPECT_EQ(NULL, lfpool_get_wait(pool, timeouts[i]));
			EXPECT_EQ(ETIMEDOUT, errno);
			EXPECT_LE(timeouts[i], now_ns() - start);
			EXPECT_GT(timeouts[i] + DEADLINE * SECOND * slow(), now_ns() - start);
			EXPECT_EQ(0, waiters_of(pool));
			asked++;
		}
	}
	EXPECT_EQ(asked, stats().pool_misses);
	EXPECT_EQ(4, stats().pool_hits);
	give_all(_metadata, held, 4, 1);
	/* it does not wait if it need not */
	for (i = 0; i < 2; i++) {
		void *buffer = lfpool_get_wait(pool, i ? -1 : 0);

		ASSERT_NE(NULL, buffer);
		EXPECT_EQ(0, lfpool_put(pool, buffer));
	}
	EXPECT_EQ(asked, stats().pool_misses);
	EXPECT_EQ(6, stats().pool_hits);
}

struct waiter {
	pthread_t thread;
	int64_t timeout;
	void *buffer;
	int error;
	bool over;
};

static void *wait_for_one(void *arg)
{
	struct waiter *w = arg;

	w->buffer = lfpool_get_wait(pool, w->timeout);
	w->error = errno;
	__atomic_store_n(&w->over, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static unsigned int signals;

static void on_signal(int signal)
{
	__atomic_fetch_add(&signals, 1, __ATOMIC_SEQ_CST);
}

TEST_F_TIMEOUT(exhaustion, signal_ends_a_wait, TIMEOUT)
{
	/* whoever asked for system calls to be restarted means others */
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct waiter w = { .timeout = -1 };
	void *held[4];
	unsigned int round, k;

	start_pool(_metadata, four);
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(4, take_all(pool, held, 4, 1));
	for (round = 0; round < 20; round++) {
		w.over = false;
		w.timeout = round & 1 ? -1 : DEADLINE * SECOND * slow();
		ASSERT_EQ(0, pthread_create(&w.thread, NULL, wait_for_one, &w));
		ASSERT_TRUE(wait_until(waiters_of(pool) == 1, DEADLINE));
		usleep(round * 100);
		pthread_kill(w.thread, SIGUSR1);
		/* the embedded back end may still be on its way into the call */
		for (k = 0; embedded() && k < 5; k++) {
			if (wait_until(__atomic_load_n(&w.over, __ATOMIC_SEQ_CST), 1))
				break;
			pthread_kill(w.thread, SIGUSR1);
		}
		ASSERT_TRUE(wait_until(__atomic_load_n(&w.over, __ATOMIC_SEQ_CST), 5)) {
			/* let it go, to end with all in order */
			give_all(_metadata, held, 4, 1);
			pthread_join(w.thread, NULL);
			lfpool_put(pool, w.buffer);
		}
		ASSERT_EQ(0, pthread_join(w.thread, NULL));
		EXPECT_EQ(NULL, w.buffer);
		EXPECT_EQ(EINTR, w.error);
		EXPECT_EQ(0, waiters_of(pool));
	}
	EXPECT_LE(round, signals);
	EXPECT_EQ(round, stats().pool_misses);
	give_all(_metadata, held, 4, 1);
}

/* Whatever another process does that sets a buffer free ends a wait. */
FIXTURE(wait_ends) {
	struct keeper *keeper;
};

FIXTURE_VARIANT(wait_ends) {
	enum order order;
	bool before;	/* it does so before the wait begins */
};

FIXTURE_VARIANT_ADD(wait_ends, by_put) { .order = PUT };
FIXTURE_VARIANT_ADD(wait_ends, by_put_in_bulk) { .order = PUT_BULK };
FIXTURE_VARIANT_ADD(wait_ends, by_put_of_a_thread) { .order = PUT_BY_A_THREAD };
FIXTURE_VARIANT_ADD(wait_ends, by_close) { .order = CLOSE };
FIXTURE_VARIANT_ADD(wait_ends, by_exit) { .order = EXIT };
FIXTURE_VARIANT_ADD(wait_ends, by_kill) { .order = KILL };
FIXTURE_VARIANT_ADD(wait_ends, by_what_is_cached) { .order = PUT, .before = true };

FIXTURE_SETUP(wait_ends)
{
	start_pool(_metadata, four);
	self->keeper = keeper_start(_metadata, 4);
}

FIXTURE_TEARDOWN(wait_ends)
{
	EXPECT_TRUE(wait_until(stats().clients == 1, DEADLINE));
	expect_quiet(_metadata, pool, 4);
	lfpool_close(pool);
	if (!embedded())
		EXPECT_EQ(0, module_unload());
}

TEST_F_TIMEOUT(wait_ends, in_another_process, TIMEOUT)
{
	bool dies = variant->order == EXIT || variant->order == KILL;
	void *buffer;

	if (dies && embedded()) {
		keeper_end(_metadata, self->keeper);
		SKIP(return, "the module's alone");
	}
	keeper_order(self->keeper, variant->order, !variant->before);
	if (variant->before)
		ASSERT_TRUE(wait_until(self->keeper->done == self->keeper->step, DEADLINE));
	buffer = lfpool_get_wait(pool, DEADLINE * SECOND * slow());
	EXPECT_NE(NULL, buffer) {
		TH_LOG("%s", strerror(errno));
	}
	EXPECT_EQ(0, waiters_of(pool));
	if (buffer)
		EXPECT_EQ(0, lfpool_put(pool, buffer));
	switch (variant->order) {
	case KILL:
		EXPECT_EQ(128 + SIGKILL, child_wait(self->keeper->pid));
		break;
	case EXIT:
		EXPECT_EQ(0, child_wait(self->keeper->pid));
		break;
	case CLOSE:
		EXPECT_EQ(128 + SIGKILL, child_kill(self->keeper->pid));
		break;
	default:
		keeper_end(_metadata, self->keeper);
	}
	if (variant->before)
		return;
	/* it has asked in vain once, and then waited: one miss */
	EXPECT_EQ(2, stats().pool_misses);
	EXPECT_EQ(4, stats().pool_hits);
}

/* That the pool grows for somebody is nothing for those who wait. */
TEST_F_TIMEOUT(exhaustion, wait_does_not_end_by_growth, TIMEOUT)
{
	struct shared *s = shared_alloc(sizeof(*s));
	uint32_t items[MAX], grown;
	long long switches;
	char text[32];
	struct client c;
	pid_t pid;

	MODULE_ONLY();
	start_module(_metadata, (struct shape){ .buffers = 4, .max = 64, .size = 1 << 20 });
	if (!cgroup_start()) {
		cgroup_end();
		SKIP(return, "no cgroup2 with a memory controller");
	}
	ASSERT_NE(NULL, s);
	ASSERT_EQ(0, client_open(&c, POOL));
	ASSERT_EQ(4, refill_all(&c, items, 4));
	pid = child_fork();
	if (!pid) {
		struct client d;
		uint32_t item;

		child_assert(!text_write(CGROUP "/poor/cgroup.procs", "0"));
		child_assert(!client_open(&d, POOL));
		s->ready = 1;
		step_wait(s, 1);
		/* no memory for it, so it waits */
		s->count = do_wait(d.fd, -1);
		s->done = 1;
		step_wait(s, 2);
		item = s->count;
		child_assert(do_release(d.fd, 0, &item, 1) == 1);
		_exit(0);
	}
	ASSERT_TRUE(wait_until(s->ready, DEADLINE));
	snprintf(text, sizeof(text), "%lld", cgroup_bytes("poor") + (512 << 10));
	ASSERT_EQ(0, text_write(CGROUP "/poor/memory.max", text));
	s->go = 1;
	ASSERT_TRUE(wait_until(client_slot(&c, 0) &&
			       *(volatile uint32_t *)(c.map + c.info.depot_offset +
				offsetof(struct lfpool_depot, waiters)) == 1, DEADLINE));
	usleep(300000);
	snprintf(text, sizeof(text), "/proc/%d/status", pid);
	switches = number_in(text, "voluntary_ctxt_switches");

	EXPECT_EQ(1, refill(&c, items + 4, 1, &grown));
	EXPECT_EQ(1, grown);
	usleep(300000);
	EXPECT_EQ(0, s->done);
	EXPECT_EQ(switches, number_in(text, "voluntary_ctxt_switches"));
	EXPECT_EQ(5, stats().capacity);
	/* a put is */
	EXPECT_EQ(1, do_release(c.fd, 0, items + 4, 1));
	EXPECT_TRUE(wait_until(s->done, DEADLINE));
	EXPECT_EQ(items[4], s->count);
	EXPECT_EQ(0, release_all(&c, items, 4));
	s->go = 2;
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_EQ(0, number_in(CGROUP "/poor/memory.events", "oom_kill"));
	client_close(&c);
	cgroup_end();
}

/* Who is killed in its wait does not count any more, and takes nothing along. */
TEST_F_TIMEOUT(exhaustion, killed_waiter_is_forgotten, TIMEOUT)
{
	void *held[4], *buffer;
	unsigned int round;
	pid_t pid[3];
	int i;

	MODULE_ONLY();
	start_pool(_metadata, four);
	ASSERT_EQ(4, take_all(pool, held, 4, 1));
	for (round = 0; round < 2 * rounds(5); round++) {
		for (i = 0; i < 3; i++) {
			pid[i] = child_fork();
			if (!pid[i]) {
				struct lfpool *p = join_pool(0);

				lfpool_get_wait(p, -1);
				_exit(1);
			}
		}
		ASSERT_TRUE(wait_until(waiters_of(pool) == 3, DEADLINE));
		for (i = 0; i < 3; i++) {
			EXPECT_EQ(128 + SIGKILL, child_kill(pid[i]));
			EXPECT_EQ(2 - i, waiters_of(pool));
		}
		/* this put is an ordinary one: into the cache */
		EXPECT_EQ(0, give(pool, held[3], 1));
		EXPECT_EQ(1, stats().cached);
		buffer = take(pool, 1);
		ASSERT_NE(NULL, buffer);
		held[3] = buffer;
	}
	give_all(_metadata, held, 4, 1);
}

/*
 * Others come and go all the time, so that always somebody is dying: an empty
 * pool says that it is empty, and who waits sleeps, is woken and can be stopped.
 */
static void come_and_go(void)
{
	for (;;) {
		struct client c;

		child_assert(!client_open(&c, POOL));
		client_close(&c);
	}
}

TEST_F_TIMEOUT(exhaustion, others_come_and_go, TIMEOUT)
{
	/* again and again: the first one may come before the call has begun */
	const struct itimerval soon = { .it_value.tv_usec = 20000, .it_interval.tv_usec = 20000 };
	const struct itimerval never = { .it_value.tv_usec = 0 };
	struct sigaction action = { .sa_handler = on_signal };
	/* so many that a recovery takes its time; it takes more where all does */
	const unsigned int buffers = rounds(4) * 4096;
	static uint32_t items[16384];
	uint32_t grown;
	struct client c, keeper;
	unsigned int round;
	pid_t pid[6], taker;
	int i, got;

	MODULE_ONLY();
	start_module(_metadata, (struct shape){ .buffers = buffers, .max = buffers, .size = 64 });
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, client_open(&c, POOL));
	ASSERT_EQ(0, client_open(&keeper, POOL));
	ASSERT_EQ(buffers, refill_all(&keeper, items, buffers));
	for (i = 0; i < 6; i++) {
		pid[i] = child_fork();
		if (!pid[i])
			come_and_go();
	}
	for (round = 0; round < rounds(40); round++) {
		EXPECT_EQ(-ENOBUFS, refill(&c, items + 1, 1, &grown));
		EXPECT_EQ(-ETIMEDOUT, do_wait(c.fd, round & 1 ? 0 : MS));
		setitimer(ITIMER_REAL, &soon, NULL);
		EXPECT_EQ(-EINTR, do_wait(c.fd, -1));
		setitimer(ITIMER_REAL, &never, NULL);
	}
	/* what somebody had who died before the call counts as free all the same */
	EXPECT_EQ(0, release_all(&keeper, items, 1));
	for (round = 0; round < rounds(20); round++) {
		taker = child_fork();
		if (!taker) {
			struct client t;

			child_assert(!client_open(&t, POOL));
			child_assert(refill(&t, items, 1, &grown) == 1);
			_exit(0);
		}
		ASSERT_EQ(0, child_wait(taker));
		if (round & 1) {
			got = do_wait(c.fd, 0);
			ASSERT_LE(0, got);
			items[0] = got;
		} else {
			ASSERT_EQ(1, refill(&c, items, 1, &grown));
		}
		ASSERT_EQ(0, release_all(&c, items, 1));
	}
	for (i = 0; i < 6; i++)
		EXPECT_EQ(128 + SIGKILL, child_kill(pid[i]));
	client_close(&keeper);
	client_close(&c);
}

/* Who waits in a process of its own, and then keeps what it got. */
static void wait_and_keep(struct shared *s)
{
	struct lfpool *p = join_pool(0);
	void *buffer;

	child_assert(p);
	buffer = lfpool_get_wait(p, -1);
	child_assert(buffer);
	__atomic_fetch_add(&s->done, 1, __ATOMIC_SEQ_CST);
	step_wait(s, 1);
	child_assert(!lfpool_put(p, buffer));
	lfpool_close(p);
	_exit(0);
}

static long long switches_of(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return number_in(path, "voluntary_ctxt_switches");
}

#define WAITERS		4

TEST_F_TIMEOUT(exhaustion, one_put_wakes_one_waiter, TIMEOUT)
{
	struct shared *s = shared_alloc(sizeof(*s));
	long long before[WAITERS];
	unsigned int i, k, woken;
	pid_t pid[WAITERS];
	void *held[4];

	start_pool(_metadata, four);
	ASSERT_NE(NULL, s);
	ASSERT_EQ(4, take_all(pool, held, 4, 1));
	for (i = 0; i < WAITERS; i++) {
		pid[i] = child_fork();
		if (!pid[i])
			wait_and_keep(s);
	}
	ASSERT_TRUE(wait_until(waiters_of(pool) == WAITERS, DEADLINE));
	for (k = 1; k <= WAITERS; k++) {
		/* until all of them sleep, and none looks around */
		usleep(300000);
		for (i = 0; i < WAITERS; i++)
			before[i] = switches_of(pid[i]);
		EXPECT_EQ(0, give(pool, held[k - 1], 1));
		EXPECT_TRUE(wait_until(s->done == k, DEADLINE));
		usleep(100000);
		EXPECT_EQ(k, s->done);
		EXPECT_EQ(WAITERS - k, waiters_of(pool));
		EXPECT_EQ(4, stats().in_use);
		for (i = woken = 0; i < WAITERS; i++)
			woken += switches_of(pid[i]) != before[i];
		/* those that have theirs sleep by the millisecond */
		EXPECT_GE(k, woken) {
			TH_LOG("put %u woke %u", k, woken);
		}
	}
	EXPECT_EQ(0, waiters_of(pool));
	s->go = 1;
	for (i = 0; i < WAITERS; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
}

/* poll */

static int ready(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n = poll(&p, 1, timeout_ms);

	return n <= 0 ? n : p.revents;
}

TEST_F_TIMEOUT(exhaustion, poll_says_if_a_get_would_succeed, TIMEOUT)
{
	struct keeper *k;
	void *held[8];
	int fd;

	start_pool(_metadata, (struct shape){ .buffers = 4, .max = 5, .size = 4096 });
	fd = lfpool_fd(pool);
	if (embedded()) {
		EXPECT_EQ(-EOPNOTSUPP, fd);
		SKIP(return, "the module's alone");
	}
	ASSERT_LE(0, fd);
	EXPECT_EQ(POLLIN, ready(fd, 0));	/* in the reserve */
	ASSERT_EQ(4, take_all(pool, held, 4, 1));
	EXPECT_EQ(POLLIN, ready(fd, 0));	/* by growth */
	ASSERT_EQ(1, take_all(pool, held + 4, 1, 1));
	EXPECT_EQ(0, ready(fd, 0));
	EXPECT_EQ(0, ready(fd, 50));
	EXPECT_EQ(0, give(pool, held[0], 1));
	EXPECT_EQ(POLLIN, ready(fd, 0));
	ASSERT_NE(NULL, held[0] = take(pool, 1));
	EXPECT_EQ(0, ready(fd, 0));
	/* nobody polls any more: the first put tells that, the next ones are as ever */
	EXPECT_EQ(1, waiters_of(pool));
	EXPECT_EQ(0, give(pool, held[0], 1));
	EXPECT_EQ(0, waiters_of(pool));
	EXPECT_EQ(0, give(pool, held[1], 1));
	EXPECT_EQ(1, stats().cached);
	/* in a cache of ours, in the depot, in a cache of another process */
	EXPECT_EQ(POLLIN, ready(fd, 0));
	give_all(_metadata, held + 2, 3, 1);
	EXPECT_EQ(0, lfpool_prefill(pool, stats().reserve));
	EXPECT_EQ(POLLIN, ready(fd, 0));
	k = keeper_start(_metadata, 5);
	EXPECT_EQ(0, ready(fd, 0));
	ASSERT_TRUE(keeper_does(k, PUT));
	ASSERT_TRUE(keeper_does(k, PUT));
	EXPECT_EQ(POLLIN, ready(fd, 0));
	keeper_end(_metadata, k);
}

/* Those who poll sleep until a put, of whatever process; and the dead count, too. */
TEST_F_TIMEOUT(exhaustion, poll_ends_with_a_put, TIMEOUT)
{
	struct keeper *k;
	void *buffer;
	int fd;

	MODULE_ONLY();
	start_pool(_metadata, four);
	fd = lfpool_fd(pool);
	k = keeper_start(_metadata, 4);
	EXPECT_EQ(0, ready(fd, 20));
	ASSERT_TRUE(keeper_does(k, PUT));
	EXPECT_EQ(POLLIN, ready(fd, 0));
	ASSERT_NE(NULL, buffer = lfpool_get(pool));
	keeper_order(k, PUT, true);
	EXPECT_EQ(POLLIN, ready(fd, DEADLINE * 1000 * slow()));
	EXPECT_EQ(0, lfpool_put(pool, buffer));
	ASSERT_NE(NULL, buffer = lfpool_get(pool));
	ASSERT_NE(NULL, lfpool_get(pool));
	keeper_order(k, KILL, true);
	EXPECT_EQ(POLLIN, ready(fd, DEADLINE * 1000 * slow()));
	EXPECT_EQ(128 + SIGKILL, child_wait(k->pid));
	EXPECT_TRUE(wait_until(stats().clients == 1, DEADLINE));
	EXPECT_EQ(0, lfpool_put(pool, buffer));
	/* the other one comes back by close, as the module takes it back */
	lfpool_close(pool);
	pool = NULL;
}

FIXTURE(epoll) {
	struct keeper *keeper;
	int fd;
};

FIXTURE_VARIANT(epoll) {
	uint32_t events;
};

FIXTURE_VARIANT_ADD(epoll, level) { .events = EPOLLIN };
FIXTURE_VARIANT_ADD(epoll, edge) { .events = EPOLLIN | EPOLLET };
FIXTURE_VARIANT_ADD(epoll, oneshot) { .events = EPOLLIN | EPOLLONESHOT };

FIXTURE_SETUP(epoll)
{
	self->fd = -1;
	start_pool(_metadata, four);
	if (!embedded())
		self->keeper = keeper_start(_metadata, 4);
}

FIXTURE_TEARDOWN(epoll)
{
	if (!embedded())
		keeper_end(_metadata, self->keeper);
	EXPECT_TRUE(wait_until(stats().clients == 1, DEADLINE));
	expect_quiet(_metadata, pool, 4);
	close(self->fd);
	lfpool_close(pool);
	if (!embedded())
		EXPECT_EQ(0, module_unload());
}

/*
 * What every event loop does: wait for an event, get until ENOBUFS, wait for
 * the next one. Each of these waits has a put to end it.
 */
TEST_F_TIMEOUT(epoll, tells_of_every_put, TIMEOUT)
{
	struct epoll_event event = { .events = variant->events }, seen;
	void *held[4];
	unsigned int n;

	if (embedded())
		SKIP(return, "the module's alone");
	self->fd = epoll_create1(EPOLL_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, epoll_ctl(self->fd, EPOLL_CTL_ADD, lfpool_fd(pool), &event));
	EXPECT_EQ(0, epoll_wait(self->fd, &seen, 1, 20));
	for (n = 0; n < 4; n++) {
		ASSERT_TRUE(keeper_does(self->keeper, PUT));
		EXPECT_EQ(1, epoll_wait(self->fd, &seen, 1, 5000)) {
			TH_LOG("no event for put %u: %llu available", n + 1,
			       (unsigned long long)stats().available);
		}
		held[n] = lfpool_get(pool);
		ASSERT_NE(NULL, held[n]);
		expect_enobufs(_metadata, pool);
		if (variant->events & EPOLLONESHOT)
			ASSERT_EQ(0, epoll_ctl(self->fd, EPOLL_CTL_MOD, lfpool_fd(pool), &event));
		EXPECT_EQ(0, epoll_wait(self->fd, &seen, 1, 20));
	}
	EXPECT_EQ(4, lfpool_put_bulk(pool, held, 4));
}

/*
 * Two event loops that share the node by EPOLLEXCLUSIVE, which wakes one of them
 * at a time where it can: a put must not be told to one that has enough, and the
 * next put to nobody.
 */
TEST_F_TIMEOUT(epoll, tells_all_who_exclude_each_other, TIMEOUT)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE }, seen;
	int fd[2], k;

	if (embedded() || variant->events != EPOLLIN)
		SKIP(return, "the module's alone, and once");
	for (k = 0; k < 2; k++) {
		fd[k] = epoll_create1(EPOLL_CLOEXEC);
		ASSERT_LE(0, fd[k]);
		ASSERT_EQ(0, epoll_ctl(fd[k], EPOLL_CTL_ADD, lfpool_fd(pool), &event));
		EXPECT_EQ(0, epoll_wait(fd[k], &seen, 1, 20));
	}
	/* of one put both learn, or of the second one who did not of the first */
	ASSERT_TRUE(keeper_does(self->keeper, PUT));
	ASSERT_TRUE(keeper_does(self->keeper, PUT));
	for (k = 0; k < 2; k++) {
		EXPECT_EQ(1, epoll_wait(fd[k], &seen, 1, 5000)) {
			TH_LOG("event loop %d sleeps: %llu available", k,
			       (unsigned long long)stats().available);
		}
	}
	close(fd[0]);
	close(fd[1]);
}

/*
 * Two processes, each with threads that wait and one that polls, and not enough
 * buffers for all. A wake-up that is lost once stops somebody for good.
 */
#define STRESS_THREADS	9U	/* at most, and one that polls */
#define STRESS_GETS	20000U

struct stress {
	unsigned int threads, rounds;	/* of each process, of each thread */
	uint64_t gets[2 * (STRESS_THREADS + 1)];
	uint32_t faults;
};

struct stressed {
	pthread_t thread;
	struct lfpool *pool;
	struct stress *s;
	unsigned int number;
	uint32_t random;
};

static void stress_use(struct stressed *w, void *buffer)
{
	uint32_t item = buffer_index(w->pool, buffer);

	owners_move(owners, item, 0, w->number + 1);
	stamp_write(buffer, 64, w->number);
	/*
	 * Who holds one sleeps now and then, so that others have to wait: the longer,
	 * the longer all else takes here.
	 */
	if (random_next(&w->random) % 2)
		usleep(w->random % 256 * slow());
	if (!stamp_check(buffer, 64, w->number))
		__atomic_fetch_add(&w->s->faults, 1, __ATOMIC_SEQ_CST);
	owners_move(owners, item, w->number + 1, 0);
	if (lfpool_put(w->pool, buffer))
		__atomic_fetch_add(&w->s->faults, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&w->s->gets[w->number], 1, __ATOMIC_SEQ_CST);
}

static void *stress_wait(void *arg)
{
	struct stressed *w = arg;
	unsigned int round;

	for (round = 0; round < w->s->rounds; round++) {
		void *buffer = lfpool_get_wait(w->pool, -1);

		if (buffer)
			stress_use(w, buffer);
		else
			__atomic_fetch_add(&w->s->faults, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void *stress_poll(void *arg)
{
	struct stressed *w = arg;
	unsigned int round = 0;

	while (round < w->s->rounds / 5) {
		void *buffer;

		if (ready(lfpool_fd(w->pool), -1) != POLLIN)
			__atomic_fetch_add(&w->s->faults, 1, __ATOMIC_SEQ_CST);
		buffer = lfpool_get(w->pool);
		/* or somebody was faster */
		if (!buffer)
			continue;
		stress_use(w, buffer);
		round++;
	}
	return NULL;
}

static void stress_process(struct stress *s, unsigned int number)
{
	struct stressed w[STRESS_THREADS + 1];
	unsigned int i, n = s->threads + !embedded();
	struct lfpool *p = join_pool(0);

	child_assert(p);
	for (i = 0; i < n; i++) {
		w[i] = (struct stressed){
			.pool = p, .s = s, .number = number * (STRESS_THREADS + 1) + i,
			.random = number * 100 + i + 1,
		};
		child_assert(!pthread_create(&w[i].thread, NULL,
					     i < s->threads ? stress_wait : stress_poll,
					     &w[i]));
	}
	for (i = 0; i < n; i++)
		child_assert(!pthread_join(w[i].thread, NULL));
	lfpool_close(p);
	_exit(0);
}

static uint64_t stress_sum(const struct stress *s)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(s->gets); i++)
		sum += __atomic_load_n(&s->gets[i], __ATOMIC_SEQ_CST);
	return sum;
}

/* @aside: buffers that nobody gets, so that the others are too few */
static void stress(struct __test_metadata *_metadata, unsigned int buffers, unsigned int aside,
		   unsigned int threads)
{
	void *held[MAX];
	struct stress *s = shared_alloc(sizeof(*s));
	uint64_t sum, last = 0, moved = now_ns(), due;
	unsigned int i, all, running = 2;
	bool stuck = false;
	pid_t pid[2];
	int status;

	start_pool(_metadata, (struct shape){
		.buffers = buffers, .max = buffers, .size = 4096,
	});
	ASSERT_NE(NULL, s);
	ASSERT_EQ(aside, take_all(pool, held, aside, 1));
	s->threads = threads;
	all = STRESS_GETS / (round_step() > 5 ? 8 : round_step() > 1 ? 4 : 1);
	s->rounds = all / threads / 2;
	due = 2 * (threads * s->rounds + (embedded() ? 0 : s->rounds / 5));
	for (i = 0; i < 2; i++) {
		pid[i] = child_fork();
		if (!pid[i])
			stress_process(s, i);
	}
	while (running && !stuck) {
		usleep(2000);
		for (i = 0; i < 2; i++) {
			if (pid[i] && waitpid(pid[i], &status, WNOHANG) == pid[i]) {
				EXPECT_EQ(0, status);
				pid[i] = 0;
				running--;
			}
		}
		sum = stress_sum(s);
		if (sum != last)
			moved = now_ns();
		last = sum;
		stuck = running && now_ns() - moved > DEADLINE * SECOND * slow();
	}
	EXPECT_FALSE(stuck) {
		TH_LOG("stuck after %llu gets: %u wait, %llu available",
		       (unsigned long long)last, waiters_of(pool),
		       (unsigned long long)stats().available);
	}
	for (i = 0; i < 2; i++) {
		if (pid[i])
			child_kill(pid[i]);
	}
	EXPECT_EQ(0, s->faults);
	EXPECT_TRUE(wait_until(stats().clients == 1, DEADLINE));
	EXPECT_EQ(due, stress_sum(s));
	EXPECT_EQ(due, stats().deallocations);
	TH_LOG("%u buffers, 2 processes of %u threads: %llu gets, "
	       "%llu in vain at first; wake-ups lost: %u",
	       buffers - aside, threads + !embedded(), (unsigned long long)stress_sum(s),
	       (unsigned long long)stats().pool_misses, stuck);
	/* there was somebody to wake: else this shows nothing */
	EXPECT_LT(all / 200, stats().pool_misses);
	/* who polled last found a buffer: the puts after that one were told so */
	EXPECT_EQ(0, lfpool_put(pool, lfpool_get(pool)));
	EXPECT_EQ(0, waiters_of(pool));
	give_all(_metadata, held, aside, 1);
}

TEST_F_TIMEOUT(exhaustion, no_wakeup_is_lost_by_single_buffers, 2 * TIMEOUT)
{
	stress(_metadata, 3, 0, 4);
}

TEST_F_TIMEOUT(exhaustion, no_wakeup_is_lost_by_batches, 2 * TIMEOUT)
{
	/* batches of two */
	stress(_metadata, 16, 10, STRESS_THREADS);
}

/*
 * 4. The heap, when the pool has nothing
 */

TEST_F_TIMEOUT(exhaustion, fallback_gives_from_the_heap, TIMEOUT)
{
	const unsigned int buffers = 4, max = 6, heap = 100;
	struct lfpool_stats s;
	uint64_t handle;
	void *held[106];
	unsigned int n;

	start_pool(_metadata, (struct shape){
		.buffers = buffers, .max = max, .size = 8192, .flags = LFPOOL_OPEN_FALLBACK,
	});
	for (n = 0; n < max + heap; n++) {
		held[n] = n % 3 ? lfpool_get(pool) : lfpool_get_wait(pool, -1);
		ASSERT_NE(NULL, held[n]);
		EXPECT_EQ(0, (uintptr_t)held[n] % 4096);
		EXPECT_EQ(n >= max, buffer_index(pool, held[n]) >= max);
		memset(held[n], n, 8192);
	}
	s = stats();
	EXPECT_EQ(buffers, s.pool_hits);
	EXPECT_EQ(max - buffers + heap, s.pool_misses);
	EXPECT_EQ(max - buffers + heap, s.allocations);
	EXPECT_EQ(max - buffers, s.grown);
	EXPECT_EQ(max, s.capacity);
	EXPECT_EQ(max, s.in_use);
	for (n = 0; n < max + heap; n++)
		EXPECT_TRUE(all_are(held[n], 8192, n));
	for (n = max; n < max + heap; n++)
		EXPECT_EQ(-EINVAL, lfpool_export(pool, held[n], &handle));
	EXPECT_EQ(0, lfpool_export(pool, held[0], &handle));

	/* in whatever order, one and many */
	EXPECT_EQ(heap / 2, lfpool_put_bulk(pool, held + max, heap / 2));
	for (n = max + heap; n-- > max + heap / 2; )
		EXPECT_EQ(0, lfpool_put(pool, held[n]));
	s = stats();
	EXPECT_EQ(heap, s.deallocations);
	EXPECT_EQ(max, s.capacity);
	EXPECT_EQ(max, s.in_use);
	EXPECT_EQ(0, s.available);
	/* the pool's own go back to the pool, and come from there first */
	EXPECT_EQ(max, lfpool_put_bulk(pool, held, max));
	EXPECT_EQ(max, lfpool_get_bulk(pool, held, max));
	for (n = 0; n < max; n++)
		EXPECT_GT(max, buffer_index(pool, held[n]));
	EXPECT_EQ(max + 3, lfpool_get_bulk(pool, held + max, max + 3));
	EXPECT_EQ(max + 3 + max, lfpool_put_bulk(pool, held, max + 3 + max));
	s = stats();
	EXPECT_EQ(buffers + max, s.pool_hits);
	EXPECT_EQ(max - buffers + heap + max + 3, s.pool_misses);
	EXPECT_EQ(s.pool_misses, s.allocations);
	EXPECT_EQ(s.pool_hits + s.pool_misses, s.deallocations);
}

/* Only what it gave, and only once; anything else is left as it is. */
TEST_F_TIMEOUT(exhaustion, fallback_refuses_foreign_pointers, TIMEOUT)
{
	unsigned char local[8192], *foreign = malloc(8192), *heap;
	struct lfpool_config config = {
		.buffer_size = 8192, .buffer_count = 1, .max_count = 1,
		.flags = LFPOOL_OPEN_FALLBACK,
	};
	struct lfpool_stats before, after;
	struct lfpool *other;
	void *held[4], *theirs[2];
	unsigned int i;

	start_pool(_metadata, (struct shape){
		.buffers = 4, .max = 4, .size = 8192, .flags = LFPOOL_OPEN_FALLBACK,
	});
	ASSERT_EQ(4, take_all(pool, held, 4, 1));
	heap = lfpool_get(pool);
	ASSERT_NE(NULL, heap);
	other = lfpool_create(&config);
	ASSERT_NE(NULL, other);
	ASSERT_EQ(2, lfpool_get_bulk(other, theirs, 2));
	memset(foreign, 0x5a, 8192);
	memset(heap, 0x5b, 8192);

	before = stats();
	{
		void *const wrong[] = {
			NULL, (void *)1, foreign, foreign + 64, local, heap + 64, heap + 4096,
			heap - 4096, theirs[0], theirs[1], held[0] + 64, held[0] - 64,
			(char *)held[0] + 4 * 8192,
		};

		for (i = 0; i < ARRAY_SIZE(wrong); i++) {
			EXPECT_EQ(-EINVAL, lfpool_put(pool, wrong[i])) {
				TH_LOG("pointer %u", i);
			}
		}
	}
	after = stats();
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	EXPECT_TRUE(all_are(foreign, 8192, 0x5a));
	EXPECT_TRUE(all_are(heap, 8192, 0x5b));
	free(foreign);
	EXPECT_EQ(0, lfpool_put(pool, heap));
	/* nor twice */
	EXPECT_EQ(-EINVAL, lfpool_put(pool, heap));
	EXPECT_EQ(1, stats().deallocations);
	EXPECT_EQ(2, lfpool_put_bulk(other, theirs, 2));
	lfpool_close(other);
	give_all(_metadata, held, 4, 1);

	/* without the flag there is no heap */
	if (!embedded()) {
		other = lfpool_open(POOL, 0);
		ASSERT_NE(NULL, other);
		EXPECT_EQ(4, lfpool_get_bulk(other, held, 4));
		expect_enobufs(_metadata, other);
		EXPECT_EQ(-EINVAL, lfpool_put(other, local));
		EXPECT_EQ(4, lfpool_put_bulk(other, held, 4));
		lfpool_close(other);
	}
}

/* What a pool promises of its buffers, the heap keeps as well. */
TEST_F_TIMEOUT(exhaustion, fallback_is_zeroed_where_the_pool_is, TIMEOUT)
{
	struct lfpool_config config = {
		.buffer_size = 2048, .buffer_count = 2, .max_count = 2,
		.flags = LFPOOL_OPEN_FALLBACK, .pool_flags = LFPOOL_POOL_ZERO,
	};
	unsigned int i, round;
	struct lfpool *simd;
	void *held[8];

	start_pool(_metadata, four);
	if (embedded()) {
		simd = lfpool_create(&config);
	} else {
		lfpool_close(pool);
		pool = NULL;
		ASSERT_EQ(0, module_fresh("buffer_count=2 max_count=2 simd_elements=64"));
		simd = lfpool_open("simd", LFPOOL_OPEN_FALLBACK);
	}
	ASSERT_NE(NULL, simd);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < 8; i++) {
			held[i] = lfpool_get(simd);
			ASSERT_NE(NULL, held[i]);
			EXPECT_EQ(0, (uintptr_t)held[i] % 64);
			EXPECT_TRUE(all_are(held[i], 2048, 0));
			memset(held[i], 0xff, 2048);
		}
		for (i = 0; i < 8; i++)
			EXPECT_EQ(0, lfpool_put(simd, held[i]));
	}
	lfpool_close(simd);
}

/* Threads and the table of what the heap gave. */
static unsigned int heap_rounds(void)
{
	return 25 * rounds(4);
}

static void *use_heap(void *arg)
{
	unsigned int *faults = arg, round, k;
	unsigned char *held[40];

	for (round = 0; round < heap_rounds(); round++) {
		for (k = 0; k < ARRAY_SIZE(held); k++) {
			held[k] = lfpool_get(pool);
			if (held[k])
				memset(held[k], k, 512);
			else
				++*faults;
		}
		for (k = 0; k < ARRAY_SIZE(held); k++) {
			*faults += !all_are(held[k], 512, k);
			*faults += !!lfpool_put(pool, held[k]);
		}
	}
	return NULL;
}

TEST_F_TIMEOUT(exhaustion, fallback_of_many_threads, TIMEOUT)
{
	unsigned int faults[4] = { 0 }, i;
	struct lfpool_stats s;
	pthread_t thread[4];

	start_pool(_metadata, (struct shape){
		.buffers = 16, .max = 32, .size = 512, .flags = LFPOOL_OPEN_FALLBACK,
	});
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, use_heap, &faults[i]));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
		EXPECT_EQ(0, faults[i]);
	}
	s = stats();
	EXPECT_EQ(4 * heap_rounds() * 40, s.pool_hits + s.pool_misses);
	EXPECT_EQ(4 * heap_rounds() * 40, s.deallocations);
	EXPECT_EQ(s.pool_misses, s.allocations);
	EXPECT_GE(16, s.grown);
	EXPECT_EQ(16 + s.grown, s.capacity);
	EXPECT_LT(s.grown, s.allocations);
}

/*
 * 5. CHECKED and POISON: who errs is told so, with the number of the buffer
 */

static int capture_saved = -1, capture_file = -1;

/* From here to captured() standard error is kept. */
static void capture(void)
{
	capture_file = memfd_create("stderr", MFD_CLOEXEC);
	capture_saved = dup(2);
	dup2(capture_file, 2);
}

static const char *captured(void)
{
	static char text[4096];
	ssize_t n;

	dup2(capture_saved, 2);
	n = pread(capture_file, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = 0;
	close(capture_saved);
	close(capture_file);
	return text;
}

/* What was said is this line, once, about this buffer; or nothing (what: NULL). */
static void expect_report(struct __test_metadata *_metadata, uint32_t item, const char *what)
{
	char line[256] = "";

	if (what)
		snprintf(line, sizeof(line), "lfpool: " POOL ": buffer %u: %s\n", item, what);
	EXPECT_STREQ(line, captured());
}

#define FREE_ALREADY	"put, but it is free already"

FIXTURE(checked) {
	struct lfpool_thread *thread;
	unsigned char *data;	/* of buffer 0 */
};

FIXTURE_VARIANT(checked) {
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(checked, ownership) { .flags = LFPOOL_OPEN_CHECKED };
FIXTURE_VARIANT_ADD(checked, and_contents) { .flags = LFPOOL_OPEN_CHECKED | LFPOOL_OPEN_POISON };
FIXTURE_VARIANT_ADD(checked, contents_only) { .flags = LFPOOL_OPEN_POISON };

#define CHECKED_BUFFERS	16U
#define CHECKED_SIZE	4096U

FIXTURE_SETUP(checked)
{
	/* batches of two: four in a cache at most, then two go to the depot */
	start_pool(_metadata, (struct shape){
		.buffers = CHECKED_BUFFERS, .max = CHECKED_BUFFERS + 2, .size = CHECKED_SIZE,
		.flags = variant->flags,
	});
	self->thread = lfpool_attach(pool);
	ASSERT_NE(NULL, self->thread);
	self->data = self->thread->data;
}

FIXTURE_TEARDOWN(checked)
{
	EXPECT_TRUE(wait_until(stats().clients == 1, DEADLINE));
	expect_quiet(_metadata, pool, stats().capacity);
	EXPECT_EQ(0, owners->faults);
	lfpool_close(pool);
	if (!embedded())
		EXPECT_EQ(0, module_unload());
}

/* By every way to put: refused, told, and nothing has changed. */
static void expect_refused(struct __test_metadata *_metadata, void *buffer, int error,
			   const char *what)
{
	uint32_t item = buffer_index(pool, buffer);
	struct lfpool_stats before = stats(), after;
	int err;

	capture();
	err = lfpool_put(pool, buffer);
	expect_report(_metadata, item, what);
	EXPECT_EQ(error, err) {
		TH_LOG("buffer %u", item);
	}
	capture();
	err = lfpool_thread_put(lfpool_attach(pool), buffer);
	expect_report(_metadata, item, what);
	EXPECT_EQ(error, err);
	capture();
	err = lfpool_put_bulk(pool, &buffer, 1) ? 0 : -errno;
	expect_report(_metadata, item, what);
	EXPECT_EQ(error, err);
	after = stats();
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

TEST_F_TIMEOUT(checked, double_put, TIMEOUT)
{
	void *held[CHECKED_BUFFERS];
	unsigned int k;

	ASSERT_EQ(CHECKED_BUFFERS, take_all(pool, held, CHECKED_BUFFERS, 1));
	/* at once */
	EXPECT_EQ(0, give(pool, held[0], 1));
	expect_refused(_metadata, held[0], -EALREADY, FREE_ALREADY);
	/* later: deep in the cache, leader and member of a batch in the depot */
	for (k = 1; k < 8; k++)
		EXPECT_EQ(0, give(pool, held[k], 1));
	for (k = 0; k < 8; k++)
		expect_refused(_metadata, held[k], -EALREADY, FREE_ALREADY);
	EXPECT_EQ(CHECKED_BUFFERS - 8, stats().in_use);
	give_all(_metadata, held + 8, CHECKED_BUFFERS - 8, 1);
	for (k = 0; k < CHECKED_BUFFERS; k++)
		expect_refused(_metadata, held[k], -EALREADY, FREE_ALREADY);
	/* one that was never given out, and one that there is not yet */
	expect_refused(_metadata, self->data + CHECKED_BUFFERS * CHECKED_SIZE, -EALREADY,
		       FREE_ALREADY);
	/* twice in one call: the first counts */
	ASSERT_EQ(2, take_all(pool, held, 2, 1));
	held[2] = held[0];
	owners_move(owners, buffer_index(pool, held[0]), 1, 0);
	owners_move(owners, buffer_index(pool, held[1]), 1, 0);
	capture();
	k = lfpool_put_bulk(pool, held, 3);
	expect_report(_metadata, buffer_index(pool, held[0]), FREE_ALREADY);
	EXPECT_EQ(2, k);
	EXPECT_EQ(EALREADY, errno);
}

static void *put_and_end(void *arg)
{
	return (void *)(intptr_t)give(pool, arg, 1);
}

static void *put_only(void *arg)
{
	return (void *)(intptr_t)lfpool_put(pool, arg);
}

TEST_F_TIMEOUT(checked, double_put_by_another_thread, TIMEOUT)
{
	void *held[CHECKED_BUFFERS], *result;
	pthread_t thread;

	ASSERT_EQ(CHECKED_BUFFERS, take_all(pool, held, CHECKED_BUFFERS, 1));
	EXPECT_EQ(0, give(pool, held[0], 1));
	capture();
	EXPECT_EQ(0, pthread_create(&thread, NULL, put_only, held[0]));
	EXPECT_EQ(0, pthread_join(thread, &result));
	expect_report(_metadata, buffer_index(pool, held[0]), FREE_ALREADY);
	EXPECT_EQ((void *)-EALREADY, result);
	/* it ended with the buffer in its cache: in the reserve by now */
	EXPECT_EQ(0, pthread_create(&thread, NULL, put_and_end, held[1]));
	EXPECT_EQ(0, pthread_join(thread, &result));
	EXPECT_EQ(NULL, result);
	EXPECT_EQ(1, stats().reserve);
	expect_refused(_metadata, held[1], -EALREADY, FREE_ALREADY);
	/* out again, and in again */
	ASSERT_EQ(2, take_all(pool, held, 2, 1));
	give_all(_metadata, held, CHECKED_BUFFERS, 1);
}

/*
 * A process that shares the mischief: it gets one buffer, puts it or keeps it,
 * hands over what it was handed.
 */
#define NONE		UINT64_MAX

struct peer {
	struct shared s;
	volatile uint64_t handle;	/* to import; NONE: get one */
	volatile uint32_t client;
	volatile uint32_t item;
	volatile bool keep;
};

static void peer_run(struct peer *peer, unsigned int flags)
{
	struct lfpool *p = join_pool(flags);
	struct lfpool_info info;
	void *buffer;

	child_assert(p);
	buffer = peer->handle == NONE ? lfpool_get(p) : lfpool_import(p, peer->handle);
	child_assert(buffer);
	child_assert(!lfpool_info(p, &info));
	peer->client = info.client;
	peer->item = buffer_index(p, buffer);
	if (!peer->keep)
		child_assert(!lfpool_put(p, buffer));
	peer->s.ready = 1;
	step_wait(&peer->s, 1);
	if (peer->keep)
		child_assert(!lfpool_put(p, buffer));
	lfpool_close(p);
	_exit(0);
}

static pid_t peer_start(struct __test_metadata *_metadata, struct peer *peer, unsigned int flags)
{
	pid_t pid;

	peer->s.ready = 0;
	peer->s.go = 0;
	pid = child_fork();
	if (!pid)
		peer_run(peer, flags);
	ASSERT_TRUE(wait_until(peer->s.ready, DEADLINE));
	return pid;
}

static void peer_end(struct __test_metadata *_metadata, struct peer *peer, pid_t pid)
{
	peer->s.go = 1;
	EXPECT_EQ(0, child_wait(pid));
}

TEST_F_TIMEOUT(checked, put_of_what_was_handed_away, TIMEOUT)
{
	struct peer *peer = shared_alloc(sizeof(*peer));
	void *buffer = lfpool_get(pool);
	uint64_t handle;
	char what[64];
	pid_t pid;

	ASSERT_NE(NULL, peer);
	ASSERT_NE(NULL, buffer);
	ASSERT_EQ(0, lfpool_export(pool, buffer, &handle));
	peer->handle = handle;
	peer->keep = true;
	pid = peer_start(_metadata, peer, variant->flags);
	EXPECT_EQ(buffer_index(pool, buffer), peer->item);
	snprintf(what, sizeof(what), "put, but client %u has it", peer->client);
	expect_refused(_metadata, buffer, -ESTALE, what);
	peer_end(_metadata, peer, pid);
	/* the statistics that are compared change until its recovery is over */
	EXPECT_TRUE(wait_until(stats().clients == 1, DEADLINE));
	EXPECT_EQ(0, stats().in_use);
	expect_refused(_metadata, buffer, -EALREADY, FREE_ALREADY);

	/* exported, not imported: its holder's still, to put once */
	buffer = lfpool_get(pool);
	ASSERT_NE(NULL, buffer);
	ASSERT_EQ(0, lfpool_export(pool, buffer, &handle));
	EXPECT_EQ(0, lfpool_put(pool, buffer));
	expect_refused(_metadata, buffer, -EALREADY, FREE_ALREADY);
	EXPECT_EQ(NULL, lfpool_import(pool, handle));
	EXPECT_EQ(ESTALE, errno);
}

TEST_F_TIMEOUT(checked, put_by_a_process_that_does_not_have_it, TIMEOUT)
{
	struct peer *peer = shared_alloc(sizeof(*peer));
	unsigned int flags[] = { variant->flags, 0 }, i;
	char what[64];
	pid_t pid;

	ASSERT_NE(NULL, peer);
	/* of a peer that checks, and of one that does not */
	for (i = 0; i < 2; i++) {
		peer->handle = NONE;
		peer->keep = true;
		pid = peer_start(_metadata, peer, flags[i]);
		snprintf(what, sizeof(what), "put, but client %u has it", peer->client);
		expect_refused(_metadata, self->data + peer->item * CHECKED_SIZE, -ESTALE, what);
		peer_end(_metadata, peer, pid);
		EXPECT_TRUE(wait_until(stats().clients == 1, DEADLINE));
	}
}

/* It is free, in the cache of a process that checks, too: so it is a double put. */
TEST_F_TIMEOUT(checked, double_put_of_what_another_process_put_since, TIMEOUT)
{
	struct peer *peer = shared_alloc(sizeof(*peer));
	void *held[CHECKED_BUFFERS + 2];
	pid_t pid;

	ASSERT_NE(NULL, peer);
	ASSERT_EQ(CHECKED_BUFFERS + 2, take_all(pool, held, CHECKED_BUFFERS + 2, 1));
	EXPECT_EQ(0, give(pool, held[5], 1));
	peer->handle = NONE;
	pid = peer_start(_metadata, peer, variant->flags);
	ASSERT_EQ(buffer_index(pool, held[5]), peer->item);
	expect_refused(_metadata, held[5], -EALREADY, FREE_ALREADY);
	peer_end(_metadata, peer, pid);
	EXPECT_TRUE(wait_until(stats().clients == 1, DEADLINE));
	expect_refused(_metadata, held[5], -EALREADY, FREE_ALREADY);
	held[5] = take(pool, 1);
	ASSERT_NE(NULL, held[5]);
	give_all(_metadata, held, CHECKED_BUFFERS + 2, 1);
}

/* Those who put at the same time: one of them has put it, all the others erred. */
FIXTURE(puts_at_once) {
	uint64_t unused;
};

FIXTURE_VARIANT(puts_at_once) {
	unsigned int threads;
};

FIXTURE_VARIANT_ADD(puts_at_once, into_caches) { .threads = 16 };
FIXTURE_VARIANT_ADD(puts_at_once, without_slots) { .threads = 1 };

FIXTURE_SETUP(puts_at_once)
{
	start_pool(_metadata, (struct shape){
		.buffers = CHECKED_BUFFERS, .max = CHECKED_BUFFERS, .size = CHECKED_SIZE,
		.threads = variant->threads, .flags = LFPOOL_OPEN_CHECKED,
	});
}

FIXTURE_TEARDOWN(puts_at_once)
{
	EXPECT_EQ(0, owners->faults);
	expect_quiet(_metadata, pool, CHECKED_BUFFERS);
	lfpool_close(pool);
	if (!embedded())
		EXPECT_EQ(0, module_unload());
}

#define PUTTERS		3U
#define PUT_ROUNDS	5000U

struct putters {
	void *buffer;
	bool stop;
	uint64_t result[3];	/* 0, EALREADY, anything else */
};

static void *put_always(void *arg)
{
	struct putters *p = arg;
	int err;

	while (!__atomic_load_n(&p->stop, __ATOMIC_SEQ_CST)) {
		err = lfpool_put(pool, p->buffer);
		__atomic_fetch_add(&p->result[!err ? 0 : err == -EALREADY ? 1 : 2], 1,
				   __ATOMIC_SEQ_CST);
	}
	return NULL;
}

TEST_F_TIMEOUT(puts_at_once, one_wins, TIMEOUT)
{
	uint64_t end = now_ns() + rounds(10) * SECOND, gets = 1, others = 0;
	void *held[CHECKED_BUFFERS], *buffer;
	struct putters p = { .stop = false };
	pthread_t thread[PUTTERS];
	unsigned int i;

	/* one buffer, which everybody puts as soon as it is out */
	ASSERT_EQ(CHECKED_BUFFERS, take_all(pool, held, CHECKED_BUFFERS, 1));
	p.buffer = held[0];
	capture();
	for (i = 0; i < PUTTERS; i++)
		pthread_create(&thread[i], NULL, put_always, &p);
	while (gets < rounds(PUT_ROUNDS) && now_ns() < end) {
		buffer = lfpool_get(pool);
		gets += !!buffer;
		others += buffer && buffer != p.buffer;
	}
	__atomic_store_n(&p.stop, true, __ATOMIC_SEQ_CST);
	for (i = 0; i < PUTTERS; i++)
		pthread_join(thread[i], NULL);
	/* the last one, unless somebody was fast enough */
	i = stats().in_use == CHECKED_BUFFERS;
	if (i)
		p.result[0] += !lfpool_put(pool, p.buffer);
	EXPECT_NE(NULL, strstr(captured(), FREE_ALREADY));
	EXPECT_EQ(0, others);
	/* fewer show nothing */
	EXPECT_LE(rounds(PUT_ROUNDS) / 50, gets);
	EXPECT_EQ(gets, p.result[0]);
	EXPECT_EQ(0, p.result[2]);
	EXPECT_EQ(CHECKED_BUFFERS - 1, stats().in_use);
	TH_LOG("%llu gets, %llu puts, %llu refused", (unsigned long long)gets,
	       (unsigned long long)p.result[0], (unsigned long long)p.result[1]);
	owners_move(owners, buffer_index(pool, held[0]), 1, 0);
	give_all(_metadata, held + 1, CHECKED_BUFFERS - 1, 1);
}

/*
 * A buffer that nobody has, on its way from the reserve into a cache: a put of
 * it is a double put then as well.
 */
static void *get_and_end(void *arg)
{
	*(void **)arg = lfpool_get(pool);
	return NULL;
}

/* One of two out of the reserve, and back; the other one, too, but for nobody. */
static void *get_one_of_a_batch(void)
{
	void *buffer = NULL;
	pthread_t thread;

	pthread_create(&thread, NULL, get_and_end, &buffer);
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, put_only, buffer);
	pthread_join(thread, NULL);
	return buffer;
}

struct stray {
	void *buffer;
	bool stop;
	uint64_t tried, accepted;
};

static void *put_stray(void *arg)
{
	struct stray *s = arg;

	while (!__atomic_load_n(&s->stop, __ATOMIC_SEQ_CST)) {
		if (!lfpool_put(pool, s->buffer))
			__atomic_fetch_add(&s->accepted, 1, __ATOMIC_SEQ_CST);
		s->tried++;
	}
	return NULL;
}

TEST_F_TIMEOUT(puts_at_once, none_wins_while_it_is_granted, TIMEOUT)
{
	uint64_t end = now_ns() + rounds(10) * SECOND;
	struct stray s = { .tried = 0 };
	void *held[CHECKED_BUFFERS], *first, *got;
	unsigned int round, i;
	pthread_t thread, stray;

	if (variant->threads == 1)
		SKIP(return, "nothing goes into a cache");
	/* a batch of two in the reserve, and nothing else in the pool */
	ASSERT_EQ(CHECKED_BUFFERS, take_all(pool, held, CHECKED_BUFFERS, 1));
	EXPECT_EQ(0, pthread_create(&thread, NULL, put_and_end, held[0]));
	EXPECT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, pthread_create(&thread, NULL, put_and_end, held[1]));
	EXPECT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(2, stats().reserve);
	/* the one that was put last is given out: always the same */
	first = get_one_of_a_batch();
	for (i = 0; i < 10; i++) {
		got = get_one_of_a_batch();
		ASSERT_EQ(first, got);
	}
	s.buffer = first == held[0] ? held[1] : held[0];

	capture();
	pthread_create(&stray, NULL, put_stray, &s);
	for (round = 0; round < rounds(20000) && now_ns() < end; round++) {
		got = get_one_of_a_batch();
		if (got != first || __atomic_load_n(&s.accepted, __ATOMIC_SEQ_CST))
			break;
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_SEQ_CST);
	pthread_join(stray, NULL);
	captured();
	EXPECT_EQ(first, got);
	EXPECT_EQ(0, s.accepted) {
		TH_LOG("in round %u", round);
	}
	TH_LOG("%u times from the reserve into a cache, %llu stray puts", round,
	       (unsigned long long)s.tried);
	give_all(_metadata, held + 2, CHECKED_BUFFERS - 2, 1);
}

/* What is always found, without any flag: the second put at once. */
TEST_F_TIMEOUT(exhaustion, double_put_at_once_is_found_unchecked, TIMEOUT)
{
	struct lfpool_stats before, after;
	struct lfpool_thread *t;
	void *held[16];
	unsigned int k;

	start_pool(_metadata, (struct shape){ .buffers = 16, .max = 16, .size = 4096 });
	t = lfpool_attach(pool);
	ASSERT_NE(NULL, t);
	ASSERT_EQ(16, take_all(pool, held, 16, 1));
	/* whether the cache was empty, or the put made it overflow */
	for (k = 0; k < 16; k++) {
		EXPECT_EQ(0, give(pool, held[k], 1));
		before = stats();
		capture();
		EXPECT_EQ(-EALREADY, lfpool_put(pool, held[k]));
		EXPECT_EQ(-EALREADY, lfpool_thread_put(t, held[k]));
		EXPECT_EQ(0, lfpool_put_bulk(pool, &held[k], 1));
		EXPECT_EQ(EALREADY, errno);
		EXPECT_STREQ("", captured());
		after = stats();
		EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	}
}

/* POISON */

FIXTURE(poison) {
	unsigned char *data;
};

FIXTURE_SETUP(poison)
{
	start_pool(_metadata, (struct shape){
		.buffers = CHECKED_BUFFERS, .max = CHECKED_BUFFERS, .size = CHECKED_SIZE,
		.flags = LFPOOL_OPEN_POISON,
	});
	self->data = lfpool_attach(pool)->data;
}

FIXTURE_TEARDOWN(poison)
{
	EXPECT_TRUE(wait_until(stats().clients == 1, DEADLINE));
	expect_quiet(_metadata, pool, CHECKED_BUFFERS);
	EXPECT_EQ(0, owners->faults);
	lfpool_close(pool);
	if (!embedded())
		EXPECT_EQ(0, module_unload());
}

TEST_F_TIMEOUT(poison, write_after_put, TIMEOUT)
{
	static const struct {
		unsigned int offset, size;
	} writes[] = {
		{ 0, 1 }, { 1, 1 }, { 100, 1 }, { 100, 8 }, { CHECKED_SIZE - 1, 1 },
		{ CHECKED_SIZE / 2, 64 }, { 0, CHECKED_SIZE },
	};
	unsigned char *buffer, *again;
	unsigned int i;
	char what[128];

	for (i = 0; i < ARRAY_SIZE(writes); i++) {
		buffer = lfpool_get(pool);
		ASSERT_NE(NULL, buffer);
		memset(buffer, i, CHECKED_SIZE);
		EXPECT_EQ(0, lfpool_put(pool, buffer));
		/* the poison itself: nobody reads old contents unawares */
		EXPECT_EQ(buffer[0], buffer[CHECKED_SIZE - 1]);
		EXPECT_TRUE(all_are(buffer, CHECKED_SIZE, buffer[0]));
		EXPECT_NE(i, buffer[0]);
		memset(buffer + writes[i].offset, 0x5a, writes[i].size);
		snprintf(what, sizeof(what),
			 "written after its put: %u bytes, the first at offset %u (0x5a)",
			 writes[i].size, writes[i].offset);
		capture();
		again = lfpool_get(pool);
		expect_report(_metadata, buffer_index(pool, buffer), what);
		EXPECT_EQ(buffer, again);
		/* told once; and whoever has a buffer may write to it */
		memset(again, 0x77, CHECKED_SIZE);
		capture();
		EXPECT_EQ(0, lfpool_put(pool, again));
		EXPECT_EQ(again, lfpool_get(pool));
		expect_report(_metadata, 0, NULL);
		EXPECT_EQ(0, lfpool_put(pool, again));
	}
}

#define CHANGING_SIZE	(1 << 22)

static volatile unsigned char *changing_byte;

/* Writes to a free buffer, or takes that back. */
static void change(int signal)
{
	*changing_byte = *changing_byte == 0x5a ? 0x6b : 0x5a;
}

/* Damage that is gone when it is looked for is told of; the search ends with the buffer. */
TEST_F_TIMEOUT(exhaustion, poison_that_changes_while_it_is_looked_at, TIMEOUT)
{
	static const char changing[] = "written after its put: changing while it was looked at";
	/* again and again while the buffer is looked at, which takes milliseconds */
	const struct itimerspec period = { { 0, 200000 }, { 0, 200000 } }, never = { 0 };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	const struct sigaction action = { .sa_handler = change, .sa_flags = SA_RESTART };
	unsigned int told = 0, offset;
	unsigned char *buffer;
	const char *text, *at;
	uint64_t end;
	timer_t timer;

	start_pool(_metadata, (struct shape){
		.buffers = 1, .max = 1, .size = CHANGING_SIZE, .flags = LFPOOL_OPEN_POISON,
	});
#if defined(LFPOOL_TSAN)
	SKIP(return, "ThreadSanitizer delays signals");
#endif
	buffer = lfpool_get(pool);
	ASSERT_NE(NULL, buffer);
	changing_byte = buffer + CHANGING_SIZE - 1;
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
	ASSERT_EQ(0, timer_settime(timer, 0, &period, NULL));
	for (end = now_ns() + 60 * SECOND; told < 3 && now_ns() < end; ) {
		EXPECT_EQ(0, lfpool_put(pool, buffer));
		capture();
		ASSERT_EQ(buffer, lfpool_get(pool));
		text = captured();
		told += !!strstr(text, changing);
		at = strstr(text, "offset ");
		if (at && sscanf(at, "offset %u", &offset) == 1)
			ASSERT_EQ(CHANGING_SIZE - 1, offset);
	}
	ASSERT_EQ(0, timer_settime(timer, 0, &never, NULL));
	EXPECT_EQ(0, timer_delete(timer));
	EXPECT_EQ(0, lfpool_put(pool, buffer));
	EXPECT_EQ(3, told);
}

/* A thread that finds all of them, by way of the depot or of caches. */
static void *get_and_put_all(void *arg)
{
	void *held[CHECKED_BUFFERS];
	unsigned int n = take_all(pool, held, CHECKED_BUFFERS, 2);

	*(unsigned int *)arg = n;
	while (n--)
		give(pool, held[n], 2);
	return NULL;
}

/* Each buffer in turn, leader or member of a batch in the depot: found. */
TEST_F_TIMEOUT(poison, write_after_put_into_the_depot, TIMEOUT)
{
	unsigned int i, got, found = 0, in_depot = 0;
	unsigned char *held[CHECKED_BUFFERS];
	const char *text;
	pthread_t thread;
	char line[64];

	for (i = 0; i < CHECKED_BUFFERS; i++) {
		struct lfpool_audit a;

		ASSERT_EQ(CHECKED_BUFFERS, take_all(pool, (void **)held, CHECKED_BUFFERS, 1));
		give_all(_metadata, (void **)held, CHECKED_BUFFERS, 1);
		ASSERT_EQ(0, lfpool_audit(pool, &a));
		in_depot += a.depot;
		/* those that were put last are in the cache: they were put first here */
		held[i][i] ^= 1;
		capture();
		pthread_create(&thread, NULL, get_and_put_all, &got);
		pthread_join(thread, NULL);
		text = captured();
		snprintf(line, sizeof(line), POOL ": buffer %u: written after its put: 1 bytes, ",
			 buffer_index(pool, held[i]));
		found += !!strstr(text, line);
		/* nothing else is accused */
		EXPECT_TRUE(!*text || (strstr(text, line) &&
				       !strchr(strchr(text, '\n') + 1, '\n')));
		EXPECT_EQ(CHECKED_BUFFERS, got);
	}
	EXPECT_LT(0, in_depot);
	/* but for those that went by the reserve: the kernel had them since */
	EXPECT_LE(in_depot / CHECKED_BUFFERS, found);
	TH_LOG("found %u of %u, of which %u were in the depot", found, CHECKED_BUFFERS,
	       in_depot / CHECKED_BUFFERS);
}

/* It need not be us who wrote. */
TEST_F_TIMEOUT(poison, write_by_another_process, TIMEOUT)
{
	struct peer *peer = shared_alloc(sizeof(*peer));
	unsigned char *buffer;
	uint32_t item;
	pid_t pid;

	ASSERT_NE(NULL, peer);
	buffer = lfpool_get(pool);
	ASSERT_NE(NULL, buffer);
	item = buffer_index(pool, buffer);
	EXPECT_EQ(0, lfpool_put(pool, buffer));
	pid = child_fork();
	if (!pid) {
		struct lfpool *p = join_pool(0);

		child_assert(p);
		memset(lfpool_attach(p)->data + item * CHECKED_SIZE + 10, 0x11, 3);
		lfpool_close(p);
		_exit(0);
	}
	EXPECT_EQ(0, child_wait(pid));
	capture();
	EXPECT_EQ(buffer, lfpool_get(pool));
	expect_report(_metadata, item,
		      "written after its put: 3 bytes, the first at offset 10 (0x11)");
	EXPECT_EQ(0, lfpool_put(pool, buffer));
}

/*
 * Nobody who behaves is accused: threads, processes that check and that do not,
 * scavenging, handles, and threads that come and go.
 */
static void *behave(void *arg)
{
	struct sleeper *s = arg;
	void *buffer;

	use(s, 300);
	/* by way of a handle, to ourselves */
	buffer = take(s->pool, s->name);
	if (buffer) {
		uint64_t handle;

		memset(buffer, s->name, CHECKED_SIZE);
		s->faults += !!lfpool_export(s->pool, buffer, &handle);
		s->faults += lfpool_import(s->pool, handle) != buffer;
		s->faults += !!give(s->pool, buffer, s->name);
	}
	return NULL;
}

static void behave_process(unsigned int flags, uint32_t name)
{
	struct lfpool *p = join_pool(flags);
	struct sleeper s[2];
	unsigned int i;

	child_assert(p);
	for (i = 0; i < 2; i++) {
		s[i] = (struct sleeper){ .pool = p, .name = name + i };
		child_assert(!pthread_create(&s[i].thread, NULL, behave, &s[i]));
	}
	for (i = 0; i < 2; i++) {
		child_assert(!pthread_join(s[i].thread, NULL));
		child_assert(!s[i].faults);
	}
	lfpool_close(p);
	_exit(0);
}

TEST_F_TIMEOUT(poison, nobody_is_accused_wrongly, TIMEOUT)
{
	static const unsigned int flags[] = {
		LFPOOL_OPEN_POISON, LFPOOL_OPEN_CHECKED, 0,
	};
	struct sleeper s[2];
	unsigned int i, round;
	pid_t pid[3];

#if defined(LFPOOL_TSAN)
	/* what two threads have by way of a third one in another process, it cannot see */
	SKIP(return, "not for ThreadSanitizer");
#endif
	/* what the children say is kept as well: it is the same file */
	capture();
	for (i = 0; i < 3; i++) {
		pid[i] = child_fork();
		if (!pid[i])
			behave_process(flags[i], 10 * (i + 1));
	}
	for (round = 0; round < 4; round++) {
		for (i = 0; i < 2; i++) {
			s[i] = (struct sleeper){ .pool = pool, .name = 1 + i };
			pthread_create(&s[i].thread, NULL, behave, &s[i]);
		}
		for (i = 0; i < 2; i++)
			pthread_join(s[i].thread, NULL);
	}
	for (i = 0; i < 3; i++)
		pid[i] = child_wait(pid[i]);
	EXPECT_STREQ("", captured());
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, pid[i]);
	EXPECT_EQ(0, s[0].faults + s[1].faults);
	EXPECT_EQ(stats().pool_hits, stats().deallocations);
}

/*
 * 6. Statistics: every sum is exact
 */

/* What threads say they have done; "begun" counts before, "done" after. */
struct tally {
	uint64_t asked, asked_begun;
	uint64_t put, put_begun;
	uint64_t got;
};

struct mixer {
	pthread_t thread;
	struct lfpool *pool;
	struct tally *tally;	/* of this thread alone */
	uint32_t random;
	unsigned int rounds;	/* 0: for ever */
	bool *stop;
};

static void step(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_SEQ_CST);
}

/* One buffer, by one of the ways there are. */
static unsigned int mix_get(struct mixer *m, void **held, unsigned int room)
{
	unsigned int wanted = 1 + random_next(&m->random) % 4, got;

	if (wanted > room)
		wanted = room;
	switch (random_next(&m->random) % 4) {
	case 0:
		/* a bulk that gets less was refused one more */
		step(&m->tally->asked_begun, wanted);
		got = lfpool_get_bulk(m->pool, held, wanted);
		step(&m->tally->asked, got < wanted ? got + 1 : got);
		__atomic_store_n(&m->tally->asked_begun, m->tally->asked, __ATOMIC_SEQ_CST);
		break;
	case 1:
		step(&m->tally->asked_begun, 1);
		held[0] = lfpool_get_wait(m->pool, random_next(&m->random) % 2 * 100000);
		got = !!held[0];
		step(&m->tally->asked, 1);
		break;
	default:
		step(&m->tally->asked_begun, 1);
		held[0] = lfpool_get(m->pool);
		got = !!held[0];
		step(&m->tally->asked, 1);
	}
	step(&m->tally->got, got);
	return got;
}

static unsigned int mix_put(struct mixer *m, void **held, unsigned int n)
{
	unsigned int some = 1 + random_next(&m->random) % 4;

	if (some > n)
		some = n;
	step(&m->tally->put_begun, some);
	if (random_next(&m->random) % 2)
		lfpool_put_bulk(m->pool, held + n - some, some);
	else
		for (unsigned int k = 0; k < some; k++)
			lfpool_put(m->pool, held[n - 1 - k]);
	step(&m->tally->put, some);
	return n - some;
}

#define MIX_HOLD	12U

static void *mix(void *arg)
{
	void *held[MIX_HOLD];
	struct mixer *m = arg;
	unsigned int n = 0, round;

	for (round = 0; !m->rounds || round < m->rounds; round++) {
		if (m->stop && __atomic_load_n(m->stop, __ATOMIC_SEQ_CST))
			break;
		if (n < MIX_HOLD && random_next(&m->random) % 8 < 5)
			n += mix_get(m, held + n, MIX_HOLD - n);
		else if (n)
			n = mix_put(m, held, n);
		/* those who do not have it all to themselves must get at it */
		if (m->rounds && !(round % 32))
			usleep(100);
	}
	while (n)
		n = mix_put(m, held, n);
	return NULL;
}

static void mix_start(struct mixer *m, struct lfpool *p, struct tally *t, uint32_t seed,
		      unsigned int rounds)
{
	*m = (struct mixer){ .pool = p, .tally = t, .random = seed * 2654435761U | 1,
			     .rounds = rounds };
	if (pthread_create(&m->thread, NULL, mix, m))
		abort();
}

static struct tally sum_of(const struct tally *t, unsigned int n)
{
	struct tally sum = { 0 };

	while (n--) {
		sum.asked += __atomic_load_n(&t[n].asked, __ATOMIC_SEQ_CST);
		sum.asked_begun += __atomic_load_n(&t[n].asked_begun, __ATOMIC_SEQ_CST);
		sum.put += __atomic_load_n(&t[n].put, __ATOMIC_SEQ_CST);
		sum.put_begun += __atomic_load_n(&t[n].put_begun, __ATOMIC_SEQ_CST);
		sum.got += __atomic_load_n(&t[n].got, __ATOMIC_SEQ_CST);
	}
	return sum;
}

#define MIX_BUFFERS	16U
#define MIX_MAX		40U
#define MIX_ROUNDS	3000U

/* Threads of three processes, growth, and exhaustion all the time. */
TEST_F_TIMEOUT(exhaustion, counters_are_exact_in_a_mix, TIMEOUT)
{
	struct tally *tally = shared_alloc(6 * sizeof(*tally)), sum;
	struct mixer m[2];
	struct lfpool_stats s;
	unsigned int i, k;
	pid_t pid[2];

	start_pool(_metadata, (struct shape){
		.buffers = MIX_BUFFERS, .max = MIX_MAX, .size = 4096,
	});
	ASSERT_NE(NULL, tally);
	for (i = 0; i < 2; i++) {
		pid[i] = child_fork();
		if (pid[i])
			continue;
		struct lfpool *p = join_pool(0);

		child_assert(p);
		for (k = 0; k < 2; k++)
			mix_start(&m[k], p, &tally[2 + 2 * i + k], 2 + 2 * i + k, MIX_ROUNDS);
		for (k = 0; k < 2; k++)
			child_assert(!pthread_join(m[k].thread, NULL));
		lfpool_close(p);
		_exit(0);
	}
	for (k = 0; k < 2; k++)
		mix_start(&m[k], pool, &tally[k], k, MIX_ROUNDS);
	for (k = 0; k < 2; k++)
		ASSERT_EQ(0, pthread_join(m[k].thread, NULL));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	EXPECT_TRUE(wait_until(stats().clients == 1, DEADLINE));

	sum = sum_of(tally, 6);
	s = stats();
	EXPECT_EQ(sum.asked, s.pool_hits + s.pool_misses);
	EXPECT_EQ(sum.put, s.deallocations);
	EXPECT_EQ(sum.got, sum.put);
	EXPECT_LT(0, s.grown);
	EXPECT_EQ(s.grown, s.allocations);
	EXPECT_EQ(MIX_BUFFERS + s.grown, s.capacity);
	/*
	 * It grew when all were out. In the module, which allocates without its lock, others
	 * may put one meanwhile, and who takes two counts them a moment later.
	 */
	EXPECT_GE(s.capacity, s.peak_granted);
	EXPECT_LE(s.capacity, s.peak_granted + (embedded() ? 0 : 2 * 5 + 1));
	/* who got nothing at first and then waited with success got one, and missed */
	EXPECT_GE(s.pool_hits + s.grown + s.pool_misses, sum.got);
	EXPECT_LE(s.pool_hits + s.grown, sum.got);
	EXPECT_LT(0, s.pool_misses);
	EXPECT_LT(0, s.scavenged);
	EXPECT_EQ(0, s.reclaimed);
	EXPECT_EQ(s.pool_hits * 1000000 / (s.pool_hits + s.pool_misses), s.hit_rate_ppm);
	TH_LOG("%llu gets: %llu hits, %llu misses; %llu puts; %llu scavenged, %llu lost swaps",
	       (unsigned long long)sum.asked, (unsigned long long)s.pool_hits,
	       (unsigned long long)s.pool_misses, (unsigned long long)s.deallocations,
	       (unsigned long long)s.scavenged, (unsigned long long)s.cas_retries);
}

/* Of a thread that is killed, all counts but for what it was just about to do. */
TEST_F_TIMEOUT(exhaustion, counters_outlive_kills, TIMEOUT)
{
	struct tally *tally = shared_alloc(2 * sizeof(*tally)), sum, all = { 0 };
	unsigned int round, k, n = 0;
	uint64_t hits = 0, held = 0;
	struct lfpool_stats s;
	struct mixer m[2];
	pid_t pid;

	MODULE_ONLY();
	start_pool(_metadata, (struct shape){
		.buffers = MIX_BUFFERS, .max = MIX_MAX, .size = 4096,
	});
	ASSERT_NE(NULL, tally);
	for (round = 0; round < 5 * rounds(5); round++) {
		memset(tally, 0, 2 * sizeof(*tally));
		pid = child_fork();
		if (!pid) {
			struct lfpool *p = join_pool(0);

			child_assert(p);
			for (k = 0; k < 2; k++)
				mix_start(&m[k], p, &tally[k], 2 * round + k, 0);
			pause();
		}
		ASSERT_TRUE(wait_until(sum_of(tally, 2).asked > 50, DEADLINE));
		usleep(round * 211 % 5000);
		EXPECT_EQ(128 + SIGKILL, child_kill(pid));
		ASSERT_TRUE(wait_until(stats().clients == 1, DEADLINE));
		sum = sum_of(tally, 2);
		all.asked += sum.asked;
		all.asked_begun += sum.asked_begun;
		all.put += sum.put;
		all.put_begun += sum.put_begun;
		/* at most one call of each of the two threads was under way */
		EXPECT_GE(2 * 4, sum.asked_begun - sum.asked);
		EXPECT_GE(2 * 4, sum.put_begun - sum.put);
		n += sum.asked_begun != sum.asked || sum.put_begun != sum.put;
		held += sum.got - sum.put;
		s = stats();
		hits = s.pool_hits + s.pool_misses;
		ASSERT_LE(all.asked, hits);
		ASSERT_GE(all.asked_begun, hits);
		ASSERT_LE(all.put, s.deallocations);
		ASSERT_GE(all.put_begun, s.deallocations);
		ASSERT_EQ(MIX_BUFFERS + s.grown, s.capacity);
		ASSERT_EQ(s.grown, s.allocations);
		ASSERT_EQ(0, s.in_use);
	}
	TH_LOG("%u kills, %u of them within a call: %llu gets counted, %llu..%llu done; "
	       "%llu puts, %llu..%llu done; %llu reclaimed, %llu held",
	       round, n, (unsigned long long)hits, (unsigned long long)all.asked,
	       (unsigned long long)all.asked_begun, (unsigned long long)s.deallocations,
	       (unsigned long long)all.put, (unsigned long long)all.put_begun,
	       (unsigned long long)s.reclaimed, (unsigned long long)held);
}

/*
 * A reset while threads run: what was done before it is gone, what is done
 * after it is all there, and of what is done meanwhile each is on one side.
 */
TEST_F_TIMEOUT(exhaustion, reset_loses_only_what_was_before, TIMEOUT)
{
	struct tally *tally = shared_alloc(4 * sizeof(*tally));
	struct tally before, after, now, later;
	bool stop_it = false;
	unsigned int round, k;
	struct lfpool_stats s;
	struct mixer m[4];
	uint64_t capacity;

	start_pool(_metadata, (struct shape){
		.buffers = MIX_BUFFERS, .max = MIX_MAX, .size = 4096,
	});
	ASSERT_NE(NULL, tally);
	for (k = 0; k < 4; k++) {
		m[k] = (struct mixer){ .pool = pool, .tally = &tally[k], .random = k + 1,
				       .stop = &stop_it };
		ASSERT_EQ(0, pthread_create(&m[k].thread, NULL, mix, &m[k]));
	}
	for (round = 0; round < 300; round++) {
		uint64_t counted;

		before = sum_of(tally, 4);
		ASSERT_EQ(0, lfpool_reset_stats(pool));
		after = sum_of(tally, 4);
		if (round % 3)
			usleep(round * 37 % 1000);
		now = sum_of(tally, 4);
		s = stats();
		later = sum_of(tally, 4);
		counted = s.pool_hits + s.pool_misses;
		/* not less than was certainly done since, nor more than can have been */
		EXPECT_LE((int64_t)(now.asked - after.asked_begun), (int64_t)counted);
		EXPECT_GE(later.asked_begun - before.asked, counted);
		EXPECT_LE((int64_t)(now.put - after.put_begun), (int64_t)s.deallocations);
		EXPECT_GE(later.put_begun - before.put, s.deallocations);
		EXPECT_GE(MIX_MAX, s.peak_granted);
		EXPECT_GE(MIX_MAX, s.capacity);
	}
	__atomic_store_n(&stop_it, true, __ATOMIC_SEQ_CST);
	for (k = 0; k < 4; k++)
		ASSERT_EQ(0, pthread_join(m[k].thread, NULL));
	/* with nobody about, to the last one; threads that ended are no part of it */
	before = sum_of(tally, 4);
	ASSERT_EQ(0, lfpool_reset_stats(pool));
	s = stats();
	EXPECT_EQ(0, s.pool_hits + s.pool_misses + s.deallocations + s.allocations + s.grown +
		  s.refills + s.flushes + s.scavenged + s.cas_retries + s.hit_rate_ppm);
	capacity = s.capacity;
	for (k = 0; k < 4; k++)
		mix_start(&m[k], pool, &tally[k], k + 9, 500);
	for (k = 0; k < 4; k++)
		ASSERT_EQ(0, pthread_join(m[k].thread, NULL));
	now = sum_of(tally, 4);
	s = stats();
	EXPECT_EQ(now.asked - before.asked, s.pool_hits + s.pool_misses);
	EXPECT_EQ(now.put - before.put, s.deallocations);
	EXPECT_EQ(s.capacity - capacity, s.grown);
	EXPECT_EQ(s.grown, s.allocations);
}

/* Get so many at once, put them, and end. */
static void *have(void *arg)
{
	unsigned int n = *(unsigned int *)arg;
	void *held[MAX];

	n = take_all(pool, held, n, 1);
	while (n--)
		give(pool, held[n], 1);
	return NULL;
}

static void have_in_thread(struct __test_metadata *_metadata, unsigned int n)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, have, &n));
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

TEST_F_TIMEOUT(exhaustion, peak_granted_is_the_peak, TIMEOUT)
{
	static const struct {
		unsigned int n, peak;
	} steps[] = {
		{ 3, 3 }, { 1, 3 }, { 5, 5 }, { 4, 5 }, { 15, 15 }, { 20, 20 }, { 7, 20 },
	};
	unsigned int i;
	void *held[2];

	/* the one slot is ours: a thread has what it asked for, and no cache */
	start_pool(_metadata, (struct shape){
		.buffers = 15, .max = 20, .size = 4096, .threads = 1,
	});
	ASSERT_NE(NULL, lfpool_attach(pool));
	EXPECT_EQ(0, stats().peak_granted);
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		have_in_thread(_metadata, steps[i].n);
		EXPECT_EQ(steps[i].peak, stats().peak_granted);
	}
	/* from a reset on it is about what came since, and is out still */
	EXPECT_EQ(0, lfpool_reset_stats(pool));
	EXPECT_EQ(0, stats().peak_granted);
	ASSERT_EQ(2, take_all(pool, held, 2, 2));
	EXPECT_EQ(2, stats().peak_granted);
	EXPECT_EQ(0, lfpool_reset_stats(pool));
	EXPECT_EQ(2, stats().peak_granted);
	have_in_thread(_metadata, 6);
	EXPECT_EQ(8, stats().peak_granted);
	give_all(_metadata, held, 2, 2);
	/* free ones in a cache are out of the reserve, too */
	have_in_thread(_metadata, 18);
	EXPECT_EQ(20, stats().peak_granted);
}

/* Many at once: it is what they had all together. */
struct together {
	pthread_barrier_t barrier;
	struct client c;
	volatile bool stop;
	volatile uint32_t turn, taken;
};

static void *take_together(void *arg)
{
	struct together *t = arg;
	uint32_t items[MAX];
	unsigned int round;

	for (round = 1; round <= 20; round++) {
		refill_all(&t->c, items, round);
		pthread_barrier_wait(&t->barrier);
		release_all(&t->c, items, round);
		pthread_barrier_wait(&t->barrier);
		pthread_barrier_wait(&t->barrier);
	}
	return NULL;
}

TEST_F_TIMEOUT(exhaustion, peak_granted_of_many_at_once, TIMEOUT)
{
	struct together t;
	pthread_t thread[4];
	unsigned int round, i;

	MODULE_ONLY();
	start_module(_metadata, (struct shape){ .buffers = 40, .max = 100, .size = 64 });
	ASSERT_EQ(0, client_open(&t.c, POOL));
	ASSERT_EQ(0, pthread_barrier_init(&t.barrier, NULL, 5));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, take_together, &t));
	for (round = 1; round <= 20; round++) {
		pthread_barrier_wait(&t.barrier);
		pthread_barrier_wait(&t.barrier);
		EXPECT_EQ(4 * round, stats().peak_granted);
		EXPECT_EQ(0, do_reset(t.c.fd));
		pthread_barrier_wait(&t.barrier);
	}
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
	client_close(&t.c);
}

/* A reset and a grant at the same time: the grant counts, whoever was first. */
static bool turn_is(struct together *t, uint32_t turn)
{
	while (t->turn != turn && !t->stop)
		;
	return !t->stop;
}

static void *take_at_reset(void *arg)
{
	struct together *t = arg;
	uint32_t item, grown, turn;
	volatile unsigned int spin;

	for (turn = 1; turn_is(t, turn); turn += 2) {
		for (spin = turn % 256; spin; spin--)
			;
		refill(&t->c, &item, 1, &grown);
		t->taken = turn;
		if (!turn_is(t, turn + 1))
			break;
		do_release(t->c.fd, 0, &item, 1);
		t->taken = turn + 1;
	}
	return NULL;
}

static void turn_over(struct __test_metadata *_metadata, struct together *t)
{
	uint64_t end = deadline_ns(DEADLINE);

	while (t->taken != t->turn)
		ASSERT_GT(end, now_ns());
	t->turn++;
}

TEST_F_TIMEOUT(exhaustion, peak_granted_survives_a_reset_at_the_same_time, TIMEOUT)
{
	struct together t = { .turn = 0 };
	uint64_t end = now_ns() + rounds(10) * SECOND;
	unsigned int round, wrong = 0;
	struct lfpool_stats s;
	pthread_t thread;

	MODULE_ONLY();
	start_module(_metadata, (struct shape){
		.buffers = 4, .max = 4, .size = 64, .threads = 1,
	});
	ASSERT_EQ(0, client_open(&t.c, POOL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, take_at_reset, &t));
	for (round = 0; round < 100000 && now_ns() < end; round++) {
		turn_over(_metadata, &t);
		do_reset(t.c.fd);
		turn_over(_metadata, &t);
		ASSERT_EQ(0, do_stats(t.c.fd, &s));
		/* it is 1 if it was released by now: that was the peak */
		wrong += s.peak_granted != 1;
	}
	t.stop = true;
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, wrong) {
		TH_LOG("%u of %u times", wrong, round);
	}
	TH_LOG("%u resets", round);
	client_close(&t.c);
}

/* Threads that meet at the depot: now and then one loses, and that is counted. */
static void *meet(void *arg)
{
	void *held[4];
	unsigned int n;

	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		n = lfpool_get_bulk(pool, held, 4);
		lfpool_put_bulk(pool, held, n);
		__atomic_fetch_add((uint64_t *)arg, n, __ATOMIC_RELAXED);
	}
	return NULL;
}

TEST_F_TIMEOUT(exhaustion, lost_swaps_are_counted, TIMEOUT)
{
	struct lfpool_stats s;
	pthread_t thread[4];
	uint64_t moved = 0;
	unsigned int i;
	bool seen;

	/* batches of one: each of them touches the head of the depot */
	start_pool(_metadata, (struct shape){ .buffers = 15, .max = 15, .size = 64 });
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, meet, &moved));
	seen = wait_until(stats().cas_retries > 0, DEADLINE);
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
	s = stats();
	TH_LOG("%llu swaps lost in %llu refills and %llu flushes",
	       (unsigned long long)s.cas_retries, (unsigned long long)s.refills,
	       (unsigned long long)s.flushes);
	EXPECT_EQ(moved, s.deallocations);
	EXPECT_LT(0, s.flushes);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		EXPECT_TRUE(seen);
	/* one thread alone loses nothing */
	EXPECT_EQ(0, lfpool_reset_stats(pool));
	have_in_thread(_metadata, 15);
	EXPECT_EQ(0, stats().cas_retries);
}

/*
 * 7. Limits
 */

struct slotless {
	_Atomic unsigned int step, done;
	pthread_t thread;
	unsigned int faults;
	void *held[40];
	int second_put, prefill;
	unsigned int got;
};

/* A thread that does its steps one by one. */
static void *without_slot(void *arg)
{
	struct slotless *s = arg;
	unsigned int k;

	while (s->step < 1)
		usleep(1000);
	for (k = 0; k < 100; k++) {
		void *buffer = take(pool, 3);

		if (!buffer || give(pool, buffer, 3))
			s->faults++;
		if (k == 50)
			s->second_put = lfpool_put(pool, buffer);
	}
	s->done = 1;
	while (s->step < 2)
		usleep(1000);
	s->prefill = lfpool_prefill(pool, 1);
	s->got = lfpool_get_bulk(pool, s->held, ARRAY_SIZE(s->held));
	s->faults += lfpool_put_bulk(pool, s->held, s->got) != s->got;
	s->held[0] = lfpool_get_wait(pool, -1);
	s->faults += !s->held[0] || lfpool_put(pool, s->held[0]);
	s->done = 2;
	while (s->step < 3)
		usleep(1000);
	/* slots come free: it has one after a while */
	for (k = 0; k < 600; k++) {
		void *buffer = take(pool, 3);

		if (!buffer || give(pool, buffer, 3))
			s->faults++;
	}
	s->done = 3;
	while (s->step < 4)
		usleep(1000);
	return NULL;
}

TEST_F_TIMEOUT(exhaustion, thread_without_slot_works_straight_from_the_kernel, TIMEOUT)
{
	struct sleeper idle = { .name = 2 };
	struct slotless s = { 0 };
	struct lfpool_stats a;
	struct client c;

	start_pool(_metadata, (struct shape){
		.buffers = 32, .max = 32, .size = 4096, .threads = 2,
	});
	idle.pool = pool;
	idle.buffer[0] = lfpool_get(pool);
	idle.n = 1;
	ASSERT_EQ(0, pthread_create(&idle.thread, NULL, sleep_on_cache, &idle));
	ASSERT_TRUE(wait_until(__atomic_load_n(&idle.idle, __ATOMIC_SEQ_CST), DEADLINE));
	EXPECT_EQ(2, stats().threads);
	if (!embedded()) {
		ASSERT_EQ(0, client_open(&c, POOL));
		EXPECT_EQ(-EUSERS, do_attach(c.fd));
		client_close(&c);
		ASSERT_TRUE(wait_until(stats().clients == 1, DEADLINE));
	}

	ASSERT_EQ(0, pthread_create(&s.thread, NULL, without_slot, &s));
	a = stats();
	s.step = 1;
	ASSERT_TRUE(wait_until(s.done == 1, DEADLINE));
	EXPECT_EQ(0, s.faults);
	EXPECT_EQ(2, stats().threads);
	EXPECT_EQ(a.pool_hits + 100, stats().pool_hits);
	EXPECT_EQ(a.pool_misses, stats().pool_misses);
	EXPECT_EQ(a.deallocations + 100, stats().deallocations);
	/* nothing went by a cache */
	EXPECT_EQ(a.cached, stats().cached);
	EXPECT_EQ(a.refills, stats().refills);
	EXPECT_EQ(a.reserve, stats().reserve);
	EXPECT_EQ(-ESTALE, s.second_put);

	s.step = 2;
	ASSERT_TRUE(wait_until(s.done == 2, DEADLINE));
	EXPECT_EQ(-EUSERS, s.prefill);
	EXPECT_EQ(32, s.got);
	EXPECT_EQ(0, s.faults);
	EXPECT_EQ(a.pool_hits + 100 + 32 + 1, stats().pool_hits);
	EXPECT_EQ(a.pool_misses + 1, stats().pool_misses);
	EXPECT_EQ(a.deallocations + 100 + 32 + 1, stats().deallocations);

	__atomic_store_n(&idle.go, true, __ATOMIC_SEQ_CST);
	ASSERT_EQ(0, pthread_join(idle.thread, NULL));
	EXPECT_EQ(1, stats().threads);
	a = stats();
	s.step = 3;
	ASSERT_TRUE(wait_until(s.done == 3, DEADLINE));
	EXPECT_EQ(0, s.faults);
	EXPECT_EQ(2, stats().threads);
	EXPECT_EQ(a.pool_hits + 600, stats().pool_hits);
	EXPECT_EQ(a.deallocations + 600, stats().deallocations);
	EXPECT_LT(a.cached, stats().cached);
	s.step = 4;
	ASSERT_EQ(0, pthread_join(s.thread, NULL));
	EXPECT_EQ(1, stats().threads);
}

/* Its heap buffers count as everybody's do. */
static void *heap_without_slot(void *arg)
{
	struct slotless *s = arg;
	unsigned int k;

	for (k = 0; k < 10; k++)
		s->faults += !(s->held[k] = lfpool_get(pool));
	while (k--)
		s->faults += !!lfpool_put(pool, s->held[k]);
	return NULL;
}

TEST_F_TIMEOUT(exhaustion, fallback_without_slot_is_counted, TIMEOUT)
{
	struct slotless s = { 0 };
	struct lfpool_stats a;
	void *held[4];

	start_pool(_metadata, (struct shape){
		.buffers = 4, .max = 4, .size = 4096, .threads = 1,
		.flags = LFPOOL_OPEN_FALLBACK,
	});
	ASSERT_EQ(4, take_all(pool, held, 4, 1));
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, heap_without_slot, &s));
	ASSERT_EQ(0, pthread_join(s.thread, NULL));
	EXPECT_EQ(0, s.faults);
	a = stats();
	EXPECT_EQ(4, a.pool_hits);
	EXPECT_EQ(10, a.pool_misses);
	EXPECT_EQ(10, a.allocations);
	EXPECT_EQ(10, a.deallocations);
	give_all(_metadata, held, 4, 1);
}

LFPOOL_LIBRARY_MAIN
