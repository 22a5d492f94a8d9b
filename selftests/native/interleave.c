// SPDX-License-Identifier: GPL-2.0-only
/*
 * interleave: the engine against the library's own pop and push, in step.
 *
 * Threads are coroutines that stop at each injection point of userlib/depot.h.
 * One dies at a point of its program; another one, alive, goes on while R1 and
 * R2 run for the dead one: it moves just before the engine's access number x of
 * the shared memory, for every x (one in LFPOOL_EVERY). In the end every buffer
 * must be somewhere.
 *
 *	before		recovery			after
 *	D ... dies
 *	L ....		x: L ......	y: L ....	L ..... its end
 *
 * Each run is one choice of the programs, of where D dies, of how far L came
 * before, of x (and y), and of how far it goes there.
 */
#include <ucontext.h>

#include "view.h"

void inject(int nr);
#define LFPOOL_INJECT(nr)	inject(nr)
#include "depot.h"

#include "harness.h"

#define COUNT	8
#define DEAD	1
#define ALIVE	2

/**
 * struct actor - a thread
 * @context: where it stopped
 * @depot:   what it works on
 * @slot:    its slot
 * @program: what it has to do: 'o' pops, 'u' pushes all that it has
 * @over:    it did
 */
struct actor {
	ucontext_t context;
	struct depot depot;
	struct lfpool_slot *slot;
	const char *program;
	bool over;
	char stack[32768];
};

static struct state *st;
static struct actor dead, alive;
static struct actor *running;
static ucontext_t director;

void inject(int nr)
{
	(void)nr;
	if (running)
		swapcontext(&running->context, &director);
}

static void actor_main(void)
{
	struct actor *a = running;
	const char *p;

	for (p = a->program; *p; p++) {
		if (*p == 'o') {
			depot_pop(&a->depot, a->slot);
			inject(0);
		} else if (a->slot->n) {
			depot_push(&a->depot, a->slot, a->slot->item, a->slot->n);
			inject(25);
			a->slot->n = 0;
			inject(26);
		}
	}
	a->over = true;
}

static void actor_start(struct actor *a, u32 slot, u32 client, const char *program)
{
	st->owner[slot] = client;
	a->slot = &st->slots[slot];
	a->depot = (struct depot) {
		.shared = st->depot,
		.desc = st->descs,
		.count = COUNT,
		.mark = client,
	};
	a->program = program;
	a->over = false;
	getcontext(&a->context);
	a->context.uc_stack.ss_sp = a->stack;
	a->context.uc_stack.ss_size = sizeof(a->stack);
	a->context.uc_link = &director;
	makecontext(&a->context, actor_main, 0);
}

/* Goes on for @points points, or to its end; returns how many that were. */
static u32 actor_run(struct actor *a, u32 points)
{
	u32 n = 0;

	while (n < points && !a->over) {
		running = a;
		swapcontext(&director, &a->context);
		running = NULL;
		n++;
	}
	return n;
}

/*
 * The pool at the start: two batches in the depot, two buffers in each cache.
 */
static const struct {
	u32 leader, member, owner;
} start[] = {
	{ 0, 1, ALIVE }, { 2, 3, DEAD },
};

static void stage(const char *dead_program, const char *alive_program)
{
	struct lfpool_slot *s;
	u32 i;

	st->depot->head = LFPOOL_NONE;
	memset(st->slots, 0, 2 * sizeof(*st->slots));
	memset(st->kernel, 0, sizeof(long));
	for (i = 0; i < COUNT; i++)
		st->descs[i].word = make_word(1, i < 6 ? ALIVE : DEAD);
	for (i = 0; i < 2; i++) {
		struct lfpool_desc *d = &st->descs[start[i].leader];

		d->word = make_word(1, LFPOOL_OWNER_DEPOT);
		d->count = 1;
		d->item[0] = start[i].member;
		d->next = st->depot->head & LFPOOL_HEAD_INDEX;
		st->depot->head = (u64)i * LFPOOL_HEAD_TAG_ONE + start[i].leader;
		st->descs[start[i].member].word = make_word(1, start[i].owner);
	}
	for (i = 0; i < 2; i++) {
		s = &st->slots[i];
		s->journal = LFPOOL_NONE;
		/* a program that pops first starts with nothing, so that it may push the same */
		s->item[0] = i ? 4 : 6;
		s->item[1] = i ? 5 : 7;
		s->n = 2;
	}
	if (*alive_program == 'o')
		st->slots[1].n = 0;
	actor_start(&dead, 0, DEAD, dead_program);
	actor_start(&alive, 1, ALIVE, alive_program);
}

/*
 * When the living one moves during the recovery
 */
struct burst {
	u32 at;		/* before this access */
	u32 points;	/* so far */
};

static struct burst bursts[2];
static u32 accesses;
/* how many accesses are tried */
static u32 length;

static void move_between(void)
{
	u32 k;

	if (!shim_at_shared(st))
		return;
	for (k = 0; k < 2; k++) {
		if (bursts[k].at == accesses)
			actor_run(&alive, bursts[k].points);
	}
	accesses++;
}

/* What the module's worker does when a client is dead. */
static u32 recover(void)
{
	struct lfpool_view *v = &st->view;
	u32 dead = DEAD;
	u32 deferred, n;

	memset(&st->slots[0], 0, sizeof(st->slots[0]));
	st->slots[0].journal = LFPOOL_NONE;
	st->owner[0] = 0;
	accesses = 0;
	shim_between = move_between;
	ENGINE(v, lfpool_recover_orphans(v, &deferred));
	state_settle(st);
	ENGINE(v, lfpool_recover_held(v, &dead, 1, &n));
	state_settle(st);
	shim_between = NULL;
	return deferred;
}

