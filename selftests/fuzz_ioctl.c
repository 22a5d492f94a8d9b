// SPDX-License-Identifier: GPL-2.0-only
/*
 * A fuzzer of the nodes: random calls with random arguments, by several
 * processes and threads that share files and mappings, and that are killed at
 * random.
 *
 * An episode is a process, with the threads and children that it makes, and
 * some STEPS calls by each. Its random numbers come from the seed of the run and
 * the episode's own number: LFPOOL_SEED=seed LFPOOL_EPISODE=number repeats it
 * alone, as far as calls of several processes can be repeated.
 * LFPOOL_FUZZ_SECONDS says for how long there are new ones, in each of the two
 * tests. What is in fuzz_ioctl.seeds comes first, in lines "seed episode reason":
 * each once found a bug, or calls that no other reached.
 *
 * Where the kernel can tell which parts of the module an episode ran (kcov), those
 * that reached something new are remembered, and half of the others begin as one
 * of them. Such an episode is not known by its number alone, but by what it took
 * of each: 5:40,17:3,99 is 40 steps of episode 5, 3 of episode 17, and then 99.
 *
 * calls:  no process writes into the shared state but through the module. So
 *         when all are dead, every buffer is free and in one place.
 * spoilt: they write there, too. So numbers stay within their bounds, and the
 *         module unloads, and what is loaded then is as good as new.
 *
 * In both, nobody hangs, and the kernel has nothing to complain about.
 *
 * vm: insmod=no timeout=1200 smp=2 files="selftests/fuzz/ioctl.seeds:/selftests/fuzz_ioctl.seeds"
 */
#include "lfpool_test.h"

#include <linux/kcov.h>
#include <linux/mman.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/uio.h>

/* small, so that everything runs out, and different from each other */
#define ARGS		"buffer_count=32 max_count=40 max_threads=8 serialization_size=16384 " \
			"compression_size=4096 simd_elements=8"
#define POOLS		3
#define CAPACITY	40U

#define WORKERS		4
#define STEPS		120
#define FILES		6
#define MAPS		4
#define SCRATCH		8192
#define PLACES		256
#define PLACE		(16UL << 20)
/* its upper half is none of edge() */
#define FIRST_PLACE	(0x1230UL << 32)
#define HELD		16
#define CHILDREN	3
#define THREADS		2

/* of how many episodes one may consist, and how many are remembered */
#define PARTS		8
#define KEPT		256
/* places in the module that one episode may pass, and edges that are told apart */
#define TRACE		65536
#define EDGES		131072

/* seconds until a process that was killed is gone, on a busy emulated machine */
#define DEADLINE	60
#define SECONDS		20
#define TIMEOUT		1000
/* of so many calls some of the rarest kind succeed: a DETACH does one time in 6000 */
#define ENOUGH		100000

static const char *const pools[POOLS] = { "serialization", "compression", "simd" };

/*
 * Random numbers
 */

static __thread uint64_t state;

static uint32_t rnd(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dULL >> 32;
}

static uint32_t below(uint32_t n)
{
	return rnd() % n;
}

static bool one_in(uint32_t n)
{
	return !below(n);
}

/* Numbers that are at the edge of something, or any. */
static uint32_t edge(void)
{
	static const uint32_t edges[] = {
		0, 1, 2, 7, 8, 16, 24, 28, 29, 31, 32, 39, 40, 63, 64, 65, 96, 136, 200, 255,
		4095, 4096, 4097, 65536, LFPOOL_NONE, LFPOOL_OWNER_DEPOT, 0x7fffffff, 0x80000000,
		0xfffffffe, 0xffffffff,
	};

	switch (below(4)) {
	case 0:
		return rnd();
	case 1:
		return below(CAPACITY);
	default:
		return edges[below(ARRAY_SIZE(edges))];
	}
}

static void seed(uint64_t run, uint64_t episode, uint64_t thread)
{
	int i;

	state = (run + 1) * 0x9e3779b97f4a7c15ULL ^ (episode + 1) * 0xbf58476d1ce4e5b9ULL ^
		(thread + 1) * 0x94d049bb133111ebULL;
	state |= 1;
	for (i = 0; i < 8; i++)
		rnd();
}

/*
 * What all share
 */

struct tally {
	uint64_t calls;
	uint64_t good;
};

enum kind {
	JOIN, OPEN, CLOSE, DUP, PASS, MMAP, MUNMAP, MREMAP, MPROTECT, MADVISE, MLOCK, MSYNC, REMAP,
	TOUCH, SPOIL, PIN, PEEK, IOCTL, REFILL, RELEASE, ATTACH, DETACH, WAIT, POLL, PLAIN,
	SYSFS, PROC, FORK, THREAD, EXEC, SLEEP, KINDS
};

static const char *const kind_names[KINDS] = {
	"join", "open", "close", "dup", "pass", "mmap", "munmap", "mremap", "mprotect", "madvise",
	"mlock",
	"msync", "remap", "touch", "spoil", "pin", "peek", "ioctl", "REFILL", "RELEASE", "ATTACH",
	"DETACH", "WAIT", "poll", "plain", "sysfs", "proc", "fork", "thread", "exec", "sleep",
};

/**
 * struct episode - where the random numbers come from
 * @parts:	how many there are
 * @number:	the episode that a part is taken from
 * @steps:	how much of it; 0: as much as there is
 */
struct episode {
	uint32_t parts;
	struct {
		uint64_t number;
		uint32_t steps;
	} part[PARTS];
};

struct kept {
	struct episode episode;
	uint32_t edges;
};

