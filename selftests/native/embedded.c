// SPDX-License-Identifier: GPL-2.0-only
/*
 * embedded: what only the embedded back end has.
 *
 * Kill a forked child of a pool of lfpool_create() wherever it changes the
 * shared memory within a call of the back end, then let its parent take all
 * that there is. What the child had may be lost, as nobody recovers it here; no
 * buffer may come twice, and the pool must go on.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "embedded.h"

#include "harness.h"

#define COUNT	16
#define MAX	20
#define BATCH	2
/* no operation is that long */
#define STEPS	100000
/* what a victim takes down with it at most: all but what its parent holds */
#define LOST	11

/**
 * struct victim - what a victim and its tracer share
 * @started: it is in the operation
 * @over:    it is through
 */
static struct victim {
	__u32 started;
	__u32 over;
} *victim;

static struct lfpool *pool;
static void *held[MAX];
static unsigned int nr_held;

static void take(unsigned int n)
{
	while (n--) {
		held[nr_held] = lfpool_get(pool);
		if (!held[nr_held++])
			abort();
	}
}

static void give(unsigned int n)
{
	while (n--)
		if (lfpool_put(pool, held[--nr_held]))
			abort();
}

/*
 * The operations: what the parent does before the fork, what the child does
 * before it, and the operation.
 */

static void nothing(void)
{
}

static void take_some(void)
{
	take(5);
}

/* all that there are without growing */
static void take_all(void)
{
	take(COUNT);
}

/* what is free is in the parent's cache */
static void take_all_and_idle(void)
{
	take(MAX);
	give(3);
}

/* the child's, in its cache and in its hands */
static void child_holds(void)
{
	nr_held = 0;
	take(7);
	give(3);
}

/* two batches there, and nothing in the reserve */
static void child_fills_depot(void)
{
	__u32 items[BATCH];
	unsigned int grown;

	if (lfpool_prefill(pool, 2 * BATCH))
		abort();
	while (control_of(pool)->reserved)
		pool->ops->refill(pool, items, BATCH, 0, &grown);
}

/* puts go past the cache, as if somebody waited */
static void child_holds_for_waiter(void)
{
	child_holds();
	LFPOOL_WRITE(pool->depot.shared->waiters, 1);
}

static void run_get(void)
{
	lfpool_get(pool);
}

static void run_put(void)
{
	give(1);
}

static void run_refill(void)
{
	__u32 items[BATCH];
	unsigned int grown;

	pool->ops->refill(pool, items, BATCH, 0, &grown);
}

static void run_close(void)
{
	lfpool_close(pool);
}

static const struct operation {
	const char *name;
	void (*parent)(void);
	void (*child)(void);
	void (*run)(void);
	unsigned int max;
} operations[] = {
	{ "refill", take_some, nothing, run_get, MAX },
	{ "grow", take_all, nothing, run_get, MAX },
	{ "scavenge", take_all_and_idle, nothing, run_get, MAX },
	{ "take the depot", take_some, child_fills_depot, run_refill, COUNT },
	{ "release", take_some, child_holds_for_waiter, run_put, MAX },
	{ "detach and close", take_some, child_holds, run_close, MAX },
};

#define NR(array)	(sizeof(array) / sizeof((array)[0]))

static void victim_main(const struct operation *op)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || ptrace(PTRACE_TRACEME, 0, NULL, NULL) ||
	    !lfpool_attach(pool))
		_exit(1);
	op->child();
	raise(SIGSTOP);
	LFPOOL_WRITE(victim->started, 1);
	op->run();
	LFPOOL_WRITE(victim->over, 1);
	raise(SIGSTOP);
	_exit(0);
}

/*
 * Its tracer
 */

static bool wait_stopped(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
}

static void step(pid_t pid)
{
	if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) || !wait_stopped(pid))
		abort();
}

/* Has the shared memory changed since the last look? Only then does a death differ. */
static bool changed(void)
{
	static unsigned char last[1 << 16];
	const struct embedded *e = pool->private;
	const unsigned char *from[2] = { (void *)pool->depot.shared, (void *)e->control };
	const size_t size[2] = {
		(unsigned char *)(pool->depot.desc + MAX) - from[0],
		pool->base + e->size - from[1],
	};
	bool differs = false;
	size_t at = 0;
	int i;

	for (i = 0; i < 2; at += size[i++]) {
		if (at + size[i] > sizeof(last))
			abort();
		if (!memcmp(last + at, from[i], size[i]))
			continue;
		memcpy(last + at, from[i], size[i]);
		differs = true;
	}
	return differs;
}

