// SPDX-License-Identifier: MIT
/*
 * The embedded back end: a memfd instead of the module.
 *
 *   | the layout of uapi/linux/lfpool.h | control page(s), private to this file |
 *   |<------- info.mmap_size ---------->|
 *
 * The control part holds what the module keeps in kernel memory: the reserve, a
 * stack of indices, who has which slot, and the counters. One process-shared
 * mutex guards it. Nobody who finds a buffer in its cache or in the depot comes
 * here.
 *
 * For the threads of one process and the children that it forks; each of these
 * is a client of its own, with an id that is never used again. Nobody recovers
 * what a process had when it died without lfpool_close(): only the kernel can
 * know that a process is gone and its DMA done.
 *
 * Scavenge needs every CPU to pass a full barrier between the store of revoked
 * and the load of busy: membarrier(2). Where that is not to be had, caches are
 * left alone.
 *
 * The walks here (take_depot(), give_up_held(), embedded_audit.c) do what some
 * of module/recover.c does, and do not share it: that file is GPL-2.0-only, the
 * library MIT. What they rest on is told in depot.h.
 */
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "embedded.h"

#define PAGE		4096UL
#define DATA_ALIGN	(2UL << 20)
#define SIZE_MIN	64
#define SIZE_LIMIT	4194304
#define COUNT_LIMIT	1048576
#define THREADS_LIMIT	4096
#define THREADS_DEFAULT	256
#define BATCH_DEFAULT	28

/* How long a waiter sleeps at most that saw a cache which it could not look into. */
#define PEEK_NS		1000000

/* Makes all CPUs that run a client pass a full barrier; false: cannot. */
static bool barrier_all(const struct lfpool *pool)
{
	int cmd = ((struct embedded *)pool->private)->barrier;

	return cmd && !syscall(SYS_membarrier, cmd, 0, 0);
}

/* Once in each process, before its first store to a slot. */
static int barrier_register(void)
{
	long have = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	if (have < 0)
		return 0;
	if (have & MEMBARRIER_CMD_GLOBAL_EXPEDITED &&
	    !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0))
		return MEMBARRIER_CMD_GLOBAL_EXPEDITED;
	return have & MEMBARRIER_CMD_GLOBAL;
}

/*
 * A signal handler must not find its own thread in here. A process that died in
 * here left at worst buffers that are nowhere, or a slot revoked; never one in
 * two places, see the reserve below.
 */
static void lock(struct lfpool *pool, sigset_t *old)
{
	struct control *c = control_of(pool);
	sigset_t all;
	unsigned int nr;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, old);
	if (pthread_mutex_lock(&c->lock) == EOWNERDEAD) {
		for (nr = 0; nr < pool->info.max_threads; nr++)
			if (c->slot_client[nr])
				LFPOOL_WRITE_RELEASE(slot_of(pool, nr)->revoked, 0);
		pthread_mutex_consistent(&c->lock);
	}
}