/*
 * The living one is at its end, and the orphans that were not decided are
 * looked at again. Returns what is wrong, if anything.
 */
static const char *conclude(u32 deferred)
{
	struct lfpool_audit a = { .size = sizeof(a) };
	struct lfpool_view *v = &st->view;

	actor_run(&alive, ~0U);
	if (deferred) {
		ENGINE(v, lfpool_recover_orphans(v, &deferred));
		state_settle(st);
		if (deferred)
			return "an orphan is never decided";
	}
	lfpool_engine_audit(v, &a);
	if (a.lost)
		return "buffers are lost";
	if (a.duplicate)
		return "buffers are in two places";
	if (a.damaged)
		return "the state is damaged";
	if (!a.exact || a.transit)
		return "something still moves";
	return NULL;
}

static const char *one_run(const char *dead_program, u32 dies, const char *alive_program,
			   u32 before)
{
	stage(dead_program, alive_program);
	/* the living one first: it may have read a head that the dead one changed */
	actor_run(&alive, before);
	actor_run(&dead, dies);
	return conclude(recover());
}

static u32 points_of(const char *program, bool is_dead)
{
	stage(is_dead ? program : "", is_dead ? "" : program);
	return actor_run(is_dead ? &dead : &alive, ~0U);
}

/* Accesses of the shared memory by a recovery that nobody disturbs, and some more. */
static u32 recovery_length(void)
{
	memset(bursts, 0xff, sizeof(bursts));
	stage("", "u");
	recover();
	return accesses + 12;
}

/* "o" and "u" are beginnings of others; a dead thread never gets further */
static const char *const dead_programs[] = { "o", "uo" };
static const char *const alive_programs[] = { "uo", "ou", "oo", "ouo" };
/* of these, what moves twice: a leader popped and pushed again, and the reverse */
#define MOVES_TWICE	2
#define NR(array)	(sizeof(array) / sizeof((array)[0]))

FIXTURE(interleave) {
};

FIXTURE_SETUP(interleave)
{
	st = state_new(COUNT, 2);
	st->clients[0] = ALIVE;
	st->view.clients_nr = 1;
	length = recovery_length();
}

FIXTURE_TEARDOWN(interleave)
{
	state_free(st);
}

/* Programs and a death are given: L moves once, at any access, any number of points. */
static u32 move_once(struct __test_metadata *_metadata, const char *dead_program, u32 dies,
		     const char *alive_program, u32 before, u32 left)
{
	struct burst *b = &bursts[0];
	const char *wrong;
	u32 runs = 0;

	memset(bursts, 0xff, sizeof(bursts));
	for (b->at = (dies + before) % every(); b->at < length; b->at += every()) {
		for (b->points = 1; b->points <= left; b->points++) {
			wrong = one_run(dead_program, dies, alive_program, before);
			runs++;
			if (!wrong)
				continue;
			TH_LOG("D (%s) dies at %u, L (%s) is at %u", dead_program, dies,
			       alive_program, before);
			TH_LOG("at access %u it moves %u: %s", b->at, b->points, wrong);
			return 0;
		}
	}
	return runs;
}

/* D dies anywhere, L came anywhere, and moves once during the recovery. */
TEST_F_TIMEOUT(interleave, death_and_one_move, 300)
{
	u32 runs = 0, d, l, dies, before, n;

	for (d = 0; d < NR(dead_programs); d++) {
		u32 deaths = points_of(dead_programs[d], true);

		for (l = 0; l < NR(alive_programs); l++) {
			u32 points = points_of(alive_programs[l], false);

			for (n = 0; n < deaths * points; n++) {
				u32 more;

				dies = n / points + 1;
				before = n % points;
				more = move_once(_metadata, dead_programs[d], dies,
						 alive_programs[l], before, points - before);
				ASSERT_NE(0, more);
				runs += more;
			}
		}
	}
	fprintf(stderr, "# one move: %u runs\n", runs);
}

/* L moves at access x, then again at y, with any number of points for both. */
static u32 move_twice(struct __test_metadata *_metadata, const char *alive_program, u32 points)
{
	struct burst *x = &bursts[0], *y = &bursts[1];
	const char *wrong;
	u32 runs = 0;

	for (x->points = 1; x->points < points; x->points++) {
		for (y->points = points - x->points; y->points; y->points--) {
			wrong = one_run("", 1, alive_program, 0);
			runs++;
			if (!wrong)
				continue;
			TH_LOG("L (%s) moves %u at access %u", alive_program, x->points, x->at);
			TH_LOG("and %u at access %u: %s", y->points, y->at, wrong);
			return 0;
		}
	}
	return runs;
}

/* Nobody died before, D is idle: L moves twice during the recovery. */
TEST_F_TIMEOUT(interleave, two_moves, 300)
{
	struct burst *x = &bursts[0], *y = &bursts[1];
	u32 runs = 0, l, more;

	for (l = 0; l < MOVES_TWICE; l++) {
		u32 points = points_of(alive_programs[l], false);

		for (x->at = 0; x->at < length; x->at++) {
			y->at = x->at + 1 + x->at % every();
			for (; y->at < length; y->at += every()) {
				more = move_twice(_metadata, alive_programs[l], points);
				ASSERT_NE(0, more);
				runs += more;
			}
		}
	}
	ASSERT_NE(0, runs);
	fprintf(stderr, "# two moves: %u runs\n", runs);
}

TEST_HARNESS_MAIN