/* Forks a child and kills it when it has made so many changes. False: it was through. */
static bool kill_after(const struct operation *op, unsigned int changes)
{
	unsigned int steps = 0;
	bool over = false;
	pid_t pid;

	memset(victim, 0, sizeof(*victim));
	pid = fork();
	if (!pid)
		victim_main(op);
	if (pid < 0 || !wait_stopped(pid))
		abort();
	while (!LFPOOL_READ(victim->started))
		step(pid);
	changed();
	while (changes && !over) {
		step(pid);
		over = LFPOOL_READ(victim->over);
		changes -= changed();
		if (++steps > STEPS)
			abort();
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return !over;
}

/* The parent takes all that there is, beside what it has. */
static const char *survivor_wrong(const struct operation *op)
{
	unsigned char seen[MAX] = { 0 };
	struct lfpool_audit audit;
	unsigned int n, k;
	uintptr_t i;

	LFPOOL_WRITE(pool->depot.shared->waiters, 0);
	for (n = nr_held; n < MAX; n++) {
		held[n] = lfpool_get(pool);
		if (!held[n])
			break;
	}
	if (n < MAX && errno != ENOBUFS)
		return strerror(errno);
	for (k = 0; k < n; k++) {
		i = lfp_index(pool, held[k]);
		if (i >= op->max || seen[i]++)
			return "a buffer was handed out twice";
	}
	if (n + LOST < op->max)
		return "more is lost than the dead ever had";
	if (lfpool_audit(pool, &audit) || audit.duplicate || audit.damaged)
		return "the audit finds something wrong";
	for (k = 0; k < n; k++)
		if (lfpool_put(pool, held[k]))
			return "what was handed out cannot be put";
	return NULL;
}

/* where it may run at all */
static cpu_set_t cpus;

FIXTURE(embedded) {
};

FIXTURE_SETUP(embedded)
{
	victim = mmap(NULL, sizeof(*victim), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	ASSERT_NE(MAP_FAILED, victim);
	/* tracer and victim take turns: on one CPU a turn costs the least */
	if (!sched_getaffinity(0, sizeof(cpus), &cpus)) {
		cpu_set_t one;

		CPU_ZERO(&one);
		CPU_SET(sched_getcpu(), &one);
		sched_setaffinity(0, sizeof(one), &one);
	}
}

FIXTURE_TEARDOWN(embedded)
{
	munmap(victim, sizeof(*victim));
}

static struct lfpool *small_pool(unsigned int max)
{
	struct lfpool_config config = {
		.buffer_size = 64,
		.buffer_count = COUNT,
		.max_count = max,
		.max_threads = 4,
		.batch = BATCH,
	};

	nr_held = 0;
	return lfpool_create(&config);
}

TEST_F_TIMEOUT(embedded, killed_within_the_back_end, 300)
{
	unsigned int i, k, all = 0;
	const char *wrong;
	bool killed;

	for (i = 0; i < NR(operations); i++) {
		const struct operation *op = &operations[i];

		for (k = 0, killed = true; killed; k++) {
			pool = small_pool(op->max);
			ASSERT_NE(NULL, pool);
			op->parent();
			killed = kill_after(op, k);
			wrong = survivor_wrong(op);
			ASSERT_EQ(NULL, wrong)
				TH_LOG("%s, killed after %u changes: %s", op->name, k, wrong);
			lfpool_close(pool);
		}
		fprintf(stderr, "# %s: %u kill points\n", op->name, k);
		/* it did something */
		EXPECT_LT(5, k);
		all += k;
	}
	fprintf(stderr, "# within the embedded back end: %u kills\n", all);
}

/*
 * Waiters
 */

#define WAITERS	3

/* What has happened within 30 seconds, happens. */
static bool comes_to(__u32 *word, __u32 value)
{
	unsigned int ms;

	for (ms = 0; LFPOOL_READ(*word) != value && ms < 30000; ms++)
		usleep(1000);
	return LFPOOL_READ(*word) == value;
}

static pid_t fork_waiter(bool lives)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(1);
	/* twice: the second time, the dead are forgotten */
	if (!lives || lfpool_put(pool, lfpool_get_wait(pool, -1)) ||
	    lfpool_put(pool, lfpool_get_wait(pool, -1))) {
		lfpool_get_wait(pool, -1);
		_exit(1);
	}
	lfpool_close(pool);
	_exit(0);
}

/*
 * The back end does not know of deaths. The first put finds out that nobody
 * sleeps there, and the next one is an ordinary one, into the cache. A waiter
 * that lives among the dead is not forgotten with them.
 */
TEST_F_TIMEOUT(embedded, killed_waiters_are_forgotten, 120)
{
	pid_t pid[WAITERS + 1];
	unsigned int round, i;
	__u32 *waiters;
	int status;

	for (round = 0; round < 8; round++) {
		unsigned int nr = WAITERS + round % 2;

		pool = small_pool(COUNT);
		ASSERT_NE(NULL, pool);
		waiters = &pool->depot.shared->waiters;
		take_all();
		for (i = 0; i < nr; i++) {
			pid[i] = fork_waiter(i == WAITERS);
			ASSERT_LT(0, pid[i]);
		}
		ASSERT_TRUE(comes_to(waiters, nr));
		/* until all of them sleep, or else some put finds them awake: good as well */
		usleep(20000);
		for (i = 0; i < WAITERS; i++) {
			kill(pid[i], SIGKILL);
			ASSERT_EQ(pid[i], waitpid(pid[i], &status, 0));
		}
		EXPECT_EQ(nr, LFPOOL_READ(*waiters));
		give(1);
		if (nr > WAITERS) {
			ASSERT_EQ(pid[WAITERS], waitpid(pid[WAITERS], &status, 0));
			EXPECT_EQ(0, status);
			/* it put what it got past its cache, if not before, then now */
			give(1);
		}
		EXPECT_EQ(0, LFPOOL_READ(*waiters));
		i = ((struct thread *)lfpool_attach(pool))->slot->n;
		give(1);
		EXPECT_EQ(i + 1, ((struct thread *)lfpool_attach(pool))->slot->n);
		lfpool_close(pool);
	}
}

/*
 * Programs that were compiled with an older or a newer lfpool.h: the library
 * writes no more than they have room for, and what it does not know is zero.
 */

#define BEYOND	24

static unsigned char room[1024];

/* All of room[] from one index to another one is a value. */
static bool filled(size_t from, size_t to, unsigned char value)
{
	while (from < to)
		if (room[from++] != value)
			return false;
	return true;
}

#define SIZES(call, type, field) do {					\
	size_t older = offsetof(struct type, field), newer = sizeof(struct type) + BEYOND; \
	struct type *s = (struct type *)room, full;			\
									\
	memset(room, 0xee, sizeof(room));				\
	ASSERT_EQ(0, call(pool, &full, sizeof(full)));			\
	ASSERT_EQ(0, call(pool, s, older));				\
	EXPECT_TRUE(filled(older, sizeof(room), 0xee));			\
	EXPECT_EQ(0, memcmp(room + 8, (char *)&full + 8, older - 8));	\
	memset(room, 0xee, sizeof(room));				\
	ASSERT_EQ(0, call(pool, s, newer));				\
	EXPECT_EQ(0, memcmp(room, &full, sizeof(full)));		\
	EXPECT_TRUE(filled(sizeof(full), newer, 0));			\
	EXPECT_TRUE(filled(newer, sizeof(room), 0xee));			\
} while (0)

