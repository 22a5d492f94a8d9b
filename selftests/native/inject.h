/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Delays at the library's injection points (depot.h): now and then another
 * thread runs there, or time passes, so that each window of the protocol is as
 * wide as a preemption makes it. For "gcc -include".
 */
#ifndef INJECT_H
#define INJECT_H

#include <errno.h>
#include <sched.h>
#include <time.h>

static inline void inject_delay(unsigned int nr)
{
	static __thread unsigned int state;
	const struct timespec ts = { 0, 20000 };
	int saved = errno;

	state = state * 1664525 + 1013904223 + nr;
	if (state >> 20 == 0)
		nanosleep(&ts, NULL);
	else if (state >> 24 == 1)
		sched_yield();
	errno = saved;
}

#define LFPOOL_INJECT(nr)	inject_delay(nr)

#endif /* INJECT_H */
