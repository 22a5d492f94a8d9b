/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs of lfpool's selftests share: loading the module, nodes and
 * ioctls in the raw, sysfs, the kernel log, child processes, and two ways to
 * find a buffer that two threads have: the owner table and the stamp.
 *
 * None of it needs the library, but for the last part, which is for programs
 * that include lfpool.h first; uapi.c is built for 32 bits without it.
 */
#ifndef LFPOOL_TEST_H
#define LFPOOL_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/lfpool.h>

/* What the harness's macros do wherever they are used. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wsign-compare"
#ifndef __clang__
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wclobbered"
#endif
#endif
#pragma GCC diagnostic ignored "-Wpointer-to-int-cast"

#include "kselftest_harness.h"

/*
 * The environment: what a test takes its size and its patience from
 */

static inline uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoull(value, NULL, 0) : otherwise;
}

/*
 * LFPOOL_ROUNDS=N: of what is done over and over in the longest tests, or once for each
 * instruction or value, one time in N, for kernels where each takes many times as long.
 */
static inline unsigned int round_step(void)
{
	unsigned int n = setting("LFPOOL_ROUNDS", 1);

	return n ? n : 1;
}

static inline unsigned int rounds(unsigned int n)
{
	return (n + round_step() - 1) / round_step();
}

/*
 * LFPOOL_SLOW=N: things may take N times as long as on a quick machine that has
 * nothing else to do. So whoever waits has as much more patience.
 */
static inline unsigned int slow(void)
{
	unsigned int n = setting("LFPOOL_SLOW", 1);

	return n ? n : 1;
}

/* LFPOOL_DEBUG=kasan or kcsan: which debugging kernel this is */
static inline bool debug_is(const char *name)
{
	const char *value = getenv("LFPOOL_DEBUG");

	return value && !strcmp(value, name);
}

/*
 * The memory, in kB, that is not free though nobody has it. KASAN keeps what was
 * freed for a while, to see who uses it still, and remembers where each thing was
 * freed. What is lost there is kmemleak's to find, which such a kernel has as well.
 */
static inline long quarantine_kb(void)
{
	return debug_is("kasan") ? 65536 : 0;
}

/*
 * Time
 */

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* When @seconds are over that something may take, as nanoseconds. */
static inline uint64_t deadline_ns(unsigned int seconds)
{
	return now_ns() + seconds * 1000000000ULL * slow();
}

/*
 * Evaluate @condition until it is true or @seconds are over, or so many times
 * more on a slow kernel; the last result. For what another thread, process or
 * the module's worker has yet to do.
 */
#define wait_until(condition, seconds) ({				\
	uint64_t __end = deadline_ns(seconds);				\
	bool __met;							\
									\
	while (!(__met = !!(condition)) && now_ns() < __end)		\
		usleep(2000);						\
	__met;								\
})

/* A small generator of its own for each thread: never the same twice, no lock. */
static inline uint32_t random_next(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/*
 * Files of the kernel's, and what memory is free
 */

static inline int text_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : 0;
	close(fd);
	return n;
}

#define DROP_CACHES	"/proc/sys/vm/drop_caches"

/* Ask every shrinker for all it has; 0 or -errno. */
static inline int drop_slab(void)
{
	static bool quiet;

	/* not a line in the kernel log for each */
	if (!quiet)
		quiet = !text_write(DROP_CACHES, "4\n");
	return text_write(DROP_CACHES, "2\n");
}

static inline long free_kb(void)
{
	char line[128];
	long kb = -1;
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemFree: %ld", &kb) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kb;
}

/*
 * The module
 */

static inline const char *module_path(void)
{
	const char *path = getenv("LFPOOL_KO");

	return path ? path : "/lib/lfpool.ko";
}

/* insmod; 0 or -errno */
static inline int module_load(const char *args)
{
	int fd = open(module_path(), O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, args, 0) ? -errno : 0;
	close(fd);
	return ret;
}

/* rmmod; 0 or -errno, -EWOULDBLOCK while somebody uses it */
static inline int module_unload(void)
{
	return syscall(SYS_delete_module, "lfpool", O_NONBLOCK) ? -errno : 0;
}

