/* SPDX-License-Identifier: MIT */
/*
 * lfpool: shared pools of fixed-size buffers for programs that cannot afford
 * malloc on their hot path.
 *
 * The memory belongs to a kernel module, one pool a device node
 * (/dev/lfpool/<name>), or, with the embedded back end, to a memfd of this
 * process. A get or put of an attached thread touches its own cache only: no
 * system call, no lock, no atomic instruction.
 *
 * Functions that return a pointer return NULL and set errno on failure; those
 * that return an int return 0 or a negative errno.
 *
 * Thread safety: everything may be called from any thread at any time, except
 * lfpool_close(), which must be the last call on its pool, and the
 * lfpool_thread_*() functions, which belong to the thread that attached.
 * Signal safety: lfpool_thread_get() and lfpool_thread_put(), and lfpool_get()
 * and lfpool_put() of a thread that has used the pool before, may be called
 * from a signal handler, even one that interrupted them. Not so with
 * LFPOOL_OPEN_FALLBACK, which calls malloc() and free(). A handler must return:
 * a longjmp() out of it leaves the thread on the slow path for good.
 * fork: pools of lfpool_open() are not the child's. Every call on one fails with
 * ESTALE there and touches nothing of the parent's; the child closes it and
 * opens its own. Pools of lfpool_create() are shared with the children: each is
 * a client of its own from its first call on, holds none of its parent's
 * buffers (a buffer crosses over by lfpool_export()), and should close the pool
 * before it ends, as nobody takes back what it leaves. What a program holds of
 * struct lfpool_thread stays valid in the thread that forked. This rests on
 * pthread_atfork(): _Fork() and bare clone() are not for programs with pools,
 * nor is a fork() in a signal handler.
 */
#ifndef LFPOOL_H
#define LFPOOL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <linux/lfpool.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

struct lfpool;

/* flags of lfpool_open() and struct lfpool_config */

/** LFPOOL_OPEN_EMBEDDED - use the embedded back end where the device is absent */
#define LFPOOL_OPEN_EMBEDDED	0x01U
/** LFPOOL_OPEN_FALLBACK - an exhausted pool gives heap memory, counted as a miss */
#define LFPOOL_OPEN_FALLBACK	0x02U
/**
 * LFPOOL_OPEN_CHECKED - find every double put and every put by a non-holder
 *
 * Each is refused, and reported in one line on stderr.
 */
#define LFPOOL_OPEN_CHECKED	0x04U
/**
 * LFPOOL_OPEN_POISON - poison contents on put, verify them on get
 *
 * A buffer that was written to while it was free is reported in one line on
 * stderr, and handed out. Finds double puts as CHECKED does.
 */
#define LFPOOL_OPEN_POISON	0x08U
/** LFPOOL_OPEN_RDONLY - statistics only: no memory is mapped */
#define LFPOOL_OPEN_RDONLY	0x10U

/**
 * struct lfpool_config - geometry of an embedded pool
 * @name:         name for messages and statistics; NULL for "embedded"
 * @buffer_size:  bytes of a buffer, 64..4194304
 * @buffer_count: buffers to start with, 1..1048576
 * @max_count:    how far to grow, @buffer_count..2097152; 0 for twice @buffer_count
 * @max_threads:  most attached threads, 1..4096; 0 for 256
 * @batch:        buffers that move together, 2..29; 0 for 28
 * @flags:        LFPOOL_OPEN_FALLBACK, _CHECKED, _POISON
 * @pool_flags:   LFPOOL_POOL_ZERO or 0
 */
struct lfpool_config {
	const char *name;
	size_t buffer_size;
	unsigned int buffer_count;
	unsigned int max_count;
	unsigned int max_threads;
	unsigned int batch;
	unsigned int flags;
	unsigned int pool_flags;
};

/**
 * struct lfpool_counts - where the buffers of a pool are
 * @available: free: reserve, depot and caches
 * @in_use:    held by programs
 * @cached:    free, in caches of threads
 * @reserve:   free, in the reserve
 * @capacity:  buffers there are
 * @max:       how many there may be
 */
