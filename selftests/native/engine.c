// SPDX-License-Identifier: GPL-2.0-only
/*
 * engine: each function of module/recover.c on states that are built by hand,
 * and on garbage.
 *
 * The head comment of recover.c has the table of what a process that dies
 * leaves; the numbers of the steps, a to j, are the ones there.
 */
#include "view.h"

#include "harness.h"
#include "random.h"

/* Not a multiple of 64: the last word of the bitmaps is not full. */
#define COUNT	70
#define THREADS	4
/* buffers from here on do not exist */
#define PRESENT	60

#define DEAD	3
#define ALIVE	5
#define OTHER	6

FIXTURE(engine) {
	struct state *st;
	struct lfpool_view *v;
};

FIXTURE_SETUP(engine)
{
	u32 i;

	self->st = state_new(COUNT, THREADS);
	self->v = &self->st->view;
	for (i = PRESENT; i < COUNT; i++) {
		__clear_bit(i, self->st->present);
		__clear_bit(i, self->st->kernel);
	}
	self->st->clients[0] = ALIVE;
	self->st->clients[1] = OTHER;
	self->v->clients_nr = 2;
	/* slot 2 is free, as that of the dead is when its recovery starts */
	self->st->owner[0] = ALIVE;
	self->st->owner[1] = OTHER;
}

FIXTURE_TEARDOWN(engine)
{
	state_free(self->st);
}

/*
 * Building states
 */

static void hold(struct state *st, u32 i, u32 client)
{
	__clear_bit(i, st->kernel);
	st->descs[i].word = make_word((u32)(st->descs[i].word >> LFPOOL_WORD_GEN_SHIFT), client);
}

static void hold_some(struct state *st, u32 first, u32 n, u32 client)
{
	u32 k;

	for (k = 0; k < n; k++)
		hold(st, first + k, client);
}

/* f and h: @first leads the n - 1 that follow, which @client had */
static void make_batch(struct state *st, u32 first, u32 n, u32 client)
{
	struct lfpool_desc *d = &st->descs[first];
	u32 k;

	hold_some(st, first, n, client);
	for (k = 1; k < n; k++)
		d->item[k - 1] = first + k;
	d->count = n - 1;
	d->word = make_word((u32)(d->word >> LFPOOL_WORD_GEN_SHIFT) + 1, LFPOOL_OWNER_DEPOT);
}

/* i */
static void stack(struct state *st, u32 leader)
{
	u64 head = st->depot->head;

	st->descs[leader].next = head & LFPOOL_HEAD_INDEX;
	st->depot->head = (head & ~LFPOOL_HEAD_INDEX) + LFPOOL_HEAD_TAG_ONE + leader;
}

/* c */
static void unstack(struct state *st)
{
	u64 head = st->depot->head;

	st->depot->head = (head & ~LFPOOL_HEAD_INDEX) + LFPOOL_HEAD_TAG_ONE +
			  st->descs[head & LFPOOL_HEAD_INDEX].next;
}

static void push_batch(struct state *st, u32 first, u32 n, u32 client)
{
	make_batch(st, first, n, client);
	stack(st, first);
}

static void cache(struct state *st, u32 slot, u32 first, u32 n)
{
	struct lfpool_slot *s = &st->slots[slot];

	while (n--)
		s->item[s->n++] = first++;
}

static struct lfpool_audit audit(struct state *st)
{
	struct lfpool_audit a = { .size = sizeof(a) };

	ENGINE(&st->view, (lfpool_engine_audit(&st->view, &a), 0));
	return a;
}

/* How many were taken back, if it is exactly the n from @first on; else -1. */
static int taken(struct state *st, u32 first, u32 n)
{
	u32 i;

	for (i = 0; i < COUNT; i++) {
		if (test_bit(i, st->view.reclaim) != (i >= first && i < first + n))
			return -1;
	}
	return state_settle(st);
}

static u32 orphans(struct state *st, u32 *deferred)
{
	return ENGINE(&st->view, lfpool_recover_orphans(&st->view, deferred));
}

static u32 held(struct state *st)
{
	u32 dead = DEAD, n, of_it;

	n = ENGINE(&st->view, lfpool_recover_held(&st->view, &dead, 1, &of_it));
	return n == of_it ? n : ~0U;
}

static u32 generation(const struct state *st, u32 i)
{
	return st->descs[i].word >> LFPOOL_WORD_GEN_SHIFT;
}

#define EXPECT_WELL(st)							\
do {									\
	struct lfpool_audit __a = audit(st);				\
									\
	EXPECT_EQ(0, __a.lost);						\
	EXPECT_EQ(0, __a.duplicate);					\
	EXPECT_EQ(0, __a.damaged);					\
	EXPECT_EQ(1, __a.exact);					\
} while (0)

/* R1 and R2 take the n buffers from @first on, by these rules, and no others. */
#define EXPECT_RECOVERED(st, first, n, by_r1)				\
do {									\
	u32 __deferred = 99;						\
									\
	EXPECT_EQ(by_r1, orphans(st, &__deferred));			\
	EXPECT_EQ(0, __deferred);					\
	EXPECT_EQ((n) - (by_r1), held(st));				\
	EXPECT_EQ(n, taken(st, first, n));				\
	EXPECT_WELL(st);						\
	/* once more: there is nothing left to do */			\
	EXPECT_EQ(0, orphans(st, &__deferred));				\
	EXPECT_EQ(0, held(st));						\
	EXPECT_EQ(0, taken(st, 0, 0));					\
} while (0)

/*
 * R1 and R2: the table of recover.c, line by line. Another client's buffers
 * and batches stand around and must stay.
 */

static void bystanders(struct state *st)
{
	push_batch(st, 40, 3, ALIVE);
	hold_some(st, 44, 4, OTHER);
	hold_some(st, 50, 2, ALIVE);
	cache(st, 0, 50, 2);
}

TEST_F(engine, died_before_c)
{
	bystanders(self->st);
	push_batch(self->st, 10, 4, DEAD);
	EXPECT_RECOVERED(self->st, 0, 0, 0);
	EXPECT_EQ(7, ENGINE(self->v, lfpool_count_depot(self->v)));
}

TEST_F(engine, died_before_d)
{
	bystanders(self->st);
	push_batch(self->st, 10, 4, ALIVE);
	unstack(self->st);
	EXPECT_EQ(4, audit(self->st).lost);
	EXPECT_RECOVERED(self->st, 10, 4, 4);
}

