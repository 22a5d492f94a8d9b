#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
# vm: smp=1 insmod=no timeout=600 files="build/userlib/lfpool build/selftests/tool_spoil jq script bash userlib/dist/lfpool.bash:/lib/lfpool.bash userlib/man/lfpool.1.scd:/lib/lfpool.1.scd /lib/terminfo/l/linux:/lib/terminfo/l/linux"
#
# The lfpool command: every subcommand, option and error.

pools="serialization compression simd"
number=0
status=0
out=/tmp/out
err=/tmp/err

# check WORDS: a test point, of what the last command line gave
check()
{
	set -- $? "$1"
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number $2"
		return
	fi
	sed 's/^/#   stdout: /' $out
	sed 's/^/#   stderr: /' $err
	echo "not ok $number $2"
	status=1
}

# run STATUS COMMAND...: true if it ends with that status; what it says is kept
run()
{
	want=$1
	shift
	"$@" >$out 2>$err </dev/null
	got=$?
	[ $got = "$want" ] || {
		echo "# exit status $got, not $want: $*"
		return 1
	}
}

# as RUN, by somebody who may do nothing
run_nobody()
{
	want=$1
	shift
	run "$want" su -s /bin/sh nobody -c "exec $*"
}

# on a terminal; what is typed comes from standard input
terminal()
{
	TERM=linux script -qec "$*" /tmp/typescript >$out 2>$err
}

says()
{
	grep -q -e "$1" $out
}

complains()
{
	grep -q -e "$1" $err
}

silent()
{
	[ ! -s "$1" ]
}

# json FILTER: what the last command printed is JSON of which this is true
json()
{
	[ "$(jq -c "$1" <$out 2>&1)" = true ]
}

show()
{
	sed 's/^/#   /' $out
}

wait_for()
{
	local i=0

	while ! "$@" >/dev/null 2>&1; do
		i=$((i + 1))
		[ $i -lt $((200 * ${LFPOOL_SLOW:-1})) ] || return 1
		usleep 100000
	done
}

# metrics_right STYLE [SAMPLES]: rules of OpenMetrics (1) or of the Prometheus text
# format (0); at least so many samples
metrics_right()
{
	awk -v style="$1" -v least="${2:-60}" '
	function bad(why) { print "# line " NR ": " why ": " $0; wrong = 1 }
	done { bad("after # EOF") }
	/^# (HELP|TYPE|UNIT) / {
		if (NF < 4) bad("too short")
		if ($2 == "UNIT" && !style) bad("no such comment")
		if ($3 != name) {
			if ($3 in seen) bad("family comes twice")
			seen[$3] = 1; name = $3; type = ""; samples = 0
		} else if (samples) {
			bad("after its samples")
		}
		if ($2 == "TYPE") {
			type = $4
			if (type != "gauge" && type != "counter") bad("type")
			if (style && type == "counter" && name ~ /_total$/) bad("family named _total")
			if (!style && type == "counter" && name !~ /_total$/) bad("no _total")
			if (type == "gauge" && name ~ /_(total|count|sum|bucket)$/) bad("gauge with a suffix")
		}
		if ($2 == "UNIT" && name !~ ("_" $4 "$")) bad("name without its unit")
		next
	}
	$0 == "# EOF" && style { done = 1; next }
	/^#/ { bad("comment"); next }
	{
		if ($0 !~ /^[a-z_]+\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\} [0-9.]+$/) bad("sample")
		labels = $0; sub(/ [^ ]*$/, "", labels)
		if (labels in have) bad("sample comes twice")
		have[labels] = 1
		sample = $0; sub(/\{.*/, "", sample)
		want = type == "counter" && style ? name "_total" : name
		if (sample != want) bad("sample of another family")
		samples++
	}
	END {
		if (style && !done) { print "# no # EOF"; wrong = 1 }
		if (length(have) < least) { print "# few samples: " length(have); wrong = 1 }
		exit wrong
	}' $out
}

# spoil POOL HOW: start tool_spoil, and wait until it has done it. The file must not
# have what the last one said: the shell empties it only after it opened the pipe.
spoil()
{
	rm -f /tmp/spoilt
	mkfifo /tmp/hold
	tool_spoil "$@" </tmp/hold >/tmp/spoilt &
	spoiler=$!
	exec 3>/tmp/hold
	wait_for grep -q spoilt /tmp/spoilt
}

