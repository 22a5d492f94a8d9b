// SPDX-License-Identifier: GPL-2.0-only
/*
 * How pools, clients and the module begin and end: open and close, fork, exec,
 * files passed to strangers, death of every kind, unloading and loading again.
 * Whatever happens to a client, its buffers come back, once, and only when
 * nobody can reach them through its mapping any more.
 *
 * vm: smp=2 timeout=600 insmod=no
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <lfpool.h>

#include "lfpool_test.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>

#define POOL		"serialization"
#define BUFFERS		64U
#define SIZE		16384U
#define ARGS		"buffer_count=64 max_count=64 max_threads=64 batch=4 " \
			"serialization_size=16384 compression_size=64 simd_elements=1"

/* this test's own client, and one that only looks */
FIXTURE(life) {
	struct lfpool *pool;
	struct lfpool *monitor;
};

FIXTURE_SETUP(life)
{
	ASSERT_EQ(0, module_fresh(ARGS));
	self->pool = lfpool_open(POOL, 0);
	ASSERT_NE(NULL, self->pool);
	self->monitor = lfpool_open(POOL, LFPOOL_OPEN_RDONLY);
	ASSERT_NE(NULL, self->monitor);
}

static struct lfpool_stats stats(struct lfpool *pool)
{
	struct lfpool_stats s;

	if (lfpool_stats(pool, &s))
		memset(&s, 0xff, sizeof(s));
	return s;
}

/* Every other client is gone, and what it had has come back. */
#define all_back(pool) wait_until(stats(pool).clients == 1 && stats(pool).in_use == 0, 20)

FIXTURE_TEARDOWN(life)
{
	void *buffers[BUFFERS];
	unsigned int i, k;

	EXPECT_TRUE(all_back(self->monitor));
	expect_quiet(_metadata, self->monitor, BUFFERS);
	/* and each of them can be had */
	ASSERT_EQ(BUFFERS, lfpool_get_bulk(self->pool, buffers, BUFFERS));
	for (i = 0; i < BUFFERS; i++) {
		for (k = 0; k < i; k++)
			ASSERT_NE(buffers[k], buffers[i]);
	}
	ASSERT_EQ(BUFFERS, lfpool_put_bulk(self->pool, buffers, BUFFERS));
	lfpool_close(self->pool);
	EXPECT_TRUE(wait_until(stats(self->monitor).clients == 0, 20));
	EXPECT_EQ(0, stats(self->monitor).threads);
	lfpool_close(self->monitor);
	EXPECT_EQ(0, module_unload());
	EXPECT_STREQ("", module_traces());
}

/* A child that has taken @n buffers, stamped them with 1, 2, ..., and waits. */
static pid_t holder(unsigned int n, volatile uint64_t *handle)
{
	volatile bool *ready = shared_alloc(4096);
	pid_t pid = child_fork();

	if (!pid) {
		struct lfpool *pool = lfpool_open(POOL, 0);
		uint64_t made = 0;
		unsigned int i;
		void *buffer = NULL;

		child_assert(pool);
		for (i = 0; i < n; i++) {
			buffer = lfpool_get(pool);
			child_assert(buffer);
			stamp_write(buffer, SIZE, i + 1);
		}
		if (handle) {
			child_assert(!lfpool_export(pool, buffer, &made));
			*handle = made;
		}
		*ready = true;
		for (;;)
			pause();
	}
	if (pid > 0 && !wait_until(*ready, 20))
		pid = -1;
	munmap((void *)ready, 4096);
	return pid;
}

/*
 * Open and close
 */

TEST_F(life, open_close_storm)
{
	struct lfpool_info info, own;
	const int opens = rounds(200);
	uint64_t hits;
	int i;

	hits = stats(self->monitor).pool_hits;
	ASSERT_EQ(0, lfpool_info(self->pool, &own));
	for (i = 0; i < opens; i++) {
		struct lfpool *pool = lfpool_open(POOL, 0);

		ASSERT_NE(NULL, pool);
		ASSERT_EQ(0, lfpool_info(pool, &info));
		/* nobody has two names, nor two one name */
		ASSERT_NE(0, info.client);
		ASSERT_NE(own.client, info.client);
		ASSERT_EQ(0, lfpool_put(pool, lfpool_get(pool)));
		lfpool_close(pool);
	}
	EXPECT_TRUE(all_back(self->monitor));
	EXPECT_EQ(hits + opens, stats(self->monitor).pool_hits);
	EXPECT_EQ(0, stats(self->monitor).threads);
}

/* It has no buffers to wait for: poll() says so, and the library before it. */
TEST_F(life, monitor_is_not_for_poll)
{
	struct pollfd p = { .events = POLLIN };

	EXPECT_EQ(-EBADF, lfpool_fd(self->monitor));
	EXPECT_LE(0, lfpool_fd(self->pool));
	p.fd = node_open(POOL, O_RDONLY);
	ASSERT_LE(0, p.fd);
	EXPECT_EQ(1, poll(&p, 1, 0));
	EXPECT_EQ(POLLERR, p.revents);
	close(p.fd);
}

TEST_F(life, open_without_mapping_storm)
{
	int i, fd[64];

	for (i = 0; i < 500; i++) {
		fd[0] = node_open(POOL, i % 2 ? O_RDWR : O_RDONLY);
		ASSERT_LE(0, fd[0]);
		close(fd[0]);
	}
	for (i = 0; i < 64; i++) {
		fd[i] = node_open(POOL, O_RDWR);
		ASSERT_LE(0, fd[i]);
	}
	EXPECT_EQ(1, stats(self->monitor).clients);
	for (i = 0; i < 64; i++)
		close(fd[i]);
}

