// SPDX-License-Identifier: GPL-2.0-only
/*
 * crash: kill a process at every instruction of every operation.
 *
 * A victim runs the library on the stand-in for the module. It prepares, and
 * stops; ptrace steps it k instructions into one operation, then SIGKILL. The
 * engine's recovery runs for it, and the audit must find every buffer. Then the
 * same with k + 1, until the operation is over before it dies.
 *
 * What a dead process leaves is the shared memory, nothing else. So where nobody
 * else is at it, one victim is stepped on and what it would leave after each step
 * is recovered in a copy; and then one is killed wherever the memory has changed.
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

#include "../walk.h"
#include "internal.h"
#include "standin.h"

#include "harness.h"

#define FULL	(2 * STANDIN_BATCH)
/* one from or to the cache, one by the slow path, one more */
#define BULK		3

/**
 * struct victim - what a victim and its tracer share
 * @call:    the victim's calls of the stand-in, which the tracer serves
 * @client:  its id
 * @started: it is in the operation
 * @over:    it is through
 * @failed:  it could not prepare
 */
struct victim {
	struct standin_call call;
	u32 client;
	u32 started;
	u32 over;
	u32 failed;
	pid_t pid;
};

/**
 * struct shared - all that the processes share
 * @pool:   the pool
 * @copy:   for a recovery in a state that goes on
 * @last:   the state at the last look
 * @handle: of an exported buffer of the living
 * @stop, @pause, @paused, @laps, @faults: of the living process
 */
static struct shared {
	struct standin pool;
	struct standin copy;
	struct standin last;
	struct victim victim[2];
	u64 handle;
	u32 stop;
	u32 pause;
	u32 paused;
	u64 laps;
	u32 faults;
} *sh;

/*
 * The victim
 */

static struct lfpool *pool;
static struct lfpool_thread *thread;
static struct thread *self;
static void *held[STANDIN_COUNT];
static u32 prepare_failed;

static void take(unsigned int n)
{
	while (n--) {
		held[n] = lfpool_get(pool);
		prepare_failed |= !held[n];
	}
}

static void give(unsigned int from, unsigned int to)
{
	for (; from < to && !prepare_failed; from++)
		prepare_failed |= lfpool_put(pool, held[from]) != 0;
}

static void prepare_nothing(void)
{
}

static void prepare_warm(void)
{
	take(2);
	give(0, 1);
}

static void prepare_depot(void)
{
	prepare_failed |= lfpool_prefill(pool, 2 * STANDIN_BATCH) != 0;
}

static void prepare_full(void)
{
	take(FULL + STANDIN_BATCH);
	give(0, FULL);
	prepare_failed |= self->slot->n != FULL;
}

static void prepare_three(void)
{
	prepare_depot();
	take(3);
	give(0, 3);
}

/* the bulk fills the cache, and has to flush it */
static void prepare_bulk(void)
{
	take(FULL + 2 * STANDIN_BATCH);
	while (!prepare_failed && self->slot->n < FULL - 1)
		prepare_failed |= lfpool_put(pool, held[BULK + self->slot->n]) != 0;
}

static void prepare_exported(void)
{
	uint64_t handle;

	take(1);
	prepare_failed |= lfpool_export(pool, held[0], &handle) != 0;
}

static void prepare_waiter(void)
{
	take(1);
	/* nobody waits: it sends the put to the kernel, is all */
	WRITE_ONCE(sh->pool.depot.waiters, 1);
}

/* As the library's get and put do it, with nothing around */
static void run_pop(void)
{
	LFPOOL_WRITE(self->slot->busy, 1);
	depot_pop(&pool->depot, self->slot);
	LFPOOL_WRITE_RELEASE(self->slot->busy, 0);
}

