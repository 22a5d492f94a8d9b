// SPDX-License-Identifier: MIT
/*
 * Pools: open and close, bulk, prefill, handles, statistics, the guard.
 */
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"

#define OPEN_FLAGS	(LFPOOL_OPEN_EMBEDDED | LFPOOL_OPEN_FALLBACK | LFPOOL_OPEN_CHECKED | \
			 LFPOOL_OPEN_POISON | LFPOOL_OPEN_RDONLY)
#define CREATE_FLAGS	(LFPOOL_OPEN_FALLBACK | LFPOOL_OPEN_CHECKED | LFPOOL_OPEN_POISON)

/* What lfpool_open() makes where the device is absent: the module's defaults. */
static const struct lfpool_config defaults[] = {
	{ .name = "serialization", .buffer_size = 131072, .buffer_count = 256 },
	{ .name = "compression", .buffer_size = 65536, .buffer_count = 256 },
	{ .name = "simd", .buffer_size = 2048, .buffer_count = 256,
	  .pool_flags = LFPOOL_POOL_ZERO },
};

static struct lfpool *pool_alloc(unsigned int flags)
{
	struct lfpool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->flags = flags;
	pool->checked = flags & (LFPOOL_OPEN_CHECKED | LFPOOL_OPEN_POISON);
	pool->fd = -1;
	pthread_mutex_init(&pool->heap.lock, NULL);
	return pool;
}

static void pool_free(struct lfpool *pool)
{
	lfp_debug_exit(pool);
	if (pool->ops)
		pool->ops->close(pool);
	pthread_mutex_destroy(&pool->heap.lock);
	free(pool);
}

/* The back end is there: the rest, which is the same for both. */
static struct lfpool *pool_start(struct lfpool *pool, int err)
{
	if (!err)
		err = lfp_debug_init(pool);
	if (!err)
		err = lfp_register(pool);
	if (err) {
		pool_free(pool);
		errno = -err;
		return NULL;
	}
	return pool;
}

static bool within(const struct lfpool_info *info, __u64 offset, __u64 n, __u64 size)
{
	return offset <= info->mmap_size && n * size <= info->mmap_size - offset;
}

static bool power_of_two(__u64 n)
{
	return n && !(n & (n - 1));
}

/**
 * lfp_map - take over a back end's mapping, pool->info describes it
 * @base: where it is; NULL only checks that the layout is one that we know
 */
int lfp_map(struct lfpool *pool, unsigned char *base)
{
	const struct lfpool_info *info = &pool->info;

	if (info->abi != LFPOOL_ABI ||
	    info->slot_stride != sizeof(struct lfpool_slot) ||
	    info->desc_stride != sizeof(struct lfpool_desc) ||
	    !power_of_two(info->stride) || info->stride < 64 ||
	    info->stride > 1ULL << 31 || info->buffer_size > info->stride ||
	    !info->max_count || info->max_count >= LFPOOL_NONE ||
	    info->batch < 1 || info->batch > LFPOOL_BATCH_MAX ||
	    info->mmap_size > SIZE_MAX ||
	    !within(info, info->depot_offset, 1, sizeof(struct lfpool_depot)) ||
	    !within(info, info->slot_offset, info->max_threads, info->slot_stride) ||
	    !within(info, info->desc_offset, info->max_count, info->desc_stride) ||
	    !within(info, info->data_offset, info->max_count, info->stride))
		return -EPROTO;
	if (!base)
		return 0;

	pool->base = base;
	pool->slots = (struct lfpool_slot *)(base + info->slot_offset);
	pool->data = base + info->data_offset;
	pool->shift = __builtin_ctzll(info->stride);
	pool->client = info->client;
	pool->depot.shared = (struct lfpool_depot *)(base + info->depot_offset);
	pool->depot.desc = (struct lfpool_desc *)(base + info->desc_offset);
	pool->depot.count = info->max_count;
	pool->depot.mark = pool->client | (pool->checked ? LFPOOL_WORD_FREE : 0);
	return 0;
}

static bool name_is_valid(const char *name)
{
	size_t len = name ? strlen(name) : 0;

	return len && len < LFPOOL_NAME_LEN && !strchr(name, '/') &&
	       strcmp(name, ".") && strcmp(name, "..");
}

