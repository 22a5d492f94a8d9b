#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# vm: insmod=no files="build/userlib/lfpool" timeout=120
#
# The demo's guest part: loads the module, runs the pipeline, compares what
# ioctl and sysfs say, and unloads. Its steps are test points, too.

number=0
status=0

# result STATUS WORDS: a test point
result()
{
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number $2"
	else
		echo "not ok $number $2"
		status=1
	fi
}

echo "TAP version 13"
echo "1..5"

parameters="buffer_count=64 serialization_size=262144 compression_size=131072"
echo "# \$ insmod lfpool.ko $parameters"
# shellcheck disable=SC2086 # a list
insmod "$LFPOOL_KO" $parameters
result $? "module loaded with parameters"
for file in /sys/module/lfpool/parameters/*; do
	echo "#   ${file##*/} = $(cat "$file")"
done
echo "# \$ ls -l /dev/lfpool"
# shellcheck disable=SC2012 # for people
ls -l /dev/lfpool | sed 's/^/#   /'

echo "# three processes: serializer -> compressor -> checker"
rounds=$((40 + 160 / ${LFPOOL_ROUNDS:-1}))
echo "# \$ lfpool demo --rounds $rounds"
lfpool demo --rounds $rounds >/tmp/demo 2>&1
arrived=$?
sed 's/^/#   /' /tmp/demo
result $arrived "every record arrived, through shared buffers, without a copy"

differences=0
for pool in serialization compression simd; do
	echo "# $pool: statistics by ioctl (left) and by /sys/class/lfpool/$pool (right)"
	lfpool stat $pool >/tmp/stats || differences=1
	sed -i 1d /tmp/stats
	while read -r name value; do
		sysfs=$(cat "/sys/class/lfpool/$pool/$name")
		printf '#   %-14s %12s %12s\n' "$name" "$value" "$sysfs"
		[ "$value" = "$sysfs" ] || differences=1
	done </tmp/stats
done
result $differences "ioctl and sysfs agree"

lost=0
for pool in serialization compression simd; do
	[ "$(cat /sys/class/lfpool/$pool/available)" = \
		"$(cat /sys/class/lfpool/$pool/capacity)" ] || lost=1
done
echo "# \$ lfpool check"
lfpool check >/tmp/check 2>&1 || lost=1
sed 's/^/#   /' /tmp/check
result $lost "every buffer is back, and none is lost or double"

echo "# \$ rmmod lfpool"
rmmod lfpool && [ ! -e /dev/lfpool ]
result $? "module unloaded"
exit $status
