#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Installation: make install and uninstall; the Debian packages, by lintian; the
# module by DKMS, for both kernels; what the packages install, in a machine; and
# the metrics, by Prometheus' own tool. Native.
# shellcheck disable=SC2317 # try() calls the functions
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
inside "$0" "$@"
# shellcheck source-path=SCRIPTDIR source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$top" || exit

deb=$top/build/deb
version=$(sed -n 's/^version := //p' userlib/Makefile)
# modprobe
PATH=$PATH:/usr/sbin:/sbin
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)

# make as a person would call it, whoever called us
clean_make()
{
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u DESTDIR -u prefix make -s "$@"
}

# there FOLDER FILE...
there()
{
	local folder=$1 file missing=0

	shift
	for file; do
		# shellcheck disable=SC2086 # a pattern
		if ! compgen -G "$folder/$file" >/dev/null; then
			echo "not there: $file"
			missing=1
		fi
	done
	return $missing
}

installed()
{
	# built anew: the prefix is in it, and what others use must stay as it is
	clean_make install O="$scratch/build" DESTDIR="$scratch/root" prefix=/usr &&
		there "$scratch/root/usr" bin/lfpool lib/liblfpool.so.0 lib/liblfpool.so \
			lib/liblfpool.a lib/pkgconfig/lfpool.pc include/lfpool.h \
			include/lfpool.hpp include/linux/lfpool.h share/man/man1/lfpool.1 \
			share/man/man3/lfpool_get.3 share/man/man3/lfpool_put.3 \
			share/man/man4/lfpool.4 share/man/man7/lfpool.7 \
			share/bash-completion/completions/lfpool lib/udev/rules.d/60-lfpool.rules \
			lib/sysusers.d/lfpool.conf lib/modules-load.d/lfpool.conf \
			share/doc/lfpool/examples/pipeline.c
}

# compile ROOT LIBDIR COMPILER SOURCE OUT: as the heads of the examples say
compile()
{
	local flags

	flags=$(PKG_CONFIG_PATH=$1$2/pkgconfig PKG_CONFIG_SYSROOT_DIR=$1 \
		pkg-config --cflags --libs lfpool) || return
	# a system root's own include folder is nothing that pkg-config tells
	# shellcheck disable=SC2086 # lists
	$3 -O2 -Wall -Wextra -Werror -o "$5" "$4" -I"$1/usr/include" -L"$1$2" $flags
}

compilers()
{
	local compiler source

	for compiler in gcc clang; do
		for source in pipeline epoll crash; do
			compile "$scratch/root" /usr/lib "$compiler" "userlib/examples/$source.c" \
				"$scratch/$source" || return
		done
	done
	for compiler in "g++ -std=c++17" "g++ -std=c++20" "clang++ -std=c++17" "clang++ -std=c++20"; do
		compile "$scratch/root" /usr/lib "$compiler" userlib/examples/sum.cpp \
			"$scratch/sum" || return
	done
	# it finds its library; what it says depends on whether a module is loaded here
	LD_LIBRARY_PATH=$scratch/root/usr/lib "$scratch/crash" >"$scratch/said" 2>&1
	grep -e '^compression ' -e '^audit: ' "$scratch/said"
}

uninstalled()
{
	clean_make uninstall O="$scratch/build" DESTDIR="$scratch/root" prefix=/usr || return
	find "$scratch/root" ! -type d
	[ -z "$(find "$scratch/root" ! -type d)" ]
}

# With Debian's headers, the module can be loaded by its name afterwards.
modules_installed()
{
	local root=$scratch/modules

	eval "$(bash selftests/vm/kernel.sh "$1" || echo return 1)"
	clean_make modules_install KDIR="$KDIR" INSTALL_MOD_PATH="$root" &&
		modprobe -d "$root" -S "$KRELEASE" -n -v lfpool | grep '^insmod .*/lfpool\.ko' &&
		clean_make modules_uninstall KDIR="$KDIR" INSTALL_MOD_PATH="$root" &&
		! modprobe -d "$root" -S "$KRELEASE" -n lfpool
}

