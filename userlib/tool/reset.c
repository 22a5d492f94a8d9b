// SPDX-License-Identifier: MIT
/*
 * lfpool reset: start the counters anew.
 *
 * root writes to sysfs, which needs no mapping; others, who may write to the
 * node, go through the library.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#include "tool.h"

static int reset(const char *name)
{
	struct lfpool *pool;
	char path[128];
	int fd, err;

	snprintf(path, sizeof(path), "/sys/class/lfpool/%s/reset_stats", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		err = write(fd, "1", 1) == 1 ? 0 : -errno;
		close(fd);
		return err;
	}
	pool = lfpool_open(name, 0);
	if (!pool)
		return -errno;
	err = lfpool_reset_stats(pool);
	lfpool_close(pool);
	return err;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	struct json_object *report, *array;
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
			return show_help(&cmd_reset);
		default:
			return bad_option(&cmd_reset);
		}
	}
	status = pools_select(argv + optind, argc - optind, &pools);
	for (i = 0; i < pools.n && !status; i++) {
		int err = reset(pools.at[i].name);

		if (err)
			status = pool_refused(pools.at[i].name, err);
	}
	if (!status && json) {
		report = json_report("reset");
		array = json_array();
		for (i = 0; i < pools.n; i++) {
			struct json_object *o = json_dict();

			json_object_object_add(o, "pool",
					       json_object_new_string(pools.at[i].name));
			json_object_array_add(array, o);
		}
		json_object_object_add(report, "pools", array);
		json_print(report, false);
	}
	free(pools.at);
	return status;
}

const struct command cmd_reset = {
	.name = "reset",
	.args = "[--json] [POOL...]",
	.summary = "start the counters anew; buffers stay where they are",
	.help = "Set the counters of the pools to zero: hits, misses, allocations, deallocations\n"
		"and the rest. Buffers and programs are not touched. Needs permission to write.\n"
		"\n"
		"  -j, --json  print JSON: which pools were reset\n"
		"  -h, --help  this text\n",
	.run = run,
};
