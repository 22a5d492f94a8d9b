// SPDX-License-Identifier: GPL-2.0-only
/*
 * Death of a client: what is one, what is none, and what comes back.
 *
 * A client is dead when its mapping is gone in every mm that ever had a copy:
 * by exit, exec, kill, OOM kill, core dump or munmap. Then every buffer that it
 * held or cached is the pool's again, and is counted. Whoever else still has the
 * mapping (a vfork child, a CLONE_VM sharer, a child after MADV_DOFORK, who
 * looks into the mm) delays it; who merely has the file does not. Until then
 * nothing may come back, and a call that was refused must not have counted.
 *
 * The clients are processes of their own that use the library, so what they
 * cache is what real ones do. The test itself is none: it only reads.
 *
 * vm: insmod=no timeout=300
 */
#include "lfpool_test.h"

#include <lfpool.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/klog.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define POOL		"simd"
#define BUFFERS		64U
#define BATCH		8U	/* an eighth of BUFFERS */
#define ARGS		"buffer_count=64 max_count=64 max_threads=8 "	\
			"serialization_size=4096 compression_size=4096"

/*
 * What a victim has: it gets GOT, which takes four batches, and puts all but
 * HELD back. Its cache of two batches overflows once, into the depot, where
 * what it put is nobody's; the rest of the cache is lost without recovery.
 */
#define GOT		30U
#define HELD		11U
#define DEPOT		BATCH
#define CACHED		(4 * BATCH - HELD - DEPOT)

/* seconds until all is back; an emulated machine may be busy with others */
#define DEADLINE	10
/* seconds a test may take */
#define TIMEOUT		60

/* What a test and its processes tell each other. */
struct shared {
	volatile uint32_t ready;	/* victims that have what they shall have */
	volatile uint32_t go;		/* step that the victim shall do */
	volatile uint32_t done;		/* step that it did */
	volatile int result;
	volatile pid_t child;		/* of the victim */
	volatile uint32_t child_done;
	volatile uintptr_t map;		/* the victim's mapping */
	volatile uint32_t item[GOT];	/* what it holds */
};

/*
 * The victim
 */

static struct {
	struct lfpool *pool;
	struct lfpool_info info;
	unsigned char *map;
	void *held[GOT];
	unsigned int nr_held;
} victim;

static void ready(struct shared *s)
{
	__atomic_fetch_add(&s->ready, 1, __ATOMIC_SEQ_CST);
}

static void step_wait(struct shared *s, uint32_t step)
{
	while (s->go < step)
		usleep(1000);
}

/* Wait until told to do the step, and later say that it is done. */
#define step_done(s, step) ((s)->done = (step))

/* The test's side of it. */
static bool step_run(struct shared *s, uint32_t step)
{
	s->go = step;
	return wait_until(s->done == step, DEADLINE);
}

static void *forever(void *unused)
{
	for (;;)
		pause();
	return NULL;
}

/* The one mapping of the pool that this process has; @vmas of them, in fact. */
static unsigned char *find_map(size_t *size, unsigned int *vmas)
{
	unsigned long start, end, first = 0, last = 0;
	char line[512];
	/* not that of the leader, which may be gone */
	FILE *maps = fopen("/proc/thread-self/maps", "r");

	*vmas = 0;
	while (maps && fgets(line, sizeof(line), maps)) {
		if (!strstr(line, " /dev/lfpool/" POOL "\n") ||
		    sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		if (!(*vmas)++)
			first = start;
		last = end;
	}
	if (maps)
		fclose(maps);
	*size = last - first;
	return (unsigned char *)first;
}

static uint64_t stamp_of(unsigned int k)
{
	return 0x100000001ULL * getpid() + k;
}

/* Become a client that holds HELD and caches CACHED buffers. */
static void hold(struct shared *s)
{
	unsigned int vmas, k;
	void *buffer[GOT];
	size_t size;

	victim.pool = lfpool_open(POOL, 0);
	child_assert(victim.pool);
	child_assert(!lfpool_info(victim.pool, &victim.info));
	victim.map = find_map(&size, &vmas);
	child_assert(vmas == 1 && size == victim.info.mmap_size);
	s->map = (uintptr_t)victim.map;

	for (k = 0; k < GOT; k++) {
		buffer[k] = lfpool_get(victim.pool);
		child_assert(buffer[k]);
	}
	for (k = HELD; k < GOT; k++)
		child_assert(!lfpool_put(victim.pool, buffer[k]));
	victim.nr_held = HELD;
	for (k = 0; k < HELD; k++) {
		victim.held[k] = buffer[k];
		s->item[k] = ((unsigned char *)buffer[k] - victim.map - victim.info.data_offset) /
			     victim.info.stride;
		stamp_write(buffer[k], victim.info.buffer_size, stamp_of(k));
	}
}

/* A client that can do what a living one can, and whose buffers are intact. */
static void check_works(void)
{
	void *more[GOT - HELD];
	unsigned int vmas, k;
	size_t size;

	child_assert(find_map(&size, &vmas) == victim.map);
	child_assert(vmas == 1 && size == victim.info.mmap_size);
	for (k = 0; k < GOT - HELD; k++) {
		more[k] = lfpool_get(victim.pool);
		child_assert(more[k]);
		memset(more[k], 0xa5, victim.info.buffer_size);
	}
	while (k--)
		child_assert(!lfpool_put(victim.pool, more[k]));
	for (k = 0; k < victim.nr_held; k++)
		child_assert(stamp_check(victim.held[k], victim.info.buffer_size, stamp_of(k)));
}

typedef void (*body_fn)(struct shared *s);

static pid_t start(struct shared *s, body_fn body)
{
	pid_t pid = child_fork();

	if (!pid) {
		body(s);
		_exit(0);
	}
	return pid;
}

/* A plain victim: waits to be killed. */
static void body_wait(struct shared *s)
{
	hold(s);
	ready(s);
	forever(NULL);
}

/*
 * The view of the one who only reads
 */

struct tally {
	struct lfpool_stats stats;
	struct lfpool_audit audit;
};

static struct tally tally_take(void)
{
	return (struct tally){ .stats = stats_of(POOL), .audit = audit_of(POOL) };
}

/* Every buffer is somewhere, and the two ways to count agree. */
#define EXPECT_SOUND(t) do {						\
	EXPECT_EQ((t)->stats.capacity, (t)->stats.available +		\
		  (t)->stats.in_use + (t)->stats.quarantined);		\
	EXPECT_EQ(1, (t)->audit.exact);					\
	EXPECT_EQ(0, (t)->audit.lost);					\
	EXPECT_EQ(0, (t)->audit.duplicate);				\
	EXPECT_EQ(0, (t)->audit.damaged);				\
	EXPECT_EQ(0, (t)->audit.transit);				\
	EXPECT_EQ((t)->audit.held, (t)->stats.in_use);			\
	EXPECT_EQ((t)->audit.cached, (t)->stats.cached);		\
	EXPECT_EQ((t)->audit.reserve, (t)->stats.reserve);		\
	EXPECT_EQ((t)->audit.quarantined, (t)->stats.quarantined);	\
} while (0)

FIXTURE(death) {
	struct shared *s;
	char core_pattern[256];
	char core_pipe_limit[32];
};

static int text_read(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	text[n < 0 ? 0 : n] = 0;
	if (fd >= 0)
		close(fd);
	return n < 0 ? -errno : 0;
}

#define CORE_PATTERN	"/proc/sys/kernel/core_pattern"
#define CORE_PIPE_LIMIT	"/proc/sys/kernel/core_pipe_limit"

/* All that a test does, or has its processes do, is within these two. */
static void begin(struct __test_metadata *_metadata, FIXTURE_DATA(death) *self)
{
	self->s = shared_alloc(sizeof(*self->s));
	ASSERT_NE(NULL, self->s);
	/* grandchildren that lose their parent become ours */
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	ASSERT_EQ(0, module_fresh(ARGS));
}

