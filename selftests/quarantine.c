// SPDX-License-Identifier: GPL-2.0-only
/*
 * Quarantine: buffers of the dead whose pages somebody still uses.
 *
 * I/O outlives who asked for it: pages that were spliced into a pipe, registered
 * with a ring, queued in a socket or given to a device belong to that I/O until
 * it is done, and nobody may get the buffers before. Here each of these pins
 * some buffers, its client dies, and then it shows that
 *
 *   - they are counted as quarantined, and as nothing else,
 *   - no get, wait, growth, shrinking or forgery brings them out,
 *   - what is in them stays as it was, and what arrives late arrives there,
 *   - they come back by themselves when the pin has gone, soon,
 *   - the module can be unloaded meanwhile, and the pages stay.
 *
 * The test itself is a client, the survivor: it has all that is free, and sees
 * every buffer's contents through its own mapping.
 *
 * vm: insmod=no timeout=300
 */
#include "lfpool_test.h"

#include <netinet/in.h>
#include <linux/fuse.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/uio.h>

#define POOL		"compression"
#define BUFFERS		32U
#define SIZE		16384U
#define ARGS		"buffer_count=32 max_count=32 max_threads=8 compression_size=16384 " \
			"serialization_size=4096 simd_elements=64"

/* The victim's buffers: the last CACHED are in its cache, PINNED are pinned. */
#define HAS		12U
#define CACHED		4U
#define PINNED		3U

/* seconds until all is back, and seconds a test may take */
#define DEADLINE	10
#define TIMEOUT		60

struct shared {
	volatile uint32_t ready;
	volatile uint32_t go;
	volatile uint32_t done;
	volatile int error;			/* of the pin; the test is skipped */
	volatile char what[64];			/* what gave the error */
	uint32_t item[HAS];			/* the victim's buffers */
	uint32_t pinned[PINNED];		/* those of them that are pinned */
	volatile uintptr_t map;			/* the victim's mapping */
	volatile uint64_t filled;		/* bytes in the socket before ours */
	struct io_uring_params ring;
	volatile int ring_fd;			/* in the victim */
};

/* One uffd, and a page for each pinned buffer that keeps a writer waiting. */
struct faults {
	int fd;
	unsigned char *page;
};

struct writer {
	pthread_t thread;
	pid_t pid;
	struct iovec local, remote;
	volatile ssize_t result;
};

FIXTURE(quarantine) {
	struct shared *s;
	struct client c;		/* the survivor */
	uint32_t item[BUFFERS];		/* what it has */
	unsigned int has;
	pid_t victim;

	int pipe[2];
	int socket[2];			/* the victim writes into the first */
	int ring;
	struct faults faults;
	struct writer writer[PINNED];
	int fuse;
	char mounted[64];
	pthread_t server;
	bool served;
};

/*
 * One way to pin
 *
 * @prepare: the test, before the victim is there; what cannot be had is told
 *           in self->s->error
 * @pin:     the victim, as the client @c
 * @arm:     the test, when the victim is ready
 * @look:    the test looks at what is pinned, by way of the pin
 * @drop:    the test lets go of the pin
 * @munmap:  while such I/O is under way the process is kept, too: so the client
 *           dies by munmap
 * @arrives: the I/O writes into the buffers when it is let go
 */
FIXTURE_VARIANT(quarantine) {
	void (*prepare)(FIXTURE_DATA(quarantine) *self);
	void (*pin)(FIXTURE_DATA(quarantine) *self, struct client *c);
	bool (*arm)(FIXTURE_DATA(quarantine) *self);
	bool (*look)(FIXTURE_DATA(quarantine) *self);
	bool (*drop)(FIXTURE_DATA(quarantine) *self);
	bool munmap;
	bool arrives;
};

static bool cannot(struct shared *s, const char *what)
{
	s->error = errno;
	snprintf((char *)s->what, sizeof(s->what), "%s", what);
	return false;
}

static void step_wait(struct shared *s, uint32_t step)
{
	while (s->go < step)
		usleep(1000);
}

static uint64_t stamp_of(uint32_t item)
{
	return 0x5eed00000000ULL + item;
}

/* What arrives in a page late. */
static void late_fill(unsigned char *p, size_t size, unsigned int k)
{
	size_t at;

	for (at = 0; at < size; at++)
		p[at] = at * 7 + k + (at >> 8);
}

/*
 * Pins: a pipe
 */

/* Of each pinned buffer the first two pages, all of the first one. */
static unsigned int pipe_vector(FIXTURE_DATA(quarantine) *self, struct client *c,
				struct iovec *iov)
{
	unsigned int k;

	for (k = 0; k < PINNED; k++)
		iov[k] = (struct iovec){ client_buffer(c, self->s->pinned[k]),
					 k ? SIZE / 2 : SIZE };
	return k;
}

static void pipe_prepare(FIXTURE_DATA(quarantine) *self)
{
	if (pipe2(self->pipe, O_CLOEXEC))
		cannot(self->s, "pipe");
}

static void pipe_pin(FIXTURE_DATA(quarantine) *self, struct client *c)
{
	struct iovec iov[PINNED];
	size_t size = 0;
	unsigned int k;

	pipe_vector(self, c, iov);
	for (k = 0; k < PINNED; k++)
		size += iov[k].iov_len;
	if (vmsplice(self->pipe[1], iov, PINNED, 0) != (ssize_t)size)
		cannot(self->s, "vmsplice");
}

/* The next of the buffers out of the pipe, which is then done with it. */
static bool pipe_read(FIXTURE_DATA(quarantine) *self, unsigned int k)
{
	size_t size = k ? SIZE / 2 : SIZE, at, n;
	static unsigned char copy[SIZE];

	for (n = 0; n < size;) {
		ssize_t got = read(self->pipe[0], copy + n, size - n);

		if (got <= 0)
			return false;
		n += got;
	}
	for (at = 0; at + sizeof(uint64_t) <= size; at = stamp_next(at, SIZE)) {
		if (*(uint64_t *)(copy + at) != stamp_word(stamp_of(self->s->pinned[k]), at))
			return false;
	}
	return true;
}

static bool pipe_drop(FIXTURE_DATA(quarantine) *self)
{
	unsigned int k;

	for (k = 0; k < PINNED; k++) {
		if (!pipe_read(self, k))
			return false;
	}
	return true;
}

FIXTURE_VARIANT_ADD(quarantine, pipe) {
	.prepare = pipe_prepare, .pin = pipe_pin, .drop = pipe_drop,
};

/*
 * Pins: buffers that are registered with an io_uring, which another process has
 */

static void ring_prepare(FIXTURE_DATA(quarantine) *self)
{
}

