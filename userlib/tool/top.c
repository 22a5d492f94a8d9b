// SPDX-License-Identifier: MIT
/*
 * lfpool top: the pools and who uses them, live.
 *
 * A frame is text in lines, so that one that goes to the screen and one that
 * --once prints are the same.
 */
#include <curses.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

#define LINES_MAX	512
#define WIDTH_MAX	256
#define BAR_MIN		12
#define BAR_MAX		40
/* of all else in a pool's line */
#define POOL_WIDTH	68

struct frame {
	unsigned int n;
	unsigned int width;	/* columns there are */
	unsigned int fixed;	/* lines that do not scroll: all before the first process */
	struct {
		char text[WIDTH_MAX];
		enum color color;
	} line[LINES_MAX];
};

/* what was seen at one moment */
struct look {
	uint64_t time;
	struct pools pools;
	struct lfpool_stats *stats;
	struct holders holders;
};

enum order { BY_HELD, BY_CACHED, BY_GETS, BY_AGE, BY_PID };

static const char *const order_names[] = { "held", "cached", "gets/s", "age", "pid" };
/* the keys that choose them, in the same order */
static const char order_keys[] = "hcgap";

/* a holder with what it did since the last look */
struct row {
	const struct holder *h;
	double gets, puts, misses;
};

static enum order order;

/*
 * Looking
 */

static void look_free(struct look *look)
{
	free(look->pools.at);
	free(look->stats);
	holders_free(&look->holders);
	memset(look, 0, sizeof(*look));
}

/* 0, or -errno and the pool whose statistics cannot be had */
static int look_take(struct look *look, char **names, unsigned int n, const char **failed)
{
	unsigned int i, k, kept = 0;
	int err = 0;

	memset(look, 0, sizeof(*look));
	*failed = NULL;
	if (!pools_find(&look->pools) || !look->pools.n)
		return -ENOENT;
	for (i = 0; i < look->pools.n && n; i++) {
		for (k = 0; k < n && strcmp(names[k], look->pools.at[i].name); k++)
			;
		if (k < n)
			look->pools.at[kept++] = look->pools.at[i];
	}
	if (n)
		look->pools.n = kept;
	look->stats = xrealloc(NULL, look->pools.n, sizeof(*look->stats));
	for (i = 0; i < look->pools.n && !err; i++) {
		err = pool_stats(look->pools.at[i].name, &look->stats[i]);
		if (err)
			*failed = look->pools.at[i].name;
	}
	holders_scan(&look->holders);
	look->time = now_ns();
	return err;
}

static const struct lfpool_stats *stats_of(const struct look *look, const char *name)
{
	unsigned int i;

	for (i = 0; i < look->pools.n; i++) {
		if (!strcmp(look->pools.at[i].name, name))
			return &look->stats[i];
	}
	return NULL;
}

static const struct holder *holder_of(const struct look *look, const struct holder *h)
{
	size_t i;

	for (i = 0; i < look->holders.n; i++) {
		if (look->holders.at[i].client == h->client &&
		    !strcmp(look->holders.at[i].pool, h->pool))
			return &look->holders.at[i];
	}
	return NULL;
}

/*
 * A frame
 */

__attribute__((format(printf, 3, 4)))
static void frame_line(struct frame *f, enum color c, const char *fmt, ...)
{
	va_list args;

	if (f->n == LINES_MAX)
		return;
	va_start(args, fmt);
	vsnprintf(f->line[f->n].text, WIDTH_MAX, fmt, args);
	va_end(args);
	f->line[f->n++].color = c;
}

static double rate(uint64_t now, uint64_t before, double seconds)
{
	return now > before && seconds > 0 ? (now - before) / seconds : 0;
}

/* # held, : cached, - otherwise free; it is as long as the pool may become */
static void bar(char *text, unsigned int length, const struct lfpool_stats *s)
{
	uint64_t max = s->max_count ? s->max_count : 1;
	unsigned int used = (s->in_use * length + max - 1) / max;
	unsigned int cached = used + (s->cached * length + max - 1) / max;
	unsigned int there = (s->capacity * length + max - 1) / max;
	unsigned int i;

	for (i = 0; i < length; i++)
		text[i] = i >= there ? ' ' : i < used ? '#' : i < cached ? ':' : '-';
	text[length] = 0;
}

