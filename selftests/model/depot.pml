/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of the depot and of recovery: userlib/depot.h, module/recover.c, and the
 * drain of the depot in module/grant.c. The letters (a) to (o) are depot.h's,
 * the numbers (1) to (5) recover.c's.
 *
 * Modelled
 *   Processes that pop, push and refill for ever, with batches of any size and
 *   any buffer as the leader. VICTIMS of them can be killed before any step.
 *   Each is recovered, and starts again as a new client, for ever (once, with
 *   -DONCE). The others, LIVING, never die.
 *   With -DTOGETHER two victims always die at the same time, as two clients or,
 *   with -DONE_CLIENT, as two threads of one.
 *   The worker: it clears the journals of the dead. R1 reads words and journals
 *   twice; between that it walks the depot, step by step, from a head that must
 *   not change, or takes the depot. Orphans that a journal names are looked at
 *   again; with -DAUDITS R1 also runs at any other time, as AUDIT makes it do.
 *   R2 reads the words, strikes out the members of batches in the depot, takes
 *   the rest with a cmpxchg; client by client, the lock dropped in between.
 *   The reserve, the refill that finds it empty and drains the depot, the lock
 *   between that and the worker.
 *
 * Proved
 *   Each buffer is in one place, always. The sets held[], stacked and reserve
 *   tell where it really is, and each step that moves a buffer asserts that it
 *   was where it is taken from. After each change of the head by a process the
 *   stack must list what is in it, no more and no less. When a recovery ends
 *   and nothing was deferred, nothing is left of the dead. No thread ends a pop
 *   or a push with its journal set: recovery would wait for it for ever.
 *
 * How it is kept small
 *   The tag of 40 bits counts as endless: a compare-and-swap succeeds if the
 *   head was not changed since the process read it (fresh). So does the
 *   generation: all that anybody asks is whether a word still is the one that
 *   the worker read (same). Nothing counts up; that is why there are finitely
 *   many states though the processes never end. (Mutants have a real tag.)
 *   next[] is read in the step of the compare-and-swap: if that succeeds it
 *   was the same before. A push is one step from its reading of the head to its
 *   compare-and-swap: nobody looks at next[] of what is not in the stack.
 *   The worker reads all the words in one step: it judges each buffer for
 *   itself, so what matters is the order of the reads about this one buffer.
 *   With -DWALK_AT_ONCE the walk is one step, too: what is in a stack whose head
 *   does not change does not change either.
 *   What nobody looks at any more is cleared: see FORGET and chained. Only R2 may
 *   see a list that is none any more: with -DKEEP_LISTS lists stay.
 *
 * Not modelled
 *   Weak memory. On x86 stores are seen in program order and a compare-and-swap
 *   is a full barrier: a late store is the same as a late thread. What other
 *   machines need is said at the barriers of depot.h and recover.c.
 *   Garbage in the shared state; the audit; caches: see scavenge.pml; handles
 *   and import: see handover.pml.
 *
 * No partial order reduction (-DNOREDUCE): a process is killed by a rendezvous
 * in the escape of an unless, and each step is about shared memory anyway.
 *
 * Sizes, in run.sh, each explored in full (M: million states)
 *   3 buffers, 1 victim born again for ever, 1 living			5.7 M
 *   3 buffers, 1 victim, 1 living, lists stay				4.7 M
 *   2 buffers, 2 victims that die at different times, 1 living		4.9 M
 *   2 buffers, 2 victims that die together, as two clients or as one, 1 living
 *									0.5 M each
 *   2 buffers, 1 victim, 2 living					2.5 M
 *   2 buffers, 1 victim born again for ever, 1 living, audits		1.9 M
 *
 * Mutants: each of these macros breaks one thing, and must be caught.
 *   NO_TAG                 the head has no tag
 *   TAG_OF_2               it has a tag of one bit
 *   JOURNAL_KEPT           pop from an empty depot leaves the journal set
 *   JOURNAL_AFTER_POP      (b) after (c)
 *   JOURNAL_BEFORE_WORD    (g) before (e)
 *   LEADER_FIRST           (e) before (d)
 *   MEMBERS_LEFT           no (d)
 *   LIST_LATE              (k) after (m)
 *   JOURNAL_AFTER_WORD     (l) after (m)
 *   JOURNAL_BEFORE_PUSH    (o) before (n)
 *   WORD_LATE              (m) after (n)
 *   NO_GENERATION          (m) without a new generation
 *   NO_PASS_1, NO_PASS_2   R1 reads the journals only after or before the depot
 *   WORDS_ONCE             R1 does not read the words again
 *   WALK_BLIND             R1 does not look whether the head changed
 *   DEFERRED_TAKEN         R1 takes orphans that a journal names
 *   DEFERRED_FORGOTTEN     R1 does not look at them again
 *   NO_R1                  only R2
 *   NO_STRIKE_OUT          R2 takes members of batches in the depot
 *   R2_BLIND               R2 takes a buffer whatever its word is by now
 *   DRAIN_UNLOCKED         a refill drains the depot while the worker works
 */