struct lfpool_counts {
	uint64_t available;
	uint64_t in_use;
	uint64_t cached;
	uint64_t reserve;
	uint64_t capacity;
	uint64_t max;
};

/*
 * What the library exports of the calls whose structs may grow: @size is that of
 * the struct as the caller was compiled. Those without it are inline, below.
 *
 * A struct that the library fills: what the caller does not know is left out,
 * what the library does not know is zero. One that it reads: what the caller
 * does not know is zero, and what the library does not know has to be (E2BIG).
 */
struct lfpool *lfpool_create_sized(const struct lfpool_config *config, size_t size);
int lfpool_stats_sized(struct lfpool *pool, struct lfpool_stats *stats, size_t size);
int lfpool_counts_sized(struct lfpool *pool, struct lfpool_counts *counts, size_t size);
int lfpool_audit_sized(struct lfpool *pool, struct lfpool_audit *audit, size_t size);
int lfpool_info_sized(struct lfpool *pool, struct lfpool_info *info, size_t size);

/**
 * lfpool_open - open a pool by its name
 * @name:  "serialization", "compression", "simd", or one that the
 *         administrator added
 * @flags: LFPOOL_OPEN_*
 *
 * Return: the pool, or NULL with errno: EINVAL (a flag or name that cannot be),
 * ENOENT (no such pool), EACCES, ENOMEM, EMFILE, EUSERS (too many clients), EPROTO
 * (a module of another ABI). LFPOOL_OPEN_RDONLY takes no embedded pool: ENOENT.
 */
struct lfpool *lfpool_open(const char *name, unsigned int flags);

/**
 * lfpool_create - make an embedded pool, for the threads of this process and
 * the children that it forks
 * @config: its geometry
 *
 * Return: the pool, or NULL with errno: EINVAL, ENOMEM, EMFILE and ENFILE (it
 * opens a file for a moment).
 */
static inline struct lfpool *lfpool_create(const struct lfpool_config *config)
{
	return lfpool_create_sized(config, config ? sizeof(*config) : 0);
}

/**
 * lfpool_close - give the pool back
 * @pool: the pool; NULL is ignored
 *
 * Buffers that this process still holds go back to the pool. No other thread
 * may use the pool any more.
 */
void lfpool_close(struct lfpool *pool);

/**
 * lfpool_get - get a buffer; never blocks
 *
 * The first get or put of a thread attaches it; one that finds all slots taken
 * works as well, but goes to the back end each time. The buffer is aligned to 64
 * bytes, to a page (4096) if it has that many; its contents are what the last user
 * left there, or zero if the pool has LFPOOL_POOL_ZERO. Return: the buffer, or NULL
 * with errno: ENOBUFS (exhausted), ESTALE (the pool was inherited by fork),
 * EBADF (read-only), EUCLEAN (another client spoilt the shared state), ENOMEM.
 */
void *lfpool_get(struct lfpool *pool);

/**
 * lfpool_get_wait - get a buffer, wait for one if there is none
 * @timeout_ns: nanoseconds to wait at most; < 0 for ever
 *
 * Counted as one miss if it had to wait. With LFPOOL_OPEN_FALLBACK it never
 * waits. Return: as lfpool_get(), or NULL with errno ETIMEDOUT, EINTR.
 */
void *lfpool_get_wait(struct lfpool *pool, int64_t timeout_ns);

/**
 * lfpool_put - put a buffer back
 * @buffer: what a get or import of this process gave; any thread may put it
 *
 * Return: 0; -EINVAL: not a buffer of this pool; -ESTALE: not ours (any more), or
 * the pool was inherited by fork; -EBADF: the pool is read-only; -EUSERS: no client
 * id is left for this forked child; -EALREADY: put twice. A second put that follows
 * at once is always refused: with -EALREADY, or -ESTALE if the buffer has left this
 * thread's cache already (somebody waited for it). With LFPOOL_OPEN_CHECKED every
 * put of a free buffer is refused with -EALREADY, whenever and in whatever thread
 * (-ESTALE if it is in a cache of a process that does not check). Nothing
 * changes when it fails.
 */
