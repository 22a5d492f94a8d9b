/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bitmaps in user space.
 */
#ifndef SHIM_LINUX_BITMAP_H
#define SHIM_LINUX_BITMAP_H

#include <linux/bitops.h>
#include <string.h>

static inline void bitmap_zero(unsigned long *map, unsigned int bits)
{
	memset(map, 0, BITS_TO_LONGS(bits) * sizeof(*map));
}

static inline unsigned int bitmap_weight(const unsigned long *map, unsigned int bits)
{
	unsigned int bit, n = 0;

	for_each_set_bit(bit, map, bits)
		n++;
	return n;
}

#endif /* SHIM_LINUX_BITMAP_H */
