// SPDX-License-Identifier: GPL-2.0-only
/*
 * Parity with the pool that lfpool grew from: the six things that its own tests
 * promise, each by get and put and by a guard, on the module with default
 * parameters. There, one pool had several kinds of buffers; here each kind is a
 * pool, so a total is the sum of theirs.
 *
 * vm: timeout=600 insmod=no
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <lfpool.h>

#include "lfpool_test.h"

#include <pthread.h>

#define CAPACITY	256

enum kind { SERIALIZATION, COMPRESSION, SIMD, KINDS };

static const struct {
	const char *name;
	struct lfpool *(*open)(unsigned int flags);
	size_t size;
	size_t align;
} kinds[KINDS] = {
	{ "serialization", lfpool_open_serialization, 131072, 4096 },
	{ "compression", lfpool_open_compression, 65536, 4096 },
	{ "simd", lfpool_open_simd, 64 * 4 * sizeof(double), 64 },
};

FIXTURE(pools) {
	struct lfpool *pool[KINDS];
};

FIXTURE_VARIANT(pools) {
	bool guard;
};

FIXTURE_VARIANT_ADD(pools, plain) {
	.guard = false,
};

FIXTURE_VARIANT_ADD(pools, guard) {
	.guard = true,
};

FIXTURE_SETUP(pools)
{
	enum kind k;

	if (!embedded())
		ASSERT_EQ(0, module_fresh(""));
	for (k = 0; k < KINDS; k++) {
		self->pool[k] = kinds[k].open(embedded() ? LFPOOL_OPEN_EMBEDDED : 0);
		ASSERT_NE(NULL, self->pool[k]);
	}
}

FIXTURE_TEARDOWN(pools)
{
	enum kind k;

	for (k = 0; k < KINDS; k++) {
		struct lfpool_counts counts;

		EXPECT_EQ(0, lfpool_counts(self->pool[k], &counts));
		expect_quiet(_metadata, self->pool[k], counts.capacity);
		lfpool_close(self->pool[k]);
	}
	if (!embedded())
		EXPECT_EQ(0, module_unload());
}

static struct lfpool_stats stats(struct lfpool *pool)
{
	struct lfpool_stats s;

	if (lfpool_stats(pool, &s))
		memset(&s, 0xff, sizeof(s));
	return s;
}

static double hit_rate(const struct lfpool_stats *s)
{
	uint64_t asked = s->pool_hits + s->pool_misses;

	return asked ? (double)s->pool_hits / asked : 0;
}

/* Both ways in which the pool tells its hit rate say what the counters say. */
static void expect_hit_rate(struct __test_metadata *_metadata, struct lfpool *pool,
			    const char *name)
{
	struct lfpool_stats s = stats(pool);
	double shown;

	EXPECT_EQ((uint64_t)(hit_rate(&s) * 1000000), s.hit_rate_ppm);
	if (embedded())
		return;
	shown = sysfs_double(name, "hit_rate");
	EXPECT_LT(hit_rate(&s) - 0.000002, shown);
	EXPECT_GT(hit_rate(&s) + 0.000002, shown);
}

/* What a buffer of this kind has to be; then it is used from end to end. */
static void use(struct __test_metadata *_metadata, struct lfpool *pool, enum kind k, void *buffer)
{
	size_t i;

	ASSERT_NE(NULL, buffer);
	EXPECT_EQ(kinds[k].size, lfpool_buffer_size(pool));
	EXPECT_EQ(0, (uintptr_t)buffer % kinds[k].align);
	if (k == SIMD) {
		for (i = 0; i < kinds[k].size; i++)
			ASSERT_EQ(0, ((unsigned char *)buffer)[i]);
	}
	stamp_write(buffer, kinds[k].size, k + 1);
	EXPECT_TRUE(stamp_check(buffer, kinds[k].size, k + 1));
}

TEST_F(pools, basic_get_and_put)
{
	uint64_t hits = 0, misses = 0, deallocations = 0;
	enum kind k;

	for (k = 0; k < KINDS; k++) {
		struct lfpool *pool = self->pool[k];
		struct lfpool_stats s;

		if (variant->guard) {
			LFPOOL_GUARD(buffer, pool);

			use(_metadata, pool, k, buffer.data);
		} else {
			void *buffer = lfpool_get(pool);

			use(_metadata, pool, k, buffer);
			EXPECT_EQ(0, lfpool_put(pool, buffer));
		}
		s = stats(pool);
		EXPECT_EQ(1, s.pool_hits);
		EXPECT_EQ(1, s.deallocations);
		expect_hit_rate(_metadata, pool, kinds[k].name);
		hits += s.pool_hits;
		misses += s.pool_misses;
		deallocations += s.deallocations;
	}
	EXPECT_EQ(3, hits);
	EXPECT_EQ(0, misses);
	EXPECT_EQ(3, deallocations);
}