static void ring_pin(FIXTURE_DATA(quarantine) *self, struct client *c)
{
	struct iovec iov[PINNED];
	unsigned int k;
	int fd;

	fd = syscall(SYS_io_uring_setup, 4, &self->s->ring);
	if (fd < 0) {
		cannot(self->s, "io_uring_setup");
		return;
	}
	for (k = 0; k < PINNED; k++)
		iov[k] = (struct iovec){ client_buffer(c, self->s->pinned[k]), SIZE };
	/* 6.1 takes anonymous, shmem and huge pages only */
	if (syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, iov, PINNED)) {
		cannot(self->s, "IORING_REGISTER_BUFFERS");
		return;
	}
	self->s->ring_fd = fd;
}

/* 6.7 and later let no ring through a socket */
static bool ring_arm(FIXTURE_DATA(quarantine) *self)
{
	int pidfd = syscall(SYS_pidfd_open, self->victim, 0);

	self->ring = syscall(SYS_pidfd_getfd, pidfd, self->s->ring_fd, 0);
	close(pidfd);
	return self->ring >= 0;
}

/* Have the ring write registered buffer @k to @fd, as the victim would have. */
static bool ring_write(FIXTURE_DATA(quarantine) *self, unsigned int k, int fd)
{
	struct io_uring_params *p = &self->s->ring;
	size_t sq_size = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
	size_t cq_size = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	unsigned char *sq, *cq;
	uint32_t tail, head;
	bool ok = false;

	sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->ring,
		  IORING_OFF_SQ_RING);
	cq = mmap(NULL, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->ring,
		  IORING_OFF_CQ_RING);
	sqe = mmap(NULL, p->sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED,
		   self->ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqe == MAP_FAILED)
		return false;
	tail = *(uint32_t *)(sq + p->sq_off.tail);
	k %= PINNED;
	sqe[tail % p->sq_entries] = (struct io_uring_sqe){
		.opcode = IORING_OP_WRITE_FIXED,
		.fd = fd,
		/* where the victim had it: a name, nobody looks there */
		.addr = self->s->map + self->c.info.data_offset +
			(uint64_t)self->s->pinned[k] * self->c.info.stride,
		.len = SIZE,
		.buf_index = k,
	};
	((uint32_t *)(sq + p->sq_off.array))[tail % p->sq_entries] = tail % p->sq_entries;
	__atomic_store_n((uint32_t *)(sq + p->sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, self->ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1) {
		head = *(uint32_t *)(cq + p->cq_off.head);
		cqe = (struct io_uring_cqe *)(cq + p->cq_off.cqes) + head % p->cq_entries;
		ok = cqe->res == SIZE;
		__atomic_store_n((uint32_t *)(cq + p->cq_off.head), head + 1, __ATOMIC_RELEASE);
	}
	munmap(sq, sq_size);
	munmap(cq, cq_size);
	munmap(sqe, p->sq_entries * sizeof(*sqe));
	return ok;
}

static bool ring_look(FIXTURE_DATA(quarantine) *self)
{
	static unsigned char copy[SIZE];
	bool ok = true;
	unsigned int k;

	for (k = 0; ok && k < PINNED; k++) {
		int fd = memfd_create("ring", MFD_CLOEXEC);

		ok = ring_write(self, k, fd) && pread(fd, copy, SIZE, 0) == SIZE &&
		     stamp_check(copy, SIZE, stamp_of(self->s->pinned[k]));
		close(fd);
	}
	return ok;
}

static bool ring_drop(FIXTURE_DATA(quarantine) *self)
{
	return !close(self->ring);
}

FIXTURE_VARIANT_ADD(quarantine, io_uring) {
	.prepare = ring_prepare, .pin = ring_pin, .arm = ring_arm,
	.look = ring_look, .drop = ring_drop,
};

/*
 * Pins: MSG_ZEROCOPY into a socket whose reader does not read
 */

static void socket_prepare(FIXTURE_DATA(quarantine) *self)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	self->socket[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	self->socket[1] = -1;
	if (!bind(listener, (void *)&a, sizeof(a)) && !listen(listener, 1) &&
	    !getsockname(listener, (void *)&a, &len) &&
	    !connect(self->socket[0], (void *)&a, sizeof(a)))
		self->socket[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (self->socket[1] < 0)
		cannot(self->s, "TCP over the loopback device");
	else if (setsockopt(self->socket[0], SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
		cannot(self->s, "SO_ZEROCOPY");
	close(listener);
}

static void socket_pin(FIXTURE_DATA(quarantine) *self, struct client *c)
{
	static const unsigned char filler[4096];
	int fd = self->socket[0], size = 4 << 20;
	unsigned int k;
	ssize_t n;

	/* what is before ours in the queue, and keeps it there */
	while ((n = send(fd, filler, sizeof(filler), MSG_DONTWAIT)) > 0 ||
	       (usleep(50000), n = send(fd, filler, sizeof(filler), MSG_DONTWAIT)) > 0)
		self->s->filled += n;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size))) {
		cannot(self->s, "SO_SNDBUFFORCE");
		return;
	}
	for (k = 0; k < PINNED; k++) {
		if (send(fd, client_buffer(c, self->s->pinned[k]), SIZE,
			 MSG_ZEROCOPY | MSG_DONTWAIT) != SIZE) {
			cannot(self->s, "MSG_ZEROCOPY");
			return;
		}
	}
}

static bool socket_drop(FIXTURE_DATA(quarantine) *self)
{
	uint64_t left = self->s->filled;
	static unsigned char copy[SIZE];
	unsigned int k;

	while (left) {
		ssize_t n = recv(self->socket[1], copy, left < SIZE ? left : SIZE, 0);

		if (n <= 0)
			return false;
		left -= n;
	}
	for (k = 0; k < PINNED; k++) {
		if (recv(self->socket[1], copy, SIZE, MSG_WAITALL) != SIZE ||
		    !stamp_check(copy, SIZE, stamp_of(self->s->pinned[k])))
			return false;
	}
	return true;
}

FIXTURE_VARIANT_ADD(quarantine, zerocopy) {
	.prepare = socket_prepare, .pin = socket_pin, .drop = socket_drop,
};

/*
 * Pins: writes into the victim's memory from outside that are under way, each
 * stopped by a page of its source that does not come
 */

static void remote_prepare(FIXTURE_DATA(quarantine) *self)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct faults *f = &self->faults;
	size_t size = PINNED * sysconf(_SC_PAGESIZE);

	f->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0) {
		cannot(self->s, "userfaultfd");
		return;
	}
	f->page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	area.range.start = (uintptr_t)f->page;
	area.range.len = size;
	if (ioctl(f->fd, UFFDIO_API, &api) || ioctl(f->fd, UFFDIO_REGISTER, &area))
		cannot(self->s, "UFFDIO_REGISTER");
}