int lfpool_put(struct lfpool *pool, void *buffer);

/**
 * lfpool_get_bulk - get up to @n buffers
 *
 * Return: how many it got, 0..@n; with less than @n, errno says why.
 */
unsigned int lfpool_get_bulk(struct lfpool *pool, void **buffers, unsigned int n);

/**
 * lfpool_put_bulk - put @n buffers back
 *
 * Return: how many were put; with less than @n, errno says why the next one,
 * buffers[return value], was refused.
 */
unsigned int lfpool_put_bulk(struct lfpool *pool, void *const *buffers, unsigned int n);

/** lfpool_buffer_size - usable bytes of each buffer */
size_t lfpool_buffer_size(const struct lfpool *pool);

/**
 * lfpool_prefill - move @n buffers from the reserve to the depot ahead of time
 *
 * Asks for no more than the reserve has at that moment. Return: 0; -ENOBUFS: the
 * reserve had fewer (what there was is moved); -EUSERS: this thread has no slot;
 * -EBUSY: in a signal handler that interrupted a get or put; -EBADF, -ESTALE as
 * lfpool_put(); -ENOMEM.
 */
int lfpool_prefill(struct lfpool *pool, unsigned int n);

/**
 * lfpool_export - make a handle by which another process can take a buffer over
 * @buffer: a buffer that this process holds
 * @handle: the handle, {generation:32, index:32}
 *
 * The buffer stays this process's until somebody imports the handle. Return:
 * 0, -EINVAL, -ESTALE or -EBADF as lfpool_put().
 */
int lfpool_export(struct lfpool *pool, void *buffer, uint64_t *handle);

/**
 * lfpool_import - take an exported buffer over
 * @handle: what lfpool_export() gave
 *
 * Return: the buffer, or NULL with errno ESTALE (somebody else was first, or
 * its holder put it or died; the pool was inherited by fork), EINVAL (no handle
 * of this pool) or EBADF (read-only).
 */
void *lfpool_import(struct lfpool *pool, uint64_t handle);

/**
 * lfpool_export_bulk - make handles of @n buffers
 *
 * Return: how many were exported; with less than @n, errno says why the next
 * one, buffers[return value], was refused.
 */
unsigned int lfpool_export_bulk(struct lfpool *pool, void *const *buffers, uint64_t *handles,
				unsigned int n);

/**
 * lfpool_import_bulk - take @n exported buffers over
 *
 * For a receiver that finds several handles at a time: what the sender's core
 * has of them comes over at once instead of one after the other. Return: how
 * many it took; with less than @n, errno says why the next one,
 * handles[return value], was refused. Those behind it were not tried.
 */
unsigned int lfpool_import_bulk(struct lfpool *pool, const uint64_t *handles, void **buffers,
				unsigned int n);

/*
 * The next four: 0; -ESTALE: the pool was inherited by fork. They are all that a
 * read-only pool is for, but lfpool_reset_stats(), which is -EBADF there. The
 * embedded back end needs memory to look at the buffers one by one (all but
 * lfpool_reset_stats()): -ENOMEM.
 */

/** lfpool_stats - statistics; sets every field, @stats->size to what the library knows of it */
static inline int lfpool_stats(struct lfpool *pool, struct lfpool_stats *stats)
{
	return lfpool_stats_sized(pool, stats, sizeof(*stats));
}

/** lfpool_reset_stats - zero the counters, not the state */
int lfpool_reset_stats(struct lfpool *pool);

/** lfpool_counts - where the buffers are; exact while nobody moves any */
static inline int lfpool_counts(struct lfpool *pool, struct lfpool_counts *counts)
{
	return lfpool_counts_sized(pool, counts, sizeof(*counts));
}

