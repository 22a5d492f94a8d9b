#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# run.sh TESTS KERNEL [options]: run selftests in a virtual machine.
#
# TESTS are names of selftests/<test>.sh or build/selftests/<test>, one or
# several ("parity uapi"). What a test wants of its machine stands in its
# source, all on one line:
#
#	vm: modargs="buffer_count=64" smp=4 mem=1G timeout=300 insmod=no
#
#   insmod=no    the test loads and unloads $LFPOOL_KO itself
#   modargs      parameters for insmod                   (none)
#   smp, mem     the machine's CPUs and memory           (2, 2G)
#   timeout      seconds until the test is killed        (240)
#   append       more of the kernel's command line       (none)
#   provokes     lines of the kernel log of this pattern are no trouble, nor is
#                a call trace that comes after one    (none)
#   files        what else the guest needs: a path, or a command of this
#                machine, each with :PATH for a place other than /bin; %k in
#                it stands for the kernel
#
# Tests that want the same machine share a boot. Processors that wait for each other cost
# the more the fewer there are to emulate them: what is no matter of several gets one.
# The exit status is the test's, 4 if it was skipped, and 1 if several ran and one failed.
#
# Time limits are multiplied by how many times slower things may be here, which the
# tests find as LFPOOL_SLOW in their environment; of a debugging kernel they find its
# name, too, as LFPOOL_DEBUG, and its grace periods are expedited; for KASAN it gets more memory.
# --append NAME=VALUE sets more there.
#
# --label NAME: what is written goes to build/KERNEL/vm/NAME, so that two may run
# at a time.
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
inside "$0" "$@"

here=$top/selftests/vm

usage()
{
	echo 'usage: run.sh TESTS KERNEL [--modargs ARGS] [--smp N] [--mem SIZE] [--timeout SECONDS] [--append ARGS] [--label NAME]' >&2
	exit 2
}

