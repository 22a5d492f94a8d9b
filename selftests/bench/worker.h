/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The workloads, once for all peers: each peer's file defines the interface
 * below and includes this file last, so that its get and put are inlined into
 * the same loops as everybody else's.
 *
 *   struct peer                    a pool of buffers of one size
 *   struct hand                    what one thread or process needs to use it
 *   peer_init(argc, argv)          once; NULL or why this peer cannot be
 *   peer_open(peer, size, count)   NULL or why it cannot have this size
 *   peer_attach(peer, hand, party) in that party; NULL or why not
 *   peer_get(hand), peer_put(hand, p)
 *
 *   PEER_BULK      peer_get_bulk(hand, p, n), peer_put_bulk(hand, p, n)
 *   PEER_PRIVATE   no hand-over: one thread's own
 *   PEER_SHARED    works between a process and its forked child
 *   PEER_PACK      peer_pack(hand, p) and peer_unpack(hand, v), between processes,
 *                  peer_pack_bulk(hand, p, v, n), peer_unpack_bulk(hand, v, p, n)
 *
 * A program reads lines "WORKLOAD SIZE" and answers each with "ok NS REPEATED"
 * (TAIL: eight figures), or "no WHY". Between two lines it sleeps, so the
 * driver can go round all peers, a short slice each.
 *
 * Parties: 0 is the main thread, 1 a second thread, 2 a forked child.
 */
#ifndef WORKER_H
#define WORKER_H

#include <x86intrin.h>

enum work { W1, W1t, W2, W2b, W3, W4, W4b, W5, W5b, TAIL, WORKS };

static const char *const work_names[] = {
	"W1", "W1t", "W2", "W2b", "W3", "W4", "W4b", "W5", "W5b", "TAIL",
};

#define SIZES	4

struct place {
	size_t size;
	struct peer peer;
	struct hand hand[3];
	bool attached[3];
	uint64_t n[WORKS];		/* of a slice, once known */
};

static struct place places[SIZES];
static unsigned int n_places;

/* [0] with the thread, [1] with the child */
static struct meeting *meetings[2];
static bool started[2];
static double ns_per_tick;
static uint64_t timer_step;

#ifndef PEER_PACK
static inline uint64_t peer_pack(struct hand *h, void *p)
{
	(void)h;
	return (uintptr_t)p;
}

static inline void *peer_unpack(struct hand *h, uint64_t v)
{
	(void)h;
	return (void *)(uintptr_t)v;
}
#endif

/* What nobody expects to happen makes the figures worthless. */
__attribute__((noreturn, cold, noinline))
static void broken(const char *what)
{
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
	exit(1);
}

static inline void *must_get(struct hand *h)
{
	void *p = peer_get(h);

	if (UNLIKELY(!p))
		broken("get failed");
	return opaque(p);
}

/* Each loop has a hand of its own: what is in it may stay in registers. */
__attribute__((noinline))
static void pairs(const struct hand *hand, uint64_t n)
{
	struct hand own = *hand, *h = &own;
	while (n--)
		peer_put(h, must_get(h));
}

__attribute__((noinline))
static void pairs_touched(const struct hand *hand, uint64_t n)
{
	struct hand own = *hand, *h = &own;
	while (n--) {
		uint64_t *p = (uint64_t *)must_get(h);
		unsigned int k;

		for (k = 0; k < 8; k++)
			p[k] = n;
		peer_put(h, opaque(p));
	}
}

__attribute__((noinline))
static void bursts(const struct hand *hand, uint64_t n)
{
	struct hand own = *hand, *h = &own;
	void *p[BENCH_BURST];
	unsigned int k;

	for (; n >= BENCH_BURST; n -= BENCH_BURST) {
		for (k = 0; k < BENCH_BURST; k++)
			p[k] = must_get(h);
		for (k = 0; k < BENCH_BURST; k++)
			peer_put(h, p[k]);
	}
}

