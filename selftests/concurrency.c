// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads and processes that get, use, pass on and put buffers all at once.
 *
 * Two witnesses watch that nobody shares a buffer by mistake: the owner table,
 * into which everybody writes a name on get and finds it on put, and the stamp,
 * contents that only the owner can have written. At the end of each test all
 * buffers are free, each in one place, and the counters say to the last one
 * what was done.
 *
 * vm: smp=2 timeout=600 insmod=no
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <lfpool.h>

#include "lfpool_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>

#define HOLD_MAX	8

/* A thread that moves buffers. */
struct worker {
	pthread_t thread;
	struct lfpool *pool;
	struct owners *owners;
	size_t size;		/* of a buffer */
	uint32_t name;		/* in the owner table, not 0 */
	uint32_t random;
	unsigned int rounds;
	unsigned int hold;	/* at most so many at a time */
	int pipe[2];

	uint64_t gets, puts, empty;
	uint64_t signals;
	unsigned int faults;
	bool done;
};

static void fault(struct worker *w, const char *what)
{
	int error = errno;

	if (!w->faults++)
		fprintf(stderr, "# worker %u: %s (%s)\n", w->name, what, strerror(error));
}

/* Get one and make it mine; NULL only if the pool is empty just now. */
static void *take(struct worker *w, uint32_t name)
{
	void *buffer = lfpool_get(w->pool);

	if (!buffer) {
		if (errno != ENOBUFS)
			fault(w, "get");
		w->empty++;
		return NULL;
	}
	w->gets++;
	if (!owners_move(w->owners, buffer_index(w->pool, buffer), 0, name))
		fault(w, "got a buffer that somebody has");
	return buffer;
}

static void give(struct worker *w, void *buffer, uint32_t name)
{
	int err;

	if (!owners_move(w->owners, buffer_index(w->pool, buffer), name, 0))
		fault(w, "somebody has taken my buffer");
	err = lfpool_put(w->pool, buffer);
	if (err) {
		errno = -err;
		fault(w, "put");
	} else {
		w->puts++;
	}
}

/*
 * A pool called serialization as a test wants it; the other two are as small as
 * can be.
 */
static struct lfpool *make_pool(unsigned int buffers, unsigned int size, unsigned int batch,
				unsigned int threads)
{
	struct lfpool_config config = {
		.name = "serialization",
		.buffer_size = size,
		.buffer_count = buffers,
		.max_count = buffers,
		.max_threads = threads,
		.batch = batch,
	};
	char args[256];
	int err;

	if (embedded())
		return lfpool_create(&config);
	snprintf(args, sizeof(args), "buffer_count=%u max_count=%u batch=%u max_threads=%u "
		 "serialization_size=%u compression_size=64 simd_elements=1",
		 buffers, buffers, batch, threads, size);
	err = module_fresh(args);
	if (err) {
		errno = -err;
		return NULL;
	}
	return lfpool_open("serialization", 0);
}

/* The same pool in a child: a client of its own. */
static struct lfpool *join_pool(struct lfpool *inherited)
{
	return embedded() ? inherited : lfpool_open("serialization", 0);
}

static void drop_pool(struct __test_metadata *_metadata, struct lfpool *pool)
{
	lfpool_close(pool);
	if (!embedded())
		EXPECT_EQ(0, module_unload());
}

static void start(struct __test_metadata *_metadata, struct worker *w, unsigned int n,
		  const struct worker *like, void *(*work)(void *))
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		w[i] = *like;
		w[i].name = like->name + i + 1;
		w[i].random = w[i].name * 2654435761U;
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, work, &w[i]));
	}
}

static void finish(struct __test_metadata *_metadata, struct worker *w, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, pthread_join(w[i].thread, NULL));
		EXPECT_EQ(0, w[i].faults);
	}
}

/* The counters, to the last one, say what the workers say. */
static void expect_counts(struct __test_metadata *_metadata, struct lfpool *pool,
			  const struct worker *w, unsigned int n)
{
	uint64_t gets = 0, puts = 0, empty = 0;
	struct lfpool_stats s;
	unsigned int i;

	for (i = 0; i < n; i++) {
		gets += w[i].gets;
		puts += w[i].puts;
		empty += w[i].empty;
	}
	ASSERT_EQ(0, lfpool_stats(pool, &s));
	EXPECT_EQ(gets, s.pool_hits);
	EXPECT_EQ(puts, s.deallocations);
	EXPECT_EQ(empty, s.pool_misses);
	EXPECT_EQ(0, s.threads);
}

/*
 * Threads of one process
 */

FIXTURE(threads) {
	struct lfpool *pool;
	struct owners *owners;
};

FIXTURE_VARIANT(threads) {
	unsigned int workers, buffers, size, batch, hold, rounds;
};

FIXTURE_VARIANT_ADD(threads, two) {
	.workers = 2, .buffers = 32, .size = 131072, .batch = 28, .hold = 4, .rounds = 2000,
};

FIXTURE_VARIANT_ADD(threads, four) {
	.workers = 4, .buffers = 64, .size = 65536, .batch = 28, .hold = 4, .rounds = 1500,
};

FIXTURE_VARIANT_ADD(threads, eight) {
	.workers = 8, .buffers = 128, .size = 16384, .batch = 28, .hold = 8, .rounds = 1000,
};

/* not enough for all: they take what is in each other's caches */
FIXTURE_VARIANT_ADD(threads, eight_short_of_buffers) {
	.workers = 8, .buffers = 32, .size = 4096, .batch = 28, .hold = 8, .rounds = 500,
};

FIXTURE_SETUP(threads)
{
	self->pool = make_pool(variant->buffers, variant->size, variant->batch, 64);
	ASSERT_NE(NULL, self->pool);
	self->owners = owners_new(variant->buffers);
	ASSERT_NE(NULL, self->owners);
}

FIXTURE_TEARDOWN(threads)
{
	EXPECT_EQ(0, self->owners->faults);
	expect_quiet(_metadata, self->pool, variant->buffers);
	drop_pool(_metadata, self->pool);
}

static void *get_stamp_put(void *arg)
{
	struct worker *w = arg;
	uint64_t seed[HOLD_MAX];
	void *held[HOLD_MAX];
	unsigned int round, n, k;

	for (round = 0; round < w->rounds; round++) {
		n = 1 + random_next(&w->random) % w->hold;
		for (k = 0; k < n; k++) {
			held[k] = take(w, w->name);
			if (!held[k])
				break;
			seed[k] = (uint64_t)w->name << 32 | round * HOLD_MAX | k;
			stamp_write(held[k], w->size, seed[k]);
		}
		n = k;
		if (!(round % 4))
			sched_yield();
		for (k = 0; k < n; k++) {
			/* in the order they came, or backwards: as in real life */
			unsigned int i = round & 1 ? k : n - 1 - k;

			if (!stamp_check(held[i], w->size, seed[i]))
				fault(w, "somebody wrote to my buffer");
			give(w, held[i], w->name);
		}
	}
	return NULL;
}

TEST_F_TIMEOUT(threads, get_stamp_put, 120)
{
	struct worker w[8], like = {
		.pool = self->pool, .owners = self->owners, .size = variant->size,
		.rounds = variant->rounds, .hold = variant->hold,
	};

	start(_metadata, w, variant->workers, &like, get_stamp_put);
	finish(_metadata, w, variant->workers);
	expect_counts(_metadata, self->pool, w, variant->workers);
}

