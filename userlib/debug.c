// SPDX-License-Identifier: MIT
/*
 * Debug aids that are chosen at open, and the heap fallback.
 *
 * LFPOOL_OPEN_CHECKED: a free buffer in a cache of ours carries
 * LFPOOL_WORD_FREE in its owner word, from the moment that it was granted for
 * the cache (LFPOOL_REFILL_FREE), or put, until it is handed out. A put is one
 * compare-and-swap of the word from "mine" to "mine, free"; of two puts of the
 * same buffer, by whatever threads, one fails. Costs the inline fast path, and two writes to the
 * descriptor for each get and put.
 *
 * LFPOOL_OPEN_POISON: the contents are overwritten on put and looked at on get.
 * The pattern is known to be ours, if nobody else had the buffer in between,
 * by stamp[index] = generation of the word: a member of a batch that we pop
 * with its word unchanged was in nobody's hands, a leader neither if its
 * generation did not move (depot.h). Damage is reported on stderr, once for
 * each get that finds any, and the buffer is handed out nevertheless. Costs two
 * passes over each buffer.
 *
 * Each report is one line: "lfpool: <pool>: buffer <index>: <what>".
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"

#define POISON		0x6b
#define HEAP_MIN	64

__attribute__((format(printf, 3, 4)))
static void report(const struct lfpool *pool, __u32 i, const char *format, ...)
{
	int saved = errno, n;
	char line[192];
	va_list args;

	n = snprintf(line, sizeof(line), "lfpool: %s: buffer %u: ", pool->info.name, i);
	va_start(args, format);
	n += vsnprintf(line + n, sizeof(line) - n, format, args);
	va_end(args);
	if (n > (int)sizeof(line) - 1)
		n = sizeof(line) - 1;
	line[n++] = '\n';
	/* one write: whole lines, and fit for signal handlers */
	while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR)
		;
	errno = saved;
}

int lfp_debug_init(struct lfpool *pool)
{
	if (!(pool->flags & LFPOOL_OPEN_POISON) || !pool->base)
		return 0;
	pool->depot.stamp = calloc(pool->depot.count, sizeof(*pool->depot.stamp));
	return pool->depot.stamp ? 0 : -ENOMEM;
}

void lfp_debug_exit(struct lfpool *pool)
{
	size_t k;

	free(pool->depot.stamp);
	for (k = 0; pool->heap.slots && k <= pool->heap.mask; k++)
		free(pool->heap.slots[k]);
	free(pool->heap.slots);
}

/* put: ours, and held? From here on it is free. */
int lfp_debug_claim(struct lfpool *pool, __u32 i)
{
	struct lfpool_desc *desc = &pool->depot.desc[i];
	__u64 word = LFPOOL_READ(desc->word), new;
	__u32 owner;

	do {
		owner = word & LFPOOL_WORD_OWNER;
		/* in whoever's cache */
		if (owner == LFPOOL_OWNER_RESERVE || owner == LFPOOL_OWNER_DEPOT ||
		    word & LFPOOL_WORD_FREE) {
			report(pool, i, "put, but it is free already");
			return -EALREADY;
		}
		if (owner != pool->client) {
			report(pool, i, "put, but client %u has it", owner);
			return -ESTALE;
		}
		new = (word & DEPOT_GEN_MASK) | pool->depot.mark;
		if (word & LFPOOL_WORD_EXPORTED)
			new += DEPOT_GEN_ONE;
	} while (!__atomic_compare_exchange_n(&desc->word, &word, new, 0,
					      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	if (pool->depot.stamp) {
		memset(lfp_address(pool, i), POISON, pool->info.buffer_size);
		pool->depot.stamp[i] = depot_gen(new);
	}
	return 0;
}

/* Buffers came from the back end, marked free: not poisoned by us. */
void lfp_debug_granted(struct lfpool *pool, const __u32 *items, unsigned int n)
{
	unsigned int k;

	for (k = 0; pool->depot.stamp && k < n; k++)
		if (items[k] < pool->depot.count)
			pool->depot.stamp[items[k]] =
				~depot_gen(LFPOOL_READ(pool->depot.desc[items[k]].word));
}

static void verify(struct lfpool *pool, __u32 i)
{
	const unsigned char *p = lfp_address(pool, i);
	size_t size = pool->info.buffer_size, first, k, n = 0;

	/* equal to itself moved by one: all bytes are the same */
	if (p[0] == POISON && !memcmp(p, p + 1, size - 1))
		return;
	for (first = 0; first < size && p[first] == POISON; first++)
		;
	/* all poison by now: somebody writes at this moment */
	if (first == size) {
		report(pool, i, "written after its put: changing while it was looked at");
		return;
	}
	for (k = first; k < size; k++)
		n += p[k] != POISON;
	report(pool, i, "written after its put: %zu bytes, the first at offset %zu (0x%02x)",
	       n, first, p[first]);
}

/* get: from a cache or straight from the back end. From here on it is held. */
void lfp_debug_get(struct lfpool *pool, __u32 i)
{
	struct lfpool_desc *desc = &pool->depot.desc[i];
	__u64 word = LFPOOL_READ(desc->word);

	if (!(word & LFPOOL_WORD_FREE))
		return;
	if (pool->depot.stamp && pool->depot.stamp[i] == depot_gen(word))
		verify(pool, i);
	LFPOOL_WRITE(desc->word, (word & DEPOT_GEN_MASK) | pool->client);
}

/*
 * The heap, when the pool is exhausted (LFPOOL_OPEN_FALLBACK). What it gave is
 * kept in a table, so that a put tells it from any other pointer: a foreign
 * one is neither freed nor pooled.
 */

static size_t heap_hash(const struct lfp_heap *heap, const void *p)
{
	return (((uintptr_t)p >> 6) * 0x9e3779b97f4a7c15ULL >> 24) & heap->mask;
}

static void heap_lock(struct lfp_heap *heap, sigset_t *old)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, old);
	pthread_mutex_lock(&heap->lock);
}