#ifndef NB
#define NB 3			/* buffers: one batch of two, the others single */
#endif
#ifndef VICTIMS
#define VICTIMS 1
#endif
#ifndef LIVING
#define LIVING 1
#endif
#define NP (VICTIMS + LIVING)	/* processes, the victims first */
#define WORKER NP		/* in fresh */

#define BIT(x)	(1 << (x))
#define NONE	15		/* no buffer */
#define RESERVE	0		/* owners: these two, or a client */
#define DEPOT	15

/* shared memory */
byte head;
byte next[NB];
byte list[NB];			/* members of the batch that a buffer leads: a set */
byte word[NB];			/* owners; for generations see same */
byte journal[NP];

/* where the buffers really are: sets */
byte stacked;			/* in the depot */
byte reserve;
byte held[NP];			/* by each process, cached or in use */

/* the worker's */
bool locked;			/* it has pool->lock */
byte dead;			/* processes that died, and were not born again */
byte same;			/* words that are as they were read */

byte id[NP];			/* client id of each process */
byte leader[NP];		/* what each process moves */
byte fresh;			/* who has read the head as it is now */
chan kill = [0] of { byte };
chan born = [0] of { byte };

byte i, k, p, set;		/* zero but within a step */

#define h	leader[me]

#if defined(NO_TAG)
#define TAG_VALUES	1
#elif defined(TAG_OF_2)
#define TAG_VALUES	2
#endif
#ifndef TAG_VALUES
#define READ_HEAD(who)	fresh = fresh | BIT(who)
#define UNCHANGED(who)	(fresh & BIT(who))
#define DROP_HEAD(who)	fresh = fresh & ~BIT(who)
#define HEAD_CHANGED	fresh = 0
#define READ_NEXT
#define NEXT		next[h]
#else
byte tag, seen[NP + 1], was[NP];
#define READ_HEAD(who)	seen[who] = tag
#define UNCHANGED(who)	(head == h && tag == seen[who])
#define DROP_HEAD(who)	seen[who] = 0
#define HEAD_CHANGED	tag = (tag + 1) % TAG_VALUES
#define READ_NEXT	was[me] = next[h];
#define NEXT		was[me]
#define WALK_AT_ONCE
#endif

#if defined(TAG_VALUES)
#define FORGET(x)	list[x] = 0
#elif defined(KEEP_LISTS)
#define FORGET(x)	next[x] = NONE
#elif defined(LIST_LATE) || defined(WALK_BLIND)
#define FORGET(x)	skip
#else
#define FORGET(x)	list[x] = 0; next[x] = NONE
#endif

#ifdef NO_GENERATION
#define NEW_GENERATION(x) skip
#else
#define NEW_GENERATION(x) same = same & ~BIT(x)
#endif

#define BATCH(x)	(BIT(x) | list[x])

/* is there a buffer for which a macro is true? */
#if NB == 2
#define ANY(x)	(x(0) || x(1))
#elif NB == 3
#define ANY(x)	(x(0) || x(1) || x(2))
#elif NB == 4
#define ANY(x)	(x(0) || x(1) || x(2) || x(3))
#endif

inline take_from(place, what)
{
	assert((place & (what)) == (what));	/* it is somewhere else */
	place = place & ~(what)
}

/* the stack lists what is in it, each buffer once */
inline check_stack()
{
	set = 0;
	k = head;
	do
	:: k != NONE ->
		assert(!(set & BATCH(k)));	/* a buffer is twice in the stack */
		set = set | BATCH(k);
		k = next[k]
	:: else -> break
	od;
	assert(set == stacked);			/* the stack lists other buffers */
	set = 0;
	k = 0
}