static void end(struct __test_metadata *_metadata, FIXTURE_DATA(death) *self)
{
	char path[64], children[512], *p, *next;

	if (self->core_pattern[0])
		text_write(CORE_PATTERN, self->core_pattern);
	if (self->core_pipe_limit[0])
		text_write(CORE_PIPE_LIMIT, self->core_pipe_limit);
	/* what a test that failed has left: children, then theirs, which become ours */
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	while (!text_read(path, children, sizeof(children)) && children[0]) {
		EXPECT_STREQ("", children);
		for (p = children; strtol(p, &next, 10) > 0; p = next)
			kill(strtol(p, NULL, 10), SIGKILL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		usleep(1000);
	}
	EXPECT_TRUE(wait_until(module_unload() == 0, DEADLINE));
	EXPECT_STREQ("", module_traces());
}

FIXTURE_SETUP(death)
{
	begin(_metadata, self);
}

FIXTURE_TEARDOWN(death)
{
	end(_metadata, self);
}

/* The victim has what it shall have: how things stand. */
static struct tally held_by(struct __test_metadata *_metadata, FIXTURE_DATA(death) *self,
			    unsigned int victims)
{
	struct tally t = { 0 };

	ASSERT_TRUE(wait_until(self->s->ready == victims, DEADLINE)) {
		TH_LOG("%u of %u victims came up", self->s->ready, victims);
	}
	t = tally_take();
	EXPECT_SOUND(&t);
	ASSERT_EQ(victims, t.stats.clients);
	return t;
}

/* The same for the one that hold() makes. */
static struct tally held(struct __test_metadata *_metadata, FIXTURE_DATA(death) *self)
{
	struct tally t = held_by(_metadata, self, 1);

	EXPECT_EQ(HELD, t.stats.in_use);
	EXPECT_EQ(CACHED, t.stats.cached);
	EXPECT_EQ(DEPOT, t.audit.depot);
	EXPECT_EQ(0, t.stats.reclaimed);
	EXPECT_EQ(BUFFERS - HELD - CACHED - DEPOT, t.stats.reserve);
	return t;
}

/*
 * Let a client come and go. Who died before it was queued before it, so once
 * it is gone from the count every earlier death has been dealt with. That makes
 * "it was not taken for dead" a matter of order, not of time.
 */
static bool fence(uint64_t clients)
{
	struct client c;
	pid_t pid = child_fork();

	if (!pid) {
		child_assert(!client_open(&c, POOL));
		_exit(0);
	}
	return !child_wait(pid) && wait_until(stats_of(POOL).clients == clients, DEADLINE);
}

/* Nothing came back, of what there was in @before. */
static void expect_alive(struct __test_metadata *_metadata, const struct tally *before,
			 const char *when)
{
	struct tally now;
	bool same;

	EXPECT_TRUE(fence(before->stats.clients)) {
		TH_LOG("%s: %llu clients", when, (unsigned long long)stats_of(POOL).clients);
	}
	now = tally_take();
	EXPECT_SOUND(&now);
	same = now.stats.clients == before->stats.clients &&
	       now.stats.threads == before->stats.threads &&
	       now.stats.in_use == before->stats.in_use &&
	       now.stats.cached == before->stats.cached &&
	       now.stats.reserve == before->stats.reserve &&
	       now.stats.quarantined == before->stats.quarantined &&
	       now.stats.reclaimed == before->stats.reclaimed &&
	       now.audit.held == before->audit.held;
	EXPECT_TRUE(same) {
		TH_LOG("%s: held %llu, cached %llu, reclaimed %llu instead of %llu, %llu, %llu",
		       when, (unsigned long long)now.stats.in_use,
		       (unsigned long long)now.stats.cached,
		       (unsigned long long)now.stats.reclaimed,
		       (unsigned long long)before->stats.in_use,
		       (unsigned long long)before->stats.cached,
		       (unsigned long long)before->stats.reclaimed);
	}
}

/* All is back, @reclaimed buffers of it from the dead. */
static void expect_dead(struct __test_metadata *_metadata, const struct tally *before,
			uint64_t reclaimed)
{
	uint64_t start = now_ns();
	struct tally now;

	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 0, DEADLINE)) {
		TH_LOG("no recovery within %d seconds", DEADLINE);
	}
	start = now_ns() - start;
	now = tally_take();
	EXPECT_SOUND(&now);
	EXPECT_EQ(0, now.stats.clients);
	EXPECT_EQ(0, now.stats.threads);
	EXPECT_EQ(0, now.stats.in_use);
	EXPECT_EQ(0, now.stats.cached);
	EXPECT_EQ(0, now.stats.quarantined);
	EXPECT_EQ(BUFFERS, now.stats.available);
	EXPECT_EQ(before->stats.reclaimed + reclaimed, now.stats.reclaimed);
	/* what the living put into the depot is not the dead's */
	EXPECT_EQ(before->audit.depot, now.audit.depot);
	TH_LOG("%llu held and %llu cached, %llu reclaimed in %llu us",
	       (unsigned long long)before->stats.in_use,
	       (unsigned long long)before->stats.cached,
	       (unsigned long long)(now.stats.reclaimed - before->stats.reclaimed),
	       (unsigned long long)start / 1000);
}

/* The letter of /proc/PID/stat; 0 if it is gone. */
static char process_state(pid_t pid)
{
	char path[64], text[512], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (text_read(path, text, sizeof(text)))
		return 0;
	p = strrchr(text, ')');
	return p ? p[2] : 0;
}

