/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of the fast path against the kernel: userlib/include/lfpool.h (get and
 * put), userlib/thread.c (refill, flush), userlib/pool.c (prefill) against
 * scavenge, wait and poll of module/grant.c.
 *
 * Modelled
 *   THREADS that get and put for ever, each with its cache; with -DPREFILL they
 *   also fill the depot. Their CPUs hold stores back (x86-TSO): up to ROOM of
 *   them wait in late[], are seen by the CPU itself at once, by the others one
 *   by one, in their order, at any time later. A compare-and-swap, a system
 *   call and an interrupt let them all out.
 *   The kernel: REFILL and WAIT look into the reserve, then, under pool->lock,
 *   into the depot, then, slot by slot, into the caches (scavenge). WAITERS
 *   sleep on the exclusive wait queue; a timer or a signal may end that; what
 *   they got they put with RELEASE. With -DPOLLER one more program polls.
 *   With -DTHREAD_DIES the first thread can be killed, before any step but not
 *   within a system call; with -DWAITER_DIES the client of the first waiter can
 *   die (its mapping is gone; it itself is not). The worker takes back what it
 *   had.
 *
 * Proved
 *   Each buffer is in one place, always: held[], cached[], depot and reserve
 *   are sets that tell where it really is, and each step that moves a buffer
 *   asserts that it was there. When a CPU holds nothing back and the thread is
 *   not busy, the cache lists what is cached.
 *   Nobody sleeps while a buffer is free: when all that run have come to rest,
 *   nobody waits, or there is nothing in reserve, depot and caches.
 *
 * How it is kept small
 *   A cache is a set and its store one store: item[] beyond n is never read,
 *   so that only the store of n counts. All that is in the depot is one batch:
 *   depot.pml has the rest. A thread with a buffer cached is full: it flushes
 *   that one when it puts the next. The fast path and its slow path make the
 *   same loads and stores in the same order, so there is one of them. wake()
 *   wakes one that sleeps or marks those that are awake: the kernel marks those
 *   before it on the queue as well, so this is less.
 *
 * Not modelled
 *   Stores that the kernel's CPU holds back: it passes a barrier between what
 *   it stores (revoked, waiters) and what it loads (busy). Loads out of order:
 *   x86 makes none; for others there are the acquire and release in lfpool.h.
 *   Signal handlers that find busy set (they stay off the slot), growth,
 *   detach, the shrinker, quarantine.
 *
 * Redundant here, hence without a mutant: that a put which flushed looks for
 * waiters afterwards (a waiter looks at depot and caches under one lock: if it
 * missed the batch, it finds the thread busy, or the buffer that was put after
 * the flush; only a prefill leaves none in its cache, see PUSH_SILENT); that a
 * waiter which leaves wakes the next one if there is something in the reserve
 * (only one whose client died leaves without having looked, and the worker
 * wakes everybody then, see RECOVERY_WAKES_ONE).
 *
 * Sizes, in run.sh, each explored in full (M: million states); the thread that
 * is alone fills the depot, too
 *   3 buffers, 2 threads						1.0 M
 *   2 buffers, 2 threads, 1 waiter					6.8 M
 *   2 buffers, 1 thread, 2 waiters					10.1 M
 *   2 buffers, 1 thread, 1 waiter, 1 poller				3.3 M
 *   2 buffers, 1 thread that dies, 2 waiters				3.0 M
 *   1 buffer, 1 thread, 2 waiters, of whom one's client dies		2.1 M
 *
 * Mutants: each of these macros breaks one thing, and must be caught.
 *   NO_IPI             scavenge makes only its own CPU pass a barrier
 *   BUSY_IGNORED       scavenge takes the caches of busy threads, too
 *   REVOKED_EARLY      scavenge clears revoked before it emptied the cache
 *   REVOKED_IGNORED    threads do not look at revoked
 *   N_FIRST            scavenge looks for a cache's buffers before it looks if
 *                      its thread is busy
 *   BUSY_EARLY         threads clear busy before they store the cache
 *   PUT_LOOKS_FIRST    put loads waiters before it sets busy
 *   STORE_BLIND        a refill goes into the cache even if somebody waits
 *   PUSH_SILENT        prefill does not tell the waiters
 *   WAIT_NO_IPI        a waiter counts itself without a barrier on all CPUs
 *   WAIT_IGNORES_BUSY  a waiter that found threads busy does not look again
 *   LEAVES_BUSY        a waiter that found threads busy leaves, and does not have
 *                      the next one look
 *   EPISODE_UNCOUNTED  the barrier of the first who ever waited serves all others
 *   EPISODE_ASSUMED    a barrier serves whatever episode it ends in
 *   FENCED_EARLY       a barrier that has only begun serves the next waiter
 *   COUNTS_LATE        a waiter looks before it counts itself
 *   QUEUES_LATE        a waiter looks before it is on the wait queue
 *   POLL_NO_IPI        poll counts itself without a barrier on all CPUs
 *   POLL_IGNORES_BUSY  nobody makes poll look again at busy threads
 *   RECOVERY_SILENT    recovery wakes only for what it takes back
 *   RECOVERY_WAKES_ONE recovery wakes one waiter, and that may be the dead
 */
