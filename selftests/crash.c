// SPDX-License-Identifier: GPL-2.0-only
/*
 * vm: insmod=no timeout=1500 smp=1
 *
 * crash: kill a process at every instruction of every operation.
 *
 * A victim stops before an operation. ptrace takes it k instructions into it, then
 * SIGKILL. The module's recovery must find every buffer: the audit is exact, nothing
 * is lost or in two places, nobody dead holds anything. Then the same with k + 1,
 * until the operation is over before it dies. Each operation is a test point, which
 * says how many kill points it had.
 *
 * Then two victims at once: one is stopped after i instructions of an
 * operation, the other after j of another, and both are killed: all pairs of
 * get and put, of two gets and of two puts; of the long operations every
 * STRIDE-th.
 *
 * LFPOOL_EVERY=N runs one in N of each, other ones for each operation;
 * LFPOOL_PAIRS_EVERY=N is for the pairs alone, and from 32 on of what the first victim
 * has gone through one in N / 16 is tried.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/ptrace.h>
#include <lfpool.h>
#include "lfpool_test.h"
#include "walk.h"

#define PARAMS	"buffer_count=64 max_count=64 max_threads=16 batch=8 " \
		"serialization_size=4096 compression_size=4096 simd_elements=2"
#define POOL	"compression"
#define COUNT	64
#define BATCH	8
#define FULL	(2 * BATCH)
#define STRIDE	29

/* what victim and parent share */
struct shared {
	volatile int started;
	volatile int done;
	volatile uint64_t handle;
};

struct victim {
	pid_t pid;
	struct shared *shared;
	const struct operation *op;
	int k;	/* instructions that it goes into it */
};

/* one kill point in so many */
static int every, pairs_every;

static struct lfpool *pool;	/* the victim's */
static void *held[COUNT];

static struct lfpool *peer;	/* the parent's, a living client */
static char *peer_base;		/* its buffer 0 */
static struct lfpool *monitor;

static void take(unsigned int n)
{
	while (n--) {
		held[n] = lfpool_get(pool);
		if (!held[n])
			_exit(1);
	}
}

static void give(unsigned int from, unsigned int to)
{
	for (; from < to; from++) {
		if (lfpool_put(pool, held[from]))
			_exit(1);
	}
}

/* a cache with something in it */
static void prepare_warm(struct shared *s)
{
	take(1);
	give(0, 1);
}

static void prepare_held(struct shared *s)
{
	take(1);
}

static void prepare_nothing(struct shared *s)
{
	if (!lfpool_attach(pool))
		_exit(1);
}

/* batches in the depot, an empty cache */
static void prepare_depot(struct shared *s)
{
	if (lfpool_prefill(pool, 3 * BATCH))
		_exit(1);
}

/* a full cache and one more buffer, held[0] */
static void prepare_full(struct shared *s)
{
	struct lfpool_thread *t = lfpool_attach(pool);
	unsigned int n = 3 * BATCH;

	/* whole batches: the cache is empty then */
	take(n);
	while (t->slot->n < t->full) {
		n--;
		give(n, n + 1);
	}
}

static void prepare_bulk(struct shared *s)
{
	take(FULL + 5);
}

static void prepare_exported(struct shared *s)
{
	uint64_t handle;

	take(1);
	if (lfpool_export(pool, held[0], &handle))
		_exit(1);
}

static void prepare_none(struct shared *s)
{
}

static void run_get(struct shared *s)
{
	lfpool_get(pool);
}

static void run_put(struct shared *s)
{
	lfpool_put(pool, held[0]);
}

static void run_attach(struct shared *s)
{
	lfpool_attach(pool);
}

static void run_close(struct shared *s)
{
	lfpool_close(pool);
}

static void run_export(struct shared *s)
{
	uint64_t handle;

	lfpool_export(pool, held[0], &handle);
}

static void run_import(struct shared *s)
{
	lfpool_import(pool, s->handle);
}

