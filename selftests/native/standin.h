/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A stand-in for the module: a pool in memory that processes share by fork,
 * with the module's own recovery engine, and the library on top.
 *
 * lfpool_open() of a program that links this gives a client of the pool that
 * standin_init() was called with last. What the module does in an ioctl is done
 * here under a mutex, in the same order of steps.
 *
 * A process that is stepped through an operation must not be killed with the
 * mutex held: no process dies within the kernel. So it leaves its call in its
 * struct standin_call, and its tracer serves it.
 */
#ifndef LFPOOL_NATIVE_STANDIN_H
#define LFPOOL_NATIVE_STANDIN_H

#include <pthread.h>
#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/lfpool.h>

#include "../shim/engine.h"

#define STANDIN_COUNT		40
#define STANDIN_THREADS		8
#define STANDIN_CLIENTS		16
#define STANDIN_BATCH		4
#define STANDIN_STRIDE		64
#define STANDIN_LONGS		BITS_TO_LONGS(STANDIN_COUNT)

enum standin_nr {
	STANDIN_NONE,
	STANDIN_OPEN,
	STANDIN_ATTACH,
	STANDIN_DETACH,
	STANDIN_REFILL,
	STANDIN_RELEASE,
	STANDIN_AUDIT,
	STANDIN_STATS,
	STANDIN_CLOSE,
};

/**
 * struct standin_call - a call of a client
 * @nr:     what; back to STANDIN_NONE when it is served
 * @client: who
 * @n:      in: how many, or which slot
 * @ret:    out
 * @items:  in or out
 * @audit, @reserve: out
 */
struct standin_call {
	u32 nr;
	u32 client;
	u32 n;
	int ret;
	u32 items[LFPOOL_XFER_MAX];
	struct lfpool_audit audit;
	u64 reserve;
};

/**
 * struct standin - the pool, all of it in one piece that can be copied
 * @lock:    guards what follows up to @depot
 * @scavenging: look into caches, too, when nothing is left (one process only)
 * @deferred: orphans were not decided at the last look
 * @clients: ids of the living, ascending
 *
 * What the module keeps in kernel memory, then what it shares.
 */
struct standin {
	pthread_mutex_t lock;
	bool scavenging;
	u32 deferred;
	u32 last_id;
	u32 clients_nr;
	u32 clients[STANDIN_CLIENTS];
	u32 owner[STANDIN_THREADS];
	unsigned long present[STANDIN_LONGS];
	unsigned long kernel[STANDIN_LONGS];
	unsigned long chained[STANDIN_LONGS];
	unsigned long journaled[STANDIN_LONGS];
	unsigned long mark[STANDIN_LONGS];
	unsigned long reclaim[STANDIN_LONGS];
	u64 word[STANDIN_COUNT];

	struct lfpool_depot depot __attribute__((aligned(128)));
	struct lfpool_slot slots[STANDIN_THREADS] __attribute__((aligned(128)));
	struct lfpool_desc descs[STANDIN_COUNT] __attribute__((aligned(128)));
	unsigned char data[STANDIN_COUNT * STANDIN_STRIDE] __attribute__((aligned(128)));
};

/* where a stepped process leaves its calls; NULL: it makes them itself */
extern struct standin_call *standin_deferred;

void standin_init(struct standin *w);
struct lfpool_view standin_view(struct standin *w);
void standin_serve(struct standin *w, struct standin_call *call);
u32 standin_connect(struct standin *w);
u32 standin_settle(struct standin *w);
u32 standin_died(struct standin *w, const u32 *dead, u32 nr, u32 *deferred);
u32 standin_orphans(struct standin *w, u32 *deferred);
u32 standin_drain_depot(struct standin *w);
struct lfpool_audit standin_audit(struct standin *w);

#endif /* LFPOOL_NATIVE_STANDIN_H */
