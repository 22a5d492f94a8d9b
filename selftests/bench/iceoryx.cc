// SPDX-License-Identifier: GPL-2.0-only
/*
 * iceoryx 2: its MemPool, as a publisher's loan and a subscriber's release use
 * it, or with -DLOFFLI the index list underneath alone.
 */
#include <new>

#include "iceoryx_hoofs/internal/concurrent/loffli.hpp"
#include "iceoryx_hoofs/internal/posix_wrapper/shared_memory_object/allocator.hpp"
#include "iceoryx_posh/internal/mepoo/mem_pool.hpp"

#include "bench.h"

#define PEER_SHARED

#ifdef LOFFLI
using list = iox::concurrent::LoFFLi;
#else
using list = iox::mepoo::MemPool;
#endif

struct hand {
	list *free;
	char *data;
	unsigned int shift;
};

struct peer {
	struct hand hand;
};

static const char *peer_init(int, char **)
{
	return nullptr;
}

static const char *peer_open(struct peer *peer, size_t size, unsigned int count)
{
	struct hand *h = &peer->hand;
	void *memory = shared_memory(sizeof(list));

	h->shift = __builtin_ctzl(size);
#ifdef LOFFLI
	h->data = buffer_memory(size, count);
	h->free = new (memory) list;
	h->free->init(static_cast<uint32_t *>(shared_memory(
			      list::requiredIndexMemorySize(count))), count);
#else
	static constexpr size_t management = 1 << 20;
	iox::posix::Allocator a(shared_memory(management), management);
	iox::posix::Allocator b(buffer_memory(size, count), size * count);

	h->free = new (memory) list(size, count, a, b);
#endif
	return nullptr;
}

static const char *peer_attach(struct peer *peer, struct hand *hand, unsigned int)
{
	*hand = peer->hand;
	return nullptr;
}

static inline void *peer_get(struct hand *h)
{
#ifdef LOFFLI
	uint32_t i;

	return h->free->pop(i) ? h->data + (static_cast<size_t>(i) << h->shift) : nullptr;
#else
	return h->free->getChunk();
#endif
}

static inline void peer_put(struct hand *h, void *p)
{
#ifdef LOFFLI
	if (UNLIKELY(!h->free->push((static_cast<char *>(p) - h->data) >> h->shift)))
		abort();
#else
	h->free->freeChunk(p);
#endif
}

#include "worker.h"
