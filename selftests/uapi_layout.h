/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The layout in uapi/linux/lfpool.h: the same numbers for every kernel, every
 * program, every word size and byte order. Whoever includes this checks them.
 */
#ifndef UAPI_LAYOUT_H
#define UAPI_LAYOUT_H

#include <stddef.h>
#include <linux/lfpool.h>

#define SIZE(type, bytes) \
	_Static_assert(sizeof(struct type) == (bytes), "size of struct " #type)
#define AT(type, field, offset) \
	_Static_assert(offsetof(struct type, field) == (offset), #type "." #field)

SIZE(lfpool_desc, 128);
AT(lfpool_desc, word, 0);
AT(lfpool_desc, next, 8);
AT(lfpool_desc, count, 12);
AT(lfpool_desc, item, 16);

SIZE(lfpool_slot, 384);
AT(lfpool_slot, n, 0);
AT(lfpool_slot, busy, 4);
AT(lfpool_slot, revoked, 8);
AT(lfpool_slot, journal, 12);
AT(lfpool_slot, gets, 16);
AT(lfpool_slot, puts, 24);
AT(lfpool_slot, misses, 32);
AT(lfpool_slot, allocations, 40);
AT(lfpool_slot, cas_retries, 48);
AT(lfpool_slot, refills, 56);
AT(lfpool_slot, flushes, 64);
AT(lfpool_slot, reserved, 72);
AT(lfpool_slot, item, 128);

SIZE(lfpool_depot, 256);
AT(lfpool_depot, head, 0);
AT(lfpool_depot, allocations, 8);
AT(lfpool_depot, puts, 16);
AT(lfpool_depot, pad, 24);
AT(lfpool_depot, waiters, 128);
AT(lfpool_depot, reserved, 132);

SIZE(lfpool_info, 136);
AT(lfpool_info, size, 0);
AT(lfpool_info, flags, 4);
AT(lfpool_info, abi, 8);
AT(lfpool_info, client, 12);
AT(lfpool_info, mmap_size, 16);
AT(lfpool_info, depot_offset, 24);
AT(lfpool_info, slot_offset, 32);
AT(lfpool_info, desc_offset, 40);
AT(lfpool_info, data_offset, 48);
AT(lfpool_info, buffer_size, 56);
AT(lfpool_info, stride, 64);
AT(lfpool_info, slot_stride, 72);
AT(lfpool_info, desc_stride, 76);
AT(lfpool_info, buffer_count, 80);
AT(lfpool_info, max_count, 84);
AT(lfpool_info, max_threads, 88);
AT(lfpool_info, batch, 92);
AT(lfpool_info, pool_flags, 96);
AT(lfpool_info, reserved, 100);
AT(lfpool_info, name, 104);

SIZE(lfpool_attach, 16);
AT(lfpool_attach, size, 0);
AT(lfpool_attach, flags, 4);
AT(lfpool_attach, slot, 8);
AT(lfpool_attach, reserved, 12);

SIZE(lfpool_xfer, 24);
AT(lfpool_xfer, size, 0);
AT(lfpool_xfer, flags, 4);
AT(lfpool_xfer, count, 8);
AT(lfpool_xfer, grown, 12);
AT(lfpool_xfer, items, 16);

SIZE(lfpool_wait, 24);
AT(lfpool_wait, size, 0);
AT(lfpool_wait, flags, 4);
AT(lfpool_wait, timeout_ns, 8);
AT(lfpool_wait, item, 16);
AT(lfpool_wait, grown, 20);

SIZE(lfpool_plain, 8);
AT(lfpool_plain, size, 0);
AT(lfpool_plain, flags, 4);

SIZE(lfpool_stats, 200);
AT(lfpool_stats, size, 0);
AT(lfpool_stats, flags, 4);
AT(lfpool_stats, buffer_size, 8);
AT(lfpool_stats, stride, 16);
AT(lfpool_stats, buffer_count, 24);
AT(lfpool_stats, max_count, 32);
AT(lfpool_stats, capacity, 40);
AT(lfpool_stats, available, 48);
AT(lfpool_stats, in_use, 56);
AT(lfpool_stats, cached, 64);
AT(lfpool_stats, reserve, 72);
AT(lfpool_stats, quarantined, 80);
AT(lfpool_stats, peak_granted, 88);
AT(lfpool_stats, allocations, 96);
AT(lfpool_stats, deallocations, 104);
AT(lfpool_stats, pool_hits, 112);
AT(lfpool_stats, pool_misses, 120);
AT(lfpool_stats, hit_rate_ppm, 128);
AT(lfpool_stats, cas_retries, 136);
AT(lfpool_stats, refills, 144);
AT(lfpool_stats, flushes, 152);
AT(lfpool_stats, grown, 160);
AT(lfpool_stats, scavenged, 168);
AT(lfpool_stats, reclaimed, 176);
AT(lfpool_stats, clients, 184);
AT(lfpool_stats, threads, 192);

SIZE(lfpool_audit, 96);
AT(lfpool_audit, size, 0);
AT(lfpool_audit, flags, 4);
AT(lfpool_audit, capacity, 8);
AT(lfpool_audit, reserve, 16);
AT(lfpool_audit, quarantined, 24);
AT(lfpool_audit, depot, 32);
AT(lfpool_audit, cached, 40);
AT(lfpool_audit, held, 48);
AT(lfpool_audit, transit, 56);
AT(lfpool_audit, lost, 64);
AT(lfpool_audit, duplicate, 72);
AT(lfpool_audit, damaged, 80);
AT(lfpool_audit, exact, 88);

#define NUMBER(command, value) \
	_Static_assert(LFPOOL_IOC_##command == (value), "number of " #command)

NUMBER(INFO, 0xc0884a00U);
NUMBER(ATTACH, 0xc0104a01U);
NUMBER(DETACH, 0x40104a02U);
NUMBER(REFILL, 0xc0184a03U);
NUMBER(RELEASE, 0xc0184a04U);
NUMBER(WAIT, 0xc0184a05U);
NUMBER(WAKE, 0x40084a06U);
NUMBER(STATS, 0xc0c84a07U);
NUMBER(RESET_STATS, 0x40084a08U);
NUMBER(AUDIT, 0xc0604a09U);

_Static_assert(LFPOOL_NONE == 0xffffffU, "NONE");
_Static_assert(LFPOOL_CACHE_MAX == 64, "CACHE_MAX");
_Static_assert(LFPOOL_BATCH_MAX == 29, "BATCH_MAX");
_Static_assert(LFPOOL_XFER_MAX == 64, "XFER_MAX");
_Static_assert(LFPOOL_WORD_FLAGS == 0xf0000000U, "WORD_FLAGS");
_Static_assert(LFPOOL_WORD_EXPORTED == 0x10000000U, "WORD_EXPORTED");
_Static_assert(LFPOOL_WORD_FREE == 0x20000000U, "WORD_FREE");
_Static_assert(LFPOOL_WORD_OWNER == 0x0fffffffU, "WORD_OWNER");
_Static_assert(LFPOOL_OWNER_RESERVE == 0, "OWNER_RESERVE");
_Static_assert(LFPOOL_OWNER_DEPOT == 0x0fffffffU, "OWNER_DEPOT");

#endif /* UAPI_LAYOUT_H */