[ $# -ge 2 ] || usage
read -rd "" -a tests <<<"$1"
k=$2
shift 2
[ ${#tests[@]} -gt 0 ] || usage

# What the command line says goes before what the sources say.
declare -A forced=()
label=
while [ $# -gt 0 ]; do
	case $1 in
	--modargs | --smp | --mem | --timeout | --append)
		[ $# -ge 2 ] || usage
		forced[${1#--}]=$2
		shift 2 ;;
	--label)
		[ $# -ge 2 ] || usage
		label=$2
		shift 2 ;;
	*)	usage ;;
	esac
done

# How much longer than on a machine of one's own things may take. The host runs
# other things too, and a virtual CPU may be without a real one for long: time
# limits are there to find what hangs, not what is slow. For debugging kernels, what
# the sanitizers cost, seen from the slowest tests, comes on top.
debug=
slow=3
case ${k%-gcov} in
kasan)	debug=kasan slow=15 ;;
kcsan)	debug=kcsan slow=6 ;;
esac

# The program of test $1, and the source that its vm: line is in.
program_of()
{
	if [ -e "$top/selftests/$1.sh" ]; then
		echo "$top/selftests/$1.sh"
	elif [ -e "$top/build/selftests/$1" ]; then
		echo "$top/build/selftests/$1"
	else
		die "no test '$1': neither selftests/$1.sh nor build/selftests/$1 is there"
	fi
}

source_of()
{
	local name

	# the 32-bit build of a program has that program's source
	for name in "$1.sh" "$1.c" "$1.cpp" "${1%32}.c"; do
		if [ -e "$top/selftests/$name" ]; then
			echo "$top/selftests/$name"
			return
		fi
	done
}

# want TEST: set what its vm: line says, in the variables of these names.
want()
{
	local source line key word words

	modargs='' smp=2 mem=2G timeout=240 append='' insmod=yes files='' provokes=''
	source=$(source_of "$1")
	line=
	[ -z "$source" ] || line=$(sed -n 's,^[[:space:]/*#]*vm:[[:space:]]*,,p' "$source" | head -n 1)
	line=${line%%\*/*}
	# xargs takes quotes as a shell does, but expands nothing
	mapfile -t words < <(xargs -n 1 printf '%s\n' <<<"$line")
	for word in "${words[@]}"; do
		[ -n "$word" ] || continue
		key=${word%%=*}
		case $key in
		modargs | smp | mem | timeout | append | insmod | files | provokes)
			printf -v "$key" %s "${word#*=}" ;;
		*)	die "$source: unknown '$word' in its vm: line" ;;
		esac
	done
	for key in "${!forced[@]}"; do
		printf -v "$key" %s "${forced[$key]}"
	done
	append+=" LFPOOL_SLOW=$slow"
	timeout=$((timeout * slow))
	if [ -n "$debug" ]; then
		append+=" LFPOOL_DEBUG=$debug"
		# each module that comes or goes waits for several grace periods, of slow ticks
		append+=" rcupdate.rcu_expedited=1"
	fi
	if [ "$debug" = kasan ]; then
		append+=" page_poison=1"
		# shadow memory is an eighth, and what is freed is kept for a while
		case $mem in
		*G)	mem=$((${mem%G} * 1536))M ;;
		*M)	mem=$((${mem%M} * 3 / 2))M ;;
		esac
	fi
	# what is watched is waited for: where there is no other processor, mostly for nothing
	[ "$debug $smp" != "kcsan 1" ] || append+=" kcsan.skip_watch=8000"
}

# Where a file of a files= list comes from, and where it goes.
place()
{
	local from=${1%%:*} to=

	from=${from//%k/$k}

	[[ $1 != *:* ]] || to=${1#*:}
	case $from in
	/*)	;;
	*/*)	from=$top/$from ;;
	*)	from=$(command -v "$from") || die "no command '${1%%:*}' here" ;;
	esac
	[ -e "$from" ] || die "$from: not there"
	echo "$from:${to:-/bin/${from##*/}}"
}

# boot TEST...: all want the same machine.
boot()
{
	local name dir file program
	local -a pairs=() options=()

	dir=$(IFS=+; echo "$*")
	dir=$top/build/$k/vm/${label:+$label/}${dir:0:80}
	mkdir -p "$dir" || exit
	: >"$dir/plan" || exit
	for name in "$@"; do
		want "$name"
		program=$(program_of "$name") || exit
		printf '%s\t%s\t%s\t%s\n' "$name" "$insmod" "$timeout" "$modargs" >>"$dir/plan"
		pairs+=("$program:/selftests/$name")
		for file in $files; do
			file=$(place "$file") || exit
			pairs+=("$file")
		done
		[ -z "$provokes" ] || options+=(--provokes "$name=$provokes")
		options+=(--limit "$name=$((timeout + 60))")
	done
	case $k in
	*-gcov)
		rm -rf "$dir/gcov" && mkdir "$dir/gcov" || exit
		options+=(--share "$dir/gcov") ;;
	esac
	bash "$here/initramfs.sh" "$dir/initramfs.cpio" "$dir/plan" \
		"$top/build/$k/lfpool.ko" "${pairs[@]}" || exit

	python3 "$here/boot.py" --kernel "$KIMAGE" --initrd "$dir/initramfs.cpio" \
		--console "$dir/console.log" --result "$dir/result.ktap" \
		--smp "$smp" --mem "$mem" --append "$append" --timeout $((30 * slow)) \
		--parent $$ "${options[@]}" &
	boot=$!
	# a signal reaches the shell only where it waits, not where it runs
	wait $boot
}

# Whoever stops us stops the machine as well.
boot=
trap 'kill $boot 2>/dev/null; wait; exit 143' TERM INT HUP

for name in "${tests[@]}"; do
	program_of "$name" >/dev/null || exit
done
eval "$(bash "$here/kernel.sh" "$k" || echo exit 1)"
bash "$here/module.sh" "$k" || exit

# In order, each with those later ones that want the same machine.
status=4 boots=0
declare -A booted=()
for first in "${tests[@]}"; do
	[ -z "${booted[$first]-}" ] || continue
	want "$first"
	machine="$smp $mem $append"
	group=()
	for name in "${tests[@]}"; do
		want "$name"
		if [ -z "${booted[$name]-}" ] && [ "$smp $mem $append" = "$machine" ]; then
			booted[$name]=yes
			group+=("$name")
		fi
	done
	boot "${group[@]}"
	this=$?
	boots=$((boots + 1))
	case $this in
	0)	[ $status != 4 ] || status=0 ;;
	4)	;;
	*)	status=$this ;;
	esac
done
[ $boots -eq 1 ] || [ $status = 0 ] || [ $status = 4 ] || status=1
exit $status
