/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's names for types, in user space. The uapi header needs the
 * system's <linux/types.h>, too, so this one stands in front of it.
 */
#ifndef SHIM_LINUX_TYPES_H
#define SHIM_LINUX_TYPES_H

#include_next <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#endif /* SHIM_LINUX_TYPES_H */
