// SPDX-License-Identifier: GPL-2.0-only
/*
 * The contract of uapi/linux/lfpool.h, without the library: the layout, every
 * ioctl, the mapping, sysfs and the module parameters, and above all what each
 * of them refuses. A refusal has to give the right error, change nothing, and
 * go away with its cause.
 *
 * Built for 64 and for 32 bits (uapi32).
 *
 * vm: smp=1 timeout=600 insmod=no
 */
#include "lfpool_test.h"
#include "uapi_layout.h"

#include <pthread.h>
#include <sys/uio.h>

/*
 * One client of the simd pool, whose small buffers make it quick to load. All
 * tests begin with nothing done to the pool and end with the module unloaded.
 */

#define POOL		"simd"
#define BUFFERS		64U
#define THREADS		4U
#define ARGS		"buffer_count=64 max_count=64 max_threads=4"

FIXTURE(client) {
	struct client c;
	uint32_t items[LFPOOL_XFER_MAX];
};

FIXTURE_SETUP(client)
{
	ASSERT_EQ(0, module_fresh(ARGS));
	ASSERT_EQ(0, client_open(&self->c, POOL));
}

FIXTURE_TEARDOWN(client)
{
	client_close(&self->c);
	EXPECT_EQ(0, module_unload());
	EXPECT_STREQ("", module_traces());
}

/* An open file that is not mapped. */
FIXTURE(file) {
	struct client c;
};

FIXTURE_SETUP(file)
{
	ASSERT_EQ(0, module_fresh(ARGS));
	self->c.map = MAP_FAILED;
	self->c.fd = node_open(POOL, O_RDWR);
	ASSERT_LE(0, self->c.fd);
	ASSERT_EQ(0, do_info(self->c.fd, &self->c.info));
}

FIXTURE_TEARDOWN(file)
{
	client_close(&self->c);
	EXPECT_EQ(0, module_unload());
	EXPECT_STREQ("", module_traces());
}

/* Does the pool look as before, with every counter? */
static bool same(const struct lfpool_stats *before)
{
	struct lfpool_stats now = stats_of(POOL);

	return before->size && !memcmp(before, &now, sizeof(now));
}

/* No index twice, none out of range. */
static bool distinct(const uint32_t *items, uint32_t n, uint32_t count)
{
	uint64_t seen[LFPOOL_XFER_MAX / 64] = { 0 };
	uint32_t k;

	for (k = 0; k < n; k++) {
		if (items[k] >= count || count > LFPOOL_XFER_MAX ||
		    seen[items[k] / 64] & 1ULL << items[k] % 64)
			return false;
		seen[items[k] / 64] |= 1ULL << items[k] % 64;
	}
	return true;
}

/*
 * Every ioctl
 */

union argument {
	struct lfpool_plain head;
	struct lfpool_info info;
	struct lfpool_attach attach;
	struct lfpool_xfer xfer;
	struct lfpool_wait wait;
	struct lfpool_stats stats;
	struct lfpool_audit audit;
	unsigned char byte[1024];
};

struct command {
	const char *name;
	unsigned long number;
	uint32_t size;
	uint32_t flags;		/* that it knows */
	bool writes;		/* needs a file open for writing */
	bool client;		/* needs the mapping */
	bool answers;		/* and can take back what it did if nobody listens */
};

static const struct command commands[] = {
	{ "INFO", LFPOOL_IOC_INFO, sizeof(struct lfpool_info), .answers = true },
	{ "ATTACH", LFPOOL_IOC_ATTACH, sizeof(struct lfpool_attach),
	  .writes = true, .client = true, .answers = true },
	{ "DETACH", LFPOOL_IOC_DETACH, sizeof(struct lfpool_attach),
	  .writes = true, .client = true },
	{ "REFILL", LFPOOL_IOC_REFILL, sizeof(struct lfpool_xfer),
	  LFPOOL_REFILL_GET | LFPOOL_REFILL_FREE,
	  .writes = true, .client = true, .answers = true },
	{ "RELEASE", LFPOOL_IOC_RELEASE, sizeof(struct lfpool_xfer), LFPOOL_RELEASE_PUT,
	  .writes = true, .client = true },
	{ "WAIT", LFPOOL_IOC_WAIT, sizeof(struct lfpool_wait),
	  .writes = true, .client = true, .answers = true },
	{ "WAKE", LFPOOL_IOC_WAKE, sizeof(struct lfpool_plain),
	  .writes = true, .client = true },
	{ "STATS", LFPOOL_IOC_STATS, sizeof(struct lfpool_stats), .answers = true },
	{ "RESET_STATS", LFPOOL_IOC_RESET_STATS, sizeof(struct lfpool_plain), .writes = true },
	{ "AUDIT", LFPOOL_IOC_AUDIT, sizeof(struct lfpool_audit), .answers = true },
};

#define for_each_command(command) \
	for (command = commands; command < commands + ARRAY_SIZE(commands); command++)

/*
 * Make an argument with which @command succeeds, and the state that it needs:
 * a slot to detach, a buffer to release.
 */
static void prepare(struct __test_metadata *_metadata, FIXTURE_DATA(client) *self,
		    const struct command *command, union argument *a)
{
	int slot;

	memset(a, POISON, sizeof(*a));
	a->head.size = command->size;
	a->head.flags = 0;
	switch (command->number) {
	case LFPOOL_IOC_ATTACH:
		a->attach.reserved = 0;
		break;
	case LFPOOL_IOC_DETACH:
		slot = do_attach(self->c.fd);
		ASSERT_LE(0, slot);
		a->attach.slot = slot;
		a->attach.reserved = 0;
		break;
	case LFPOOL_IOC_RELEASE:
		ASSERT_EQ(1, do_refill(self->c.fd, 0, self->items, 1));
		a->xfer.count = 1;
		a->xfer.grown = 0;
		a->xfer.items = (uintptr_t)self->items;
		break;
	case LFPOOL_IOC_REFILL:
		a->xfer.count = 1;
		a->xfer.items = (uintptr_t)self->items;
		break;
	case LFPOOL_IOC_WAIT:
		a->wait.timeout_ns = 0;
		break;
	}
}

/* It succeeds now; then take back what it gave. */
static void finish(struct __test_metadata *_metadata, FIXTURE_DATA(client) *self,
		   const struct command *command, union argument *a)
{
	ASSERT_EQ(0, do_ioctl(self->c.fd, command->number, a)) {
		TH_LOG("%s", command->name);
	}
	switch (command->number) {
	case LFPOOL_IOC_ATTACH:
		ASSERT_EQ(0, do_detach(self->c.fd, a->attach.slot));
		break;
	case LFPOOL_IOC_REFILL:
		ASSERT_EQ(1, a->xfer.count);
		ASSERT_EQ(1, do_release(self->c.fd, 0, self->items, 1));
		break;
	case LFPOOL_IOC_WAIT:
		ASSERT_EQ(1, do_release(self->c.fd, 0, &a->wait.item, 1));
		break;
	}
}

TEST_F(client, unknown_command_is_enotty)
{
	static const unsigned long unknown[] = {
		_IOWR(LFPOOL_IOC_TYPE, 0x0a, struct lfpool_info),
		_IOWR(LFPOOL_IOC_TYPE, 0x1f, struct lfpool_attach),
		_IOWR(LFPOOL_IOC_TYPE, 0xff, struct lfpool_info),
		_IOWR('K', 0x00, struct lfpool_info),
		_IOWR(0, 0x00, struct lfpool_info),
		0x5401,		/* TCGETS */
		0xffffffff,
	};
	struct lfpool_stats before = stats_of(POOL);
	union argument a;
	size_t k;

	for (k = 0; k < ARRAY_SIZE(unknown); k++) {
		memset(&a, 0, sizeof(a));
		a.head.size = sizeof(a.info);
		EXPECT_EQ(-ENOTTY, do_ioctl(self->c.fd, unknown[k], &a)) {
			TH_LOG("command %#lx", unknown[k]);
		}
	}
	EXPECT_TRUE(same(&before));
}

TEST_F(client, bad_pointer_is_efault)
{
	const struct command *command;
	unsigned char *edge;
	union argument a;

	edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, edge);
	edge += 4096;
	ASSERT_EQ(0, mprotect(edge, 4096, PROT_NONE));

	for_each_command(command) {
		struct lfpool_stats before;
		unsigned char *last = edge - command->size + 4;

		prepare(_metadata, self, command, &a);
		before = stats_of(POOL);
		EXPECT_EQ(-EFAULT, do_ioctl(self->c.fd, command->number, NULL)) {
			TH_LOG("%s of NULL", command->name);
		}
		EXPECT_EQ(-EFAULT, do_ioctl(self->c.fd, command->number, (void *)-4096L)) {
			TH_LOG("%s of a kernel address", command->name);
		}
		EXPECT_EQ(-EFAULT, do_ioctl(self->c.fd, command->number, edge)) {
			TH_LOG("%s of a page without access", command->name);
		}
		/* all but the last word of it is there */
		memcpy(last, &a, command->size - 4);
		EXPECT_EQ(-EFAULT, do_ioctl(self->c.fd, command->number, last)) {
			TH_LOG("%s of half a struct", command->name);
		}
		EXPECT_TRUE(same(&before)) {
			TH_LOG("%s changed something", command->name);
		}
		finish(_metadata, self, command, &a);
	}
	munmap(edge - 4096, 8192);
}

/* The answer cannot be written: what was done for it must be undone. */
TEST_F(client, read_only_argument_is_efault)
{
	const struct command *command;
	union argument *page;

	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	for_each_command(command) {
		struct lfpool_stats before, after;
		int k;

		if (!command->answers)
			continue;
		prepare(_metadata, self, command, page);
		before = stats_of(POOL);
		ASSERT_EQ(0, mprotect(page, 4096, PROT_READ));
		/* more often than there are slots */
		for (k = 0; k < 10; k++) {
			EXPECT_EQ(-EFAULT, do_ioctl(self->c.fd, command->number, page)) {
				TH_LOG("%s", command->name);
			}
		}
		ASSERT_EQ(0, mprotect(page, 4096, PROT_READ | PROT_WRITE));
		after = stats_of(POOL);
		/* a buffer that had to come back has been out for a moment */
		after.peak_granted = before.peak_granted;
		EXPECT_EQ(0, memcmp(&before, &after, sizeof(after))) {
			TH_LOG("%s changed something", command->name);
		}
		finish(_metadata, self, command, page);
	}
	munmap(page, 4096);
}

TEST_F(client, unknown_flag_is_einval)
{
	const struct command *command;
	union argument a;

	for_each_command(command) {
		struct lfpool_stats before;
		int bit;

		prepare(_metadata, self, command, &a);
		before = stats_of(POOL);
		for (bit = 0; bit < 32; bit++) {
			if (command->flags & 1U << bit)
				continue;
			a.head.flags = 1U << bit | command->flags;
			EXPECT_EQ(-EINVAL, do_ioctl(self->c.fd, command->number, &a)) {
				TH_LOG("%s with flag %d", command->name, bit);
			}
		}
		EXPECT_TRUE(same(&before)) {
			TH_LOG("%s changed something", command->name);
		}
		a.head.flags = 0;
		finish(_metadata, self, command, &a);
	}
}

TEST_F(client, reserved_field_is_einval)
{
	const struct command *command;
	struct lfpool_stats before;
	union argument a;

	for_each_command(command) {
		uint32_t *reserved;

		if (command->number == LFPOOL_IOC_RELEASE)
			reserved = &a.xfer.grown;
		else if (command->size == sizeof(a.attach))
			reserved = &a.attach.reserved;
		else
			continue;
		prepare(_metadata, self, command, &a);
		before = stats_of(POOL);
		*reserved = 1;
		EXPECT_EQ(-EINVAL, do_ioctl(self->c.fd, command->number, &a)) {
			TH_LOG("%s", command->name);
		}
		*reserved = 0x80000000;
		EXPECT_EQ(-EINVAL, do_ioctl(self->c.fd, command->number, &a)) {
			TH_LOG("%s", command->name);
		}
		EXPECT_TRUE(same(&before)) {
			TH_LOG("%s changed something", command->name);
		}
		*reserved = 0;
		finish(_metadata, self, command, &a);
	}
}

TEST_F(client, small_size_is_einval)
{
	const struct command *command;
	union argument a;

	for_each_command(command) {
		struct lfpool_stats before;
		uint32_t size;

		prepare(_metadata, self, command, &a);
		before = stats_of(POOL);
		for (size = 0; size < command->size; size++) {
			a.head.size = size;
			EXPECT_EQ(-EINVAL, do_ioctl(self->c.fd, command->number, &a)) {
				TH_LOG("%s of size %u", command->name, size);
			}
		}
		EXPECT_TRUE(same(&before)) {
			TH_LOG("%s changed something", command->name);
		}
		a.head.size = command->size;
		finish(_metadata, self, command, &a);
	}
}

TEST_F(client, nonzero_tail_is_e2big)
{
	const struct command *command;
	union argument a;

	for_each_command(command) {
		uint32_t size = command->size + 256;
		struct lfpool_stats before;

		prepare(_metadata, self, command, &a);
		before = stats_of(POOL);
		a.head.size = size;
		memset(a.byte + command->size, 0, 256);
		a.byte[command->size] = 1;
		EXPECT_EQ(-E2BIG, do_ioctl(self->c.fd, command->number, &a)) {
			TH_LOG("%s, first byte of the tail", command->name);
		}
		a.byte[command->size] = 0;
		a.byte[size - 1] = 0x80;
		EXPECT_EQ(-E2BIG, do_ioctl(self->c.fd, command->number, &a)) {
			TH_LOG("%s, last byte of the tail", command->name);
		}
		EXPECT_TRUE(same(&before)) {
			TH_LOG("%s changed something", command->name);
		}
		a.byte[size - 1] = 0;
		finish(_metadata, self, command, &a);
	}
}

