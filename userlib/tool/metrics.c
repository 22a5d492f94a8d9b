// SPDX-License-Identifier: MIT
/*
 * Statistics for monitoring systems, in two dialects:
 *
 *   OpenMetrics 1.0: a counter's family is called x, its sample x_total; units;
 *	# EOF at the end
 *   Prometheus text format 0.0.4, which the textfile collector of the node
 *	exporter reads: a counter's family has the name of its sample
 */
#include <inttypes.h>

#include "tool.h"

static void family(const char *name, const char *type, const char *unit, const char *help,
		   bool openmetrics)
{
	const char *total = !openmetrics && *type == 'c' ? "_total" : "";

	printf("# HELP lfpool_%s%s %s.\n", name, total, help);
	printf("# TYPE lfpool_%s%s %s\n", name, total, type);
	if (openmetrics && unit)
		printf("# UNIT lfpool_%s %s\n", name, unit);
}

static void states(const char *pool, const struct lfpool_stats *stats)
{
	unsigned int i;

	for (i = 0; i < nr_fields; i++) {
		if (fields[i].kind == STATE)
			printf("lfpool_buffers{pool=\"%s\",state=\"%s\"} %" PRIu64 "\n", pool,
			       fields[i].metric, field_value(stats, &fields[i]));
	}
	printf("lfpool_buffers{pool=\"%s\",state=\"depot\"} %" PRIu64 "\n", pool,
	       pool_depot(stats));
}

/* Names of pools come from the module and need no escapes. */
void metrics_print(const struct pools *pools, const struct lfpool_stats *stats, bool openmetrics)
{
	unsigned int i, k;

	for (i = 0; i < nr_fields; i++) {
		const struct field *f = &fields[i];

		if (f->kind == STATE)
			continue;
		family(f->metric, f->kind == COUNTER ? "counter" : "gauge", f->unit, f->help,
		       openmetrics);
		for (k = 0; k < pools->n; k++)
			printf("lfpool_%s%s{pool=\"%s\"} %" PRIu64 "\n", f->metric,
			       f->kind == COUNTER ? "_total" : "", pools->at[k].name,
			       field_value(&stats[k], f));
	}
	family("buffers", "gauge", NULL, "Where the buffers are; the states add up to the capacity",
	       openmetrics);
	for (k = 0; k < pools->n; k++)
		states(pools->at[k].name, &stats[k]);
	family("hit_ratio", "gauge", "ratio", "Hits among all gets since the last reset",
	       openmetrics);
	for (k = 0; k < pools->n; k++)
		printf("lfpool_hit_ratio{pool=\"%s\"} %.6f\n", pools->at[k].name,
		       stats[k].hit_rate_ppm / 1e6);
	if (openmetrics)
		puts("# EOF");
}