/* Each kind's own opening function opens that kind. */
TEST_F(pools, kinds_by_type)
{
	struct lfpool_f64x4 *v = lfpool_get(self->pool[SIMD]);
	size_t n = lfpool_simd_elements(self->pool[SIMD]);
	struct lfpool_info info;
	enum kind k;

	for (k = 0; k < KINDS; k++) {
		EXPECT_EQ(0, lfpool_info(self->pool[k], &info));
		EXPECT_STREQ(kinds[k].name, info.name);
	}
	ASSERT_NE(NULL, v);
	EXPECT_EQ(64, n);
	EXPECT_EQ(0, (uintptr_t)v % _Alignof(struct lfpool_f64x4));
	v[n - 1].lane[3] = 1;
	EXPECT_EQ(kinds[SIMD].size, (size_t)((char *)(v + n) - (char *)v));
	EXPECT_EQ(0, lfpool_put(self->pool[SIMD], v));
}

/* The next one to get the buffer finds what simd promises: zeroes. */
TEST_F(pools, used_simd_buffer_comes_zeroed)
{
	struct lfpool *pool = self->pool[SIMD];
	void *first = NULL;
	int round;

	for (round = 0; round < 3; round++) {
		if (variant->guard) {
			LFPOOL_GUARD(buffer, pool);

			use(_metadata, pool, SIMD, buffer.data);
			/* the hottest one: it is the same each time */
			EXPECT_TRUE(!first || first == buffer.data);
			first = buffer.data;
		} else {
			void *buffer = lfpool_get(pool);

			use(_metadata, pool, SIMD, buffer);
			EXPECT_TRUE(!first || first == buffer);
			first = buffer;
			EXPECT_EQ(0, lfpool_put(pool, buffer));
		}
	}
}

TEST_F(pools, given_back_at_the_end_of_the_scope)
{
	struct lfpool *pool = self->pool[SERIALIZATION];

	if (variant->guard) {
		LFPOOL_GUARD(buffer, pool);

		ASSERT_NE(NULL, buffer.data);
		EXPECT_EQ(1, stats(pool).in_use);
		EXPECT_EQ(0, stats(pool).deallocations);
	} else {
		void *buffer = lfpool_get(pool);

		ASSERT_NE(NULL, buffer);
		EXPECT_EQ(1, stats(pool).in_use);
		EXPECT_EQ(0, stats(pool).deallocations);
		EXPECT_EQ(0, lfpool_put(pool, buffer));
	}
	EXPECT_EQ(0, stats(pool).in_use);
	EXPECT_EQ(1, stats(pool).deallocations);
}

#define THREADS		10
#define ROUNDS		100

struct worker {
	pthread_t thread;
	struct lfpool **pool;
	bool guard;
	int number;
	int bad;
};

static void touch(struct worker *w, void *buffer, int round)
{
	uint64_t *word = buffer;

	if (!buffer) {
		w->bad++;
		return;
	}
	word[0] = w->number;
	word[100] = round;
	sched_yield();
	if (word[0] != (uint64_t)w->number || word[100] != (uint64_t)round)
		w->bad++;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	enum kind k;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		for (k = SERIALIZATION; k <= COMPRESSION; k++) {
			if (w->guard) {
				LFPOOL_GUARD(buffer, w->pool[k]);

				touch(w, buffer.data, round);
			} else {
				void *buffer = lfpool_get(w->pool[k]);

				touch(w, buffer, round);
				if (lfpool_put(w->pool[k], buffer))
					w->bad++;
			}
		}
	}
	return NULL;
}

TEST_F(pools, ten_threads)
{
	struct worker workers[THREADS];
	struct lfpool_stats s, c;
	int i;

	for (i = 0; i < THREADS; i++) {
		workers[i] = (struct worker) {
			.pool = self->pool, .guard = variant->guard, .number = i,
		};
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, work, &workers[i]));
	}
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(workers[i].thread, NULL));
		EXPECT_EQ(0, workers[i].bad);
	}
	s = stats(self->pool[SERIALIZATION]);
	c = stats(self->pool[COMPRESSION]);
	EXPECT_EQ(1000, s.deallocations);
	EXPECT_EQ(2000, s.deallocations + c.deallocations);
	EXPECT_EQ(2000, s.pool_hits + s.pool_misses + c.pool_hits + c.pool_misses);
	EXPECT_LT(0.8, hit_rate(&s));
	EXPECT_LT(0.8, hit_rate(&c));
	expect_hit_rate(_metadata, self->pool[SERIALIZATION], "serialization");
	expect_hit_rate(_metadata, self->pool[COMPRESSION], "compression");
}

#define TOO_MANY	(CAPACITY + 44)