#ifndef NB
#define NB 2			/* buffers, at most 3 */
#endif
#ifndef THREADS
#define THREADS 2		/* 1 or 2 */
#endif
#ifndef WAITERS
#define WAITERS 0		/* 0 to 2 */
#endif
#ifndef ROOM
#define ROOM 4			/* stores that a CPU holds back at most */
#endif

#define BIT(x)		(1 << (x))
#define NOBODY		15
#define LAST		(THREADS - 1)
#define LOWEST(s)	((s) & ~((s) - 1))
#define WITHOUT(s)	((s) & ((s) - 1))	/* without the lowest */

/* shared memory, as the others see it */
bool busy[THREADS];
bool revoked[THREADS];
byte cache[THREADS];		/* n and item[]: a set */
byte waiters;			/* plus polled; see WAITED_FOR */
byte depot;			/* all of it is one batch */

/* stores that a CPU holds back: four bits each, the oldest in the lowest */
int late[THREADS];
#define BUSY_0		1
#define BUSY_1		2
#define CACHE(s)	(8 | (s))

/* kernel memory */
byte reserve;
byte asks = NOBODY;		/* who has pool->lock: the kernel works for it */
byte granted[THREADS + WAITERS + 1];	/* what it got; plus BUSY */
#define BUSY		8
byte queued, asleep, woken;	/* waiters: on the queue, asleep, WQ_FLAG_WOKEN */
bool polled;			/* pool->polled */
bool fenced;			/* pool->fenced is pool->episode */
byte current;			/* who read the episode that it still is: a set */
bool look;			/* pool->look is queued */
bool gone;			/* the client of the first waiter */
bool granting;			/* that one is within grant_once() */

/* where the buffers really are: sets */
byte held[THREADS + WAITERS + 1];	/* by programs, or on their way */
byte cached[THREADS];

byte running;			/* who is within a call: a set */
byte k, x;			/* zero but within a step */

/*
 * Memory
 */

inline apply(t)
{
	if
	:: (late[t] & 15) == BUSY_0 -> busy[t] = false
	:: (late[t] & 15) == BUSY_1 -> busy[t] = true
	:: (late[t] & 15) >= CACHE(0) -> cache[t] = late[t] & 7
	:: else
	fi;
	late[t] = late[t] >> 4
}

/* a full barrier on the thread's CPU */
inline barrier(t)
{
	k = 0;
	do
	:: late[t] -> apply(t)
	:: else -> break
	od;
	k = 0
}

#define CAN_STORE	(late[me] < (1 << (4 * (ROOM - 1))))

inline store(what)
{
	k = 0;
	do
	:: late[me] >> k -> k = k + 4
	:: else -> break
	od;
	late[me] = late[me] | ((what) << k);
	k = 0
}

#define STORE(what)	d_step { CAN_STORE -> store(what) }

/* a CPU sees the stores that it holds back */
inline load_cache(to)
{
	to = cache[me];
	k = 0;
	do
	:: late[me] >> k ->
		if
		:: ((late[me] >> k) & 15) >= CACHE(0) -> to = (late[me] >> k) & 7
		:: else
		fi;
		k = k + 4
	:: else -> break
	od;
	k = 0
}

inline move(from, to, what)
{
	assert((from & (what)) == (what));	/* somebody else has it */
	from = from & ~(what);
	to = to | (what)
}

/*
 * The kernel
 */

#define WAITER(w)	(THREADS + (w))
#define POLLER_IS	(THREADS + WAITERS)
#define SLEEPS(w)	(asleep & BIT(w))

