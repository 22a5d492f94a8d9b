/* SPDX-License-Identifier: MIT */
/*
 * What the files of the lfpool command share.
 *
 *   main.c      finds the command; help, version
 *   common.c    messages, numbers, colours, progress
 *   table.c     text in columns
 *   pools.c     which pools there are, what they say, and why one cannot be had
 *   clients.c   who has a pool open, from /proc
 *   metrics.c   OpenMetrics and Prometheus
 *   list.c stat.c top.c holders.c check.c reset.c bench.c demo.c: one command each
 */
#ifndef LFPOOL_TOOL_H
#define LFPOOL_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <json-c/json.h>
#include <lfpool.h>

/* grows when a key of the JSON output changes its meaning or goes away */
#define TOOL_SCHEMA	1

/* exit statuses */
enum {
	TOOL_OK = 0,
	TOOL_WRONG = 1,		/* found something wrong, or could not do it */
	TOOL_USAGE = 2,
	TOOL_NO_POOL = 69,	/* EX_UNAVAILABLE: no module, pool or permission */
};

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/**
 * struct command - one word that may follow "lfpool"
 * @name:    the word
 * @args:    its arguments, for usage
 * @summary: one line for the list of commands
 * @help:    the rest of its --help
 * @run:     does it; returns the exit status. argv[0] is "lfpool NAME".
 */
struct command {
	const char *name;
	const char *args;
	const char *summary;
	const char *help;
	int (*run)(int argc, char **argv);
};

extern const struct command cmd_list, cmd_stat, cmd_top, cmd_holders, cmd_check, cmd_reset,
	cmd_bench, cmd_demo;

/* common.c: messages go to standard error and start with "lfpool: " */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int usage(const struct command *cmd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int show_help(const struct command *cmd);
/* for getopt's '?', after its own message, and for 'h' */
int bad_option(const struct command *cmd);
bool parse_seconds(const char *text, double *seconds);
bool parse_count(const char *text, uint64_t max, uint64_t *count);
uint64_t now_ns(void);
/* false if a signal came first */
bool sleep_for(double seconds);
/* "128K"; at most 7 characters */
const char *human_size(uint64_t bytes, char *text, size_t size);
/* "12.3M"; at most 7 characters */
const char *human_count(double n, char *text, size_t size);
/* "3m12s"; at most 7 characters */
const char *human_age(uint64_t ms, char *text, size_t size);
__attribute__((noreturn)) void out_of_memory(void);
void *xrealloc(void *p, size_t n, size_t size);

enum color { PLAIN, BOLD, GREEN, YELLOW, RED };
/* whether colours and cursor movement make sense there */
bool wants_color(FILE *f);
/* the escape sequence, or "" */
const char *color(enum color c);

void progress(const char *what, double fraction);
void progress_end(void);

struct json_object *json_report(const char *command);
struct json_object *json_fraction(double value, int digits);
void json_add(struct json_object *o, const char *key, uint64_t value);
/* prints and frees; @compact: on one line */
void json_print(struct json_object *o, bool compact);
/* like json-c's, but never returns NULL */
struct json_object *json_array(void);
struct json_object *json_dict(void);

/* table.c */
#define TABLE_COLUMNS	16

struct table {
	const char *const *heads;	/* "-HEAD": left-aligned */
	unsigned int columns;
	unsigned int cells;
	struct {
		char *text;
		enum color color;
	} *cell;
};

void table_cell(struct table *t, enum color c, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* prints and frees */
void table_print(struct table *t, FILE *f);

/* pools.c */

/* the pools that every module has, as the command makes them without one */
enum kind { SERIALIZATION, COMPRESSION, SIMD, KINDS };
extern const struct lfpool_config kinds[KINDS];

/**
 * struct field - one statistic, as in sysfs
 * @name:   its file
 * @offset: in struct lfpool_stats
 * @kind:   how it becomes a metric
 * @metric: its name there
 * @unit:   OpenMetrics unit, NULL for none
 * @help:   what it means
 */
struct field {
	const char *name;
	size_t offset;
	enum { GAUGE, COUNTER, STATE } kind;
	const char *metric;
	const char *unit;
	const char *help;
};

extern const struct field fields[];
extern const unsigned int nr_fields;

static inline uint64_t field_value(const struct lfpool_stats *stats, const struct field *f)
{
	return *(const uint64_t *)((const char *)stats + f->offset);
}

struct pools {
	unsigned int n;
	struct pool {
		char name[LFPOOL_NAME_LEN];
		unsigned int minor;
	} *at;
};

/* All pools, in the order of their nodes; false if there is no module. */
bool pools_find(struct pools *pools);
bool pools_have(const struct pools *pools, const char *name);
/* Those that are named, each once, or all; says why not. Exit status. */
int pools_select(char **names, unsigned int n, struct pools *pools);
/* Says why a pool cannot be had: TOOL_NO_POOL. */
int pool_refused(const char *name, int err);
/* Whether its node can be opened for writing, as buffers need; 0 or -errno. */
int pool_writable(const char *name);
/* Whoever may not open the node reads sysfs. 0 or -errno. */
int pool_stats(const char *name, struct lfpool_stats *stats);
/* free buffers that are neither cached nor in the reserve */
uint64_t pool_depot(const struct lfpool_stats *stats);
/* /sys/class/lfpool/NAME/FILE, without its newline; 0 or -errno */
int pool_read(const char *name, const char *file, char *text, size_t size);
struct json_object *pool_json(const char *name, const struct lfpool_stats *stats);

/* clients.c */
struct holder {
	char pool[LFPOOL_NAME_LEN];
	uint32_t client;
	pid_t pid;
	char comm[32];
	uint64_t held, cached, gets, puts, misses, age_ms;
};

struct holders {
	size_t n;
	struct holder *at;
};

void holders_scan(struct holders *holders);
void holders_free(struct holders *holders);
struct json_object *holder_json(const struct holder *h);
/* by pool, how many clients are not among the holders */
struct json_object *holders_missing_json(const struct holders *holders, const struct pools *pools);
/* how many clients of the pool are not among the holders */
uint64_t holders_missing(const struct holders *holders, const char *pool);
const char *holders_missing_why(void);

/* metrics.c */
void metrics_print(const struct pools *pools, const struct lfpool_stats *stats, bool openmetrics);

#endif /* LFPOOL_TOOL_H */
