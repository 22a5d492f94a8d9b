/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of handles: export, import and put (userlib/pool.c, userlib/thread.c)
 * against each other, against the ioctls REFILL and RELEASE (module/grant.c)
 * and against the death of those who take part (rule R2 of module/recover.c).
 *
 * Modelled
 *   One buffer: words are judged one by one, so more of them show nothing new.
 *   PROCESSES that get it, export it, put it or release it, as often as they
 *   like, and try any handle that was ever made. VICTIMS of them can be killed
 *   before any step, but not within an ioctl, for which the worker waits. They
 *   are recovered, and start again as new clients. RELEASE is for everybody:
 *   also for who exported the buffer, and did not take the handle back as the
 *   library does.
 *   Each load, store and compare-and-swap of the owner word is one step. A free
 *   buffer is in its holder's cache or in the depot, where its word stays what
 *   it was, or in the reserve.
 *
 * Proved
 *   The buffer has one owner: place tells who, and each step that moves the
 *   buffer asserts that it was there. A handle opens only the life that it was
 *   made in: an import, a put and a return to the reserve each end one. When
 *   the worker is through, nothing is left of the dead.
 *
 * How it is kept small
 *   Of generations all that is ever asked is whether one is still the same: as
 *   in the word that was read (same), as in a handle (made and old: there is a
 *   handle of this generation, made in this life or an earlier one). So none
 *   is counted, and nothing has an end. A handle of an earlier generation opens
 *   nothing: to try it is no step (but for IMPORT_ANY).
 *
 * Not modelled
 *   How a buffer gets into the depot and out of it: depot.pml. Programs that
 *   use a buffer which they put or which was imported. Handles that nobody
 *   made. 2^32 lives between the making of a handle and its use.
 *
 * Redundant here, hence without a mutant: the compare-and-swap in export (it is
 * for two threads that export at once); import's look at EXPORTED (it is for
 * handles that nobody made: no other life has the generation of a handle).
 *
 * No partial order reduction (-DNOREDUCE), as in depot.pml.
 *
 * Size, in run.sh, explored in full: 2 victims, 1 living, 2.0 million states.
 *
 * Mutants: each of these macros breaks one thing, and must be caught.
 *   IMPORT_ANY         import does not compare the generation
 *   IMPORT_PLAIN       import stores the word, without compare-and-swap
 *   IMPORT_KEEPS       import leaves the generation
 *   PUT_BLIND          put does not look whether the buffer was exported
 *   PUT_PLAIN          put of an exported buffer stores the word
 *   PUT_KEEPS          put of an exported buffer leaves the generation
 *   R2_PLAIN           R2 looks at the word again and stores it, without cmpxchg
 *   R2_KEEPS           R2 leaves the generation
 *   IOCTL_OUTLIVES     the worker does not wait for the ioctls of the dead
 *   RELEASE_PLAIN      RELEASE stores the word, without cmpxchg
 *   RELEASE_KEEPS      RELEASE leaves the generation
 *   RELEASE_BIT_FIRST  RELEASE turns on the kernel's bit before it has the word
 */
#ifndef PROCESSES
#define PROCESSES 3		/* the victims first */
#endif
#ifndef VICTIMS
#define VICTIMS 2
#endif

#define BIT(x)		(1 << (x))
#define RESERVE		0	/* as an owner and as a place */
#define DEPOT		15	/* places */
#define ON_ITS_WAY	14	/* the kernel's, not in the reserve yet */
#define NOBODY		15
#define EXPORTED	16
#define OWNER(w)	((w) & 15)

/* the owner word: EXPORTED and owner; for generations see same */
byte word;
bool kernel;			/* the buffer's bit in pool->kernel */