inline awake(w, who)
{
	asleep = asleep & ~BIT(w);
	running = running | BIT(who)
}

/* one that sleeps; else those that are awake look again before they sleep */
inline wake()
{
	if
	:: polled ->
		polled = false;
		if
		:: SLEEPS(WAITERS) -> awake(WAITERS, POLLER_IS)
		:: else -> woken = woken | BIT(WAITERS)
		fi
	:: else
	fi;
	if
	:: WAITERS > 0 && SLEEPS(0) -> awake(0, WAITER(0))
	:: WAITERS > 1 && !SLEEPS(0) && SLEEPS(1) -> awake(1, WAITER(1))
	:: else -> woken = woken | queued
	fi
}

#define WAITED_FOR	(waiters || polled)

/* somebody waits, and nobody did: waiters_publish() */
#ifdef EPISODE_UNCOUNTED
#define EPISODE(first)	skip
#else
#define EPISODE(first)							\
	if								\
	:: first -> fenced = false; current = 0				\
	:: else								\
	fi
#endif

/* the one who comes next need no barrier then: waiters_fence() */
inline fence_over()
{
	if
	:: current & BIT(me) -> fenced = true; current = current & ~BIT(me)
#ifdef EPISODE_ASSUMED
	:: else -> fenced = true
#else
	:: else
#endif
	fi
}

inline add_reserve(from, what)
{
	x = what;
	move(from, reserve, x);
	do
	:: x -> wake(); x = WITHOUT(x)
	:: else -> break
	od;
	x = 0
}

/* an interrupt to every CPU */
#if THREADS == 1
#define ALL_CPUS	atomic { barrier(0) }
#else
#define ALL_CPUS	atomic { barrier(0) }; atomic { barrier(1) }
#endif
#ifdef NO_IPI
#define SCAVENGE_BARRIER skip
#else
#define SCAVENGE_BARRIER ALL_CPUS
#endif

inline revoke(t)
{
#ifdef N_FIRST
	x = cache[t];
	d_step {
		if
		:: x || busy[t] -> revoked[t] = true; candidates = true
		:: else
		fi;
		x = 0 }
#else
	x = busy[t];
	d_step {
		if
		:: x || cache[t] -> revoked[t] = true; candidates = true
		:: else
		fi;
		x = 0 }
#endif
}

#ifdef BUSY_IGNORED
#define SEEN_BUSY(t)	false
#else
#define SEEN_BUSY(t)	busy[t]
#endif

inline scavenge(t)
{
	if
	:: !revoked[t]
	:: d_step { revoked[t] && SEEN_BUSY(t) -> saw_busy = BUSY; revoked[t] = false }
	:: d_step { revoked[t] && !SEEN_BUSY(t) && taken -> revoked[t] = false }
	:: d_step { revoked[t] && !SEEN_BUSY(t) && !taken ->
			x = cache[t];
			move(cached[t], taken, x);
			x = 0 };
#ifndef REVOKED_EARLY
		cache[t] = 0;
		revoked[t] = false
#else
		revoked[t] = false;
		cache[t] = 0
#endif
	fi
}

/* the one that asks gets what is in the reserve: all, or one */
inline grant()
{
	k = (asks < THREADS -> reserve : LOWEST(reserve));
	move(reserve, held[asks], k);
	granted[asks] = (k || asks < THREADS -> k : saw_busy);
	k = 0;
	saw_busy = 0;
	asks = NOBODY
}

/* grant_exhausted(), for the one that has the lock */
proctype kernel()
{
	byte taken, saw_busy;
	bool candidates;

#define ASKED	(asks < POLLER_IS)

end:	do
	:: d_step { ASKED && reserve -> grant() }
	:: d_step { ASKED && !reserve && depot -> k = depot; add_reserve(depot, k); k = 0 };
		if
		:: d_step { reserve -> grant() }
		:: d_step { !reserve };
			goto caches
		fi
	:: d_step { ASKED && !reserve && !depot };
caches:		revoke(0);
#if THREADS > 1
		revoke(1);
#endif
		if
		:: d_step { candidates -> candidates = false };
			SCAVENGE_BARRIER;
			scavenge(0);
#if THREADS > 1
			scavenge(1);
#endif
			d_step { k = taken; add_reserve(taken, k); k = 0 }
		:: !candidates
		fi;
		d_step { grant() }
	od
}

