#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# steady.sh [--embedded]: in the steady state get and put make no system call.
#
# Runs steady under strace and counts the calls between its marks.
#
# vm: smp=1 files="strace build/selftests/steady:/bin/lfpool-steady"

program=$(dirname "$0")/../build/selftests/steady
[ -x "$program" ] || program=/bin/lfpool-steady
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

echo "TAP version 13"
if ! command -v strace >/dev/null; then
	echo "1..0 # SKIP no strace"
	exit 4
fi

echo "1..5"
status=0
strace -f -o "$log" "$program" "$@"
ended=$?

# One line a call: PID name(arguments) = result
calls()
{
	awk -v part="$1" '
	$2 ~ /^getppid\(/ { marks++; next }
	$2 ~ /^(---|\+\+\+)/ { next }
	marks == part' "$log"
}

point()
{
	if [ "$2" ]; then
		echo "ok $1"
	else
		echo "not ok $1"
		status=1
	fi
}

marks=$(awk '$2 ~ /^getppid\(/' "$log" | wc -l)
[ "$ended" -eq 0 ] && [ "$marks" -eq 5 ] && fine=yes || fine=
[ "$fine" ] || echo "# exit $ended, $marks marks"
point "1 runs to its end" "$fine"

number=1
for kind in "lfpool_get and lfpool_put" "lfpool_thread_get and lfpool_thread_put" \
	    "lfpool_get_bulk and lfpool_put_bulk" "LFPOOL_GUARD"; do
	found=$(calls "$number" | wc -l)
	[ "$found" -eq 0 ] && [ "$marks" -gt "$number" ] && fine=yes || fine=
	calls "$number" | head -n 5 | sed 's/^/# /'
	point "$((number + 1)) $found system calls in 1000000 rounds of $kind" "$fine"
	number=$((number + 1))
done
exit $status