/* What there is of it: nothing, or a list of names. */
static inline const char *module_traces(void)
{
	static char text[128];

	snprintf(text, sizeof(text), "%s%s%s",
		 access("/sys/module/lfpool", F_OK) ? "" : "module ",
		 access("/sys/class/lfpool", F_OK) ? "" : "class ",
		 access("/dev/lfpool", F_OK) ? "" : "nodes ");
	return text;
}

static inline bool module_gone(int *ret)
{
	*ret = module_unload();
	return !*ret || *ret == -ENOENT;
}

/* Load it afresh, whatever a test that failed has left. */
static inline int module_fresh(const char *args)
{
	int ret = 0;

	if (!access("/sys/module/lfpool", F_OK) && !wait_until(module_gone(&ret), 20))
		return ret;
	return module_load(args);
}

static inline int module_parameter(const char *name, char *text, size_t size)
{
	char path[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/module/lfpool/parameters/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	return 0;
}

/*
 * Which tests run, and for how long
 */

/* Is "fixture.test" one of a list with commas? */
static inline bool test_listed(const char *list, const struct __fixture_metadata *f,
			       const struct __test_metadata *t)
{
	char name[256];
	size_t len = snprintf(name, sizeof(name), "%s.%s", f->name, t->name);

	while (list) {
		if (!strncmp(list, name, len) && (!list[len] || list[len] == ','))
			return true;
		list = strchr(list, ',');
		list = list ? list + 1 : NULL;
	}
	return false;
}

/* In place of a test that is left out; a skip does not say which one it was. */
static inline void test_left_out(struct __test_metadata *t, struct __fixture_variant_metadata *v)
{
	t->skip = 1;
	snprintf(t->results->reason, sizeof(t->results->reason),
		 "%s%s%s.%s: left out, see run_tests()", t->fixture->name,
		 v->name[0] ? "." : "", v->name, t->name);
}

/*
 * Where rounds are left out, one in four does of what is built for 64 bits as well, as what
 * it calls is the same from the first line of the module on; and where KCSAN looks for races
 * on one processor, which has next to none, every other one, and other ones for 32 bits.
 */
static inline bool test_is_spared(unsigned int nr)
{
	if (round_step() == 1)
		return false;
	if (sizeof(long) == 4)
		return nr % 4 != 1;
	return debug_is("kcsan") && sysconf(_SC_NPROCESSORS_ONLN) == 1 && nr % 2;
}

/* A number of its own for each kernel that leaves rounds out: they take turns. */
static inline unsigned int turn(void)
{
	return debug_is("kasan") ? 0 : debug_is("kcsan") ? 1 : 2;
}

/*
 * Where rounds are left out, KASAN and KCSAN take turns with the variants of some fixtures,
 * which differ in how many or how large. All are for stock kernels.
 */
static inline bool variant_is_spared(const struct __fixture_metadata *f, unsigned int nr)
{
	static const char *const names[] = {
		"threads", "processes", "growth", "epoll", "checked", "storm", "geometry", "range",
	};
	unsigned int k;

	if (round_step() == 1 || turn() > 1)
		return false;
	for (k = 0; k < ARRAY_SIZE(names); k++) {
		if (!strcmp(names[k], f->name))
			return nr % 2 != turn();
	}
	return false;
}

/* What a program of its own accord leaves out: is @variant, the one of number @nr, of @f? */
typedef bool spares_fn(const struct __fixture_metadata *f, const void *variant, unsigned int nr);

static spares_fn *program_spares;

/* The tests, and what each does with a variant that is not left out. */
static struct test_body {
	struct __test_metadata *t;
	void (*fn)(struct __test_metadata *t, struct __fixture_variant_metadata *v);
} *test_bodies;

static inline void test_or_left_out(struct __test_metadata *t,
				    struct __fixture_variant_metadata *v)
{
	struct __fixture_variant_metadata *other;
	const struct test_body *body = test_bodies;
	unsigned int nr = 0;

	/* a test without variants is called with one that is on no list */
	for (other = t->fixture->variant; other && other != v; other = other->next)
		nr++;
	if (t->fixture->variant &&
	    (variant_is_spared(t->fixture, nr) ||
	     (program_spares && program_spares(t->fixture, v->data, nr)))) {
		test_left_out(t, v);
		return;
	}
	while (body->t != t)
		body++;
	body->fn(t, v);
}

/*
 * test_harness_run() of the tests that are asked for, each of which may take
 * longer on a slow kernel:
 *
 * LFPOOL_ONLY=fixture.test,...	of these alone; the others do not count
 * LFPOOL_NOT=fixture.test,...	not of these: they are skipped
 * LFPOOL_ROUNDS=N		nor, if N is more than one, of those of test_is_spared(), nor of
 *				variants of variant_is_spared() and of @spares, which may be NULL
 */
static inline int run_tests(int argc, char **argv, spares_fn *spares)
{
	const char *only = getenv("LFPOOL_ONLY"), *not = getenv("LFPOOL_NOT");
	struct __test_metadata *t, **link;
	struct __fixture_metadata *f;
	unsigned int left = 0;

	program_spares = spares;
	for (f = __fixture_list; f; f = f->next) {
		/* test_harness_run() goes by next only */
		for (link = &f->tests; (t = *link);) {
			if (only && *only && !test_listed(only, f, t)) {
				*link = t->next;
				continue;
			}
			test_bodies = realloc(test_bodies, (left + 1) * sizeof(*test_bodies));
			if (!test_bodies)
				ksft_exit_fail_msg("no memory for a list of tests\n");
			test_bodies[left] = (struct test_body){ t, t->fn };
			if (test_listed(not, f, t) || test_is_spared(left))
				t->fn = test_left_out;
			else
				t->fn = test_or_left_out;
			t->timeout *= slow();
			link = &t->next;
			left++;
		}
	}
	if (!left)
		ksft_exit_skip("LFPOOL_ONLY names none of these tests\n");
	return test_harness_run(argc, argv);
}

/*
 * main() of a program that loads the module itself: skips where it cannot.
 */
#define LFPOOL_MODULE_MAIN_SPARING(spares)				\
int main(int argc, char **argv)						\
{									\
	if (geteuid() || access(module_path(), R_OK))			\
		ksft_exit_skip("needs root and the module (LFPOOL_KO)\n"); \
	return run_tests(argc, argv, spares);				\
}

#define LFPOOL_MODULE_MAIN	LFPOOL_MODULE_MAIN_SPARING(NULL)

/*
 * Nodes and ioctls. All return what the call gives or -errno, and all poison
 * what the kernel is to fill in.
 */

#define POISON		0xcc
#define POISON32	0xccccccccU

static inline int node_open(const char *pool, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/lfpool/%s", pool);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static inline int do_ioctl(int fd, unsigned long command, void *argument)
{
	return ioctl(fd, command, argument) < 0 ? -errno : 0;
}

static inline int do_info(int fd, struct lfpool_info *info)
{
	memset(info, POISON, sizeof(*info));
	info->size = sizeof(*info);
	info->flags = 0;
	return do_ioctl(fd, LFPOOL_IOC_INFO, info);
}

static inline int do_stats(int fd, struct lfpool_stats *stats)
{
	memset(stats, POISON, sizeof(*stats));
	stats->size = sizeof(*stats);
	stats->flags = 0;
	return do_ioctl(fd, LFPOOL_IOC_STATS, stats);
}

static inline int do_audit(int fd, struct lfpool_audit *audit)
{
	memset(audit, POISON, sizeof(*audit));
	audit->size = sizeof(*audit);
	audit->flags = 0;
	return do_ioctl(fd, LFPOOL_IOC_AUDIT, audit);
}

static inline int do_reset(int fd)
{
	struct lfpool_plain plain = { .size = sizeof(plain) };

	return do_ioctl(fd, LFPOOL_IOC_RESET_STATS, &plain);
}

static inline int do_wake(int fd)
{
	struct lfpool_plain plain = { .size = sizeof(plain) };

	return do_ioctl(fd, LFPOOL_IOC_WAKE, &plain);
}

/* the slot, or -errno */
static inline int do_attach(int fd)
{
	struct lfpool_attach attach = { .size = sizeof(attach), .slot = POISON32 };
	int ret = do_ioctl(fd, LFPOOL_IOC_ATTACH, &attach);

	return ret ? ret : (int)attach.slot;
}

static inline int do_detach(int fd, uint32_t slot)
{
	struct lfpool_attach attach = { .size = sizeof(attach), .slot = slot };

	return do_ioctl(fd, LFPOOL_IOC_DETACH, &attach);
}

/* how many buffers came, or -errno; the rest of @items keeps its poison */
static inline int do_refill(int fd, uint32_t flags, uint32_t *items, uint32_t count)
{
	struct lfpool_xfer xfer = {
		.size = sizeof(xfer),
		.flags = flags,
		.count = count,
		.grown = POISON32,
		.items = (uintptr_t)items,
	};
	int ret;

	if (count <= LFPOOL_XFER_MAX)
		memset(items, POISON, count * sizeof(*items));
	ret = do_ioctl(fd, LFPOOL_IOC_REFILL, &xfer);
	return ret ? ret : (int)xfer.count;
}

/* how many buffers went, or -errno */
static inline int do_release(int fd, uint32_t flags, const uint32_t *items, uint32_t count)
{
	struct lfpool_xfer xfer = {
		.size = sizeof(xfer),
		.flags = flags,
		.count = count,
		.grown = 0,
		.items = (uintptr_t)items,
	};
	int ret = do_ioctl(fd, LFPOOL_IOC_RELEASE, &xfer);

	return ret ? ret : (int)xfer.count;
}

/* the buffer, or -errno */
static inline int do_wait(int fd, int64_t timeout_ns)
{
	struct lfpool_wait arg = {
		.size = sizeof(arg),
		.timeout_ns = timeout_ns,
		.item = POISON32,
		.grown = POISON32,
	};
	int ret = do_ioctl(fd, LFPOOL_IOC_WAIT, &arg);

	return ret ? ret : (int)arg.item;
}

/* Statistics as a monitor sees them; size 0 if it cannot. */
static inline struct lfpool_stats stats_of(const char *pool)
{
	struct lfpool_stats stats = { 0 };
	int fd = node_open(pool, O_RDONLY);

	if (fd < 0 || do_stats(fd, &stats))
		stats.size = 0;
	if (fd >= 0)
		close(fd);
	return stats;
}

static inline struct lfpool_audit audit_of(const char *pool)
{
	struct lfpool_audit audit = { 0 };
	int fd = node_open(pool, O_RDONLY);

	if (fd < 0 || do_audit(fd, &audit))
		audit.size = 0;
	if (fd >= 0)
		close(fd);
	return audit;
}

/* a client: an open file and its mapping */
struct client {
	int fd;
	struct lfpool_info info;
	unsigned char *map;
};

static inline int client_map(struct client *c)
{
	int ret = do_info(c->fd, &c->info);

	if (ret)
		return ret;
	c->map = mmap(NULL, c->info.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (c->map == MAP_FAILED)
		return -errno;
	return do_info(c->fd, &c->info);
}

static inline int client_open(struct client *c, const char *pool)
{
	int ret;

	c->map = MAP_FAILED;
	c->fd = node_open(pool, O_RDWR);
	if (c->fd < 0)
		return c->fd;
	ret = client_map(c);
	if (ret)
		close(c->fd);
	return ret;
}

static inline void client_close(struct client *c)
{
	if (c->map != MAP_FAILED)
		munmap(c->map, c->info.mmap_size);
	c->map = MAP_FAILED;
	close(c->fd);
}

static inline volatile struct lfpool_slot *client_slot(const struct client *c, uint32_t slot)
{
	return (void *)(c->map + c->info.slot_offset + (size_t)slot * c->info.slot_stride);
}

static inline volatile struct lfpool_desc *client_desc(const struct client *c, uint32_t item)
{
	return (void *)(c->map + c->info.desc_offset + (size_t)item * c->info.desc_stride);
}

static inline unsigned char *client_buffer(const struct client *c, uint32_t item)
{
	return c->map + c->info.data_offset + (size_t)item * c->info.stride;
}

static inline uint32_t word_owner(uint64_t word)
{
	return word & LFPOOL_WORD_OWNER;
}

static inline uint32_t word_generation(uint64_t word)
{
	return word >> LFPOOL_WORD_GEN_SHIFT;
}

/*
 * sysfs
 */

/* The whole file, newline and all; its length or -errno. */
static inline int sysfs_text(const char *pool, const char *name, char *text, size_t size)
{
	char path[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/class/lfpool/%s/%s", pool, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0)
		n = -errno;
	else
		text[n] = 0;
	close(fd);
	return n;
}

/* UINT64_MAX if it is not one decimal number on one line */
static inline uint64_t sysfs_u64(const char *pool, const char *name)
{
	unsigned long long value;
	char text[64], *end;

	if (sysfs_text(pool, name, text, sizeof(text)) <= 0 || text[0] < '0' || text[0] > '9')
		return UINT64_MAX;
	value = strtoull(text, &end, 10);
	return strcmp(end, "\n") ? UINT64_MAX : value;
}

/* -1 if it is not one number on one line */
static inline double sysfs_double(const char *pool, const char *name)
{
	char text[64], *end;
	double value;

	if (sysfs_text(pool, name, text, sizeof(text)) <= 0 || text[0] < '0' || text[0] > '9')
		return -1;
	value = strtod(text, &end);
	return strcmp(end, "\n") ? -1 : value;
}

/* 0 or -errno */
static inline int sysfs_write(const char *pool, const char *name, const char *text)
{
	char path[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/class/lfpool/%s/%s", pool, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : n == (ssize_t)strlen(text) ? 0 : -EIO;
	close(fd);
	return n;
}

/*
 * The kernel log
 */

/* From here on; -errno */
static inline int kmsg_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	lseek(fd, 0, SEEK_END);
	return fd;
}

/* The next line of the log, without its prefix; false at the end. */
static inline bool kmsg_line(int fd, char *line, size_t size)
{
	char record[8192], *text;
	ssize_t n;

	do {
		n = read(fd, record, sizeof(record) - 1);
	} while (n < 0 && errno == EPIPE);
	if (n <= 0)
		return false;
	record[n] = 0;
	text = strchr(record, ';');
	text = text ? text + 1 : record;
	text[strcspn(text, "\n")] = 0;
	snprintf(line, size, "%.*s", (int)size - 1, text);
	return true;
}

/*
 * Child processes
 */

/* fork(); the child dies with its parent */
static inline pid_t child_fork(void)
{
	pid_t parent = getpid();
	pid_t pid;

	fflush(stdout);
	fflush(stderr);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(99);
	}
	return pid;
}

/* What the child exited with, or 128 and the signal that ended it. */
static inline int child_wait(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline int child_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	return child_wait(pid);
}

/* EXPECT and ASSERT are for the test's own process; this is for its children. */
#define child_assert(condition) do {					\
	if (!(condition)) {						\
		fprintf(stderr, "# %s:%d: in a child: not true: %s (errno %d)\n", \
			__FILE__, __LINE__, #condition, errno);		\
		_exit(1);						\
	}								\
} while (0)

/* memory that children share with their parent, zeroed */
static inline void *shared_alloc(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static inline int fd_send(int socket, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(fd))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;

	memset(control, 0, sizeof(control));
	c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(socket, &msg, 0) == 1 ? 0 : -errno;
}

static inline int fd_receive(int socket)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	int fd;

	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -EIO;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return -EIO;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/*
 * Owner table: who has which buffer, by the word of those who have it. Whoever
 * gets a buffer writes its name there and must find the place empty; before it
 * puts the buffer it must find its own name. Two owners of one buffer cannot
 * both succeed.
 */
struct owners {
	uint32_t count;
	uint32_t faults;
	uint32_t name[];
};

static inline struct owners *owners_new(uint32_t count)
{
	struct owners *o = shared_alloc(sizeof(*o) + count * sizeof(o->name[0]));

	if (o)
		o->count = count;
	return o;
}

static inline bool owners_move(struct owners *o, uint32_t item, uint32_t from, uint32_t to)
{
	uint32_t found;

	if (item >= o->count) {
		__atomic_fetch_add(&o->faults, 1, __ATOMIC_SEQ_CST);
		fprintf(stderr, "# buffer %u of %u\n", item, o->count);
		return false;
	}
	found = __atomic_exchange_n(&o->name[item], to, __ATOMIC_SEQ_CST);
	if (found == from)
		return true;
	if (__atomic_fetch_add(&o->faults, 1, __ATOMIC_SEQ_CST) < 10)
		fprintf(stderr, "# buffer %u: %u takes over from %u, who is in fact %u\n",
			item, to, from, found);
	return false;
}

/*
 * Stamp: contents that only the owner could have written. All of a small
 * buffer; of a large one the first and last page and a word of each page
 * between, since a stamp is to cost less than what it watches.
 */
static inline size_t stamp_next(size_t at, size_t size)
{
	if (at < 4096 || at + 4096 >= size)
		return at + sizeof(uint64_t);
	at += 4096;
	return at + 4096 < size ? at : size - 4096;
}

static inline uint64_t stamp_word(uint64_t seed, size_t at)
{
	return (seed + at) * 0x9e3779b97f4a7c15ULL;
}

static inline void stamp_write(void *buffer, size_t size, uint64_t seed)
{
	size_t at;

	for (at = 0; at + sizeof(uint64_t) <= size; at = stamp_next(at, size))
		*(volatile uint64_t *)((char *)buffer + at) = stamp_word(seed, at);
}

static inline bool stamp_check(const void *buffer, size_t size, uint64_t seed)
{
	size_t at;

	for (at = 0; at + sizeof(uint64_t) <= size; at = stamp_next(at, size)) {
		uint64_t found = *(const volatile uint64_t *)((const char *)buffer + at);

		if (found != stamp_word(seed, at)) {
			fprintf(stderr, "# byte %zu: %#llx instead of %#llx\n", at,
				(unsigned long long)found,
				(unsigned long long)stamp_word(seed, at));
			return false;
		}
	}
	return true;
}

/*
 * The library
 */
#ifdef LFPOOL_H

/*
 * LFPOOL_EMBEDDED=1 in the environment: try the library's embedded back end
 * instead of the module, on any machine, for what makes sense there.
 */
static inline bool embedded(void)
{
	const char *value = getenv("LFPOOL_EMBEDDED");

	return value && !strcmp(value, "1");
}

/* main() of a program that can do without the module */
#define LFPOOL_LIBRARY_MAIN						\
int main(int argc, char **argv)						\
{									\
	if (!embedded() && (geteuid() || access(module_path(), R_OK)))	\
		ksft_exit_skip("needs root and the module, or LFPOOL_EMBEDDED=1\n"); \
	return run_tests(argc, argv, NULL);				\
}

/* Number of the buffer at an address; the calling thread attaches. */
static inline uint32_t buffer_index(struct lfpool *pool, const void *buffer)
{
	struct lfpool_thread *t = lfpool_attach(pool);

	return t ? ((const unsigned char *)buffer - t->data) >> t->shift : UINT32_MAX;
}

/* Nobody has a buffer, and none is missing. */
static inline void expect_quiet(struct __test_metadata *_metadata, struct lfpool *pool,
				uint64_t capacity)
{
	struct lfpool_counts counts;
	struct lfpool_audit audit;

	ASSERT_EQ(0, lfpool_counts(pool, &counts));
	EXPECT_EQ(capacity, counts.capacity);
	EXPECT_EQ(0, counts.in_use);
	EXPECT_EQ(capacity, counts.available);
	ASSERT_EQ(0, lfpool_audit(pool, &audit));
	EXPECT_EQ(capacity, audit.capacity);
	EXPECT_EQ(capacity, audit.reserve + audit.depot + audit.cached);
	EXPECT_EQ(0, audit.held);
	EXPECT_EQ(0, audit.transit);
	EXPECT_EQ(0, audit.quarantined);
	EXPECT_EQ(0, audit.lost);
	EXPECT_EQ(0, audit.duplicate);
	EXPECT_EQ(0, audit.damaged);
	EXPECT_EQ(1, audit.exact);
}

#endif /* LFPOOL_H */

#endif /* LFPOOL_TEST_H */