TEST_F_TIMEOUT(life, processes_come_and_go, 120)
{
	/* of each process, an even number */
	const int opens = 2 * rounds(25);
	pid_t pid[4];
	int i, k;

	for (i = 0; i < 4; i++) {
		pid[i] = child_fork();
		if (pid[i])
			continue;
		for (k = 0; k < opens; k++) {
			struct lfpool *pool = lfpool_open(POOL, 0);
			void *buffers[8];

			child_assert(pool);
			child_assert(lfpool_get_bulk(pool, buffers, 8) == 8);
			/* half of them in order, half as a crash would */
			if (k % 2)
				child_assert(lfpool_put_bulk(pool, buffers, 8) == 8);
			lfpool_close(pool);
		}
		_exit(0);
	}
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	EXPECT_TRUE(all_back(self->monitor));
	EXPECT_EQ(4 * opens * 8, stats(self->monitor).pool_hits);
	EXPECT_EQ(4 * opens * 4, stats(self->monitor).deallocations);
	EXPECT_LE(4 * opens * 4, stats(self->monitor).reclaimed);
}

static void *attach_storm(void *arg)
{
	const struct client *c = arg;
	intptr_t bad = 0;
	int i, slot;

	for (i = 0; i < 500; i++) {
		slot = do_attach(c->fd);
		if (slot < 0 || client_slot(c, slot)->n || client_slot(c, slot)->busy ||
		    __sync_fetch_and_add(&client_slot(c, slot)->reserved[0], 1)) {
			bad++;
			continue;
		}
		__sync_fetch_and_sub(&client_slot(c, slot)->reserved[0], 1);
		if (do_detach(c->fd, slot))
			bad++;
	}
	return (void *)bad;
}

/* No slot is given to two threads. */
TEST_F_TIMEOUT(life, attach_storm, 120)
{
	pthread_t thread[4];
	struct client c;
	void *bad;
	int i;

	ASSERT_EQ(0, client_open(&c, POOL));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, attach_storm, &c));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], &bad));
		EXPECT_EQ(NULL, bad);
	}
	EXPECT_EQ(0, stats(self->monitor).threads);
	client_close(&c);
}

TEST_F(life, close_gives_back_what_is_held)
{
	struct lfpool *pool = lfpool_open(POOL, 0);
	void *buffers[7];

	ASSERT_NE(NULL, pool);
	ASSERT_EQ(7, lfpool_get_bulk(pool, buffers, 7));
	EXPECT_EQ(7, stats(self->monitor).in_use);
	EXPECT_EQ(2, stats(self->monitor).clients);
	lfpool_close(pool);
	EXPECT_TRUE(all_back(self->monitor));
}

/* Two handles of one process are two clients: what one holds the other cannot put. */
TEST_F(life, two_handles_are_two_clients)
{
	struct lfpool *pool = lfpool_open(POOL, 0);
	void *buffer, *moved;
	uint64_t handle;

	ASSERT_NE(NULL, pool);
	EXPECT_EQ(2, stats(self->monitor).clients);
	buffer = lfpool_get(pool);
	ASSERT_NE(NULL, buffer);
	stamp_write(buffer, SIZE, 1);
	EXPECT_EQ(-EINVAL, lfpool_put(self->pool, buffer));
	ASSERT_EQ(0, lfpool_export(pool, buffer, &handle));
	moved = lfpool_import(self->pool, handle);
	ASSERT_NE(NULL, moved);
	EXPECT_TRUE(stamp_check(moved, SIZE, 1));
	lfpool_close(pool);
	EXPECT_TRUE(wait_until(stats(self->monitor).clients == 1, 20));
	/* its death takes nothing from us */
	EXPECT_EQ(1, stats(self->monitor).in_use);
	EXPECT_TRUE(stamp_check(moved, SIZE, 1));
	EXPECT_EQ(0, lfpool_put(self->pool, moved));
}

/* The file may go before the mapping: it is the mapping that counts. */
TEST_F(life, closed_file_keeps_its_mapping)
{
	uint32_t items[3];
	struct client c;
	int fd;

	ASSERT_EQ(0, client_open(&c, POOL));
	ASSERT_EQ(3, do_refill(c.fd, 0, items, 3));
	stamp_write(client_buffer(&c, items[0]), SIZE, 1);
	fd = c.fd;
	close(fd);
	EXPECT_EQ(2, stats(self->monitor).clients);
	EXPECT_EQ(3, stats(self->monitor).in_use);
	EXPECT_TRUE(stamp_check(client_buffer(&c, items[0]), SIZE, 1));
	EXPECT_EQ(-EWOULDBLOCK, module_unload());
	ASSERT_EQ(0, munmap(c.map, c.info.mmap_size));
	EXPECT_TRUE(all_back(self->monitor));
	EXPECT_EQ(3, stats(self->monitor).reclaimed);
}

TEST_F(life, open_is_refused)
{
	static const char * const invalid[] = {
		"", "/", ".", "..", "a/b", "../lfpool/simd", "0123456789abcdef0123456789abcdef"
	};
	pid_t pid;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(invalid); i++) {
		EXPECT_EQ(NULL, lfpool_open(invalid[i], 0));
		EXPECT_EQ(EINVAL, errno) {
			TH_LOG("'%s'", invalid[i]);
		}
	}
	EXPECT_EQ(NULL, lfpool_open(NULL, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, lfpool_open("nosuchpool", 0));
	EXPECT_EQ(ENOENT, errno);
	for (i = 5; i < 32; i++) {
		EXPECT_EQ(NULL, lfpool_open(POOL, 1U << i));
		EXPECT_EQ(EINVAL, errno);
	}
	pid = child_fork();
	if (!pid) {
		child_assert(!setgroups(0, NULL) && !setgid(65534) && !setuid(65534));
		child_assert(!lfpool_open(POOL, 0));
		child_assert(errno == EACCES);
		_exit(0);
	}
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_EQ(1, stats(self->monitor).clients);
}

