/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cmpxchg and barriers in user space.
 */
#ifndef SHIM_LINUX_ATOMIC_H
#define SHIM_LINUX_ATOMIC_H

#include <linux/compiler.h>

/*
 * ThreadSanitizer knows no fences, and gcc warns of them. It needs none here:
 * whatever the engine shares is accessed by atomic operations there. What is
 * left is to keep the hardware in order.
 */
#if defined(SHIM_TSAN) && defined(__x86_64__)
# define smp_mb()	__asm__ __volatile__("mfence" ::: "memory")
# define smp_rmb()	barrier()
#elif defined(SHIM_TSAN)
# error "smp_mb() without __atomic_thread_fence() is not known for this machine"
#else
# define smp_mb()	__atomic_thread_fence(__ATOMIC_SEQ_CST)
# define smp_rmb()	__atomic_thread_fence(__ATOMIC_ACQUIRE)
#endif
/* bitops are full barriers here */
#define smp_mb__before_atomic()	do { } while (0)

#define smp_load_acquire(p)	({ shim_hook(p); __atomic_load_n((p), __ATOMIC_ACQUIRE); })
#define smp_store_release(p, value)					\
	do { shim_hook(p); __atomic_store_n((p), (value), __ATOMIC_RELEASE); } while (0)

/* fully ordered, as the kernel's; the value that was there */
#define cmpxchg(p, old, new) ({						\
	__typeof__(*(p)) shim_old = (old);				\
									\
	shim_hook(p);							\
	__atomic_compare_exchange_n((p), &shim_old, (new), false,	\
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
	shim_old;							\
})

#endif /* SHIM_LINUX_ATOMIC_H */
