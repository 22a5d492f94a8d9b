// SPDX-License-Identifier: GPL-2.0-only
/*
 * What people write themselves:
 *
 *   -DMUTEX     an array of free buffers under a mutex
 *   -DTREIBER   one lock-free stack of indices, 64-bit head {tag, index}
 *   -DORIGINAL  the algorithm that lfpool grew from: a lock-free stack that
 *               allocates a node on each put, frees it on each get, and counts
 *               in shared atomics
 */
#include "bench.h"

#ifdef ORIGINAL
#include <malloc.h>
#else
#define PEER_SHARED
#endif

struct node {
	struct node *next;
	void *buffer;
};

typedef unsigned __int128 word128;

struct list {
	pthread_mutex_t lock ALIGNED(BENCH_LINE);
	unsigned int n;
	uint64_t head ALIGNED(BENCH_LINE);
	/* {node, tag}: nodes go through malloc, and come again at the same address */
	word128 wide ALIGNED(BENCH_LINE);
	uint64_t hits ALIGNED(BENCH_LINE);
	uint64_t misses, allocations, deallocations, available;
	uint32_t next[BENCH_COUNT] ALIGNED(BENCH_LINE);
	void *item[BENCH_COUNT] ALIGNED(BENCH_LINE);
};

struct hand {
	struct list *list;
	char *data;
	unsigned int shift;
};

struct peer {
	struct hand hand;
};

#define TAG_ONE		(1ULL << 24)
#define INDEX		(TAG_ONE - 1)

static const char *peer_init(int argc, char **argv)
{
	(void)argc;
	(void)argv;
#ifdef ORIGINAL
	/* a node may be looked at that another thread has just freed: never unmap */
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
	return NULL;
}

#if defined(MUTEX)

static inline void *peer_get(struct hand *h)
{
	struct list *l = h->list;
	void *p = NULL;

	pthread_mutex_lock(&l->lock);
	if (l->n)
		p = l->item[--l->n];
	pthread_mutex_unlock(&l->lock);
	return p;
}

static inline void peer_put(struct hand *h, void *p)
{
	struct list *l = h->list;

	pthread_mutex_lock(&l->lock);
	l->item[l->n++] = p;
	pthread_mutex_unlock(&l->lock);
}

#elif defined(TREIBER)

static inline void *peer_get(struct hand *h)
{
	struct list *l = h->list;
	uint64_t head = __atomic_load_n(&l->head, __ATOMIC_ACQUIRE), next;

	do {
		if ((head & INDEX) == INDEX)
			return NULL;
		next = __atomic_load_n(&l->next[head & INDEX], __ATOMIC_RELAXED);
		next |= (head & ~INDEX) + TAG_ONE;
	} while (!__atomic_compare_exchange_n(&l->head, &head, next, 0,
					      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	return h->data + ((head & INDEX) << h->shift);
}

static inline void peer_put(struct hand *h, void *p)
{
	struct list *l = h->list;
	uint64_t i = ((char *)p - h->data) >> h->shift;
	uint64_t head = __atomic_load_n(&l->head, __ATOMIC_RELAXED);

	do {
		__atomic_store_n(&l->next[i], head & INDEX, __ATOMIC_RELAXED);
	} while (!__atomic_compare_exchange_n(&l->head, &head,
					      ((head & ~INDEX) + TAG_ONE) | i, 0,
					      __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

#elif defined(ORIGINAL)

static inline bool swap(word128 *head, word128 *old, word128 new)
{
	word128 was = __sync_val_compare_and_swap(head, *old, new);
	bool done = was == *old;

	*old = was;
	return done;
}

static inline word128 load(const word128 *head)
{
	const uint64_t *half = (const uint64_t *)head;
	/* two halves of different heads do not pass the swap */
	uint64_t node = __atomic_load_n(&half[0], __ATOMIC_ACQUIRE);

	return (word128)__atomic_load_n(&half[1], __ATOMIC_ACQUIRE) << 64 | node;
}

static inline void count(uint64_t *counter, int64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static inline void *peer_get(struct hand *h)
{
	struct list *l = h->list;
	word128 head = load(&l->wide), next;
	struct node *node;
	void *p;

	do {
		node = (struct node *)(uintptr_t)(uint64_t)head;
		if (!node) {
			count(&l->misses, 1);
			return NULL;
		}
		next = ((head >> 64) + 1) << 64 |
		       (uintptr_t)__atomic_load_n(&node->next, __ATOMIC_RELAXED);
	} while (!swap(&l->wide, &head, next));
	p = node->buffer;
	free(node);
	count(&l->hits, 1);
	count(&l->available, -1);
	return p;
}

static inline void peer_put(struct hand *h, void *p)
{
	struct list *l = h->list;
	struct node *node = malloc(sizeof(*node));
	word128 head = load(&l->wide);

	if (UNLIKELY(!node))
		abort();
	node->buffer = p;
	do {
		__atomic_store_n(&node->next, (struct node *)(uintptr_t)(uint64_t)head,
				 __ATOMIC_RELAXED);
	} while (!swap(&l->wide, &head, ((head >> 64) + 1) << 64 | (uintptr_t)node));
	count(&l->deallocations, 1);
	count(&l->available, 1);
}

#endif

static const char *peer_open(struct peer *peer, size_t size, unsigned int count)
{
	struct hand *h = &peer->hand;
	pthread_mutexattr_t attr;
	unsigned int i;

	h->list = (struct list *)shared_memory(sizeof(*h->list));
	h->data = buffer_memory(size, count);
	h->shift = __builtin_ctzl(size);
	h->list->head = INDEX;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&h->list->lock, &attr);
	for (i = count; i--; )
		peer_put(h, h->data + i * size);
	return NULL;
}

static const char *peer_attach(struct peer *peer, struct hand *hand, unsigned int party)
{
	(void)party;
	*hand = peer->hand;
	return NULL;
}

#include "worker.h"
