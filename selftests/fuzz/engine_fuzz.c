// SPDX-License-Identifier: GPL-2.0-only
/*
 * engine_fuzz: any shared state, any sequence of calls of the engine.
 *
 * The input is a pool and a script. After each call all of view.h's
 * checked_call() must hold: bounded steps, the private bits are the truth,
 * nothing is set beyond the pool, and, if nobody wrote meanwhile, exactly what
 * rules R1 and R2 say was done. The format, which seeds.py writes:
 *
 *	count - 1, threads
 *	bitmap of buffers that do not exist; bitmap of the kernel's
 *	client of each slot; how many clients live (ids from 1 on)
 *	head's index, head's tag
 *	for each slot: busy, n, journal, n items
 *	for each descriptor: owner, generation, next, count, count items
 *	script: operations of 2 to 5 bytes
 *
 * One byte each; where there is none any more, 0. See the functions below for
 * how a byte becomes a value that matters.
 */
#include "../native/view.h"

#define COUNT_MAX	72
#define THREADS_MAX	3
#define SCRIPT_MAX	48
#define POKES_MAX	8

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static const u8 *input;
static size_t input_left;
static struct state *st;

static u8 next(void)
{
	if (!input_left)
		return 0;
	input_left--;
	return *input++;
}

/* itself, or one of the limits */
static u32 next_index(void)
{
	u8 b = next();

	switch (b) {
	case 255:
		return LFPOOL_NONE;
	case 254:
		return ~0U;
	case 253:
		return 0x80000000;
	case 252:
		return st->view.count;
	default:
		return b;
	}
}

static u32 next_number(void)
{
	u8 b = next();

	return b < 128 ? b : b == 128 ? 0x80000000 : ~0U - (255 - b);
}

/* owner, flags and generation in two bytes */
static u64 next_word(void)
{
	u8 b = next();
	u32 low = b & 15;

	if (low == 14)
		low = LFPOOL_CLIENT_MAX;
	else if (low == 15)
		low = LFPOOL_OWNER_DEPOT;
	return make_word(next_number(), low | (u32)(b & 0xf0) << 24);
}

/*
 * Pokes: somebody writes, between two calls or between two accesses of one.
 */
static struct poke {
	u32 at;
	u8 what, where, value;
} pokes[POKES_MAX];
static u32 nr_pokes;

static struct poke next_poke(void)
{
	struct poke p = { .what = next(), .where = next(), .value = next() };

	return p;
}

static void poke(const struct poke *p)
{
	const u8 *rest = input;
	size_t left = input_left;
	struct lfpool_desc *d = &st->descs[p->where % st->view.count];
	struct lfpool_slot *s = st->view.threads ? &st->slots[p->where % st->view.threads] : NULL;

	/* the value is read as in the state */
	input = &p->value;
	input_left = 1;
	switch (p->what % (s ? 12 : 6)) {
	case 0:
		st->depot->head += LFPOOL_HEAD_TAG_ONE;
		break;
	case 1:
		st->depot->head = (st->depot->head & ~LFPOOL_HEAD_INDEX) |
				  (next_index() & LFPOOL_HEAD_INDEX);
		break;
	case 2:
		d->word = next_word() + (d->word & ~0xffffffffULL);
		break;
	case 3:
		d->next = next_index();
		break;
	case 4:
		d->count = next_number();
		break;
	case 5:
		d->item[p->what / 12 % (LFPOOL_BATCH_MAX - 1)] = next_index();
		break;
	case 6:
		s->journal = next_index();
		break;
	case 7:
		s->n = next_number();
		break;
	case 8:
		s->item[p->what / 12 % LFPOOL_CACHE_MAX] = next_index();
		break;
	case 9:
		s->busy ^= 1;
		break;
	case 10:
		s->gets++;
		break;
	default:
		d->word += make_word(1, 0);
		break;
	}
	input = rest;
	input_left = left;
}

static void poke_between(void)
{
	u32 k;

	for (k = 0; k < nr_pokes; k++) {
		if (pokes[k].at == shim_accesses)
			poke(&pokes[k]);
	}
}

