/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A pool for the tests of the engine, and what must hold after every call of
 * it, whatever the shared state was.
 *
 * Each array is a heap block of exactly its size, so that AddressSanitizer
 * sees every access beyond it. shim_hook(), which the engine's accesses call
 * (selftests/shim), counts them and can let somebody else write in between.
 *
 * For one source file of a program: it defines shim_hook().
 */
#ifndef LFPOOL_NATIVE_VIEW_H
#define LFPOOL_NATIVE_VIEW_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/lfpool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../shim/engine.h"

/* ids that the tests' clients have, ascending */
#define STATE_CLIENTS	8

/**
 * struct state - a pool
 * @view:    as the engine sees it
 * @depot, @slots, @descs, @present, @kernel, @owner: what @view points to, to write
 * @clients: the living
 */
struct state {
	struct lfpool_view view;
	struct lfpool_depot *depot;
	struct lfpool_slot *slots;
	struct lfpool_desc *descs;
	unsigned long *present;
	unsigned long *kernel;
	u32 *owner;
	u32 clients[STATE_CLIENTS];
};

/*
 * What happens at the engine's accesses
 */

/* accesses of the engine in the current call, and how many may be */
static u64 shim_accesses, shim_limit;
static bool shim_on;
/* called before each of them; of what */
static const volatile void *shim_address;
static void (*shim_between)(void);

void shim_hook(const volatile void *address)
{
	if (!shim_on)
		return;
	shim_address = address;
	if (++shim_accesses > shim_limit) {
		fprintf(stderr, "# the engine made %llu accesses and goes on\n",
			(unsigned long long)shim_limit);
		abort();
	}
	if (shim_between) {
		shim_on = false;
		shim_between();
		shim_on = true;
	}
}

/*
 * No walk may be longer than the pool: a linear bound, far below what any loop
 * within a loop would need. An audit looks at each descriptor, each member and
 * each cache entry some times, and starts over three times if things move.
 */
static inline u64 access_limit(const struct lfpool_view *v)
{
	return 1000 + 1000ULL * (v->count + v->threads);
}

/* Have the engine do something: @call is an expression. */
#define ENGINE(v, call) ({						\
	__typeof__(call) __result;					\
									\
	shim_accesses = 0;						\
	shim_limit = access_limit(v);					\
	shim_on = true;							\
	__result = (call);						\
	shim_on = false;						\
	__result;							\
})

/*
 * Making one
 */

static inline void *array_new(size_t n, size_t size)
{
	/* one at least, as NULL means failure */
	void *p = calloc(n ? n : 1, size);

	if (!p)
		abort();
	return p;
}

static inline unsigned long *map_new(u32 bits)
{
	return array_new(BITS_TO_LONGS(bits), sizeof(unsigned long));
}

/* All buffers exist and are the kernel's, no slot is attached, nobody lives. */
static inline struct state *state_new(u32 count, u32 threads)
{
	struct state *st = array_new(1, sizeof(*st));
	struct lfpool_view *v = &st->view;
	u32 i;

	v->count = count;
	v->threads = threads;
	v->depot = st->depot = array_new(1, sizeof(*st->depot));
	v->slots = st->slots = array_new(threads, sizeof(*st->slots));
	v->descs = st->descs = array_new(count, sizeof(*st->descs));
	v->present = st->present = map_new(count);
	v->kernel = st->kernel = map_new(count);
	v->owner = st->owner = array_new(threads, sizeof(*st->owner));
	v->clients = st->clients;
	v->word = array_new(count, sizeof(*v->word));
	v->chained = map_new(count);
	v->journaled = map_new(count);
	v->mark = map_new(count);
	v->reclaim = map_new(count);
	st->depot->head = LFPOOL_NONE;
	for (i = 0; i < threads; i++)
		st->slots[i].journal = LFPOOL_NONE;
	for (i = 0; i < count; i++) {
		st->descs[i].next = LFPOOL_NONE;
		__set_bit(i, st->present);
		__set_bit(i, st->kernel);
	}
	return st;
}

static inline void state_free(struct state *st)
{
	struct lfpool_view *v = &st->view;

	free(st->depot);
	free(st->slots);
	free(st->descs);
	free(st->present);
	free(st->kernel);
	free(st->owner);
	free(v->word);
	free(v->chained);
	free(v->journaled);
	free(v->mark);
	free(v->reclaim);
	free(st);
}

/* What the caller of the engine does with what was taken back. */
static inline u32 state_settle(struct state *st)
{
	struct lfpool_view *v = &st->view;
	u32 i, n = 0;

	for_each_set_bit(i, v->reclaim, v->count) {
		__clear_bit(i, v->reclaim);
		__set_bit(i, st->kernel);
		n++;
	}
	return n;
}