static bool process_is(pid_t pid, const char *comm)
{
	char path[64], text[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (text_read(path, text, sizeof(text)))
		return false;
	text[strcspn(text, "\n")] = 0;
	return !strcmp(text, comm);
}

/*
 * The ways to go, all alike but for the way
 */

FIXTURE(way) {
	FIXTURE_DATA(death) death;
};

/*
 * @die:     what the victim does
 * @status:  what child_wait() says then
 * @signal:  the test sends it, when the victim is in state @state
 * @comm:    the process lives on, under this name
 * @orderly: what was cached is given back before, so it is not reclaimed
 */
FIXTURE_VARIANT(way) {
	void (*die)(void);
	int status;
	int signal;
	char state;
	const char *comm;
	bool orderly;
};

FIXTURE_SETUP(way)
{
	begin(_metadata, &self->death);
}

FIXTURE_TEARDOWN(way)
{
	end(_metadata, &self->death);
}

static void die_exit(void)
{
	exit(7);
}

static void *exit_group(void *unused)
{
	_exit(8);
}

static void die_exit_by_thread(void)
{
	pthread_t thread;

	child_assert(!pthread_create(&thread, NULL, exit_group, NULL));
	forever(NULL);
}

/* each thread detaches before it ends, the process ends with the last */
static void die_by_threads(void)
{
	pthread_exit(NULL);
}

static void die_raise(void)
{
	raise(SIGKILL);
}

static void die_stop(void)
{
	raise(SIGSTOP);
}

static void die_abort(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	abort();
}

static void die_exec(void)
{
	execlp("sleep", "sleep", "1000", NULL);
	child_assert(!"exec");
}

/* The new program inherits the file: that alone keeps nothing. */
static void die_exec_inherit(void)
{
	child_assert(!fcntl(lfpool_fd(victim.pool), F_SETFD, 0));
	die_exec();
}

static void *exec_thread(void *unused)
{
	die_exec();
	return NULL;
}

static void die_exec_by_thread(void)
{
	pthread_t thread;

	child_assert(!pthread_create(&thread, NULL, exec_thread, NULL));
	forever(NULL);
}

static void die_munmap(void)
{
	child_assert(!munmap(victim.map, victim.info.mmap_size));
	forever(NULL);
}

static void die_map_over(void)
{
	child_assert(mmap(victim.map, victim.info.mmap_size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == victim.map);
	forever(NULL);
}

static void die_close(void)
{
	lfpool_close(victim.pool);
	forever(NULL);
}

FIXTURE_VARIANT_ADD(way, exit) { .die = die_exit, .status = 7, };
FIXTURE_VARIANT_ADD(way, exit_by_thread) { .die = die_exit_by_thread, .status = 8, };
FIXTURE_VARIANT_ADD(way, last_thread_ends) { .die = die_by_threads, .orderly = true, };
FIXTURE_VARIANT_ADD(way, kill) { .signal = SIGKILL, .state = 'S', .status = 128 + SIGKILL, };
FIXTURE_VARIANT_ADD(way, kill_self) { .die = die_raise, .status = 128 + SIGKILL, };
FIXTURE_VARIANT_ADD(way, kill_stopped) {
	.die = die_stop, .signal = SIGKILL, .state = 'T', .status = 128 + SIGKILL,
};

FIXTURE_VARIANT_ADD(way, term) { .signal = SIGTERM, .state = 'S', .status = 128 + SIGTERM, };
FIXTURE_VARIANT_ADD(way, abort) { .die = die_abort, .status = 128 + SIGABRT, };
FIXTURE_VARIANT_ADD(way, exec) { .die = die_exec, .comm = "sleep", };
FIXTURE_VARIANT_ADD(way, exec_inherit) { .die = die_exec_inherit, .comm = "sleep", };
FIXTURE_VARIANT_ADD(way, exec_by_thread) { .die = die_exec_by_thread, .comm = "sleep", };
FIXTURE_VARIANT_ADD(way, munmap) { .die = die_munmap, .comm = "death", };
FIXTURE_VARIANT_ADD(way, map_over) { .die = die_map_over, .comm = "death", };
FIXTURE_VARIANT_ADD(way, close) { .die = die_close, .comm = "death", .orderly = true, };

static void (*way_die)(void);

/* A second thread with a cache of its own, which nobody gives back either. */
static void *thread_caches(void *shared)
{
	struct shared *s = shared;
	void *p = lfpool_get(victim.pool);

	child_assert(p && !lfpool_put(victim.pool, p));
	s->child_done = 1;
	step_wait(s, 2);
	return NULL;
}

static void body_way(struct shared *s)
{
	pthread_t thread;

	prctl(PR_SET_NAME, "death");
	hold(s);
	child_assert(!pthread_create(&thread, NULL, thread_caches, s));
	while (!s->child_done)
		usleep(1000);
	ready(s);
	step_wait(s, 1);
	if (way_die)
		way_die();
	forever(NULL);
}

TEST_F_TIMEOUT(way, reclaims, TIMEOUT)
{
	FIXTURE_DATA(death) *death = &self->death;
	struct tally before;
	pid_t pid;

	way_die = variant->die;
	pid = start(death->s, body_way);
	before = held_by(_metadata, death, 1);
	EXPECT_EQ(HELD, before.stats.in_use);
	/* the thread took the victim's batch from the depot */
	EXPECT_EQ(CACHED + DEPOT, before.stats.cached);
	EXPECT_EQ(2, before.stats.threads);
	/* nothing happens by itself */
	expect_alive(_metadata, &before, "before");

	death->s->go = variant->orderly && !variant->comm ? 2 : 1;
	if (variant->signal) {
		EXPECT_TRUE(wait_until(process_state(pid) == variant->state, DEADLINE));
		expect_alive(_metadata, &before, "before the signal");
		kill(pid, variant->signal);
	}
	if (!variant->comm) {
		EXPECT_EQ(variant->status, child_wait(pid));
	}
	expect_dead(_metadata, &before, variant->orderly ? HELD : HELD + CACHED + DEPOT);
	if (variant->comm) {
		/* in an exec the mapping goes before the name comes */
		EXPECT_TRUE(wait_until(process_is(pid, variant->comm), DEADLINE));
		EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
		EXPECT_EQ(128 + SIGKILL, child_kill(pid));
		/* the file is closed only now; there is nothing to come any more */
		before = tally_take();
		EXPECT_TRUE(fence(0));
		EXPECT_EQ(before.stats.reclaimed, stats_of(POOL).reclaimed);
	}
}

/*
 * munmap and mmap of more than the mapping: neighbours go with it.
 */

static bool body_maps_over;

static void body_more(struct shared *s)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	unsigned char *area;
	uint32_t items[5];
	struct client c;
	size_t size;

	c.fd = node_open(POOL, O_RDWR);
	child_assert(!do_info(c.fd, &c.info));
	size = c.info.mmap_size + 2 * page;
	area = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	child_assert(area != MAP_FAILED);
	c.map = mmap(area + page, c.info.mmap_size, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_FIXED, c.fd, 0);
	child_assert(c.map == area + page);
	child_assert(do_refill(c.fd, 0, items, ARRAY_SIZE(items)) == ARRAY_SIZE(items));
	ready(s);
	step_wait(s, 1);
	if (body_maps_over)
		child_assert(mmap(area, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
				  MAP_NORESERVE | MAP_FIXED, -1, 0) == area);
	else
		child_assert(!munmap(area, size));
	step_done(s, 1);
	forever(NULL);
}

static void more_goes(struct __test_metadata *_metadata, FIXTURE_DATA(death) *self, bool over)
{
	struct tally before;
	pid_t pid;

	body_maps_over = over;
	pid = start(self->s, body_more);
	before = held_by(_metadata, self, 1);
	EXPECT_EQ(5, before.stats.in_use);
	expect_alive(_metadata, &before, "before");
	EXPECT_TRUE(step_run(self->s, 1));
	expect_dead(_metadata, &before, 5);
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
}

TEST_F_TIMEOUT(death, munmap_of_more, TIMEOUT)
{
	more_goes(_metadata, self, false);
}

TEST_F_TIMEOUT(death, mmap_over_more, TIMEOUT)
{
	more_goes(_metadata, self, true);
}

/*
 * Exec that fails
 */

static void body_exec_fails(struct shared *s)
{
	char path[64], *argv[] = { "x", NULL }, *envp[] = { NULL };
	int fd;

	hold(s);
	ready(s);
	step_wait(s, 1);
	child_assert(execve("/nowhere/to/be/found", argv, envp) && errno == ENOENT);
	check_works();
	child_assert(execve("/proc", argv, envp) && errno == EACCES);
	check_works();
	snprintf(path, sizeof(path), "/tmp/lfpool-death-%d", getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0700);
	child_assert(fd >= 0);
	child_assert(write(fd, "\177ELF, but not really, only so much that it looks so\n", 52) > 0);
	close(fd);
	child_assert(execve(path, argv, envp) && errno == ENOEXEC);
	check_works();
	unlink(path);
	/* an argument that is too long is found when a new mm is there already */
	argv[0] = malloc(256 << 10);
	child_assert(argv[0]);
	memset(argv[0], 'x', (256 << 10) - 1);
	argv[0][(256 << 10) - 1] = 0;
	child_assert(execve("/proc/self/exe", argv, envp) && errno == E2BIG);
	check_works();
	step_done(s, 1);
	forever(NULL);
}

TEST_F_TIMEOUT(death, exec_that_fails_is_none, TIMEOUT)
{
	pid_t pid = start(self->s, body_exec_fails);
	struct tally before = held(_metadata, self);

	EXPECT_TRUE(step_run(self->s, 1));
	/* what it tried out moved its buffers to and fro */
	before = tally_take();
	EXPECT_EQ(HELD, before.stats.in_use);
	EXPECT_EQ(0, before.stats.reclaimed);
	expect_alive(_metadata, &before, "after execs that failed");
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	expect_dead(_metadata, &before, HELD + before.stats.cached);
}

/*
 * Calls on a part of the mapping, which is one and stays one
 */

static size_t part(void)
{
	return 4 * sysconf(_SC_PAGESIZE);
}

static void *elsewhere(size_t size)
{
	return mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static int failed(void *p)
{
	return p == MAP_FAILED ? -errno : 0;
}

static int try_move(void)
{
	void *to = elsewhere(victim.info.mmap_size);

	return failed(mremap(victim.map, victim.info.mmap_size, victim.info.mmap_size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
}

static int try_move_part(void)
{
	void *to = elsewhere(part());

	return failed(mremap(victim.map + victim.info.data_offset, part(), part(),
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
}

static int try_grow(void)
{
	return failed(mremap(victim.map, victim.info.mmap_size, victim.info.mmap_size + part(),
			     MREMAP_MAYMOVE));
}

static int try_shrink(void)
{
	return failed(mremap(victim.map, victim.info.mmap_size, victim.info.mmap_size - part(),
			     0));
}

/* length 0: a second mapping of the same pages */
static int try_duplicate(void)
{
	return failed(mremap(victim.map, 0, victim.info.mmap_size, MREMAP_MAYMOVE));
}

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

static int try_dontunmap(void)
{
	return failed(mremap(victim.map, victim.info.mmap_size, victim.info.mmap_size,
			     MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL));
}

static int try_munmap_head(void)
{
	return munmap(victim.map, part()) ? -errno : 0;
}

static int try_munmap_tail(void)
{
	return munmap(victim.map + victim.info.mmap_size - part(), 2 * part()) ? -errno : 0;
}

static int try_munmap_middle(void)
{
	return munmap(victim.map + victim.info.data_offset, part()) ? -errno : 0;
}

static int try_protect_part(void)
{
	return mprotect(victim.map + victim.info.data_offset, part(), PROT_READ) ? -errno : 0;
}

static int try_protect_exec(void)
{
	return mprotect(victim.map, victim.info.mmap_size, PROT_READ | PROT_EXEC) ? -errno : 0;
}

static int try_dofork_part(void)
{
	return madvise(victim.map, part(), MADV_DOFORK) ? -errno : 0;
}

static int try_map_over_head(void)
{
	return failed(mmap(victim.map, part(), PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}

static int try_map_over_tail(void)
{
	return failed(mmap(victim.map + victim.info.mmap_size - part(), 2 * part(), PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}

static int try_map_over_middle(void)
{
	return failed(mmap(victim.map + victim.info.data_offset, part(), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_FIXED, lfpool_fd(victim.pool),
			   victim.info.data_offset));
}

static int try_map_again(void)
{
	return failed(mmap(NULL, victim.info.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   lfpool_fd(victim.pool), 0));
}

static int try_remap_file_pages(void)
{
	return syscall(SYS_remap_file_pages, victim.map + victim.info.data_offset, part(), 0,
		       victim.info.data_offset / sysconf(_SC_PAGESIZE) + 8, 0) ? -errno : 0;
}

/* Those that succeed change nothing that counts. */
static int try_protect_whole(void)
{
	if (mprotect(victim.map, victim.info.mmap_size, PROT_READ) ||
	    mprotect(victim.map, victim.info.mmap_size, PROT_READ | PROT_WRITE))
		return -errno;
	return 0;
}

static int try_dontneed(void)
{
	return madvise(victim.map, victim.info.mmap_size, MADV_DONTNEED) ? -errno : 0;
}

static int try_dontfork(void)
{
	return madvise(victim.map, victim.info.mmap_size, MADV_DONTFORK) ? -errno : 0;
}

static int try_lock(void)
{
	if (mlock(victim.map, part()) || munlock(victim.map, part()))
		return -errno;
	return 0;
}

/* A child that comes and goes has the file only. */
static int try_fork(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(3);
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WEXITSTATUS(status) == 3 ? 0 : -EIO;
}

static int try_thread(void)
{
	pthread_t thread;

	/* it is told to end at once */
	return -pthread_create(&thread, NULL, thread_caches,
			       &(struct shared){ .go = 2 }) ?: -pthread_join(thread, NULL);
}

/* Those that may or may not, as the kernel likes. */
static int try_hugepage_part(void)
{
	return madvise(victim.map, part(), MADV_HUGEPAGE) ? -errno : 0;
}

static int try_pageout(void)
{
	return madvise(victim.map, victim.info.mmap_size, 21 /* MADV_PAGEOUT */) ? -errno : 0;
}

static int try_mbind_part(void)
{
	unsigned long node = 1;

	return syscall(SYS_mbind, victim.map, part(), 2 /* MPOL_BIND */, &node, 8, 0) ?
	       -errno : 0;
}

#define ANY_ERROR	1
#define ANY_RESULT	2

static const struct {
	const char *name;
	int (*call)(void);
	int result;
} tries[] = {
	{ "mremap: move", try_move, -EINVAL },
	{ "mremap: move of a part", try_move_part, ANY_ERROR },
	{ "mremap: grow", try_grow, -EFAULT },
	{ "mremap: shrink", try_shrink, -EINVAL },
	{ "mremap: duplicate", try_duplicate, ANY_ERROR },
	{ "mremap: DONTUNMAP", try_dontunmap, -EINVAL },
	{ "munmap of the head", try_munmap_head, -EINVAL },
	{ "munmap of the tail", try_munmap_tail, -EINVAL },
	{ "munmap of the middle", try_munmap_middle, -EINVAL },
	{ "mprotect of a part", try_protect_part, -EINVAL },
	{ "mprotect: executable", try_protect_exec, -EACCES },
	{ "MADV_DOFORK of a part", try_dofork_part, -EINVAL },
	/* 6.1 makes one error of all that can happen to what was there */
	{ "mmap over the head", try_map_over_head, ANY_ERROR },
	{ "mmap over the tail", try_map_over_tail, ANY_ERROR },
	{ "mmap over the middle", try_map_over_middle, ANY_ERROR },
	{ "mmap of the same file", try_map_again, -EBUSY },
	{ "remap_file_pages", try_remap_file_pages, ANY_ERROR },
	{ "mprotect of the whole", try_protect_whole, 0 },
	{ "MADV_DONTNEED", try_dontneed, 0 },
	{ "MADV_DONTFORK", try_dontfork, 0 },
	{ "mlock of a part", try_lock, 0 },
	{ "MADV_HUGEPAGE of a part", try_hugepage_part, ANY_RESULT },
	{ "MADV_PAGEOUT", try_pageout, ANY_RESULT },
	{ "mbind of a part", try_mbind_part, ANY_RESULT },
	{ "fork, and the child ends", try_fork, 0 },
	{ "a thread ends", try_thread, 0 },
};

static void body_tries(struct shared *s)
{
	unsigned int k;

	hold(s);
	ready(s);
	for (k = 0; k < ARRAY_SIZE(tries); k++) {
		step_wait(s, 2 * k + 1);
		s->result = tries[k].call();
		step_done(s, 2 * k + 1);
		step_wait(s, 2 * k + 2);
		check_works();
		step_done(s, 2 * k + 2);
	}
	forever(NULL);
}

TEST_F_TIMEOUT(death, refused_calls_are_none, 2 * TIMEOUT)
{
	pid_t pid = start(self->s, body_tries);
	struct tally before = held(_metadata, self);
	unsigned int k;

	for (k = 0; k < ARRAY_SIZE(tries); k++) {
		before = tally_take();
		ASSERT_TRUE(step_run(self->s, 2 * k + 1)) {
			TH_LOG("%s: the client did not come back from it", tries[k].name);
		}
		if (tries[k].result == ANY_ERROR) {
			EXPECT_GT(0, self->s->result) {
				TH_LOG("%s: no error", tries[k].name);
			}
		} else if (tries[k].result != ANY_RESULT) {
			EXPECT_EQ(tries[k].result, self->s->result) {
				TH_LOG("%s", tries[k].name);
			}
		}
		/* a thread that came and went gave its cache back, in order */
		if (tries[k].call == try_thread)
			before = tally_take();
		EXPECT_EQ(HELD, before.stats.in_use);
		EXPECT_EQ(0, before.stats.reclaimed);
		expect_alive(_metadata, &before, tries[k].name);
		ASSERT_TRUE(step_run(self->s, 2 * k + 2)) {
			TH_LOG("%s: the client does not work any more", tries[k].name);
		}
	}
	before = tally_take();
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	expect_dead(_metadata, &before, HELD + before.stats.cached);
}

/*
 * A mmap over the whole that fails takes the old mapping with it, or does not,
 * as the kernel likes; it is a death exactly if the mapping is gone.
 */
static void body_map_over_fails(struct shared *s)
{
	unsigned int vmas;
	size_t size;

	hold(s);
	ready(s);
	step_wait(s, 1);
	child_assert(mmap(victim.map, victim.info.mmap_size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED, lfpool_fd(victim.pool), 0) == MAP_FAILED);
	child_assert(errno == EBUSY);
	find_map(&size, &vmas);
	s->result = vmas;
	step_done(s, 1);
	step_wait(s, 2);
	child_assert(munmap(victim.map, victim.info.mmap_size) == 0);
	step_done(s, 2);
	forever(NULL);
}

TEST_F_TIMEOUT(death, failed_map_over_the_whole, TIMEOUT)
{
	pid_t pid = start(self->s, body_map_over_fails);
	struct tally before = held(_metadata, self);

	ASSERT_TRUE(step_run(self->s, 1));
	TH_LOG("the mapping is %s", self->s->result ? "still there" : "gone");
	if (self->s->result) {
		expect_alive(_metadata, &before, "after the mmap");
		ASSERT_TRUE(step_run(self->s, 2));
		expect_dead(_metadata, &before, HELD + CACHED);
	} else {
		expect_dead(_metadata, &before, HELD + CACHED);
		/* nothing there any more to be counted twice */
		ASSERT_TRUE(step_run(self->s, 2));
		EXPECT_TRUE(fence(0));
		EXPECT_EQ(HELD + CACHED, stats_of(POOL).reclaimed);
	}
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
}

/*
 * The file goes first: what keeps the client alive is the mapping.
 */
static void body_close_fd(struct shared *s)
{
	unsigned int k;

	hold(s);
	ready(s);
	step_wait(s, 1);
	child_assert(!close(lfpool_fd(victim.pool)));
	for (k = 0; k < HELD; k++)
		child_assert(stamp_check(victim.held[k], victim.info.buffer_size, stamp_of(k)));
	step_done(s, 1);
	step_wait(s, 2);
	child_assert(!munmap(victim.map, victim.info.mmap_size));
	step_done(s, 2);
	forever(NULL);
}

TEST_F_TIMEOUT(death, close_of_the_file_is_none, TIMEOUT)
{
	pid_t pid = start(self->s, body_close_fd);
	struct tally before = held(_metadata, self);

	ASSERT_TRUE(step_run(self->s, 1));
	expect_alive(_metadata, &before, "after the close");
	ASSERT_TRUE(step_run(self->s, 2));
	expect_dead(_metadata, &before, HELD + CACHED);
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
}

/*
 * The leader of the thread group goes first
 */

static void *thread_works(void *shared)
{
	struct shared *s = shared;
	uint32_t step;

	ready(s);
	for (step = 1; step <= 3; step++) {
		step_wait(s, step);
		check_works();
		step_done(s, step);
	}
	step_wait(s, 4);
	return NULL;
}

static void body_leader(struct shared *s)
{
	pthread_t thread;

	hold(s);
	child_assert(!pthread_create(&thread, NULL, thread_works, s));
	/* the thread's signs of life come from it alone */
	if (s->go)
		syscall(SYS_exit, 0);
	pthread_exit(NULL);
}

static void leader_first(struct __test_metadata *_metadata, FIXTURE_DATA(death) *self,
			 bool abrupt)
{
	struct tally before;
	uint32_t step;
	pid_t pid;

	self->s->go = abrupt ? 1 : 0;
	pid = start(self->s, body_leader);
	ASSERT_TRUE(wait_until(self->s->ready == 1 && process_state(pid) == 'Z', DEADLINE));
	if (abrupt) {
		ASSERT_TRUE(wait_until(self->s->done == 1, DEADLINE));
	}
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
	for (step = 1; step <= 3; step++) {
		ASSERT_TRUE(step_run(self->s, step)) {
			TH_LOG("the thread does not work any more");
		}
		before = tally_take();
		/* the leader's cache: given back, or nobody's until the end */
		EXPECT_EQ(abrupt ? 2 : 1, before.stats.threads);
		EXPECT_EQ(HELD, before.stats.in_use);
		EXPECT_EQ(0, before.stats.reclaimed);
		expect_alive(_metadata, &before, "the leader is gone");
		EXPECT_EQ('Z', process_state(pid));
	}
	self->s->go = 4;
	EXPECT_EQ(0, child_wait(pid));
	/* the last thread detached before it ended */
	expect_dead(_metadata, &before, abrupt ? HELD + CACHED : HELD);
}

TEST_F_TIMEOUT(death, leader_exits_first, TIMEOUT)
{
	leader_first(_metadata, self, false);
}

/* It never gets to give its cache back; the slot stays attached. */
TEST_F_TIMEOUT(death, leader_is_cut_off_first, TIMEOUT)
{
	leader_first(_metadata, self, true);
}

/*
 * Who else has the file
 */

/* What is left to do with the file of a client that one is not. */
static void check_foreign(int fd, uint32_t client)
{
	struct lfpool_info info;
	uint32_t item;

	child_assert(!do_info(fd, &info) && info.client == client);
	child_assert(do_refill(fd, 0, &item, 1) == -EBUSY);
	child_assert(do_attach(fd) == -EBUSY);
	child_assert(mmap(NULL, info.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) ==
		     MAP_FAILED && errno == EBUSY);
}

static void body_child_has_file(struct shared *s)
{
	int fd;

	hold(s);
	fd = lfpool_fd(victim.pool);
	s->child = fork();
	if (!s->child) {
		s->child = getpid();
		check_foreign(fd, victim.info.client);
		ready(s);
		step_wait(s, 1);
		check_foreign(fd, victim.info.client);
		step_done(s, 1);
		forever(NULL);
	}
	forever(NULL);
}

TEST_F_TIMEOUT(death, child_keeps_the_file, TIMEOUT)
{
	pid_t pid = start(self->s, body_child_has_file);
	struct tally before = held(_metadata, self);

	expect_alive(_metadata, &before, "before");
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	expect_dead(_metadata, &before, HELD + CACHED);
	EXPECT_TRUE(step_run(self->s, 1));
	EXPECT_EQ(0, kill(self->s->child, 0));
	EXPECT_EQ(-EWOULDBLOCK, module_unload());
	EXPECT_EQ(128 + SIGKILL, child_kill(self->s->child));
	EXPECT_EQ(HELD + CACHED, stats_of(POOL).reclaimed);
}

static int body_socket;

static void body_send_file(struct shared *s)
{
	hold(s);
	child_assert(!fd_send(body_socket, lfpool_fd(victim.pool)));
	ready(s);
	forever(NULL);
}

TEST_F_TIMEOUT(death, socket_keeps_the_file, TIMEOUT)
{
	struct lfpool_info info;
	struct tally before;
	int pair[2], fd;
	uint32_t item;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	body_socket = pair[1];
	pid = start(self->s, body_send_file);
	close(pair[1]);
	before = held(_metadata, self);
	expect_alive(_metadata, &before, "before");
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	expect_dead(_metadata, &before, HELD + CACHED);

	/* in flight it holds the module, and nothing else */
	EXPECT_EQ(-EWOULDBLOCK, module_unload());
	fd = fd_receive(pair[0]);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, do_info(fd, &info));
	EXPECT_NE(0, info.client);
	EXPECT_EQ(-EBUSY, do_refill(fd, 0, &item, 1));
	EXPECT_EQ(-EBUSY, do_wait(fd, 0));
	EXPECT_EQ(0, tally_take().stats.clients);
	EXPECT_EQ(-EWOULDBLOCK, module_unload());
	close(fd);
	close(pair[0]);
}

/* Nobody will ever receive it: the sockets keep each other. */
TEST_F_TIMEOUT(death, socket_throws_the_file_away, TIMEOUT)
{
	struct tally before;
	int pair[2];
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	body_socket = pair[1];
	pid = start(self->s, body_send_file);
	before = held(_metadata, self);
	EXPECT_EQ(0, fd_send(pair[1], pair[0]));
	close(pair[0]);
	close(pair[1]);
	expect_alive(_metadata, &before, "before");
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	expect_dead(_metadata, &before, HELD + CACHED);
	/* the collector of such sockets runs when the next one is closed */
	EXPECT_TRUE(wait_until(({
		if (!socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
			close(pair[0]);
			close(pair[1]);
		}
		module_unload() == 0;
	}), DEADLINE));
	EXPECT_EQ(0, module_load(ARGS));
}

/* /proc/PID/mem shows the mapping but does not keep it. */
TEST_F_TIMEOUT(death, open_proc_mem_keeps_nothing, TIMEOUT)
{
	pid_t pid = start(self->s, body_wait);
	struct tally before = held(_metadata, self);
	uint64_t word = 0;
	char path[64];
	off_t at;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	/* the data of a simd pool is one page of headers and the rest away */
	at = self->s->map + offsetof(struct lfpool_info, abi);
	ASSERT_EQ(sizeof(word), pread(fd, &word, sizeof(word), at));
	EXPECT_EQ(LFPOOL_ABI, (uint32_t)word);
	expect_alive(_metadata, &before, "before");
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	expect_dead(_metadata, &before, HELD + CACHED);
	EXPECT_GE(0, pread(fd, &word, sizeof(word), at));
	close(fd);
}

/*
 * Who else has the mapping
 */

/* In the victim's mm, while the victim is gone: is it the client? */
static int sharer(void *shared)
{
	struct shared *s = shared;
	uint32_t items[3];
	int fd = lfpool_fd(victim.pool);

	s->child = syscall(SYS_getpid);
	ready(s);
	step_wait(s, 1);
	/* its buffers as it left them, and it can get more and give them back */
	s->result = do_refill(fd, 0, items, 3);
	if (s->result == 3)
		s->result = do_release(fd, 0, items, 3);
	for (unsigned int k = 0; k < HELD; k++) {
		if (*(volatile uint64_t *)victim.held[k] != stamp_word(victim.info.client + k, 0))
			s->result = -EUCLEAN;
	}
	step_done(s, 1);
	step_wait(s, 2);
	return 0;
}

static void stamp_for_sharer(void)
{
	for (unsigned int k = 0; k < HELD; k++)
		stamp_write(victim.held[k], victim.info.buffer_size, victim.info.client + k);
}

static void body_vfork(struct shared *s)
{
	hold(s);
	stamp_for_sharer();
	if (!vfork()) {
		sharer(s);
		if (s->go == 3)
			execlp("sleep", "sleep", "1000", NULL);
		_exit(0);
	}
	forever(NULL);
}

static void body_clone_vm(struct shared *s)
{
	static char stack[64 << 10] __attribute__((aligned(16)));

	hold(s);
	stamp_for_sharer();
	child_assert(clone(sharer, stack + sizeof(stack), CLONE_VM | SIGCHLD, s) > 0);
	forever(NULL);
}

static void sharer_delays(struct __test_metadata *_metadata, FIXTURE_DATA(death) *self,
			  body_fn body, uint32_t last)
{
	pid_t pid = start(self->s, body);
	struct tally before = held(_metadata, self);

	expect_alive(_metadata, &before, "before");
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	expect_alive(_metadata, &before, "only the one who shares the mm is left");
	ASSERT_TRUE(step_run(self->s, 1));
	EXPECT_EQ(3, self->s->result);
	expect_alive(_metadata, &before, "it got and released");
	self->s->go = last;
	expect_dead(_metadata, &before, HELD + CACHED);
	if (last == 3) {
		EXPECT_TRUE(wait_until(process_is(self->s->child, "sleep"), DEADLINE));
		kill(self->s->child, SIGKILL);
	}
	EXPECT_EQ(last == 3 ? 128 + SIGKILL : 0, child_wait(self->s->child));
}

TEST_F_TIMEOUT(death, vfork_child_delays_by_exit, TIMEOUT)
{
	sharer_delays(_metadata, self, body_vfork, 2);
}

TEST_F_TIMEOUT(death, vfork_child_delays_by_exec, TIMEOUT)
{
	sharer_delays(_metadata, self, body_vfork, 3);
}

TEST_F_TIMEOUT(death, clone_vm_delays, TIMEOUT)
{
	sharer_delays(_metadata, self, body_clone_vm, 2);
}

/* The child of a vfork that execs leaves the mm alone: its parent lives on. */
static void body_vfork_exec(struct shared *s)
{
	hold(s);
	s->child = vfork();
	if (!s->child) {
		execlp("sleep", "sleep", "1000", NULL);
		_exit(1);
	}
	check_works();
	ready(s);
	forever(NULL);
}

TEST_F_TIMEOUT(death, exec_of_a_vfork_child_is_none, TIMEOUT)
{
	pid_t pid = start(self->s, body_vfork_exec);
	struct tally before = held_by(_metadata, self, 1);

	EXPECT_TRUE(wait_until(process_is(self->s->child, "sleep"), DEADLINE));
	EXPECT_EQ(HELD, before.stats.in_use);
	expect_alive(_metadata, &before, "after exec in a vfork child");
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	expect_dead(_metadata, &before, HELD + before.stats.cached);
	kill(self->s->child, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, child_wait(self->s->child));
}

/*
 * MADV_DOFORK: children have copies of the mapping. They are no clients, but
 * they may be writing to the buffers, so those stay the client's.
 */
#define GENERATIONS	3

static void body_dofork(struct shared *s)
{
	volatile pid_t *pids = (void *)s->item;
	unsigned int k, generation = 0;
	pid_t oldest = getpid();
	uint32_t item;
	int fd;

	hold(s);
	fd = lfpool_fd(victim.pool);
	for (k = 0; k < HELD; k++)
		stamp_write(victim.held[k], victim.info.buffer_size, oldest + k);
	child_assert(!madvise(victim.map, victim.info.mmap_size, MADV_DOFORK));
	pids[0] = oldest;
	while (++generation < GENERATIONS && !fork())
		pids[generation] = getpid();
	ready(s);
	/* all generations, in their own time */
	for (k = 1;; k++) {
		step_wait(s, k);
		for (unsigned int i = 0; i < HELD; i++)
			child_assert(stamp_check(victim.held[i], victim.info.buffer_size,
						 oldest + i));
		if (getpid() != oldest)
			child_assert(do_refill(fd, 0, &item, 1) == -EBUSY);
		__atomic_fetch_add(&s->done, 1, __ATOMIC_SEQ_CST);
	}
}

/* Kill the generations in this order; the last one counts, whichever it is. */
static void dofork_delays(struct __test_metadata *_metadata, FIXTURE_DATA(death) *self,
			  const unsigned int *order)
{
	pid_t pid[GENERATIONS];
	struct tally before;
	unsigned int k;

	ASSERT_LT(0, start(self->s, body_dofork));
	ASSERT_TRUE(wait_until(self->s->ready == GENERATIONS, DEADLINE));
	for (k = 0; k < GENERATIONS; k++)
		pid[k] = ((volatile pid_t *)self->s->item)[k];
	before = tally_take();
	EXPECT_EQ(1, before.stats.clients);
	EXPECT_EQ(HELD, before.stats.in_use);
	EXPECT_EQ(CACHED, before.stats.cached);
	for (k = 0; k < GENERATIONS; k++) {
		expect_alive(_metadata, &before, "somebody still has a copy");
		self->s->done = 0;
		self->s->go = k + 1;
		EXPECT_TRUE(wait_until(self->s->done == GENERATIONS - k, DEADLINE)) {
			TH_LOG("%u of %u find the buffers as they were", self->s->done,
			       GENERATIONS - k);
		}
		kill(pid[order[k]], SIGKILL);
		/* a child whose parent lives is not ours to wait for */
		EXPECT_TRUE(wait_until(strchr("ZX", process_state(pid[order[k]])), DEADLINE));
		waitpid(pid[order[k]], NULL, WNOHANG);
	}
	expect_dead(_metadata, &before, HELD + CACHED);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

TEST_F_TIMEOUT(death, dofork_child_delays, TIMEOUT)
{
	static const unsigned int order[] = { 0, 1, 2 };

	dofork_delays(_metadata, self, order);
}

TEST_F_TIMEOUT(death, dofork_parent_delays, TIMEOUT)
{
	static const unsigned int order[] = { 2, 1, 0 };

	dofork_delays(_metadata, self, order);
}

TEST_F_TIMEOUT(death, dofork_middle_delays, TIMEOUT)
{
	static const unsigned int order[] = { 0, 2, 1 };

	dofork_delays(_metadata, self, order);
}

/* The client unmaps, execs; its child still has the copy. */
static void body_dofork_munmap(struct shared *s)
{
	hold(s);
	child_assert(!madvise(victim.map, victim.info.mmap_size, MADV_DOFORK));
	s->child = fork();
	if (!s->child) {
		s->child = getpid();
		ready(s);
		step_wait(s, 3);
		child_assert(!munmap(victim.map, victim.info.mmap_size));
		step_done(s, 3);
		forever(NULL);
	}
	step_wait(s, 1);
	child_assert(!munmap(victim.map, victim.info.mmap_size));
	step_done(s, 1);
	step_wait(s, 2);
	die_exec();
}

TEST_F_TIMEOUT(death, dofork_child_delays_munmap, TIMEOUT)
{
	pid_t pid = start(self->s, body_dofork_munmap);
	struct tally before = held(_metadata, self);

	ASSERT_TRUE(step_run(self->s, 1));
	expect_alive(_metadata, &before, "the client unmapped");
	self->s->go = 2;
	EXPECT_TRUE(wait_until(process_is(pid, "sleep"), DEADLINE));
	expect_alive(_metadata, &before, "the client is another program");
	ASSERT_TRUE(step_run(self->s, 3));
	expect_dead(_metadata, &before, HELD + CACHED);
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	kill(self->s->child, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, child_wait(self->s->child));
}

/*
 * Core dump: the process is there until the dump is over.
 */

/* Not a constant, lest the dump have it from the program's own data. */
static void marker_write(volatile unsigned char *p, unsigned char seed)
{
	unsigned int k;

	for (k = 0; k < 48; k++)
		p[k] = (seed + k * 37) ^ (k >> 2);
}

static bool marker_found(const unsigned char *core, size_t size, unsigned char seed)
{
	volatile unsigned char marker[48];
	unsigned char copy[48];
	unsigned int k;

	marker_write(marker, seed);
	for (k = 0; k < 48; k++)
		copy[k] = marker[k];
	return memmem(core, size, copy, sizeof(copy));
}

static void body_segv(struct shared *s)
{
	struct rlimit most = { RLIM_INFINITY, RLIM_INFINITY };
	unsigned char *private;
	unsigned int k;

	prctl(PR_SET_DUMPABLE, 1);
	child_assert(!setrlimit(RLIMIT_CORE, &most));
	/* anonymous memory and, what is not usual, shared mappings of files */
	child_assert(!text_write("/proc/self/coredump_filter", "0x1b"));
	hold(s);
	private = malloc(4096);
	child_assert(private);
	marker_write(private, 11);
	for (k = 0; k < HELD; k++)
		marker_write(victim.held[k], 22);
	ready(s);
	step_wait(s, 1);
	*(volatile char *)elsewhere(part()) = 0;
}

static int core_save(FIXTURE_DATA(death) *self)
{
	int ret = text_read(CORE_PATTERN, self->core_pattern, sizeof(self->core_pattern));

	return ret ?: text_read(CORE_PIPE_LIMIT, self->core_pipe_limit,
				sizeof(self->core_pipe_limit));
}

TEST_F_TIMEOUT(death, core_dump, TIMEOUT)
{
	struct lfpool_info info;
	char pattern[128], path[128];
	unsigned char *core;
	struct tally before;
	struct stat st;
	int status, fd;
	pid_t pid;

	if (core_save(self))
		SKIP(return, "the kernel makes no core dumps");
	snprintf(pattern, sizeof(pattern), "/tmp/lfpool-core-%d.%%p", getpid());
	ASSERT_EQ(0, text_write(CORE_PATTERN, pattern));

	pid = start(self->s, body_segv);
	before = held(_metadata, self);
	self->s->go = 1;
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGSEGV, WTERMSIG(status));
	EXPECT_TRUE(WCOREDUMP(status));
	expect_dead(_metadata, &before, HELD + CACHED);

	snprintf(path, sizeof(path), "/tmp/lfpool-core-%d.%d", getpid(), pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	unlink(path);
	ASSERT_EQ(0, fstat(fd, &st));
	core = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, core);
	close(fd);
	/* a real dump, and without the buffers */
	EXPECT_TRUE(marker_found(core, st.st_size, 11));
	EXPECT_FALSE(marker_found(core, st.st_size, 22));
	fd = node_open(POOL, O_RDONLY);
	ASSERT_EQ(0, do_info(fd, &info));
	close(fd);
	EXPECT_GT(info.mmap_size, st.st_size) {
		TH_LOG("%lld bytes of core", (long long)st.st_size);
	}
	munmap(core, st.st_size);
}

TEST_F_TIMEOUT(death, core_dump_under_way, TIMEOUT)
{
	char helper[64], fifo[64], text[256];
	struct tally before;
	int out = -1, fd;
	pid_t pid;

	if (core_save(self))
		SKIP(return, "the kernel makes no core dumps");
	snprintf(fifo, sizeof(fifo), "/tmp/lfpool-core-%d.fifo", getpid());
	snprintf(helper, sizeof(helper), "/tmp/lfpool-core-%d.sh", getpid());
	snprintf(text, sizeof(text), "#!/bin/sh\nread line <%s\n", fifo);
	ASSERT_EQ(0, mkfifo(fifo, 0600));
	fd = open(helper, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	ASSERT_LE(0, fd);
	ASSERT_EQ(strlen(text), write(fd, text, strlen(text)));
	close(fd);
	snprintf(text, sizeof(text), "|%s", helper);
	ASSERT_EQ(0, text_write(CORE_PATTERN, text));
	/* the kernel waits for the helper, however short the dump is */
	ASSERT_EQ(0, text_write(CORE_PIPE_LIMIT, "4"));

	pid = start(self->s, body_segv);
	before = held(_metadata, self);
	self->s->go = 1;
	/* opens once the helper is at its read */
	EXPECT_TRUE(wait_until((out = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) >= 0,
			       DEADLINE));
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
	expect_alive(_metadata, &before, "the core is being dumped");
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
	EXPECT_EQ(1, write(out, "\n", 1));
	close(out);
	EXPECT_EQ(128 + SIGSEGV, child_wait(pid));
	expect_dead(_metadata, &before, HELD + CACHED);
	unlink(fifo);
	unlink(helper);
}

/*
 * OOM kill. The kernel tells at length, with a stack, what it does, which must
 * not look like trouble to who reads the console: that is off meanwhile, and
 * the test reads for itself.
 */
static void body_oom(struct shared *s)
{
	child_assert(!text_write("/proc/self/oom_score_adj", "1000"));
	body_wait(s);
}

TEST_F_TIMEOUT(death, oom_kill, TIMEOUT)
{
	bool killed = false, trouble = false;
	struct tally before;
	char line[512];
	int log, status;
	pid_t pid;

	log = kmsg_open();
	if (log < 0 || access("/proc/sysrq-trigger", W_OK))
		SKIP(return, "no sysrq, or no kernel log");
	pid = start(self->s, body_oom);
	before = held(_metadata, self);
	klogctl(6 /* console off */, NULL, 0);
	EXPECT_EQ(0, text_write("/proc/sysrq-trigger", "f"));
	EXPECT_TRUE(wait_until(waitpid(pid, &status, WNOHANG) == pid, DEADLINE));
	/* its last words, and a while for the console to be past them */
	EXPECT_TRUE(wait_until(({
		while (kmsg_line(log, line, sizeof(line))) {
			unsigned int victim_pid = 0;
			const char *p = strstr(line, "Killed process ");

			if (p && sscanf(p, "Killed process %u", &victim_pid) == 1 &&
			    victim_pid == pid)
				killed = true;
			/* but for races of the kernel's own, which come at any time */
			if ((strstr(line, "BUG:") &&
			     (!strstr(line, "BUG: KCSAN:") || strstr(line, "[lfpool]"))) ||
			    strstr(line, "WARNING:"))
				trouble = true;
		}
		killed;
	}), DEADLINE));
	usleep(200000);
	klogctl(7 /* console on */, NULL, 0);
	close(log);

	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_FALSE(trouble);
	expect_dead(_metadata, &before, HELD + CACHED);
}

/*
 * Somebody works on the victim's memory from outside (process_vm_readv(), here
 * stopped half-way by a page that does not come): the mm lives on until it is
 * done, and so does the client.
 */
#include <linux/userfaultfd.h>

/* A page that faults, and keeps who touches it waiting. */
static int fault_page(void **page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	size_t size = sysconf(_SC_PAGESIZE);
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	*page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	area.range.start = (uintptr_t)*page;
	area.range.len = size;
	if (*page == MAP_FAILED || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &area)) {
		close(fd);
		return -errno;
	}
	return fd;
}

struct reader {
	pid_t pid;
	struct iovec local, remote;
	volatile ssize_t result;
};

static void *read_remote(void *reader)
{
	struct reader *r = reader;

	r->result = process_vm_readv(r->pid, &r->local, 1, &r->remote, 1, 0);
	return NULL;
}

TEST_F_TIMEOUT(death, access_from_outside_delays, TIMEOUT)
{
	struct uffdio_zeropage zero = { 0 };
	struct reader r = { 0 };
	struct uffd_msg msg;
	struct tally before;
	pthread_t thread;
	void *page;
	pid_t pid;
	int fd;

	fd = fault_page(&page);
	if (fd < 0)
		SKIP(return, "no userfaultfd (%s)", strerror(-fd));
	pid = start(self->s, body_wait);
	before = held(_metadata, self);
	r.pid = pid;
	r.local = (struct iovec){ page, sizeof(uint64_t) };
	/* of the header page, on which recovery has nothing to wait for */
	r.remote = (struct iovec){ (void *)self->s->map + 8, sizeof(uint64_t) };
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_remote, &r));
	/* it has the victim's mm, and is stuck */
	ASSERT_TRUE(wait_until(read(fd, &msg, sizeof(msg)) == sizeof(msg), DEADLINE));
	ASSERT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);

	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	expect_alive(_metadata, &before, "somebody is at its memory");
	zero.range.start = (uintptr_t)page;
	zero.range.len = sysconf(_SC_PAGESIZE);
	EXPECT_EQ(0, ioctl(fd, UFFDIO_ZEROPAGE, &zero));
	EXPECT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(sizeof(uint64_t), r.result);
	EXPECT_EQ(LFPOOL_ABI, *(uint32_t *)page);
	expect_dead(_metadata, &before, HELD + CACHED);
	close(fd);
}

/*
 * Death and those who wait for buffers
 */

/* Hold every buffer there is. */
static void body_greedy(struct shared *s)
{
	victim.pool = lfpool_open(POOL, 0);
	child_assert(victim.pool);
	while (lfpool_get(victim.pool))
		victim.nr_held++;
	child_assert(errno == ENOBUFS && victim.nr_held == BUFFERS);
	ready(s);
	forever(NULL);
}

/*
 * Buffers of somebody who is gone when we ask are not out of use: a pool is
 * not exhausted while a recovery is due.
 */
TEST_F_TIMEOUT(death, exhaustion_waits_for_recovery, TIMEOUT)
{
	uint32_t items[LFPOOL_XFER_MAX];
	unsigned int k, early = 0;
	struct client c;
	int n;

	ASSERT_EQ(0, client_open(&c, POOL));
	for (k = 1; k <= 4 * rounds(10); k++) {
		pid_t pid = start(self->s, body_greedy);

		ASSERT_TRUE(wait_until(self->s->ready == k, DEADLINE));
		ASSERT_EQ(-ENOBUFS, do_refill(c.fd, 0, items, 1));
		child_kill(pid);
		n = do_refill(c.fd, 0, items, 1);
		if (n == -ENOBUFS) {
			early++;
			ASSERT_TRUE(wait_until((n = do_refill(c.fd, 0, items, 1)) > 0, DEADLINE));
		}
		ASSERT_EQ(1, n);
		ASSERT_EQ(1, do_release(c.fd, 0, items, 1));
		ASSERT_TRUE(wait_until(stats_of(POOL).clients == 1, DEADLINE));
	}
	EXPECT_EQ(0, early) {
		TH_LOG("%u of %u times", early, k - 1);
	}
	client_close(&c);
}

/* Who waits gets what the dead had. */
static void body_waiter(struct shared *s)
{
	struct client c;
	int item;

	child_assert(!client_open(&c, POOL));
	ready(s);
	item = do_wait(c.fd, -1);
	child_assert(item >= 0 && item < BUFFERS);
	__atomic_fetch_add(&s->done, 1, __ATOMIC_SEQ_CST);
	forever(NULL);
}

TEST_F_TIMEOUT(death, waiters_get_what_the_dead_had, TIMEOUT)
{
	pid_t greedy, waiter[4];
	unsigned int k;

	greedy = start(self->s, body_greedy);
	ASSERT_TRUE(wait_until(self->s->ready == 1, DEADLINE));
	for (k = 0; k < 4; k++)
		waiter[k] = start(self->s, body_waiter);
	ASSERT_TRUE(wait_until(self->s->ready == 5, DEADLINE));
	/* until they sleep in the call; to come late does no harm either */
	usleep(200000);
	EXPECT_EQ(0, self->s->done);
	/* one who waits dies, and takes nobody's turn with it */
	EXPECT_EQ(128 + SIGKILL, child_kill(waiter[0]));
	EXPECT_EQ(0, self->s->done);
	EXPECT_EQ(128 + SIGKILL, child_kill(greedy));
	EXPECT_TRUE(wait_until(self->s->done == 3, DEADLINE)) {
		TH_LOG("%u of 3 woke up", self->s->done);
	}
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 3, DEADLINE));
	EXPECT_EQ(3, stats_of(POOL).in_use);
	for (k = 1; k < 4; k++)
		child_kill(waiter[k]);
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 0, DEADLINE));
	EXPECT_EQ(BUFFERS, stats_of(POOL).available);
	EXPECT_EQ(BUFFERS + 3, stats_of(POOL).reclaimed);
}

/* Killed in the call: the buffer that came at the same moment is not lost. */
TEST_F_TIMEOUT(death, killed_while_waiting, TIMEOUT)
{
	struct tally now;
	unsigned int k;

	for (k = 0; k < 10; k += round_step() > 1 ? 3 : 1) {
		pid_t greedy, waiter;

		self->s->ready = 0;
		greedy = start(self->s, body_greedy);
		ASSERT_TRUE(wait_until(self->s->ready == 1, DEADLINE));
		waiter = start(self->s, body_waiter);
		ASSERT_TRUE(wait_until(self->s->ready == 2, DEADLINE));
		usleep(k * 2000);
		kill(greedy, SIGKILL);
		kill(waiter, SIGKILL);
		child_wait(greedy);
		child_wait(waiter);
		ASSERT_TRUE(wait_until(stats_of(POOL).clients == 0, DEADLINE));
		now = tally_take();
		EXPECT_SOUND(&now);
		ASSERT_EQ(BUFFERS, now.stats.available);
	}
}

/* One of its threads waits when another takes the mapping away. */
struct waiting {
	int fd;
	volatile int result;
	volatile bool over;
};

static void *wait_forever(void *waiting)
{
	struct waiting *w = waiting;

	w->result = do_wait(w->fd, -1);
	w->over = true;
	return NULL;
}

TEST_F_TIMEOUT(death, munmap_ends_the_wait_of_another_thread, TIMEOUT)
{
	pid_t greedy = start(self->s, body_greedy);
	struct waiting w = { 0 };
	pthread_t thread;
	struct client c;

	ASSERT_TRUE(wait_until(self->s->ready == 1, DEADLINE));
	ASSERT_EQ(0, client_open(&c, POOL));
	w.fd = c.fd;
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_forever, &w));
	usleep(200000);
	ASSERT_FALSE(w.over);
	ASSERT_EQ(0, munmap(c.map, c.info.mmap_size));
	c.map = MAP_FAILED;
	EXPECT_TRUE(wait_until(w.over, 3)) {
		TH_LOG("a dead client waits for ever");
	}
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 1, DEADLINE));
	child_kill(greedy);
	ASSERT_TRUE(wait_until(w.over, DEADLINE));
	EXPECT_EQ(-ENXIO, w.result);
	pthread_join(thread, NULL);
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 0, DEADLINE));
	EXPECT_EQ(BUFFERS, stats_of(POOL).available);
	client_close(&c);
}

