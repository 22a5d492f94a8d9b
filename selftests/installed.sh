#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
# vm: insmod=no timeout=120 files="build/deb/root/usr/bin/lfpool:/opt/lfpool build/deb/root/usr/lib/x86_64-linux-gnu/liblfpool.so.0:/opt/liblfpool.so.0 build/deb/6.1/lfpool.ko:/opt/lfpool-6.1.ko build/deb/6.12/lfpool.ko:/opt/lfpool-6.12.ko build/deb/examples/pipeline:/opt/pipeline build/deb/root/usr/lib/udev/rules.d/60-lfpool.rules:/lib/udev/rules.d/60-lfpool.rules udevadm"
#
# What the Debian packages install, at work: the module that DKMS built, the
# command, the shared library, and a program built with the -dev package.
# package.sh makes all of it, and runs this.

export LD_LIBRARY_PATH=/opt
release=$(uname -r)
k=$(echo "$release" | cut -d. -f1,2)
number=0
status=0

check()
{
	set -- $? "$1"
	number=$((number + 1))
	sed 's/^/#   /' /tmp/out
	if [ "$1" = 0 ]; then
		echo "ok $number $2"
	else
		echo "not ok $number $2"
		status=1
	fi
}

echo "TAP version 13"
echo "1..6"
insmod "/opt/lfpool-$k.ko" buffer_count=32 >/tmp/out 2>&1 && [ -c /dev/lfpool/simd ]
check "insmod of the module that DKMS built for $release"
# as udevd does: "test" applies a rule
echo 'lfpool:x:990:' >>/etc/group
udevadm test --action=add /sys/class/lfpool/simd >/tmp/out 2>&1
stat -c '%U:%G %a' /dev/lfpool/simd >/tmp/out 2>&1 && grep -qx 'root:lfpool 660' /tmp/out
check "udev gives a node to the group lfpool"
/opt/lfpool list >/tmp/out 2>&1
check "lfpool list"
/opt/lfpool demo --rounds 20 >/tmp/out 2>&1
check "lfpool demo"
/opt/pipeline >/tmp/out 2>&1 && [ "$(grep -c '^message ' /tmp/out)" = 10 ]
check "an example, built with liblfpool-dev"
{ /opt/lfpool check && rmmod lfpool; } >/tmp/out 2>&1
check "nothing lost; rmmod"
exit $status