# and have it undone
unspoil()
{
	exec 3>&-
	wait $spoiler
	rm /tmp/hold
}

# the three of the demo never rest: what is run beside them is to come first
demo_behind()
{
	# shellcheck disable=SC2016 # for the shell inside; busybox has no nice
	sh -c 'renice -n 19 -p $$ >/dev/null; exec lfpool demo --seconds 600' \
		>/tmp/demo.out 2>/tmp/demo.err &
	demo=$!
}

# each of the three has two of the pools; whoever looks on should not hold them up
# shellcheck disable=SC2317 # wait_for calls it
holds_three()
{
	local pool n clients=0

	for pool in $pools; do
		read -r n <"/sys/class/lfpool/$pool/clients"
		clients=$((clients + n))
	done
	[ "$clients" = 6 ] && lfpool holders --json >/tmp/three &&
		[ "$(jq '[.holders[].pid] | unique | length' </tmp/three)" = 3 ]
}

# nobody_in POOL: it has no clients
# shellcheck disable=SC2317 # wait_for calls it
nobody_in()
{
	[ "$(cat "/sys/class/lfpool/$1/clients")" = 0 ]
}

# two_open PATH: two processes have it open
# shellcheck disable=SC2317 # wait_for calls it
two_open()
{
	local fd n=0

	for fd in /proc/[0-9]*/fd/*; do
		[ "$(readlink "$fd")" != "$1" ] || n=$((n + 1))
	done
	[ "$n" = 2 ]
}

# what a terminal would show in the end, of what was sent since it was cleared
last_screen()
{
	tr '\n' ' ' <$out | sed "s/.*$(printf '\033')\[J//" >/tmp/screen
	mv /tmp/screen $out
}

# some_of WORDS: all of them; where rounds are left out (see rounds()), the first alone
some_of()
{
	[ "${LFPOOL_ROUNDS:-1}" = 1 ] || set -- "$1"
	echo "$@"
}

# what lfpool(1) says of a command's JSON
json_entry()
{
	sed -n '/^# JSON/,/^# EXIT/p' /lib/lfpool.1.scd |
		awk -v command="*$1*" '/^\*/ { here = $0 == command; next } here'
}

# documented COMMAND: the keys that lfpool(1) tells of
documented()
{
	json_entry "$1" >/tmp/entry
	! grep -q 'those of \*lfpool holders\*' /tmp/entry || json_entry holders >>/tmp/entry
	{
		echo schema
		echo command
		grep -o '\*[a-z_]*\*' /tmp/entry | tr -d '*'
		! grep -q 'every statistic' /tmp/entry || sed 's/ .*//' /tmp/values
	} | sort -u
}

# the keys of what the last command printed; those of not_shown are pools
json_keys()
{
	jq -r 'del(.not_shown[]?) | [.. | objects | keys[]] | unique[]' <$out | sort -u
}

pid_of_stage()
{
	lfpool holders | awk -v "command=lfp-$1" '$3 == command { print $2; exit }'
}

# shellcheck disable=SC2317 # wait_for calls it
restarted()
{
	holds_three && [ "$(jq "any(.holders[].pid; . == $1)" </tmp/three)" = false ]
}

usage()
{
	run 2 lfpool && complains "^Usage: lfpool COMMAND" && silent $out
	check "no command: usage"
	run 0 lfpool --help && says "^  holders " && silent $err && cp $out /tmp/help &&
		run 0 lfpool help && cmp -s $out /tmp/help && run 0 lfpool -h && cmp -s $out /tmp/help
	check "--help, -h, help"
	run 0 lfpool --version && says '^lfpool [0-9]*\.[0-9]*\.[0-9]*$'
	check "--version"
	run 2 lfpool --nonsense && complains "unrecognized option" && complains "Try 'lfpool --help'" &&
		run 2 lfpool nonsense && complains "no command 'nonsense'" && run 2 lfpool help nonsense
	check "unknown command or option"
	for c in list stat top holders check reset bench demo; do
		run 0 lfpool $c --help && says "^Usage: lfpool $c" && says "  -h, --help" && silent $err &&
			cp $out /tmp/help && run 0 lfpool help $c && cmp -s $out /tmp/help &&
			run 0 lfpool --help && says "^  $c "
		check "$c --help"
		run 2 lfpool $c --nonsense && complains "lfpool $c: unrecognized option '--nonsense'" &&
			complains "Try 'lfpool $c --help'" && silent $out
		check "$c --nonsense"
	done
	for line in "stat -i 0" "stat -i x" "stat -i 1x" "stat -i" "stat -c 0" "stat -c 1.5" \
		    "stat --json --openmetrics" "stat --openmetrics -i 1" "stat --prometheus -c 2" \
		    "top -d 0" "top -d x" "top -s size" "check --json --quiet" "bench -t 0" "bench -t 257" \
		    "bench -b 0" "bench -b x" "bench -s 0" "demo -r 0" "demo -r -1" "demo -s x" "demo simd"; do
		# shellcheck disable=SC2086 # a list
		run 2 lfpool $line && complains "^lfpool [a-z]*: ." && complains "Try 'lfpool" && silent $out
		check "wrong usage: $line"
	done
}

