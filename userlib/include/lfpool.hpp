/* SPDX-License-Identifier: MIT */
/*
 * lfpool for C++ (11 and later): the same calls, with owners.
 *
 *	lfpool::pool pool = lfpool::pool::open("simd", LFPOOL_OPEN_EMBEDDED);
 *
 *	if (lfpool::buffer b = pool.get())
 *		fill(b.data(), b.size());
 *	// put back here, or earlier by b.put()
 *
 * The three pools that every module has are types, too: serialization_pool,
 * compression_pool and simd_pool, whose buffers are arrays of f64x4.
 *
 * Opening fails with std::system_error. An exhausted pool is not an exception:
 * get() gives an empty buffer then, and errno says why. A buffer must not
 * outlive its pool.
 */
#ifndef LFPOOL_HPP
#define LFPOOL_HPP

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ratio>
#include <string>
#include <system_error>
#include <utility>

#if __cplusplus >= 202002L
#include <span>
#endif

#include <lfpool.h>

/*
 * The C handle's name serves as the scope of the C++ names: a namespace could
 * not be called like a struct. No object of this type exists.
 */
struct lfpool {
	class buffer;
	class pool;
	class thread;

	struct f64x4;
	class simd_buffer;

	class serialization_pool;
	class compression_pool;
	class simd_pool;

	lfpool() = delete;
};

/** lfpool::buffer - owns one buffer, or none; goes back at the end of its life */
class lfpool::buffer {
public:
	buffer() noexcept = default;

	/* takes over a buffer that a get or an import of @pool gave */
	buffer(lfpool *pool, void *data) noexcept : pool_(pool), data_(data) {}

	buffer(buffer &&other) noexcept
		: pool_(other.pool_), data_(other.release()) {}

	buffer &operator=(buffer &&other) noexcept
	{
		if (this != &other) {
			put();
			pool_ = other.pool_;
			data_ = other.release();
		}
		return *this;
	}

	buffer(const buffer &) = delete;
	buffer &operator=(const buffer &) = delete;

	~buffer()
	{
		put();
	}

	void *data() const noexcept
	{
		return data_;
	}

	std::size_t size() const noexcept
	{
		return data_ ? lfpool_buffer_size(pool_) : 0;
	}

	/* the contents as @T, which must fit */
	template <typename T>
	T *as() const noexcept
	{
		return static_cast<T *>(data_);
	}

	explicit operator bool() const noexcept
	{
		return data_ != nullptr;
	}

	/* back to the pool now; 0 or a negative errno; empty afterwards */
	int put() noexcept
	{
		void *data = release();

		return data ? lfpool_put(pool_, data) : -EALREADY;
	}

	/* gives up the ownership: the caller puts it */
	void *release() noexcept
	{
		void *data = data_;

		data_ = nullptr;
		return data;
	}

	/* 0 or a negative errno, -EINVAL if it is empty; lfpool_export() */
	int export_to(std::uint64_t &handle) const noexcept
	{
		return data_ ? lfpool_export(pool_, data_, &handle) : -EINVAL;
	}

#if __cplusplus >= 202002L
	std::span<std::byte> bytes() const noexcept
	{
		return { static_cast<std::byte *>(data_), size() };
	}

	/* as many whole T as fit, e.g. span<double>() of a simd buffer */
	template <typename T>
	std::span<T> span() const noexcept
	{
		return { static_cast<T *>(data_), size() / sizeof(T) };
	}
#endif

private:
	lfpool *pool_ = nullptr;
	void *data_ = nullptr;
};

/**
 * lfpool::thread - the calling thread's cache, for the tightest loops
 *
 * get() and put() are inline, and for the thread that attached alone. Buffers
 * come without an owner.
 */
class lfpool::thread {
public:
	explicit thread(lfpool_thread *t) noexcept : t_(t) {}

	void *get() noexcept
	{
		return lfpool_thread_get(t_);
	}

	/* 0 or a negative errno */
	int put(void *data) noexcept
	{
		return lfpool_thread_put(t_, data);
	}

private:
	lfpool_thread *t_;
};

/** lfpool::pool - owns an open pool */
class lfpool::pool {
public:
	static pool open(const char *name, unsigned int flags = 0)
	{
		lfpool *p = lfpool_open(name, flags);

		const int error = errno;

		if (!p)
			fail(error, std::string("lfpool_open ") + (name ? name : "NULL"));
		return pool(p);
	}

	static pool create(const struct lfpool_config &config)
	{
		lfpool *p = lfpool_create(&config);

		if (!p)
			fail(errno, "lfpool_create");
		return pool(p);
	}

	pool(pool &&other) noexcept : pool_(other.pool_)
	{
		other.pool_ = nullptr;
	}

	pool &operator=(pool &&other) noexcept
	{
		std::swap(pool_, other.pool_);
		return *this;
	}

	pool(const pool &) = delete;
	pool &operator=(const pool &) = delete;

	~pool()
	{
		lfpool_close(pool_);
	}

	/* empty, with errno, if there is none */
	buffer get() noexcept
	{
		return buffer(pool_, lfpool_get(pool_));
	}

	/* waits; < 0: for ever */
	buffer get_wait(std::int64_t timeout_ns = -1) noexcept
	{
		return buffer(pool_, lfpool_get_wait(pool_, timeout_ns));
	}

