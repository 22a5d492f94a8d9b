#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
# vm: insmod=no timeout=400 files="build/selftests/trace_events userlib/man/lfpool.4.scd:/lib/lfpool.4.scd bpftrace perf"
#
# The tracepoints: each fires, with what it says in its place; and each command
# of lfpool(4) that looks at one finds it.

events="grant exhausted client_attach client_detach reclaim grow scavenge orphan quarantine"
tracing=/sys/kernel/tracing
number=0
status=0
out=/tmp/out

# check WORDS: a test point, of what the last command line gave; why is in $out
check()
{
	set -- $? "$1"
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number $2"
		return
	fi
	sed 's/^/#   /' $out
	echo "not ok $number $2"
	status=1
}

skip()
{
	number=$((number + 1))
	echo "ok $number # SKIP $1"
}

# afresh: what a pool grew by, it keeps
load()
{
	insmod "$LFPOOL_KO" buffer_count=2 max_count=3 max_threads=4
}

# The commands of the manual page; none is longer than a line.
commands()
{
	sed -n '/^# TRACEPOINTS/,/^# FILES/p' /lib/lfpool.4.scd | grep -E '^(bpftrace|perf) '
}

# way COMMAND: the tool, and of perf which of its commands
way()
{
	case $1 in
	perf*)	echo "$1" | cut -d ' ' -f 1,2 ;;
	*)	echo "${1%% *}" ;;
	esac
}

# watch COMMAND: run it over the life of trace_events
watch()
{
	case $1 in
	bpftrace*)	eval "$1 -c /bin/trace_events" ;;
	"perf record"*)	eval "$1 -o /tmp/perf.data trace_events" && perf script -i /tmp/perf.data ;;
	*)		eval "$1 trace_events" ;;
	esac >$out 2>&1 </dev/null
}

echo "TAP version 13"
load || exit

ls $tracing/events/lfpool >$out
missing=
for event in $events; do
	grep -qx "$event" $out || missing="$missing $event"
done
[ -z "$missing" ] && [ "$(grep -cvE '^(enable|filter)$' $out)" = 9 ]
check "nine tracepoints"

echo 1 >$tracing/events/lfpool/enable
trace_events >$out 2>&1
check "all that they tell of happens"
echo 0 >$tracing/events/lfpool/enable
# before the module goes, and its events with it
grep -v '^#' $tracing/trace >$out
rmmod lfpool
for event in $events; do
	case $event in
	grow | scavenge | orphan | quarantine)
		form="pool=simd count=1 capacity=[23]" ;;
	reclaim)
		form="pool=simd client=[1-9][0-9]* count=1" ;;
	*)	form="pool=simd client=[1-9][0-9]* count=[01]" ;;
	esac
	grep -qE " $event: $form\$" $out
	check "$event fires: $form"
done
# of the four clients one gave all back, and R1 finds what another one moved
[ "$(grep -c ' reclaim: ' $out)" = 2 ] && [ "$(grep -c ' exhausted: ' $out)" = 1 ] &&
	[ "$(grep -c ' quarantine: ' $out)" = 1 ] && [ "$(grep -c ' orphan: ' $out)" = 1 ] &&
	[ "$(grep -c ' grow: ' $out)" = 1 ] && [ "$(grep -c ' scavenge: ' $out)" = 1 ]
check "each as often as it happened"

commands >/tmp/commands
: >/tmp/ways
while read -r command; do
	event=${command#*lfpool:} event=${event%%[!a-z_]*}
	echo "$event" >>/tmp/seen
	case $command in
	bpftrace*)
		if [ ! -e /proc/sys/kernel/unprivileged_bpf_disabled ]; then
			skip "$event: this kernel has no BPF: $command"
			continue
		fi ;;
	esac
	# the events have been seen above; each tool once, and the rest on the first kernel
	if [ "${LFPOOL_ROUNDS:-1}" -gt 1 ] && grep -qxF "$(way "$command")" /tmp/ways; then
		skip "$event: like an earlier one, run where LFPOOL_ROUNDS is 1: $command"
		continue
	fi
	way "$command" >>/tmp/ways
	load || exit
	watch "$command"
	# what came with it: the event's name, or its pool, or its program
	case $command in
	"perf stat"*)	grep -qE "^ *([0-9.]+ +)?[1-9][0-9]* +lfpool:$event" $out ;;
	bpftrace*)	grep -qE '^@.*(simd|trace_events)' $out ;;
	*)		grep -qE "lfpool:$event.*simd" $out ;;
	esac
	check "$event: $command"
	rmmod lfpool
done </tmp/commands
for event in $events; do
	grep -qx "$event" /tmp/seen || echo "$event"
done >$out
[ ! -s $out ]
check "lfpool(4) has a command for each"

echo "1..$number"
exit $status
