#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# kselftest.sh: prints the folder that holds the kernel's kselftest files (lib.mk,
# the harness, the runner), taken once from Debian's linux-source-6.1.
# kselftest.sh scripts: the one with its scripts that check source code.
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

package=linux-source-6.1
# a name of its own for each choice of files: what is there is never added to
home=$cache/kselftest-scripts
current=$home/current

folder()
{
	echo "$home/$(readlink "$current")/$1"
}

# The tarball is xz: however few files are wanted, all of it is read.
unpack()
{
	local tmp=$1 version=$2

	echo "kselftest.sh: taking the kselftest files out of $package $version" >&2
	apt_download "$tmp" "$package" || return
	dpkg-deb --fsys-tarfile "$tmp"/*.deb |
		tar -xO "./usr/src/$package.tar.xz" |
		tar -xJ -C "$tmp" --strip-components=1 --wildcards \
			"$package/tools/testing/selftests/lib.mk" \
			"$package/tools/testing/selftests/kselftest.h" \
			"$package/tools/testing/selftests/kselftest_harness.h" \
			"$package/tools/testing/selftests/kselftest_install.sh" \
			"$package/tools/testing/selftests/run_kselftest.sh" \
			"$package/tools/testing/selftests/kselftest/*" \
			"$package/scripts/checkpatch.pl" \
			"$package/scripts/spelling.txt" \
			"$package/scripts/const_structs.checkpatch" \
			"$package/scripts/coccinelle/*" || return
	rm -f "$tmp"/*.deb
	[ -s "$tmp/tools/testing/selftests/lib.mk" ] && [ -s "$tmp/scripts/checkpatch.pl" ]
}

install_version()
{
	local version=$1 tmp

	[ -d "$home/$version" ] && return
	rm -rf "$home"/.new.*
	tmp=$(mktemp -d "$home/.new.XXXXXX") || return
	if unpack "$tmp" "$version" && chmod 755 "$tmp" && mv "$tmp" "$home/$version"; then
		return
	fi
	rm -rf "$tmp"
	return 1
}

ensure()
{
	local version

	apt_unchanged_since "$home/looked" && [ -e "$current" ] && return

	version=$(apt_version $package)
	if [ -z "$version" ] || ! install_version "$version"; then
		# an older copy serves as well, and needs no network
		[ -e "$current" ] && return
		if ! apt_refresh || ! version=$(apt_version $package) ||
		   [ -z "$version" ] || ! install_version "$version"; then
			die "cannot get Debian package $package (needs the apt sources of Debian 12, and a run of apt-get update)"
		fi
	fi
	ln -sfn "$version" "$current" && touch "$home/looked"
}

if ! apt_unchanged_since "$home/looked" || [ ! -e "$current" ]; then
	locked "$home/lock" ensure || exit
fi
case ${1-} in
scripts)	folder scripts ;;
*)	folder tools/testing/selftests ;;
esac
