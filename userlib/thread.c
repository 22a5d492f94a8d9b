// SPDX-License-Identifier: MIT
/*
 * Threads: attach and detach, the slow paths of get and put, and fork.
 *
 * A slot is touched with its busy set only, and by its own thread only. A
 * signal handler that finds busy set has interrupted such a section of this
 * very thread; it goes straight to the back end, one buffer at a time, and
 * leaves the slot alone. A system call is never made with busy set: what a
 * refill granted waits in a local array, where a kill leaves it to R2 (the
 * words name us), and the cache is looked at afresh before it goes in, because
 * a signal handler may have used it meanwhile.
 */
#include <stdlib.h>

#include "internal.h"

/*
 * The handles of this process, and what belongs to them.
 */
static pthread_mutex_t lib_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct lfpool *pools;		/* guarded by lib_mutex */
static uint64_t last_serial;		/* guarded by lib_mutex */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;
static pthread_key_t key;		/* its destructor detaches a thread that ends */
static sigset_t fork_mask;		/* guarded by lib_mutex, from prepare to parent or child */

/*
 * This thread's views: all of them in a list, and those used last in a table,
 * by the pool's serial number. An entry is one pointer, so that a signal
 * handler may replace it at any time.
 */
static __thread struct thread *own __attribute__((tls_model("initial-exec")));
__thread struct thread *lfp_self_table[LFP_SELF] __attribute__((tls_model("initial-exec")));

void lfp_lock(sigset_t *old)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, old);
	pthread_mutex_lock(&lib_mutex);
}

