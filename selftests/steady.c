// SPDX-License-Identifier: GPL-2.0-only
/*
 * A program in its steady state, for steady.sh to watch: warms up, then does
 * ROUNDS rounds of each kind between two calls of getppid().
 *
 *	steady [--embedded]
 */
#include <lfpool.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WARM_UP		1000
#define ROUNDS		1000000
#define MANY		8

static bool plain(struct lfpool *pool, unsigned int rounds)
{
	while (rounds--) {
		char *buffer = lfpool_get(pool);

		if (!buffer)
			return false;
		buffer[0] = rounds;
		if (lfpool_put(pool, buffer))
			return false;
	}
	return true;
}

static bool in_line(struct lfpool *pool, unsigned int rounds)
{
	struct lfpool_thread *thread = lfpool_attach(pool);

	if (!thread)
		return false;
	while (rounds--) {
		char *buffer = lfpool_thread_get(thread);

		if (!buffer)
			return false;
		buffer[0] = rounds;
		if (lfpool_thread_put(thread, buffer))
			return false;
	}
	return true;
}

static bool bulk(struct lfpool *pool, unsigned int rounds)
{
	void *buffers[MANY];

	while (rounds--) {
		if (lfpool_get_bulk(pool, buffers, MANY) != MANY ||
		    lfpool_put_bulk(pool, buffers, MANY) != MANY)
			return false;
	}
	return true;
}

static bool guard(struct lfpool *pool, unsigned int rounds)
{
	while (rounds--) {
		LFPOOL_GUARD(buffer, pool);

		if (!buffer.data)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	static bool (*const kinds[])(struct lfpool *pool, unsigned int rounds) = {
		plain, in_line, bulk, guard,
	};
	unsigned int flags = 0, i;
	struct lfpool *pool;

	if (argc == 2 && !strcmp(argv[1], "--embedded"))
		flags = LFPOOL_OPEN_EMBEDDED;
	else if (argc != 1)
		return 2;
	pool = lfpool_open("serialization", flags);
	if (!pool) {
		perror("serialization");
		return 1;
	}
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!kinds[i](pool, WARM_UP))
			return 1;
	}
	getppid();
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!kinds[i](pool, ROUNDS))
			return 1;
		getppid();
	}
	lfpool_close(pool);
	return 0;
}