static void run_push(void)
{
	LFPOOL_WRITE(self->slot->busy, 1);
	depot_push(&pool->depot, self->slot, self->slot->item, 3);
	LFPOOL_WRITE(self->slot->item[0], LFPOOL_READ(self->slot->item[3]));
	LFPOOL_WRITE(self->slot->n, 1);
	LFPOOL_WRITE_RELEASE(self->slot->busy, 0);
}

static void run_get(void)
{
	held[0] = lfpool_thread_get(thread);
}

static void run_put(void)
{
	lfpool_thread_put(thread, held[1]);
}

static void run_put_first(void)
{
	lfpool_put(pool, held[0]);
}

static void run_put_full(void)
{
	lfpool_put(pool, held[FULL]);
}

static void run_get_bulk(void)
{
	lfpool_get_bulk(pool, held, BULK);
}

static void run_put_bulk(void)
{
	lfpool_put_bulk(pool, held, BULK);
}

static void run_prefill(void)
{
	lfpool_prefill(pool, 2 * STANDIN_BATCH);
}

static void run_export(void)
{
	uint64_t handle;

	lfpool_export(pool, held[1], &handle);
}

static void run_import(void)
{
	held[0] = lfpool_import(pool, sh->handle);
}

static void run_attach(void)
{
	thread = lfpool_attach(pool);
}

static void run_close(void)
{
	lfpool_close(pool);
}

static const struct operation {
	const char *name;
	void (*prepare)(void);
	void (*run)(void);
	unsigned int flags;
	bool detached;
} operations[] = {
	/* the first ones are short, and meet each other: see PAIRS */
	{ .name = "pop", .prepare = prepare_depot, .run = run_pop },
	{ .name = "push", .prepare = prepare_three, .run = run_push },
	{ .name = "get", .prepare = prepare_warm, .run = run_get },
	{ .name = "put", .prepare = prepare_warm, .run = run_put },
	{ .name = "import", .prepare = prepare_warm, .run = run_import },
	{ .name = "get+pop", .prepare = prepare_depot, .run = run_get },
	{ .name = "put+flush", .prepare = prepare_full, .run = run_put_full },
	{ .name = "get+refill", .prepare = prepare_nothing, .run = run_get },
	{ .name = "export", .prepare = prepare_warm, .run = run_export },
	{ .name = "put exported", .prepare = prepare_exported, .run = run_put_first },
	{ .name = "put+release", .prepare = prepare_waiter, .run = run_put_first },
	{ .name = "bulk get", .prepare = prepare_depot, .run = run_get_bulk },
	{ .name = "bulk put", .prepare = prepare_bulk, .run = run_put_bulk },
	{ .name = "prefill", .prepare = prepare_nothing, .run = run_prefill },
	{ .name = "attach", .prepare = prepare_nothing, .run = run_attach,
	  .detached = true },
	{ .name = "detach", .prepare = prepare_full, .run = run_close },
	{ .name = "get+pop, checked", .prepare = prepare_depot, .run = run_get,
	  .flags = LFPOOL_OPEN_CHECKED },
	{ .name = "put+flush, checked", .prepare = prepare_full, .run = run_put_full,
	  .flags = LFPOOL_OPEN_CHECKED },
};

#define NR(array)	(sizeof(array) / sizeof((array)[0]))
/* of operations: those whose pairs are tried; those that meet a living one */
#define PAIRS		6
#define MEETINGS	2

static void victim_main(const struct operation *op, struct victim *v)
{
	/* not to outlive the test */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(1);
	pool = lfpool_open("standin", op->flags);
	if (!pool)
		_exit(1);
	v->client = pool->client;
	if (!op->detached) {
		thread = lfpool_attach(pool);
		if (!thread)
			_exit(1);
		self = (struct thread *)thread;
	}
	op->prepare();
	v->failed = prepare_failed;
	standin_deferred = &v->call;
	raise(SIGSTOP);
	WRITE_ONCE(v->started, 1);
	op->run();
	WRITE_ONCE(v->over, 1);
	raise(SIGSTOP);
	_exit(0);
}