void lfp_unlock(const sigset_t *old)
{
	pthread_mutex_unlock(&lib_mutex);
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

/* Every inline call takes its slow path from now on. */
static void close_gate(struct thread *th)
{
	th->t.slot = &th->gate;
	th->slot = NULL;
	th->bound = false;
}

/* Asks for a slot; without one (all are taken) the thread works just as well. */
static int bind(struct thread *th)
{
	struct lfpool *pool = th->pool;
	__u32 nr;
	int err;

	err = pool->ops->attach(pool, &nr);
	if (err && err != -EUSERS)
		return err;

	th->t.desc = pool->depot.desc;
	th->t.data = pool->data;
	th->t.waiters = &pool->depot.shared->waiters;
	th->t.client = pool->client;
	th->t.shift = pool->shift;
	th->t.count = pool->depot.count;
	th->t.full = 2UL * pool->info.batch;
	th->t.least = pool->info.pool_flags & LFPOOL_POOL_ZERO ? ~0UL : 0;
	th->direct = 0;
	if (!err) {
		th->slot_nr = nr;
		th->slot = slot_of(pool, nr);
		if (!pool->checked)
			th->t.slot = th->slot;
	}
	th->bound = true;
	return 0;
}

/* The caller holds lfp_lock(), so no get or put of this thread is under way. */
static void unbind(struct thread *th)
{
	struct lfpool *pool = th->pool;
	bool attached = th->slot;

	close_gate(th);
	if (attached)
		pool->ops->detach(pool, th->slot_nr);
}

/* Takes a view out of this thread's list and table, and frees it. */
static void free_own(struct thread *th)
{
	struct thread **p;
	unsigned int i;

	for (p = &own; *p; p = &(*p)->own_next) {
		if (*p == th) {
			*p = th->own_next;
			break;
		}
	}
	for (i = 0; i < LFP_SELF; i++)
		if (lfp_self_table[i] == th)
			lfp_self_table[i] = NULL;
	free(th);
}

/* Cuts a view off from its pool, whose list it is in. The caller holds lfp_lock(). */
static void cut_off(struct lfpool *pool, struct thread *th)
{
	struct thread **p = &pool->threads;

	while (*p != th)
		p = &(*p)->pool_next;
	*p = th->pool_next;
	unbind(th);
	th->pool = NULL;
}

/* The thread ends. */
static void thread_exit(void *unused)
{
	sigset_t old;

	(void)unused;
	lfp_lock(&old);
	while (own) {
		if (own->pool)
			cut_off(own->pool, own);
		free_own(own);
	}
	lfp_unlock(&old);
}

/*
 * fork
 *
 * A child holds nothing of its parent's: neither buffers nor, of a pool that it
 * may use, what came from the heap instead. Those it forgets, and does not free
 * them, as the program may still read its copies.
 *
 * It must not touch its parent's slots. The views of the thread that
 * forked stay, with the gate closed, and bind anew at their next use if the
 * pool may be used at all (lfpool_create()); those of other threads are dead
 * weight until lfpool_close().
 */
static void fork_prepare(void)
{
	struct lfpool *pool;
	sigset_t old;

	lfp_lock(&old);
	fork_mask = old;
	for (pool = pools; pool; pool = pool->next)
		pthread_mutex_lock(&pool->heap.lock);
}

static void fork_done(void)
{
	sigset_t old = fork_mask;
	struct lfpool *pool;

	for (pool = pools; pool; pool = pool->next)
		pthread_mutex_unlock(&pool->heap.lock);
	lfp_unlock(&old);
}

static void fork_child(void)
{
	struct lfpool *pool;
	struct thread *th;

	for (pool = pools; pool; pool = pool->next) {
		pool->refuse = pool->inherited ? LFP_INHERITED : -ESTALE;
		if (pool->inherited) {
			pool->heap.slots = NULL;
			pool->heap.used = 0;
		}
		for (th = pool->threads; th; th = th->pool_next) {
			close_gate(th);
			th->t.count = 0;
			th->gone = true;
		}
	}
	for (th = own; th; th = th->own_next)
		th->gone = false;
	fork_done();
}

static void init_once(void)
{
	once_error = pthread_key_create(&key, thread_exit);
	if (!once_error)
		once_error = pthread_atfork(fork_prepare, fork_done, fork_child);
}

/* A new handle is complete: fork must know it. */
int lfp_register(struct lfpool *pool)
{
	sigset_t old;

	pthread_once(&once, init_once);
	if (once_error)
		return -once_error;

	lfp_lock(&old);
	pool->serial = ++last_serial;
	pool->next = pools;
	pools = pool;
	lfp_unlock(&old);
	return 0;
}

/* The handle is going: detaches all its threads. */
void lfp_unregister(struct lfpool *pool)
{
	struct thread *th, *mine = NULL;
	struct lfpool **p;
	sigset_t old;

	lfp_lock(&old);
	for (p = &pools; *p; p = &(*p)->next) {
		if (*p == pool) {
			*p = pool->next;
			break;
		}
	}
	for (th = own; th; th = th->own_next)
		if (th->pool == pool)
			mine = th;
	while ((th = pool->threads)) {
		cut_off(pool, th);
		if (th == mine)
			free_own(th);
		else if (th->gone)
			free(th);
	}
	lfp_unlock(&old);
}

/* The pool is not fit for use as it is: says why, or makes it so. */
int lfp_refused(struct lfpool *pool)
{
	sigset_t old;
	int err;

	lfp_lock(&old);
	err = pool->refuse;
	if (err == LFP_INHERITED) {
		err = pool->ops->adopt(pool);
		if (!err)
			__atomic_store_n(&pool->refuse, 0, __ATOMIC_RELEASE);
	}
	lfp_unlock(&old);
	return err;
}

/*
 * attach
 */

static struct thread *find_own(const struct lfpool *pool)
{
	struct thread *th;

	for (th = own; th; th = th->own_next)
		if (th->serial == pool->serial)
			break;
	return th;
}

/* Frees the views of pools that other threads closed. */
static void purge_own(void)
{
	struct thread *th, *next;

	for (th = own; th; th = next) {
		next = th->own_next;
		if (!th->pool)
			free_own(th);
	}
}

static struct thread *attach(struct lfpool *pool)
{
	struct thread *th, *other;
	sigset_t old;
	int err;

	err = lfp_usable(pool);
	if (err) {
		errno = -err;
		return NULL;
	}
	th = aligned_alloc(LFP_CACHELINE, sizeof(*th));
	if (!th)
		return NULL;
	memset(th, 0, sizeof(*th));
	th->serial = pool->serial;
	th->pool = pool;
	th->gate.revoked = 1;
	close_gate(th);

	lfp_lock(&old);
	purge_own();
	/* a signal handler may have attached this thread by now */
	other = find_own(pool);
	if (!other) {
		err = pthread_setspecific(key, &key) ? -ENOMEM : bind(th);
		if (!err) {
			th->pool_next = pool->threads;
			pool->threads = th;
			th->own_next = own;
			own = th;
		}
	}
	lfp_unlock(&old);
	if (!other && !err)
		return th;
	free(th);
	if (err)
		errno = -err;
	return other;
}

/* The table does not have it. */
struct thread *lfp_self_slow(struct lfpool *pool)
{
	struct thread *th = find_own(pool);

	if (!th)
		th = attach(pool);
	if (th)
		lfp_self_table[pool->serial % LFP_SELF] = th;
	return th;
}

struct lfpool_thread *lfpool_attach(struct lfpool *pool)
{
	struct thread *th = lfp_self(pool);
	int err;

	if (!th)
		return NULL;
	err = lfp_enter(th);
	if (err) {
		errno = -err;
		return NULL;
	}
	return &th->t;
}

/* After fork, or without a slot for a while: asks for one (again). */
static int rebind(struct thread *th)
{
	sigset_t old;
	int err = 0;

	lfp_lock(&old);
	if (!th->slot)
		err = bind(th);
	lfp_unlock(&old);
	return err;
}

int lfp_enter_slow(struct thread *th)
{
	int err = lfp_usable(th->pool);

	if (!err && !th->bound)
		err = rebind(th);
	return err;
}

/*
 * get
 */

/* A buffer has left the pool's structures and becomes the caller's. */
void *lfp_hand_out(struct lfpool *pool, __u32 i)
{
	void *p;

	/* a peer may have written anything into a cache or a batch */
	if (LFPOOL_UNLIKELY(i >= pool->depot.count)) {
		errno = EUCLEAN;
		return NULL;
	}
	p = lfp_address(pool, i);
	if (pool->checked)
		lfp_debug_get(pool, i);
	if (pool->info.pool_flags & LFPOOL_POOL_ZERO)
		memset(p, 0, pool->info.buffer_size);
	return p;
}

/* The back end gave nothing. */
static void *exhausted(struct thread *th, int err)
{
	struct lfpool_slot *s = th->slot;
	void *p;

	/* busy: in a signal handler, and that is no place for malloc() */
	if (err != -ENOBUFS || !(th->pool->flags & LFPOOL_OPEN_FALLBACK) ||
	    (s && LFPOOL_READ(s->busy))) {
		errno = -err;
		return NULL;
	}
	p = lfp_heap_get(th->pool);
	if (p && s) {
		LFPOOL_WRITE(s->busy, 1);
		count_up(&s->allocations, 1);
		leave_slot(s);
	} else if (p) {
		__atomic_fetch_add(&th->pool->depot.shared->allocations, 1, __ATOMIC_RELAXED);
	}
	return p;
}

/* One buffer from the back end, past the cache; the back end counts it. */
static void *get_direct(struct thread *th)
{
	struct lfpool *pool = th->pool;
	unsigned int grown;
	__u32 i;
	int got;

	got = pool->ops->refill(pool, &i, 1, LFPOOL_REFILL_GET, &grown);
	if (got < 0)
		return exhausted(th, got);
	LFPOOL_INJECT(30);
	/* slots come free again when threads end */
	if (!th->slot && ++th->direct == 256)
		rebind(th);
	return lfp_hand_out(pool, i);
}

/*
 * Granted buffers go into the cache. It was empty when they were asked for, but
 * a signal handler may have filled it, or the back end revoked it, since.
 */
static void store(struct thread *th, const __u32 *items, unsigned int count, bool miss)
{
	struct lfpool *pool = th->pool;
	struct lfpool_slot *s = th->slot;
	unsigned int n, k = 0;

	LFPOOL_WRITE(s->busy, 1);
	count_up(miss ? &s->misses : &s->gets, 1);
	count_up(&s->refills, 1);
	/*
	 * As in put: a waiter may have looked everywhere before these came
	 * here. Then they go back, which wakes it.
	 */
	if (!LFPOOL_READ_ACQUIRE(s->revoked) && !LFPOOL_READ(pool->depot.shared->waiters)) {
		n = LFPOOL_READ(s->n);
		while (k < count && n < th->t.full)
			LFPOOL_WRITE(s->item[n++], items[k++]);
		LFPOOL_WRITE(s->n, n);
	}
	LFPOOL_INJECT(31);
	leave_slot(s);

	if (k < count)
		pool->ops->release(pool, items + k, count - k, 0);
}

static void *get_refill(struct thread *th)
{
	struct lfpool *pool = th->pool;
	struct lfpool_slot *s = th->slot;
	__u32 items[LFPOOL_XFER_MAX];
	unsigned int grown;
	int got;

	got = pool->ops->refill(pool, items, pool->info.batch, lfp_refill_flags(pool), &grown);
	if (got > 0) {
		if (pool->checked)
			lfp_debug_granted(pool, items, got);
		LFPOOL_INJECT(30);
		/* grown: it found no free buffer, so it is a miss */
		store(th, items + 1, got - 1, grown);
		return lfp_hand_out(pool, items[0]);
	}
	if (got == -ENOBUFS) {
		LFPOOL_WRITE(s->busy, 1);
		count_up(&s->misses, 1);
		leave_slot(s);
	}
	return exhausted(th, got);
}

void *lfpool_thread_get_slow(struct lfpool_thread *t)
{
	struct thread *th = (struct thread *)t;
	struct lfpool_slot *s;
	unsigned int n;
	__u32 i;
	int err;

	err = lfp_enter(th);
	if (err) {
		errno = -err;
		return NULL;
	}
	s = th->slot;
	if (!enter_slot(s))
		return get_direct(th);

	n = LFPOOL_READ(s->n);
	if (!n) {
		n = depot_pop(&th->pool->depot, s);
		if (!n) {
			leave_slot(s);
			return get_refill(th);
		}
		count_up(&s->refills, 1);
	}
	if (n > LFPOOL_CACHE_MAX)
		n = LFPOOL_CACHE_MAX;
	i = LFPOOL_READ(s->item[n - 1]);
	LFPOOL_WRITE(s->n, n - 1);
	count_up(&s->gets, 1);
	leave_slot(s);
	return lfp_hand_out(th->pool, i);
}

void *lfpool_get(struct lfpool *pool)
{
	struct thread *th = lfp_self(pool);

	return th ? lfpool_thread_get(&th->t) : NULL;
}

/*
 * put
 */

/*
 * Is the buffer ours to put? If it was exported, takes the handle back: whoever
 * imports it at the same time and comes first has it.
 */
static int claim(struct lfpool *pool, __u32 i)
{
	struct lfpool_desc *desc = &pool->depot.desc[i];
	__u64 word = LFPOOL_READ(desc->word);

	if (pool->checked)
		return lfp_debug_claim(pool, i);
	if ((__u32)word == pool->client)
		return 0;
	if ((__u32)word == (pool->client | LFPOOL_WORD_EXPORTED) &&
	    __atomic_compare_exchange_n(&desc->word, &word,
					((word & DEPOT_GEN_MASK) + DEPOT_GEN_ONE) | pool->client,
					0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return 0;
	return -ESTALE;
}

/* Straight to the back end, past the cache; it counts it, and wakes who waits. */
static int release_one(struct lfpool *pool, __u32 i)
{
	LFPOOL_INJECT(33);
	return pool->ops->release(pool, &i, 1, LFPOOL_RELEASE_PUT);
}

/* Only what the pool did not give: from the heap, or not ours at all. */
static int put_foreign(struct lfpool *pool, struct lfpool_slot *s, void *buffer)
{
	int err = pool->flags & LFPOOL_OPEN_FALLBACK ? lfp_heap_put(pool, buffer) : -EINVAL;

	if (err)
		return err;
	if (s && !LFPOOL_READ(s->busy)) {
		LFPOOL_WRITE(s->busy, 1);
		count_up(&s->puts, 1);
		leave_slot(s);
	} else {
		__atomic_fetch_add(&pool->depot.shared->puts, 1, __ATOMIC_RELAXED);
	}
	return 0;
}

/* For who cannot attach: no memory. */
static int put_direct(struct lfpool *pool, void *buffer)
{
	uintptr_t i = lfp_index(pool, buffer);
	int err;

	err = lfp_usable(pool);
	if (err)
		return err;
	if (i >= pool->depot.count)
		return put_foreign(pool, NULL, buffer);
	err = claim(pool, i);
	return err ? err : release_one(pool, i);
}

/*
 * Buffers went into the depot: who waits must be told, as it may have looked
 * there before. A full barrier stands between our swap of the head and our load
 * of waiters; on x86 the swap is one. Its partner stands in the back end's wait,
 * between its count of waiters and its look at the depot. So it sees the batch,
 * or we see it.
 */
void lfp_wake_waiters(struct lfpool *pool)
{
#if defined(__x86_64__)
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
	if (LFPOOL_UNLIKELY(LFPOOL_READ(pool->depot.shared->waiters)))
		pool->ops->wake(pool);
}

/* The cold half of a full cache becomes a batch. */
static unsigned int flush(struct thread *th, unsigned int n)
{
	unsigned int batch = th->pool->info.batch;
	struct lfpool_slot *s = th->slot;

	/* a peer may have written anything there; it must not lead */
	if (LFPOOL_UNLIKELY(LFPOOL_READ(s->item[0]) >= th->pool->depot.count)) {
		LFPOOL_WRITE(s->item[0], LFPOOL_READ(s->item[n - 1]));
		LFPOOL_WRITE(s->n, n - 1);
		return n - 1;
	}
	depot_push(&th->pool->depot, s, s->item, batch);
	LFPOOL_INJECT(25);
	depot_copy(s->item, s->item + batch, n - batch);
	LFPOOL_WRITE(s->n, n - batch);
	count_up(&s->flushes, 1);
	LFPOOL_INJECT(26);
	return n - batch;
}

int lfpool_thread_put_slow(struct lfpool_thread *t, void *buffer)
{
	struct thread *th = (struct thread *)t;
	struct lfpool *pool = th->pool;
	bool flushed = false;
	struct lfpool_slot *s;
	unsigned int n;
	uintptr_t i;
	int err;

	err = lfp_enter(th);
	if (err)
		return err;
	s = th->slot;
	i = lfp_index(pool, buffer);
	if (i >= pool->depot.count)
		return put_foreign(pool, s, buffer);
	err = claim(pool, i);
	if (err)
		return err;
	LFPOOL_INJECT(32);
	if (!enter_slot(s))
		return release_one(pool, i);

	n = LFPOOL_READ(s->n);
	if (n > LFPOOL_CACHE_MAX)
		n = LFPOOL_CACHE_MAX;
	if (n && LFPOOL_READ(s->item[n - 1]) == i) {
		leave_slot(s);
		return -EALREADY;
	}
	if (LFPOOL_READ(pool->depot.shared->waiters)) {
		leave_slot(s);
		return release_one(pool, i);
	}
	while (n >= t->full) {
		n = flush(th, n);
		flushed = true;
	}
	LFPOOL_WRITE(s->item[n], (__u32)i);
	LFPOOL_WRITE(s->n, n + 1);
	count_up(&s->puts, 1);
	leave_slot(s);
	if (flushed)
		lfp_wake_waiters(pool);
	return 0;
}

int lfpool_put(struct lfpool *pool, void *buffer)
{
	struct thread *th = lfp_self(pool);

	if (LFPOOL_UNLIKELY(!th))
		return errno == ENOMEM ? put_direct(pool, buffer) : -errno;
	return lfpool_thread_put(&th->t, buffer);
}
