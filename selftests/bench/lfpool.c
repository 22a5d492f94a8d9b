// SPDX-License-Identifier: GPL-2.0-only
/*
 * lfpool, embedded back end: "inline", with the functions of lfpool.h that are
 * inlined, or "shared", called through liblfpool.so.0 (built with -DSHARED).
 * Nothing is switched off: statistics, revoke, owner and waiter checks are in.
 */
#include <lfpool.h>

#include "bench.h"

#define PEER_BULK
#define PEER_SHARED
#define PEER_PACK

struct peer {
	struct lfpool *pool;
};

struct hand {
	struct lfpool_thread *t;
	struct lfpool *pool;
};

static const char *peer_init(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return NULL;
}

static const char *peer_open(struct peer *peer, size_t size, unsigned int count)
{
	struct lfpool_config config = {
		.name = "bench", .buffer_size = size, .buffer_count = count, .max_count = count,
	};

	peer->pool = lfpool_create(&config);
	return peer->pool ? NULL : strerror(errno);
}

static const char *peer_attach(struct peer *peer, struct hand *hand, unsigned int party)
{
	(void)party;
	hand->pool = peer->pool;
	hand->t = lfpool_attach(peer->pool);
	return hand->t ? NULL : strerror(errno);
}

static inline void *peer_get(struct hand *h)
{
#ifdef SHARED
	return lfpool_get(h->pool);
#else
	return lfpool_thread_get(h->t);
#endif
}

/* a refused put would be a quick one */
static inline void peer_put(struct hand *h, void *p)
{
#ifdef SHARED
	int err = lfpool_put(h->pool, p);
#else
	int err = lfpool_thread_put(h->t, p);
#endif
	if (UNLIKELY(err))
		abort();
}

static inline bool peer_get_bulk(struct hand *h, void **p, unsigned int n)
{
	return lfpool_get_bulk(h->pool, p, n) == n;
}

static inline void peer_put_bulk(struct hand *h, void **p, unsigned int n)
{
	if (UNLIKELY(lfpool_put_bulk(h->pool, p, n) != n))
		abort();
}

static inline uint64_t peer_pack(struct hand *h, void *p)
{
	uint64_t handle;

	if (UNLIKELY(lfpool_export(h->pool, p, &handle)))
		abort();
	return handle;
}

static inline void *peer_unpack(struct hand *h, uint64_t handle)
{
	void *p = lfpool_import(h->pool, handle);

	if (UNLIKELY(!p))
		abort();
	return p;
}

static inline void peer_pack_bulk(struct hand *h, void **p, uint64_t *v, unsigned int n)
{
	if (UNLIKELY(lfpool_export_bulk(h->pool, p, v, n) != n))
		abort();
}

static inline void peer_unpack_bulk(struct hand *h, uint64_t *v, void **p, unsigned int n)
{
	if (UNLIKELY(lfpool_import_bulk(h->pool, v, p, n) != n))
		abort();
}

#include "worker.h"