TEST_F(embedded, structs_of_other_sizes)
{
	struct lfpool_config *config = (struct lfpool_config *)room;
	size_t size = sizeof(*config);
	struct lfpool_stats stats;

	pool = small_pool(MAX);
	ASSERT_NE(NULL, pool);
	take(3);
	SIZES(lfpool_stats_sized, lfpool_stats, clients);
	SIZES(lfpool_audit_sized, lfpool_audit, exact);
	SIZES(lfpool_counts_sized, lfpool_counts, max);
	SIZES(lfpool_info_sized, lfpool_info, name);
	ASSERT_EQ(0, lfpool_stats(pool, &stats));
	EXPECT_EQ(sizeof(stats), stats.size);
	ASSERT_EQ(0, lfpool_stats_sized(pool, &stats, offsetof(struct lfpool_stats, clients)));
	EXPECT_EQ(offsetof(struct lfpool_stats, clients), stats.size);
	lfpool_close(pool);

	/* what the library does not know must be zero */
	memset(room, 0, sizeof(room));
	config->buffer_size = 64;
	config->buffer_count = COUNT;
	pool = lfpool_create_sized(config, size + BEYOND);
	ASSERT_NE(NULL, pool);
	lfpool_close(pool);
	room[size + BEYOND - 1] = 1;
	EXPECT_EQ(NULL, lfpool_create_sized(config, size + BEYOND));
	EXPECT_EQ(E2BIG, errno);
	/* what the caller does not know is zero */
	memset(room, 0xee, sizeof(room));
	memset(room, 0, offsetof(struct lfpool_config, max_count));
	config->buffer_size = 64;
	config->buffer_count = COUNT;
	pool = lfpool_create_sized(config, offsetof(struct lfpool_config, max_count));
	ASSERT_NE(NULL, pool);
	ASSERT_EQ(0, lfpool_stats(pool, &stats));
	EXPECT_EQ(2 * COUNT, stats.max_count);
	lfpool_close(pool);
	EXPECT_EQ(NULL, lfpool_create(NULL));
	EXPECT_EQ(EINVAL, errno);
}

