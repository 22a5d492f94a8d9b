#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# run.sh [SECONDS]: fuzzes the recovery engine, from the seeds in corpus/ and
# what earlier runs found (build/fuzz/corpus). One test point.
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
inside "$0" "$@"
cd "$top" || exit

seconds=${1:-60}
[[ $seconds =~ ^[0-9]+$ ]] || die "usage: run.sh [SECONDS]"
out=build/fuzz
mkdir -p $out/corpus || exit
rm -rf $out/artifacts
mkdir $out/artifacts || exit

printf 'TAP version 13\n1..1\n'
if ! command -v clang >/dev/null; then
	printf 'ok 1 - fuzz # SKIP no clang\n'
	exit 4
fi
if ! clang -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
	-Wall -Wextra -Werror -D_GNU_SOURCE -DSHIM_HOOK \
	-Iselftests/shim -Iuapi -Imodule ${ENGINE_SOURCE:+"-DENGINE_SOURCE=\"$ENGINE_SOURCE\""} \
	selftests/fuzz/engine_fuzz.c selftests/shim/engine.c \
	-o $out/engine_fuzz >$out/build.log 2>&1; then
	sed 's/^/# /' $out/build.log
	printf 'not ok 1 - fuzz: does not build\n'
	exit 1
fi

# Neither the copies of the seeds nor what is found goes into the tree.
$out/engine_fuzz -max_total_time="$seconds" -max_len=1024 -timeout=10 -rss_limit_mb=1024 \
	-print_final_stats=1 -artifact_prefix=$out/artifacts/ \
	$out/corpus selftests/fuzz/corpus >$out/log 2>&1
status=$?

# Lines of the engine that the seeds and what was found reach, by gcov.
coverage()
{
	rm -rf $out/gcov && mkdir $out/gcov || return
	gcc -O0 --coverage -D_GNU_SOURCE -DSHIM_HOOK -DREPLAY -Iselftests/shim -Iuapi -Imodule \
		selftests/fuzz/engine_fuzz.c selftests/shim/engine.c -o $out/gcov/replay &&
		find $out/corpus selftests/fuzz/corpus -type f -print0 | xargs -0 $out/gcov/replay &&
		(cd $out/gcov && gcov -n ./*.gcda) |
			sed -n "/^File .*recover.c'/{n;s/Lines executed://p;q}"
}

runs=$(sed -n 's/^stat::number_of_executed_units: *//p' $out/log)
cov=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' $out/log | tail -n 1)
if [ $status -eq 0 ] && [ "${runs:-0}" -gt 0 ]; then
	printf 'ok 1 - fuzz: %s executions in %s s, %s edges, lines of recover.c: %s\n' "$runs" \
		"$seconds" "${cov:-0}" "$(coverage 2>>$out/build.log)"
	exit 0
fi
grep -v -e '^INFO' -e '^#[0-9]' $out/log | tail -n 60 | sed 's/^/# /'
for file in "$out"/artifacts/*; do
	[ -f "$file" ] || continue
	printf '# %s:\n' "$file"
	od -An -v -tx1 "$file" | sed 's/^/# /'
done
printf 'not ok 1 - fuzz: ended with %d after %s executions\n' $status "${runs:-some}"
exit 1
