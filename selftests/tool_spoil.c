// SPDX-License-Identifier: GPL-2.0-only
/*
 * tool_spoil POOL lost|double|damaged: do to a pool what no correct program
 * does, say so, wait for the end of standard input, and undo it.
 *
 * "lfpool check" has to find it (tool.sh). With "shared" instead, a buffer is
 * held by a process whose child has the file open, too, and outlives it if it is
 * killed: for "lfpool holders".
 */
#include "lfpool_test.h"

static int fail(const char *what, int err)
{
	fprintf(stderr, "tool_spoil: %s: %s\n", what, strerror(-err));
	return 1;
}

int main(int argc, char **argv)
{
	volatile struct lfpool_slot *slot;
	volatile struct lfpool_desc *desc;
	struct client c;
	pid_t holder = getpid();
	uint32_t item;
	uint64_t word;
	char byte;
	int ret;

	if (argc != 3)
		return 2;
	ret = client_open(&c, argv[1]);
	if (ret)
		return fail(argv[1], ret);
	ret = do_attach(c.fd);
	if (ret < 0)
		return fail("attach", ret);
	slot = client_slot(&c, ret);
	ret = do_refill(c.fd, 0, &item, 1);
	if (ret < 0)
		return fail("refill", ret);
	desc = client_desc(&c, item);
	word = desc->word;

	if (!strcmp(argv[2], "lost")) {
		/* held by nobody there is */
		desc->word = (word & ~(uint64_t)LFPOOL_WORD_OWNER) | LFPOOL_CLIENT_MAX;
	} else if (!strcmp(argv[2], "double")) {
		slot->item[0] = item;
		slot->item[1] = item;
		slot->n = 2;
	} else if (!strcmp(argv[2], "damaged")) {
		slot->n = LFPOOL_CACHE_MAX + 1;
	} else if (!strcmp(argv[2], "shared")) {
		if (fork() < 0)
			return fail("fork", -errno);
	} else {
		return 2;
	}
	puts("spoilt");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	/* a child has the file, but not the mapping */
	if (getpid() != holder)
		return 0;
	slot->n = 0;
	desc->word = word;
	do_release(c.fd, 0, &item, 1);
	client_close(&c);
	return 0;
}
