#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# coverage.sh: which lines of the module the tests reach in the machine, and
# which of the library they reach natively (make coverage). TAP.
#
# Fails if that is less than LEAST per cent of the module, or if lines of the module
# that no test reached are not in coverage.untested with a reason, or if one is there
# that is no more. What two processes must meet for, or the fuzzer must think of, is
# reached in one run and not in another: CHANCE lines may be without a reason.
#
# With COVERAGE_RUN=no no machine is started: what counts is what tests on this
# kernel have left in build/.
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
inside "$0" "$@"
cd "$top" || exit

LEAST=90
CHANCE=12
k=kasan-gcov
# as in check.sh
tests=${COVERAGE_TESTS:-$debug_tests faults}
append=${COVERAGE_APPEND:-$debug_share LFPOOL_FUZZ_SECONDS=20}
run=${COVERAGE_RUN:-yes}
reasons=selftests/coverage.untested
out=$top/build/coverage

# lines FOLDER: each line with code, in order: whether it ran (1, 0), its file, its
# number, its text. gcov lists a function once for each object that has it, and
# there is a listing for each boot: a line ran if it did in one of them.
lines()
{
	find "$1" -name '*.gcov' -exec cat {} + | awk '
		/^ *-: *0:Source:/ { file = substr($0, index($0, "Source:") + 7); next }
		!match($0, /^ *[^:]*: *[1-9][0-9]*:/) { next }
		{
			split($0, part, ":")
			mark = part[1]; number = part[2] + 0
			gsub(/ /, "", mark)
			if (mark == "-")
				next
			text = substr($0, RLENGTH + 1)
			gsub(/[ \t]+/, " ", text); gsub(/^ | $/, "", text)
			key = file "\t" number "\t" text
			ran[key] += mark ~ /^[0-9]/
		}
		END { for (key in ran) printf "%d\t%s\n", (ran[key] > 0), key }' |
		LC_ALL=C sort -t '	' -k 2,2 -k 3,3n
}

# table: of what lines() says, a line for each file, and one for all
table()
{
	awk -F '\t' '
	function report(name, ran, all) {
		printf "%-28s %5d of %5d lines  %5.1f %%\n", name, ran, all, 100 * ran / all
	}
	$2 != file && file { report(file, ran, all); all = ran = 0 }
	{ file = $2; all++; ran += $1; sum++; sumran += $1 }
	END { if (sum) { report(file, ran, all); report("total", sumran, sum) } }'
}

percent()
{
	awk -F '\t' '{ ran += $1 } END { print NR ? int(100 * ran / NR) : 0 }'
}

# unreasonable: of what lines() says of the module, the lines that did not run and
# have no reason, and the reasons without such a line. Lines are known by their
# text, since numbers change; the same text in two lines wants two reasons.
unreasonable()
{
	awk -F '\t' -v reasons="$reasons" '
	BEGIN {
		while ((got = (getline line <reasons)) > 0) {
			if (line ~ /^(#|$)/)
				continue
			n = split(line, part, "\t")
			if (n != 3 || part[3] !~ /[a-z]/)
				print "not of the form file, text, reason: " line
			else
				known[part[1] "\t" part[2]]++
		}
		if (got < 0)
			print "cannot read " reasons
	}
	{
		key = $2 "\t" $4
		there[key] = 1
		if ($1 == 0 && known[key]-- <= 0)
			print $2 ":" $3 ": no reason: " $4
	}
	END {
		for (key in known)
			if (!there[key])
				print "a reason for what is gone: " key
	}'
}

# point NUMBER STATUS WORDS
point()
{
	if [ "$2" = 0 ]; then
		echo "ok $1 $3"
	else
		echo "not ok $1 $3"
		bad=1
	fi
}

# gcov_into FOLDER NOTES DATA: gcov's listings of our sources
gcov_into()
{
	mkdir -p "$1" && cp "$3"/*.gcda "$1/" && cp "$2"/*.gcno "$1/" || return
	# the compiler was told of sources by paths that are relative to the top
	ln -sfn "$top"/{userlib,module,selftests,uapi} "$1/" || return
	(cd "$1" && gcov -m -p -r -s "$top/build/$k" -- *.gcda) >"$1/gcov.log" 2>&1 &&
		! grep -E 'stamp mismatch|[Cc]annot open' "$1/gcov.log" >&2
}

# Runs the tests, each machine's counts in a folder of its own. Those that do not
# pass have not reached what they should; one that died brought nothing out.
run_tests()
{
	local status

	touch "$out/start"
	bash selftests/vm/run.sh "$tests" $k "${debug_machine[@]}" --append "$append" >"$out/vm.log" 2>&1 </dev/null
	status=$?
	grep -E '^(not )?ok |^vm-test: ' "$out/vm.log" | sed 's/^/# /'
	[ $status = 0 ] || [ $status = 4 ]
}

# module_lines: of all boots
module_lines()
{
	local -a newer=() boots
	local boot number=0

	[ "$run" = no ] || newer=(-newer "$out/start")
	mapfile -t boots < <(find "build/$k/vm" -type d -name gcov "${newer[@]}" | sort)
	[ ${#boots[@]} -gt 0 ] || return
	for boot in "${boots[@]}"; do
		number=$((number + 1))
		gcov_into "$out/module/$number" "build/$k/module" "$boot" && continue
		echo "# nothing to count in $boot" >&2
		return 1
	done
	lines "$out/module"
}

module()
{
	local status=0 wrong

	rm -rf "$out/module"
	[ "$run" = no ] || run_tests || status=1
	module_lines >"$out/module.lines" || status=1
	echo "# the module, on $k:"
	table <"$out/module.lines" | sed 's/^/# /'
	[ "$(percent <"$out/module.lines")" -ge $LEAST ] || status=1
	point 1 $status "module: $(percent <"$out/module.lines") % (at least $LEAST)"

	wrong=$(unreasonable <"$out/module.lines")
	echo "# $(grep -c ^0 "$out/module.lines") lines not reached; reasons in $reasons"
	[ -z "$wrong" ] || echo "# ${wrong//$'\n'/$'\n'# }"
	[ -s "$out/module.lines" ] && [ "$(grep -c ': no reason: ' <<<"$wrong")" -le $CHANCE ] &&
		! grep -qv ': no reason: ' <<<"${wrong:-: no reason: }"
	point 2 $? "lines of the module that are not reached have a reason"
}

library()
{
	local status=0

	rm -rf "$out/library" "$out/library.lines"
	NATIVE_OUT=$out/native NATIVE_RUNS="threads:coverage parity:coverage
		concurrency:coverage exhaustion:coverage" \
		bash selftests/native/run.sh >"$out/native.log" 2>&1 </dev/null || status=1
	grep '^not ok' "$out/native.log" | sed 's/^/# /'
	gcov_into "$out/library" "$out/native/coverage" "$out/native/coverage" || status=1
	lines "$out/library" >"$out/all.lines" || status=1
	# Not what belongs to tests and module. What device.c calls is not there.
	awk -F '\t' '$2 ~ /^userlib\// && $2 != "userlib/device.c"' \
		"$out/all.lines" >"$out/library.lines"
	echo "# the library, natively:"
	table <"$out/library.lines" | sed 's/^/# /'
	echo "# userlib/device.c is not counted: it is run in the machine, by parity and others"
	[ -s "$out/library.lines" ] || status=1
	point 3 $status "library: $(percent <"$out/library.lines") %"
}

bad=0
mkdir -p "$out" || exit
echo 1..3
module
library
exit $bad