/* When all are out: some asked in vain, or made the pool grow. */
static void expect_exhausted(struct __test_metadata *_metadata, struct lfpool *pool, int got)
{
	struct lfpool_stats s = stats(pool);

	EXPECT_LE(CAPACITY, got);
	EXPECT_EQ(got, s.in_use);
	EXPECT_EQ(TOO_MANY, s.pool_hits + s.pool_misses);
	EXPECT_LE(1, s.pool_misses);
	EXPECT_GE(TOO_MANY - CAPACITY, s.pool_misses);
	/* whoever got one beyond the first 256 has it from growth */
	EXPECT_LE(got, CAPACITY + s.grown);
	EXPECT_EQ(s.capacity, CAPACITY + s.grown);
	EXPECT_EQ(s.grown, s.allocations);
	EXPECT_GT(1, hit_rate(&s));
	expect_hit_rate(_metadata, pool, "compression");
}

static int hold(struct __test_metadata *_metadata, struct lfpool *pool, int n, int got)
{
	LFPOOL_GUARD(buffer, pool);

	if (buffer.data)
		got++;
	else
		EXPECT_EQ(ENOBUFS, errno);
	if (n > 1)
		return hold(_metadata, pool, n - 1, got);
	expect_exhausted(_metadata, pool, got);
	return got;
}

TEST_F(pools, more_than_there_are)
{
	struct lfpool *pool = self->pool[COMPRESSION];
	struct lfpool_stats s;
	int i, got = 0;

	if (variant->guard) {
		got = hold(_metadata, pool, TOO_MANY, 0);
	} else {
		void *buffers[TOO_MANY];

		for (i = 0; i < TOO_MANY; i++) {
			buffers[got] = lfpool_get(pool);
			if (buffers[got])
				got++;
			else
				EXPECT_EQ(ENOBUFS, errno);
		}
		expect_exhausted(_metadata, pool, got);
		for (i = 0; i < got; i++)
			EXPECT_EQ(0, lfpool_put(pool, buffers[i]));
	}
	s = stats(pool);
	EXPECT_EQ(0, s.in_use);
	EXPECT_EQ(got, s.deallocations);
	EXPECT_EQ(s.capacity, s.available);
}

TEST_F(pools, reset_then_one_pair)
{
	struct lfpool *pool = self->pool[SERIALIZATION];
	struct lfpool_stats s;
	int i;

	for (i = 0; i < 10; i++)
		ASSERT_EQ(0, lfpool_put(pool, lfpool_get(pool)));
	EXPECT_EQ(10, stats(pool).pool_hits);
	EXPECT_EQ(0, lfpool_reset_stats(pool));
	s = stats(pool);
	EXPECT_EQ(0, s.pool_hits);
	EXPECT_EQ(0, s.deallocations);
	EXPECT_EQ(0, s.hit_rate_ppm);

	if (variant->guard) {
		LFPOOL_GUARD(buffer, pool);

		ASSERT_NE(NULL, buffer.data);
	} else {
		ASSERT_EQ(0, lfpool_put(pool, lfpool_get(pool)));
	}
	s = stats(pool);
	EXPECT_EQ(1, s.pool_hits);
	EXPECT_EQ(0, s.pool_misses);
	EXPECT_EQ(1, s.deallocations);
	EXPECT_EQ(0, s.allocations);
	EXPECT_EQ(1.0, hit_rate(&s));
	EXPECT_EQ(1000000, s.hit_rate_ppm);
	EXPECT_EQ(CAPACITY, s.capacity);
	if (!embedded()) {
		EXPECT_EQ(1.0, sysfs_double("serialization", "hit_rate"));
		EXPECT_EQ(1, sysfs_u64("serialization", "pool_hits"));
		EXPECT_EQ(1, sysfs_u64("serialization", "deallocations"));
		EXPECT_EQ(CAPACITY, sysfs_u64("serialization", "capacity"));
	}
}

TEST_F(pools, early_return_counts_once)
{
	struct lfpool *pool = self->pool[SERIALIZATION];

	if (variant->guard) {
		LFPOOL_GUARD(buffer, pool);

		ASSERT_NE(NULL, buffer.data);
		EXPECT_EQ(0, lfpool_guard_put(&buffer));
		EXPECT_EQ(NULL, buffer.data);
		EXPECT_EQ(1, stats(pool).deallocations);
		EXPECT_EQ(0, stats(pool).in_use);
		EXPECT_EQ(-EALREADY, lfpool_guard_put(&buffer));
	} else {
		void *buffer = lfpool_get(pool);

		ASSERT_NE(NULL, buffer);
		EXPECT_EQ(0, lfpool_put(pool, buffer));
		EXPECT_EQ(1, stats(pool).deallocations);
		EXPECT_EQ(0, stats(pool).in_use);
		EXPECT_EQ(-EALREADY, lfpool_put(pool, buffer));
	}
	EXPECT_EQ(1, stats(pool).deallocations);
	EXPECT_EQ(1, stats(pool).pool_hits);
	EXPECT_EQ(0, stats(pool).in_use);
	EXPECT_EQ(CAPACITY, stats(pool).available);
}

LFPOOL_LIBRARY_MAIN