struct shared {
	struct tally tally[KINDS];
	uint64_t errors[256];
	uint64_t episode;
	uint64_t killed;
	uint32_t stuck;
	bool spoil;
	uint64_t edges[EDGES / 64];
	uint64_t kept_count;
	struct kept kept[KEPT];
};

static struct shared *sh;

/* of both tests, which are processes of their own */
static struct total {
	uint64_t episodes;
	uint64_t calls;
	uint64_t edges[EDGES / 64];
} *total;
static pid_t reporter;
/* files pass from episode to episode here */
static int sockets[2];
static struct lfpool_info infos[POOLS];

static void count(enum kind kind, long ret)
{
	__atomic_fetch_add(&sh->tally[kind].calls, 1, __ATOMIC_RELAXED);
	if (ret >= 0)
		__atomic_fetch_add(&sh->tally[kind].good, 1, __ATOMIC_RELAXED);
	else if (kind >= IOCTL && kind <= WAIT)
		__atomic_fetch_add(&sh->errors[errno & 255], 1, __ATOMIC_RELAXED);
}

/*
 * An episode's own. Threads work on it without a lock: what they spoil for one
 * another is one more case.
 */

struct map {
	unsigned char *at;
	size_t size;
	int pool;
};

static int files[FILES];
static int file_pool[FILES];
static struct map maps[MAPS];
static uint32_t held[HELD];
static int children, threads;
static pid_t leader;

static __thread sigjmp_buf fault;
static __thread volatile bool may_fault;
/* so many bytes, with nothing behind them */
static __thread unsigned char *scratch;

static void on_fault(int number)
{
	if (may_fault) {
		may_fault = false;
		siglongjmp(fault, 1);
	}
	_exit(1);
}

static void on_alarm(int number)
{
}

/* Do @action, which may fault. */
#define guarded(action) ({						\
	int __ret = -1;							\
									\
	if (!sigsetjmp(fault, 1)) {					\
		may_fault = true;					\
		action;							\
		__ret = 0;						\
	}								\
	may_fault = false;						\
	__ret;								\
})

static bool scratch_alloc(void)
{
	void *at = mmap(NULL, SCRATCH + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED || mprotect(at, SCRATCH, PROT_READ | PROT_WRITE))
		return false;
	scratch = at;
	return true;
}

/*
 * Where a mapping may be. An entry of maps may be out of date: another thread has
 * unmapped it, a child has not inherited it, or mmap with MAP_FIXED has failed, which
 * unmaps what was there. Who goes on with it must not hit other memory of the
 * process, so it is far from that. And what is written to a buffer must not hit the
 * control area of whatever is mapped there by now: all begin at multiples of PLACE
 * (but where these may be spoilt), and data has the same offset in all pools.
 */
static void *some_place(void)
{
	return (void *)(FIRST_PLACE + below(PLACES) * PLACE);
}

/* Rather one that is there. */
static int some_index(void)
{
	int tries = 4;
	int i;

	do {
		i = below(FILES);
	} while (files[i] < 0 && --tries);
	return i;
}

static int some_file(void)
{
	/* not the files that the test itself has */
	return one_in(40) ? (int)(edge() | 0x400) : files[some_index()];
}

static struct map *some_map(void)
{
	int tries = 4;
	int i;

	do {
		i = below(MAPS);
	} while (!maps[i].at && --tries);
	return &maps[i];
}

/*
 * Where @size bytes are in a mapping: anywhere, or where buffers are. Never
 * across its end: somebody else's memory is there.
 */
static size_t some_offset(const struct map *m, size_t size, bool data)
{
	size_t from = data ? infos[m->pool].data_offset : 0;
	size_t offset;

	if (m->size < from + size)
		return m->size;
	offset = one_in(4) ? 0 : rnd() % (m->size - from - size + 1);
	if (one_in(2))
		offset &= ~4095UL;
	return from + offset;
}

/* Somewhere to read from, or to write to. */
static void *some_pointer(size_t size)
{
	struct map *m;

	switch (below(8)) {
	case 0:
		return NULL;
	case 1:
		return (void *)(uintptr_t)((uint64_t)rnd() << below(33));
	case 2:
		/* across the end of what is there */
		return scratch + SCRATCH - below(size + 1);
	case 3:
		m = some_map();
		if (m->at && m->size > infos[m->pool].data_offset + size)
			return m->at + some_offset(m, size, !sh->spoil);
		__attribute__((fallthrough));
	default:
		return scratch + (one_in(4) ? below(64) : 0);
	}
}

static void fill(void *to, size_t size)
{
	uint32_t word;
	size_t at;

	for (at = 0; at < size; at += sizeof(word)) {
		word = one_in(2) ? 0 : edge();
		memcpy((char *)to + at, &word, size - at < sizeof(word) ? size - at : sizeof(word));
	}
}

static void keep_file(int fd, int pool)
{
	int i = below(FILES);

	if (files[i] >= 0)
		close(files[i]);
	files[i] = fd;
	file_pool[i] = pool;
}

/*
 * The calls
 */

static long step_open(void)
{
	static const int modes[] = { O_RDWR, O_RDWR, O_RDWR, O_RDWR, O_RDONLY, O_WRONLY };
	int pool = below(POOLS);
	int flags = modes[below(ARRAY_SIZE(modes))];
	int fd;

	if (one_in(8))
		flags |= rnd() & (O_NONBLOCK | O_APPEND | O_TRUNC | O_DIRECT | O_PATH | O_SYNC);
	fd = node_open(pools[pool], flags);
	if (fd >= 0)
		keep_file(fd, pool);
	else
		errno = -fd;
	return fd;
}

