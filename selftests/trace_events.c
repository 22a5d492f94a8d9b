// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_events: make each tracepoint of the module fire, once at least.
 *
 * For trace.sh, which looks what tools see of it. Wants a pool "simd" of two
 * buffers that may grow to three, and nobody else in it.
 */
#include "lfpool_test.h"

#include <sys/uio.h>

#define POOL	"simd"

static void must(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "trace_events: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* a client of a process that is about to die, with one buffer */
static uint32_t victim(struct client *c)
{
	uint32_t item;

	must(client_open(c, POOL) == 0, "client");
	must(do_refill(c->fd, 0, &item, 1) == 1, "refill");
	return item;
}

static void die_with_it(struct client *c)
{
	victim(c);
	raise(SIGKILL);
}

/* As if it were just taking a batch of one out of the depot. */
static void die_while_moving(struct client *c)
{
	uint32_t item = victim(c);
	volatile struct lfpool_desc *desc = client_desc(c, item);

	desc->next = LFPOOL_NONE;
	desc->count = 0;
	desc->word = (desc->word & ~0xffffffffULL) | LFPOOL_OWNER_DEPOT;
	raise(SIGKILL);
}

static int ends[2];

/* The pipe holds the buffer's page. */
static void die_with_a_pin(struct client *c)
{
	struct iovec iov = { client_buffer(c, victim(c)), 64 };

	must(vmsplice(ends[1], &iov, 1, 0) == 64, "vmsplice");
	raise(SIGKILL);
}

static void child(void (*what)(struct client *c))
{
	pid_t pid = child_fork();
	struct client c;

	if (!pid) {
		what(&c);
		_exit(1);
	}
	must(child_wait(pid) == 128 + SIGKILL, "child");
	must(wait_until(stats_of(POOL).clients == 0, 20), "recovery");
}

/* grant, grow, exhausted, scavenge, and a thread that comes and goes */
static void exhaust(void)
{
	volatile struct lfpool_slot *slot;
	uint32_t items[3], one;
	struct client c;
	int ret;

	must(client_open(&c, POOL) == 0, "client");
	ret = do_attach(c.fd);
	must(ret >= 0, "attach");
	slot = client_slot(&c, ret);
	must(do_refill(c.fd, 0, items, 2) == 2, "refill");
	must(do_refill(c.fd, 0, items + 2, 1) == 1, "growth");
	must(do_refill(c.fd, 0, &one, 1) == -ENOBUFS, "exhaustion");

	/* a free buffer in the cache of a thread that idles */
	slot->item[0] = items[2];
	slot->n = 1;
	must(do_refill(c.fd, 0, &one, 1) == 1, "scavenge");
	must(slot->n == 0 && one == items[2], "what was in the cache");
	must(do_release(c.fd, 0, items, 3) == 3, "release");
	must(do_detach(c.fd, slot - client_slot(&c, 0)) == 0, "detach");
	client_close(&c);
	must(wait_until(stats_of(POOL).clients == 0, 20), "close");
}

int main(void)
{
	must(pipe(ends) == 0, "pipe");
	exhaust();
	child(die_with_it);
	child(die_while_moving);
	child(die_with_a_pin);
	close(ends[0]);
	close(ends[1]);
	must(wait_until(stats_of(POOL).quarantined == 0, 20), "quarantine");
	puts("all events");
	return 0;
}