/* A size that no struct has: an error, soon, and not a byte is written. */
TEST_F(client, absurd_size_is_refused)
{
	const struct command *command;
	union argument a;

	for_each_command(command) {
		struct lfpool_stats before;
		int ret;

		prepare(_metadata, self, command, &a);
		before = stats_of(POOL);
		a.head.size = UINT32_MAX;
		ret = do_ioctl(self->c.fd, command->number, &a);
		EXPECT_TRUE(ret == -E2BIG || ret == -EFAULT) {
			TH_LOG("%s: %d", command->name, ret);
		}
		EXPECT_TRUE(same(&before));
		a.head.size = command->size;
		finish(_metadata, self, command, &a);
	}
}

/* What a program knows and the kernel does not: zero stays zero. */
TEST_F(client, zero_tail_is_accepted)
{
	const struct command *command;
	union argument a;
	uint32_t k;

	for_each_command(command) {
		prepare(_metadata, self, command, &a);
		a.head.size = command->size + 256;
		memset(a.byte + command->size, 0, 256);
		finish(_metadata, self, command, &a);
		for (k = command->size; k < command->size + 256; k++)
			ASSERT_EQ(0, a.byte[k]);
		for (; k < sizeof(a); k++)
			ASSERT_EQ(POISON, a.byte[k]);
	}
	EXPECT_EQ(0, stats_of(POOL).in_use);
	EXPECT_EQ(0, stats_of(POOL).threads);
}

/* Nothing is written beyond the size that the caller gave. */
TEST_F(client, writes_no_further_than_size)
{
	const struct command *command;
	union argument a;
	uint32_t k;

	for_each_command(command) {
		prepare(_metadata, self, command, &a);
		finish(_metadata, self, command, &a);
		for (k = command->size; k < sizeof(a); k++) {
			ASSERT_EQ(POISON, a.byte[k]) {
				TH_LOG("%s wrote byte %u", command->name, k);
			}
		}
	}
}

TEST_F(client, read_only_open_reads_and_no_more)
{
	const struct command *command;
	struct lfpool_info info;
	union argument a;
	int fd;

	fd = node_open(POOL, O_RDONLY);
	ASSERT_LE(0, fd);
	for_each_command(command) {
		struct lfpool_stats before;

		prepare(_metadata, self, command, &a);
		before = stats_of(POOL);
		EXPECT_EQ(command->writes ? -EBADF : 0, do_ioctl(fd, command->number, &a)) {
			TH_LOG("%s", command->name);
		}
		EXPECT_TRUE(same(&before)) {
			TH_LOG("%s changed something", command->name);
		}
		finish(_metadata, self, command, &a);
	}
	EXPECT_EQ(0, do_info(fd, &info));
	EXPECT_EQ(0, info.client);
	close(fd);
}

TEST_F(file, without_mapping_is_enxio)
{
	struct lfpool_stats before = stats_of(POOL);
	uint32_t item = 0;

	EXPECT_EQ(-ENXIO, do_attach(self->c.fd));
	EXPECT_EQ(-ENXIO, do_detach(self->c.fd, 0));
	EXPECT_EQ(-ENXIO, do_refill(self->c.fd, 0, &item, 1));
	EXPECT_EQ(-ENXIO, do_refill(self->c.fd, LFPOOL_REFILL_GET, &item, 1));
	EXPECT_EQ(-ENXIO, do_release(self->c.fd, 0, &item, 1));
	EXPECT_EQ(-ENXIO, do_wait(self->c.fd, 0));
	EXPECT_EQ(-ENXIO, do_wake(self->c.fd));
	EXPECT_TRUE(same(&before));

	/* the three that say nothing about a client work */
	EXPECT_EQ(0, do_info(self->c.fd, &self->c.info));
	EXPECT_EQ(0, self->c.info.client);
	EXPECT_EQ(0, do_reset(self->c.fd));
	EXPECT_EQ(BUFFERS, stats_of(POOL).reserve);
}

TEST_F(client, after_unmapping_is_enxio)
{
	uint32_t item = 0;
	int slot;

	slot = do_attach(self->c.fd);
	ASSERT_LE(0, slot);
	ASSERT_EQ(0, munmap(self->c.map, self->c.info.mmap_size));
	self->c.map = MAP_FAILED;
	EXPECT_EQ(-ENXIO, do_attach(self->c.fd));
	EXPECT_EQ(-ENXIO, do_detach(self->c.fd, slot));
	EXPECT_EQ(-ENXIO, do_refill(self->c.fd, 0, &item, 1));
	EXPECT_EQ(-ENXIO, do_release(self->c.fd, 0, &item, 1));
	EXPECT_EQ(-ENXIO, do_wait(self->c.fd, 0));
	EXPECT_EQ(-ENXIO, do_wake(self->c.fd));
	/* an open file is mapped once in its life */
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->c.info.mmap_size, PROT_READ | PROT_WRITE,
				   MAP_SHARED, self->c.fd, 0));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 0, 10));
	EXPECT_EQ(0, stats_of(POOL).threads);
}

/* All that speaks for the client, from a process that is not the one. */
static void stranger(int fd, uint32_t slot, uint32_t item, const struct lfpool_info *info)
{
	uint32_t other = POISON32;

	child_assert(do_attach(fd) == -EBUSY);
	child_assert(do_detach(fd, slot) == -EBUSY);
	child_assert(do_refill(fd, 0, &other, 1) == -EBUSY);
	child_assert(do_release(fd, 0, &item, 1) == -EBUSY);
	child_assert(do_wait(fd, 0) == -EBUSY);
	child_assert(do_wake(fd) == -EBUSY);
	child_assert(mmap(NULL, info->mmap_size, PROT_READ | PROT_WRITE,
			  MAP_SHARED, fd, 0) == MAP_FAILED);
	child_assert(errno == EBUSY);
	/* a stranger may look */
	child_assert(stats_of(POOL).threads == 1);
	child_assert(stats_of(POOL).clients == 1);
	_exit(0);
}

TEST_F(client, inherited_file_is_ebusy)
{
	struct lfpool_stats before;
	pid_t pid;
	int slot;

	slot = do_attach(self->c.fd);
	ASSERT_LE(0, slot);
	ASSERT_EQ(1, do_refill(self->c.fd, 0, self->items, 1));
	before = stats_of(POOL);
	pid = child_fork();
	if (!pid)
		stranger(self->c.fd, slot, self->items[0], &self->c.info);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_TRUE(same(&before));
	/* it was the process, not the calls */
	EXPECT_EQ(1, do_release(self->c.fd, 0, self->items, 1));
	EXPECT_EQ(0, do_detach(self->c.fd, slot));
}

TEST_F(client, passed_file_is_ebusy)
{
	struct lfpool_stats before;
	int slot, pair[2];
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = child_fork();
	if (!pid) {
		/* the child's own copy of the file is out of the way */
		int fd, word[2];

		close(self->c.fd);
		child_assert(read(pair[1], word, sizeof(word)) == sizeof(word));
		fd = fd_receive(pair[1]);
		child_assert(fd >= 0);
		stranger(fd, word[0], word[1], &self->c.info);
	}
	slot = do_attach(self->c.fd);
	ASSERT_LE(0, slot);
	ASSERT_EQ(1, do_refill(self->c.fd, 0, self->items, 1));
	before = stats_of(POOL);
	ASSERT_EQ(8, write(pair[0], ((int[]){ slot, self->items[0] }), 8));
	ASSERT_EQ(0, fd_send(pair[0], self->c.fd));
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_TRUE(same(&before));
	EXPECT_EQ(1, do_release(self->c.fd, 0, self->items, 1));
	EXPECT_EQ(0, do_detach(self->c.fd, slot));
}

/*
 * The mapping
 */

static void *try_map(const struct client *c, uint64_t size, int prot, int flags, int fd,
		     off_t offset)
{
	void *p = mmap(NULL, size, prot, flags, fd, offset);

	/* ASSERT's message says what it was, and not only where */
	return p == MAP_FAILED ? NULL : p;
}

/* After a refusal: the same file can be mapped, as if nothing had been tried. */
static void maps_now(struct __test_metadata *_metadata, struct client *c)
{
	EXPECT_EQ(0, stats_of(POOL).clients);
	ASSERT_EQ(0, client_map(c));
	EXPECT_NE(0, c->info.client);
	EXPECT_EQ(1, stats_of(POOL).clients);
}

TEST_F(file, wrong_length_is_einval)
{
	const uint64_t right = self->c.info.mmap_size;
	const uint64_t wrong[] = { 4096, right / 2, right - 4096, right + 4096, right * 2 };
	size_t k;

	for (k = 0; k < ARRAY_SIZE(wrong); k++) {
		EXPECT_NULL(try_map(&self->c, wrong[k], PROT_READ | PROT_WRITE, MAP_SHARED,
				    self->c.fd, 0)) {
			TH_LOG("%llu bytes", (unsigned long long)wrong[k]);
		}
		EXPECT_EQ(EINVAL, errno);
	}
	maps_now(_metadata, &self->c);
}

TEST_F(file, wrong_offset_is_einval)
{
	const uint64_t size = self->c.info.mmap_size;

	EXPECT_NULL(try_map(&self->c, size, PROT_READ | PROT_WRITE, MAP_SHARED, self->c.fd, 4096));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_NULL(try_map(&self->c, size - 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
			    self->c.fd, 4096));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_NULL(try_map(&self->c, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    self->c.fd, 0x7ffff000));
	EXPECT_EQ(EINVAL, errno);
	maps_now(_metadata, &self->c);
}

