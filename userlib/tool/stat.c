// SPDX-License-Identifier: MIT
/*
 * lfpool stat: statistics of pools, once or again and again, for people and for
 * monitoring systems.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "tool.h"

enum format { TEXT, JSON, OPENMETRICS, PROMETHEUS };

/* every value of the pools, a column each */
static void stat_once(const struct pools *pools, const struct lfpool_stats *stats)
{
	const char *heads[TABLE_COLUMNS] = { "-" };
	struct table t = { .heads = heads, .columns = pools->n + 1 };
	unsigned int i, k;

	for (k = 0; k < pools->n; k++)
		heads[k + 1] = pools->at[k].name;
	for (i = 0; i < nr_fields; i++) {
		table_cell(&t, PLAIN, "%s", fields[i].name);
		for (k = 0; k < pools->n; k++)
			table_cell(&t, PLAIN, "%" PRIu64, field_value(&stats[k], &fields[i]));
	}
	table_cell(&t, PLAIN, "hit_rate");
	for (k = 0; k < pools->n; k++)
		table_cell(&t, PLAIN, "%.6f", stats[k].hit_rate_ppm / 1e6);
	table_print(&t, stdout);
}

static double rate(uint64_t now, uint64_t before, double seconds)
{
	/* a reset came between */
	return now >= before ? (now - before) / seconds : 0;
}

/* a line for each pool: what happened since the last look */
static void stat_line(const struct pools *pools, const struct lfpool_stats *now,
		      const struct lfpool_stats *before, double seconds, bool head)
{
	time_t clock = time(NULL);
	char stamp[16];
	unsigned int k;

	strftime(stamp, sizeof(stamp), "%H:%M:%S", localtime(&clock));
	if (head)
		printf("%s%-8s  %-14s %7s %7s %7s %7s %10s %10s %9s %7s%s\n", color(BOLD), "TIME",
		       "POOL", "HELD", "CACHED", "AVAIL", "BUFFERS", "GETS/s", "PUTS/s", "MISSES/s",
		       "HIT%", color(PLAIN));
	for (k = 0; k < pools->n; k++) {
		const struct lfpool_stats *n = &now[k], *b = &before[k];
		double hits = rate(n->pool_hits, b->pool_hits, seconds);
		double misses = rate(n->pool_misses, b->pool_misses, seconds);
		char hit[16] = "-";

		if (hits + misses > 0)
			snprintf(hit, sizeof(hit), "%.2f", 100 * hits / (hits + misses));
		printf("%-8s  %-14s %7" PRIu64 " %7" PRIu64 " %s%7" PRIu64 "%s %7" PRIu64
		       " %10.0f %10.0f %9.0f %7s\n", stamp, pools->at[k].name, (uint64_t)n->in_use,
		       (uint64_t)n->cached, n->available ? "" : color(YELLOW),
		       (uint64_t)n->available, n->available ? "" : color(PLAIN),
		       (uint64_t)n->capacity, hits + misses,
		       rate(n->deallocations, b->deallocations, seconds), misses, hit);
	}
}

static void stat_json(const struct pools *pools, const struct lfpool_stats *stats, bool compact)
{
	struct json_object *report = json_report("stat"), *array = json_array();
	struct timespec t;
	unsigned int i;

	clock_gettime(CLOCK_REALTIME, &t);
	json_object_object_add(report, "time", json_fraction(t.tv_sec + t.tv_nsec / 1e9, 3));
	for (i = 0; i < pools->n; i++)
		json_object_array_add(array, pool_json(pools->at[i].name, &stats[i]));
	json_object_object_add(report, "pools", array);
	json_print(report, compact);
}

static int read_all(const struct pools *pools, struct lfpool_stats *stats)
{
	unsigned int i;
	int err;

	for (i = 0; i < pools->n; i++) {
		err = pool_stats(pools->at[i].name, &stats[i]);
		if (err)
			return pool_refused(pools->at[i].name, err);
	}
	return TOOL_OK;
}

