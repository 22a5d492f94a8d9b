#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
# vm: smp=1 modargs="buffer_count=32" timeout=120 files="build/userlib/examples/pipeline build/userlib/examples/epoll build/userlib/examples/crash build/userlib/examples/sum build/userlib/lfpool"
#
# The examples do what their heads say.

number=0
status=0
out=/tmp/out

# check WORDS: a test point, of what the last command line gave
check()
{
	set -- $? "$1"
	number=$((number + 1))
	sed 's/^/#   /' $out
	if [ "$1" = 0 ]; then
		echo "ok $number $2"
	else
		echo "not ok $number $2"
		status=1
	fi
}

says()
{
	grep -q -e "$1" $out
}

echo "TAP version 13"
echo "1..5"

pipeline >$out 2>&1 && [ "$(grep -c '^message [0-9] of process [0-9]*$' $out)" = 10 ]
check "pipeline: ten messages arrive"
epoll >$out 2>&1 && says "^all 64 buffers are taken$" && says "^nothing: wait$" && says "^woken up for a buffer$"
check "epoll: wakes up when buffers come back"
crash >$out 2>&1 && says "^before:  10 of 32 in use, 0 reclaimed" &&
	says "^after:    0 of 32 in use, [1-9][0-9]* reclaimed" && says "^audit:  0 lost, 0 double$"
check "crash: the dead process's buffers are back"
# 10 fills of 64 elements: 64 * (1 + 2 + 3 + 4) * (1 + ... + 10)
sum >$out 2>&1 && says "^sum of all lanes: 35200$"
check "sum: C++, both processes see the same vectors"
lfpool check >$out 2>&1
check "nothing is lost"
exit $status