/* What a child that does as it says exits with; it must not return. */
static int child_of(void (*run)(void))
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid)
		run();
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* In a child: the number of the first that is not true. */
#define IS(nr, condition) do {						\
	if (!(condition))						\
		_exit(nr);						\
} while (0)

static void use_without_an_id(void)
{
	struct lfpool_info info;

	IS(1, !lfpool_get(pool) && errno == EUSERS);
	IS(2, lfpool_put(pool, held[0]) == -EUSERS);
	IS(3, lfpool_info(pool, &info) == -EUSERS);
	lfpool_close(pool);
	_exit(0);
}

static void use_with_an_id(void)
{
	void *p = lfpool_get(pool);

	IS(1, p && !lfpool_put(pool, p));
	lfpool_close(pool);
	_exit(0);
}

/* Ids are never used again, so at some time there are no more. */
TEST_F(embedded, ids_run_out)
{
	pool = small_pool(MAX);
	ASSERT_NE(NULL, pool);
	take(1);
	control_of(pool)->next_client = LFPOOL_CLIENT_MAX;
	EXPECT_EQ(0, child_of(use_with_an_id));
	EXPECT_EQ(0, child_of(use_without_an_id));
	EXPECT_EQ(0, child_of(use_without_an_id));
	EXPECT_EQ(1, control_of(pool)->clients);
	give(1);
	EXPECT_EQ(0, child_of(use_without_an_id));
	take(COUNT);
	give(COUNT);
	lfpool_close(pool);
}

static void put_of_the_parents_heap(void)
{
	struct lfpool_stats stats;
	void *p;

	/* its copy is there, and is none of its buffers */
	IS(1, *(int *)held[0] == 42);
	IS(2, lfpool_put(pool, held[0]) == -EINVAL);
	IS(3, *(int *)held[0] == 42);
	/* of its own it has them as ever */
	p = lfpool_get(pool);
	IS(4, p && !lfpool_put(pool, p) && lfpool_put(pool, p) == -EINVAL);
	IS(5, !lfpool_stats(pool, &stats) && stats.deallocations == 1);
	lfpool_close(pool);
	_exit(0);
}

/* A buffer from the heap is the process's that got it, as any other is. */
TEST_F(embedded, heap_is_not_inherited)
{
	struct lfpool_config config = {
		.buffer_size = 64, .buffer_count = 1, .max_count = 1,
		.flags = LFPOOL_OPEN_FALLBACK,
	};
	void *first;

	pool = lfpool_create(&config);
	ASSERT_NE(NULL, pool);
	first = lfpool_get(pool);
	held[0] = lfpool_get(pool);
	ASSERT_NE(NULL, held[0]);
	*(int *)held[0] = 42;
	EXPECT_EQ(0, child_of(put_of_the_parents_heap));
	EXPECT_EQ(0, lfpool_put(pool, held[0]));
	EXPECT_EQ(0, lfpool_put(pool, first));
	lfpool_close(pool);
}

/* The library's memory for a thread comes from here. */
static bool no_memory;

void *aligned_alloc(size_t alignment, size_t size)
{
	void *p;
	int err;

	err = no_memory ? ENOMEM : posix_memalign(&p, alignment, size);
	if (!err)
		return p;
	errno = err;
	return NULL;
}

static void *put_without_memory(void *unused)
{
	no_memory = true;
	/* one by one, and more at a time; the third one is none of the pool's */
	if (lfpool_put(pool, held[0]) || lfpool_put_bulk(pool, held + 1, 5) != 2 ||
	    errno != EINVAL || lfpool_put_bulk(pool, held + 4, 2) != 2)
		unused = held;
	no_memory = false;
	return unused;
}

/* A thread for which there is no memory can put, all the same. */
TEST_F(embedded, put_needs_no_memory)
{
	struct lfpool_stats stats;
	pthread_t thread;
	void *wrong;

	pool = small_pool(COUNT);
	ASSERT_NE(NULL, pool);
	take(3);
	held[nr_held++] = &stats;
	take(2);
	ASSERT_EQ(0, pthread_create(&thread, NULL, put_without_memory, NULL));
	ASSERT_EQ(0, pthread_join(thread, &wrong));
	EXPECT_EQ(NULL, wrong);
	ASSERT_EQ(0, lfpool_stats(pool, &stats));
	EXPECT_EQ(5, stats.deallocations);
	EXPECT_EQ(0, stats.in_use);
	EXPECT_EQ(1, stats.threads);
	lfpool_close(pool);
}

TEST_HARNESS_MAIN