static void run_prefill(struct shared *s)
{
	lfpool_prefill(pool, BATCH + 3);
}

static void run_get_bulk(struct shared *s)
{
	lfpool_get_bulk(pool, held, FULL + 5);
}

static void run_put_bulk(struct shared *s)
{
	lfpool_put_bulk(pool, held, FULL + 5);
}

static const struct operation {
	const char *name;
	void (*prepare)(struct shared *s);
	void (*run)(struct shared *s);
} operations[] = {
	{ "get",		prepare_warm,		run_get },
	{ "put",		prepare_held,		run_put },
	{ "refill from the depot", prepare_depot,	run_get },
	{ "refill from the kernel", prepare_nothing,	run_get },
	{ "flush",		prepare_full,		run_put },
	{ "attach",		prepare_none,		run_attach },
	{ "detach and close",	prepare_full,		run_close },
	{ "export",		prepare_held,		run_export },
	{ "put of an exported buffer", prepare_exported, run_put },
	{ "import",		prepare_nothing,	run_import },
	{ "prefill",		prepare_nothing,	run_prefill },
	{ "bulk get",		prepare_nothing,	run_get_bulk },
	{ "bulk put",		prepare_bulk,		run_put_bulk },
};

/* the peer exports a buffer for it */
static bool from_peer(const struct operation *op)
{
	return op->run == run_import;
}

#define OPERATIONS	(int)ARRAY_SIZE(operations)

/* of each operation, when it was stepped through */
static struct walk walks[OPERATIONS];
static int detours;

static void victim_main(const struct operation *op, struct shared *s)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pool = lfpool_open(POOL, 0);
	if (!pool)
		_exit(1);
	op->prepare(s);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	s->started = 1;
	op->run(s);
	s->done = 1;
	raise(SIGSTOP);
	_exit(0);
}

/* False: it is over. */
static bool victim_step(struct victim *v)
{
	int status;

	return !v->shared->done && !ptrace(PTRACE_SINGLESTEP, v->pid, NULL, NULL) &&
	       waitpid(v->pid, &status, 0) == v->pid && WIFSTOPPED(status);
}

static void victim_kill(struct victim *v)
{
	kill(v->pid, SIGKILL);
	waitpid(v->pid, NULL, 0);
}

/* A victim that is about to begin the operation. */
static bool victim_start(struct victim *v)
{
	bool going;
	int status;

	memset((void *)v->shared, 0, sizeof(*v->shared));
	if (from_peer(v->op)) {
		void *buffer = lfpool_get(peer);
		uint64_t handle;

		if (!buffer || lfpool_export(peer, buffer, &handle))
			return false;
		v->shared->handle = handle;
	}
	v->pid = fork();
	if (v->pid < 0)
		return false;
	if (!v->pid)
		victim_main(v->op, v->shared);
	going = waitpid(v->pid, &status, 0) == v->pid && WIFSTOPPED(status);
	while (going && !v->shared->started)
		going = victim_step(v);
	if (!going)
		victim_kill(v);
	return going;
}

/* To where it is to be, or its end. False: it does not go the way that is known. */
static bool victim_go(struct victim *v, bool direct)
{
	const struct walk *way = &walks[v->op - operations];
	int at = direct ? walk_jump(way, v->pid, v->k) : 0;

	if (at < 0)
		return false;
	while (at < v->k && victim_step(v))
		at++;
	if (v->shared->done)
		return true;
	return at == v->k && (!direct || walk_is_at(way, v->pid, at));
}

/*
 * Everything free goes to the reserve, so that each victim finds the pool in
 * the same state: what was pushed to the depot would stay there.
 */
static bool drain(void)
{
	void *all[COUNT];
	uint32_t items[COUNT];
	unsigned int n, k;

	n = lfpool_get_bulk(peer, all, COUNT);
	for (k = 0; k < n; k++)
		items[k] = buffer_index(peer, all[k]);
	return n == COUNT && do_release(lfpool_fd(peer), 0, items, n) == COUNT;
}

