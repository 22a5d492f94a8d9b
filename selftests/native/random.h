/* SPDX-License-Identifier: GPL-2.0-only */
/* A generator of one's own: the same numbers from the same seed, no lock. */
#ifndef LFPOOL_NATIVE_RANDOM_H
#define LFPOOL_NATIVE_RANDOM_H

#include <stdint.h>

/* never 0, if @state was not */
static inline uint32_t random_next(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static inline uint32_t random_below(uint32_t *state, uint32_t n)
{
	return (uint64_t)random_next(state) * n >> 32;
}

#endif /* LFPOOL_NATIVE_RANDOM_H */
