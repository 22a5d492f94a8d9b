// SPDX-License-Identifier: GPL-2.0-only
/*
 * lfpool: a pool's memory: folios, the reserve, growth, quarantine, shrinker.
 *
 * The reserve is an array of llists, one for each LFPOOL_SHARD buffers. Adding
 * is llist_add(), taking is llist_del_all() of one list; neither needs a lock,
 * whoever else adds or takes (llist.h has the table). A taker keeps what it
 * needs and adds the rest back. As a list never holds more than LFPOOL_SHARD
 * buffers, that walk is short however large the pool is.
 *
 * A taker that finds every list empty may have looked while another one held
 * buffers that it adds back. So pool->reserve counts a buffer from before it is
 * listed until after somebody decided to keep it, and neither is preempted
 * half-way: who finds nothing although the count is not zero looks again.
 *
 * pool->kernel has a bit for each buffer that is the kernel's. Who turns it on
 * owns the buffer, and may list it; it is turned off by who took the buffer from
 * its list, or finds that the buffer is not there. Hence no node is ever listed
 * twice, whatever user space claims.
 */
#include <linux/bitmap.h>
#include <linux/gfp.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "compat.h"
#include "internal.h"
#include "trace.h"

static u32 folio_of(const struct lfpool_pool *pool, u32 i)
{
	return i / pool->per_folio;
}

/*
 * The reserve
 */

/* Put a buffer on its list; pool->kernel says already that it is ours. */
static void reserve_link(struct lfpool_pool *pool, u32 i)
{
	/* a taker may spin on the count until the buffer is listed */
	preempt_disable();
	atomic_inc(&pool->reserve);
	/* counted before it is listed; llist_add() is a full barrier */
	llist_add(&pool->nodes[i], &pool->shards[i / LFPOOL_SHARD]);
	preempt_enable();
	lfpool_wake(pool);
}

/**
 * lfpool_granted_add - count buffers that leave the reserve, and the peak
 * @pool: the pool
 * @n:    how many
 */
void lfpool_granted_add(struct lfpool_pool *pool, u32 n)
{
	int granted = atomic_add_return(n, &pool->granted);
	int peak = atomic_read(&pool->peak_granted);

	while (peak < granted && !atomic_try_cmpxchg(&pool->peak_granted, &peak, granted))
		;
}

/**
 * lfpool_reserve_add - add a buffer to the reserve
 * @pool: the pool
 * @i:    the buffer, for which the caller has turned on its bit in pool->kernel
 */
void lfpool_reserve_add(struct lfpool_pool *pool, u32 i)
{
	atomic_dec(&pool->granted);
	reserve_link(pool, i);
}

/* Keep up to @n buffers of one list, add the rest back. */
static u32 shard_take(struct lfpool_pool *pool, u32 shard, u32 *items, u32 n)
{
	struct llist_node *node, *last;
	u32 got = 0;

	preempt_disable();
	node = llist_del_all(&pool->shards[shard]);
	while (node && got < n) {
		items[got++] = node - pool->nodes;
		node = node->next;
	}
	if (node) {
		for (last = node; last->next; last = last->next)
			;
		llist_add_batch(node, last, &pool->shards[shard]);
	}
	/* what was added back is visible before the count drops */
	smp_mb__before_atomic();
	atomic_sub(got, &pool->reserve);
	preempt_enable();
	return got;
}

/**
 * lfpool_reserve_take - take buffers from the reserve
 * @pool:  the pool
 * @items: where their indices go
 * @n:     how many at most
 *
 * The caller owns them, and turns off their bits in pool->kernel. Return: how
 * many were taken; 0 only if there was none at some moment during the call.
 */
u32 lfpool_reserve_take(struct lfpool_pool *pool, u32 *items, u32 n)
{
	u32 got = 0;

	while (!got && atomic_read(&pool->reserve)) {
		u32 shard = READ_ONCE(pool->hint);
		u32 k;

		for (k = 0; k < pool->nr_shards && got < n; k++) {
			if (shard >= pool->nr_shards)
				shard = 0;
			if (!llist_empty(&pool->shards[shard]))
				got += shard_take(pool, shard, items + got, n - got);
			if (got < n)
				shard++;
		}
		WRITE_ONCE(pool->hint, shard);
		/* another taker has them in its hands */
		if (!got)
			cpu_relax();
	}
	if (got)
		lfpool_granted_add(pool, got);
	return got;
}

/*
 * Folios
 */