static int open_default(struct lfpool *pool, const char *name)
{
	unsigned int i;

	for (i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		if (!strcmp(name, defaults[i].name))
			return lfp_embedded_open(pool, &defaults[i], false);
	return -ENOENT;
}

struct lfpool *lfpool_open(const char *name, unsigned int flags)
{
	struct lfpool *pool;
	int err;

	if (!name_is_valid(name) || flags & ~OPEN_FLAGS) {
		errno = EINVAL;
		return NULL;
	}
	pool = pool_alloc(flags);
	if (!pool)
		return NULL;

	err = lfp_device_open(pool, name);
	/* a private pool has nothing for a monitor to see */
	if (err == -ENOENT && flags & LFPOOL_OPEN_EMBEDDED && !(flags & LFPOOL_OPEN_RDONLY))
		err = open_default(pool, name);
	return pool_start(pool, err);
}

/* A struct of the caller's, which may be older or newer than ours; -E2BIG. */
static int copy_in(void *ours, size_t known, const void *theirs, size_t size)
{
	const unsigned char *p = theirs;
	size_t k;

	for (k = known; k < size; k++)
		if (p[k])
			return -E2BIG;
	memset(ours, 0, known);
	memcpy(ours, theirs, size < known ? size : known);
	return 0;
}

/* And one for the caller. */
static void copy_out(void *theirs, size_t size, const void *ours, size_t known)
{
	memset(theirs, 0, size);
	memcpy(theirs, ours, size < known ? size : known);
}

struct lfpool *lfpool_create_sized(const struct lfpool_config *theirs, size_t size)
{
	struct lfpool_config config;
	struct lfpool *pool;
	int err;

	err = theirs ? copy_in(&config, sizeof(config), theirs, size) : -EINVAL;
	if (!err && (config.flags & ~CREATE_FLAGS || (config.name && !name_is_valid(config.name))))
		err = -EINVAL;
	if (err) {
		errno = -err;
		return NULL;
	}
	pool = pool_alloc(config.flags);
	if (!pool)
		return NULL;
	return pool_start(pool, lfp_embedded_open(pool, &config, true));
}

void lfpool_close(struct lfpool *pool)
{
	int saved = errno;

	if (!pool)
		return;
	lfp_unregister(pool);
	pool_free(pool);
	errno = saved;
}

size_t lfpool_buffer_size(const struct lfpool *pool)
{
	return pool->info.buffer_size;
}

int lfpool_info_sized(struct lfpool *pool, struct lfpool_info *theirs, size_t size)
{
	struct lfpool_info info;
	int err;

	/* a child that inherited the pool has an id of its own, from now on */
	err = lfp_usable(pool);
	if (err && err != -EBADF)
		return err;
	info = pool->info;
	if (size < info.size)
		info.size = size;
	copy_out(theirs, size, &info, sizeof(info));
	return 0;
}

/*
 * More than one buffer at a time
 */

void *lfpool_get_wait(struct lfpool *pool, int64_t timeout_ns)
{
	void *p = lfpool_get(pool);
	__u32 i;
	int err;

	if (p || errno != ENOBUFS)
		return p;
	err = pool->ops->wait(pool, timeout_ns, &i);
	if (err) {
		errno = -err;
		return NULL;
	}
	return lfp_hand_out(pool, i);
}

/*
 * Bulk: as many as the cache can give or take, in one busy section; then one
 * down the slow path, which refills or flushes the cache, or finds out what is
 * wrong with that buffer; and so on.
 *
 * The cache is ours while busy is set, so that the loops need no volatile
 * accesses, which a compiler cannot turn into vector instructions; a compiler
 * barrier on either side keeps them in the section. They come in chunks of a
 * constant length for the same reason.
 */
#define CHUNK	4

#if defined(LFPOOL_TSAN)
# define BULK_READ(x)		LFPOOL_READ(x)
# define BULK_WRITE(x, v)	LFPOOL_WRITE(x, v)
#else
# define BULK_READ(x)		(x)
# define BULK_WRITE(x, v)	((x) = (v))
#endif

static inline void compiler_barrier(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void to_addresses(void **buffers, const __u32 *item, unsigned int n,
				unsigned char *data, unsigned int shift)
{
	uintptr_t base = (uintptr_t)data;
	unsigned int k;

	for (; n >= CHUNK; n -= CHUNK, buffers += CHUNK, item += CHUNK)
		for (k = 0; k < CHUNK; k++)
			buffers[k] = (void *)(base + ((uintptr_t)BULK_READ(item[k]) << shift));
	for (k = 0; k < n; k++)
		buffers[k] = (void *)(base + ((uintptr_t)BULK_READ(item[k]) << shift));
}

static inline unsigned int get_cached(struct thread *th, void **buffers, unsigned int n)
{
	struct lfpool_slot *s = th->t.slot;
	unsigned int cached, k;

	if (!enter_slot(s))
		return 0;
	cached = LFPOOL_READ(s->n);
	if (cached > LFPOOL_CACHE_MAX)
		cached = LFPOOL_CACHE_MAX;
	if (n > cached)
		n = cached;
	compiler_barrier();
	to_addresses(buffers, s->item + cached - n, n, th->t.data, th->t.shift);
	compiler_barrier();
	LFPOOL_INJECT(44);
	LFPOOL_WRITE(s->n, cached - n);
	count_up(&s->gets, n);
	leave_slot(s);
	if (LFPOOL_UNLIKELY(th->pool->info.pool_flags & LFPOOL_POOL_ZERO))
		for (k = 0; k < n; k++)
			memset(buffers[k], 0, th->pool->info.buffer_size);
	return n;
}

/* not inline: its loop needs all the registers */
__attribute__((noinline))
static unsigned int put_cached(struct thread *th, void *const *buffers, unsigned int n)
{
	const uintptr_t base = (uintptr_t)th->t.data, count = th->t.count;
	const struct lfpool_desc *desc = th->t.desc;
	const unsigned int shift = th->t.shift;
	struct lfpool_slot *s = th->t.slot;
	const __u32 client = th->t.client;
	void *const *p = buffers;
	void *const *end;
	uintptr_t off, i, last;
	unsigned int cached;
	__u32 *item;

	if (!enter_slot(s))
		return 0;
	cached = LFPOOL_READ(s->n);
	/* waiters: told at lfpool_thread_put() */
	if (LFPOOL_UNLIKELY(LFPOOL_READ(*th->t.waiters)) || cached >= th->t.full)
		n = 0;
	else if (n > th->t.full - cached)
		n = th->t.full - cached;
	item = s->item + cached;
	compiler_barrier();
	last = cached && n ? BULK_READ(item[-1]) : LFPOOL_NONE;
	for (end = p + n; p < end; p++) {
		off = (uintptr_t)*p - base;
		i = off >> shift | off << (8 * sizeof(off) - shift);
		if (LFPOOL_UNLIKELY(i >= count) || LFPOOL_UNLIKELY(i == last) ||
		    LFPOOL_UNLIKELY((__u32)BULK_READ(desc[i].word) != client))
			break;
		BULK_WRITE(*item, (__u32)i);
		item++;
		last = i;
	}
	n = p - buffers;
	compiler_barrier();
	LFPOOL_INJECT(45);
	LFPOOL_WRITE(s->n, cached + n);
	count_up(&s->puts, n);
	leave_slot(s);
	return n;
}

unsigned int lfpool_get_bulk(struct lfpool *pool, void **buffers, unsigned int n)
{
	struct thread *th = lfp_self(pool);
	unsigned int done = 0;
	void *p;

	if (!th)
		return 0;
	for (;;) {
		done += get_cached(th, buffers + done, n - done);
		if (done == n)
			return done;
		p = lfpool_thread_get_slow(&th->t);
		if (!p)
			return done;
		buffers[done++] = p;
	}
}

unsigned int lfpool_put_bulk(struct lfpool *pool, void *const *buffers, unsigned int n)
{
	struct thread *th = lfp_self(pool);
	unsigned int done = 0;
	int err;

	if (LFPOOL_UNLIKELY(!th)) {
		/* there is a way without memory, too */
		for (; done < n; done++) {
			err = lfpool_put(pool, buffers[done]);
			if (err) {
				errno = -err;
				break;
			}
		}
		return done;
	}
	for (;;) {
		done += put_cached(th, buffers + done, n - done);
		if (done == n)
			return done;
		err = lfpool_thread_put_slow(&th->t, buffers[done]);
		if (err) {
			errno = -err;
			return done;
		}
		done++;
	}
}

int lfpool_prefill(struct lfpool *pool, unsigned int n)
{
	struct lfpool_counts counts;
	__u32 items[LFPOOL_XFER_MAX];
	unsigned int done = 0, want, grown;
	struct lfpool_slot *s;
	struct thread *th;
	int got, err;

	th = lfp_self(pool);
	if (!th)
		return -errno;
	err = lfp_enter(th);
	if (err)
		return err;
	s = th->slot;
	if (!s)
		return -EUSERS;
	if (LFPOOL_READ(s->busy))
		return -EBUSY;

	/*
	 * What a refill finds elsewhere, or grows, is not ahead of time. It may
	 * come to that nevertheless, if another thread empties the reserve now.
	 */
	err = lfpool_counts(pool, &counts);
	if (err)
		return err;
	want = n < counts.reserve ? n : counts.reserve;
	while (done < want) {
		got = want - done < pool->info.batch ? want - done : pool->info.batch;
		got = pool->ops->refill(pool, items, got, lfp_refill_flags(pool), &grown);
		if (got <= 0)
			break;
		LFPOOL_INJECT(43);
		if (pool->checked)
			lfp_debug_granted(pool, items, got);
		/*
		 * Revoked or not: whoever scavenges moves the cache, and this
		 * touches the journal only. busy keeps signal handlers of this
		 * thread away from it.
		 */
		LFPOOL_WRITE(s->busy, 1);
		depot_push(&pool->depot, s, items, got);
		LFPOOL_INJECT(25);
		LFPOOL_WRITE_RELEASE(s->busy, 0);
		done += got;
	}
	lfp_wake_waiters(pool);
	return done < n ? -ENOBUFS : 0;
}

/*
 * Handles: {generation:32, index:32}. The receiver's swap of the owner word
 * succeeds once, and only in the life of the buffer that the handle was made
 * in: import, the put of an exported buffer and every return to the reserve
 * move the generation on.
 */

/* the rest of an export, of a pool that may be used */
static inline int export(struct lfpool *pool, const void *buffer, uint64_t *handle)
{
	uintptr_t i = lfp_index(pool, buffer);
	__u64 *word, old;

	if (LFPOOL_UNLIKELY(i >= pool->depot.count))
		return -EINVAL;

	word = &pool->depot.desc[i].word;
	old = LFPOOL_READ(*word);
	LFPOOL_INJECT(40);
	if (LFPOOL_LIKELY((__u32)old == pool->client)) {
		/* releases the contents to whoever imports */
		if (!__atomic_compare_exchange_n(word, &old, old | LFPOOL_WORD_EXPORTED, 0,
						 __ATOMIC_RELEASE, __ATOMIC_RELAXED) &&
		    (__u32)old != (pool->client | LFPOOL_WORD_EXPORTED))
			return -ESTALE;
	} else if ((__u32)old != (pool->client | LFPOOL_WORD_EXPORTED)) {
		return -ESTALE;
	}
	*handle = (old & DEPOT_GEN_MASK) | i;
	return 0;
}

int lfpool_export(struct lfpool *pool, void *buffer, uint64_t *handle)
{
	int err = lfp_usable(pool);

	return err ? err : export(pool, buffer, handle);
}

unsigned int lfpool_export_bulk(struct lfpool *pool, void *const *buffers, uint64_t *handles,
				unsigned int n)
{
	int err = lfp_usable(pool);
	unsigned int k;

	for (k = 0; k < n && !err; k++)
		err = export(pool, buffers[k], &handles[k]);
	if (!err)
		return n;
	errno = -err;
	return k ? k - 1 : 0;
}

/* the rest of an import: a buffer, or NULL and errno */
static inline void *import(struct lfpool *pool, uint64_t handle)
{
	__u32 i = (__u32)handle, owner;
	__u64 *word, old;

	if (LFPOOL_UNLIKELY(i >= pool->depot.count)) {
		errno = EINVAL;
		return NULL;
	}

	word = &pool->depot.desc[i].word;
	old = LFPOOL_READ(*word);
	owner = old & LFPOOL_WORD_OWNER;
	LFPOOL_INJECT(41);
	if (LFPOOL_UNLIKELY(depot_gen(old) != handle >> 32) ||
	    LFPOOL_UNLIKELY((old & LFPOOL_WORD_FLAGS) != LFPOOL_WORD_EXPORTED) ||
	    owner == LFPOOL_OWNER_RESERVE || owner == LFPOOL_OWNER_DEPOT ||
	    !__atomic_compare_exchange_n(word, &old,
					 ((old & DEPOT_GEN_MASK) + DEPOT_GEN_ONE) | pool->client,
					 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
		errno = ESTALE;
		return NULL;
	}
	LFPOOL_INJECT(42);
	return lfp_address(pool, i);
}

void *lfpool_import(struct lfpool *pool, uint64_t handle)
{
	int err = lfp_usable(pool);

	if (err) {
		errno = -err;
		return NULL;
	}
	if (LFPOOL_LIKELY((__u32)handle < pool->depot.count))
		depot_fetch(&pool->depot.desc[(__u32)handle].word);
	return import(pool, handle);
}

unsigned int lfpool_import_bulk(struct lfpool *pool, const uint64_t *handles, void **buffers,
				unsigned int n)
{
	int err = lfp_usable(pool);
	unsigned int k, ahead = 0;
	void *p;

	if (err) {
		errno = -err;
		return 0;
	}
	for (k = 0; k < n; k++) {
		/* so many lines as a core has on their way at a time */
		for (; ahead < n && ahead < k + 16; ahead++)
			if (LFPOOL_LIKELY((__u32)handles[ahead] < pool->depot.count))
				depot_fetch(&pool->depot.desc[(__u32)handles[ahead]].word);
		p = import(pool, handles[k]);
		if (LFPOOL_UNLIKELY(!p))
			break;
		buffers[k] = p;
	}
	return k;
}

/*
 * Statistics
 */

static int read_stats(struct lfpool *pool, struct lfpool_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->size = sizeof(*stats);
	return lfp_refuse(pool) == -ESTALE ? -ESTALE : pool->ops->stats(pool, stats);
}

int lfpool_stats_sized(struct lfpool *pool, struct lfpool_stats *theirs, size_t size)
{
	struct lfpool_stats stats;
	int err = read_stats(pool, &stats);

	if (size < stats.size)
		stats.size = size;
	copy_out(theirs, size, &stats, sizeof(stats));
	return err;
}

int lfpool_reset_stats(struct lfpool *pool)
{
	int err = lfp_usable(pool);

	return err ? err : pool->ops->reset_stats(pool);
}

int lfpool_counts_sized(struct lfpool *pool, struct lfpool_counts *theirs, size_t size)
{
	struct lfpool_counts counts;
	struct lfpool_stats stats;
	int err = read_stats(pool, &stats);

	if (err)
		return err;
	counts.available = stats.available;
	counts.in_use = stats.in_use;
	counts.cached = stats.cached;
	counts.reserve = stats.reserve;
	counts.capacity = stats.capacity;
	counts.max = stats.max_count;
	copy_out(theirs, size, &counts, sizeof(counts));
	return 0;
}

int lfpool_audit_sized(struct lfpool *pool, struct lfpool_audit *theirs, size_t size)
{
	struct lfpool_audit audit = { .size = sizeof(audit) };
	int err;

	err = lfp_refuse(pool) == -ESTALE ? -ESTALE : pool->ops->audit(pool, &audit);
	if (size < audit.size)
		audit.size = size;
	copy_out(theirs, size, &audit, sizeof(audit));
	return err;
}

int lfpool_fd(const struct lfpool *pool)
{
	int err = lfp_refuse(pool);

	/* of a read-only node poll() would say nothing but POLLERR, at once */
	return err < 0 ? err : pool->ops->fd(pool);
}

/*
 * Guard
 */

int lfpool_guard_put(struct lfpool_guard *guard)
{
	void *data = guard->data;

	if (!data)
		return -EALREADY;
	guard->data = NULL;
	return lfpool_put(guard->pool, data);
}

void lfpool_guard_end(struct lfpool_guard *guard)
{
	int saved = errno;

	if (guard->data)
		lfpool_put(guard->pool, guard->data);
	errno = saved;
}
