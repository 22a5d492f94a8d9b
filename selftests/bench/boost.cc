// SPDX-License-Identifier: GPL-2.0-only
/*
 * boost::lockfree::stack of fixed capacity as a pool: a node beside each
 * buffer, links by index, so that it works between processes, too.
 */
#include <new>

#include <boost/lockfree/stack.hpp>

#include "bench.h"

#define PEER_SHARED

using stack = boost::lockfree::stack<void *, boost::lockfree::capacity<BENCH_COUNT>>;

struct peer {
	stack *list;
};

struct hand {
	stack *list;
};

static const char *peer_init(int, char **)
{
	return nullptr;
}

static const char *peer_open(struct peer *peer, size_t size, unsigned int count)
{
	char *data = buffer_memory(size, count);

	peer->list = new (shared_memory(sizeof(stack))) stack;
	for (unsigned int i = count; i--; )
		if (!peer->list->push(data + i * size))
			return "stack full";
	return nullptr;
}

static const char *peer_attach(struct peer *peer, struct hand *hand, unsigned int)
{
	hand->list = peer->list;
	return nullptr;
}

static inline void *peer_get(struct hand *h)
{
	void *p;

	return h->list->pop(p) ? p : nullptr;
}

static inline void peer_put(struct hand *h, void *p)
{
	if (UNLIKELY(!h->list->push(p)))
		abort();
}

#include "worker.h"