/* As a library does it: most calls need a client. */
static long step_join(void)
{
	int pool = below(POOLS);
	struct map *m = &maps[below(MAPS)];
	size_t size = infos[pool].mmap_size;
	struct lfpool_info info;
	void *at;
	int fd;

	fd = node_open(pools[pool], O_RDWR);
	if (fd < 0) {
		errno = -fd;
		return -1;
	}
	keep_file(fd, pool);
	at = mmap(some_place(), size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd,
		  0);
	if (at == MAP_FAILED)
		return -1;
	m->at = at;
	m->size = size;
	m->pool = pool;
	return do_info(fd, &info) ? -1 : 0;
}

static long step_close(void)
{
	int i = some_index();
	int ret = close(files[i]);

	files[i] = -1;
	return ret;
}

static long step_dup(void)
{
	int i = some_index();
	int fd = dup(files[i]);

	if (fd >= 0)
		keep_file(fd, file_pool[i]);
	return fd;
}

/* Give a file to whom it may concern, or take one. */
static long step_pass(void)
{
	int fd;

	if (one_in(2))
		return fd_send(sockets[0], files[some_index()]);
	fd = fd_receive(sockets[1]);
	if (fd >= 0)
		keep_file(fd, below(POOLS));
	return fd;
}

static long step_mmap(void)
{
	int i = some_index();
	int pool = file_pool[i];
	struct map *m = some_map();
	size_t size = infos[pool].mmap_size;
	int prot = PROT_READ | PROT_WRITE;
	int flags = MAP_SHARED;
	off_t offset = 0;
	void *at;

	if (one_in(8))
		size = one_in(2) ? size + ((int)below(5) - 2) * 4096 : edge();
	if (one_in(8))
		prot = below(8);
	if (one_in(8))
		flags = one_in(2) ? MAP_PRIVATE : (int)below(4);
	if (one_in(8))
		flags |= rnd() & (MAP_POPULATE | MAP_LOCKED | MAP_NORESERVE | MAP_NONBLOCK);
	if (one_in(16))
		offset = (off_t)edge() << 12;
	/* over another one, never beyond it: other memory is there */
	if (one_in(4) && m->at && size <= m->size) {
		at = m->at;
		/* if it is gone, control areas would no longer be where all are */
		if (sh->spoil)
			at += below(m->size - size + 1) & ~4095U;
		flags |= MAP_FIXED;
	} else {
		at = some_place();
		flags |= MAP_FIXED_NOREPLACE;
	}
	at = mmap(at, size, prot, flags, files[i], offset);
	if (at == MAP_FAILED)
		return -1;
	m->at = at;
	m->size = size;
	m->pool = pool;
	return 0;
}

/* A part of a mapping, or all of it. */
static void some_range(const struct map *m, unsigned char **at, size_t *size)
{
	*at = m->at;
	*size = m->size;
	if (one_in(2)) {
		*at += below(m->size / 4096 + 1) * 4096UL;
		*size = below(m->size / 4096 + 1) * 4096UL;
		/* never beyond: somebody else's memory is there */
		if (*at + *size > m->at + m->size)
			*size = m->at + m->size - *at;
	}
	if (one_in(16))
		*at += below(4096);
}

static long step_munmap(void)
{
	struct map *m = some_map();
	unsigned char *at;
	size_t size;
	long ret;

	some_range(m, &at, &size);
	if (one_in(2)) {
		at = m->at;
		size = m->size;
	}
	ret = munmap(at, size);
	if (!ret && at == m->at && size == m->size)
		m->at = NULL;
	return ret;
}

static long step_mremap(void)
{
	struct map *m = some_map();
	struct map *to = some_map();
	int flags = rnd() & (MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP);
	size_t size = one_in(2) ? m->size : below(2 * m->size / 4096 + 2) * 4096UL;
	unsigned char *at;
	size_t old;
	void *now;

	some_range(m, &at, &old);
	if (flags & MREMAP_FIXED && (!to->at || size > to->size))
		flags &= ~MREMAP_FIXED;
	now = mremap(at, one_in(8) ? 0 : old, size, flags, to->at);
	if (now == MAP_FAILED)
		return -1;
	/* a part that stays where and as large as it is: so does the mapping */
	if (now != at) {
		m->at = now;
		m->size = size;
	}
	return 0;
}

static long step_mprotect(void)
{
	unsigned char *at;
	size_t size;

	some_range(some_map(), &at, &size);
	return mprotect(at, size, below(8));
}

static long step_madvise(void)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE,
		MADV_REMOVE, MADV_DONTFORK, MADV_DOFORK, MADV_DOFORK, MADV_MERGEABLE,
		MADV_UNMERGEABLE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP,
		MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ,
		MADV_POPULATE_WRITE, 24 /* DONTNEED_LOCKED */, 25 /* COLLAPSE */,
	};
	struct map *m = some_map();
	unsigned char *at;
	size_t size;

	some_range(m, &at, &size);
	if (one_in(2)) {
		at = m->at;
		size = m->size;
	}
	return madvise(at, size, advice[below(ARRAY_SIZE(advice))]);
}

static long step_mlock(void)
{
	unsigned char *at;
	size_t size;

	some_range(some_map(), &at, &size);
	switch (below(5)) {
	case 0:
		return munlock(at, size);
	case 1:
		return mlockall(MCL_CURRENT | (one_in(2) ? MCL_ONFAULT : 0));
	case 2:
		return munlockall();
	default:
		return syscall(SYS_mlock2, at, size, below(2));
	}
}

static long step_msync(void)
{
	unsigned char *at;
	size_t size;

	some_range(some_map(), &at, &size);
	if (one_in(2))
		return msync(at, size, 1 << below(3));
	return syscall(SYS_mincore, at, size < 64 * 4096 ? size : 64 * 4096, scratch);
}