TEST_F(life, monitor_touches_nothing)
{
	struct lfpool_stats before = stats(self->monitor), after;
	struct lfpool_counts counts;
	uint64_t handle;
	char local[64];

	EXPECT_EQ(NULL, lfpool_get(self->monitor));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(NULL, lfpool_attach(self->monitor));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(NULL, lfpool_import(self->monitor, 0));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-EBADF, lfpool_put(self->monitor, local));
	EXPECT_EQ(-EBADF, lfpool_export(self->monitor, local, &handle));
	EXPECT_EQ(-EBADF, lfpool_prefill(self->monitor, 1));
	EXPECT_EQ(-EBADF, lfpool_reset_stats(self->monitor));
	EXPECT_EQ(0, lfpool_counts(self->monitor, &counts));
	EXPECT_EQ(BUFFERS, counts.capacity);
	after = stats(self->monitor);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(after)));
}

/*
 * fork
 */

static void use_inherited(struct lfpool *pool, struct lfpool_thread *thread, void *held,
			  void *cached)
{
	struct lfpool_stats s;
	uint64_t handle;
	void *p = held;

	child_assert(!lfpool_get(pool) && errno == ESTALE);
	child_assert(!lfpool_thread_get(thread) && errno == ESTALE);
	child_assert(lfpool_put(pool, held) == -ESTALE);
	child_assert(lfpool_put(pool, cached) == -ESTALE);
	child_assert(lfpool_thread_put(thread, held) == -ESTALE);
	child_assert(!lfpool_get_bulk(pool, &p, 1) && errno == ESTALE);
	child_assert(!lfpool_put_bulk(pool, &p, 1) && errno == ESTALE);
	child_assert(!lfpool_get_wait(pool, 0) && errno == ESTALE);
	child_assert(!lfpool_attach(pool) && errno == ESTALE);
	child_assert(lfpool_export(pool, held, &handle) == -ESTALE);
	child_assert(!lfpool_import(pool, 0) && errno == ESTALE);
	child_assert(lfpool_prefill(pool, 1) == -ESTALE);
	child_assert(lfpool_reset_stats(pool) == -ESTALE);
	child_assert(lfpool_stats(pool, &s) == -ESTALE);
}

TEST_F(life, inherited_pool_is_estale)
{
	struct lfpool_thread *thread = lfpool_attach(self->pool);
	struct lfpool_stats before, after;
	void *held, *cached;
	int close_it;
	pid_t pid;

	ASSERT_NE(NULL, thread);
	held = lfpool_get(self->pool);
	cached = lfpool_get(self->pool);
	ASSERT_NE(NULL, held);
	ASSERT_NE(NULL, cached);
	ASSERT_EQ(0, lfpool_put(self->pool, cached));
	stamp_write(held, SIZE, 1);
	before = stats(self->monitor);
	EXPECT_EQ(1, before.in_use);
	for (close_it = 0; close_it < 2; close_it++) {
		pid = child_fork();
		if (!pid) {
			use_inherited(self->pool, thread, held, cached);
			if (close_it)
				lfpool_close(self->pool);
			_exit(0);
		}
		EXPECT_EQ(0, child_wait(pid));
		after = stats(self->monitor);
		EXPECT_EQ(0, memcmp(&before, &after, sizeof(after)));
	}
	/* the parent is none the worse */
	EXPECT_TRUE(stamp_check(held, SIZE, 1));
	EXPECT_EQ(cached, lfpool_get(self->pool));
	EXPECT_EQ(0, lfpool_put(self->pool, cached));
	EXPECT_EQ(0, lfpool_put(self->pool, held));
}

/* ... and lfpool_open() works as ever, also where the parent's mapping was. */
TEST_F(life, child_may_open_anew)
{
	void *held = lfpool_get(self->pool);
	uint64_t handle;
	pid_t pid;

	ASSERT_NE(NULL, held);
	stamp_write(held, SIZE, 1);
	ASSERT_EQ(0, lfpool_export(self->pool, held, &handle));
	pid = child_fork();
	if (!pid) {
		struct lfpool *own = lfpool_open(POOL, 0);
		void *buffers[10], *taken;
		pid_t grandchild;

		child_assert(own);
		child_assert(lfpool_get_bulk(own, buffers, 10) == 10);
		child_assert(stats(own).in_use == 11);
		child_assert(stats(own).clients == 2);
		child_assert(lfpool_put_bulk(own, buffers, 10) == 10);
		/* the inherited one is still what it was, even beside a good one */
		child_assert(!lfpool_get(self->pool) && errno == ESTALE);
		lfpool_close(self->pool);
		child_assert(lfpool_get_bulk(own, buffers, 10) == 10);
		grandchild = child_fork();
		if (!grandchild) {
			struct lfpool *third;

			child_assert(!lfpool_get(own) && errno == ESTALE);
			third = lfpool_open(POOL, 0);
			child_assert(third);
			child_assert(!lfpool_put(third, lfpool_get(third)));
			lfpool_close(third);
			lfpool_close(own);
			_exit(0);
		}
		child_assert(!child_wait(grandchild));
		child_assert(lfpool_put_bulk(own, buffers, 10) == 10);
		taken = lfpool_import(own, handle);
		child_assert(taken && stamp_check(taken, SIZE, 1));
		child_assert(!lfpool_put(own, taken));
		lfpool_close(own);
		_exit(0);
	}
	EXPECT_EQ(0, child_wait(pid));
	/* it is not ours any more */
	EXPECT_EQ(-ESTALE, lfpool_put(self->pool, held));
	EXPECT_EQ(0, lfpool_put(self->pool, lfpool_get(self->pool)));
}