/* REFILL and WAIT: out of the reserve; if there is nothing, ask */
inline refill(all, got)
{
	if
	:: d_step { reserve -> got = (all -> reserve : LOWEST(reserve)); move(reserve, held[me], got) }
	:: !reserve ->
		d_step { asks == NOBODY -> asks = me };
		d_step { asks != me -> got = granted[me]; granted[me] = 0 }
	fi
}

/* RELEASE */
inline release(what)
{
	d_step { add_reserve(held[me], what); what = 0; running = running & ~BIT(me) }
}

/*
 * Threads
 */
#define ENTERS		running = running | BIT(me)
#define LEAVES		running = running & ~BIT(me)

/* a system call passes a barrier before it looks at anything of ours */
#define SYSCALL		d_step { barrier(me) }

#ifdef REVOKED_IGNORED
#define REVOKED		false
#else
#define REVOKED		revoked[me]
#endif
#ifdef STORE_BLIND
#define STORE_MAY	(!REVOKED)
#else
#define STORE_MAY	(!REVOKED && !WAITED_FOR)
#endif
#ifdef PUSH_SILENT
#define TELL		false
#else
#define TELL		WAITED_FOR
#endif

/* the new contents of the cache, then out of it */
#ifndef BUSY_EARLY
#define STORE_CACHE(c)	d_step { CAN_STORE -> store(CACHE(c)); c = 0 }; STORE(BUSY_0)
#else
#define STORE_CACHE(c)	STORE(BUSY_0); d_step { CAN_STORE -> store(CACHE(c)); c = 0 }
#endif

#ifdef THREAD_DIES
chan kill = [0] of { byte };
#define LIFE		{
#define DEATH		} unless { kill ? eval(me) }
#else
#define LIFE
#define DEATH
#endif

proctype thread(byte me)
{
	byte c, one;
	bool flushed, saw;

	LIFE
	do
	/* get */
	:: d_step { CAN_STORE -> ENTERS; store(BUSY_1) };
		if
		:: REVOKED ->
			STORE(BUSY_0);
			SYSCALL;
			refill(false, c);
			d_step { c = 0; LEAVES }
		:: !REVOKED ->
			d_step {
				load_cache(c);
				if
				:: !c && depot ->
					/* pop: the compare-and-swap is a barrier */
					barrier(me);
					c = depot;
					move(depot, cached[me], c)
				:: else
				fi;
				one = LOWEST(c);
				move(cached[me], held[me], one);
				saw = (one != 0);
				c = c & ~one;
				one = 0 };
			if
			:: saw ->
				saw = false;
				STORE_CACHE(c);
				LEAVES
			:: !saw ->
				STORE(BUSY_0);
				SYSCALL;
				refill(true, c);
				/* one for the program, the others into the cache */
				d_step { c = WITHOUT(c) };
				if
				:: d_step { !c -> LEAVES }
				:: d_step { c -> store(BUSY_1) };
					if
					:: d_step { STORE_MAY ->
						load_cache(one);
						move(held[me], cached[me], c);
						c = c | one;
						one = 0 };
						STORE_CACHE(c);
						LEAVES
					:: !STORE_MAY ->
						STORE(BUSY_0);
						SYSCALL;
						release(c)
					fi
				fi
			fi
		fi

	/* put */
#ifdef PUT_LOOKS_FIRST
	:: d_step { held[me] && CAN_STORE -> ENTERS; saw = (waiters != 0) };
		STORE(BUSY_1);
#define PUT_MAY		(!REVOKED && !saw)
#else
	:: d_step { held[me] && CAN_STORE -> ENTERS; store(BUSY_1) };
#define PUT_MAY		(!REVOKED && !WAITED_FOR)
#endif
		if
		:: !PUT_MAY ->
			saw = false;
			STORE(BUSY_0);
			SYSCALL;
			c = LOWEST(held[me]);
			release(c)
		:: d_step { PUT_MAY ->
			load_cache(c);
			if
			:: c ->
				/* full: push; the compare-and-swap is a barrier */
				barrier(me);
				move(cached[me], depot, c);
				c = 0;
				flushed = true
			:: else
			fi;
			one = LOWEST(held[me]);
			move(held[me], cached[me], one);
			c = c | one;
			one = 0 };
			STORE_CACHE(c);
			if
			:: d_step { !(flushed && TELL) -> flushed = false; LEAVES }
			:: d_step { flushed && TELL -> barrier(me); flushed = false };
				d_step { wake(); LEAVES }
			fi
		fi

#ifdef PREFILL
	/* prefill */
	:: d_step { reserve -> ENTERS; barrier(me); c = reserve; move(reserve, held[me], c) };
		STORE(BUSY_1);
		d_step { barrier(me); move(held[me], depot, c); c = 0 };
		STORE(BUSY_0);
		if
		:: d_step { !TELL -> LEAVES }
		:: d_step { TELL -> barrier(me) };
			d_step { wake(); LEAVES }
		fi
#endif
	od
	DEATH
}