static struct page *folio_alloc_pages(const struct lfpool_pool *pool, gfp_t gfp)
{
	return alloc_pages(gfp | __GFP_ZERO | __GFP_COMP | __GFP_NOWARN | __GFP_RETRY_MAYFAIL,
			   pool->order);
}

/*
 * Does anybody but us and page tables hold the folio? Direct I/O, io_uring and
 * sockets do while they use it, also on behalf of a process that is gone.
 */
static bool folio_pinned_locked(struct folio *folio)
{
	int refs = folio_ref_count(folio);

	/*
	 * References before mappings. Faults map under the folio's lock, which
	 * we have: so mappings can only go meanwhile, which looks like a pin.
	 */
	smp_rmb();
	return refs > lfpool_folio_mapcount(folio) + 1;
}

static bool buffer_pinned(const struct lfpool_pool *pool, u32 i)
{
	struct page *page = pool->folios[folio_of(pool, i)];
	struct folio *folio;
	bool pinned;

	if (!page)
		return false;
	folio = page_folio(page);
	/* a fault is at work on it: look again later */
	if (!folio_trylock(folio))
		return true;
	pinned = folio_pinned_locked(folio);
	folio_unlock(folio);
	return pinned;
}

/**
 * lfpool_pool_grow - make one more buffer
 * @pool: the pool; the caller holds its lock, which is dropped for a while
 * @item: out: its index. The caller owns it, as one taken from the reserve.
 *
 * Return: false if the pool is as large as it may be or memory is short.
 */
bool lfpool_pool_grow(struct lfpool_pool *pool, u32 *item)
{
	u32 i, f;

	lockdep_assert_held(&pool->lock);
	/* a forged release may claim a buffer that is not there, for a moment */
	for_each_clear_bit(i, pool->present, pool->max_count) {
		if (!test_and_set_bit(i, pool->kernel))
			break;
	}
	if (i >= pool->max_count)
		return false;
	f = folio_of(pool, i);
	if (!pool->folios[f]) {
		struct page *page;

		/*
		 * Reclaim may take long, and nobody else need wait for it: the
		 * bit in pool->kernel keeps the buffer ours.
		 */
		mutex_unlock(&pool->lock);
		page = folio_alloc_pages(pool, GFP_KERNEL_ACCOUNT);
		mutex_lock(&pool->lock);
		if (!page && !pool->folios[f]) {
			clear_bit(i, pool->kernel);
			return false;
		}
		if (!pool->folios[f]) {
			/* pairs with the acquire in the fault: the page is zeroed */
			smp_store_release(&pool->folios[f], page);
		} else if (page) {
			put_page(page);
		}
	}
	set_bit(i, pool->present);
	pool->capacity++;
	lfpool_granted_add(pool, 1);
	*item = i;
	return true;
}

/*
 * Recovery's results
 */

/**
 * lfpool_settle - put what the engine took back where it belongs
 * @pool: the pool; the caller holds its lock
 * @dead: it was a dead client's
 *
 * To the reserve. What a client dropped by dying may be the target of I/O that
 * nobody can wait for any more: it goes to quarantine while its pages are held.
 */
void lfpool_settle(struct lfpool_pool *pool, bool dead)
{
	unsigned long *reclaim = pool->view.reclaim;
	u32 i;

	lockdep_assert_held(&pool->lock);
	for_each_set_bit(i, reclaim, pool->max_count) {
		__clear_bit(i, reclaim);
		cond_resched();
		/* spoilt state: the kernel has it already */
		if (test_and_set_bit(i, pool->kernel))
			continue;
		if (dead && buffer_pinned(pool, i)) {
			__set_bit(i, pool->quarantine);
			atomic_inc(&pool->quarantined);
			trace_quarantine(pool, 1);
			atomic_dec(&pool->granted);
		} else {
			lfpool_reserve_add(pool, i);
		}
	}
}

/**
 * lfpool_quarantine_scan - release what nobody pins any more
 * @pool: the pool; the caller holds its lock
 *
 * Return: how many buffers stay in quarantine.
 */
u32 lfpool_quarantine_scan(struct lfpool_pool *pool)
{
	u32 i;

	lockdep_assert_held(&pool->lock);
	if (!atomic_read(&pool->quarantined))
		return 0;
	for_each_set_bit(i, pool->quarantine, pool->max_count) {
		cond_resched();
		if (buffer_pinned(pool, i))
			continue;
		__clear_bit(i, pool->quarantine);
		atomic_dec(&pool->quarantined);
		reserve_link(pool, i);
	}
	return atomic_read(&pool->quarantined);
}