static long step_remap(void)
{
	unsigned char *at;
	size_t size;

	some_range(some_map(), &at, &size);
	return syscall(SYS_remap_file_pages, at, size, 0, one_in(2) ? 0 : edge(),
		       one_in(2) ? 0 : MAP_NONBLOCK);
}

static long step_touch(void)
{
	struct map *m = some_map();
	volatile unsigned char *p = m->at;

	if (!p || m->size <= infos[m->pool].data_offset) {
		errno = EFAULT;
		return -1;
	}
	if (one_in(2))
		return guarded((void)p[some_offset(m, 1, false)]);
	return guarded(p[some_offset(m, 1, true)] = rnd());
}

/* Into slots, depot and descriptors. */
static long step_spoil(void)
{
	struct map *m = some_map();
	const struct lfpool_info *info = &infos[m->pool];
	uint64_t value = one_in(2) ? edge() : (uint64_t)edge() << 32 | edge();
	size_t offset;

	if (!sh->spoil || !m->at) {
		errno = EFAULT;
		return -1;
	}
	switch (below(4)) {
	case 0:
		offset = info->depot_offset + (one_in(2) ? 0 : below(256));
		break;
	case 1:
		offset = info->slot_offset + below(info->max_threads * info->slot_stride);
		break;
	case 2:
		offset = info->desc_offset + below(CAPACITY) * info->desc_stride;
		break;
	default:
		offset = info->desc_offset + below(CAPACITY * info->desc_stride);
		break;
	}
	offset &= ~7UL;
	return guarded(*(volatile uint64_t *)(m->at + offset) = value);
}

/* A pipe holds pages of the pool, until somebody else closes it. */
static long step_pin(void)
{
	struct map *m = some_map();
	size_t size = 1 + below(3 * 4096);
	struct iovec iov = { m->at + some_offset(m, size, true), size };
	int ends[2];
	long ret;

	if (pipe(ends))
		return -1;
	ret = vmsplice(ends[1], &iov, 1, SPLICE_F_NONBLOCK);
	if (ret >= 0 && one_in(2))
		fd_send(sockets[0], ends[0]);
	if (ret >= 0 && one_in(2)) {
		keep_file(ends[0], 0);
		close(ends[1]);
		return ret;
	}
	close(ends[0]);
	close(ends[1]);
	return ret;
}

/* One process's memory through another one's call. */
static long step_peek(void)
{
	struct map *m = some_map();
	struct iovec here = { scratch, SCRATCH };
	size_t size = below(SCRATCH);
	struct iovec there = { m->at + some_offset(m, size, true), size };

	if (!m->at || m->size < infos[m->pool].data_offset + size) {
		errno = EFAULT;
		return -1;
	}
	if (one_in(2))
		return process_vm_readv(leader, &here, 1, &there, 1, 0);
	return process_vm_writev(leader, &here, 1, &there, 1, 0);
}

/* Any command, any argument. */
static long step_ioctl(void)
{
	static const uint32_t sizes[] = { 8, 16, 24, 96, 136, 200, 4096 };
	uint32_t nr = one_in(16) ? below(256) : below(11);
	uint32_t dir = one_in(16) ? below(4) : nr == 2 || nr == 6 || nr == 8 ? 1 : 3;
	uint32_t type = one_in(32) ? below(256) : LFPOOL_IOC_TYPE;
	uint32_t head[2] = {
		one_in(4) ? edge() : sizes[below(ARRAY_SIZE(sizes))],
		one_in(4) ? edge() : 0,
	};
	size_t room = head[0] > 8 && head[0] < 4096 ? head[0] : 4096;
	unsigned char *argument = some_pointer(room);
	bool ours = argument >= scratch && argument + room <= scratch + SCRATCH;

	if (ours && one_in(2))
		fill(argument, room);
	else if (ours)
		memset(argument, 0, room);
	/* WAIT: not for ever, as nobody might come */
	if (ours && nr == 5 && room >= 16)
		*(int64_t *)(argument + 8) = one_in(4) ? -1 : (int64_t)below(5000000);
	(void)guarded(memcpy(argument, head, sizeof(head)));
	return ioctl(some_file(), _IOC(dir, type, nr, head[0] & 0x3fff), argument);
}

static long step_refill(void)
{
	uint32_t items[LFPOOL_XFER_MAX];
	uint32_t want = one_in(8) ? edge() : 1 + below(12);
	struct lfpool_xfer xfer = {
		.size = sizeof(xfer),
		.flags = below(2),
		.count = want,
		.items = one_in(8) ? (uintptr_t)some_pointer(256) : (uintptr_t)items,
	};
	long ret;
	uint32_t i;

	memset(items, 0xff, sizeof(items));
	ret = ioctl(files[some_index()], LFPOOL_IOC_REFILL, &xfer);
	for (i = 0; !ret && i < xfer.count && i < LFPOOL_XFER_MAX; i++) {
		if (items[i] < CAPACITY)
			held[below(HELD)] = items[i];
	}
	return ret;
}

static long step_release(void)
{
	uint32_t items[LFPOOL_XFER_MAX];
	uint32_t n = one_in(8) ? edge() : 1 + below(4);
	struct lfpool_xfer xfer = {
		.size = sizeof(xfer),
		.flags = below(2),
		.count = n,
		.items = one_in(16) ? (uintptr_t)some_pointer(256) : (uintptr_t)items,
	};
	uint32_t i;

	for (i = 0; i < LFPOOL_XFER_MAX; i++)
		items[i] = one_in(8) ? edge() : held[below(HELD)];
	return ioctl(files[some_index()], LFPOOL_IOC_RELEASE, &xfer);
}

static long step_attach(void)
{
	int ret = do_attach(files[some_index()]);

	return ret < 0 ? -1 : 0;
}

