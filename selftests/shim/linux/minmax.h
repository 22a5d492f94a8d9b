/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * min() in user space: like the kernel's it refuses two different types.
 */
#ifndef SHIM_LINUX_MINMAX_H
#define SHIM_LINUX_MINMAX_H

#define min(a, b) ({							\
	__typeof__(a) shim_a = (a);					\
	__typeof__(b) shim_b = (b);					\
									\
	(void)(&shim_a == &shim_b);					\
	shim_a < shim_b ? shim_a : shim_b;				\
})

#define min_t(type, a, b)	min((type)(a), (type)(b))

#endif /* SHIM_LINUX_MINMAX_H */
