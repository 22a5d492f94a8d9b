// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hostile shared state: a client writes what it likes, where it can.
 *
 * All clients of a pool share its state, so one of them can spoil the pool for
 * the others. It must not get further: the kernel neither loops nor warns nor
 * leaks, whatever it reads there; every call returns; no pool grows beyond its
 * limit; the numbers stay within bounds; other pools do not notice; the audit
 * tells of the damage; and a pool that is made anew is as good as any.
 *
 * damage:  one kind of damage at a time, on a pool that is quiet, so that it is
 *          known exactly what the audit must say. Then every call on it.
 * forgery: what one can gain by lies about who owns what.
 * storm:   random damage by several at once, while others run and die.
 *          LFPOOL_SEED=number repeats one, LFPOOL_STORM_SECONDS makes them longer.
 *
 * vm: insmod=no timeout=400 smp=2
 */
#include "lfpool_test.h"

#include <lfpool.h>
#include <poll.h>

#define POOL		"simd"
#define OTHER		"compression"
#define BUFFERS		64U
#define MOST		96U
#define THREADS		16U
#define BATCH		8U
#define ARGS		"buffer_count=64 max_count=96 max_threads=16 "	\
			"serialization_size=4096 compression_size=4096"

/* seconds that one call may take at most, on a busy emulated machine; more on a slow kernel */
#define LIMIT		10
#define DEADLINE	20
#define TIMEOUT		120

/*
 * Within bounds
 */

static bool stats_sane(const struct lfpool_stats *s)
{
	if (s->size == sizeof(*s) && s->capacity >= BUFFERS && s->capacity <= MOST &&
	    s->available + s->in_use + s->quarantined == s->capacity &&
	    s->available <= s->capacity && s->in_use <= s->capacity &&
	    s->reserve <= s->capacity && s->quarantined <= s->capacity &&
	    s->cached <= THREADS * LFPOOL_CACHE_MAX && s->peak_granted <= MOST &&
	    s->threads <= THREADS && s->hit_rate_ppm <= 1000000 &&
	    s->buffer_count == BUFFERS && s->max_count == MOST)
		return true;
	fprintf(stderr, "# stats: capacity %llu, available %llu, in_use %llu, quarantined %llu, "
		"reserve %llu, cached %llu, peak %llu, threads %llu, rate %llu\n",
		(unsigned long long)s->capacity, (unsigned long long)s->available,
		(unsigned long long)s->in_use, (unsigned long long)s->quarantined,
		(unsigned long long)s->reserve, (unsigned long long)s->cached,
		(unsigned long long)s->peak_granted, (unsigned long long)s->threads,
		(unsigned long long)s->hit_rate_ppm);
	return false;
}

static bool audit_sane(const struct lfpool_audit *a)
{
	if (a->size == sizeof(*a) && a->capacity >= BUFFERS && a->capacity <= MOST &&
	    a->reserve + a->quarantined + a->depot + a->cached + a->held + a->transit + a->lost ==
	    a->capacity && a->exact <= 1)
		return true;
	fprintf(stderr, "# audit: capacity %llu, reserve %llu, quarantined %llu, depot %llu, "
		"cached %llu, held %llu, transit %llu, lost %llu\n",
		(unsigned long long)a->capacity, (unsigned long long)a->reserve,
		(unsigned long long)a->quarantined, (unsigned long long)a->depot,
		(unsigned long long)a->cached, (unsigned long long)a->held,
		(unsigned long long)a->transit, (unsigned long long)a->lost);
	return false;
}

static bool audit_clean(const char *pool)
{
	struct lfpool_audit a = audit_of(pool);

	return a.size && a.exact && !a.lost && !a.duplicate && !a.damaged && !a.transit;
}

/* A pool that nobody has used or spoilt. */
static bool pristine(const char *pool)
{
	struct lfpool_audit a = audit_of(pool);

	return audit_clean(pool) && a.capacity == BUFFERS && a.reserve == BUFFERS;
}

static volatile struct lfpool_depot *depot_of(const struct client *c)
{
	return (void *)(c->map + c->info.depot_offset);
}

/*
 * A pool of known contents
 */

#define HELD		8U
#define CACHED		6U
#define BATCHES		3U

FIXTURE(state) {
	struct client c;
	int slot;
	uint32_t held[HELD];
	uint32_t cached[CACHED];
	uint32_t batch[BATCHES][BATCH];	/* in the order of the depot; [0] leads */
	uint32_t spare;			/* one that is in the reserve */
};

/* Make a batch of the depot of buffers that we hold, as a library would. */
static void push(const struct client *c, const uint32_t *items, unsigned int n)
{
	volatile struct lfpool_depot *depot = depot_of(c);
	volatile struct lfpool_desc *d = client_desc(c, items[0]);
	unsigned int k;

	for (k = 1; k < n; k++)
		d->item[k - 1] = items[k];
	d->count = n - 1;
	d->word = ((d->word >> LFPOOL_WORD_GEN_SHIFT) + 1) << LFPOOL_WORD_GEN_SHIFT |
		  LFPOOL_OWNER_DEPOT;
	d->next = depot->head & LFPOOL_HEAD_INDEX;
	depot->head = ((depot->head & ~LFPOOL_HEAD_INDEX) + LFPOOL_HEAD_TAG_ONE) | items[0];
}

FIXTURE_SETUP(state)
{
	volatile struct lfpool_slot *slot;
	uint32_t items[BUFFERS], k, b;
	uint64_t used = 0;

	ASSERT_EQ(0, module_fresh(ARGS));
	ASSERT_EQ(0, client_open(&self->c, POOL));
	self->slot = do_attach(self->c.fd);
	ASSERT_LE(0, self->slot);
	k = HELD + CACHED + BATCHES * BATCH;
	ASSERT_EQ(k, do_refill(self->c.fd, 0, items, k));
	while (k--)
		used |= 1ULL << items[k];
	self->spare = __builtin_ctzll(~used);

	memcpy(self->held, items, sizeof(self->held));
	memcpy(self->cached, items + HELD, sizeof(self->cached));
	memcpy(self->batch, items + HELD + CACHED, sizeof(self->batch));
	slot = client_slot(&self->c, self->slot);
	for (k = 0; k < CACHED; k++)
		slot->item[k] = self->cached[k];
	slot->n = CACHED;
	for (b = BATCHES; b--;)
		push(&self->c, self->batch[b], BATCH);
}

FIXTURE_TEARDOWN(state)
{
	client_close(&self->c);
	EXPECT_TRUE(wait_until(module_unload() == 0, DEADLINE));
	EXPECT_STREQ("", module_traces());
}

/*
 * Damage
 */

FIXTURE(damage) {
	FIXTURE_DATA(state) state;
};

/*
 * @far: who believes it reads or writes where nothing of the pool is
 * @plant: does the damage
 * @lost, @duplicate: what the audit must find, exactly
 * @damaged: what it must find, at least
 * @silent: damage that only matters to the threads themselves
 */
FIXTURE_VARIANT(damage) {
	bool far;
	void (*plant)(FIXTURE_DATA(state) *s);
	unsigned int lost;
	unsigned int duplicate;
	unsigned int damaged;
	bool silent;
};

/*
 * Where rounds are left out, one in five: others on each kernel; and with KASAN whatever
 * might lead out of bounds.
 */
