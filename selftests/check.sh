#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# check.sh: everything that shows whether lfpool works: native checks, then
# the tests in virtual machines, on Debian's kernels and on debugging ones.
#
# Each named step counts as one, and so does each KTAP test point of a
# program. The last line is "N passed, N failed, N skipped".
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
inside "$0" "$@"
cd "$top" || exit

kernels=${CHECK_KERNELS:-6.1 6.12}
# of the tests that want a machine
tests=${CHECK_TESTS:-$machine_tests}
# those that run on the kernel with PREEMPT_RT too; none: leave it out
rt_tests=${CHECK_RT_TESTS-parity concurrency death}
# Debugging kernels; none: leave them out. "make vm-test T=... K=kasan" runs any test as a
# whole there. On kasan the module counts its lines, too: for the report of coverage, and
# to lead the fuzzer. kcsan cannot make allocations fail.
debug_kernels=${CHECK_DEBUG-kasan kcsan}
kasan_tests=${CHECK_KASAN_TESTS:-$debug_tests faults}
kcsan_tests=${CHECK_KCSAN_TESTS:-$debug_tests}
pairs_every=${CHECK_PAIRS_EVERY:-20}
# natively, of what is tried for each step of something else
native_every=${CHECK_NATIVE_EVERY:-16}
# seconds: of the library natively; of the module on kasan, twice: with the state spoilt, too,
# and twice ten on kcsan
fuzz=${CHECK_FUZZ:-30}
fuzz_ioctl=${CHECK_FUZZ_IOCTL:-140}

# no search again of what was found in the very same files; empty: search
export LFPOOL_KNOWN=${LFPOOL_KNOWN-yes}

logs=$top/build/check
rm -rf "$logs"
mkdir -p "$logs" || exit
failures=$logs/failures
: >"$failures"
: >"$logs/summary"
passed=0 failed=0 skipped=0

pass()
{
	passed=$((passed + 1))
	printf 'ok    %s\n' "$1"
}

skip()
{
	skipped=$((skipped + 1))
	printf 'skip  %s\n' "$1"
}

# of processors, that all came to which this shell has waited for
work_done()
{
	local stat

	read -ra stat <"/proc/$BASHPID/stat"
	work=$(((stat[15] + stat[16]) / $(getconf CLK_TCK)))
}

# began: what took() counts from
began()
{
	work_done
	start=$SECONDS start_work=$work
}

# took: how long it was, and how long a processor worked for it, where that is worth a word
took()
{
	work_done
	took=
	[ $((SECONDS - start)) -lt 5 ] ||
		took=" ($((SECONDS - start)) s, $((work - start_work)) s of a processor)"
}

# fail NAME: what is on standard input is shown at the end. Never at the end
# of a pipe: what a subshell counts is lost.
fail()
{
	failed=$((failed + 1))
	printf 'FAIL  %s\n' "$1"
	{
		printf '\n--- %s\n' "$1"
		tail -n 60
	} >>"$failures"
}

# step NAME COMMAND...: exit status 4 is a skip.
step()
{
	local name=$1 log=$logs/${1//[ \/]/_}.log status start start_work work took

	shift
	began
	"$@" >"$log" 2>&1 </dev/null
	status=$?
	took
	case $status in
	0)	pass "$name$took" ;;
	4)	skip "$name" ;;
	*)	fail "$name" <"$log" ;;
	esac
}

# quietly COMMAND...: a warning is a failure.
quietly()
{
	local said

	said=$("$@" 2>&1) || {
		printf '%s\n' "$said"
		return 1
	}
	printf '%s' "$said"
	[ -z "$said" ]
}

# count NAME FILE INDENT: the test points of a KTAP report at one level, with
# the lines before a failed one, which tell why.
count()
{
	local name=$1 line point rest context=

	while IFS= read -r line; do
		[[ $line == "$3"* ]] || continue
		rest=${line#"$3"}
		point=${rest#not }
		point=${point#ok }
		case $rest in
		"ok "*"# SKIP"* | "not ok "*"# SKIP"*)
			skipped=$((skipped + 1)) context= ;;
		"ok "*)
			passed=$((passed + 1)) context= ;;
		"not ok "*)
			fail "$name: $point" <<<"$context$rest"
			context= ;;
		*)	context+=$rest$'\n' ;;
		esac
	done <"$2"
}

