// SPDX-License-Identifier: GPL-2.0-only
/*
 * lfpool: clients: open, mmap, fault, ioctl, and the last close.
 *
 * The one mapping of an open file tells when its client is gone: it is closed
 * by munmap, exec, exit and every kind of kill, after no page table entry of it
 * is left. Release of the file does not serve (a child or a socket may hold
 * it), nor does flush (it runs for forked children, too). The mapping is not
 * inherited (VM_DONTCOPY), but MADV_DOFORK makes it so: copies are counted, and
 * only the last close counts.
 *
 * close() runs under mmap_lock, in exec even in the new program's context. So
 * it only hands the client to the worker.
 */
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/pagemap.h>
#include <linux/pid.h>
#include <linux/poll.h>
#include <linux/proc_fs.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include "compat.h"
#include "internal.h"
#include "trace.h"

/* pace of looking again at orphans and quarantine: from, to */
#define LFPOOL_RETRY_MIN	(HZ / 50 + 1)
#define LFPOOL_RETRY_MAX	HZ

/* ids that are tried before a client is refused, once all were used */
#define LFPOOL_ID_TRIES		64

static bool gate_open;

/**
 * lfpool_open_gate - let the nodes be opened
 *
 * A load that fails after it made nodes would pull the module from under who
 * opened them already.
 */
void lfpool_open_gate(void)
{
	/* pairs with the acquire in open: all pools are complete */
	smp_store_release(&gate_open, true);
}

static void client_free(struct kref *ref)
{
	struct lfpool_client *client = container_of(ref, struct lfpool_client, ref);

	put_pid(client->pid);
	mmdrop(client->mm);
	kfree(client);
}

/*
 * Recovery
 */

/* Make a slot as good as new. The caller holds pool->lock. */
static void slot_init(struct lfpool_pool *pool, u32 slot)
{
	struct lfpool_slot *s = &pool->view.slots[slot];

	memset(s, 0, sizeof(*s));
	WRITE_ONCE(s->journal, LFPOOL_NONE);
}

static void slot_clear(struct lfpool_client *client, u32 slot)
{
	struct lfpool_pool *pool = client->pool;

	lfpool_stats_fold_slot(client, slot);
	slot_init(pool, slot);
	pool->owner[slot] = 0;
	pool->threads--;
}

/**
 * lfpool_recover_look - R1: find orphans, among them those deferred before
 * @pool: the pool; the caller holds its lock
 */
void lfpool_recover_look(struct lfpool_pool *pool)
{
	u32 n = lfpool_recover_orphans(&pool->view, &pool->deferred);

	lfpool_settle(pool, true);
	if (n)
		trace_orphan(pool, n);
	pool->folded.reclaimed += n;
}

/*
 * The ids of the dead, ascending, and behind them as many counts for R2; NULL if
 * there are none, or no memory.
 */
static u32 *dead_ids(struct llist_node *dead, u32 *nr)
{
	struct lfpool_client *client;
	u32 *ids;

	*nr = 0;
	llist_for_each_entry(client, dead, closed)
		(*nr)++;
	if (!*nr)
		return NULL;
	ids = kvmalloc_array(*nr, 2 * sizeof(*ids), GFP_KERNEL | __GFP_NOWARN);
	if (!ids)
		return NULL;
	*nr = 0;
	llist_for_each_entry(client, dead, closed)
		ids[(*nr)++] = client->id;
	sort(ids, *nr, sizeof(*ids), lfpool_compare_ids, NULL);
	return ids;
}

/**
 * lfpool_recover_work - take back what dead clients had; look again at orphans
 * that were not decided and at the quarantine
 * @work: &struct lfpool_pool.work
 */
