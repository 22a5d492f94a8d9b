/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * lfpool: shared pools of fixed-size buffers.
 *
 * This header is the contract between the lfpool module and user space: the
 * layout of the memory that they share and the ioctls of /dev/lfpool/<pool>.
 * The protocol that the shared words obey is told in userlib/depot.h (pop and
 * push) and module/recover.c (rules R1 and R2, and the audit).
 */
#ifndef _UAPI_LINUX_LFPOOL_H
#define _UAPI_LINUX_LFPOOL_H

#include <linux/ioctl.h>
#include <linux/types.h>

/** LFPOOL_ABI - version of the shared layout, as in &struct lfpool_info.abi */
#define LFPOOL_ABI		1

#define LFPOOL_NAME_LEN		32

/*
 * Shared memory
 * =============
 *
 * One mapping for each open file, MAP_SHARED, offset 0, of exactly
 * &struct lfpool_info.mmap_size bytes:
 *
 *   | header page | depot page | slots | descriptors | pad to 2 MiB | data |
 *
 * INFO gives every offset. Nobody computes one alone.
 *
 * Buffers are known by their index, 0..max_count-1, never by a pointer.
 */

/** LFPOOL_NONE - "no buffer", in journals, next links and the depot's head */
#define LFPOOL_NONE		0xffffffU

/** LFPOOL_CACHE_MAX - size of a slot's item array */
#define LFPOOL_CACHE_MAX	64

/** LFPOOL_BATCH_MAX - most buffers of a batch: the leader and 28 more */
#define LFPOOL_BATCH_MAX	29

/** LFPOOL_XFER_MAX - most buffers that one REFILL or RELEASE moves */
#define LFPOOL_XFER_MAX		64

/*
 * Owner word: { generation:32, flags:4, owner:28 }
 */
#define LFPOOL_WORD_GEN_SHIFT	32
#define LFPOOL_WORD_FLAGS	0xf0000000U
/* exported: the holder gave out a handle, {generation, index} */
#define LFPOOL_WORD_EXPORTED	0x10000000U
/* put by a checking client: free, in its cache (LFPOOL_OPEN_CHECKED) */
#define LFPOOL_WORD_FREE	0x20000000U
#define LFPOOL_WORD_OWNER	0x0fffffffU

/* Owners. Every other value is the id of a client. */
#define LFPOOL_OWNER_RESERVE	0U
#define LFPOOL_OWNER_DEPOT	0x0fffffffU
#define LFPOOL_CLIENT_MIN	1U
#define LFPOOL_CLIENT_MAX	0x0ffffffeU

/*
 * Depot head: { tag:40, index:24 }. Every change of the head adds one to the
 * tag, so that a compare-and-swap never takes an old head for a new one (ABA).
 */
#define LFPOOL_HEAD_INDEX	0xffffffULL
#define LFPOOL_HEAD_TAG_ONE	0x1000000ULL

/**
 * struct lfpool_desc - descriptor: the shared state of one buffer
 * @word:  owner word, { generation:32, flags:4, owner:28 }
 * @next:  index of the next batch's leader, or LFPOOL_NONE
 * @count: buffers of the batch besides the leader, 0..28
 * @item:  their indices
 *
 * @next, @count and @item mean something only while the buffer leads a batch
 * of the depot.
 */
struct lfpool_desc {
	__aligned_u64 word;
	__u32 next;
	__u32 count;
	__u32 item[LFPOOL_BATCH_MAX - 1];
};

/**
 * struct lfpool_slot - shared state of one attached thread
 * @n:       buffers in the cache
 * @busy:    1 while the thread is between two consistent states of its cache;
 *           behind @n, so that one store may set @n and end the section
 * @revoked: set by the kernel while it may take the cache (scavenge): the
 *           thread must take its slow path
 * @journal: the leader that the thread is moving into or out of the depot, or
 *           LFPOOL_NONE
 * @gets:    gets that a free buffer of the pool satisfied
 * @puts:    buffers put back
 * @misses:  gets that found no free buffer
 * @allocations: heap buffers given instead (LFPOOL_OPEN_FALLBACK)
 * @cas_retries: compare-and-swaps on the depot's head that lost
 * @refills: batches that came into the cache
 * @flushes: batches that left it
 * @reserved: zero, as the thread reads item[-1], too, when the cache is empty
 * @item:    the cache, last in first out: item[n - 1] is the hottest
 *
 * Written by its one thread only, except @revoked, and @n and @item while the
 * kernel scavenges. Counters only grow; reset_stats does not touch them.
 */