# figures FILE INDENT: what a report counts: points that are described with
# numbers, and what the exhaustive and the random tests say of themselves.
figures()
{
	sed -n -e "s/^$2ok [0-9]* \(- \)\?\(.*[0-9].* .*\)/        \2/p" \
		-e "s/^$2# \([0-9]* kills survived\|crash, .*\)/        \1/p" \
		-e "s/^$2# \(exhaustion\|hostile\)\.c:[0-9]*:\(.*[0-9].*\)/        \2/p" \
		-e "s/^$2# \([0-9]* \(places failed\|episodes\|planted bugs\).*\)/        \1/p" \
		-e "s/^$2# \(.* of *[0-9]* lines .*\)/        \1/p" "$1"
}

# native NAME COMMAND...: a program that speaks KTAP and needs no module.
native()
{
	local name=$1 log=$logs/$1.ktap status start start_work work took

	shift
	began
	# through a pipe: what forks would write its buffer twice into a file
	"$@" 2>&1 </dev/null | cat >"$log"
	status=${PIPESTATUS[0]}
	took
	count "$name" "$log" ""
	if [ "$status" -eq 0 ] && grep -Eq '^(not )?ok ' "$log"; then
		pass "$name$took"
		case $name in
		native | model | fuzz | package | planted* | coverage) figures "$log" "" ;;
		esac
	elif [ "$status" -eq 4 ]; then
		skip "$name"
	else
		fail "$name (exit status $status)" <"$log"
	fi
}

# vm KERNEL TESTS [OPTIONS OF RUN.SH]: run on it; those that want the same machine
# share a boot.
vm()
{
	local on=$1 k=${1%-gcov} tests=$2 log=$logs/vm-$1.log status name line reason seconds
	local before="$passed $failed $skipped" start start_work work took

	shift 2
	began
	bash selftests/vm/run.sh "$tests" "$on" "$@" >"$log" 2>&1 </dev/null
	status=$?
	took
	count "$k" "$log" "  "
	for name in $tests; do
		line=$(grep -E "^(not )?ok [0-9]+ $name( #|$)" "$log" | tail -n 1)
		case $line in
		"not ok "*)
			reason=${line#*# }
			fail "$k: $name: $reason" < <(
				sed -n "/^  # $name\$/,/^not ok [0-9]* $name /p" "$log") ;;
		*"# SKIP"*)
			skip "$k: $name:${line#*# SKIP}" ;;
		"ok "*)
			seconds=$(sed -n "s/^  # $name took \([0-9]* s\)\$/\1/p" "$log")
			pass "$k: $name${seconds:+ ($seconds)}" ;;
		*)	fail "$k: $name: not run to its end" <"$log" ;;
		esac
	done
	figures "$log" "  "
	# what the machines say in the end: kernel log clean, verdict there
	if grep -q '^vm-test: FAIL: ' "$log"; then
		fail "$k: $(sed -n 's/^vm-test: FAIL: //p' "$log" | head -n 1)" < <(
			sed -n '/^# kernel log/,/^vm-test: FAIL: /p' "$log")
	elif [ $status -eq 0 ] || [ $status -eq 4 ]; then
		pass "$k: machine and kernel log"
	else
		fail "$k: run.sh ended with $status" <"$log"
	fi
	# shellcheck disable=SC2086 # three numbers
	summarize "$k" $before "$took"
}

# summarize KERNEL PASSED FAILED SKIPPED TOOK: what has come since
summarize()
{
	printf '%-12s %4d passed, %d failed, %d skipped%s\n' "kernel $1:" $((passed - $2)) \
		$((failed - $3)) $((skipped - $4)) "$5" >>"$logs/summary"
}

with_module()
{
	step "$1: module builds without a warning" quietly bash selftests/vm/module.sh "$1"
}

# on_debug_kernel K: waits where it is being built
on_debug_kernel()
{
	local k=$1

	[ "$k" != kasan ] || k=kasan-gcov
	with_module "$k"
	if [ "$1" = kasan ]; then
		vm "$k" "$kasan_tests" "${debug_machine[@]}" --append "$debug_share LFPOOL_FUZZ_SECONDS=$fuzz_ioctl"
		native "coverage" env COVERAGE_RUN=no bash selftests/coverage.sh
	else
		vm "$k" "$kcsan_tests" "${debug_machine[@]}" --append "$debug_share LFPOOL_FUZZ_SECONDS=10"
	fi
}

