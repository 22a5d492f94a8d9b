// SPDX-License-Identifier: GPL-2.0-only
/*
 * driver REPS PEERS CSV: measure all peers in one interleaved run.
 *
 * PEERS is a file with a line "NAME PROGRAM [ARGUMENT]" for each peer. All
 * programs are started; then, REPS times, for each workload and size, each
 * peer in turn does TURNS slices, one a turn, while the others sleep. So
 * whatever else the machine does meets all of them alike. The median of a rep's
 * turns is what that rep measured; the CSV has the median, least and greatest
 * rep.
 */
#include "bench.h"

#include <fcntl.h>
#include <sys/wait.h>

#define PEERS_MAX	48
#define REPS_MAX	999
#define TURNS		5
#define FIGURES		8	/* of TAIL; the other workloads have one */
#define ECHOES		4096
#define LINES_MAX	1024

struct peer {
	char name[32];
	char program[256];
	char argument[64];
	FILE *to, *from;
};

struct cell {
	double *rep[FIGURES];
	unsigned int reps;
	char why[128];		/* this peer does not do that */
	unsigned long repeated;
};

static const struct {
	const char *work;
	size_t size;
} plan[] = {
	{ "W1", 2048 }, { "W1", 65536 }, { "W1", 131072 },
	{ "W1t", 65536 }, { "W2", 65536 }, { "W2b", 65536 }, { "W3", 65536 },
	{ "W4", 2048 }, { "W4", 65536 }, { "W4", 131072 },
	{ "W4b", 65536 }, { "W5", 65536 }, { "W5b", 65536 }, { "TAIL", 65536 },
};

static const char *const tail_names[FIGURES] = {
	"TAIL_get_p50", "TAIL_get_p99", "TAIL_get_p99.9", "TAIL_get_p99.99",
	"TAIL_put_p50", "TAIL_put_p99", "TAIL_put_p99.9", "TAIL_put_p99.99",
};

#define PLAN	(sizeof(plan) / sizeof(plan[0]))

static struct peer peers[PEERS_MAX];
static unsigned int n_peers;
static struct cell cells[PLAN][PEERS_MAX];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void start(struct peer *p)
{
	int in[2], out[2];
	pid_t pid;

