// SPDX-License-Identifier: GPL-2.0-only
/*
 * lfpool: the recovery engine: orphans (R1), held buffers (R2), audit.
 *
 * What user space does to the shared words, in program order (userlib/depot.h):
 *
 *   pop                                  push
 *   a  h = head                          f  fill the leader's descriptor
 *   b  journal = leader                  g  journal = leader
 *   c  CAS head -> next, tag + 1         h  leader's word = {gen + 1, DEPOT}
 *   d  members' words = {gen, me}        i  CAS head -> leader, tag + 1
 *      then the leader's word = {gen, me}
 *   e  journal = NONE                    j  journal = NONE
 *
 * A process may die between any two of these. What it leaves:
 *
 *   died before    the batch is             found by
 *   c              in the depot             nobody needs to
 *   d, the last    marked DEPOT, reachable  R1: an orphan
 *   word of it     from nowhere
 *   e              the dead's, by words     R2
 *   h              the dead's, by words     R2
 *   i              marked DEPOT, reachable  R1: an orphan
 *                  from nowhere
 *   j              in the depot             nobody needs to
 *
 * Buffers that a dead client cached or held carry its id and are R2's too:
 * caches are not looked at.
 *
 * R1. A batch that a living thread moves looks exactly like an orphan for a
 * moment, but its leader is in that thread's journal for all of the moment.
 * So:  (1) read the words  (2) read the journals of the living  (3) see which
 * leaders are in the depot  (4) read the journals again  (5) read the words
 * again. A leader that said DEPOT with the same generation in 1 and 5, that 3
 * did not find and no journal named, is an orphan. Pass 2 catches a push that
 * was under way at 3 and over by 4; pass 4 catches a pop that began after 2 and
 * had the leader out by 3; the generation catches a leader that was popped and
 * pushed again. A leader that a journal names is looked at again later.
 *
 *   barriers: words before journals in (1)-(2): smp_rmb (A), pairs with the
 *   release of step h, which comes after g; journals before words in (4)-(5):
 *   smp_rmb (B), pairs with the release of steps e and j, after d and i.
 *   (2)-(3) and (3)-(4): smp_mb (C). The one before 3 pairs with the release of
 *   step j: a journal that names the leader no more is seen with i done. The
 *   one after 3 pairs with the release in the CAS of step c: a head without the
 *   leader is seen with b done. Release is all that these need, and all that the
 *   CASes of user space give: they are no full barriers.
 *
 * For (3) a walk from a head that did not change meanwhile serves and disturbs
 * nobody: the tag tells. If the head keeps changing, the depot is taken with
 * one CAS and what was in it moves to the reserve; threads that find the depot
 * empty then ask the kernel, whose exhaustion path waits for the recovery.
 *
 * R2. The candidates are the words that name a dead client. A member of a
 * depot batch keeps the word of who pushed it, stale: strike out what is
 * listed in a batch whose leader says DEPOT. Take the rest with cmpxchg from
 * the dead one's id: a failed cmpxchg means that somebody living has it. A batch
 * popped in the meantime is no danger, because d rewrites the members' words
 * before the leader's.
 *
 * All shared words may hold garbage at any time: each is read once, checked
 * against the range and clamped for speculation before it indexes anything; no
 * walk takes more than count steps; every CAS that user space could make fail
 * for ever is tried a bounded number of times.
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/minmax.h>
#include <linux/nospec.h>
#include <linux/sched.h>
#include <linux/atomic.h>
#include "recover.h"

/* walks that are tried before the depot is taken, and CASes before we give up */
#define LFPOOL_WALKS	4
#define LFPOOL_TAKES	128

#define WORD_LOW	(LFPOOL_WORD_FLAGS | LFPOOL_WORD_OWNER)

/* A pool can have millions of buffers: others must run meanwhile. */
static void pause_at(u32 i)
{
	if (!(i % 4096))
		cond_resched();
}

