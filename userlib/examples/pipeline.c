// SPDX-License-Identifier: MIT
/*
 * Two processes: one writes messages, the other reads them, in the same memory.
 * Only their 64-bit handles go through the pipe.
 *
 *	cc pipeline.c $(pkg-config --cflags --libs lfpool)
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <lfpool.h>

static int reader(int fd)
{
	struct lfpool *pool = lfpool_open("serialization", 0);
	uint64_t handle;

	while (pool && read(fd, &handle, sizeof(handle)) == sizeof(handle)) {
		char *message = lfpool_import(pool, handle);	/* ours from here on */

		if (!message)
			continue;	/* gone with its sender */
		puts(message);
		lfpool_put(pool, message);
	}
	lfpool_close(pool);
	return !pool;
}

static int writer(int fd)
{
	struct lfpool *pool = lfpool_open("serialization", 0);
	uint64_t handle;
	char *message;

	for (int i = 0; pool && i < 10 && (message = lfpool_get_wait(pool, -1)); i++) {
		sprintf(message, "message %d of process %d", i, getpid());
		if (lfpool_export(pool, message, &handle) ||
		    write(fd, &handle, sizeof(handle)) != sizeof(handle))
			break;
	}
	if (!pool)
		perror("serialization (is the lfpool module loaded?)");
	close(fd);
	wait(NULL);	/* what is not imported yet would go back if we left */
	lfpool_close(pool);
	return !pool;
}

int main(void)
{
	int fd[2];

	if (pipe(fd))
		return 1;
	if (!fork())
		return close(fd[1]), reader(fd[0]);
	return close(fd[0]), writer(fd[1]);
}
