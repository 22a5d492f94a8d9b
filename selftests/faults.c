// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fault injection: every allocation and every copy from and to the caller that
 * an operation makes fails once, one after the other.
 *
 * The kernel counts the places where a call of this task could be made to fail,
 * and fails the one whose number is in /proc/thread-self/fail-nth. An operation
 * is repeated with 1, 2, 3 ... until it is through before its turn came. Each
 * time it has to succeed all the same, or to say ENOMEM, EFAULT or ENOBUFS (or,
 * where it may wait for a buffer, ETIMEDOUT); then the same again without a failure
 * has to work, and when the client is
 * closed every buffer has to be in the reserve. Memory that was lost on the way
 * is kmemleak's to find, which the machine asks when all tests are over.
 *
 * What runs in other tasks, as the recovery does, is made to fail throughout
 * (make-it-fail).
 *
 * LFPOOL_PLACES_EVERY=N fails one place in N of what takes long, which is what the
 * kernel does for any module or process.
 *
 * An allocation that fails within vmalloc() or for a per-CPU variable makes the
 * kernel show where, one that fails for a kobject makes it say so, and the object
 * debugging tells of its own.
 *
 * vm: smp=1 insmod=no timeout=900 provokes="vmalloc err|failed.*-12|percpu: alloc|ODEBUG: Out"
 */
#include "lfpool_test.h"

#include <poll.h>

#define POOL		"serialization"
#define COUNT		4U
#define MOST		64U
#define ARGS		"buffer_count=4 max_count=64 max_threads=4 serialization_size=8192 " \
			"compression_size=4096 simd_elements=2"

/* no operation has as many places where it may fail */
#define PLENTY		1000000U
#define DEADLINE	60
#define TIMEOUT		800

#define DEBUGFS		"/sys/kernel/debug/"

/*
 * Making things fail
 */

static long text_number(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return strtol(text, NULL, 10);
}

/* What may fail; copies from and to user space always may. */
#define SLAB	0x1
#define PAGES	0x2

static int may_fail(unsigned int kinds)
{
	/* no slab cache has the mark that this filter looks for */
	return text_write(DEBUGFS "failslab/cache-filter", kinds & SLAB ? "N" : "Y") ?:
	       text_write(DEBUGFS "fail_page_alloc/min-order", kinds & PAGES ? "0" : "99");
}