struct runner {
	pthread_t thread;
	struct lfpool *pool;
	bool *stop;
	uint64_t rounds;
	unsigned int bad;
};

static void *run(void *arg)
{
	struct runner *r = arg;
	void *buffers[6];
	unsigned int i, n;

	while (!__atomic_load_n(r->stop, __ATOMIC_RELAXED)) {
		n = lfpool_get_bulk(r->pool, buffers, 6);
		if (n < 6 && errno != ENOBUFS)
			r->bad++;
		for (i = 0; i < n; i++)
			*(volatile uintptr_t *)buffers[i] = (uintptr_t)r + i;
		for (i = 0; i < n; i++)
			r->bad += *(volatile uintptr_t *)buffers[i] != (uintptr_t)r + i;
		for (i = 0; i < n; i++)
			r->bad += !!lfpool_put(r->pool, buffers[i]);
		r->rounds++;
	}
	return NULL;
}

static void start_runners(struct __test_metadata *_metadata, struct runner *r, int n,
			  struct lfpool *pool, bool *stop)
{
	int i;

	*stop = false;
	for (i = 0; i < n; i++) {
		r[i] = (struct runner) { .pool = pool, .stop = stop };
		ASSERT_EQ(0, pthread_create(&r[i].thread, NULL, run, &r[i]));
	}
}

static void stop_runners(struct __test_metadata *_metadata, struct runner *r, int n, bool *stop)
{
	int i;

	__atomic_store_n(stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, pthread_join(r[i].thread, NULL));
		EXPECT_EQ(0, r[i].bad);
		EXPECT_LT(0, r[i].rounds);
	}
}

/* Wherever the other threads are just then, in a lock too, the child can go on. */
TEST_F_TIMEOUT(life, fork_while_threads_run, 120)
{
	struct runner r[3];
	pid_t pid;
	bool stop;
	int i;

	start_runners(_metadata, r, 3, self->pool, &stop);
	/* what the child closes makes a cycle of six */
	for (i = 0; i < 6 * rounds(7); i++) {
		pid = child_fork();
		if (!pid) {
			struct lfpool *own;
			void *buffer;

			child_assert(!lfpool_get(self->pool) && errno == ESTALE);
			own = lfpool_open(POOL, 0);
			child_assert(own);
			buffer = lfpool_get(own);
			child_assert(buffer && !lfpool_put(own, buffer));
			if (i % 2)
				lfpool_close(self->pool);
			if (i % 3)
				lfpool_close(own);
			_exit(0);
		}
		ASSERT_EQ(0, child_wait(pid));
	}
	stop_runners(_metadata, r, 3, &stop);
}

/*
 * The ways to end
 */

/* Common end of the tests below: one client with @held has gone. */
static void expect_reclaimed(struct __test_metadata *_metadata, struct lfpool *monitor,
			     const struct lfpool_stats *before, unsigned int held)
{
	struct lfpool_stats after;

	EXPECT_EQ(held, before->in_use);
	EXPECT_EQ(2, before->clients);
	EXPECT_EQ(1, before->threads);
	EXPECT_TRUE(all_back(monitor));
	after = stats(monitor);
	/* what it held, and what its cache held */
	EXPECT_EQ(before->reclaimed + held + before->cached, after.reclaimed);
	EXPECT_EQ(0, after.threads);
	EXPECT_EQ(0, after.cached);
	EXPECT_EQ(BUFFERS, after.available);
	EXPECT_EQ(before->pool_hits, after.pool_hits);
	EXPECT_EQ(before->deallocations, after.deallocations);
}

TEST_F(life, killed_holder_gives_back)
{
	struct lfpool_stats before;
	pid_t pid = holder(21, NULL);

	ASSERT_LT(0, pid);
	before = stats(self->monitor);
	/* its cache is not empty: 21 is not a number of batches */
	EXPECT_LT(0, before.cached);
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	expect_reclaimed(_metadata, self->monitor, &before, 21);
}

TEST_F(life, crashed_holder_gives_back)
{
	struct lfpool_stats before;
	pid_t pid = holder(5, NULL);

	ASSERT_LT(0, pid);
	before = stats(self->monitor);
	kill(pid, SIGSEGV);
	EXPECT_EQ(128 + SIGSEGV, child_wait(pid));
	expect_reclaimed(_metadata, self->monitor, &before, 5);
}

TEST_F(life, exit_without_close_gives_back)
{
	struct lfpool_stats before;
	volatile bool *go = shared_alloc(4096);
	pid_t pid;

	ASSERT_NE(NULL, go);
	pid = child_fork();
	if (!pid) {
		struct lfpool *pool = lfpool_open(POOL, 0);
		int i;

		child_assert(pool);
		for (i = 0; i < 10; i++)
			child_assert(lfpool_get(pool));
		*go = true;
		while (*go)
			usleep(1000);
		exit(0);
	}
	ASSERT_TRUE(wait_until(*go, 20));
	before = stats(self->monitor);
	*go = false;
	EXPECT_EQ(0, child_wait(pid));
	expect_reclaimed(_metadata, self->monitor, &before, 10);
}

