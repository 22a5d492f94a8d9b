// SPDX-License-Identifier: MIT
/*
 * An event loop that waits for a buffer as it waits for everything else: the
 * pool's descriptor is readable when a get would succeed.
 *
 *	cc epoll.c $(pkg-config --cflags --libs lfpool)
 */
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <lfpool.h>

/* Another process, which takes all there is for half a second. */
static void greedy(int ready)
{
	struct lfpool *pool = lfpool_open("simd", 0);
	int n = 0;

	while (pool && lfpool_get(pool))
		n++;
	dprintf(STDOUT_FILENO, "all %d buffers are taken\n", n);
	close(ready);
	usleep(500000);		/* it ends, and they go back */
}

int main(void)
{
	struct lfpool *pool = lfpool_open("simd", 0);
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(0), fd[2], waits = 0;
	void *buffer;
	char c;

	if (!pool || pipe(fd)) {
		perror("simd (is the lfpool module loaded?)");
		return 1;
	}
	if (!fork())
		return greedy(fd[1]), 0;
	close(fd[1]);
	if (read(fd[0], &c, 1))		/* until it is closed */
		return 1;

	epoll_ctl(epoll, EPOLL_CTL_ADD, lfpool_fd(pool), &event);
	/* somebody else may be faster: readable is no promise */
	while (!(buffer = lfpool_get(pool)) && errno == ENOBUFS) {
		printf("nothing: wait\n");
		epoll_wait(epoll, &event, 1, -1);
		waits++;
	}
	if (buffer)
		printf("%s a buffer\n", waits ? "woken up for" : "got");
	else
		perror("get");
	lfpool_close(pool);	/* and the buffer goes back */
	return !buffer;
}