static void remote_pin(FIXTURE_DATA(quarantine) *self, struct client *c)
{
}

static void *remote_write(void *writer)
{
	struct writer *w = writer;

	w->result = process_vm_writev(w->pid, &w->local, 1, &w->remote, 1, 0);
	return NULL;
}

static bool remote_arm(FIXTURE_DATA(quarantine) *self)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	struct uffd_msg msg;
	unsigned int k;

	for (k = 0; k < PINNED; k++) {
		struct writer *w = &self->writer[k];

		w->pid = self->victim;
		w->local = (struct iovec){ self->faults.page + k * page, page };
		w->remote = (struct iovec){ (void *)self->s->map + self->c.info.data_offset +
			(size_t)self->s->pinned[k] * self->c.info.stride + page, page };
		if (pthread_create(&w->thread, NULL, remote_write, w))
			return false;
	}
	/* all of them have their target, and wait for their source */
	for (k = 0; k < PINNED; k++) {
		if (!wait_until(read(self->faults.fd, &msg, sizeof(msg)) == sizeof(msg), DEADLINE))
			return false;
	}
	return true;
}

static bool remote_drop(FIXTURE_DATA(quarantine) *self)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	static unsigned char copy[4096];
	bool ok = true;
	unsigned int k;

	for (k = 0; k < PINNED; k++) {
		struct uffdio_copy arg = {
			.dst = (uintptr_t)self->faults.page + k * page,
			.src = (uintptr_t)copy,
			.len = page,
		};

		late_fill(copy, page, k);
		if (ioctl(self->faults.fd, UFFDIO_COPY, &arg))
			return false;
		pthread_join(self->writer[k].thread, NULL);
		ok &= self->writer[k].result == (ssize_t)page;
	}
	return ok;
}

FIXTURE_VARIANT_ADD(quarantine, write_from_outside) {
	.prepare = remote_prepare, .pin = remote_pin, .arm = remote_arm, .drop = remote_drop,
	.munmap = true, .arrives = true,
};

/*
 * Pins: O_DIRECT reads under way. The device is a file system of ours, which
 * is one file, and does not answer a read before it is told.
 */

static void fuse_answer(int fd, uint64_t unique, int error, const void *data, size_t size)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + (error ? 0 : size),
		.error = error,
		.unique = unique,
	};
	struct iovec iov[2] = { { &out, sizeof(out) }, { (void *)data, size } };

	/* fails for a request that is over, or a mount that is gone */
	if (writev(fd, iov, error || !size ? 1 : 2) < 0)
		return;
}

static void *fuse_serve(void *fixture)
{
	FIXTURE_DATA(quarantine) *self = fixture;
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 65536,
	};
	struct fuse_attr_out attr = {
		.attr = { .ino = 1, .size = 1 << 20, .mode = S_IFREG | 0600, .nlink = 1 },
	};
	struct fuse_open_out open = { .fh = 1, .open_flags = FOPEN_DIRECT_IO };
	static unsigned char request[128 << 10], data[SIZE];
	struct fuse_in_header *in = (void *)request;
	struct fuse_read_in *arg = (void *)(in + 1);
	struct pollfd p = { .fd = self->fuse, .events = POLLIN };
	unsigned int nr = 0, answered = 0;
	uint64_t reads[PINNED];

	for (;;) {
		if (self->s->go == 2 && answered < nr) {
			late_fill(data, SIZE, answered);
			fuse_answer(self->fuse, reads[answered++], 0, data, SIZE);
			self->s->done = PINNED + answered;
		}
		if (poll(&p, 1, 1) <= 0)
			continue;
		if (read(self->fuse, request, sizeof(request)) <= 0)
			break;
		switch (in->opcode) {
		case FUSE_INIT:
			fuse_answer(self->fuse, in->unique, 0, &init, sizeof(init));
			break;
		case FUSE_GETATTR:
			fuse_answer(self->fuse, in->unique, 0, &attr, sizeof(attr));
			break;
		case FUSE_OPEN:
			fuse_answer(self->fuse, in->unique, 0, &open, sizeof(open));
			break;
		case FUSE_READ:
			/* one for each buffer; the offset says for which */
			reads[arg->offset / SIZE % PINNED] = in->unique;
			self->s->done = ++nr;
			break;
		default:
			fuse_answer(self->fuse, in->unique, -ENOSYS, NULL, 0);
		}
	}
	return NULL;
}

