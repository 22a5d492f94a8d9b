#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The example in README.md, its first block of C: as it stands there, it
# compiles without a warning, with the flags that pkg-config gives, and runs.
#
#	readme.sh build OUT	compile it
#	readme.sh		run it
#
# vm: smp=1 files="build/selftests/readme_example:/bin/lfpool-readme-example"

top=$(dirname "$0")/..

build()
{
	out=$1
	source=$out.c

	awk '/^```/ { if (inside) exit; inside = $0 == "```c"; next } inside' \
		"$top/README.md" >"$source" || return
	if ! [ -s "$source" ]; then
		echo "readme.sh: no block of C in README.md" >&2
		return 1
	fi
	# as if the library were installed: its headers are in two folders here
	flags=$(PKG_CONFIG_PATH=$top/build/userlib pkg-config \
		--define-variable=includedir="$top/userlib/include" \
		--define-variable=libdir="$top/build/userlib" --cflags --libs lfpool) || return
	# shellcheck disable=SC2086 # a list
	${CC:-cc} -Wall -Wextra -Werror -I"$top/uapi" -o "$out" "$source" $flags
}

if [ "${1-}" = build ] && [ $# -eq 2 ]; then
	build "$2"
	exit
elif [ $# -ne 0 ]; then
	echo "usage: readme.sh [build OUT]" >&2
	exit 2
fi

program=$top/build/selftests/readme_example
[ -x "$program" ] || program=/bin/lfpool-readme-example
pool=/sys/class/lfpool/serialization
status=0

point()
{
	if [ "$2" ]; then
		echo "ok $1"
	else
		echo "not ok $1"
		status=1
	fi
}

echo "TAP version 13"
echo "1..2"
before=$(cat $pool/deallocations 2>/dev/null)
LD_LIBRARY_PATH=$top/build/userlib "$program" >/dev/null && fine=yes || fine=
point "1 runs" "$fine"

if [ "$before" ]; then
	after=$(cat $pool/deallocations)
	[ "$after" -gt "$before" ] && [ "$(cat $pool/in_use)" -eq 0 ] && fine=yes || fine=
	point "2 put back $((after - before)) buffers of the module's pool" "$fine"
else
	echo "ok 2 # SKIP the module is not loaded"
fi
exit $status