no_module()
{
	for c in list stat top "top --once" holders check reset bench demo "stat --openmetrics" "list simd"; do
		# shellcheck disable=SC2086 # a list
		run 69 lfpool $c && silent $out && complains "the lfpool module is not loaded; as root: modprobe lfpool" &&
			complains "lfpool demo --embedded"
		check "no module: $c"
	done
	run 0 lfpool demo --embedded --rounds 20 --json &&
		json '.schema == 1 and .ok and .embedded and .checked == 20 and .written == 20 and .stale == 0'
	check "no module: demo --embedded"
	run 0 lfpool bench --embedded -s 0.1 simd && says "^simd " && ! says compression
	check "no module: bench --embedded"
	run 69 lfpool bench --embedded nonsense && complains "there is no embedded pool 'nonsense'"
	check "no module: bench --embedded of another pool"
}

terminals()
{
	escape=$(printf '\033')
	terminal "lfpool check" </dev/null && says "${escape}\[32mok"
	check "colours on a terminal"
	NO_COLOR=1 terminal "lfpool check" </dev/null && says ' ok' && ! says "$escape"
	check "NO_COLOR"
	NO_COLOR='' terminal "lfpool check" </dev/null && says "$escape"
	check "an empty NO_COLOR does not count"
	terminal "TERM=dumb lfpool check" </dev/null && ! says "$escape"
	check "no colours on a dumb terminal"
	run 0 lfpool check && ! says "$escape"
	check "no colours in a file"
	terminal "lfpool bench -s 0.3 simd" </dev/null && says '\[####.*%' &&
		terminal "lfpool bench -s 0.3 simd 2>/dev/null" </dev/null && ! says '\[####'
	check "a progress bar, where standard error is a terminal"
	# each order on a screen of its own: what did not change is not sent again
	{
		sleep 2
		for key in c g a p h; do
			printf '%s\014' $key
			sleep 1
		done
		printf '+- '
		sleep 1
		printf q
		sleep 5
	} | terminal "lfpool top -d 60" && says "lfpool top " && says "simd" && says "q quit" &&
		says "by cached" && says "by gets/s" && says "by age" && says "by pid" && says "by held"
	check "top on a terminal: keys, q ends it"
	{ sleep 2; printf q; sleep 1; } | terminal "TERM=nonsense lfpool top"
	[ $? = 1 ] && says "cannot drive a terminal of type 'nonsense'; try: lfpool top --once"
	check "top on a terminal nobody knows"
	run 0 lfpool top -d 0.1 && says "^lfpool top"
	check "top without a terminal prints once"

	# a full disk
	lfpool stat >/dev/full 2>$err
	[ $? = 1 ] && complains "lfpool: cannot write: No space left on device"
	check "standard output is full"
	lfpool stat -i 0.1 -c 50 2>$err | head -n 1 >/dev/null
	silent $err
	check "a closed pipe is no complaint"
}

complete_line()
{
	bash -c '. /lib/lfpool.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _lfpool; echo "${COMPREPLY[@]}"' \
		bash "$@" >$out 2>$err
}