static void direct_prepare(FIXTURE_DATA(quarantine) *self)
{
	char options[64];
	int fd;

	self->fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (self->fuse < 0) {
		cannot(self->s, "/dev/fuse, which a device that waits is made from");
		return;
	}
	snprintf(self->mounted, sizeof(self->mounted), "/tmp/lfpool-direct-%d", getpid());
	fd = open(self->mounted, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	close(fd);
	snprintf(options, sizeof(options), "fd=%d,rootmode=%o,user_id=0,group_id=0", self->fuse,
		 S_IFREG);
	if (mount("lfpool", self->mounted, "fuse", MS_NOSUID | MS_NODEV, options)) {
		cannot(self->s, "mount of a fuse");
		return;
	}
	self->served = !pthread_create(&self->server, NULL, fuse_serve, self);
	if (!self->served)
		cannot(self->s, "pthread_create");
}

struct direct {
	int fd;
	unsigned char *buffer;
	unsigned int k;
};

static void *direct_read(void *arg)
{
	struct direct *d = arg;

	child_assert(pread(d->fd, d->buffer, SIZE, (off_t)d->k * SIZE) == SIZE);
	return NULL;
}

static void direct_pin(FIXTURE_DATA(quarantine) *self, struct client *c)
{
	static struct direct d[PINNED];
	pthread_t thread;
	unsigned int k;

	for (k = 0; k < PINNED; k++) {
		d[k].fd = open(self->mounted, O_RDONLY | O_DIRECT | O_CLOEXEC);
		if (d[k].fd < 0) {
			cannot(self->s, "open with O_DIRECT");
			return;
		}
		d[k].buffer = client_buffer(c, self->s->pinned[k]);
		d[k].k = k;
		child_assert(!pthread_create(&thread, NULL, direct_read, &d[k]));
	}
}

static bool direct_arm(FIXTURE_DATA(quarantine) *self)
{
	return wait_until(self->s->done == PINNED, DEADLINE);
}

static bool direct_drop(FIXTURE_DATA(quarantine) *self)
{
	self->s->go = 2;
	return wait_until(self->s->done == 2 * PINNED, DEADLINE);
}

FIXTURE_VARIANT_ADD(quarantine, direct_read) {
	.prepare = direct_prepare, .pin = direct_pin, .arm = direct_arm, .drop = direct_drop,
	.munmap = true, .arrives = true,
};

/*
 * The victim
 */

static void victim(FIXTURE_DATA(quarantine) *self,
		   const FIXTURE_VARIANT(quarantine) *variant)
{
	volatile struct lfpool_slot *slot;
	struct shared *s = self->s;
	struct client c;
	unsigned int k;
	int nr;

	/* else it would keep the module, and the mount that is to be served */
	close(self->c.fd);
	close(self->fuse);
	child_assert(!client_open(&c, POOL));
	nr = do_attach(c.fd);
	child_assert(nr >= 0);
	child_assert(do_refill(c.fd, 0, s->item, HAS) == HAS);
	s->map = (uintptr_t)c.map;
	for (k = 0; k < HAS; k++)
		stamp_write(client_buffer(&c, s->item[k]), SIZE, stamp_of(s->item[k]));
	slot = client_slot(&c, nr);
	for (k = 0; k < CACHED; k++)
		slot->item[k] = s->item[HAS - CACHED + k];
	slot->n = CACHED;
	/* two that it holds and one that it had put back when it died */
	s->pinned[0] = s->item[0];
	s->pinned[1] = s->item[HAS / 2];
	s->pinned[2] = s->item[HAS - 1];
	variant->pin(self, &c);
	s->ready = 1;
	step_wait(s, 1);
	if (variant->munmap) {
		child_assert(!munmap(c.map, c.info.mmap_size));
		close(c.fd);
		/* those who read on are to tell how it went */
		s->ready = 2;
	}
	for (;;)
		pause();
}

/*
 * The survivor's view
 */

struct tally {
	struct lfpool_stats stats;
	struct lfpool_audit audit;
};

static struct tally tally_take(FIXTURE_DATA(quarantine) *self)
{
	struct tally t;

	if (do_stats(self->c.fd, &t.stats) || do_audit(self->c.fd, &t.audit))
		memset(&t, 0, sizeof(t));
	return t;
}

static uint64_t quarantined(FIXTURE_DATA(quarantine) *self)
{
	struct lfpool_stats stats;

	return do_stats(self->c.fd, &stats) ? UINT64_MAX : stats.quarantined;
}

static bool is_pinned(const struct shared *s, uint32_t item)
{
	unsigned int k;

	for (k = 0; k < PINNED; k++) {
		if (s->pinned[k] == item)
			return true;
	}
	return false;
}

/* @n are in quarantine, the survivor has what it has, the rest is free. */
static void expect_quarantined(struct __test_metadata *_metadata,
			       FIXTURE_DATA(quarantine) *self, unsigned int n)
{
	struct tally t = tally_take(self);

	EXPECT_EQ(n, t.stats.quarantined);
	EXPECT_EQ(self->has, t.stats.in_use);
	EXPECT_EQ(t.stats.capacity - n - self->has, t.stats.available);
	EXPECT_EQ(t.stats.available, t.stats.reserve);
	EXPECT_EQ(n, t.audit.quarantined);
	EXPECT_EQ(t.stats.reserve, t.audit.reserve);
	EXPECT_EQ(self->has, t.audit.held);
	EXPECT_EQ(0, t.audit.lost);
	EXPECT_EQ(0, t.audit.duplicate);
	EXPECT_EQ(0, t.audit.damaged);
	EXPECT_EQ(1, t.audit.exact);
	EXPECT_EQ(n, sysfs_u64(POOL, "quarantined"));
}

/*
 * Take all that can be had; returns how many more. Scribbles over it, as
 * whoever gets a buffer may.
 */
static unsigned int take_all(FIXTURE_DATA(quarantine) *self)
{
	unsigned int first = self->has, k;
	uint32_t items[LFPOOL_XFER_MAX];
	int n;

	while ((n = do_refill(self->c.fd, 0, items, 7)) > 0) {
		for (k = 0; k < (unsigned int)n && self->has < BUFFERS; k++) {
			stamp_write(client_buffer(&self->c, items[k]), SIZE, ~stamp_of(items[k]));
			self->item[self->has++] = items[k];
		}
	}
	return n == -ENOBUFS ? self->has - first : UINT32_MAX;
}

static bool give_all(FIXTURE_DATA(quarantine) *self)
{
	unsigned int n = self->has;

	self->has = 0;
	return !n || do_release(self->c.fd, 0, self->item, n) == (int)n;
}

static bool own_intact(FIXTURE_DATA(quarantine) *self)
{
	unsigned int k;

	for (k = 0; k < self->has; k++) {
		if (!stamp_check(client_buffer(&self->c, self->item[k]), SIZE,
				 ~stamp_of(self->item[k])))
			return false;
	}
	return true;
}

static bool pinned_intact(FIXTURE_DATA(quarantine) *self)
{
	unsigned int k;

	for (k = 0; k < PINNED; k++) {
		if (!stamp_check(client_buffer(&self->c, self->s->pinned[k]), SIZE,
				 stamp_of(self->s->pinned[k])))
			return false;
	}
	return true;
}

/* The I/O found its way into the buffer and nowhere else. */
static bool late_arrived(FIXTURE_DATA(quarantine) *self, size_t from, size_t size)
{
	static unsigned char copy[SIZE];
	unsigned int k;

	for (k = 0; k < PINNED; k++) {
		late_fill(copy, size, k);
		if (memcmp(client_buffer(&self->c, self->s->pinned[k]) + from, copy, size))
			return false;
	}
	return true;
}

FIXTURE_SETUP(quarantine)
{
	self->c.map = MAP_FAILED;
	self->s = shared_alloc(sizeof(*self->s));
	ASSERT_NE(NULL, self->s);
	ASSERT_EQ(0, module_fresh(ARGS));
	ASSERT_EQ(0, client_open(&self->c, POOL));
	self->ring = -1;
	self->faults.fd = -1;
	self->fuse = -1;
	variant->prepare(self);
	if (self->s->error)
		return;
	self->victim = child_fork();
	if (!self->victim) {
		victim(self, variant);
		_exit(0);
	}
	ASSERT_TRUE(wait_until(self->s->ready, DEADLINE));
	if (self->s->error)
		return;
	if (variant->arm) {
		ASSERT_TRUE(variant->arm(self));
	}
}

FIXTURE_TEARDOWN(quarantine)
{
	/* what is still stopped goes on; the server ends with the mount */
	if (self->mounted[0]) {
		self->s->go = 2;
		umount2(self->mounted, MNT_DETACH);
		unlink(self->mounted);
	}
	if (self->faults.fd >= 0)
		close(self->faults.fd);
	if (self->victim)
		child_kill(self->victim);
	if (self->served)
		pthread_join(self->server, NULL);
	if (self->fuse >= 0)
		close(self->fuse);
	if (self->c.map != MAP_FAILED)
		client_close(&self->c);
	EXPECT_TRUE(wait_until(module_unload() == 0, DEADLINE));
	EXPECT_STREQ("", module_traces());
}

#define SKIP_IF_IT_CANNOT()						\
	do {								\
		if (self->s->error)					\
			SKIP(return, "%s: %s", (const char *)self->s->what, \
			     strerror(self->s->error));			\
	} while (0)

/* The client's death, and what it had by then. */
static void die(struct __test_metadata *_metadata, FIXTURE_DATA(quarantine) *self,
		const FIXTURE_VARIANT(quarantine) *variant)
{
	struct tally before = tally_take(self), now;

	EXPECT_EQ(2, before.stats.clients);
	EXPECT_EQ(HAS - CACHED + self->has, before.stats.in_use);
	EXPECT_EQ(CACHED, before.stats.cached);
	EXPECT_EQ(0, before.stats.quarantined);
	if (variant->munmap) {
		self->s->go = 1;
		ASSERT_TRUE(wait_until(self->s->ready == 2, DEADLINE));
	} else {
		EXPECT_EQ(128 + SIGKILL, child_kill(self->victim));
		self->victim = 0;
	}
	ASSERT_TRUE(wait_until(tally_take(self).stats.clients == 1, DEADLINE));
	now = tally_take(self);
	/* taken from the dead, though not yet for everybody */
	EXPECT_EQ(before.stats.reclaimed + HAS, now.stats.reclaimed);
	EXPECT_EQ(0, now.stats.threads);
	EXPECT_EQ(0, now.stats.cached);
}

TEST_F_TIMEOUT(quarantine, kept_until_the_pin_drops, TIMEOUT)
{
	struct tally t;
	uint64_t start;
	unsigned int k;

	SKIP_IF_IT_CANNOT();
	die(_metadata, self, variant);
	expect_quarantined(_metadata, self, PINNED);
	EXPECT_EQ(BUFFERS - PINNED, take_all(self));
	for (k = 0; k < self->has; k++)
		EXPECT_FALSE(is_pinned(self->s, self->item[k]));
	expect_quarantined(_metadata, self, PINNED);
	EXPECT_EQ(-ETIMEDOUT, do_wait(self->c.fd, 50000000));

	/* by now the kernel looks as rarely as it ever does */
	start = now_ns();
	do {
		EXPECT_EQ(PINNED, quarantined(self));
		EXPECT_EQ(0, take_all(self));
		EXPECT_TRUE(pinned_intact(self));
		usleep(100000);
	} while (now_ns() - start < 2000000000ULL);
	if (variant->look) {
		EXPECT_TRUE(variant->look(self));
	}
	expect_quarantined(_metadata, self, PINNED);
	EXPECT_TRUE(pinned_intact(self));

	EXPECT_TRUE(variant->drop(self));
	start = now_ns();
	/* nothing happens but that we look */
	EXPECT_TRUE(wait_until(quarantined(self) == 0, DEADLINE)) {
		TH_LOG("%llu are still in quarantine", (unsigned long long)quarantined(self));
	}
	TH_LOG("back after %llu ms", (unsigned long long)(now_ns() - start) / 1000000);
	expect_quarantined(_metadata, self, 0);
	t = tally_take(self);
	EXPECT_EQ(PINNED, t.stats.available);
	/* they were reclaimed once */
	EXPECT_EQ(HAS, t.stats.reclaimed);
	if (variant->arrives) {
		bool direct = variant->arm == direct_arm;

		EXPECT_TRUE(late_arrived(self, direct ? 0 : 4096, direct ? SIZE : 4096));
	} else {
		EXPECT_TRUE(pinned_intact(self));
	}
	EXPECT_TRUE(own_intact(self));

	k = self->has;
	EXPECT_EQ(PINNED, take_all(self));
	for (; k < self->has; k++)
		EXPECT_TRUE(is_pinned(self->s, self->item[k]));
	EXPECT_TRUE(give_all(self));
	expect_quarantined(_metadata, self, 0);
}

/* Nobody but the I/O has the pages any more, and it has them still. */
TEST_F_TIMEOUT(quarantine, unload_leaves_the_pages, TIMEOUT)
{
	const size_t size = 16 << 20;
	unsigned char *memory;
	size_t k;

	SKIP_IF_IT_CANNOT();
	die(_metadata, self, variant);
	expect_quarantined(_metadata, self, PINNED);
	client_close(&self->c);
	EXPECT_EQ(0, module_unload());
	/* what has been freed is used again, by a new pool and others */
	EXPECT_EQ(0, module_load(ARGS));
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, memory);
	memset(memory, 0xee, size);
	if (variant->look) {
		EXPECT_TRUE(variant->look(self));
	}
	EXPECT_TRUE(variant->drop(self));
	for (k = 0; k < size; k++) {
		if (memory[k] != 0xee)
			break;
	}
	EXPECT_EQ(size, k);
	munmap(memory, size);

	/* the new pool has nothing to do with it: it is as it was made */
	EXPECT_EQ(0, client_open(&self->c, POOL));
	expect_quarantined(_metadata, self, 0);
	EXPECT_EQ(BUFFERS, tally_take(self).stats.available);
	for (k = 0; k < BUFFERS * SIZE; k++) {
		if (client_buffer(&self->c, 0)[k])
			break;
	}
	EXPECT_EQ(BUFFERS * SIZE, k);
}

