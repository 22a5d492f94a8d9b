#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Boot a kernel with the tests' initramfs under QEMU, and say how it went.

The guest reports twice: KTAP on its second serial port, ended by a line with
the verdict, and the same verdict as QEMU's exit status. Both have to arrive
and agree, and the kernel log has to be clean from the start of the tests on.

The exit status is the verdict: 0 pass, 4 skip, else failed.
"""

import argparse
import ctypes
import json
import mmap
import os
import platform
import re
import selectors
import signal
import socket
import subprocess
import sys
import time

START = "lfpool-vm: tests start"
END = re.compile(r"# lfpool-vm: end (\d+)$")
POINT = re.compile(r"\s+(not )?ok\b")
# a test as a whole, by init
FAILED = re.compile(r"not ok \d+ (\S+) # (.*)|(Bail out!) (.*)")
STARTED = re.compile(r"  # (\S+)$")
TEST = re.compile(r"lfpool-vm: test (\S+)")
HANG = re.compile(r"lfpool-vm: no end after")
SKIP = 4

# how far from the line that says why a call trace may start
TRACE = re.compile(r"Call Trace")
TRACE_AFTER = 6

PANIC = re.compile(r"Kernel panic - not syncing")

# KCSAN watches much of the kernel, which has races of its own. Its report is ours
# if one of our modules made one of the accesses, itself or through a few calls of
# the kernel's helpers; what an interrupt interrupted has no part in it.
RACE = re.compile(r"BUG: KCSAN:")
RACE_END = re.compile(r"={60,}$")
RACE_ACCESS = re.compile(r" to 0x[0-9a-f]+ of \d+ bytes by (task|interrupt)")
RACE_FRAME = re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+")
# who sleeps and who wakes it, who waits for a mutex and who holds it, who queues a work
# item that another queues as well: those races are between the kernel and itself,
# whoever called
RACE_OF_KERNEL = re.compile(r"\b(__wake_up_common|__mutex_lock|__mutex_unlock_slowpath|"
                            r"hrtimer_wakeup|schedule_hrtimeout_range|"
                            r"try_to_grab_pending)")
RACE_INTERRUPTED = re.compile(r"\basm_(sysvec_|common_interrupt|exc_nmi)")
RACE_DEPTH = 5
OURS = re.compile(r"\[(lfpool|planted)\]")

# What no test may leave in the kernel log.
TROUBLE = re.compile("|".join((
    r"BUG:", r"WARNING:", r"\bOops\b", r"Call Trace", r"kernel BUG at",
    r"Kernel panic", r"general protection", r"unable to handle",
    r"double fault", r"stack segment", r"invalid opcode", r"divide error",
    r"KASAN", r"KCSAN", r"UBSAN", r"KFENCE", r"lfpool-vm: (kmemleak|lockdep):", r"ODEBUG",
    r"possible circular locking", r"possible recursive locking",
    r"possible irq lock inversion", r"inconsistent lock state",
    r"inconsistent \{", r"invalid wait context", r"bad unlock balance",
    r"held lock freed", r"lock held when returning", r"suspicious RCU",
    r"trying to register non-static key", r"DEBUG_LOCKS_WARN_ON",
    r"INFO: task .* blocked", r"detected stall", r"self-detected stall",
    r"rcu.*stall", r"soft lockup", r"hard LOCKUP", r"refcount_t",
    r"(list_add|list_del|list).* corruption", r"scheduling while atomic",
    r"sleeping function", r"[Bb]ad page", r"kobject_add_internal failed",
    r"cannot create duplicate filename", r"pagealloc: ", r"usercopy: ",
)))


def tsc_khz():
    """The host's time stamp counter, which is also the guest's; 0 if unknown.

    Told its speed, a guest need not measure it, and a guest that measures
    while the host is busy ends up with a clock that runs wrong.
    """
    if platform.machine() != "x86_64":
        return 0
    try:
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ |
                         mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return 0
    # rdtsc; shl $32, %rdx; or %rdx, %rax; ret
    code.write(b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(address)

    def sample():
        # the tightest of some, lest we were interrupted in between
        tries = []
        for _ in range(20):
            before = time.monotonic_ns()
            ticks = rdtsc()
            after = time.monotonic_ns()
            tries.append((after - before, ticks, (before + after) // 2))
        return min(tries)[1:]

    ticks0, ns0 = sample()
    time.sleep(0.05)
    ticks1, ns1 = sample()
    return (ticks1 - ticks0) * 1000000 // (ns1 - ns0)


def die_with_parent(number=signal.SIGKILL):
    """No QEMU may outlive us, nor we who started us, however they end."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, number)


