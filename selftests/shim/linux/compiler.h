/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * READ_ONCE and WRITE_ONCE in user space.
 *
 * With SHIM_HOOK defined, shim_hook() is called before every one of them and
 * before every atomic operation, with the address: a test counts them there, or
 * lets somebody else change the shared memory just then.
 */
#ifndef SHIM_LINUX_COMPILER_H
#define SHIM_LINUX_COMPILER_H

#ifdef SHIM_HOOK
void shim_hook(const volatile void *address);
#else
static inline void shim_hook(const volatile void *address)
{
	(void)address;
}
#endif

#if defined(__SANITIZE_THREAD__)
# define SHIM_TSAN 1
#elif defined(__has_feature)
# if __has_feature(thread_sanitizer)
#  define SHIM_TSAN 1
# endif
#endif

/* ThreadSanitizer takes a volatile access for a plain one. */
#ifdef SHIM_TSAN
# define READ_ONCE(x)	({ shim_hook(&(x)); __atomic_load_n(&(x), __ATOMIC_RELAXED); })
# define WRITE_ONCE(x, value)						\
	do { shim_hook(&(x)); __atomic_store_n(&(x), (value), __ATOMIC_RELAXED); } while (0)
#else
# define READ_ONCE(x)	({ shim_hook(&(x)); *(const volatile __typeof__(x) *)&(x); })
# define WRITE_ONCE(x, value)						\
	do { shim_hook(&(x)); *(volatile __typeof__(x) *)&(x) = (value); } while (0)
#endif

#define barrier()	__asm__ __volatile__("" ::: "memory")

#endif /* SHIM_LINUX_COMPILER_H */