packages()
{
	bash -c "sh userlib/dist/deb.sh build/deb" || return
	there "$deb" "lfpool-dkms_${version}_all.deb" "liblfpool0_${version}_*.deb" \
		"liblfpool-dev_${version}_*.deb" "lfpool-tools_${version}_*.deb"
}

# Errors only: what is a warning is for those who upload.
lint()
{
	lintian --no-cfg --allow-root --fail-on error --tag-display-limit 0 "$deb"/*.changes
}

unpacked()
{
	local package

	rm -rf "$deb/root"
	for package in lfpool-dkms liblfpool0 liblfpool-dev lfpool-tools; do
		dpkg-deb -x "$deb/${package}_$version"_*.deb "$deb/root" || return
	done
	there "$deb/root" usr/bin/lfpool "usr/lib/$multiarch/liblfpool.so.0" \
		"usr/src/lfpool-$version/dkms.conf" usr/lib/udev/rules.d/60-lfpool.rules \
		usr/lib/modules-load.d/lfpool.conf usr/lib/sysusers.d/lfpool-dkms.conf \
		usr/share/man/man3/lfpool_put.3.gz usr/share/man/man7/lfpool.7.gz \
		usr/include/linux/lfpool.h || return
	# the command takes the shared library, and both are of one version
	LD_LIBRARY_PATH=$deb/root/usr/lib/$multiarch ldd "$deb/root/usr/bin/lfpool" | grep "$deb/root" &&
		[ "$(LD_LIBRARY_PATH=$deb/root/usr/lib/$multiarch "$deb/root/usr/bin/lfpool" --version)" = \
			"lfpool $version" ] || return
	mkdir -p "$deb/examples"
	compile "$deb/root" "/usr/lib/$multiarch" gcc userlib/examples/pipeline.c \
		"$deb/examples/pipeline"
}

# As the README says, with all their scripts, in a copy of this machine that is thrown away.
package_life()
{
	local over=$scratch/over

	if [ "$(id -u)" != 0 ] || ! unshare -m true 2>/dev/null; then
		echo "only root may, where there are mount namespaces"
		return 4
	fi
	mkdir -p "$over" || return
	# shellcheck disable=SC2016 # for the shell inside
	unshare -m bash -c '
		mount -t tmpfs tmpfs "$1" && mkdir "$1/upper" "$1/work" "$1/all" || exit 4
		mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" \
			overlay "$1/all" || exit 4
		mount --rbind /proc "$1/all/proc" && mount --rbind /dev "$1/all/dev" || exit 4
		mkdir -p "$1/all/debs" && cp "$2"/*.deb "$1/all/debs/" &&
			cp userlib/examples/crash.c selftests/packaged.sh "$1/all/debs/" || exit
		chroot "$1/all" env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS bash /debs/packaged.sh "$3"
	' packages "$over" "$deb" "$version"
	case $? in
	4)	echo "no overlay of the root file system here"
		return 4 ;;
	0)	return 0 ;;
	*)	return 1 ;;
	esac
}

# Not the machine's own trees and keys: DKMS gets others, in a mount namespace
# where we may have one.
dkms_build()
{
	local tree=$scratch/dkms source=$deb/root/usr/src private=''

	[ "$(id -u)" = 0 ] || {
		echo "only root may run dkms"
		return 4
	}
	mkdir -p "$tree" "$deb/$1" /var/lib/dkms
	unshare -m true 2>/dev/null && private='unshare -m'
	eval "$(bash selftests/vm/kernel.sh "$1" || echo return 1)"
	# shellcheck disable=SC2016 # for the shell inside
	$private bash -c '
		[ -z "$1" ] || mount -t tmpfs tmpfs /var/lib/dkms || exit
		# what make was told is not for Kbuild
		env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS dkms build "lfpool/$2" -k "$3" \
			--kernelsourcedir "$4" --dkmstree "$5" --sourcetree "$6"
	' dkms "$private" "$version" "$KRELEASE" "$KDIR" "$tree" "$source" || {
		cat "$tree/lfpool/$version/build/make.log"
		return 1
	}
	dkms status --dkmstree "$tree" --sourcetree "$source" | grep "$KRELEASE.*: built" || return
	rm -f "$deb/$1"/lfpool.ko*
	cp "$tree/lfpool/$version/$KRELEASE"/*/module/lfpool.ko* "$deb/$1/" || return
	if [ -e "$deb/$1/lfpool.ko.xz" ]; then
		unxz "$deb/$1/lfpool.ko.xz" || return
	fi
	modinfo -F vermagic "$deb/$1/lfpool.ko" | grep "^$KRELEASE "
}

