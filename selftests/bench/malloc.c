// SPDX-License-Identifier: GPL-2.0-only
/*
 * Malloc and free of a buffer: one program for each allocator, linked with it
 * alone. -DGET=... -DPUT=... where its functions have names of their own.
 */
#include "bench.h"

#ifdef HEADER
#include HEADER
#endif
#ifndef GET
#define GET	malloc
#define PUT	free
#endif

struct peer {
	size_t size;
};

struct hand {
	size_t size;
};

static const char *peer_init(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return NULL;
}

static const char *peer_open(struct peer *peer, size_t size, unsigned int count)
{
	(void)count;
	peer->size = size;
	return NULL;
}

static const char *peer_attach(struct peer *peer, struct hand *hand, unsigned int party)
{
	(void)party;
	hand->size = peer->size;
	return NULL;
}

static inline void *peer_get(struct hand *h)
{
	return GET(h->size);
}

static inline void peer_put(struct hand *h, void *p)
{
	(void)h;
	PUT(p);
}

#include "worker.h"