static void unlock(struct lfpool *pool, const sigset_t *old)
{
	pthread_mutex_unlock(&control_of(pool)->lock);
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

/*
 * The reserve. All of this runs with the mutex held, and is left half-done by a
 * process that is killed: at every instruction a buffer is in one place at most.
 * What keeps the order is that the compiler does not reorder volatile stores; a
 * dead process has executed all those before its end and none after.
 */

/* The entry first: a count must not cover one that says what it said before. */
static void reserve_push(struct embedded *e, __u32 i)
{
	__u32 n = LFPOOL_READ(e->control->reserved);

	LFPOOL_WRITE(e->reserve[n], i);
	LFPOOL_INJECT(53);
	LFPOOL_WRITE(e->control->reserved, n + 1);
}

/* The count first: whoever comes next must not find it once more. */
static __u32 reserve_pop(struct embedded *e)
{
	__u32 n = LFPOOL_READ(e->control->reserved) - 1;

	LFPOOL_WRITE(e->control->reserved, n);
	LFPOOL_INJECT(54);
	return LFPOOL_READ(e->reserve[n]);
}

/* A buffer that carries the owner word @from comes into the reserve. */
static bool take_in(struct lfpool *pool, __u32 i, __u64 from)
{
	/* listed twice: a double put that nobody checked */
	if ((from & LFPOOL_WORD_OWNER) == LFPOOL_OWNER_RESERVE)
		return false;
	/* somebody imported it in this moment: then it is not ours to take */
	if (!__atomic_compare_exchange_n(&pool->depot.desc[i].word, &from,
					 ((from & DEPOT_GEN_MASK) + DEPOT_GEN_ONE) |
					 LFPOOL_OWNER_RESERVE,
					 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	LFPOOL_INJECT(55);
	reserve_push(pool->private, i);
	return true;
}

/* The depot, as a whole. Told in depot.h; one compare-and-swap, tag + 1. */
static void take_depot(struct lfpool *pool)
{
	const struct depot *d = &pool->depot;
	unsigned int members, j, left = d->count;
	__u32 leader, next, i;
	__u64 head, empty;

	head = __atomic_load_n(&d->shared->head, __ATOMIC_ACQUIRE);
	do {
		if ((head & LFPOOL_HEAD_INDEX) >= d->count)
			return;
		empty = (head & ~LFPOOL_HEAD_INDEX) + LFPOOL_HEAD_TAG_ONE;
		empty |= LFPOOL_NONE;
	} while (!__atomic_compare_exchange_n(&d->shared->head, &head, empty, 0,
					      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));

	for (leader = head & LFPOOL_HEAD_INDEX; leader < d->count && left; leader = next, left--) {
		next = LFPOOL_READ(d->desc[leader].next);
		members = LFPOOL_READ(d->desc[leader].count);
		for (j = 0; j < members && j < LFPOOL_BATCH_MAX - 1; j++) {
			i = LFPOOL_READ(d->desc[leader].item[j]);
			if (i < d->count)
				take_in(pool, i, LFPOOL_READ(d->desc[i].word));
		}
		take_in(pool, leader, LFPOOL_READ(d->desc[leader].word));
	}
}

/* Moves what a slot's cache holds to the reserve; its thread keeps out. */
static unsigned int drain(struct lfpool *pool, unsigned int nr)
{
	struct control *c = control_of(pool);
	struct lfpool_slot *s = slot_of(pool, nr);
	unsigned int n = LFPOOL_READ(s->n), moved = 0;
	__u64 word;
	__u32 i;

	if (n > LFPOOL_CACHE_MAX)
		n = LFPOOL_CACHE_MAX;
	while (n--) {
		i = LFPOOL_READ(s->item[n]);
		/* first: who dies in here must not leave it in two places */
		LFPOOL_WRITE(s->n, n);
		LFPOOL_INJECT(51);
		if (i >= pool->depot.count)
			continue;
		word = LFPOOL_READ(pool->depot.desc[i].word);
		if ((word & LFPOOL_WORD_OWNER) == c->slot_client[nr])
			moved += take_in(pool, i, word);
	}
	return moved;
}

/*
 * Takes the first cache that is not empty and that its thread is not just using.
 * What makes the plain accesses of the fast path sound: told in lfpool.h.
 *
 * Return: true if some cache could not be looked into.
 */
static bool scavenge(struct lfpool *pool)
{
	struct control *c = control_of(pool);
	unsigned int nr, revoked = 0;
	struct lfpool_slot *s;
	bool busy = false, b;

	for (nr = 0; nr < pool->info.max_threads; nr++) {
		s = slot_of(pool, nr);
		if (!c->slot_client[nr])
			continue;
		/* busy before n: a put that ends in between must not be missed */
		b = __atomic_load_n(&s->busy, __ATOMIC_ACQUIRE);
		if (LFPOOL_READ(s->n)) {
			LFPOOL_WRITE(s->revoked, 1);
			revoked++;
		} else if (b) {
			busy = true;
		}
	}
	if (!revoked)
		return busy;

	LFPOOL_INJECT(50);
	if (!barrier_all(pool))
		revoked = 0;
	for (nr = 0; nr < pool->info.max_threads; nr++) {
		s = slot_of(pool, nr);
		if (!c->slot_client[nr] || !LFPOOL_READ(s->revoked))
			continue;
		/* pairs with the release of busy at the end of get and put */
		if (!revoked || __atomic_load_n(&s->busy, __ATOMIC_ACQUIRE))
			busy = true;
		else if (!c->reserved)
			c->folded.scavenged += drain(pool, nr);
		LFPOOL_INJECT(52);
		/* after n: pairs with the acquire of revoked in get and put */
		LFPOOL_WRITE_RELEASE(s->revoked, 0);
	}
	return busy;
}

/* By one buffer, as a get that finds none is one miss. */
static unsigned int grow(struct lfpool *pool)
{
	struct control *c = control_of(pool);
	__u32 i = LFPOOL_READ(c->capacity);

	if (i == pool->info.max_count)
		return 0;
	c->folded.grown++;
	c->folded.allocations++;
	/* first: or who grows next adds the same one again */
	LFPOOL_WRITE(c->capacity, i + 1);
	LFPOOL_INJECT(56);
	reserve_push(pool->private, i);
	return 1;
}

/* Up to n buffers that the reserve has, for this client. */
static unsigned int take_out(struct lfpool *pool, __u32 *items, unsigned int n, __u32 flags)
{
	struct control *c = control_of(pool);
	unsigned int k = 0;
	__u64 word;
	__u32 i;

	while (k < n && LFPOOL_READ(c->reserved)) {
		i = reserve_pop(pool->private);
		if (i >= pool->depot.count)
			continue;
		/* it cannot be another's: but then it must not be ours as well */
		word = LFPOOL_READ(pool->depot.desc[i].word);
		if ((word & LFPOOL_WORD_OWNER) != LFPOOL_OWNER_RESERVE)
			continue;
		LFPOOL_WRITE(pool->depot.desc[i].word,
			     (word & DEPOT_GEN_MASK) | pool->client | flags);
		items[k++] = i;
	}
	return k;
}

/*
 * At least one buffer, or -ENOBUFS; then *busy says if there was a cache that
 * could not be looked into.
 */
static int refill(struct lfpool *pool, __u32 *items, unsigned int n, unsigned int flags,
		  unsigned int *grown, bool *busy)
{
	struct control *c = control_of(pool);
	unsigned int k;

	*busy = false;
	*grown = 0;
	do {
		if (!c->reserved)
			take_depot(pool);
		if (!c->reserved)
			*busy = scavenge(pool);
		if (!c->reserved)
			*grown = grow(pool);
		if (!c->reserved)
			return -ENOBUFS;
		k = take_out(pool, items, n, flags & LFPOOL_REFILL_FREE ? LFPOOL_WORD_FREE : 0);
	} while (!k);
	if (c->peak < c->capacity - c->reserved)
		c->peak = c->capacity - c->reserved;
	return k;
}

/*
 * Buffers can be had: wakes up to n waiters.
 *
 * If fewer woke than should and than are counted, somebody is counted that does
 * not sleep: it is dead, or on his way into another turn of embedded_wait(). So
 * all are forgotten, and those that live count themselves again in that turn,
 * before they look anywhere. None of them sleeps on: all that slept were woken,
 * and who was about to finds another c->wake. Hence no put is missed that sees
 * no waiters meanwhile.
 */
static void wake_locked(struct lfpool *pool, unsigned int n)
{
	__u32 *waiters = &pool->depot.shared->waiters;
	struct control *c = control_of(pool);
	long woken;

	if (!n || !LFPOOL_READ(*waiters))
		return;
	LFPOOL_WRITE(c->wake, LFPOOL_READ(c->wake) + 1);
	woken = syscall(SYS_futex, &c->wake, FUTEX_WAKE, n, NULL, NULL, 0);
	if (woken < (long)n && woken < (long)LFPOOL_READ(*waiters)) {
		/* first: killed in between, we leave too many, not too few */
		LFPOOL_WRITE(c->recount, LFPOOL_READ(c->recount) + 1);
		LFPOOL_INJECT(57);
		LFPOOL_WRITE(*waiters, 0);
	}
}

static void fold(struct counters *sum, const struct lfpool_slot *s)
{
	sum->gets += LFPOOL_READ(s->gets);
	sum->puts += LFPOOL_READ(s->puts);
	sum->misses += LFPOOL_READ(s->misses);
	sum->allocations += LFPOOL_READ(s->allocations);
	sum->cas_retries += LFPOOL_READ(s->cas_retries);
	sum->refills += LFPOOL_READ(s->refills);
	sum->flushes += LFPOOL_READ(s->flushes);
}

/*
 * The table of functions
 */

static int embedded_attach(struct lfpool *pool, __u32 *slot)
{
	struct control *c = control_of(pool);
	int err = -EUSERS;
	sigset_t old;
	__u32 nr;

	lock(pool, &old);
	for (nr = 0; nr < pool->info.max_threads; nr++) {
		if (c->slot_client[nr])
			continue;
		memset(slot_of(pool, nr), 0, sizeof(struct lfpool_slot));
		slot_of(pool, nr)->journal = LFPOOL_NONE;
		c->slot_client[nr] = pool->client;
		c->threads++;
		*slot = nr;
		err = 0;
		break;
	}
	unlock(pool, &old);
	return err;
}

static void detach_locked(struct lfpool *pool, __u32 nr)
{
	struct control *c = control_of(pool);

	/*
	 * A thread that left a get or put half-way (longjmp() out of a signal
	 * handler) has a cache that may list what is in the depot as well.
	 */
	if (!LFPOOL_READ(slot_of(pool, nr)->busy))
		drain(pool, nr);
	fold(&c->folded, slot_of(pool, nr));
	c->slot_client[nr] = 0;
	c->threads--;
}

static void embedded_detach(struct lfpool *pool, __u32 slot)
{
	sigset_t old;

	lock(pool, &old);
	detach_locked(pool, slot);
	wake_locked(pool, INT_MAX);
	unlock(pool, &old);
}

static int embedded_refill(struct lfpool *pool, __u32 *items, unsigned int n,
			   unsigned int flags, unsigned int *grown)
{
	struct control *c = control_of(pool);
	sigset_t old;
	bool busy;
	int got;

	lock(pool, &old);
	got = refill(pool, items, n, flags, grown, &busy);
	if (flags & LFPOOL_REFILL_GET) {
		if (got > 0 && !*grown)
			c->folded.gets += got;
		else
			c->folded.misses += n;
	}
	unlock(pool, &old);
	return got;
}

static int embedded_release(struct lfpool *pool, const __u32 *items, unsigned int n,
			    unsigned int flags)
{
	struct control *c = control_of(pool);
	unsigned int k, moved = 0;
	sigset_t old;
	__u64 word;

	for (k = 0; k < n; k++)
		if (items[k] >= pool->depot.count)
			return -EINVAL;

	lock(pool, &old);
	for (k = 0; k < n; k++) {
		word = LFPOOL_READ(pool->depot.desc[items[k]].word);
		if ((word & LFPOOL_WORD_OWNER) == pool->client)
			moved += take_in(pool, items[k], word);
	}
	if (flags & LFPOOL_RELEASE_PUT)
		c->folded.puts += moved;
	wake_locked(pool, moved);
	unlock(pool, &old);
	return moved == n ? 0 : -ESTALE;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/*
 * Sleeps until the futex moves on from @seen, for @ns at most; < 0: for ever, or
 * 34 years, since a futex without a timeout goes on after a signal whose handler
 * is SA_RESTART.
 */
static int sleep_on(struct control *c, __u32 seen, int64_t ns)
{
	struct timespec ts = { ns < 0 ? 1 << 30 : ns / 1000000000, ns < 0 ? 0 : ns % 1000000000 };

	if (syscall(SYS_futex, &c->wake, FUTEX_WAIT, seen, &ts, NULL, 0))
		return errno == EINTR ? -EINTR : 0;
	return 0;
}

/*
 * A waiter counts itself, once and again whenever wake_locked() forgot all.
 * From then on, every put that does not see it is seen: by the barrier, it is
 * done, or its thread is busy. Then its cache cannot be looked into, and we look
 * again a little later. And every push to the depot that is not seen sees us,
 * and wakes (the fence pairs with the barrier in lfp_wake_waiters()).
 *
 * Return: false if there is no such barrier: a put may be under way that looks
 * as if it were not.
 */
static bool count_waiter(struct lfpool *pool)
{
	__u32 *waiters = &pool->depot.shared->waiters;

	LFPOOL_WRITE(*waiters, LFPOOL_READ(*waiters) + 1);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return barrier_all(pool);
}

static int embedded_wait(struct lfpool *pool, int64_t timeout_ns, __u32 *item)
{
	__u32 *waiters = &pool->depot.shared->waiters;
	struct control *c = control_of(pool);
	int64_t deadline = 0, left = -1;
	bool counted = false, blind = false, busy;
	int saved = errno, err = 0;
	__u32 seen, count = 0;
	unsigned int grown;
	sigset_t old;

	if (timeout_ns >= 0 && __builtin_add_overflow(now_ns(), timeout_ns, &deadline))
		timeout_ns = -1;

	lock(pool, &old);
	for (;;) {
		if (!counted || count != LFPOOL_READ(c->recount)) {
			counted = true;
			count = LFPOOL_READ(c->recount);
			blind = !count_waiter(pool);
		}
		if (refill(pool, item, 1, 0, &grown, &busy) > 0) {
			err = 0;
			break;
		}
		if (timeout_ns >= 0) {
			left = deadline - now_ns();
			if (!err && left <= 0)
				err = -ETIMEDOUT;
		}
		if (err)
			break;
		if ((busy || blind) && (left < 0 || left > PEEK_NS))
			left = PEEK_NS;
		seen = LFPOOL_READ(c->wake);
		unlock(pool, &old);
		err = sleep_on(c, seen, left);
		lock(pool, &old);
		if (timeout_ns < 0)
			left = -1;
	}
	LFPOOL_WRITE(*waiters, LFPOOL_READ(*waiters) - 1);
	unlock(pool, &old);
	errno = saved;
	return err;
}

static void embedded_wake(struct lfpool *pool)
{
	sigset_t old;

	lock(pool, &old);
	wake_locked(pool, INT_MAX);
	unlock(pool, &old);
}

/* Counters since the pool was made */
static void sum_up(struct lfpool *pool, struct counters *sum)
{
	struct control *c = control_of(pool);
	unsigned int nr;

	*sum = c->folded;
	sum->allocations += LFPOOL_READ(pool->depot.shared->allocations);
	sum->puts += LFPOOL_READ(pool->depot.shared->puts);
	for (nr = 0; nr < pool->info.max_threads; nr++)
		if (c->slot_client[nr])
			fold(sum, slot_of(pool, nr));
}

static int embedded_reset_stats(struct lfpool *pool)
{
	struct control *c = control_of(pool);
	sigset_t old;

	lock(pool, &old);
	sum_up(pool, &c->baseline);
	c->peak = c->capacity - c->reserved;
	unlock(pool, &old);
	return 0;
}

static int embedded_audit(struct lfpool *pool, struct lfpool_audit *out)
{
	sigset_t old;
	int err;

	lock(pool, &old);
	err = lfp_embedded_audit(pool, out);
	unlock(pool, &old);
	return err;
}

static int embedded_stats(struct lfpool *pool, struct lfpool_stats *st)
{
	struct control *c = control_of(pool);
	struct lfpool_audit a;
	struct counters now;
	sigset_t old;
	__u64 asked;
	int err;

	lock(pool, &old);
	err = lfp_embedded_audit(pool, &a);
	sum_up(pool, &now);
	st->buffer_size = pool->info.buffer_size;
	st->stride = pool->info.stride;
	st->buffer_count = pool->info.buffer_count;
	st->max_count = pool->info.max_count;
	st->capacity = c->capacity;
	st->peak_granted = c->peak;
	st->allocations = now.allocations - c->baseline.allocations;
	st->deallocations = now.puts - c->baseline.puts;
	st->pool_hits = now.gets - c->baseline.gets;
	st->pool_misses = now.misses - c->baseline.misses;
	st->cas_retries = now.cas_retries - c->baseline.cas_retries;
	st->refills = now.refills - c->baseline.refills;
	st->flushes = now.flushes - c->baseline.flushes;
	st->grown = now.grown - c->baseline.grown;
	st->scavenged = now.scavenged - c->baseline.scavenged;
	st->reclaimed = now.reclaimed - c->baseline.reclaimed;
	st->clients = c->clients;
	st->threads = c->threads;
	unlock(pool, &old);
	if (err)
		return err;

	st->cached = a.cached;
	st->reserve = a.reserve;
	st->in_use = a.held;
	st->available = a.capacity - a.held;
	asked = st->pool_hits + st->pool_misses;
	st->hit_rate_ppm = asked ? (double)st->pool_hits / asked * 1000000 : 0;
	return 0;
}

/* poll() says of a memfd that it is always ready: that would be a lie. */
static int embedded_fd(const struct lfpool *pool)
{
	(void)pool;
	return -EOPNOTSUPP;
}

static int become_client(struct lfpool *pool)
{
	struct control *c = control_of(pool);
	int err = 0;
	sigset_t old;

	/* in this process, whatever the parent did in its own */
	((struct embedded *)pool->private)->barrier = barrier_register();

	lock(pool, &old);
	if (c->next_client > LFPOOL_CLIENT_MAX) {
		err = -EUSERS;
	} else {
		pool->info.client = c->next_client++;
		c->clients++;
	}
	unlock(pool, &old);
	return err ? err : lfp_map(pool, pool->base);
}

/* R2 of the design, for a client that goes while others stay: what it held. */
static void give_up_held(struct lfpool *pool)
{
	struct control *c = control_of(pool);
	const struct depot *d = &pool->depot;
	unsigned char *listed;
	unsigned int j, members;
	__u64 word;
	__u32 i, m;

	listed = calloc(c->capacity, 1);
	if (!listed)
		return;
	/* listed in a batch whose leader says DEPOT: not held, the name is stale */
	for (i = 0; i < c->capacity; i++) {
		word = __atomic_load_n(&d->desc[i].word, __ATOMIC_ACQUIRE);
		if ((word & LFPOOL_WORD_OWNER) != LFPOOL_OWNER_DEPOT)
			continue;
		members = LFPOOL_READ(d->desc[i].count);
		for (j = 0; j < members && j < LFPOOL_BATCH_MAX - 1; j++) {
			m = LFPOOL_READ(d->desc[i].item[j]);
			if (m < c->capacity)
				listed[m] = 1;
		}
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (i = 0; i < c->capacity; i++) {
		word = LFPOOL_READ(d->desc[i].word);
		if (!listed[i] && (word & LFPOOL_WORD_OWNER) == pool->client)
			c->folded.reclaimed += take_in(pool, i, word);
	}
	free(listed);
}

static void embedded_close(struct lfpool *pool)
{
	struct embedded *e = pool->private;
	sigset_t old;

	/* not in a child that never used what it inherited: it is no client */
	if (!pool->refuse) {
		lock(pool, &old);
		if (--e->control->clients) {
			give_up_held(pool);
			wake_locked(pool, INT_MAX);
		}
		unlock(pool, &old);
	}
	/* a pool of lfpool_open() is not mapped in a child */
	if (pool->refuse != -ESTALE)
		munmap(pool->base, e->size);
	free(e);
}

const struct lfp_ops lfp_embedded_ops = {
	.attach = embedded_attach,
	.detach = embedded_detach,
	.refill = embedded_refill,
	.release = embedded_release,
	.wait = embedded_wait,
	.wake = embedded_wake,
	.stats = embedded_stats,
	.reset_stats = embedded_reset_stats,
	.audit = embedded_audit,
	.fd = embedded_fd,
	.adopt = become_client,
	.close = embedded_close,
};

/*
 * A new pool
 */

static __u64 round_up(__u64 n, __u64 to)
{
	return (n + to - 1) / to * to;
}

static int geometry(struct lfpool_info *info, const struct lfpool_config *config)
{
	unsigned int eighth = config->buffer_count / 8;

	if (config->buffer_size < SIZE_MIN || config->buffer_size > SIZE_LIMIT ||
	    config->buffer_count < 1 || config->buffer_count > COUNT_LIMIT ||
	    (config->max_count && config->max_count < config->buffer_count) ||
	    config->max_count > 2 * COUNT_LIMIT || config->max_threads > THREADS_LIMIT ||
	    config->batch == 1 || config->batch > LFPOOL_BATCH_MAX ||
	    config->pool_flags & ~LFPOOL_POOL_ZERO)
		return -EINVAL;

	info->size = sizeof(*info);
	info->abi = LFPOOL_ABI;
	info->buffer_size = config->buffer_size;
	info->stride = SIZE_MIN;
	while (info->stride < config->buffer_size)
		info->stride *= 2;
	info->slot_stride = sizeof(struct lfpool_slot);
	info->desc_stride = sizeof(struct lfpool_desc);
	info->buffer_count = config->buffer_count;
	info->max_count = config->max_count ? config->max_count : 2 * config->buffer_count;
	info->max_threads = config->max_threads ? config->max_threads : THREADS_DEFAULT;
	info->batch = config->batch ? config->batch : BATCH_DEFAULT;
	if (info->batch > eighth)
		info->batch = eighth ? eighth : 1;
	info->pool_flags = config->pool_flags;
	strncpy(info->name, config->name ? config->name : "embedded", LFPOOL_NAME_LEN - 1);

	info->depot_offset = PAGE;
	info->slot_offset = 2 * PAGE;
	info->desc_offset = round_up(info->slot_offset +
				     (__u64)info->max_threads * info->slot_stride, PAGE);
	info->data_offset = round_up(info->desc_offset +
				     (__u64)info->max_count * info->desc_stride, DATA_ALIGN);
	info->mmap_size = round_up(info->data_offset +
				   (__u64)info->max_count * info->stride, PAGE);
	return 0;
}

static int init_lock(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attr;
	int err;

	err = pthread_mutexattr_init(&attr);
	if (err)
		return -err;
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	err = pthread_mutex_init(mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	return -err;
}

static int init_shared(struct lfpool *pool)
{
	struct control *c = control_of(pool);
	__u32 i;
	int err;

	err = init_lock(&c->lock);
	if (err)
		return err;
	memcpy(pool->base, &pool->info, sizeof(pool->info));
	pool->depot.shared->head = LFPOOL_NONE;
	c->next_client = LFPOOL_CLIENT_MIN;
	c->capacity = pool->info.buffer_count;
	/* the lowest on top */
	for (i = c->capacity; i--; )
		reserve_push(pool->private, i);
	return 0;
}

/**
 * lfp_embedded_open - make a pool of a memfd
 * @inherit: forked children may use it
 *
 * Return: 0 or a negative errno; after a failure pool->ops is NULL.
 */
int lfp_embedded_open(struct lfpool *pool, const struct lfpool_config *config, bool inherit)
{
	struct lfpool_info *info = &pool->info;
	struct embedded *e;
	__u64 size, reserve;
	unsigned char *base;
	int err;

	err = geometry(info, config);
	if (err)
		return err;
	reserve = round_up(info->mmap_size + sizeof(struct control) +
			   (__u64)info->max_threads * sizeof(__u32), LFP_CACHELINE);
	size = round_up(reserve + (__u64)info->max_count * sizeof(__u32), PAGE);
	if (size > SIZE_MAX / 2)
		return -ENOMEM;

	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	pool->fd = memfd_create(info->name, MFD_CLOEXEC);
	if (pool->fd < 0 || ftruncate(pool->fd, size)) {
		err = -errno;
		goto fail;
	}
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, pool->fd, 0);
	if (base == MAP_FAILED) {
		err = -errno;
		goto fail;
	}
	/* the mapping is all that is needed */
	close(pool->fd);
	pool->fd = -1;
	e->control = (struct control *)(base + info->mmap_size);
	e->reserve = (__u32 *)(base + reserve);
	e->size = size;
	pool->private = e;
	pool->inherited = inherit;

	if (!inherit && madvise(base, size, MADV_DONTFORK))
		err = -errno;
	if (!err)
		err = lfp_map(pool, base);
	if (!err)
		err = init_shared(pool);
	if (!err)
		err = become_client(pool);
	if (err) {
		munmap(base, size);
		goto fail;
	}
	pool->ops = &lfp_embedded_ops;
	return 0;

fail:
	if (pool->fd >= 0)
		close(pool->fd);
	pool->fd = -1;
	pool->base = NULL;
	free(e);
	return err;
}