/* The same many at a time. */
static void *get_stamp_put_bulk(void *arg)
{
	struct worker *w = arg;
	void *held[HOLD_MAX];
	unsigned int round, wanted, n, k;

	for (round = 0; round < w->rounds; round++) {
		wanted = 1 + random_next(&w->random) % w->hold;
		n = lfpool_get_bulk(w->pool, held, wanted);
		w->gets += n;
		if (n < wanted) {
			if (errno != ENOBUFS)
				fault(w, "get_bulk");
			w->empty++;
		}
		for (k = 0; k < n; k++) {
			if (!owners_move(w->owners, buffer_index(w->pool, held[k]), 0, w->name))
				fault(w, "got a buffer that somebody has");
			stamp_write(held[k], w->size, (uint64_t)w->name << 32 | k);
		}
		if (!(round % 4))
			sched_yield();
		for (k = 0; k < n; k++) {
			if (!stamp_check(held[k], w->size, (uint64_t)w->name << 32 | k))
				fault(w, "somebody wrote to my buffer");
			if (!owners_move(w->owners, buffer_index(w->pool, held[k]), w->name, 0))
				fault(w, "somebody has taken my buffer");
		}
		k = lfpool_put_bulk(w->pool, held, n);
		w->puts += k;
		if (k != n)
			fault(w, "put_bulk");
	}
	return NULL;
}

TEST_F_TIMEOUT(threads, get_stamp_put_in_bulk, 120)
{
	struct worker w[8], like = {
		.pool = self->pool, .owners = self->owners, .size = variant->size,
		.rounds = variant->rounds, .hold = variant->hold,
	};

	start(_metadata, w, variant->workers, &like, get_stamp_put_bulk);
	finish(_metadata, w, variant->workers);
	expect_counts(_metadata, self->pool, w, variant->workers);
}

/*
 * Half of the threads get, the other half put: every buffer goes through the
 * depot. The pointer goes through a pipe.
 */
static void *produce(void *arg)
{
	struct worker *w = arg;
	unsigned int round;
	void *buffer;

	for (round = 0; round < w->rounds; round++) {
		while (!(buffer = take(w, w->name)))
			sched_yield();
		stamp_write(buffer, w->size, 7);
		/* from here on it is whoever's gets it */
		if (!owners_move(w->owners, buffer_index(w->pool, buffer), w->name, UINT32_MAX))
			fault(w, "somebody has taken my buffer");
		if (write(w->pipe[1], &buffer, sizeof(buffer)) != sizeof(buffer))
			fault(w, "write");
	}
	return NULL;
}

static void *consume(void *arg)
{
	struct worker *w = arg;
	unsigned int round;
	void *buffer;

	for (round = 0; round < w->rounds; round++) {
		if (read(w->pipe[0], &buffer, sizeof(buffer)) != sizeof(buffer)) {
			fault(w, "read");
			break;
		}
		if (!owners_move(w->owners, buffer_index(w->pool, buffer), UINT32_MAX, w->name))
			fault(w, "somebody has the buffer that was passed to me");
		if (!stamp_check(buffer, w->size, 7))
			fault(w, "somebody wrote to my buffer");
		give(w, buffer, w->name);
	}
	return NULL;
}

TEST_F_TIMEOUT(threads, one_gets_and_another_puts, 120)
{
	unsigned int half = variant->workers / 2;
	struct worker w[8], like = {
		.pool = self->pool, .owners = self->owners, .size = variant->size,
		.rounds = variant->rounds,
	};
	struct lfpool_stats s;

	ASSERT_EQ(0, pipe(like.pipe));
	start(_metadata, w, half, &like, produce);
	like.name = half;
	start(_metadata, w + half, half, &like, consume);
	finish(_metadata, w, 2 * half);
	expect_counts(_metadata, self->pool, w, 2 * half);
	/* they met in the depot, not in the kernel */
	ASSERT_EQ(0, lfpool_stats(self->pool, &s));
	EXPECT_LT(0, s.flushes);
	EXPECT_LE(s.flushes, s.refills);
	close(like.pipe[0]);
	close(like.pipe[1]);
}

/*
 * A process that another one stops, steps and lets go: see ptrace(2).
 */

static bool stopped(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
}

static bool go_on(pid_t pid, int how)
{
	return !ptrace(how, pid, NULL, NULL) && stopped(pid);
}

/*
 * Signal handlers that get and put, whatever they interrupt.
 */

static __thread struct worker *storm_worker;
static __thread unsigned int storm_depth;

static void storm_handler(int signal)
{
	struct worker *w = storm_worker;
	int saved = errno;
	void *buffer;

	/* not in a thread that has not begun, or is over */
	if (!w)
		return;
	/* two kinds of signals: one handler may interrupt the other one */
	storm_depth++;
	/* only this thread's, and no other handler's now; looked at by who sends them */
	__atomic_store_n(&w->signals, w->signals + 1, __ATOMIC_RELAXED);
	buffer = take(w, w->name + 1000 * storm_depth);
	if (buffer) {
		*(volatile uint64_t *)buffer = w->name + storm_depth;
		give(w, buffer, w->name + 1000 * storm_depth);
	}
	storm_depth--;
	errno = saved;
}

static uint64_t storm_signals(struct worker *w, unsigned int n)
{
	uint64_t signals = 0;
	unsigned int i;

	for (i = 0; i < n; i++)
		signals += __atomic_load_n(&w[i].signals, __ATOMIC_RELAXED);
	return signals;
}

/*
 * Send signals to the workers, in turn and of both kinds, then tell them that
 * it is over. They go on until then, and exist until they are joined. On few
 * CPUs it takes long to send many, as the workers never sleep: it ends after some
 * seconds, but not before STORM_LEAST have struck (many come before or after, or
 * find another one pending), which on a busy machine may take long.
 */
#define STORM_LEAST	50

static void storm(struct worker *w, unsigned int n, unsigned int signals, unsigned int seconds)
{
	uint64_t end = now_ns() + seconds * 1000000000ULL;
	unsigned int i;

	for (i = 0; (i < signals && now_ns() < end) || storm_signals(w, n) <= STORM_LEAST; i++) {
		pthread_kill(w[i % n].thread, i / n % 2 ? SIGUSR1 : SIGALRM);
		usleep(20);
	}
	for (i = 0; i < n; i++)
		__atomic_store_n(&w[i].done, true, __ATOMIC_SEQ_CST);
}

static bool storm_is_over(struct worker *w)
{
	return __atomic_load_n(&w->done, __ATOMIC_SEQ_CST);
}

/*
 * The handlers count in the worker as it does: so it counts with every signal
 * held back, and does what is tested without.
 */
