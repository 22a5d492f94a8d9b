// SPDX-License-Identifier: GPL-2.0-only
/*
 * lfpool: statistics and the audit's front end.
 *
 * A thread counts in its own slot, with plain stores. A slot that goes away is
 * folded into its client, a client that goes away into its pool; the pool's
 * total is the sum of all three. Counters only grow, so that a reset needs to
 * write to no slot: it remembers the totals, and reports go from there.
 */
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include "internal.h"

static void add_slot(struct lfpool_counters *c, const struct lfpool_slot *s)
{
	c->gets += READ_ONCE(s->gets);
	c->puts += READ_ONCE(s->puts);
	c->misses += READ_ONCE(s->misses);
	c->allocations += READ_ONCE(s->allocations);
	c->cas_retries += READ_ONCE(s->cas_retries);
	c->refills += READ_ONCE(s->refills);
	c->flushes += READ_ONCE(s->flushes);
}

static void add_counters(struct lfpool_counters *c, const struct lfpool_counters *more)
{
	c->gets += more->gets;
	c->puts += more->puts;
	c->misses += more->misses;
	c->allocations += more->allocations;
	c->cas_retries += more->cas_retries;
	c->refills += more->refills;
	c->flushes += more->flushes;
}

/**
 * lfpool_stats_fold_slot - keep the counters of a slot that goes away
 * @client: whose it is; the caller holds the pool's lock
 * @slot:   its number
 */
void lfpool_stats_fold_slot(struct lfpool_client *client, u32 slot)
{
	lockdep_assert_held(&client->pool->lock);
	add_slot(&client->folded, &client->pool->view.slots[slot]);
}

/* What a client counted, but for its living slots. */
static void add_client(struct lfpool_counters *c, struct lfpool_client *client)
{
	add_counters(c, &client->folded);
	c->gets += atomic64_read(&client->gets);
	c->puts += atomic64_read(&client->puts);
	c->misses += atomic64_read(&client->misses);
}

/**
 * lfpool_stats_fold_client - keep the counters of a client that goes away
 * @client: the client, whose slots were folded; the caller holds the pool's lock
 */
void lfpool_stats_fold_client(struct lfpool_client *client)
{
	lockdep_assert_held(&client->pool->lock);
	add_client(&client->pool->folded, client);
}

/**
 * lfpool_stats_client - what a client counted since its mmap
 * @client: the client; the caller holds the pool's lock
 * @c:      out
 */
void lfpool_stats_client(struct lfpool_client *client, struct lfpool_counters *c)
{
	struct lfpool_pool *pool = client->pool;
	u32 s;

	lockdep_assert_held(&pool->lock);
	memset(c, 0, sizeof(*c));
	add_client(c, client);
	for (s = 0; s < pool->max_threads; s++) {
		if (pool->owner[s] == client->id)
			add_slot(c, &pool->view.slots[s]);
	}
}

/* Everything that was counted since load. The caller holds the lock. */
static void totals(struct lfpool_pool *pool, struct lfpool_counters *c)
{
	struct lfpool_client *client;
	u32 s;

	*c = pool->folded;
	c->allocations += READ_ONCE(pool->view.depot->allocations);
	c->puts += READ_ONCE(pool->view.depot->puts);
	list_for_each_entry(client, &pool->clients, node)
		add_client(c, client);
	for (s = 0; s < pool->max_threads; s++) {
		if (pool->owner[s])
			add_slot(c, &pool->view.slots[s]);
	}
}

/**
 * lfpool_stats_fixed - say what never changes
 * @pool:  the pool
 * @stats: out: its geometry
 */
void lfpool_stats_fixed(const struct lfpool_pool *pool, struct lfpool_stats *stats)
{
	stats->buffer_size = pool->buffer_size;
	stats->stride = pool->stride;
	stats->buffer_count = pool->buffer_count;
	stats->max_count = pool->max_count;
}

/**
 * lfpool_stats_read - say what happened
 * @pool:  the pool
 * @stats: out: all but size, flags and what never changes
 * @walk:  count what is in the depot: without it, available and in_use are wrong
 *
 * Return: 0, or -EINTR if the caller is being killed.
 */