/*
 * What does not depend on how they are pinned, with a pipe
 */

FIXTURE(pinned) {
	FIXTURE_DATA(quarantine) q;
};

static const FIXTURE_VARIANT(quarantine) by_pipe = {
	.prepare = pipe_prepare, .pin = pipe_pin, .drop = pipe_drop,
};

FIXTURE_SETUP(pinned)
{
	quarantine_setup(_metadata, &self->q, &by_pipe);
	ASSERT_EQ(0, self->q.s->error);
}

FIXTURE_TEARDOWN(pinned)
{
	quarantine_teardown(_metadata, &self->q, &by_pipe);
}

/* Each comes when its own pin is gone. */
TEST_F_TIMEOUT(pinned, one_by_one, TIMEOUT)
{
	FIXTURE_DATA(quarantine) *q = &self->q;
	unsigned int k;

	die(_metadata, q, &by_pipe);
	EXPECT_EQ(BUFFERS - PINNED, take_all(q));
	for (k = 0; k < PINNED; k++) {
		expect_quarantined(_metadata, q, PINNED - k);
		EXPECT_TRUE(pipe_read(q, k));
		EXPECT_TRUE(wait_until(quarantined(q) == PINNED - k - 1, DEADLINE));
		EXPECT_EQ(1, take_all(q));
		EXPECT_EQ(q->s->pinned[k], q->item[q->has - 1]);
	}
	EXPECT_EQ(BUFFERS, q->has);
}