/* Is the engine about to access what it shares with user space? */
static inline bool shim_at_shared(const struct state *st)
{
	const char *p = (const char *)shim_address;

	return (p >= (char *)st->descs && p < (char *)(st->descs + st->view.count)) ||
	       (p >= (char *)st->slots && p < (char *)(st->slots + st->view.threads)) ||
	       p == (char *)&st->depot->head;
}

static inline u32 owner_of(u64 word)
{
	return word & LFPOOL_WORD_OWNER;
}

/*
 * What must hold after each call
 */

enum engine_call {
	CALL_ORPHANS,
	CALL_HELD,
	CALL_DRAIN_DEPOT,
	CALL_DRAIN_CACHE,
	CALL_COUNT_CLIENT,
	CALL_COUNT_DEPOT,
	CALL_CLIENT_TRACED,
	CALL_AUDIT,
	CALL_NR
};

static const char *const engine_call_name[CALL_NR] = {
	"recover_orphans", "recover_held", "drain_depot", "drain_cache", "count_client",
	"count_depot", "client_traced", "audit",
};

static inline bool tail_clean(const unsigned long *map, u32 bits)
{
	return !(bits % BITS_PER_LONG) ||
	       !(map[bits / BITS_PER_LONG] >> (bits % BITS_PER_LONG));
}

/* a copy of all that a call could change, but scratch */
struct before {
	struct lfpool_depot depot;
	struct lfpool_slot *slots;
	struct lfpool_desc *descs;
	unsigned long *present;
	unsigned long *kernel;
	unsigned long *reclaim;
	u32 *owner;
};

static inline void *array_copy(const void *from, size_t n, size_t size)
{
	return memcpy(array_new(n, size), from, n * size);
}

static inline void before_take(struct before *b, const struct lfpool_view *v)
{
	size_t longs = BITS_TO_LONGS(v->count);

	b->depot = *v->depot;
	b->slots = array_copy(v->slots, v->threads, sizeof(*b->slots));
	b->descs = array_copy(v->descs, v->count, sizeof(*b->descs));
	b->present = array_copy(v->present, longs, sizeof(long));
	b->kernel = array_copy(v->kernel, longs, sizeof(long));
	b->reclaim = array_copy(v->reclaim, longs, sizeof(long));
	b->owner = array_copy(v->owner, v->threads, sizeof(*b->owner));
}

static inline void before_drop(struct before *b)
{
	free(b->slots);
	free(b->descs);
	free(b->present);
	free(b->kernel);
	free(b->reclaim);
	free(b->owner);
}

/*
 * What each call should take back if nobody else writes meanwhile: the rules,
 * told once more and in the plainest way. They change @b as the engine should
 * have changed the state.
 */

static inline bool oracle_take(struct before *b, const struct lfpool_view *v, u32 i)
{
	u64 *word = (u64 *)&b->descs[i].word;

	if (i >= v->count || !test_bit(i, b->present) || test_bit(i, b->kernel) ||
	    test_bit(i, b->reclaim))
		return false;
	*word = make_word((u32)(*word >> LFPOOL_WORD_GEN_SHIFT) + 1, LFPOOL_OWNER_RESERVE);
	__set_bit(i, b->reclaim);
	return true;
}

static inline void oracle_take_batch(struct before *b, const struct lfpool_view *v, u32 leader)
{
	const struct lfpool_desc *d = &b->descs[leader];
	u32 k;

	if (!oracle_take(b, v, leader) || d->count > LFPOOL_BATCH_MAX - 1)
		return;
	for (k = 0; k < d->count; k++)
		oracle_take(b, v, d->item[k]);
}

/* The leaders that can be reached from the head. */
static inline unsigned long *oracle_chain(const struct before *b, const struct lfpool_view *v)
{
	unsigned long *chain = map_new(v->count);
	u32 i = b->depot.head & LFPOOL_HEAD_INDEX;

	while (i < v->count && test_bit(i, b->present) && !test_bit(i, chain) &&
	       owner_of(b->descs[i].word) == LFPOOL_OWNER_DEPOT) {
		__set_bit(i, chain);
		i = b->descs[i].next;
	}
	return chain;
}