completion()
{
	complete_line lfpool '' && [ "$(cat $out)" = "list stat top holders check reset bench demo help" ] && silent $err
	check "completion: commands"
	complete_line lfpool st && [ "$(cat $out)" = stat ]
	check "completion: a command"
	complete_line lfpool stat --o && [ "$(cat $out)" = --openmetrics ]
	check "completion: an option"
	complete_line lfpool check --json '' && [ "$(cat $out)" = "compression serialization simd" ]
	check "completion: pools"
	complete_line lfpool top -s c && [ "$(cat $out)" = cached ]
	check "completion: a value"
	bad=
	for c in list stat top holders check reset bench demo; do
		lfpool "$c" --help >/tmp/help
		grep -o -e '--[a-z]*' /tmp/help | sort -u >/tmp/options
		# shellcheck disable=SC2046 # words; in one shell: each costs more than what it tells
		bad=$bad$(bash -c '. /lib/lfpool.bash
			for option in "${@:2}"; do
				COMP_WORDS=(lfpool "$1" "$option") COMP_CWORD=2 COMPREPLY=()
				_lfpool
				[[ " ${COMPREPLY[*]} " = *" $option "* ]] || echo " $1$option"
			done' bash "$c" $(cat /tmp/options) 2>&1)
	done
	echo "$bad" >$out
	[ -z "$bad" ]
	check "completion knows every option"
}

no_such_pool()
{
	for c in list stat top holders check reset bench; do
		run 69 lfpool $c nonsense && silent $out &&
			complains "no pool 'nonsense'; there are: serialization, compression, simd"
		check "no such pool: $c"
	done
	run 69 lfpool list ../../module && complains "no pool '../../module'"
	check "no such pool: a path"
}

stat_formats()
{
	run 0 lfpool stat -i 0.1 -c 3 simd && says "^TIME .* GETS/s" &&
		[ "$(grep -c '^[0-9:]*  simd  *0  *0  *64  *64  *0  *0  *0  *-$' $out)" = 3 ]
	check "stat -i -c"
	run 0 lfpool stat -c 2 -i 0.1 --json && [ "$(wc -l <$out)" = 2 ] &&
		[ "$(jq -c .schema <$out | tr '\n' ' ')" = "1 1 " ]
	check "stat -i -c --json: an object a line"
	run 0 lfpool stat --openmetrics && metrics_right 1 && says "^# EOF$" &&
		says '^lfpool_capacity_buffers{pool="simd"} 64$' && says '^lfpool_buffers{pool="simd",state="reserve"} 64$'
	check "stat --openmetrics"
	sed -i 's/^lfpool_pool_hits_total/lfpool_pool_hits/' $out && ! metrics_right 1 >/dev/null
	check "the checker of OpenMetrics finds a wrong name"
	run 0 lfpool stat --prometheus && metrics_right 0 && ! says EOF
	check "stat --prometheus"
	run 0 lfpool stat --openmetrics simd simd && metrics_right 1 25 && run 0 lfpool list simd simd &&
		[ "$(wc -l <$out)" = 2 ] && run 0 lfpool stat --json simd compression simd &&
		json '[.pools[].pool] == ["simd", "compression"]'
	check "a pool that is named twice is taken once"
}

top_and_keys()
{
	run 0 lfpool top --once -d 0.2 -s pid compression && ! says " serialization " &&
		[ "$(awk '/lfp-/ { print $1 }' $out)" = "$(awk '/lfp-/ { print $1 }' $out | sort -n)" ]
	check "top --once -s POOL"
	{ sleep 2; printf '\033[B\033[B'; sleep 1; printf '\014'; sleep 1; printf q; sleep 2; } |
		terminal "stty rows 10 cols 80; lfpool top -d 60"
	last_screen && says COMMAND && [ "$(grep -o ' lfp-' $out | wc -l)" = 1 ] && says "q quit"
	check "top: what scrolls is the processes, not their heading"
	wide=$(lfpool top --once -d 0.1 | awk 'length > 80')
	echo "$wide" >$out
	[ -z "$wide" ]
	check "top: 80 columns suffice"
	for c in $(some_of list stat top holders check reset bench demo); do
		case $c in
		bench)	run 0 lfpool bench --embedded --json -s 0.05 ;;
		demo)	run 0 lfpool demo --embedded --json -r 5 ;;
		*)	run 0 lfpool "$c" --json ;;
		esac && documented "$c" >/tmp/documented && json_keys >/tmp/keys && cmp -s /tmp/documented /tmp/keys
		set -- $?
		diff /tmp/documented /tmp/keys >$err
		[ "$1" = 0 ]
		check "lfpool(1) has every JSON key of $c, and no other"
	done
}

