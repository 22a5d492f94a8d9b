#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The tests that need no module: the recovery engine and the library, built and
# run with two compilers and the sanitizers. KTAP, flat: the points of every
# program in every build, and one more for each program in each build. With the
# sanitizers one round in five; LFPOOL_ROUNDS=1 for all of them.
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
inside "$0" "$@"
cd "$top" || exit

out=${NATIVE_OUT:-build/native}
kselftest=$(bash selftests/kselftest.sh) || die "the kselftest files are not there"

# What is run, the longest first: the engine, and the library over a stand-in for
# the module; then the library's own tests on the embedded back end. The interleaver's coroutines are not for
# ThreadSanitizer, and what clang makes of it is seen with its sanitizers; stepping counts
# instructions, so it wants the real ones.
runs=${NATIVE_RUNS:-"crash:gcc crash:clang interleave:asan interleave:gcc engine:asan
	engine:tsan threads:tsan threads:asan threads:gcc threads:clang engine:gcc engine:clang
	embedded:gcc embedded:clang
	concurrency:tsan exhaustion:tsan exhaustion:asan
	exhaustion:gcc-asan concurrency:asan concurrency:gcc-asan exhaustion:gcc exhaustion:clang
	concurrency:gcc concurrency:clang exhaustion:inject concurrency:inject parity:valgrind parity:tsan parity:gcc-tsan parity:asan
	parity:gcc-asan parity:gcc parity:clang"}

flags="-O2 -g -Wall -Wextra -Werror -D_GNU_SOURCE -pthread -Iselftests/shim -Iuserlib
	-Iuserlib/include -Iuapi -Imodule -isystem $kselftest"
# no lazy binding: the dynamic linker is not what is stepped through
ldflags="-Wl,-z,now"
library="userlib/thread.c userlib/pool.c userlib/debug.c"
embedded="$library userlib/device.c userlib/embedded.c userlib/embedded_audit.c"
export LFPOOL_EMBEDDED=1

compiler()
{
	case $1 in
	gcc)	echo "gcc" ;;
	clang)	echo "clang" ;;
	asan)	echo "clang -fsanitize=address,undefined -fno-sanitize-recover=undefined" ;;
	tsan)	echo "clang -fsanitize=thread" ;;
	gcc-asan) echo "gcc -fsanitize=address,undefined -fno-sanitize-recover=undefined" ;;
	# it does not know fences; what the two of the library order is no data
	gcc-tsan) echo "gcc -fsanitize=thread -Wno-tsan" ;;
	valgrind) echo "gcc" ;;
	coverage) echo "gcc --coverage -fprofile-update=atomic" ;;
	inject)	echo "gcc -include selftests/native/inject.h" ;;
	esac
}

sources()
{
	case $1 in
	engine | interleave)
		echo "-DSHIM_HOOK selftests/native/$1.c selftests/shim/engine.c" ;;
	parity | concurrency | exhaustion)
		echo "-Iselftests selftests/$1.c $embedded -lz" ;;
	embedded)
		echo "selftests/native/$1.c $embedded" ;;
	*)	echo "selftests/native/$1.c selftests/native/standin.c selftests/shim/engine.c $library" ;;
	esac
	[ "$2" != coverage ] || echo "selftests/native/coverage.c -Wl,--wrap=_exit"
}

# build PROGRAM BUILD: each source alone, as ccache wants it
build()
{
	local program=$1 word object cc
	local -a from=() objects=() options=() link=()

	cc=$(compiler "$2")
	for word in $(sources "$program" "$2"); do
		case $word in
		*.c)	from+=("$word") ;;
		-l* | -Wl,*) link+=("$word") ;;
		*)	options+=("$word") ;;
		esac
	done
	for word in "${from[@]}"; do
		# two may have the same name, in two folders
		object=${word//\//_}
		object=$out/$2/$program.${object%.c}.o
		# shellcheck disable=SC2086 # lists of words
		$cc $flags ${ENGINE_SOURCE:+"-DENGINE_SOURCE=\"$ENGINE_SOURCE\""} \
			"${options[@]}" -c "$word" -o "$object" || return
		objects+=("$object")
	done
	# shellcheck disable=SC2086 # lists of words
	$cc $flags $ldflags "${objects[@]}" "${link[@]}" -o "$out/$2/$program"
}

# Random addresses of all bits that a kernel can give are too many for the
# shadow memory of older sanitizers.
fixed_addresses()
{
	if setarch -R true 2>/dev/null; then
		setarch -R "$@"
	else
		"$@"
	fi
}

under()
{
	case $1 in
	valgrind) echo "valgrind -q --error-exitcode=99 --leak-check=full --trace-children=no" ;;
	esac
}

# one PROGRAM BUILD: its report, and last its exit status
one()
{
	local program=$1 build=$2 dir=$out/$2 cc

	case $build in
	# what they look for they find in the first rounds, and each step is many there
	*asan | *tsan | valgrind) export LFPOOL_ROUNDS=${LFPOOL_ROUNDS:-5} ;;
	# what is counted goes where it was built: not out of the cache
	coverage) export CCACHE_DISABLE=yes ;;
	esac
	mkdir -p "$dir" || return
	cc=$(compiler "$build")
	if ! command -v "${cc%% *}" >/dev/null || { [ "$build" = valgrind ] && ! command -v valgrind >/dev/null; }; then
		echo 4 >"$dir/$program.status"
		return
	fi
	if ! build "$program" "$build" >"$dir/$program.log" 2>&1; then
		echo "does not build" >"$dir/$program.status"
		return
	fi
	# through a pipe: what forks would write its buffer twice into a file
	# shellcheck disable=SC2046 # a list of words
	TSAN_OPTIONS=halt_on_error=1 fixed_addresses $(under "$build") "$dir/$program" 2>&1 </dev/null |
		cat >"$dir/$program.log"
	echo "${PIPESTATUS[0]}" >"$dir/$program.status"
}

points=0 bad=0

point()
{
	points=$((points + 1))
	case $1 in
	"not ok") bad=$((bad + 1)) ;;
	esac
	printf '%s %d - %s\n' "$1" $points "$2"
}

report()
{
	local program=$1 build=$2 status line

	status=$(cat "$out/$build/$program.status" 2>/dev/null)
	if [ "$status" = 4 ]; then
		point ok "$program, $build # SKIP no $(compiler "$build" | cut -d ' ' -f 1)"
		return
	fi
	while IFS= read -r line; do
		case $line in
		"ok "* | "not ok "*)
			point "${line%%ok *}ok" "$build: ${line#*ok +([0-9]) }" ;;
		*"ASan doesn't fully support makecontext"*) ;;
		"#  RUN "* | "#            OK "* | "# Starting "* | "TAP version "* | [0-9]*..[0-9]*) ;;
		"#"*)	printf '# %s, %s: %s\n' "$program" "$build" "${line#\# }" ;;
		*)	printf '# %s\n' "$line" ;;
		esac
	done <"$out/$build/$program.log"
	if [ "$status" = 0 ]; then
		point ok "$program, $build"
	else
		point "not ok" "$program, $build: ${status:-does not end}"
	fi
}

shopt -s extglob
rm -rf "$out"
mkdir -p "$out" || exit
echo 'TAP version 13'
jobs=$(nproc)
for run in $runs; do
	while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
		wait -n
	done
	one "${run%:*}" "${run#*:}" &
done
wait
for run in $runs; do
	report "${run%:*}" "${run#*:}"
done
printf '1..%d\n' $points
[ $bad -eq 0 ]