#ifdef PEER_BULK
__attribute__((noinline))
static void bulks(const struct hand *hand, uint64_t n)
{
	struct hand own = *hand, *h = &own;
	void *p[BENCH_BURST];

	for (; n >= BENCH_BURST; n -= BENCH_BURST) {
		if (UNLIKELY(!peer_get_bulk(h, p, BENCH_BURST)))
			broken("bulk get failed");
		peer_put_bulk(h, p, BENCH_BURST);
	}
}
#endif

static inline void take(struct hand *h, void **p, unsigned int *spins)
{
#ifdef PEER_BULK
	while (UNLIKELY(!peer_get_bulk(h, p, BENCH_BURST)))
		wait_a_little(spins);
#else
	unsigned int k;

	for (k = 0; k < BENCH_BURST; k++)
		while (UNLIKELY(!(p[k] = peer_get(h))))
			wait_a_little(spins);
#endif
}

static inline void give(struct hand *h, void **p, unsigned int n)
{
#ifdef PEER_BULK
	peer_put_bulk(h, p, n);
#else
	unsigned int k;

	for (k = 0; k < n; k++)
		peer_put(h, p[k]);
#endif
}

static inline void pack_many(struct hand *h, void **p, uint64_t *v, unsigned int n)
{
#ifdef PEER_PACK
	peer_pack_bulk(h, p, v, n);
#else
	unsigned int k;

	for (k = 0; k < n; k++)
		v[k] = peer_pack(h, p[k]);
#endif
}

static inline void unpack_many(struct hand *h, uint64_t *v, void **p, unsigned int n)
{
#ifdef PEER_PACK
	peer_unpack_bulk(h, v, p, n);
#else
	unsigned int k;

	for (k = 0; k < n; k++)
		p[k] = peer_unpack(h, v[k]);
#endif
}

__attribute__((noinline))
static void produce(const struct hand *hand, struct ring *r, uint64_t n, bool pack)
{
	struct hand own = *hand, *h = &own;
	unsigned int spins = 0;
	uint64_t v;
	void *p;

	while (n--) {
		while (UNLIKELY(!(p = peer_get(h))))
			wait_a_little(&spins);
		v = pack ? peer_pack(h, p) : (uintptr_t)p;
		while (UNLIKELY(!ring_push(r, v)))
			wait_a_little(&spins);
	}
}

__attribute__((noinline))
static void consume(const struct hand *hand, struct ring *r, uint64_t n, bool pack)
{
	struct hand own = *hand, *h = &own;
	unsigned int spins = 0;
	uint64_t v;

	while (n--) {
		while (UNLIKELY(!ring_pop(r, &v)))
			wait_a_little(&spins);
		peer_put(h, pack ? peer_unpack(h, v) : (void *)(uintptr_t)v);
	}
}

/*
 * The same, up to 16 at a time: both sides use bulk calls where the peer has
 * them, and the consumer takes what the ring has.
 */
__attribute__((noinline))
static void produce_bulk(const struct hand *hand, struct ring *r, uint64_t n, bool pack)
{
	struct hand own = *hand, *h = &own;
	unsigned int spins = 0, k, done;
	uint64_t v[BENCH_BURST];
	void *p[BENCH_BURST];

	for (; n >= BENCH_BURST; n -= BENCH_BURST) {
		take(h, p, &spins);
		if (pack)
			pack_many(h, p, v, BENCH_BURST);
		else
			for (k = 0; k < BENCH_BURST; k++)
				v[k] = (uintptr_t)p[k];
		for (done = 0; done < BENCH_BURST; ) {
			k = ring_push_many(r, v + done, BENCH_BURST - done);
			if (UNLIKELY(!k))
				wait_a_little(&spins);
			done += k;
		}
	}
}