static void frame_pools(struct frame *f, const struct look *now, const struct look *before)
{
	double seconds = (now->time - before->time) / 1e9;
	unsigned int length = f->width < POOL_WIDTH + BAR_MIN ? BAR_MIN :
			      f->width > POOL_WIDTH + BAR_MAX ? BAR_MAX : f->width - POOL_WIDTH;
	unsigned int i;

	frame_line(f, BOLD, "%-13s %4s %-*s %5s %6s %5s %7s %6s %6s %5s", "POOL", "SIZE",
		   length + 2, length >= 20 ? " #held :cached -free" : " USE", "HELD",
		   "CACHED", "AVAIL", "BUFFERS", "GETS/s", "MISS/s", "HIT%");
	for (i = 0; i < now->pools.n; i++) {
		const struct lfpool_stats *n = &now->stats[i];
		const struct lfpool_stats *b = stats_of(before, now->pools.at[i].name);
		char size[16], held[16], cached[16], avail[16], all[16], gets[16], misses[16];
		char text[BAR_MAX + 1], hit[16] = "-";
		double hits, missed;

		if (!b)
			b = n;
		hits = rate(n->pool_hits, b->pool_hits, seconds);
		missed = rate(n->pool_misses, b->pool_misses, seconds);
		if (hits + missed > 0)
			snprintf(hit, sizeof(hit), "%.1f", 100 * hits / (hits + missed));
		bar(text, length, n);
		frame_line(f, !n->available && n->capacity >= n->max_count ? RED :
			   missed > 0 ? YELLOW : PLAIN,
			   "%-13s %4s [%s] %5s %6s %5s %7s %6s %6s %5s", now->pools.at[i].name,
			   human_size(n->buffer_size, size, sizeof(size)), text,
			   human_count(n->in_use, held, sizeof(held)),
			   human_count(n->cached, cached, sizeof(cached)),
			   human_count(n->available, avail, sizeof(avail)),
			   human_count(n->capacity, all, sizeof(all)),
			   human_count(hits + missed, gets, sizeof(gets)),
			   human_count(missed, misses, sizeof(misses)), hit);
	}
}

static int compare_rows(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	double u = 0, v = 0;

	switch (order) {
	case BY_HELD:
		u = x->h->held;
		v = y->h->held;
		break;
	case BY_CACHED:
		u = x->h->cached;
		v = y->h->cached;
		break;
	case BY_GETS:
		u = x->gets;
		v = y->gets;
		break;
	case BY_AGE:
		u = x->h->age_ms;
		v = y->h->age_ms;
		break;
	case BY_PID:
		/* the lowest first */
		u = -x->h->pid;
		v = -y->h->pid;
		break;
	}
	if (u != v)
		return u > v ? -1 : 1;
	if (x->h->pid != y->h->pid)
		return x->h->pid < y->h->pid ? -1 : 1;
	return strcmp(x->h->pool, y->h->pool);
}

static struct row *rows_make(const struct look *now, const struct look *before, size_t *n)
{
	double seconds = (now->time - before->time) / 1e9;
	struct row *rows = xrealloc(NULL, now->holders.n, sizeof(*rows));
	size_t i;

	*n = 0;
	for (i = 0; i < now->holders.n; i++) {
		const struct holder *h = &now->holders.at[i];
		const struct holder *b = holder_of(before, h);
		struct row *row = &rows[*n];

		if (!stats_of(now, h->pool))
			continue;
		row->h = h;
		row->gets = b ? rate(h->gets, b->gets, seconds) : 0;
		row->puts = b ? rate(h->puts, b->puts, seconds) : 0;
		row->misses = b ? rate(h->misses, b->misses, seconds) : 0;
		++*n;
	}
	if (*n)
		qsort(rows, *n, sizeof(*rows), compare_rows);
	return rows;
}