/* Allocations that may sleep as well, and not a word about any. */
static int injection_prepare(void)
{
	return text_write(DEBUGFS "failslab/ignore-gfp-wait", "N") ?:
	       text_write(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N") ?:
	       text_write(DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N") ?:
	       text_write(DEBUGFS "failslab/verbose", "0") ?:
	       text_write(DEBUGFS "fail_page_alloc/verbose", "0") ?:
	       text_write(DEBUGFS "fail_usercopy/verbose", "0") ?:
	       may_fail(SLAB | PAGES);
}

static int nth_fd = -1;

static int arm(unsigned int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", nth);

	return pwrite(nth_fd, text, n, 0) == n ? 0 : -errno;
}

/* What is left of the number; 0 if its turn came. */
static unsigned int disarm(void)
{
	char text[16] = "";
	unsigned int left;

	/* reading it copies to user space, and so may be the one that fails */
	if (pread(nth_fd, text, sizeof(text) - 1, 0) < 0)
		left = 1;
	else
		left = strtoul(text, NULL, 10);
	while (arm(0))
		;
	return left;
}

/*
 * Operations
 */

/**
 * struct operation - something that a program asks the kernel to do
 * @name:   its name
 * @before: all that has to be there for it
 * @call:   does it: 0 or -errno, and may be called again if it failed
 * @after:  takes all of it back, whether it was done or not
 * @sound:  is everything as it was before?
 */
struct operation {
	const char *name;
	bool (*before)(void);
	int (*call)(void);
	void (*after)(void);
	bool (*sound)(void);
};

static struct client c;
static uint32_t items[MOST];
static int held, slot;

/* Nobody has a buffer, and none is missing. */
static bool all_free(void)
{
	struct lfpool_audit a;

	if (!wait_until(stats_of(POOL).clients == 0, DEADLINE))
		return false;
	a = audit_of(POOL);
	return a.size && a.exact && a.capacity >= COUNT && a.capacity <= MOST &&
	       a.reserve == a.capacity && !a.lost && !a.duplicate && !a.damaged;
}

static bool client_before(void)
{
	return !client_open(&c, POOL);
}

static void client_after(void)
{
	client_close(&c);
}

static bool nothing_before(void)
{
	c.fd = -1;
	c.map = MAP_FAILED;
	return true;
}

static int call_open(void)
{
	int fd = node_open(POOL, O_RDWR);

	if (fd < 0)
		return fd;
	c.fd = fd;
	return 0;
}

static bool open_before(void)
{
	nothing_before();
	return !call_open() && !do_info(c.fd, &c.info);
}

/*
 * The kernel may fail a mapping after the module agreed to it, and tells it as
 * it tells an unmapping: that file's one mapping is over, and another one has
 * to be opened.
 */
static int call_mmap(void)
{
	c.map = mmap(NULL, c.info.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, c.fd, 0);
	if (c.map == MAP_FAILED && errno == EBUSY) {
		close(c.fd);
		if (call_open())
			return -errno;
		c.map = mmap(NULL, c.info.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, c.fd, 0);
	}
	return c.map == MAP_FAILED ? -errno : 0;
}

/* A page each of the control part, the padding and the data. */
static int call_touch(void)
{
	volatile unsigned char *p = c.map;

	p[c.info.slot_offset] |= 0;
	(void)p[c.info.data_offset - 1];
	p[c.info.data_offset] = 1;
	return 0;
}

static int call_munmap(void)
{
	int ret = munmap(c.map, c.info.mmap_size) ? -errno : 0;

	if (!ret)
		c.map = MAP_FAILED;
	return ret;
}

static int call_info(void)
{
	return do_info(c.fd, &c.info);
}

static int call_attach(void)
{
	int ret = do_attach(c.fd);

	return ret < 0 ? ret : 0;
}

static bool attached_before(void)
{
	if (!client_before())
		return false;
	slot = do_attach(c.fd);
	return slot >= 0;
}

static int call_detach(void)
{
	return do_detach(c.fd, slot);
}

static int call_refill(void)
{
	int ret = do_refill(c.fd, LFPOOL_REFILL_GET, items, 1);

	return ret < 0 ? ret : 0;
}

/* Everything that exists is taken: the next one needs memory. */
static bool dry_before(void)
{
	/* else it would be as large as it may be before all was tried */
	if (drop_slab() || !client_before())
		return false;
	held = stats_of(POOL).reserve;
	return held < (int)MOST && do_refill(c.fd, 0, items, held) == held;
}

static bool held_before(void)
{
	if (!client_before())
		return false;
	held = do_refill(c.fd, 0, items, COUNT);
	return held > 0;
}

/* If only the answer could not be given, then they are not ours any more. */
static int call_release(void)
{
	int ret = do_release(c.fd, LFPOOL_RELEASE_PUT, items, held);

	if (ret == -ESTALE && word_owner(client_desc(&c, items[0])->word) == LFPOOL_OWNER_RESERVE)
		return 0;
	return ret < 0 ? ret : 0;
}

static int call_wait(void)
{
	int ret = do_wait(c.fd, 0);

	return ret < 0 ? ret : 0;
}

static int call_wake(void)
{
	return do_wake(c.fd);
}

static int call_stats(void)
{
	struct lfpool_stats stats;

	return do_stats(c.fd, &stats);
}

static int call_reset(void)
{
	return do_reset(c.fd);
}

static int call_audit(void)
{
	struct lfpool_audit audit;

	return do_audit(c.fd, &audit);
}

static int call_poll(void)
{
	struct pollfd p = { .fd = c.fd, .events = POLLIN };

	return poll(&p, 1, 0) < 0 ? -errno : 0;
}

static int file_read(const char *path)
{
	char text[1024];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text));
	n = n < 0 ? -errno : 0;
	close(fd);
	return n;
}