class Guest:
    """A running QEMU."""

    def __init__(self, args):
        append = ["console=ttyS0", "panic=-1", "oops=panic", "nokaslr",
                  "mitigations=off", "random.trust_cpu=on", "no_timer_check",
                  # a hang is found by our NMI: let it show every CPU
                  "unknown_nmi_panic", "panic_print=0x40",
                  # vCPUs of a busy host stand still without any fault
                  "rcupdate.rcu_cpu_stall_timeout=60", "watchdog_thresh=30",
                  "quiet"]
        khz = tsc_khz()
        if khz:
            append += ["tsc=reliable", f"tsc_early_khz={khz}"]
        append += args.append.split()

        self.ktap, ktap = os.pipe()
        self.qmp, qmp = socket.socketpair()
        command = [
            "qemu-system-x86_64",
            "-M", "q35,hpet=off,smbus=off,sata=off,usb=off",
            "-accel", "tcg,thread=multi",
            # QEMU 7.2 emulates cmpxchg16b wrongly; and without "fast" byte moves, which
            # it emulates byte by byte, the kernel clears and copies by words
            "-cpu", "max,-cx16,-erms", "-m", args.mem,
            # all that a kernel without ACPI is told of is one processor of each socket
            "-smp", f"{args.smp},sockets={args.smp}",
            "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot",
            "-chardev", f"file,id=console,path={args.console}",
            "-chardev", f"file,id=ktap,path=/dev/fd/{ktap}",
            "-serial", "chardev:console", "-serial", "chardev:ktap",
            "-chardev", f"socket,id=qmp,fd={qmp.fileno()}",
            "-mon", "chardev=qmp,mode=control",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-kernel", args.kernel, "-initrd", args.initrd,
            "-append", " ".join(append)]
        if args.share:
            command += [
                "-fsdev", f"local,id=share,path={args.share},security_model=none",
                "-device", "virtio-9p-pci,fsdev=share,mount_tag=share"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=(ktap, qmp.fileno()),
            preexec_fn=die_with_parent)
        os.close(ktap)
        qmp.close()

    def command(self, name):
        self.qmp.sendall(json.dumps({"execute": name}).encode() + b"\n")

    def interrupt(self):
        """Make the kernel show what its CPUs are at."""
        try:
            self.command("qmp_capabilities")
            self.command("inject-nmi")
            self.process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            pass

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Report:
    """The KTAP stream: passed on as it comes, and kept."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")
        self.rest = b""
        self.points = 0
        self.failed = []
        self.end = None

    def feed(self, data):
        """The names of the tests that started."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        lines = [line.decode("utf-8", "replace").rstrip("\r") for line in lines]
        for line in lines:
            self.line(line)
        return [name[1] for name in map(STARTED.match, lines) if name]

    def line(self, line):
        print(line, flush=True)
        self.file.write(line + "\n")
        self.file.flush()
        self.points += bool(POINT.match(line))
        failed = FAILED.match(line)
        if failed:
            self.failed.append(": ".join(filter(None, failed.groups())))
        end = END.match(line)
        self.end = int(end[1]) if end else None

    def close(self):
        if self.rest:
            self.feed(b"\n")
        self.file.close()


def follow(guest, report, args, limits):
    """Read the report until QEMU ends. False at the time limit: of the boot, and
    of what comes after the last test, the timeout; of each test its own. A kernel that
    panicked need not be waited for: one was seen that never came to its reset."""
    deadline = time.monotonic() + args.timeout
    dead = 0
    with selectors.DefaultSelector() as selector:
        selector.register(guest.ktap, selectors.EVENT_READ)
        while dead < 3:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if not selector.select(min(left, 5)):
                panic = find(read_console(args.console), PANIC)
                dead = 0 if panic is None else dead + 1
                continue
            data = os.read(guest.ktap, 65536)
            if not data:
                guest.process.wait()
                return True
            for name in report.feed(data):
                if name in limits:
                    deadline = time.monotonic() + limits[name] + args.timeout
    return True


def read_console(path):
    with open(path, encoding="utf-8", errors="replace") as console:
        return [line.rstrip() for line in console]


def find(lines, pattern, start=0):
    for number in range(start, len(lines)):
        if pattern.search(lines[number]):
            return number
    return None


def race_is_ours(report):
    """Whether one of the accesses of a report of KCSAN was our modules' doing."""
    depth = 0
    for line in report:
        if RACE_ACCESS.search(line):
            depth = RACE_DEPTH
        elif RACE_INTERRUPTED.search(line) or RACE_OF_KERNEL.search(line):
            depth = 0
        elif depth and RACE_FRAME.search(line):
            if OURS.search(line):
                return True
            depth -= 1
    return False


