// SPDX-License-Identifier: GPL-2.0-only
/*
 * threads: the library and the engine at the same time, for the sanitizers.
 *
 * Workers get and put, each a client of its own. Others are mortal: at a random
 * injection point of pop or push they stop for good, and their client is
 * recovered while all the rest goes on. A kernel thread audits, takes the depot
 * and looks again at orphans. The stand-in scavenges when the pool is empty.
 *
 * Whoever has a buffer writes its name into a table, and must have found the
 * place empty; the contents are written with plain stores, so that
 * ThreadSanitizer sees any way from one owner to the next that orders nothing.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void inject(int nr);
#define LFPOOL_INJECT(nr)	inject(nr)
#include "internal.h"
#include "standin.h"
#include "random.h"

#include "harness.h"

#define WORKERS		3
#define MORTALS		1
/* two of them do not fit at the same time: the pool runs dry now and then */
#define WORKER_HOLDS	14

static struct standin *world;
static u32 stop;
static u32 faults;
static u32 table[STANDIN_COUNT];
static u64 laps, deaths, deaths_within, audits, exact;

/*
 * Death at an injection point
 */

static __thread jmp_buf *grave;
static __thread u32 lives;

static void inject(int nr)
{
	if (grave && !lives--)
		longjmp(*grave, nr);
}

/*
 * Owners
 */

static void fault(const char *what, u32 item, u32 who)
{
	if (__atomic_fetch_add(&faults, 1, __ATOMIC_RELAXED) < 10)
		fprintf(stderr, "# buffer %u: %u is %s\n", item, who, what);
}

static void have(u32 item, u32 who)
{
	u32 found = __atomic_exchange_n(&table[item], who, __ATOMIC_RELAXED);

	if (found)
		fault("not alone", item, found);
	memset(&world->data[item * STANDIN_STRIDE], who, STANDIN_STRIDE);
}

static void have_not(u32 item, u32 who)
{
	const unsigned char *p = &world->data[item * STANDIN_STRIDE];
	u32 found, k;

	for (k = 0; k < STANDIN_STRIDE; k++) {
		if (p[k] != (unsigned char)who)
			fault("overwritten", item, who);
	}
	found = __atomic_exchange_n(&table[item], 0, __ATOMIC_RELAXED);
	if (found != who)
		fault("not the owner", item, who);
}

static u32 index_of(const void *p)
{
	return ((const unsigned char *)p - world->data) / STANDIN_STRIDE;
}

/*
 * The threads
 */

static void *worker(void *arg)
{
	u32 name = (uintptr_t)arg, seed = 77 + name, n = 0, want, k;
	struct lfpool *pool = lfpool_open("standin", 0);
	void *p[WORKER_HOLDS];

	if (!pool) {
		fault("not there", 0, name);
		return NULL;
	}
	while (!READ_ONCE(stop)) {
		want = random_below(&seed, WORKER_HOLDS + 1);
		while (n < want) {
			p[n] = lfpool_get(pool);
			if (!p[n])
				break;
			have(index_of(p[n]), name);
			n++;
		}
		while (n > want) {
			k = random_below(&seed, n);
			have_not(index_of(p[k]), name);
			if (lfpool_put(pool, p[k]))
				fault("refused", index_of(p[k]), name);
			p[k] = p[--n];
		}
		__atomic_fetch_add(&laps, 1, __ATOMIC_RELAXED);
	}
	while (n--) {
		have_not(index_of(p[n]), name);
		lfpool_put(pool, p[n]);
	}
	lfpool_close(pool);
	return NULL;
}

static void serve(struct standin_call *call, u32 nr)
{
	call->nr = nr;
	standin_serve(world, call);
}

