// SPDX-License-Identifier: MIT
/*
 * C++: buffers have owners, and each kind of buffer has a type. One process
 * fills vectors, the other adds them up in the same memory.
 *
 *	c++ -std=c++17 sum.cpp $(pkg-config --cflags --libs lfpool)
 */
#include <iostream>
#include <sys/wait.h>
#include <unistd.h>
#include <lfpool.hpp>

static void add_up(int fd)
{
	lfpool::simd_pool pool;
	std::uint64_t handle;
	lfpool::f64x4 sum{};

	while (read(fd, &handle, sizeof(handle)) == sizeof(handle)) {
		lfpool::simd_buffer v = pool.import(handle);

		for (const auto &element : v)
			sum += element;
	}	/* v goes back here */
	std::cout << "sum of all lanes: " << sum.sum() << std::endl;
}

static void fill(int fd)
{
	lfpool::simd_pool pool;
	std::uint64_t handle;

	for (int i = 1; i <= 10; i++) {
		lfpool::simd_buffer v = pool.get_wait();

		for (auto &element : v)
			element += { { 1.0 * i, 2.0 * i, 3.0 * i, 4.0 * i } };
		if (v.export_to(handle) || write(fd, &handle, sizeof(handle)) != sizeof(handle))
			break;		/* and v goes back */
		v.release();		/* the receiver's from now on */
	}
	close(fd);
	wait(nullptr);		/* what is not imported yet would go back if we left */
}

int main()
try {
	int fd[2];

	if (pipe(fd))
		return 1;
	if (fork())
		close(fd[0]), fill(fd[1]);
	else
		close(fd[1]), add_up(fd[0]);
	return 0;
} catch (const std::system_error &e) {
	std::cerr << e.what() << std::endl;
	return 1;
}