/* from a place to the reserve, with a new generation */
inline reclaim(place, what)
{
	take_from(place, what);
	reserve = reserve | (what);
	same = same & ~(what);
	k = 0;
	do
	:: k < NB ->
		if
		:: (what) & BIT(k) -> word[k] = RESERVE; FORGET(k)
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0
}

/* take the depot, move what was in it to the reserve */
inline drain_depot()
{
	do
	:: head != NONE ->
		i = head;
		set = BATCH(i);
		head = next[i];
		reclaim(stacked, set)
	:: else -> break
	od;
	HEAD_CHANGED;
	set = 0;
	i = 0
}

/*
 * Processes
 */

/* out of the reserve: one buffer at a time */
inline grant()
{
	i = 0;
	do
	:: !(reserve & BIT(i)) -> i++
	:: else -> break
	od;
	take_from(reserve, BIT(i));
	held[me] = held[me] | BIT(i);
	word[i] = id[me];
	i = 0
}

/* members of the popped batch that do not say so yet */
#define FOREIGN(x)	((list[h] & BIT(x)) && word[x] != id[me])
#ifdef MEMBERS_LEFT
#define TO_OWN		false
#else
#define TO_OWN		ANY(FOREIGN)
#endif

inline own_member()
{
	i = 0;
	do
	:: !FOREIGN(i) -> i++
	:: else -> break
	od;
	word[i] = id[me];
	i = 0
}

/* which of our buffers follow the leader? */
inline fill_list()
{
	list[h] = 0;
	do
	:: m < NB ->
		if
		:: true
		:: m != h && (held[me] & BIT(m)) -> list[h] = list[h] | BIT(m)
		fi;
		m++
	:: else -> m = 0; break
	od
}

inline leave()
{
	assert(journal[me] == NONE);		/* a thread idles with its journal set */
	DROP_HEAD(me);
	h = 0
}

#ifdef TOGETHER
#define DIE	atomic { kill ? eval(me); if :: me == 0 -> kill ! 1 :: else fi }
#else
#define DIE	kill ? eval(me)
#endif

proctype process(byte me)
{
	byte m;

	do
	:: {
idle:
	do
	/* pop */
	:: d_step { READ_HEAD(me); h = head };					/* a */
		do
		:: d_step { h == NONE ->
#ifndef JOURNAL_KEPT
				journal[me] = NONE;				/* g */
#endif
				leave() };
			break
		:: h != NONE ->
#ifndef JOURNAL_AFTER_POP
			journal[me] = h;					/* b */
#endif
			READ_NEXT
			if
			:: d_step { UNCHANGED(me) ->				/* c */
				set = BATCH(h);
				take_from(stacked, set);
				held[me] = held[me] | set;
				head = NEXT;
				HEAD_CHANGED;
				check_stack() };
#ifdef JOURNAL_AFTER_POP
				journal[me] = h;
#endif
#ifdef LEADER_FIRST
				word[h] = id[me];
#endif
				do
				:: d_step { TO_OWN -> own_member() }		/* d */
#ifndef JOURNAL_BEFORE_WORD
				:: d_step { !TO_OWN -> word[h] = id[me] };	/* e */
#else
				:: d_step { !TO_OWN -> journal[me] = NONE };
					word[h] = id[me];
#endif
					d_step {
						journal[me] = NONE;		/* g */
						FORGET(h);
						leave() };
					goto idle
				od
			:: d_step { !UNCHANGED(me) -> READ_HEAD(me); h = head }
			fi
		od

	/* push */
	:: atomic { held[me] ->
		do
		:: held[me] & BIT(h) -> break
		:: held[me] >> (h + 1) -> h++
		od;
#ifndef LIST_LATE
		fill_list()							/* k */
#endif
		};
#ifndef JOURNAL_AFTER_WORD
		journal[me] = h;						/* l */
#endif
#ifndef WORD_LATE
		d_step { word[h] = DEPOT; NEW_GENERATION(h) };			/* m */
#endif
#ifdef JOURNAL_AFTER_WORD
		journal[me] = h;
#endif
#ifdef LIST_LATE
		atomic { fill_list() };
#endif
#ifdef JOURNAL_BEFORE_PUSH
		journal[me] = NONE;
#endif
		d_step {							/* n */
			set = BATCH(h);
			take_from(held[me], set);
			stacked = stacked | set;
			next[h] = head;
			head = h;
			HEAD_CHANGED;
			check_stack() };
#ifdef WORD_LATE
		d_step { word[h] = DEPOT; NEW_GENERATION(h) };
#endif
		d_step { journal[me] = NONE; leave() }				/* o */

	/* refill: out of the reserve, else out of the depot by way of it */
	:: d_step { reserve -> grant() }
	:: d_step { !reserve && head != NONE && !locked -> drain_depot(); grant() }
#ifdef DRAIN_UNLOCKED
	/* the leader's word and the members' are not changed at once */
	:: d_step { me >= VICTIMS && !reserve && head != NONE && next[head] == NONE ->
		h = head;
		head = next[h];
		HEAD_CHANGED;
		set = BATCH(h);
		take_from(stacked, set);
		held[me] = held[me] | set;
		set = 0 };
		d_step { set = BIT(h); m = list[h]; reclaim(held[me], set); set = 0 };
		d_step { reclaim(held[me], m); m = 0; h = 0 }
#endif
	od
	} unless { DIE };
	born ? eval(me)
	od
}

