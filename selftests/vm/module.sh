#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# module.sh K [make arguments]: build/K/lfpool.ko, the module for kernel K.
#
# Kbuild puts objects beside the sources, so each kernel has a mirror of them.
# MODULE_OUT is another place for it.
# For kernel "kasan-gcov" the module counts how often each line ran.
set -u
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"

k=${1:?usage: module.sh K [make arguments]}
shift
out=${MODULE_OUT:-$top/build/$k}
case $k in
*-gcov)	set -- GCOV_PROFILE=y "$@" ;;
esac
# for the fuzzer: where each of its calls went
case $k in
kasan*)	set -- KCOV_INSTRUMENT=y "$@" ;;
esac

mirror()
{
	# By content, with times of their own: what is put back to an older
	# text must be built again although its time stamp is old.
	rsync -rlpc --delete --exclude='.*' --exclude='*.o' --exclude='*.ko' \
		--exclude='*.mod' --exclude='*.mod.c' --exclude='*.gcno' \
		--exclude='Module.symvers' --exclude='modules.order' \
		"$top/Kbuild" "$top/module" "$top/uapi" "$out/"
}

build()
{
	mirror || die "cannot mirror the sources into $out"
	# What make was told on the way here (K=, T=, -j) is not for Kbuild.
	# BTF would need pahole, and nothing here reads it.
	# shellcheck disable=SC2086 # none or one
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u MAKEOVERRIDES \
		make -s -j"$(nproc)" -C "$KDIR" M="$out" W=1 \
		CONFIG_DEBUG_INFO_BTF_MODULES= $KCHECKS "$@" modules || exit
}

[ -f "$top/Kbuild" ] || die "no Kbuild in $top"
eval "$(bash "$top/selftests/vm/kernel.sh" "$k" || echo exit 1)"
locked "$out/lock" build "$@"