static bool damage_is_spared(const struct __fixture_metadata *f, const void *data, unsigned int nr)
{
	const FIXTURE_VARIANT(damage) *variant = data;

	if (round_step() == 1 || strcmp(f->name, "damage") ||
	    (variant->far && debug_is("kasan")))
		return false;
	return nr % 5 != turn();
}

FIXTURE_SETUP(damage)
{
	state_setup(_metadata, &self->state, NULL);
}

FIXTURE_TEARDOWN(damage)
{
	state_teardown(_metadata, &self->state, NULL);
}

static volatile struct lfpool_desc *leader(FIXTURE_DATA(state) *s, unsigned int b)
{
	return client_desc(&s->c, s->batch[b][0]);
}

static volatile struct lfpool_slot *slot(FIXTURE_DATA(state) *s)
{
	return client_slot(&s->c, s->slot);
}

static void set_head(FIXTURE_DATA(state) *s, uint32_t index)
{
	volatile struct lfpool_depot *depot = depot_of(&s->c);

	depot->head = (depot->head & ~LFPOOL_HEAD_INDEX) | index;
}

static void set_owner(FIXTURE_DATA(state) *s, uint32_t item, uint32_t owner)
{
	volatile struct lfpool_desc *d = client_desc(&s->c, item);

	d->word = (d->word & ~0xffffffffULL) | owner;
}

#define DAMAGE(name, statement, ...)					\
	static void plant_##name(FIXTURE_DATA(state) *s)		\
	{								\
		statement;						\
	}								\
	FIXTURE_VARIANT_ADD(damage, name) {				\
		.plant = plant_##name, __VA_ARGS__			\
	}

#define DEPOT_ALL	(BATCHES * BATCH)

/* the depot's head */
DAMAGE(head_out_of_range, set_head(s, MOST), .damaged = 1, .lost = DEPOT_ALL, .far = true);
DAMAGE(head_far_out, set_head(s, LFPOOL_NONE - 1), .damaged = 1, .lost = DEPOT_ALL, .far = true);
DAMAGE(head_not_there_yet, set_head(s, BUFFERS), .damaged = 1, .lost = DEPOT_ALL);
DAMAGE(head_held, set_head(s, s->held[0]), .damaged = 1, .lost = DEPOT_ALL);
DAMAGE(head_cached, set_head(s, s->cached[0]), .damaged = 1, .lost = DEPOT_ALL);
DAMAGE(head_free, set_head(s, s->spare), .damaged = 1, .lost = DEPOT_ALL);
DAMAGE(head_member, set_head(s, s->batch[0][1]), .damaged = 1, .lost = DEPOT_ALL);
DAMAGE(head_cut, set_head(s, LFPOOL_NONE), .lost = DEPOT_ALL);
DAMAGE(head_skips, set_head(s, s->batch[1][0]), .lost = BATCH);
DAMAGE(head_garbage, depot_of(&s->c)->head = ~0ULL - 5, .damaged = 1, .lost = DEPOT_ALL, .far = 1);
/* a buffer of the reserve that poses as a batch of one, and ends the depot */
DAMAGE(head_free_forged, ({
	set_owner(s, s->spare, LFPOOL_OWNER_DEPOT);
	client_desc(&s->c, s->spare)->count = 0;
	client_desc(&s->c, s->spare)->next = LFPOOL_NONE;
	set_head(s, s->spare);
}), .duplicate = 1, .lost = DEPOT_ALL);
/* and one that does so in front of it */
DAMAGE(head_free_linked, ({
	set_owner(s, s->spare, LFPOOL_OWNER_DEPOT);
	client_desc(&s->c, s->spare)->count = 0;
	client_desc(&s->c, s->spare)->next = s->batch[0][0];
	set_head(s, s->spare);
}), .duplicate = 1);

/* links */
DAMAGE(cycle_of_one, leader(s, 0)->next = s->batch[0][0], .damaged = 1, .lost = 2 * BATCH);
DAMAGE(cycle_of_two, leader(s, 1)->next = s->batch[0][0], .damaged = 1, .lost = BATCH);
DAMAGE(cycle_of_all, leader(s, 2)->next = s->batch[0][0], .damaged = 1);
DAMAGE(cycle_at_the_end, leader(s, 2)->next = s->batch[2][0], .damaged = 1);
DAMAGE(next_out_of_range, leader(s, 0)->next = MOST, .damaged = 1, .lost = 2 * BATCH, .far = true);
DAMAGE(next_far_out, leader(s, 0)->next = ~0U, .damaged = 1, .lost = 2 * BATCH, .far = true);
DAMAGE(next_not_there_yet, leader(s, 0)->next = MOST - 1, .damaged = 1, .lost = 2 * BATCH);
DAMAGE(next_held, leader(s, 1)->next = s->held[3], .damaged = 1, .lost = BATCH);

/* the list of a batch; its members carry our id, so else they are held */
DAMAGE(count_too_large, leader(s, 0)->count = LFPOOL_BATCH_MAX, .damaged = 1, .far = true);
DAMAGE(count_garbage, leader(s, 2)->count = ~0U, .damaged = 1, .far = true);
DAMAGE(member_out_of_range, leader(s, 0)->item[0] = MOST, .damaged = 1, .far = true);
DAMAGE(member_far_out, leader(s, 0)->item[6] = ~0U, .damaged = 1, .far = true);
DAMAGE(member_not_there_yet, leader(s, 0)->item[3] = BUFFERS + 1, .damaged = 1);
DAMAGE(member_twice, leader(s, 0)->item[2] = s->batch[0][2], .duplicate = 1);
DAMAGE(member_leads, leader(s, 0)->item[2] = s->batch[0][0], .duplicate = 1);
DAMAGE(member_of_two, leader(s, 0)->item[2] = s->batch[1][3], .duplicate = 1);
DAMAGE(member_leads_another, leader(s, 0)->item[2] = s->batch[1][0], .duplicate = 1);
DAMAGE(member_free, leader(s, 0)->item[2] = s->spare, .duplicate = 1);
DAMAGE(member_cached, leader(s, 0)->item[2] = s->cached[2], .duplicate = 1);

/* owner words */
DAMAGE(leader_ours, set_owner(s, s->batch[1][0], s->c.info.client), .damaged = 1, .lost = BATCH);
DAMAGE(leader_kernel, set_owner(s, s->batch[2][0], LFPOOL_OWNER_RESERVE), .damaged = 1, .lost = 1);
DAMAGE(held_reserve, set_owner(s, s->held[0], LFPOOL_OWNER_RESERVE), .lost = 1);
DAMAGE(held_dead, set_owner(s, s->held[0], 0x0abcdefU), .lost = 1);
DAMAGE(held_last_id, set_owner(s, s->held[0], LFPOOL_CLIENT_MAX), .lost = 1);
DAMAGE(held_depot, ({
	set_owner(s, s->held[0], LFPOOL_OWNER_DEPOT);
	client_desc(&s->c, s->held[0])->count = 0;
}), .lost = 1);
DAMAGE(held_garbage, ({
	client_desc(&s->c, s->held[0])->word = ~0ULL;
	client_desc(&s->c, s->held[0])->count = ~0U;
}), .lost = 1, .damaged = 1);
DAMAGE(held_all_dead, ({
	for (unsigned int k = 0; k < HELD; k++)
		set_owner(s, s->held[k], s->c.info.client + 1000);
}), .lost = HELD);