static void *get_put_in_a_storm(void *arg)
{
	struct worker *w = arg;
	uint64_t gets = 0, puts = 0, empty = 0;
	struct lfpool_thread *t;
	unsigned int round, k;
	void *held[4];

	t = lfpool_attach(w->pool);
	if (!t) {
		fault(w, "attach");
		return NULL;
	}
	storm_worker = w;
	for (round = 0; !storm_is_over(w); round++) {
		for (k = 0; k < 4; k++) {
			held[k] = round % 2 ? lfpool_get(w->pool) : lfpool_thread_get(t);
			if (!held[k]) {
				empty++;
				break;
			}
			gets++;
			if (!owners_move(w->owners, buffer_index(w->pool, held[k]), 0, w->name))
				fault(w, "got a buffer that somebody has");
			stamp_write(held[k], w->size, w->name);
		}
		while (k--) {
			if (!stamp_check(held[k], w->size, w->name))
				fault(w, "somebody wrote to my buffer");
			if (!owners_move(w->owners, buffer_index(w->pool, held[k]), w->name, 0))
				fault(w, "somebody has taken my buffer");
			if (round % 2 ? lfpool_put(w->pool, held[k]) :
					lfpool_thread_put(t, held[k]))
				fault(w, "put");
			else
				puts++;
		}
	}
	storm_worker = NULL;
	w->gets += gets;
	w->puts += puts;
	w->empty += empty;
	return NULL;
}

TEST_F_TIMEOUT(threads, signal_storm, 120)
{
	struct sigaction action = { .sa_handler = storm_handler, .sa_flags = SA_RESTART };
	unsigned int n = variant->workers;
	struct worker w[8], like = {
		/* mostly get and put, as that is where the signals are to strike */
		.pool = self->pool, .owners = self->owners, .size = 64,
	};

	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	start(_metadata, w, n, &like, get_put_in_a_storm);
	storm(w, n, 3000, 2);
	finish(_metadata, w, n);
	EXPECT_LT(STORM_LEAST, storm_signals(w, n));
	expect_counts(_metadata, self->pool, w, n);
}

/*
 * The same without luck: a handler runs after each instruction in turn of each
 * kind of get and put. It gets two buffers, puts one and keeps the other: so
 * the cache is not what it was.
 */
FIXTURE(signal) {
	struct lfpool *pool;
};

FIXTURE_VARIANT(signal) {
	bool put;		/* what is interrupted */
	int cached;		/* buffers in the cache before; 0: a pop, 4: a push */
	unsigned int stride;
};

FIXTURE_VARIANT_ADD(signal, get_from_cache) { .put = false, .cached = 3, .stride = 1 };
FIXTURE_VARIANT_ADD(signal, get_from_depot) { .put = false, .cached = 0, .stride = 2 };
FIXTURE_VARIANT_ADD(signal, put_to_cache) { .put = true, .cached = 2, .stride = 1 };
FIXTURE_VARIANT_ADD(signal, put_to_depot) { .put = true, .cached = 4, .stride = 2 };

#define SIGNAL_BUFFERS	48U
#define SIGNAL_HELD	16

FIXTURE_SETUP(signal)
{
	self->pool = make_pool(SIGNAL_BUFFERS, 64, 2, 16);
	ASSERT_NE(NULL, self->pool);
	ASSERT_EQ(0, lfpool_prefill(self->pool, 40));
}

FIXTURE_TEARDOWN(signal)
{
	struct lfpool_stats s;

	EXPECT_TRUE(wait_until(!lfpool_stats(self->pool, &s) && s.clients == 1, 20));
	expect_quiet(_metadata, self->pool, SIGNAL_BUFFERS);
	drop_pool(_metadata, self->pool);
}

/* what the interrupted process tells */
struct interrupted {
	bool finished;
	bool over;
	bool handled;
	unsigned int held;
	uint64_t gets, puts;
};

static struct lfpool *handler_pool;
static volatile struct interrupted *handler_tells;
static void *handler_kept;

static void get_two_put_one(int signal)
{
	void *a = lfpool_get(handler_pool), *b = lfpool_get(handler_pool);

	child_assert(a && b && a != b);
	child_assert(!lfpool_put(handler_pool, a));
	handler_kept = b;
	handler_tells->gets += 2;
	handler_tells->puts++;
	handler_tells->handled = true;
}

static void interrupted(struct lfpool *inherited, volatile struct interrupted *p, bool put,
			unsigned int cached)
{
	struct sigaction action = { .sa_handler = get_two_put_one };
	void *held[SIGNAL_BUFFERS], *one;
	struct lfpool_thread *t;
	struct lfpool *pool;
	unsigned int n = 0, i;

	pool = join_pool(inherited);
	child_assert(pool);
	t = lfpool_attach(pool);
	child_assert(t);
	handler_pool = pool;
	handler_tells = p;
	child_assert(!sigaction(SIGUSR1, &action, NULL));
	child_assert(!ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	while (!p->over) {
		/* so many in hand, and so many in the cache */
		for (; n < SIGNAL_HELD; n++, p->gets++)
			child_assert((held[n] = lfpool_get(pool)));
		for (; n > SIGNAL_HELD || t->slot->n < cached; n--, p->puts++)
			child_assert(!lfpool_put(pool, held[n - 1]));
		for (; t->slot->n > cached; n++, p->gets++)
			child_assert((held[n] = lfpool_get(pool)));
		handler_kept = NULL;
		p->handled = false;
		p->finished = false;
		one = held[n - 1];
		kill(getpid(), SIGSTOP);
		if (put)
			child_assert(!lfpool_thread_put(t, one));
		else
			child_assert((one = lfpool_thread_get(t)));
		p->finished = true;
		kill(getpid(), SIGSTOP);
		if (put) {
			n--;
			p->puts++;
		} else {
			held[n++] = one;
			p->gets++;
		}
		if (handler_kept)
			held[n++] = handler_kept;
		p->held = n;
		kill(getpid(), SIGSTOP);
	}
	for (i = 0; i < n; i++, p->puts++)
		child_assert(!lfpool_put(pool, held[i]));
	lfpool_close(pool);
	_exit(0);
}

TEST_F_TIMEOUT(signal, at_every_instruction, 120)
{
	volatile struct interrupted *p = shared_alloc(sizeof(*p));
	struct lfpool_stats s;
	struct lfpool_audit a;
	bool over = false;
	unsigned int k, i;
	cpu_set_t cpus;
	pid_t pid;

#ifdef LFPOOL_TSAN
	SKIP(return, "the sanitizer's instructions are too many to step through");
#endif
	/* one CPU for both: no step waits for another CPU to wake up */
	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpus), &cpus));
	ASSERT_NE(NULL, p);
	pid = child_fork();
	if (!pid)
		interrupted(self->pool, p, variant->put, variant->cached);
	ASSERT_TRUE(stopped(pid));
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL));

	for (k = 0; !over; k += variant->stride * round_step()) {
		for (i = 0; i < k && !p->finished; i++)
			ASSERT_TRUE(go_on(pid, PTRACE_SINGLESTEP));
		over = p->finished;
		ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, NULL, SIGUSR1));
		ASSERT_TRUE(stopped(pid));
		ASSERT_TRUE(p->finished);
		ASSERT_TRUE(p->handled);
		ASSERT_TRUE(go_on(pid, PTRACE_CONT));
		ASSERT_EQ(0, lfpool_audit(self->pool, &a));
		ASSERT_EQ(0, a.lost + a.duplicate + a.damaged) {
			TH_LOG("signal after %u instructions: lost %llu, twice %llu", k,
			       a.lost, a.duplicate);
		}
		ASSERT_EQ(p->held, a.held) {
			TH_LOG("signal after %u instructions", k);
		}
		ASSERT_EQ(0, lfpool_stats(self->pool, &s));
		ASSERT_EQ(p->gets, s.pool_hits) {
			TH_LOG("signal after %u instructions", k);
		}
		ASSERT_EQ(p->puts, s.deallocations) {
			TH_LOG("signal after %u instructions", k);
		}
		if (over)
			p->over = true;
		else
			ASSERT_TRUE(go_on(pid, PTRACE_CONT));
	}
	TH_LOG("%u instructions", i);
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, pid, NULL, NULL));
	EXPECT_EQ(0, child_wait(pid));
	ASSERT_EQ(0, lfpool_stats(self->pool, &s));
	EXPECT_EQ(p->gets, s.pool_hits);
	EXPECT_EQ(p->puts, s.deallocations);
}