void lfpool_recover_work(struct work_struct *work)
{
	struct lfpool_pool *pool = container_of(to_delayed_work(work), struct lfpool_pool, work);
	struct llist_node *dead = llist_del_all(&pool->closed);
	struct lfpool_client *client, *next;
	u32 deferred, left, slot, nr, n;
	u32 *ids = dead_ids(dead, &nr);

	/* no ioctl moves buffers for them from now on */
	llist_for_each_entry(client, dead, closed) {
		down_write(&client->rwsem);
		client->dead = true;
		up_write(&client->rwsem);
	}

	mutex_lock(&pool->lock);
	/* their journals do not count among those of the living */
	llist_for_each_entry(client, dead, closed) {
		for (slot = 0; slot < pool->max_threads; slot++) {
			if (pool->owner[slot] == client->id)
				slot_clear(client, slot);
		}
		cond_resched();
	}
	/* a look at the quarantine alone needs no R1, which reads every descriptor */
	if (dead || pool->deferred)
		lfpool_recover_look(pool);
	/* all the dead in one go, if there is memory for a list of them */
	if (ids) {
		lfpool_recover_held(&pool->view, ids, nr, ids + nr);
		lfpool_settle(pool, true);
	}
	llist_for_each_entry(client, dead, closed) {
		if (ids) {
			n = ids[nr + lfpool_find_id(ids, nr, client->id)];
		} else {
			lfpool_recover_held(&pool->view, &client->id, 1, &n);
			lfpool_settle(pool, true);
		}
		if (n)
			trace_reclaim(pool, client->id, n);
		pool->folded.reclaimed += n;
		/* nothing of this one is left to disturb: let others in */
		mutex_unlock(&pool->lock);
		cond_resched();
		mutex_lock(&pool->lock);
	}
	left = lfpool_quarantine_scan(pool);
	deferred = pool->deferred;
	llist_for_each_entry_safe(client, next, dead, closed) {
		lfpool_stats_fold_client(client);
		pool->nr_clients--;
		atomic_dec(&pool->dying);
		list_del(&client->node);
		kref_put(&client->ref, client_free);
	}
	mutex_unlock(&pool->lock);
	kvfree(ids);

	/* who waited looks now: all that this round took back is free */
	WRITE_ONCE(pool->rounds, pool->rounds + 1);
	wake_up_all(&pool->settled);
	/*
	 * It may have died between a push and its WAKE; and its own threads
	 * that wait must find out that they cannot go on.
	 */
	if (dead) {
		lfpool_wake(pool);
		wake_up_interruptible_all(&pool->wait);
	}
	if (deferred || left) {
		pool->retry = clamp_t(unsigned long, pool->retry * 2, LFPOOL_RETRY_MIN,
				      LFPOOL_RETRY_MAX);
		queue_delayed_work(system_unbound_wq, &pool->work, pool->retry);
	} else {
		pool->retry = 0;
	}
}

/*
 * The mapping
 */

static void client_vma_open(struct vm_area_struct *vma)
{
	struct lfpool_client *client = vma->vm_private_data;

	refcount_inc(&client->vmas);
}

static void client_vma_close(struct vm_area_struct *vma)
{
	struct lfpool_client *client = vma->vm_private_data;
	struct lfpool_pool *pool = client->pool;

	if (!refcount_dec_and_test(&client->vmas))
		return;
	/* counted before the worker can find it */
	atomic_inc(&pool->dying);
	llist_add(&client->closed, &pool->closed);
	mod_delayed_work(system_unbound_wq, &pool->work, 0);
}

/* No part of the mapping may go, change its protection or be mapped over. */
static int client_vma_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	return -EINVAL;
}

static int client_vma_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

static vm_fault_t fault_data(struct lfpool_pool *pool, struct vm_fault *vmf, u64 offset)
{
	u64 f = offset >> (PAGE_SHIFT + pool->order);
	struct page *page;

	/* acquire: pairs with the release in grow */
	page = smp_load_acquire(&pool->folios[f]);
	if (!page)
		return VM_FAULT_SIGBUS;
	/* the shrinker may free it right now: take it as the page cache does */
	if (!get_page_unless_zero(page))
		return VM_FAULT_NOPAGE;
	/* somebody else's page by now is none that we may lock */
	if (READ_ONCE(pool->folios[f]) != page) {
		put_page(page);
		return VM_FAULT_NOPAGE;
	}
	lock_page(page);
	if (READ_ONCE(pool->folios[f]) != page) {
		unlock_page(page);
		put_page(page);
		return VM_FAULT_NOPAGE;
	}
	/* stays locked until the page table entry is there; see folio_release() */
	vmf->page = page + ((offset >> PAGE_SHIFT) & ((1UL << pool->order) - 1));
	/* the caller would look for the page's mapping, which it has not */
	if (PageHWPoison(vmf->page)) {
		vmf->page = NULL;
		unlock_page(page);
		put_page(page);
		return VM_FAULT_HWPOISON;
	}
	return VM_FAULT_LOCKED;
}