/* caches */
DAMAGE(cache_too_large, slot(s)->n = LFPOOL_CACHE_MAX + 1, .damaged = 1, .far = true);
DAMAGE(cache_garbage, slot(s)->n = ~0U, .damaged = 1, .far = true);
DAMAGE(cached_out_of_range, slot(s)->item[0] = MOST, .damaged = 1, .far = true);
DAMAGE(cached_far_out, slot(s)->item[5] = ~0U, .damaged = 1, .far = true);
DAMAGE(cached_not_there_yet, slot(s)->item[5] = MOST - 1, .damaged = 1);
DAMAGE(cached_twice, slot(s)->item[1] = s->cached[0], .duplicate = 1);
DAMAGE(cached_free, slot(s)->item[1] = s->spare, .duplicate = 1);
DAMAGE(cached_leads, slot(s)->item[1] = s->batch[0][0], .duplicate = 1);
DAMAGE(cached_full_of_one, ({
	for (unsigned int k = 0; k < LFPOOL_CACHE_MAX; k++)
		slot(s)->item[k] = s->cached[0];
	slot(s)->n = LFPOOL_CACHE_MAX;
}), .duplicate = LFPOOL_CACHE_MAX - 1);

/* what the kernel reads, too, but what no buffer hangs on */
DAMAGE(journal_garbage, slot(s)->journal = 0xdeadbeef, .silent = true, .far = true);
DAMAGE(journal_leader, slot(s)->journal = s->batch[1][0], .silent = true);
DAMAGE(busy, slot(s)->busy = ~0U, .silent = true);
DAMAGE(revoked, slot(s)->revoked = ~0U, .silent = true);
DAMAGE(waiters, depot_of(&s->c)->waiters = ~0U, .silent = true);
DAMAGE(counters, memset((void *)&slot(s)->gets, 0xff, 14 * sizeof(uint64_t)), .silent = true);
DAMAGE(free_slots, ({
	for (unsigned int k = 1; k < THREADS; k++)
		memset((void *)client_slot(&s->c, k), 0xa5, sizeof(struct lfpool_slot));
}), .silent = true);
DAMAGE(descriptors_to_come, ({
	for (unsigned int k = BUFFERS; k < MOST; k++) {
		memset((void *)client_desc(&s->c, k), 0xff, sizeof(struct lfpool_desc));
		client_desc(&s->c, k)->word = LFPOOL_OWNER_DEPOT;
	}
}), .silent = true);
DAMAGE(header, memset(s->c.map, 0x5a, 4096), .silent = true);

/* Everything between the header and the data that a client can write. */
static size_t shared_size(const struct client *c)
{
	return c->info.desc_offset + (size_t)c->info.max_count * c->info.desc_stride;
}

TEST_F_TIMEOUT(damage, is_reported, TIMEOUT)
{
	FIXTURE_DATA(state) *s = &self->state;
	size_t size = shared_size(&s->c);
	struct lfpool_audit a, b;
	unsigned char *saved;

	b = audit_of(POOL);
	ASSERT_TRUE(audit_sane(&b));
	ASSERT_TRUE(audit_clean(POOL));
	EXPECT_EQ(HELD, b.held);
	EXPECT_EQ(CACHED, b.cached);
	EXPECT_EQ(BATCHES * BATCH, b.depot);

	saved = malloc(size);
	memcpy(saved, s->c.map, size);
	variant->plant(s);
	a = audit_of(POOL);
	EXPECT_TRUE(audit_sane(&a));
	EXPECT_EQ(variant->lost, a.lost);
	EXPECT_EQ(variant->duplicate, a.duplicate);
	EXPECT_LE(variant->damaged, a.damaged);
	if (!variant->damaged) {
		EXPECT_EQ(0, a.damaged);
	}
	EXPECT_NE(variant->silent, !!(a.lost + a.duplicate + a.damaged));
	/* it looked, and did nothing */
	if (!variant->silent) {
		EXPECT_EQ(1, a.exact);
	}

	memcpy(s->c.map, saved, size);
	a = audit_of(POOL);
	EXPECT_EQ(0, memcmp(&a, &b, sizeof(a)));
	free(saved);
}

/*
 * A stopwatch for calls
 */
static uint64_t slowest_ns;

#define timed(call) ({							\
	uint64_t __start = now_ns();					\
	__typeof__(call) __ret = (call);				\
									\
	__start = now_ns() - __start;					\
	if (__start > slowest_ns)					\
		slowest_ns = __start;					\
	__ret;								\
})

static int read_fdinfo(int fd)
{
	char path[64], text[1024];
	ssize_t n;
	int info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return -errno;
	n = read(info, text, sizeof(text));
	close(info);
	return n < 0 ? -errno : 0;
}

static int do_poll(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0);
}

static bool sane(int fd, struct lfpool_stats *st)
{
	struct lfpool_audit a;

	return !timed(do_stats(fd, st)) && stats_sane(st) &&
	       !timed(do_audit(fd, &a)) && audit_sane(&a);
}

/* Every way into the kernel that reads the shared state, on a spoilt pool. */
TEST_F_TIMEOUT(damage, is_survived, TIMEOUT)
{
	FIXTURE_DATA(state) *s = &self->state;
	uint32_t items[LFPOOL_XFER_MAX], taken[2 * MOST], nr = 0, k;
	struct lfpool_stats st;
	struct lfpool_info info;
	uint64_t seen[2] = { 0 };
	struct client c;
	pid_t pid;
	int n;

	slowest_ns = 0;
	variant->plant(s);
	EXPECT_TRUE(sane(s->c.fd, &st));
	EXPECT_EQ(0, timed(do_info(s->c.fd, &info)));
	EXPECT_EQ(0, memcmp(&info, &s->c.info, sizeof(info)));
	EXPECT_LE(0, timed(do_poll(s->c.fd)));
	EXPECT_EQ(0, timed(read_fdinfo(s->c.fd)));

	/* somebody comes, who finds it so, and dies */
	pid = child_fork();
	if (!pid) {
		volatile struct lfpool_slot *own;

		child_assert(!client_open(&c, POOL));
		n = do_attach(c.fd);
		child_assert(n >= 0);
		child_assert(do_refill(c.fd, 0, items, 5) == 5);
		own = client_slot(&c, n);
		own->item[0] = items[4];
		own->n = 1;
		_exit(0);
	}
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_TRUE(wait_until(sane(s->c.fd, &st) && st.clients == 1, DEADLINE));

	/* exhausted by another one: depot, scavenge, growth */
	ASSERT_EQ(0, client_open(&c, POOL));
	while ((n = timed(do_refill(c.fd, 0, items, 7))) > 0) {
		for (k = 0; k < (uint32_t)n; k++) {
			ASSERT_LT(items[k], MOST);
			/* they carry our name, whatever was there before */
			EXPECT_EQ(c.info.client, (uint32_t)client_desc(&c, items[k])->word);
			/* who is listed as free while somebody has it is taken */
			if (!variant->duplicate) {
				EXPECT_EQ(0, seen[items[k] / 64] & 1ULL << items[k] % 64) {
					TH_LOG("buffer %u was given twice", items[k]);
				}
			}
			seen[items[k] / 64] |= 1ULL << items[k] % 64;
			ASSERT_LT(nr, ARRAY_SIZE(taken));
			taken[nr++] = items[k];
		}
		EXPECT_TRUE(sane(s->c.fd, &st));
	}
	EXPECT_EQ(-ENOBUFS, n);
	EXPECT_GE(MOST, nr);
	/* what was in the reserve when it began, and what it grew by */
	EXPECT_LE(BUFFERS - HELD - CACHED - BATCHES * BATCH + MOST - BUFFERS, nr);
	EXPECT_TRUE(sane(s->c.fd, &st));
	EXPECT_EQ(MOST, st.capacity);
	EXPECT_EQ(-ETIMEDOUT, timed(do_wait(c.fd, 0)));
	EXPECT_EQ(-ETIMEDOUT, timed(do_wait(c.fd, 30000000)));
	EXPECT_LE(0, timed(do_poll(c.fd)));
	EXPECT_EQ(0, timed(do_wake(c.fd)));
	for (k = 0; k < nr; k += 4) {
		n = timed(do_release(c.fd, 0, &taken[k], 1));
		EXPECT_TRUE(n == 1 || (n == -ESTALE && variant->duplicate));
	}
	EXPECT_TRUE(sane(s->c.fd, &st));
	client_close(&c);
	EXPECT_TRUE(wait_until(sane(s->c.fd, &st) && st.clients == 1, DEADLINE));

	/* the spoilt slot is given back, or not; its client goes */
	timed(do_detach(s->c.fd, s->slot));
	EXPECT_TRUE(sane(s->c.fd, &st));
	EXPECT_EQ(0, st.threads);
	client_close(&s->c);
	s->c.fd = -1;
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 0, DEADLINE));
	st = stats_of(POOL);
	EXPECT_TRUE(stats_sane(&st));
	EXPECT_EQ(0, st.cached);
	EXPECT_GT(LIMIT * 1000000000ULL * slow(), slowest_ns);
	EXPECT_TRUE(pristine(OTHER));
	EXPECT_TRUE(pristine("serialization"));

	/* a pool that is made anew is whole; where time is short the next test's will tell */
	if (round_step() > 1)
		return;
	EXPECT_TRUE(wait_until(module_unload() == 0, DEADLINE));
	ASSERT_EQ(0, module_load(ARGS));
	EXPECT_TRUE(pristine(POOL));
}

