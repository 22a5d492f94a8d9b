/* SPDX-License-Identifier: MIT */
/*
 * The depot: the shared stack of batches.
 *
 * A batch is up to 29 free buffers that move together. One of them leads it:
 * the leader's descriptor lists the others, the members, and links to the next
 * batch's leader. One 64-bit head {tag:40, index:24} holds the stack; every
 * change of it adds one to the tag, so that a compare-and-swap never takes an
 * old head for a new one.
 *
 *    depot page            descriptors
 *   +----------+      +----------------------+      +----------------------+
 *   | tag      |      | L1                   |      | L2                   |
 *   | index ---+----->| word {gen, DEPOT}    |  +-->| word {gen, DEPOT}    |
 *   +----------+      | next ----------------+--+   | next = NONE          |
 *                     | count = 2            |      | count = 1            |
 *    a slot           | item[] = m1, m2      |      | item[] = m3          |
 *   +----------+      +----------------------+      +----------------------+
 *   | journal -+- - -> the leader that this thread is moving just now
 *   | n        |
 *   | item[]   |       m1, m2, m3: word {gen, whoever pushed them}; stale, and
 *   +----------+       harmless, as a leader that says DEPOT lists them (R2)
 *
 * Who writes what: the head, anybody, by compare-and-swap only. A descriptor,
 * the thread that has the batch, which is alone with it from the pop's
 * compare-and-swap to the push's. A slot, its own thread, with busy set: the
 * journal belongs to one move at a time, and a signal handler that finds busy
 * set keeps away from the depot.
 *
 * Nobody waits for anybody here, and a thread may be killed at any instruction.
 * What it leaves behind must then tell the kernel where every buffer is
 * (module/recover.c): R1 finds the batch that was on its way, by a leader that
 * says DEPOT, is not in the stack and is in no living thread's journal. R2
 * finds the buffers that the dead client held, by the words that name it.
 *
 * pop                                     push
 *
 *  (a) h = head; empty: go to (g)          (k) the leader's count and item[]
 *  (b) journal = leader                    (l) journal = leader
 *  (c) head: h -> {tag + 1, next} by       (m) leader's word = {gen + 1, DEPOT}
 *      compare-and-swap; lost: (a)         (n) next = head's index;
 *  (d) each member's word = {gen, me}          head: h -> {tag + 1, leader} by
 *  (e) leader's word = {gen, me}               compare-and-swap; lost: (n)
 *  (f) item[] and n of the slot            (o) journal = NONE
 *  (g) journal = NONE
 *
 * What each order is for. "Seen" means by the kernel, which reads the words,
 * then the journals, then takes or walks the stack, then the journals and the
 * words again, with a full barrier between any two of these.
 *
 *  (b) before (c)   release in (c)'s compare-and-swap. Once the leader is not in
 *                   the stack any more, the journal is seen to name it.
 *  (d) before (e)   release store in (e). As long as the leader says DEPOT, its
 *                   members are struck out in R2; when it does not say so any
 *                   more, they must not be seen to name a dead client. Pairs
 *                   with the barrier in R2 between reading a leader's word and
 *                   the compare-and-swap of a candidate.
 *  (e) before (g)   release store in (g). A journal that names the leader no
 *                   more: its word is seen changed. Pairs with the barrier
 *                   between the second reading of journals and of words.
 *  (k) before (n)   release in (n)'s compare-and-swap. Pairs with the acquire
 *                   of head in (a): who finds the leader in the head may read
 *                   its descriptor. The same pair carries the contents of the
 *                   buffers from whoever put them to whoever gets them.
 *  (k) before (m)   release store in (m). Who reads DEPOT in a leader's word
 *                   reads the list that belongs to it. Pairs with the barrier
 *                   in R1 and R2 between the word and the list.
 *  (l) before (m)   the same release store. A leader that says DEPOT and is not
 *                   in the stack yet: its journal is seen. Pairs with the
 *                   barrier between the first reading of words and of journals.
 *  (m) before (n)   release in (n). A leader in the stack says DEPOT.
 *  (n) before (o)   release store in (o). A journal that names the leader no
 *                   more: it is seen in the stack (or popped by somebody whose
 *                   journal names it). Pairs with the barrier between the first
 *                   reading of journals and the walk.
 *
 * After a push the pusher looks for waiters: that fence and its partner are
 * told at lfp_wake_waiters() in thread.c. The generation grows at each push of a
 * leader (m), so that R1 can tell a leader that stayed from one that was popped
 * and pushed again between its two readings of the words.
 *
 * (a) to (g) clear the journal on every way out, also when the stack was empty:
 * a journal that names a leader makes recovery wait.
 *
 * Trust: all clients of a pool share this memory, and one may write nonsense
 * here. No index is used before it was compared with the number of descriptors,
 * no count before it was limited. A head that names no buffer counts as empty;
 * the back end is asked then, and the audit reports the damage.
 *
 * Injection points (LFPOOL_INJECT(nr), empty in production):
 *
 *    1..4   inline get: before busy, after it, before the cache is read,
 *           counted and n not written                                (lfpool.h)
 *    5..8   inline put: the same                                     (lfpool.h)
 *   10      pop: head read, journal not yet written          (a) | (b)
 *   11      pop: journal written, before the swap            (b) | (c)
 *   12      pop: batch taken, no word changed yet            (c) | (d)
 *   13      pop: after each member's word                    within (d)
 *   14      pop: before the leader's word                    (d) | (e)
 *   15      pop: after it, cache not yet filled              (e) | (f)
 *   16      pop: cache filled, journal still names it        (f) | (g)
 *   17      pop: lost the swap, journal names an old leader  (c) | (a)
 *   20      push: list written, journal not yet              (k) | (l)
 *   21      push: journal written, word not yet              (l) | (m)
 *   22      push: word says DEPOT, not in the stack          (m) | (n)
 *   23      push: next written, before the swap              within (n)
 *   24      push: in the stack, journal still names it       (n) | (o)
 *   25      push: done, the cache still lists the batch      (thread.c, pool.c)
 *   26      the cache lists it no more, waiters not asked    (thread.c)
 *   30      refill: granted, in no cache yet                 (thread.c)
 *   31      refill: in the cache, busy still set             (thread.c)
 *   32      put: claimed (not exported any more), in no cache (thread.c)
 *   33      release: before the call of the back end         (thread.c)
 *   40      export: before the swap of the word              (pool.c)
 *   41      import: before the swap of the word              (pool.c)
 *   42      import: after it                                 (pool.c)
 *   43      prefill: granted, not pushed yet                 (pool.c)
 *   44      bulk get: within busy, before n                  (pool.c)
 *   45      bulk put: within busy, before n                  (pool.c)
 *   50..52  scavenge: revoked set, before an item, n = 0        (embedded.c)
 *   53, 54  reserve: entry written, before the count; the reverse (embedded.c)
 *   55      a word says RESERVE, in no place yet             (embedded.c)
 *   56      growth: capacity counts it, in no place yet      (embedded.c)
 *   57      waiters forgotten, still counted                 (embedded.c)
 */
