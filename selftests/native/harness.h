/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's test harness, for -Wextra: what its macros do wherever they are
 * used is not warned of.
 */
#ifndef LFPOOL_NATIVE_HARNESS_H
#define LFPOOL_NATIVE_HARNESS_H

#include <stdlib.h>

#include "kselftest_harness.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wsign-compare"
#ifndef __clang__
# pragma GCC diagnostic ignored "-Wclobbered"
#endif

/*
 * LFPOOL_EVERY=N: of what is tried over again for each step of something else, one in
 * N, other ones for each. Up to 8: there are more in what is shortest.
 */
static inline unsigned int every(void)
{
	const char *value = getenv("LFPOOL_EVERY");
	unsigned long n = value ? strtoul(value, NULL, 0) : 1;

	return n < 1 ? 1 : n > 8 ? 8 : n;
}

#endif /* LFPOOL_NATIVE_HARNESS_H */
