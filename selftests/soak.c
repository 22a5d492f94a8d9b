// SPDX-License-Identifier: GPL-2.0-only
/*
 * vm: insmod=no timeout=600 smp=2
 *
 * soak: workers on several CPUs get, stamp, hand over and put as fast as they can,
 * and are killed at random, LFPOOL_KILLS times. After each kill nothing may be
 * lost or in two places; at the end, when all stand still, exactly nothing.
 *
 * The owner table finds a buffer that two workers have: whoever gets a buffer
 * finds the place empty, or the name of a worker that is gone. A buffer that was
 * handed over carries HANDED and its sender's name until it is imported, and the
 * name of who is about to import it, which may be killed before it can say so.
 */
#include <lfpool.h>
#include "lfpool_test.h"

#define PARAMS	"buffer_count=64 max_count=64 max_threads=32 batch=4 " \
		"serialization_size=4096 compression_size=4096 simd_elements=2"
#define POOL	"compression"
#define COUNT	64
#define WORKERS	4
#define KILLS	250
#define HOLD	6
#define HANDED	0x80000000U
#define RING	16
#define NAME_BITS	12
#define NAMES	(1U << NAME_BITS)

/* what workers and killer share */
struct shared {
	uint32_t owner[COUNT];		/* name of who has the buffer, 0: nobody */
	uint64_t handle[COUNT];		/* of its last export */
	uint8_t gone[NAMES];		/* by name: killed, or at its end */
	uint64_t ring[RING];		/* handles on their way, 0: none */
	uint64_t rounds[NAMES];
	uint32_t faults;
	uint32_t stop;
};

static struct shared *sh;

static bool gone(uint32_t name)
{
	return __atomic_load_n(&sh->gone[name % NAMES], __ATOMIC_SEQ_CST);
}

static void fault(const char *what, uint32_t item, uint32_t found, uint32_t me)
{
	if (__atomic_fetch_add(&sh->faults, 1, __ATOMIC_SEQ_CST) < 10)
		printf("# %s: buffer %u, worker %u finds %#x\n", what, item, me, found);
}

/* A buffer came from the pool: nobody living has it. */
static void note_get(uint32_t item, uint32_t me)
{
	uint32_t found = __atomic_exchange_n(&sh->owner[item], me, __ATOMIC_SEQ_CST);

	if (found && !gone(found) && !(found & HANDED && gone(found >> NAME_BITS)))
		fault("get", item, found, me);
}

static void note_move(const char *what, uint32_t item, uint32_t from, uint32_t to, uint32_t me)
{
	uint32_t found = __atomic_exchange_n(&sh->owner[item], to, __ATOMIC_SEQ_CST);

	if (found != from)
		fault(what, item, found, me);
}

/* About to be imported, unless its sender died and it has had another life since. */
static void note_taken(uint64_t handle, uint32_t me)
{
	uint32_t item = (uint32_t)handle;
	uint32_t found = __atomic_load_n(&sh->owner[item], __ATOMIC_SEQ_CST);

	if (found & HANDED && sh->handle[item] == handle)
		__atomic_compare_exchange_n(&sh->owner[item], &found, found | me << NAME_BITS, 0,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Imported: from whoever handed it over; the table still says who. */
static void note_import(uint32_t item, uint32_t me)
{
	uint32_t found = __atomic_exchange_n(&sh->owner[item], me, __ATOMIC_SEQ_CST);

	if (!(found & HANDED))
		fault("import", item, found, me);
}

/*
 * Exported, and put where others look for it. If nobody took the handle that
 * was there, it is forgotten; its buffer is still somebody's, who keeps it.
 */
static bool hand_over(struct lfpool *pool, void *buffer, uint32_t item, uint32_t me,
		      uint32_t *seed)
{
	uint64_t *place = &sh->ring[random_next(seed) % RING];
	uint64_t empty = 0;
	uint64_t handle;

	if (lfpool_export(pool, buffer, &handle))
		return false;
	sh->handle[item] = handle;
	note_move("export", item, me, me | HANDED, me);
	/* 0 is "none" in the ring */
	if (__atomic_compare_exchange_n(place, &empty, handle + 1, 0, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST))
		return true;
	/* no room: keep it; it may not be handed over any more */
	note_move("keep", item, me | HANDED, me, me);
	return false;
}

static void worker(uint32_t me, uint32_t seed)
{
	struct { void *data; uint32_t item; } held[HOLD];
	struct lfpool *pool = lfpool_open(POOL, 0);
	unsigned int n = 0;
	size_t size;

	if (!pool)
		_exit(2);
	size = lfpool_buffer_size(pool);
	while (!__atomic_load_n(&sh->stop, __ATOMIC_SEQ_CST)) {
		uint32_t what = random_next(&seed) % 8;

		if (what < 4 && n < HOLD) {
			void *p = lfpool_get(pool);

			if (p) {
				held[n].data = p;
				held[n].item = buffer_index(pool, p);
				note_get(held[n].item, me);
				stamp_write(p, size, me);
				n++;
			}
		} else if (what == 4 && n) {
			n--;
			if (hand_over(pool, held[n].data, held[n].item, me, &seed))
				continue;
			n++;
		} else if (what == 5 && n < HOLD) {
			uint64_t handle = __atomic_exchange_n(&sh->ring[random_next(&seed) % RING],
							      0, __ATOMIC_SEQ_CST);
			void *p = NULL;

			if (handle--) {
				note_taken(handle, me);
				p = lfpool_import(pool, handle);
			}
			if (p) {
				held[n].data = p;
				held[n].item = buffer_index(pool, p);
				note_import(held[n].item, me);
				stamp_write(p, size, me);
				n++;
			}
		} else if (n) {
			n--;
			if (!stamp_check(held[n].data, size, me))
				fault("stamp", held[n].item, 0, me);
			note_move("put", held[n].item, me, 0, me);
			if (lfpool_put(pool, held[n].data))
				fault("put refused", held[n].item, 0, me);
		}
		sh->rounds[me]++;
	}
	/* what was handed over and not imported goes with the client, as does the rest */
	__atomic_store_n(&sh->gone[me], 1, __ATOMIC_SEQ_CST);
	_exit(0);
}

static pid_t worker_start(uint32_t name)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		worker(name, 1 + name * 2654435761U);
	}
	return pid;
}