TEST_F(life, exit_while_threads_run)
{
	pid_t pid;
	int i;

	for (i = 0; i < (int)rounds(5); i++) {
		pid = child_fork();
		if (!pid) {
			struct runner r[4];
			bool stop = false;
			int k;

			for (k = 0; k < 4; k++) {
				r[k] = (struct runner) { .stop = &stop };
				r[k].pool = k ? r[0].pool : lfpool_open(POOL, 0);
				child_assert(r[k].pool);
				child_assert(!pthread_create(&r[k].thread, NULL, run, &r[k]));
			}
			usleep(20000);
			exit(0);
		}
		EXPECT_EQ(0, child_wait(pid));
		EXPECT_TRUE(all_back(self->monitor));
		expect_quiet(_metadata, self->monitor, BUFFERS);
	}
}

/* The new program has nothing of it, and does not know. */
TEST_F(life, exec_gives_back)
{
	struct lfpool_stats before;
	volatile bool *go = shared_alloc(4096);
	pid_t pid;

	ASSERT_NE(NULL, go);
	pid = child_fork();
	if (!pid) {
		struct lfpool *pool = lfpool_open(POOL, 0);
		int i;

		child_assert(pool);
		for (i = 0; i < 9; i++)
			child_assert(lfpool_get(pool));
		*go = true;
		while (*go)
			usleep(1000);
		execlp("sleep", "sleep", "1000", NULL);
		_exit(127);
	}
	ASSERT_TRUE(wait_until(*go, 20));
	before = stats(self->monitor);
	*go = false;
	expect_reclaimed(_metadata, self->monitor, &before, 9);
	/* it lives, and did not fail to start */
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
}

/* Whoever asks when all that is free was a dead client's waits for its burial. */
TEST_F_TIMEOUT(life, buffers_of_the_dead_count_as_free, 120)
{
	uint32_t items[BUFFERS];
	struct client c, other;
	int i, got;

	ASSERT_EQ(0, client_open(&c, POOL));
	for (i = 0; i < (int)(10 * rounds(20)); i++) {
		ASSERT_EQ(0, client_open(&other, POOL));
		for (got = 0; got < (int)BUFFERS; got += do_refill(other.fd, 0, items, BUFFERS))
			;
		EXPECT_EQ(-ENOBUFS, do_refill(c.fd, 0, items, 1));
		client_close(&other);
		ASSERT_EQ(1, do_refill(c.fd, 0, items, 1)) {
			TH_LOG("time %d", i);
		}
		ASSERT_EQ(1, do_release(c.fd, 0, items, 1));
		/* the rest of them, too, for the next time */
		ASSERT_TRUE(wait_until(stats(self->monitor).clients == 2, 20));
	}
	client_close(&c);
}

/* A handle dies with the one who gave it. */
TEST_F(life, handle_of_the_dead_is_estale)
{
	volatile uint64_t *handle = shared_alloc(4096);
	pid_t pid;

	ASSERT_NE(NULL, handle);
	pid = holder(3, handle);
	ASSERT_LT(0, pid);
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	EXPECT_TRUE(all_back(self->monitor));
	EXPECT_EQ(NULL, lfpool_import(self->pool, *handle));
	EXPECT_EQ(ESTALE, errno);
}

/* ... but what was imported before is the receiver's. */
TEST_F(life, imported_buffer_survives_its_sender)
{
	volatile uint64_t *handle = shared_alloc(4096);
	void *buffer;
	pid_t pid;

	ASSERT_NE(NULL, handle);
	pid = holder(3, handle);
	ASSERT_LT(0, pid);
	buffer = lfpool_import(self->pool, *handle);
	ASSERT_NE(NULL, buffer);
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	EXPECT_TRUE(wait_until(stats(self->monitor).clients == 1, 20));
	EXPECT_EQ(1, stats(self->monitor).in_use);
	EXPECT_TRUE(stamp_check(buffer, SIZE, 3));
	EXPECT_EQ(0, lfpool_put(self->pool, buffer));
}

/* A stopped process delays nobody, and keeps what it has. */
TEST_F(life, stopped_holder_keeps_its_buffers)
{
	void *buffers[BUFFERS];
	struct lfpool_stats s;
	unsigned int n;
	pid_t pid;

	pid = holder(10, NULL);
	ASSERT_LT(0, pid);
	kill(pid, SIGSTOP);
	ASSERT_TRUE(waitpid(pid, NULL, WUNTRACED) == pid);
	s = stats(self->monitor);
	/* all but what it holds; what it caches can be had */
	n = lfpool_get_bulk(self->pool, buffers, BUFFERS);
	EXPECT_EQ(BUFFERS - 10, n);
	EXPECT_EQ(ENOBUFS, errno);
	EXPECT_EQ(s.cached, stats(self->monitor).scavenged);
	EXPECT_EQ(n, lfpool_put_bulk(self->pool, buffers, n));
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
}

/*
 * Many at once
 */

TEST_F_TIMEOUT(life, many_holders_are_killed_at_once, 120)
{
	struct lfpool_stats before;
	pid_t pid[8];
	int i;

	for (i = 0; i < 8; i++) {
		pid[i] = holder(5 + i % 3, NULL);
		ASSERT_LT(0, pid[i]);
	}
	before = stats(self->monitor);
	EXPECT_EQ(9, before.clients);
	EXPECT_EQ(8, before.threads);
	EXPECT_EQ(5 + 6 + 7 + 5 + 6 + 7 + 5 + 6, before.in_use);
	for (i = 0; i < 8; i++)
		kill(pid[i], SIGKILL);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(128 + SIGKILL, child_wait(pid[i]));
	EXPECT_TRUE(all_back(self->monitor));
	EXPECT_EQ(before.reclaimed + before.in_use + before.cached,
		  stats(self->monitor).reclaimed);
	EXPECT_EQ(0, stats(self->monitor).threads);
}