/* A life: some pops and pushes by hand, and an end anywhere in them. */
static void live_and_die(u32 name, u32 *seed)
{
	struct standin_call call = { 0 };
	struct lfpool_slot *s;
	struct depot depot;
	jmp_buf end;
	u32 deferred, n, k;

	serve(&call, STANDIN_OPEN);
	if (call.ret)
		return;
	serve(&call, STANDIN_ATTACH);
	if (call.ret < 0)
		fault("without a slot", 0, name);
	s = &world->slots[call.ret];
	depot = (struct depot) {
		.shared = &world->depot,
		.desc = world->descs,
		.count = STANDIN_COUNT,
		.mark = call.client,
	};
	/* what it holds when it dies is in no table: it is nobody's at once */
	call.n = 1 + random_below(seed, 6);
	serve(&call, STANDIN_REFILL);
	lives = random_below(seed, 40);
	grave = &end;
	if (!setjmp(end)) {
		LFPOOL_WRITE(s->busy, 1);
		for (;;) {
			n = call.ret > 0 ? call.ret : 0;
			if (n)
				depot_push(&depot, s, call.items, n);
			call.ret = 0;
			inject(25);
			LFPOOL_WRITE(s->n, 0);
			n = depot_pop(&depot, s);
			for (k = 0; k < n; k++)
				call.items[k] = LFPOOL_READ(s->item[k]);
			call.ret = n;
			inject(16);
		}
	} else {
		deaths_within++;
	}
	grave = NULL;
	standin_died(world, &call.client, 1, &deferred);
	deaths++;
}

static void *mortal(void *arg)
{
	u32 name = (uintptr_t)arg, seed = 991 + name;

	while (!READ_ONCE(stop))
		live_and_die(name, &seed);
	return NULL;
}

static void *kernel(void *arg)
{
	struct lfpool_audit a;
	u32 seed = 5, deferred;

	while (!READ_ONCE(stop)) {
		a = standin_audit(world);
		audits++;
		exact += a.exact;
		if (a.damaged || (a.exact && (a.lost || a.duplicate))) {
			__atomic_fetch_add(&faults, 1, __ATOMIC_RELAXED);
			fprintf(stderr, "# audit: %llu lost, %llu in two places, %llu damaged\n",
				(unsigned long long)a.lost, (unsigned long long)a.duplicate,
				(unsigned long long)a.damaged);
		}
		if (!random_below(&seed, 8))
			standin_drain_depot(world);
		if (!random_below(&seed, 4))
			standin_orphans(world, &deferred);
		sched_yield();
	}
	return arg;
}

#ifndef SECONDS
# define SECONDS 4
#endif

FIXTURE(threads) {
};

FIXTURE_SETUP(threads)
{
	world = aligned_alloc(4096, (sizeof(*world) + 4095) / 4096 * 4096);
	ASSERT_NE(NULL, world);
	standin_init(world);
	world->scavenging =
		!syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

FIXTURE_TEARDOWN(threads)
{
	free(world);
}

TEST_F_TIMEOUT(threads, stress, 60)
{
	pthread_t thread[WORKERS + MORTALS + 1];
	struct lfpool_audit a;
	uintptr_t k;
	u32 deferred;

	for (k = 0; k < WORKERS + MORTALS; k++)
		ASSERT_EQ(0, pthread_create(&thread[k], NULL, k < WORKERS ? worker : mortal,
					    (void *)(k + 1)));
	ASSERT_EQ(0, pthread_create(&thread[k], NULL, kernel, NULL));
	sleep(SECONDS);
	WRITE_ONCE(stop, 1);
	for (k = 0; k < WORKERS + MORTALS + 1; k++)
		pthread_join(thread[k], NULL);

	EXPECT_EQ(0, faults);
	standin_orphans(world, &deferred);
	EXPECT_EQ(0, deferred);
	a = standin_audit(world);
	EXPECT_EQ(1, a.exact);
	EXPECT_EQ(0, a.lost);
	EXPECT_EQ(0, a.duplicate);
	EXPECT_EQ(0, a.damaged);
	EXPECT_EQ(0, a.held);
	EXPECT_EQ(0, a.cached);
	standin_drain_depot(world);
	EXPECT_EQ(STANDIN_COUNT, bitmap_weight(world->kernel, STANDIN_COUNT));
	EXPECT_NE(0, laps);
	EXPECT_NE(0, deaths);
	fprintf(stderr, "# %llu laps, %llu deaths, %llu audits, %llu of them exact%s\n",
		(unsigned long long)laps, (unsigned long long)deaths, (unsigned long long)audits,
		(unsigned long long)exact,
		world->scavenging ? "" : ", no scavenging (no membarrier)");
}

TEST_HARNESS_MAIN
