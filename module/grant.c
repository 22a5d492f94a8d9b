// SPDX-License-Identifier: GPL-2.0-only
/*
 * lfpool: buffers to clients and back: grant, exhaustion, scavenge, waiting.
 *
 * A client asks when its depot is dry. It gets, in this order: what is in the
 * reserve; what came into the depot meanwhile; what the dead had and could not
 * be taken back at once; what idle threads have in their caches; what the pool
 * can grow by; else ENOBUFS.
 *
 * Scavenge. A thread works on its cache without a fence or an atomic:
 *
 *	thread				kernel
 *	busy = 1			revoked = 1
 *	(A) compiler barrier		(B) every CPU passes a full barrier
 *	if (revoked) slow path		if (!busy) the cache is the kernel's
 *	work on the cache		take it
 *	(C) busy = 0, release		(D) busy is loaded with acquire
 *
 * (A) pairs with (B): of the two loads at least one sees the other's store, as
 * if the thread had a full barrier between its own two (an asymmetric Dekker
 * protocol; membarrier(2) is the same idea). (C) pairs with (D): when the
 * kernel sees busy gone, it sees all that was done to the cache before.
 *
 * Waiting. A waiter sets depot->waiters and makes every CPU pass a full
 * barrier before it looks; a put loads waiters after it stored busy. So the
 * waiter finds the buffer in the cache, or the put sees the waiter and hands
 * the buffer to the kernel, or the waiter finds the thread busy: then it looks
 * again soon (LFPOOL_BUSY_POLL_MS), since that thread may be stopped half-way.
 * As long as depot->waiters is not zero, the barrier of the first waiter, once
 * it is over, serves those who come after it.
 */
#include <linux/bitmap.h>
#include <linux/nospec.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/smp.h>
#include "compat.h"
#include "internal.h"
#include "trace.h"

/* how often a waiter looks again at threads that it found busy */
#define LFPOOL_BUSY_POLL_MS	10
/* how often a REFILL waits for the recovery before the pool is exhausted */
#define LFPOOL_SETTLES		4

static void full_barrier(void *unused)
{
	smp_mb(); /* (B) */
}

static void barrier_all_cpus(void)
{
	on_each_cpu(full_barrier, NULL, 1);
}

/*
 * Is there a buffer in the slot's cache, or may there be one in a moment? busy
 * first: a put that ends in between must not be missed.
 */
static bool may_have(const struct lfpool_slot *s, bool *busy)
{
	/* pairs with (C) */
	*busy = smp_load_acquire(&s->busy);
	return *busy || READ_ONCE(s->n);
}

/*
 * Take the caches of threads that are not using them right now, until the
 * reserve has something. Returns how many threads were busy with a buffer that
 * could be had later.
 */
static u32 scavenge(struct lfpool_pool *pool)
{
	struct lfpool_view *v = &pool->view;
	u32 candidates = 0;
	u32 busy = 0;
	u32 taken = 0;
	bool in_use;
	u32 s;

	for (s = 0; s < pool->max_threads; s++) {
		if (!pool->owner[s] || !may_have(&v->slots[s], &in_use))
			continue;
		WRITE_ONCE(v->slots[s].revoked, 1);
		candidates++;
	}
	if (!candidates)
		return 0;
	barrier_all_cpus(); /* (B) */
	for (s = 0; s < pool->max_threads; s++) {
		if (!pool->owner[s] || !READ_ONCE(v->slots[s].revoked))
			continue;
		/* (D) */
		if (smp_load_acquire(&v->slots[s].busy))
			busy++;
		else if (!taken)
			taken += lfpool_drain_cache(v, s, pool->owner[s]);
		/*
		 * The thread may work on its cache again; what was done to it
		 * must be visible first.
		 */
		smp_store_release(&v->slots[s].revoked, 0);
	}
	if (taken) {
		pool->folded.scavenged += taken;
		lfpool_settle(pool, false);
		trace_scavenge(pool, taken);
	}
	return busy;
}

