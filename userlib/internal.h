/* SPDX-License-Identifier: MIT */
/*
 * What the library's files share, and the objects it is made of.
 *
 *   struct lfpool   a handle: one client of a pool. The list of handles, and
 *                   each handle's list of threads, are guarded by lfp_lock().
 *   struct thread   an attached thread's view of one pool. It belongs to that
 *                   thread, which alone frees it: at its end, at its next
 *                   attach, or in lfpool_close(). lfpool_close() in another
 *                   thread only cuts it off (thread.pool = NULL). So a thread
 *                   that ends while another one closes the pool is no race, and
 *                   the thread-local table never points at freed memory.
 *
 * Lock order: lfp_lock(), then a pool's heap.lock or the embedded back end's
 * mutex. All of them are taken with every signal blocked, so that a signal
 * handler may call get and put wherever it interrupts. No lock is taken on the
 * way of a get or put that the cache or the depot can satisfy.
 */
#ifndef LFPOOL_INTERNAL_H
#define LFPOOL_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

#include "lfpool.h"
#include "depot.h"

#define LFP_CACHELINE	128

/* struct lfpool.refuse: an embedded pool inherited by fork and not used yet */
#define LFP_INHERITED	1

/**
 * struct lfp_ops - what differs between the back ends
 * @attach:  a slot for the calling thread: zeroed, journal LFPOOL_NONE
 * @detach:  gives it back; what its cache holds goes to the reserve
 * @refill:  reserve -> this client; returns how many, or a negative errno
 * @release: this client -> reserve
 * @wait:    waits for one buffer
 * @wake:    wakes who waits, after a push to the depot
 * @stats, @reset_stats, @audit: as the ioctls
 * @fd:      a descriptor for poll(), or a negative errno
 * @adopt:   in a forked child, before first use: become a client of its own
 *           (only of a pool with inherited set)
 * @close:   the last call: drops everything that is the back end's
 *
 * Every function may be called by any thread at any time, except @adopt and
 * @close. In a signal handler too: @attach, @refill, @release and @wake, which is
 * what a get or put may come to; of the others some allocate memory, or wait.
 */
struct lfp_ops {
	int (*attach)(struct lfpool *pool, __u32 *slot);
	void (*detach)(struct lfpool *pool, __u32 slot);
	int (*refill)(struct lfpool *pool, __u32 *items, unsigned int n, unsigned int flags,
		      unsigned int *grown);
	int (*release)(struct lfpool *pool, const __u32 *items, unsigned int n,
		       unsigned int flags);
	int (*wait)(struct lfpool *pool, int64_t timeout_ns, __u32 *item);
	void (*wake)(struct lfpool *pool);
	int (*stats)(struct lfpool *pool, struct lfpool_stats *stats);
	int (*reset_stats)(struct lfpool *pool);
	int (*audit)(struct lfpool *pool, struct lfpool_audit *audit);
	int (*fd)(const struct lfpool *pool);
	int (*adopt)(struct lfpool *pool);
	void (*close)(struct lfpool *pool);
};

/**
 * struct lfp_heap - buffers that an exhausted pool took from the heap
 * @lock:  guards the fields below
 * @slots: hash table of addresses, open addressing; @mask + 1 entries
 * @used:  entries in use
 *
 * (LFPOOL_OPEN_FALLBACK; debug.c)
 */
struct lfp_heap {
	pthread_mutex_t lock;
	void **slots;
	size_t mask;
	size_t used;
};

struct lfpool {
	/* constant while the pool is open */
	uint64_t serial;		/* never used again */
	const struct lfp_ops *ops;
	unsigned int flags;		/* LFPOOL_OPEN_* */
	bool checked;			/* CHECKED or POISON: no inline fast path */
	bool inherited;			/* forked children may use it: lfpool_create() */
	struct lfpool_info info;
	unsigned char *base;		/* the mapping; NULL if read-only */
	struct lfpool_slot *slots;
	unsigned char *data;
	unsigned int shift;		/* log2 of the stride */
	int fd;
	void *private;			/* the back end's */

	/* change in a forked child only, before anybody uses the pool there */
	int refuse;			/* 0, LFP_INHERITED, or why nothing works: -errno */
	__u32 client;
	struct depot depot;

	struct lfp_heap heap;

	/* guarded by lfp_lock() */
	struct lfpool *next;
	struct thread *threads;
};

struct thread {
	struct lfpool_thread t;		/* first: the public view */
	uint64_t serial;		/* the pool's */
	struct lfpool *pool;		/* NULL: closed */
	struct lfpool_slot *slot;	/* the real one, whatever t.slot says; or NULL */
	__u32 slot_nr;
	bool bound;			/* asked for a slot in this process */
	bool gone;			/* belonged to a thread that fork left behind */
	unsigned int direct;		/* gets without a slot since it asked for one */
	struct thread *pool_next;	/* guarded by lfp_lock() */
	struct thread *own_next;	/* this thread's others */
	/* revoked for ever: sends the inline functions to the slow path */
	struct lfpool_slot gate __attribute__((aligned(LFP_CACHELINE)));
};

