/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lfpool: the recovery engine's interface. See recover.c for the protocol.
 *
 * The engine is pure: it works on the state, geometry and bitmaps of a
 * &struct lfpool_view and uses nothing of the kernel but READ_ONCE, WRITE_ONCE,
 * cmpxchg, barriers, bitops and cond_resched. The selftests compile the same source in user
 * space, where selftests/shim stands in for the kernel's headers.
 */
#ifndef _LFPOOL_RECOVER_H
#define _LFPOOL_RECOVER_H

#include <linux/types.h>
#include <linux/lfpool.h>

/**
 * struct lfpool_view - a pool, as the engine sees it
 * @depot:     shared: the depot
 * @slots:     shared: the slots
 * @descs:     shared: the descriptors
 * @count:     number of descriptors
 * @threads:   number of slots
 * @present:   private: buffers that exist
 * @kernel:    private: buffers in the reserve or in quarantine. Changes while
 *             the engine runs (grant and release take no lock).
 * @owner:     private: the client of each attached slot, 0 for a free slot
 * @clients:   private, for the audit: ids of all living clients, ascending
 * @clients_nr: private, for the audit: how many
 * @word:      scratch: snapshot of the owner words
 * @chained:   scratch: leaders found in the depot
 * @journaled: scratch: leaders that living journals named
 * @mark:      scratch: buffers seen in a place
 * @reclaim:   result: buffers that a call took back; the caller owns them and
 *             clears the bits
 *
 * Bitmaps have @count bits. The caller serialises all calls on one view.
 */
struct lfpool_view {
	struct lfpool_depot *depot;
	struct lfpool_slot *slots;
	struct lfpool_desc *descs;
	u32 count;
	u32 threads;
	const unsigned long *present;
	const unsigned long *kernel;
	const u32 *owner;
	const u32 *clients;
	u32 clients_nr;
	u64 *word;
	unsigned long *chained;
	unsigned long *journaled;
	unsigned long *mark;
	unsigned long *reclaim;
};

u32 lfpool_recover_orphans(struct lfpool_view *v, u32 *deferred);
u32 lfpool_find_id(const u32 *ids, u32 nr, u32 id);
u32 lfpool_recover_held(struct lfpool_view *v, const u32 *dead, u32 nr, u32 *taken);
u32 lfpool_drain_depot(struct lfpool_view *v);
u32 lfpool_drain_cache(struct lfpool_view *v, u32 slot, u32 client);
u32 lfpool_count_client(struct lfpool_view *v, u32 client, u32 *cached);
u32 lfpool_count_depot(const struct lfpool_view *v);
bool lfpool_client_traced(const struct lfpool_view *v, u32 client);
void lfpool_audit(struct lfpool_view *v, struct lfpool_audit *a);

#endif /* _LFPOOL_RECOVER_H */
