// SPDX-License-Identifier: GPL-2.0-only
/*
 * lfpool: load, unload, parameters, class and nodes.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/slab.h>
#include "compat.h"
#include "internal.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

#define LFPOOL_SIMD_ELEMENT	32	/* bytes: f64x4 */

/* A number that does not even fit is out of range as any other. */
static int lfpool_param_set(const char *value, const struct kernel_param *kp)
{
	return param_set_uint(value, kp) ? -EINVAL : 0;
}

static const struct kernel_param_ops lfpool_param_ops = {
	.set = lfpool_param_set,
	.get = param_get_uint,
};

#define LFPOOL_PARAM(name, text)						\
	module_param_cb(name, &lfpool_param_ops, &name, 0444);		\
	__MODULE_PARM_TYPE(name, "uint");				\
	MODULE_PARM_DESC(name, text)

static unsigned int buffer_count = 256;
LFPOOL_PARAM(buffer_count,
	     "buffers each pool starts with, 1..1048576 (256)");

static unsigned int max_count;
LFPOOL_PARAM(max_count,
	     "how far a pool may grow, buffer_count..2097152; 0: twice buffer_count (0)");

static unsigned int serialization_size = 131072;
LFPOOL_PARAM(serialization_size,
	     "bytes of a serialization buffer, 64..4194304 (131072)");

static unsigned int compression_size = 65536;
LFPOOL_PARAM(compression_size,
	     "bytes of a compression buffer, 64..4194304 (65536)");

static unsigned int simd_elements = 64;
LFPOOL_PARAM(simd_elements,
	     "32-byte elements of a simd buffer, 1..131072 (64)");

static unsigned int max_threads = 256;
LFPOOL_PARAM(max_threads,
	     "attached threads of each pool, 1..4096 (256)");

static unsigned int batch = 28;
LFPOOL_PARAM(batch,
	     "buffers that move together, 2..29; at most an eighth of buffer_count (28)");

static struct class *lfpool_class;
static dev_t lfpool_devt;
static struct lfpool_pool *lfpool_pools[LFPOOL_POOLS];

/*
 * A file system nobody can mount, for one inode a pool: its address space knows
 * every mapping of the pool. It has no owner, since a mount would hold the
 * module for ever; the mount goes with the module.
 */
static int lfpool_init_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, 0x6c66706f) ? 0 : -ENOMEM;
}

static struct file_system_type lfpool_fs = {
	.name			= "lfpool",
	.init_fs_context	= lfpool_init_fs_context,
	.kill_sb		= kill_anon_super,
};

static struct vfsmount *lfpool_mnt;

static bool param_ok(const char *name, unsigned int value, unsigned int min, unsigned int max)
{
	if (value >= min && value <= max)
		return true;
	pr_err("%s=%u is out of range %u..%u\n", name, value, min, max);
	return false;
}

#define PARAM_OK(name, min, max) param_ok(#name, name, min, max)

static bool params_ok(void)
{
	return PARAM_OK(buffer_count, 1, LFPOOL_COUNT_MAX) &&
	       (!max_count || PARAM_OK(max_count, buffer_count, 2 * LFPOOL_COUNT_MAX)) &&
	       PARAM_OK(serialization_size, 64, 4194304) &&
	       PARAM_OK(compression_size, 64, 4194304) &&
	       PARAM_OK(simd_elements, 1, 4194304 / LFPOOL_SIMD_ELEMENT) &&
	       PARAM_OK(max_threads, 1, 4096) &&
	       PARAM_OK(batch, 2, LFPOOL_BATCH_MAX);
}

static char *lfpool_devnode(LFPOOL_DEVNODE_CONST struct device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0660;
	/*
	 * NULL would not be an error but a node of another name, or one that
	 * stays behind when the module is gone.
	 */
	return kasprintf(GFP_KERNEL | __GFP_NOFAIL, "lfpool/%s", dev_name(dev));
}

static void pool_dev_release(struct device *dev)
{
	struct lfpool_pool *pool = to_pool(dev);

	lfpool_pool_free(pool);
	iput(pool->inode);
	kfree(pool);
}