/* A pool that runs dry looks for itself, whatever the pace of the worker is. */
TEST_F_TIMEOUT(pinned, exhausted_pool_looks_at_once, TIMEOUT)
{
	FIXTURE_DATA(quarantine) *q = &self->q;
	unsigned int round;

	die(_metadata, q, &by_pipe);
	EXPECT_EQ(BUFFERS - PINNED, take_all(q));
	/* the worker's pace is a second by then: it cannot always be in time */
	usleep(2000000);
	for (round = 0; round < PINNED; round++) {
		uint32_t item;

		EXPECT_EQ(-ENOBUFS, do_refill(q->c.fd, 0, &item, 1));
		EXPECT_TRUE(pipe_read(q, round));
		EXPECT_EQ(1, do_refill(q->c.fd, 0, &item, 1));
		EXPECT_EQ(q->s->pinned[round], item);
		q->item[q->has++] = item;
	}
}

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

/* Who waits is woken when the pin is gone, and who polls. */
TEST_F_TIMEOUT(pinned, waiters_get_them, TIMEOUT)
{
	FIXTURE_DATA(quarantine) *q = &self->q;
	struct waiting w = { .fd = q->c.fd };
	struct pollfd p = { .fd = q->c.fd, .events = POLLIN };
	pthread_t thread;

	die(_metadata, q, &by_pipe);
	EXPECT_EQ(BUFFERS - PINNED, take_all(q));
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_forever, &w));
	usleep(100000);
	EXPECT_FALSE(w.over);
	EXPECT_EQ(0, poll(&p, 1, 0));
	EXPECT_TRUE(pipe_drop(q));
	EXPECT_EQ(1, poll(&p, 1, DEADLINE * 1000 * slow()));
	EXPECT_TRUE(wait_until(w.over, DEADLINE));
	ASSERT_LE(0, w.result);
	EXPECT_TRUE(is_pinned(q->s, w.result));
	pthread_join(thread, NULL);
	q->item[q->has++] = w.result;
	EXPECT_TRUE(wait_until(quarantined(q) == 0, DEADLINE));
	EXPECT_EQ(PINNED - 1, take_all(q));
}

/*
 * A client that writes what it likes into the shared memory cannot have them:
 * not by their words, not by a cache or a batch that lists them.
 */
TEST_F_TIMEOUT(pinned, forgery_does_not_help, TIMEOUT)
{
	FIXTURE_DATA(quarantine) *q = &self->q;
	volatile struct lfpool_depot *depot;
	volatile struct lfpool_slot *slot;
	volatile struct lfpool_desc *desc;
	uint64_t word[PINNED];
	unsigned int k;
	int nr;

	die(_metadata, q, &by_pipe);
	EXPECT_EQ(BUFFERS - PINNED, take_all(q));
	depot = (void *)(q->c.map + q->c.info.depot_offset);
	for (k = 0; k < PINNED; k++)
		word[k] = client_desc(&q->c, q->s->pinned[k])->word;

	/* "mine" */
	for (k = 0; k < PINNED; k++)
		client_desc(&q->c, q->s->pinned[k])->word = q->c.info.client;
	EXPECT_EQ(-ESTALE, do_release(q->c.fd, 0, q->s->pinned, PINNED));
	EXPECT_EQ(-ESTALE, do_release(q->c.fd, 0, q->s->pinned, 1));
	EXPECT_EQ(PINNED, quarantined(q));
	/* "in my cache" */
	nr = do_attach(q->c.fd);
	ASSERT_LE(0, nr);
	slot = client_slot(&q->c, nr);
	for (k = 0; k < PINNED; k++)
		slot->item[k] = q->s->pinned[k];
	slot->n = PINNED;
	EXPECT_EQ(0, take_all(q));
	for (k = 0; k < PINNED; k++)
		slot->item[k] = q->s->pinned[k];
	slot->n = PINNED;
	EXPECT_EQ(0, do_detach(q->c.fd, nr));
	EXPECT_EQ(PINNED, quarantined(q));
	EXPECT_EQ(0, take_all(q));
	/* "in the depot", alone, and as a member of a batch of ours */
	desc = client_desc(&q->c, q->s->pinned[0]);
	desc->word = LFPOOL_OWNER_DEPOT;
	desc->next = LFPOOL_NONE;
	desc->count = 1;
	desc->item[0] = q->s->pinned[1];
	depot->head = q->s->pinned[0];
	EXPECT_EQ(0, take_all(q));
	desc = client_desc(&q->c, q->item[--q->has]);
	desc->word = LFPOOL_OWNER_DEPOT;
	desc->next = LFPOOL_NONE;
	desc->count = PINNED;
	for (k = 0; k < PINNED; k++)
		desc->item[k] = q->s->pinned[k];
	depot->head = q->item[q->has];
	/* the leader, which is ours to give, comes back alone */
	EXPECT_EQ(1, take_all(q));
	EXPECT_EQ(PINNED, quarantined(q));
	/* "a dead client's", once more */
	for (k = 0; k < PINNED; k++)
		client_desc(&q->c, q->s->pinned[k])->word = word[k];
	q->victim = child_fork();
	if (!q->victim) {
		struct client c;

		child_assert(!client_open(&c, POOL));
		for (k = 0; k < PINNED; k++)
			client_desc(&c, q->s->pinned[k])->word = c.info.client;
		_exit(0);
	}
	EXPECT_EQ(0, child_wait(q->victim));
	q->victim = 0;
	ASSERT_TRUE(wait_until(tally_take(q).stats.clients == 1, DEADLINE));
	EXPECT_EQ(PINNED, quarantined(q));
	EXPECT_EQ(0, take_all(q));
	EXPECT_TRUE(pinned_intact(q));

	EXPECT_TRUE(pipe_drop(q));
	EXPECT_TRUE(wait_until(quarantined(q) == 0, DEADLINE));
	EXPECT_EQ(PINNED, take_all(q));
	EXPECT_EQ(BUFFERS, q->has);
	EXPECT_TRUE(own_intact(q));
}