TEST_F(engine, died_within_d)
{
	bystanders(self->st);
	push_batch(self->st, 10, 4, ALIVE);
	unstack(self->st);
	hold(self->st, 11, DEAD);
	hold(self->st, 12, DEAD);
	EXPECT_RECOVERED(self->st, 10, 4, 4);
}

TEST_F(engine, died_before_the_leaders_word)
{
	bystanders(self->st);
	push_batch(self->st, 10, 4, ALIVE);
	unstack(self->st);
	hold_some(self->st, 11, 3, DEAD);
	EXPECT_RECOVERED(self->st, 10, 4, 4);
}

TEST_F(engine, died_before_e)
{
	bystanders(self->st);
	push_batch(self->st, 10, 4, ALIVE);
	unstack(self->st);
	hold_some(self->st, 10, 4, DEAD);
	EXPECT_EQ(4, audit(self->st).lost);
	EXPECT_RECOVERED(self->st, 10, 4, 0);
}

TEST_F(engine, died_before_h)
{
	bystanders(self->st);
	make_batch(self->st, 10, 4, DEAD);
	hold(self->st, 10, DEAD);
	EXPECT_RECOVERED(self->st, 10, 4, 0);
}

TEST_F(engine, died_before_i)
{
	bystanders(self->st);
	make_batch(self->st, 10, 4, DEAD);
	EXPECT_RECOVERED(self->st, 10, 4, 4);
}

TEST_F(engine, died_before_j)
{
	bystanders(self->st);
	push_batch(self->st, 10, 4, DEAD);
	EXPECT_RECOVERED(self->st, 0, 0, 0);
}

TEST_F(engine, died_in_put_and_get)
{
	/* whatever the dead cache says, words count; two held, three cached */
	bystanders(self->st);
	hold_some(self->st, 10, 5, DEAD);
	cache(self->st, 2, 12, 3);
	cache(self->st, 2, 44, 4);
	EXPECT_RECOVERED(self->st, 10, 5, 0);
}

/* The largest batch there is, and one of a leader alone. */
TEST_F(engine, batch_sizes)
{
	bystanders(self->st);
	make_batch(self->st, 0, LFPOOL_BATCH_MAX, ALIVE);
	EXPECT_RECOVERED(self->st, 0, LFPOOL_BATCH_MAX, LFPOOL_BATCH_MAX);
	make_batch(self->st, 7, 1, ALIVE);
	EXPECT_RECOVERED(self->st, 7, 1, 1);
}

TEST_F(engine, last_buffer_and_deep_depot)
{
	u32 deferred, i;

	for (i = 0; i < PRESENT; i++)
		push_batch(self->st, i, 1, ALIVE);
	EXPECT_EQ(PRESENT, ENGINE(self->v, lfpool_count_depot(self->v)));
	EXPECT_EQ(0, orphans(self->st, &deferred));
	unstack(self->st);
	EXPECT_EQ(1, orphans(self->st, &deferred));
	EXPECT_EQ(1, taken(self->st, PRESENT - 1, 1));
	EXPECT_WELL(self->st);
}

/*
 * R1: journals
 */

TEST_F(engine, journal_defers)
{
	u32 deferred, slot;

	for (slot = 0; slot < 2; slot++) {
		make_batch(self->st, 10, 4, DEAD);
		self->st->slots[slot].journal = 10;
		EXPECT_EQ(0, orphans(self->st, &deferred));
		EXPECT_EQ(1, deferred);
		/* R2 must not take the members from under R1 */
		EXPECT_EQ(0, held(self->st));
		EXPECT_EQ(0, taken(self->st, 0, 0));
		EXPECT_EQ(4, audit(self->st).transit);
		EXPECT_EQ(0, audit(self->st).lost);
		/* it moved something else, and is done with it */
		self->st->slots[slot].journal = LFPOOL_NONE;
		EXPECT_EQ(4, orphans(self->st, &deferred));
		EXPECT_EQ(0, deferred);
		EXPECT_EQ(4, taken(self->st, 10, 4));
	}
}

/* A living thread went on with it: nothing to decide any more. */
TEST_F(engine, journal_defers_then_nothing)
{
	u32 deferred;

	make_batch(self->st, 10, 4, ALIVE);
	self->st->slots[0].journal = 10;
	EXPECT_EQ(0, orphans(self->st, &deferred));
	EXPECT_EQ(1, deferred);
	stack(self->st, 10);
	self->st->slots[0].journal = LFPOOL_NONE;
	EXPECT_EQ(0, orphans(self->st, &deferred));
	EXPECT_EQ(0, deferred);
	EXPECT_EQ(0, taken(self->st, 0, 0));
	EXPECT_WELL(self->st);
}

TEST_F(engine, journal_of_a_free_slot_is_nobodys)
{
	u32 deferred;

	make_batch(self->st, 10, 4, DEAD);
	self->st->slots[2].journal = 10;
	EXPECT_EQ(4, orphans(self->st, &deferred));
	EXPECT_EQ(0, deferred);
}

TEST_F(engine, journal_of_another_batch_does_not_defer)
{
	u32 deferred;

	push_batch(self->st, 20, 2, ALIVE);
	make_batch(self->st, 10, 4, DEAD);
	make_batch(self->st, 30, 2, DEAD);
	self->st->slots[0].journal = 20;
	self->st->slots[1].journal = 30;
	EXPECT_EQ(4, orphans(self->st, &deferred));
	EXPECT_EQ(1, deferred);
	EXPECT_EQ(4, taken(self->st, 10, 4));
}

TEST_F(engine, journal_out_of_range)
{
	static const u32 journals[] = { COUNT, COUNT + 1, LFPOOL_NONE - 1, 0x80000000, ~0U };
	u32 deferred, k;

	for (k = 0; k < sizeof(journals) / sizeof(journals[0]); k++) {
		/* 0, where a wrong index would end up */
		make_batch(self->st, 0, 2, DEAD);
		self->st->slots[0].journal = journals[k];
		EXPECT_EQ(2, orphans(self->st, &deferred));
		EXPECT_EQ(0, deferred);
		EXPECT_EQ(2, taken(self->st, 0, 2));
	}
}

/*
 * R1: a head that does not stand still
 */

