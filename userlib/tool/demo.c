// SPDX-License-Identifier: MIT
/*
 * lfpool demo: three processes pass real data through shared buffers, without a
 * copy.
 *
 *   serializer --handle--> compressor --handle--> checker
 *
 * The serializer writes trade records into a serialization buffer and sums
 * their prices in a simd buffer. The compressor deflates them from that buffer
 * into a compression buffer. The checker inflates, and compares every record
 * and the sum. Only 64-bit handles and lengths go through the pipes.
 *
 * A buffer is the sender's until it is imported. So a stage that has done its
 * work stays until the next one has, too; and if one is killed, the kernel takes
 * back what it held and what it had sent and nobody had imported. The handle of
 * such a buffer is refused (ESTALE). Their parent starts another one then.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "tool.h"

enum stage { SERIALIZER, COMPRESSOR, CHECKER, STAGES };

static const char *const stage_names[] = { "serializer", "compressor", "checker" };

struct record {
	uint64_t sequence;
	uint32_t instrument;
	uint32_t quantity;
	double price;
	char venue[8];
};

/* what goes through a pipe: never data */
struct message {
	uint64_t handle;
	uint64_t length;
	uint64_t plain_length;
	uint64_t round;
	double sum;
};

/* messages in a pipe at most: the demo must not take all buffers of a pool */
#define PIPE_MESSAGES	8

/**
 * struct shared - what the stages and their parent tell each other
 * @stop:    the serializer is to end
 * @done:    the stage has done its work
 * @round:   the next to be written
 * @written: rounds handed over by the serializer
 * @checked: rounds whose records and sum are right
 * @stale:   handles whose buffers had gone back with a stage that died
 * @plain:   bytes that were compressed
 * @packed:  what they were compressed to
 */
struct shared {
	bool stop;
	bool done[STAGES];
	uint64_t round;
	uint64_t written;
	uint64_t checked;
	uint64_t stale;
	uint64_t plain;
	uint64_t packed;
};

/* constant once the stages run */
static struct demo {
	bool embedded;
	uint64_t rounds;	/* 0: until the time is over */
	double seconds;
	uint64_t start;
	uint64_t bytes;		/* of records in a round */
	int plain[2], packed[2];
	struct lfpool *pool[KINDS];
	volatile struct shared *shared;
} demo;

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

/*
 * A stage
 */

static enum stage self;

__attribute__((noreturn))
static void die(const char *what)
{
	say("demo: %s: %s: %s", stage_names[self], what, strerror(errno));
	_exit(TOOL_WRONG);
}

static struct lfpool *pool_get(enum kind kind)
{
	/* embedded pools are there already, inherited */
	if (!demo.pool[kind])
		demo.pool[kind] = lfpool_open(kinds[kind].name, 0);
	if (!demo.pool[kind])
		_exit(pool_refused(kinds[kind].name, -errno));
	return demo.pool[kind];
}

/* Waits: a pipeline whose next stage is slow holds all the buffers for a while. */
static void *buffer_get(struct lfpool *pool)
{
	void *buffer = lfpool_get_wait(pool, -1);

	if (!buffer)
		die("get");
	return buffer;
}

static void buffer_put(struct lfpool *pool, void *buffer)
{
	int err = lfpool_put(pool, buffer);

	if (err) {
		errno = -err;
		die("put");
	}
}

/* NULL: the sender died, and the buffer went back with it */
static void *buffer_import(struct lfpool *pool, uint64_t handle)
{
	void *buffer = lfpool_import(pool, handle);

	if (!buffer && errno != ESTALE)
		die("import");
	if (!buffer)
		demo.shared->stale++;
	return buffer;
}

static uint64_t buffer_export(struct lfpool *pool, void *buffer)
{
	uint64_t handle;
	int err = lfpool_export(pool, buffer, &handle);

	if (err) {
		errno = -err;
		die("export");
	}
	return handle;
}

/* The pipes are packet pipes: a read gives one message, whole. */
static void message_send(int fd, const struct message *m)
{
	if (write(fd, m, sizeof(*m)) != sizeof(*m))
		die("pipe");
}

static bool message_receive(int fd, struct message *m)
{
	ssize_t n = read(fd, m, sizeof(*m));

	if (n && n != sizeof(*m))
		die("pipe");
	return n > 0;
}

static void record_make(struct record *r, uint64_t round, uint64_t i)
{
	*r = (struct record) {
		.sequence = round << 32 | i,
		.instrument = (round * 31 + i * 7) % 500,
		.quantity = 1 + i % 1000,
		.price = 100 + (double)(i % 64) / 16,
		.venue = "XLFP",
	};
}