static u32 word_owner(u64 word)
{
	return (u32)word & LFPOOL_WORD_OWNER;
}

/* the same buffer's next life: a handle of this one must not open it */
static u64 word_reserve(u64 word)
{
	return (word & ~(u64)WORD_LOW) + (1ULL << LFPOOL_WORD_GEN_SHIFT) + LFPOOL_OWNER_RESERVE;
}

/* the index of an existing buffer, or false */
static bool index_ok(const struct lfpool_view *v, u32 *index)
{
	if (*index >= v->count)
		return false;
	*index = array_index_nospec(*index, v->count);
	return test_bit(*index, v->present);
}

/*
 * Take one buffer back, if its word still is @word. The private bit is the
 * truth: what the kernel has already is not taken, whatever its word says.
 */
static bool reclaim(struct lfpool_view *v, u32 i, u64 word)
{
	if (test_bit(i, v->kernel) || test_bit(i, v->reclaim))
		return false;
	if (cmpxchg(&v->descs[i].word, word, word_reserve(word)) != word)
		return false;
	__set_bit(i, v->reclaim);
	return true;
}

/* Take back a batch that is reachable from nowhere: its leader and members. */
static u32 reclaim_batch(struct lfpool_view *v, u32 leader, u64 word)
{
	struct lfpool_desc *d = &v->descs[leader];
	u32 count = READ_ONCE(d->count);
	u32 n = 0;
	u32 k;

	if (!reclaim(v, leader, word))
		return 0;
	n++;
	if (count > LFPOOL_BATCH_MAX - 1)
		count = 0;
	for (k = 0; k < count; k++) {
		u32 i = READ_ONCE(d->item[k]);

		if (index_ok(v, &i) && reclaim(v, i, READ_ONCE(v->descs[i].word)))
			n++;
	}
	return n;
}

static void note_journals(struct lfpool_view *v)
{
	u32 s;

	for (s = 0; s < v->threads; s++) {
		u32 leader;

		if (!v->owner[s])
			continue;
		leader = READ_ONCE(v->slots[s].journal);
		if (leader < v->count)
			__set_bit(array_index_nospec(leader, v->count), v->journaled);
	}
}

/*
 * Mark the leaders that are reachable from @index. Returns false if the chain
 * is broken: an index out of range, a cycle, or a leader that does not say so.
 */
static bool walk_chain(const struct lfpool_view *v, u32 index, unsigned long *chained)
{
	u32 steps = 0;

	while (index != LFPOOL_NONE) {
		if (!index_ok(v, &index) || test_bit(index, chained) ||
		    word_owner(READ_ONCE(v->descs[index].word)) != LFPOOL_OWNER_DEPOT)
			return false;
		__set_bit(index, chained);
		pause_at(++steps);
		index = READ_ONCE(v->descs[index].next);
	}
	return true;
}

/* (3) of R1 without a write: true if the head stood still meanwhile. */
static bool walk_depot(const struct lfpool_view *v, unsigned long *chained, bool *sound)
{
	int tries;

	for (tries = 0; tries < LFPOOL_WALKS; tries++) {
		u64 head;

		/* before the head is read: it should not move meanwhile */
		bitmap_zero(chained, v->count);
		/* pairs with the release of push's CAS: the next links are there */
		head = smp_load_acquire(&v->depot->head);
		*sound = walk_chain(v, head & LFPOOL_HEAD_INDEX, chained);
		/* the links were read before the head is read again */
		smp_rmb();
		if (READ_ONCE(v->depot->head) == head)
			return true;
	}
	return false;
}