struct lfpool_slot {
	__u32 n;
	__u32 busy;
	__u32 revoked;
	__u32 journal;
	__aligned_u64 gets;
	__aligned_u64 puts;
	__aligned_u64 misses;
	__aligned_u64 allocations;
	__aligned_u64 cas_retries;
	__aligned_u64 refills;
	__aligned_u64 flushes;
	__aligned_u64 reserved[7];
	__u32 item[LFPOOL_CACHE_MAX];
};

/**
 * struct lfpool_depot - the pool's shared stack of batches
 * @head:     { tag:40, index:24 } of the first batch's leader
 * @allocations: heap buffers given to threads without a slot
 *            (LFPOOL_OPEN_FALLBACK); atomic, as any thread counts here
 * @puts:     the same ones put back
 * @pad:      keeps the head's cache line, which every refill writes, apart
 *            from @waiters, which every put reads
 * @waiters:  not zero while somebody waits for a buffer: a put must hand its
 *            buffer to the kernel (RELEASE) instead of caching it
 * @reserved: zero
 */
struct lfpool_depot {
	__aligned_u64 head;
	__aligned_u64 allocations;
	__aligned_u64 puts;
	__aligned_u64 pad[13];
	__u32 waiters;
	__u32 reserved[31];
};

/*
 * ioctls
 * ======
 *
 * Every argument is a struct that starts with its size, as the caller knows
 * it, and flags. A larger struct than the kernel's is taken if all that the
 * kernel does not know is zero (else E2BIG); a smaller one than the first
 * version's, an unknown flag and a non-zero reserved field are EINVAL.
 *
 * INFO, STATS and AUDIT work on every open file; the others need one that is
 * open for writing (else EBADF). ATTACH, DETACH, REFILL, RELEASE, WAIT and
 * WAKE speak for the client, so they need its mapping (else ENXIO) and the
 * process that opened it (else EBUSY).
 */
#define LFPOOL_IOC_TYPE		'J'

/* struct lfpool_info.pool_flags */
/* buffers come zeroed from a get */
#define LFPOOL_POOL_ZERO	0x1U

/**
 * struct lfpool_info - geometry of a pool (ioctl INFO; and the header page)
 * @size:         size of this struct
 * @flags:        must be 0
 * @abi:          LFPOOL_ABI
 * @client:       id of the client that this open file is; 0 before its mmap
 * @mmap_size:    bytes to map
 * @depot_offset: where struct lfpool_depot is in the mapping
 * @slot_offset:  where the slots are
 * @desc_offset:  where the descriptors are
 * @data_offset:  where the data is; buffer i is at data_offset + i * stride
 * @buffer_size:  bytes of a buffer
 * @stride:       bytes from one buffer to the next, a power of two
 * @slot_stride:  bytes from one slot to the next
 * @desc_stride:  bytes from one descriptor to the next
 * @buffer_count: buffers that the pool started with
 * @max_count:    how far it may grow; also the number of descriptors
 * @max_threads:  number of slots
 * @batch:        buffers that move together
 * @pool_flags:   LFPOOL_POOL_*
 * @reserved:     0
 * @name:         the pool's name, NUL-terminated
 */
struct lfpool_info {
	__u32 size;
	__u32 flags;
	__u32 abi;
	__u32 client;
	__aligned_u64 mmap_size;
	__aligned_u64 depot_offset;
	__aligned_u64 slot_offset;
	__aligned_u64 desc_offset;
	__aligned_u64 data_offset;
	__aligned_u64 buffer_size;
	__aligned_u64 stride;
	__u32 slot_stride;
	__u32 desc_stride;
	__u32 buffer_count;
	__u32 max_count;
	__u32 max_threads;
	__u32 batch;
	__u32 pool_flags;
	__u32 reserved;
	char name[LFPOOL_NAME_LEN];
};