/*
 * Forgery
 */

FIXTURE(forgery) {
	FIXTURE_DATA(state) state;
	pid_t pid;
	uint32_t *items;	/* shared with the children */
};

FIXTURE_SETUP(forgery)
{
	state_setup(_metadata, &self->state, NULL);
	self->items = shared_alloc(4096);
	ASSERT_NE(NULL, self->items);
}

FIXTURE_TEARDOWN(forgery)
{
	if (self->pid)
		child_kill(self->pid);
	state_teardown(_metadata, &self->state, NULL);
}

/* Another client, which holds @n buffers. */
static void peer(FIXTURE_DATA(forgery) *self, unsigned int n)
{
	volatile uint32_t *there = &self->items[1000];

	*there = 0;
	self->pid = child_fork();
	if (!self->pid) {
		struct client c;

		child_assert(!client_open(&c, POOL));
		child_assert(do_refill(c.fd, 0, self->items, n) == (int)n);
		*there = 1;
		/* told to, it gives its buffers back, as far as they are its own */
		while (*there != 2)
			usleep(1000);
		self->items[1001] = do_release(c.fd, 0, self->items, n);
		*there = 3;
		for (;;)
			pause();
	}
	wait_until(*there == 1, DEADLINE);
}

static bool same_stats(const struct lfpool_stats *before)
{
	struct lfpool_stats now = stats_of(POOL);

	return !memcmp(before, &now, sizeof(now));
}

/* Nobody can give the kernel what it has already, or what is not there. */
TEST_F_TIMEOUT(forgery, release_of_the_reserve, TIMEOUT)
{
	FIXTURE_DATA(state) *s = &self->state;
	uint32_t none[2] = { s->spare, MOST }, item, k;
	struct lfpool_stats before = stats_of(POOL);

	for (k = 0; k < MOST; k++) {
		if (word_owner(client_desc(&s->c, k)->word) != LFPOOL_OWNER_RESERVE)
			continue;
		set_owner(s, k, s->c.info.client);
		EXPECT_EQ(-ESTALE, do_release(s->c.fd, 0, &k, 1));
	}
	EXPECT_TRUE(same_stats(&before));
	/* beyond the capacity, within max_count; and beyond that */
	for (item = BUFFERS; item < MOST; item++)
		EXPECT_EQ(-ESTALE, do_release(s->c.fd, 0, &item, 1));
	EXPECT_EQ(-EINVAL, do_release(s->c.fd, 0, none, 2));
	EXPECT_TRUE(same_stats(&before));
	/* one bad one spoils the call, and nothing has moved */
	none[0] = s->held[0];
	none[1] = s->spare;
	EXPECT_EQ(-ESTALE, do_release(s->c.fd, 0, none, 2));
	none[1] = s->held[0];
	EXPECT_EQ(-ESTALE, do_release(s->c.fd, 0, none, 2));
	EXPECT_TRUE(same_stats(&before));
	EXPECT_EQ(1, do_release(s->c.fd, 0, none, 1));
	EXPECT_EQ(-ESTALE, do_release(s->c.fd, 0, none, 1));
	EXPECT_EQ(before.available + 1, stats_of(POOL).available);
	EXPECT_EQ(before.reserve + 1, stats_of(POOL).reserve);
}

/* What a peer holds can be stolen from it: then it is not its own any more. */
TEST_F_TIMEOUT(forgery, release_of_what_others_hold, TIMEOUT)
{
	FIXTURE_DATA(state) *s = &self->state;
	struct lfpool_stats before;
	uint32_t k;

	peer(self, 10);
	before = stats_of(POOL);
	EXPECT_EQ(HELD + 10, before.in_use);
	EXPECT_EQ(-ESTALE, do_release(s->c.fd, 0, self->items, 10));
	EXPECT_TRUE(same_stats(&before));
	for (k = 0; k < 10; k++)
		set_owner(s, self->items[k], s->c.info.client);
	EXPECT_EQ(10, do_release(s->c.fd, 0, self->items, 10));
	EXPECT_EQ(HELD, stats_of(POOL).in_use);
	EXPECT_EQ(before.available + 10, stats_of(POOL).available);
	/* the loser is told, and takes nothing back */
	self->items[1000] = 2;
	ASSERT_TRUE(wait_until(((volatile uint32_t *)self->items)[1000] == 3, DEADLINE));
	EXPECT_EQ(-ESTALE, (int)self->items[1001]);
	EXPECT_EQ(before.available + 10, stats_of(POOL).available);
	child_kill(self->pid);
	self->pid = 0;
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 1, DEADLINE));
	EXPECT_EQ(before.available + 10, stats_of(POOL).available);
	EXPECT_EQ(0, stats_of(POOL).reclaimed);
	EXPECT_TRUE(audit_clean(POOL));
}

/*
 * A cache that lists what it has not: the kernel takes from it what is its
 * client's by the word, and no buffer twice.
 */