TEST_F(file, private_mapping_is_einval)
{
	EXPECT_NULL(try_map(&self->c, self->c.info.mmap_size, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			    self->c.fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_NULL(try_map(&self->c, self->c.info.mmap_size, PROT_READ, MAP_PRIVATE,
			    self->c.fd, 0));
	EXPECT_EQ(EINVAL, errno);
	maps_now(_metadata, &self->c);
}

TEST_F(file, executable_mapping_is_eperm)
{
	EXPECT_NULL(try_map(&self->c, self->c.info.mmap_size, PROT_READ | PROT_WRITE | PROT_EXEC,
			    MAP_SHARED, self->c.fd, 0));
	EXPECT_EQ(EPERM, errno);
	maps_now(_metadata, &self->c);

	/* nor does it become executable later */
	EXPECT_EQ(-1, mprotect(self->c.map, self->c.info.mmap_size,
			       PROT_READ | PROT_WRITE | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
}

TEST_F(file, read_only_open_maps_nothing)
{
	int fd = node_open(POOL, O_RDONLY);

	ASSERT_LE(0, fd);
	EXPECT_NULL(try_map(&self->c, self->c.info.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    fd, 0));
	EXPECT_EQ(EACCES, errno);
	EXPECT_NULL(try_map(&self->c, self->c.info.mmap_size, PROT_READ, MAP_SHARED, fd, 0));
	EXPECT_EQ(EACCES, errno);
	close(fd);
	maps_now(_metadata, &self->c);
}

TEST_F(client, second_mapping_is_ebusy)
{
	struct lfpool_stats before = stats_of(POOL);

	EXPECT_NULL(try_map(&self->c, self->c.info.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    self->c.fd, 0));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_TRUE(same(&before));
	/* the first one is none the worse */
	EXPECT_LE(0, do_attach(self->c.fd));
	EXPECT_EQ(0, client_slot(&self->c, 0)->n);
}

TEST_F(file, mapping_by_heir_is_ebusy)
{
	pid_t pid = child_fork();

	if (!pid) {
		child_assert(!try_map(&self->c, self->c.info.mmap_size, PROT_READ | PROT_WRITE,
				      MAP_SHARED, self->c.fd, 0));
		child_assert(errno == EBUSY);
		_exit(0);
	}
	EXPECT_EQ(0, child_wait(pid));
	maps_now(_metadata, &self->c);
}

TEST_F(file, mapping_by_receiver_is_ebusy)
{
	int pair[2];
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = child_fork();
	if (!pid) {
		int fd;

		close(self->c.fd);
		fd = fd_receive(pair[1]);
		child_assert(fd >= 0);
		child_assert(!try_map(&self->c, self->c.info.mmap_size, PROT_READ | PROT_WRITE,
				      MAP_SHARED, fd, 0));
		child_assert(errno == EBUSY);
		_exit(0);
	}
	ASSERT_EQ(0, fd_send(pair[0], self->c.fd));
	EXPECT_EQ(0, child_wait(pid));
	maps_now(_metadata, &self->c);
}

static void *map_in_thread(void *c)
{
	return (void *)(intptr_t)client_map(c);
}

/* The client is the process: any thread of it may map, and speak for it. */
TEST_F(file, any_thread_may_map)
{
	pthread_t thread;
	void *ret;

	ASSERT_EQ(0, pthread_create(&thread, NULL, map_in_thread, &self->c));
	ASSERT_EQ(0, pthread_join(thread, &ret));
	ASSERT_NULL(ret);
	EXPECT_LE(0, do_attach(self->c.fd));
}

/* How many mappings of pools this process has; the place of the last one. */
static int count_mappings(uintptr_t *start, uintptr_t *end)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	int n = 0;

	if (!maps)
		return -1;
	while (fgets(line, sizeof(line), maps)) {
		unsigned long from, to;

		if (!strstr(line, "/dev/lfpool/") || sscanf(line, "%lx-%lx", &from, &to) != 2)
			continue;
		*start = from;
		*end = to;
		n++;
	}
	fclose(maps);
	return n;
}

static void fill_all(struct client *c)
{
	uint32_t i;

	for (i = 0; i < BUFFERS; i++)
		stamp_write(client_buffer(c, i), c->info.buffer_size, i + 1);
}

/* One mapping, where it was, with what it held, and the client lives. */
static void unharmed(struct __test_metadata *_metadata, struct client *c)
{
	uintptr_t start = 0, end = 0;
	uint32_t i, item = POISON32;
	int slot;

	ASSERT_EQ(1, count_mappings(&start, &end));
	ASSERT_EQ((uintptr_t)c->map, start);
	ASSERT_EQ((uintptr_t)c->map + c->info.mmap_size, end);
	for (i = 0; i < BUFFERS; i++)
		ASSERT_TRUE(stamp_check(client_buffer(c, i), c->info.buffer_size, i + 1));
	EXPECT_EQ(LFPOOL_ABI, ((struct lfpool_info *)c->map)->abi);
	EXPECT_EQ(1, stats_of(POOL).clients);
	slot = do_attach(c->fd);
	ASSERT_LE(0, slot);
	EXPECT_EQ(0, do_detach(c->fd, slot));
	ASSERT_EQ(1, do_refill(c->fd, 0, &item, 1));
	EXPECT_EQ(c->info.client, word_owner(client_desc(c, item)->word));
	EXPECT_EQ(1, do_release(c->fd, 0, &item, 1));
}

TEST_F(client, munmap_of_a_part_is_einval)
{
	const uint64_t size = self->c.info.mmap_size;

	fill_all(&self->c);
	EXPECT_EQ(-1, munmap(self->c.map, 4096));
	EXPECT_EQ(EINVAL, errno);
	unharmed(_metadata, &self->c);
	EXPECT_EQ(-1, munmap(self->c.map + size - 4096, 4096));
	EXPECT_EQ(EINVAL, errno);
	unharmed(_metadata, &self->c);
	EXPECT_EQ(-1, munmap(self->c.map + self->c.info.data_offset, 4096));
	EXPECT_EQ(EINVAL, errno);
	unharmed(_metadata, &self->c);
}

TEST_F(client, mprotect_of_a_part_is_einval)
{
	fill_all(&self->c);
	EXPECT_EQ(-1, mprotect(self->c.map, 4096, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, mprotect(self->c.map + self->c.info.data_offset, 4096, PROT_NONE));
	EXPECT_EQ(EINVAL, errno);
	unharmed(_metadata, &self->c);
	/* still writable */
	fill_all(&self->c);
}

TEST_F(client, madvise_of_a_part_is_einval)
{
	fill_all(&self->c);
	/* the first would split the mapping, the second needs no split */
	EXPECT_EQ(-1, madvise(self->c.map, 4096, MADV_DOFORK));
	EXPECT_EQ(EINVAL, errno);
	unharmed(_metadata, &self->c);
	EXPECT_EQ(0, madvise(self->c.map + self->c.info.data_offset, 4096, MADV_DONTNEED));
	unharmed(_metadata, &self->c);
}

TEST_F(client, mremap_is_refused)
{
	const uint64_t size = self->c.info.mmap_size;
	void *room;

	fill_all(&self->c);
	room = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, room);

	/* move */
	EXPECT_EQ(MAP_FAILED, mremap(self->c.map, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
				     room));
	EXPECT_EQ(EINVAL, errno);
	unharmed(_metadata, &self->c);
	/* move a part */
	EXPECT_EQ(MAP_FAILED, mremap(self->c.map + self->c.info.data_offset, 4096, 4096,
				     MREMAP_MAYMOVE | MREMAP_FIXED, room));
	EXPECT_EQ(EINVAL, errno);
	unharmed(_metadata, &self->c);
	/* move and leave a copy */
	EXPECT_EQ(MAP_FAILED, mremap(self->c.map, size, size,
				     MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL));
	EXPECT_EQ(EINVAL, errno);
	unharmed(_metadata, &self->c);
	/* shrink */
	EXPECT_EQ(MAP_FAILED, mremap(self->c.map, size, size - 4096, 0));
	EXPECT_EQ(EINVAL, errno);
	unharmed(_metadata, &self->c);
	/* a second mapping of the same pages; grow: the kernel's own answers */
	EXPECT_EQ(MAP_FAILED, mremap(self->c.map, 0, size, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	unharmed(_metadata, &self->c);
	EXPECT_EQ(MAP_FAILED, mremap(self->c.map, size, size + 4096, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	unharmed(_metadata, &self->c);
	munmap(room, size);
}

TEST_F(client, overlay_of_a_part_is_refused)
{
	unsigned char *data = self->c.map + self->c.info.data_offset;

	fill_all(&self->c);
	EXPECT_EQ(MAP_FAILED, mmap(data, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				   -1, 0));
	/* older kernels call every such refusal a lack of memory */
	EXPECT_TRUE(errno == EINVAL || errno == ENOMEM);
	unharmed(_metadata, &self->c);
	EXPECT_EQ(MAP_FAILED, mmap(self->c.map, 4096, PROT_READ,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_TRUE(errno == EINVAL || errno == ENOMEM);
	unharmed(_metadata, &self->c);
}

static bool has_flag(const char *flags, const char *flag)
{
	char wanted[8];

	snprintf(wanted, sizeof(wanted), " %s ", flag);
	return strstr(flags, wanted);
}

/* Not for children, not for core files, of constant size, with ordinary pages. */
TEST_F(client, mapping_has_its_flags)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	char line[512], flags[sizeof(line) + 1] = "";
	bool ours = false;

	ASSERT_NE(NULL, smaps);
	while (fgets(line, sizeof(line), smaps)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			ours = strstr(line, "/dev/lfpool/" POOL);
		if (ours && !strncmp(line, "VmFlags:", 8)) {
			line[strcspn(line, "\n")] = 0;
			snprintf(flags, sizeof(flags), "%s ", line);
		}
	}
	fclose(smaps);
	ASSERT_STRNE("", flags);
	EXPECT_TRUE(has_flag(flags, "sh"));
	EXPECT_TRUE(has_flag(flags, "dc"));
	EXPECT_TRUE(has_flag(flags, "de"));
	EXPECT_TRUE(has_flag(flags, "dd"));
	EXPECT_FALSE(has_flag(flags, "me"));
	EXPECT_FALSE(has_flag(flags, "mm"));
	EXPECT_FALSE(has_flag(flags, "pf"));
	EXPECT_FALSE(has_flag(flags, "io"));
}

/* A child of fork has none of it. */
TEST_F(client, child_has_no_mapping)
{
	pid_t pid = child_fork();

	if (!pid) {
		uintptr_t start, end;

		child_assert(count_mappings(&start, &end) == 0);
		_exit(0);
	}
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_EQ(1, stats_of(POOL).clients);
}

/* Real pages behind it: what a pipe, a socket or a disk can take as they are. */
TEST_F(client, pages_can_be_pinned)
{
	unsigned char got[2048], *buffer = client_buffer(&self->c, 2);
	struct iovec iov = { buffer, sizeof(got) };
	int fds[2];

	ASSERT_EQ(sizeof(got), self->c.info.buffer_size);
	fill_all(&self->c);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(sizeof(got), vmsplice(fds[1], &iov, 1, 0));
	/* it is the page that is in the pipe, not a copy */
	buffer[100] ^= 0xff;
	ASSERT_EQ(sizeof(got), read(fds[0], got, sizeof(got)));
	EXPECT_EQ(0, memcmp(got, buffer, sizeof(got)));
	close(fds[0]);
	close(fds[1]);
}

TEST_F(client, two_clients_share_the_data)
{
	struct client other;

	ASSERT_EQ(0, client_open(&other, POOL));
	EXPECT_NE(self->c.info.client, other.info.client);
	fill_all(&self->c);
	unsigned int i;

	for (i = 0; i < BUFFERS; i++)
		ASSERT_TRUE(stamp_check(client_buffer(&other, i), other.info.buffer_size, i + 1));
	EXPECT_EQ(2, stats_of(POOL).clients);
	client_close(&other);
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 1, 10));
}

/* New memory is zero: nothing of the kernel or of other programs shows. */
TEST_F(client, data_begins_as_zero)
{
	const unsigned char *p = self->c.map + self->c.info.data_offset;
	uint64_t k;

	for (k = 0; k < BUFFERS * self->c.info.stride; k++)
		ASSERT_EQ(0, p[k]);
	/* and the room before it can be read, and is zero where nothing is */
	p = self->c.map + self->c.info.desc_offset + BUFFERS * self->c.info.desc_stride;
	for (; p < self->c.map + self->c.info.data_offset; p += 64)
		ASSERT_EQ(0, *p);
}

/*
 * Geometry
 */

static bool power_of_two(uint64_t x)
{
	return x && !(x & (x - 1));
}

/* What must hold in any pool, whatever its parameters. */
static void sound_geometry(struct __test_metadata *_metadata, struct client *c, const char *pool)
{
	const struct lfpool_info *i = &c->info;
	struct lfpool_info header;

	EXPECT_EQ(LFPOOL_ABI, i->abi);
	EXPECT_EQ(0, i->reserved);
	EXPECT_STREQ(pool, i->name);
	EXPECT_TRUE(power_of_two(i->stride));
	EXPECT_LE(i->buffer_size, i->stride);
	EXPECT_LT(i->stride, 2 * i->buffer_size < 128 ? 128 : 2 * i->buffer_size);
	EXPECT_EQ(0, i->data_offset % (2 << 20));
	EXPECT_EQ(0, i->mmap_size % 4096);
	EXPECT_EQ(0, i->depot_offset % 64);
	EXPECT_EQ(0, i->slot_offset % 64);
	EXPECT_EQ(0, i->desc_offset % 64);
	EXPECT_EQ(sizeof(struct lfpool_slot), i->slot_stride);
	EXPECT_EQ(sizeof(struct lfpool_desc), i->desc_stride);
	EXPECT_LE(sizeof(struct lfpool_info), i->depot_offset);
	EXPECT_LE(i->depot_offset + sizeof(struct lfpool_depot), i->slot_offset);
	EXPECT_LE(i->slot_offset + (uint64_t)i->max_threads * i->slot_stride, i->desc_offset);
	EXPECT_LE(i->desc_offset + (uint64_t)i->max_count * i->desc_stride, i->data_offset);
	EXPECT_LE(i->data_offset + i->max_count * i->stride, i->mmap_size);
	EXPECT_LT(i->mmap_size, i->data_offset + i->max_count * i->stride + 4096);
	EXPECT_LE(i->buffer_count, i->max_count);
	EXPECT_LE(1, i->batch);
	EXPECT_GE(LFPOOL_BATCH_MAX, i->batch);

	memcpy(&header, c->map, sizeof(header));
	EXPECT_EQ(sizeof(header), header.size);
	header.size = i->size;
	header.client = i->client;
	EXPECT_EQ(0, memcmp(&header, i, sizeof(header)));
}

FIXTURE(geometry) {
};

FIXTURE_VARIANT(geometry) {
	const char *args;
	const char *pool;
	uint64_t size, stride;
	uint32_t buffers, max, threads, batch;
};

FIXTURE_SETUP(geometry)
{
	ASSERT_EQ(0, module_fresh(variant->args));
}

FIXTURE_TEARDOWN(geometry)
{
	EXPECT_EQ(0, module_unload());
}

FIXTURE_VARIANT_ADD(geometry, default_serialization)
{
	"", "serialization", 131072, 131072, 256, 512, 256, 28
};

FIXTURE_VARIANT_ADD(geometry, default_compression)
{
	"", "compression", 65536, 65536, 256, 512, 256, 28
};

FIXTURE_VARIANT_ADD(geometry, default_simd)
{
	"", "simd", 2048, 2048, 256, 512, 256, 28
};

#define ODD	"buffer_count=40 max_count=41 serialization_size=100000 " \
		"compression_size=100 simd_elements=3 max_threads=7 batch=29"

/* a batch is at most an eighth of the buffers */
FIXTURE_VARIANT_ADD(geometry, odd_serialization)
{
	ODD, "serialization", 100000, 131072, 40, 41, 7, 5
};

FIXTURE_VARIANT_ADD(geometry, odd_compression)
{
	ODD, "compression", 100, 128, 40, 41, 7, 5
};

FIXTURE_VARIANT_ADD(geometry, odd_simd)
{
	ODD, "simd", 96, 128, 40, 41, 7, 5
};

TEST_F(geometry, info_says_it)
{
	struct lfpool_stats s;
	struct client c;
	uint32_t item;

	ASSERT_EQ(0, client_open(&c, variant->pool));
	sound_geometry(_metadata, &c, variant->pool);
	EXPECT_EQ(variant->size, c.info.buffer_size);
	EXPECT_EQ(variant->stride, c.info.stride);
	EXPECT_EQ(variant->buffers, c.info.buffer_count);
	EXPECT_EQ(variant->max, c.info.max_count);
	EXPECT_EQ(variant->threads, c.info.max_threads);
	EXPECT_EQ(variant->batch, c.info.batch);
	EXPECT_EQ(strcmp(variant->pool, "simd") ? 0 : LFPOOL_POOL_ZERO, c.info.pool_flags);

	s = stats_of(variant->pool);
	EXPECT_EQ(variant->size, s.buffer_size);
	EXPECT_EQ(variant->stride, s.stride);
	EXPECT_EQ(variant->buffers, s.buffer_count);
	EXPECT_EQ(variant->max, s.max_count);
	EXPECT_EQ(variant->buffers, s.capacity);
	EXPECT_EQ(variant->buffers, s.reserve);

	/* every buffer is there from end to end */
	for (item = 0; item < variant->buffers; item++)
		stamp_write(client_buffer(&c, item), variant->size, item);
	for (item = 0; item < variant->buffers; item++)
		EXPECT_TRUE(stamp_check(client_buffer(&c, item), variant->size, item));
	client_close(&c);
}

TEST_F(file, client_is_zero_before_mmap)
{
	EXPECT_EQ(0, self->c.info.client);
	EXPECT_EQ(0, stats_of(POOL).clients);
	maps_now(_metadata, &self->c);
	EXPECT_LE(LFPOOL_CLIENT_MIN, self->c.info.client);
	EXPECT_GE(LFPOOL_CLIENT_MAX, self->c.info.client);
}

TEST_F(file, nodes_are_for_their_group)
{
	static const char * const pools[] = { "serialization", "compression", "simd" };
	struct stat st;
	char path[64];
	pid_t pid;
	size_t k;

	for (k = 0; k < ARRAY_SIZE(pools); k++) {
		snprintf(path, sizeof(path), "/dev/lfpool/%s", pools[k]);
		ASSERT_EQ(0, stat(path, &st));
		EXPECT_TRUE(S_ISCHR(st.st_mode));
		EXPECT_EQ(0660, st.st_mode & 07777);
	}
	pid = child_fork();
	if (!pid) {
		child_assert(!setgroups(0, NULL) && !setgid(65534) && !setuid(65534));
		child_assert(node_open(POOL, O_RDWR) == -EACCES);
		child_assert(node_open(POOL, O_RDONLY) == -EACCES);
		_exit(0);
	}
	EXPECT_EQ(0, child_wait(pid));
}

/*
 * ATTACH and DETACH
 */

TEST_F(client, attach_beyond_max_threads_is_eusers)
{
	struct client other;
	uint32_t seen = 0;
	uint32_t k;
	int slot;

	for (k = 0; k < THREADS; k++) {
		slot = do_attach(self->c.fd);
		ASSERT_LE(0, slot);
		ASSERT_GT(THREADS, slot);
		EXPECT_EQ(0, seen & 1 << slot);
		seen |= 1 << slot;
		EXPECT_EQ(0, client_slot(&self->c, slot)->n);
		EXPECT_EQ(0, client_slot(&self->c, slot)->busy);
		EXPECT_EQ(0, client_slot(&self->c, slot)->revoked);
		EXPECT_EQ(LFPOOL_NONE, client_slot(&self->c, slot)->journal);
	}
	EXPECT_EQ(THREADS, stats_of(POOL).threads);
	EXPECT_EQ(-EUSERS, do_attach(self->c.fd));
	EXPECT_EQ(THREADS, stats_of(POOL).threads);

	/* slots are the pool's, not the client's */
	ASSERT_EQ(0, client_open(&other, POOL));
	EXPECT_EQ(-EUSERS, do_attach(other.fd));
	ASSERT_EQ(0, do_detach(self->c.fd, 2));
	EXPECT_EQ(2, do_attach(other.fd));
	EXPECT_EQ(-EUSERS, do_attach(self->c.fd));
	client_close(&other);
	EXPECT_TRUE(wait_until(stats_of(POOL).threads == THREADS - 1, 10));
	EXPECT_EQ(2, do_attach(self->c.fd));
}

TEST_F(client, detach_of_a_foreign_slot_is_einval)
{
	static const uint32_t nowhere[] = { THREADS, THREADS + 1, 4096, 0x7fffffff, 0xffffffff };
	struct lfpool_stats before;
	struct client other;
	int mine, theirs;
	uint32_t k;

	ASSERT_EQ(0, client_open(&other, POOL));
	mine = do_attach(self->c.fd);
	theirs = do_attach(other.fd);
	ASSERT_LE(0, mine);
	ASSERT_LE(0, theirs);
	before = stats_of(POOL);
	EXPECT_EQ(-EINVAL, do_detach(self->c.fd, theirs));
	EXPECT_EQ(-EINVAL, do_detach(other.fd, mine));
	for (k = 0; k < THREADS; k++) {
		if (k != mine && k != theirs)
			EXPECT_EQ(-EINVAL, do_detach(self->c.fd, k));
	}
	for (k = 0; k < ARRAY_SIZE(nowhere); k++) {
		EXPECT_EQ(-EINVAL, do_detach(self->c.fd, nowhere[k])) {
			TH_LOG("slot %#x", nowhere[k]);
		}
	}
	EXPECT_TRUE(same(&before));
	EXPECT_EQ(0, do_detach(self->c.fd, mine));
	EXPECT_EQ(-EINVAL, do_detach(self->c.fd, mine));
	EXPECT_EQ(0, do_detach(other.fd, theirs));
	client_close(&other);
}

TEST_F(client, detach_gives_the_cache_back)
{
	volatile struct lfpool_slot *s;
	uint32_t k;
	int slot;

	slot = do_attach(self->c.fd);
	ASSERT_LE(0, slot);
	s = client_slot(&self->c, slot);
	ASSERT_EQ(10, do_refill(self->c.fd, 0, self->items, 10));
	for (k = 0; k < 7; k++)
		s->item[k] = self->items[k];
	s->n = 7;
	EXPECT_EQ(7, stats_of(POOL).cached);
	EXPECT_EQ(3, stats_of(POOL).in_use);
	EXPECT_EQ(0, do_detach(self->c.fd, slot));
	/* what the program holds stays with it */
	EXPECT_EQ(0, stats_of(POOL).cached);
	EXPECT_EQ(3, stats_of(POOL).in_use);
	EXPECT_EQ(BUFFERS - 3, stats_of(POOL).reserve);
	EXPECT_EQ(3, do_release(self->c.fd, 0, self->items + 7, 3));
	EXPECT_EQ(BUFFERS, stats_of(POOL).reserve);
	/* and the next thread finds an empty slot */
	ASSERT_EQ(slot, do_attach(self->c.fd));
	EXPECT_EQ(0, s->n);
}

/* A free slot is as open to all as any other; who gets it finds it empty. */
TEST_F(client, attach_gives_a_clean_slot)
{
	static const struct lfpool_slot clean = { .journal = LFPOOL_NONE };
	uint32_t k;
	int slot;

	for (k = 0; k < THREADS; k++)
		memset((void *)client_slot(&self->c, k), 0xa5, sizeof(clean));
	slot = do_attach(self->c.fd);
	ASSERT_LE(0, slot);
	EXPECT_EQ(0, memcmp((void *)client_slot(&self->c, slot), &clean, sizeof(clean)));
}

/*
 * A thread jumped out of a signal handler that had interrupted it just behind a
 * push: the batch is in the depot, and its cache lists it still. Another one was
 * stopped before the push's swap: its batch is nowhere, but in its journal.
 */
TEST_F(client, detach_within_an_operation_loses_and_doubles_nothing)
{
	volatile struct lfpool_depot *depot;
	volatile struct lfpool_slot *s;
	volatile struct lfpool_desc *d;
	struct lfpool_audit a;
	int slot, swapped;
	uint32_t k;

	depot = (void *)(self->c.map + self->c.info.depot_offset);
	for (swapped = 0; swapped < 2; swapped++) {
		slot = do_attach(self->c.fd);
		ASSERT_LE(0, slot);
		s = client_slot(&self->c, slot);
		ASSERT_EQ(6, do_refill(self->c.fd, 0, self->items, 6));
		for (k = 0; k < 6; k++)
			s->item[k] = self->items[k];
		s->n = 6;
		s->busy = 1;
		d = client_desc(&self->c, self->items[0]);
		for (k = 1; k < 4; k++)
			d->item[k - 1] = self->items[k];
		d->count = 3;
		s->journal = self->items[0];
		d->word = (d->word & ~0xffffffffULL) + (1ULL << 32) + LFPOOL_OWNER_DEPOT;
		d->next = LFPOOL_NONE;
		if (swapped)
			depot->head = ((depot->head & ~LFPOOL_HEAD_INDEX) + LFPOOL_HEAD_TAG_ONE) |
				      self->items[0];
		EXPECT_EQ(0, do_detach(self->c.fd, slot));
		a = audit_of(POOL);
		EXPECT_EQ(swapped ? 4 : 0, a.depot);
		EXPECT_EQ(2, a.held);
		EXPECT_EQ(BUFFERS - (swapped ? 6 : 2), a.reserve);
		EXPECT_EQ(0, a.lost + a.duplicate + a.damaged);
		EXPECT_EQ(2, do_release(self->c.fd, 0, self->items + 4, 2));
	}
	/* each of them once */
	ASSERT_EQ(BUFFERS - 4, do_refill(self->c.fd, 0, self->items, BUFFERS));
	ASSERT_EQ(4, do_refill(self->c.fd, 0, self->items + BUFFERS - 4, 4));
	EXPECT_TRUE(distinct(self->items, BUFFERS, BUFFERS));
}

/* What a slot says about itself is checked before it is believed. */
TEST_F(client, detach_of_a_spoilt_slot_is_safe)
{
	volatile struct lfpool_slot *s;
	uint32_t k;
	int slot;

	slot = do_attach(self->c.fd);
	ASSERT_LE(0, slot);
	s = client_slot(&self->c, slot);
	ASSERT_EQ(4, do_refill(self->c.fd, 0, self->items, 4));
	/* one that is ours, twice; one of the reserve; indices of nothing */
	for (k = 0; k < LFPOOL_CACHE_MAX; k++)
		s->item[k] = 0xfffffff0 + k;
	s->item[0] = self->items[0];
	s->item[1] = self->items[0];
	s->item[2] = BUFFERS;
	for (s->item[3] = 0; client_desc(&self->c, s->item[3])->word & LFPOOL_WORD_OWNER;)
		s->item[3]++;
	s->n = UINT32_MAX;
	s->journal = UINT32_MAX;
	s->busy = UINT32_MAX;
	EXPECT_NE(0, stats_of(POOL).size);
	EXPECT_NE(0, audit_of(POOL).size);
	EXPECT_EQ(0, do_detach(self->c.fd, slot));
	EXPECT_EQ(0, stats_of(POOL).threads);

	/* no buffer became two */
	k = 4;
	while (k < LFPOOL_XFER_MAX) {
		int n = do_refill(self->c.fd, 0, self->items + k, LFPOOL_XFER_MAX - k);

		if (n < 0)
			break;
		k += n;
	}
	EXPECT_LE(BUFFERS - 1, k);
	/* the first may have come back by the slot, and be ours again */
	EXPECT_TRUE(distinct(self->items + 1, k - 1, BUFFERS));
	ASSERT_EQ(0, do_attach(self->c.fd));
	EXPECT_EQ(0, client_slot(&self->c, 0)->n);
	EXPECT_EQ(0, client_slot(&self->c, 0)->busy);
	EXPECT_EQ(LFPOOL_NONE, client_slot(&self->c, 0)->journal);
}

/*
 * REFILL and RELEASE
 */

TEST_F(client, refill_gives_each_buffer_once)
{
	uint32_t got = 0;
	uint32_t k;

	while (got < BUFFERS) {
		int n = do_refill(self->c.fd, 0, self->items + got, BUFFERS - got);

		ASSERT_LE(1, n);
		ASSERT_GE(BUFFERS - got, n);
		got += n;
	}
	EXPECT_TRUE(distinct(self->items, BUFFERS, BUFFERS));
	for (k = 0; k < BUFFERS; k++) {
		uint64_t word = client_desc(&self->c, self->items[k])->word;

		EXPECT_EQ(self->c.info.client, (uint32_t)word);
	}
	EXPECT_EQ(0, stats_of(POOL).reserve);
	EXPECT_EQ(0, stats_of(POOL).available);
	EXPECT_EQ(BUFFERS, stats_of(POOL).in_use);
	EXPECT_EQ(BUFFERS, stats_of(POOL).peak_granted);
	EXPECT_EQ(BUFFERS, do_release(self->c.fd, 0, self->items, BUFFERS));
	EXPECT_EQ(BUFFERS, stats_of(POOL).reserve);
}

/* and only those */
TEST_F(client, refill_marks_buffers_free_that_are_asked_for_so)
{
	uint32_t flags, k;

	for (flags = 0; flags <= (LFPOOL_REFILL_GET | LFPOOL_REFILL_FREE); flags++) {
		ASSERT_EQ(1, do_refill(self->c.fd, flags, &k, 1));
		EXPECT_EQ(self->c.info.client | (flags & LFPOOL_REFILL_FREE ? LFPOOL_WORD_FREE : 0),
			  (uint32_t)client_desc(&self->c, k)->word);
		/* the kernel takes it back as it is, and forgets the flag */
		ASSERT_EQ(1, do_release(self->c.fd, 0, &k, 1));
		EXPECT_EQ(LFPOOL_OWNER_RESERVE, (uint32_t)client_desc(&self->c, k)->word);
	}
}

TEST_F(client, refill_of_no_or_too_many_is_einval)
{
	static const uint32_t wrong[] = { 0, LFPOOL_XFER_MAX + 1, 4096, 0x80000001, 0xffffffff };
	struct lfpool_stats before = stats_of(POOL);
	uint32_t k;

	for (k = 0; k < ARRAY_SIZE(wrong); k++) {
		EXPECT_EQ(-EINVAL, do_refill(self->c.fd, 0, self->items, wrong[k])) {
			TH_LOG("count %#x", wrong[k]);
		}
		EXPECT_EQ(-EINVAL, do_refill(self->c.fd, LFPOOL_REFILL_GET, self->items,
					     wrong[k]));
	}
	EXPECT_TRUE(same(&before));
}

TEST_F(client, refill_of_an_empty_pool_is_enobufs)
{
	uint32_t item = POISON32, last;
	struct lfpool_stats before;

	ASSERT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	before = stats_of(POOL);
	EXPECT_EQ(-ENOBUFS, do_refill(self->c.fd, 0, &item, 1));
	EXPECT_EQ(POISON32, item);
	EXPECT_EQ(before.in_use, stats_of(POOL).in_use);
	/* one comes back, and is there for the next */
	last = self->items[BUFFERS - 1];
	ASSERT_EQ(1, do_release(self->c.fd, 0, &last, 1));
	EXPECT_EQ(1, do_refill(self->c.fd, 0, &item, 1));
	EXPECT_EQ(last, item);
	EXPECT_EQ(-ENOBUFS, do_refill(self->c.fd, 0, &item, 1));
}

/* A program that asks for more than there is gets what there is. */
TEST_F(client, refill_gives_what_there_is)
{
	uint32_t more[LFPOOL_XFER_MAX];

	ASSERT_EQ(BUFFERS - 3, do_refill(self->c.fd, 0, self->items, BUFFERS - 3));
	EXPECT_EQ(3, do_refill(self->c.fd, 0, more, LFPOOL_XFER_MAX));
	memcpy(self->items + BUFFERS - 3, more, 3 * sizeof(more[0]));
	EXPECT_TRUE(distinct(self->items, BUFFERS, BUFFERS));
	EXPECT_EQ(POISON32, more[3]);
}

/*
 * Of the first two items a batch that is nowhere, but in a living thread's journal;
 * and a death, which makes the kernel look at it and put it off.
 */
static void have_put_off(struct __test_metadata *_metadata, FIXTURE_DATA(client) *self, int slot)
{
	volatile struct lfpool_desc *d = client_desc(&self->c, self->items[0]);
	uint64_t clients;
	pid_t pid;

	client_slot(&self->c, slot)->journal = self->items[0];
	d->item[0] = self->items[1];
	d->count = 1;
	d->word = (d->word & ~0xffffffffULL) | LFPOOL_OWNER_DEPOT;
	clients = stats_of(POOL).clients;
	pid = child_fork();
	if (!pid) {
		struct client own;

		child_assert(!client_open(&own, POOL));
		_exit(0);
	}
	EXPECT_EQ(0, child_wait(pid));
	ASSERT_TRUE(wait_until(stats_of(POOL).clients == clients, 10));
}

/*
 * A batch that a living thread names is looked at again, more and more seldom.
 * An empty pool does not wait for that.
 */
TEST_F_TIMEOUT(client, refill_finds_what_was_put_off, 60)
{
	unsigned int round;
	uint64_t reclaimed;
	int slot;

	slot = do_attach(self->c.fd);
	ASSERT_LE(0, slot);
	ASSERT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	for (round = 0; round < rounds(3); round++) {
		uint32_t found[2];

		reclaimed = stats_of(POOL).reclaimed;
		have_put_off(_metadata, self, slot);
		EXPECT_EQ(reclaimed, stats_of(POOL).reclaimed);
		EXPECT_EQ(-ENOBUFS, do_refill(self->c.fd, 0, found, 2));
		/* until it is looked at once a second */
		usleep(3000000);
		client_slot(&self->c, slot)->journal = LFPOOL_NONE;
		ASSERT_EQ(2, do_refill(self->c.fd, 0, found, 2)) {
			TH_LOG("round %u", round);
		}
		EXPECT_EQ(self->items[0] + self->items[1], found[0] + found[1]);
	}
}

/* One batch that is put off explains that its own buffers are late, no others. */
TEST_F(client, audit_finds_losses_beside_what_was_put_off)
{
	const uint32_t lost = LFPOOL_BATCH_MAX + 11;
	volatile struct lfpool_desc *d;
	struct lfpool_audit a;
	uint32_t k;
	int slot;

	slot = do_attach(self->c.fd);
	ASSERT_LE(0, slot);
	ASSERT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	have_put_off(_metadata, self, slot);
	EXPECT_EQ(1, stats_of(POOL).clients);
	a = audit_of(POOL);
	EXPECT_EQ(2, a.transit);
	EXPECT_EQ(0, a.lost);
	for (k = 2; k < 2 + lost; k++) {
		d = client_desc(&self->c, self->items[k]);
		d->word = (d->word & ~0xffffffffULL) | LFPOOL_CLIENT_MAX;
	}
	a = audit_of(POOL);
	EXPECT_EQ(lost - LFPOOL_BATCH_MAX, a.lost);
	EXPECT_EQ(2 + LFPOOL_BATCH_MAX, a.transit);
	EXPECT_EQ(BUFFERS - 2 - lost, a.held);
}

TEST_F(client, refill_to_bad_items_is_efault)
{
	struct lfpool_xfer xfer = { .size = sizeof(xfer), .count = 8 };
	struct lfpool_stats before = stats_of(POOL), after;
	unsigned char *edge;
	uint64_t bad[6];
	uint32_t k;

	edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, edge);
	edge += 4096;
	ASSERT_EQ(0, mprotect(edge, 4096, PROT_READ));
	bad[0] = 0;
	bad[1] = (uintptr_t)edge;
	/* room for three */
	bad[2] = (uintptr_t)edge - 12;
	/* a 64-bit address is not to be cut */
	bad[3] = (uintptr_t)self->items | 1ULL << 63;
	bad[4] = (uintptr_t)self->items | 1ULL << 47;
	bad[5] = UINT64_MAX - 3;
	for (k = 0; k < ARRAY_SIZE(bad); k++) {
		xfer.items = bad[k];
		EXPECT_EQ(-EFAULT, do_ioctl(self->c.fd, LFPOOL_IOC_REFILL, &xfer)) {
			TH_LOG("items at %#llx", (unsigned long long)bad[k]);
		}
	}
	after = stats_of(POOL);
	after.peak_granted = before.peak_granted;
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(after)));
	EXPECT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	EXPECT_TRUE(distinct(self->items, BUFFERS, BUFFERS));
	munmap(edge - 4096, 8192);
}

TEST_F(client, refill_fills_in_grown)
{
	struct lfpool_xfer xfer = {
		.size = sizeof(xfer), .count = 2, .grown = POISON32,
		.items = (uintptr_t)self->items,
	};

	EXPECT_EQ(0, do_ioctl(self->c.fd, LFPOOL_IOC_REFILL, &xfer));
	EXPECT_EQ(2, xfer.count);
	EXPECT_EQ(0, xfer.grown);
	EXPECT_EQ(0, do_ioctl(self->c.fd, LFPOOL_IOC_RELEASE, &xfer));
	EXPECT_EQ(2, xfer.count);
	EXPECT_EQ(0, xfer.grown);
}

TEST_F(client, release_of_no_or_too_many_is_einval)
{
	static const uint32_t wrong[] = { 0, LFPOOL_XFER_MAX + 1, 4096, 0x80000001, 0xffffffff };
	struct lfpool_stats before;
	uint32_t k;

	ASSERT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	before = stats_of(POOL);
	for (k = 0; k < ARRAY_SIZE(wrong); k++) {
		EXPECT_EQ(-EINVAL, do_release(self->c.fd, 0, self->items, wrong[k])) {
			TH_LOG("count %#x", wrong[k]);
		}
	}
	EXPECT_TRUE(same(&before));
	EXPECT_EQ(BUFFERS, do_release(self->c.fd, 0, self->items, BUFFERS));
}

TEST_F(client, release_out_of_range_is_einval)
{
	static const uint32_t wrong[] = {
		BUFFERS, BUFFERS + 1, LFPOOL_NONE, 0x80000000, 0xffffffff
	};
	struct lfpool_stats before;
	uint32_t k, at;

	ASSERT_EQ(3, do_refill(self->c.fd, 0, self->items, 3));
	before = stats_of(POOL);
	for (k = 0; k < ARRAY_SIZE(wrong); k++) {
		/* whether it comes first or last: all or nothing */
		for (at = 0; at < 3; at++) {
			uint32_t kept = self->items[at];

			self->items[at] = wrong[k];
			EXPECT_EQ(-EINVAL, do_release(self->c.fd, 0, self->items, 3)) {
				TH_LOG("index %#x as number %u", wrong[k], at);
			}
			EXPECT_TRUE(same(&before));
			self->items[at] = kept;
		}
	}
	EXPECT_EQ(3, do_release(self->c.fd, 0, self->items, 3));
	EXPECT_EQ(BUFFERS, stats_of(POOL).reserve);
}

TEST_F(client, release_of_a_foreign_buffer_is_estale)
{
	struct lfpool_stats before;
	struct client other;
	uint32_t theirs, free, at;

	ASSERT_EQ(3, do_refill(self->c.fd, 0, self->items, 3));
	ASSERT_EQ(0, client_open(&other, POOL));
	ASSERT_EQ(1, do_refill(other.fd, 0, &theirs, 1));
	/* in the reserve */
	for (free = 0; client_desc(&self->c, free)->word & LFPOOL_WORD_OWNER; free++)
		;
	ASSERT_GT(BUFFERS, free);
	before = stats_of(POOL);
	EXPECT_EQ(-ESTALE, do_release(self->c.fd, 0, &theirs, 1));
	EXPECT_EQ(-ESTALE, do_release(self->c.fd, 0, &free, 1));
	for (at = 0; at < 3; at++) {
		uint32_t kept = self->items[at];

		self->items[at] = theirs;
		EXPECT_EQ(-ESTALE, do_release(self->c.fd, 0, self->items, 3));
		self->items[at] = free;
		EXPECT_EQ(-ESTALE, do_release(self->c.fd, 0, self->items, 3));
		self->items[at] = kept;
	}
	EXPECT_EQ(-ESTALE, do_release(other.fd, 0, self->items, 3));
	EXPECT_TRUE(same(&before));
	for (at = 0; at < 3; at++)
		EXPECT_EQ(self->c.info.client,
			  (uint32_t)client_desc(&self->c, self->items[at])->word);
	EXPECT_EQ(3, do_release(self->c.fd, 0, self->items, 3));
	EXPECT_EQ(1, do_release(other.fd, 0, &theirs, 1));
	/* what is released once is not ours any more */
	EXPECT_EQ(-ESTALE, do_release(self->c.fd, 0, self->items, 1));
	EXPECT_EQ(BUFFERS, stats_of(POOL).reserve);
	client_close(&other);
}

TEST_F(client, release_of_one_buffer_twice_is_estale)
{
	struct lfpool_stats before;
	uint32_t twice[LFPOOL_XFER_MAX];
	uint32_t k;

	ASSERT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	before = stats_of(POOL);
	twice[0] = self->items[0];
	twice[1] = self->items[0];
	EXPECT_EQ(-ESTALE, do_release(self->c.fd, 0, twice, 2));
	memcpy(twice, self->items, sizeof(twice));
	twice[LFPOOL_XFER_MAX - 1] = twice[0];
	EXPECT_EQ(-ESTALE, do_release(self->c.fd, 0, twice, LFPOOL_XFER_MAX));
	EXPECT_TRUE(same(&before));
	for (k = 0; k < BUFFERS; k++)
		EXPECT_EQ(self->c.info.client,
			  (uint32_t)client_desc(&self->c, self->items[k])->word);
	EXPECT_EQ(BUFFERS, do_release(self->c.fd, 0, self->items, BUFFERS));
	EXPECT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	EXPECT_TRUE(distinct(self->items, BUFFERS, BUFFERS));
}

TEST_F(client, release_of_bad_items_is_efault)
{
	struct lfpool_xfer xfer = { .size = sizeof(xfer), .count = 8 };
	struct lfpool_stats before;
	unsigned char *edge;
	uint64_t bad[5];
	uint32_t k;

	edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, edge);
	edge += 4096;
	ASSERT_EQ(0, mprotect(edge, 4096, PROT_NONE));
	ASSERT_EQ(8, do_refill(self->c.fd, 0, self->items, 8));
	before = stats_of(POOL);
	memcpy(edge - 12, self->items, 12);
	bad[0] = 0;
	bad[1] = (uintptr_t)edge;
	bad[2] = (uintptr_t)edge - 12;
	bad[3] = (uintptr_t)self->items | 1ULL << 63;
	bad[4] = (uintptr_t)self->items | 1ULL << 47;
	for (k = 0; k < ARRAY_SIZE(bad); k++) {
		xfer.items = bad[k];
		EXPECT_EQ(-EFAULT, do_ioctl(self->c.fd, LFPOOL_IOC_RELEASE, &xfer)) {
			TH_LOG("items at %#llx", (unsigned long long)bad[k]);
		}
	}
	EXPECT_TRUE(same(&before));
	EXPECT_EQ(8, do_release(self->c.fd, 0, self->items, 8));
	munmap(edge - 4096, 8192);
}

/* A handle to an earlier life of the buffer must not open the next one. */
TEST_F(client, release_begins_a_new_generation)
{
	uint32_t item, before;

	ASSERT_EQ(1, do_refill(self->c.fd, 0, &item, 1));
	before = word_generation(client_desc(&self->c, item)->word);
	client_desc(&self->c, item)->word |= LFPOOL_WORD_EXPORTED;
	ASSERT_EQ(1, do_release(self->c.fd, 0, &item, 1));
	EXPECT_EQ(before + 1, word_generation(client_desc(&self->c, item)->word));
	EXPECT_EQ(LFPOOL_OWNER_RESERVE, (uint32_t)client_desc(&self->c, item)->word);
}

/* The owner word is only user space's claim; the kernel knows its own. */
TEST_F(client, forged_owner_moves_nothing)
{
	struct lfpool_stats before;
	uint32_t k, got = 0;

	before = stats_of(POOL);
	for (k = 0; k < BUFFERS; k++)
		client_desc(&self->c, k)->word = self->c.info.client;
	for (k = 0; k < BUFFERS; k++)
		EXPECT_EQ(-ESTALE, do_release(self->c.fd, 0, &k, 1));
	EXPECT_EQ(before.reserve, stats_of(POOL).reserve);
	while (got < BUFFERS) {
		int n = do_refill(self->c.fd, 0, self->items + got, BUFFERS - got);

		ASSERT_LE(1, n);
		got += n;
	}
	EXPECT_TRUE(distinct(self->items, BUFFERS, BUFFERS));
	EXPECT_EQ(-ENOBUFS, do_refill(self->c.fd, 0, &k, 1));
}

/* The same at death: what the dead wrote of itself gives it nothing. */
TEST_F(client, forged_owner_of_the_dead_moves_nothing)
{
	struct client other;
	uint32_t k;

	ASSERT_EQ(0, client_open(&other, POOL));
	ASSERT_EQ(4, do_refill(other.fd, 0, self->items, 4));
	for (k = 0; k < BUFFERS; k++)
		client_desc(&other, k)->word = other.info.client;
	client_close(&other);
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 1, 10));
	EXPECT_TRUE(wait_until(stats_of(POOL).reserve == BUFFERS, 10));
	EXPECT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	EXPECT_TRUE(distinct(self->items, BUFFERS, BUFFERS));
}