/* Returns how many have to be looked at again. */
static inline u32 oracle_orphans(struct before *b, const struct lfpool_view *v)
{
	unsigned long *chain = oracle_chain(b, v);
	u64 *word = array_new(v->count, sizeof(*word));
	u32 i, s, deferred = 0;

	for (i = 0; i < v->count; i++)
		word[i] = b->descs[i].word;
	for (i = 0; i < v->count; i++) {
		if (owner_of(word[i]) != LFPOOL_OWNER_DEPOT || b->descs[i].word != word[i] ||
		    test_bit(i, chain) || test_bit(i, b->kernel) || !test_bit(i, b->present))
			continue;
		for (s = 0; s < v->threads; s++) {
			if (b->owner[s] && b->slots[s].journal == i)
				break;
		}
		if (s == v->threads)
			oracle_take_batch(b, v, i);
		else
			deferred++;
	}
	free(word);
	free(chain);
	return deferred;
}

static inline unsigned long *oracle_client(const struct before *b, const struct lfpool_view *v,
					   u32 client)
{
	unsigned long *take = map_new(v->count);
	u32 i, k;

	for (i = 0; i < v->count; i++) {
		if (owner_of(b->descs[i].word) == client)
			__set_bit(i, take);
	}
	for (i = 0; i < v->count; i++) {
		const struct lfpool_desc *d = &b->descs[i];

		if (owner_of(d->word) != LFPOOL_OWNER_DEPOT || d->count > LFPOOL_BATCH_MAX - 1 ||
		    !test_bit(i, b->present) || test_bit(i, b->kernel))
			continue;
		for (k = 0; k < d->count; k++) {
			if (d->item[k] < v->count)
				__clear_bit(d->item[k], take);
		}
	}
	return take;
}

static inline void oracle_held(struct before *b, const struct lfpool_view *v, u32 client)
{
	unsigned long *take = oracle_client(b, v, client);
	u32 i;

	for_each_set_bit(i, take, v->count)
		oracle_take(b, v, i);
	free(take);
}

static inline u32 oracle_count_client(const struct before *b, const struct lfpool_view *v,
				      u32 client)
{
	unsigned long *take = oracle_client(b, v, client);
	u32 i, n = 0;

	for (i = 0; i < v->count; i++)
		n += test_bit(i, take) && test_bit(i, b->present) && !test_bit(i, b->kernel);
	free(take);
	return n;
}

static inline void oracle_drain_depot(struct before *b, const struct lfpool_view *v)
{
	unsigned long *chain = map_new(v->count);
	u32 i = b->depot.head & LFPOOL_HEAD_INDEX;

	if (i != LFPOOL_NONE)
		b->depot.head = (b->depot.head | LFPOOL_HEAD_INDEX) + LFPOOL_HEAD_TAG_ONE;
	while (i < v->count && test_bit(i, b->present) && !test_bit(i, chain)) {
		__set_bit(i, chain);
		if (owner_of(b->descs[i].word) == LFPOOL_OWNER_DEPOT)
			oracle_take_batch(b, v, i);
		i = b->descs[i].next;
	}
	free(chain);
}

static inline void oracle_drain_cache(struct before *b, const struct lfpool_view *v, u32 slot,
				      u32 client)
{
	struct lfpool_slot *s = &b->slots[slot];
	u32 k, i;

	for (k = 0; k < s->n && k < LFPOOL_CACHE_MAX; k++) {
		i = s->item[k];
		if (i < v->count && owner_of(b->descs[i].word) == client)
			oracle_take(b, v, i);
	}
	s->n = 0;
}

static inline const char *audit_check(const struct lfpool_view *v, const struct lfpool_audit *a,
				      bool quiet)
{
	u32 i, capacity = 0, reserve = 0;

	for_each_set_bit(i, v->present, v->count) {
		capacity++;
		reserve += test_bit(i, v->kernel);
	}
	if (a->size != sizeof(*a))
		return "the audit's size was changed";
	if (a->capacity != capacity)
		return "the audit's capacity is not that of the pool";
	if (a->reserve != reserve)
		return "the audit does not trust the private bits";
	if (a->reserve + a->quarantined + a->depot + a->cached + a->held + a->transit + a->lost !=
	    a->capacity)
		return "the audit's places do not add up";
	if (quiet && !a->exact)
		return "the audit of a quiet pool is not exact";
	return NULL;
}

/**
 * checked_call - have the engine do something, and look at all that it did
 * @st:   the pool; what was taken back before is settled
 * @call: what
 * @arg:  the client; for CALL_DRAIN_CACHE the slot
 * @sum:  is told about the result, for who wants to compare two runs
 *
 * Return: NULL, or what is wrong.
 */
