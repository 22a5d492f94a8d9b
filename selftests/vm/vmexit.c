// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmexit N: end QEMU with the verdict N, by its isa-debug-exit device.
 *
 * QEMU exits with 2N+1, so that its exit code 0 is left for a guest that
 * stopped without saying anything.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>
#include <termios.h>
#include <unistd.h>

#define DEBUG_EXIT_PORT 0xf4

/* What is still in a tty's buffer would be lost with the machine. */
static void drain(const char *tty)
{
	int fd = open(tty, O_WRONLY | O_NOCTTY);

	if (fd < 0)
		return;
	tcdrain(fd);
	close(fd);
}

int main(int argc, char **argv)
{
	int verdict = argc > 1 ? atoi(argv[1]) : 1;

	if (verdict < 0 || verdict > 127)
		verdict = 1;
	drain("/dev/ttyS0");
	drain("/dev/ttyS1");
	if (ioperm(DEBUG_EXIT_PORT, 4, 1)) {
		perror("vmexit: ioperm");
		return 1;
	}
	outl(verdict, DEBUG_EXIT_PORT);
	return 1;
}
