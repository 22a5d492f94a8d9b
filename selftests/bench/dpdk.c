// SPDX-License-Identifier: GPL-2.0-only
/*
 * DPDK's rte_mempool with its per-lcore cache, over a driver of its own:
 * dpdk ring_mp_mc | stack | lf_stack
 *
 * Without huge pages its memory is a shared memfd, so that a forked child is a
 * second process on the same pool; it and the second thread take the cache of
 * another lcore.
 */
#include "bench.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mempool.h>

#define PEER_BULK
#define PEER_SHARED
#define CACHE	256

struct peer {
	struct rte_mempool *pool;
};

struct hand {
	struct rte_mempool *pool;
};

static const char *driver;

static const char *peer_init(int argc, char **argv)
{
	char *args[] = {
		argv[0], (char *)"--no-huge", (char *)"--no-pci", (char *)"--no-telemetry",
		(char *)"--no-shconf", (char *)"--log-level=error", (char *)"-m", (char *)"640",
		(char *)"-l", (char *)"0", NULL
	};
	cpu_set_t set;

	if (argc < 2)
		return "usage: dpdk DRIVER";
	driver = argv[1];
	if (sched_getaffinity(0, sizeof(set), &set))
		return strerror(errno);
	for (argc = 0; args[argc]; argc++)
		;
	if (rte_eal_init(argc, args) < 0)
		return rte_strerror(rte_errno);
	/* EAL has its own idea of where we run */
	sched_setaffinity(0, sizeof(set), &set);
	return NULL;
}

static const char *peer_open(struct peer *peer, size_t size, unsigned int count)
{
	char name[32];

	snprintf(name, sizeof(name), "bench%zu", size);
	peer->pool = rte_mempool_create_empty(name, count - 1, size, CACHE, 0, SOCKET_ID_ANY, 0);
	if (!peer->pool || rte_mempool_set_ops_byname(peer->pool, driver, NULL) ||
	    rte_mempool_populate_default(peer->pool) < 0)
		return rte_strerror(rte_errno);
	return NULL;
}

/* Private memory would give parent and child the same buffers, unseen. */
static bool is_shared(const void *p)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long from, to;
	bool shared = false;
	char mode[8];

	while (maps && fscanf(maps, "%lx-%lx %7s%*[^\n]", &from, &to, mode) == 3)
		if ((uintptr_t)p >= from && (uintptr_t)p < to)
			shared = mode[3] == 's';
	if (maps)
		fclose(maps);
	return shared;
}

static const char *peer_attach(struct peer *peer, struct hand *hand, unsigned int party)
{
	if (party == 2 && !is_shared(peer->pool))
		return "memory is not shared with a second process";
	RTE_PER_LCORE(_lcore_id) = party;
	hand->pool = peer->pool;
	return NULL;
}

static inline void *peer_get(struct hand *h)
{
	void *p;

	return rte_mempool_get(h->pool, &p) ? NULL : p;
}

static inline void peer_put(struct hand *h, void *p)
{
	rte_mempool_put(h->pool, p);
}

static inline bool peer_get_bulk(struct hand *h, void **p, unsigned int n)
{
	return !rte_mempool_get_bulk(h->pool, p, n);
}

static inline void peer_put_bulk(struct hand *h, void **p, unsigned int n)
{
	rte_mempool_put_bulk(h->pool, p, n);
}

#include "worker.h"
