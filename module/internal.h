/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lfpool: the module's own structures.
 *
 * A pool is a device and the memory behind it; it lives from load to unload.
 * An open file of it is a client. The client's one mapping makes it take part:
 * the mapping, every copy of it and every ioctl in progress speak for the same
 * client id. When the last copy of the mapping is closed, the client is dead
 * and waits on pool->closed for the worker, which takes back what it had.
 *
 *   file ----------> client <---------- VMA (and its copies)
 *                      |  ^
 *                      v  | pool->clients, from mmap until recovered
 *                     pool
 *
 * A client is freed when the file is released and its recovery is over. Open
 * files hold the module, so the pool outlives them.
 *
 * Locks, outermost first:
 *
 *   mmap_lock            taken by the callers of our mmap, open, close, fault
 *   client->rwsem        read: an ioctl that moves buffers for the client;
 *                        write: the worker, to wait for those
 *   pool->lock           slots, clients, growth, all calls of the engine
 *   folio lock           a buffer's page table entries against the shrinker
 *   pool->wait_lock      the waiters' count and its shared copy
 *
 * No user memory is touched under client->rwsem or below. close() takes none of
 * them. The reserve needs no lock: see pool.c.
 */
#ifndef _LFPOOL_INTERNAL_H
#define _LFPOOL_INTERNAL_H

#include <linux/atomic.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/lfpool.h>
#include "recover.h"

#ifndef CONFIG_64BIT
#error lfpool needs a 64-bit kernel: 64-bit owner words are changed by cmpxchg
#endif

#define LFPOOL_POOLS		3
/* buffers that share one list of the reserve: a walk is never longer */
#define LFPOOL_SHARD		64
/* the data starts at a multiple of this, so that huge pages fit */
#define LFPOOL_DATA_ALIGN	(2UL << 20)
#define LFPOOL_COUNT_MAX	1048576U

/**
 * struct lfpool_counters - what slots count, and the kernel
 * @gets:        gets that a free buffer of the pool satisfied
 * @puts:        buffers put back
 * @misses:      gets that found none
 * @allocations: buffers from the heap
 * @cas_retries: compare-and-swaps on the depot's head that lost
 * @refills:     batches that came into caches
 * @flushes:     batches that left them
 * @grown:       buffers the pool grew by
 * @scavenged:   buffers taken from idle caches
 * @reclaimed:   buffers taken back from dead clients
 *
 * The first seven are those of &struct lfpool_slot, the others the kernel's own.
 */
struct lfpool_counters {
	u64 gets;
	u64 puts;
	u64 misses;
	u64 allocations;
	u64 cas_retries;
	u64 refills;
	u64 flushes;
	u64 grown;
	u64 scavenged;
	u64 reclaimed;
};