/** lfpool_audit - where every buffer is; lost and duplicate must be 0 */
static inline int lfpool_audit(struct lfpool *pool, struct lfpool_audit *audit)
{
	return lfpool_audit_sized(pool, audit, sizeof(*audit));
}

/**
 * lfpool_fd - for poll(): POLLIN when a get would succeed
 *
 * The descriptor belongs to the pool: do not close it, read it or map it.
 * Return: the descriptor; -EOPNOTSUPP: the back end is embedded, lfpool_get_wait()
 * is all there is; -EBADF: it is read-only, and has no buffers to wait for;
 * -ESTALE.
 */
int lfpool_fd(const struct lfpool *pool);

/**
 * lfpool_info - geometry of the pool; sets every field
 *
 * Return: 0; -ESTALE as above; -EUSERS as lfpool_put().
 */
static inline int lfpool_info(struct lfpool *pool, struct lfpool_info *info)
{
	return lfpool_info_sized(pool, info, sizeof(*info));
}

/*
 * The fast path
 * =============
 *
 * A thread's cache is its slot, in the memory that all clients share; the
 * kernel takes the cached buffers of a thread that idles (scavenge). Both agree
 * by an asymmetric Dekker protocol: the thread stores busy and then loads
 * revoked, without a fence; the kernel stores revoked, makes every CPU pass a
 * full barrier, and then loads busy. All accesses to the slot are volatile,
 * hence ordered among themselves by the compiler, and nothing more is needed:
 * a "memory" clobber would make it reload the fields of struct lfpool_thread.
 *
 * busy also guards against re-entry: a signal handler that finds it set goes
 * straight to the kernel.
 */
#if defined(__SANITIZE_THREAD__)
# define LFPOOL_TSAN 1
#elif defined(__has_feature)
# if __has_feature(thread_sanitizer)
#  define LFPOOL_TSAN 1
# endif
#endif

#if defined(LFPOOL_TSAN)
# define LFPOOL_READ(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
# define LFPOOL_WRITE(x, v)	__atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#else
# define LFPOOL_READ(x)		(*(const volatile __typeof__(x) *)&(x))
# define LFPOOL_WRITE(x, v)	(*(volatile __typeof__(x) *)&(x) = (v))
#endif
/*
 * Leaves the cache: what was done to it must be visible before. Pairs with the
 * acquire load of busy in scavenge. On x86 every store is a release.
 */
#if defined(__x86_64__) && !defined(LFPOOL_TSAN)
# define LFPOOL_WRITE_RELEASE(x, v)	LFPOOL_WRITE(x, v)
#else
# define LFPOOL_WRITE_RELEASE(x, v)	__atomic_store_n(&(x), (v), __ATOMIC_RELEASE)
#endif
/*
 * Asks whether the cache is ours, before anything in it is read: n and item as
 * read afterwards are not older than the answer. Pairs with the release store
 * of revoked = 0 that ends a scavenge, after its n = 0. On x86 every load is an
 * acquire.
 */
#if defined(__x86_64__) && !defined(LFPOOL_TSAN)
# define LFPOOL_READ_ACQUIRE(x)		LFPOOL_READ(x)
#else
# define LFPOOL_READ_ACQUIRE(x)		__atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#endif
/*
 * Hands the contents of a buffer back, too: no load or store of the caller, which
 * are plain ones, moves down past it. Volatile accesses are not ordered with
 * them. On x86 nothing else is needed; elsewhere the release store of busy does
 * it. Stands in front of the loads of a put, so that it makes none of them twice.
 *
 * A get has no counterpart: the contents are found by the index that it loads
 * from the cache, and are this thread's own since they came there.
 */
#if defined(__x86_64__) && !defined(LFPOOL_TSAN)
# define LFPOOL_HAND_BACK(buffer)	__asm__ volatile("" : : "r"(buffer) : "memory")
#else
# define LFPOOL_HAND_BACK(buffer)	do { } while (0)
#endif
/*
 * One more in a counter that only this thread writes. One instruction where
 * there is one: of volatile accesses the compiler never makes it.
 */