/*
 * The reserve is empty: look everywhere else. @busy is how many threads could
 * not be looked at; it stays as it was if that was not tried.
 */
static u32 grant_exhausted(struct lfpool_pool *pool, u32 *items, u32 n, u32 *grown, u32 *busy)
{
	u32 got;

	mutex_lock(&pool->lock);
	/* who held the lock may have filled it: recovery, another one like us */
	got = lfpool_reserve_take(pool, items, n);
	if (!got && lfpool_drain_depot(&pool->view)) {
		lfpool_settle(pool, false);
		got = lfpool_reserve_take(pool, items, n);
	}
	/* nobody need be interrupted for orphans and for what is pinned no more */
	if (!got && (pool->deferred || atomic_read(&pool->quarantined))) {
		if (pool->deferred)
			lfpool_recover_look(pool);
		lfpool_quarantine_scan(pool);
		got = lfpool_reserve_take(pool, items, n);
	}
	if (!got) {
		*busy = scavenge(pool);
		got = lfpool_reserve_take(pool, items, n);
	}
	if (!got && lfpool_pool_grow(pool, items)) {
		pool->folded.grown++;
		trace_grow(pool, 1);
		*grown = 1;
		got = 1;
	}
	mutex_unlock(&pool->lock);
	return got;
}

static int grant_once(struct lfpool_client *client, u32 *items, u32 n, u32 flags, u32 *grown,
		      u32 *busy)
{
	struct lfpool_pool *pool = client->pool;
	u32 mark = flags & LFPOOL_REFILL_FREE ? LFPOOL_WORD_FREE : 0;
	u32 got, k;

	*grown = 0;
	down_read(&client->rwsem);
	if (client->dead) {
		up_read(&client->rwsem);
		return -ENXIO;
	}
	got = lfpool_reserve_take(pool, items, n);
	if (!got)
		got = grant_exhausted(pool, items, n, grown, busy);
	for (k = 0; k < got; k++) {
		u64 *word = &pool->view.descs[items[k]].word;

		WRITE_ONCE(*word, (READ_ONCE(*word) & ~0xffffffffULL) | mark | client->id);
		/* the word before the bit: the buffer is always somebody's */
		smp_mb__before_atomic();
		clear_bit(items[k], pool->kernel);
	}
	/* the worker folds what a dead client counted: not later than this */
	if (got && flags & LFPOOL_REFILL_GET) {
		atomic64_add(*grown, &client->misses);
		atomic64_add(got - *grown, &client->gets);
	}
	up_read(&client->rwsem);
	if (got)
		trace_grant(pool, client->id, got);
	return got;
}

/* A get that went straight to the kernel found nothing there. */
static void count_miss(struct lfpool_client *client)
{
	down_read(&client->rwsem);
	if (!client->dead)
		atomic64_inc(&client->misses);
	up_read(&client->rwsem);
}

/*
 * Have those been recovered who were dying when @round was pool->rounds? The
 * round under way then may have begun before they died; the one after it did
 * not. Who dies later makes nobody wait longer.
 */
static bool recovered(struct lfpool_pool *pool, u32 round)
{
	return !atomic_read(&pool->dying) || READ_ONCE(pool->rounds) - round >= 2;
}

/**
 * lfpool_grant - give free buffers to a client
 * @client: who asks
 * @items:  where their indices go
 * @n:      how many at most
 * @flags:  LFPOOL_REFILL_*
 * @grown:  out: how many of them the pool grew by
 *
 * Buffers of clients that died count as free: it waits for the worker, LFPOOL_SETTLES
 * times at most. Once is enough for those of clients that died before the call; but
 * others may be faster, and die with what they got.
 *
 * Return: how many, at least 1, or -ENOBUFS, or -ENXIO if the client is dead,
 * or -EINTR if the caller is being killed.
 */