/**
 * struct lfpool_pool - one pool
 * @dev:          its device, which owns the structure's memory
 * @cdev:         its node
 * @added:        the node was made
 * @inode:        stands for the pool in every mapping, whatever node was opened
 * @shrinker:     gives grown buffers back under memory pressure
 * @name:         its name
 * @buffer_size:  bytes of a buffer
 * @stride:       bytes from one to the next, a power of two
 * @order:        page order of a folio
 * @per_folio:    buffers in a folio: 1, or several if smaller than a page
 * @buffer_count: buffers at load
 * @max_count:    buffers at most
 * @max_threads:  slots
 * @batch:        buffers that move together
 * @pool_flags:   LFPOOL_POOL_*
 * @control:      header, depot, slots and descriptors: shared, vmalloc_user()
 * @control_size: bytes of it
 * @slot_offset:  where the slots start in a mapping
 * @desc_offset:  where the descriptors do
 * @data_offset:  where the data does
 * @mmap_size:    bytes of a mapping
 * @pad:          page that fills the gap between control and data
 * @folios:       first page of each folio, NULL if the pool has not grown so
 *                far; changes under @lock and the folio's own lock
 * @nodes:        a reserve node for each buffer
 * @shards:       the reserve
 * @nr_shards:    number of lists in it
 * @hint:         list where the next taker begins
 * @reserve:      buffers in the reserve
 * @granted:      buffers out of reserve and quarantine
 * @peak_granted: its maximum since load or reset
 * @present:      buffers that exist; changes under @lock
 * @kernel:       buffers in the reserve or quarantine: the truth, whatever the
 *                owner words say. Who sets the bit adds the buffer, who clears
 *                it has taken it.
 * @quarantine:   buffers in quarantine; under @lock
 * @quarantined:  how many
 * @lock:         guards all that follows, and @view
 * @capacity:     buffers that exist
 * @owner:        client of each slot, 0 for a free one
 * @threads:      slots in use
 * @clients:      clients that are mapped, or not recovered yet
 * @nr_clients:   those of them that live
 * @last_id:      the client id given last
 * @wrapped:      ids were all used once: look for traces before reuse
 * @deferred:     orphans that a living journal names: to be looked at again
 * @folded:       counters of clients that are gone, and the kernel's own
 * @base:         totals at the last reset
 * @view:         the engine's view
 * @closed:       clients whose mapping is gone, for the worker
 * @dying:        those, and those that the worker recovers right now
 * @rounds:       how often the worker has come to its end
 * @settled:      who waits for that
 * @work:         the worker: recovery, orphans to decide, quarantine
 * @retry:        delay of the next look, in jiffies
 * @look:         wakes who polls to look again at threads that were busy
 * @wait:         tasks in WAIT, each of which takes one buffer
 * @pollers:      who polls, woken together: nobody knows who of them takes one
 * @wait_lock:    guards all that follows, and depot->waiters
 * @waiters:      tasks in WAIT
 * @polled:       somebody polled since the last wake-up
 * @told:         what depot->waiters is, if nobody has spoilt it
 * @episode:      how often that came to be not zero
 * @fenced:       the episode for which all CPUs have passed a barrier
 */
struct lfpool_pool {
	struct device dev;
	struct cdev cdev;
	bool added;
	struct inode *inode;
	struct shrinker *shrinker;

	char name[LFPOOL_NAME_LEN];
	u32 buffer_size;
	u32 stride;
	u32 order;
	u32 per_folio;
	u32 buffer_count;
	u32 max_count;
	u32 max_threads;
	u32 batch;
	u32 pool_flags;

	void *control;
	size_t control_size;
	u64 slot_offset;
	u64 desc_offset;
	u64 data_offset;
	u64 mmap_size;
	struct page *pad;
	struct page **folios;

	struct llist_node *nodes;
	struct llist_head *shards;
	u32 nr_shards;
	u32 hint;
	atomic_t reserve;
	atomic_t granted;
	atomic_t peak_granted;
	unsigned long *present;
	unsigned long *kernel;
	unsigned long *quarantine;
	atomic_t quarantined;

	/* The following fields are protected by the lock. */
	struct mutex lock;
	u32 capacity;
	u32 *owner;
	u32 threads;
	struct list_head clients;
	u32 nr_clients;
	u32 last_id;
	bool wrapped;
	u32 deferred;
	struct lfpool_counters folded;
	struct lfpool_counters base;
	struct lfpool_view view;

	/* The following fields are not. */
	struct llist_head closed;
	atomic_t dying;
	u32 rounds;
	wait_queue_head_t settled;
	struct delayed_work work;
	unsigned long retry;
	struct delayed_work look;

	wait_queue_head_t wait;
	wait_queue_head_t pollers;
	/* The following fields are protected by the wait lock. */
	spinlock_t wait_lock;
	u32 waiters;
	bool polled;
	u32 told;
	u64 episode;
	u64 fenced;
};