/* A client that goes takes nothing with it: what it cached and what it held. */
TEST_F(client, buffers_come_back_from_the_dead)
{
	volatile struct lfpool_slot *s;
	struct client other;
	uint32_t k, generation;
	int slot;

	ASSERT_EQ(0, client_open(&other, POOL));
	slot = do_attach(other.fd);
	ASSERT_LE(0, slot);
	s = client_slot(&other, slot);
	ASSERT_EQ(20, do_refill(other.fd, 0, self->items, 20));
	for (k = 0; k < 8; k++)
		s->item[k] = self->items[k];
	s->n = 8;
	generation = word_generation(client_desc(&self->c, self->items[19])->word);
	EXPECT_EQ(12, stats_of(POOL).in_use);
	client_close(&other);
	EXPECT_TRUE(wait_until(stats_of(POOL).reserve == BUFFERS, 10));
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 1, 10));
	EXPECT_EQ(0, stats_of(POOL).in_use);
	EXPECT_EQ(0, stats_of(POOL).threads);
	EXPECT_EQ(20, stats_of(POOL).reclaimed);
	EXPECT_EQ(generation + 1,
		  word_generation(client_desc(&self->c, self->items[19])->word));
	EXPECT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	EXPECT_TRUE(distinct(self->items, BUFFERS, BUFFERS));
}