/* Take the whole depot; LFPOOL_NONE if it is empty or cannot be had. */
static bool take_depot(struct lfpool_view *v, u32 *index)
{
	u64 head = READ_ONCE(v->depot->head);
	int tries;

	for (tries = 0; tries < LFPOOL_TAKES; tries++) {
		u64 empty = (head & ~LFPOOL_HEAD_INDEX) + LFPOOL_HEAD_TAG_ONE + LFPOOL_NONE;
		u64 seen = cmpxchg(&v->depot->head, head, empty);

		if (seen == head) {
			*index = head & LFPOOL_HEAD_INDEX;
			return true;
		}
		head = seen;
	}
	*index = LFPOOL_NONE;
	return false;
}

/* Move a taken chain into @v->reclaim, marking its leaders. */
static u32 reclaim_chain(struct lfpool_view *v, u32 index, unsigned long *chained)
{
	u32 steps = 0;
	u32 n = 0;

	while (index != LFPOOL_NONE) {
		u32 next;
		u64 word;

		if (!index_ok(v, &index) || test_bit(index, chained))
			break;
		__set_bit(index, chained);
		pause_at(++steps);
		next = READ_ONCE(v->descs[index].next);
		word = READ_ONCE(v->descs[index].word);
		if (word_owner(word) == LFPOOL_OWNER_DEPOT)
			n += reclaim_batch(v, index, word);
		index = next;
	}
	return n;
}

/**
 * lfpool_drain_depot - take all that is in the depot
 * @v: the pool
 *
 * For a pool that runs dry. Return: how many buffers were taken.
 */
u32 lfpool_drain_depot(struct lfpool_view *v)
{
	u32 index;

	if ((READ_ONCE(v->depot->head) & LFPOOL_HEAD_INDEX) == LFPOOL_NONE)
		return 0;
	take_depot(v, &index);
	bitmap_zero(v->chained, v->count);
	return reclaim_chain(v, index, v->chained);
}

/**
 * lfpool_recover_orphans - rule R1
 * @v:        the pool; @v->owner must not name clients that are dead
 * @deferred: out: leaders that a living journal names, to be looked at again;
 *            @v->count if nothing could be decided: any may be an orphan's
 *
 * Return: how many buffers of orphans were taken back. If the depot's head would
 * not stand still, @v->reclaim has what was in it as well.
 */
u32 lfpool_recover_orphans(struct lfpool_view *v, u32 *deferred)
{
	u32 n = 0;
	bool sound;
	u32 i;

	*deferred = 0;
	bitmap_zero(v->journaled, v->count);

	/* (1) */
	for (i = 0; i < v->count; i++) {
		v->word[i] = READ_ONCE(v->descs[i].word);
		pause_at(i);
	}
	smp_rmb(); /* (A) */
	/* (2) */
	note_journals(v);
	smp_mb(); /* (C) */
	/* (3) */
	if (!walk_depot(v, v->chained, &sound)) {
		u32 index;

		bitmap_zero(v->chained, v->count);
		if (!take_depot(v, &index)) {
			/* somebody hammers the head: nothing is decided now */
			*deferred = v->count;
			return 0;
		}
		reclaim_chain(v, index, v->chained);
	}
	smp_mb(); /* (C) */
	/* (4) */
	note_journals(v);
	smp_rmb(); /* (B) */
	/* (5) */
	for_each_set_bit(i, v->present, v->count) {
		u64 word = v->word[i];

		pause_at(i);
		if (word_owner(word) != LFPOOL_OWNER_DEPOT || test_bit(i, v->chained) ||
		    READ_ONCE(v->descs[i].word) != word || test_bit(i, v->kernel))
			continue;
		if (test_bit(i, v->journaled))
			(*deferred)++;
		else
			n += reclaim_batch(v, i, word);
	}
	return n;
}

/**
 * lfpool_find_id - where in a list of ids is this one?
 * @ids: the list, ascending
 * @nr:  its length
 * @id:  the id
 *
 * Return: its place, or @nr if it is not in the list.
 */