/*
 * The worker
 */

inline note(x)
{
	if
	:: !(dead & BIT(x)) && journal[x] != NONE ->
		journaled = (journaled | BIT(journal[x])) & same
	:: else
	fi
}

#if NP == 2
#define NOTE_JOURNALS	atomic { note(0); note(1) };
#elif NP == 3
#define NOTE_JOURNALS	atomic { note(0); note(1) }; atomic { note(2) };
#endif

/* the words that say so */
inline read_words(owner)
{
	i = 0;
	do
	:: i < NB ->
		if
		:: word[i] == owner -> same = same | BIT(i)
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

/* take what one of the dead has */
inline reclaim_dead(what)
{
	p = 0;
	do
	:: p < NP && (!(dead & BIT(p)) || (held[p] & (what)) != (what)) -> p++
	:: else -> break
	od;
	assert(p < NP);				/* taken from the living */
	reclaim(held[p], what);
	p = 0
}

#ifdef WORDS_ONCE
#define ORPHAN(x)	(same & BIT(x))
#else
#define ORPHAN(x)	((same & BIT(x)) && word[x] == DEPOT)
#endif

inline take_orphans()
{
	deferred = false;
	i = 0;
	do
	:: i < NB ->
		if
		:: ORPHAN(i) && !(chained & BIT(i)) && !(journaled & BIT(i)) ->
			set = BATCH(i);
			reclaim_dead(set)
		:: ORPHAN(i) && !(chained & BIT(i)) && (journaled & BIT(i)) ->
#ifdef DEFERRED_TAKEN
			set = BATCH(i);
			reclaim_dead(set)
#endif
#ifndef DEFERRED_FORGOTTEN
			deferred = true
#endif
		:: else
		fi;
		i++
	:: else -> break
	od;
	chained = 0;
	journaled = 0;
	same = 0;
	set = 0;
	i = 0
}

#ifdef R2_BLIND
byte candidates;
#define CANDIDATES_READ	candidates = same
#define STRIKE_OUT(x)	candidates = candidates & ~(x)
#define STILL_HELD(x)	(candidates & BIT(x))
#else
#define CANDIDATES_READ	skip
#ifdef NO_STRIKE_OUT
#define STRIKE_OUT(x)	skip
#else
#define STRIKE_OUT(x)	same = same & ~(x)
#endif
#define STILL_HELD(x)	((same & BIT(x)) && word[x] == id[dying])
#endif

inline take_held()
{
	i = 0;
	do
	:: i < NB ->
		if
		:: STILL_HELD(i) -> reclaim_dead(BIT(i))
		:: else
		fi;
		i++
	:: else -> break
	od;
	same = 0;
	i = 0
}

/* over: nothing is left of the dead, or we come back */
inline finish()
{
	locked = false;
	i = 0;
	do
	:: i < NP ->
		assert(deferred || !(dead & BIT(i)) || !held[i]);	/* lost: the dead has it */
		i++
	:: else -> break
	od;
	i = 0
}

#if defined(TOGETHER) && !defined(ONE_CLIENT)
#define NEXT_DEAD	(dying == 0 -> 1 : NP)
#else
#define NEXT_DEAD	NP
#endif

#ifdef TOGETHER
#define CAN_DIE(x)	(x == 0 && !dead)
#else
#define CAN_DIE(x)	(x < VICTIMS && !(dead & BIT(x)))
#endif

inline bury(x)
{
	dead = dead | BIT(x);
	journal[x] = NONE;
	leader[x] = 0;
	DROP_HEAD(x)
}

#define BORN(x) atomic { (dead & BIT(x)) && !deferred -> dead = dead & ~BIT(x); id[x] = id[x] ^ 8; born ! x }

proctype worker()
{
	byte at, chained, journaled;
	byte dying = NP;	/* for R2; NP: only R1 */
	bool deferred, says;

end:	do
#ifdef AUDITS
	:: atomic { true -> d_step { locked = true; read_words(DEPOT) } };
#else
	:: atomic { deferred -> d_step { locked = true; read_words(DEPOT) } };	/* 1 */
#endif
recover:
#ifndef NO_PASS_1
		NOTE_JOURNALS							/* 2 */
#endif
		do								/* 3 */
#ifdef WALK_AT_ONCE
		:: d_step {
			i = head;
			do
			:: i != NONE -> chained = chained | BIT(i); i = next[i]
			:: else -> break
			od;
			chained = chained & same;
			i = 0 };
			break
#else
		:: d_step { READ_HEAD(WORKER); at = head; chained = 0 };
			do
			:: d_step { at != NONE && word[at] == DEPOT && !(chained & BIT(at)) ->
				chained = chained | BIT(at);
				at = next[at] }
			:: else -> at = 0; chained = chained & same; break
			od;
			if
#ifdef WALK_BLIND
			:: break
#else
			:: atomic { UNCHANGED(WORKER) -> DROP_HEAD(WORKER); break }
			:: else
#endif
			fi
#endif
		:: d_step { drain_depot() }; break
		od;
#ifndef NO_PASS_2
		NOTE_JOURNALS							/* 4 */
#endif
#ifdef NO_R1
		atomic { chained = 0; journaled = 0; same = 0 };
#else
		atomic { take_orphans() };					/* 5 */
#endif
		do
		:: d_step { dying == NP -> finish() };
			break
		:: d_step { dying < NP -> read_words(id[dying]); CANDIDATES_READ };
			do
			:: d_step { at < NB && !says ->
				if
				:: word[at] == DEPOT -> says = true
				:: else -> at++
				fi }
			:: d_step { says -> STRIKE_OUT(list[at]); says = false; at++ }
			:: d_step { at == NB -> at = 0; take_held(); dying = NEXT_DEAD };
				break
			od;
#if defined(TOGETHER) && !defined(ONE_CLIENT)
			/* the next client: others may have the lock between */
			locked = false;
			locked = true
#endif
		od

	/* somebody dies */
	:: atomic { CAN_DIE(0) || CAN_DIE(1) ->
		if
		:: CAN_DIE(0) -> dying = 0
		:: CAN_DIE(1) -> dying = 1
		fi;
		d_step {
			locked = true;
			bury(dying);
#ifdef TOGETHER
			bury(1);
#endif
			read_words(DEPOT)					/* 1 */
		}
		kill ! dying;
		goto recover }

#ifndef ONCE
	/* and comes back, with another id */
	:: BORN(0)
	:: BORN(1)
#endif
	od
}

init
{
	d_step {
		i = 0;
		do
		:: i < NB ->
			word[i] = DEPOT;
			next[i] = i + 1;
			i++
		:: else -> break
		od;
		next[NB - 1] = NONE;
		list[0] = BIT(1);
		next[0] = (NB > 2 -> 2 : NONE);
		next[1] = NONE;
		stacked = BIT(NB) - 1;
		i = 0;
		do
		:: i < NP ->
			journal[i] = NONE;
#ifdef ONE_CLIENT
			id[i] = (i < VICTIMS -> 1 : i + 1);
#else
			id[i] = i + 1;
#endif
			i++
		:: else -> break
		od;
		/* a member's word is stale: the last process pushed it */
		word[1] = id[NP - 1];
		i = 0
	}
	atomic {
		do
		:: i < NP -> run process(i); i++
		:: else -> break
		od;
		run worker()
	}
}