/*
 * Waiters
 */
#define W	BIT(me - THREADS)

#ifdef WAIT_NO_IPI
#define WAIT_BARRIER	skip
#else
#define WAIT_BARRIER	ALL_CPUS
#endif
#ifdef FENCED_EARLY
#define FENCE_BEGINS	fenced = true
#else
#define FENCE_BEGINS	skip
#endif
#ifdef WAIT_IGNORES_BUSY
#define LOOK_AGAIN	false
#else
#define LOOK_AGAIN	(got == BUSY)
#endif
#ifdef LEAVES_BUSY
#define PASSES_ON	false
#else
#define PASSES_ON	owes
#endif
#define NOTHING		((!got || got == BUSY) && !LOOK_AGAIN)

#ifdef COUNTS_LATE
#define COUNT_FIRST	skip
#define COUNT_LAST	waiters++
#else
#define COUNT_FIRST	EPISODE(!WAITED_FOR); waiters++
#define COUNT_LAST	skip
#endif
#ifdef QUEUES_LATE
#define QUEUE_FIRST	skip
#else
#define QUEUE_FIRST	queued = queued | W
#endif

#ifdef WAITER_DIES
#define DEAD		(gone && me == WAITER(0))
#define GRANTING(x)	granting = (x && me == WAITER(0))
#else
#define DEAD		false
#define GRANTING(x)	skip
#endif

proctype waiter(byte me)
{
	byte got;
	bool owes;		/* threads were busy when it looked last */

end:	do
	/* WAIT */
	:: d_step { !DEAD -> ENTERS; QUEUE_FIRST };
		d_step { COUNT_FIRST; current = current | BIT(me) };
		if
		:: d_step { fenced -> current = current & ~BIT(me) }
		:: d_step { !fenced -> FENCE_BEGINS };
			WAIT_BARRIER;
			d_step { fence_over() }
		fi;
		do
		:: DEAD -> break
		:: d_step { !DEAD -> GRANTING(true) };
			refill(false, got);
			GRANTING(false);
			if
			:: got && got != BUSY -> break
			/* look again soon */
			:: d_step { LOOK_AGAIN -> got = 0; owes = true }
			/* time is over, or a signal came */
			:: d_step { !got || got == BUSY -> owes = (got == BUSY) };
				break
			:: d_step { NOTHING && (woken & W) -> got = 0; owes = false; woken = woken & ~W }
			:: d_step { NOTHING && !(woken & W) ->
				got = 0;
				owes = false;
				COUNT_LAST;
				queued = queued | W;
				asleep = asleep | W;
				LEAVES };
endsleep:			if
				:: d_step { !(asleep & W) -> woken = woken & ~W }
				/* the timer, or a signal */
				:: d_step { asleep & W -> awake(me - THREADS, me); woken = woken & ~W }
				fi
			fi
		od;
		waiters = (waiters -> waiters - 1 : 0);
		d_step { queued = queued & ~W; woken = woken & ~W };
		d_step {
			if
			:: reserve || PASSES_ON -> wake()
			:: else
			fi;
			got = 0;
			owes = false;
			LEAVES }
	/* put */
	:: d_step { held[me] && !DEAD -> ENTERS };
		if
		:: d_step { !DEAD -> got = held[me]; add_reserve(held[me], got); got = 0; LEAVES }
		:: d_step { DEAD -> LEAVES }
		fi
	od
}

#ifdef POLLER
#ifdef POLL_NO_IPI
#define POLL_BARRIER	skip
#else
#define POLL_BARRIER	ALL_CPUS
#endif
#ifdef POLL_IGNORES_BUSY
#define LOOK_LATER	skip
#else
#define LOOK_LATER	look = true
#endif