static struct state *hammered;
static u32 hammer_every, hammer_count;

static void hammer(void)
{
	if (++hammer_count % hammer_every == 0)
		hammered->depot->head += LFPOOL_HEAD_TAG_ONE;
}

/* It moves during each walk, not during each CAS: the depot is taken. */
TEST_F(engine, head_moves_during_each_walk)
{
	u32 deferred, n;

	push_batch(self->st, 20, 3, ALIVE);
	push_batch(self->st, 30, 2, ALIVE);
	make_batch(self->st, 10, 4, DEAD);
	hammered = self->st;
	hammer_every = 3;
	hammer_count = 0;
	shim_between = hammer;
	n = orphans(self->st, &deferred);
	shim_between = NULL;
	EXPECT_EQ(4, n);
	EXPECT_EQ(0, deferred);
	EXPECT_EQ(9, state_settle(self->st));
	EXPECT_EQ(LFPOOL_NONE, self->st->depot->head & LFPOOL_HEAD_INDEX);
	EXPECT_WELL(self->st);
	EXPECT_EQ(PRESENT, audit(self->st).reserve);
}

/* It moves before each CAS, too: nothing is decided, and it ends. */
TEST_F(engine, head_moves_always)
{
	u32 deferred = 0, n;

	push_batch(self->st, 20, 3, ALIVE);
	make_batch(self->st, 10, 4, DEAD);
	hammered = self->st;
	hammer_every = 1;
	shim_between = hammer;
	n = orphans(self->st, &deferred);
	EXPECT_EQ(0, n);
	EXPECT_EQ(COUNT, deferred);
	EXPECT_EQ(0, ENGINE(self->v, lfpool_drain_depot(self->v)));
	shim_between = NULL;
	EXPECT_EQ(0, taken(self->st, 0, 0));
	EXPECT_EQ(4, orphans(self->st, &deferred));
	EXPECT_EQ(0, deferred);
	EXPECT_EQ(4, taken(self->st, 10, 4));
	EXPECT_WELL(self->st);
}

/*
 * R1: batches that were written to by a bad peer
 */

TEST_F(engine, orphan_with_bad_list)
{
	struct lfpool_desc *d = &self->st->descs[10];
	u32 deferred;

	make_batch(self->st, 10, 8, DEAD);
	hold_some(self->st, 12, 6, DEAD);
	d->item[0] = 11;
	d->item[1] = 11;			/* twice */
	d->item[2] = 10;			/* itself */
	d->item[3] = COUNT;			/* out of range */
	d->item[4] = ~0U;
	d->item[5] = PRESENT + 1;		/* not there */
	d->item[6] = 55;			/* the kernel's */
	EXPECT_EQ(2, orphans(self->st, &deferred));
	EXPECT_EQ(2, taken(self->st, 10, 2));
	EXPECT_FALSE(test_bit(0, self->v->reclaim));
	/* the rest carries the dead's id */
	EXPECT_EQ(6, held(self->st));
	EXPECT_EQ(6, taken(self->st, 12, 6));
	EXPECT_WELL(self->st);
}

TEST_F(engine, orphan_with_bad_count)
{
	static const u32 counts[] = { LFPOOL_BATCH_MAX, LFPOOL_BATCH_MAX + 1, 0x80000000, ~0U };
	u32 deferred, k;

	for (k = 0; k < sizeof(counts) / sizeof(counts[0]); k++) {
		make_batch(self->st, 10, 3, DEAD);
		self->st->descs[10].count = counts[k];
		EXPECT_EQ(1, orphans(self->st, &deferred));
		EXPECT_EQ(2, held(self->st));
		EXPECT_EQ(3, taken(self->st, 10, 3));
		EXPECT_WELL(self->st);
	}
}

/* What says DEPOT but is the kernel's or not there is no orphan. */
TEST_F(engine, private_bits_are_the_truth)
{
	u32 deferred;

	make_batch(self->st, 10, 4, DEAD);
	__set_bit(10, self->st->kernel);
	self->st->descs[PRESENT].word = make_word(1, LFPOOL_OWNER_DEPOT);
	self->st->descs[PRESENT + 1].word = make_word(1, DEAD);
	self->st->descs[20].word = make_word(1, DEAD);
	self->st->descs[21].word = make_word(1, LFPOOL_OWNER_DEPOT);
	/* nor is there anything to decide about it later */
	self->st->slots[0].journal = 21;
	self->st->slots[1].journal = PRESENT;
	EXPECT_EQ(0, orphans(self->st, &deferred));
	EXPECT_EQ(0, deferred);
	/* its list says nothing, either */
	EXPECT_EQ(3, held(self->st));
	EXPECT_EQ(3, taken(self->st, 11, 3));
}

/*
 * Generations: a handle of the old life must not open the new one.
 */
TEST_F(engine, every_way_back_moves_the_generation)
{
	u32 deferred, k;

	make_batch(self->st, 10, 2, DEAD);
	hold(self->st, 12, DEAD);
	self->st->descs[12].word |= LFPOOL_WORD_EXPORTED;
	hold(self->st, 13, ALIVE);
	self->st->descs[13].word |= LFPOOL_WORD_FREE;
	cache(self->st, 0, 13, 1);
	push_batch(self->st, 14, 2, ALIVE);
	for (k = 10; k < 16; k++)
		self->st->descs[k].word += make_word(41 - generation(self->st, k), 0);

	EXPECT_EQ(2, orphans(self->st, &deferred));
	EXPECT_EQ(1, held(self->st));
	EXPECT_EQ(1, ENGINE(self->v, lfpool_drain_cache(self->v, 0, ALIVE)));
	EXPECT_EQ(2, ENGINE(self->v, lfpool_drain_depot(self->v)));
	EXPECT_EQ(6, taken(self->st, 10, 6));
	for (k = 10; k < 16; k++)
		EXPECT_EQ(make_word(42, LFPOOL_OWNER_RESERVE), self->st->descs[k].word);
}

TEST_F(engine, generation_wraps)
{
	hold(self->st, 10, DEAD);
	self->st->descs[10].word = make_word(~0U, DEAD | LFPOOL_WORD_EXPORTED);
	EXPECT_EQ(1, held(self->st));
	EXPECT_EQ(make_word(0, LFPOOL_OWNER_RESERVE), self->st->descs[10].word);
}