int lfpool_grant(struct lfpool_client *client, u32 *items, u32 n, u32 flags, u32 *grown)
{
	struct lfpool_pool *pool = client->pool;
	u32 busy = 0, tries;
	int got;

	for (tries = 0; ; tries++) {
		/* before the look: the recovery may end while we look */
		u32 round = READ_ONCE(pool->rounds);
		bool dying = atomic_read(&pool->dying);

		got = grant_once(client, items, n, flags, grown, &busy);
		if (got)
			return got;
		if (!dying || tries == LFPOOL_SETTLES)
			break;
		/* not under client->rwsem, which the worker may want */
		if (wait_event_killable(pool->settled, recovered(pool, round)))
			return -EINTR;
	}
	if (flags & LFPOOL_REFILL_GET)
		count_miss(client);
	trace_exhausted(pool, client->id, n);
	return -ENOBUFS;
}

/* Take one buffer from a client. */
static int release_one(struct lfpool_client *client, u32 i)
{
	struct lfpool_pool *pool = client->pool;
	u64 *word = &pool->view.descs[i].word;
	u64 old = READ_ONCE(*word);
	/* the next life has another generation */
	u64 new = ((old >> LFPOOL_WORD_GEN_SHIFT) + 1) << LFPOOL_WORD_GEN_SHIFT;
	int err = 0;

	if ((old & LFPOOL_WORD_OWNER) != client->id)
		return -ESTALE;
	/* between word and bit the buffer is in no place that an audit knows */
	preempt_disable();
	if (cmpxchg(word, old, new | LFPOOL_OWNER_RESERVE) != old) {
		/* imported by another client at this moment */
		err = -ESTALE;
	} else if (test_and_set_bit(i, pool->kernel)) {
		/* a forged word: the kernel has it already */
		err = -ESTALE;
	} else if (!test_bit(i, pool->present)) {
		/* a forged word; after the bit, for the shrinker's sake */
		clear_bit(i, pool->kernel);
		err = -ESTALE;
	}
	preempt_enable();
	if (!err)
		lfpool_reserve_add(pool, i);
	return err;
}

/**
 * lfpool_release - take buffers back from a client
 * @client: who holds them
 * @items:  their indices, as user space gave them
 * @n:      how many
 * @flags:  LFPOOL_RELEASE_*
 * @moved:  out: how many were taken
 *
 * Return: 0; -EINVAL (an index that cannot be) or -ESTALE (a buffer that is
 * not the client's, or named twice), and nothing was taken, but for buffers
 * beside one that another client imports at this moment; -ENXIO if the client
 * is dead.
 */
int lfpool_release(struct lfpool_client *client, const u32 *items, u32 n, u32 flags, u32 *moved)
{
	struct lfpool_pool *pool = client->pool;
	int err = 0;
	u32 i, j, k;

	*moved = 0;
	for (k = 0; k < n; k++) {
		if (items[k] >= pool->max_count)
			return -EINVAL;
	}
	down_read(&client->rwsem);
	if (client->dead)
		err = -ENXIO;
	/* all of them or none */
	for (k = 0; k < n && !err; k++) {
		i = array_index_nospec(items[k], pool->max_count);
		if ((READ_ONCE(pool->view.descs[i].word) & LFPOOL_WORD_OWNER) != client->id ||
		    !test_bit(i, pool->present) || test_bit(i, pool->kernel))
			err = -ESTALE;
		for (j = 0; j < k && !err; j++) {
			if (items[j] == items[k])
				err = -ESTALE;
		}
	}
	if (!err) {
		for (k = 0; k < n; k++) {
			i = array_index_nospec(items[k], pool->max_count);
			if (release_one(client, i))
				err = -ESTALE;
			else
				(*moved)++;
		}
		/* as in grant_once() */
		if (flags & LFPOOL_RELEASE_PUT)
			atomic64_add(*moved, &client->puts);
	}
	up_read(&client->rwsem);
	return err;
}

/*
 * Waiters
 */