static long step_detach(void)
{
	int ret = do_detach(files[some_index()], one_in(8) ? edge() : below(8));

	return ret < 0 ? -1 : 0;
}

static long step_wait(void)
{
	int ret = do_wait(files[some_index()], one_in(8) ? -1 : (int64_t)below(3000000));

	return ret < 0 ? -1 : 0;
}

static long step_poll(void)
{
	struct pollfd p = { .fd = some_file(), .events = rnd() };
	struct epoll_event event = { .events = rnd() };
	int ep, ret;

	if (one_in(2))
		return poll(&p, 1, below(3));
	ep = epoll_create1(0);
	ret = epoll_ctl(ep, EPOLL_CTL_ADD, p.fd, &event);
	if (!ret)
		ret = epoll_wait(ep, &event, 1, below(3));
	close(ep);
	return ret;
}

/* What any file can be asked. */
static long step_plain(void)
{
	int fd = some_file();
	size_t n = below(8192);

	switch (below(8)) {
	case 0:
		return read(fd, scratch, n);
	case 1:
		return write(fd, scratch, n);
	case 2:
		return lseek(fd, edge(), below(5));
	case 3:
		return ftruncate(fd, edge());
	case 4:
		return fallocate(fd, below(64), edge(), edge());
	case 5:
		return fsync(fd);
	case 6:
		/* not F_SETOWN: signals are for those who asked for them */
		return fcntl(fd, F_SETFL, rnd() & (O_NONBLOCK | O_APPEND | O_ASYNC | O_DIRECT));
	default:
		return pread(fd, scratch, n, edge());
	}
}

static long step_sysfs(void)
{
	static const char *const names[] = {
		"available", "in_use", "hit_rate", "clients", "cached",
	};
	const char *pool = pools[below(POOLS)];
	char text[64];

	if (one_in(4))
		return sysfs_write(pool, "reset_stats", one_in(4) ? "2" : "1");
	return sysfs_text(pool, names[below(ARRAY_SIZE(names))], text, sizeof(text));
}

static long step_proc(void)
{
	static const char *const names[] = {
		"maps", "smaps", "smaps_rollup", "pagemap", "clear_refs",
	};
	char path[64];
	long ret = -1;
	int fd, i;

	if (one_in(2))
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", some_file());
	else
		snprintf(path, sizeof(path), "/proc/self/%s", names[below(ARRAY_SIZE(names))]);
	fd = open(path, (strstr(path, "clear_refs") ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (strstr(path, "clear_refs"))
		ret = write(fd, one_in(2) ? "1" : "4", 1);
	for (i = 0; ret < 0 && i < 16 && read(fd, scratch, SCRATCH) > 0; i++)
		;
	close(fd);
	return i ? 0 : ret;
}

static void play(unsigned int steps);

static long step_fork(void)
{
	uint64_t next = rnd();
	pid_t pid;

	if (__atomic_fetch_add(&children, 1, __ATOMIC_RELAXED) >= CHILDREN) {
		errno = EAGAIN;
		return -1;
	}
	pid = fork();
	if (!pid) {
		state = next | 1;
		play(below(STEPS));
		_exit(0);
	}
	return pid;
}

static void *thread_main(void *arg)
{
	state = (uintptr_t)arg | 1;
	if (scratch_alloc()) {
		play(STEPS);
		munmap(scratch, SCRATCH + 4096);
	}
	return NULL;
}

static long step_thread(void)
{
	pthread_t thread;
	int err;

	if (__atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED) >= THREADS) {
		errno = EAGAIN;
		return -1;
	}
	err = pthread_create(&thread, NULL, thread_main, (void *)(uintptr_t)rnd());
	if (!err)
		pthread_detach(thread);
	errno = err;
	return err ? -1 : 0;
}

static long step_exec(void)
{
	if (!one_in(30)) {
		errno = EAGAIN;
		return -1;
	}
	/* counts now: it does not come back */
	count(EXEC, 0);
	execl("/bin/true", "true", NULL);
	return -1;
}

static long step_sleep(void)
{
	return usleep(below(2000));
}

static const struct {
	long (*step)(void);
	unsigned int weight;
} steps[KINDS] = {
	[JOIN] = { step_join, 8 },
	[OPEN] = { step_open, 8 },	[CLOSE] = { step_close, 3 },
	[DUP] = { step_dup, 2 },	[PASS] = { step_pass, 2 },
	[MMAP] = { step_mmap, 16 },	[MUNMAP] = { step_munmap, 4 },
	[MREMAP] = { step_mremap, 4 },	[MPROTECT] = { step_mprotect, 3 },
	[MADVISE] = { step_madvise, 6 }, [MLOCK] = { step_mlock, 2 },
	[MSYNC] = { step_msync, 2 },	[REMAP] = { step_remap, 2 },
	[TOUCH] = { step_touch, 10 },	[SPOIL] = { step_spoil, 20 },
	[PIN] = { step_pin, 3 },	[PEEK] = { step_peek, 3 },
	[IOCTL] = { step_ioctl, 30 },	[REFILL] = { step_refill, 20 },
	[RELEASE] = { step_release, 14 }, [ATTACH] = { step_attach, 8 },
	[DETACH] = { step_detach, 6 },	[WAIT] = { step_wait, 4 },
	[POLL] = { step_poll, 3 },	[PLAIN] = { step_plain, 3 },
	[SYSFS] = { step_sysfs, 2 },	[PROC] = { step_proc, 2 },
	[FORK] = { step_fork, 2 },	[THREAD] = { step_thread, 2 },
	[EXEC] = { step_exec, 1 },	[SLEEP] = { step_sleep, 2 },
};

static enum kind some_kind(void)
{
	unsigned int total = 0;
	unsigned int at;
	int k;

	for (k = 0; k < KINDS; k++)
		total += steps[k].weight;
	at = below(total);
	for (k = 0; at >= steps[k].weight; k++)
		at -= steps[k].weight;
	return k;
}

static void play(unsigned int n)
{
	while (n--) {
		enum kind kind = some_kind();

		if (kind == SPOIL && !sh->spoil)
			continue;
		errno = 0;
		count(kind, steps[kind].step());
	}
}

/*
 * Episodes
 */

/* "5:40,17:3,99" */
static void episode_text(const struct episode *e, char *text, size_t size)
{
	size_t at = 0;
	uint32_t i;

	text[0] = 0;
	for (i = 0; i < e->parts && at < size; i++) {
		at += snprintf(text + at, size - at, "%s%llu", i ? "," : "",
			       (unsigned long long)e->part[i].number);
		if (e->part[i].steps && at < size)
			at += snprintf(text + at, size - at, ":%u", e->part[i].steps);
	}
}

static bool episode_parse(struct episode *e, const char *text)
{
	char *end;

	for (e->parts = 0; e->parts < PARTS; text = end + 1) {
		e->part[e->parts].number = strtoull(text, &end, 10);
		if (end == text)
			return false;
		e->part[e->parts].steps = 0;
		if (*end == ':')
			e->part[e->parts].steps = strtoul(end + 1, &end, 10);
		e->parts++;
		if (*end != ',')
			return !*end;
	}
	return false;
}

/* A new one: all its own, or it begins as one did that was remembered. */
static struct episode episode_new(uint64_t run, uint64_t number)
{
	struct episode e = { .parts = 0 };
	uint64_t n = __atomic_load_n(&sh->kept_count, __ATOMIC_RELAXED);
	uint32_t at;

	seed(run, number, 2);
	if (n && one_in(2)) {
		/* somebody may be writing there: any part is as good as another */
		e = sh->kept[below(n < KEPT ? n : KEPT)].episode;
		e.parts = e.parts < PARTS ? e.parts : PARTS - 1;
	}
	if (e.parts) {
		at = below(e.parts);
		e.part[at].steps = 1 + below(e.part[at].steps ?: STEPS);
		e.parts = at + 1;
	}
	e.part[e.parts].number = number;
	e.part[e.parts].steps = 0;
	e.parts++;
	return e;
}

/*
 * Which ways through the module an episode went, as far as its first thread
 * shows: the kernel writes that into memory that outlives it.
 */

static int trace_fd = -1;
static unsigned long *trace;
static unsigned long module_base;

static void trace_prepare(void)
{
	char line[512], *at;
	FILE *modules;

	trace_fd = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);
	if (trace_fd < 0)
		return;
	if (ioctl(trace_fd, KCOV_INIT_TRACE, TRACE))
		return;
	trace = mmap(NULL, TRACE * sizeof(*trace), PROT_READ | PROT_WRITE, MAP_SHARED, trace_fd, 0);
	if (trace == MAP_FAILED)
		trace = NULL;
	/* each time it is loaded it may be somewhere else */
	modules = fopen("/proc/modules", "re");
	while (modules && fgets(line, sizeof(line), modules)) {
		at = strstr(line, " 0x");
		if (!strncmp(line, "lfpool ", 7) && at)
			module_base = strtoul(at, NULL, 16);
	}
	if (modules)
		fclose(modules);
}