nobody()
{
	for c in list stat "stat --prometheus" "top --once -d 0.1" "stat -c 1 -i 0.1"; do
		run_nobody 0 lfpool "$c" && silent $err && says simd
		check "by nobody, who may read sysfs: $c"
	done
	run_nobody 0 lfpool list && says "^simd .* none$" && run_nobody 0 lfpool list --json &&
		json '.pools[0].readable == false and .pools[0].writable == false'
	check "by nobody: list says so"
	for c in check reset bench demo; do
		run_nobody 69 lfpool $c && silent $out &&
			complains "no permission for /dev/lfpool/serialization (root:root, mode 0660)" &&
			complains "be root; to open it to a group"
		check "by nobody: $c is refused"
	done
	chgrp nogroup /dev/lfpool/* && chmod 0640 /dev/lfpool/*
	for c in demo bench "bench simd"; do
		run_nobody 69 lfpool "$c" && silent $out && [ "$(grep -c 'no permission for /dev/lfpool/' $err)" = 1 ] &&
			complains "(root:nogroup, mode 0640)"
		check "by a member of the group who may only read: $c is refused, once"
	done
	chgrp root /dev/lfpool/*
	chmod 0660 /dev/lfpool/*
}

# skip POINTS WHERE
skip()
{
	number=$((number + 1))
	echo "ok $number $1 # SKIP of user space alone: run $2"
}

# of_user_space POINTS: whether to make them here; they say nothing of the module
of_user_space()
{
	[ -n "${LFPOOL_DEBUG-}" ] || return 0
	skip "$1" "on stock kernels"
	return 1
}

echo "TAP version 13"

if of_user_space "usage, no module"; then
	usage
	no_module
fi

insmod "$LFPOOL_KO" buffer_count=64 max_threads=32
check "module loaded"

# list
run 0 lfpool list && silent $err && show && [ "$(wc -l <$out)" = 4 ] &&
	[ "$(awk 'NR > 1 { printf "%s ", $1 }' $out)" = "$pools " ] && says "/dev/lfpool/simd .*read, write$"
check "list"
run 0 lfpool list simd && [ "$(wc -l <$out)" = 2 ] && says "^simd .* 2K "
check "list POOL"
run 0 lfpool list --json && json '.schema == 1 and .command == "list" and
	([.pools[].pool] == ["serialization", "compression", "simd"]) and
	(.pools[0] | .buffer_size == 131072 and .capacity == 64 and .max_count == 128 and .writable)'
check "list --json"
if of_user_space "no such pool"; then
	no_such_pool
fi

# stat
run 0 lfpool stat simd && silent $err && cp $out /tmp/stat
check "stat POOL"
differences=
tail -n +2 /tmp/stat >/tmp/values
while read -r name value; do
	read -r now <"/sys/class/lfpool/simd/$name"
	[ "$value" = "$now" ] || differences="$differences $name"
done </tmp/values
for file in /sys/class/lfpool/simd/*; do
	name=${file##*/}
	case $name in
	dev | power | subsystem | uevent | reset_stats) ;;
	*)	grep -q "^$name " /tmp/values || differences="$differences $name(missing)" ;;
	esac
done
echo "$differences" >$out
[ -z "$differences" ]
check "stat has every sysfs file, with the same value"
run 0 lfpool stat && show && [ "$(head -n 1 $out | wc -w)" = 3 ]
check "stat"
run 0 lfpool stat --json && json '.schema == 1 and .command == "stat" and (.pools | length) == 3 and
	(.pools[2] | .pool == "simd" and .capacity == 64 and .hit_rate == 0) and .time > 0'
check "stat --json"
if of_user_space "stat: what it prints"; then
	stat_formats
fi

# check
run 0 lfpool check && silent $err && show && [ "$(grep -c ' ok$' $out)" = 3 ]
check "check"
run 0 lfpool check --json && json '.ok and .schema == 1 and (.pools[0] | .reserve == 64 and .exact and .lost == 0)'
check "check --json"
run 0 lfpool check -q && silent $out && silent $err
check "check -q"
for fault in lost double damaged; do
	spoil simd $fault
	run 1 lfpool check && says "^simd .* WRONG$" && says "^compression .* ok$" && complains "^lfpool: simd: 1 "
	check "check finds: $fault"
	show
	if of_user_space "check finds: $fault, -q and --json"; then
		run 1 lfpool check -q && silent $out && silent $err && run 0 lfpool check -q compression &&
			run 1 lfpool check --json simd && json '.ok == false and (.pools[0].ok == false)'
		check "check finds: $fault, -q and --json"
	fi
	unspoil
