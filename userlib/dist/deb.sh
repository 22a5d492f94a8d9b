#!/bin/sh
# SPDX-License-Identifier: MIT
#
# deb.sh OUT: build the Debian packages in the folder OUT.
#
# dpkg-buildpackage writes to the folder that it builds in and to the one above:
# it gets a copy of the sources. DEBFULLNAME and DEBEMAIL say who made the
# packages, if set.
set -eu

out=${1:?usage: deb.sh OUT}
top=$(cd "$(dirname "$0")/../.." && pwd)
version=$(sed -n 's/^version := //p' "$top/userlib/Makefile")
mkdir -p "$out"
out=$(cd "$out" && pwd)
source=$out/lfpool-$version
maintainer="${DEBFULLNAME:-lfpool maintainers} <${DEBEMAIL:-maintainers@lfpool.invalid}>"

rm -rf "$source" "$out"/*.deb "$out"/*.changes "$out"/*.buildinfo
mkdir "$source"
cd "$top"
cp -r Kbuild COPYING README.md module uapi userlib "$source"
cp -r userlib/dist/debian "$source/debian"
cp userlib/dist/dkms.conf "$source/debian/lfpool-dkms.dkms"
cp userlib/dist/sysusers.conf "$source/debian/lfpool-dkms.sysusers"
rm -r "$source/userlib/dist/debian"
sed -i "s/^Maintainer: .*/Maintainer: $maintainer/" "$source/debian/control"
cat >"$source/debian/changelog" <<END
lfpool ($version) unstable; urgency=medium

  * lfpool $version; see README.md.

 -- $maintainer  $(git log -1 --format=%cD 2>/dev/null || date -R)
END

cd "$source"
# what make was told on the way here is not for the packages
env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u DESTDIR -u prefix -u CFLAGS -u LDFLAGS \
	DEB_BUILD_OPTIONS="noautodbgsym ${DEB_BUILD_OPTIONS-}" dpkg-buildpackage -us -uc -b