TEST_F_TIMEOUT(forgery, cache_of_what_others_hold, TIMEOUT)
{
	FIXTURE_DATA(state) *s = &self->state;
	struct lfpool_stats before;
	uint32_t k;

	peer(self, 10);
	before = stats_of(POOL);
	for (k = 0; k < LFPOOL_CACHE_MAX; k++)
		slot(s)->item[k] = k < 10 ? self->items[k] : k < 20 ? s->spare : s->cached[0];
	slot(s)->n = LFPOOL_CACHE_MAX;
	EXPECT_EQ(0, do_detach(s->c.fd, s->slot));
	/* cached[0] came back, once; the other five are not cached any more */
	EXPECT_EQ(before.reserve + 1, stats_of(POOL).reserve);
	EXPECT_EQ(0, stats_of(POOL).cached);
	EXPECT_EQ(HELD + CACHED - 1 + 10, stats_of(POOL).in_use);
	EXPECT_TRUE(audit_clean(POOL));
	self->items[1000] = 2;
	ASSERT_TRUE(wait_until(((volatile uint32_t *)self->items)[1000] == 3, DEADLINE));
	EXPECT_EQ(10, (int)self->items[1001]);
}

/*
 * Batches that are on their way for ever: their leaders say so, and journals
 * name them. They stay in suspense as long as their thread lives, and not a
 * moment longer; meanwhile deaths of others are dealt with.
 */
TEST_F_TIMEOUT(forgery, journals_that_keep_batches, TIMEOUT)
{
	FIXTURE_DATA(state) *s = &self->state;
	struct lfpool_audit a;
	uint32_t k;

	for (k = 0; k < 4; k++) {
		int nr = k ? do_attach(s->c.fd) : s->slot;

		ASSERT_LE(0, nr);
		set_owner(s, s->held[k], LFPOOL_OWNER_DEPOT);
		client_desc(&s->c, s->held[k])->count = 1;
		client_desc(&s->c, s->held[k])->item[0] = s->held[k + 4];
		client_slot(&s->c, nr)->journal = s->held[k];
	}
	a = audit_of(POOL);
	EXPECT_EQ(8, a.transit);
	EXPECT_EQ(0, a.lost);
	for (k = 1; k <= 3; k++) {
		peer(self, 5);
		child_kill(self->pid);
		self->pid = 0;
		EXPECT_TRUE(wait_until(stats_of(POOL).clients == 1, DEADLINE));
		EXPECT_EQ(5 * k, stats_of(POOL).reclaimed);
		a = audit_of(POOL);
		EXPECT_EQ(8, a.transit);
		EXPECT_EQ(0, a.lost + a.duplicate + a.damaged);
	}
	/* one of them is not named any more: it is an orphan, found without a death */
	slot(s)->journal = LFPOOL_NONE;
	EXPECT_TRUE(wait_until(audit_of(POOL).transit == 6 && !audit_of(POOL).lost, DEADLINE));
	EXPECT_EQ(15 + 2, stats_of(POOL).reclaimed);
	client_close(&s->c);
	s->c.fd = -1;
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 0, DEADLINE));
	EXPECT_TRUE(audit_clean(POOL));
	/* all but what is in the depot */
	EXPECT_EQ(BUFFERS - BATCHES * BATCH, stats_of(POOL).reserve);
	EXPECT_EQ(17 + 6 + CACHED, stats_of(POOL).reclaimed);
}

/*
 * Somebody changes the head as fast as can be, to no harm but that nobody
 * else gets a look at it that holds. Recovery takes what it can be sure of,
 * and all of it when that is over.
 */
TEST_F_TIMEOUT(forgery, head_that_never_rests, TIMEOUT)
{
	FIXTURE_DATA(state) *s = &self->state;
	volatile uint32_t *stop = &self->items[1002];
	const unsigned int deaths = 4 * rounds(5);
	struct lfpool_stats st;
	pid_t hammer[2];
	unsigned int k;

	for (k = 0; k < 2; k++) {
		hammer[k] = child_fork();
		if (!hammer[k]) {
			struct client c;

			child_assert(!client_open(&c, POOL));
			/* a correct change, so that the depot stays what it is */
			while (!*stop)
				__atomic_fetch_add((uint64_t *)&depot_of(&c)->head,
						   LFPOOL_HEAD_TAG_ONE, __ATOMIC_SEQ_CST);
			_exit(0);
		}
	}
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 3, DEADLINE));
	for (k = 1; k <= deaths; k++) {
		peer(self, 2);
		child_kill(self->pid);
		self->pid = 0;
		EXPECT_TRUE(wait_until(stats_of(POOL).clients == 3, DEADLINE));
		st = stats_of(POOL);
		EXPECT_TRUE(stats_sane(&st));
	}
	*stop = 1;
	EXPECT_EQ(0, child_wait(hammer[0]));
	EXPECT_EQ(0, child_wait(hammer[1]));
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 1, DEADLINE));
	client_close(&s->c);
	s->c.fd = -1;
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 0, DEADLINE));
	/* what was given up at first was looked at again */
	EXPECT_TRUE(wait_until(audit_clean(POOL), DEADLINE));
	EXPECT_EQ(BUFFERS, stats_of(POOL).available);
	EXPECT_EQ(deaths * 2 + HELD + CACHED, stats_of(POOL).reclaimed);
}

/* Names of those who are still to come. */
TEST_F_TIMEOUT(forgery, ids_of_the_future, TIMEOUT)
{
	FIXTURE_DATA(state) *s = &self->state;
	unsigned int k;

	for (k = 0; k < HELD; k++)
		set_owner(s, s->held[k], s->c.info.client + 1 + k / 4);
	EXPECT_EQ(HELD, audit_of(POOL).lost);
	for (k = 0; k < 2; k++) {
		/* it "holds" what it never got, until it dies */
		peer(self, 1);
		EXPECT_EQ(HELD - 4 * (k + 1), audit_of(POOL).lost);
		child_kill(self->pid);
		self->pid = 0;
		EXPECT_TRUE(wait_until(stats_of(POOL).clients == 1, DEADLINE));
		EXPECT_EQ(5 * (k + 1), stats_of(POOL).reclaimed);
	}
	EXPECT_TRUE(audit_clean(POOL));
}

static void ignore(int signal)
{
}

/* Waiting amid threads that say that they are busy, and never stop to. */
TEST_F_TIMEOUT(forgery, wait_for_the_busy, TIMEOUT)
{
	FIXTURE_DATA(state) *s = &self->state;
	struct itimerval timer = { .it_value.tv_usec = 100000 };
	struct sigaction action = { .sa_handler = ignore };
	uint32_t items[LFPOOL_XFER_MAX];
	struct lfpool_stats st;
	uint64_t start;
	int nr, n;
	pid_t pid;

	while ((nr = do_attach(s->c.fd)) >= 0) {
		client_slot(&s->c, nr)->busy = 1;
		client_slot(&s->c, nr)->n = LFPOOL_CACHE_MAX;
		for (n = 0; n < LFPOOL_CACHE_MAX; n++)
			client_slot(&s->c, nr)->item[n] = s->held[n % HELD];
	}
	EXPECT_EQ(-EUSERS, nr);
	slot(s)->busy = 1;
	slowest_ns = 0;
	while ((n = timed(do_refill(s->c.fd, 0, items, 64))) > 0)
		;
	EXPECT_EQ(-ENOBUFS, n);
	start = now_ns();
	EXPECT_EQ(-ETIMEDOUT, timed(do_wait(s->c.fd, 200000000)));
	EXPECT_LE(200000000ULL, now_ns() - start);
	st = stats_of(POOL);
	EXPECT_TRUE(stats_sane(&st));
	/* poll thinks that one of the busy might have something; it must not hang */
	EXPECT_LE(0, timed(do_poll(s->c.fd)));
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	EXPECT_EQ(-EINTR, timed(do_wait(s->c.fd, -1)));
	pid = child_fork();
	if (!pid) {
		struct client c;

		child_assert(!client_open(&c, POOL));
		do_wait(c.fd, -1);
		_exit(0);
	}
	usleep(100000);
	EXPECT_EQ(128 + SIGKILL, child_kill(pid));
	EXPECT_GT(LIMIT * 1000000000ULL * slow(), slowest_ns);
	EXPECT_TRUE(wait_until(depot_of(&s->c)->waiters <= 1, DEADLINE));
}