byte place;			/* one of these, or the process plus one */
bool made, old;			/* handles of this generation, by life */
bool ancient;			/* handles of earlier generations */
byte same;			/* whose word has the generation that it read: a set */
byte id[PROCESSES];
byte seen[PROCESSES];		/* the word as each process read it */
bool mine[PROCESSES];		/* the process has it, and has not put it */
bool inside[PROCESSES];		/* an ioctl */
byte dead = NOBODY;
chan kill = [0] of { byte };
chan born = [0] of { byte };

#define WORKER		PROCESSES	/* in same */

#define w		seen[me]
#define ME		(me + 1)
#define CACHED		(place == ME && !mine[me])

#define READ_WORD	w = word; same = same | BIT(me)
#define UNCHANGED	(word == w && (same & BIT(me)))
#define DROP_WORD	w = 0; same = same & ~BIT(me)

inline move(from, to)
{
	assert(place == from);			/* it is somebody else's */
	place = to
}

inline end_life()
{
	old = old | made;
	made = false
}

#ifdef IMPORT_ANY
#define ANCIENT		ancient = ancient | made | old
#else
#define ANCIENT		skip
#endif

inline new_generation()
{
	ANCIENT;
	same = 0;
	made = false;
	old = false
}

/* a handle opened it */
inline check_handle()
{
	assert(made && !old);			/* a handle of another life */
	assert(place && place <= PROCESSES);	/* imported although it is free */
	assert(id[place - 1] == OWNER(w))	/* imported from somebody else */
}

#ifdef IMPORT_PLAIN
#define IMPORT_SWAPS	true
#else
#define IMPORT_SWAPS	UNCHANGED
#endif
#ifdef IMPORT_KEEPS
#define IMPORT_GEN	skip
#else
#define IMPORT_GEN	new_generation()
#endif
#ifdef PUT_BLIND
#define IS_EXPORTED	false
#else
#define IS_EXPORTED	(w & EXPORTED)
#endif
#ifdef PUT_PLAIN
#define PUT_SWAPS	true
#else
#define PUT_SWAPS	UNCHANGED
#endif
#ifdef PUT_KEEPS
#define PUT_GEN		skip
#else
#define PUT_GEN		new_generation()
#endif
#ifdef R2_KEEPS
#define R2_GEN		skip
#else
#define R2_GEN		new_generation()
#endif
#ifdef RELEASE_PLAIN
#define RELEASE_SWAPS	true
#else
#define RELEASE_SWAPS	UNCHANGED
#endif
#ifdef RELEASE_KEEPS
#define RELEASE_GEN	skip
#else
#define RELEASE_GEN	new_generation()
#endif
#ifdef IOCTL_OUTLIVES
#define LEAVE_IOCTL	atomic { inside[me] = false; dead != me }
#else
#define LEAVE_IOCTL	inside[me] = false
#endif