/*
 * Shrinker: under memory pressure the pool goes back towards buffer_count.
 *
 * It does not know memory cgroups: growth is charged to who asked for it, but
 * any pressure of the whole machine shrinks, and a cgroup's own does not.
 */

/* Free a folio, all of whose buffers the caller took from the reserve. */
static bool folio_release(struct lfpool_pool *pool, u32 f)
{
	struct page *page = pool->folios[f];
	loff_t size = PAGE_SIZE << pool->order;

	if (!trylock_page(page))
		return false;
	if (folio_pinned_locked(page_folio(page))) {
		unlock_page(page);
		return false;
	}
	/*
	 * A fault holds the folio's lock until its page table entry is there,
	 * and looks at folios[] under it: either we unmap the entry, or the
	 * fault sees the NULL.
	 */
	WRITE_ONCE(pool->folios[f], NULL);
	unmap_mapping_range(pool->inode->i_mapping, pool->data_offset + f * size, size, 1);
	unlock_page(page);
	put_page(page);
	return true;
}

/*
 * Has the list a folio whose buffers are all in the reserve? A guess, since
 * others take and add meanwhile: who has the list in his hands must add all of
 * it back, which is for nothing in most shards of a pool that is in use.
 */
static bool shard_has_folio(const struct lfpool_pool *pool, u32 shard)
{
	u32 first = shard * LFPOOL_SHARD;
	u32 last = min(first + LFPOOL_SHARD, pool->max_count);
	u32 i, k, n, there;

	for (i = first; i < last; i += pool->per_folio) {
		n = 0;
		there = 0;
		for (k = i; k < min(i + pool->per_folio, last); k++) {
			if (!test_bit(k, pool->present))
				continue;
			there++;
			n += test_bit(k, pool->kernel) && !test_bit(k, pool->quarantine);
		}
		if (n && n == there)
			return true;
	}
	return false;
}

/* Free of one list what can be freed, up to @pages or a bit more. Returns pages. */
static unsigned long shrink_shard(struct lfpool_pool *pool, u32 shard, unsigned long pages)
{
	u32 items[LFPOOL_SHARD];
	DECLARE_BITMAP(taken, LFPOOL_SHARD);
	u32 first = shard * LFPOOL_SHARD;
	unsigned long freed = 0;
	u32 n, k, i;

	bitmap_zero(taken, LFPOOL_SHARD);
	n = shard_take(pool, shard, items, LFPOOL_SHARD);
	for (k = 0; k < n; k++)
		__set_bit(items[k] - first, taken);

	/* a folio's buffers share a list: LFPOOL_SHARD is a multiple of per_folio */
	for (k = 0; k < LFPOOL_SHARD && freed < pages; k += pool->per_folio) {
		u32 end = min(first + k + pool->per_folio, pool->max_count);
		u32 there = 0;

		for (i = first + k; i < end; i++)
			there += test_bit(i, pool->present);
		n = 0;
		for (i = k; i < k + pool->per_folio; i++)
			n += test_bit(i, taken);
		if (!n || n != there || pool->capacity - n < pool->buffer_count ||
		    !folio_release(pool, folio_of(pool, first + k)))
			continue;
		for (i = first + k; i < end; i++) {
			/* one that is not there may be claimed: by who grows the pool */
			if (!test_bit(i - first, taken))
				continue;
			clear_bit(i, pool->present);
			/* pairs with the claim in release: it sees one of the two */
			smp_mb__after_atomic();
			clear_bit(i, pool->kernel);
			__clear_bit(i - first, taken);
		}
		pool->capacity -= n;
		freed += 1UL << pool->order;
	}
	for_each_set_bit(k, taken, LFPOOL_SHARD)
		reserve_link(pool, first + k);
	return freed;
}

static unsigned long shrinker_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct lfpool_pool *pool = lfpool_shrinker_data(shrinker);
	/* only a hint: read without the lock */
	u32 grown = data_race(pool->capacity) - pool->buffer_count;

	grown = min_t(u32, grown, atomic_read(&pool->reserve));
	return ((unsigned long)grown / pool->per_folio) << pool->order;
}

static unsigned long shrinker_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct lfpool_pool *pool = lfpool_shrinker_data(shrinker);
	unsigned long freed = 0;
	u32 shard = pool->nr_shards;

	/* the holder may be growing this very pool */
	if (!mutex_trylock(&pool->lock))
		return SHRINK_STOP;
	while (shard-- && freed < sc->nr_to_scan && pool->capacity > pool->buffer_count) {
		if (shard_has_folio(pool, shard))
			freed += shrink_shard(pool, shard, sc->nr_to_scan - freed);
		cond_resched();
	}
	mutex_unlock(&pool->lock);
	return freed ? freed : SHRINK_STOP;
}