__attribute__((noinline))
static void consume_bulk(const struct hand *hand, struct ring *r, uint64_t n, bool pack)
{
	struct hand own = *hand, *h = &own;
	unsigned int spins = 0, k, got;
	uint64_t v[BENCH_BURST];
	void *p[BENCH_BURST];

	for (n -= n % BENCH_BURST; n; n -= got) {
		while (UNLIKELY(!(got = ring_pop_many(r, v, BENCH_BURST))))
			wait_a_little(&spins);
		if (pack)
			unpack_many(h, v, p, got);
		else
			for (k = 0; k < got; k++)
				p[k] = (void *)(uintptr_t)v[k];
		give(h, p, got);
	}
}

static void do_work(const struct hand *h, struct meeting *m, enum work work, uint64_t n,
		    unsigned int party)
{
	switch (work) {
	case W1:
	case W3:
		pairs(h, n);
		break;
	case W1t:
		pairs_touched(h, n);
		break;
	case W2:
		bursts(h, n);
		break;
	case W2b:
#ifdef PEER_BULK
		bulks(h, n);
#endif
		break;
	case W4:
	case W5:
		if (party)
			consume(h, &m->ring, n, work == W5);
		else
			produce(h, &m->ring, n, work == W5);
		break;
	case W4b:
	case W5b:
		if (party)
			consume_bulk(h, &m->ring, n, work == W5b);
		else
			produce_bulk(h, &m->ring, n, work == W5b);
		break;
	default:
		break;
	}
}

/* One party's part of a slice; its nanoseconds. */
static uint64_t do_slice(struct place *pl, struct meeting *m, enum work work, uint64_t n,
			 unsigned int party, long *preempted)
{
	struct hand *h = &pl->hand[party];
	uint64_t begin, ns;

	/* other programs ran since: bring back into the caches what was there */
	do_work(h, m, work, n / 8 + 64, party);
	if (m)
		meet(m);
	*preempted = preemptions();
	begin = now_ns();
	if (m)
		m->begin[!!party] = begin;
	do_work(h, m, work, n, party);
	ns = now_ns() - begin;
	*preempted = preemptions() - *preempted;
	return ns;
}

static const char *attach(struct place *pl, unsigned int party)
{
	const char *why = NULL;

	if (!pl->attached[party])
		why = peer_attach(&pl->peer, &pl->hand[party], party);
	pl->attached[party] = !why;
	return why;
}

/* The second party's life. */
static void serve(struct meeting *m, unsigned int party)
{
	struct place *pl;
	const char *why;

	pin(party);
	for (;;) {
		while (sem_wait(&m->go))
			;
		pl = &places[m->size];
		if (m->work == WORKS) {
			/* a child knows the sizes that there were when it was forked */
			why = pl->size ? attach(pl, party) : "one size only";
			snprintf(m->why, sizeof(m->why), "%s", why ? why : "");
		} else {
			m->ns = do_slice(pl, m, (enum work)m->work, m->n, party, &m->preempted);
		}
		sem_post(&m->done);
	}
}

static void *thread_party(void *arg)
{
	serve((struct meeting *)arg, 1);
	return NULL;
}

static void order(struct meeting *m, struct place *pl, enum work work, uint64_t n)
{
	m->size = pl - places;
	m->work = work;
	m->n = n;
	sem_post(&m->go);
}

static void await(struct meeting *m)
{
	while (sem_wait(&m->done))
		;
}

static const char *start_second(struct place *pl, unsigned int party)
{
	struct meeting *m = meetings[party - 1];
	pthread_t thread;

	if (!started[party - 1]) {
		if (party == 1 && pthread_create(&thread, NULL, thread_party, m))
			return "no second thread";
		if (party == 2) {
			pid_t pid = fork();

			if (pid < 0)
				return "no second process";
			if (!pid) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				serve(m, 2);
			}
		}
		started[party - 1] = true;
	}
	order(m, pl, WORKS, 0);
	await(m);
	return m->why[0] ? m->why : NULL;
}

