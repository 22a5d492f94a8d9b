// SPDX-License-Identifier: MIT
/*
 * Messages, numbers, colours, progress.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

static bool progress_shown;

void say(const char *fmt, ...)
{
	va_list args;

	progress_end();
	fflush(stdout);
	fputs("lfpool: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

/*
 * Help
 */

int bad_option(const struct command *cmd)
{
	fprintf(stderr, "Try 'lfpool %s --help'.\n", cmd->name);
	return TOOL_USAGE;
}

int usage(const struct command *cmd, const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "lfpool %s: ", cmd->name);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return bad_option(cmd);
}

int show_help(const struct command *cmd)
{
	printf("Usage: lfpool %s %s\n\n%s", cmd->name, cmd->args, cmd->help);
	return TOOL_OK;
}

/*
 * Numbers and time
 */

bool parse_seconds(const char *text, double *seconds)
{
	char *end;

	*seconds = strtod(text, &end);
	return end != text && !*end && *seconds >= 0.01 && *seconds <= 86400;
}

bool parse_count(const char *text, uint64_t max, uint64_t *count)
{
	char *end;

	errno = 0;
	*count = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *count >= 1 && *count <= max;
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

bool sleep_for(double seconds)
{
	struct timespec t = {
		.tv_sec = seconds,
		.tv_nsec = (seconds - floor(seconds)) * 1e9,
	};

	return !nanosleep(&t, NULL);
}

static const char *human(double n, double unit, const char *suffixes, char *text, size_t size)
{
	while (n >= unit && suffixes[1]) {
		n /= unit;
		suffixes++;
	}
	/* 9.96 would become 10.0 */
	if (*suffixes == ' ')
		snprintf(text, size, "%.0f", n);
	else if (n < 9.95 && n != floor(n))
		snprintf(text, size, "%.1f%c", n, *suffixes);
	else
		snprintf(text, size, "%.0f%c", n, *suffixes);
	return text;
}

const char *human_size(uint64_t bytes, char *text, size_t size)
{
	return human(bytes, 1024, " KMGTPE", text, size);
}

const char *human_count(double n, char *text, size_t size)
{
	/* up to five digits as they are */
	if (n < 99999.5)
		snprintf(text, size, "%.0f", n);
	else
		human(n, 1000, " kMGTPE", text, size);
	return text;
}

const char *human_age(uint64_t ms, char *text, size_t size)
{
	unsigned long long s = ms / 1000;

	if (s < 10)
		snprintf(text, size, "%.1fs", ms / 1000.0);
	else if (s < 60)
		snprintf(text, size, "%llus", s);
	else if (s < 3600)
		snprintf(text, size, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(text, size, "%lluh%02llum", s / 3600, s / 60 % 60);
	else
		snprintf(text, size, "%llud%02lluh", s / 86400, s / 3600 % 24);
	return text;
}

void out_of_memory(void)
{
	say("out of memory");
	exit(TOOL_WRONG);
}

void *xrealloc(void *p, size_t n, size_t size)
{
	p = reallocarray(p, n ? n : 1, size);
	if (!p)
		out_of_memory();
	return p;
}

/*
 * Terminals
 */

bool wants_color(FILE *f)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fileno(f)) && !(no && *no) && term && *term && strcmp(term, "dumb");
}

const char *color(enum color c)
{
	static const char *const escape[] = {
		[PLAIN] = "\033[0m",
		[BOLD] = "\033[1m",
		[GREEN] = "\033[32m",
		[YELLOW] = "\033[33m",
		[RED] = "\033[1;31m",
	};
	static int wanted = -1;

	if (wanted < 0)
		wanted = wants_color(stdout);
	return wanted ? escape[c] : "";
}

/* A bar on standard error, if that is a terminal. */
void progress(const char *what, double fraction)
{
	static const char full[] = "########################################";
	const char *term = getenv("TERM");
	int width = sizeof(full) - 1;
	int done;

	if (!isatty(STDERR_FILENO) || !term || !strcmp(term, "dumb"))
		return;
	fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
	done = fraction * width;
	fprintf(stderr, "\r%-14s [%.*s%*s] %3.0f%%", what, done, full, width - done, "",
		fraction * 100);
	fflush(stderr);
	progress_shown = true;
}

void progress_end(void)
{
	if (progress_shown)
		fputs("\r\033[K", stderr);
	progress_shown = false;
}

/*
 * JSON
 */

static struct json_object *there(struct json_object *o)
{
	if (!o)
		out_of_memory();
	return o;
}

struct json_object *json_array(void)
{
	return there(json_object_new_array());
}

struct json_object *json_dict(void)
{
	return there(json_object_new_object());
}

struct json_object *json_report(const char *command)
{
	struct json_object *o = json_dict();

	json_add(o, "schema", TOOL_SCHEMA);
	json_object_object_add(o, "command", there(json_object_new_string(command)));
	return o;
}

struct json_object *json_fraction(double value, int digits)
{
	char text[64];

	snprintf(text, sizeof(text), "%.*f", digits, value);
	return there(json_object_new_double_s(value, text));
}

void json_add(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, there(json_object_new_uint64(value)));
}

void json_print(struct json_object *o, bool compact)
{
	int flags = JSON_C_TO_STRING_NOSLASHESCAPE;

	flags |= compact ? JSON_C_TO_STRING_PLAIN : JSON_C_TO_STRING_PRETTY;
	puts(json_object_to_json_string_ext(o, flags));
	json_object_put(o);
}
