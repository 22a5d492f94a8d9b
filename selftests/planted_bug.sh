#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
# vm: insmod=no timeout=120 mem=192M files="build/%k/planted/planted.ko:/lib/planted.ko"
#
# In the guest: run into the bug that the kernel's command line names (planted=).
# planted.sh starts this one. That it passes says nothing: the bug is for the
# kernel to find.

bug=$(tr ' ' '\n' </proc/cmdline | sed -n 's/^planted=//p')

echo 1..1
if [ -n "$bug" ] && insmod /lib/planted.ko bug="$bug" && rmmod planted; then
	echo "ok 1 $bug"
else
	echo "not ok 1 $bug"
	exit 1
fi