/*
 * Storm
 */

/* what a process of the storm is at */
struct part {
	volatile uint64_t since;	/* when its call began; 0: in none */
	volatile uint32_t call;
	volatile uint32_t calls;	/* how many it made */
	volatile uint64_t slowest;	/* ns */
};

#define ATTACKERS	3
#define CALLERS		3
#define HONEST		(ATTACKERS + CALLERS)	/* one, and one bystander */
#define PARTS		(HONEST + 2)

struct storm {
	struct part part[PARTS];
	volatile uint64_t writes;	/* words that were spoilt */
	volatile uint32_t bystander;	/* rounds of who uses the other pool */
	volatile uint32_t bystander_bad;
	volatile uint32_t wrong;	/* answers that no call may give */
};

/* what an attacker spoils */
enum {
	SPOIL_DEPOT	= 1,		/* head, next, count, item */
	SPOIL_WORDS	= 2,
	SPOIL_SLOTS	= 4,
	SPOIL_REST	= 8,		/* waiters, header, reserved fields */
};

FIXTURE(storm) {
	struct storm *s;
	uint32_t seed;
	uint32_t rng;
	unsigned int seconds;
	pid_t pid[PARTS];
	struct lfpool_info info;
};

FIXTURE_VARIANT(storm) {
	unsigned int what;
	bool fast;			/* nothing else, as fast as can be */
};

FIXTURE_VARIANT_ADD(storm, everything) { .what = ~0U, };
FIXTURE_VARIANT_ADD(storm, depot) { .what = SPOIL_DEPOT, };
FIXTURE_VARIANT_ADD(storm, words) { .what = SPOIL_WORDS, };
FIXTURE_VARIANT_ADD(storm, slots) { .what = SPOIL_SLOTS, };
FIXTURE_VARIANT_ADD(storm, depot_and_words_fast) {
	.what = SPOIL_DEPOT | SPOIL_WORDS, .fast = true,
};

FIXTURE_SETUP(storm)
{
	self->seed = setting("LFPOOL_SEED", (uint32_t)now_ns() | 1);
	self->seconds = setting("LFPOOL_STORM_SECONDS", 2);
	self->rng = self->seed;
	self->s = shared_alloc(sizeof(*self->s));
	ASSERT_NE(NULL, self->s);
	ASSERT_EQ(0, module_fresh(ARGS));
}

FIXTURE_TEARDOWN(storm)
{
	EXPECT_TRUE(wait_until(module_unload() == 0, DEADLINE));
	EXPECT_STREQ("", module_traces());
}

/* An index, or what could pass for one. */
static uint32_t some_index(uint32_t *rng)
{
	static const uint32_t odd[] = {
		LFPOOL_NONE, BUFFERS - 1, BUFFERS, MOST - 1, MOST, MOST + 1, 0, ~0U,
		LFPOOL_NONE - 1, LFPOOL_NONE + 1, 0x80000000, 0x1000000,
	};
	uint32_t r = random_next(rng);

	if (r % 4)
		return random_next(rng) % MOST;
	if (r % 8)
		return odd[r / 8 % ARRAY_SIZE(odd)];
	return random_next(rng);
}

static uint32_t some_count(uint32_t *rng)
{
	static const uint32_t odd[] = {
		0, 1, BATCH - 1, BATCH, LFPOOL_BATCH_MAX - 1, LFPOOL_BATCH_MAX, LFPOOL_CACHE_MAX,
		LFPOOL_CACHE_MAX + 1, ~0U, 0x80000000, 0x7fffffff,
	};
	uint32_t r = random_next(rng);

	return r % 8 ? odd[r / 8 % ARRAY_SIZE(odd)] : random_next(rng);
}

static uint64_t some_word(uint32_t *rng, const struct client *c)
{
	uint64_t generation = (uint64_t)(random_next(rng) % 4) << LFPOOL_WORD_GEN_SHIFT;
	uint32_t r = random_next(rng), flags = r % 16 ? 0 : random_next(rng) & LFPOOL_WORD_FLAGS;

	switch (r / 16 % 8) {
	case 0:
		return generation | flags | LFPOOL_OWNER_RESERVE;
	case 1:
	case 2:
		return generation | flags | LFPOOL_OWNER_DEPOT;
	case 3:
	case 4:
		return generation | flags | c->info.client;
	case 5:
		/* of the living, of the dead, of who is still to come */
		return generation | flags | random_next(rng) % (c->info.client + 3);
	case 6:
		return (uint64_t)random_next(rng) << 32 | random_next(rng);
	default:
		return generation | flags | LFPOOL_CLIENT_MAX;
	}
}

/* Leaders in a ring or a chain, each with some members, and the head on it. */
static void spoil_chain(const struct client *c, uint32_t *rng)
{
	uint32_t first = random_next(rng) % MOST, index = first, next, k;
	uint32_t length = 1 + random_next(rng) % 6;

	while (length--) {
		volatile struct lfpool_desc *d = client_desc(c, index);

		d->count = random_next(rng) % LFPOOL_BATCH_MAX;
		for (k = 0; k < d->count % LFPOOL_BATCH_MAX; k++)
			d->item[k] = random_next(rng) % MOST;
		next = length ? random_next(rng) % MOST :
		       random_next(rng) % 2 ? first : LFPOOL_NONE;
		d->next = next;
		d->word = (uint64_t)random_next(rng) << 32 | LFPOOL_OWNER_DEPOT;
		index = next % MOST;
	}
	depot_of(c)->head = (depot_of(c)->head & ~LFPOOL_HEAD_INDEX) + LFPOOL_HEAD_TAG_ONE + first;
}

static void spoil_depot(const struct client *c, uint32_t *rng)
{
	volatile struct lfpool_desc *d = client_desc(c, random_next(rng) % MOST);
	volatile struct lfpool_depot *depot = depot_of(c);
	uint32_t r = random_next(rng);

	switch (r % 8) {
	case 0:
		depot->head = (uint64_t)random_next(rng) << 24 |
			      (some_index(rng) & LFPOOL_HEAD_INDEX);
		break;
	case 1:
		/* the same tag again: what a tag is there to prevent */
		depot->head = (depot->head & ~LFPOOL_HEAD_INDEX) |
			      (some_index(rng) & LFPOOL_HEAD_INDEX);
		break;
	case 2:
		d->next = some_index(rng);
		break;
	case 3:
		d->count = some_count(rng);
		break;
	case 4:
	case 5:
		d->item[random_next(rng) % (LFPOOL_BATCH_MAX - 1)] = some_index(rng);
		break;
	default:
		spoil_chain(c, rng);
	}
}