/**
 * struct lfpool_attach - get a slot (ATTACH) or give it back (DETACH)
 * @size:     size of this struct
 * @flags:    must be 0
 * @slot:     number of the slot; out for ATTACH, in for DETACH
 * @reserved: must be 0
 *
 * ATTACH: EUSERS when every slot is taken.
 * DETACH: EINVAL if the slot is not this client's. What the slot's cache still
 * holds goes to the reserve.
 */
struct lfpool_attach {
	__u32 size;
	__u32 flags;
	__u32 slot;
	__u32 reserved;
};

/*
 * REFILL flag: the buffers go straight to the program, not to a cache; the
 * kernel counts them as gets (for signal handlers and threads without a slot).
 */
#define LFPOOL_REFILL_GET	0x1U
/*
 * REFILL flag: the buffers' owner words say LFPOOL_WORD_FREE from the start, for
 * clients that check their puts.
 */
#define LFPOOL_REFILL_FREE	0x2U
/* RELEASE flag: the buffers come straight from the program; counted as puts */
#define LFPOOL_RELEASE_PUT	0x1U

/**
 * struct lfpool_xfer - buffers from the reserve (REFILL) or to it (RELEASE)
 * @size:     size of this struct
 * @flags:    LFPOOL_REFILL_* or LFPOOL_RELEASE_*
 * @count:    in: how many, 1..LFPOOL_XFER_MAX; out: how many were moved
 * @grown:    out, REFILL: how many of them the pool grew by; 0 for RELEASE
 * @items:    address of an array of @count __u32: the indices
 *
 * REFILL grants at least one buffer, or fails with ENOBUFS. RELEASE: EINVAL if
 * an index is out of range, ESTALE if a buffer is not this client's; nothing
 * was moved then, unless it was this client's until an import at this moment.
 */
struct lfpool_xfer {
	__u32 size;
	__u32 flags;
	__u32 count;
	__u32 grown;
	__aligned_u64 items;
};

/**
 * struct lfpool_wait - wait for a buffer (WAIT)
 * @size:       size of this struct
 * @flags:      must be 0
 * @timeout_ns: in: how long to wait at most, in nanoseconds; < 0 for ever;
 *              out: what is left of it, if the wait was interrupted
 * @item:       out: index of the buffer that was granted
 * @grown:      out: 1 if the pool grew for it
 *
 * ETIMEDOUT when the time is over, EINTR when a signal came that has a handler
 * (with SA_RESTART, too). A stop, the freezer or a debugger does not end a wait.
 */
struct lfpool_wait {
	__u32 size;
	__u32 flags;
	__s64 timeout_ns;
	__u32 item;
	__u32 grown;
};

/**
 * struct lfpool_plain - argument of WAKE and RESET_STATS
 * @size:  size of this struct
 * @flags: must be 0
 *
 * WAKE: this client put buffers into the depot while somebody waited.
 * RESET_STATS: zeroes the counters, not the state.
 */
struct lfpool_plain {
	__u32 size;
	__u32 flags;
};

/**
 * struct lfpool_stats - what happened in a pool (STATS)
 * @size:          size of this struct
 * @flags:         must be 0
 * @buffer_size:   bytes of a buffer
 * @stride:        bytes from one buffer to the next
 * @buffer_count:  buffers that the pool started with
 * @max_count:     how far it may grow
 * @capacity:      buffers it has now
 * @available:     free buffers: reserve, depot and caches together
 * @in_use:        buffers that clients hold
 * @cached:        free buffers in the caches of threads
 * @reserve:       free buffers in the kernel's reserve
 * @quarantined:   buffers of dead clients whose pages are still pinned
 * @peak_granted:  most buffers that were out of the reserve at one time
 * @allocations:   buffers allocated because of a miss (growth or heap)
 * @deallocations: buffers put back
 * @pool_hits:     gets satisfied by a free buffer of the pool
 * @pool_misses:   gets that found none
 * @hit_rate_ppm:  hits per million gets; 0 when nothing was asked for yet
 * @cas_retries:   compare-and-swaps on the depot's head that lost
 * @refills:       batches that came into caches
 * @flushes:       batches that left them
 * @grown:         buffers the pool grew by
 * @scavenged:     buffers taken from idle caches
 * @reclaimed:     buffers taken back from dead clients, those in caches too
 * @clients:       clients alive
 * @threads:       threads attached
 *
 * Counters count since load or the last reset. The state (capacity to
 * quarantined) is a snapshot, exact while nobody moves buffers.
 */
