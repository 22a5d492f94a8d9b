#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# packaged.sh VERSION: install the packages of /debs, use them as somebody who
# never saw their sources, and remove them. package.sh runs it where that harms
# nobody.
set -u -e -x -o pipefail

version=$1
packages="lfpool-dkms liblfpool0 liblfpool-dev lfpool-tools"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
cd /debs

apt-get -qq -y install --no-install-recommends ./*.deb </dev/null
for package in $packages; do
	dpkg-query -W -f '${Status}\n' "$package" | grep -x 'install ok installed'
done

getent group lfpool
grep -x lfpool /usr/lib/modules-load.d/lfpool.conf
dkms status "lfpool/$version" | grep lfpool
[ "$(lfpool --version)" = "lfpool $version" ]
lfpool demo --embedded --rounds 20 | grep 'every record and sum of 20 buffers is right'

# no path, no variable: what pkg-config and the linker know suffices
# shellcheck disable=SC2046 # a list
gcc -Wall -Wextra -Werror -o crash crash.c $(pkg-config --cflags --libs lfpool)
ldd crash | grep '/liblfpool.so.0'
# what it says depends on whether a module is loaded here
{ ./crash 2>&1 || true; } | grep -e '^audit: ' -e 'is the lfpool module loaded'

# shellcheck disable=SC2086 # a list
dpkg -L $packages | sort -u >all
set +x
while read -r file; do
	[ -d "$file" ] || echo "$file"
done <all >files
[ "$(wc -l <files)" -gt 50 ]
set -x
# shellcheck disable=SC2086 # a list
dpkg --purge $packages
set +x
while read -r file; do
	if [ -e "$file" ] || [ -L "$file" ]; then
		echo "left behind: $file"
		exit 1
	fi
done <files
for left in /usr/src/lfpool-"$version" /var/lib/dkms/lfpool; do
	[ ! -e "$left" ]
done