/* thread.c */
#define LFP_SELF	8
extern __thread struct thread *lfp_self_table[LFP_SELF]
	__attribute__((tls_model("initial-exec")));

struct thread *lfp_self_slow(struct lfpool *pool);
int lfp_enter_slow(struct thread *th);
void lfp_lock(sigset_t *old);
void lfp_unlock(const sigset_t *old);
int lfp_register(struct lfpool *pool);
void lfp_unregister(struct lfpool *pool);
int lfp_refused(struct lfpool *pool);
void *lfp_hand_out(struct lfpool *pool, __u32 i);
void lfp_wake_waiters(struct lfpool *pool);

/* this thread's view of the pool; NULL and errno if there can be none */
static inline struct thread *lfp_self(struct lfpool *pool)
{
	struct thread *th = lfp_self_table[pool->serial % LFP_SELF];

	if (LFPOOL_UNLIKELY(!th || th->serial != pool->serial))
		th = lfp_self_slow(pool);
	return th;
}

/* pairs with the release in lfp_refused(): 0, and the client's id is the new one */
static inline int lfp_refuse(const struct lfpool *pool)
{
	return __atomic_load_n(&pool->refuse, __ATOMIC_ACQUIRE);
}

/* 0 if the thread may use the pool, else a negative errno */
static inline int lfp_enter(struct thread *th)
{
	if (LFPOOL_UNLIKELY(lfp_refuse(th->pool) || !th->bound))
		return lfp_enter_slow(th);
	return 0;
}

/* 0 if buffers may be moved, else a negative errno */
static inline int lfp_usable(struct lfpool *pool)
{
	return LFPOOL_UNLIKELY(lfp_refuse(pool)) ? lfp_refused(pool) : 0;
}

/* index of the buffer at an address; any number from depot.count on: none */
static inline uintptr_t lfp_index(const struct lfpool *pool, const void *buffer)
{
	uintptr_t off = (uintptr_t)buffer - (uintptr_t)pool->data;

	/* rotated, as in lfpool_thread_put() */
	return off >> pool->shift | off << (8 * sizeof(off) - pool->shift);
}

static inline void *lfp_address(const struct lfpool *pool, __u32 i)
{
	return pool->data + ((size_t)i << pool->shift);
}

static inline struct lfpool_slot *slot_of(const struct lfpool *pool, unsigned int nr)
{
	return (struct lfpool_slot *)((unsigned char *)pool->slots +
				      (size_t)nr * pool->info.slot_stride);
}

/* flags of a refill whose buffers go into a cache or batch */
static inline unsigned int lfp_refill_flags(const struct lfpool *pool)
{
	return pool->checked ? LFPOOL_REFILL_FREE : 0;
}

static inline void count_up(__u64 *counter, unsigned int n)
{
	LFPOOL_WRITE(*counter, LFPOOL_READ(*counter) + n);
}

/* Enters the slot. False: it is not ours to touch, go straight to the back end. */
static inline bool enter_slot(struct lfpool_slot *s)
{
	if (!s || LFPOOL_READ(s->busy))
		return false;
	LFPOOL_WRITE(s->busy, 1);
	if (!LFPOOL_READ_ACQUIRE(s->revoked))
		return true;
	LFPOOL_WRITE_RELEASE(s->busy, 0);
	return false;
}

static inline void leave_slot(struct lfpool_slot *s)
{
	LFPOOL_WRITE_RELEASE(s->busy, 0);
}

/* pool.c */
int lfp_map(struct lfpool *pool, unsigned char *base);

/* device.c, embedded.c */
extern const struct lfp_ops lfp_device_ops;
extern const struct lfp_ops lfp_embedded_ops;
int lfp_device_open(struct lfpool *pool, const char *name);
int lfp_embedded_open(struct lfpool *pool, const struct lfpool_config *config, bool inherit);

/* debug.c */
int lfp_debug_init(struct lfpool *pool);
void lfp_debug_exit(struct lfpool *pool);
int lfp_debug_claim(struct lfpool *pool, __u32 i);
void lfp_debug_granted(struct lfpool *pool, const __u32 *items, unsigned int n);
void lfp_debug_get(struct lfpool *pool, __u32 i);
void *lfp_heap_get(struct lfpool *pool);
int lfp_heap_put(struct lfpool *pool, void *buffer);

#endif /* LFPOOL_INTERNAL_H */
