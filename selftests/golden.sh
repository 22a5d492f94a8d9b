#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# golden.sh [--update]: what the compiler makes of the inline get and put. Their
# fast path has no call, no lock prefix and no fence, and no more instructions
# than the listing that is kept in golden.lst. On aarch64, where plain loads and
# stores are not ordered, it has the two barriers that it needs.
#
# A change that is meant, or makes it shorter: golden.sh --update, and look at
# what the difference is.
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

golden=$top/selftests/golden.lst
work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT

points=0 bad=0

# point STATUS WORDS
point()
{
	points=$((points + 1))
	if [ "$1" = 0 ]; then
		echo "ok $points - $2"
	else
		echo "not ok $points - $2"
		bad=1
	fi
}

skip()
{
	points=$((points + 1))
	echo "ok $points - $1 # SKIP $2"
}

# Both in one function, as in a loop of a program that keeps its thread at hand.
source_text()
{
	cat <<-'C'
	#include <lfpool.h>
	int pair(struct lfpool_thread *t);
	int pair(struct lfpool_thread *t)
	{
		void *p = lfpool_thread_get(t);

		__asm__ volatile("" : "+r"(p));
		if (__builtin_expect(!p, 0))
			return -1;
		return lfpool_thread_put(t, p);
	}
	void *get(struct lfpool_thread *t);
	void *get(struct lfpool_thread *t)
	{
		return lfpool_thread_get(t);
	}
	int put(struct lfpool_thread *t, void *p);
	int put(struct lfpool_thread *t, void *p)
	{
		return lfpool_thread_put(t, p);
	}
	C
}

# compile COMPILER OBJECT
compile()
{
	source_text | "$1" -O2 -std=gnu11 -I"$top/userlib/include" -I"$top/uapi" \
		-fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
		-x c -c -o "$2" -
}

# fast OBJDUMP OBJECT FUNCTION: from its entry to its first return; what is
# unlikely stands behind it. Jumps lose their targets: they say nothing here.
fast()
{
	"$1" -d --no-show-raw-insn "$2" | awk -v name="<$3>:" '
		$2 == name { on = 1; next }
		!on { next }
		{
			sub(/^ *[0-9a-f]+:\t/, "")
			sub(/ *#.*/, "")
			sub(/ *[0-9a-f]+ <[^>]*>$/, "")
			gsub(/[ \t]+/, " ")
			sub(/ $/, "")
			if (/^(cs )?nop|^data16|^xchg %ax,%ax/)
				next
			print
			if (/^ret/)
				exit
		}'
}

listing()
{
	local function

	for function in pair get put; do
		echo "$function:"
		fast objdump "$work/x86.o" $function | sed 's/^/	/'
	done
}

# kept FUNCTION FILE: the lines of one function in a listing
kept()
{
	sed -n "/^$1:\$/,/^[a-z]*:\$/p" "$2" | grep '^	'
}

x86()
{
	local version function now most status

	version=$(gcc -dumpversion 2>/dev/null)
	if [ "$(uname -m)" != x86_64 ] || [ "${version%%.*}" != 12 ]; then
		skip "x86-64" "the listing is of gcc 12 on x86-64"
		return
	fi
	if ! compile gcc "$work/x86.o"; then
		point 1 "x86-64: compiles"
		return
	fi
	listing >"$work/lst"
	if [ "${update-}" ]; then
		{
			echo "# The fast paths of lfpool.h: gcc 12, x86-64, -O2. By golden.sh --update"
			cat "$work/lst"
		} >"$golden"
	fi
	for function in pair get put; do
		kept $function "$work/lst" >"$work/now"
		kept $function "$golden" >"$work/then"
		now=$(wc -l <"$work/now")
		most=$(wc -l <"$work/then")
		tail -n 1 "$work/now" | grep -q ret
		point $? "x86-64: $function returns"
		! grep -E '^	(call|jmp \*)' "$work/now" | sed 's/^/# /' | grep .
		point $? "x86-64: $function calls nobody"
		! grep -E '^	(lock|xchg .*\(|[lsm]fence|cpuid|cmpxchg)' "$work/now" |
			sed 's/^/# /' | grep .
		point $? "x86-64: $function has no lock prefix and no fence"
		[ "$most" -gt 0 ] && [ "$now" -le "$most" ]
		status=$?
		[ $status = 0 ] || diff "$work/then" "$work/now" | sed 's/^/# /'
		point $status "x86-64: $function has $now instructions, at most $most"
	done
}

# line PATTERN FILE: number of the first line that matches; 0: none
line()
{
	grep -nE -m 1 "$1" "$2" | cut -d : -f 1 | grep . || echo 0
}

aarch64()
{
	local function file acquire release busy last

	if ! command -v aarch64-linux-gnu-gcc >/dev/null; then
		skip "aarch64" "no cross compiler (Debian: gcc-aarch64-linux-gnu)"
		return
	fi
	if ! compile aarch64-linux-gnu-gcc "$work/arm.o" 2>"$work/err"; then
		if grep -q 'No such file' "$work/err"; then
			skip "aarch64" "no C library for it (Debian: libc6-dev-arm64-cross)"
		else
			sed 's/^/# /' "$work/err"
			point 1 "aarch64: compiles"
		fi
		return
	fi
	for function in get put; do
		file=$work/arm.$function
		fast aarch64-linux-gnu-objdump "$work/arm.o" $function >"$file"
		busy=$(line '^st(r|ur) ' "$file")
		acquire=$(line '^lda' "$file")
		release=$(line '^stl' "$file")
		last=$(grep -nE '^(st|ld)[a-z]* .*\[' "$file" | grep -E ':st' | tail -n 1 | cut -d : -f 1)
		[ "$acquire" -gt 0 ] && [ "$busy" -gt 0 ] && [ "$busy" -lt "$acquire" ]
		point $? "aarch64: $function loads revoked with acquire, after its store of busy"
		[ "$release" -gt "$acquire" ] && [ "$release" = "$last" ]
		point $? "aarch64: $function ends with the release of busy, its last store"
		! grep -E '^(bl |blr|dmb|dsb|isb|ldx|ldax|stx|stlx|cas|ldadd|swp)' "$file" |
			sed 's/^/# /' | grep .
		point $? "aarch64: $function has no other barrier, no atomic instruction, no call"
	done
}

[ "${1-}" != --update ] || update=1
echo "TAP version 13"
x86
aarch64
echo "1..$points"
exit $bad