/**
 * lfpool_shrinker_init - let memory pressure shrink the pool
 * @pool: the pool, ready for use
 *
 * Return: 0 or -ENOMEM.
 */
int lfpool_shrinker_init(struct lfpool_pool *pool)
{
	pool->shrinker = lfpool_shrinker_alloc(pool, pool->name);
	if (!pool->shrinker)
		return -ENOMEM;
	pool->shrinker->count_objects = shrinker_count;
	pool->shrinker->scan_objects = shrinker_scan;
	pool->shrinker->seeks = DEFAULT_SEEKS;
	return lfpool_shrinker_register(pool->shrinker, pool->name);
}

/*
 * Making and freeing a pool
 */

/* Where things are in the mapping; see uapi/linux/lfpool.h. */
static void pool_layout(struct lfpool_pool *pool)
{
	pool->slot_offset = 2 * PAGE_SIZE;
	pool->desc_offset = PAGE_ALIGN(pool->slot_offset + (u64)pool->max_threads *
				       sizeof(struct lfpool_slot));
	pool->control_size = PAGE_ALIGN(pool->desc_offset + (u64)pool->max_count *
					sizeof(struct lfpool_desc));
	pool->data_offset = ALIGN(pool->control_size, LFPOOL_DATA_ALIGN);
	pool->mmap_size = pool->data_offset + PAGE_ALIGN((u64)pool->max_count * pool->stride);
}

/**
 * lfpool_pool_info - say what the pool looks like
 * @pool: the pool
 * @info: out: all but the client's id
 */
void lfpool_pool_info(const struct lfpool_pool *pool, struct lfpool_info *info)
{
	*info = (struct lfpool_info) {
		.size = sizeof(*info),
		.abi = LFPOOL_ABI,
		.mmap_size = pool->mmap_size,
		.depot_offset = PAGE_SIZE,
		.slot_offset = pool->slot_offset,
		.desc_offset = pool->desc_offset,
		.data_offset = pool->data_offset,
		.buffer_size = pool->buffer_size,
		.stride = pool->stride,
		.slot_stride = sizeof(struct lfpool_slot),
		.desc_stride = sizeof(struct lfpool_desc),
		.buffer_count = pool->buffer_count,
		.max_count = pool->max_count,
		.max_threads = pool->max_threads,
		.batch = pool->batch,
		.pool_flags = pool->pool_flags,
	};
	strscpy(info->name, pool->name, sizeof(info->name));
}

/* Bring the shared memory into its first state: all free, depot empty. */
static void control_init(struct lfpool_pool *pool)
{
	struct lfpool_view *v = &pool->view;
	u32 i;

	lfpool_pool_info(pool, pool->control);
	v->depot = pool->control + PAGE_SIZE;
	v->slots = pool->control + pool->slot_offset;
	v->descs = pool->control + pool->desc_offset;
	v->depot->head = LFPOOL_NONE;
	for (i = 0; i < pool->max_threads; i++)
		v->slots[i].journal = LFPOOL_NONE;
	for (i = 0; i < pool->max_count; i++)
		v->descs[i].next = LFPOOL_NONE;
}

/**
 * lfpool_pool_free - free what lfpool_pool_init() made, or as much as it made
 * @pool: the pool; nobody uses it any more
 *
 * Pages that are still pinned stay until the last pin drops.
 */
void lfpool_pool_free(struct lfpool_pool *pool)
{
	u32 f;

	lfpool_shrinker_free(pool->shrinker);
	if (pool->folios) {
		for (f = 0; f < DIV_ROUND_UP(pool->max_count, pool->per_folio); f++) {
			if (pool->folios[f])
				put_page(pool->folios[f]);
		}
	}
	kvfree(pool->folios);
	if (pool->pad)
		put_page(pool->pad);
	vfree(pool->control);
	kvfree(pool->nodes);
	kvfree(pool->shards);
	kvfree(pool->owner);
	kvfree(pool->view.word);
	bitmap_free(pool->present);
	bitmap_free(pool->kernel);
	bitmap_free(pool->quarantine);
	bitmap_free(pool->view.chained);
	bitmap_free(pool->view.journaled);
	bitmap_free(pool->view.mark);
	bitmap_free(pool->view.reclaim);
}