/* After its death a client's file gives nothing and takes nothing. */
TEST_F_TIMEOUT(death, the_file_of_a_dead_client, TIMEOUT)
{
	struct tally before, now;
	uint32_t items[4];
	struct client c;
	int slot, n;

	ASSERT_EQ(0, client_open(&c, POOL));
	slot = do_attach(c.fd);
	ASSERT_LE(0, slot);
	ASSERT_EQ(4, do_refill(c.fd, 0, items, 4));
	before = tally_take();
	ASSERT_EQ(0, munmap(c.map, c.info.mmap_size));
	c.map = MAP_FAILED;
	/* before the worker it still gets one, which goes the way of the others */
	n = do_refill(c.fd, 0, items, 1);
	EXPECT_TRUE(n == 1 || n == -ENXIO);
	expect_dead(_metadata, &before, n == 1 ? 5 : 4);

	before = tally_take();
	EXPECT_EQ(-ENXIO, do_attach(c.fd));
	EXPECT_EQ(-ENXIO, do_detach(c.fd, slot));
	EXPECT_EQ(-ENXIO, do_refill(c.fd, 0, items, 4));
	EXPECT_EQ(-ENXIO, do_release(c.fd, 0, (uint32_t[]){ 0 }, 1));
	EXPECT_EQ(-ENXIO, do_wait(c.fd, -1));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, c.info.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
				   c.fd, 0));
	EXPECT_EQ(EBUSY, errno);
	now = tally_take();
	EXPECT_EQ(0, memcmp(&before, &now, sizeof(now)));
	client_close(&c);
	EXPECT_EQ(0, stats_of(POOL).clients);
}