u32 lfpool_find_id(const u32 *ids, u32 nr, u32 id)
{
	u32 lo = 0;
	u32 hi = nr;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;

		if (ids[mid] == id)
			return mid;
		if (ids[mid] < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return nr;
}

/*
 * Mark in @v->mark what clients cache or hold, as R2 sees it: all that carries
 * one of their ids but the members of batches in the depot.
 */
static void mark_clients(struct lfpool_view *v, const u32 *ids, u32 nr)
{
	u32 i;

	bitmap_zero(v->mark, v->count);
	for_each_set_bit(i, v->present, v->count) {
		v->word[i] = READ_ONCE(v->descs[i].word);
		if (lfpool_find_id(ids, nr, word_owner(v->word[i])) < nr &&
		    !test_bit(i, v->kernel))
			__set_bit(i, v->mark);
		pause_at(i);
	}
	/*
	 * Candidates before leaders. Pairs with the order of d: a member that
	 * was popped after it was read here has another word by now.
	 */
	smp_rmb();
	for_each_set_bit(i, v->present, v->count) {
		struct lfpool_desc *d = &v->descs[i];
		u32 item[LFPOOL_BATCH_MAX - 1];
		u32 count, k;
		u64 word;

		pause_at(i);
		/*
		 * Word before list. Pairs with the release of step h: the list
		 * of an earlier batch of this leader may name what the dead
		 * client popped then, and nobody would look for that again.
		 */
		word = smp_load_acquire(&d->word);
		if (word_owner(word) != LFPOOL_OWNER_DEPOT || test_bit(i, v->kernel))
			continue;
		count = READ_ONCE(d->count);
		if (count > LFPOOL_BATCH_MAX - 1)
			continue;
		for (k = 0; k < count; k++)
			item[k] = READ_ONCE(d->item[k]);
		/*
		 * List before word. If the batch was popped meanwhile, the list
		 * may be that of another one by now; pairs with the release of
		 * steps d and h. Its members have other words already.
		 */
		smp_rmb();
		if (READ_ONCE(d->word) != word)
			continue;
		for (k = 0; k < count; k++) {
			if (index_ok(v, &item[k]))
				__clear_bit(item[k], v->mark);
		}
	}
}

/**
 * lfpool_recover_held - rule R2
 * @v:     the pool
 * @dead:  ids of dead clients, ascending; R1 must have run since they died
 * @nr:    how many
 * @taken: out: how many buffers were taken back, of each of them
 *
 * Two walks over the descriptors serve all the dead.
 *
 * Return: how many buffers were taken back.
 */
u32 lfpool_recover_held(struct lfpool_view *v, const u32 *dead, u32 nr, u32 *taken)
{
	u32 n = 0;
	u32 i, k;

	for (k = 0; k < nr; k++)
		taken[k] = 0;
	mark_clients(v, dead, nr);
	for_each_set_bit(i, v->mark, v->count) {
		pause_at(i);
		if (!reclaim(v, i, v->word[i]))
			continue;
		taken[lfpool_find_id(dead, nr, word_owner(v->word[i]))]++;
		n++;
	}
	return n;
}

/**
 * lfpool_count_client - how many buffers a client holds
 * @v:      the pool
 * @client: the client
 * @cached: out: how many more are in the caches of its threads
 *
 * Exact while the client moves none.
 */
u32 lfpool_count_client(struct lfpool_view *v, u32 client, u32 *cached)
{
	u32 all, s;

	mark_clients(v, &client, 1);
	all = bitmap_weight(v->mark, v->count);
	*cached = 0;
	for (s = 0; s < v->threads; s++) {
		if (v->owner[s] == client)
			*cached += min_t(u32, READ_ONCE(v->slots[s].n), LFPOOL_CACHE_MAX);
	}
	*cached = min(*cached, all);
	return all - *cached;
}

/**
 * lfpool_drain_cache - take what is in a thread's cache
 * @v:      the pool
 * @slot:   the slot; its thread must be gone or kept out (scavenge)
 * @client: whose it is
 *
 * Return: how many buffers were taken.
 */
u32 lfpool_drain_cache(struct lfpool_view *v, u32 slot, u32 client)
{
	struct lfpool_slot *s = &v->slots[slot];
	u32 n = READ_ONCE(s->n);
	u32 taken = 0;
	u32 k;

	if (n > LFPOOL_CACHE_MAX)
		n = LFPOOL_CACHE_MAX;
	for (k = 0; k < n; k++) {
		u32 i = READ_ONCE(s->item[k]);
		u64 word;

		if (!index_ok(v, &i))
			continue;
		word = READ_ONCE(v->descs[i].word);
		if (word_owner(word) == client && reclaim(v, i, word))
			taken++;
	}
	WRITE_ONCE(s->n, 0);
	return taken;
}

/**
 * lfpool_count_depot - how many buffers the depot holds
 * @v: the pool
 *
 * Exact if the head stands still, else what the last of a few walks saw.
 */
u32 lfpool_count_depot(const struct lfpool_view *v)
{
	u32 n = 0;
	bool sound;
	u32 i;

	walk_depot(v, v->chained, &sound);
	for_each_set_bit(i, v->chained, v->count)
		n += 1 + min(READ_ONCE(v->descs[i].count), LFPOOL_BATCH_MAX - 1U);
	return n;
}

/**
 * lfpool_client_traced - does any owner word still carry an id?
 * @v:      the pool
 * @client: the id
 *
 * Members of depot batches do, long after their client is gone; its id must
 * not be given out again while one is left.
 */
bool lfpool_client_traced(const struct lfpool_view *v, u32 client)
{
	u32 i;

	for (i = 0; i < v->count; i++) {
		if (word_owner(READ_ONCE(v->descs[i].word)) == client)
			return true;
		pause_at(i);
	}
	return false;
}

/*
 * Audit
 */

/* What changes whenever anything moves: equal before and after, nothing did. */
static u64 fingerprint(const struct lfpool_view *v)
{
	u64 sum = READ_ONCE(v->depot->head);
	u32 i;

	for (i = 0; i < v->threads; i++) {
		struct lfpool_slot *s = &v->slots[i];

		if (!v->owner[i])
			continue;
		sum = sum * 31 + READ_ONCE(s->busy);
		sum = sum * 31 + READ_ONCE(s->journal);
		sum = sum * 31 + READ_ONCE(s->n);
		sum = sum * 31 + READ_ONCE(s->gets);
		sum = sum * 31 + READ_ONCE(s->puts);
		sum = sum * 31 + READ_ONCE(s->refills);
		sum = sum * 31 + READ_ONCE(s->flushes);
	}
	for (i = 0; i < v->count; i++) {
		sum = sum * 31 + READ_ONCE(v->descs[i].word);
		sum = sum * 31 + test_bit(i, v->kernel);
		pause_at(i);
	}
	return sum;
}

/* Count buffer @i in the place @place, or as being in two places. */
static void place(struct lfpool_view *v, struct lfpool_audit *a, u32 i, __u64 *place)
{
	if (test_bit(i, v->mark)) {
		a->duplicate++;
		return;
	}
	__set_bit(i, v->mark);
	(*place)++;
}

/* The members of the batch that @leader leads. */
static void place_members(struct lfpool_view *v, struct lfpool_audit *a, u32 leader,
			  __u64 *where)
{
	struct lfpool_desc *d = &v->descs[leader];
	u32 count = READ_ONCE(d->count);
	u32 k;

	if (count > LFPOOL_BATCH_MAX - 1) {
		a->damaged++;
		return;
	}
	for (k = 0; k < count; k++) {
		u32 i = READ_ONCE(d->item[k]);

		if (index_ok(v, &i))
			place(v, a, i, where);
		else
			a->damaged++;
	}
}

/*
 * The caches of threads that are (@busy) or are not between two states of
 * theirs. A busy one may list what it has just pushed, and somebody popped.
 */
static void place_cache(struct lfpool_view *v, struct lfpool_audit *a, u32 slot, bool busy)
{
	struct lfpool_slot *s = &v->slots[slot];
	u32 n = READ_ONCE(s->n);
	u32 k;

	if (!v->owner[slot] || !!READ_ONCE(s->busy) != busy)
		return;
	if (n > LFPOOL_CACHE_MAX) {
		a->damaged++;
		return;
	}
	for (k = 0; k < n; k++) {
		u32 i = READ_ONCE(s->item[k]);

		if (!index_ok(v, &i))
			a->damaged++;
		else if (!busy || (!test_bit(i, v->mark) &&
				   word_owner(READ_ONCE(v->descs[i].word)) == v->owner[slot]))
			place(v, a, i, &a->cached);
	}
}

static void audit_once(struct lfpool_view *v, struct lfpool_audit *a)
{
	bool sound;
	u32 i, s;

	bitmap_zero(v->mark, v->count);
	bitmap_zero(v->journaled, v->count);
	note_journals(v);

	for_each_set_bit(i, v->present, v->count) {
		a->capacity++;
		pause_at(i);
		if (test_bit(i, v->kernel))
			place(v, a, i, &a->reserve);
	}

	/* of a chain that changed under the walk nothing can be said */
	if (walk_depot(v, v->chained, &sound) && !sound)
		a->damaged++;
	for_each_set_bit(i, v->chained, v->count) {
		place(v, a, i, &a->depot);
		place_members(v, a, i, &a->depot);
	}

	/* batches on their way into or out of the depot, and orphans */
	for_each_set_bit(i, v->present, v->count) {
		pause_at(i);
		if (word_owner(READ_ONCE(v->descs[i].word)) != LFPOOL_OWNER_DEPOT ||
		    test_bit(i, v->chained) || test_bit(i, v->mark))
			continue;
		if (test_bit(i, v->journaled)) {
			place(v, a, i, &a->transit);
			place_members(v, a, i, &a->transit);
		} else {
			place(v, a, i, &a->lost);
			place_members(v, a, i, &a->lost);
		}
	}

	for (s = 0; s < v->threads; s++)
		place_cache(v, a, s, false);
	for (s = 0; s < v->threads; s++)
		place_cache(v, a, s, true);

	for_each_set_bit(i, v->present, v->count) {
		pause_at(i);
		if (test_bit(i, v->mark))
			continue;
		if (lfpool_find_id(v->clients, v->clients_nr,
				   word_owner(READ_ONCE(v->descs[i].word))) < v->clients_nr)
			a->held++;
		else
			a->lost++;
	}
}

/**
 * lfpool_audit - find every buffer
 * @v: the pool; @v->clients lists every client that may hold buffers
 * @a: out: the places; @a->reserve counts the quarantine, too
 *
 * Safe while others run, but then a buffer that moves can be seen twice or not
 * at all: the audit looks a few times, and if nothing ever stood still it says
 * so (@a->exact) and counts as in transit what it did not find.
 *
 * What is lost although nothing moved is looked for again as well: a RELEASE
 * that is stopped between the owner word and the private bit changes nothing
 * meanwhile, and its buffer is in no place.
 */
void lfpool_audit(struct lfpool_view *v, struct lfpool_audit *a)
{
	const struct lfpool_audit empty = { .size = a->size };
	int tries;

	for (tries = 0; tries < LFPOOL_WALKS; tries++) {
		u64 before = fingerprint(v);

		*a = empty;
		smp_rmb(); /* the two fingerprints enclose the look */
		audit_once(v, a);
		smp_rmb(); /* encloses the look, too */
		if (fingerprint(v) == before && (!a->lost || tries == LFPOOL_WALKS - 1)) {
			a->exact = 1;
			return;
		}
	}
	a->transit += a->lost;
	a->lost = 0;
	a->duplicate = 0;
}