static vm_fault_t client_vma_fault(struct vm_fault *vmf)
{
	struct lfpool_client *client = vmf->vma->vm_private_data;
	struct lfpool_pool *pool = client->pool;
	u64 offset = (u64)vmf->pgoff << PAGE_SHIFT;

	if (offset >= pool->mmap_size)
		return VM_FAULT_SIGBUS;
	if (offset >= pool->data_offset)
		return fault_data(pool, vmf, offset - pool->data_offset);
	vmf->page = offset < pool->control_size ? vmalloc_to_page(pool->control + offset) :
						  pool->pad;
	/* one page is all of the gap, in each mapping: enough of them wrap the count */
	if (page_ref_count(vmf->page) > INT_MAX / 2)
		return VM_FAULT_SIGBUS;
	get_page(vmf->page);
	return 0;
}

#ifdef CONFIG_NUMA
/*
 * No policy: automatic NUMA balancing would unmap pages for a while to see who
 * uses them, which costs faults and moves nothing.
 */
static struct mempolicy *client_vma_get_policy(LFPOOL_GET_POLICY_ARGS)
{
	return NULL;
}
#endif

static const struct vm_operations_struct client_vm_ops = {
	.open		= client_vma_open,
	.close		= client_vma_close,
	.may_split	= client_vma_may_split,
	.mremap		= client_vma_mremap,
	.fault		= client_vma_fault,
#ifdef CONFIG_NUMA
	.get_policy	= client_vma_get_policy,
#endif
};

static bool client_id_used(struct lfpool_pool *pool, u32 id)
{
	struct lfpool_client *client;

	list_for_each_entry(client, &pool->clients, node) {
		if (client->id == id)
			return true;
	}
	return lfpool_client_traced(&pool->view, id);
}

/* An id that nobody has, and no trace is left of; 0 if none was found. */
static u32 client_id(struct lfpool_pool *pool)
{
	int tries;

	for (tries = 0; tries < LFPOOL_ID_TRIES; tries++) {
		if (pool->last_id == LFPOOL_CLIENT_MAX) {
			pool->last_id = LFPOOL_CLIENT_MIN - 1;
			pool->wrapped = true;
		}
		pool->last_id++;
		if (!pool->wrapped || !client_id_used(pool, pool->last_id))
			return pool->last_id;
	}
	return 0;
}

static int client_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct lfpool_client *client = file->private_data;
	struct lfpool_pool *pool = client->pool;
	int err = 0;

	/* first: of such a file, even a shared mapping is not VM_SHARED */
	if (!(file->f_mode & FMODE_WRITE))
		return -EACCES;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	if (vma->vm_pgoff || vma->vm_end - vma->vm_start != pool->mmap_size)
		return -EINVAL;
	if (current->mm != client->mm)
		return -EBUSY;

	/* an audit of a large pool may have it for a while */
	if (mutex_lock_killable(&pool->lock))
		return -EINTR;
	if (client->mapped) {
		err = -EBUSY;
	} else {
		/* ioctls look at it without the lock */
		WRITE_ONCE(client->id, client_id(pool));
		if (!client->id)
			err = -EUSERS;
	}
	if (!err) {
		client->mapped = true;
		client->pid = get_pid(task_tgid(current));
		get_task_comm(client->comm, current);
		client->since = ktime_get_boottime_ns();
		refcount_set(&client->vmas, 1);
		kref_get(&client->ref);
		list_add_tail(&client->node, &pool->clients);
		pool->nr_clients++;
	}
	mutex_unlock(&pool->lock);
	if (err)
		return err;

	vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	vma->vm_ops = &client_vm_ops;
	vma->vm_private_data = client;
	return 0;
}

/*
 * ioctls, one function each
 */

static int client_info(struct lfpool_client *client, void *arg)
{
	struct lfpool_info *info = arg;
	u32 size = info->size;

	/* the header page is shared: its geometry may have been spoilt */
	lfpool_pool_info(client->pool, info);
	info->size = size;
	info->client = READ_ONCE(client->id);
	return 0;
}

static int client_attach(struct lfpool_client *client, void *arg)
{
	struct lfpool_pool *pool = client->pool;
	struct lfpool_attach *attach = arg;
	int err = -EUSERS;
	u32 slot;

	if (attach->reserved)
		return -EINVAL;
	down_read(&client->rwsem);
	mutex_lock(&pool->lock);
	for (slot = 0; slot < pool->max_threads; slot++) {
		if (client->dead) {
			err = -ENXIO;
			break;
		}
		if (pool->owner[slot])
			continue;
		/* whoever maps the pool may have written there meanwhile */
		slot_init(pool, slot);
		pool->owner[slot] = client->id;
		pool->threads++;
		attach->slot = slot;
		trace_client_attach(pool, client->id, pool->threads);
		err = 0;
		break;
	}
	mutex_unlock(&pool->lock);
	up_read(&client->rwsem);
	return err;
}