/*
 * R2
 */

TEST_F(engine, held_takes_only_the_deads)
{
	bystanders(self->st);
	hold_some(self->st, 10, 3, DEAD);
	self->st->descs[11].word |= LFPOOL_WORD_EXPORTED;
	self->st->descs[12].word |= LFPOOL_WORD_FREE;
	EXPECT_EQ(3, held(self->st));
	EXPECT_EQ(3, taken(self->st, 10, 3));
	EXPECT_WELL(self->st);
}

/* Of several at once each is told what it had; others between them stay. */
TEST_F(engine, held_takes_of_each)
{
	const u32 dead[] = { 2, DEAD, 4, 9, 300, LFPOOL_CLIENT_MAX };
	u32 taken[ARRAY_SIZE(dead)], k;

	bystanders(self->st);
	hold_some(self->st, 10, 3, DEAD);
	hold_some(self->st, 13, 1, 2);
	hold_some(self->st, 20, 5, LFPOOL_CLIENT_MAX);
	hold_some(self->st, 30, 2, 300);
	/* the one before, between and after */
	hold_some(self->st, 32, 1, 1);
	hold_some(self->st, 33, 1, 299);
	hold_some(self->st, 34, 1, LFPOOL_CLIENT_MAX - 1);
	push_batch(self->st, 35, 3, 4);
	EXPECT_EQ(11, ENGINE(self->v, lfpool_recover_held(self->v, dead, ARRAY_SIZE(dead), taken)));
	EXPECT_EQ(1, taken[0]);
	EXPECT_EQ(3, taken[1]);
	EXPECT_EQ(0, taken[2]);
	EXPECT_EQ(0, taken[3]);
	EXPECT_EQ(2, taken[4]);
	EXPECT_EQ(5, taken[5]);
	for (k = 0; k < COUNT; k++)
		EXPECT_EQ((k >= 10 && k < 14) || (k >= 20 && k < 25) || k == 30 || k == 31,
			  !!test_bit(k, self->v->reclaim));
	EXPECT_EQ(11, state_settle(self->st));
}

/* Members of a batch in the depot keep the dead's id for long: stale. */
TEST_F(engine, held_strikes_out_members)
{
	push_batch(self->st, 10, LFPOOL_BATCH_MAX, DEAD);
	push_batch(self->st, 45, 2, DEAD);
	EXPECT_EQ(0, held(self->st));
	EXPECT_EQ(0, taken(self->st, 0, 0));
	EXPECT_WELL(self->st);
}

/* The list of what is no leader any more strikes nothing out. */
TEST_F(engine, held_believes_leaders_only)
{
	make_batch(self->st, 10, 4, DEAD);
	hold(self->st, 10, ALIVE);
	EXPECT_EQ(3, held(self->st));
	EXPECT_EQ(3, taken(self->st, 11, 3));
}

TEST_F(engine, held_with_bad_lists)
{
	push_batch(self->st, 20, 3, ALIVE);
	hold_some(self->st, 10, 2, DEAD);
	hold(self->st, 0, DEAD);
	self->st->descs[20].item[0] = COUNT;
	self->st->descs[20].item[1] = ~0U;
	EXPECT_EQ(3, held(self->st));
	self->st->descs[20].count = LFPOOL_BATCH_MAX;
	EXPECT_EQ(0, held(self->st));
	EXPECT_TRUE(test_bit(0, self->v->reclaim));
	EXPECT_EQ(3, state_settle(self->st));
}

/*
 * The batch is popped while its list is read, and the list is another one's at
 * once: it strikes nothing out, whichever of its words was read when.
 */
static struct state *popped;
static u32 pop_at, pop_now;

static void pop_between(void)
{
	struct lfpool_desc *d = &popped->descs[20];

	if (pop_now++ != pop_at || owner_of(d->word) != LFPOOL_OWNER_DEPOT)
		return;
	popped->descs[21].word = make_word(0, ALIVE);
	popped->descs[22].word = make_word(0, ALIVE);
	d->word = make_word(1, ALIVE);
	d->item[0] = 10;
	d->item[1] = 11;
}

TEST_F(engine, held_against_pop)
{
	u32 before = 0;

	popped = self->st;
	pop_at = 0;
	do {
		push_batch(self->st, 20, 3, DEAD);
		hold_some(self->st, 10, 2, DEAD);
		pop_now = 0;
		shim_between = pop_between;
		EXPECT_EQ(2, held(self->st));
		shim_between = NULL;
		before += owner_of(self->st->descs[20].word) == ALIVE;
		EXPECT_EQ(2, taken(self->st, 10, 2));
		self->st->depot->head = LFPOOL_NONE;
	} while (pop_now > pop_at++);
	EXPECT_LT(COUNT, before);
}

/* Somebody imports it at any moment between the look and the cmpxchg: one wins. */
static struct state *imported;
static u32 import_at, import_now;
static bool import_won;

static void import_between(void)
{
	struct lfpool_desc *d = &imported->descs[10];

	if (import_now++ == import_at && d->word == make_word(7, DEAD | LFPOOL_WORD_EXPORTED)) {
		d->word = make_word(8, OTHER);
		import_won = true;
	}
}

TEST_F(engine, held_against_import)
{
	u32 n, won = 0, lost = 0;

	imported = self->st;
	import_at = 0;
	do {
		hold(self->st, 10, DEAD);
		self->st->descs[10].word = make_word(7, DEAD | LFPOOL_WORD_EXPORTED);
		import_now = 0;
		import_won = false;
		shim_between = import_between;
		n = held(self->st);
		shim_between = NULL;
		EXPECT_EQ(!import_won, n);
		EXPECT_EQ(import_won ? make_word(8, OTHER) : make_word(8, LFPOOL_OWNER_RESERVE),
			  self->st->descs[10].word);
		EXPECT_EQ(n, taken(self->st, 10, n));
		won += n;
		lost += import_won;
	} while (import_now > import_at++);
	EXPECT_LT(COUNT, lost);
	EXPECT_LT(0, won);
}

/*
 * Taking the depot, taking a cache, counting, traces
 */

