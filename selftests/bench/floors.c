// SPDX-License-Identifier: GPL-2.0-only
/*
 * What no pool can beat, and none of these is one:
 *
 *   -DARRAY  a stack in an array of this thread's own, in the L1 cache
 *   -DCALLS  two calls of functions that do nothing
 *   -DRSEQ   a stack of this CPU's own, by restartable sequences (x86-64)
 */
#include "bench.h"

#ifdef RSEQ
#include <sys/rseq.h>
#endif

/* the calls' hand-over shows what the ring costs alone */
#ifdef CALLS
#define PEER_SHARED
#else
#define PEER_PRIVATE
#endif
#define DEPTH	64

struct stack {
	uint64_t n;
	void *item[DEPTH];
} ALIGNED(BENCH_LINE);

struct peer {
	char *data;
	size_t size;
	struct stack *cpu;	/* RSEQ: one a CPU */
};

struct hand {
	struct stack *own;
	struct stack *cpu;
	void *only;
};

static const char *peer_init(int argc, char **argv)
{
	(void)argc;
	(void)argv;
#ifdef RSEQ
	if (!__rseq_size)
		return "no rseq";
#endif
	return NULL;
}

#if defined(ARRAY)

static inline void *peer_get(struct hand *h)
{
	struct stack *s = h->own;
	void *p = NULL;

	if (s->n)
		p = s->item[--s->n];
	/* it is memory, not registers, where a pool's state is */
	__asm__ volatile("" : "+m"(*s));
	return p;
}

static inline void peer_put(struct hand *h, void *p)
{
	struct stack *s = h->own;

	if (s->n < DEPTH)
		s->item[s->n++] = p;
	__asm__ volatile("" : "+m"(*s));
}

#elif defined(CALLS)

__attribute__((noipa))
static void *call_get(void *only)
{
	return only;
}

__attribute__((noipa))
static void call_put(void *p)
{
	(void)p;
}

static inline void *peer_get(struct hand *h)
{
	return call_get(h->only);
}

static inline void peer_put(struct hand *h, void *p)
{
	(void)h;
	call_put(p);
}

#elif defined(RSEQ)

/*
 * The sequence runs from 1 to 2; interrupted by a migration, a preemption or a
 * signal, it goes on at 4, and the caller starts again. The store of n commits.
 */
#define SEQUENCE(body)							\
	".pushsection __rseq_cs, \"aw\"\n"				\
	".balign 32\n"							\
	"3: .long 0, 0\n"						\
	".quad 1f, 2f - 1f, 4f\n"					\
	".popsection\n"							\
	".pushsection __rseq_failure, \"ax\"\n"				\
	".byte 0x0f, 0xb9, 0x3d\n"					\
	".long 0x53053053\n"						\
	"4: jmp %l[again]\n"						\
	".popsection\n"							\
	"leaq 3b(%%rip), %%rax\n"					\
	"movq %%rax, %c[cs](%[rseq])\n"					\
	"1: cmpl %[cpu], %c[id](%[rseq])\n"				\
	"jnz 4b\n"							\
	body								\
	"2:\n"

static inline struct rseq *rseq_of_thread(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

static inline void *peer_get(struct hand *h)
{
	struct rseq *rseq = rseq_of_thread();
	struct stack *s;
	uint32_t cpu;
	void *p;

again:
	cpu = *(volatile uint32_t *)&rseq->cpu_id_start;
	s = &h->cpu[cpu];
	__asm__ goto volatile(SEQUENCE(
		"movq (%[s]), %%rax\n"
		"testq %%rax, %%rax\n"
		"jz %l[empty]\n"
		"movq (%[s], %%rax, 8), %%rcx\n"
		"movq %%rcx, %[p]\n"
		"decq %%rax\n"
		"movq %%rax, (%[s])\n")
		: [p] "=m"(p)
		: [rseq] "r"(rseq), [cpu] "r"(cpu), [s] "r"(s),
		  [cs] "i"(offsetof(struct rseq, rseq_cs)),
		  [id] "i"(offsetof(struct rseq, cpu_id))
		: "rax", "rcx", "cc", "memory"
		: again, empty);
	return p;
empty:
	return NULL;
}

static inline void peer_put(struct hand *h, void *p)
{
	struct rseq *rseq = rseq_of_thread();
	struct stack *s;
	uint32_t cpu;

again:
	cpu = *(volatile uint32_t *)&rseq->cpu_id_start;
	s = &h->cpu[cpu];
	__asm__ goto volatile(SEQUENCE(
		"movq (%[s]), %%rax\n"
		"movq %[p], 8(%[s], %%rax, 8)\n"
		"incq %%rax\n"
		"movq %%rax, (%[s])\n")
		:
		: [rseq] "r"(rseq), [cpu] "r"(cpu), [s] "r"(s), [p] "r"(p),
		  [cs] "i"(offsetof(struct rseq, rseq_cs)),
		  [id] "i"(offsetof(struct rseq, cpu_id))
		: "rax", "cc", "memory"
		: again);
}

#endif

static const char *peer_open(struct peer *peer, size_t size, unsigned int count)
{
	unsigned int cpu, cpus = sysconf(_SC_NPROCESSORS_CONF), k;

	(void)count;
	peer->size = size;
	peer->data = buffer_memory(size, (cpus + 2) * BENCH_BURST);
	peer->cpu = (struct stack *)shared_memory(cpus * sizeof(*peer->cpu));
	for (cpu = 0; cpu < cpus; cpu++)
		for (k = 0; k < BENCH_BURST; k++)
			peer->cpu[cpu].item[peer->cpu[cpu].n++] =
				peer->data + (cpu * BENCH_BURST + k) * size;
	peer->data += (size_t)cpus * BENCH_BURST * size;
	return NULL;
}

static const char *peer_attach(struct peer *peer, struct hand *hand, unsigned int party)
{
	unsigned int k;

	hand->cpu = peer->cpu;
	hand->own = (struct stack *)shared_memory(sizeof(*hand->own));
	hand->only = peer->data + party * BENCH_BURST * peer->size;
	for (k = 0; k < BENCH_BURST; k++)
		hand->own->item[hand->own->n++] = (char *)hand->only + k * peer->size;
	return NULL;
}

#include "worker.h"
