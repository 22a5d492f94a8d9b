// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stand-in for the module: module/client.c and module/grant.c in small, and
 * a back end for the library in front of it.
 */
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"
#include "standin.h"

struct standin_call *standin_deferred;
static struct standin *world;

void standin_init(struct standin *w)
{
	pthread_mutexattr_t attr;
	u32 i;

	memset(w, 0, sizeof(*w));
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&w->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	w->depot.head = LFPOOL_NONE;
	for (i = 0; i < STANDIN_THREADS; i++)
		w->slots[i].journal = LFPOOL_NONE;
	for (i = 0; i < STANDIN_COUNT; i++) {
		w->descs[i].next = LFPOOL_NONE;
		__set_bit(i, w->present);
		__set_bit(i, w->kernel);
	}
	world = w;
}

/* Made anew each time: a copy of the pool has its own. */
struct lfpool_view standin_view(struct standin *w)
{
	return (struct lfpool_view) {
		.depot = &w->depot,
		.slots = w->slots,
		.descs = w->descs,
		.count = STANDIN_COUNT,
		.threads = STANDIN_THREADS,
		.present = w->present,
		.kernel = w->kernel,
		.owner = w->owner,
		.clients = w->clients,
		.clients_nr = w->clients_nr,
		.word = w->word,
		.chained = w->chained,
		.journaled = w->journaled,
		.mark = w->mark,
		.reclaim = w->reclaim,
	};
}

/*
 * The module. The caller holds the lock.
 */

/* As lfpool_settle(): what the engine took back is the reserve's. */
u32 standin_settle(struct standin *w)
{
	u32 i, n = 0;

	for_each_set_bit(i, w->reclaim, STANDIN_COUNT) {
		__clear_bit(i, w->reclaim);
		set_bit(i, w->kernel);
		n++;
	}
	return n;
}

static void slot_clear(struct standin *w, u32 slot)
{
	struct lfpool_slot *s = &w->slots[slot];
	u32 k;

	/* a thread of the dead may be read by an audit in a test with threads */
	WRITE_ONCE(s->busy, 0);
	WRITE_ONCE(s->revoked, 0);
	WRITE_ONCE(s->n, 0);
	WRITE_ONCE(s->journal, LFPOOL_NONE);
	for (k = 0; k < LFPOOL_CACHE_MAX; k++)
		WRITE_ONCE(s->item[k], 0);
	w->owner[slot] = 0;
}

static int slot_attach(struct standin *w, u32 client)
{
	u32 slot;

	for (slot = 0; slot < STANDIN_THREADS; slot++) {
		if (w->owner[slot])
			continue;
		w->owner[slot] = client;
		return slot;
	}
	return -EUSERS;
}

static void slot_detach(struct standin *w, u32 client, u32 slot)
{
	struct lfpool_view v = standin_view(w);

	if (slot >= STANDIN_THREADS || w->owner[slot] != client)
		return;
	lfpool_drain_cache(&v, slot, client);
	standin_settle(w);
	slot_clear(w, slot);
}

static u32 reserve_take(struct standin *w, u32 *items, u32 n)
{
	u32 i, got = 0;

	for_each_set_bit(i, w->kernel, STANDIN_COUNT) {
		if (got == n)
			break;
		items[got++] = i;
	}
	return got;
}

/* As scavenge() in module/grant.c; membarrier() reaches this process only. */
static void scavenge(struct standin *w)
{
	struct lfpool_view v = standin_view(w);
	u32 taken = 0, s;

	for (s = 0; s < STANDIN_THREADS; s++) {
		if (w->owner[s] && (READ_ONCE(w->slots[s].n) || READ_ONCE(w->slots[s].busy)))
			WRITE_ONCE(w->slots[s].revoked, 1);
	}
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	for (s = 0; s < STANDIN_THREADS; s++) {
		if (!w->owner[s] || !READ_ONCE(w->slots[s].revoked))
			continue;
		/* (D) there */
		if (!smp_load_acquire(&w->slots[s].busy) && !taken)
			taken += lfpool_drain_cache(&v, s, w->owner[s]);
		/* the thread sees what was done to its cache */
		smp_store_release(&w->slots[s].revoked, 0);
	}
	standin_settle(w);
}

static int grant(struct standin *w, u32 client, u32 *items, u32 n)
{
	struct lfpool_view v = standin_view(w);
	u32 got, k;

	got = reserve_take(w, items, n);
	if (!got && lfpool_drain_depot(&v)) {
		standin_settle(w);
		got = reserve_take(w, items, n);
	}
	if (!got && w->scavenging) {
		scavenge(w);
		got = reserve_take(w, items, n);
	}
	for (k = 0; k < got; k++) {
		u64 *word = (u64 *)&w->descs[items[k]].word;

		WRITE_ONCE(*word, (READ_ONCE(*word) & ~0xffffffffULL) | client);
		clear_bit(items[k], w->kernel);
	}
	return got ? (int)got : -ENOBUFS;
}