static void spoil_slots(const struct client *c, uint32_t *rng)
{
	volatile struct lfpool_slot *s = client_slot(c, random_next(rng) % THREADS);

	switch (random_next(rng) % 8) {
	case 0:
		s->busy = random_next(rng) % 2 ? random_next(rng) % 2 : random_next(rng);
		break;
	case 1:
		s->revoked = random_next(rng) % 2 ? random_next(rng) % 2 : random_next(rng);
		break;
	case 2:
		s->n = some_count(rng);
		break;
	case 3:
		s->journal = some_index(rng);
		break;
	case 4:
		*(&s->gets + random_next(rng) % 14) = (uint64_t)random_next(rng) << 32 |
						      random_next(rng);
		break;
	default:
		s->item[random_next(rng) % LFPOOL_CACHE_MAX] = some_index(rng);
	}
}

static void spoil(const struct client *c, uint32_t *rng, unsigned int what)
{
	uint32_t r = random_next(rng);

	if (what & SPOIL_DEPOT && r % 4 < 2)
		spoil_depot(c, rng);
	if (what & SPOIL_WORDS && r % 4 > 0)
		client_desc(c, random_next(rng) % MOST)->word = some_word(rng, c);
	if (what & SPOIL_SLOTS && r / 4 % 2)
		spoil_slots(c, rng);
	if (what & SPOIL_REST && r / 8 % 4 == 0)
		depot_of(c)->waiters = random_next(rng);
	if (what & SPOIL_REST && r / 32 % 64 == 0)
		((volatile uint32_t *)c->map)[random_next(rng) % (shared_size(c) / 4)] = r;
}

enum call {
	CALL_REFILL,
	CALL_RELEASE,
	CALL_RELEASE_FORGED,
	CALL_WAIT,
	CALL_STATS,
	CALL_AUDIT,
	CALL_ATTACH,
	CALL_DETACH,
	CALL_POLL,
	CALL_WAKE,
	CALL_INFO,
	CALL_FDINFO,
	CALL_RESET,
	CALL_SYSFS,
	CALL_CLOSE,
	CALL_FAULT,
	CALLS
};

static const char *const call_names[] = {
	"REFILL", "RELEASE", "RELEASE (forged)", "WAIT", "STATS", "AUDIT", "ATTACH", "DETACH",
	"poll", "WAKE", "INFO", "fdinfo", "RESET_STATS", "sysfs", "close and open",
	"REFILL (EFAULT)",
};

/* One call, and what it may answer. The client may be another one afterwards. */
static bool any_call(struct client *c, uint32_t *rng, enum call call, int *slots)
{
	uint32_t items[LFPOOL_XFER_MAX], n = 1 + random_next(rng) % LFPOOL_XFER_MAX, k;
	struct lfpool_xfer xfer;
	struct lfpool_stats st;
	struct lfpool_audit a;
	struct lfpool_info info;
	char text[64];
	int ret;

	switch (call) {
	case CALL_REFILL:
		ret = do_refill(c->fd, random_next(rng) % 2 ? LFPOOL_REFILL_GET : 0, items, n);
		for (k = 0; ret > 0 && k < (uint32_t)ret; k++) {
			if (items[k] >= MOST)
				return false;
		}
		return (ret > 0 && ret <= (int)n) || ret == -ENOBUFS;
	case CALL_RELEASE:
	case CALL_RELEASE_FORGED:
		for (k = 0; k < n; k++) {
			items[k] = random_next(rng) % 8 ? random_next(rng) % MOST :
				   some_index(rng);
			if (call == CALL_RELEASE_FORGED && items[k] < MOST)
				client_desc(c, items[k])->word = c->info.client;
		}
		if (random_next(rng) % 2)
			n = 1;
		ret = do_release(c->fd, 0, items, n);
		return ret == (int)n || ret == -EINVAL || ret == -ESTALE;
	case CALL_WAIT:
		ret = do_wait(c->fd, random_next(rng) % 4 * 2000000);
		return (ret >= 0 && ret < (int)MOST) || ret == -ETIMEDOUT || ret == -EINTR;
	case CALL_STATS:
		return !do_stats(c->fd, &st) && stats_sane(&st);
	case CALL_AUDIT:
		return !do_audit(c->fd, &a) && audit_sane(&a);
	case CALL_ATTACH:
		ret = do_attach(c->fd);
		if (ret >= 0)
			(*slots)++;
		return (ret >= 0 && ret < (int)THREADS) || ret == -EUSERS;
	case CALL_DETACH:
		ret = do_detach(c->fd, some_index(rng) % 4 ? random_next(rng) % THREADS :
				some_index(rng));
		if (!ret)
			(*slots)--;
		return (!ret && *slots >= 0) || ret == -EINVAL;
	case CALL_POLL:
		return do_poll(c->fd) >= 0;
	case CALL_WAKE:
		return !do_wake(c->fd);
	case CALL_INFO:
		return !do_info(c->fd, &info) && !memcmp(&info, &c->info, sizeof(info));
	case CALL_FDINFO:
		return !read_fdinfo(c->fd);
	case CALL_RESET:
		return !do_reset(c->fd);
	case CALL_SYSFS:
		return sysfs_u64(POOL, "available") <= MOST &&
		       sysfs_text(POOL, "hit_rate", text, sizeof(text)) > 0;
	case CALL_CLOSE:
		client_close(c);
		*slots = 0;
		return !client_open(c, POOL);
	case CALL_FAULT:
		/* what was granted cannot be told, and goes back */
		xfer = (struct lfpool_xfer){
			.size = sizeof(xfer), .count = n, .items = 8,
		};
		ret = do_ioctl(c->fd, LFPOOL_IOC_REFILL, &xfer);
		return ret == -EFAULT || ret == -ENOBUFS;
	default:
		return false;
	}
}

static void one_call(struct storm *s, struct part *p, struct client *c, uint32_t *rng,
		     int *slots)
{
	enum call call = random_next(rng) % CALLS;
	uint64_t start = now_ns(), end;

	p->call = call;
	p->since = start;
	if (!any_call(c, rng, call, slots)) {
		if (__atomic_fetch_add(&s->wrong, 1, __ATOMIC_SEQ_CST) < 10)
			fprintf(stderr, "# a wrong answer to %s (errno %d)\n", call_names[call],
				errno);
	}
	end = now_ns();
	p->since = 0;
	p->calls++;
	if (end - start > p->slowest)
		p->slowest = end - start;
}

static void attacker(struct storm *s, struct part *p, uint32_t rng, unsigned int what, bool fast)
{
	struct client c;
	int slots = 0;
	unsigned int k;

	child_assert(!client_open(&c, POOL));
	for (;;) {
		for (k = 0; k < (fast ? 5000 : 100); k++)
			spoil(&c, &rng, what);
		s->writes += k;
		one_call(s, p, &c, &rng, &slots);
	}
}

static void caller(struct storm *s, struct part *p, uint32_t rng)
{
	struct client c;
	int slots = 0;

	child_assert(!client_open(&c, POOL));
	for (;;)
		one_call(s, p, &c, &rng, &slots);
}

/*
 * An honest program on the same pool, for what it asks of the kernel. It is not
 * safe from its peers: its own cache may give it a buffer that is not there
 * (SIGBUS) or is nowhere near (SIGSEGV).
 */
