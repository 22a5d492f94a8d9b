// SPDX-License-Identifier: GPL-2.0-only
/*
 * lfpool.hpp: the six things that the pool's own tests promise (parity.c has
 * them in C), by owners that put buffers back, and what the owners themselves
 * promise: moves, early return, errors.
 *
 * Without the module it tests the same on embedded pools.
 */
#include <lfpool.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <poll.h>
#include <unistd.h>

namespace {

constexpr unsigned int capacity = 256;

bool test_failed;
unsigned int tests, failures;

void expect(bool condition, const char *text, int line)
{
	if (condition)
		return;
	test_failed = true;
	std::printf("# cpp.cpp:%d: not true: %s (errno %d)\n", line, text, errno);
}

#define EXPECT(condition)	expect(static_cast<bool>(condition), #condition, __LINE__)

void run(const char *name, const std::function<void()> &test)
{
	test_failed = false;
	try {
		test();
	} catch (const std::exception &e) {
		test_failed = true;
		std::printf("# %s\n", e.what());
	}
	failures += test_failed;
	std::printf("%sok %u %s\n", test_failed ? "not " : "", ++tests, name);
}

bool embedded()
{
	return access("/dev/lfpool", F_OK) != 0;
}

unsigned int flags()
{
	return embedded() ? LFPOOL_OPEN_EMBEDDED : 0;
}

/* the three kinds, their counters at zero */
struct kinds {
	lfpool::serialization_pool serialization{flags()};
	lfpool::compression_pool compression{flags()};
	lfpool::simd_pool simd{flags()};

	kinds()
	{
		serialization.reset_stats();
		compression.reset_stats();
		simd.reset_stats();
	}

