// SPDX-License-Identifier: MIT
/*
 * lfpool check: find every buffer.
 *
 * While programs run, buffers move under the audit's eyes. A look at which
 * nothing moved decides; if there is none, a fault counts if each look had one of
 * its kind.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>

#include "tool.h"

#define LOOKS	20
#define PAUSE	0.05

static uint64_t faults(const struct lfpool_audit *a)
{
	return a->lost + a->duplicate + a->damaged;
}

static void keep_less(__u64 *kept, __u64 seen)
{
	if (seen < *kept)
		*kept = seen;
}

/* Of inexact looks, @found is the first, with the faults that all of them had. */
static int look(const char *name, struct lfpool_audit *found)
{
	struct lfpool *pool = lfpool_open(name, LFPOOL_OPEN_RDONLY);
	struct lfpool_audit a;
	int i, err;

	if (!pool)
		return -errno;
	for (i = 0; i < LOOKS; i++) {
		err = lfpool_audit(pool, &a);
		if (err)
			break;
		if (!i || a.exact)
			*found = a;
		keep_less(&found->lost, a.lost);
		keep_less(&found->duplicate, a.duplicate);
		keep_less(&found->damaged, a.damaged);
		if (a.exact || !faults(found))
			break;
		progress(name, (i + 1.0) / LOOKS);
		sleep_for(PAUSE);
	}
	progress_end();
	lfpool_close(pool);
	return err;
}

static void check_table(const struct pools *pools, const struct lfpool_audit *audits)
{
	static const char *const heads[] = {
		"-POOL", "BUFFERS", "RESERVE", "DEPOT", "CACHED", "HELD", "MOVING", "QUARANTINED",
		"LOST", "DOUBLE", "DAMAGED", "-",
	};
	struct table t = { .heads = heads, .columns = ARRAY_SIZE(heads) };
	unsigned int i, k;

	for (i = 0; i < pools->n; i++) {
		const struct lfpool_audit *a = &audits[i];
		uint64_t good[] = { a->capacity, a->reserve, a->depot, a->cached, a->held,
				    a->transit, a->quarantined };
		uint64_t bad[] = { a->lost, a->duplicate, a->damaged };

		table_cell(&t, PLAIN, "%s", pools->at[i].name);
		for (k = 0; k < ARRAY_SIZE(good); k++)
			table_cell(&t, PLAIN, "%" PRIu64, good[k]);
		for (k = 0; k < ARRAY_SIZE(bad); k++)
			table_cell(&t, bad[k] ? RED : PLAIN, "%" PRIu64, bad[k]);
		table_cell(&t, faults(a) ? RED : GREEN, faults(a) ? "WRONG" : "ok");
	}
	table_print(&t, stdout);
}

static void check_json(const struct pools *pools, const struct lfpool_audit *audits, bool ok)
{
	struct json_object *report = json_report("check"), *array = json_array();
	unsigned int i;

	json_object_object_add(report, "ok", json_object_new_boolean(ok));
	for (i = 0; i < pools->n; i++) {
		const struct lfpool_audit *a = &audits[i];
		struct json_object *o = json_dict();

		json_object_object_add(o, "pool", json_object_new_string(pools->at[i].name));
		json_object_object_add(o, "ok", json_object_new_boolean(!faults(a)));
		json_add(o, "capacity", a->capacity);
		json_add(o, "reserve", a->reserve);
		json_add(o, "depot", a->depot);
		json_add(o, "cached", a->cached);
		json_add(o, "held", a->held);
		json_add(o, "transit", a->transit);
		json_add(o, "quarantined", a->quarantined);
		json_add(o, "lost", a->lost);
		json_add(o, "duplicate", a->duplicate);
		json_add(o, "damaged", a->damaged);
		json_object_object_add(o, "exact", json_object_new_boolean(a->exact != 0));
		json_object_array_add(array, o);
	}
	json_object_object_add(report, "pools", array);
	json_print(report, false);
}

static void say_fault(const char *name, const char *what, uint64_t n)
{
	if (n)
		say("%s: %" PRIu64 " %s", name, n, what);
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	struct lfpool_audit *audits = NULL;
	struct pools pools = { 0 };
	bool json = false, quiet = false, ok = true;
	unsigned int i;
	int status, c;

	while ((c = getopt_long(argc, argv, "jqh", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'q':
			quiet = true;
			break;
		case 'h':
			return show_help(&cmd_check);
		default:
			return bad_option(&cmd_check);
		}
	}
	if (json && quiet)
		return usage(&cmd_check, "--json or --quiet, not both");
	status = pools_select(argv + optind, argc - optind, &pools);
	if (status)
		goto out;
	audits = xrealloc(NULL, pools.n, sizeof(*audits));
	for (i = 0; i < pools.n; i++) {
		int err = look(pools.at[i].name, &audits[i]);

		if (err) {
			status = pool_refused(pools.at[i].name, err);
			goto out;
		}
		ok = ok && !faults(&audits[i]);
	}
	if (json)
		check_json(&pools, audits, ok);
	else if (!quiet)
		check_table(&pools, audits);
	for (i = 0; i < pools.n && !json && !quiet; i++) {
		const char *name = pools.at[i].name;

		say_fault(name, "lost: they are nowhere", audits[i].lost);
		say_fault(name, "in two places at once", audits[i].duplicate);
		say_fault(name, "damaged words: a program wrote where it must not",
			  audits[i].damaged);
	}
	if (!ok)
		status = TOOL_WRONG;
out:
	free(audits);
	free(pools.at);
	return status;
}

const struct command cmd_check = {
	.name = "check",
	.args = "[--json | --quiet] [POOL...]",
	.summary = "where every buffer is; exit status 1 if one is lost or double",
	.help = "Find every buffer of the pools: in the kernel's reserve, in the depot, in a\n"
		"cache, held by a program, moving between those, or in quarantine because\n"
		"hardware still uses the pages of a program that died. None may be lost or\n"
		"double.\n"
		"\n"
		"  -j, --json   print JSON\n"
		"  -q, --quiet  print nothing; only the exit status tells\n"
		"  -h, --help   this text\n",
	.run = run,
};