static void frame_holders(struct frame *f, const struct look *now, const struct look *before)
{
	uint64_t missing = 0;
	struct row *rows;
	size_t n, i;

	rows = rows_make(now, before, &n);
	frame_line(f, BOLD, "%7s %-15s %-13s %5s %6s %6s %6s %6s %6s", "PID", "COMMAND", "POOL",
		   "HELD", "CACHED", "GETS/s", "PUTS/s", "MISS/s", "AGE");
	f->fixed = f->n;
	for (i = 0; i < n; i++) {
		char gets[16], puts[16], misses[16], age[16];
		const struct row *r = &rows[i];

		frame_line(f, PLAIN, "%7d %-15.15s %-13s %5" PRIu64 " %6" PRIu64 " %6s %6s %6s %6s",
			   r->h->pid, r->h->comm, r->h->pool, r->h->held, r->h->cached,
			   human_count(r->gets, gets, sizeof(gets)),
			   human_count(r->puts, puts, sizeof(puts)),
			   human_count(r->misses, misses, sizeof(misses)),
			   human_age(r->h->age_ms, age, sizeof(age)));
	}
	free(rows);
	for (i = 0; i < now->pools.n; i++)
		missing += holders_missing(&now->holders, now->pools.at[i].name);
	if (missing)
		frame_line(f, PLAIN, "%7s %" PRIu64 " more: %s", "", missing,
			   holders_missing_why());
}

static void frame_make(struct frame *f, const struct look *now, const struct look *before,
		       double delay)
{
	uint64_t clients = 0, threads = 0;
	time_t clock = time(NULL);
	char stamp[16];
	unsigned int i;

	f->n = 0;
	for (i = 0; i < now->pools.n; i++) {
		clients += now->stats[i].clients;
		threads += now->stats[i].threads;
	}
	strftime(stamp, sizeof(stamp), "%H:%M:%S", localtime(&clock));
	frame_line(f, PLAIN, "lfpool top %s  every %g s  %u pool%s  %" PRIu64 " client%s  %" PRIu64
		   " thread%s  by %s", stamp, delay, now->pools.n, now->pools.n == 1 ? "" : "s",
		   clients, clients == 1 ? "" : "s", threads, threads == 1 ? "" : "s",
		   order_names[order]);
	frame_line(f, PLAIN, "%s", "");
	frame_pools(f, now, before);
	frame_line(f, PLAIN, "%s", "");
	frame_holders(f, now, before);
}

/*
 * --once
 */

static void frame_print(const struct frame *f)
{
	unsigned int i;

	for (i = 0; i < f->n; i++) {
		const char *on = f->line[i].color == PLAIN ? "" : color(f->line[i].color);

		printf("%s%s%s\n", on, f->line[i].text, *on ? color(PLAIN) : "");
	}
}

static void top_json(const struct look *now, const struct look *before)
{
	struct json_object *report = json_report("top"), *pools = json_array();
	struct json_object *holders = json_array();
	double seconds = (now->time - before->time) / 1e9;
	struct row *rows;
	unsigned int k;
	size_t n, i;

	json_object_object_add(report, "seconds", json_fraction(seconds, 3));
	for (k = 0; k < now->pools.n; k++) {
		const struct lfpool_stats *s = &now->stats[k];
		const struct lfpool_stats *b = stats_of(before, now->pools.at[k].name);
		struct json_object *o = pool_json(now->pools.at[k].name, s);
		double hits, misses;

		if (!b)
			b = s;
		hits = rate(s->pool_hits, b->pool_hits, seconds);
		misses = rate(s->pool_misses, b->pool_misses, seconds);
		json_object_object_add(o, "gets_per_second", json_fraction(hits + misses, 1));
		json_object_object_add(o, "misses_per_second", json_fraction(misses, 1));
		json_object_array_add(pools, o);
	}
	rows = rows_make(now, before, &n);
	for (i = 0; i < n; i++) {
		struct json_object *o = holder_json(rows[i].h);

		json_object_object_add(o, "gets_per_second", json_fraction(rows[i].gets, 1));
		json_object_object_add(o, "puts_per_second", json_fraction(rows[i].puts, 1));
		json_object_object_add(o, "misses_per_second", json_fraction(rows[i].misses, 1));
		json_object_array_add(holders, o);
	}
	free(rows);
	json_object_object_add(report, "pools", pools);
	json_object_object_add(report, "holders", holders);
	json_object_object_add(report, "not_shown",
			       holders_missing_json(&now->holders, &now->pools));
	json_print(report, false);
}

