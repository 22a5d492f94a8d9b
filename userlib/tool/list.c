// SPDX-License-Identifier: MIT
/*
 * lfpool list: which pools there are.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "tool.h"

static const char *access_of(const char *path)
{
	if (access(path, F_OK))
		return "no node";
	if (!access(path, R_OK | W_OK))
		return "read, write";
	return access(path, R_OK) ? "none" : "read";
}

static void list_table(const struct pools *pools, const struct lfpool_stats *stats)
{
	static const char *const heads[] = {
		"-POOL", "SIZE", "BUFFERS", "MAX", "HELD", "AVAIL", "HIT RATE", "CLIENTS",
		"-NODE", "-YOU MAY",
	};
	struct table t = { .heads = heads, .columns = ARRAY_SIZE(heads) };
	unsigned int i;

	for (i = 0; i < pools->n; i++) {
		const struct lfpool_stats *s = &stats[i];
		char size[16], node[64];

		snprintf(node, sizeof(node), "/dev/lfpool/%s", pools->at[i].name);
		table_cell(&t, PLAIN, "%s", pools->at[i].name);
		table_cell(&t, PLAIN, "%s", human_size(s->buffer_size, size, sizeof(size)));
		table_cell(&t, PLAIN, "%" PRIu64, (uint64_t)s->capacity);
		table_cell(&t, PLAIN, "%" PRIu64, (uint64_t)s->max_count);
		table_cell(&t, PLAIN, "%" PRIu64, (uint64_t)s->in_use);
		table_cell(&t, s->available ? PLAIN : YELLOW, "%" PRIu64, (uint64_t)s->available);
		if (s->pool_hits || s->pool_misses)
			table_cell(&t, PLAIN, "%.2f%%", s->hit_rate_ppm / 1e4);
		else
			table_cell(&t, PLAIN, "-");
		table_cell(&t, PLAIN, "%" PRIu64, (uint64_t)s->clients);
		table_cell(&t, PLAIN, "%s", node);
		table_cell(&t, PLAIN, "%s", access_of(node));
	}
	table_print(&t, stdout);
}

static void list_json(const struct pools *pools, const struct lfpool_stats *stats)
{
	struct json_object *report = json_report("list"), *array = json_array();
	unsigned int i;

	for (i = 0; i < pools->n; i++) {
		const struct lfpool_stats *s = &stats[i];
		struct json_object *o = json_dict();
		char node[64];

		snprintf(node, sizeof(node), "/dev/lfpool/%s", pools->at[i].name);
		json_object_object_add(o, "pool", json_object_new_string(pools->at[i].name));
		json_add(o, "buffer_size", s->buffer_size);
		json_add(o, "capacity", s->capacity);
		json_add(o, "max_count", s->max_count);
		json_add(o, "in_use", s->in_use);
		json_add(o, "available", s->available);
		json_object_object_add(o, "hit_rate", json_fraction(s->hit_rate_ppm / 1e6, 6));
		json_add(o, "clients", s->clients);
		json_object_object_add(o, "node", json_object_new_string(node));
		json_object_object_add(o, "readable", json_object_new_boolean(!access(node, R_OK)));
		json_object_object_add(o, "writable", json_object_new_boolean(!access(node, W_OK)));
		json_object_array_add(array, o);
	}
	json_object_object_add(report, "pools", array);
	json_print(report, false);
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	struct lfpool_stats *stats;
	struct pools pools = { 0 };
	bool json = false;
	unsigned int i;
	int status, c;

	while ((c = getopt_long(argc, argv, "jh", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'h':
			return show_help(&cmd_list);
		default:
			return bad_option(&cmd_list);
		}
	}
	status = pools_select(argv + optind, argc - optind, &pools);
	if (status)
		goto out;
	stats = xrealloc(NULL, pools.n, sizeof(*stats));
	for (i = 0; i < pools.n && !status; i++) {
		int err = pool_stats(pools.at[i].name, &stats[i]);

		if (err)
			status = pool_refused(pools.at[i].name, err);
	}
	if (!status && json)
		list_json(&pools, stats);
	else if (!status)
		list_table(&pools, stats);
	free(stats);
out:
	free(pools.at);
	return status;
}

const struct command cmd_list = {
	.name = "list",
	.args = "[--json] [POOL...]",
	.summary = "which pools there are, and whether you may use them",
	.help = "List the pools: size of a buffer, buffers now and at most, how many are held\n"
		"and available, and whether you may open the node for reading (statistics) or\n"
		"writing (buffers).\n"
		"\n"
		"  -j, --json  print JSON\n"
		"  -h, --help  this text\n",
	.run = run,
};