/*
 * The depot under attack: batches of two, few buffers, everybody pops and
 * pushes all the time. Between a thread's look at the head and its swap of it
 * others may take the first batch and the one below it, and put the first one
 * back: only the tag tells (ABA).
 */
FIXTURE(depot) {
	struct lfpool *pool;
};

#define DEPOT_BUFFERS	48U
#define DEPOT_WORKERS	4U
#define DEPOT_HOLD	8U

FIXTURE_SETUP(depot)
{
	self->pool = make_pool(DEPOT_BUFFERS, 64, 2, 16);
	ASSERT_NE(NULL, self->pool);
	ASSERT_EQ(0, lfpool_prefill(self->pool, DEPOT_BUFFERS));
}

FIXTURE_TEARDOWN(depot)
{
	struct lfpool_stats s;

	EXPECT_TRUE(wait_until(!lfpool_stats(self->pool, &s) && s.clients == 1, 20));
	expect_quiet(_metadata, self->pool, DEPOT_BUFFERS);
	drop_pool(_metadata, self->pool);
}

/*
 * Each thread is held up a millisecond after it went on. Not by the clock: where others
 * keep the processor for longer, there would be nothing but signals.
 */
static __thread timer_t hold_up_timer;
static bool hold_up_failed;

static bool hold_up_soon(void)
{
	const struct itimerspec once = { .it_value = { 0, 1000000 } };

	return !timer_settime(hold_up_timer, 0, &once, NULL);
}

static void hold_up(int signal)
{
	int saved = errno;

	sched_yield();
	if (!hold_up_soon())
		__atomic_store_n(&hold_up_failed, true, __ATOMIC_RELAXED);
	errno = saved;
}

static bool start_timer(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };

	event._sigev_un._tid = syscall(SYS_gettid);
	return !timer_create(CLOCK_MONOTONIC, &event, &hold_up_timer) && hold_up_soon();
}

/*
 * Next to nothing but pops and pushes, so that these are what is held up: the
 * owner table would take most of the time. Who shares a buffer sees it by the
 * name in it, soon, as such a buffer goes round in two batches for ever.
 */
static void *pop_and_push(void *arg)
{
	struct worker *w = arg;
	volatile uint64_t *held[DEPOT_HOLD];
	struct lfpool_thread *t;
	sigset_t alarm;
	unsigned int k;

	t = lfpool_attach(w->pool);
	if (!t || !start_timer()) {
		fault(w, "attach or timer");
		return NULL;
	}
	while (!__atomic_load_n(&w->done, __ATOMIC_RELAXED) && !w->faults) {
		for (k = 0; k < DEPOT_HOLD; k++) {
			held[k] = lfpool_thread_get(t);
			if (!held[k])
				break;
			*held[k] = w->name;
		}
		while (k--) {
			if (*held[k] != w->name)
				fault(w, "somebody wrote to my buffer");
			if (lfpool_thread_put(t, (void *)held[k]))
				fault(w, "put");
		}
	}
	/* whoever came too late for it would find no timer to start again */
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	timer_delete(hold_up_timer);
	return NULL;
}

TEST_F_TIMEOUT(depot, pop_and_push, 120)
{
	struct sigaction action = { .sa_handler = hold_up, .sa_flags = SA_RESTART };
	struct worker w[DEPOT_WORKERS], like = { .pool = self->pool };
	struct lfpool_stats stats;
	unsigned int i;

	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	start(_metadata, w, DEPOT_WORKERS, &like, pop_and_push);
	sleep(4);
	/* it is the depot that does it, and they get into each other's way */
	EXPECT_TRUE(wait_until(!lfpool_stats(self->pool, &stats) && stats.flushes > 10000 &&
			       stats.cas_retries, 20));
	for (i = 0; i < DEPOT_WORKERS; i++)
		__atomic_store_n(&w[i].done, true, __ATOMIC_RELAXED);
	finish(_metadata, w, DEPOT_WORKERS);
	EXPECT_FALSE(hold_up_failed);
	ASSERT_EQ(0, lfpool_stats(self->pool, &stats));
	/* main is attached by its prefill */
	EXPECT_EQ(1, stats.threads);
	EXPECT_EQ(stats.pool_hits, stats.deallocations);
}

/*
 * The same without luck: a process is stopped after each instruction of a pop
 * in turn, and in the meantime the head is made to name the same leader again
 * while what it links to has gone.
 */
struct popper {
	bool finished;
	bool over;
	uint64_t handle[2];
};