static int stat_repeat(const struct pools *pools, struct lfpool_stats *stats, enum format format,
		       double interval, uint64_t count)
{
	struct lfpool_stats *before = xrealloc(NULL, pools->n, sizeof(*before));
	int status = TOOL_OK;
	unsigned int i, lines = 0;
	uint64_t then, now;

	then = now_ns();
	if (format == JSON) {
		stat_json(pools, stats, true);
		fflush(stdout);
		count -= count != 0;
		if (!count)
			goto out;
	}
	do {
		for (i = 0; i < pools->n; i++)
			before[i] = stats[i];
		if (!sleep_for(interval))
			break;
		status = read_all(pools, stats);
		if (status)
			break;
		now = now_ns();
		if (format == JSON)
			stat_json(pools, stats, true);
		else
			stat_line(pools, stats, before, (now - then) / 1e9, !lines);
		then = now;
		/* the heading comes back as often as vmstat's does */
		lines = (lines + pools->n) % 24 < pools->n ? 0 : lines + pools->n;
		if (fflush(stdout))
			break;
	} while (--count);
out:
	free(before);
	return status;
}

static int run(int argc, char **argv)
{
	enum { OPT_OPENMETRICS = 256, OPT_PROMETHEUS };
	static const struct option options[] = {
		{ "interval", required_argument, NULL, 'i' },
		{ "count", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "openmetrics", no_argument, NULL, OPT_OPENMETRICS },
		{ "prometheus", no_argument, NULL, OPT_PROMETHEUS },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	struct lfpool_stats *stats = NULL;
	enum format format = TEXT, chosen;
	struct pools pools = { 0 };
	uint64_t count = UINT64_MAX;
	bool counted = false;
	double interval = 0;
	int status, c;

	while ((c = getopt_long(argc, argv, "i:c:jh", options, NULL)) != -1) {
		switch (c) {
		case 'i':
			if (!parse_seconds(optarg, &interval))
				return usage(&cmd_stat,
					     "'%s' is no interval: seconds, 0.01 to 86400", optarg);
			break;
		case 'c':
			if (!parse_count(optarg, 1000000000, &count))
				return usage(&cmd_stat, "'%s' is no count", optarg);
			counted = true;
			break;
		case 'j':
		case OPT_OPENMETRICS:
		case OPT_PROMETHEUS:
			chosen = c == 'j' ? JSON : c == OPT_OPENMETRICS ? OPENMETRICS : PROMETHEUS;
			if (format != TEXT && format != chosen)
				return usage(&cmd_stat, "one format at a time, please");
			format = chosen;
			break;
		case 'h':
			return show_help(&cmd_stat);
		default:
			return bad_option(&cmd_stat);
		}
	}
	if (counted && !interval)
		interval = 1;
	if (interval && (format == OPENMETRICS || format == PROMETHEUS))
		return usage(&cmd_stat, "metrics are printed once: no -i, no -c");

	status = pools_select(argv + optind, argc - optind, &pools);
	if (status)
		goto out;
	if (pools.n >= TABLE_COLUMNS) {
		status = usage(&cmd_stat, "%u pools at a time at most", TABLE_COLUMNS - 1);
		goto out;
	}
	stats = xrealloc(NULL, pools.n, sizeof(*stats));
	status = read_all(&pools, stats);
	if (status)
		goto out;
	if (interval)
		status = stat_repeat(&pools, stats, format, interval, count);
	else if (format == TEXT)
		stat_once(&pools, stats);
	else if (format == JSON)
		stat_json(&pools, stats, false);
	else
		metrics_print(&pools, stats, format == OPENMETRICS);
out:
	free(stats);
	free(pools.at);
	return status;
}

const struct command cmd_stat = {
	.name = "stat",
	.args = "[-i SECONDS [-c COUNT]]\n"
		"                   [--json | --openmetrics | --prometheus] [POOL...]",
	.summary = "all statistics, once or every few seconds",
	.help = "Print every statistic of the pools; their names are those of the files in\n"
		"/sys/class/lfpool/POOL, and lfpool(4) says what each means.\n"
		"\n"
		"  -i, --interval=SECONDS  print rates every SECONDS, until interrupted\n"
		"  -c, --count=COUNT       print COUNT times (without -i: every second)\n"
		"  -j, --json              print JSON; with -i, an object a line\n"
		"      --openmetrics       print OpenMetrics text\n"
		"      --prometheus        print Prometheus text, for the textfile collector of\n"
		"                          the node exporter\n"
		"  -h, --help              this text\n",
	.run = run,
};
