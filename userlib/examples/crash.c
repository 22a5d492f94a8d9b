// SPDX-License-Identifier: MIT
/*
 * A process is killed with buffers in its hands. The kernel takes them back.
 *
 *	cc crash.c $(pkg-config --cflags --libs lfpool)
 */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <lfpool.h>

static void report(struct lfpool *pool, const char *when)
{
	struct lfpool_stats s;

	if (!lfpool_stats(pool, &s))
		printf("%-7s %3u of %u in use, %u reclaimed from the dead\n", when,
		       (unsigned int)s.in_use, (unsigned int)s.capacity, (unsigned int)s.reclaimed);
}

int main(void)
{
	struct lfpool *pool = lfpool_open("compression", LFPOOL_OPEN_RDONLY);
	struct lfpool_counts counts;
	struct lfpool_audit audit;
	int fd[2], pid;
	char c;

	if (!pool || pipe(fd)) {
		perror("compression (is the lfpool module loaded?)");
		return 1;
	}
	pid = fork();
	if (pid < 0)
		return 1;
	if (!pid) {
		struct lfpool *own = lfpool_open("compression", 0);

		for (int i = 0; own && i < 10; i++)
			lfpool_get(own);
		close(fd[1]);
		pause();
	}
	close(fd[1]);
	if (read(fd[0], &c, 1))		/* until the child has them */
		return 1;
	report(pool, "before:");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* the kernel's worker looks after it, soon; others may hold buffers, too */
	for (int i = 0; i < 100 && !lfpool_counts(pool, &counts) && counts.in_use; i++)
		usleep(20000);
	report(pool, "after:");
	if (lfpool_audit(pool, &audit))
		return 1;
	printf("audit:  %llu lost, %llu double\n", audit.lost, audit.duplicate);
	lfpool_close(pool);
	return audit.lost || audit.duplicate;
}