/*
 * Its tracer
 */

static bool wait_stopped(struct victim *v)
{
	int status;

	return waitpid(v->pid, &status, 0) == v->pid && WIFSTOPPED(status);
}

/* One instruction; false: it is over. A call of the kernel is part of a step. */
static bool step(struct victim *v)
{
	if (ptrace(PTRACE_SINGLESTEP, v->pid, NULL, NULL) || !wait_stopped(v))
		abort();
	if (READ_ONCE(v->call.nr) != STANDIN_NONE)
		standin_serve(&sh->pool, &v->call);
	return !READ_ONCE(v->over);
}

/* Runs until the operation begins. */
static bool victim_start(struct victim *v, const struct operation *op)
{
	pid_t pid;

	memset(v, 0, sizeof(*v));
	pid = fork();
	if (!pid)
		victim_main(op, v);
	v->pid = pid;
	if (pid < 0 || !wait_stopped(v) || v->failed)
		return false;
	while (!READ_ONCE(v->started))
		step(v);
	return true;
}

static void victim_kill(struct victim *v)
{
	kill(v->pid, SIGKILL);
	while (waitpid(v->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Runs to its end, with no call left to make. */
static void victim_finish(struct victim *v)
{
	if (READ_ONCE(v->over))
		return;
	if (ptrace(PTRACE_CONT, v->pid, NULL, NULL) || !wait_stopped(v) || !READ_ONCE(v->over))
		abort();
}

/*
 * The pool
 */

/* A client that lives, with two buffers; one of them is exported. */
static u32 living;

static void stage(void)
{
	u32 i;

	standin_init(&sh->pool);
	living = standin_connect(&sh->pool);
	for (i = STANDIN_COUNT - 2; i < STANDIN_COUNT; i++) {
		clear_bit(i, sh->pool.kernel);
		sh->pool.descs[i].word = make_word(1, living);
	}
	i = STANDIN_COUNT - 1;
	sh->pool.descs[i].word |= LFPOOL_WORD_EXPORTED;
	sh->handle = make_word(1, i);
}

/* What must be when nobody is in an operation. */
static const char *audit_wrong(struct standin *w, u32 users)
{
	struct lfpool_audit a = standin_audit(w);

	if (a.lost)
		return "buffers are lost";
	if (a.duplicate)
		return "buffers are in two places";
	if (a.damaged)
		return "the state is damaged";
	if (!a.exact)
		return "something still moves";
	if (a.transit)
		return "buffers are on their way";
	if (!users && (a.cached || a.held > 2))
		return "the dead still have buffers";
	return NULL;
}

/* The victims are dead: all that they had must come back, at once. */
static const char *recover_wrong(struct standin *w, const u32 *dead, u32 nr)
{
	const char *wrong;
	u32 deferred;

	standin_died(w, dead, nr, &deferred);
	if (deferred)
		return "an orphan is not decided, with nobody alive to have it";
	wrong = audit_wrong(w, 0);
	if (!wrong && (standin_died(w, dead, nr, &deferred) || deferred))
		wrong = "the second recovery found more";
	/* they can all be had: of what the depot lists none is missing */
	standin_drain_depot(w);
	if (!wrong && bitmap_weight(w->kernel, STANDIN_COUNT) < STANDIN_COUNT - 2)
		wrong = "not all buffers came back";
	return wrong;
}

/*
 * Has the shared memory changed since the last look? Only then is a death now
 * another one than a death then.
 */
static bool changed(void)
{
	size_t at = offsetof(struct standin, owner);

	if (!memcmp((char *)&sh->pool + at, (char *)&sh->last + at, sizeof(sh->pool) - at))
		return false;
	sh->last = sh->pool;
	return true;
}

/* where it may run at all */
static cpu_set_t cpus;

/* Tracer and victim take turns: on one CPU a turn costs the least. */
static void stay_here(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
}

FIXTURE(crash) {
};

FIXTURE_SETUP(crash)
{
	if (!sched_getaffinity(0, sizeof(cpus), &cpus))
		stay_here();
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, sh);
}

FIXTURE_TEARDOWN(crash)
{
	munmap(sh, sizeof(*sh));
}

/*
 * One victim
 */

/**
 * struct path - how an operation changes the shared memory
 * @way:    its steps
 * @nr:     how many of them change anything
 * @after:  deaths that differ: after so many steps; the first is 0
 */
struct path {
	struct walk way;
	int nr;
	int after[WALK_MAX + 1];
};

/*
 * Kills after each step that @path names; without one, after each there is.
 * Returns how many it killed, 0 if something is wrong.
 */
static int kill_everywhere(struct __test_metadata *_metadata, const struct operation *op,
			   const char *(*check)(u32 client), const struct path *path)
{
	struct victim *v = &sh->victim[0];
	const char *wrong = NULL;
	bool going = true;
	int i, k, n;

	for (i = 0; going && i < (path ? path->nr : WALK_MAX); i++) {
		k = path ? path->after[i] : i;
		if (!victim_start(v, op)) {
			TH_LOG("%s: cannot prepare", op->name);
			return 0;
		}
		for (n = 0; n < k && going; n++)
			going = step(v);
		victim_kill(v);
		wrong = check(v->client);
		if (wrong) {
			TH_LOG("%s: killed after %d steps: %s", op->name, k, wrong);
			return 0;
		}
	}
	if (!path && going) {
		TH_LOG("%s: does not end", op->name);
		return 0;
	}
	return i;
}

/*
 * Steps a victim to its end, and notes its path; after each step @look, if there is
 * one, is asked. Returns what is wrong.
 */
static const char *step_through(struct victim *v, struct path *path,
				const char *(*look)(u32 client))
{
	bool going = true;
	int k;

	path->nr = 0;
	for (k = 0; walk_note(&path->way, v->pid, k); k++) {
		const char *wrong = look ? look(v->client) : NULL;

		if (wrong)
			return wrong;
		if (changed() || !k)
			path->after[path->nr++] = k;
		if (!going)
			return NULL;
		going = step(v);
	}
	return "it does not end";
}

/* If it died now */
static const char *check_copy(u32 client)
{
	sh->copy = sh->pool;
	return recover_wrong(&sh->copy, &client, 1);
}

static const char *check_alone(u32 client)
{
	const char *wrong = recover_wrong(&sh->pool, &client, 1);

	stage();
	return wrong;
}

TEST_F_TIMEOUT(crash, one_victim, 120)
{
	struct victim *v = &sh->victim[0];
	int i, killed, all = 0, kills = 0;
	static struct path path;
	const char *wrong;

	for (i = 0; i < NR(operations); i++) {
		stage();
		ASSERT_TRUE(victim_start(v, &operations[i]));
		wrong = step_through(v, &path, check_copy);
		victim_kill(v);
		ASSERT_EQ(NULL, wrong)
			TH_LOG("%s: dead after %d steps: %s", operations[i].name,
			       path.way.steps, wrong);
		stage();
		killed = kill_everywhere(_metadata, &operations[i], check_alone, &path);
		ASSERT_EQ(path.nr, killed);
		fprintf(stderr, "# %s: %d kill points, %d that differ\n", operations[i].name,
			path.way.steps, path.nr);
		all += path.way.steps;
		kills += killed;
	}
	fprintf(stderr, "# one victim: %d kill points, %d kills\n", all, kills);
}

/*
 * One victim, while a living process gets and puts
 */

#define LIVING_HOLDS	3

static void living_main(void)
{
	void *p[LIVING_HOLDS + 1];
	u32 n = 0, k;

	pool = lfpool_open("standin", 0);
	if (!pool || prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(1);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	while (!READ_ONCE(sh->stop)) {
		if (READ_ONCE(sh->pause)) {
			/* whoever sees it sees all that was done before */
			smp_store_release(&sh->paused, 1);
			while (READ_ONCE(sh->pause) && !READ_ONCE(sh->stop))
				sched_yield();
			/* nothing is done before it can be seen */
			smp_store_release(&sh->paused, 0);
		}
		/* up and down, by more than a cache holds now and then */
		p[n] = lfpool_get(pool);
		if (p[n]) {
			*(volatile u64 *)p[n] = (uintptr_t)p[n] ^ sh->laps;
			for (k = 0; k < n; k++) {
				if (p[k] == p[n])
					WRITE_ONCE(sh->faults, sh->faults + 1);
			}
			if (*(volatile u64 *)p[n] != ((uintptr_t)p[n] ^ sh->laps))
				WRITE_ONCE(sh->faults, sh->faults + 1);
			n++;
		}
		while (n > LIVING_HOLDS || (n && sh->laps % 16 > 8)) {
			if (lfpool_put(pool, p[--n]))
				WRITE_ONCE(sh->faults, sh->faults + 1);
		}
		WRITE_ONCE(sh->laps, sh->laps + 1);
	}
	while (n)
		lfpool_put(pool, p[--n]);
	lfpool_close(pool);
	_exit(0);
}

static const char *check_with_living(u32 client)
{
	const char *wrong;
	u32 deferred;

	/* while the living one moves, then once more in peace */
	standin_died(&sh->pool, &client, 1, &deferred);
	if (standin_audit(&sh->pool).lost)
		return "buffers are called lost while they move";
	WRITE_ONCE(sh->pause, 1);
	/* pairs with the release in living_main() */
	while (!smp_load_acquire(&sh->paused))
		sched_yield();
	if (deferred)
		standin_orphans(&sh->pool, &deferred);
	wrong = deferred ? "an orphan is not decided" : audit_wrong(&sh->pool, 1);
	/* or all of it ends up there, and the next one cannot prefill */
	standin_drain_depot(&sh->pool);
	WRITE_ONCE(sh->pause, 0);
	/* pairs with the other release in living_main() */
	while (smp_load_acquire(&sh->paused))
		sched_yield();
	return wrong;
}

TEST_F_TIMEOUT(crash, one_victim_among_the_living, 120)
{
	static const u32 some[] = { 0, 1, 5, 6, 7 };
	u32 i, points = 1, all = 0;
	int status = -1;
	pid_t pid;

	stage();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		living_main();
	for (i = 0; i < NR(some) && points; i++) {
		points = kill_everywhere(_metadata, &operations[some[i]], check_with_living,
					 NULL);
		all += points;
	}
	WRITE_ONCE(sh->stop, 1);
	waitpid(pid, &status, 0);
	ASSERT_NE(0, points);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, sh->faults);
	EXPECT_EQ(NULL, recover_wrong(&sh->pool, NULL, 0));
	fprintf(stderr, "# among the living: %u kills in %llu gets of another process\n", all,
		(unsigned long long)sh->laps);
}

/*
 * Two victims
 */

/* Both prepare, then the first goes i steps of the way. False: they cannot. */
static bool two_victims(const struct operation *first, const struct operation *second,
			const struct walk *way, int i)
{
	int at;

	stage();
	if (!victim_start(&sh->victim[0], first) || !victim_start(&sh->victim[1], second))
		return false;
	if (!i)
		return true;
	for (at = walk_jump(way, sh->victim[0].pid, i); at >= 0 && at < i; at++)
		step(&sh->victim[0]);
	return at == i && walk_is_at(way, sh->victim[0].pid, i);
}

/* The path of one of two, where the other one is prepared. */
static bool find_path(const struct operation *first, const struct operation *second,
		      struct path *path, int which)
{
	const char *wrong;

	if (!two_victims(first, second, NULL, 0))
		return false;
	wrong = step_through(&sh->victim[which], path, NULL);
	victim_kill(&sh->victim[0]);
	victim_kill(&sh->victim[1]);
	return !wrong;
}

/*
 * Both are killed, one after i steps, the other one after j: of the first, all
 * i that differ; the second one is stepped through, and a death after each step
 * is recovered in a copy.
 */

/* Returns how many states there were, 0 if something is wrong. */
static u32 second_everywhere(struct __test_metadata *_metadata, const struct operation *first,
			     u32 i, const struct operation *second)
{
	u32 dead[2] = { sh->victim[0].client, sh->victim[1].client };
	u32 states = 0, j = 0;
	const char *wrong;
	bool going;

	do {
		sh->copy = sh->pool;
		wrong = recover_wrong(&sh->copy, dead, 2);
		if (wrong) {
			TH_LOG("%s killed after %u steps, %s after %u: %s", first->name, i,
			       second->name, j, wrong);
			return 0;
		}
		states++;
		sh->last = sh->pool;
		do {
			going = step(&sh->victim[1]);
			j++;
		} while (going && !changed());
	} while (going);
	return states;
}

TEST_F_TIMEOUT(crash, two_victims, 200)
{
	static struct path path[2];
	u64 pairs = 0, states = 0;
	int a, b, k;
	u32 n;

	for (a = 0; a < PAIRS; a++) {
		for (b = 0; b < PAIRS; b++) {
			const struct operation *first = &operations[a], *second = &operations[b];

			ASSERT_TRUE(find_path(first, second, &path[0], 0));
			ASSERT_TRUE(find_path(first, second, &path[1], 1));
			for (k = 0; k < path[0].nr; k++) {
				int i = path[0].after[k];

				ASSERT_TRUE(two_victims(first, second, &path[0].way, i));
				victim_kill(&sh->victim[0]);
				n = second_everywhere(_metadata, first, i, second);
				victim_kill(&sh->victim[1]);
				ASSERT_NE(0, n);
				states += n;
			}
			pairs += path[0].way.steps * path[1].way.steps;
		}
	}
	fprintf(stderr, "# two victims, each of %u operations with each: %llu pairs of kills, ",
		PAIRS, (unsigned long long)pairs);
	fprintf(stderr, "%llu states that differ\n", (unsigned long long)states);
}

/*
 * One stands after i steps, alive, while the other one is killed after j and
 * recovered; then the first one goes on. All i (one in LFPOOL_EVERY), as it has
 * registers; of the other one, all j that differ.
 */

static const char *living_wrong(const u32 *clients, u32 nr)
{
	const char *wrong;
	u32 deferred;

	victim_finish(&sh->victim[0]);
	standin_orphans(&sh->pool, &deferred);
	if (deferred)
		return "an orphan is not decided when the other one is through";
	wrong = audit_wrong(&sh->pool, 1);
	victim_kill(&sh->victim[0]);
	return wrong ? wrong : recover_wrong(&sh->pool, clients, nr);
}

/* While one stands still, anywhere, the audit must not be misled. */
static const char *standing_wrong(void)
{
	struct lfpool_audit a = standin_audit(&sh->pool);

	if (!a.exact)
		return "the audit of a pool that stands still is not exact";
	return a.lost || a.duplicate || a.damaged ? "the audit is wrong while one stands" : NULL;
}

/* Returns how many runs there were, 0 if something is wrong. */
static int stand_and_die(struct __test_metadata *_metadata, const struct operation *first,
			 const struct operation *second)
{
	static struct path path[2];
	int i, k, n, runs = 0;
	const char *wrong;
	u32 deferred;

	if (!find_path(first, second, &path[0], 0) || !find_path(first, second, &path[1], 1)) {
		TH_LOG("%s, %s: no way", first->name, second->name);
		return 0;
	}
	for (k = 0; k < path[1].nr; k++) {
		for (i = k % every(); i < path[0].way.steps; i += every()) {
			if (!two_victims(first, second, &path[0].way, i)) {
				TH_LOG("%s does not get %d steps far", first->name, i);
				return 0;
			}
			for (n = 0; n < path[1].after[k]; n++)
				step(&sh->victim[1]);
			victim_kill(&sh->victim[1]);
			standin_died(&sh->pool, &sh->victim[1].client, 1, &deferred);
			wrong = standing_wrong();
			if (!wrong)
				wrong = living_wrong(&sh->victim[0].client, 1);
			if (wrong) {
				TH_LOG("%s stands after %d, %s dies after %d: %s", first->name, i,
				       second->name, path[1].after[k], wrong);
				return 0;
			}
			runs++;
		}
	}
	return runs;
}

TEST_F_TIMEOUT(crash, one_stands_one_dies, 200)
{
	int a, b, n, runs = 0;

	for (a = 0; a < MEETINGS; a++) {
		for (b = 0; b < MEETINGS; b++) {
			n = stand_and_die(_metadata, &operations[a], &operations[b]);
			ASSERT_NE(0, n);
			runs += n;
		}
	}
	fprintf(stderr, "# one stands, one dies: %d runs\n", runs);
}

/*
 * One stands after i steps; meanwhile the head changes and comes to the same
 * leader again, with another batch below it. The one that stood must not take
 * the new stack for the old one.
 */

/* The kernel takes the depot; another client is granted the same buffers. */
static void change_by_drain(struct depot *d, struct lfpool_slot *s)
{
	struct standin *w = &sh->pool;
	struct standin_call call = { .nr = STANDIN_REFILL, .client = d->mark };
	u32 leader = w->depot.head & LFPOOL_HEAD_INDEX;
	u32 k;

	standin_drain_depot(w);
	call.n = bitmap_weight(w->kernel, STANDIN_COUNT);
	standin_serve(w, &call);
	for (k = 0; (int)k < call.ret && call.items[k] != leader; k++)
		;
	if ((int)k >= call.ret)
		return;
	/* one below, then the old leader alone */
	depot_push(d, s, &call.items[k ? 0 : 1], 1);
	depot_push(d, s, &call.items[k], 1);
}

/* Another client pops two batches, keeps one, and pushes the other one again. */
static void change_by_pop(struct depot *d, struct lfpool_slot *s)
{
	u32 n = depot_pop(d, s);

	depot_pop(d, s);
	if (n)
		depot_push(d, s, s->item, n);
}

TEST_F_TIMEOUT(crash, one_stands_head_comes_back, 200)
{
	static void (*const changes[])(struct depot *d, struct lfpool_slot *s) = {
		change_by_drain, change_by_pop,
	};
	u32 c, i, k, runs = 0;

	for (c = 0; c < MEETINGS * NR(changes); c++) {
		const struct operation *op = &operations[c / NR(changes)];
		bool going = true;

		for (i = 0; going; i++) {
			struct lfpool_slot slot = { .journal = LFPOOL_NONE };
			struct depot depot = {
				.shared = &sh->pool.depot,
				.desc = sh->pool.descs,
				.count = STANDIN_COUNT,
			};
			const char *wrong;

			stage();
			depot.mark = standin_connect(&sh->pool);
			ASSERT_TRUE(victim_start(&sh->victim[0], op));
			for (k = 0; k < i && going; k++)
				going = step(&sh->victim[0]);
			changes[c % NR(changes)](&depot, &slot);
			wrong = living_wrong((u32[]){ depot.mark, sh->victim[0].client }, 2);
			ASSERT_EQ(NULL, wrong)
				TH_LOG("%s stands after %u steps: %s", op->name, i, wrong);
			runs++;
		}
	}
	fprintf(stderr, "# one stands, the head comes back: %u runs\n", runs);
}

TEST_HARNESS_MAIN
