/* SPDX-License-Identifier: MIT */
/*
 * The embedded back end's own part of the shared memory.
 */
#ifndef LFPOOL_EMBEDDED_H
#define LFPOOL_EMBEDDED_H

#include "internal.h"

struct counters {
	__u64 gets, puts, misses, allocations, cas_retries, refills, flushes;
	__u64 grown, scavenged, reclaimed;
};

/**
 * struct control - the back end's own part of the mapping
 * @lock:        guards everything here, the owner words that say RESERVE, and
 *               the n and item of every slot while its revoked is set
 * @wake:        futex: changes when a waiter should look again
 * @recount:     changes when the count of waiters starts anew
 * @next_client: id of the next client
 * @clients:     clients that have not closed the pool
 * @threads:     slots taken
 * @capacity:    buffers that exist: indices below it
 * @reserved:    entries of the reserve
 * @peak:        most buffers that were out of the reserve
 * @folded:      counters of what has no slot, or none any more
 * @baseline:    the counters at the last reset
 * @slot_client: whose slot it is, 0: free; max_threads entries
 *
 * Behind it: the reserve, max_count indices.
 */
struct control {
	pthread_mutex_t lock;
	__u32 wake;
	__u32 recount;
	__u32 next_client;
	__u32 clients;
	__u32 threads;
	__u32 capacity;
	__u32 reserved;
	__u32 peak;
	struct counters folded;
	struct counters baseline;
	__u32 slot_client[];
};

/**
 * struct embedded - this process's side
 * @control: the control part of the mapping
 * @reserve: the stack in it
 * @size:    bytes of the whole mapping
 * @barrier: membarrier(2) command, or 0
 */
struct embedded {
	struct control *control;
	__u32 *reserve;
	size_t size;
	int barrier;
};

static inline struct control *control_of(const struct lfpool *pool)
{
	return ((struct embedded *)pool->private)->control;
}

/* embedded_audit.c; the caller holds the mutex */
int lfp_embedded_audit(struct lfpool *pool, struct lfpool_audit *audit);

#endif /* LFPOOL_EMBEDDED_H */