/*
 * WAIT and WAKE
 */

TEST_F(client, wait_gives_what_there_is)
{
	int item = do_wait(self->c.fd, 0);

	ASSERT_LE(0, item);
	ASSERT_GT(BUFFERS, item);
	EXPECT_EQ(self->c.info.client, (uint32_t)client_desc(&self->c, item)->word);
	EXPECT_EQ(1, stats_of(POOL).in_use);
	EXPECT_EQ(0, ((struct lfpool_depot *)(self->c.map + self->c.info.depot_offset))->waiters);
}

TEST_F(client, wait_in_vain_is_etimedout)
{
	uint64_t start;

	ASSERT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	EXPECT_EQ(-ETIMEDOUT, do_wait(self->c.fd, 0));
	start = now_ns();
	EXPECT_EQ(-ETIMEDOUT, do_wait(self->c.fd, 30000000));
	EXPECT_LE(30000000, now_ns() - start);
	EXPECT_EQ(0, ((struct lfpool_depot *)(self->c.map + self->c.info.depot_offset))->waiters);
	EXPECT_EQ(BUFFERS, stats_of(POOL).in_use);
}

static void nothing(int signal)
{
}

TEST_F(client, wait_is_interrupted_by_a_signal)
{
	struct sigaction action = { .sa_handler = nothing };
	struct itimerval soon = {
		.it_value = { .tv_usec = 50000 }, .it_interval = { .tv_usec = 50000 },
	};

	ASSERT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &soon, NULL));
	EXPECT_EQ(-EINTR, do_wait(self->c.fd, -1));
	EXPECT_EQ(0, ((struct lfpool_depot *)(self->c.map + self->c.info.depot_offset))->waiters);
	EXPECT_EQ(BUFFERS, stats_of(POOL).in_use);
}

