// SPDX-License-Identifier: MIT
/*
 * The device back end: /dev/lfpool/<name>.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

/* None of them waits for anything but a lock, so a signal means: once more. */
static int call(const struct lfpool *pool, unsigned long cmd, void *arg)
{
	int saved = errno, ret;

	do {
		ret = ioctl(pool->fd, cmd, arg) ? -errno : 0;
	} while (ret == -EINTR);
	errno = saved;
	return ret;
}

static int device_attach(struct lfpool *pool, __u32 *slot)
{
	struct lfpool_attach arg = { .size = sizeof(arg) };
	int err;

	err = call(pool, LFPOOL_IOC_ATTACH, &arg);
	if (err)
		return err;
	if (arg.slot >= pool->info.max_threads)
		return -EPROTO;
	*slot = arg.slot;
	return 0;
}

static void device_detach(struct lfpool *pool, __u32 slot)
{
	struct lfpool_attach arg = { .size = sizeof(arg), .slot = slot };

	call(pool, LFPOOL_IOC_DETACH, &arg);
}

static int device_refill(struct lfpool *pool, __u32 *items, unsigned int n,
			 unsigned int flags, unsigned int *grown)
{
	struct lfpool_xfer arg = {
		.size = sizeof(arg),
		.flags = flags,
		.count = n,
		.items = (uintptr_t)items,
	};
	int err;

	err = call(pool, LFPOOL_IOC_REFILL, &arg);
	*grown = arg.grown;
	return err ? err : (int)arg.count;
}

static int device_release(struct lfpool *pool, const __u32 *items, unsigned int n,
			  unsigned int flags)
{
	struct lfpool_xfer arg = {
		.size = sizeof(arg),
		.flags = flags,
		.count = n,
		.items = (uintptr_t)items,
	};

	return call(pool, LFPOOL_IOC_RELEASE, &arg);
}

static int device_wait(struct lfpool *pool, int64_t timeout_ns, __u32 *item)
{
	struct lfpool_wait arg = { .size = sizeof(arg), .timeout_ns = timeout_ns };

	if (ioctl(pool->fd, LFPOOL_IOC_WAIT, &arg))
		return -errno;
	*item = arg.item;
	return 0;
}

static void device_wake(struct lfpool *pool)
{
	struct lfpool_plain arg = { .size = sizeof(arg) };

	call(pool, LFPOOL_IOC_WAKE, &arg);
}

static int device_stats(struct lfpool *pool, struct lfpool_stats *stats)
{
	return call(pool, LFPOOL_IOC_STATS, stats);
}

static int device_reset_stats(struct lfpool *pool)
{
	struct lfpool_plain arg = { .size = sizeof(arg) };

	return call(pool, LFPOOL_IOC_RESET_STATS, &arg);
}

static int device_audit(struct lfpool *pool, struct lfpool_audit *audit)
{
	return call(pool, LFPOOL_IOC_AUDIT, audit);
}

static int device_fd(const struct lfpool *pool)
{
	return pool->fd;
}

static void device_close(struct lfpool *pool)
{
	/*
	 * In a forked child the mapping is not there (VM_DONTCOPY), and
	 * something else may be at its address.
	 */
	if (pool->base && pool->refuse != -ESTALE)
		munmap(pool->base, pool->info.mmap_size);
	close(pool->fd);
}

const struct lfp_ops lfp_device_ops = {
	.attach = device_attach,
	.detach = device_detach,
	.refill = device_refill,
	.release = device_release,
	.wait = device_wait,
	.wake = device_wake,
	.stats = device_stats,
	.reset_stats = device_reset_stats,
	.audit = device_audit,
	.fd = device_fd,
	.close = device_close,
};

static int ask_info(struct lfpool *pool)
{
	int err;

	pool->info.size = sizeof(pool->info);
	err = call(pool, LFPOOL_IOC_INFO, &pool->info);
	/* another driver's node, or an ABI that is not ours */
	if (err == -ENOTTY || err == -EINVAL || err == -E2BIG)
		err = -EPROTO;
	pool->info.name[LFPOOL_NAME_LEN - 1] = '\0';
	return err;
}

/**
 * lfp_device_open - open the node of a pool and map it
 *
 * Return: 0; -ENOENT: there is no such node, or nothing behind it; or another
 * negative errno. After a failure pool->ops is NULL.
 */
int lfp_device_open(struct lfpool *pool, const char *name)
{
	bool readonly = pool->flags & LFPOOL_OPEN_RDONLY;
	char path[sizeof("/dev/lfpool/") + LFPOOL_NAME_LEN];
	void *base;
	int err;

	snprintf(path, sizeof(path), "/dev/lfpool/%s", name);
	pool->fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (pool->fd < 0) {
		err = -errno;
		return err == -ENXIO || err == -ENODEV ? -ENOENT : err;
	}

	err = ask_info(pool);
	if (!err)
		err = lfp_map(pool, NULL);
	if (!err && readonly)
		pool->refuse = -EBADF;
	if (!err && !readonly) {
		base = mmap(NULL, pool->info.mmap_size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_POPULATE, pool->fd, 0);
		err = base == MAP_FAILED ? -errno : ask_info(pool);
		if (!err)
			err = lfp_map(pool, base);
		if (err && base != MAP_FAILED)
			munmap(base, pool->info.mmap_size);
	}
	if (err) {
		close(pool->fd);
		pool->fd = -1;
		return err;
	}
	pool->ops = &lfp_device_ops;
	return 0;
}