static void popper(struct lfpool *inherited, volatile struct popper *p)
{
	struct lfpool *pool = join_pool(inherited);
	struct lfpool_thread *t;
	uint64_t handle;
	void *first, *second;

	child_assert(pool);
	t = lfpool_attach(pool);
	child_assert(t);
	child_assert(!ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	while (!p->over) {
		kill(getpid(), SIGSTOP);
		first = lfpool_thread_get(t);
		p->finished = true;
		kill(getpid(), SIGSTOP);
		/* the other one of the batch: the cache is empty again */
		second = lfpool_thread_get(t);
		child_assert(first && second && !t->slot->n);
		child_assert(!lfpool_export(pool, first, &handle));
		p->handle[0] = handle;
		child_assert(!lfpool_export(pool, second, &handle));
		p->handle[1] = handle;
		kill(getpid(), SIGSTOP);
	}
	lfpool_close(pool);
	_exit(0);
}

TEST_F_TIMEOUT(depot, pop_interrupted_at_every_instruction, 120)
{
	volatile struct popper *p = shared_alloc(sizeof(*p));
	void *extra[LFPOOL_CACHE_MAX], *held[6], *other[2];
	struct lfpool_depot *depot;
	unsigned int k, i, n;
	struct lfpool_thread *t;
	struct lfpool_audit a;
	bool over = false;
	cpu_set_t cpus;
	pid_t pid;

#ifdef LFPOOL_TSAN
	SKIP(return, "the sanitizer's instructions are too many to step through");
#endif
	/* one CPU for both: no step waits for another CPU to wake up */
	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpus), &cpus));
	ASSERT_NE(NULL, p);
	t = lfpool_attach(self->pool);
	ASSERT_NE(NULL, t);
	depot = (void *)((char *)t->waiters - offsetof(struct lfpool_depot, waiters));
	pid = child_fork();
	if (!pid)
		popper(self->pool, p);
	ASSERT_TRUE(stopped(pid));
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL));

	for (k = 0; !over; k += round_step()) {
		for (n = 0; t->slot->n; n++)
			extra[n] = lfpool_get(self->pool);
		p->finished = false;
		for (i = 0; i < k && !p->finished; i++)
			ASSERT_TRUE(go_on(pid, PTRACE_SINGLESTEP));
		over = p->finished;

		/* three batches, each its second member first */
		for (i = 0; i < 6; i++) {
			held[i] = lfpool_get(self->pool);
			ASSERT_NE(NULL, held[i]);
		}
		/* the first one back as it was, the second one's leader kept */
		ASSERT_EQ(0, lfpool_put(self->pool, held[1]));
		ASSERT_EQ(0, lfpool_put(self->pool, held[0]));
		ASSERT_EQ(0, lfpool_put(self->pool, held[5]));
		ASSERT_EQ(0, lfpool_put(self->pool, held[4]));
		ASSERT_EQ(0, lfpool_put(self->pool, held[2]));
		ASSERT_EQ(buffer_index(self->pool, held[1]), depot->head & LFPOOL_HEAD_INDEX);

		if (!over)
			ASSERT_TRUE(go_on(pid, PTRACE_CONT));
		ASSERT_TRUE(p->finished);
		ASSERT_EQ(0, lfpool_audit(self->pool, &a));
		ASSERT_EQ(0, a.lost + a.duplicate + a.damaged) {
			TH_LOG("interrupted after %u instructions: lost %llu, twice %llu", k,
			       a.lost, a.duplicate);
		}
		ASSERT_EQ(n + 2, a.held);
		ASSERT_TRUE(go_on(pid, PTRACE_CONT));
		if (over)
			ASSERT_TRUE(go_on(pid, PTRACE_CONT));
		for (i = 0; i < 2; i++) {
			other[i] = lfpool_import(self->pool, p->handle[i]);
			ASSERT_NE(NULL, other[i]);
			ASSERT_NE(held[3], other[i]);
			ASSERT_EQ(0, lfpool_put(self->pool, other[i]));
		}
		ASSERT_EQ(0, lfpool_put(self->pool, held[3]));
		while (n--)
			ASSERT_EQ(0, lfpool_put(self->pool, extra[n]));
		if (!over)
			ASSERT_TRUE(go_on(pid, PTRACE_CONT));
	}
	/* the last one tried */
	k -= round_step();
	TH_LOG("%u instructions", k);
	/* a whole pop, not only the way into it */
	EXPECT_LE(30, k);
	p->over = true;
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, pid, NULL, NULL));
	EXPECT_EQ(0, child_wait(pid));
}

/*
 * Threads that come and go
 */

FIXTURE(few) {
	struct lfpool *pool;
	struct owners *owners;
};

#define FEW		16U
#define FEW_SLOTS	3U

FIXTURE_SETUP(few)
{
	self->pool = make_pool(FEW, 4096, 2, FEW_SLOTS);
	ASSERT_NE(NULL, self->pool);
	self->owners = owners_new(FEW);
	ASSERT_NE(NULL, self->owners);
}

FIXTURE_TEARDOWN(few)
{
	EXPECT_EQ(0, self->owners->faults);
	expect_quiet(_metadata, self->pool, FEW);
	drop_pool(_metadata, self->pool);
}

/* Every buffer there is can be had by one thread, and no other one. */
static void expect_all_reachable(struct __test_metadata *_metadata, struct lfpool *pool,
				 struct owners *owners, unsigned int count)
{
	void *buffers[FEW];
	unsigned int i;

	ASSERT_GE(FEW, count);
	for (i = 0; i < count; i++) {
		buffers[i] = lfpool_get(pool);
		ASSERT_NE(NULL, buffers[i]) {
			TH_LOG("buffer %u of %u", i, count);
		}
		EXPECT_TRUE(owners_move(owners, buffer_index(pool, buffers[i]), 0, 1));
	}
	EXPECT_EQ(NULL, lfpool_get(pool));
	EXPECT_EQ(ENOBUFS, errno);
	for (i = 0; i < count; i++) {
		EXPECT_TRUE(owners_move(owners, buffer_index(pool, buffers[i]), 1, 0));
		EXPECT_EQ(0, lfpool_put(pool, buffers[i]));
	}
}

static void *come_and_go(void *arg)
{
	struct worker *w = arg;
	void *held[3];
	unsigned int k, n = w->name % 4;

	/* 0 to 3 buffers, so that the cache is left with any number */
	for (k = 0; k < n; k++) {
		held[k] = take(w, w->name);
		if (!held[k])
			break;
	}
	while (k--)
		give(w, held[k], w->name);
	if (w->name & 4)
		pthread_exit(NULL);
	return NULL;
}

TEST_F_TIMEOUT(few, thread_exit_leaks_nothing, 120)
{
	uint64_t gets = 0, puts = 0;
	struct lfpool_stats s;
	struct worker w[3], like = { .pool = self->pool, .owners = self->owners };
	unsigned int wave, i;

	/* many more ends than there are buffers: one lost at each is soon missed */
	for (wave = 0; wave < 25 * rounds(4); wave++) {
		like.name = wave * ARRAY_SIZE(w);
		start(_metadata, w, ARRAY_SIZE(w), &like, come_and_go);
		finish(_metadata, w, ARRAY_SIZE(w));
		for (i = 0; i < ARRAY_SIZE(w); i++) {
			EXPECT_EQ(0, w[i].empty);
			gets += w[i].gets;
			puts += w[i].puts;
		}
		ASSERT_EQ(0, lfpool_stats(self->pool, &s));
		ASSERT_EQ(0, s.threads);
		ASSERT_EQ(0, s.cached);
		ASSERT_EQ(0, s.in_use);
	}
	EXPECT_EQ(gets, s.pool_hits);
	EXPECT_EQ(puts, s.deallocations);
	expect_all_reachable(_metadata, self->pool, self->owners, FEW);
}

static pthread_key_t late_key;

static void late(void *arg)
{
	come_and_go(arg);
}

static void *use_pool_at_the_end(void *arg)
{
	pthread_setspecific(late_key, arg);
	return come_and_go(arg);
}

/* The program's own destructors may run after the library's, and use the pool. */
TEST_F_TIMEOUT(few, destructor_may_use_the_pool, 120)
{
	struct worker w[3], like = { .pool = self->pool, .owners = self->owners };
	struct lfpool_counts counts;
	unsigned int wave;

	/* the library's key exists already */
	ASSERT_NE(NULL, lfpool_attach(self->pool));
	ASSERT_EQ(0, pthread_key_create(&late_key, late));
	for (wave = 0; wave < 5 * rounds(4); wave++) {
		like.name = wave * ARRAY_SIZE(w);
		start(_metadata, w, ARRAY_SIZE(w), &like, use_pool_at_the_end);
		finish(_metadata, w, ARRAY_SIZE(w));
		ASSERT_EQ(0, lfpool_counts(self->pool, &counts));
		ASSERT_EQ(0, counts.in_use);
	}
	pthread_key_delete(late_key);
	expect_all_reachable(_metadata, self->pool, self->owners, FEW);
}

static void *leave_one_behind(void *arg)
{
	struct worker *w = arg;
	void *buffer = take(w, w->name);

	if (buffer)
		stamp_write(buffer, w->size, w->name);
	return buffer;
}

