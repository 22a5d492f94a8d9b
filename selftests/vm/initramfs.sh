#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# initramfs.sh OUT PLAN MODULE [FILE:GUESTPATH]...
#
# Writes the cpio that a test boot starts from: busybox, init, the plan of
# tests, the module, and the files with every shared library that they need.
# The kernel unpacks archives one after the other, so the part that never
# changes is made once.
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"

here=$top/selftests/vm
base=$top/build/vm
libraries=/lib/x86_64-linux-gnu

out=${1:?usage: initramfs.sh OUT PLAN MODULE [FILE:GUESTPATH]...}
plan=$2
module=$3
shift 3

archive()
{
	(cd "$1" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet)
}

make_base()
{
	local root busybox applet

	busybox=$(command -v busybox) || die "no busybox (Debian: busybox-static)"
	if [ -e "$base/base.cpio" ] && [ "$base/base.cpio" -nt "$here/init" ] &&
	   [ "$base/base.cpio" -nt "$here/vmexit.c" ] &&
	   [ "$base/base.cpio" -nt "$here/initramfs.sh" ] &&
	   [ "$base/base.cpio" -nt "$busybox" ]; then
		return
	fi

	root=$base/root.new
	rm -rf "$root" && mkdir -p "$root"/{bin,dev,etc,lib,lib64,proc,root,run,selftests,sys,tmp} || exit
	cp "$busybox" "$root/bin/busybox" || exit
	# links made here, since making them costs an emulated guest a second
	for applet in $(busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet" || exit
	done
	ln -s bin "$root/sbin"
	mkdir "$root/usr" && ln -s ../bin "$root/usr/bin" && ln -s ../bin "$root/usr/sbin"
	echo 'root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false' >"$root/etc/passwd"
	echo 'root:x:0:
nogroup:x:65534:' >"$root/etc/group"
	install -m 755 "$here/init" "$root/init" || exit
	gcc -static -O2 -Wall -Wextra -o "$root/bin/vmexit" "$here/vmexit.c" || exit
	archive "$root" >"$base/base.cpio.new" || exit
	mv "$base/base.cpio.new" "$base/base.cpio" && rm -rf "$root"
}

# add_libraries ROOT FILE: the loader goes where the program says it is, the
# others where any loader looks.
add_libraries()
{
	local root=$1 list name path

	list=$(LD_LIBRARY_PATH=$top/build/userlib ldd "$2" 2>/dev/null) || return 0
	if [[ $list == *"not found"* ]]; then
		die "$2: $(grep 'not found' <<<"$list" | tr -s '\t ' ' ')"
	fi
	while read -r name path; do
		case $name in
		/*)
			install -D "$name" "$root$name" ;;
		*)
			path=${path#=> } path=${path%% *}
			[[ $path == /* ]] || continue
			install -D "$path" "$root$libraries/$name" ;;
		esac || exit
	done <<<"$list"

	# pthread_exit and pthread_cancel load it, so ldd does not name it
	path=$libraries/libgcc_s.so.1
	[ ! -e "$path" ] || install -D "$path" "$root$path"
}

make_overlay()
{
	local root=$1 pair from to

	shift
	install -D -m 644 "$plan" "$root/plan" || exit
	install -D -m 644 "$module" "$root/lib/lfpool.ko" || exit
	for pair in "$@"; do
		from=${pair%%:*} to=${pair#*:}
		install -D "$from" "$root$to" || exit
		add_libraries "$root" "$from"
	done
}

locked "$base/lock" make_base || exit
# of one that was killed
rm -rf "$out".??????
root=$(mktemp -d "$out.XXXXXX") || exit
trap 'rm -rf "$root"' EXIT
make_overlay "$root" "$@"
chmod 755 "$root"
{ cat "$base/base.cpio" && archive "$root"; } >"$out" || exit
