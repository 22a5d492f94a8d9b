// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module with bugs, one for each detector of the debugging kernels: the tests
 * say nothing about lfpool unless these are found on the same machines. Never
 * load it elsewhere.
 *
 * The parameter bug= picks one; planted.sh has their list, and what the kernel
 * has to say of each.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

static char *bug = "none";
module_param(bug, charp, 0444);
MODULE_PARM_DESC(bug, "which bug to have");

/* what the compiler must take for any number, or for used */
static volatile unsigned int number;

static int none(void)
{
	unsigned char *p = kzalloc(64, GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	number = p[63];
	kfree(p);
	return 0;
}

static int use_after_free(void)
{
	unsigned char *p = kzalloc(64, GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(p);
	kfree(p);
	number = READ_ONCE(p[8]);
	return 0;
}

/* Of the lock's own code only a part is looked into: see config/sanitize. */
static int lock_after_free(void)
{
	struct {
		unsigned long words[8];
		/* not in the first words: KASAN writes there, and it would never be had */
		spinlock_t lock;
	} *p = kzalloc(sizeof(*p), GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	spin_lock_init(&p->lock);
	OPTIMIZER_HIDE_VAR(p);
	kfree(p);
	spin_lock(&p->lock);
	spin_unlock(&p->lock);
	return 0;
}

/* As a buffer's would be: it comes from the page allocator, not from a slab. */
static int page_use_after_free(void)
{
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_COMP, 1);
	unsigned char *p;

	if (!page)
		return -ENOMEM;
	p = page_address(page);
	put_page(page);
	number = READ_ONCE(p[4096]);
	return 0;
}

static int out_of_bounds(void)
{
	unsigned char *p = kzalloc(61, GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(p);
	number = READ_ONCE(p[61]);
	kfree(p);
	return 0;
}

/* As the shared state is: vmalloc(). Behind a whole page nothing is mapped. */
static int vmalloc_out_of_bounds(void)
{
	unsigned char *p = vmalloc(PAGE_SIZE / 2);

	if (!p)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(p);
	WRITE_ONCE(p[PAGE_SIZE / 2], 1);
	vfree(p);
	return 0;
}

static int double_free(void)
{
	unsigned char *p = kzalloc(64, GFP_KERNEL), *q = p;

	if (!p)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(q);
	kfree(p);
	kfree(q);
	return 0;
}

/* In assembly, where KASAN sees it no more than a write of user space. */
static int page_write_after_free(void)
{
	struct page *page = alloc_page(GFP_KERNEL), *again[64];
	unsigned int i, n = 0;

	if (!page)
		return -ENOMEM;
	/* it comes back on this CPU: it is looked at when it is given out again */
	preempt_disable();
	__free_page(page);
	asm volatile("movb $0, 100(%0)" : : "r" (page_address(page)) : "memory");
	while (n < ARRAY_SIZE(again)) {
		again[n] = alloc_page(GFP_ATOMIC);
		if (!again[n] || again[n++] == page)
			break;
	}
	preempt_enable();
	for (i = 0; i < n; i++) {
		if (again[i])
			__free_page(again[i]);
	}
	return 0;
}

/* A reference to what is free: get_page() looks, with DEBUG_VM. */
static int reference_to_freed(void)
{
	struct page *page = alloc_page(GFP_KERNEL);

	if (!page)
		return -ENOMEM;
	__free_page(page);
	get_page(page);
	return 0;
}

static void no_alarm(struct timer_list *unused)
{
}

static int free_active_timer(void)
{
	struct timer_list *timer = kzalloc(sizeof(*timer), GFP_KERNEL);

	if (!timer)
		return -ENOMEM;
	timer_setup(timer, no_alarm, 0);
	mod_timer(timer, jiffies + 60 * HZ);
	kfree(timer);
	return 0;
}

/* More to user space than the object has; it is insmod's memory. */
static int copy_too_much(void)
{
	unsigned long user = vm_mmap(NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
				     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	unsigned char *p;
	int ret;

	if (IS_ERR_VALUE(user))
		return user;
	p = kzalloc(64, GFP_KERNEL);
	if (!p)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(p);
	number = 128;
	ret = copy_to_user((void __user *)user, p, number) ? -EFAULT : 0;
	kfree(p);
	return ret;
}

static DEFINE_MUTEX(lock_a);
static DEFINE_MUTEX(lock_b);

/* Nobody hangs: it is enough that both orders happen. */
static int lock_order(void)
{
	mutex_lock(&lock_a);
	mutex_lock(&lock_b);
	mutex_unlock(&lock_b);
	mutex_unlock(&lock_a);

	mutex_lock(&lock_b);
	mutex_lock(&lock_a);
	mutex_unlock(&lock_a);
	mutex_unlock(&lock_b);
	return 0;
}

static DEFINE_SPINLOCK(spin);

static int sleep_in_atomic(void)
{
	spin_lock(&spin);
	mutex_lock(&lock_a);
	mutex_unlock(&lock_a);
	spin_unlock(&spin);
	return 0;
}

static int by_turns(const void *a, const void *b)
{
	return ++number & 1 ? 1 : -1;
}

/* It is the kernel that reads and writes: see config/sanitize. */
static int sort_after_free(void)
{
	int *p = kcalloc(32, sizeof(*p), GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(p);
	kfree(p);
	/* not the first words: KASAN writes there */
	sort(p + 16, 2, sizeof(*p), by_turns, NULL);
	return 0;
}

static int list_corruption(void)
{
	LIST_HEAD(head);
	struct list_head a, b;

	list_add(&a, &head);
	list_add(&b, &head);
	/* b is not told that it is gone */
	INIT_LIST_HEAD(&a);
	list_del(&b);
	return 0;
}

/* Several: a stale pointer on some stack may keep one. */
static int leak(void)
{
	int i;

	for (i = 0; i < 16; i++) {
		void *p = kzalloc(200, GFP_KERNEL);

		if (!p)
			return -ENOMEM;
		OPTIMIZER_HIDE_VAR(p);
		number = !!p;
	}
	return 0;
}

static int shift(void)
{
	number = 40;
	number = 1 << number;
	return 0;
}

/* Within the object: KASAN finds nothing wrong. */
static int array_index(void)
{
	static struct {
		unsigned int array[8];
		unsigned int after[8];
	} both;

	number = 11;
	number = both.array[number];
	return 0;
}

static unsigned long counter;

static int count_up(void *unused)
{
	while (!kthread_should_stop()) {
		counter++;
		cond_resched();
	}
	return 0;
}

static int plain_race(void)
{
	struct task_struct *task[2];
	int i;

	for (i = 0; i < 2; i++)
		task[i] = kthread_run(count_up, NULL, "planted/%d", i);
	msleep(5000);
	for (i = 0; i < 2; i++) {
		if (!IS_ERR(task[i]))
			kthread_stop(task[i]);
	}
	return 0;
}

static const struct {
	const char *name;
	int (*call)(void);
} bugs[] = {
	{ "none", none },
	{ "use-after-free", use_after_free },
	{ "lock-after-free", lock_after_free },
	{ "sort-after-free", sort_after_free },
	{ "page-use-after-free", page_use_after_free },
	{ "out-of-bounds", out_of_bounds },
	{ "vmalloc-out-of-bounds", vmalloc_out_of_bounds },
	{ "double-free", double_free },
	{ "page-write-after-free", page_write_after_free },
	{ "reference-to-freed", reference_to_freed },
	{ "free-active-timer", free_active_timer },
	{ "copy-too-much", copy_too_much },
	{ "lock-order", lock_order },
	{ "sleep-in-atomic", sleep_in_atomic },
	{ "list-corruption", list_corruption },
	{ "leak", leak },
	{ "shift", shift },
	{ "array-index", array_index },
	{ "data-race", plain_race },
};

static int __init planted_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bugs); i++) {
		if (!strcmp(bug, bugs[i].name))
			return bugs[i].call();
	}
	return -EINVAL;
}

static void __exit planted_exit(void)
{
}

module_init(planted_init);
module_exit(planted_exit);

MODULE_DESCRIPTION("Bugs that the tests' kernels have to find");
MODULE_LICENSE("GPL");