TEST_F(engine, drain_depot)
{
	u64 tag = self->st->depot->head & ~LFPOOL_HEAD_INDEX;

	EXPECT_EQ(0, ENGINE(self->v, lfpool_drain_depot(self->v)));
	EXPECT_EQ(tag | LFPOOL_NONE, self->st->depot->head);
	push_batch(self->st, 14, 6, ALIVE);
	push_batch(self->st, 10, 4, DEAD);
	tag = self->st->depot->head & ~LFPOOL_HEAD_INDEX;
	EXPECT_EQ(10, ENGINE(self->v, lfpool_drain_depot(self->v)));
	EXPECT_EQ(10, taken(self->st, 10, 10));
	/* a pop that has read the old head must fail */
	EXPECT_EQ(tag + LFPOOL_HEAD_TAG_ONE + LFPOOL_NONE, self->st->depot->head);
	EXPECT_EQ(0, ENGINE(self->v, lfpool_drain_depot(self->v)));
	EXPECT_WELL(self->st);
}

TEST_F(engine, tag_wraps)
{
	push_batch(self->st, 10, 4, ALIVE);
	self->st->depot->head |= ~LFPOOL_HEAD_INDEX;
	EXPECT_EQ(4, ENGINE(self->v, lfpool_drain_depot(self->v)));
	EXPECT_EQ(LFPOOL_NONE, self->st->depot->head);
}

TEST_F(engine, drain_depot_broken)
{
	/* a cycle, and a head out of range */
	push_batch(self->st, 14, 2, ALIVE);
	push_batch(self->st, 12, 2, ALIVE);
	push_batch(self->st, 10, 2, ALIVE);
	self->st->descs[14].next = 10;
	EXPECT_EQ(6, ENGINE(self->v, lfpool_drain_depot(self->v)));
	EXPECT_EQ(6, taken(self->st, 10, 6));
	self->st->depot->head = COUNT;
	EXPECT_EQ(0, ENGINE(self->v, lfpool_drain_depot(self->v)));
	EXPECT_EQ(LFPOOL_NONE, self->st->depot->head & LFPOOL_HEAD_INDEX);
	EXPECT_EQ(0, taken(self->st, 0, 0));
	/* a leader that is held: its batch is not taken, what follows is */
	push_batch(self->st, 14, 2, ALIVE);
	push_batch(self->st, 12, 2, ALIVE);
	push_batch(self->st, 10, 2, ALIVE);
	hold(self->st, 12, OTHER);
	EXPECT_EQ(4, ENGINE(self->v, lfpool_drain_depot(self->v)));
	EXPECT_FALSE(test_bit(12, self->v->reclaim));
}

TEST_F(engine, drain_cache)
{
	struct lfpool_slot *s = &self->st->slots[0];

	bystanders(self->st);
	hold_some(self->st, 10, 5, ALIVE);
	cache(self->st, 0, 10, 5);
	EXPECT_EQ(7, ENGINE(self->v, lfpool_drain_cache(self->v, 0, ALIVE)));
	EXPECT_EQ(0, s->n);
	EXPECT_TRUE(test_bit(50, self->v->reclaim) && test_bit(51, self->v->reclaim));
	__clear_bit(50, self->v->reclaim);
	__clear_bit(51, self->v->reclaim);
	__set_bit(50, self->st->kernel);
	__set_bit(51, self->st->kernel);
	EXPECT_EQ(5, taken(self->st, 10, 5));
	EXPECT_EQ(0, ENGINE(self->v, lfpool_drain_cache(self->v, 0, ALIVE)));
	EXPECT_WELL(self->st);
}

TEST_F(engine, drain_cache_bad)
{
	struct lfpool_slot *s = &self->st->slots[0];
	u32 k;

	hold_some(self->st, 0, 2, ALIVE);
	hold(self->st, 3, OTHER);
	hold(self->st, 4, DEAD);
	push_batch(self->st, 20, 3, ALIVE);
	for (k = 0; k < LFPOOL_CACHE_MAX; k++)
		s->item[k] = k % 2 ? COUNT + k : ~0U - k;
	s->item[5] = 1;
	s->item[6] = 1;				/* twice */
	s->item[7] = 3;				/* another client's */
	s->item[8] = 4;				/* a dead one's */
	s->item[9] = 20;			/* the depot's */
	s->item[10] = 30;			/* the kernel's */
	s->item[11] = PRESENT;			/* not there */
	s->n = ~0U;
	EXPECT_EQ(1, ENGINE(self->v, lfpool_drain_cache(self->v, 0, ALIVE)));
	EXPECT_EQ(0, s->n);
	EXPECT_EQ(1, taken(self->st, 1, 1));
}

TEST_F(engine, count_depot)
{
	EXPECT_EQ(0, ENGINE(self->v, lfpool_count_depot(self->v)));
	push_batch(self->st, 10, 4, ALIVE);
	push_batch(self->st, 20, LFPOOL_BATCH_MAX, ALIVE);
	push_batch(self->st, 50, 1, ALIVE);
	EXPECT_EQ(5 + LFPOOL_BATCH_MAX, ENGINE(self->v, lfpool_count_depot(self->v)));
	self->st->descs[50].count = ~0U;
	EXPECT_EQ(4 + 2 * LFPOOL_BATCH_MAX, ENGINE(self->v, lfpool_count_depot(self->v)));
}

TEST_F(engine, count_client)
{
	u32 cached = 99;

	EXPECT_EQ(0, ENGINE(self->v, lfpool_count_client(self->v, ALIVE, &cached)));
	EXPECT_EQ(0, cached);
	bystanders(self->st);
	hold_some(self->st, 10, 7, ALIVE);
	cache(self->st, 0, 10, 3);
	EXPECT_EQ(4, ENGINE(self->v, lfpool_count_client(self->v, ALIVE, &cached)));
	EXPECT_EQ(5, cached);
	EXPECT_EQ(4, ENGINE(self->v, lfpool_count_client(self->v, OTHER, &cached)));
	EXPECT_EQ(0, cached);
	/* a cache that says more than there is */
	self->st->slots[0].n = ~0U;
	EXPECT_EQ(0, ENGINE(self->v, lfpool_count_client(self->v, ALIVE, &cached)));
	EXPECT_EQ(9, cached);
}