int main(void)
{
	uint32_t seed = setting("LFPOOL_SEED", 1);
	int kills = setting("LFPOOL_KILLS", KILLS);
	pid_t pid[WORKERS];
	uint32_t name[WORKERS];
	struct lfpool_stats stats;
	struct lfpool_audit a;
	struct lfpool *monitor;
	uint64_t rounds = 0;
	uint32_t next = 1;
	int bad = 0;
	int i, k;

	setlinebuf(stdout);
	ksft_print_header();
	ksft_set_plan(4);
	sh = shared_alloc(sizeof(*sh));
	if (module_load(PARAMS))
		ksft_exit_fail_msg("insmod: %s\n", strerror(errno));
	monitor = lfpool_open(POOL, LFPOOL_OPEN_RDONLY);
	if (!sh || !monitor)
		ksft_exit_fail_msg("%s\n", strerror(errno));
	ksft_print_msg("seed %u\n", seed);

	for (i = 0; i < WORKERS; i++) {
		name[i] = next++;
		pid[i] = worker_start(name[i]);
	}
	for (k = 0; k < kills && !bad; k++) {
		usleep(1000 + random_next(&seed) % 20000);
		i = random_next(&seed) % WORKERS;
		/* before the kill: what it had may be somebody's at once */
		__atomic_store_n(&sh->gone[name[i]], 1, __ATOMIC_SEQ_CST);
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
		rounds += sh->rounds[name[i]];
		if (lfpool_audit(monitor, &a) || a.lost || a.duplicate || a.damaged) {
			ksft_print_msg("kill %d: lost %llu duplicate %llu damaged %llu\n", k + 1,
				       a.lost, a.duplicate, a.damaged);
			bad++;
		}
		name[i] = next++;
		pid[i] = worker_start(name[i]);
	}
	ksft_test_result(!bad, "%d kills survived\n", k);

	for (i = 0; i < WORKERS; i++)
		rounds += sh->rounds[name[i]];
	sh->stop = 1;
	for (i = 0; i < WORKERS; i++) {
		int status;

		if (waitpid(pid[i], &status, 0) != pid[i] || status)
			bad++;
	}
	ksft_test_result(!bad && !sh->faults, "no buffer had two owners in %llu rounds\n",
			 (unsigned long long)rounds);

	if (!wait_until(!lfpool_stats(monitor, &stats) && !stats.clients, 10) ||
	    lfpool_audit(monitor, &a))
		memset(&a, 0xff, sizeof(a));
	ksft_print_msg("reserve %llu depot %llu held %llu transit %llu lost %llu duplicate %llu\n",
		       a.reserve, a.depot, a.held, a.transit, a.lost, a.duplicate);
	ksft_print_msg("reclaimed %llu scavenged %llu cas_retries %llu refills %llu flushes %llu\n",
		       stats.reclaimed, stats.scavenged, stats.cas_retries, stats.refills,
		       stats.flushes);
	ksft_test_result(a.exact && a.reserve + a.depot == COUNT && !a.lost && !a.duplicate &&
			 !a.damaged, "every buffer is back\n");
	lfpool_close(monitor);
	ksft_test_result(!module_unload(), "the module unloads\n");
	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