static void heap_unlock(struct lfp_heap *heap, const sigset_t *old)
{
	pthread_mutex_unlock(&heap->lock);
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

/* Where the address is, or would be. */
static size_t heap_find(const struct lfp_heap *heap, const void *p)
{
	size_t k = heap_hash(heap, p);

	while (heap->slots[k] && heap->slots[k] != p)
		k = (k + 1) & heap->mask;
	return k;
}

/* At most half full: a search is short, and always ends. */
static bool heap_reserve(struct lfp_heap *heap)
{
	struct lfp_heap new = *heap;
	size_t k;

	if (heap->slots && 2 * (heap->used + 1) <= heap->mask + 1)
		return true;
	new.mask = heap->slots ? 2 * heap->mask + 1 : HEAP_MIN - 1;
	new.slots = calloc(new.mask + 1, sizeof(*new.slots));
	if (!new.slots)
		return false;
	for (k = 0; heap->slots && k <= heap->mask; k++)
		if (heap->slots[k])
			new.slots[heap_find(&new, heap->slots[k])] = heap->slots[k];
	free(heap->slots);
	heap->slots = new.slots;
	heap->mask = new.mask;
	return true;
}

/* Empties an entry; those that had to step over it move up. */
static void heap_remove(struct lfp_heap *heap, size_t hole)
{
	size_t k = hole, home;

	heap->used--;
	for (;;) {
		heap->slots[hole] = NULL;
		do {
			k = (k + 1) & heap->mask;
			if (!heap->slots[k])
				return;
			home = heap_hash(heap, heap->slots[k]);
		} while (((k - home) & heap->mask) < ((k - hole) & heap->mask));
		heap->slots[hole] = heap->slots[k];
		hole = k;
	}
}

/* A buffer from the heap; NULL and errno */
void *lfp_heap_get(struct lfpool *pool)
{
	struct lfp_heap *heap = &pool->heap;
	size_t size = pool->info.buffer_size;
	sigset_t old;
	void *p;
	int err;

	err = posix_memalign(&p, size < 4096 ? 64 : 4096, size);
	if (err) {
		errno = err;
		return NULL;
	}
	heap_lock(heap, &old);
	if (heap_reserve(heap)) {
		heap->slots[heap_find(heap, p)] = p;
		heap->used++;
	} else {
		err = ENOMEM;
	}
	heap_unlock(heap, &old);
	if (err) {
		free(p);
		errno = err;
		return NULL;
	}
	if (pool->info.pool_flags & LFPOOL_POOL_ZERO)
		memset(p, 0, size);
	return p;
}

/* Frees what lfp_heap_get() gave; anything else is none of ours: -EINVAL */
int lfp_heap_put(struct lfpool *pool, void *buffer)
{
	struct lfp_heap *heap = &pool->heap;
	bool found = false;
	sigset_t old;
	size_t k;

	heap_lock(heap, &old);
	if (buffer && heap->slots) {
		k = heap_find(heap, buffer);
		found = heap->slots[k];
		if (found)
			heap_remove(heap, k);
	}
	heap_unlock(heap, &old);
	if (!found)
		return -EINVAL;
	free(buffer);
	return 0;
}