# The command with statistics of a sysfs of its own making.
fake_tool()
{
	local pool file n=0

	for pool in serialization compression simd; do
		mkdir -p "$scratch/sys/$pool"
		for file in buffer_size stride buffer_count max_count capacity available in_use \
				cached reserve quarantined peak_granted allocations deallocations \
				pool_hits pool_misses cas_retries refills flushes grown scavenged \
				reclaimed clients threads; do
			n=$((n + 1))
			echo "$n" >"$scratch/sys/$pool/$file"
		done
		echo 0.998731 >"$scratch/sys/$pool/hit_rate"
		echo "240:$n" >"$scratch/sys/$pool/dev"
	done
	clean_make -C userlib/tool O="$scratch/tool" liblfpool="$top/build/userlib/liblfpool.a" \
		CPPFLAGS="-DSYSFS='\"$scratch/sys\"'" &&
		"$scratch/tool/lfpool" stat --json | jq -e '.pools[2].pool_hits == 60' &&
		"$scratch/tool/lfpool" stat --prometheus >"$scratch/prometheus" &&
		"$scratch/tool/lfpool" stat --openmetrics >"$scratch/openmetrics"
}

# Prometheus' own tool, out of Debian's package, which is not installed: it is a
# server.
find_promtool()
{
	local home=$cache/prometheus found

	promtool=$(command -v promtool) && return
	found=$(apt_version prometheus)
	promtool=$home/$found/promtool
	[ ! -x "$promtool" ] || return 0
	mkdir -p "$scratch/prom" "${promtool%/*}" || return
	if ! apt_download "$scratch/prom" prometheus; then
		echo "cannot get Debian package prometheus"
		return 4
	fi
	dpkg-deb --fsys-tarfile "$scratch/prom"/*.deb | tar -xO ./usr/bin/promtool >"$promtool.new" &&
		chmod 755 "$promtool.new" && mv "$promtool.new" "$promtool"
}

# The textfile collector's format, with every rule that promtool knows.
prometheus()
{
	find_promtool || return
	"$promtool" check metrics <"$scratch/prometheus"
}

# Prometheus' parser of OpenMetrics reads all samples; it wants them to have a time.
openmetrics()
{
	find_promtool || return
	sed "/^#/!s/\$/ $(date +%s)/" "$scratch/openmetrics" >"$scratch/openmetrics.time"
	"$promtool" tsdb create-blocks-from openmetrics "$scratch/openmetrics.time" "$scratch/blocks" &&
		find "$scratch/blocks" -name meta.json -exec cat {} + |
			jq -e ".stats.numSamples == $(grep -vc '^#' "$scratch/openmetrics")"
}

echo "TAP version 13"
try "make install" installed
try "an example compiles with pkg-config: gcc, clang, C++17, C++20" compilers
try "make uninstall leaves nothing" uninstalled
for k in 6.1 6.12; do
	try "make modules_install and modules_uninstall for $k" modules_installed $k
done
try "Debian packages" packages
try "lintian finds no error" lint
try "the packages have what they should" unpacked
try "apt installs them, they work, and dpkg removes them" package_life
for k in 6.1 6.12; do
	try "DKMS builds the module for $k" dkms_build $k
done
if there "$deb" 6.1/lfpool.ko 6.12/lfpool.ko examples/pipeline root/usr/bin/lfpool >"$log"; then
	for k in 6.1 6.12; do
		try "what the packages install works on $k" bash selftests/vm/run.sh installed $k
	done
else
	result 1 "what the packages install works"
fi
try "the command with other statistics" fake_tool
try "promtool finds nothing wrong in stat --prometheus" prometheus
try "Prometheus reads stat --openmetrics" openmetrics
tap_end
