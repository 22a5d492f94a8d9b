#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# run.sh: builds a program for each peer that is installed, measures all of
# them in one interleaved run, and leaves in OUT: bench.csv, bench.md (tables,
# and the targets), bench.svg and the log of the build.
#
#   OUT=folder       where to (build/bench)
#   REPS=9           rounds; the figures are medians of so many
#   PEERS="a b ..."  only these (lfpool and lfpool_shared are always there)
#   WORKLOADS="W4 W5" only these
#   BENCH_CPUS=0,1   which processors the two parties run on
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"

here=$top/selftests/bench
out=${OUT:-$top/build/bench}
reps=${REPS:-9}
bin=$top/build/bench/bin
list=$top/build/bench/peers

mkdir -p "$out" "$bin" || exit
out=$(cd "$out" && pwd) || exit
log=$out/build.log
: >"$log"
: >"$list"

flags=(-O2 -g -Wall -Wextra -D_GNU_SOURCE -pthread)
library=$top/build/userlib
skipped=

wanted()
{
	case " ${PEERS:-$1} lfpool lfpool_shared " in
	*" $1 "*) ;;
	*) return 1 ;;
	esac
}

# build PROGRAM COMPILER ARGUMENT...
build()
{
	local program=$1

	shift
	printf '+ %s\n' "$*" >>"$log"
	"$@" "${flags[@]}" -o "$bin/$program" >>"$log" 2>&1
}

add()
{
	printf '%s %s %s\n' "$1" "$bin/$2" "${3-}" >>"$list"
}

skip()
{
	printf 'skip  %s: %s\n' "$1" "$2"
	skipped+="$1 "
}

# peer NAME PACKAGE HEADER COMPILER ARGUMENT...: the header shows that it is there.
peer()
{
	local name=$1 package=$2 header=$3 compiler=$4 source

	shift 4
	wanted "$name" || return
	if [ -n "$header" ]; then
		printf '#include %s\n' "$header" |
			"$compiler" -x "$([ "$compiler" = g++ ] && echo c++ || echo c)" -fsyntax-only "${includes[@]}" - >>"$log" 2>&1 || {
			skip "$name" "not installed (Debian: $package)"
			return
		}
	fi
	source=$1
	shift
	if build "$name" "$compiler" "${includes[@]}" "$here/$source" "$@"; then
		add "$name" "$name"
	else
		skip "$name" "does not compile, see $log"
	fi
}

ours()
{
	includes=(-I"$top/userlib/include" -I"$top/uapi")
	peer lfpool "" "" gcc lfpool.c "$library/liblfpool.a"
	peer lfpool_shared "" "" gcc lfpool.c -DSHARED -L"$library" -llfpool \
		-Wl,-rpath,"$library"
	[ "$(wc -l <"$list")" -eq 2 ] || die "lfpool's own programs do not compile, see $log"
	includes=()
}

dpdk()
{
	local cflags libs driver name

	if ! cflags=$(pkg-config --cflags libdpdk 2>>"$log") ||
	   ! libs=$(pkg-config --libs libdpdk 2>>"$log"); then
		for name in ring stack lf_stack; do
			! wanted dpdk_$name ||
				skip dpdk_$name "not installed (Debian: libdpdk-dev)"
		done
		return
	fi
	# the drivers register themselves: nothing refers to them
	# shellcheck disable=SC2086 # lists of flags
	if ! build dpdk gcc $cflags -Wno-array-bounds "$here/dpdk.c" $libs -Wl,--no-as-needed \
		-lrte_mempool_ring -lrte_mempool_stack; then
		skip dpdk "does not compile, see $log"
		return
	fi
	for driver in ring_mp_mc stack lf_stack; do
		name=dpdk_${driver%_mp_mc}
		! wanted "$name" || add "$name" dpdk $driver
	done
}

iceoryx()
{
	local folder

	for folder in /usr/include/iceoryx/v*; do
		includes=(-std=c++17 -isystem "$folder")
	done
	peer iceoryx_mempool libiceoryx-posh-dev \
		'"iceoryx_posh/internal/mepoo/mem_pool.hpp"' g++ iceoryx.cc \
		-liceoryx_posh -liceoryx_hoofs -liceoryx_platform
	peer iceoryx_loffli libiceoryx-hoofs-dev \
		'"iceoryx_hoofs/internal/concurrent/loffli.hpp"' g++ iceoryx.cc -DLOFFLI \
		-liceoryx_hoofs -liceoryx_platform
	includes=()
}

allocators()
{
	peer tcmalloc libgoogle-perftools-dev '<gperftools/tcmalloc.h>' gcc malloc.c \
		-fno-builtin -ltcmalloc_minimal
	peer jemalloc libjemalloc-dev '<jemalloc/jemalloc.h>' gcc malloc.c -ljemalloc
	peer mimalloc libmimalloc-dev '<mimalloc.h>' gcc malloc.c \
		-DHEADER='<mimalloc.h>' -DGET=mi_malloc -DPUT=mi_free -lmimalloc
	peer tbb libtbb-dev '<tbb/scalable_allocator.h>' gcc malloc.c \
		-DHEADER='<tbb/scalable_allocator.h>' -DGET=scalable_malloc \
		-DPUT=scalable_free -ltbbmalloc
	peer glibc "" "" gcc malloc.c
}

ours
dpdk
peer ck_stack libck-dev '<ck_stack.h>' gcc ck.c
peer ck_ring libck-dev '<ck_ring.h>' gcc ck.c -DRING
peer boost_stack libboost-dev '<boost/lockfree/stack.hpp>' g++ boost.cc -latomic
iceoryx
allocators
peer mutex "" "" gcc lists.c -DMUTEX
peer treiber "" "" gcc lists.c -DTREIBER
peer original "" "" gcc lists.c -DORIGINAL -mcx16
peer floor_array "" "" gcc floors.c -DARRAY
peer floor_calls "" "" gcc floors.c -DCALLS
peer floor_rseq "" "" gcc floors.c -DRSEQ
build driver gcc "$here/driver.c" || die "driver does not compile, see $log"

noise=$("$bin/driver" "$reps" "$list" "$out/bench.csv") || die "the run failed"

{
	printf '# lfpool benchmark\n\n'
	printf 'Commit %s, %s, %s processors, Linux %s, %s.\n' \
		"$(git -C "$top" describe --always --dirty 2>/dev/null || echo unknown)" \
		"$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
		"$(nproc)" "$(uname -r)" "$(gcc --version | head -n 1)"
	printf '%s repetitions. %s. Load at the end: %s.\n' "$reps" "$noise" \
		"$(cut -d ' ' -f 1 /proc/loadavg)"
	[ -z "$skipped" ] || printf 'Not installed, so not measured: %s\n' "$skipped"
	awk -f "$here/table.awk" "$out/bench.csv"
} >"$out/bench.md"
cat "$out/bench.md"

if command -v gnuplot >/dev/null; then
	awk -v out="$out/bench.svg" -f "$here/plot.awk" "$out/bench.csv" |
		gnuplot || die "gnuplot failed"
else
	skip "plot" "no gnuplot (Debian: gnuplot-nox)"
fi
printf '\nin %s: bench.csv, bench.md%s\n' "$out" \
	"$([ ! -e "$out/bench.svg" ] || echo ", bench.svg")"