/* What victims and survivors share. Names are never used twice. */
struct field {
	uint32_t stop;
	uint32_t running;
	uint32_t dead[64];
	struct owners *owners;
};

struct fighter {
	pthread_t thread;
	struct lfpool *pool;
	struct field *field;
	uint32_t name;
	unsigned int bad;
};

/* Of nobody, or of one that has been killed: its table entry died with it. */
static bool inherit(struct field *f, uint32_t item, uint32_t name)
{
	uint32_t found;

	if (item >= f->owners->count)
		return false;
	found = __atomic_exchange_n(&f->owners->name[item], name, __ATOMIC_SEQ_CST);
	return !found || (found < ARRAY_SIZE(f->dead) &&
			  __atomic_load_n(&f->dead[found], __ATOMIC_SEQ_CST));
}

static void *fight(void *arg)
{
	struct fighter *x = arg;
	struct field *f = x->field;
	unsigned int i, n, round = 0;
	void *buffers[3];

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		for (n = 0; n < 3; n++) {
			buffers[n] = lfpool_get(x->pool);
			if (!buffers[n])
				break;
			if (!inherit(f, buffer_index(x->pool, buffers[n]), x->name)) {
				x->bad++;
				fprintf(stderr, "# %u got a buffer that somebody has\n", x->name);
			}
			stamp_write(buffers[n], SIZE, x->name);
		}
		if (!n && errno != ENOBUFS)
			x->bad++;
		if (!(round++ % 8))
			sched_yield();
		for (i = 0; i < n; i++) {
			if (!stamp_check(buffers[i], SIZE, x->name))
				x->bad++;
			if (!owners_move(f->owners, buffer_index(x->pool, buffers[i]), x->name, 0))
				x->bad++;
			if (lfpool_put(x->pool, buffers[i]))
				x->bad++;
		}
	}
	return NULL;
}

/* A process of two threads, which are one name and one more. */
static pid_t fighters(struct field *f, uint32_t name)
{
	struct fighter x[2];
	struct lfpool *pool;
	pid_t pid;
	int i;

	pid = child_fork();
	if (pid)
		return pid;
	pool = lfpool_open(POOL, 0);
	child_assert(pool);
	for (i = 0; i < 2; i++) {
		x[i] = (struct fighter) { .pool = pool, .field = f, .name = name + i };
		child_assert(!pthread_create(&x[i].thread, NULL, fight, &x[i]));
	}
	__atomic_fetch_add(&f->running, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < 2; i++)
		pthread_join(x[i].thread, NULL);
	lfpool_close(pool);
	_exit(x[0].bad || x[1].bad);
}

#define VICTIMS	4
#define WAVES	6

TEST_F_TIMEOUT(life, kill_many_while_others_run, 120)
{
	struct field *f = shared_alloc(sizeof(*f));
	pid_t survivor[2], victim[VICTIMS];
	uint32_t name = 1;
	int i, wave;

	ASSERT_NE(NULL, f);
	f->owners = owners_new(BUFFERS);
	ASSERT_NE(NULL, f->owners);
	for (i = 0; i < 2; i++, name += 2)
		survivor[i] = fighters(f, name);
	for (wave = 0; wave < rounds(WAVES); wave++) {
		uint32_t first = name;

		for (i = 0; i < VICTIMS; i++, name += 2) {
			victim[i] = fighters(f, name);
			ASSERT_LT(0, victim[i]);
		}
		ASSERT_TRUE(wait_until(__atomic_load_n(&f->running, __ATOMIC_SEQ_CST) ==
				       2U + (wave + 1) * VICTIMS, 30));
		usleep(20000);
		while (first < name)
			__atomic_store_n(&f->dead[first++], 1, __ATOMIC_SEQ_CST);
		for (i = 0; i < VICTIMS; i++)
			kill(victim[i], SIGKILL);
		for (i = 0; i < VICTIMS; i++)
			EXPECT_EQ(128 + SIGKILL, child_wait(victim[i]));
	}
	ASSERT_GE(ARRAY_SIZE(f->dead), name);
	EXPECT_TRUE(wait_until(stats(self->monitor).clients == 3, 20));
	__atomic_store_n(&f->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, child_wait(survivor[i]));
	EXPECT_EQ(0, f->owners->faults);
}

/*
 * Files in strange hands
 */

/* Who has the file only cannot keep the client alive. */
TEST_F(life, passed_file_outlives_its_client)
{
	volatile bool *ready = shared_alloc(4096);
	struct lfpool_info info;
	uint32_t items[6];
	int pair[2], fd;
	pid_t pid;

	ASSERT_NE(NULL, ready);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = child_fork();
	if (!pid) {
		struct client c;

		child_assert(!client_open(&c, POOL));
		child_assert(do_attach(c.fd) >= 0);
		child_assert(do_refill(c.fd, 0, items, 6) == 6);
		child_assert(!fd_send(pair[1], c.fd));
		*ready = true;
		for (;;)
			pause();
	}
	fd = fd_receive(pair[0]);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(wait_until(*ready, 20));
	EXPECT_EQ(6, stats(self->monitor).in_use);
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	EXPECT_TRUE(all_back(self->monitor));
	EXPECT_EQ(6, stats(self->monitor).reclaimed);
	EXPECT_EQ(0, stats(self->monitor).threads);

	/* what is left is a file that looks, and is no client, nor becomes one */
	EXPECT_EQ(0, do_info(fd, &info));
	EXPECT_EQ(-EBUSY, do_attach(fd));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, info.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
				   fd, 0));
	EXPECT_EQ(EBUSY, errno);
	close(fd);
}