	/* no program inherits another's pipes: the end of one must be seen */
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		fail("pipe");
	pid = fork();
	if (pid < 0)
		fail("fork");
	if (!pid) {
		signal(SIGPIPE, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl(p->program, p->program, p->argument[0] ? p->argument : NULL, NULL);
		fail(p->program);
	}
	close(in[0]);
	close(out[1]);
	p->to = fdopen(in[1], "w");
	p->from = fdopen(out[0], "r");
	if (!p->to || !p->from)
		fail("fdopen");
}

static bool answer(struct peer *p, char *line, size_t size)
{
	size_t n;

	if (!p->from || !fgets(line, size, p->from))
		return false;
	n = strlen(line);
	if (n && line[n - 1] == '\n')
		line[n - 1] = '\0';
	return true;
}

/* One slice; how many figures came, 0: this peer does not do it. */
static unsigned int ask(unsigned int what, struct peer *p, struct cell *c, double *figures)
{
	char line[256], *s = line + 2;
	unsigned int n;
	int used;

	fprintf(p->to, "%s %zu\n", plan[what].work, plan[what].size);
	fflush(p->to);
	if (!answer(p, line, sizeof(line))) {
		snprintf(c->why, sizeof(c->why), "program ended");
		fprintf(stderr, "driver: %s ended at %s\n", p->name, plan[what].work);
		return 0;
	}
	if (strncmp(line, "ok ", 3)) {
		snprintf(c->why, sizeof(c->why), "%.120s", line + (strncmp(line, "no ", 3) ? 0 : 3));
		return 0;
	}
	for (n = 0; n < FIGURES && sscanf(s, "%lf%n", &figures[n], &used) == 1; n++)
		s += used;
	if (n == 2) {
		c->repeated += figures[1];
		n = 1;
	}
	return n;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, unsigned int n)
{
	qsort(v, n, sizeof(*v), compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/*
 * How long a cache line takes from one party's processor to the other's: virtual
 * processors may share a core at one time and be far apart at another, and then
 * every hand-over costs several times as much.
 */
static uint32_t line ALIGNED(BENCH_LINE);
static double line_ns[LINES_MAX];
static unsigned int n_lines;

static void *echo(void *unused)
{
	uint32_t i;

	(void)unused;
	pin(1);
	for (i = 1; i < 2 * ECHOES; i += 2) {
		while (__atomic_load_n(&line, __ATOMIC_ACQUIRE) != i)
			;
		__atomic_store_n(&line, i + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void measure_line(void)
{
	double least = 1e9;
	pthread_t thread;
	uint64_t begin;
	uint32_t i;

	if (n_lines == LINES_MAX)
		return;
	line = 0;
	if (pthread_create(&thread, NULL, echo, NULL))
		fail("pthread_create");
	begin = now_ns();
	for (i = 1; i < 2 * ECHOES; i += 2) {
		__atomic_store_n(&line, i, __ATOMIC_RELEASE);
		while (__atomic_load_n(&line, __ATOMIC_ACQUIRE) != i + 1)
			;
		if (i % 128 == 127) {
			if ((now_ns() - begin) / 128. < least)
				least = (now_ns() - begin) / 128.;
			begin = now_ns();
		}
	}
	pthread_join(thread, NULL);
	line_ns[n_lines++] = least;
}

/* A rep of one workload: TURNS slices each, round robin; who starts changes. */
static void measure(unsigned int what, unsigned int rep)
{
	static double turns[PEERS_MAX][FIGURES][TURNS];
	unsigned int done[PEERS_MAX] = { 0 }, figures[PEERS_MAX] = { 0 };
	unsigned int t, k, f;

	for (t = 0; t < TURNS; t++) {
		for (k = 0; k < n_peers; k++) {
			unsigned int p = (k + rep * TURNS + t) % n_peers;
			struct cell *c = &cells[what][p];
			double v[FIGURES];
			unsigned int n;

			if (c->why[0])
				continue;
			n = ask(what, &peers[p], c, v);
			if (!n)
				continue;
			figures[p] = n;
			for (f = 0; f < n; f++)
				turns[p][f][done[p]] = v[f];
			done[p]++;
		}
	}
	for (k = 0; k < n_peers; k++) {
		struct cell *c = &cells[what][k];

		if (!done[k] || c->why[0])
			continue;
		for (f = 0; f < figures[k]; f++) {
			if (!c->rep[f])
				c->rep[f] = calloc(REPS_MAX, sizeof(double));
			if (!c->rep[f])
				fail("calloc");
			c->rep[f][c->reps] = median(turns[k][f], done[k]);
		}
		c->reps++;
	}
}

static void write_csv(FILE *csv)
{
	unsigned int what, k, f;

	fprintf(csv, "workload,size,peer,median_ns,min_ns,max_ns,reps,note\n");
	for (what = 0; what < PLAN; what++) {
		for (f = 0; f < FIGURES; f++) {
			bool tail = !strcmp(plan[what].work, "TAIL");

			for (k = 0; k < n_peers; k++) {
				struct cell *c = &cells[what][k];
				const char *name = tail ? tail_names[f] : plan[what].work;
				double middle;

				if (f && !tail)
					continue;
				if (!c->reps && !c->why[0])
					continue;
				if (c->why[0]) {
					/* once for all figures of a peer that does not do it */
					if (!f)
						fprintf(csv, "%s,%zu,%s,,,,0,%s\n", name,
							plan[what].size, peers[k].name, c->why);
					continue;
				}
				middle = median(c->rep[f], c->reps);
				fprintf(csv, "%s,%zu,%s,%.2f,%.2f,%.2f,%u,", name, plan[what].size,
					peers[k].name, middle, c->rep[f][0],
					c->rep[f][c->reps - 1], c->reps);
				if (c->repeated)
					fprintf(csv, "%lu slices repeated", c->repeated);
				fprintf(csv, "\n");
			}
		}
	}
}

/* WORKLOADS="W4 W5" in the environment: only these */
static bool is_wanted(const char *work)
{
	const char *list = getenv("WORKLOADS"), *at = list;
	size_t n = strlen(work);

	while (at && (at = strstr(at, work))) {
		if ((at == list || at[-1] == ' ') && (!at[n] || at[n] == ' '))
			return true;
		at += n;
	}
	return !list || !*list;
}

static void read_peers(const char *name)
{
	FILE *file = fopen(name, "r");
	char line[512];

	if (!file)
		fail(name);
	while (n_peers < PEERS_MAX && fgets(line, sizeof(line), file)) {
		struct peer *p = &peers[n_peers];

		if (sscanf(line, "%31s %255s %63s", p->name, p->program, p->argument) >= 2)
			n_peers++;
	}
	fclose(file);
}

int main(int argc, char **argv)
{
	unsigned int reps, rep, what, k;
	unsigned long repeated = 0, slices = 0;
	FILE *csv;

	if (argc != 4) {
		fprintf(stderr, "usage: driver REPS PEERS CSV\n");
		return 2;
	}
	reps = atoi(argv[1]);
	if (reps < 1 || reps > REPS_MAX) {
		fprintf(stderr, "driver: REPS is 1..%d\n", REPS_MAX);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	read_peers(argv[2]);
	for (k = 0; k < n_peers; k++)
		start(&peers[k]);
	pin(0);
	for (rep = 0; rep < reps; rep++) {
		for (what = 0; what < PLAN; what++)
			if (is_wanted(plan[what].work)) {
				measure_line();
				measure(what, rep);
			}
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\rrep %u of %u ", rep + 1, reps);
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\n");
	csv = fopen(argv[3], "w");
	if (!csv)
		fail(argv[3]);
	write_csv(csv);
	if (fclose(csv))
		fail(argv[3]);
	for (k = 0; k < n_peers; k++) {
		fclose(peers[k].to);
		for (what = 0; what < PLAN; what++) {
			repeated += cells[what][k].repeated;
			slices += (unsigned long)cells[what][k].reps * TURNS;
		}
	}
	while (wait(NULL) > 0)
		;
	printf("%lu slices, %lu repeated because a party was preempted. ", slices, repeated);
	if (n_lines) {
		double middle = median(line_ns, n_lines);

		printf("A cache line went from one processor to the other in %.0f ns (%.0f..%.0f)",
		       middle, line_ns[0], line_ns[n_lines - 1]);
	}
	printf("\n");
	return 0;
}