/* It does not matter who has the pin: here a living client, by its own mapping. */
TEST_F_TIMEOUT(pinned, by_somebody_else, TIMEOUT)
{
	FIXTURE_DATA(quarantine) *q = &self->q;
	struct iovec iov;
	int more[2];

	ASSERT_EQ(0, pipe2(more, O_CLOEXEC));
	iov = (struct iovec){ client_buffer(&q->c, q->s->item[1]), 100 };
	ASSERT_EQ(100, vmsplice(more[1], &iov, 1, 0));
	die(_metadata, q, &by_pipe);
	expect_quarantined(_metadata, q, PINNED + 1);
	EXPECT_TRUE(pipe_drop(q));
	EXPECT_TRUE(wait_until(quarantined(q) == 1, DEADLINE));
	EXPECT_EQ(BUFFERS - 1, take_all(q));
	close(more[0]);
	close(more[1]);
	EXPECT_TRUE(wait_until(quarantined(q) == 0, DEADLINE));
	EXPECT_EQ(1, take_all(q));
	EXPECT_EQ(q->s->item[1], q->item[BUFFERS - 1]);
}

/* The living know what they put back: what a detach takes is free at once. */
TEST_F_TIMEOUT(pinned, detach_is_no_death, TIMEOUT)
{
	FIXTURE_DATA(quarantine) *q = &self->q;
	volatile struct lfpool_slot *slot;
	struct iovec iov;
	int nr, more[2];

	die(_metadata, q, &by_pipe);
	EXPECT_EQ(BUFFERS - PINNED, take_all(q));
	nr = do_attach(q->c.fd);
	ASSERT_LE(0, nr);
	slot = client_slot(&q->c, nr);
	slot->item[0] = q->item[q->has - 1];
	slot->item[1] = q->item[q->has - 2];
	slot->n = 2;
	ASSERT_EQ(0, pipe2(more, O_CLOEXEC));
	iov = (struct iovec){ client_buffer(&q->c, slot->item[1]), 4096 };
	ASSERT_EQ(4096, vmsplice(more[1], &iov, 1, 0));
	EXPECT_EQ(0, do_detach(q->c.fd, nr));
	q->has -= 2;
	expect_quarantined(_metadata, q, PINNED);
	EXPECT_EQ(2, take_all(q));
	close(more[0]);
	close(more[1]);
}

/* Reset concerns what was counted, not what is. */
TEST_F_TIMEOUT(pinned, reset_and_more_deaths, TIMEOUT)
{
	FIXTURE_DATA(quarantine) *q = &self->q;
	struct iovec iov;
	unsigned int k;

	die(_metadata, q, &by_pipe);
	EXPECT_EQ(0, do_reset(q->c.fd));
	expect_quarantined(_metadata, q, PINNED);
	EXPECT_EQ(0, tally_take(q).stats.reclaimed);
	for (k = 1; k <= 3; k++) {
		q->victim = child_fork();
		if (!q->victim) {
			struct client c;
			uint32_t item;

			child_assert(!client_open(&c, POOL));
			child_assert(do_refill(c.fd, 0, &item, 1) == 1);
			iov = (struct iovec){ client_buffer(&c, item), 1 };
			child_assert(vmsplice(q->pipe[1], &iov, 1, 0) == 1);
			_exit(0);
		}
		EXPECT_EQ(0, child_wait(q->victim));
		q->victim = 0;
		ASSERT_TRUE(wait_until(tally_take(q).stats.clients == 1, DEADLINE));
		expect_quarantined(_metadata, q, PINNED + k);
		EXPECT_EQ(k, tally_take(q).stats.reclaimed);
	}
	EXPECT_TRUE(pipe_drop(q));
	EXPECT_TRUE(wait_until(quarantined(q) == 3, DEADLINE));
	expect_quarantined(_metadata, q, 3);
	close(q->pipe[0]);
	close(q->pipe[1]);
	EXPECT_TRUE(wait_until(quarantined(q) == 0, DEADLINE));
	EXPECT_EQ(BUFFERS, take_all(q));
}

/*
 * Pools of another kind
 */

/* A client takes @n buffers, pins the first 64 bytes of number @item, and ends. */
static pid_t splicer(const char *pool, unsigned int n, uint32_t item, int pipe)
{
	uint32_t items[LFPOOL_XFER_MAX], got;
	struct client c;
	struct iovec iov;
	pid_t pid;

	pid = child_fork();
	if (pid)
		return pid;
	child_assert(!client_open(&c, pool));
	/* a pool that grows does so one by one */
	for (got = 0; got < n; got++)
		child_assert(do_refill(c.fd, 0, &items[got], 1) == 1);
	for (got = 0; got < n && items[got] != item; got++)
		;
	child_assert(got < n);
	stamp_write(client_buffer(&c, item), c.info.buffer_size, stamp_of(item));
	iov = (struct iovec){ client_buffer(&c, item), 64 };
	child_assert(vmsplice(pipe, &iov, 1, 0) == 64);
	_exit(0);
}

/*
 * Two buffers in a page: the pin of one is the pin of both, as far as the dead
 * are concerned; the living may do with theirs what they like.
 */
TEST(neighbours_in_a_page)
{
	uint32_t items[16], pair[2] = { 0, 1 }, item;
	struct client c;
	int pipe[2];

	ASSERT_EQ(0, module_fresh("buffer_count=16 max_count=16 simd_elements=64 "
				  "serialization_size=4096 compression_size=4096"));
	ASSERT_EQ(0, client_open(&c, "simd"));
	ASSERT_EQ(2048, c.info.stride);
	ASSERT_EQ(0, pipe2(pipe, O_CLOEXEC));
	ASSERT_EQ(16, do_refill(c.fd, 0, items, 16));

	/* both of the victim */
	ASSERT_EQ(2, do_release(c.fd, 0, pair, 2));
	EXPECT_EQ(0, child_wait(splicer("simd", 2, 0, pipe[1])));
	ASSERT_TRUE(wait_until(stats_of("simd").clients == 1, DEADLINE));
	EXPECT_EQ(2, stats_of("simd").quarantined);
	EXPECT_EQ(0, stats_of("simd").available);
	EXPECT_EQ(-ENOBUFS, do_refill(c.fd, 0, &item, 1));
	EXPECT_EQ(64, read(pipe[0], items, 64));
	EXPECT_TRUE(wait_until(stats_of("simd").quarantined == 0, DEADLINE));
	EXPECT_EQ(2, do_refill(c.fd, 0, items, 16));

	/* one of the victim, one of ours */
	ASSERT_EQ(1, do_release(c.fd, 0, &pair[0], 1));
	EXPECT_EQ(0, child_wait(splicer("simd", 1, 0, pipe[1])));
	ASSERT_TRUE(wait_until(stats_of("simd").clients == 1, DEADLINE));
	EXPECT_EQ(1, stats_of("simd").quarantined);
	EXPECT_EQ(15, stats_of("simd").in_use);
	/* ours is as free as any when we give it back */
	EXPECT_EQ(1, do_release(c.fd, 0, &pair[1], 1));
	EXPECT_EQ(1, stats_of("simd").quarantined);
	EXPECT_EQ(1, stats_of("simd").available);
	EXPECT_EQ(1, do_refill(c.fd, 0, &item, 1));
	EXPECT_EQ(1, item);
	EXPECT_EQ(-ENOBUFS, do_refill(c.fd, 0, &item, 1));
	close(pipe[0]);
	close(pipe[1]);
	EXPECT_TRUE(wait_until(stats_of("simd").quarantined == 0, DEADLINE));
	EXPECT_EQ(1, stats_of("simd").available);
	client_close(&c);
	EXPECT_EQ(0, module_unload());
}