/* What a thread holds is its process's: it stays, and any thread may put it. */
TEST_F_TIMEOUT(few, buffer_outlives_its_thread, 120)
{
	struct worker w = {
		.pool = self->pool, .owners = self->owners, .size = 4096, .name = 1,
	};
	struct lfpool_counts counts;
	void *buffers[FEW];
	unsigned int i;

	for (i = 0; i < FEW; i++) {
		ASSERT_EQ(0, pthread_create(&w.thread, NULL, leave_one_behind, &w));
		ASSERT_EQ(0, pthread_join(w.thread, &buffers[i]));
		ASSERT_NE(NULL, buffers[i]);
		ASSERT_EQ(0, lfpool_counts(self->pool, &counts));
		ASSERT_EQ(i + 1, counts.in_use);
		ASSERT_EQ(FEW - i - 1, counts.available);
	}
	EXPECT_EQ(0, w.faults);
	for (i = 0; i < FEW; i++) {
		EXPECT_TRUE(stamp_check(buffers[i], 4096, 1));
		give(&w, buffers[i], 1);
	}
	EXPECT_EQ(0, w.faults);
	expect_all_reachable(_metadata, self->pool, self->owners, FEW);
}

/* Who finds no slot works without a cache. */
TEST_F_TIMEOUT(few, more_threads_than_slots, 120)
{
	struct worker w[8], like = {
		.pool = self->pool, .owners = self->owners, .size = 4096,
		.rounds = 300, .hold = 2,
	};

	start(_metadata, w, ARRAY_SIZE(w), &like, get_stamp_put);
	finish(_metadata, w, ARRAY_SIZE(w));
	expect_counts(_metadata, self->pool, w, ARRAY_SIZE(w));
	expect_all_reachable(_metadata, self->pool, self->owners, FEW);
}

/* An idle thread's cache is no grave: who finds nothing else gets from there. */
static void *sleep_on_a_cache(void *arg)
{
	struct worker *w = arg;
	void *held[4];
	int k;

	for (k = 0; k < 4; k++)
		held[k] = take(w, w->name);
	for (k = 0; k < 4; k++)
		give(w, held[k], w->name);
	__atomic_store_n(&w->done, true, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&w->done, __ATOMIC_SEQ_CST))
		usleep(1000);
	/* it goes on as if nothing had happened */
	return come_and_go(arg);
}

TEST_F_TIMEOUT(few, idle_cache_is_reachable, 120)
{
	struct worker w[2], like = { .pool = self->pool, .owners = self->owners };
	struct lfpool_counts counts;
	struct lfpool_stats s;
	unsigned int i;

	start(_metadata, w, 2, &like, sleep_on_a_cache);
	for (i = 0; i < 2; i++)
		ASSERT_TRUE(wait_until(__atomic_load_n(&w[i].done, __ATOMIC_SEQ_CST), 20));
	ASSERT_EQ(0, lfpool_counts(self->pool, &counts));
	EXPECT_LT(0, counts.cached);
	expect_all_reachable(_metadata, self->pool, self->owners, FEW);
	ASSERT_EQ(0, lfpool_stats(self->pool, &s));
	EXPECT_LT(0, s.scavenged);
	for (i = 0; i < 2; i++)
		__atomic_store_n(&w[i].done, false, __ATOMIC_SEQ_CST);
	finish(_metadata, w, 2);
}

/*
 * Processes that hand buffers over
 */

FIXTURE(processes) {
	struct lfpool *pool;
	struct owners *owners;
};

FIXTURE_VARIANT(processes) {
	unsigned int workers;
};

FIXTURE_VARIANT_ADD(processes, two) { .workers = 2 };
FIXTURE_VARIANT_ADD(processes, three) { .workers = 3 };
FIXTURE_VARIANT_ADD(processes, four) { .workers = 4 };

#define SHARED_BUFFERS	96U
#define SHARED_SIZE	16384
#define SHARED_ROUNDS	400U
#define SHARED_THREADS	2U

FIXTURE_SETUP(processes)
{
	self->pool = make_pool(SHARED_BUFFERS, SHARED_SIZE, 8, 32);
	ASSERT_NE(NULL, self->pool);
	self->owners = owners_new(SHARED_BUFFERS);
	ASSERT_NE(NULL, self->owners);
}

FIXTURE_TEARDOWN(processes)
{
	EXPECT_EQ(0, self->owners->faults);
	expect_quiet(_metadata, self->pool, SHARED_BUFFERS);
	drop_pool(_metadata, self->pool);
}

/*
 * A handle under way. One in eight was taken back by its sender and opens
 * nothing; one in eight is sent twice and opens once.
 */
struct message {
	uint64_t handle;
	uint32_t from;
	uint32_t ticket;
	uint32_t kind;
	uint32_t pad;
};

enum { ONCE, TWICE, STALE };

/* what all processes share */
struct common {
	uint32_t finished;
	uint64_t gets, puts, empty, opened, stale;
	uint8_t wins[4 * SHARED_THREADS * SHARED_ROUNDS];
};

struct exchange {
	struct worker w;
	struct common *common;
	uint32_t ticket;
	uint64_t opened, stale;
};

static unsigned int send_one(struct exchange *x)
{
	struct worker *w = &x->w;
	struct message m = { .from = w->name, .ticket = x->ticket++ };
	uint32_t dice = random_next(&w->random) % 8;
	unsigned int k, copies;
	void *buffer;
	int err;

	while (!(buffer = take(w, w->name)))
		sched_yield();
	m.kind = dice == 0 ? STALE : dice == 1 ? TWICE : ONCE;
	copies = m.kind == TWICE ? 2 : 1;
	stamp_write(buffer, w->size, (uint64_t)m.from << 32 | m.ticket);
	err = lfpool_export(w->pool, buffer, &m.handle);
	if (err) {
		errno = -err;
		fault(w, "export");
	}
	if (m.kind == STALE)
		give(w, buffer, w->name);
	for (k = 0; k < copies; k++) {
		if (write(w->pipe[1], &m, sizeof(m)) != sizeof(m))
			fault(w, "write");
	}
	return copies;
}

static void receive_one(struct exchange *x)
{
	struct worker *w = &x->w;
	struct message m;
	void *buffer;

	if (read(w->pipe[0], &m, sizeof(m)) != sizeof(m)) {
		fault(w, "read");
		return;
	}
	buffer = lfpool_import(w->pool, m.handle);
	if (!buffer) {
		if (errno != ESTALE || m.kind == ONCE)
			fault(w, "import");
		x->stale++;
		return;
	}
	x->opened++;
	if (m.kind == STALE)
		fault(w, "a handle opened a later life of its buffer");
	if (__atomic_fetch_add(&x->common->wins[m.ticket], 1, __ATOMIC_SEQ_CST))
		fault(w, "a handle opened twice");
	if (!owners_move(w->owners, buffer_index(w->pool, buffer), m.from, w->name))
		fault(w, "the sender did not have what it sent");
	if (!stamp_check(buffer, w->size, (uint64_t)m.from << 32 | m.ticket))
		fault(w, "the contents are not what was sent");
	give(w, buffer, w->name);
}

