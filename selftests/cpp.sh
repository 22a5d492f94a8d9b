#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
# vm: smp=1 insmod=no timeout=120 files="build/selftests/cpp-g++-17 build/selftests/cpp-g++-20 build/selftests/cpp-clang++-17 build/selftests/cpp-clang++-20"
#
# lfpool.hpp by both compilers, as C++17 and C++20: cpp.cpp on the pools of the
# module, each time fresh; on the first kernel all four, on others one. Native, on
# embedded pools, and parity.c by clang as well; and whether the older standards take it.

top=$(dirname "$0")/..
programs="cpp-g++-17 cpp-g++-20 cpp-clang++-17 cpp-clang++-20"
number=0
status=0

# points PROGRAM STATUS: its report is in $report
points()
{
	local line

	while IFS= read -r line; do
		case $line in
		"ok "* | "not ok "*)
			number=$((number + 1))
			echo "${line%%ok *}ok $number $1: ${line#*ok [0-9]* }" ;;
		"# "*)	echo "$line" ;;
		esac
	done <"$report"
	number=$((number + 1))
	if [ "$2" = 0 ] && grep -q '^ok ' "$report"; then
		echo "ok $number $1"
	else
		echo "not ok $number $1 # exit status $2"
		status=1
	fi
}

report=$(mktemp) || exit
trap 'rm -f "$report"' EXIT
echo "TAP version 13"
if [ "${LFPOOL_KO-}" ]; then
	# whatever built it, it calls the module alike: one, where rounds are left out (see rounds())
	[ "${LFPOOL_ROUNDS:-1}" = 1 ] || programs=cpp-clang++-20
	for program in $programs; do
		insmod "$LFPOOL_KO" || exit
		"$program" >"$report" 2>&1
		points "$program" $?
		rmmod lfpool || exit
	done
else
	for program in $programs parity-clang; do
		path=$top/build/selftests/$program
		if [ -x "$path" ]; then
			LFPOOL_EMBEDDED=1 "$path" >"$report" 2>&1
			points "$program" $?
		else
			number=$((number + 1))
			echo "ok $number $program # SKIP no clang"
		fi
	done
	# the header's word: C++11 and later
	for compiler in g++ clang++; do
		for standard in 11 14; do
			number=$((number + 1))
			if ! command -v $compiler >/dev/null; then
				echo "ok $number $compiler, C++$standard # SKIP no $compiler"
			elif $compiler -std=c++$standard -fsyntax-only -Wall -Wextra -Werror -pedantic \
					-I"$top/userlib/include" -I"$top/uapi" \
					"$top/selftests/cpp.cpp" >"$report" 2>&1; then
				echo "ok $number $compiler compiles it as C++$standard"
			else
				sed 's/^/#   /' "$report"
				echo "not ok $number $compiler compiles it as C++$standard"
				status=1
			fi
		done
	done
fi
echo "1..$number"
exit $status