static inline const char *checked_call(struct state *st, enum engine_call call, u32 arg,
				       u64 *sum)
{
	struct lfpool_view *v = &st->view;
	struct lfpool_audit audit = { .size = sizeof(audit) };
	bool quiet = !shim_between;
	const char *wrong = NULL;
	u32 got, fresh = 0, deferred = 0, cached = 0, nr, of_each[2] = { 0, 0 }, i;
	struct before b, now;

	if (call == CALL_DRAIN_CACHE && !v->threads)
		return NULL;
	if (call == CALL_DRAIN_CACHE)
		arg %= v->threads;
	before_take(&b, v);

	switch (call) {
	case CALL_ORPHANS:
		got = ENGINE(v, lfpool_recover_orphans(v, &deferred));
		if (oracle_orphans(&b, v) != deferred && quiet)
			wrong = "deferred other orphans than it should";
		break;
	case CALL_HELD:
		/* two of the dead at once; of the last id there is one */
		nr = arg == ~0U ? 1 : 2;
		got = ENGINE(v, lfpool_recover_held(v, (u32[]){ arg, arg + 1 }, nr, of_each));
		oracle_held(&b, v, arg);
		if (nr == 2)
			oracle_held(&b, v, arg + 1);
		if (of_each[0] + of_each[1] != got)
			wrong = "counted others than it took";
		break;
	case CALL_DRAIN_DEPOT:
		got = ENGINE(v, lfpool_drain_depot(v));
		oracle_drain_depot(&b, v);
		break;
	case CALL_DRAIN_CACHE:
		got = ENGINE(v, lfpool_drain_cache(v, arg, v->owner[arg]));
		oracle_drain_cache(&b, v, arg, v->owner[arg]);
		break;
	case CALL_COUNT_CLIENT:
		got = ENGINE(v, lfpool_count_client(v, arg, &cached));
		if (got + cached > v->count ||
		    (quiet && got + cached != oracle_count_client(&b, v, arg)))
			wrong = "count_client is wrong";
		break;
	case CALL_COUNT_DEPOT:
		got = ENGINE(v, lfpool_count_depot(v));
		break;
	case CALL_CLIENT_TRACED:
		got = ENGINE(v, lfpool_client_traced(v, arg));
		for (i = 0; i < v->count && owner_of(b.descs[i].word) != arg; i++)
			;
		if (quiet && got != (i < v->count))
			wrong = "client_traced is wrong";
		break;
	default:
		ENGINE(v, (lfpool_engine_audit(v, &audit), 0));
		got = audit.capacity;
		wrong = audit_check(v, &audit, quiet);
		break;
	}
	*sum = *sum * 31 + got;

	before_take(&now, v);
	for (i = 0; i < v->count; i++) {
		bool taken = test_bit(i, now.reclaim);

		if (taken && (test_bit(i, now.kernel) || !test_bit(i, now.present)))
			wrong = "took back what is the kernel's, or not there";
		fresh += taken;
		*sum = *sum * 31 + taken;
	}
	if (!tail_clean(v->reclaim, v->count) || !tail_clean(v->chained, v->count) ||
	    !tail_clean(v->journaled, v->count) || !tail_clean(v->mark, v->count))
		wrong = "set a bit beyond the pool";
	if (memcmp(b.present, now.present, BITS_TO_LONGS(v->count) * sizeof(long)) ||
	    memcmp(b.kernel, now.kernel, BITS_TO_LONGS(v->count) * sizeof(long)) ||
	    memcmp(b.owner, now.owner, v->threads * sizeof(*b.owner)))
		wrong = "changed the private state";
	if (got > fresh && call <= CALL_DRAIN_CACHE)
		wrong = "counted more than it took";
	if (deferred > v->count)
		wrong = "deferred more than there is";
	if (call == CALL_COUNT_DEPOT && got > v->count * LFPOOL_BATCH_MAX)
		wrong = "counted more than there can be";
	if (quiet && !wrong) {
		/* exactly what it should, and nothing else */
		if (memcmp(b.reclaim, now.reclaim, BITS_TO_LONGS(v->count) * sizeof(long)))
			wrong = "took back other buffers than it should";
		else if (call <= CALL_DRAIN_CACHE && got != fresh)
			wrong = "did not count what it took";
		else if (memcmp(b.descs, now.descs, v->count * sizeof(*b.descs)))
			wrong = "wrote other words than it should";
		else if (memcmp(&b.depot, &now.depot, sizeof(b.depot)))
			wrong = "left another depot than it should";
		else if (memcmp(b.slots, now.slots, v->threads * sizeof(*b.slots)))
			wrong = "left other slots than it should";
	}
	before_drop(&b);
	before_drop(&now);
	return wrong;
}

#endif /* LFPOOL_NATIVE_VIEW_H */
