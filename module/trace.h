/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lfpool: tracepoints, all off the fast path.
 *
 * Each has the pool's name. For example, who is refused buffers, and when:
 *
 *	perf trace -e lfpool:exhausted
 *	bpftrace -e 'tracepoint:lfpool:exhausted { @[comm, str(args->pool)] = count(); }'
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM lfpool

#if !defined(_LFPOOL_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _LFPOOL_TRACE_H

#include <linux/tracepoint.h>
#include <linux/version.h>
#include "internal.h"

#undef lfpool_assign_str
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
#define lfpool_assign_str(dst, src)	__assign_str(dst, src)
#else
#define lfpool_assign_str(dst, src)	__assign_str(dst)
#endif

/* a number of buffers, and the client they went to or came from */
DECLARE_EVENT_CLASS(lfpool_buffers,
	TP_PROTO(const struct lfpool_pool *pool, u32 client, u32 count),
	TP_ARGS(pool, client, count),
	TP_STRUCT__entry(
		__string(pool, pool->name)
		__field(u32, client)
		__field(u32, count)
	),
	TP_fast_assign(
		lfpool_assign_str(pool, pool->name);
		__entry->client = client;
		__entry->count = count;
	),
	TP_printk("pool=%s client=%u count=%u", __get_str(pool), __entry->client, __entry->count)
);

/* buffers were given to a client */
DEFINE_EVENT(lfpool_buffers, grant,
	TP_PROTO(const struct lfpool_pool *pool, u32 client, u32 count),
	TP_ARGS(pool, client, count)
);

/* a client asked and got none */
DEFINE_EVENT(lfpool_buffers, exhausted,
	TP_PROTO(const struct lfpool_pool *pool, u32 client, u32 count),
	TP_ARGS(pool, client, count)
);

/* a thread attached; count: threads of the pool */
DEFINE_EVENT(lfpool_buffers, client_attach,
	TP_PROTO(const struct lfpool_pool *pool, u32 client, u32 count),
	TP_ARGS(pool, client, count)
);

/* a thread detached; count: threads of the pool */
DEFINE_EVENT(lfpool_buffers, client_detach,
	TP_PROTO(const struct lfpool_pool *pool, u32 client, u32 count),
	TP_ARGS(pool, client, count)
);

/* what a client still held or cached when it ended was taken back (R2) */
DEFINE_EVENT(lfpool_buffers, reclaim,
	TP_PROTO(const struct lfpool_pool *pool, u32 client, u32 count),
	TP_ARGS(pool, client, count)
);

/* a number of buffers, and the pool's capacity */
DECLARE_EVENT_CLASS(lfpool_pool,
	TP_PROTO(const struct lfpool_pool *pool, u32 count),
	TP_ARGS(pool, count),
	TP_STRUCT__entry(
		__string(pool, pool->name)
		__field(u32, count)
		__field(u32, capacity)
	),
	TP_fast_assign(
		lfpool_assign_str(pool, pool->name);
		__entry->count = count;
		__entry->capacity = pool->capacity;
	),
	TP_printk("pool=%s count=%u capacity=%u", __get_str(pool), __entry->count,
		  __entry->capacity)
);

/* the pool grew */
DEFINE_EVENT(lfpool_pool, grow,
	TP_PROTO(const struct lfpool_pool *pool, u32 count),
	TP_ARGS(pool, count)
);

/* buffers were taken from the caches of idle threads */
DEFINE_EVENT(lfpool_pool, scavenge,
	TP_PROTO(const struct lfpool_pool *pool, u32 count),
	TP_ARGS(pool, count)
);

/* buffers of orphans were taken back (R1) */
DEFINE_EVENT(lfpool_pool, orphan,
	TP_PROTO(const struct lfpool_pool *pool, u32 count),
	TP_ARGS(pool, count)
);

/* a buffer of a dead client is still pinned */
DEFINE_EVENT(lfpool_pool, quarantine,
	TP_PROTO(const struct lfpool_pool *pool, u32 count),
	TP_ARGS(pool, count)
);

#endif /* _LFPOOL_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH module
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