TEST_F(engine, client_traced)
{
	EXPECT_FALSE(lfpool_client_traced(self->v, DEAD));
	push_batch(self->st, 10, 2, DEAD);
	EXPECT_TRUE(lfpool_client_traced(self->v, DEAD));
	EXPECT_FALSE(lfpool_client_traced(self->v, DEAD + 1));
	hold(self->st, 11, ALIVE);
	EXPECT_FALSE(lfpool_client_traced(self->v, DEAD));
	/* the last one, and with flags */
	self->st->descs[COUNT - 1].word = make_word(9, DEAD | LFPOOL_WORD_EXPORTED);
	EXPECT_TRUE(lfpool_client_traced(self->v, DEAD));
}

/*
 * Audit
 */

TEST_F(engine, audit_every_place)
{
	struct lfpool_audit a;

	push_batch(self->st, 0, 3, ALIVE);	/* depot: 5 */
	push_batch(self->st, 3, 2, DEAD);
	hold_some(self->st, 10, 6, ALIVE);	/* cached: 6 */
	cache(self->st, 0, 10, 6);
	hold_some(self->st, 20, 4, OTHER);	/* held: 4 */
	self->st->descs[22].word |= LFPOOL_WORD_EXPORTED;
	make_batch(self->st, 30, 7, OTHER);	/* in transit: 7 */
	self->st->slots[1].journal = 30;
	a = audit(self->st);
	EXPECT_EQ(sizeof(a), a.size);
	EXPECT_EQ(0, a.flags);
	EXPECT_EQ(PRESENT, a.capacity);
	EXPECT_EQ(PRESENT - 22, a.reserve);
	EXPECT_EQ(0, a.quarantined);
	EXPECT_EQ(5, a.depot);
	EXPECT_EQ(6, a.cached);
	EXPECT_EQ(4, a.held);
	EXPECT_EQ(7, a.transit);
	EXPECT_EQ(0, a.lost);
	EXPECT_EQ(0, a.duplicate);
	EXPECT_EQ(0, a.damaged);
	EXPECT_EQ(1, a.exact);
}

TEST_F(engine, audit_lost)
{
	make_batch(self->st, 10, 4, ALIVE);	/* an orphan */
	hold_some(self->st, 20, 2, DEAD);	/* nobody's */
	self->st->descs[22].word = make_word(3, LFPOOL_OWNER_RESERVE);
	__clear_bit(22, self->st->kernel);	/* says it is the kernel's */
	EXPECT_EQ(7, audit(self->st).lost);
	EXPECT_EQ(0, audit(self->st).duplicate);
	EXPECT_EQ(1, audit(self->st).exact);
}

TEST_F(engine, audit_duplicate)
{
	/* in two batches; in a batch and the reserve; in two caches; twice in one */
	push_batch(self->st, 10, 3, ALIVE);
	push_batch(self->st, 20, 3, ALIVE);
	self->st->descs[20].item[0] = 11;
	EXPECT_EQ(1, audit(self->st).duplicate);
	EXPECT_EQ(0, audit(self->st).lost);
	self->st->descs[20].item[0] = 50;
	EXPECT_EQ(1, audit(self->st).duplicate);
	self->st->descs[20].item[0] = 21;
	EXPECT_WELL(self->st);
	hold_some(self->st, 30, 2, ALIVE);
	cache(self->st, 0, 30, 2);
	cache(self->st, 1, 31, 1);
	EXPECT_EQ(1, audit(self->st).duplicate);
	self->st->slots[1].n = 0;
	cache(self->st, 0, 30, 1);
	EXPECT_EQ(1, audit(self->st).duplicate);
	self->st->slots[0].n = 0;
	/* in a cache and the depot */
	cache(self->st, 0, 11, 1);
	EXPECT_EQ(1, audit(self->st).duplicate);
	/* but a flush leaves its batch in the cache for a while */
	self->st->slots[0].busy = 1;
	EXPECT_EQ(0, audit(self->st).duplicate);
}

/*
 * A flush stands still between its push and its cache's n. Meanwhile another
 * thread, of this client or another, popped the batch: it is there only.
 */
TEST_F(engine, audit_flush_and_pop)
{
	struct lfpool_audit a;
	u32 owner, flushed;

	for (owner = ALIVE; owner <= OTHER; owner++) {
		for (flushed = 0; flushed < 2; flushed++) {
			self->st->owner[0] = ALIVE;
			self->st->owner[1] = owner;
			memset(self->st->slots, 0, 2 * sizeof(*self->st->slots));
			self->st->slots[0].journal = LFPOOL_NONE;
			self->st->slots[1].journal = LFPOOL_NONE;
			hold_some(self->st, 10, 4, self->st->owner[!flushed]);
			cache(self->st, flushed, 10, 4);
			self->st->slots[flushed].busy = 1;
			cache(self->st, !flushed, 10, 4);
			a = audit(self->st);
			EXPECT_EQ(0, a.duplicate);
			EXPECT_EQ(0, a.lost);
			EXPECT_EQ(4, a.cached);
			EXPECT_EQ(1, a.exact);
		}
	}
}

TEST_F(engine, audit_damaged)
{
	push_batch(self->st, 10, 3, ALIVE);
	push_batch(self->st, 20, 3, ALIVE);

	self->st->descs[10].next = 20;			/* a cycle */
	EXPECT_EQ(1, audit(self->st).damaged);
	EXPECT_EQ(6, audit(self->st).depot);
	self->st->descs[10].next = COUNT;		/* out of range */
	EXPECT_EQ(1, audit(self->st).damaged);
	self->st->descs[10].next = PRESENT;		/* not there */
	self->st->descs[PRESENT].word = make_word(1, LFPOOL_OWNER_DEPOT);
	EXPECT_EQ(1, audit(self->st).damaged);
	self->st->descs[10].next = 30;			/* no leader */
	EXPECT_EQ(1, audit(self->st).damaged);
	self->st->descs[10].next = LFPOOL_NONE;
	EXPECT_WELL(self->st);

	self->st->descs[10].count = LFPOOL_BATCH_MAX;	/* two buffers are nowhere */
	EXPECT_EQ(1, audit(self->st).damaged);
	self->st->descs[10].count = 2;
	self->st->descs[10].item[0] = ~0U;
	EXPECT_EQ(1, audit(self->st).damaged);
	self->st->descs[10].item[0] = PRESENT + 2;
	EXPECT_EQ(1, audit(self->st).damaged);
	self->st->descs[10].item[0] = 11;
	EXPECT_WELL(self->st);

	self->st->slots[0].n = LFPOOL_CACHE_MAX + 1;
	EXPECT_EQ(1, audit(self->st).damaged);
	self->st->slots[0].n = 2;
	self->st->slots[0].item[0] = COUNT;
	self->st->slots[0].item[1] = PRESENT;
	EXPECT_EQ(2, audit(self->st).damaged);
	/* a free slot is not looked at */
	self->st->slots[0].n = 0;
	self->st->slots[2].n = ~0U;
	EXPECT_WELL(self->st);

	self->st->depot->head = (self->st->depot->head & ~LFPOOL_HEAD_INDEX) + COUNT;
	EXPECT_EQ(1, audit(self->st).damaged);
	EXPECT_EQ(6, audit(self->st).lost);
}