/*
 * Tell the puts; the caller holds wait_lock. An episode is the time from when
 * somebody waits until nobody does.
 */
static void waiters_publish(struct lfpool_pool *pool)
{
	u32 told = pool->waiters + pool->polled;

	/* the shared copy may have been written to by anybody */
	if (told && !pool->told)
		pool->episode++;
	pool->told = told;
	WRITE_ONCE(pool->view.depot->waiters, told);
}

/*
 * Have every put that did not see the waiters be seen to be busy. Once in an
 * episode is enough: the puts after that find the count to be not zero.
 *
 * @episode is the one of the caller's waiters_publish(). By the time that this
 * is over another one may have begun, which its first waiter must fence itself.
 */
static void waiters_fence(struct lfpool_pool *pool, u64 episode, bool fenced)
{
	if (fenced) {
		/* as strong as the other way; wait_lock passed the fence on to us */
		smp_mb();
		return;
	}
	/* pairs with the put's store of busy before its load of waiters */
	barrier_all_cpus();
	spin_lock(&pool->wait_lock);
	if (pool->episode == episode)
		pool->fenced = episode;
	spin_unlock(&pool->wait_lock);
}

static void waiters_add(struct lfpool_pool *pool)
{
	u64 episode;
	bool fenced;

	spin_lock(&pool->wait_lock);
	pool->waiters++;
	waiters_publish(pool);
	episode = pool->episode;
	fenced = pool->fenced == episode;
	spin_unlock(&pool->wait_lock);
	waiters_fence(pool, episode, fenced);
}

static void waiters_sub(struct lfpool_pool *pool)
{
	spin_lock(&pool->wait_lock);
	pool->waiters--;
	waiters_publish(pool);
	spin_unlock(&pool->wait_lock);
}

/**
 * lfpool_wake - there is a free buffer: wake one waiter, and all who poll
 * @pool: the pool
 */
void lfpool_wake(struct lfpool_pool *pool)
{
	/* who polled may be gone by now: puts need not come here for nobody */
	if (READ_ONCE(pool->polled)) {
		spin_lock(&pool->wait_lock);
		WRITE_ONCE(pool->polled, false);
		waiters_publish(pool);
		spin_unlock(&pool->wait_lock);
	}
	/*
	 * The buffer is there before the queues are looked at. All pollers,
	 * those of EPOLLEXCLUSIVE, too: the next put tells nobody, since @polled
	 * was theirs together, and one who is woken need not take the buffer.
	 */
	if (wq_has_sleeper(&pool->pollers))
		__wake_up(&pool->pollers, TASK_INTERRUPTIBLE, 0,
			  poll_to_key(EPOLLIN | EPOLLRDNORM));
	if (wq_has_sleeper(&pool->wait))
		wake_up_interruptible(&pool->wait);
}

/**
 * lfpool_look_work - let who polls look again
 * @work: &struct lfpool_pool.look
 */
void lfpool_look_work(struct work_struct *work)
{
	lfpool_wake(container_of(to_delayed_work(work), struct lfpool_pool, look));
}

/**
 * lfpool_poll - would a get succeed?
 * @pool: the pool; the caller is on its wait queue already
 *
 * Whether or not, the next put wakes the queue: who waits for edges (EPOLLET)
 * takes what there is now, and does not ask again before it is woken.
 */