done
run 0 lfpool check
check "check after all was put right"

# bench
export TERM=linux
run 0 lfpool bench -s 0.2 && show && says "^simd .* ns .*x$" && silent $err
check "bench; no progress bar in a file"
export TERM=dumb
run 0 lfpool bench -s 0.2 -t 4 -b 4 --json simd && json '.schema == 1 and .threads == 4 and .burst == 4 and
	(.pools[0] | .pool == "simd" and .samples > 0 and .ns.inline > 0 and .ns.call > 0 and .ns.malloc > 0)'
check "bench -t -b --json"
run 1 lfpool bench -t 32 -b 100 simd && complains "32 threads with 100 buffers each are more than the"
check "bench with more buffers than there are"
run 0 lfpool check -q
check "check after bench"

# reset
[ "$(cat /sys/class/lfpool/simd/pool_hits)" -gt 0 ] && run 0 lfpool reset simd && silent $out && silent $err &&
	[ "$(cat /sys/class/lfpool/simd/pool_hits)" = 0 ] && [ "$(cat /sys/class/lfpool/compression/pool_hits)" -gt 0 ]
check "reset POOL"
run 0 lfpool reset --json && json '[.pools[].pool] == ["serialization", "compression", "simd"]' &&
	[ "$(cat /sys/class/lfpool/compression/pool_hits)" = 0 ]
check "reset --json"

# holders, top and demo: three processes, one is killed
run 0 lfpool holders && silent $out && complains "nobody uses the pools"
check "holders: nobody"
spoil simd shared
wait_for two_open /dev/lfpool/simd && run 0 lfpool holders && [ "$(grep -c '^simd ' $out)" = 1 ] &&
	says "^simd  *$spoiler  *tool_spoil  *1 "
check "holders: one line, although two processes have the file open"
kill -9 $spoiler
wait_for nobody_in simd
# the child has the file, as the module's users show
run 0 lfpool holders && silent $out && complains "nobody uses the pools" && ! rmmod lfpool 2>/dev/null
check "holders: not the dead, although a child of it has the file open"
unspoil
demo_behind
wait_for holds_three
check "three processes run"
sleep 1
run 0 lfpool holders && silent $err && [ "$(awk '{ print $2 }' $out | sort -u | wc -l)" = 4 ] &&
	says " lfp-serializer " && says " lfp-compressor " && says " lfp-checker "
check "holders"
echo "# \$ lfpool holders"
show
run 0 lfpool stat -i 0.5 -c 1 simd && says " simd .* [1-9][0-9]*  *[1-9][0-9]*  *0  *100.00$"
check "stat -i: rates"
run 0 lfpool top --once && says "^lfpool top .* 3 pools  6 clients  6 threads" && says " lfp-compressor "
check "top --once"
echo "# \$ lfpool top --once"
show
run 0 lfpool holders --json simd && json '.schema == 1 and (.holders | length) == 2 and
	all(.holders[]; .pool == "simd" and .pid > 0 and .age_ms > 0) and .not_shown.simd == 0'
check "holders --json POOL"
run 0 lfpool top --json -d 0.5 && json '.schema == 1 and (.pools | length) == 3 and (.holders | length) == 6 and
	.seconds > 0.4 and (.pools[0].gets_per_second > 0)'
check "top --json"
if of_user_space "top: what it shows; JSON keys"; then
	top_and_keys