/* Every client of the list, at each place in it. */
TEST_F(engine, audit_knows_the_living)
{
	u32 k, n;

	for (n = 0; n <= STATE_CLIENTS; n++) {
		for (k = 0; k < n; k++)
			self->st->clients[k] = 10 * (k + 1);
		self->v->clients_nr = n;
		for (k = 5; k <= 10 * STATE_CLIENTS + 5; k += 5) {
			hold(self->st, 7, k);
			EXPECT_EQ(k % 10 == 0 && k <= 10 * n, audit(self->st).held);
		}
	}
}

/*
 * Whatever moves between two looks shows in the fingerprint. No value comes
 * back, as that would not show, and cannot be: whoever moves a buffer counts.
 */
static struct state *moving;
static u32 moving_what, moves = 1;

static void move_always(void)
{
	struct lfpool_slot *s = &moving->slots[0];

	random_next(&moves);
	switch (moving_what) {
	case 0:
		moving->depot->head += LFPOOL_HEAD_TAG_ONE;
		break;
	case 1:
		moving->descs[40].word += make_word(1, 0);
		break;
	case 2:
		s->gets++;
		break;
	case 3:
		s->puts++;
		break;
	case 4:
		s->refills++;
		break;
	case 5:
		s->flushes++;
		break;
	case 6:
		s->n = moves;
		break;
	case 7:
		s->journal = moves;
		break;
	case 8:
		s->busy = moves;
		break;
	default:
		moving->kernel[0] = moves & 0xffffff;
		break;
	}
}

TEST_F(engine, audit_is_exact_only_if_nothing_moved)
{
	struct lfpool_audit a;

	moving = self->st;
	hold(self->st, 40, ALIVE);
	make_batch(self->st, 10, 4, DEAD);
	for (moving_what = 0; moving_what <= 9; moving_what++) {
		shim_between = move_always;
		a = audit(self->st);
		shim_between = NULL;
		EXPECT_EQ(0, a.exact)
			TH_LOG("moving %u", moving_what);
		/* nothing is called lost on the strength of a look like that */
		EXPECT_EQ(0, a.lost);
		EXPECT_EQ(0, a.duplicate);
		EXPECT_EQ(PRESENT, a.capacity);
	}
}

/* It stands still after a while: exact, and no trace of the looks before. */
static void move_first(void)
{
	if (shim_accesses < 400)
		moving->slots[0].gets++;
}

TEST_F(engine, audit_looks_again)
{
	struct lfpool_audit a;

	moving = self->st;
	make_batch(self->st, 10, 4, DEAD);
	shim_between = move_first;
	a = audit(self->st);
	shim_between = NULL;
	EXPECT_EQ(1, a.exact);
	EXPECT_EQ(4, a.lost);
	EXPECT_EQ(PRESENT, a.capacity);
}

/*
 * A RELEASE is stopped between word and bit, for the time of one look or more:
 * nothing moves, and the buffer is in no place. It goes on at last, or never.
 */
static u64 release_at;

static void release_goes_on(void)
{
	if (shim_accesses >= release_at)
		__set_bit(22, moving->kernel);
}

TEST_F(engine, audit_looks_again_for_what_is_lost)
{
	struct lfpool_audit a;
	u64 look;

	moving = self->st;
	hold_some(self->st, 20, 3, ALIVE);
	EXPECT_EQ(0, audit(self->st).lost);
	look = shim_accesses;
	for (release_at = 0; release_at < 3 * look; release_at++) {
		self->st->descs[22].word = make_word(3, LFPOOL_OWNER_RESERVE);
		__clear_bit(22, self->st->kernel);
		shim_between = release_goes_on;
		a = audit(self->st);
		shim_between = NULL;
		EXPECT_EQ(1, a.exact);
		EXPECT_EQ(0, a.lost)
			TH_LOG("at access %llu", (unsigned long long)release_at);
		EXPECT_EQ(PRESENT - 2, a.reserve);
	}
	__clear_bit(22, self->st->kernel);
	a = audit(self->st);
	EXPECT_EQ(1, a.exact);
	EXPECT_EQ(1, a.lost);
}

/* The smallest pools there can be. */
TEST(tiny)
{
	u32 count, threads, call;
	u64 sum = 0;

	for (count = 1; count < 4; count++) {
		for (threads = 0; threads < 2; threads++) {
			struct state *st = state_new(count, threads);

			for (call = 0; call < CALL_NR; call++)
				EXPECT_EQ(NULL, checked_call(st, call, 1, &sum));
			hold(st, count - 1, 1);
			push_batch(st, 0, count > 1 ? count - 1 : 1, 1);
			for (call = 0; call < CALL_NR; call++) {
				EXPECT_EQ(NULL, checked_call(st, call, 1, &sum));
				state_settle(st);
			}
			state_free(st);
		}
	}
}

/*
 * Garbage
 */

static u32 seed;

static u32 below(u32 n)
{
	return random_below(&seed, n);
}

/* An index: mostly a good one, else close to the limits, else anything. */
static u32 bad_index(u32 count)
{
	switch (below(8)) {
	case 0:
		return LFPOOL_NONE - below(2);
	case 1:
		return count - below(2) + below(2);
	case 2:
		return below(2) ? random_next(&seed) : ~0U - below(2);
	default:
		return below(count);
	}
}

static u64 bad_word(void)
{
	u32 low;

	switch (below(8)) {
	case 0: case 1: case 2:
		low = LFPOOL_OWNER_DEPOT;
		break;
	case 3:
		low = LFPOOL_OWNER_RESERVE;
		break;
	case 4:
		return (u64)random_next(&seed) << 32 | random_next(&seed);
	default:
		low = 1 + below(4);
		break;
	}
	if (!below(4))
		low |= random_next(&seed) & LFPOOL_WORD_FLAGS;
	return make_word(below(4) ? below(3) : random_next(&seed), low);
}