bool lfpool_poll(struct lfpool_pool *pool)
{
	struct lfpool_view *v = &pool->view;
	bool ready = false;
	bool busy = false;
	bool in_use, fenced;
	u64 episode;
	u32 s;

	spin_lock(&pool->wait_lock);
	/* looked at without the lock by who wakes */
	WRITE_ONCE(pool->polled, true);
	waiters_publish(pool);
	episode = pool->episode;
	fenced = pool->fenced == episode;
	spin_unlock(&pool->wait_lock);
	waiters_fence(pool, episode, fenced);

	mutex_lock(&pool->lock);
	/* who gets next finds out if what the head names is a batch */
	if (atomic_read(&pool->reserve) || pool->capacity < pool->max_count ||
	    (READ_ONCE(v->depot->head) & LFPOOL_HEAD_INDEX) < v->count)
		ready = true;
	for (s = 0; s < pool->max_threads; s++) {
		if (!pool->owner[s] || !may_have(&v->slots[s], &in_use))
			continue;
		if (in_use)
			busy = true;
		else
			ready = true;
	}
	mutex_unlock(&pool->lock);
	/* as a waiter: its thread may have looked before we came */
	if (busy)
		queue_delayed_work(system_unbound_wq, &pool->look,
				   msecs_to_jiffies(LFPOOL_BUSY_POLL_MS));
	return ready;
}

/* wait_woken() with a timer that ends when it is told to, not jiffies later. */
static void wait_woken_until(struct wait_queue_entry *wait, ktime_t *end)
{
	/* pairs with the barrier in woken_wake_function() */
	set_current_state(TASK_INTERRUPTIBLE);
	if (!(wait->flags & WQ_FLAG_WOKEN))
		schedule_hrtimeout_range(end, current->timer_slack_ns, HRTIMER_MODE_ABS);
	__set_current_state(TASK_RUNNING);
	/* what woke us is seen by the look that follows */
	smp_store_mb(wait->flags, wait->flags & ~WQ_FLAG_WOKEN);
}

/**
 * lfpool_wait - wait for one buffer
 * @client:     who asks
 * @timeout_ns: how long at most; < 0 for ever; out: what a signal left of it
 * @item:       out: the buffer
 * @grown:      out: 1 if the pool grew for it
 *
 * Return: 0, -ETIMEDOUT, -ERESTARTNOHAND for a signal, or -ENXIO if the client
 * is dead.
 */
int lfpool_wait(struct lfpool_client *client, s64 *timeout_ns, u32 *item, u32 *grown)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	struct lfpool_pool *pool = client->pool;
	/* a sum that overflows is the end of time */
	ktime_t end = *timeout_ns < 0 ? KTIME_MAX : ktime_add_safe(ktime_get(), *timeout_ns);
	bool settled = false;
	u32 busy = 0;
	int got;

	add_wait_queue_exclusive(&pool->wait, &wait);
	waiters_add(pool);
	for (;;) {
		u32 round = READ_ONCE(pool->rounds);
		bool dying = atomic_read(&pool->dying);
		ktime_t again;

		got = grant_once(client, item, 1, 0, grown, &busy);
		if (got)
			break;
		if (signal_pending(current)) {
			/* a stop, the freezer or a debugger: the wait goes on */
			got = -ERESTARTNOHAND;
			if (*timeout_ns > 0)
				*timeout_ns = max_t(s64, ktime_sub(end, ktime_get()), 0);
			break;
		}
		if (ktime_compare(ktime_get(), end) >= 0) {
			if (settled || !dying) {
				got = -ETIMEDOUT;
				break;
			}
			/*
			 * As in lfpool_grant(); before the time is over the
			 * worker wakes us.
			 */
			settled = true;
			wait_event_interruptible(pool->settled, recovered(pool, round));
			continue;
		}
		again = end;
		if (busy) {
			again = ktime_add_ms(ktime_get(), LFPOOL_BUSY_POLL_MS);
			if (ktime_compare(end, again) < 0)
				again = end;
		}
		wait_woken_until(&wait, again == KTIME_MAX ? NULL : &again);
	}
	waiters_sub(pool);
	remove_wait_queue(&pool->wait, &wait);
	/*
	 * A wake-up that came for us when we needed it no more is the next one's.
	 * So is it to look again at threads that were busy when we did: they may
	 * have popped what we were woken for, and keep some of it.
	 */
	if (atomic_read(&pool->reserve) || busy)
		lfpool_wake(pool);
	return min(got, 0);
}