/* A slice, of both parties where there are two. */
static uint64_t slice(struct place *pl, struct meeting *m, enum work work, uint64_t n,
		      long *preempted)
{
	int64_t apart;
	uint64_t ns;

	if (!m)
		return do_slice(pl, NULL, work, n, 0, preempted);
	order(m, pl, work, n);
	ns = do_slice(pl, m, work, n, 0, preempted);
	await(m);
	*preempted += m->preempted;
	/* one after the other is not two at a time */
	apart = m->begin[0] - m->begin[1];
	if (llabs(apart) > (int64_t)ns / 20)
		++*preempted;
	/* both did @n pairs; or n buffers went over, and the consumer was the last */
	return work == W3 ? (ns + m->ns) / 2 : m->ns;
}

/* Who does it with the main thread; 0: nobody. */
static unsigned int party_of(enum work work)
{
	switch (work) {
	case W3:
	case W4:
	case W4b:
		return 1;
	case W5:
	case W5b:
		return 2;
	default:
		return 0;
	}
}

/* How many make a slice: found once, also a warm-up. */
static uint64_t calibrate(struct place *pl, struct meeting *m, enum work work)
{
	uint64_t n, ns, best;
	unsigned int tries;
	long preempted;

	for (n = 64; n < 1U << 26; n *= 2) {
		best = ~0ULL;
		preempted = 1;
		for (tries = 0; tries < 10 && preempted; tries++) {
			ns = slice(pl, m, work, n, &preempted);
			if (ns < best)
				best = ns;
		}
		if (best >= SLICE_NS / 2)
			break;
	}
	return n;
}

static void run_slice(struct place *pl, enum work work)
{
	unsigned int party = party_of(work);
	struct meeting *m = party ? meetings[party - 1] : NULL;
	uint64_t ns, end, best = ~0ULL;
	long preempted, fewest = 1 << 30;
	unsigned int tries;

	if (!pl->n[work])
		pl->n[work] = calibrate(pl, m, work);
	/* the first one that was not preempted, or the least disturbed of them */
	end = now_ns() + SLICE_TRIES * SLICE_NS;
	for (tries = 0; !tries || (fewest && now_ns() < end); tries++) {
		ns = slice(pl, m, work, pl->n[work], &preempted);
		if (preempted < fewest || (preempted == fewest && ns < best)) {
			fewest = preempted;
			best = ns;
		}
	}
	printf("ok %.4f %u\n", (double)best / pl->n[work], tries - 1);
}

/*
 * TAIL: single calls, timed one by one
 */

#define TICKS_MAX	65536
#define TAIL_CALLS	100000

static inline uint64_t ticks(void)
{
	unsigned int aux;
	uint64_t t = __rdtscp(&aux);

	/* the instructions behind it do not start before it is read */
	_mm_lfence();
	return t;
}

/*
 * A timer that moves in steps (10 ns, on some virtual machines) shows a call of
 * constant length as one of two neighbouring steps, in such shares that the mean
 * is right. So the middle is taken as the mean of all but the slowest hundredth,
 * and what is shown as t counts for the tail as spread evenly around t.
 */
static double quantile(const uint32_t *histogram, double q)
{
	double seen = 0, want = (q > .5 ? q : .99) * TAIL_CALLS, sum = 0;
	uint64_t t;

	for (t = 0; t < TICKS_MAX - 1; t++) {
		if (histogram[t] && seen + histogram[t] >= want)
			break;
		seen += histogram[t];
		sum += (double)histogram[t] * t;
	}
	if (q <= .5)
		return (sum + t * (want - seen)) / want;
	return histogram[t] ? t + timer_step * ((want - seen) / histogram[t] - .5) : t;
}

/* The calls do not start in step with the timer. */
static inline void dither(unsigned int i)
{
	unsigned int n = i * 2654435761U >> 26;

	while (n--)
		__asm__ volatile("");
}

static void calibrate_timer(void)
{
	uint64_t t0, t, ns, rest;
	unsigned int i;

	ns = now_ns();
	t0 = ticks();
	while (now_ns() - ns < 20000000)
		;
	ns_per_tick = (double)(now_ns() - ns) / (ticks() - t0);
	/* the greatest common divisor of all differences is the timer's step */
	for (i = 0; i < 10000; i++) {
		dither(i);
		t = ticks();
		for (t = ticks() - t; t; t = rest) {
			rest = timer_step % t;
			timer_step = t;
		}
	}
}