inline poll_slot(t)
{
	if
	:: d_step { busy[t] -> saw_busy = true }
	:: d_step { !busy[t] -> ready = ready || cache[t] }
	fi
}

/* a program that polls: on the queue by poll_wait() until poll() returns */
proctype poller(byte me)
{
	bool ready, saw_busy;

end:	do
	:: ENTERS;
look_again:	skip;
		d_step { EPISODE(!WAITED_FOR); polled = true; current = current | BIT(me) };
		if
		:: d_step { fenced -> current = current & ~BIT(me) }
		:: d_step { !fenced -> FENCE_BEGINS };
			POLL_BARRIER;
			d_step { fence_over() }
		fi;
		d_step { asks == NOBODY -> asks = me };
		ready = (reserve || depot);
		poll_slot(0);
#if THREADS > 1
		poll_slot(1);
#endif
		asks = NOBODY;
		d_step {
			if
			:: !ready && saw_busy -> LOOK_LATER
			:: else
			fi;
			saw_busy = false };
		if
		/* whether it then gets one or not */
		:: d_step { ready -> ready = false; woken = woken & ~BIT(WAITERS); LEAVES }
		:: d_step { !ready && (woken & BIT(WAITERS)) -> woken = woken & ~BIT(WAITERS) };
			goto look_again
		:: d_step { !ready && !(woken & BIT(WAITERS)) -> asleep = asleep | BIT(WAITERS); LEAVES };
endsleep:		!(asleep & BIT(WAITERS));
			goto look_again
		fi
	od
}
#endif

/*
 * The rest
 */

/* stores are seen, one by one; and pool->look */
proctype cpus()
{
end:	do
	:: d_step { late[0] -> apply(0) }
#if THREADS > 1
	:: d_step { late[1] -> apply(1) }
#endif
	/* 10 ms later */
	:: d_step { look -> look = false; wake() }
	od
}

#define IDLE(t)	(!late[t] && !busy[t])

/* what must be so when nobody moves */
proctype watch()
{
end:	do
	:: d_step { asks == NOBODY && ((IDLE(0) && cache[0] != cached[0]) ||
			(IDLE(LAST) && cache[LAST] != cached[LAST])) ->
		assert(false) }			/* a cache lists something else */
	:: d_step { asleep && !running && !look && IDLE(0) && IDLE(LAST) &&
			(reserve || depot || cached[0] || cached[LAST]) ->
		assert(false) }				/* a buffer is free, and a waiter sleeps */
	od
}

#if defined(THREAD_DIES) || defined(WAITER_DIES)
#define MORTAL
#define WORKS		running = running | BIT(POLLER_IS + 1)
#define WORKED		running = running & ~BIT(POLLER_IS + 1)

inline take_back(from)
{
	k = from;
	add_reserve(from, k);
	k = 0
}

/* somebody dies, and what it had goes back to the reserve */
proctype worker()
{
#ifdef THREAD_DIES
	atomic { asks == NOBODY ->
		d_step {
			WORKS;
			barrier(0);
			busy[0] = false;
			cache[0] = 0;
			granted[0] = 0;
			running = running & ~BIT(0);
			take_back(held[0]);
			take_back(cached[0]) }
		kill ! 0 };
#else
	d_step { !granting -> WORKS; gone = true };
	d_step { asks == NOBODY -> take_back(held[WAITER(0)]) };
#endif
#ifndef RECOVERY_SILENT
	d_step { wake() };
#ifndef RECOVERY_WAKES_ONE
	d_step {
		if
		:: SLEEPS(0) -> awake(0, WAITER(0))
		:: else
		fi;
		if
		:: SLEEPS(1) -> awake(1, WAITER(1))
		:: else
		fi;
		woken = woken | queued };
#endif
#endif
	WORKED
}
#endif

init
{
	d_step { reserve = BIT(NB) - 1 }
	atomic {
		run thread(0);
#if THREADS > 1
		run thread(1);
#endif
#if WAITERS > 0
		run waiter(WAITER(0));
#endif
#if WAITERS > 1
		run waiter(WAITER(1));
#endif
#ifdef POLLER
		run poller(POLLER_IS);
#endif
		run kernel();
		run cpus();
#ifdef MORTAL
		run worker();
#endif
		run watch()
	}
}