/*
 * MADV_DOFORK: a child has a copy of the mapping. Nothing comes back as long as
 * it could still be written through that.
 */
TEST_F(life, forked_mapping_keeps_the_buffers)
{
	struct shared { bool ready, look, seen; } volatile *shared = shared_alloc(4096);
	struct client other;
	uint32_t items[5];
	int status;
	pid_t pid;

	ASSERT_NE(NULL, shared);
	/* the grandchild is ours to wait for, when its parent is gone */
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	pid = child_fork();
	if (!pid) {
		struct client c;
		int i;

		child_assert(!client_open(&c, POOL));
		child_assert(do_refill(c.fd, 0, items, 5) == 5);
		for (i = 0; i < 5; i++)
			stamp_write(client_buffer(&c, items[i]), SIZE, i);
		child_assert(!madvise(c.map, c.info.mmap_size, MADV_DOFORK));
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, 0);
			/* another process: it has the memory, but no say */
			child_assert(do_attach(c.fd) == -EBUSY);
			shared->ready = true;
			child_assert(wait_until(shared->look, 20));
			for (i = 0; i < 5; i++)
				child_assert(stamp_check(client_buffer(&c, items[i]), SIZE, i));
			shared->seen = true;
			child_assert(wait_until(!shared->look, 20));
			_exit(77);
		}
		for (;;)
			pause();
	}
	ASSERT_TRUE(wait_until(shared->ready, 20));
	EXPECT_EQ(5, stats(self->monitor).in_use);
	EXPECT_EQ(2, stats(self->monitor).clients);
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));

	/* somebody else dies later and is buried: so would that one be by now */
	ASSERT_EQ(0, client_open(&other, POOL));
	ASSERT_EQ(3, do_refill(other.fd, 0, items, 3));
	client_close(&other);
	/* it is counted until all that it had is */
	EXPECT_TRUE(wait_until(stats(self->monitor).clients == 2, 20));
	EXPECT_EQ(3, stats(self->monitor).reclaimed);
	EXPECT_EQ(5, stats(self->monitor).in_use);
	shared->look = true;
	EXPECT_TRUE(wait_until(shared->seen, 20));

	shared->look = false;
	ASSERT_LT(0, wait(&status));
	EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 77);
	EXPECT_TRUE(all_back(self->monitor));
	EXPECT_EQ(8, stats(self->monitor).reclaimed);
}

/*
 * The module
 */

TEST_F(life, unload_is_refused_while_in_use)
{
	struct lfpool *pool = self->pool;
	void *buffer;
	int fd;

	buffer = lfpool_get(pool);
	ASSERT_NE(NULL, buffer);
	stamp_write(buffer, SIZE, 1);
	EXPECT_EQ(-EWOULDBLOCK, module_unload());
	/* it was not half unloaded */
	EXPECT_STREQ("module class nodes ", module_traces());
	EXPECT_TRUE(stamp_check(buffer, SIZE, 1));
	EXPECT_EQ(0, lfpool_put(pool, buffer));
	EXPECT_EQ(BUFFERS, sysfs_u64(POOL, "available"));
	fd = node_open("simd", O_RDONLY);
	ASSERT_LE(0, fd);
	close(fd);

	/* an open file is use enough */
	lfpool_close(pool);
	lfpool_close(self->monitor);
	fd = node_open("simd", O_RDONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EWOULDBLOCK, module_unload());
	close(fd);
	EXPECT_EQ(0, module_unload());
	EXPECT_STREQ("", module_traces());
	EXPECT_EQ(NULL, lfpool_open(POOL, 0));
	EXPECT_EQ(ENOENT, errno);

	ASSERT_EQ(0, module_load(ARGS));
	self->pool = lfpool_open(POOL, 0);
	ASSERT_NE(NULL, self->pool);
	self->monitor = lfpool_open(POOL, LFPOOL_OPEN_RDONLY);
	ASSERT_NE(NULL, self->monitor);
}

/* Nothing is left to do when the last client has just gone. */
TEST_F_TIMEOUT(life, unload_right_after_a_death, 120)
{
	pid_t pid;
	int i;

	lfpool_close(self->pool);
	lfpool_close(self->monitor);
	for (i = 0; i < rounds(10); i++) {
		pid = holder(20, NULL);
		ASSERT_LT(0, pid);
		EXPECT_EQ(-EWOULDBLOCK, module_unload());
		EXPECT_EQ(128 + SIGKILL, child_kill(pid));
		ASSERT_EQ(0, module_unload());
		ASSERT_STREQ("", module_traces());
		ASSERT_EQ(0, module_load(ARGS));
	}
	self->pool = lfpool_open(POOL, 0);
	ASSERT_NE(NULL, self->pool);
	self->monitor = lfpool_open(POOL, LFPOOL_OPEN_RDONLY);
	ASSERT_NE(NULL, self->monitor);
}

FIXTURE(module) {
};

FIXTURE_SETUP(module)
{
	if (module_traces()[0])
		ASSERT_EQ(0, module_unload());
}

FIXTURE_TEARDOWN(module)
{
	if (module_traces()[0])
		EXPECT_EQ(0, module_unload());
	EXPECT_STREQ("", module_traces());
}