static void *send_and_receive(void *arg)
{
	struct exchange *x = arg;
	unsigned int round, due;

	for (round = 0; round < x->w.rounds; round++) {
		/* as many in as out: so nobody waits for ever */
		for (due = send_one(x); due; due--)
			receive_one(x);
	}
	return NULL;
}

static void exchange_process(struct lfpool *inherited, struct owners *owners,
			     struct common *common, int pipe[2], unsigned int number,
			     unsigned int processes)
{
	struct exchange x[SHARED_THREADS];
	struct lfpool *pool = join_pool(inherited);
	unsigned int i, faults = 0;

	child_assert(pool);
	for (i = 0; i < SHARED_THREADS; i++) {
		unsigned int who = number * SHARED_THREADS + i;

		x[i] = (struct exchange) {
			.w = {
				.pool = pool, .owners = owners, .size = SHARED_SIZE,
				.name = who + 1, .random = (who + 1) * 2654435761U,
				.rounds = SHARED_ROUNDS, .pipe = { pipe[0], pipe[1] },
			},
			.common = common,
			.ticket = who * SHARED_ROUNDS,
		};
		child_assert(!pthread_create(&x[i].w.thread, NULL, send_and_receive, &x[i]));
	}
	for (i = 0; i < SHARED_THREADS; i++) {
		child_assert(!pthread_join(x[i].w.thread, NULL));
		faults += x[i].w.faults;
		__atomic_fetch_add(&common->gets, x[i].w.gets, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&common->puts, x[i].w.puts, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&common->empty, x[i].w.empty, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&common->opened, x[i].opened, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&common->stale, x[i].stale, __ATOMIC_SEQ_CST);
	}
	/* what it has exported is its own until somebody imports it: stay */
	__atomic_fetch_add(&common->finished, 1, __ATOMIC_SEQ_CST);
	child_assert(wait_until(__atomic_load_n(&common->finished, __ATOMIC_SEQ_CST) == processes,
				50));
	lfpool_close(pool);
	_exit(!!faults);
}