static void honest(struct part *p, uint32_t rng)
{
	void *held[16] = { NULL };
	struct lfpool *pool;

	/* what it writes behind the pool's end must not be what the test shares */
	child_assert(mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
		     MAP_FAILED);
	pool = lfpool_open(POOL, 0);
	child_assert(pool);
	for (;;) {
		unsigned int k = random_next(&rng) % ARRAY_SIZE(held);

		p->since = now_ns();
		p->call = CALLS;
		if (held[k])
			lfpool_put(pool, held[k]);
		held[k] = held[k] ? NULL : lfpool_get(pool);
		p->since = 0;
		p->calls++;
	}
}

/* An honest program on another pool: it must not notice a thing. */
static void bystander(struct storm *s, struct part *p)
{
	struct lfpool *pool = lfpool_open(OTHER, 0);
	void *held[20];
	unsigned int round, k;

	child_assert(pool);
	for (round = 0;; round++) {
		p->since = now_ns();
		p->call = CALLS;
		for (k = 0; k < ARRAY_SIZE(held); k++) {
			held[k] = lfpool_get(pool);
			if (held[k])
				stamp_write(held[k], 4096, round + k);
			else
				s->bystander_bad++;
		}
		for (k = 0; k < ARRAY_SIZE(held); k++) {
			if (held[k] && (!stamp_check(held[k], 4096, round + k) ||
					lfpool_put(pool, held[k])))
				s->bystander_bad++;
		}
		s->bystander++;
		p->since = 0;
		p->calls++;
	}
}

static pid_t part_start(FIXTURE_DATA(storm) *self, const FIXTURE_VARIANT(storm) *variant,
			unsigned int nr)
{
	uint32_t rng = random_next(&self->rng) | 1;
	struct part *p = &self->s->part[nr];
	pid_t pid = child_fork();

	p->since = 0;
	if (pid)
		return pid;
	if (nr < ATTACKERS)
		attacker(self->s, p, rng, variant->what, variant->fast);
	else if (nr < HONEST)
		caller(self->s, p, rng);
	else if (nr == HONEST)
		honest(p, rng);
	else
		bystander(self->s, p);
	_exit(0);
}

TEST_F_TIMEOUT(storm, is_weathered, 300)
{
	const unsigned int most = variant->what == SPOIL_SLOTS ? MOST : MOST * LFPOOL_BATCH_MAX;
	const unsigned int least = 4 * rounds(5);
	unsigned int k, nr, kills = 0, faults = 0, looks = 0;
	uint32_t items[LFPOOL_XFER_MAX], calls = 0;
	uint64_t end, slowest = 0, looked = 0;
	struct storm *s = self->s;
	struct lfpool_stats st;
	struct lfpool_audit a;
	bool hung = false;
	struct client c;
	int n, status;
	long before;

	TH_LOG("LFPOOL_SEED=%u", self->seed);
	before = free_kb();
	for (nr = 0; nr < PARTS; nr++)
		self->pid[nr] = part_start(self, variant, nr);

	end = now_ns() + self->seconds * 1000000000ULL;
	while (now_ns() < end || kills < least) {
		/* what a monitor sees */
		looked = now_ns();
		st = stats_of(POOL);
		a = audit_of(POOL);
		looked = now_ns() - looked;
		EXPECT_TRUE(stats_sane(&st));
		EXPECT_TRUE(audit_sane(&a));
		looks++;
		if (looked > slowest)
			slowest = looked;
		/* somebody dies, at no chosen moment; the bystander does not */
		nr = random_next(&self->rng) % (PARTS - 1);
		usleep(random_next(&self->rng) % 40000);
		looked = s->part[nr].since;
		looked = looked ? now_ns() - looked : 0;
		if ((int64_t)looked > (int64_t)slowest)
			slowest = looked;
		kill(self->pid[nr], SIGKILL);
		hung = !wait_until(waitpid(self->pid[nr], &status, WNOHANG), LIMIT);
		if (hung) {
			TH_LOG("process %u cannot be killed, in call %u", nr, s->part[nr].call);
			break;
		}
		kills++;
		if (WIFSIGNALED(status) && nr == HONEST &&
		    (WTERMSIG(status) == SIGBUS || WTERMSIG(status) == SIGSEGV)) {
			faults++;
		} else {
			EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
				TH_LOG("process %u ended with status %#x", nr, status);
			}
		}
		self->pid[nr] = part_start(self, variant, nr);
	}
	EXPECT_FALSE(hung);
	for (nr = 0; nr < PARTS; nr++)
		kill(self->pid[nr], SIGKILL);
	for (nr = 0; nr < PARTS; nr++) {
		EXPECT_TRUE(wait_until(waitpid(self->pid[nr], &status, WNOHANG), DEADLINE));
		calls += s->part[nr].calls;
		if (s->part[nr].slowest > slowest)
			slowest = s->part[nr].slowest;
	}
	TH_LOG("%llu words spoilt, %u calls, %u looks, %u kills, %u faults, slowest call %llu ms",
	       (unsigned long long)s->writes, calls, looks, kills, faults,
	       (unsigned long long)slowest / 1000000);
	EXPECT_GT(LIMIT * 1000000000ULL * slow(), slowest);
	EXPECT_EQ(0, s->wrong);
	EXPECT_LT(0, s->bystander);
	EXPECT_EQ(0, s->bystander_bad);

	/* the dead are gone, whatever they left */
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 0, DEADLINE));
	st = stats_of(POOL);
	EXPECT_TRUE(stats_sane(&st));
	EXPECT_EQ(0, st.threads);
	EXPECT_EQ(0, st.cached);
	EXPECT_TRUE(wait_until(stats_of(OTHER).clients == 0, DEADLINE));
	st = stats_of(OTHER);
	EXPECT_EQ(BUFFERS, st.available);
	EXPECT_EQ(BUFFERS, st.capacity);
	EXPECT_TRUE(audit_clean(OTHER));
	EXPECT_TRUE(pristine("serialization"));

	/*
	 * What the kernel has, it gives, and comes to an end. Garbage that it finds in
	 * the depot may name, as a batch's members, what it gave before: then it takes
	 * that back, and gives it again.
	 */
	ASSERT_EQ(0, client_open(&c, POOL));
	for (nr = 0; (n = do_refill(c.fd, 0, items, 16)) > 0 && nr <= most; nr += n) {
		for (k = 0; k < (unsigned int)n; k++) {
			ASSERT_LT(items[k], MOST);
			EXPECT_EQ(c.info.client, (uint32_t)client_desc(&c, items[k])->word);
			/* it is memory */
			memset(client_buffer(&c, items[k]), 1, c.info.buffer_size);
		}
	}
	EXPECT_EQ(-ENOBUFS, n);
	EXPECT_GE(most, nr);
	client_close(&c);
	EXPECT_TRUE(wait_until(stats_of(POOL).clients == 0, DEADLINE));

	/* and made anew it is whole */
	EXPECT_TRUE(wait_until(module_unload() == 0, DEADLINE));
	ASSERT_EQ(0, module_load(ARGS));
	EXPECT_TRUE(pristine(POOL));
	EXPECT_TRUE(pristine(OTHER));
	EXPECT_TRUE(wait_until(before - free_kb() < 16384 + quarantine_kb(), 3)) {
		TH_LOG("%ld kB free before, %ld after", before, free_kb());
	}
}

LFPOOL_MODULE_MAIN_SPARING(damage_is_spared)