def find_trouble(lines, start, provokes):
    """The first line that no test may leave; PROVOKES has a pattern for tests
    that make the kernel say something, and show a call trace of it."""
    test = None
    skip_to = start
    for number in range(start, len(lines)):
        line = lines[number]
        name = TEST.search(line)
        if name:
            test = name[1]
        if number < skip_to or not TROUBLE.search(line):
            continue
        if RACE.search(line):
            end = find(lines, RACE_END, number) or len(lines) - 1
            if not race_is_ours(lines[number:end]):
                skip_to = end + 1
                continue
        before = TRACE_AFTER if TRACE.search(line) else 0
        if test in provokes and any(
                provokes[test].search(reason)
                for reason in lines[max(start, number - before):number + 1]):
            continue
        return number
    return None


def message(line):
    """A line of the kernel log without its time stamp."""
    return re.sub(r"^\[ *[\d.]+\](\[[ TC\d]+\])? ?", "", line)


def judge(in_time, status, report, console, provokes):
    """Why this is a failure, and the number of the console line to look at;
    None if it is none."""
    start = find(console, re.compile(re.escape(START)))
    panic = find(console, PANIC)
    if not in_time:
        first = find_trouble(console, start or 0, provokes)
        return "no end in time", first
    if panic is not None:
        first = find_trouble(console, start or 0, provokes)
        first = min(first or panic, panic)
        reason = message(console[panic])
        if first < panic:
            # what it panicked of says more
            reason = message(console[first]) + "; " + reason
        return reason, first
    if start is None:
        return f"the guest did not start its tests (QEMU: {status})", None
    if status <= 0 or status % 2 == 0:
        return "the guest ended without a verdict (reboot, power off, or " \
            f"QEMU stopped: {status})", None
    if report.end is None:
        return "the KTAP report is not complete", None
    if report.end != status // 2:
        return f"two verdicts: {report.end} in the report, {status // 2} " \
            "from the guest", None
    # init makes the kernel show its stacks where a test hangs
    hang = find(console, HANG, start)
    trouble = find_trouble(console, start, provokes)
    if trouble is not None and (hang is None or trouble < hang):
        return "kernel log: " + message(console[trouble]), trouble
    if report.end not in (0, SKIP):
        return "; ".join(report.failed) or f"status {report.end}", hang
    if report.end == 0 and report.points == 0:
        return "no test point was reported", None
    return None


def boot(args, limits):
    """A machine's life: whether it ended in time, QEMU's status, the report, the console."""
    open(args.console, "w", encoding="utf-8").close()
    report = Report(args.result)
    guest = Guest(args)
    try:
        in_time = follow(guest, report, args, limits)
        if not in_time:
            guest.interrupt()
    finally:
        guest.kill()
        report.close()
    return in_time, guest.process.returncode, report, read_console(args.console)


def stillborn(console):
    """Whether it panicked before anything of ours was loaded: where QEMU emulates several
    processors, one may come by an int3 of the kernel's patches to itself too late."""
    return find(console, re.compile(re.escape(START))) is None and \
        find(console, PANIC) is not None


def excerpt(console, number):
    if number is None:
        return console[-30:]
    return console[max(0, number - 8):number + 50]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--initrd", required=True)
    parser.add_argument("--console", required=True, help="where the kernel log goes")
    parser.add_argument("--result", required=True, help="where the KTAP report goes")
    parser.add_argument("--smp", default="2")
    parser.add_argument("--mem", default="1G")
    parser.add_argument("--timeout", type=float, default=60,
                        help="seconds to boot, and for what is done after the tests")
    parser.add_argument("--limit", action="append", default=[], metavar="TEST=SECONDS",
                        help="what a test may take besides")
    parser.add_argument("--parent", type=int, help="the process that we must not outlive")
    parser.add_argument("--append", default="", help="more of the kernel's command line")
    parser.add_argument("--share", help="a folder that the guest may write to (9p)")
    parser.add_argument("--provokes", action="append", default=[], metavar="TEST=PATTERN",
                        help="call traces that a test makes the kernel show")
    args = parser.parse_args()
    provokes = {}
    for option in args.provokes:
        name, _, pattern = option.partition("=")
        provokes[name] = re.compile(pattern)

    limits = {}
    for option in args.limit:
        name, _, seconds = option.partition("=")
        limits[name] = float(seconds)

    die_with_parent()
    if args.parent not in (None, os.getppid()):
        return 128 + signal.SIGKILL
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda number, frame: sys.exit(128 + number))

    try:
        in_time, status, report, console = boot(args, limits)
        if stillborn(console):
            print("# the kernel died before the tests began, and is booted once more: " +
                  message(console[find(console, PANIC)]))
            in_time, status, report, console = boot(args, limits)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT

    wrong = judge(in_time, status, report, console, provokes)
    if not wrong:
        print("vm-test: SKIP" if report.end == SKIP else "vm-test: PASS")
        return report.end
    reason, number = wrong
    print(f"# kernel log ({args.console}):")
    for line in excerpt(console, number):
        print("# " + line)
    print(f"vm-test: FAIL: {reason}")
    return 1 if report.end in (None, 0, SKIP) else report.end


if __name__ == "__main__":
    sys.exit(main())