#if defined(__x86_64__) && !defined(LFPOOL_TSAN)
# define LFPOOL_COUNT(x)	__asm__ volatile("incq %0" : "+m"(x) : : "cc")
#else
# define LFPOOL_COUNT(x)	LFPOOL_WRITE(x, LFPOOL_READ(x) + 1)
#endif
#define LFPOOL_LIKELY(x)	__builtin_expect(!!(x), 1)
#define LFPOOL_UNLIKELY(x)	__builtin_expect(!!(x), 0)
/*
 * On x86 the words are compared, loaded and stored by instructions of our own:
 * of a volatile access the compiler makes no operand of another instruction, and
 * it does not know that a load of 32 bits clears the rest of a register.
 *
 * LFPOOL_GOTO_IF(x, label), _IF_ACQUIRE: leave for a label if a word is set.
 * LFPOOL_GOTO_IF_IS(x, value, label), _IF_NOT: if (the low half of) a word is or
 * is not a value of 32 bits.
 * LFPOOL_LOAD(to, x), LFPOOL_STORE(x, value): a word of 32 bits, and an unsigned
 * long.
 * LFPOOL_LEAVE(s, number): ends a section of busy, with so many buffers in the
 * cache. On x86 one store of 64 bits does both, as busy stands behind n; the fewer
 * stores a get or put makes, the fewer stand before the caller's own.
 */
#if defined(__x86_64__) && !defined(LFPOOL_TSAN)
# define LFPOOL_GOTO_IF(x, label)						\
	__asm__ goto volatile("cmpl $0, %0\n\tjne %l1" : : "m"(x) : "cc" : label) /* NOLINT */
# define LFPOOL_GOTO_IF_ACQUIRE(x, label)	LFPOOL_GOTO_IF(x, label)
# define LFPOOL_GOTO_IF_IS(x, value, label)					\
	__asm__ goto volatile("cmpl %k1, %0\n\tje %l2"				\
			      : : "m"(x), "r"(value) : "cc" : label) /* NOLINT */
# define LFPOOL_GOTO_IF_NOT(x, value, label)					\
	__asm__ goto volatile("cmpl %k1, %0\n\tjne %l2"			\
			      : : "m"(x), "r"(value) : "cc" : label) /* NOLINT */
# define LFPOOL_LOAD(to, x)	__asm__ volatile("movl %1, %k0" : "=r"(to) : "m"(x))
# define LFPOOL_STORE(x, value)	__asm__ volatile("movl %k1, %0" : "=m"(x) : "r"(value))
# define LFPOOL_LEAVE(s, number)						\
	__asm__ volatile("movq %2, %0"						\
			 : "=m"((s)->n), "=m"((s)->busy) : "r"((unsigned long long)(number)))
#else
# define LFPOOL_GOTO_IF(x, label)						\
	do { if (LFPOOL_UNLIKELY(LFPOOL_READ(x))) goto label; } while (0)
# define LFPOOL_GOTO_IF_ACQUIRE(x, label)					\
	do { if (LFPOOL_UNLIKELY(LFPOOL_READ_ACQUIRE(x))) goto label; } while (0)
# define LFPOOL_GOTO_IF_IS(x, value, label)					\
	do { if (LFPOOL_UNLIKELY((__u32)LFPOOL_READ(x) == (__u32)(value))) goto label; } while (0)
# define LFPOOL_GOTO_IF_NOT(x, value, label)					\
	do { if (LFPOOL_UNLIKELY((__u32)LFPOOL_READ(x) != (__u32)(value))) goto label; } while (0)
# define LFPOOL_LOAD(to, x)	((to) = LFPOOL_READ(x))
# define LFPOOL_STORE(x, value)	LFPOOL_WRITE(x, (__u32)(value))
# define LFPOOL_LEAVE(s, number)						\
	do {									\
		LFPOOL_WRITE((s)->n, (__u32)(number));				\
		LFPOOL_WRITE_RELEASE((s)->busy, 0);				\
	} while (0)