/* Make one pool; its node comes later. */
static int pool_create(int minor, const struct lfpool_geometry *geo)
{
	struct lfpool_pool *pool = kzalloc(sizeof(*pool), GFP_KERNEL);
	int err;

	if (!pool)
		return -ENOMEM;
	device_initialize(&pool->dev);
	pool->dev.class = lfpool_class;
	pool->dev.devt = lfpool_devt + minor;
	pool->dev.groups = lfpool_groups;
	pool->dev.release = pool_dev_release;
	err = dev_set_name(&pool->dev, "%s", geo->name);
	if (err)
		goto put;
	pool->inode = alloc_anon_inode(lfpool_mnt->mnt_sb);
	if (IS_ERR(pool->inode)) {
		err = PTR_ERR(pool->inode);
		pool->inode = NULL;
		goto put;
	}
	err = lfpool_pool_init(pool, geo);
	if (err)
		goto put;
	i_size_write(pool->inode, pool->mmap_size);
	err = lfpool_shrinker_init(pool);
	if (err)
		goto put;
	cdev_init(&pool->cdev, &lfpool_fops);
	pool->cdev.owner = THIS_MODULE;
	lfpool_pools[minor] = pool;
	return 0;

put:
	pr_err("%s: cannot make %u buffers of %u bytes (%d)\n", geo->name, geo->buffer_count,
	       geo->buffer_size, err);
	put_device(&pool->dev);
	return err;
}

static void pools_destroy(void)
{
	int i;

	for (i = 0; i < LFPOOL_POOLS; i++) {
		struct lfpool_pool *pool = lfpool_pools[i];

		if (!pool)
			continue;
		if (pool->added)
			cdev_device_del(&pool->cdev, &pool->dev);
		/* no file is open: nobody queues it again but itself */
		cancel_delayed_work_sync(&pool->look);
		flush_delayed_work(&pool->work);
		cancel_delayed_work_sync(&pool->work);
		put_device(&pool->dev);
		lfpool_pools[i] = NULL;
	}
}

/*
 * The nodes come last, all of them, and open only then: a load that fails frees
 * the module however many files of it are open.
 */
static int __init nodes_add(void)
{
	int err, i;

	for (i = 0; i < LFPOOL_POOLS; i++) {
		struct lfpool_pool *pool = lfpool_pools[i];

		err = cdev_device_add(&pool->cdev, &pool->dev);
		if (err)
			return err;
		pool->added = true;
	}
	lfpool_open_gate();
	return 0;
}

static int __init lfpool_init(void)
{
	struct lfpool_geometry geo;
	int err;

	if (!params_ok())
		return -EINVAL;

	lfpool_mnt = kern_mount(&lfpool_fs);
	if (IS_ERR(lfpool_mnt))
		return PTR_ERR(lfpool_mnt);
	err = alloc_chrdev_region(&lfpool_devt, 0, LFPOOL_POOLS, "lfpool");
	if (err)
		goto unmount;
	lfpool_class = lfpool_class_create("lfpool");
	if (IS_ERR(lfpool_class)) {
		err = PTR_ERR(lfpool_class);
		goto unregister;
	}
	lfpool_class->devnode = lfpool_devnode;

	geo = (struct lfpool_geometry) {
		.name = "serialization",
		.buffer_size = serialization_size,
		.buffer_count = buffer_count,
		.max_count = max_count ? max_count : 2 * buffer_count,
		.max_threads = max_threads,
		/* so that eight threads can each have a batch */
		.batch = clamp(buffer_count / 8, 1U, batch),
	};
	err = pool_create(0, &geo);
	if (err)
		goto destroy;
	geo.name = "compression";
	geo.buffer_size = compression_size;
	err = pool_create(1, &geo);
	if (err)
		goto destroy;
	geo.name = "simd";
	geo.buffer_size = simd_elements * LFPOOL_SIMD_ELEMENT;
	geo.pool_flags = LFPOOL_POOL_ZERO;
	err = pool_create(2, &geo);
	if (err)
		goto destroy;
	err = nodes_add();
	if (err)
		goto destroy;
	return 0;

destroy:
	pools_destroy();
	class_destroy(lfpool_class);
unregister:
	unregister_chrdev_region(lfpool_devt, LFPOOL_POOLS);
unmount:
	kern_unmount(lfpool_mnt);
	return err;
}

static void __exit lfpool_exit(void)
{
	pools_destroy();
	class_destroy(lfpool_class);
	unregister_chrdev_region(lfpool_devt, LFPOOL_POOLS);
	kern_unmount(lfpool_mnt);
}

module_init(lfpool_init);
module_exit(lfpool_exit);

MODULE_AUTHOR("lfpool maintainers");
MODULE_DESCRIPTION("Shared pools of fixed-size buffers");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");	/* as in userlib/Makefile */