static int client_detach(struct lfpool_client *client, void *arg)
{
	struct lfpool_pool *pool = client->pool;
	struct lfpool_attach *detach = arg;
	const struct lfpool_slot *s;
	u32 slot = detach->slot;
	int err = -EINVAL;

	if (detach->reserved)
		return -EINVAL;
	mutex_lock(&pool->lock);
	if (slot < pool->max_threads)
		slot = array_index_nospec(slot, pool->max_threads);
	if (slot < pool->max_threads && pool->owner[slot] == client->id) {
		s = &pool->view.slots[slot];
		if (READ_ONCE(s->busy) || READ_ONCE(s->journal) != LFPOOL_NONE) {
			/*
			 * Its thread left a get or put half-way (longjmp() out
			 * of a signal handler). As if it had died there: the
			 * batch that it moved is found, and what its cache
			 * lists, maybe in vain, stays the client's.
			 */
			slot_clear(client, slot);
			lfpool_recover_look(pool);
			if (pool->deferred)
				queue_delayed_work(system_unbound_wq, &pool->work,
						   LFPOOL_RETRY_MIN);
		} else {
			lfpool_drain_cache(&pool->view, slot, client->id);
			lfpool_settle(pool, false);
			slot_clear(client, slot);
		}
		trace_client_detach(pool, client->id, pool->threads);
		err = 0;
	}
	mutex_unlock(&pool->lock);
	return err;
}

static void client_undo_attach(struct lfpool_client *client, void *arg)
{
	client_detach(client, arg);
}

/* What REFILL and RELEASE get, and the indices that it points to. */
struct lfpool_transfer {
	struct lfpool_xfer xfer;
	u32 items[LFPOOL_XFER_MAX];
};

static void client_undo_refill(struct lfpool_client *client, void *arg)
{
	struct lfpool_transfer *t = arg;
	u32 moved;

	/* what was counted as got counts as put */
	lfpool_release(client, t->items, t->xfer.count,
		       t->xfer.flags & LFPOOL_REFILL_GET ? LFPOOL_RELEASE_PUT : 0, &moved);
}

static int client_refill(struct lfpool_client *client, void *arg)
{
	struct lfpool_transfer *t = arg;
	struct lfpool_xfer *xfer = &t->xfer;
	u32 __user *user = u64_to_user_ptr(xfer->items);
	int got;

	if (xfer->flags & ~(LFPOOL_REFILL_GET | LFPOOL_REFILL_FREE) ||
	    !xfer->count || xfer->count > LFPOOL_XFER_MAX)
		return -EINVAL;
	got = lfpool_grant(client, t->items, xfer->count, xfer->flags, &xfer->grown);
	if (got < 0)
		return got;
	xfer->count = got;
	if (copy_to_user(user, t->items, got * sizeof(*t->items))) {
		client_undo_refill(client, t);
		return -EFAULT;
	}
	return 0;
}

static int client_release(struct lfpool_client *client, void *arg)
{
	struct lfpool_transfer *t = arg;
	struct lfpool_xfer *xfer = &t->xfer;
	u32 __user *user = u64_to_user_ptr(xfer->items);
	u32 moved;

	if (xfer->flags & ~LFPOOL_RELEASE_PUT || !xfer->count ||
	    xfer->count > LFPOOL_XFER_MAX || xfer->grown)
		return -EINVAL;
	if (copy_from_user(t->items, user, xfer->count * sizeof(*t->items)))
		return -EFAULT;
	return lfpool_release(client, t->items, xfer->count, xfer->flags, &moved);
}

static int client_wait(struct lfpool_client *client, void *arg)
{
	struct lfpool_wait *wait = arg;

	return lfpool_wait(client, &wait->timeout_ns, &wait->item, &wait->grown);
}

static void client_undo_wait(struct lfpool_client *client, void *arg)
{
	struct lfpool_wait *wait = arg;
	u32 moved;

	lfpool_release(client, &wait->item, 1, 0, &moved);
}

static int client_wake(struct lfpool_client *client, void *arg)
{
	lfpool_wake(client->pool);
	return 0;
}