/* Somebody waits; a buffer that is released ends it. */
TEST_F(client, wait_ends_with_a_release)
{
	volatile struct lfpool_depot *depot;
	pid_t pid;

	depot = (void *)(self->c.map + self->c.info.depot_offset);
	ASSERT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	pid = child_fork();
	if (!pid) {
		struct client own;
		int item;

		child_assert(!client_open(&own, POOL));
		item = do_wait(own.fd, -1);
		child_assert(item == (int)self->items[5]);
		child_assert((uint32_t)client_desc(&own, item)->word == own.info.client);
		_exit(0);
	}
	EXPECT_TRUE(wait_until(depot->waiters, 10));
	EXPECT_EQ(1, do_release(self->c.fd, LFPOOL_RELEASE_PUT, &self->items[5], 1));
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_EQ(0, depot->waiters);
	EXPECT_TRUE(wait_until(stats_of(POOL).reserve == 1, 10));
}

/*
 * Answers that nobody can be told: what was given is taken back
 */

struct unheard {
	struct client *c;
	void *page;
	union argument *argument;
	int ret;
	bool over;
};

static void *wait_unheard(void *p)
{
	struct unheard *u = p;

	u->ret = do_ioctl(u->c->fd, LFPOOL_IOC_WAIT, u->argument);
	return NULL;
}

TEST_F(client, wait_that_cannot_be_told_is_undone)
{
	volatile struct lfpool_depot *depot;
	struct unheard u = { .c = &self->c };
	pthread_t thread;

	depot = (void *)(self->c.map + self->c.info.depot_offset);
	u.argument = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, u.argument);
	u.argument->wait = (struct lfpool_wait){
		.size = sizeof(u.argument->wait), .timeout_ns = -1,
	};
	ASSERT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_unheard, &u));
	ASSERT_TRUE(wait_until(depot->waiters, 10));
	ASSERT_EQ(0, mprotect(u.argument, 4096, PROT_READ));
	EXPECT_EQ(1, do_release(self->c.fd, 0, self->items, 1));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(-EFAULT, u.ret);
	EXPECT_EQ(1, stats_of(POOL).reserve);
	EXPECT_EQ(BUFFERS - 1, stats_of(POOL).in_use);
	munmap(u.argument, 4096);
}

static void *come_and_go(void *p)
{
	struct unheard *u = p;

	while (!__atomic_load_n(&u->over, __ATOMIC_RELAXED)) {
		mprotect(u->page, 4096, PROT_READ);
		mprotect(u->page, 4096, PROT_READ | PROT_WRITE);
	}
	return NULL;
}

/* Its page goes and comes back, at any moment of the call. */
TEST_F(client, what_cannot_be_told_is_undone)
{
	struct unheard u = { .c = &self->c };
	unsigned int round, told = 0, untold = 0;
	struct lfpool_stats s;
	pthread_t thread;
	int memory;

	/* where it can be written to while the page may not be */
	memory = memfd_create("argument", MFD_CLOEXEC);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, ftruncate(memory, 4096));
	u.page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	ASSERT_NE(MAP_FAILED, u.page);
	u.argument = u.page;
	ASSERT_EQ(0, pthread_create(&thread, NULL, come_and_go, &u));
	for (round = 0; round < rounds(60000); round++) {
		bool slot = round & 1;
		union argument a = { .xfer.size = slot ? sizeof(a.attach) : sizeof(a.xfer) };
		int ret;

		if (!slot) {
			a.xfer.flags = LFPOOL_REFILL_GET;
			a.xfer.count = BUFFERS;
			a.xfer.items = (uintptr_t)self->items;
		}
		ASSERT_EQ(sizeof(a.xfer), pwrite(memory, &a, sizeof(a.xfer), 0));
		ret = do_ioctl(self->c.fd, slot ? LFPOOL_IOC_ATTACH : LFPOOL_IOC_REFILL,
			       u.argument);
		if (ret == -EFAULT) {
			untold++;
			continue;
		}
		ASSERT_EQ(0, ret);
		told++;
		if (slot)
			ret = do_detach(self->c.fd, u.argument->attach.slot);
		else
			ret = do_release(self->c.fd, LFPOOL_RELEASE_PUT, self->items, BUFFERS);
		ASSERT_EQ(slot ? 0 : BUFFERS, ret);
	}
	__atomic_store_n(&u.over, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	TH_LOG("%u answers told, %u not", told, untold);
	EXPECT_LT(0, told);
	EXPECT_LT(0, untold);
	s = stats_of(POOL);
	EXPECT_EQ(BUFFERS, s.reserve);
	EXPECT_EQ(0, s.threads);
	EXPECT_EQ(s.pool_hits, s.deallocations);
	munmap(u.page, 4096);
	close(memory);
}

/*
 * A wait that is stopped goes on when it may: only a handler of a signal ends
 * it. What was left of its time is told, to the kernel that calls itself again
 * as to the program.
 */
TEST_F(client, wait_goes_on_after_a_stop)
{
	volatile struct lfpool_depot *depot;
	const int64_t timeouts[] = { -1, 600000000000LL };
	unsigned int round, k;
	int status;
	pid_t pid;

	depot = (void *)(self->c.map + self->c.info.depot_offset);
	ASSERT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	for (k = 0; k < ARRAY_SIZE(timeouts); k++) {
		pid = child_fork();
		if (!pid) {
			struct lfpool_wait arg = { .size = sizeof(arg), .timeout_ns = timeouts[k] };
			struct client own;

			child_assert(!client_open(&own, POOL));
			child_assert(!do_ioctl(own.fd, LFPOOL_IOC_WAIT, &arg));
			child_assert(arg.item == self->items[5]);
			child_assert(timeouts[k] < 0 ? arg.timeout_ns == -1 :
				     arg.timeout_ns > 0 && arg.timeout_ns < timeouts[k]);
			child_assert(do_release(own.fd, 0, &arg.item, 1) == 1);
			_exit(0);
		}
		EXPECT_TRUE(wait_until(depot->waiters, 10));
		for (round = 0; round < 5; round++) {
			kill(pid, SIGSTOP);
			ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
			ASSERT_TRUE(WIFSTOPPED(status)) {
				TH_LOG("status %#x", status);
			}
			/* who is stopped waits for nothing */
			EXPECT_EQ(0, depot->waiters);
			kill(pid, SIGCONT);
			EXPECT_TRUE(wait_until(depot->waiters, 10));
		}
		EXPECT_EQ(1, do_release(self->c.fd, 0, &self->items[5], 1));
		EXPECT_EQ(0, child_wait(pid));
		EXPECT_EQ(0, depot->waiters);
		ASSERT_EQ(1, do_refill(self->c.fd, 0, &self->items[5], 1));
	}
}

TEST_F(client, wait_tells_what_is_left)
{
	const int64_t long_time = 600000000000LL;
	struct lfpool_wait arg = { .size = sizeof(arg), .timeout_ns = long_time };
	struct sigaction action = { .sa_handler = nothing, .sa_flags = SA_RESTART };
	struct itimerval soon = {
		.it_value = { .tv_usec = 50000 }, .it_interval = { .tv_usec = 50000 },
	};

	ASSERT_EQ(BUFFERS, do_refill(self->c.fd, 0, self->items, BUFFERS));
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &soon, NULL));
	EXPECT_EQ(-EINTR, do_ioctl(self->c.fd, LFPOOL_IOC_WAIT, &arg));
	EXPECT_LT(0, arg.timeout_ns);
	EXPECT_GT(long_time, arg.timeout_ns);
	arg.timeout_ns = -1;
	EXPECT_EQ(-EINTR, do_ioctl(self->c.fd, LFPOOL_IOC_WAIT, &arg));
	EXPECT_EQ(-1, arg.timeout_ns);
	EXPECT_EQ(BUFFERS, stats_of(POOL).in_use);
}

/*
 * Statistics: STATS and sysfs
 */

static const struct {
	const char *name;
	size_t offset;
	bool counter;		/* zeroed by a reset */
} figures[] = {
#define FIGURE(name, ...) { #name, offsetof(struct lfpool_stats, name), __VA_ARGS__ }
	FIGURE(buffer_size, false),
	FIGURE(stride, false),
	FIGURE(buffer_count, false),
	FIGURE(max_count, false),
	FIGURE(capacity, false),
	FIGURE(available, false),
	FIGURE(in_use, false),
	FIGURE(cached, false),
	FIGURE(reserve, false),
	FIGURE(quarantined, false),
	FIGURE(peak_granted, false),
	FIGURE(allocations, true),
	FIGURE(deallocations, true),
	FIGURE(pool_hits, true),
	FIGURE(pool_misses, true),
	FIGURE(cas_retries, true),
	FIGURE(refills, true),
	FIGURE(flushes, true),
	FIGURE(grown, true),
	FIGURE(scavenged, true),
	FIGURE(reclaimed, true),
	FIGURE(clients, false),
	FIGURE(threads, false),
};