/*
 * A pool that has more room grows rather than wait, and one that shrinks keeps
 * its hands off what is in quarantine.
 */
TEST(growing_and_shrinking)
{
	const uint32_t pinned = 23;	/* it grew by that one last */
	uint32_t items[LFPOOL_XFER_MAX];
	struct lfpool_audit audit;
	struct client c;
	int pipe[2], k, n;

	ASSERT_EQ(0, module_fresh("buffer_count=16 max_count=24 compression_size=8192 "
				  "serialization_size=4096"));
	ASSERT_EQ(0, client_open(&c, POOL));
	ASSERT_EQ(0, pipe2(pipe, O_CLOEXEC));
	EXPECT_EQ(0, child_wait(splicer(POOL, 24, pinned, pipe[1])));
	ASSERT_TRUE(wait_until(stats_of(POOL).clients == 1, DEADLINE));
	EXPECT_EQ(24, stats_of(POOL).capacity);
	EXPECT_EQ(1, stats_of(POOL).quarantined);
	EXPECT_EQ(23, stats_of(POOL).available);

	/* seven of the eight that it grew by are free to go */
	EXPECT_TRUE(wait_until((drop_slab(), stats_of(POOL).capacity <= 17), DEADLINE));
	for (k = 0; k < 5; k++)
		drop_slab();
	EXPECT_LE(16, stats_of(POOL).capacity);
	EXPECT_EQ(1, stats_of(POOL).quarantined);
	EXPECT_TRUE(stamp_check(client_buffer(&c, pinned), 8192, stamp_of(pinned)));

	/* and it grows again, beside the one in quarantine */
	for (n = 0; (k = do_refill(c.fd, 0, items, 8)) > 0; n += k) {
		unsigned int i;

		for (i = 0; i < (unsigned int)k; i++) {
			EXPECT_NE(pinned, items[i]);
			memset(client_buffer(&c, items[i]), 0xee, 8192);
		}
	}
	EXPECT_EQ(-ENOBUFS, k);
	EXPECT_EQ(23, n);
	EXPECT_EQ(24, stats_of(POOL).capacity);
	EXPECT_EQ(1, stats_of(POOL).quarantined);
	EXPECT_TRUE(stamp_check(client_buffer(&c, pinned), 8192, stamp_of(pinned)));
	close(pipe[0]);
	close(pipe[1]);
	EXPECT_TRUE(wait_until(stats_of(POOL).quarantined == 0, DEADLINE));
	EXPECT_EQ(1, stats_of(POOL).available);
	client_close(&c);
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 0, DEADLINE));
	EXPECT_TRUE(wait_until((drop_slab(), stats_of(POOL).capacity == 16), DEADLINE));
	audit = audit_of(POOL);
	EXPECT_EQ(16, audit.reserve);
	EXPECT_EQ(1, audit.exact);
	EXPECT_EQ(0, audit.lost + audit.duplicate + audit.damaged);
	EXPECT_EQ(0, module_unload());
}

/*
 * What is free once no more comes back by itself: tests and processes that have
 * just ended may give back some yet.
 */
static long settled_kb(void)
{
	long last, now = free_kb();
	int patience = 100;

	do {
		last = now;
		usleep(100000);
		drop_slab();
		now = free_kb();
	} while (now > last + 1024 && patience--);
	return now;
}

/* Pages that outlive the module go when their pin goes, and not before. */
#define ROUNDS	8
#define EACH	15	/* a pipe has room for 16 */

TEST(memory_comes_back_after_unload)
{
	int pipe[ROUNDS][2], round;
	long before, pinned, after;
	pid_t pid;

	/* once before, so that what stays for good is there already */
	for (round = -1; round < ROUNDS; round++) {
		int *p = pipe[round < 0 ? 0 : round];

		ASSERT_EQ(0, module_fresh("buffer_count=16 compression_size=524288 "
					  "serialization_size=4096"));
		ASSERT_EQ(0, pipe2(p, O_CLOEXEC));
		pid = child_fork();
		if (!pid) {
			uint32_t items[EACH];
			struct client c;
			int k;

			child_assert(!client_open(&c, POOL));
			child_assert(do_refill(c.fd, 0, items, EACH) == EACH);
			for (k = 0; k < EACH; k++) {
				struct iovec iov = { client_buffer(&c, items[k]) + 4096 * k, 1 };

				*(unsigned char *)iov.iov_base = round + k;
				child_assert(vmsplice(p[1], &iov, 1, 0) == 1);
			}
			_exit(0);
		}
		EXPECT_EQ(0, child_wait(pid));
		EXPECT_TRUE(wait_until(stats_of(POOL).quarantined == EACH, DEADLINE));
		EXPECT_EQ(0, module_unload());
		if (round < 0) {
			close(p[0]);
			close(p[1]);
			before = settled_kb();
		}
	}
	pinned = settled_kb();
	for (round = 0; round < ROUNDS; round++) {
		unsigned char byte[EACH];
		int k;

		EXPECT_EQ(EACH, read(pipe[round][0], byte, EACH));
		for (k = 0; k < EACH; k++)
			EXPECT_EQ((unsigned char)(round + k), byte[k]);
		close(pipe[round][0]);
		close(pipe[round][1]);
	}
	after = settled_kb();
	TH_LOG("%ld kB free, %ld with %d pinned, %ld after", before, pinned, ROUNDS * EACH, after);
	EXPECT_LT(ROUNDS * EACH * 512 * 3 / 4, before - pinned);
	EXPECT_LT(ROUNDS * EACH * 512 * 3 / 4, after - pinned);
}

LFPOOL_MODULE_MAIN
