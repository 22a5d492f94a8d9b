#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# planted.sh [KERNEL...]: do the debugging kernels find what they are for?
#
# For each detector a module with such a bug (planted/planted.c) is loaded in a
# machine like those of the tests. What the kernel says of it must be what boot.py
# judges a failure, and be just that: nothing else may be in the log. TAP; without
# arguments for all debugging kernels.
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
inside "$0" "$@"

# The bug; the first thing that the kernel has to say; what else it may say. Those after
# "boot" share a machine, with that on its command line: what turns lockdep off comes
# after what lockdep is to find, what the kernel dies of comes last, and a leak is looked
# for in the end, which takes longest; the others lose nothing.
declare -A expected=(
	[kasan]='
boot kmemleak=off kasan_multi_shot
none			-
lock-order		WARNING: possible circular locking dependency detected
sleep-in-atomic		BUG: sleeping function called from invalid context
list-corruption		list_del corruption; WARNING: .* at lib/list_debug.c
shift			UBSAN: shift-out-of-bounds in
array-index		UBSAN: array-index-out-of-bounds in
free-active-timer	ODEBUG: free active .* timer_list; WARNING: .* debug_print_object
use-after-free		BUG: KASAN: use-after-free in use_after_free
lock-after-free		BUG: KASAN: use-after-free in do_raw_spin_lock; BUG: KASAN: use-after-free in do_raw_spin_unlock
sort-after-free		BUG: KASAN: use-after-free in do_swap
page-use-after-free	BUG: KASAN: use-after-free in page_use_after_free
out-of-bounds		BUG: KASAN: slab-out-of-bounds in out_of_bounds
vmalloc-out-of-bounds	BUG: KASAN: vmalloc-out-of-bounds in vmalloc_out_of_bounds
double-free		BUG: KASAN: double-free in
page-write-after-free	pagealloc: memory corruption; pagealloc: corrupted page details
copy-too-much		usercopy: Kernel memory exposure attempt .*kmalloc-64; kernel BUG at mm/usercopy.c
boot kmemleak=off
reference-to-freed	VM_BUG_ON_FOLIO(.*folio_ref_count; kernel BUG at include/linux/mm.h
boot
leak			kmemleak: [0-9]* new suspected memory leaks; kmemleak: unreferenced objects'
	[kcsan]='
boot
none			-
data-race		BUG: KCSAN: data-race in count_up; WARNING: .* replace_stack_entry'
)

# how reports of the kernel begin
headline='BUG:|WARNING:|kernel BUG at|UBSAN:|ODEBUG:|VM_BUG_ON|(list_add|list_del) corruption'
headline+='|kmemleak:|pagealloc:|usercopy:|Bad page|general protection|stall|blocked for more'

[ $# -gt 0 ] || set -- kasan kcsan

build()
{
	local out=$top/build/$k/planted

	mkdir -p "$out" && cp -p "$top"/selftests/planted/* "$out/" || return
	# shellcheck disable=SC2086 # none or one
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u MAKEOVERRIDES \
		make -s -C "$KDIR" M="$out" W=1 $KCHECKS modules >&2
}

# machine BUGS OPTIONS: BUGS with commas between
machine()
{
	bash "$top/selftests/vm/run.sh" planted_bug "$k" --label "planted-${1%%,*}" \
		--append "planted=$1 $2" >"$top/build/$k/planted/${1%%,*}.log" 2>&1 </dev/null
}

bugs_of()
{
	grep -v -e '^boot' -e '^$' <<<"${expected[$1]}"
}

# machines_of KERNEL: for each its bugs and, after a tab, its options
machines_of()
{
	awk '
		function machine() { if (bugs) printf "%s\t%s\n", bugs, options; bugs = "" }
		$1 == "boot" { machine(); sub(/^boot */, ""); options = $0; next }
		NF { bugs = bugs (bugs ? "," : "") $1 }
		END { machine() }' <<<"${expected[$1]}"
}

