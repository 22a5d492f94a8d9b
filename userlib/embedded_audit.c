// SPDX-License-Identifier: MIT
/*
 * The audit of an embedded pool: a place for each buffer (I1, I2).
 *
 * The mutex keeps the reserve still. Threads go on moving buffers between
 * their caches, the depot and their programs; the head's tag and the counters
 * tell whether any did while we looked. Then it looks again, some times, and in
 * the end calls what it cannot tell "transit".
 */
#include <stdlib.h>

#include "embedded.h"

enum place { NOWHERE, RESERVE, DEPOT, CACHE, TRANSIT };

struct walk {
	struct lfpool_audit *audit;
	unsigned char *place;		/* enum place of each buffer */
	__u32 capacity;
};

static void found(struct walk *w, __u32 i, enum place place)
{
	if (i >= w->capacity)
		w->audit->damaged++;
	else if (w->place[i] != NOWHERE)
		w->audit->duplicate++;
	else
		w->place[i] = place;
}

static void walk_batch(const struct lfpool *pool, struct walk *w, __u32 leader,
		       enum place place)
{
	struct lfpool_desc *desc = &pool->depot.desc[leader];
	unsigned int j, members = LFPOOL_READ(desc->count);

	if (members > LFPOOL_BATCH_MAX - 1) {
		w->audit->damaged++;
		members = 0;
	}
	found(w, leader, place);
	for (j = 0; j < members; j++)
		found(w, LFPOOL_READ(desc->item[j]), place);
}

static void walk_depot(const struct lfpool *pool, struct walk *w)
{
	unsigned int left = w->capacity;
	__u32 leader;

	leader = __atomic_load_n(&pool->depot.shared->head, __ATOMIC_ACQUIRE) & LFPOOL_HEAD_INDEX;
	for (; leader != LFPOOL_NONE && left; left--) {
		if (leader >= w->capacity) {
			w->audit->damaged++;
			return;
		}
		walk_batch(pool, w, leader, DEPOT);
		leader = LFPOOL_READ(pool->depot.desc[leader].next) & LFPOOL_HEAD_INDEX;
	}
}

static void walk_slots(const struct lfpool *pool, struct walk *w)
{
	struct control *c = control_of(pool);
	struct lfpool_slot *s;
	unsigned int nr, k, n;
	__u32 leader;
	__u64 word;

	for (nr = 0; nr < pool->info.max_threads; nr++) {
		if (!c->slot_client[nr])
			continue;
		s = slot_of(pool, nr);
		n = LFPOOL_READ(s->n);
		if (n > LFPOOL_CACHE_MAX) {
			w->audit->damaged++;
			n = 0;
		}
		for (k = 0; k < n; k++)
			found(w, LFPOOL_READ(s->item[k]), CACHE);

		leader = LFPOOL_READ(s->journal);
		if (leader == LFPOOL_NONE)
			continue;
		if (leader >= w->capacity) {
			w->audit->damaged++;
			continue;
		}
		word = LFPOOL_READ(pool->depot.desc[leader].word);
		if (w->place[leader] == NOWHERE &&
		    (word & LFPOOL_WORD_OWNER) == LFPOOL_OWNER_DEPOT)
			walk_batch(pool, w, leader, TRANSIT);
	}
}

/* What is in no place is held, if its word names a client. */
static void sort_out(const struct lfpool *pool, struct walk *w)
{
	struct lfpool_audit *a = w->audit;
	__u32 i, owner;

	for (i = 0; i < w->capacity; i++) {
		owner = LFPOOL_READ(pool->depot.desc[i].word) & LFPOOL_WORD_OWNER;
		if (owner != LFPOOL_OWNER_DEPOT && owner >= control_of(pool)->next_client)
			a->damaged++;
		switch (w->place[i]) {
		case RESERVE:
			a->reserve++;
			break;
		case DEPOT:
			a->depot++;
			break;
		case CACHE:
			a->cached++;
			break;
		case TRANSIT:
			a->transit++;
			break;
		default:
			if (owner == LFPOOL_OWNER_RESERVE || owner == LFPOOL_OWNER_DEPOT)
				a->lost++;
			else
				a->held++;
		}
	}
}

/* Changes when anybody moves a buffer past the mutex. */
static __u64 movement(const struct lfpool *pool, bool *busy)
{
	struct control *c = control_of(pool);
	__u64 sum = __atomic_load_n(&pool->depot.shared->head, __ATOMIC_ACQUIRE);
	struct lfpool_slot *s;
	unsigned int nr;

	*busy = false;
	for (nr = 0; nr < pool->info.max_threads; nr++) {
		if (!c->slot_client[nr])
			continue;
		s = slot_of(pool, nr);
		*busy |= __atomic_load_n(&s->busy, __ATOMIC_ACQUIRE);
		sum += LFPOOL_READ(s->gets) + LFPOOL_READ(s->puts) + LFPOOL_READ(s->misses) +
		       LFPOOL_READ(s->refills) + LFPOOL_READ(s->flushes);
	}
	return sum;
}

static void audit_once(struct lfpool *pool, struct walk *w)
{
	struct embedded *e = pool->private;
	struct lfpool_audit *a = w->audit;
	bool busy_before, busy_after;
	__u64 before;
	__u32 k;

	memset(a, 0, sizeof(*a));
	a->size = sizeof(*a);
	a->capacity = w->capacity;
	memset(w->place, NOWHERE, w->capacity);

	before = movement(pool, &busy_before);
	for (k = 0; k < e->control->reserved; k++)
		found(w, e->reserve[k], RESERVE);
	walk_depot(pool, w);
	walk_slots(pool, w);
	sort_out(pool, w);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	a->exact = before == movement(pool, &busy_after) && !busy_before && !busy_after;
	if (!a->exact) {
		/* what moved may have been seen twice, or nowhere */
		a->transit += a->lost;
		a->lost = 0;
		a->duplicate = 0;
	}
}

int lfp_embedded_audit(struct lfpool *pool, struct lfpool_audit *audit)
{
	struct walk w = { .audit = audit, .capacity = control_of(pool)->capacity };
	unsigned int tries = 10;

	w.place = malloc(w.capacity);
	if (!w.place)
		return -ENOMEM;
	do {
		audit_once(pool, &w);
	} while (!audit->exact && --tries);
	free(w.place);
	return 0;
}
