// SPDX-License-Identifier: MIT
/*
 * lfpool: look at shared buffer pools, and try them.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static const struct command *const commands[] = {
	&cmd_list, &cmd_stat, &cmd_top, &cmd_holders, &cmd_check, &cmd_reset, &cmd_bench,
	&cmd_demo,
};

static void overview(FILE *f)
{
	unsigned int i;

	fputs("Usage: lfpool COMMAND [OPTION...] [POOL...]\n"
	      "\n"
	      "Look at the shared buffer pools of this machine, and try them.\n"
	      "\n"
	      "Commands:\n", f);
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\n"
	      "Without a POOL a command looks at all pools.\n"
	      "\n"
	      "  -h, --help     this text; of a command: lfpool COMMAND --help\n"
	      "  -V, --version  print the version\n"
	      "\n"
	      "Exit status: 0 all is well, 1 something is wrong, 2 wrong usage, 69 no module,\n"
	      "no such pool or no permission. The manual page lfpool(1) says more; lfpool(7) is\n"
	      "about the pools.\n", f);
}

static const struct command *find(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	}
	fprintf(stderr, "lfpool: there is no command '%s'\nTry 'lfpool --help'.\n", name);
	return NULL;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	char name[32];

	/* getopt's messages start with it */
	snprintf(name, sizeof(name), "lfpool %s", cmd->name);
	argv[0] = name;
	/* start anew */
	optind = 0;
	return cmd->run(argc, argv);
}

static int dispatch(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 }
	};
	const struct command *cmd;
	int c;

	argv[0] = "lfpool";
	while ((c = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
		switch (c) {
		case 'h':
			overview(stdout);
			return TOOL_OK;
		case 'V':
			puts("lfpool " TOOL_VERSION);
			return TOOL_OK;
		default:
			fputs("Try 'lfpool --help'.\n", stderr);
			return TOOL_USAGE;
		}
	}
	if (optind == argc) {
		overview(stderr);
		return TOOL_USAGE;
	}
	argc -= optind;
	argv += optind;
	if (!strcmp(argv[0], "help")) {
		if (argc == 1) {
			overview(stdout);
			return TOOL_OK;
		}
		cmd = find(argv[1]);
		return cmd ? show_help(cmd) : TOOL_USAGE;
	}
	cmd = find(argv[0]);
	return cmd ? run(cmd, argc, argv) : TOOL_USAGE;
}

int main(int argc, char **argv)
{
	int status = dispatch(argc, argv);

	progress_end();
	/* a full disk must not look like success, though an earlier call may have met it */
	errno = 0;
	if (fflush(stdout) || ferror(stdout)) {
		if (!errno)
			say("cannot write");
		else if (errno != EPIPE)
			say("cannot write: %s", strerror(errno));
		status = TOOL_WRONG;
	}
	return status;
}