#endif

/*
 * The label in front of a slow path. The compiler cannot tell how likely the
 * jumps of LFPOOL_GOTO_IF() are.
 */
#if defined(__clang__)
# define LFPOOL_COLD
#else
# define LFPOOL_COLD		__attribute__((cold));
#endif

/*
 * Injection points: empty in production. The crash tests compile the library
 * with a definition that delays or dies there (number, as in depot.h).
 */
#ifndef LFPOOL_INJECT
# define LFPOOL_INJECT(nr)	do { } while (0)
#endif

/**
 * struct lfpool_thread - a thread's view of a pool
 *
 * Private: only for the inline functions below. A thread without a slot, one
 * of a checking pool and one inherited by fork have @slot point to a slot of
 * their own that is revoked for ever, so that all of them take the slow path
 * at no cost for the others; in a forked child @count is 0, too.
 *
 * No field has the type of a field of struct lfpool_slot: so the compiler knows
 * that a store to the slot changes none of them, and may keep them in registers.
 */
struct lfpool_thread {
	struct lfpool_slot *slot;
	struct lfpool_desc *desc;
	unsigned char *data;
	const __u32 *waiters;
	unsigned long client;	/* owner word's low half of a buffer that is ours */
	unsigned long shift;	/* log2 of the stride */
	unsigned long count;	/* of descriptors */
	unsigned long full;	/* a cache of so many buffers must be flushed */
	/*
	 * A cache of no more than so many: get's slow path, which refills it; all
	 * ones where it has to clear each buffer, too.
	 */
	unsigned long least;
};

/**
 * lfpool_attach - this thread's cache, for callers that keep it at hand
 *
 * Return: the same pointer on every call of a thread, valid until the thread
 * ends or the pool is closed; NULL with errno ENOMEM, EBADF, ESTALE.
 */
struct lfpool_thread *lfpool_attach(struct lfpool *pool);

/* the out-of-line rest of the two functions below */
void *lfpool_thread_get_slow(struct lfpool_thread *t);
int lfpool_thread_put_slow(struct lfpool_thread *t, void *buffer);

/**
 * lfpool_thread_get - lfpool_get() for the calling thread's @t, inline
 */
static inline void *lfpool_thread_get(struct lfpool_thread *t)
{
	struct lfpool_slot *s = t->slot;
	unsigned long n, i;

	LFPOOL_GOTO_IF(s->busy, slow);
	LFPOOL_INJECT(1);
	LFPOOL_WRITE(s->busy, 1);
	LFPOOL_INJECT(2);
	LFPOOL_GOTO_IF_ACQUIRE(s->revoked, leave);
	LFPOOL_LOAD(n, s->n);
	if (LFPOOL_UNLIKELY(n <= t->least))
		goto leave;
	LFPOOL_INJECT(3);
	LFPOOL_LOAD(i, s->item[n - 1]);
	LFPOOL_COUNT(s->gets);
	LFPOOL_INJECT(4);
	LFPOOL_LEAVE(s, n - 1);
	return t->data + ((size_t)i << t->shift);

leave: LFPOOL_COLD
	LFPOOL_WRITE_RELEASE(s->busy, 0);
slow: LFPOOL_COLD
	return lfpool_thread_get_slow(t);
}

/**
 * lfpool_thread_put - lfpool_put() for the calling thread's @t, inline
 */