/*
 * Many at once, and the end of the module
 */
#define MANY	5

static void body_some(struct shared *s)
{
	void *held[7];
	unsigned int k;

	victim.pool = lfpool_open(POOL, 0);
	child_assert(victim.pool);
	for (k = 0; k < ARRAY_SIZE(held); k++) {
		held[k] = lfpool_get(victim.pool);
		child_assert(held[k]);
	}
	for (k = 4; k < ARRAY_SIZE(held); k++)
		child_assert(!lfpool_put(victim.pool, held[k]));
	ready(s);
	forever(NULL);
}

TEST_F_TIMEOUT(death, many_at_once, TIMEOUT)
{
	struct tally before, now;
	uint64_t expected = 0;
	unsigned int k, round;
	pid_t pid[MANY], survivor;

	survivor = start(self->s, body_some);
	ASSERT_TRUE(wait_until(self->s->ready == 1, DEADLINE));
	for (round = 0; round < 4; round++) {
		self->s->ready = 1;
		for (k = 0; k < MANY; k++)
			pid[k] = start(self->s, body_some);
		ASSERT_TRUE(wait_until(self->s->ready == MANY + 1, DEADLINE));
		before = tally_take();
		EXPECT_EQ(4 * (MANY + 1), before.stats.in_use);
		EXPECT_EQ(MANY + 1, before.stats.threads);
		/* one after the other as fast as can be, waited for afterwards */
		for (k = 0; k < MANY; k++)
			kill(pid[k], SIGKILL);
		for (k = 0; k < MANY; k++)
			EXPECT_EQ(128 + SIGKILL, child_wait(pid[k]));
		ASSERT_TRUE(wait_until(stats_of(POOL).clients == 1, DEADLINE));
		now = tally_take();
		EXPECT_SOUND(&now);
		EXPECT_EQ(4, now.stats.in_use);
		EXPECT_EQ(4, now.stats.cached);
		EXPECT_EQ(1, now.stats.threads);
		expected += 8 * MANY;
		EXPECT_EQ(expected, now.stats.reclaimed);
	}
	before = tally_take();
	EXPECT_EQ(128 + SIGKILL, child_kill(survivor));
	expect_dead(_metadata, &before, 8);
}

/* The work that a death has queued is done, or taken back, before the code goes. */
TEST_F_TIMEOUT(death, unload_at_once, TIMEOUT)
{
	unsigned int k, ok = 0;

	for (k = 1; k <= 5 * rounds(2); k++) {
		pid_t pid = start(self->s, body_wait);

		ASSERT_TRUE(wait_until(self->s->ready == k, DEADLINE));
		child_kill(pid);
		/* the file may be a moment later than the process */
		ok += module_unload() == 0;
		ASSERT_TRUE(access("/sys/module/lfpool", F_OK) || wait_until(!module_unload(), 5));
		ASSERT_EQ(0, module_load(ARGS));
	}
	EXPECT_LT(0, ok);
	TH_LOG("%u of %u times", ok, k - 1);
}

LFPOOL_MODULE_MAIN
