// SPDX-License-Identifier: MIT
/*
 * lfpool holders: who has buffers.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

static const struct pools *order;

static int pool_rank(const char *name)
{
	unsigned int i;

	for (i = 0; i < order->n && strcmp(order->at[i].name, name); i++)
		;
	return i;
}

/* by pool; in a pool those that hold the most come first */
static int compare(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;
	int rank = pool_rank(x->pool) - pool_rank(y->pool);

	if (rank)
		return rank;
	if (x->held != y->held)
		return x->held > y->held ? -1 : 1;
	return x->client < y->client ? -1 : x->client > y->client;
}

static void holders_table(const struct holders *holders)
{
	static const char *const heads[] = {
		"-POOL", "PID", "-COMMAND", "HELD", "CACHED", "GETS", "PUTS", "MISSES", "AGE",
	};
	struct table t = { .heads = heads, .columns = ARRAY_SIZE(heads) };
	size_t i;

	for (i = 0; i < holders->n; i++) {
		const struct holder *h = &holders->at[i];
		char age[16];

		table_cell(&t, PLAIN, "%s", h->pool);
		table_cell(&t, PLAIN, "%d", h->pid);
		table_cell(&t, PLAIN, "%s", h->comm);
		table_cell(&t, h->held ? BOLD : PLAIN, "%" PRIu64, h->held);
		table_cell(&t, PLAIN, "%" PRIu64, h->cached);
		table_cell(&t, PLAIN, "%" PRIu64, h->gets);
		table_cell(&t, PLAIN, "%" PRIu64, h->puts);
		table_cell(&t, PLAIN, "%" PRIu64, h->misses);
		table_cell(&t, PLAIN, "%s", human_age(h->age_ms, age, sizeof(age)));
	}
	table_print(&t, stdout);
}

static void holders_json(const struct holders *holders, const struct pools *pools)
{
	struct json_object *report = json_report("holders"), *array = json_array();
	size_t i;

	for (i = 0; i < holders->n; i++)
		json_object_array_add(array, holder_json(&holders->at[i]));
	json_object_object_add(report, "holders", array);
	json_object_object_add(report, "not_shown", holders_missing_json(holders, pools));
	json_print(report, false);
}

/* Only of the pools that were asked for. */
static void filter(struct holders *holders, const struct pools *pools)
{
	size_t i, n = 0;

	order = pools;
	for (i = 0; i < holders->n; i++) {
		if (pool_rank(holders->at[i].pool) < (int)pools->n)
			holders->at[n++] = holders->at[i];
	}
	holders->n = n;
	if (n)
		qsort(holders->at, n, sizeof(*holders->at), compare);
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	struct holders holders;
	struct pools pools = { 0 };
	uint64_t missing = 0;
	bool json = false;
	unsigned int i;
	int status, c;

	while ((c = getopt_long(argc, argv, "jh", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'h':
			return show_help(&cmd_holders);
		default:
			return bad_option(&cmd_holders);
		}
	}
	status = pools_select(argv + optind, argc - optind, &pools);
	if (status)
		goto out;
	holders_scan(&holders);
	filter(&holders, &pools);
	if (json)
		holders_json(&holders, &pools);
	else if (holders.n)
		holders_table(&holders);
	for (i = 0; i < pools.n; i++)
		missing += holders_missing(&holders, pools.at[i].name);
	if (missing)
		say("%" PRIu64 " more: %s", missing, holders_missing_why());
	else if (!holders.n && !json)
		say("nobody uses %s", pools.n == 1 ? pools.at[0].name : "the pools");
	holders_free(&holders);
out:
	free(pools.at);
	return status;
}

const struct command cmd_holders = {
	.name = "holders",
	.args = "[--json] [POOL...]",
	.summary = "which processes have buffers, and how many",
	.help = "List the processes that have a pool mapped: how many buffers each holds, how\n"
		"many free ones its threads keep in their caches, its gets, puts and misses, and\n"
		"for how long it has been there. Those that hold the most come first.\n"
		"\n"
		"The kernel shows you your own processes only, unless you are root.\n"
		"\n"
		"  -j, --json  print JSON\n"
		"  -h, --help  this text\n",
	.run = run,
};
