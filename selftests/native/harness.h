/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's test harness, for -Wextra: what its macros do wherever they are
 * used is not warned of.
 */
#ifndef LFPOOL_NATIVE_HARNESS_H
#define LFPOOL_NATIVE_HARNESS_H

#include "kselftest_harness.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wsign-compare"
#ifndef __clang__
# pragma GCC diagnostic ignored "-Wclobbered"
#endif

#endif /* LFPOOL_NATIVE_HARNESS_H */