	/* waits for @timeout at most; empty, with errno ETIMEDOUT, if in vain */
	template <typename Rep, typename Period>
	buffer get_wait(std::chrono::duration<Rep, Period> timeout) noexcept
	{
		return get_wait(nanoseconds_of(timeout));
	}

	/* empty, with errno, if the handle is stale */
	buffer import(std::uint64_t handle) noexcept
	{
		return buffer(pool_, lfpool_import(pool_, handle));
	}

	std::size_t buffer_size() const noexcept
	{
		return lfpool_buffer_size(pool_);
	}

	/* 0 or a negative errno */
	int prefill(unsigned int n) noexcept
	{
		return lfpool_prefill(pool_, n);
	}

	thread attach()
	{
		lfpool_thread *t = lfpool_attach(pool_);

		check(t ? 0 : -errno, "lfpool_attach");
		return thread(t);
	}

	struct lfpool_stats stats() const
	{
		struct lfpool_stats s;

		check(lfpool_stats(pool_, &s), "lfpool_stats");
		return s;
	}

	struct lfpool_counts counts() const
	{
		struct lfpool_counts c;

		check(lfpool_counts(pool_, &c), "lfpool_counts");
		return c;
	}

	struct lfpool_audit audit() const
	{
		struct lfpool_audit a;

		check(lfpool_audit(pool_, &a), "lfpool_audit");
		return a;
	}

	void reset_stats()
	{
		check(lfpool_reset_stats(pool_), "lfpool_reset_stats");
	}

	/* for poll(): readable when a get would succeed */
	int fd() const
	{
		int fd = lfpool_fd(pool_);

		check(fd < 0 ? fd : 0, "lfpool_fd");
		return fd;
	}

	/* for the C functions */
	lfpool *handle() const noexcept
	{
		return pool_;
	}

private:
	explicit pool(lfpool *p) noexcept : pool_(p) {}

	[[noreturn]] static void fail(int error, const std::string &what)
	{
		throw std::system_error(error, std::generic_category(), what);
	}

	static void check(int err, const char *what)
	{
		if (err)
			fail(-err, what);
	}

	/*
	 * A duration below zero has passed: it must not become "for ever". One that
	 * does not fit becomes the longest that does.
	 */
	template <typename Rep, typename Period>
	static std::int64_t nanoseconds_of(std::chrono::duration<Rep, Period> timeout) noexcept
	{
		using std::chrono::nanoseconds;
		using inexact = std::chrono::duration<long double, std::nano>;

		if (!(timeout > timeout.zero()))
			return 0;
		if (inexact(timeout) >= inexact(nanoseconds::max()))
			return INT64_MAX;
		return std::chrono::duration_cast<nanoseconds>(timeout).count();
	}

	lfpool *pool_;
};

/*
 * The three pools that every module has
 */

/** lfpool::f64x4 - the element of simd buffers; compilers make it one register */
struct alignas(32) lfpool::f64x4 {
	double lane[4];

	double &operator[](std::size_t i) noexcept
	{
		return lane[i];
	}

	const double &operator[](std::size_t i) const noexcept
	{
		return lane[i];
	}

	f64x4 &operator+=(const f64x4 &other) noexcept
	{
		for (int i = 0; i < 4; i++)
			lane[i] += other.lane[i];
		return *this;
	}

	f64x4 &operator*=(const f64x4 &other) noexcept
	{
		for (int i = 0; i < 4; i++)
			lane[i] *= other.lane[i];
		return *this;
	}

	double sum() const noexcept
	{
		return lane[0] + lane[1] + lane[2] + lane[3];
	}
};

/** lfpool::simd_buffer - a buffer that is an array of f64x4, zero after get */
class lfpool::simd_buffer : public buffer {
public:
	simd_buffer() noexcept = default;
	explicit simd_buffer(buffer &&other) noexcept : buffer(std::move(other)) {}

	/* number of elements */
	std::size_t elements() const noexcept
	{
		return size() / sizeof(f64x4);
	}

	f64x4 &operator[](std::size_t i) const noexcept
	{
		return begin()[i];
	}

	f64x4 *begin() const noexcept
	{
		return as<f64x4>();
	}

	f64x4 *end() const noexcept
	{
		return begin() + elements();
	}
};

/** lfpool::serialization_pool - for messages; contents as the last user left them */
class lfpool::serialization_pool : public pool {
public:
	explicit serialization_pool(unsigned int flags = 0) : pool(open("serialization", flags)) {}
};

/** lfpool::compression_pool - for packed data; contents as the last user left them */
class lfpool::compression_pool : public pool {
public:
	explicit compression_pool(unsigned int flags = 0) : pool(open("compression", flags)) {}
};

/** lfpool::simd_pool - for vectors of doubles */
class lfpool::simd_pool : public pool {
public:
	explicit simd_pool(unsigned int flags = 0) : pool(open("simd", flags)) {}

	simd_buffer get() noexcept
	{
		return simd_buffer(pool::get());
	}

	template <typename... Timeout>
	simd_buffer get_wait(Timeout... timeout) noexcept
	{
		return simd_buffer(pool::get_wait(timeout...));
	}

	simd_buffer import(std::uint64_t handle) noexcept
	{
		return simd_buffer(pool::import(handle));
	}
};

#endif /* LFPOOL_HPP */
