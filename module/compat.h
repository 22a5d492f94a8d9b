/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lfpool: what differs between the kernels that it builds on (6.1 to 6.12).
 */
#ifndef _LFPOOL_COMPAT_H
#define _LFPOOL_COMPAT_H

#include <linux/device.h>
#include <linux/mm.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_mod(struct vm_area_struct *vma, vm_flags_t set, vm_flags_t clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#define lfpool_class_create(name)	class_create(THIS_MODULE, name)
#else
#define lfpool_class_create(name)	class_create(name)
#endif

/* class->devnode takes a const device since 6.2 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define LFPOOL_DEVNODE_CONST
#else
#define LFPOOL_DEVNODE_CONST	const
#endif

/* vm_ops->get_policy has one argument more since 6.7 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
#define LFPOOL_GET_POLICY_ARGS	struct vm_area_struct *vma, unsigned long addr
#else
#define LFPOOL_GET_POLICY_ARGS	struct vm_area_struct *vma, unsigned long addr, pgoff_t *ilx
#endif

/**
 * lfpool_folio_mapcount - how many page table entries map the folio
 * @folio: the folio, locked: no mapping of it comes meanwhile
 *
 * folio_mapcount() is out of line and not exported before 6.6.
 *
 * Return: how many; too few, but never too many, if some go meanwhile.
 */
static inline int lfpool_folio_mapcount(struct folio *folio)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
	int entire, count;
	long i;

	if (!folio_test_large(folio))
		return atomic_read(&folio->_mapcount) + 1;
	/*
	 * Once, and before the pages: before 6.2 each of them counts the PMD
	 * mappings as well, and a mapping that goes is taken from the pages
	 * first: if it is not in @entire any more, it is in no page.
	 */
	entire = folio_entire_mapcount(folio);
	/* pairs with the atomics of page_remove_rmap(), which are full barriers */
	smp_rmb();
	count = entire;
	for (i = 0; i < folio_nr_pages(folio); i++)
		count += atomic_read(&folio_page(folio, i)->_mapcount) + 1;
	if (LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0))
		count -= entire * folio_nr_pages(folio);
	return count;
#else
	return folio_mapcount(folio);
#endif
}

/* shrinkers are allocated, and have private data, since 6.7 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
struct lfpool_shrinker {
	struct shrinker shrinker;
	void *data;
};

static inline struct shrinker *lfpool_shrinker_alloc(void *data, const char *name)
{
	struct lfpool_shrinker *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return NULL;
	s->data = data;
	return &s->shrinker;
}

static inline void *lfpool_shrinker_data(struct shrinker *shrinker)
{
	return container_of(shrinker, struct lfpool_shrinker, shrinker)->data;
}

static inline int lfpool_shrinker_register(struct shrinker *shrinker, const char *name)
{
	return register_shrinker(shrinker, "lfpool-%s", name);
}

static inline void lfpool_shrinker_free(struct shrinker *shrinker)
{
	if (!shrinker)
		return;
	/* does nothing for one that was not registered */
	unregister_shrinker(shrinker);
	kfree(container_of(shrinker, struct lfpool_shrinker, shrinker));
}
#else
static inline struct shrinker *lfpool_shrinker_alloc(void *data, const char *name)
{
	struct shrinker *shrinker = shrinker_alloc(0, "lfpool-%s", name);

	if (shrinker)
		shrinker->private_data = data;
	return shrinker;
}

static inline void *lfpool_shrinker_data(struct shrinker *shrinker)
{
	return shrinker->private_data;
}

static inline int lfpool_shrinker_register(struct shrinker *shrinker, const char *name)
{
	shrinker_register(shrinker);
	return 0;
}

static inline void lfpool_shrinker_free(struct shrinker *shrinker)
{
	if (shrinker)
		shrinker_free(shrinker);
}
#endif

#endif /* _LFPOOL_COMPAT_H */