/* in the episode's process */
static void trace_start(void)
{
	if (!trace)
		return;
	trace[0] = 0;
	if (ioctl(trace_fd, KCOV_ENABLE, KCOV_TRACE_PC))
		_exit(1);
}

/* How many edges there were that no other episode had. */
static uint32_t trace_look(void)
{
	unsigned long n = trace ? trace[0] : 0, from = 0, at, i;
	uint32_t edges = 0;

	for (i = 1; i <= n && i < TRACE; i++) {
		uint64_t edge = ((trace[i] - module_base) * 0x9e3779b97f4a7c15ULL ^ from) >> 40;
		uint64_t bit = 1ULL << edge % 64;

		/* the way there counts, not the place alone */
		from = (trace[i] - module_base) * 0xbf58476d1ce4e5b9ULL;
		at = edge % EDGES / 64;
		edges += !(__atomic_fetch_or(&sh->edges[at], bit, __ATOMIC_RELAXED) & bit);
	}
	return edges;
}

static void keep(const struct episode *e, uint32_t edges)
{
	uint64_t at = __atomic_fetch_add(&sh->kept_count, 1, __ATOMIC_RELAXED) % KEPT;

	sh->kept[at].episode = *e;
	sh->kept[at].edges = edges;
}

static uint64_t bits(const uint64_t *words, unsigned int n)
{
	uint64_t sum = 0;

	while (n--)
		sum += __builtin_popcountll(words[n]);
	return sum;
}