static int call_sysfs(void)
{
	return file_read("/sys/class/lfpool/" POOL "/hit_rate");
}

static int call_fdinfo(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", c.fd);
	return file_read(path);
}

/* A mapping that children inherit: copies of it come and go. */
static bool copied_before(void)
{
	return held_before() && !madvise(c.map, c.info.mmap_size, MADV_DOFORK);
}

static int call_fork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid)
		_exit(0);
	return child_wait(pid);
}

static const struct operation operations[] = {
	{ "open", nothing_before, call_open, client_after, all_free },
	{ "mmap", open_before, call_mmap, client_after, all_free },
	{ "page fault", client_before, call_touch, client_after, all_free },
	{ "munmap", held_before, call_munmap, client_after, all_free },
	{ "INFO", client_before, call_info, client_after, all_free },
	{ "ATTACH", client_before, call_attach, client_after, all_free },
	{ "DETACH", attached_before, call_detach, client_after, all_free },
	{ "REFILL", client_before, call_refill, client_after, all_free },
	{ "REFILL with growth", dry_before, call_refill, client_after, all_free },
	{ "RELEASE", held_before, call_release, client_after, all_free },
	{ "WAIT", client_before, call_wait, client_after, all_free },
	{ "WAIT with growth", dry_before, call_wait, client_after, all_free },
	{ "WAKE", client_before, call_wake, client_after, all_free },
	{ "STATS", client_before, call_stats, client_after, all_free },
	{ "RESET_STATS", client_before, call_reset, client_after, all_free },
	{ "AUDIT", client_before, call_audit, client_after, all_free },
	{ "poll", client_before, call_poll, client_after, all_free },
	{ "sysfs", client_before, call_sysfs, client_after, all_free },
	{ "fdinfo", held_before, call_fdinfo, client_after, all_free },
	{ "fork of the mapping", copied_before, call_fork, client_after, all_free },
};

/*
 * Loading: all that the kernel does for any module, and the pools.
 */

static int module_fd = -1;

static bool load_before(void)
{
	module_fd = open(module_path(), O_RDONLY | O_CLOEXEC);
	return module_fd >= 0;
}

static int call_load(void)
{
	return syscall(SYS_finit_module, module_fd, ARGS, 0) ? -errno : 0;
}

/* What the kernel does before the module's own init, which refuses this. */
static int call_refused(void)
{
	int ret = syscall(SYS_finit_module, module_fd, "batch=0", 0) ? -errno : 0;

	return ret == -EINVAL ? 0 : -EIO;
}

static bool loaded(void)
{
	return !access("/sys/module/lfpool", F_OK);
}

