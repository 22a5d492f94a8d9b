#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
# vm: insmod=no timeout=120 mem=192M files="build/%k/planted/planted.ko:/lib/planted.ko"
#
# In the guest: run into the bugs that the kernel's command line names (planted=, with
# commas between). planted.sh starts this one, and tells by "planted" in the kernel log
# where each begins. That it passes says nothing: the bugs are for the kernel to find.

bugs=$(tr ' ' '\n' </proc/cmdline | sed -n 's/^planted=//p' | tr , ' ')

# shellcheck disable=SC2086 # a list
set -- $bugs
[ $# -gt 0 ] || exit 1
echo "1..$#"
number=0 status=0
for bug; do
	number=$((number + 1))
	echo "lfpool-vm: planted $bug" >/dev/kmsg
	if insmod /lib/planted.ko bug="$bug" && rmmod planted; then
		echo "ok $number $bug"
	else
		echo "not ok $number $bug"
		status=1
	fi
done
exit $status