static int take_back(struct standin *w, u32 client, const u32 *items, u32 n)
{
	u32 k;

	for (k = 0; k < n; k++) {
		u64 *word = (u64 *)&w->descs[items[k]].word;
		u64 old = READ_ONCE(*word);
		u64 new = ((old >> LFPOOL_WORD_GEN_SHIFT) + 1) << LFPOOL_WORD_GEN_SHIFT;

		if ((old & LFPOOL_WORD_OWNER) != client ||
		    cmpxchg(word, old, new | LFPOOL_OWNER_RESERVE) != old)
			return -ESTALE;
		set_bit(items[k], w->kernel);
	}
	return 0;
}

static u32 connect_locked(struct standin *w)
{
	if (w->clients_nr == STANDIN_CLIENTS)
		return 0;
	w->clients[w->clients_nr++] = ++w->last_id;
	return w->last_id;
}

/* As lfpool_recover_work() */
static u32 died_locked(struct standin *w, const u32 *dead, u32 nr, u32 *deferred)
{
	struct lfpool_view v = standin_view(w);
	u32 ids[STANDIN_CLIENTS], taken[STANDIN_CLIENTS];
	u32 n, d, k;

	/* ascending */
	for (d = 0; d < nr; d++) {
		for (k = d; k && ids[k - 1] > dead[d]; k--)
			ids[k] = ids[k - 1];
		ids[k] = dead[d];
	}
	for (d = 0; d < nr; d++) {
		for (k = 0; k < STANDIN_THREADS; k++) {
			if (w->owner[k] == dead[d])
				slot_clear(w, k);
		}
	}
	n = lfpool_recover_orphans(&v, deferred);
	w->deferred = *deferred;
	standin_settle(w);
	n += lfpool_recover_held(&v, ids, nr, taken);
	standin_settle(w);
	for (d = 0; d < nr; d++) {
		for (k = 0; k < w->clients_nr && w->clients[k] != dead[d]; k++)
			;
		if (k == w->clients_nr)
			continue;
		w->clients_nr--;
		for (; k < w->clients_nr; k++)
			w->clients[k] = w->clients[k + 1];
	}
	return n;
}

/*
 * The same for those who do not hold it.
 */

u32 standin_connect(struct standin *w)
{
	u32 id;

	pthread_mutex_lock(&w->lock);
	id = connect_locked(w);
	pthread_mutex_unlock(&w->lock);
	return id;
}

/* The clients in @dead died. Returns how many buffers came back. */
u32 standin_died(struct standin *w, const u32 *dead, u32 nr, u32 *deferred)
{
	u32 n;

	pthread_mutex_lock(&w->lock);
	n = died_locked(w, dead, nr, deferred);
	pthread_mutex_unlock(&w->lock);
	return n;
}

/* The worker looks again. */
u32 standin_orphans(struct standin *w, u32 *deferred)
{
	return standin_died(w, NULL, 0, deferred);
}

u32 standin_drain_depot(struct standin *w)
{
	struct lfpool_view v;
	u32 n;

	pthread_mutex_lock(&w->lock);
	v = standin_view(w);
	n = lfpool_drain_depot(&v);
	standin_settle(w);
	pthread_mutex_unlock(&w->lock);
	return n;
}

struct lfpool_audit standin_audit(struct standin *w)
{
	struct lfpool_audit a = { .size = sizeof(a) };
	struct lfpool_view v;

	pthread_mutex_lock(&w->lock);
	v = standin_view(w);
	lfpool_engine_audit(&v, &a);
	/* not lost: the worker will look again, whatever journals say by now */
	if (w->deferred) {
		a.transit += a.lost;
		a.lost = 0;
	}
	pthread_mutex_unlock(&w->lock);
	return a;
}

void standin_serve(struct standin *w, struct standin_call *call)
{
	struct lfpool_view v;
	u32 deferred;

	pthread_mutex_lock(&w->lock);
	switch (call->nr) {
	case STANDIN_OPEN:
		call->client = connect_locked(w);
		call->ret = call->client ? 0 : -EMFILE;
		break;
	case STANDIN_ATTACH:
		call->ret = slot_attach(w, call->client);
		break;
	case STANDIN_DETACH:
		slot_detach(w, call->client, call->n);
		break;
	case STANDIN_REFILL:
		call->ret = grant(w, call->client, call->items, call->n);
		break;
	case STANDIN_RELEASE:
		call->ret = take_back(w, call->client, call->items, call->n);
		break;
	case STANDIN_AUDIT:
		v = standin_view(w);
		lfpool_engine_audit(&v, &call->audit);
		break;
	case STANDIN_STATS:
		call->reserve = bitmap_weight(w->kernel, STANDIN_COUNT);
		break;
	case STANDIN_CLOSE:
		died_locked(w, &call->client, 1, &deferred);
		break;
	}
	/* what was done is there before the caller sees that it was */
	smp_store_release(&call->nr, STANDIN_NONE);
	pthread_mutex_unlock(&w->lock);
}