#ifndef LFPOOL_DEPOT_H
#define LFPOOL_DEPOT_H

#include <stdbool.h>

#include "lfpool.h"

/**
 * struct depot - a client's view of the depot
 * @shared: head and waiters
 * @desc:   the descriptors
 * @count:  how many: every index is below it
 * @mark:   low half of the owner word of a free buffer in a cache of ours
 * @stamp:  generation in which we poisoned each buffer, or NULL (debug.c)
 */
struct depot {
	struct lfpool_depot *shared;
	struct lfpool_desc *desc;
	__u32 count;
	__u32 mark;
	__u32 *stamp;
};

#define DEPOT_GEN_ONE	(1ULL << LFPOOL_WORD_GEN_SHIFT)
#define DEPOT_GEN_MASK	(~0ULL << LFPOOL_WORD_GEN_SHIFT)

/*
 * Fetches a cache line for writing. A load first, and the store or swap after
 * it, would make another core's line cross over twice: once to be shared, once
 * to be ours. (The compiler has this instruction only for newer machines; where
 * the processor lacks it, it does nothing.)
 */
static inline void depot_fetch(const void *p)
{
#if defined(__x86_64__)
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
	__builtin_prefetch(p, 1);
#endif
}

static inline __u32 depot_gen(__u64 word)
{
	return (__u32)(word >> LFPOOL_WORD_GEN_SHIFT);
}

