/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every program of the benchmark shares: time, the ring over which
 * buffers are handed from a producer to a consumer, and the meeting point of
 * two parties. Includes no peer, and is C and C++.
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Buffers of each pool, of every peer; one less where a power of two does not fit. */
#define BENCH_COUNT	2048
#define BENCH_LINE	128
#define BENCH_BURST	16
#define RING_SIZE	256
/* Sized so that a slice mostly fits between two preemptions on a busy machine. */
#define SLICE_NS	500000
/* For how many slices' time one is repeated in which a party was preempted. */
#define SLICE_TRIES	40

#define ALIGNED(n)	__attribute__((aligned(n)))
#define UNLIKELY(x)	__builtin_expect(!!(x), 0)

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static inline void relax(void)
{
	__builtin_ia32_pause();
}

/*
 * Waits for somebody who may not be running: on a busy machine, let it. Not so
 * short that looking again takes the line away from who is to write it.
 */
static inline void wait_a_little(unsigned int *spins)
{
	unsigned int k;

	if (!(++*spins % 1024))
		sched_yield();
	for (k = 0; k < 32; k++)
		relax();
}

/* Nobody knows what happens to the pointer, so nothing about it is left out. */
static inline void *opaque(void *p)
{
	__asm__ volatile("" : "+r"(p));
	return p;
}

/*
 * The ring: one producer, one consumer, the same for all peers. Each side keeps
 * a copy of the other's index and looks at the real one only when the copy says
 * full or empty.
 */
struct ring {
	uint64_t head ALIGNED(BENCH_LINE);	/* written by the consumer */
	uint64_t tail_seen;
	uint64_t tail ALIGNED(BENCH_LINE);	/* written by the producer */
	uint64_t head_seen;
	uint64_t item[RING_SIZE] ALIGNED(BENCH_LINE);
};

static inline bool ring_push(struct ring *r, uint64_t v)
{
	uint64_t tail = r->tail;

	if (UNLIKELY(tail - r->head_seen == RING_SIZE)) {
		r->head_seen = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
		if (tail - r->head_seen == RING_SIZE)
			return false;
	}
	r->item[tail % RING_SIZE] = v;
	__atomic_store_n(&r->tail, tail + 1, __ATOMIC_RELEASE);
	return true;
}

/* as many of them as there is room for */
static inline unsigned int ring_push_many(struct ring *r, const uint64_t *v, unsigned int n)
{
	uint64_t tail = r->tail;
	unsigned int k;

	if (RING_SIZE - (tail - r->head_seen) < n)
		r->head_seen = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
	if (RING_SIZE - (tail - r->head_seen) < n)
		n = RING_SIZE - (tail - r->head_seen);
	for (k = 0; k < n; k++)
		r->item[(tail + k) % RING_SIZE] = v[k];
	if (n)
		__atomic_store_n(&r->tail, tail + n, __ATOMIC_RELEASE);
	return n;
}

static inline bool ring_pop(struct ring *r, uint64_t *v)
{
	uint64_t head = r->head;

	if (UNLIKELY(head == r->tail_seen)) {
		r->tail_seen = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
		if (head == r->tail_seen)
			return false;
	}
	*v = r->item[head % RING_SIZE];
	__atomic_store_n(&r->head, head + 1, __ATOMIC_RELEASE);
	return true;
}

/* as many as there are, up to @n */
static inline unsigned int ring_pop_many(struct ring *r, uint64_t *v, unsigned int n)
{
	uint64_t head = r->head;
	unsigned int k;

	if (r->tail_seen - head < n)
		r->tail_seen = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
	if (r->tail_seen - head < n)
		n = r->tail_seen - head;
	for (k = 0; k < n; k++)
		v[k] = r->item[(head + k) % RING_SIZE];
	if (n)
		__atomic_store_n(&r->head, head + n, __ATOMIC_RELEASE);
	return n;
}

/* Where a party of two gets its work, and the two start at the same time. */
struct meeting {
	sem_t go, done;
	unsigned int arrived ALIGNED(BENCH_LINE);
	/* the job */
	unsigned int work ALIGNED(BENCH_LINE);
	unsigned int size;		/* index in the table of sizes */
	uint64_t n;
	uint64_t begin[2];
	/* what came of it, by the second party */
	uint64_t ns;
	long preempted;
	char why[128];
	struct ring ring;
};

static inline void meet(struct meeting *m)
{
	unsigned int all = (__atomic_fetch_add(&m->arrived, 1, __ATOMIC_ACQ_REL) | 1) + 1;
	unsigned int spins = 0;

	while ((int)(__atomic_load_n(&m->arrived, __ATOMIC_ACQUIRE) - all) < 0)
		wait_a_little(&spins);
}

static inline void *shared_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

/* Memory for the buffers of a peer that does not bring its own; faulted in where used. */
static inline char *buffer_memory(size_t size, unsigned int count)
{
	uintptr_t p = (uintptr_t)shared_memory((size + 4096) * (size_t)count);
	unsigned int i;

	p = (p + 4095) & ~4095UL;
	for (i = 0; i < count; i++)
		*(volatile char *)(p + i * size) = 0;
	return (char *)p;
}

static inline long preemptions(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return u.ru_nivcsw;
}

static inline void pin(unsigned int party)
{
	const char *list = getenv("BENCH_CPUS");
	unsigned int first = 0, second = 1;
	cpu_set_t set;

	if (list && sscanf(list, "%u,%u", &first, &second) != 2)
		list = NULL;
	if (!list) {
		first = 0;
		second = 1;
	}
	CPU_ZERO(&set);
	CPU_SET(party ? second : first, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		perror("sched_setaffinity");
}

#endif /* BENCH_H */