static void episode(uint64_t run, const struct episode *e)
{
	/* so that nobody waits for ever; and at any moment */
	const suseconds_t tick = 20000;
	struct itimerval every = { { 0, tick }, { 0, tick } };
	struct sigaction act = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	uint32_t i;

	setpgid(0, 0);
	leader = getpid();
	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
	act.sa_handler = on_alarm;
	act.sa_flags = 0;
	sigaction(SIGALRM, &act, NULL);
	signal(SIGIO, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	setitimer(ITIMER_REAL, &every, NULL);
	for (i = 0; i < FILES; i++)
		files[i] = -1;
	if (!scratch_alloc())
		_exit(1);
	trace_start();
	for (i = 0; i < e->parts; i++) {
		uint32_t all;

		seed(run, e->part[i].number, 0);
		if (!i)
			step_join();
		all = STEPS / 2 + below(STEPS);
		play(e->part[i].steps ?: all);
	}
	_exit(0);
}

/* End all that is left of an episode; false if it does not end. */
static bool end_group(pid_t group)
{
	uint64_t end = deadline_ns(DEADLINE);

	kill(-group, SIGKILL);
	for (;;) {
		pid_t pid = waitpid(-group, NULL, WNOHANG);

		if (pid < 0 && errno == ECHILD)
			return true;
		if (now_ns() > end)
			return false;
		if (pid <= 0) {
			kill(-group, SIGKILL);
			usleep(1000);
		}
	}
}

static void run_episode(uint64_t run, const struct episode *e)
{
	pid_t pid = child_fork();
	uint32_t patience, edges;
	char text[256];
	uint64_t end;

	if (!pid)
		episode(run, e);
	if (pid < 0)
		return;
	setpgid(pid, pid);
	/* killed at any moment, if it is not over before */
	seed(run, e->part[e->parts - 1].number, 1);
	patience = one_in(2) ? below(15000) : 1000000;
	end = now_ns() + patience * 1000ULL * slow();
	while (waitid(P_PID, pid, &(siginfo_t){ 0 }, WEXITED | WNOHANG | WNOWAIT) == 0) {
		siginfo_t info = { 0 };

		waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT);
		if (info.si_pid)
			break;
		if (now_ns() > end) {
			__atomic_fetch_add(&sh->killed, 1, __ATOMIC_RELAXED);
			break;
		}
		usleep(500);
	}
	if (!end_group(pid)) {
		__atomic_fetch_add(&sh->stuck, 1, __ATOMIC_RELAXED);
		episode_text(e, text, sizeof(text));
		fprintf(stderr, "# seed %llu, episode %s does not end\n",
			(unsigned long long)run, text);
		_exit(1);
	}
	edges = trace_look();
	if (edges)
		keep(e, edges);
}

static void worker(uint64_t run, uint64_t until)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	trace_prepare();
	do {
		uint64_t number = __atomic_fetch_add(&sh->episode, 1, __ATOMIC_RELAXED);
		struct episode e = episode_new(run, number);

		run_episode(run, &e);
	} while (now_ns() < until && !__atomic_load_n(&sh->stuck, __ATOMIC_RELAXED));
	_exit(0);
}

static uint64_t calls_made(void)
{
	uint64_t calls = 0;
	int k;

	for (k = 0; k < KINDS; k++)
		calls += sh->tally[k].calls;
	return calls;
}

static void report(uint64_t run)
{
	uint64_t calls = calls_made(), good = 0, n = sh->kept_count;
	char text[256];
	int k;

	for (k = 0; k < KINDS; k++)
		good += sh->tally[k].good;
	printf("# seed %llu: %llu episodes, %llu of them killed; %llu calls, %llu succeeded\n",
	       (unsigned long long)run, (unsigned long long)sh->episode,
	       (unsigned long long)sh->killed, (unsigned long long)calls, (unsigned long long)good);
	for (k = 0; k < KINDS; k++)
		printf("#   %-10s %8llu %8llu\n", kind_names[k],
		       (unsigned long long)sh->tally[k].calls,
		       (unsigned long long)sh->tally[k].good);
	printf("#   ioctl errors:");
	for (k = 0; k < 256; k++) {
		if (sh->errors[k])
			printf(" %s %llu", strerrorname_np(k) ?: "-",
			       (unsigned long long)sh->errors[k]);
	}
	printf("\n");
	/* the last ones took longest to find */
	if (n)
		printf("#   %llu edges; %llu episodes reached something new, the last of them\n",
		       (unsigned long long)bits(sh->edges, EDGES / 64), (unsigned long long)n);
	for (k = 1; k <= 5 && k <= (int)n; k++) {
		const struct kept *kept = &sh->kept[(n - k) % KEPT];

		episode_text(&kept->episode, text, sizeof(text));
		printf("#     %llu %s %u edges\n", (unsigned long long)run, text, kept->edges);
	}
	fflush(stdout);
	total->episodes += sh->episode;
	total->calls += calls;
	for (k = 0; k < EDGES / 64; k++)
		total->edges[k] |= sh->edges[k];
}

static void report_total(void)
{
	uint64_t edges = bits(total->edges, EDGES / 64);

	if (getpid() != reporter)
		return;
	printf("# %llu episodes, %llu calls", (unsigned long long)total->episodes,
	       (unsigned long long)total->calls);
	if (edges)
		printf(", %llu edges\n", (unsigned long long)edges);
	else
		printf(", no kcov\n");
}

FIXTURE(fuzz) {
	uint64_t run;
	uint64_t seconds;
};

FIXTURE_SETUP(fuzz)
{
	struct timespec now;
	int i, fd;

	clock_gettime(CLOCK_REALTIME, &now);
	self->run = setting("LFPOOL_SEED", now.tv_nsec ^ now.tv_sec);
	self->seconds = setting("LFPOOL_FUZZ_SECONDS", SECONDS);
	ASSERT_EQ(0, module_fresh(ARGS));
	sh = shared_alloc(sizeof(*sh));
	ASSERT_NE(NULL, sh);
	for (i = 0; i < POOLS; i++) {
		fd = node_open(pools[i], O_RDONLY);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, do_info(fd, &infos[i]));
		close(fd);
		/* see some_place() */
		ASSERT_EQ(infos[0].data_offset, infos[i].data_offset);
		ASSERT_GE(PLACE, infos[i].mmap_size);
	}
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, sockets));
}