/* (d) for one member; mostly it carries our id still, and nothing is written */
static inline void depot_own_member(const struct depot *d, __u32 i)
{
	__u64 word = LFPOOL_READ(d->desc[i].word);

	if ((__u32)word == d->mark)
		return;
	LFPOOL_WRITE(d->desc[i].word, (word & DEPOT_GEN_MASK) | d->mark);
	/* somebody else had it: its poison, if any, is not ours */
	if (LFPOOL_UNLIKELY(d->stamp))
		d->stamp[i] = ~depot_gen(word);
}

/*
 * Copies indices between a cache and a batch that are the caller's alone at this
 * moment: no volatile accesses, of which there would be one for each index.
 */
static inline void depot_copy(__u32 *to, const __u32 *from, unsigned int n)
{
#if defined(LFPOOL_TSAN)
	unsigned int k;

	for (k = 0; k < n; k++)
		LFPOOL_WRITE(to[k], LFPOOL_READ(from[k]));
#else
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	memmove(to, from, n * sizeof(*to));
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * The words of a batch that another client pushed are all to be written, so they
 * come over at the same time, not one by one. The first one tells; the words of
 * our own threads' batches stay as they are, and each core has them for reading.
 */
static inline void depot_fetch_members(const struct depot *d, const struct lfpool_desc *desc,
				       unsigned int members)
{
	unsigned int j;
	__u32 i;

	if (!members)
		return;
	i = LFPOOL_READ(desc->item[0]);
	if (LFPOOL_UNLIKELY(i >= d->count) || (__u32)LFPOOL_READ(d->desc[i].word) == d->mark)
		return;
	for (j = 1; j < members; j++) {
		i = LFPOOL_READ(desc->item[j]);
		if (LFPOOL_LIKELY(i < d->count))
			depot_fetch(&d->desc[i].word);
	}
}

/**
 * depot_pop - move the depot's first batch into a cache
 * @d: the depot
 * @s: the caller's slot; busy, and with room for a batch
 *
 * Return: how many buffers came.
 */
static inline unsigned int depot_pop(const struct depot *d, struct lfpool_slot *s)
{
	unsigned int n, first, j, members;
	struct lfpool_desc *desc;
	__u64 head, next, word;
	__u32 leader, i;

	depot_fetch(&d->shared->head);
	head = __atomic_load_n(&d->shared->head, __ATOMIC_ACQUIRE);		/* (a) */
	for (;;) {
		leader = head & LFPOOL_HEAD_INDEX;
		if (leader >= d->count) {
			LFPOOL_WRITE_RELEASE(s->journal, LFPOOL_NONE);	/* (g) */
			return 0;
		}
		LFPOOL_INJECT(10);
		LFPOOL_WRITE(s->journal, leader);			/* (b) */
		LFPOOL_INJECT(11);
		desc = &d->desc[leader];
		depot_fetch(&desc->word);
		__builtin_prefetch(&desc->item[LFPOOL_BATCH_MAX - 2]);
		/* read from a batch that is gone, it does not match the tag */
		next = LFPOOL_READ(desc->next) & LFPOOL_HEAD_INDEX;
		next |= (head & ~LFPOOL_HEAD_INDEX) + LFPOOL_HEAD_TAG_ONE;
		if (__atomic_compare_exchange_n(&d->shared->head, &head, next, 0,	/* (c) */
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			break;
		LFPOOL_INJECT(17);
		LFPOOL_WRITE(s->cas_retries, LFPOOL_READ(s->cas_retries) + 1);
	}
	LFPOOL_INJECT(12);

	members = LFPOOL_READ(desc->count);
	if (members > LFPOOL_BATCH_MAX - 1)
		members = LFPOOL_BATCH_MAX - 1;
	depot_fetch_members(d, desc, members);
	/* in the order of the push: its coldest is our coldest, the leader */
	first = LFPOOL_READ(s->n);
	n = first + 1;
	for (j = 0; j < members; j++) {
		i = LFPOOL_READ(desc->item[j]);
		if (LFPOOL_UNLIKELY(i >= d->count))
			continue;
		depot_own_member(d, i);					/* (d) */
		LFPOOL_INJECT(13);
		LFPOOL_WRITE(s->item[n], i);
		n++;
	}
	LFPOOL_INJECT(14);
	word = LFPOOL_READ(desc->word);
	LFPOOL_WRITE_RELEASE(desc->word, (word & DEPOT_GEN_MASK) | d->mark); /* (e) */
	LFPOOL_INJECT(15);
	LFPOOL_WRITE(s->item[first], leader);
	LFPOOL_WRITE(s->n, n);						/* (f) */
	LFPOOL_INJECT(16);
	LFPOOL_WRITE_RELEASE(s->journal, LFPOOL_NONE);			/* (g) */
	return n - first;
}

/**
 * depot_push - move buffers into the depot as one batch
 * @d:    the depot
 * @s:    the caller's slot; busy
 * @item: the buffers: free, and this client's; the first one leads
 * @n:    how many, 1..LFPOOL_BATCH_MAX
 *
 * The caller takes them out of its cache afterwards: killed in between, the
 * words tell that they are the depot's, and nobody believes a dead cache.
 */
static inline void depot_push(const struct depot *d, struct lfpool_slot *s,
			      const __u32 *item, unsigned int n)
{
	__u32 leader = LFPOOL_READ(item[0]);
	struct lfpool_desc *desc;
	__u64 head, next, word;

	desc = &d->desc[leader];
	/* the three lines that are written here, likely to be on another core */
	depot_fetch(&d->shared->head);
	depot_fetch(&desc->word);
	depot_fetch(&desc->item[LFPOOL_BATCH_MAX - 2]);
	depot_copy(desc->item, item + 1, n - 1);			/* (k) */
	LFPOOL_WRITE(desc->count, n - 1);
	LFPOOL_INJECT(20);
	LFPOOL_WRITE(s->journal, leader);				/* (l) */
	LFPOOL_INJECT(21);
	word = LFPOOL_READ(desc->word);
	/* the poison stays what it is: only the generation moves on */
	if (LFPOOL_UNLIKELY(d->stamp) && d->stamp[leader] == depot_gen(word))
		d->stamp[leader]++;
	LFPOOL_WRITE_RELEASE(desc->word, ((word & DEPOT_GEN_MASK) + DEPOT_GEN_ONE) |
			     LFPOOL_OWNER_DEPOT);			/* (m) */
	LFPOOL_INJECT(22);
	head = LFPOOL_READ(d->shared->head);
	for (;;) {							/* (n) */
		LFPOOL_WRITE(desc->next, (__u32)(head & LFPOOL_HEAD_INDEX));
		LFPOOL_INJECT(23);
		next = (head & ~LFPOOL_HEAD_INDEX) + LFPOOL_HEAD_TAG_ONE;
		next |= leader;
		if (__atomic_compare_exchange_n(&d->shared->head, &head, next, 0,
						__ATOMIC_RELEASE, __ATOMIC_RELAXED))
			break;
		LFPOOL_WRITE(s->cas_retries, LFPOOL_READ(s->cas_retries) + 1);
	}
	LFPOOL_INJECT(24);
	LFPOOL_WRITE_RELEASE(s->journal, LFPOOL_NONE);			/* (o) */
}

#endif /* LFPOOL_DEPOT_H */