/* Write to one place of the shared state. */
static void spoil_one(struct state *st)
{
	const struct lfpool_view *v = &st->view;
	struct lfpool_desc *d = &st->descs[below(v->count)];
	struct lfpool_slot *s = v->threads ? &st->slots[below(v->threads)] : NULL;
	u32 what = below(s ? 12 : 7);

	switch (what) {
	case 0:
		st->depot->head += LFPOOL_HEAD_TAG_ONE;
		break;
	case 1:
		st->depot->head = (st->depot->head & ~LFPOOL_HEAD_INDEX) +
				  (bad_index(v->count) & LFPOOL_HEAD_INDEX);
		break;
	case 2: case 3:
		d->word = bad_word();
		break;
	case 4:
		d->next = bad_index(v->count);
		break;
	case 5:
		d->count = below(3) ? below(LFPOOL_BATCH_MAX + 2) : random_next(&seed);
		break;
	case 6:
		d->item[below(LFPOOL_BATCH_MAX - 1)] = bad_index(v->count);
		break;
	case 7:
		s->journal = bad_index(v->count);
		break;
	case 8:
		s->n = below(3) ? below(LFPOOL_CACHE_MAX + 2) : random_next(&seed);
		break;
	case 9:
		s->item[below(LFPOOL_CACHE_MAX)] = bad_index(v->count);
		break;
	case 10:
		s->busy = below(2);
		break;
	default:
		s->gets++;
		break;
	}
}

static void spoil_all(struct state *st)
{
	const struct lfpool_view *v = &st->view;
	u32 i, k;

	st->depot->head = ((u64)random_next(&seed) << 32) + bad_index(v->count);
	for (i = 0; i < v->count; i++) {
		struct lfpool_desc *d = &st->descs[i];

		d->word = bad_word();
		d->next = bad_index(v->count);
		d->count = below(6) ? below(LFPOOL_BATCH_MAX + 2) : random_next(&seed);
		for (k = 0; k < LFPOOL_BATCH_MAX - 1; k++)
			d->item[k] = bad_index(v->count);
	}
	for (i = 0; i < v->threads; i++) {
		struct lfpool_slot *s = &st->slots[i];

		s->busy = below(2);
		s->n = below(6) ? below(LFPOOL_CACHE_MAX + 2) : random_next(&seed);
		s->journal = bad_index(v->count);
		for (k = 0; k < LFPOOL_CACHE_MAX; k++)
			s->item[k] = bad_index(v->count);
	}
}

/* The private state is the kernel's: any, but sound. */
static struct state *any_state(void)
{
	struct state *st = state_new(1 + below(below(4) ? 12 : 130), below(4));
	struct lfpool_view *v = &st->view;
	u32 i;

	for (i = 0; i < v->count; i++) {
		if (below(8))
			__set_bit(i, st->present);
		else
			__clear_bit(i, st->present);
		if (!test_bit(i, st->present) || below(3))
			__clear_bit(i, st->kernel);
	}
	for (i = 0; i < v->threads; i++)
		st->owner[i] = below(4);
	v->clients_nr = below(4);
	for (i = 0; i < v->clients_nr; i++)
		st->clients[i] = i + 1;
	return st;
}

static struct state *spoiled;

static void spoil_between(void)
{
	if (!below(4))
		spoil_one(spoiled);
}

static const char *garbage_once(u32 the_seed, enum engine_call *call)
{
	const char *wrong = NULL;
	struct state *st;
	u64 sum = 0;
	u32 k;

	seed = the_seed;
	st = any_state();
	spoil_all(st);
	for (k = 1 + below(4); k && !wrong; k--) {
		*call = below(CALL_NR);
		spoiled = st;
		shim_between = below(2) ? spoil_between : NULL;
		wrong = checked_call(st, *call, 1 + below(4), &sum);
		shim_between = NULL;
		state_settle(st);
		if (!below(2))
			spoil_one(st);
	}
	state_free(st);
	return wrong;
}

#ifndef GARBAGE
# define GARBAGE 100000
#endif

FIXTURE(pool) {
};

FIXTURE_SETUP(pool)
{
}

FIXTURE_TEARDOWN(pool)
{
}

TEST_F_TIMEOUT(pool, garbage, 120)
{
	enum engine_call call = 0;
	const char *wrong;
	u32 k;

	for (k = 1; k <= GARBAGE; k++) {
		wrong = garbage_once(k, &call);
		ASSERT_EQ(NULL, wrong)
			TH_LOG("seed %u: %s %s", k, engine_call_name[call], wrong);
	}
	fprintf(stderr, "# garbage: %u states, written to during every second call\n", k - 1);
}

/* Rules R1 and R2 on a pool that nobody spoilt, at any death: run twice, same result. */
TEST(idempotent)
{
	u64 sum = 0;
	u32 k, i;

	for (k = 1; k <= 2000; k++) {
		struct state *st;
		u32 deferred;

		seed = k;
		st = state_new(40, 2);
		st->owner[0] = ALIVE;
		for (i = 0; i + 4 <= 40; i += 4) {
			switch (below(6)) {
			case 0:
				push_batch(st, i, 1 + below(4), DEAD);
				break;
			case 1:
				push_batch(st, i, 1 + below(4), ALIVE);
				break;
			case 2:
				make_batch(st, i, 1 + below(4), DEAD);
				break;
			case 3:
				hold_some(st, i, 1 + below(4), DEAD);
				break;
			case 4:
				make_batch(st, i, 1 + below(4), below(2) ? DEAD : ALIVE);
				st->slots[0].journal = i;
				break;
			}
		}
		EXPECT_EQ(NULL, checked_call(st, CALL_ORPHANS, 0, &sum));
		state_settle(st);
		EXPECT_EQ(NULL, checked_call(st, CALL_HELD, DEAD, &sum));
		state_settle(st);
		EXPECT_EQ(0, orphans(st, &deferred));
		EXPECT_EQ(st->slots[0].journal != LFPOOL_NONE, deferred);
		EXPECT_EQ(0, held(st));
		EXPECT_EQ(0, state_settle(st));
		state_free(st);
	}
}

TEST_HARNESS_MAIN
