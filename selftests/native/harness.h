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

/*
 * The harness's limits of time are for what takes seconds on a machine that has nothing
 * else to do. They are there to end what hangs, and may be generous.
 */
static inline int run_patiently(int argc, char **argv)
{
	struct __fixture_metadata *f;
	struct __test_metadata *t;

	for (f = __fixture_list; f; f = f->next) {
		for (t = f->tests; t; t = t->next)
			t->timeout *= 5;
	}
	return test_harness_run(argc, argv);
}

/* in TEST_HARNESS_MAIN */
#define test_harness_run	run_patiently

#endif /* LFPOOL_NATIVE_HARNESS_H */