FIXTURE_TEARDOWN(fuzz)
{
	if (!access("/sys/module/lfpool", F_OK))
		EXPECT_EQ(0, module_unload());
	EXPECT_STREQ("", module_traces());
}

/* One episode alone, in this process. */
static void repeat(struct __test_metadata *_metadata, uint64_t run, const char *text)
{
	struct episode e;

	ASSERT_TRUE(episode_parse(&e, text)) {
		TH_LOG("'%s' is no episode", text);
	}
	/* before anything happens: the kernel may not live to tell */
	printf("# seed %llu, episode %s\n", (unsigned long long)run, text);
	fflush(stdout);
	run_episode(run, &e);
	total->episodes++;
}

/* Those that were kept: lines "seed episode reason". */
static void run_kept(struct __test_metadata *_metadata)
{
	FILE *kept = fopen("fuzz_ioctl.seeds", "re");
	char line[512], *text, *rest;
	uint64_t run;

	while (kept && fgets(line, sizeof(line), kept)) {
		if (line[0] == '#')
			continue;
		run = strtoull(line, &text, 10);
		text = strtok_r(text, "\n ", &rest);
		ASSERT_NE(NULL, text) {
			TH_LOG("fuzz_ioctl.seeds: %s", line);
		}
		repeat(_metadata, run, text);
	}
	if (kept)
		fclose(kept);
}

/* New ones, by several workers at the same time. */
static void run_new(struct __test_metadata *_metadata, uint64_t run, uint64_t seconds)
{
	uint64_t until = now_ns() + seconds * 1000000000ULL;
	pid_t pids[WORKERS];
	int i;

	printf("# seed %llu, %llu seconds\n", (unsigned long long)run,
	       (unsigned long long)seconds);
	fflush(stdout);
	for (i = 0; i < WORKERS; i++) {
		pids[i] = child_fork();
		if (!pids[i])
			worker(run, until);
	}
	for (i = 0; i < WORKERS; i++)
		EXPECT_EQ(0, child_wait(pids[i]));
}

static void run_all(struct __test_metadata *_metadata, uint64_t run, uint64_t seconds)
{
	const char *only = getenv("LFPOOL_EPISODE");

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	trace_prepare();
	if (only) {
		repeat(_metadata, run, only);
	} else {
		run_kept(_metadata);
		run_new(_metadata, run, seconds);
	}
	report(run);
	/* files that are on their way hold their clients, and pins */
	close(sockets[0]);
	close(sockets[1]);
	EXPECT_EQ(0, sh->stuck);
}

static bool settled(const char *pool)
{
	struct lfpool_stats s = stats_of(pool);

	return s.size && !s.clients && !s.threads && !s.quarantined;
}

TEST_F_TIMEOUT(fuzz, calls, TIMEOUT)
{
	int i;

	run_all(_metadata, self->run, self->seconds);
	for (i = 0; i < POOLS; i++) {
		struct lfpool_audit a;

		EXPECT_TRUE(wait_until(settled(pools[i]), DEADLINE));
		a = audit_of(pools[i]);
		EXPECT_EQ(sizeof(a), a.size);
		EXPECT_EQ(1, a.exact);
		EXPECT_LE(32, a.capacity);
		EXPECT_GE(CAPACITY, a.capacity);
		EXPECT_EQ(a.capacity, a.reserve);
		EXPECT_EQ(0, a.lost + a.duplicate + a.damaged + a.held + a.cached + a.transit) {
			TH_LOG("%s: %llu lost, %llu duplicate, %llu damaged", pools[i],
			       (unsigned long long)a.lost, (unsigned long long)a.duplicate,
			       (unsigned long long)a.damaged);
			TH_LOG("%llu held, %llu cached, %llu in transit",
			       (unsigned long long)a.held, (unsigned long long)a.cached,
			       (unsigned long long)a.transit);
		}
	}
	/* of each kind some were done, if there were many: the arguments are not mere noise */
	for (i = 0; i < KINDS; i++) {
		/* but for a mapping within a mapping, which the module refuses */
		if (i != SPOIL && i != REMAP && calls_made() >= ENOUGH)
			EXPECT_NE(0, sh->tally[i].good) {
				TH_LOG("no %s succeeded", kind_names[i]);
			}
	}
}

TEST_F_TIMEOUT(fuzz, spoilt, TIMEOUT)
{
	int i;

	sh->spoil = true;
	run_all(_metadata, self->run, self->seconds);
	for (i = 0; i < POOLS; i++) {
		struct lfpool_audit a;

		EXPECT_TRUE(wait_until(!stats_of(pools[i]).clients, DEADLINE));
		a = audit_of(pools[i]);
		EXPECT_EQ(sizeof(a), a.size);
		EXPECT_LE(32, a.capacity);
		EXPECT_GE(CAPACITY, a.capacity);
		EXPECT_EQ(a.capacity, a.reserve + a.quarantined + a.depot + a.cached + a.held +
				      a.transit + a.lost);
	}
	ASSERT_EQ(0, module_fresh(ARGS));
	for (i = 0; i < POOLS; i++) {
		struct lfpool_audit a = audit_of(pools[i]);

		EXPECT_EQ(32, a.reserve);
		EXPECT_EQ(1, a.exact);
		EXPECT_EQ(0, a.lost + a.duplicate + a.damaged);
	}
}

int main(int argc, char **argv)
{
	if (geteuid() || access(module_path(), R_OK))
		ksft_exit_skip("needs root and the module (LFPOOL_KO)\n");
	total = shared_alloc(sizeof(*total));
	if (!total)
		ksft_exit_fail_msg("no memory\n");
	reporter = getpid();
	atexit(report_total);
	return run_tests(argc, argv, NULL);
}