/* how many files a pool has in sysfs */
static int attributes(const char *pool)
{
	char path[64];
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/sys/class/lfpool/%s", pool);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static int attributes_wanted;

/* What loaded in spite of a failure is as good as any. */
static bool works(void)
{
	static const char *const pools[] = { "serialization", "compression", "simd" };
	unsigned int i;
	bool good = true;

	for (i = 0; i < 3; i++) {
		good = good && !client_open(&c, pools[i]) &&
		       attributes(pools[i]) == attributes_wanted &&
		       do_refill(c.fd, 0, items, COUNT) == COUNT;
		client_close(&c);
	}
	return good && all_free();
}

static bool load_good;

static void load_after(void)
{
	close(module_fd);
	load_good = true;
	if (loaded())
		load_good = works() && !module_unload();
}

static bool load_sound(void)
{
	return load_good && !*module_traces();
}

static bool unload_before(void)
{
	return !module_load(ARGS);
}

static int call_unload(void)
{
	return module_unload();
}

static void unload_after(void)
{
	if (loaded())
		module_unload();
}

static bool unload_sound(void)
{
	return !*module_traces();
}

static const struct operation refused = {
	"refused load", load_before, call_refused, load_after, load_sound,
};

static const struct operation load = {
	"load", load_before, call_load, load_after, load_sound,
};

static const struct operation unload = {
	"unload", unload_before, call_unload, unload_after, unload_sound,
};

/*
 * Tests
 */

/* How many places failed, for a summary; the tests are processes of their own. */
struct total {
	unsigned int operations;
	struct {
		char name[32];
		unsigned int failed;
	} operation[ARRAY_SIZE(operations) + 3];
};

static struct total *total;
static pid_t reporter;

static void note(const char *name, unsigned int failed)
{
	unsigned int n = total->operations++;

	snprintf(total->operation[n].name, sizeof(total->operation[n].name), "%s", name);
	total->operation[n].failed = failed;
}

static void report(void)
{
	unsigned int i, sum = 0;

	if (getpid() != reporter)
		return;
	for (i = 0; i < total->operations; i++)
		sum += total->operation[i].failed;
	printf("# %u places failed in all:", sum);
	for (i = 0; i < total->operations; i++)
		printf("%s %s %u", i ? "," : "", total->operation[i].name,
		       total->operation[i].failed);
	printf("\n");
}

/*
 * One place in how many. kmemleak's own allocations alternate with the others
 * in many places: an even number might meet nothing but these.
 */
static unsigned int every(const struct operation *op)
{
	if (op->call == call_load || op->call == call_unload || op->call == call_fork)
		return setting("LFPOOL_PLACES_EVERY", 1) | 1;
	return 1;
}

/* In how many places the operation could be made to fail. */
static unsigned int places(struct __test_metadata *_metadata, const struct operation *op,
			   unsigned int kinds)
{
	unsigned int left;
	int ret;

	ASSERT_EQ(0, may_fail(kinds));
	ASSERT_TRUE(op->before());
	ASSERT_EQ(0, arm(PLENTY));
	ret = op->call();
	left = disarm();
	EXPECT_EQ(0, ret);
	op->after();
	EXPECT_TRUE(op->sound());
	return PLENTY - left;
}

/*
 * Fail in each of them from the number @nth on, or in one of every(); and try the
 * same again after one failure of @retry. (The next failure comes later than
 * this one, so that it shows as well that this one left no trace.)
 */
static void sweep(struct __test_metadata *_metadata, const struct operation *op,
		  unsigned int nth, unsigned int retry)
{
	unsigned int copies = places(_metadata, op, 0);
	unsigned int slabs = places(_metadata, op, SLAB);
	unsigned int all = places(_metadata, op, SLAB | PAGES);
	unsigned int failed = 0, refused = 0, absorbed = 0;
	bool reached = true;

	for (; reached && nth < PLENTY; nth += every(op)) {
		int ret;

		ASSERT_TRUE(op->before()) {
			TH_LOG("%s: not ready to fail at %u", op->name, nth);
		}
		ASSERT_EQ(0, arm(nth));
		ret = op->call();
		reached = !disarm();
		failed += reached;
		EXPECT_TRUE(!ret || (reached && (ret == -ENOMEM || ret == -EFAULT ||
						 ret == -ENOBUFS ||
						 (ret == -ETIMEDOUT && op->call == call_wait)))) {
			TH_LOG("%s: failure %u: %s", op->name, nth, strerror(-ret));
		}
		if (ret) {
			refused++;
			if (failed % retry)
				goto after;
			ret = op->call();
			EXPECT_EQ(0, ret) {
				TH_LOG("%s: after failure %u: %s", op->name, nth, strerror(-ret));
			}
		} else if (reached) {
			absorbed++;
		}
after:
		op->after();
		ASSERT_TRUE(op->sound()) {
			TH_LOG("%s: not sound after failure %u", op->name, nth);
		}
	}
	printf("# %-20s %4u places failed: %u calls refused, %u done all the same "
	       "(about %u copies, %u slab, %u page allocations)\n", op->name, failed, refused,
	       absorbed, copies, slabs > copies ? slabs - copies : 0,
	       all > slabs ? all - slabs : 0);
	fflush(stdout);
	note(op->name, failed);
	/* every operation has some */
	EXPECT_LT(0, failed);
}

FIXTURE(faults) {
};

FIXTURE_SETUP(faults)
{
	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, nth_fd);
	ASSERT_EQ(0, injection_prepare());
}