/*
 * The library's back end
 */

/* Where a call of this thread has its arguments: its tracer must find them. */
static struct standin_call *new_call(u32 client, u32 n)
{
	static __thread struct standin_call own;
	struct standin_call *call = standin_deferred ? standin_deferred : &own;

	call->client = client;
	call->n = n;
	return call;
}

/* A system call: for who is stepped, it happens between two steps. */
static void enter_kernel(struct standin_call *call, u32 nr)
{
	WRITE_ONCE(call->nr, nr);
	if (call != standin_deferred)
		standin_serve(world, call);
	while (READ_ONCE(call->nr) != STANDIN_NONE)
		;
}

static int standin_attach(struct lfpool *pool, __u32 *slot)
{
	struct standin_call *call = new_call(pool->client, 0);

	enter_kernel(call, STANDIN_ATTACH);
	if (call->ret < 0)
		return call->ret;
	*slot = call->ret;
	return 0;
}

static void standin_detach(struct lfpool *pool, __u32 slot)
{
	enter_kernel(new_call(pool->client, slot), STANDIN_DETACH);
}

static int standin_refill(struct lfpool *pool, __u32 *items, unsigned int n,
			  unsigned int flags, unsigned int *grown)
{
	struct standin_call *call = new_call(pool->client, n);
	int k;

	(void)flags;
	*grown = 0;
	enter_kernel(call, STANDIN_REFILL);
	for (k = 0; k < call->ret; k++)
		items[k] = call->items[k];
	return call->ret;
}

static int standin_release(struct lfpool *pool, const __u32 *items, unsigned int n,
			   unsigned int flags)
{
	struct standin_call *call = new_call(pool->client, n);
	unsigned int k;

	(void)flags;
	for (k = 0; k < n; k++)
		call->items[k] = items[k];
	enter_kernel(call, STANDIN_RELEASE);
	return call->ret;
}

static int standin_wait(struct lfpool *pool, int64_t timeout_ns, __u32 *item)
{
	(void)pool;
	(void)timeout_ns;
	(void)item;
	return -ETIMEDOUT;
}

static void standin_wake(struct lfpool *pool)
{
	(void)pool;
}

/* Only what lfpool_prefill() needs. */
static int standin_stats(struct lfpool *pool, struct lfpool_stats *stats)
{
	struct standin_call *call = new_call(pool->client, 0);

	enter_kernel(call, STANDIN_STATS);
	stats->reserve = call->reserve;
	return 0;
}

static int standin_reset_stats(struct lfpool *pool)
{
	(void)pool;
	return 0;
}

static int standin_ask_audit(struct lfpool *pool, struct lfpool_audit *audit)
{
	struct standin_call *call = new_call(pool->client, 0);

	call->audit = *audit;
	enter_kernel(call, STANDIN_AUDIT);
	*audit = call->audit;
	return 0;
}

static int standin_fd(const struct lfpool *pool)
{
	(void)pool;
	return -EOPNOTSUPP;
}

static void standin_close(struct lfpool *pool)
{
	enter_kernel(new_call(pool->client, 0), STANDIN_CLOSE);
}

const struct lfp_ops lfp_device_ops = {
	.attach = standin_attach,
	.detach = standin_detach,
	.refill = standin_refill,
	.release = standin_release,
	.wait = standin_wait,
	.wake = standin_wake,
	.stats = standin_stats,
	.reset_stats = standin_reset_stats,
	.audit = standin_ask_audit,
	.fd = standin_fd,
	.close = standin_close,
};

/* What lfpool_open() calls. */
int lfp_device_open(struct lfpool *pool, const char *name)
{
	struct standin_call *call = new_call(0, 0);
	int err;

	(void)name;
	enter_kernel(call, STANDIN_OPEN);
	if (call->ret)
		return call->ret;
	pool->info = (struct lfpool_info) {
		.size = sizeof(pool->info),
		.abi = LFPOOL_ABI,
		.client = call->client,
		.mmap_size = sizeof(*world),
		.depot_offset = offsetof(struct standin, depot),
		.slot_offset = offsetof(struct standin, slots),
		.desc_offset = offsetof(struct standin, descs),
		.data_offset = offsetof(struct standin, data),
		.buffer_size = STANDIN_STRIDE,
		.stride = STANDIN_STRIDE,
		.slot_stride = sizeof(struct lfpool_slot),
		.desc_stride = sizeof(struct lfpool_desc),
		.buffer_count = STANDIN_COUNT,
		.max_count = STANDIN_COUNT,
		.max_threads = STANDIN_THREADS,
		.batch = STANDIN_BATCH,
		.name = "standin",
	};
	err = lfp_map(pool, (unsigned char *)world);
	if (!err)
		pool->ops = &lfp_device_ops;
	return err;
}

/* There is only this one back end. */
int lfp_embedded_open(struct lfpool *pool, const struct lfpool_config *config, bool inherit)
{
	(void)pool;
	(void)config;
	(void)inherit;
	return -ENOENT;
}
