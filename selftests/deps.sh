#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# deps.sh [install|build|check|deb]: install what is missing on a bare Debian 12.
#   install  compile and install the library, the command and the pages
#   build    compile everything, boot the kernels, run the demo
#   check    that, and the tools only "make check" uses (the default)
#   deb      build, and what "make deb" uses
set -u

install="gcc libc6-dev make pkg-config libjson-c-dev libncurses-dev zlib1g-dev scdoc"
# lib32gcc-12-dev has the libgcc that the 32-bit test programs link;
# libc6-dev-i386 only recommends it.
build="gcc g++ libc6-dev libc6-dev-i386 lib32gcc-12-dev make bc bison flex
	libelf-dev libssl-dev kmod cpio rsync xz-utils zlib1g-dev
	qemu-system-x86 busybox-static python3 pkg-config binutils dpkg-dev
	file util-linux libjson-c-dev libncurses-dev scdoc"
deb="$build debhelper dh-dkms fakeroot"
# pahole: what the headers of a 6.12 kernel build modules with
check="$deb valgrind sparse strace clang libclang-rt-14-dev spin shellcheck
	jq bsdutils mandoc udev gcc-aarch64-linux-gnu libc6-dev-arm64-cross
	dkms lintian pahole linux-perf bpftrace cppcheck clang-tidy coccinelle
	gcc-riscv64-linux-gnu libc6-dev-riscv64-cross gcc-s390x-linux-gnu
	libc6-dev-s390x-cross qemu-user"
# without it each run compiles all anew: nobody who may not install it needs it
[ "$(id -u)" != 0 ] || check="$check ccache"

case ${1:-check} in
install) want=$install ;;
build) want=$build ;;
check) want=$check ;;
deb) want=$deb ;;
*)
	echo "usage: deps.sh [install|build|check|deb]" >&2
	exit 2
	;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	# shellcheck disable=SC2086 # one line out of several
	echo "deps.sh: no apt here; install the counterparts of these Debian packages:" $want >&2
	exit 1
fi

# shellcheck disable=SC2086 # a list
have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $want 2>/dev/null |
	sed -n 's/ installed$//p' | tr '\n' ' ')
missing=
for package in $want; do
	case " $have" in
	*" $package "*) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "deps.sh: missing:$missing - as root: apt-get install --no-install-recommends$missing" >&2
	exit 1
fi

echo "deps.sh: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
fetch()
{
	# shellcheck disable=SC2086 # a list
	apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends \
		$missing </dev/null >/dev/null
}
apt-get -qq update </dev/null >&2 || echo "deps.sh: apt-get update failed; trying with the old lists" >&2
fetch || {
	echo "deps.sh: apt-get could not install:$missing" >&2
	exit 1
}
