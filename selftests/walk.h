/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A walk: where a process that is stepped through an operation is after each
 * step. Who repeats it gets there with a few stops instead of one a step: it runs
 * up to a breakpoint, as many times as the walk had been there, and is stepped from
 * there. Of x86-64.
 */
#ifndef LFPOOL_WALK_H
#define LFPOOL_WALK_H

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#define WALK_MAX	20000

/**
 * struct walk - the way through an operation
 * @steps: how many there are
 * @ip:    the address after so many steps
 * @seen:  how many times it has been there before
 */
struct walk {
	int steps;
	unsigned long ip[WALK_MAX + 1];
	int seen[WALK_MAX + 1];
};

#define WALK_IP	offsetof(struct user_regs_struct, rip)

/* It stands after @steps steps, with those before noted. False: that is too far. */
static inline bool walk_note(struct walk *w, pid_t pid, int steps)
{
	int i;

	if (steps > WALK_MAX)
		return false;
	w->steps = steps;
	w->ip[steps] = ptrace(PTRACE_PEEKUSER, pid, WALK_IP, NULL);
	w->seen[steps] = 0;
	for (i = 0; i < steps; i++)
		w->seen[steps] += w->ip[i] == w->ip[steps];
	return true;
}

/* Goes on by @request. False: something else stopped it than that it got there. */
static inline bool walk_on(pid_t pid, int request)
{
	int status;

	return !ptrace(request, pid, NULL, NULL) && waitpid(pid, &status, 0) == pid &&
	       WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
}

/* Runs to address @ip. */
static inline bool walk_to(pid_t pid, unsigned long ip)
{
	long code;

	errno = 0;
	code = ptrace(PTRACE_PEEKTEXT, pid, ip, NULL);
	/* int3; it stops behind it, and goes on where that was */
	return !errno && !ptrace(PTRACE_POKETEXT, pid, ip, (code & ~0xffL) | 0xcc) &&
	       walk_on(pid, PTRACE_CONT) &&
	       ptrace(PTRACE_PEEKUSER, pid, WALK_IP, NULL) == (long)ip + 1 &&
	       !ptrace(PTRACE_POKETEXT, pid, ip, code) &&
	       !ptrace(PTRACE_POKEUSER, pid, WALK_IP, ip);
}

static inline bool walk_is_at(const struct walk *w, pid_t pid, int k)
{
	unsigned long ip = ptrace(PTRACE_PEEKUSER, pid, WALK_IP, NULL);

	return k > w->steps || ip == w->ip[k];
}

/*
 * From the beginning to where the walk was after up to @k steps. Returns how many
 * these are, or -1 if the process went another way; then it stands elsewhere. In
 * between it makes no call that its tracer serves.
 */
static inline int walk_jump(const struct walk *w, pid_t pid, int k)
{
	int best = 0, cost, i;

	if (k > w->steps)
		k = w->steps;
	/* of all places before, the one with the fewest stops there and from there on */
	cost = k;
	for (i = 1; i <= k; i++) {
		if (2 * w->seen[i] + 1 + k - i < cost) {
			cost = 2 * w->seen[i] + 1 + k - i;
			best = i;
		}
	}
	if (!best)
		return 0;
	for (i = 0; i <= w->seen[best]; i++) {
		/* off the breakpoint first */
		if ((i && !walk_on(pid, PTRACE_SINGLESTEP)) || !walk_to(pid, w->ip[best]))
			return -1;
	}
	return best;
}

#endif
