#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# leftovers.sh: a test in a machine is stopped, at any point and in any way, and
# leaves nothing behind: no process, no machine, no mount, no temporary file; the
# next run passes. TAP.
#
# All processes of a run have a number in their environment, by which those are
# found that outlived it.
# shellcheck disable=SC2317 # try() calls the functions
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
inside "$0" "$@"
# shellcheck source-path=SCRIPTDIR source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$top" || exit

# it starts processes all the time, and takes longer than any of those that are stopped
name=lifecycle
# the part of it that is run to its end
part=life.killed_holder_gives_back
k=6.1
# seconds that may pass until all is gone
patience=3

# survivors RUN: processes that have its number
survivors()
{
	grep -lszF "LFPOOL_RUN=$1" /proc/[0-9]*/environ | sed 's,[^0-9],,g'
}

# as COMMAND...: as it would be called by a person, whoever called us
as()
{
	exec env -u LFPOOL_INSIDE -u LFPOOL_BELOW_MAKE -u MAKEFLAGS -u MAKELEVEL -u MFLAGS \
		LFPOOL_RUN="$run" TMPDIR="$scratch/tmp" "$@" </dev/null
}

# what else a run could leave: not in /tmp, where others write, too
traces()
{
	sort /proc/mounts
	find "$scratch/tmp" -mindepth 1
	find "$cache" -maxdepth 4 -name '.new.*' 2>/dev/null | sort
}

# victim WHOM: the process to be stopped. The boot is waited for.
victim()
{
	local pid i

	[ "$1" = boot.py ] || {
		echo "$started"
		return
	}
	for ((i = 0; i < 600; i++)); do
		for pid in $(survivors "$run"); do
			if tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q '^[^ ]*python3 [^ ]*boot\.py '; then
				echo "$pid"
				return
			fi
		done
		sleep 0.1
	done 2>/dev/null
	return 1
}

# stopped WHOM SIGNALS SECONDS
stopped()
{
	local run pid signal left ended i

	run=$(cat /proc/sys/kernel/random/uuid)
	mkdir -p "$scratch/tmp"
	traces >"$scratch/before"
	case $1 in
	make)	as make -s vm-test T="$name" K="$k" & ;;
	*)	as bash selftests/vm/run.sh "$name" "$k" & ;;
	esac
	started=$!
	pid=$(victim "$1") || {
		echo "nothing boots"
		return 1
	}
	sleep "$3"
	for signal in $2; do
		kill "-$signal" "$pid" || {
			echo "it had ended by itself"
			return 1
		}
		sleep 0.1
	done

	for ((i = 0; i < patience * 10; i++)); do
		left=$(survivors "$run")
		[ -n "$left" ] || break
		sleep 0.1
	done
	for pid in $left; do
		echo "left behind: $pid $(tr '\0' ' ' <"/proc/$pid/cmdline")"
		# ours, by the number that it has; others may have gone with it
		kill -KILL "$pid"
	done 2>/dev/null
	wait "$started"
	ended=$?
	traces >"$scratch/after"
	diff "$scratch/before" "$scratch/after" || return
	[ -z "$left" ] || return
	[ "$1 $2" != "run.sh TERM" ] || [ "$ended" = 143 ] || {
		echo "run.sh ended with $ended, not 143"
		return 1
	}
}

# what a killed run left in the build folder is removed by the next
passes()
{
	local run

	run=$(cat /proc/sys/kernel/random/uuid)
	mkdir -p "$scratch/tmp"
	(as bash selftests/vm/run.sh "$name" "$k" --append "LFPOOL_ONLY=$part") || return
	! find "build/$k/vm/$name" -name 'initramfs.cpio.*' | grep .
}

if ! unshare --pid --fork true 2>/dev/null; then
	echo "1..0 # SKIP no PID namespaces for us here"
	exit 4
fi
make -s selftests >"$log" 2>&1 </dev/null || {
	cat "$log"
	echo "Bail out! the tests do not build"
	exit 1
}

echo "TAP version 13"
# it brings the kernel as well
try "$name passes" passes
# two moments for each, and other ones for the next
moments="0.1 2" others="0.5 5"
for whom in run.sh boot.py make; do
	for signals in TERM KILL "STOP KILL"; do
		for seconds in $moments; do
			try "$whom: $signals after $seconds s" stopped $whom "$signals" "$seconds"
		done
		swap=$moments moments=$others others=$swap
	done
done
try "$name passes again, and has tidied up" passes
tap_end