/* Allocate the buffers that the pool starts with, all into the reserve. */
static int pool_fill(struct lfpool_pool *pool)
{
	u32 i;

	for (i = 0; i < pool->buffer_count; i++) {
		u32 f = folio_of(pool, i);

		if (!pool->folios[f])
			pool->folios[f] = folio_alloc_pages(pool, GFP_KERNEL);
		if (!pool->folios[f])
			return -ENOMEM;
		__set_bit(i, pool->present);
		__set_bit(i, pool->kernel);
		reserve_link(pool, i);
		pool->capacity++;
		cond_resched();
	}
	return 0;
}

/**
 * lfpool_pool_init - make a pool's memory
 * @pool: zeroed
 * @geo:  its geometry, checked
 *
 * Return: 0 or -ENOMEM; call lfpool_pool_free() in any case.
 */
int lfpool_pool_init(struct lfpool_pool *pool, const struct lfpool_geometry *geo)
{
	struct lfpool_view *v = &pool->view;
	u32 nr_folios;
	u32 s;

	strscpy(pool->name, geo->name, sizeof(pool->name));
	pool->buffer_size = geo->buffer_size;
	pool->buffer_count = geo->buffer_count;
	pool->max_count = geo->max_count;
	pool->max_threads = geo->max_threads;
	pool->batch = geo->batch;
	pool->pool_flags = geo->pool_flags;
	/* at most LFPOOL_SHARD buffers share a folio, on any page size */
	pool->stride = max_t(u32, roundup_pow_of_two(pool->buffer_size),
			     PAGE_SIZE / LFPOOL_SHARD);
	pool->order = get_order(pool->stride);
	pool->per_folio = max(1UL, PAGE_SIZE / pool->stride);
	pool->nr_shards = DIV_ROUND_UP(pool->max_count, LFPOOL_SHARD);
	nr_folios = DIV_ROUND_UP(pool->max_count, pool->per_folio);

	mutex_init(&pool->lock);
	INIT_LIST_HEAD(&pool->clients);
	init_llist_head(&pool->closed);
	INIT_DELAYED_WORK(&pool->work, lfpool_recover_work);
	INIT_DELAYED_WORK(&pool->look, lfpool_look_work);
	init_waitqueue_head(&pool->settled);
	init_waitqueue_head(&pool->wait);
	init_waitqueue_head(&pool->pollers);
	spin_lock_init(&pool->wait_lock);

	/* rather no pool than a machine without memory */
	if (((u64)DIV_ROUND_UP(pool->buffer_count, pool->per_folio) << pool->order) >
	    si_mem_available())
		return -ENOMEM;

	pool_layout(pool);
	pool->control = vmalloc_user(pool->control_size);
	pool->pad = alloc_page(GFP_KERNEL | __GFP_ZERO);
	pool->folios = kvcalloc(nr_folios, sizeof(*pool->folios), GFP_KERNEL);
	pool->nodes = kvcalloc(pool->max_count, sizeof(*pool->nodes), GFP_KERNEL);
	pool->shards = kvcalloc(pool->nr_shards, sizeof(*pool->shards), GFP_KERNEL);
	pool->owner = kvcalloc(pool->max_threads, sizeof(*pool->owner), GFP_KERNEL);
	pool->present = bitmap_zalloc(pool->max_count, GFP_KERNEL);
	pool->kernel = bitmap_zalloc(pool->max_count, GFP_KERNEL);
	pool->quarantine = bitmap_zalloc(pool->max_count, GFP_KERNEL);
	v->word = kvcalloc(pool->max_count, sizeof(*v->word), GFP_KERNEL);
	v->chained = bitmap_zalloc(pool->max_count, GFP_KERNEL);
	v->journaled = bitmap_zalloc(pool->max_count, GFP_KERNEL);
	v->mark = bitmap_zalloc(pool->max_count, GFP_KERNEL);
	v->reclaim = bitmap_zalloc(pool->max_count, GFP_KERNEL);
	if (!pool->control || !pool->pad || !pool->folios || !pool->nodes || !pool->shards ||
	    !pool->owner || !pool->present || !pool->kernel || !pool->quarantine || !v->word ||
	    !v->chained || !v->journaled || !v->mark || !v->reclaim)
		return -ENOMEM;

	v->count = pool->max_count;
	v->threads = pool->max_threads;
	v->present = pool->present;
	v->kernel = pool->kernel;
	v->owner = pool->owner;
	for (s = 0; s < pool->nr_shards; s++)
		init_llist_head(&pool->shards[s]);
	control_init(pool);
	return pool_fill(pool);
}
