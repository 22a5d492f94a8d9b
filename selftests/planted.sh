#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# planted.sh [KERNEL...]: do the debugging kernels find what they are for?
#
# For each detector a module with such a bug (planted/planted.c) is loaded in a
# machine like those of the tests, and the machine must be judged a failure, for
# just that: nothing else may be in its log. TAP; without arguments for all
# debugging kernels.
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
inside "$0" "$@"

# The bug; the first thing that the kernel has to say; what else it may say.
declare -A expected=(
	[kasan]='
none			-
use-after-free		BUG: KASAN: use-after-free in use_after_free
lock-after-free		BUG: KASAN: use-after-free in do_raw_spin_lock
page-use-after-free	BUG: KASAN: use-after-free in page_use_after_free
out-of-bounds		BUG: KASAN: slab-out-of-bounds in out_of_bounds
vmalloc-out-of-bounds	BUG: KASAN: vmalloc-out-of-bounds in vmalloc_out_of_bounds
double-free		BUG: KASAN: double-free in
page-write-after-free	pagealloc: memory corruption; pagealloc: corrupted page details
reference-to-freed	VM_BUG_ON_FOLIO(.*folio_ref_count; kernel BUG at include/linux/mm.h
free-active-timer	ODEBUG: free active .* timer_list; WARNING: .* debug_print_object
copy-too-much		usercopy: Kernel memory exposure attempt .*kmalloc-64; kernel BUG at mm/usercopy.c
lock-order		WARNING: possible circular locking dependency detected
sleep-in-atomic		BUG: sleeping function called from invalid context; BUG: Invalid wait context
list-corruption		list_del corruption; WARNING: .* at lib/list_debug.c
leak			kmemleak: [0-9]* new suspected memory leaks; kmemleak: unreferenced objects
shift			UBSAN: shift-out-of-bounds in
array-index		UBSAN: array-index-out-of-bounds in'
	[kcsan]='
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
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u MAKEOVERRIDES \
		make -s -C "$KDIR" M="$out" W=1 modules >&2
}

# machine BUG
machine()
{
	local append="planted=$1"

	# its scan is what takes longest, and the others lose nothing
	[ "$1" = leak ] || append+=" kmemleak=off"
	bash "$top/selftests/vm/run.sh" planted_bug "$k" --label "planted-$1" \
		--append "$append" >"$top/build/$k/planted/$1.log" 2>&1 </dev/null
}

# judge BUG PATTERNS: what is wrong with what the machine said, and the kernel
judge()
{
	local verdict first=${2%%; *} rest said

	verdict=$(sed -n 's/^vm-test: //p' "$top/build/$k/planted/$1.log")
	# The first line of the log may be the one after which it counts. The kernel has
	# races of its own, at any time: those the verdict passes over.
	said=$(awk 'on; /lfpool-vm: tests start/ { on = 1 }' \
		"$top/build/$k/vm/planted-$1/planted_bug/console.log" | grep -E "$headline" |
		awk -v first="$first" '!/BUG: KCSAN:/ || first != "-" && $0 ~ first')
	if [ "$first" = - ]; then
		[ "$verdict" = PASS ] && [ -z "$said" ] || echo "${verdict:-no verdict}, not PASS: $said"
		return
	fi
	rest=${2#"$first"}
	rest=${rest#; }
	if [[ $verdict != "FAIL: "* ]]; then
		echo "${verdict:-no verdict}, not FAIL"
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
	plan=$((plan + $(grep -c . <<<"${expected[$k]}")))
done
echo "1..$plan"

number=0 status=0 bugs=0 found=0
for k in "$@"; do
	eval "$(bash "$top/selftests/vm/kernel.sh" "$k" || echo exit 1)"
	build || die "the module with the bugs does not build for $k"
	rm -rf "$top/build/$k"/vm/planted-* "$top/build/$k"/planted/*.log
	while read -r bug _; do
		[ -n "$bug" ] || continue
		# a machine has two CPUs, but waits most of the time
		while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
			wait -n
		done
		machine "$bug" &
	done <<<"${expected[$k]}"
	wait
	while read -r bug patterns; do
		[ -n "$bug" ] || continue
		number=$((number + 1))
		[ "$bug" = none ] || bugs=$((bugs + 1))
		wrong=$(judge "$bug" "$patterns" 2>&1)
		if [ -n "$wrong" ]; then
			status=1
			echo "# ${wrong//$'\n'/$'\n'# }"
			echo "not ok $number $k: $bug"
			continue
		fi
		[ "$bug" = none ] || found=$((found + 1))
		echo "ok $number $k: $bug: $(sed -n 's/^vm-test: //p' "$top/build/$k/planted/$bug.log")"
	done <<<"${expected[$k]}"
done
echo "# $found planted bugs found of $bugs"
exit $status