static int client_stats(struct lfpool_client *client, void *arg)
{
	lfpool_stats_fixed(client->pool, arg);
	return lfpool_stats_read(client->pool, arg, true);
}

static int client_reset_stats(struct lfpool_client *client, void *arg)
{
	return lfpool_stats_reset(client->pool);
}

static int client_audit(struct lfpool_client *client, void *arg)
{
	return lfpool_audit_read(client->pool, arg);
}

/* struct lfpool_ioctl.rules */
#define NEEDS_WRITE	0x1	/* the file must be open for writing */
#define NEEDS_CLIENT	0x2	/* the caller must be the process that mapped it */
#define TAKES_FLAGS	0x4	/* the function checks flags itself */

/**
 * struct lfpool_ioctl - an ioctl
 * @cmd:   the command, for its direction and size
 * @first: size of the argument's first version, the least that is taken
 * @rules: what must hold for it
 * @call:  does it, on a kernel copy of the argument
 * @undo:  undoes what it gave, if that cannot be told; NULL if there is nothing
 */
struct lfpool_ioctl {
	unsigned int cmd;
	unsigned int first;
	unsigned int rules;
	int (*call)(struct lfpool_client *client, void *arg);
	void (*undo)(struct lfpool_client *client, void *arg);
};

static const struct lfpool_ioctl client_ioctls[] = {
#define IOCTL(name, first, rules, call, undo)	\
	[_IOC_NR(LFPOOL_IOC_ ## name)] = { LFPOOL_IOC_ ## name, first, rules, call, undo }
	IOCTL(INFO, 136, 0, client_info, NULL),
	IOCTL(ATTACH, 16, NEEDS_WRITE | NEEDS_CLIENT, client_attach, client_undo_attach),
	IOCTL(DETACH, 16, NEEDS_WRITE | NEEDS_CLIENT, client_detach, NULL),
	IOCTL(REFILL, 24, NEEDS_WRITE | NEEDS_CLIENT | TAKES_FLAGS, client_refill,
	      client_undo_refill),
	IOCTL(RELEASE, 24, NEEDS_WRITE | NEEDS_CLIENT | TAKES_FLAGS, client_release, NULL),
	IOCTL(WAIT, 24, NEEDS_WRITE | NEEDS_CLIENT, client_wait, client_undo_wait),
	IOCTL(WAKE, 8, NEEDS_WRITE | NEEDS_CLIENT, client_wake, NULL),
	IOCTL(STATS, 200, 0, client_stats, NULL),
	IOCTL(RESET_STATS, 8, NEEDS_WRITE, client_reset_stats, NULL),
	IOCTL(AUDIT, 96, 0, client_audit, NULL),
#undef IOCTL
};

union lfpool_arg {
	struct {
		u32 size;
		u32 flags;
	};
	struct lfpool_info info;
	struct lfpool_attach attach;
	struct lfpool_transfer transfer;
	struct lfpool_wait wait;
	struct lfpool_stats stats;
	struct lfpool_audit audit;
};

/*
 * The command's size bits are not compared: a program built with a newer header
 * has a larger struct, and another command for the same call.
 */
static long client_ioctl(struct file *file, unsigned int cmd, unsigned long ptr)
{
	struct lfpool_client *client = file->private_data;
	void __user *user = (void __user *)ptr;
	const struct lfpool_ioctl *op;
	union lfpool_arg arg;
	unsigned int nr = _IOC_NR(cmd);
	u32 size, known;
	int err;

	if (_IOC_TYPE(cmd) != LFPOOL_IOC_TYPE || nr >= ARRAY_SIZE(client_ioctls))
		return -ENOTTY;
	op = &client_ioctls[array_index_nospec(nr, ARRAY_SIZE(client_ioctls))];
	if (_IOC_DIR(cmd) != _IOC_DIR(op->cmd))
		return -ENOTTY;
	if (op->rules & NEEDS_WRITE && !(file->f_mode & FMODE_WRITE))
		return -EBADF;

	known = _IOC_SIZE(op->cmd);
	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	if (size < op->first)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	memset(&arg, 0, sizeof(arg));
	err = copy_struct_from_user(&arg, known, user, size);
	if (err)
		return err;
	/* another thread may have changed it since */
	arg.size = size;
	if (arg.flags && !(op->rules & TAKES_FLAGS))
		return -EINVAL;

	if (op->rules & NEEDS_CLIENT) {
		if (current->mm != client->mm)
			return -EBUSY;
		/* @id is set once; an unmap that races with us is found later */
		if (!READ_ONCE(client->id) || !refcount_read(&client->vmas))
			return -ENXIO;
	}
	/* rather before than after: it need not be undone then */
	if (_IOC_DIR(op->cmd) & _IOC_READ && copy_to_user(user, &arg, min(size, known)))
		return -EFAULT;
	err = op->call(client, &arg);
	/* for the call that will be made again: how much of its time is left */
	if (err == -ERESTARTNOHAND && copy_to_user(user, &arg, min(size, known)))
		err = -EINTR;
	if (!err && _IOC_DIR(op->cmd) & _IOC_READ &&
	    copy_to_user(user, &arg, min(size, known))) {
		if (op->undo)
			op->undo(client, &arg);
		err = -EFAULT;
	}
	return err;
}

static __poll_t client_poll(struct file *file, poll_table *table)
{
	struct lfpool_client *client = file->private_data;

	/* a poll makes the next put take its slow path: not for monitors */
	if (!(file->f_mode & FMODE_WRITE))
		return EPOLLERR;
	poll_wait(file, &client->pool->pollers, table);
	return lfpool_poll(client->pool) ? EPOLLIN | EPOLLRDNORM : 0;
}

/*
 * The file
 */

static int client_open(struct inode *inode, struct file *file)
{
	struct lfpool_pool *pool = container_of(inode->i_cdev, struct lfpool_pool, cdev);
	struct lfpool_client *client;

	/* pairs with the release in lfpool_open_gate() */
	if (!smp_load_acquire(&gate_open))
		return -ENXIO;
	/* a kernel thread can open a file, but be no client */
	if (!current->mm)
		return -ENXIO;
	client = kzalloc(sizeof(*client), GFP_KERNEL_ACCOUNT);
	if (!client)
		return -ENOMEM;
	kref_init(&client->ref);
	init_rwsem(&client->rwsem);
	client->pool = pool;
	client->mm = current->mm;
	mmgrab(client->mm);
	file->private_data = client;
	/* one address space for all nodes of the pool, for the shrinker */
	file->f_mapping = pool->inode->i_mapping;
	return nonseekable_open(inode, file);
}

static int client_release_file(struct inode *inode, struct file *file)
{
	struct lfpool_client *client = file->private_data;

	kref_put(&client->ref, client_free);
	return 0;
}

/*
 * /proc/PID/fdinfo of a mapped file: who holds what. A child or a socket may
 * have the file still when its client is gone: then there is nobody to tell of.
 */
static void client_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct lfpool_client *client = file->private_data;
	struct lfpool_pool *pool = client->pool;
	struct lfpool_counters c;
	u32 held, cached;

	seq_printf(m, "lfpool-pool:\t%s\n", pool->name);
	mutex_lock(&pool->lock);
	if (!refcount_read(&client->vmas)) {
		mutex_unlock(&pool->lock);
		return;
	}
	held = lfpool_count_client(&pool->view, client->id, &cached);
	lfpool_stats_client(client, &c);
	mutex_unlock(&pool->lock);
	seq_printf(m, "lfpool-client:\t%u\n", client->id);
	seq_printf(m, "lfpool-pid:\t%d\n",
		   pid_nr_ns(client->pid, proc_pid_ns(file_inode(m->file)->i_sb)));
	seq_puts(m, "lfpool-comm:\t");
	seq_escape(m, client->comm, "\n\\");
	seq_putc(m, '\n');
	seq_printf(m, "lfpool-held:\t%u\n", held);
	seq_printf(m, "lfpool-cached:\t%u\n", cached);
	seq_printf(m, "lfpool-gets:\t%llu\n", c.gets);
	seq_printf(m, "lfpool-puts:\t%llu\n", c.puts);
	seq_printf(m, "lfpool-misses:\t%llu\n", c.misses);
	seq_printf(m, "lfpool-age-ms:\t%llu\n",
		   div_u64(ktime_get_boottime_ns() - client->since, NSEC_PER_MSEC));
}

const struct file_operations lfpool_fops = {
	.owner		= THIS_MODULE,
	.open		= client_open,
	.release	= client_release_file,
	.mmap		= client_mmap,
	.poll		= client_poll,
	.unlocked_ioctl	= client_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.show_fdinfo	= client_show_fdinfo,
};