static int top_once(char **names, unsigned int n, double delay, bool json)
{
	struct look before, now;
	const char *failed;
	struct frame *f;
	int err;

	err = look_take(&before, names, n, &failed);
	if (!err) {
		sleep_for(delay);
		err = look_take(&now, names, n, &failed);
		if (!err && json) {
			top_json(&now, &before);
		} else if (!err) {
			f = xrealloc(NULL, 1, sizeof(*f));
			f->width = 80;
			frame_make(f, &now, &before, delay);
			frame_print(f);
			free(f);
		}
		if (err)
			pool_refused(failed, err);
		look_free(&now);
	} else {
		pool_refused(failed, err);
	}
	look_free(&before);
	return err ? TOOL_NO_POOL : TOOL_OK;
}

/*
 * The screen
 */

static const char keys[] = "q quit, space now, +- delay, arrows scroll; "
			   "h held c cached g gets a age p pid";

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static void screen_line(int y, const char *text, enum color c)
{
	attr_t attr = c == PLAIN ? A_NORMAL : c == BOLD ? A_REVERSE : A_BOLD;

	attrset(attr | (c > BOLD ? COLOR_PAIR(c) : 0));
	mvprintw(y, 0, "%-*.*s", c == BOLD ? COLS : 0, COLS, text);
	attrset(A_NORMAL);
}

/* @scroll: how many holders are above the screen; it is kept within bounds */
static void screen_draw(const struct frame *f, unsigned int *scroll)
{
	unsigned int room = LINES > 1 ? LINES - 1 : 0;
	unsigned int i, y, over;

	over = f->n > room ? f->n - room : 0;
	if (*scroll > over)
		*scroll = over;
	erase();
	for (i = 0, y = 0; i < f->n && y < room; i++) {
		if (i >= f->fixed && i < f->fixed + *scroll)
			continue;
		screen_line(y++, f->line[i].text, f->line[i].color);
	}
	screen_line(LINES - 1, keys, BOLD);
	refresh();
}

static bool screen_start(void)
{
	struct sigaction action = { .sa_handler = stop };

	/* before ncurses would install its own, which exit with 1 */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	if (!newterm(NULL, stdout, stdin))
		return false;
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	if (wants_color(stdout) && has_colors()) {
		start_color();
		use_default_colors();
		init_pair(GREEN, COLOR_GREEN, -1);
		init_pair(YELLOW, COLOR_YELLOW, -1);
		init_pair(RED, COLOR_RED, -1);
	}
	return true;
}

/* Handles keys until the next look is due; false to quit. */
static bool screen_wait(double *delay, unsigned int *scroll, uint64_t end, bool *redraw)
{
	uint64_t now = now_ns();
	const char *key;
	int c;

	*redraw = false;
	timeout(now < end ? (end - now) / 1000000 + 1 : 0);
	c = getch();
	if (stopped)
		return false;
	/* nothing came; or the terminal is gone */
	if (c == ERR)
		return isatty(STDIN_FILENO);
	*redraw = true;
	if (c > 0 && c < 128) {
		key = strchr(order_keys, c);
		if (key)
			order = key - order_keys;
	}
	switch (c) {
	case 'q':
	case 'Q':
		return false;
	case ' ':
		*redraw = false;
		break;
	case 'L' & 0x1f:
		/* what something else wrote to the screen goes */
		clearok(curscr, TRUE);
		break;
	case '+':
		*delay = *delay < 30 ? *delay * 2 : 60;
		break;
	case '-':
		*delay = *delay > 0.2 ? *delay / 2 : 0.1;
		break;
	case KEY_UP:
		*scroll -= *scroll > 0;
		break;
	case KEY_DOWN:
		++*scroll;
		break;
	case KEY_PPAGE:
		*scroll -= *scroll > 10 ? 10 : *scroll;
		break;
	case KEY_NPAGE:
		*scroll += 10;
		break;
	}
	return true;
}