/* Adds up prices four at a time, in the lanes of a simd buffer. */
static double sum_prices(struct lfpool *simd, const struct record *records, size_t n)
{
	typedef double f64x4 __attribute__((vector_size(32)));
	f64x4 *sum = buffer_get(simd);	/* comes zeroed */
	double total;
	size_t i;

	for (i = 0; i + 4 <= n; i += 4)
		*sum += (f64x4){ records[i].price, records[i + 1].price,
				 records[i + 2].price, records[i + 3].price };
	for (; i < n; i++)
		(*sum)[0] += records[i].price;
	total = (*sum)[0] + (*sum)[1] + (*sum)[2] + (*sum)[3];
	buffer_put(simd, sum);
	return total;
}

static bool serializer_done(void)
{
	if (demo.shared->stop)
		return true;
	return demo.rounds ? demo.shared->round >= demo.rounds :
			     now_ns() - demo.start >= demo.seconds * 1e9;
}

static void serializer(void)
{
	struct lfpool *pool = pool_get(SERIALIZATION), *simd = pool_get(SIMD);
	size_t n = demo.bytes / sizeof(struct record), i;
	struct message m = { .length = demo.bytes, .plain_length = demo.bytes };

	while (!serializer_done()) {
		struct record *records = buffer_get(pool);

		m.round = demo.shared->round++;
		for (i = 0; i < n; i++)
			record_make(&records[i], m.round, i);
		m.sum = sum_prices(simd, records, n);
		m.handle = buffer_export(pool, records);
		message_send(demo.plain[1], &m);
		demo.shared->written++;
	}
}

static void compressor(void)
{
	struct lfpool *plain = pool_get(SERIALIZATION), *packed = pool_get(COMPRESSION);
	struct message m;

	while (message_receive(demo.plain[0], &m)) {
		uLongf length = lfpool_buffer_size(packed);
		void *from = buffer_import(plain, m.handle);
		void *to;

		if (!from)
			continue;
		to = buffer_get(packed);
		if (compress2(to, &length, from, m.length, 1) != Z_OK) {
			say("demo: compressor: round %" PRIu64 " does not fit", m.round);
			_exit(TOOL_WRONG);
		}
		demo.shared->plain += m.length;
		demo.shared->packed += length;
		buffer_put(plain, from);
		m.length = length;
		m.handle = buffer_export(packed, to);
		message_send(demo.packed[1], &m);
	}
}

static bool records_right(const struct record *records, size_t n, uint64_t round)
{
	struct record want;
	size_t i;

	for (i = 0; i < n; i++) {
		record_make(&want, round, i);
		/* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): every byte is to arrive */
		if (memcmp(&want, &records[i], sizeof(want))) {
			say("demo: checker: round %" PRIu64 ", record %zu is wrong", round, i);
			return false;
		}
	}
	return true;
}

static void checker(void)
{
	struct lfpool *packed = pool_get(COMPRESSION), *simd = pool_get(SIMD);
	struct record *records = xrealloc(NULL, 1, demo.bytes);
	struct message m;

	while (message_receive(demo.packed[0], &m)) {
		void *from = buffer_import(packed, m.handle);
		uLongf length = m.plain_length;
		size_t n = length / sizeof(*records);

		if (!from)
			continue;
		if (length > demo.bytes ||
		    uncompress((void *)records, &length, from, m.length) != Z_OK ||
		    length != m.plain_length) {
			say("demo: checker: round %" PRIu64 " does not inflate", m.round);
			_exit(TOOL_WRONG);
		}
		buffer_put(packed, from);
		if (!records_right(records, n, m.round))
			_exit(TOOL_WRONG);
		if (sum_prices(simd, records, n) != m.sum) {
			say("demo: checker: the sum of round %" PRIu64 " is wrong", m.round);
			_exit(TOOL_WRONG);
		}
		demo.shared->checked++;
	}
	free(records);
}

/*
 * The parent
 */

static pid_t stage_start(enum stage stage)
{
	static void (*const body[])(void) = { serializer, compressor, checker };
	pid_t parent = getpid(), pid;
	enum kind kind;
	char name[16];

	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	self = stage;
	/* the terminal's ^C is the parent's */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(TOOL_WRONG);
	/* ps, top and "lfpool holders" show it */
	snprintf(name, sizeof(name), "lfp-%s", stage_names[stage]);
	prctl(PR_SET_NAME, name);
	if (stage != SERIALIZER)
		close(demo.plain[1]);
	if (stage != COMPRESSOR) {
		close(demo.plain[0]);
		close(demo.packed[1]);
	}
	if (stage != CHECKER)
		close(demo.packed[0]);
	body[stage]();
	/* the parent has it open as well, and closes it when it sees done */
	if (stage != CHECKER)
		close(stage == SERIALIZER ? demo.plain[1] : demo.packed[1]);
	demo.shared->done[stage] = true;
	while (stage != CHECKER && !demo.shared->done[stage + 1])
		sleep_for(0.001);
	for (kind = 0; kind < KINDS; kind++)
		lfpool_close(demo.pool[kind]);
	_exit(TOOL_OK);
}