proctype process(byte me)
{
	do
	:: {
idle:
	do
	/* get: out of the cache, where the word is ours still; or out of the depot */
	:: d_step { CACHED -> mine[me] = true }
	:: d_step { place == DEPOT && !mine[me] -> place = ME; word = id[me]; mine[me] = true }
	/* out of the cache into the depot, as a member of a batch */
	:: d_step { CACHED -> place = DEPOT }
	/* get: REFILL */
	:: d_step { place == RESERVE && !mine[me] -> inside[me] = true; place = ME };
		d_step { word = id[me]; kernel = false; mine[me] = true };
		LEAVE_IOCTL

	/* export */
	:: d_step { mine[me] -> READ_WORD };
		d_step {
			if
			:: w == id[me] && UNCHANGED ->
				word = word + EXPORTED;
				made = true
			:: w == id[me] + EXPORTED
			:: else -> mine[me] = false
			fi;
			DROP_WORD }

	/* put: is it ours, and not a handle's? */
	:: d_step { mine[me] -> READ_WORD };
		if
		:: OWNER(w) == id[me] && !IS_EXPORTED
		:: d_step { OWNER(w) == id[me] && IS_EXPORTED && PUT_SWAPS ->
			word = id[me];
			end_life();
			PUT_GEN }
		:: d_step { OWNER(w) != id[me] || (IS_EXPORTED && !PUT_SWAPS) ->
			mine[me] = false;
			DROP_WORD };
			goto idle
		fi;
		d_step { true ->
			move(ME, ME);
			end_life();
			mine[me] = false;
			DROP_WORD }

	/* RELEASE, after a claim as in put or without */
	:: d_step { mine[me] -> inside[me] = true };
		if
		:: OWNER(word) != id[me] || kernel
		:: OWNER(word) == id[me] && !kernel ->
#ifdef RELEASE_BIT_FIRST
			kernel = true;
#endif
			d_step { READ_WORD };
			if
			:: d_step { OWNER(w) == id[me] && RELEASE_SWAPS ->
				word = RESERVE;
				move(ME, ON_ITS_WAY);
				end_life();
				RELEASE_GEN };
				d_step { kernel = true; place = RESERVE }
			:: else ->
#ifdef RELEASE_BIT_FIRST
				kernel = false
#endif
			fi
		fi;
		d_step { mine[me] = false; DROP_WORD };
		LEAVE_IOCTL

	/* import */
	:: d_step { !mine[me] && (made || old) -> READ_WORD };
		d_step {
			if
			:: (w & EXPORTED) && IMPORT_SWAPS ->
				check_handle();
				word = id[me];
				place = ME;
				end_life();
				IMPORT_GEN;
				mine[me] = true
			:: else
			fi;
			DROP_WORD }
#ifdef IMPORT_ANY
	:: d_step { !mine[me] && ancient && (word & EXPORTED) ->
		assert(false) }			/* a handle of another life */
#endif
	od
	} unless { kill ? eval(me) };
	born ? eval(me)
	od
}

inline bury(x)
{
	dead = x;
	mine[x] = false;
	seen[x] = 0;
	same = same & ~BIT(x)
}

#define CAN_DIE(x)	(x < VICTIMS && !inside[x])

proctype worker()
{
	byte s;

end:	do
	:: if
#ifndef IOCTL_OUTLIVES
	   :: atomic { CAN_DIE(0) -> bury(0); kill ! 0 }
	   :: atomic { CAN_DIE(1) -> bury(1); kill ! 1 }
#else
	   :: atomic { inside[0] -> dead = 0 }
#endif
	   fi;
	   d_step { s = word; same = same | BIT(WORKER) };
	   if
	   /* a member of a batch in the depot is struck out */
	   :: OWNER(s) == id[dead] && !kernel && place != DEPOT ->
		if
		:: d_step { s == word && (same & BIT(WORKER))
#ifdef R2_PLAIN
			}; d_step { true
#endif
			->
			word = RESERVE;
			move(dead + 1, ON_ITS_WAY);
			end_life();
			R2_GEN };
			d_step {
				assert(!kernel);	/* lost: somebody else's claim is in the way */
				kernel = true;
				place = RESERVE }
		:: else
		fi
	   :: else
	   fi;
#ifdef IOCTL_OUTLIVES
	   atomic { !inside[0] -> bury(0); kill ! 0 };
#endif
	   d_step {
		s = 0;
		same = same & ~BIT(WORKER);
		assert(place != dead + 1);		/* lost: the dead has it */
		id[dead] = id[dead] ^ 4 };
	   if
	   :: atomic { dead == 0 -> dead = NOBODY; born ! 0 }
	   :: atomic { dead == 1 -> dead = NOBODY; born ! 1 }
	   fi
	od
}

init
{
	byte i;

	d_step {
		kernel = true;
		i = 0;
		do
		:: i < PROCESSES -> id[i] = i + 1; i++
		:: else -> break
		od;
		i = 0
	}
	atomic {
		do
		:: i < PROCESSES -> run process(i); i++
		:: else -> break
		od;
		run worker()
	}
}