static uint64_t figure(const struct lfpool_stats *stats, size_t k)
{
	uint64_t value;

	memcpy(&value, (const char *)stats + figures[k].offset, sizeof(value));
	return value;
}

/* sysfs says the same as STATS, each in its own file. */
static void sysfs_agrees(struct __test_metadata *_metadata, const char *pool,
			 const struct lfpool_stats *stats)
{
	char text[64], wanted[64];
	size_t k;

	for (k = 0; k < ARRAY_SIZE(figures); k++) {
		EXPECT_EQ(figure(stats, k), sysfs_u64(pool, figures[k].name)) {
			TH_LOG("%s of %s", figures[k].name, pool);
		}
	}
	ASSERT_LT(0, sysfs_text(pool, "hit_rate", text, sizeof(text)));
	snprintf(wanted, sizeof(wanted), "%u.%06u\n", (unsigned int)(stats->hit_rate_ppm / 1000000),
		 (unsigned int)(stats->hit_rate_ppm % 1000000));
	EXPECT_STREQ(wanted, text);
}

/*
 * A pool in which no two figures are alike but those that are zero, so that
 * none can stand in another one's place.
 */
FIXTURE(figures) {
	struct client c, second;
	uint32_t items[LFPOOL_XFER_MAX];
	volatile struct lfpool_slot *slot;
};

FIXTURE_SETUP(figures)
{
	struct client dead;
	uint32_t k;

	ASSERT_EQ(0, module_fresh("buffer_count=64 max_count=100 max_threads=8"));
	ASSERT_EQ(0, client_open(&dead, POOL));
	ASSERT_EQ(7, do_refill(dead.fd, 0, self->items, 7));
	client_close(&dead);
	ASSERT_TRUE(wait_until(stats_of(POOL).clients == 0, 10));

	ASSERT_EQ(0, client_open(&self->c, POOL));
	ASSERT_EQ(0, client_open(&self->second, POOL));
	self->slot = client_slot(&self->c, do_attach(self->c.fd));
	ASSERT_LE(0, do_attach(self->c.fd));
	ASSERT_LE(0, do_attach(self->c.fd));
	ASSERT_LE(0, do_attach(self->second.fd));
	/* 5 for the program, 2 put back; 10 for a cache */
	ASSERT_EQ(5, do_refill(self->c.fd, LFPOOL_REFILL_GET, self->items, 5));
	ASSERT_EQ(2, do_release(self->c.fd, LFPOOL_RELEASE_PUT, self->items, 2));
	ASSERT_EQ(10, do_refill(self->c.fd, 0, self->items + 5, 10));
	for (k = 0; k < 10; k++)
		self->slot->item[k] = self->items[5 + k];
	self->slot->n = 10;
	self->slot->gets = 9000;
	self->slot->puts = 2000;
	self->slot->misses = 3000;
	self->slot->allocations = 4000;
	self->slot->cas_retries = 5000;
	self->slot->refills = 6000;
	self->slot->flushes = 7000;
}

FIXTURE_TEARDOWN(figures)
{
	client_close(&self->c);
	client_close(&self->second);
	EXPECT_EQ(0, module_unload());
}

TEST_F(figures, stats_say_what_happened)
{
	struct lfpool_stats s = stats_of(POOL);

	ASSERT_EQ(sizeof(s), s.size);
	EXPECT_EQ(0, s.flags);
	EXPECT_EQ(2048, s.buffer_size);
	EXPECT_EQ(2048, s.stride);
	EXPECT_EQ(64, s.buffer_count);
	EXPECT_EQ(100, s.max_count);
	EXPECT_EQ(64, s.capacity);
	EXPECT_EQ(61, s.available);
	EXPECT_EQ(3, s.in_use);
	EXPECT_EQ(10, s.cached);
	EXPECT_EQ(51, s.reserve);
	EXPECT_EQ(0, s.quarantined);
	EXPECT_EQ(13, s.peak_granted);
	EXPECT_EQ(4000, s.allocations);
	EXPECT_EQ(2002, s.deallocations);
	EXPECT_EQ(9005, s.pool_hits);
	EXPECT_EQ(3000, s.pool_misses);
	/* 9005 of 12005, rounded either way */
	EXPECT_LE(750104, s.hit_rate_ppm);
	EXPECT_GE(750105, s.hit_rate_ppm);
	EXPECT_EQ(5000, s.cas_retries);
	EXPECT_EQ(6000, s.refills);
	EXPECT_EQ(7000, s.flushes);
	EXPECT_EQ(0, s.grown);
	EXPECT_EQ(0, s.scavenged);
	EXPECT_EQ(7, s.reclaimed);
	EXPECT_EQ(2, s.clients);
	EXPECT_EQ(4, s.threads);
}

TEST_F(figures, sysfs_agrees_with_stats)
{
	struct lfpool_stats s = stats_of(POOL);

	ASSERT_NE(0, s.size);
	sysfs_agrees(_metadata, POOL, &s);
	s = stats_of("serialization");
	sysfs_agrees(_metadata, "serialization", &s);
	s = stats_of("compression");
	sysfs_agrees(_metadata, "compression", &s);
}

TEST_F(figures, sysfs_has_its_files)
{
	char path[128], text[64];
	struct stat st;
	size_t k;

	for (k = 0; k < ARRAY_SIZE(figures); k++) {
		snprintf(path, sizeof(path), "/sys/class/lfpool/%s/%s", POOL, figures[k].name);
		ASSERT_EQ(0, stat(path, &st)) {
			TH_LOG("%s", path);
		}
		EXPECT_EQ(0444, st.st_mode & 07777);
		/* one line */
		ASSERT_LT(1, sysfs_text(POOL, figures[k].name, text, sizeof(text)));
		EXPECT_EQ(text + strlen(text) - 1, strchr(text, '\n'));
	}
	ASSERT_EQ(0, stat("/sys/class/lfpool/" POOL "/hit_rate", &st));
	EXPECT_EQ(0444, st.st_mode & 07777);
	ASSERT_EQ(0, stat("/sys/class/lfpool/" POOL "/reset_stats", &st));
	EXPECT_EQ(0200, st.st_mode & 07777);
}

/* The parts of the pool add up in any state. */
TEST_F(figures, audit_agrees_with_stats)
{
	struct lfpool_stats s = stats_of(POOL);
	struct lfpool_audit a = audit_of(POOL);

	ASSERT_NE(0, a.size);
	EXPECT_EQ(64, a.capacity);
	EXPECT_EQ(51, a.reserve);
	EXPECT_EQ(0, a.quarantined);
	EXPECT_EQ(0, a.depot);
	EXPECT_EQ(10, a.cached);
	EXPECT_EQ(3, a.held);
	EXPECT_EQ(0, a.transit);
	EXPECT_EQ(0, a.lost);
	EXPECT_EQ(0, a.duplicate);
	EXPECT_EQ(0, a.damaged);
	EXPECT_EQ(1, a.exact);
	EXPECT_EQ(s.capacity, a.capacity);
	EXPECT_EQ(s.in_use, a.held);
}

/* A word that names nobody: the audit must see it, or it sees nothing. */
TEST_F(figures, audit_finds_what_is_wrong)
{
	volatile struct lfpool_desc *desc = client_desc(&self->c, self->items[4]);
	uint32_t kept = self->slot->item[1];
	uint64_t word = desc->word;
	struct lfpool_audit a;

	desc->word = (word & ~0xffffffffULL) | 0x0abcdef;
	a = audit_of(POOL);
	ASSERT_NE(0, a.size);
	EXPECT_EQ(2, a.held);
	EXPECT_EQ(1, a.lost);
	desc->word = word;
	self->slot->item[1] = self->slot->item[0];
	a = audit_of(POOL);
	EXPECT_EQ(1, a.duplicate);
	self->slot->item[1] = kept;
	a = audit_of(POOL);
	EXPECT_EQ(0, a.lost + a.duplicate + a.damaged);
}

static void all_zero(struct __test_metadata *_metadata, const struct lfpool_stats *before)
{
	struct lfpool_stats after = stats_of(POOL);
	char text[64];
	size_t k;

	ASSERT_NE(0, after.size);
	for (k = 0; k < ARRAY_SIZE(figures); k++) {
		if (!strcmp(figures[k].name, "peak_granted"))
			continue;
		EXPECT_EQ(figures[k].counter ? 0 : figure(before, k), figure(&after, k)) {
			TH_LOG("%s", figures[k].name);
		}
	}
	EXPECT_EQ(0, after.hit_rate_ppm);
	ASSERT_LT(0, sysfs_text(POOL, "hit_rate", text, sizeof(text)));
	EXPECT_STREQ("0.000000\n", text);
	sysfs_agrees(_metadata, POOL, &after);
}

/* A reset counts from here: for threads that live on, and after they are gone. */
static void counts_anew(struct __test_metadata *_metadata, FIXTURE_DATA(figures) *self)
{
	struct lfpool_stats s;

	self->slot->gets += 3;
	self->slot->misses += 1;
	self->slot->puts += 2;
	self->slot->cas_retries += 4;
	self->slot->refills += 5;
	self->slot->flushes += 6;
	self->slot->allocations += 7;
	ASSERT_EQ(1, do_release(self->c.fd, LFPOOL_RELEASE_PUT, &self->items[4], 1));
	s = stats_of(POOL);
	EXPECT_EQ(3, s.pool_hits);
	EXPECT_EQ(1, s.pool_misses);
	EXPECT_EQ(750000, s.hit_rate_ppm);
	EXPECT_EQ(3, s.deallocations);
	EXPECT_EQ(4, s.cas_retries);
	EXPECT_EQ(5, s.refills);
	EXPECT_EQ(6, s.flushes);
	EXPECT_EQ(7, s.allocations);
	sysfs_agrees(_metadata, POOL, &s);
	ASSERT_EQ(0, do_detach(self->c.fd, 0));
	s = stats_of(POOL);
	EXPECT_EQ(3, s.pool_hits);
	EXPECT_EQ(1, s.pool_misses);
	EXPECT_EQ(3, s.deallocations);
	EXPECT_EQ(4, s.cas_retries);
	EXPECT_EQ(5, s.refills);
	EXPECT_EQ(6, s.flushes);
	EXPECT_EQ(7, s.allocations);
}

TEST_F(figures, reset_by_ioctl)
{
	struct lfpool_stats before = stats_of(POOL);

	ASSERT_EQ(self->slot, client_slot(&self->c, 0));
	ASSERT_EQ(0, do_reset(self->c.fd));
	all_zero(_metadata, &before);
	counts_anew(_metadata, self);
}

TEST_F(figures, reset_by_sysfs)
{
	struct lfpool_stats before = stats_of(POOL);

	ASSERT_EQ(0, sysfs_write(POOL, "reset_stats", "1\n"));
	all_zero(_metadata, &before);
	counts_anew(_metadata, self);
	before = stats_of(POOL);
	ASSERT_EQ(0, sysfs_write(POOL, "reset_stats", "1"));
	all_zero(_metadata, &before);
}

TEST_F(figures, reset_takes_only_1)
{
	static const char * const wrong[] = {
		"0", "2", "-1", "11", "10", "1 1", "1x", "x", "yes", "\n", "4294967297",
		"18446744073709551617"
	};
	struct lfpool_stats before = stats_of(POOL);
	size_t k;

	for (k = 0; k < ARRAY_SIZE(wrong); k++) {
		EXPECT_EQ(-EINVAL, sysfs_write(POOL, "reset_stats", wrong[k])) {
			TH_LOG("'%s'", wrong[k]);
		}
	}
	EXPECT_TRUE(same(&before));
}

/* One pool's reset is not another's. */
TEST_F(figures, reset_is_for_one_pool)
{
	struct lfpool_stats before = stats_of(POOL);

	ASSERT_EQ(0, sysfs_write("serialization", "reset_stats", "1"));
	ASSERT_EQ(0, sysfs_write("compression", "reset_stats", "1"));
	EXPECT_TRUE(same(&before));
}

/* What a thread counted stays counted when it, and its client, are gone. */
TEST_F(figures, counters_outlive_their_thread)
{
	struct lfpool_stats before = stats_of(POOL), after;
	size_t k;

	ASSERT_EQ(0, do_detach(self->c.fd, 0));
	after = stats_of(POOL);
	for (k = 0; k < ARRAY_SIZE(figures); k++) {
		if (figures[k].counter)
			EXPECT_EQ(figure(&before, k), figure(&after, k)) {
				TH_LOG("%s", figures[k].name);
			}
	}
	EXPECT_EQ(before.threads - 1, after.threads);
	ASSERT_EQ(0, do_attach(self->c.fd));
	EXPECT_EQ(0, self->slot->gets);
	self->slot->gets = 10;
	ASSERT_EQ(before.pool_hits + 10, stats_of(POOL).pool_hits);
	munmap(self->c.map, self->c.info.mmap_size);
	self->c.map = MAP_FAILED;
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 1, 10));
	after = stats_of(POOL);
	EXPECT_EQ(before.pool_hits + 10, after.pool_hits);
	EXPECT_EQ(before.deallocations, after.deallocations);
	EXPECT_EQ(before.pool_misses, after.pool_misses);
	EXPECT_EQ(before.reclaimed + 3, after.reclaimed);
	EXPECT_EQ(1, after.threads);
}