FIXTURE_TEARDOWN(faults)
{
	EXPECT_EQ(0, injection_prepare());
	if (loaded())
		EXPECT_EQ(0, module_unload());
	EXPECT_STREQ("", module_traces());
}

TEST_F_TIMEOUT(faults, load, TIMEOUT)
{
	unsigned int first;

	ASSERT_EQ(0, module_fresh(ARGS));
	attributes_wanted = attributes(POOL);
	EXPECT_LT(25, attributes_wanted);
	ASSERT_EQ(0, module_unload());
	/* what comes before is the same for every module, and not ours to test */
	first = places(_metadata, &refused, SLAB | PAGES);
	printf("# %u places before the module's own\n", first);
	sweep(_metadata, &load, first > 10 ? first - 10 : 1, 16);
}

TEST_F_TIMEOUT(faults, unload, TIMEOUT)
{
	sweep(_metadata, &unload, 1, 1);
}

TEST_F_TIMEOUT(faults, operations, TIMEOUT)
{
	unsigned int i;

	ASSERT_EQ(0, module_fresh(ARGS));
	for (i = 0; i < ARRAY_SIZE(operations); i++)
		sweep(_metadata, &operations[i], 1, 1);
}

/*
 * A process dies that cannot allocate any more, and nothing that works for the
 * kernel can, either: what it had comes back all the same.
 */

static int always_fail(bool on)
{
	static const char *const kinds[] = { "failslab", "fail_page_alloc" };
	char path[128];
	unsigned int i;
	int ret = 0;

	for (i = 0; i < ARRAY_SIZE(kinds) && !ret; i++) {
		snprintf(path, sizeof(path), DEBUGFS "%s/task-filter", kinds[i]);
		ret = text_write(path, "Y");
		snprintf(path, sizeof(path), DEBUGFS "%s/times", kinds[i]);
		ret = ret ?: text_write(path, "1000000");
		snprintf(path, sizeof(path), DEBUGFS "%s/probability", kinds[i]);
		ret = ret ?: text_write(path, on ? "100" : "0");
	}
	return ret;
}

/* how many times something has failed since then */
static long failures(void)
{
	return 2 * PLENTY - text_number(DEBUGFS "failslab/times") -
	       text_number(DEBUGFS "fail_page_alloc/times");
}

static int task_fails(const char *task, bool on)
{
	char path[300];

	snprintf(path, sizeof(path), "/proc/%s/make-it-fail", task);
	return text_write(path, on ? "1" : "0");
}

/* How many of the kernel's workers were told. */
static int workers_fail(bool on)
{
	char path[300], name[32];
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	int n = 0;

	while (dir && (entry = readdir(dir))) {
		int fd;

		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		memset(name, 0, sizeof(name));
		if (read(fd, name, sizeof(name) - 1) > 0 && !strncmp(name, "kworker/", 8) &&
		    !task_fails(entry->d_name, on))
			n++;
		close(fd);
	}
	if (dir)
		closedir(dir);
	return n;
}

/*
 * A child that fails from when it is told. It may not touch memory of its own
 * from then on that is not there yet: a page fault is tried again for ever.
 */