# every kill point and all rounds on the first kernel, of pairs a share; of all a share on
# others
on_stock_kernel()
{
	local share=LFPOOL_PAIRS_EVERY=$pairs_every tests=$tests

	if [ "$1" != "$first" ]; then
		share="LFPOOL_EVERY=13 LFPOOL_PAIRS_EVERY=130 LFPOOL_ROUNDS=5"
		share+=" LFPOOL_STORM_SECONDS=1 LFPOOL_KILLS=100"
	fi
	with_module "$1"
	[ "$1" != rt ] || tests=$rt_tests
	vm "$1" "$tests" --append "$share"
}

# What is to be done; the longest first.
# In machines, with limits of time, and what needs processors alone.
first=${kernels%% *}
machine_tasks=()
for k in $debug_kernels $kernels ${rt_tests:+rt}; do
	machine_tasks+=("$k")
done
for k in $debug_kernels; do
	machine_tasks+=("planted-$k")
done
machine_tasks+=(package leftovers "cross docs cpp golden")
native_tasks=(native lint model fuzz)

# work TASKS...: what no other lane has taken
work()
{
	local tasks task

	for tasks; do
		mkdir "$logs/${tasks%% *}.taken" 2>/dev/null || continue
		for task in $tasks; do
			case $task in
			kasan | kcsan)	on_debug_kernel "$task" ;;
			[0-9]* | rt)	on_stock_kernel "$task" ;;
			planted-*)	native "$task" bash selftests/planted.sh "${task#*-}" ;;
			native | model)	native "$task" nice -n 5 env "LFPOOL_EVERY=$native_every" \
					bash "selftests/$task/run.sh" ;;
			lint)		native lint nice bash selftests/lint.sh ;;
			fuzz)		native fuzz bash selftests/fuzz/run.sh "$fuzz" ;;
			*)		native "$task" bash "selftests/$task.sh" ;;
			esac
		done
	done
}

build_first()
{
	local k start

	for k in $debug_kernels; do
		start=$SECONDS
		step "$k: kernel to boot" bash selftests/vm/kernel.sh "$k"
		# out of the cache it takes no time at all
		[ $((SECONDS - start)) -lt 30 ] || printf 'kernel %s was not in the cache: built in %d s\n' \
			"$k" $((SECONDS - start)) >>"$logs/summary"
	done
	work "${machine_tasks[@]}" "${native_tasks[@]}"
}

boot_first()
{
	work "$first" "${machine_tasks[@]}" "${native_tasks[@]}"
}

native_first()
{
	work "${native_tasks[@]}" "${machine_tasks[@]}"
}

# lane COMMAND: with counts and failures of its own, which join() takes over.
lane()
{
	local passed=0 failed=0 skipped=0 failures=$logs/$1.failures

	: >"$failures"
	"$1"
	echo "$passed $failed $skipped" >"$logs/$1.counts"
}

join()
{
	local p f s

	if read -r p f s 2>/dev/null <"$logs/$1.counts"; then
		passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	else
		fail "$1: not run to its end" </dev/null
	fi
	cat "$logs/$1.failures" >>"$failures"
}

bash selftests/deps.sh check || exit
step "build" make -s -j"$(nproc)" all
for k in $kernels ${rt_tests:+rt}; do
	step "$k: kernel to boot" bash selftests/vm/kernel.sh "$k"
done
# Machines often wait for a timer, two of them on two processors. What needs processors alone
# is done meanwhile, and is nice to them: it is there that most time limits are.
lane build_first >"$logs/build_first.out" 2>&1 &
lane native_first >"$logs/native_first.out" 2>&1 &
# a shell of its own, too: what the others worked is not to count as its own
(lane boot_first)
wait
cat "$logs/build_first.out" "$logs/native_first.out"
join build_first
join native_first
join boot_first

if [ -s "$failures" ]; then
	printf '\n=== failures\n'
	cat "$failures"
	printf '\n=== failed\n'
	# with the last of what each said, and what a program says of one of its lines
	awk '
		function tell(  i) {
			for (i = 1; i <= n; i++) {
				if (i > n - 6 || said[i] ~ /[a-z]\.[ch]:[0-9]+:/)
					print "        " substr(said[i], 1, 200)
			}
			n = 0
		}
		sub(/^--- /, "") { tell(); print; next }
		# the harness of each test
		/#  *(RUN|OK) |: Test (passed|failed) at step/ { next }
		NF { said[++n] = $0 }
		END { tell() }' "$failures"
fi
printf '\n'
cat "$logs/summary"
work_done
printf 'in all: %d min %d s, %d min of a processor; there are %d\n\n' $((SECONDS / 60)) \
	$((SECONDS % 60)) $((work / 60)) "$(nproc)"
printf '%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed -eq 0 ] && [ $passed -gt 0 ]