/* The next stage sees the end of its pipe when nobody can write to it any more. */
static void stages_watch(void)
{
	if (interrupted)
		demo.shared->stop = true;
	if (demo.shared->done[SERIALIZER] && demo.plain[1] >= 0) {
		close(demo.plain[1]);
		demo.plain[1] = -1;
	}
	if (demo.shared->done[COMPRESSOR] && demo.packed[1] >= 0) {
		close(demo.packed[1]);
		demo.packed[1] = -1;
	}
}

static double fraction(void)
{
	if (demo.rounds)
		return (double)demo.shared->checked / demo.rounds;
	return (now_ns() - demo.start) / 1e9 / demo.seconds;
}

static bool stage_run(enum stage stage, pid_t *pids)
{
	pids[stage] = stage_start(stage);
	if (pids[stage] < 0)
		say("demo: cannot start a process: %s", strerror(errno));
	return pids[stage] >= 0;
}

/* Runs the stages to their end; how many were killed and started again, or -1. */
static int supervise(pid_t *pids)
{
	int killed = 0, running = 0, status;
	enum stage stage;
	pid_t pid;

	for (stage = 0; stage < STAGES; stage++) {
		if (!stage_run(stage, pids))
			return -1;
		running++;
	}
	while (running) {
		stages_watch();
		pid = waitpid(-1, &status, WNOHANG);
		if (!pid) {
			progress("demo", fraction());
			sleep_for(0.01);
			continue;
		}
		for (stage = 0; stage < STAGES && pids[stage] != pid; stage++)
			;
		if (pid < 0 || stage == STAGES)
			continue;
		pids[stage] = 0;
		running--;
		if (!status)
			continue;
		if (!WIFSIGNALED(status))
			return -1;
		say("demo: %s %d was killed by signal %d%s", stage_names[stage], pid,
		    WTERMSIG(status), demo.embedded ? "" : "; starting another one");
		if (demo.embedded)
			return -1;
		demo.shared->done[stage] = false;
		if (!stage_run(stage, pids))
			return -1;
		killed++;
		running++;
	}
	return killed;
}

static void kill_stages(const pid_t *pids)
{
	enum stage stage;

	for (stage = 0; stage < STAGES; stage++) {
		if (pids[stage] > 0) {
			kill(pids[stage], SIGKILL);
			waitpid(pids[stage], NULL, 0);
		}
	}
}

/*
 * How many bytes of records go into a round: as many as fit, if they also fit
 * into a compression buffer. They deflate to less than a third.
 */
static uint64_t round_bytes(uint64_t plain, uint64_t packed)
{
	uint64_t bytes = plain, most = packed < 1024 ? packed / 2 : packed * 2;

	if (bytes > most)
		bytes = most;
	return bytes / sizeof(struct record) * sizeof(struct record);
}