static pid_t child_failing(void (*before)(void), int (*then)(void), int *go)
{
	int ready[2], start[2];
	pid_t pid;
	char byte = 0;

	if (pipe(ready) || pipe(start))
		return -1;
	pid = child_fork();
	if (!pid) {
		before();
		child_assert(!task_fails("self", true));
		child_assert(write(ready[1], &byte, 1) == 1);
		child_assert(read(start[0], &byte, 1) == 1);
		_exit(then());
	}
	close(ready[1]);
	close(start[0]);
	if (read(ready[0], &byte, 1) != 1)
		pid = -1;
	close(ready[0]);
	*go = start[1];
	return pid;
}

static struct lfpool_audit audit_there;

static void control_before(void)
{
	c.fd = node_open(POOL, O_RDONLY);
	child_assert(!do_audit(c.fd, &audit_there));
}

static int control_then(void)
{
	return -do_audit(c.fd, &audit_there);
}

/* Some held, some in a cache, one batch on its way to the depot. */
static void death_before(void)
{
	volatile struct lfpool_slot *s;
	volatile struct lfpool_desc *d;

	child_assert(!client_open(&c, POOL));
	slot = do_attach(c.fd);
	child_assert(slot >= 0);
	child_assert(do_refill(c.fd, 0, items, 8) == 8);
	s = client_slot(&c, slot);
	s->item[0] = items[0];
	s->item[1] = items[1];
	s->n = 2;
	d = client_desc(&c, items[2]);
	d->item[0] = items[3];
	d->count = 1;
	s->journal = items[2];
	d->word = ((d->word >> LFPOOL_WORD_GEN_SHIFT) + 1) << LFPOOL_WORD_GEN_SHIFT |
		  LFPOOL_OWNER_DEPOT;
}

static int death_then(void)
{
	kill(getpid(), SIGKILL);
	return 0;
}

TEST_F_TIMEOUT(faults, death, TIMEOUT)
{
	struct lfpool_stats stats;
	uint64_t reclaimed;
	long failed = 0;
	int go, i;
	pid_t pid;

	ASSERT_EQ(0, module_fresh("buffer_count=16 max_count=16 serialization_size=8192 "
				  "compression_size=4096 simd_elements=2"));

	/* it does fail */
	pid = child_failing(control_before, control_then, &go);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, always_fail(true));
	EXPECT_EQ(1, write(go, "", 1));
	EXPECT_EQ(ENOMEM, child_wait(pid));
	EXPECT_LT(0, failures());
	ASSERT_EQ(0, always_fail(false));
	close(go);

	EXPECT_LT(0, workers_fail(true));
	for (i = 0; i < 20; i++) {
		reclaimed = stats_of(POOL).reclaimed;
		pid = child_failing(death_before, death_then, &go);
		ASSERT_LT(0, pid);
		ASSERT_EQ(0, always_fail(true));
		EXPECT_EQ(1, write(go, "", 1));
		EXPECT_EQ(128 + SIGKILL, child_wait(pid));
		EXPECT_TRUE(all_free());
		failed += failures();
		ASSERT_EQ(0, always_fail(false));
		close(go);
		stats = stats_of(POOL);
		EXPECT_EQ(reclaimed + 8, stats.reclaimed);
	}
	workers_fail(false);
	printf("# %-20s %4ld places failed in those who died and in the workers\n", "death",
	       failed);
	fflush(stdout);
	note("death", failed);
}

int main(int argc, char **argv)
{
	if (geteuid() || access(module_path(), R_OK))
		ksft_exit_skip("needs root and the module (LFPOOL_KO)\n");
	if (access("/proc/thread-self/fail-nth", W_OK) ||
	    access(DEBUGFS "failslab/cache-filter", W_OK) ||
	    access(DEBUGFS "fail_page_alloc/min-order", W_OK) ||
	    access(DEBUGFS "fail_usercopy/verbose", W_OK))
		ksft_exit_skip("this kernel has no fault injection\n");
	total = shared_alloc(sizeof(*total));
	if (!total)
		ksft_exit_fail_msg("no memory\n");
	reporter = getpid();
	atexit(report);
	return run_tests(argc, argv, NULL);
}
