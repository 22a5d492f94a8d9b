#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Other word sizes, byte orders and compilers' back ends: the contract has one
# layout everywhere, the library compiles, and the tests that need no module pass
# where integers are stored the other way round (s390x) or pointers are short
# (i386). Native; in TAP.
# shellcheck disable=SC2317 # try() calls the functions
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$top" || exit

flags="-O2 -Wall -Wextra -Werror -Iuserlib/include -Iuapi"

# Debian keeps <asm/...> of both word sizes in the folder of the 64-bit one.
compiler()
{
	case $1 in
	i386)	echo "gcc -m32 -idirafter /usr/include/x86_64-linux-gnu" ;;
	*)	echo "$1-linux-gnu-gcc" ;;
	esac
}

# -Wpadded: a hole would be another one elsewhere, and leak what was in it
layout()
{
	local cc

	cc=$(compiler "$1")
	need "${cc%% *}" || return
	# shellcheck disable=SC2086 # lists of words
	$cc -std=c11 -pedantic $flags -Wpadded -fsyntax-only -x c selftests/uapi_layout.h
}

library()
{
	local cc source

	cc=$(compiler "$1")
	need "${cc%% *}" || return
	for source in userlib/*.c; do
		# shellcheck disable=SC2086 # lists of words
		$cc -std=gnu11 -D_GNU_SOURCE -fPIC -pthread $flags -c -o "$scratch/object.o" \
			"$source" || return
	done
}

# run ARCH PROGRAM: of selftests/native
run()
{
	local arch=$1 program=$2 cc sources kselftest status

	cc=$(compiler "$arch")
	case $program in
	engine)	sources="-DSHIM_HOOK selftests/native/engine.c" ;;
	*)
		sources="selftests/native/$program.c selftests/native/standin.c
			userlib/thread.c userlib/pool.c userlib/debug.c" ;;
	esac
	need "${cc%% *}" || return
	kselftest=$(bash selftests/kselftest.sh) || return
	# shellcheck disable=SC2086 # lists of words
	$cc -static -g -D_GNU_SOURCE -pthread $flags -Iselftests/shim -Iuserlib -Imodule \
		-isystem "$kselftest" $sources selftests/shim/engine.c -o "$scratch/$program" || return
	"$scratch/$program"
	status=$?
	# as bash says of what this machine does not execute itself
	[ "$status" = 126 ] || return "$status"
	need "qemu-$arch" && "qemu-$arch" "$scratch/$program"
}

echo "TAP version 13"
for arch in i386 aarch64 riscv64 s390x; do
	try "$arch: the layout is as everywhere, without holes" layout $arch
	try "$arch: the library compiles without a warning" library $arch
done
for arch in i386 s390x; do
	try "$arch: the recovery engine" run $arch engine
	try "$arch: threads of the library" run $arch threads
done
tap_end