fi
run 0 lfpool check && [ "$(grep -c ' ok$' $out)" = 3 ] && says "^serialization  *64 "
check "check while they run"
victim=$(pid_of_stage compressor)
echo "# \$ kill -9 $victim (compressor)"
kill -9 "$victim"
wait_for restarted "$victim"
check "the one that was killed is gone from holders; the demo has started another one"
sleep 1
run 0 lfpool holders && ! says " $victim " && says " lfp-compressor "
check "holders after the kill"
echo "# \$ lfpool holders"
show
run 0 lfpool check
check "check after the kill: nothing is lost"
echo "# \$ lfpool check"
show
run 0 lfpool top --once && says " lfp-compressor "
check "top --once after the kill"
echo "# \$ lfpool top --once"
show
reclaimed=$(cat /sys/class/lfpool/serialization/reclaimed)
echo "# reclaimed from it: $reclaimed serialization buffers, $(cat /sys/class/lfpool/compression/reclaimed) compression buffers"
[ "$reclaimed" -gt 0 ]
check "its buffers were reclaimed"
kill -STOP "$(pid_of_stage serializer)"
run 0 lfpool check && run 0 lfpool holders && says " lfp-serializer "
check "check and holders while a process is stopped"
kill -CONT "$(pid_of_stage serializer)"
kill -INT $demo
wait $demo
cp /tmp/demo.out $out
cp /tmp/demo.err $err
show
complains "compressor $victim was killed by signal 9; starting another one" &&
	says "^killed:     1; " && says "^checker: .*is right"
check "demo told of the kill"
run 0 lfpool holders && complains "nobody uses the pools" && run 0 lfpool check
check "all buffers are back"
run 0 lfpool demo -r 30 && silent $err && says "^checker:    every record and sum of 30 buffers is right"
check "demo -r"
if of_user_space "demo -s --json"; then
	# half a second, on a machine that is not slow
	tenths=$((5 * ${LFPOOL_SLOW:-1}))
	run 0 lfpool demo -s $((tenths / 10)).$((tenths % 10)) --json && json '.ok and .checked == .written and .checked > 0 and .killed == 0 and .embedded == false'
	check "demo -s --json"
fi

# no permission
if of_user_space "by nobody"; then
	nobody
fi
chgrp nogroup /dev/lfpool/simd && chmod 0640 /dev/lfpool/simd
run_nobody 0 lfpool check simd && run_nobody 0 lfpool list simd && says "read$"
check "by a member of the group: check"
run_nobody 69 lfpool reset simd && complains "no permission for /dev/lfpool/simd (root:nogroup, mode 0640)" &&
	complains "usermod -aG nogroup USER"
check "by a member of the group who may only read: reset is refused"
chmod 0660 /dev/lfpool/simd
run_nobody 0 lfpool reset simd
check "by a member of the group who may write: reset"
demo_behind
wait_for holds_three && run_nobody 0 lfpool holders && complains "^lfpool: 6 more: processes of other users" && silent $out &&
	run_nobody 0 lfpool holders --json && json '.holders == [] and .not_shown.simd == 2'
check "by nobody: holders tells how many it may not show"
run_nobody 0 lfpool top --once -d 0.1 && says "6 more: processes of other users"
check "by nobody: top does, too"
kill $demo
wait $demo
chgrp root /dev/lfpool/simd

# no node
mv /dev/lfpool/simd /dev/lfpool/gone
run 69 lfpool check simd && complains "pool 'simd' is there, but its node /dev/lfpool/simd is not" &&
	run 0 lfpool list && says "^simd .* no node$" && run 0 lfpool stat simd
check "a node that is not there"
mv /dev/lfpool/gone /dev/lfpool/simd

if [ "${LFPOOL_ROUNDS:-1}" = 1 ]; then
	terminals
	completion
else
	skip "terminals, a full disk, completion" "where LFPOOL_ROUNDS is 1, on the first kernel"
fi

# the module goes while somebody looks
lfpool stat -i 0.5 >/tmp/stat 2>$err &
stat=$!
sleep 1
# in vain at the moments when it looks
wait_for rmmod lfpool
check "rmmod while stat -i runs"
wait $stat
[ $? = 69 ] && complains "^lfpool: .*\(not loaded\|no pool\)"
check "stat -i ends then"

# the smallest pools there can be
insmod "$LFPOOL_KO" buffer_count=1 serialization_size=64 compression_size=64 simd_elements=1 max_threads=1
run 0 lfpool demo -r 100 && says "of 100 buffers is right" && run 0 lfpool bench -s 0.1 && run 0 lfpool check
check "demo, bench and check with the smallest pools"
run 1 lfpool bench -b 3 -s 0.1 && complains "1 threads\{0,1\} with 3 buffers each are more"
check "bench of more than there is"
rmmod lfpool

echo "1..$number"
exit $status