/**
 * struct lfpool_client - one open file
 * @ref:    held by the file, and by pool->clients from mmap until recovered
 * @pool:   its pool
 * @mm:     of the process that opened it; compared, never used
 * @mapped: it was mapped once; under pool->lock
 * @id:     its id, 0 before the mmap; then never changes
 * @vmas:   copies of the mapping
 * @rwsem:  guards @dead
 * @dead:   the mapping is gone: nothing may be granted any more
 * @node:   in pool->clients; under pool->lock
 * @closed: in pool->closed
 * @pid:    of the process that mapped it, for people
 * @comm:   its name, for people
 * @since:  when, in nanoseconds of CLOCK_BOOTTIME
 * @folded: counters of its slots that are gone; under pool->lock
 * @gets:   gets that went straight to the kernel; counted under @rwsem
 * @puts:   puts that did
 * @misses: gets that found nothing there
 */
struct lfpool_client {
	struct kref ref;
	struct lfpool_pool *pool;
	struct mm_struct *mm;
	bool mapped;
	u32 id;
	refcount_t vmas;
	struct rw_semaphore rwsem;
	bool dead;
	struct list_head node;
	struct llist_node closed;
	struct pid *pid;
	char comm[TASK_COMM_LEN];
	u64 since;
	struct lfpool_counters folded;
	atomic64_t gets;
	atomic64_t puts;
	atomic64_t misses;
};

/* what a pool is made from */
struct lfpool_geometry {
	const char *name;
	u32 buffer_size;
	u32 buffer_count;
	u32 max_count;
	u32 max_threads;
	u32 batch;
	u32 pool_flags;
};

static inline struct lfpool_pool *to_pool(struct device *dev)
{
	return container_of(dev, struct lfpool_pool, dev);
}

/* pool.c */
int lfpool_pool_init(struct lfpool_pool *pool, const struct lfpool_geometry *geo);
void lfpool_pool_free(struct lfpool_pool *pool);
void lfpool_pool_info(const struct lfpool_pool *pool, struct lfpool_info *info);
u32 lfpool_reserve_take(struct lfpool_pool *pool, u32 *items, u32 n);
void lfpool_reserve_add(struct lfpool_pool *pool, u32 i);
void lfpool_granted_add(struct lfpool_pool *pool, u32 n);
void lfpool_settle(struct lfpool_pool *pool, bool dead);
bool lfpool_pool_grow(struct lfpool_pool *pool, u32 *item);
u32 lfpool_quarantine_scan(struct lfpool_pool *pool);
int lfpool_shrinker_init(struct lfpool_pool *pool);

/* grant.c */
int lfpool_grant(struct lfpool_client *client, u32 *items, u32 n, u32 flags, u32 *grown);
int lfpool_release(struct lfpool_client *client, const u32 *items, u32 n, u32 flags, u32 *moved);
int lfpool_wait(struct lfpool_client *client, s64 *timeout_ns, u32 *item, u32 *grown);
void lfpool_wake(struct lfpool_pool *pool);
bool lfpool_poll(struct lfpool_pool *pool);
void lfpool_look_work(struct work_struct *work);

/* client.c */
extern const struct file_operations lfpool_fops;
void lfpool_open_gate(void);
void lfpool_recover_work(struct work_struct *work);
void lfpool_recover_look(struct lfpool_pool *pool);

/* stats.c */
void lfpool_stats_fold_slot(struct lfpool_client *client, u32 slot);
void lfpool_stats_fold_client(struct lfpool_client *client);
void lfpool_stats_client(struct lfpool_client *client, struct lfpool_counters *c);
void lfpool_stats_fixed(const struct lfpool_pool *pool, struct lfpool_stats *stats);
int lfpool_stats_read(struct lfpool_pool *pool, struct lfpool_stats *stats, bool walk);
int lfpool_stats_reset(struct lfpool_pool *pool);
int lfpool_compare_ids(const void *a, const void *b);
int lfpool_audit_read(struct lfpool_pool *pool, struct lfpool_audit *audit);

/* sysfs.c */
extern const struct attribute_group *lfpool_groups[];

#endif /* _LFPOOL_INTERNAL_H */