# parted BUGS: what the kernel said of each, into a file of its own; before the first of
# them it has nothing to say
parted()
{
	awk -v out="$top/build/$k/planted/" -v first="${1%%,*}" '
		{ sub(/\r$/, "") }
		/lfpool-vm: tests start/ { file = out first ".said" }
		match($0, /lfpool-vm: planted /) { file = out substr($0, RSTART + RLENGTH) ".said" }
		file { print >file }' "$top/build/$k/vm/planted-${1%%,*}/planted_bug/console.log"
}

# trouble FILE: the first line for which boot.py says that a machine has failed
trouble()
{
	PYTHONPATH=$top/selftests/vm python3 -B -c '
import sys
import boot
lines = boot.read_console(sys.argv[1])
number = boot.find_trouble(lines, 0, {})
if number is not None:
    print(boot.message(lines[number]))' "$1"
}

# judge BUG PATTERNS TROUBLE: what is wrong with what the kernel said
judge()
{
	local log=$top/build/$k/planted/$1.said first=${2%%; *} rest said

	if ! grep -q "lfpool-vm: planted $1\$" "$log" 2>/dev/null; then
		echo "it was not run into"
		return
	fi
	# nobody comes back from what the kernel dies of
	grep -q "^  ok [0-9]* $1\$" "$top/build/$k/planted"/*.log || grep -q 'Kernel panic' "$log" ||
		echo "the module with it was not loaded and unloaded"
	# The kernel has races of its own, at any time: those the verdict passes over.
	said=$(grep -E "$headline" "$log" |
		awk -v first="$first" '!/BUG: KCSAN:/ || first != "-" && $0 ~ first')
	if [ "$first" = - ]; then
		[ -z "$3$said" ] || echo "where nothing is wrong: $3; $said"
		return
	fi
	rest=${2#"$first"}
	rest=${rest#; }
	if [ -z "$3" ]; then
		echo "not taken for a failure"
	elif ! head -n 1 <<<"$said" | grep -q "$first"; then
		echo "not the first that the kernel says: $first"
		echo "$said"
	else
		grep -v -e "$first" ${rest:+-e "$rest"} <<<"$said"
	fi
}

plan=0
for k in "$@"; do
	[ -n "${expected[$k]-}" ] || die "$k is no debugging kernel"
	plan=$((plan + $(bugs_of "$k" | wc -l)))
done
echo "1..$plan"

number=0 status=0 planted=0 found=0
for k in "$@"; do
	eval "$(bash "$top/selftests/vm/kernel.sh" "$k" || echo exit 1)"
	build || die "the module with the bugs does not build for $k"
	rm -rf "$top/build/$k"/vm/planted-* "$top/build/$k"/planted/*.{log,said}
	while IFS=$'\t' read -r bugs options; do
		# a machine has two CPUs, but waits most of the time
		while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
			wait -n
		done
		machine "$bugs" "$options" &
	done < <(machines_of "$k")
	wait
	while IFS=$'\t' read -r bugs _; do
		parted "$bugs"
		grep -q '^vm-test: FAIL: ' "$top/build/$k/planted/${bugs%%,*}.log" && continue
		echo "# the machine with $bugs has not failed"
		status=1
	done < <(machines_of "$k")
	while read -r bug patterns; do
		number=$((number + 1))
		[ "$bug" = none ] || planted=$((planted + 1))
		if trouble=$(trouble "$top/build/$k/planted/$bug.said"); then
			wrong=$(judge "$bug" "$patterns" "$trouble" 2>&1)
		else
			wrong="boot.py cannot tell"
		fi
		if [ -n "$wrong" ]; then
			status=1
			echo "# ${wrong//$'\n'/$'\n'# }"
			echo "not ok $number $k: $bug"
			continue
		fi
		[ "$bug" = none ] || found=$((found + 1))
		echo "ok $number $k: $bug: ${trouble:-nothing}"
	done < <(bugs_of "$k")
done
echo "# $found planted bugs found of $planted"
exit $status