/* Exit status; sets what constant things there are. */
static int prepare(void)
{
	uint64_t size[KINDS];
	enum kind kind;
	int err;

	for (kind = 0; kind < KINDS; kind++) {
		struct lfpool *pool = demo.embedded ? lfpool_create(&kinds[kind]) :
					lfpool_open(kinds[kind].name, LFPOOL_OPEN_RDONLY);

		err = pool ? 0 : -errno;
		/* once, here, rather than by each stage */
		if (!err && !demo.embedded)
			err = pool_writable(kinds[kind].name);
		if (err) {
			lfpool_close(pool);
			return pool_refused(kinds[kind].name, err);
		}
		size[kind] = lfpool_buffer_size(pool);
		if (demo.embedded)
			demo.pool[kind] = pool;
		else
			lfpool_close(pool);
	}
	demo.bytes = round_bytes(size[SERIALIZATION], size[COMPRESSION]);
	if (!demo.bytes) {
		say("demo: the buffers are too small");
		return TOOL_WRONG;
	}
	demo.shared = mmap(NULL, sizeof(*demo.shared), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (demo.shared == MAP_FAILED || pipe2(demo.plain, O_DIRECT) ||
	    pipe2(demo.packed, O_DIRECT)) {
		say("demo: %s", strerror(errno));
		return TOOL_WRONG;
	}
	/* a packet takes a page of the pipe */
	fcntl(demo.plain[1], F_SETPIPE_SZ, PIPE_MESSAGES * getpagesize());
	fcntl(demo.packed[1], F_SETPIPE_SZ, PIPE_MESSAGES * getpagesize());
	return TOOL_OK;
}

static void demo_json(double seconds, int killed, bool ok)
{
	const volatile struct shared *s = demo.shared;
	struct json_object *report = json_report("demo");

	json_object_object_add(report, "ok", json_object_new_boolean(ok));
	json_object_object_add(report, "embedded", json_object_new_boolean(demo.embedded));
	json_object_object_add(report, "seconds", json_fraction(seconds, 3));
	json_add(report, "record_bytes", demo.bytes);
	json_add(report, "written", s->written);
	json_add(report, "checked", s->checked);
	json_add(report, "stale", s->stale);
	json_add(report, "bytes", s->plain);
	json_add(report, "bytes_packed", s->packed);
	json_add(report, "killed", killed < 0 ? 0 : killed);
	json_print(report, false);
}

static void demo_text(double seconds, int killed)
{
	const volatile struct shared *s = demo.shared;

	printf("serializer: %" PRIu64 " buffers of %zu records written and handed over\n",
	       s->written, (size_t)demo.bytes / sizeof(struct record));
	printf("compressor: %" PRIu64 " bytes deflated to %" PRIu64 "\n", s->plain, s->packed);
	printf("checker:    every record and sum of %" PRIu64 " buffers is right\n", s->checked);
	if (killed)
		printf("killed:     %d; the %" PRIu64 " buffers they had went back to the pools\n",
		       killed, s->round - s->checked);
	printf("%.1f s, %.0f buffers a second, no byte copied between the processes\n", seconds,
	       s->checked / seconds);
}

static int run_demo(bool json)
{
	struct sigaction action = { .sa_handler = interrupt };
	const volatile struct shared *s;
	pid_t pids[STAGES] = { 0 };
	double seconds;
	int killed, status;
	bool ok;

	status = prepare();
	if (status)
		return status;
	/* then the serializer stops, and the others finish what is on its way */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	s = demo.shared;
	demo.start = now_ns();
	killed = supervise(pids);
	progress_end();
	kill_stages(pids);
	seconds = (now_ns() - demo.start) / 1e9;

	/* a process may be killed between two counts, but nothing else explains a gap */
	ok = killed > 0 || (!killed && s->checked == s->written && !s->stale);
	if (demo.rounds && s->round != demo.rounds && !interrupted)
		ok = false;
	if (json)
		demo_json(seconds, killed, ok);
	else if (killed >= 0)
		demo_text(seconds, killed);
	if (!ok)
		say("demo: failed after %" PRIu64 " of %" PRIu64 " buffers", s->checked,
		    s->written);
	return ok ? TOOL_OK : TOOL_WRONG;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "seconds", required_argument, NULL, 's' },
		{ "embedded", no_argument, NULL, 'e' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	bool json = false;
	int c;

	demo.rounds = 500;
	while ((c = getopt_long(argc, argv, "r:s:ejh", options, NULL)) != -1) {
		switch (c) {
		case 'r':
			if (!parse_count(optarg, UINT32_MAX, &demo.rounds))
				return usage(&cmd_demo, "'%s' is no number of rounds", optarg);
			demo.seconds = 0;
			break;
		case 's':
			if (!parse_seconds(optarg, &demo.seconds))
				return usage(&cmd_demo, "'%s' is no time: seconds, 0.01 to 86400",
					     optarg);
			demo.rounds = 0;
			break;
		case 'e':
			demo.embedded = true;
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			return show_help(&cmd_demo);
		default:
			return bad_option(&cmd_demo);
		}
	}
	if (optind < argc)
		return usage(&cmd_demo, "it takes no pool: it uses the three default ones");
	return run_demo(json);
}

const struct command cmd_demo = {
	.name = "demo",
	.args = "[-r ROUNDS | -s SECONDS] [--embedded] [--json]",
	.summary = "three processes pass data through the pools without copying it",
	.help = "Run a pipeline of three processes: the first serializes trade records into\n"
		"buffers, the second compresses them, the third checks every record. They pass\n"
		"buffers by 64-bit handles; no data goes through their pipes.\n"
		"\n"
		"Watch it from another terminal with 'lfpool top'. Kill one of the three: the\n"
		"kernel takes its buffers back, the demo starts another one, and 'lfpool check'\n"
		"finds nothing lost.\n"
		"\n"
		"  -r, --rounds=ROUNDS    number of buffers to pass (500)\n"
		"  -s, --seconds=SECONDS  run for this long instead\n"
		"  -e, --embedded         use pools of its own, which need no module\n"
		"  -j, --json             print the result as JSON\n"
		"  -h, --help             this text\n",
	.run = run,
};