int lfpool_stats_read(struct lfpool_pool *pool, struct lfpool_stats *stats, bool walk)
{
	struct lfpool_counters c;
	u64 cached = 0;
	u64 depot = 0;
	u64 free;
	u32 s;

	if (mutex_lock_killable(&pool->lock))
		return -EINTR;
	totals(pool, &c);
	for (s = 0; s < pool->max_threads; s++) {
		if (pool->owner[s])
			cached += min_t(u32, READ_ONCE(pool->view.slots[s].n), LFPOOL_CACHE_MAX);
	}
	if (walk)
		depot = lfpool_count_depot(&pool->view);

	stats->capacity = pool->capacity;
	stats->cached = cached;
	stats->reserve = atomic_read(&pool->reserve);
	stats->quarantined = atomic_read(&pool->quarantined);
	/* the parts were not read at one moment: the sum must still hold */
	free = stats->reserve + depot + cached;
	stats->available = min(free, stats->capacity - stats->quarantined);
	stats->in_use = stats->capacity - stats->quarantined - stats->available;
	stats->peak_granted = atomic_read(&pool->peak_granted);

	stats->pool_hits = c.gets - pool->base.gets;
	stats->pool_misses = c.misses - pool->base.misses;
	stats->deallocations = c.puts - pool->base.puts;
	stats->grown = c.grown - pool->base.grown;
	stats->allocations = c.allocations - pool->base.allocations + stats->grown;
	stats->cas_retries = c.cas_retries - pool->base.cas_retries;
	stats->refills = c.refills - pool->base.refills;
	stats->flushes = c.flushes - pool->base.flushes;
	stats->scavenged = c.scavenged - pool->base.scavenged;
	stats->reclaimed = c.reclaimed - pool->base.reclaimed;
	stats->clients = pool->nr_clients;
	stats->threads = pool->threads;
	mutex_unlock(&pool->lock);

	stats->hit_rate_ppm = 0;
	if (stats->pool_hits && stats->pool_hits + stats->pool_misses >= stats->pool_hits)
		stats->hit_rate_ppm = mul_u64_u64_div_u64(stats->pool_hits, 1000000,
							  stats->pool_hits + stats->pool_misses);
	return 0;
}

/**
 * lfpool_stats_reset - count from zero
 * @pool: the pool
 *
 * Return: 0, or -EINTR if the caller is being killed.
 */
int lfpool_stats_reset(struct lfpool_pool *pool)
{
	if (mutex_lock_killable(&pool->lock))
		return -EINTR;
	totals(pool, &pool->base);
	atomic_set(&pool->peak_granted, 0);
	/* raises the peak to what is granted now, or is being granted */
	lfpool_granted_add(pool, 0);
	mutex_unlock(&pool->lock);
	return 0;
}

/**
 * lfpool_compare_ids - for sort(): ids of clients, ascending
 * @a: one
 * @b: the other
 */
int lfpool_compare_ids(const void *a, const void *b)
{
	u32 x = *(const u32 *)a;
	u32 y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

/*
 * An array for the ids of all clients, those that wait for their recovery, too:
 * they hold their buffers still. Allocated without the lock, for which mmap
 * waits; taken with it on success.
 */
static u32 *lock_with_ids(struct lfpool_pool *pool)
{
	struct lfpool_client *client;
	u32 room = 0;
	u32 *ids;
	u32 n;

	for (;;) {
		ids = kvmalloc_array(room + 1, sizeof(*ids), GFP_KERNEL_ACCOUNT);
		if (!ids)
			return ERR_PTR(-ENOMEM);
		if (mutex_lock_killable(&pool->lock)) {
			kvfree(ids);
			return ERR_PTR(-EINTR);
		}
		n = 0;
		list_for_each_entry(client, &pool->clients, node)
			n++;
		if (n <= room)
			return ids;
		mutex_unlock(&pool->lock);
		kvfree(ids);
		/* and some that come meanwhile */
		room = n + n / 8 + 8;
	}
}

/**
 * lfpool_audit_read - find every buffer
 * @pool:  the pool
 * @audit: out: all but size and flags
 *
 * Return: 0, -ENOMEM, or -EINTR if the caller is being killed.
 */
int lfpool_audit_read(struct lfpool_pool *pool, struct lfpool_audit *audit)
{
	u32 *ids = lock_with_ids(pool);
	struct lfpool_client *client;
	u64 late;
	u32 n = 0;

	if (IS_ERR(ids))
		return PTR_ERR(ids);
	list_for_each_entry(client, &pool->clients, node)
		ids[n++] = client->id;
	/* they are given out in this order, until they were all used once */
	if (pool->wrapped)
		sort(ids, n, sizeof(*ids), lfpool_compare_ids, NULL);

	/* what R1 put off may be no living journal's any more: not lost, but late */
	if (pool->deferred)
		lfpool_recover_look(pool);
	pool->view.clients = ids;
	pool->view.clients_nr = n;
	lfpool_audit(&pool->view, audit);
	pool->view.clients = NULL;
	pool->view.clients_nr = 0;

	/* each leader that is put off explains a batch, and no more */
	late = min(audit->lost, (u64)pool->deferred * LFPOOL_BATCH_MAX);
	audit->transit += late;
	audit->lost -= late;
	audit->quarantined = atomic_read(&pool->quarantined);
	audit->reserve -= min(audit->reserve, audit->quarantined);
	mutex_unlock(&pool->lock);
	kvfree(ids);
	return 0;
}