/*
 * Pages that nobody uses: those that are free, and those that a CPU keeps to
 * hand, when all that can be dropped is dropped.
 */
static long free_pages(void)
{
	long pages, sum = 0;
	char line[256];
	FILE *f;

	sync();
	if (text_write(DROP_CACHES, "3"))
		return -1;
	f = fopen("/proc/zoneinfo", "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, " pages free %ld", &pages) == 1 ||
		    sscanf(line, " count: %ld", &pages) == 1)
			sum += pages;
	}
	fclose(f);
	return sum;
}

static void load_use_unload(struct __test_metadata *_metadata)
{
	static const char * const pools[] = { "serialization", "compression", "simd" };
	pid_t pid;
	size_t i;

	ASSERT_EQ(0, module_load("buffer_count=32"));
	for (i = 0; i < ARRAY_SIZE(pools); i++) {
		struct lfpool *pool = lfpool_open(pools[i], 0);
		void *buffers[40];
		unsigned int n;

		ASSERT_NE(NULL, pool);
		/* more than there are at first: it grows */
		n = lfpool_get_bulk(pool, buffers, 40);
		EXPECT_LE(32, n);
		EXPECT_EQ(n, lfpool_put_bulk(pool, buffers, n));
		lfpool_close(pool);
	}
	/* and one that is killed with something in its hands */
	pid = holder(10, NULL);
	ASSERT_LT(0, pid);
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	ASSERT_EQ(0, module_unload());
	ASSERT_STREQ("", module_traces());
}

/* What a kernel with KASAN may keep: there kmemleak looks for what is lost. */
static long quarantine_pages(void)
{
	return quarantine_kb() / (sysconf(_SC_PAGESIZE) / 1024);
}

#define LOADS	50

/*
 * The fewer loads, the less stands out of what the kernel does meanwhile: a few pages. Where
 * each takes longest there is kmemleak, too.
 */
static int loads_of(int n)
{
	if (debug_is("kasan"))
		return rounds(n);
	return round_step() > 1 ? n / 4 : n;
}

/*
 * Does @each leave fewer than half of @bound pages more in use, one page for each load?
 *
 * What a load and its clients allocate is pages (every buffer, the shared part, all tables of
 * some size), so whatever of that is forgotten each time is at least one; the kernel's own
 * caches, which grow and shrink by less, were filled by the loads before. Where they grow by as
 * much all the same, which they do not do for long, we look again: what is forgotten each
 * time is missing each time.
 */
static bool leaks_nothing(struct __test_metadata *_metadata,
			  void (*each)(struct __test_metadata *_metadata), long bound)
{
	const long kept = quarantine_pages();
	long before, after;
	bool met = false;
	int i;

	for (i = 0; i < 3 && !met; i++) {
		before = free_pages();
		ASSERT_LT(0, before);
		each(_metadata);
		/* the kernel frees some of it behind our back */
		met = wait_until((after = free_pages()) > before - (bound + 1) / 2 - kept, 10);
		TH_LOG("%ld pages were free before, %ld after %ld loads", before, after, bound);
	}
	return met;
}

static void good_loads(struct __test_metadata *_metadata)
{
	int i;

	for (i = 0; i < loads_of(LOADS); i++)
		load_use_unload(_metadata);
}

TEST_F_TIMEOUT(module, loads_leak_nothing, 120)
{
	int i;

	for (i = 0; i < 5; i++)
		load_use_unload(_metadata);
	EXPECT_TRUE(leaks_nothing(_metadata, good_loads, loads_of(LOADS)));
}

static const struct {
	const char *args;
	const char *pool;	/* which cannot be made */
} too_large[] = {
	{ "buffer_count=1048576", "serialization" },
	/* the first pool is there already, then the first two */
	{ "buffer_count=100000 serialization_size=64 compression_size=4194304", "compression" },
	{ "buffer_count=100000 serialization_size=64 compression_size=64 simd_elements=131072",
	  "simd" },
};

#define FAILED_LOADS	20

static void failed_loads(struct __test_metadata *_metadata)
{
	const int loads = loads_of(FAILED_LOADS);
	size_t k;
	int i;

	for (k = 0; k < ARRAY_SIZE(too_large); k++) {
		char line[512];
		int said = 0, kmsg = kmsg_open();

		ASSERT_LE(0, kmsg);
		for (i = 0; i < loads; i++) {
			ASSERT_EQ(-ENOMEM, module_load(too_large[k].args)) {
				TH_LOG("%s", too_large[k].args);
			}
			ASSERT_STREQ("", module_traces());
		}
		while (kmsg_line(kmsg, line, sizeof(line))) {
			if (strncmp(line, "lfpool", 6))
				continue;
			said++;
			EXPECT_NE(NULL, strstr(line, too_large[k].pool)) {
				TH_LOG("%s", line);
			}
		}
		EXPECT_EQ(loads, said);
		close(kmsg);
	}
}

TEST_F_TIMEOUT(module, failed_load_leaves_nothing, 120)
{
	size_t k;

	load_use_unload(_metadata);
	for (k = 0; k < ARRAY_SIZE(too_large); k++) {
		ASSERT_EQ(-ENOMEM, module_load(too_large[k].args));
		ASSERT_STREQ("", module_traces());
	}
	EXPECT_TRUE(leaks_nothing(_metadata, failed_loads,
				  ARRAY_SIZE(too_large) * loads_of(FAILED_LOADS)));
	/* the next one is none the worse */
	load_use_unload(_metadata);
}

LFPOOL_MODULE_MAIN