struct lfpool_stats {
	__u32 size;
	__u32 flags;
	__aligned_u64 buffer_size;
	__aligned_u64 stride;
	__aligned_u64 buffer_count;
	__aligned_u64 max_count;
	__aligned_u64 capacity;
	__aligned_u64 available;
	__aligned_u64 in_use;
	__aligned_u64 cached;
	__aligned_u64 reserve;
	__aligned_u64 quarantined;
	__aligned_u64 peak_granted;
	__aligned_u64 allocations;
	__aligned_u64 deallocations;
	__aligned_u64 pool_hits;
	__aligned_u64 pool_misses;
	__aligned_u64 hit_rate_ppm;
	__aligned_u64 cas_retries;
	__aligned_u64 refills;
	__aligned_u64 flushes;
	__aligned_u64 grown;
	__aligned_u64 scavenged;
	__aligned_u64 reclaimed;
	__aligned_u64 clients;
	__aligned_u64 threads;
};

/**
 * struct lfpool_audit - where every buffer is (AUDIT)
 * @size:        size of this struct
 * @flags:       must be 0
 * @capacity:    buffers of the pool
 * @reserve:     in the kernel's reserve
 * @quarantined: of dead clients, pages still pinned
 * @depot:       in batches of the depot
 * @cached:      in the caches of living threads
 * @held:        held by living clients
 * @transit:     on their way: in a batch that a journal names, or changed
 *               while the audit looked
 * @lost:        in no place; must be 0
 * @duplicate:   in two places; must be 0
 * @damaged:     words of the shared state that no correct program writes;
 *               must be 0
 * @exact:       1 if nothing moved while the audit looked
 *
 * reserve + quarantined + depot + cached + held + transit + lost = capacity.
 */
struct lfpool_audit {
	__u32 size;
	__u32 flags;
	__aligned_u64 capacity;
	__aligned_u64 reserve;
	__aligned_u64 quarantined;
	__aligned_u64 depot;
	__aligned_u64 cached;
	__aligned_u64 held;
	__aligned_u64 transit;
	__aligned_u64 lost;
	__aligned_u64 duplicate;
	__aligned_u64 damaged;
	__aligned_u64 exact;
};

#define LFPOOL_IOC_INFO		_IOWR(LFPOOL_IOC_TYPE, 0x00, struct lfpool_info)
#define LFPOOL_IOC_ATTACH	_IOWR(LFPOOL_IOC_TYPE, 0x01, struct lfpool_attach)
#define LFPOOL_IOC_DETACH	_IOW(LFPOOL_IOC_TYPE, 0x02, struct lfpool_attach)
#define LFPOOL_IOC_REFILL	_IOWR(LFPOOL_IOC_TYPE, 0x03, struct lfpool_xfer)
#define LFPOOL_IOC_RELEASE	_IOWR(LFPOOL_IOC_TYPE, 0x04, struct lfpool_xfer)
#define LFPOOL_IOC_WAIT		_IOWR(LFPOOL_IOC_TYPE, 0x05, struct lfpool_wait)
#define LFPOOL_IOC_WAKE		_IOW(LFPOOL_IOC_TYPE, 0x06, struct lfpool_plain)
#define LFPOOL_IOC_STATS	_IOWR(LFPOOL_IOC_TYPE, 0x07, struct lfpool_stats)
#define LFPOOL_IOC_RESET_STATS	_IOW(LFPOOL_IOC_TYPE, 0x08, struct lfpool_plain)
#define LFPOOL_IOC_AUDIT	_IOWR(LFPOOL_IOC_TYPE, 0x09, struct lfpool_audit)

#endif /* _UAPI_LINUX_LFPOOL_H */