	template <typename Field>
	std::uint64_t total(Field field) const
	{
		return serialization.stats().*field + compression.stats().*field +
		       simd.stats().*field;
	}
};

bool all_back(const lfpool::pool &pool)
{
	auto counts = pool.counts();
	auto audit = pool.audit();

	return counts.available == counts.capacity && counts.in_use == 0 && audit.lost == 0 &&
	       audit.duplicate == 0 && audit.damaged == 0;
}

double hit_rate(const lfpool::pool &pool)
{
	auto s = pool.stats();

	return static_cast<double>(s.pool_hits) / (s.pool_hits + s.pool_misses);
}

/*
 * The six
 */

void basic_get_and_put()
{
	kinds k;

	{
		lfpool::buffer a = k.serialization.get();
		lfpool::buffer b = k.compression.get();
		lfpool::simd_buffer c = k.simd.get();

		EXPECT(a && b && c);
		EXPECT(a.size() == 131072 && b.size() == 65536 && c.size() == 2048);
		std::memset(a.data(), 1, a.size());
		std::memset(b.data(), 2, b.size());
		EXPECT(c.elements() == 64);
	}
	EXPECT(k.total(&lfpool_stats::pool_hits) == 3);
	EXPECT(k.total(&lfpool_stats::pool_misses) == 0);
	EXPECT(k.total(&lfpool_stats::deallocations) == 3);
}

void scope_end()
{
	kinds k;

	{
		lfpool::buffer b = k.serialization.get();

		EXPECT(b);
		EXPECT(k.serialization.counts().in_use == 1);
	}
	EXPECT(k.serialization.stats().deallocations == 1);
	try {
		lfpool::buffer b = k.serialization.get();

		EXPECT(b);
		throw 1;
	} catch (int) {
	}
	EXPECT(k.serialization.stats().deallocations == 2);
	EXPECT(all_back(k.serialization));
}

void ten_threads()
{
	std::vector<std::thread> threads;
	kinds k;

	for (int t = 0; t < 10; t++)
		threads.emplace_back([&k] {
			for (int round = 0; round < 100; round++) {
				lfpool::buffer a = k.serialization.get();
				lfpool::buffer b = k.compression.get();

				if (a && b) {
					*a.as<int>() = round;
					*b.as<int>() = round;
				}
			}
		});
	for (auto &thread : threads)
		thread.join();
	EXPECT(k.total(&lfpool_stats::deallocations) == 2000);
	EXPECT(hit_rate(k.serialization) > 0.8);
	EXPECT(hit_rate(k.compression) > 0.8);
	EXPECT(all_back(k.serialization) && all_back(k.compression));
}

void reset_then_one()
{
	kinds k;

	k.simd.get().put();
	k.simd.get().put();
	k.simd.reset_stats();
	k.simd.get();

	auto s = k.simd.stats();

	EXPECT(s.pool_hits == 1 && s.pool_misses == 0 && s.deallocations == 1);
	EXPECT(s.hit_rate_ppm == 1000000);
	EXPECT(s.capacity == capacity);
}

void early_return()
{
	kinds k;

	{
		lfpool::buffer b = k.compression.get();

		EXPECT(b.put() == 0);
		EXPECT(!b && b.data() == nullptr && b.size() == 0);
		EXPECT(k.compression.stats().deallocations == 1);
		EXPECT(b.put() == -EALREADY);
	}
	EXPECT(k.compression.stats().deallocations == 1);
}

/* the last of the six: the pool stays as large as it grew */
void more_than_there_is()
{
	kinds k;

	{
		std::vector<lfpool::simd_buffer> all;

		while (lfpool::simd_buffer b = k.simd.get())
			all.push_back(std::move(b));
		EXPECT(errno == ENOBUFS);
		EXPECT(all.size() > capacity);
		EXPECT(all.size() == k.simd.counts().max);
		EXPECT(k.simd.stats().pool_misses > 0);
		EXPECT(hit_rate(k.simd) < 1);
		EXPECT(k.simd.counts().available == 0);
		if (!embedded()) {
			pollfd p = { k.simd.fd(), POLLIN, 0 };

			EXPECT(poll(&p, 1, 0) == 0);
			all.back().put();
			EXPECT(poll(&p, 1, 1000) == 1);
		}
	}
	EXPECT(all_back(k.simd));
}

/*
 * Owners
 */

void moves()
{
	static_assert(!std::is_copy_constructible<lfpool::buffer>::value, "one owner");
	static_assert(!std::is_copy_assignable<lfpool::buffer>::value, "one owner");
	static_assert(std::is_nothrow_move_constructible<lfpool::buffer>::value, "in vectors");
	static_assert(std::is_nothrow_move_assignable<lfpool::buffer>::value, "in vectors");
	static_assert(!std::is_copy_constructible<lfpool::pool>::value, "one owner");

	kinds k;
	lfpool::buffer a = k.serialization.get(), b;
	void *data = a.data();

	b = std::move(a);
	EXPECT(!a && b.data() == data);
	lfpool::buffer c(std::move(b));
	EXPECT(!b && c.data() == data);
	lfpool::buffer &self = c;
	c = std::move(self);
	EXPECT(c.data() == data);
	a = k.serialization.get();
	a = std::move(c);
	EXPECT(a.data() == data && k.serialization.counts().in_use == 1);
	data = a.release();
	EXPECT(!a && lfpool_put(k.serialization.handle(), data) == 0);

	lfpool::pool moved = std::move(k.compression);
	EXPECT(k.compression.handle() == nullptr);
	EXPECT(moved.get());
	k.compression = lfpool::compression_pool(flags());
	EXPECT(k.compression.get());
}

void errors()
{
	int code = 0;

	try {
		lfpool::pool::open("nonsense");
	} catch (const std::system_error &e) {
		code = e.code().value();
		EXPECT(std::string(e.what()).find("nonsense") != std::string::npos);
	}
	EXPECT(code == ENOENT);

	lfpool_config config = {};
	lfpool_config small = {};

	code = 0;
	try {
		lfpool::pool::create(config);
	} catch (const std::system_error &e) {
		code = e.code().value();
	}
	EXPECT(code == EINVAL);

	small.buffer_size = 64;
	small.buffer_count = small.max_count = 1;
	lfpool::pool pool = lfpool::pool::create(small);
	lfpool::buffer only = pool.get();

	EXPECT(only && !pool.get() && errno == ENOBUFS);
	EXPECT(!pool.get_wait(std::chrono::milliseconds(20)) && errno == ETIMEDOUT);
	EXPECT(!pool.get_wait(20000000) && errno == ETIMEDOUT);
	/* what has passed is not for ever */
	EXPECT(!pool.get_wait(std::chrono::milliseconds(-1)) && errno == ETIMEDOUT);
	EXPECT(!pool.get_wait(std::chrono::hours::min()) && errno == ETIMEDOUT);
	EXPECT(!pool.get_wait(std::chrono::duration<double>(-0.5)) && errno == ETIMEDOUT);
	{
		/* nor is what does not fit over at once */
		std::thread later([&only] {
			std::this_thread::sleep_for(std::chrono::milliseconds(20));
			only.put();
		});

		EXPECT(pool.get_wait(std::chrono::hours::max()));
		later.join();
	}
	EXPECT(pool.get_wait(std::chrono::duration<double>(1e300)));
	EXPECT(pool.get_wait(std::chrono::nanoseconds::max()));
	EXPECT(pool.get_wait());
	EXPECT(!pool.import(1ULL << 40));
	code = 0;
	try {
		pool.fd();
	} catch (const std::system_error &e) {
		code = e.code().value();
	}
	EXPECT(code == EOPNOTSUPP);
	if (embedded())
		return;
	code = 0;
	try {
		lfpool::simd_pool(LFPOOL_OPEN_RDONLY).fd();
	} catch (const std::system_error &e) {
		code = e.code().value();
	}
	EXPECT(code == EBADF);
}

void typed_kinds()
{
	kinds k;

	for (int round = 0; round < 2; round++) {
		lfpool::simd_buffer v = k.simd.get();

		EXPECT(reinterpret_cast<std::uintptr_t>(v.data()) % 64 == 0);
		EXPECT(std::all_of(v.begin(), v.end(),
				   [](const lfpool::f64x4 &e) { return e.sum() == 0; }));
		v[0] += { { 1, 2, 3, 4 } };
		v[0] *= { { 2, 2, 2, 2 } };
		v[63][3] = 5;
		EXPECT(v[0][3] == 8 && v[0].sum() == 20);
		EXPECT(v.end() - v.begin() == 64);
	}
	EXPECT(k.simd.get_wait(std::chrono::seconds(1)).elements() == 64);

#if __cplusplus >= 202002L
	lfpool::buffer b = k.serialization.get();
	auto numbers = b.span<std::uint32_t>();

	EXPECT(b.bytes().size() == 131072 && numbers.size() == 32768);
	std::iota(numbers.begin(), numbers.end(), 1U);
	EXPECT(*(b.as<std::uint32_t>() + 32767) == 32768);
#endif
}

void thread_cache()
{
	kinds k;
	lfpool::thread t = k.compression.attach();

	for (int i = 0; i < 1000; i++) {
		void *data = t.get();

		EXPECT(data);
		EXPECT(t.put(data) == 0);
	}
	EXPECT(k.compression.stats().pool_hits == 1000);
	EXPECT(k.compression.stats().deallocations == 1000);
	EXPECT(k.compression.prefill(8) == 0);
	EXPECT(all_back(k.compression));
}

/* two clients of one pool, as two processes are */
void hand_over()
{
	lfpool::serialization_pool sender{flags()}, other{flags()};
	lfpool::pool receiver = embedded() ? std::move(sender) : std::move(other);
	lfpool::pool &from = embedded() ? receiver : sender;
	std::uint64_t handle = 0;

	lfpool::buffer b = from.get();
	std::strcpy(b.as<char>(), "hello");
	EXPECT(lfpool::buffer().export_to(handle) == -EINVAL);
	EXPECT(b.export_to(handle) == 0);

	lfpool::buffer c = receiver.import(handle);
	EXPECT(c && !std::strcmp(c.as<char>(), "hello"));
	EXPECT(!receiver.import(handle) && errno == ESTALE);
	if (embedded()) {
		/* one client: both name the same buffer */
		b.release();
	} else {
		EXPECT(b.put() == -ESTALE);
	}
	EXPECT(c.put() == 0);
}

} /* namespace */

int main()
{
	std::setvbuf(stdout, nullptr, _IOLBF, 0);
	std::printf("TAP version 13\n# C++%ld, %s, %s\n", __cplusplus / 100 % 100,
#ifdef __clang__
		    "clang " __clang_version__,
#else
		    "gcc " __VERSION__,
#endif
		    embedded() ? "embedded pools" : "module");
	run("get and put of all kinds", basic_get_and_put);
	run("back at the end of the scope", scope_end);
	run("ten threads, a hundred rounds, two kinds", ten_threads);
	run("reset, then one pair", reset_then_one);
	run("early return counts once", early_return);
	run("moves", moves);
	run("errors", errors);
	run("typed kinds", typed_kinds);
	run("a thread's cache", thread_cache);
	run("hand over", hand_over);
	run("more than there is", more_than_there_is);
	std::printf("1..%u\n", tests);
	return failures != 0;
}