static void note(uint32_t *histogram, uint64_t t)
{
	histogram[t < TICKS_MAX ? t : TICKS_MAX - 1]++;
}

static void run_tail(struct place *pl)
{
	static const double at[] = { .5, .99, .999, .9999 };
	/* of get, of put, and of nothing: what the timer takes itself */
	static uint32_t histogram[3][TICKS_MAX];
	struct hand own = pl->hand[0], *h = &own;
	double timer, ns;
	uint64_t t0, t1;
	unsigned int i, k;
	void *p;

	if (!timer_step)
		calibrate_timer();
	memset(histogram, 0, sizeof(histogram));
	pairs(h, 1000);
	for (i = 0; i < TAIL_CALLS; i++) {
		dither(i);
		t0 = ticks();
		p = must_get(h);
		t1 = ticks();
		note(histogram[0], t1 - t0);
		dither(~i);
		t0 = ticks();
		peer_put(h, p);
		t1 = ticks();
		note(histogram[1], t1 - t0);
		dither(3 * i);
		t0 = ticks();
		t1 = ticks();
		note(histogram[2], t1 - t0);
	}
	timer = quantile(histogram[2], .5);
	printf("ok");
	for (k = 0; k < 2; k++) {
		for (i = 0; i < 4; i++) {
			ns = (quantile(histogram[k], at[i]) - timer) * ns_per_tick;
			printf(" %.3f", ns > 0 ? ns : 0);
		}
	}
	printf("\n");
}

static const char *prepare(size_t size, enum work work, struct place **out)
{
	const char *why;
	struct place *pl;
	unsigned int i;

#ifndef PEER_BULK
	if (work == W2b)
		return "no bulk interface";
#endif
#ifdef PEER_PRIVATE
	if (work == W4 || work == W4b || work == W5 || work == W5b)
		return "no hand-over";
#endif
#ifndef PEER_SHARED
	if (party_of(work) == 2)
		return "one process only";
#endif
	for (i = 0; i < n_places && places[i].size != size; i++)
		;
	pl = &places[i];
	if (i == n_places) {
		if (i == SIZES)
			return "too many sizes";
		pl->size = size;
		why = peer_open(&pl->peer, size, BENCH_COUNT);
		if (!why)
			why = attach(pl, 0);
		if (why)
			return why;
		n_places++;
	}
	*out = pl;
	why = NULL;
	if (party_of(work) == 1 && !pl->attached[1])
		why = start_second(pl, 1);
	/* the child attaches in its own memory: marked here when it has answered */
	if (party_of(work) == 2 && !pl->attached[2]) {
		why = start_second(pl, 2);
		pl->attached[2] = !why;
	}
	return why;
}

int main(int argc, char **argv)
{
	char name[32];
	struct place *pl;
	const char *why;
	unsigned int i;
	size_t size;

	pin(0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; i < 2; i++) {
		meetings[i] = (struct meeting *)shared_memory(sizeof(struct meeting));
		sem_init(&meetings[i]->go, 1, 0);
		sem_init(&meetings[i]->done, 1, 0);
	}
	why = peer_init(argc, argv);
	while (scanf("%31s %zu", name, &size) == 2) {
		enum work work = W1;

		while (work < WORKS && strcmp(name, work_names[work]))
			work = (enum work)(work + 1);
		if (!why && work < WORKS) {
			const char *not_this = prepare(size, work, &pl);

			if (not_this)
				printf("no %s\n", not_this);
			else if (work == TAIL)
				run_tail(pl);
			else
				run_slice(pl, work);
		} else {
			printf("no %s\n", why ? why : "unknown workload");
		}
	}
	/* not exit(): handlers of libraries have nothing to say here */
	fflush(stdout);
	_exit(0);
}

#endif /* WORKER_H */