/* As many as a pool sees in a year: the product with a million is too large. */
TEST_F(figures, hit_rate_of_large_numbers)
{
	static const struct {
		uint64_t gets, misses, ppm;
	} cases[] = {
		{ 1, 0, 1000000 },
		{ 0, 1, 0 },
		{ 999999, 1, 999999 },
		{ 1, 999999, 1 },
		{ 1ULL << 50, 1ULL << 50, 500000 },
		{ 3ULL << 60, 1ULL << 60, 750000 },
	};
	struct lfpool_stats s;
	size_t k;

	for (k = 0; k < ARRAY_SIZE(cases); k++) {
		self->slot->gets = 0;
		self->slot->misses = 0;
		ASSERT_EQ(0, do_reset(self->c.fd));
		self->slot->gets = cases[k].gets;
		self->slot->misses = cases[k].misses;
		s = stats_of(POOL);
		EXPECT_EQ(cases[k].gets, s.pool_hits);
		EXPECT_EQ(cases[k].misses, s.pool_misses);
		EXPECT_EQ(cases[k].ppm, s.hit_rate_ppm);
		sysfs_agrees(_metadata, POOL, &s);
	}
}

/*
 * Module parameters
 */

#define SMALL	"serialization_size=64 compression_size=64 simd_elements=1 "

static const struct {
	const char *name;
	const char *value;
	const char *others;	/* that make sense of it */
} out_of_range[] = {
	{ "buffer_count", "0", "" },
	{ "buffer_count", "1048577", SMALL },
	{ "buffer_count", "4294967295", SMALL },
	{ "buffer_count", "4294967297", SMALL },
	{ "buffer_count", "-1", SMALL },
	{ "buffer_count", "many", SMALL },
	{ "buffer_count", "", SMALL },
	{ "max_count", "63", "buffer_count=64 " },
	{ "max_count", "1", "buffer_count=2 " },
	{ "max_count", "2097153", SMALL },
	{ "max_count", "4294967295", SMALL },
	{ "max_count", "-1", SMALL },
	{ "serialization_size", "0", "" },
	{ "serialization_size", "63", "" },
	{ "serialization_size", "4194305", "buffer_count=1 " },
	{ "serialization_size", "4294967295", "buffer_count=1 " },
	{ "compression_size", "0", "" },
	{ "compression_size", "63", "" },
	{ "compression_size", "4194305", "buffer_count=1 " },
	{ "compression_size", "4294967295", "buffer_count=1 " },
	{ "simd_elements", "0", "" },
	{ "simd_elements", "131073", "buffer_count=1 " },
	/* times 32 it is 32 again, in 32 bits */
	{ "simd_elements", "134217729", "buffer_count=1 " },
	{ "simd_elements", "4294967295", "buffer_count=1 " },
	{ "max_threads", "0", "" },
	{ "max_threads", "4097", "" },
	{ "max_threads", "4294967295", "" },
	{ "batch", "0", "" },
	{ "batch", "1", "" },
	{ "batch", "30", "" },
	{ "batch", "4294967295", "" },
};

static bool names(const char *line, const char *word)
{
	size_t length = strlen(word);
	const char *at;

	/* the whole word: 63 is not in 630 */
	for (at = line; length && (at = strstr(at, word)); at++) {
		bool left = at == line || !strchr("0123456789_abcdefghijklmnopqrstuvwxyz", at[-1]);

		if (left && !(at[length] && strchr("0123456789_abcdefghijklmnopqrstuvwxyz",
						   at[length])))
			return true;
	}
	return !length;
}

/* takes its time on a busy machine */
FIXTURE(slow) {
};

FIXTURE_SETUP(slow)
{
}

FIXTURE_TEARDOWN(slow)
{
}

/* EINVAL, one line that says which and what, and nothing stays behind. */
TEST_F_TIMEOUT(slow, parameter_out_of_range_is_einval, 120)
{
	size_t k;

	/* the first load of a boot also says that the module is not the kernel's */
	ASSERT_EQ(0, module_fresh("buffer_count=1"));
	ASSERT_EQ(0, module_unload());
	for (k = 0; k < ARRAY_SIZE(out_of_range); k += round_step()) {
		int said = 0, kmsg = kmsg_open();
		char args[256], line[512];

		ASSERT_LE(0, kmsg);
		snprintf(args, sizeof(args), "%s%s=%s", out_of_range[k].others,
			 out_of_range[k].name, out_of_range[k].value);
		EXPECT_EQ(-EINVAL, module_load(args)) {
			TH_LOG("%s", args);
		}
		EXPECT_STREQ("", module_traces()) {
			TH_LOG("%s", args);
			module_unload();
		}
		while (kmsg_line(kmsg, line, sizeof(line))) {
			if (strncmp(line, "lfpool", 6))
				continue;
			said++;
			EXPECT_TRUE(names(line, out_of_range[k].name) &&
				    names(line, out_of_range[k].value)) {
				TH_LOG("for %s=%s: %s", out_of_range[k].name,
				       out_of_range[k].value, line);
			}
		}
		EXPECT_EQ(1, said) {
			TH_LOG("%d lines of the log for %s", said, args);
		}
		close(kmsg);
	}
	/* the next one is none the worse */
	EXPECT_EQ(0, module_load("buffer_count=1"));
	EXPECT_EQ(0, module_unload());
}

/* Both ends of each range */
FIXTURE(range) {
};

FIXTURE_VARIANT(range) {
	const char *args;
	const char *pool;
	uint64_t size;
	uint32_t buffers, max, threads, batch;
};

FIXTURE_VARIANT_ADD(range, one_buffer)
{
	"buffer_count=1", "simd", 2048, 1, 2, 256, 1
};

FIXTURE_VARIANT_ADD(range, one_buffer_at_most)
{
	"buffer_count=1 max_count=1", "serialization", 131072, 1, 1, 256, 1
};

FIXTURE_VARIANT_ADD(range, serialization_of_64)
{
	"buffer_count=16 serialization_size=64", "serialization", 64, 16, 32, 256, 2
};

FIXTURE_VARIANT_ADD(range, serialization_of_4M)
{
	"buffer_count=2 serialization_size=4194304", "serialization", 4194304, 2, 4, 256, 1
};

FIXTURE_VARIANT_ADD(range, compression_of_64)
{
	"buffer_count=16 compression_size=64", "compression", 64, 16, 32, 256, 2
};

FIXTURE_VARIANT_ADD(range, compression_of_4M)
{
	"buffer_count=2 compression_size=4194304", "compression", 4194304, 2, 4, 256, 1
};

FIXTURE_VARIANT_ADD(range, one_simd_element)
{
	"buffer_count=16 simd_elements=1", "simd", 32, 16, 32, 256, 2
};

FIXTURE_VARIANT_ADD(range, simd_of_4M)
{
	"buffer_count=2 simd_elements=131072", "simd", 4194304, 2, 4, 256, 1
};

FIXTURE_VARIANT_ADD(range, one_thread)
{
	"buffer_count=16 max_threads=1", "simd", 2048, 16, 32, 1, 2
};

FIXTURE_VARIANT_ADD(range, many_threads)
{
	"buffer_count=16 max_threads=4096", "simd", 2048, 16, 32, 4096, 2
};

FIXTURE_VARIANT_ADD(range, batch_of_2)
{
	SMALL "buffer_count=256 batch=2", "simd", 32, 256, 512, 256, 2
};

FIXTURE_VARIANT_ADD(range, batch_of_29)
{
	SMALL "buffer_count=256 batch=29", "simd", 32, 256, 512, 256, 29
};

FIXTURE_VARIANT_ADD(range, batch_of_an_eighth)
{
	SMALL "buffer_count=231 batch=29", "simd", 32, 231, 462, 256, 28
};

FIXTURE_VARIANT_ADD(range, no_growth)
{
	SMALL "buffer_count=16 max_count=16", "simd", 32, 16, 16, 256, 2
};

FIXTURE_VARIANT_ADD(range, growth_by_default)
{
	SMALL "buffer_count=16 max_count=0", "simd", 32, 16, 32, 256, 2
};

FIXTURE_VARIANT_ADD(range, growth_to_the_limit)
{
	SMALL "buffer_count=16 max_count=2097152", "simd", 32, 16, 2097152, 256, 2
};

FIXTURE_SETUP(range)
{
	ASSERT_EQ(0, module_fresh(variant->args));
}

FIXTURE_TEARDOWN(range)
{
	EXPECT_EQ(0, module_unload());
}

TEST_F_TIMEOUT(range, its_end_is_accepted, 120)
{
	struct lfpool_stats s;
	uint32_t item, none;
	struct client c;

	ASSERT_EQ(0, client_open(&c, variant->pool));
	sound_geometry(_metadata, &c, variant->pool);
	EXPECT_EQ(variant->size, c.info.buffer_size);
	EXPECT_EQ(variant->buffers, c.info.buffer_count);
	EXPECT_EQ(variant->max, c.info.max_count);
	EXPECT_EQ(variant->threads, c.info.max_threads);
	EXPECT_EQ(variant->batch, c.info.batch);
	s = stats_of(variant->pool);
	EXPECT_EQ(variant->buffers, s.reserve);
	/* the last buffer is there, too */
	stamp_write(client_buffer(&c, variant->buffers - 1), c.info.buffer_size, 5);
	ASSERT_EQ(1, do_refill(c.fd, 0, &item, 1));
	stamp_write(client_buffer(&c, item), c.info.buffer_size, 6);
	EXPECT_TRUE(stamp_check(client_buffer(&c, item), c.info.buffer_size, 6));
	if (variant->max == 1)
		EXPECT_EQ(-ENOBUFS, do_refill(c.fd, 0, &none, 1));
	EXPECT_EQ(1, do_release(c.fd, 0, &item, 1));
	EXPECT_LE(0, do_attach(c.fd));
	if (variant->threads == 1)
		EXPECT_EQ(-EUSERS, do_attach(c.fd));
	client_close(&c);
}

/* As many buffers as a pool can have, as small as they can be. */
TEST_F_TIMEOUT(slow, a_million_buffers, 120)
{
	uint32_t items[LFPOOL_XFER_MAX], highest = 0;
	struct client c;
	int k, n;

	ASSERT_EQ(0, module_fresh(SMALL "buffer_count=1048576 max_count=1048576"));
	ASSERT_EQ(0, client_open(&c, POOL));
	sound_geometry(_metadata, &c, POOL);
	EXPECT_EQ(1048576, c.info.buffer_count);
	EXPECT_EQ(1048576, c.info.max_count);
	EXPECT_EQ(28, c.info.batch);
	EXPECT_EQ(1048576, stats_of(POOL).reserve);
	n = do_refill(c.fd, 0, items, LFPOOL_XFER_MAX);
	ASSERT_LE(1, n);
	for (k = 0; k < n; k++) {
		ASSERT_GT(1048576, items[k]);
		if (items[k] > highest)
			highest = items[k];
	}
	stamp_write(client_buffer(&c, highest), c.info.buffer_size, 1);
	stamp_write(client_buffer(&c, 1048575), c.info.buffer_size, 2);
	stamp_write(client_buffer(&c, 0), c.info.buffer_size, 3);
	EXPECT_TRUE(stamp_check(client_buffer(&c, 1048575), c.info.buffer_size, 2));
	EXPECT_EQ(0, audit_of(POOL).lost);
	EXPECT_EQ(n, audit_of(POOL).held);
	client_close(&c);
	EXPECT_TRUE(wait_until(stats_of(POOL).reserve == 1048576, 20));
	EXPECT_EQ(0, module_unload());
	EXPECT_STREQ("", module_traces());
}

TEST(parameters_are_read_back)
{
	static const char * const given[][2] = {
		{ "buffer_count", "17" },
		{ "max_count", "19" },
		{ "serialization_size", "70001" },
		{ "compression_size", "30003" },
		{ "simd_elements", "77" },
		{ "max_threads", "13" },
		{ "batch", "5" },
	};
	char args[256] = "", text[64];
	struct stat st;
	size_t k;

	for (k = 0; k < ARRAY_SIZE(given); k++)
		snprintf(args + strlen(args), sizeof(args) - strlen(args), "%s=%s ",
			 given[k][0], given[k][1]);
	ASSERT_EQ(0, module_fresh(args));
	for (k = 0; k < ARRAY_SIZE(given); k++) {
		ASSERT_EQ(0, module_parameter(given[k][0], text, sizeof(text)));
		EXPECT_STREQ(given[k][1], text);
		snprintf(args, sizeof(args), "/sys/module/lfpool/parameters/%s", given[k][0]);
		ASSERT_EQ(0, stat(args, &st));
		/* what a pool is made of does not change while it is there */
		EXPECT_EQ(0444, st.st_mode & 07777);
	}
	EXPECT_EQ(0, module_unload());
}

TEST(defaults_are_read_back)
{
	static const char * const defaults[][2] = {
		{ "buffer_count", "256" },
		{ "serialization_size", "131072" },
		{ "compression_size", "65536" },
		{ "simd_elements", "64" },
		{ "max_threads", "256" },
		{ "batch", "28" },
	};
	char text[64];
	size_t k;

	ASSERT_EQ(0, module_fresh(""));
	for (k = 0; k < ARRAY_SIZE(defaults); k++) {
		ASSERT_EQ(0, module_parameter(defaults[k][0], text, sizeof(text)));
		EXPECT_STREQ(defaults[k][1], text);
	}
	EXPECT_EQ(0, module_unload());
}

LFPOOL_MODULE_MAIN