static void next_bitmap(unsigned long *map, u32 count, bool invert)
{
	u32 i, b = 0;

	for (i = 0; i < count; i++) {
		if (i % 8 == 0)
			b = next();
		if (((b >> i % 8) & 1) != invert)
			__set_bit(i, map);
		else
			__clear_bit(i, map);
	}
}

static void next_state(void)
{
	u32 count = next() % COUNT_MAX + 1;
	u32 i, k;

	st = state_new(count, next() % (THREADS_MAX + 1));
	next_bitmap(st->present, count, true);
	next_bitmap(st->kernel, count, false);
	for (i = 0; i < count; i++) {
		if (!test_bit(i, st->present))
			__clear_bit(i, st->kernel);
	}
	for (i = 0; i < st->view.threads; i++)
		st->owner[i] = next() % 8;
	st->view.clients_nr = next() % (STATE_CLIENTS + 1);
	for (i = 0; i < st->view.clients_nr; i++)
		st->clients[i] = i + 1;
	st->depot->head = next_index() & LFPOOL_HEAD_INDEX;
	st->depot->head += (u64)next_number() * LFPOOL_HEAD_TAG_ONE;
	for (i = 0; i < st->view.threads; i++) {
		struct lfpool_slot *s = &st->slots[i];

		s->busy = next() % 2;
		s->n = next_number();
		s->journal = next_index();
		for (k = 0; k < s->n && k < LFPOOL_CACHE_MAX; k++)
			s->item[k] = next_index();
	}
	for (i = 0; i < count; i++) {
		struct lfpool_desc *d = &st->descs[i];

		d->word = next_word();
		d->next = next_index();
		d->count = next_number();
		for (k = 0; k < d->count && k < LFPOOL_BATCH_MAX - 1; k++)
			d->item[k] = next_index();
	}
}

/* The owners that no client can be are not asked about. */
static u32 client_of(u8 b)
{
	return b % 16 == 15 ? LFPOOL_CLIENT_MAX : b % 16 + 1;
}

static void call(enum engine_call what, u8 arg)
{
	u32 argument = what == CALL_DRAIN_CACHE ? arg : client_of(arg);
	const char *wrong;
	u64 sum = 0;

	shim_between = nr_pokes ? poke_between : NULL;
	wrong = checked_call(st, what, argument, &sum);
	shim_between = NULL;
	nr_pokes = 0;
	if (wrong) {
		fprintf(stderr, "# %s(%u): %s\n", engine_call_name[what], argument, wrong);
		abort();
	}
	state_settle(st);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	u32 n, i;
	u8 op;

	input = data;
	input_left = size;
	nr_pokes = 0;
	next_state();
	for (n = 0; n < SCRIPT_MAX && input_left; n++) {
		struct poke p;

		op = next() % (CALL_NR + 3);
		switch (op) {
		case CALL_NR:			/* write now */
			p = next_poke();
			poke(&p);
			break;
		case CALL_NR + 1:		/* write during the next call */
			i = nr_pokes < POKES_MAX ? nr_pokes++ : 0;
			op = next();
			pokes[i] = next_poke();
			pokes[i].at = op;
			break;
		case CALL_NR + 2:		/* a client dies: its slots are free */
			op = next() % 8;
			for (i = 0; i < st->view.threads; i++) {
				if (st->owner[i] == op)
					st->owner[i] = 0;
			}
			break;
		default:
			call(op, next());
			break;
		}
	}
	state_free(st);
	return 0;
}

#ifdef REPLAY
/* Every file that is named, once: for the coverage of what was found. */
int main(int argc, char **argv)
{
	static uint8_t data[1 << 16];
	size_t size;
	FILE *file;
	int k;

	for (k = 1; k < argc; k++) {
		file = fopen(argv[k], "rb");
		if (!file) {
			perror(argv[k]);
			return 1;
		}
		size = fread(data, 1, sizeof(data), file);
		fclose(file);
		LLVMFuzzerTestOneInput(data, size);
	}
	return 0;
}
#endif