/* What the peer exported is the peer's still, or went with the victim. */
static bool peer_settle(const struct victim *v)
{
	uint32_t index = (uint32_t)v->shared->handle;
	struct lfpool_info info;
	int err;

	if (lfpool_info(peer, &info))
		return false;
	err = lfpool_put(peer, peer_base + (size_t)index * info.stride);
	return !err || err == -ESTALE;
}

/* Everything is where it belongs, and a living process goes on. */
static const char *all_found(void)
{
	static char why[256];
	struct lfpool_stats stats;
	struct lfpool_audit a;
	void *buffer;

	/* the peer is alive, its maps are; all others must be recovered */
	if (!wait_until(!lfpool_stats(monitor, &stats) && stats.clients == 1, 10))
		return "the dead client is still there";
	if (lfpool_audit(monitor, &a))
		return "no audit";
	if (a.lost || a.duplicate || a.damaged || a.transit || a.held || a.quarantined ||
	    !a.exact || a.reserve + a.depot + a.cached != COUNT) {
		snprintf(why, sizeof(why),
			 "reserve %llu depot %llu cached %llu held %llu transit %llu lost %llu duplicate %llu damaged %llu exact %llu",
			 a.reserve, a.depot, a.cached, a.held, a.transit, a.lost,
			 a.duplicate, a.damaged, a.exact);
		return why;
	}
	buffer = lfpool_get(peer);
	if (!buffer || lfpool_put(peer, buffer))
		return "the living process cannot get and put";
	if (!drain())
		return "not every buffer can be had";
	return NULL;
}

/* After the death of @n victims: what is not as it must be */
static const char *victims_wrong(const struct victim *v, int n)
{
	for (; n; n--, v++) {
		if (from_peer(v->op) && !peer_settle(v))
			return "the peer's buffer";
	}
	return all_found();
}

/*
 * @n victims go to where they are to be, and are killed. Who does not go the way
 * that is known is killed, too, and the next one is stepped all the way. Returns
 * what is wrong.
 */
static const char *kill_there(struct victim *v, int n)
{
	bool there = false, direct = true;
	const char *wrong = NULL;
	int i, started;

	while (!there && !wrong) {
		for (started = 0; started < n && victim_start(&v[started]); started++)
			;
		there = started == n;
		for (i = 0; i < n && there; i++)
			there = victim_go(&v[i], direct);
		for (i = 0; i < started; i++)
			victim_kill(&v[i]);
		if (started < n)
			return "no victim";
		detours += !there;
		wrong = victims_wrong(v, n);
		if (!wrong && !there && !direct)
			wrong = "it does not get there";
		direct = false;
	}
	return wrong;
}

/* Steps one to its end, to know the way. Returns what is wrong. */
static const char *walk_through(struct victim *v)
{
	struct walk *way = &walks[v->op - operations];

	v->k = 0;
	if (!victim_start(v))
		return "no victim";
	while (walk_note(way, v->pid, v->k) && victim_step(v))
		v->k++;
	victim_kill(v);
	return v->shared->done ? victims_wrong(v, 1) : "it does not end";
}

/* Kill points from number @first on. Returns how many were there, or -1. */
static int sweep(const struct operation *op, struct shared *shared, int first)
{
	struct victim v = { .shared = shared, .op = op };
	const char *wrong;
	int n = 0;

	wrong = walk_through(&v);
	if (!wrong) {
		/* one at least, however short it is */
		for (v.k = first % (v.k ?: 1); ; v.k += every, n++) {
			wrong = kill_there(&v, 1);
			if (wrong)
				break;
			if (v.shared->done)
				return n;
		}
	}
	ksft_print_msg("%s, killed after %d instructions: %s\n", op->name, v.k, wrong);
	return -1;
}

/*
 * Kill points of the first, all against all of the second; of one operation
 * twice, each pair once. Where it is not all, each of the first meets other
 * ones of the second. Returns pairs or -1.
 */