TEST_F_TIMEOUT(processes, hand_over, 120)
{
	struct common *common = shared_alloc(sizeof(*common));
	unsigned int i, n = variant->workers;
	struct lfpool_stats s;
	int fds[2], won = 0;
	pid_t pid[4];

#ifdef LFPOOL_TSAN
	SKIP(return, "the sanitizer does not see what another process orders");
#endif
	ASSERT_NE(NULL, common);
	ASSERT_EQ(0, pipe(fds));
	for (i = 0; i < n; i++) {
		pid[i] = child_fork();
		ASSERT_LE(0, pid[i]);
		if (!pid[i])
			exchange_process(self->pool, self->owners, common, fds, i, n);
	}
	for (i = 0; i < n; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	EXPECT_TRUE(wait_until(!lfpool_stats(self->pool, &s) && s.clients == 1, 20));
	ASSERT_EQ(0, lfpool_stats(self->pool, &s));
	EXPECT_EQ(common->gets, s.pool_hits);
	EXPECT_EQ(common->puts, s.deallocations);
	EXPECT_EQ(common->empty, s.pool_misses);
	/* all that was got was put, by whoever had it last */
	EXPECT_EQ(common->gets, common->puts);
	for (i = 0; i < ARRAY_SIZE(common->wins); i++)
		won += common->wins[i];
	EXPECT_EQ(common->opened, won);
	/* and both kinds of refusal were seen */
	EXPECT_LT(0, common->stale);
	close(fds[0]);
	close(fds[1]);
}

/* The same without handing over: each process for itself, on the same depot. */
TEST_F_TIMEOUT(processes, get_stamp_put, 120)
{
	unsigned int i, n = variant->workers;
	struct common *common = shared_alloc(sizeof(*common));
	struct lfpool_stats s;
	pid_t pid[4];

#ifdef LFPOOL_TSAN
	SKIP(return, "the sanitizer does not see what another process orders");
#endif
	ASSERT_NE(NULL, common);
	for (i = 0; i < n; i++) {
		pid[i] = child_fork();
		ASSERT_LE(0, pid[i]);
		if (!pid[i]) {
			struct worker w = {
				.pool = join_pool(self->pool), .owners = self->owners,
				.size = SHARED_SIZE, .name = i + 1, .random = i + 1,
				.rounds = 1500, .hold = 8,
			};

			child_assert(w.pool);
			get_stamp_put(&w);
			__atomic_fetch_add(&common->gets, w.gets, __ATOMIC_SEQ_CST);
			__atomic_fetch_add(&common->puts, w.puts, __ATOMIC_SEQ_CST);
			lfpool_close(w.pool);
			_exit(!!w.faults);
		}
	}
	for (i = 0; i < n; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	EXPECT_TRUE(wait_until(!lfpool_stats(self->pool, &s) && s.clients == 1, 20));
	ASSERT_EQ(0, lfpool_stats(self->pool, &s));
	EXPECT_EQ(common->gets, s.pool_hits);
	EXPECT_EQ(common->puts, s.deallocations);
	EXPECT_EQ(common->gets, common->puts);
}

/*
 * Whose is it? Puts and handles that must be refused, and leave all as it was.
 */
FIXTURE(refusal) {
	struct lfpool *pool;
	struct lfpool_thread *thread;
	struct owners *owners;
};

FIXTURE_SETUP(refusal)
{
	self->pool = make_pool(FEW, 4096, 2, 16);
	ASSERT_NE(NULL, self->pool);
	self->thread = lfpool_attach(self->pool);
	ASSERT_NE(NULL, self->thread);
	self->owners = owners_new(FEW);
	ASSERT_NE(NULL, self->owners);
}

FIXTURE_TEARDOWN(refusal)
{
	struct lfpool_stats s;

	EXPECT_TRUE(wait_until(!lfpool_stats(self->pool, &s) && s.clients == 1, 20));
	expect_all_reachable(_metadata, self->pool, self->owners, FEW);
	expect_quiet(_metadata, self->pool, FEW);
	drop_pool(_metadata, self->pool);
}

static bool unchanged(struct lfpool *pool, const struct lfpool_stats *before)
{
	struct lfpool_stats now;

	return !lfpool_stats(pool, &now) && !memcmp(before, &now, sizeof(now));
}

/* By each of the ways in which a buffer can be put. */
static void expect_put_refused(struct __test_metadata *_metadata, struct lfpool *pool,
			       struct lfpool_thread *thread, void *buffer, int error)
{
	struct lfpool_stats before;

	ASSERT_EQ(0, lfpool_stats(pool, &before));
	EXPECT_EQ(error, lfpool_put(pool, buffer));
	EXPECT_EQ(error, lfpool_thread_put(thread, buffer));
	EXPECT_EQ(0, lfpool_put_bulk(pool, &buffer, 1));
	EXPECT_EQ(-error, errno);
	EXPECT_TRUE(unchanged(pool, &before));
}

TEST_F(refusal, put_of_no_buffer_is_einval)
{
	char *mine = lfpool_get(self->pool), local[64];
	char *first, *past;

	ASSERT_NE(NULL, mine);
	first = mine - (size_t)buffer_index(self->pool, mine) * 4096;
	past = first + FEW * 4096;
	expect_put_refused(_metadata, self->pool, self->thread, NULL, -EINVAL);
	expect_put_refused(_metadata, self->pool, self->thread, local, -EINVAL);
	expect_put_refused(_metadata, self->pool, self->thread, mine + 1, -EINVAL);
	expect_put_refused(_metadata, self->pool, self->thread, mine + 64, -EINVAL);
	expect_put_refused(_metadata, self->pool, self->thread, mine + 2048, -EINVAL);
	expect_put_refused(_metadata, self->pool, self->thread, mine + 4095, -EINVAL);
	expect_put_refused(_metadata, self->pool, self->thread, first - 4096, -EINVAL);
	expect_put_refused(_metadata, self->pool, self->thread, past, -EINVAL);
	expect_put_refused(_metadata, self->pool, self->thread, past + 4096, -EINVAL);
	expect_put_refused(_metadata, self->pool, self->thread, (void *)-4096L, -EINVAL);
	EXPECT_EQ(0, lfpool_put(self->pool, mine));
}

TEST_F(refusal, put_of_a_buffer_that_nobody_has_is_estale)
{
	char *mine = lfpool_get(self->pool), *first;
	unsigned int i, refused = 0;

	ASSERT_NE(NULL, mine);
	first = mine - (size_t)buffer_index(self->pool, mine) * 4096;
	/* those in our own cache are ours, by the word; the reserve's are not */
	for (i = 0; i < FEW; i++) {
		struct lfpool_counts counts;

		ASSERT_EQ(0, lfpool_counts(self->pool, &counts));
		if (!counts.reserve || word_owner(self->thread->desc[i].word))
			continue;
		expect_put_refused(_metadata, self->pool, self->thread, first + i * 4096, -ESTALE);
		refused++;
	}
	EXPECT_LT(0, refused);
	EXPECT_EQ(0, lfpool_put(self->pool, mine));
}

TEST_F(refusal, second_put_is_ealready)
{
	void *a = lfpool_get(self->pool), *b = lfpool_get(self->pool);

	ASSERT_NE(NULL, a);
	ASSERT_NE(NULL, b);
	EXPECT_EQ(0, lfpool_put(self->pool, a));
	expect_put_refused(_metadata, self->pool, self->thread, a, -EALREADY);
	EXPECT_EQ(0, lfpool_put(self->pool, b));
	expect_put_refused(_metadata, self->pool, self->thread, b, -EALREADY);
}

/* What was handed over is the receiver's alone. */
TEST_F(refusal, put_by_the_sender_is_estale)
{
	uint64_t handle, *shared = shared_alloc(4096);
	void *buffer = lfpool_get(self->pool);
	int fds[2][2];
	char byte = 0;
	pid_t pid;

	ASSERT_NE(NULL, shared);
	ASSERT_NE(NULL, buffer);
	ASSERT_EQ(0, pipe(fds[0]));
	ASSERT_EQ(0, pipe(fds[1]));
	stamp_write(buffer, 4096, 1);
	ASSERT_EQ(0, lfpool_export(self->pool, buffer, &handle));
	pid = child_fork();
	if (!pid) {
		struct lfpool *pool = join_pool(self->pool);
		void *p;

		child_assert(pool);
		p = lfpool_import(pool, handle);
		child_assert(p);
		child_assert(stamp_check(p, 4096, 1));
		child_assert(write(fds[0][1], &byte, 1) == 1);
		child_assert(read(fds[1][0], &byte, 1) == 1);
		/* still ours, with our contents, whatever the sender tried */
		child_assert(stamp_check(p, 4096, 1));
		child_assert(!lfpool_put(pool, p));
		lfpool_close(pool);
		_exit(0);
	}
	ASSERT_EQ(1, read(fds[0][0], &byte, 1));
	expect_put_refused(_metadata, self->pool, self->thread, buffer, -ESTALE);
	EXPECT_EQ(-ESTALE, lfpool_export(self->pool, buffer, &handle));
	/* nor does it come to us by a get */
	expect_all_reachable(_metadata, self->pool, self->owners, FEW - 1);
	ASSERT_EQ(1, write(fds[1][1], &byte, 1));
	EXPECT_EQ(0, child_wait(pid));
}

TEST_F(refusal, handle_opens_once)
{
	void *buffer = lfpool_get(self->pool);
	uint64_t handle, again, later;

	ASSERT_NE(NULL, buffer);
	ASSERT_EQ(0, lfpool_export(self->pool, buffer, &handle));
	/* it is the same life: the same handle */
	EXPECT_EQ(0, lfpool_export(self->pool, buffer, &again));
	EXPECT_EQ(handle, again);
	EXPECT_EQ(buffer, lfpool_import(self->pool, handle));
	EXPECT_EQ(NULL, lfpool_import(self->pool, handle));
	EXPECT_EQ(ESTALE, errno);
	ASSERT_EQ(0, lfpool_export(self->pool, buffer, &later));
	EXPECT_NE(handle, later);
	EXPECT_EQ(NULL, lfpool_import(self->pool, handle));
	EXPECT_EQ(ESTALE, errno);
	EXPECT_EQ(buffer, lfpool_import(self->pool, later));
	EXPECT_EQ(0, lfpool_put(self->pool, buffer));
}

TEST_F(refusal, put_takes_the_handle_back)
{
	void *buffer = lfpool_get(self->pool);
	uint64_t handle, later;

	ASSERT_NE(NULL, buffer);
	ASSERT_EQ(0, lfpool_export(self->pool, buffer, &handle));
	EXPECT_EQ(0, lfpool_put(self->pool, buffer));
	EXPECT_EQ(NULL, lfpool_import(self->pool, handle));
	EXPECT_EQ(ESTALE, errno);
	/* the next life of it, exported too */
	ASSERT_EQ(buffer, lfpool_get(self->pool));
	EXPECT_EQ(NULL, lfpool_import(self->pool, handle));
	EXPECT_EQ(ESTALE, errno);
	ASSERT_EQ(0, lfpool_export(self->pool, buffer, &later));
	EXPECT_EQ(NULL, lfpool_import(self->pool, handle));
	EXPECT_EQ(ESTALE, errno);
	EXPECT_EQ(0, lfpool_put(self->pool, buffer));
}

TEST_F(refusal, handle_of_nothing)
{
	void *buffer = lfpool_get(self->pool);
	struct lfpool_stats before;
	uint64_t handle;

	ASSERT_NE(NULL, buffer);
	ASSERT_EQ(0, lfpool_stats(self->pool, &before));
	EXPECT_EQ(NULL, lfpool_import(self->pool, FEW));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, lfpool_import(self->pool, UINT64_MAX));
	EXPECT_EQ(EINVAL, errno);
	/* held, but not exported */
	handle = (self->thread->desc[buffer_index(self->pool, buffer)].word &
		  ~0xffffffffULL) | buffer_index(self->pool, buffer);
	EXPECT_EQ(NULL, lfpool_import(self->pool, handle));
	EXPECT_EQ(ESTALE, errno);
	EXPECT_EQ(-EINVAL, lfpool_export(self->pool, (char *)buffer + 1, &handle));
	EXPECT_EQ(-EINVAL, lfpool_export(self->pool, NULL, &handle));
	EXPECT_TRUE(unchanged(self->pool, &before));
	EXPECT_EQ(0, lfpool_put(self->pool, buffer));
}

LFPOOL_LIBRARY_MAIN