static inline int lfpool_thread_put(struct lfpool_thread *t, void *buffer)
{
	uintptr_t off = (uintptr_t)buffer - (uintptr_t)t->data;
	struct lfpool_slot *s = t->slot;
	const unsigned int bits = 8 * sizeof(off);
	unsigned long i, n;

	LFPOOL_HAND_BACK(buffer);
	/* rotated, so that an unaligned offset is out of range as well */
	i = off >> t->shift | off << (bits - t->shift);
	if (LFPOOL_UNLIKELY(i >= t->count))
		goto slow;
	LFPOOL_GOTO_IF_NOT(t->desc[i].word, t->client, slow);
	LFPOOL_GOTO_IF(s->busy, slow);
	LFPOOL_INJECT(5);
	LFPOOL_WRITE(s->busy, 1);
	LFPOOL_INJECT(6);
	/*
	 * The load of waiters stands inside busy as the one of revoked does: a
	 * waiter counts itself, makes every CPU pass a full barrier and then
	 * looks into the caches. So it sees this buffer, or we see the waiter,
	 * or it sees that we are busy and looks again.
	 */
	LFPOOL_GOTO_IF_ACQUIRE(s->revoked, leave);
	LFPOOL_GOTO_IF(*t->waiters, leave);
	LFPOOL_LOAD(n, s->n);
	if (LFPOOL_UNLIKELY(n >= t->full))
		goto leave;
	/*
	 * Put twice, at once? In front of an empty cache stands a zero of the slot's
	 * reserved field: buffer 0 takes the slow path then, which knows.
	 */
	LFPOOL_GOTO_IF_IS(*(const __u32 *)((const char *)s->item + 4 * n - 4), i, leave);
	LFPOOL_INJECT(7);
	LFPOOL_STORE(s->item[n], i);
	LFPOOL_COUNT(s->puts);
	LFPOOL_INJECT(8);
	LFPOOL_LEAVE(s, n + 1);
	return 0;

leave: LFPOOL_COLD
	LFPOOL_WRITE_RELEASE(s->busy, 0);
slow: LFPOOL_COLD
	return lfpool_thread_put_slow(t, buffer);
}

/*
 * The three pools that every module has
 */

/** struct lfpool_f64x4 - the element of a simd buffer; compilers make it one register */
struct lfpool_f64x4 {
	double lane[4];
} __attribute__((aligned(32)));

/** lfpool_open_serialization - for messages; contents as the last user left them */
static inline struct lfpool *lfpool_open_serialization(unsigned int flags)
{
	return lfpool_open("serialization", flags);
}

/** lfpool_open_compression - for packed data; contents as the last user left them */
static inline struct lfpool *lfpool_open_compression(unsigned int flags)
{
	return lfpool_open("compression", flags);
}

/** lfpool_open_simd - for arrays of struct lfpool_f64x4; zero after a get */
static inline struct lfpool *lfpool_open_simd(unsigned int flags)
{
	return lfpool_open("simd", flags);
}

/** lfpool_simd_elements - number of struct lfpool_f64x4 in a buffer */
static inline size_t lfpool_simd_elements(const struct lfpool *pool)
{
	return lfpool_buffer_size(pool) / sizeof(struct lfpool_f64x4);
}

/*
 * Guard
 */

/**
 * struct lfpool_guard - a buffer that goes back at the end of its scope
 * @pool: where it goes back
 * @data: the buffer; NULL if there was none or it was put early
 */
struct lfpool_guard {
	struct lfpool *pool;
	void *data;
};

/** lfpool_guard_put - put the guard's buffer back now; -EALREADY the next time */
int lfpool_guard_put(struct lfpool_guard *guard);

/* what the end of the scope calls */
void lfpool_guard_end(struct lfpool_guard *guard);

static inline struct lfpool_guard lfpool_guard_get(struct lfpool *pool)
{
	struct lfpool_guard guard = { pool, lfpool_get(pool) };

	return guard;
}

/**
 * LFPOOL_GUARD - declare a guard: gets a buffer, puts it at the end of the scope
 * @name: of the variable; name.data is the buffer, or NULL with errno
 * @pool: the pool
 */
#define LFPOOL_GUARD(name, pool)					\
	struct lfpool_guard name					\
	__attribute__((cleanup(lfpool_guard_end))) = lfpool_guard_get(pool)

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif /* LFPOOL_H */