static int sweep_pairs(const struct operation *a, const struct operation *b,
		       struct shared *shared, int stride, int first)
{
	struct victim v[] = {
		{ .shared = &shared[0], .op = a },
		{ .shared = &shared[1], .op = b },
	};
	bool a_over = false;
	int pairs = 0;
	int i, j;

	/* where it is a small share, of the first, too */
	for (i = 0; !a_over; i += stride * (pairs_every / 16 ?: 1)) {
		bool b_over = false;

		j = (a == b ? i : 0) + (i / stride + first) % pairs_every * stride;
		for (; !b_over; j += stride * pairs_every) {
			const char *wrong;

			v[0].k = i;
			v[1].k = j;
			wrong = kill_there(v, 2);
			if (wrong) {
				ksft_print_msg("%s after %d, %s after %d instructions: %s\n",
					       a->name, i, b->name, j, wrong);
				return -1;
			}
			a_over = v[0].shared->done;
			b_over = v[1].shared->done;
			pairs++;
		}
	}
	return pairs;
}

static const struct {
	int a, b, stride;
} pairs[] = {
	{ 0, 1, 1 },		/* get, put */
	{ 0, 0, 1 },		/* get, get */
	{ 1, 1, 1 },		/* put, put */
	{ 2, 4, STRIDE },	/* refill from the depot, flush */
	{ 2, 2, STRIDE },	/* two refills from one depot */
	{ 4, 4, STRIDE },	/* two flushes */
};

int main(void)
{
	struct shared *shared = shared_alloc(2 * sizeof(*shared));
	struct lfpool_info info;
	cpu_set_t one;
	int total = 0;
	unsigned int p;
	int i, n;

	every = setting("LFPOOL_EVERY", 1) ?: 1;
	pairs_every = setting("LFPOOL_PAIRS_EVERY", every) ?: 1;
	/* a step on one CPU is a context switch, on two a wait for the other one */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	setlinebuf(stdout);
	ksft_print_header();
	ksft_set_plan(OPERATIONS + ARRAY_SIZE(pairs) + 2);
	if (module_load(PARAMS))
		ksft_exit_fail_msg("insmod: %s\n", strerror(errno));
	if (pairs_every > 1)
		ksft_print_msg("one kill point in %d, one pair in %d\n", every, pairs_every);
	peer = lfpool_open(POOL, 0);
	monitor = lfpool_open(POOL, LFPOOL_OPEN_RDONLY);
	if (!peer || !monitor || lfpool_info(peer, &info))
		ksft_exit_fail_msg("lfpool_open: %s\n", strerror(errno));
	{
		char *first = lfpool_get(peer);

		peer_base = first - (size_t)buffer_index(peer, first) * info.stride;
		lfpool_put(peer, first);
	}

	for (i = 0; i < OPERATIONS; i++) {
		n = sweep(&operations[i], shared, (i + 1) * 53 % every);
		if (n > 0)
			total += n;
		ksft_test_result(n > 0, "%s: %d kill points\n", operations[i].name, n);
	}
	for (p = 0; p < ARRAY_SIZE(pairs); p++) {
		n = sweep_pairs(&operations[pairs[p].a], &operations[pairs[p].b], shared,
				pairs[p].stride, p);
		if (n > 0)
			total += 2 * n;
		ksft_test_result(n > 0, "%s and %s: %d pairs of kill points, every %d\n",
				 operations[pairs[p].a].name, operations[pairs[p].b].name, n,
				 pairs[p].stride);
	}
	ksft_print_msg("%d kills survived\n", total);
	/* pairs meet in the depot; otherwise breakpoints do not do what they are for */
	ksft_test_result(detours <= 4 + total / 20,
			 "victims go the way of the one that was stepped through, but for %d\n",
			 detours);

	lfpool_close(peer);
	lfpool_close(monitor);
	ksft_test_result(!module_unload(), "the module unloads\n");
	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