static int top_screen(char **names, unsigned int n, double delay)
{
	struct look now = { 0 }, before = { 0 };
	struct frame *f = xrealloc(NULL, 1, sizeof(*f));
	unsigned int scroll = 0;
	const char *failed;
	bool redraw = false;
	uint64_t end = 0;
	int err = 0;

	if (!screen_start()) {
		free(f);
		say("cannot drive a terminal of type '%s'; try: lfpool top --once",
		    getenv("TERM") ? getenv("TERM") : "");
		return TOOL_WRONG;
	}
	while (!stopped) {
		if (!redraw) {
			look_free(&before);
			before = now;
			err = look_take(&now, names, n, &failed);
			/* the first rates come soon */
			end = now_ns() + (before.time || delay < 0.3 ? delay : 0.3) * 1e9;
		}
		f->width = COLS;
		if (err) {
			f->n = 0;
			f->fixed = 0;
			frame_line(f, RED, "%s", err == -ENOENT ?
				   "The pools are gone: is the module being reloaded? Waiting." :
				   strerror(-err));
		} else {
			frame_make(f, &now, before.time ? &before : &now, delay);
		}
		screen_draw(f, &scroll);
		if (!screen_wait(&delay, &scroll, end, &redraw))
			break;
	}
	endwin();
	look_free(&before);
	look_free(&now);
	free(f);
	return TOOL_OK;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "delay", required_argument, NULL, 'd' },
		{ "sort", required_argument, NULL, 's' },
		{ "once", no_argument, NULL, 'o' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	struct pools pools = { 0 };
	bool once = false, json = false;
	double delay = 1;
	unsigned int i;
	int status, c;

	while ((c = getopt_long(argc, argv, "d:s:ojh", options, NULL)) != -1) {
		switch (c) {
		case 'd':
			if (!parse_seconds(optarg, &delay))
				return usage(&cmd_top, "'%s' is no delay: seconds, 0.01 to 86400",
					     optarg);
			break;
		case 's':
			for (i = 0; i < ARRAY_SIZE(order_names); i++) {
				if (!strcmp(optarg, order_names[i]) ||
				    (i == BY_GETS && !strcmp(optarg, "gets")))
					break;
			}
			if (i == ARRAY_SIZE(order_names))
				return usage(&cmd_top,
					     "cannot sort by '%s': held, cached, gets, age or pid",
					     optarg);
			order = i;
			break;
		case 'o':
			once = true;
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			return show_help(&cmd_top);
		default:
			return bad_option(&cmd_top);
		}
	}
	status = pools_select(argv + optind, argc - optind, &pools);
	free(pools.at);
	if (status)
		return status;
	if (once || json || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
		return top_once(argv + optind, argc - optind, delay, json);
	return top_screen(argv + optind, argc - optind, delay);
}

const struct command cmd_top = {
	.name = "top",
	.args = "[-d SECONDS] [-s ORDER] [--once] [--json] [POOL...]",
	.summary = "the pools and the processes that use them, live",
	.help = "Show the pools and the processes that use them, again every second. Keys: q\n"
		"quits, space looks at once, h c g a p choose the order, + and - the delay, and\n"
		"the arrows scroll.\n"
		"\n"
		"  -d, --delay=SECONDS  look every SECONDS (1)\n"
		"  -s, --sort=ORDER     order of the processes: held, cached, gets, age or pid\n"
		"                       (held)\n"
		"  -o, --once           look twice, SECONDS apart, print the second look, and\n"
		"                       end; also what happens where there is no terminal\n"
		"  -j, --json           the same as JSON\n"
		"  -h, --help           this text\n",
	.run = run,
};
