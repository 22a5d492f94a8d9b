/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * array_index_nospec in user space: what it computes, not what it prevents. An
 * index that was not compared before comes out as 0, as in the kernel.
 */
#ifndef SHIM_LINUX_NOSPEC_H
#define SHIM_LINUX_NOSPEC_H

#define array_index_nospec(index, size) ({				\
	__typeof__(index) shim_index = (index);				\
									\
	shim_index < (size) ? shim_index : 0;				\
})

#endif /* SHIM_LINUX_NOSPEC_H */
