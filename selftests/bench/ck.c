// SPDX-License-Identifier: GPL-2.0-only
/*
 * Concurrency Kit as a pool: free buffers on a ck_stack (many producers, many
 * consumers, double-word compare-and-swap), or with -DRING in a ck_ring.
 */
#include "bench.h"

#include <ck_ring.h>
#include <ck_stack.h>

#define PEER_SHARED

/* in shared memory, for the child to see */
struct list {
	ck_stack_t stack ALIGNED(BENCH_LINE);
	ck_ring_t ring ALIGNED(BENCH_LINE);
	ck_ring_buffer_t *slots;
};

struct peer {
	struct list *list;
};

struct hand {
	struct list *list;
};

static const char *peer_init(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return NULL;
}

static inline void *peer_get(struct hand *h)
{
#ifdef RING
	void *p;

	return ck_ring_dequeue_mpmc(&h->list->ring, h->list->slots, &p) ? p : NULL;
#else
	return ck_stack_pop_mpmc(&h->list->stack);
#endif
}

static inline void peer_put(struct hand *h, void *p)
{
#ifdef RING
	if (UNLIKELY(!ck_ring_enqueue_mpmc(&h->list->ring, h->list->slots, p)))
		abort();
#else
	ck_stack_push_mpmc(&h->list->stack, (ck_stack_entry_t *)p);
#endif
}

static const char *peer_open(struct peer *peer, size_t size, unsigned int count)
{
	struct list *list = (struct list *)shared_memory(sizeof(*list));
	char *data = buffer_memory(size, count);
	struct hand hand = { list };
	unsigned int i;

	ck_stack_init(&list->stack);
	list->slots = (ck_ring_buffer_t *)shared_memory(2 * count * sizeof(*list->slots));
	ck_ring_init(&list->ring, 2 * count);
	for (i = count; i--; )
		peer_put(&hand, data + i * size);
	peer->list = list;
	return NULL;
}

static const char *peer_attach(struct peer *peer, struct hand *hand, unsigned int party)
{
	(void)party;
	hand->list = peer->list;
	return NULL;
}

#include "worker.h"
