#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# kernel.sh K: have kernel K ready to boot and to build modules for.
# Prints KDIR, KIMAGE and KRELEASE for the shell to source.
#
# Debian's packages are unpacked into the cache and never installed: an
# installed kernel would run hooks and change what the machine boots.
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# The package that meta package $1 stands for, of those that match $2.
stands_for()
{
	apt-cache depends --no-recommends --no-suggests "$1" 2>/dev/null |
		sed -n "s/^[ |]*Depends: \($2\)\$/\1/p" | sort -u
}

# Sets image, headers (several) and version; false where apt knows nothing.
debian_resolve()
{
	local flavour=$1 exact rest

	image=$(stands_for "linux-image-$flavour" 'linux-image-[0-9].*')
	exact=$(stands_for "linux-headers-$flavour" 'linux-headers-[0-9].*')
	[ -n "$image" ] && [ -n "$exact" ] || return
	rest=$(stands_for "$exact" 'linux-\(headers\|kbuild\)-.*')
	headers=$(printf '%s\n' "$exact" "$rest")
	version=$(apt_version "$image")
	[ -n "$version" ] && [ -n "$rest" ]
}

# Headers say where the common part is by an absolute path. Made relative,
# the cache works as a whole, and can be moved.
debian_relocate()
{
	local makefile

	for makefile in "$1"/usr/src/linux-headers-*/Makefile; do
		# shellcheck disable=SC2016 # for make
		sed -i 's,^include /usr/src/,include $(dir $(abspath $(lastword $(MAKEFILE_LIST))))../,' \
			"$makefile" || return
	done
	! grep -l '^include /usr/' "$1"/usr/src/linux-headers-*/Makefile >&2
}

debian_unpack()
{
	local tmp=$1 deb

	echo "kernel.sh: unpacking $image $version into $cache" >&2
	# shellcheck disable=SC2086 # a list
	apt_download "$tmp" "$image" $headers || return
	for deb in "$tmp"/*.deb; do
		case $deb in
		# the tests boot from an initramfs: no modules are wanted
		*/linux-image-*)
			dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$tmp" ./boot || return ;;
		*)
			dpkg -x "$deb" "$tmp" || return ;;
		esac
		rm -f "$deb"
	done
	debian_relocate "$tmp" || return

	set -- "$tmp"/boot/vmlinuz-*
	[ $# = 1 ] && [ -d "$tmp/usr/src/linux-headers-${1##*/vmlinuz-}" ] || return
	echo "${1##*/vmlinuz-}" >"$tmp/release"
}

debian_install()
{
	local home=$1 tmp

	[ -d "$home/$version" ] && return
	rm -rf "$home"/.new.*
	tmp=$(mktemp -d "$home/.new.XXXXXX") || return
	# the rename makes it whole or absent, whatever interrupts us
	if debian_unpack "$tmp" && chmod 755 "$tmp" && mv "$tmp" "$home/$version"; then
		return
	fi
	rm -rf "$tmp"
	return 1
}

debian_ensure()
{
	local home=$1 flavour=$2 image headers version

	apt_unchanged_since "$home/looked" && [ -e "$home/current" ] && return

	if ! debian_resolve "$flavour" || ! debian_install "$home"; then
		# an older kernel serves as well, and needs no network
		[ -e "$home/current" ] && return
		if ! apt_refresh || ! debian_resolve "$flavour" || ! debian_install "$home"; then
			die "cannot get linux-image-$flavour and its headers (needs the apt sources of Debian 12, and a run of apt-get update)"
		fi
	fi
	ln -sfn "$version" "$home/current" && touch "$home/looked"
}

# A stock kernel of Debian's; $1 is its flavour, as in the package names.
debian_kernel()
{
	local home=$cache/kernel/$k dir release

	if ! apt_unchanged_since "$home/looked" || [ ! -e "$home/current" ]; then
		locked "$home/lock" debian_ensure "$home" "$1" || exit
	fi
	dir=$home/$(readlink "$home/current")
	release=$(cat "$dir/release") || exit
	KDIR=$dir/usr/src/linux-headers-$release
	KIMAGE=$dir/boot/vmlinuz-$release
	KRELEASE=$release
}

# Kernels of our own, out of Debian's source and the fragments in config/.
own_source()
{
	local tmp=$1 package=linux-source-6.1

	echo "kernel.sh: unpacking $package $version" >&2
	apt_download "$tmp" $package || return
	dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -xO ./usr/src/$package.tar.xz |
		tar -xJ -C "$tmp" --strip-components=1 || return
	rm -f "$tmp"/*.deb
}

# Kconfig drops silently what depends on something that is off.
own_missing()
{
	local line

	grep -E '^CONFIG_[A-Z0-9_]+=' "$1" | sort -u | while IFS= read -r line; do
		case $line in
		*=n)	! grep -q "^${line%=n}=" "$2/.config" || echo "$line" ;;
		*)	grep -qxF "$line" "$2/.config" || echo "$line" ;;
		esac
	done
}

# The objects that a checker looks into, in a line; and what Kbuild is told for that. It
# expands it for each object. What a Makefile of the kernel's says of an object of its own
# counts before it; what it says of all of its folder does not.
sanitized()
{
	sed -nE "s/^([a-z][^ ]*)( $k)?\$/\1/p" "$here/config/sanitize" | tr '\n' ' '
}

# shellcheck disable=SC2016 # for make
sanitize_flag()
{
	printf '%s_SANITIZE=$(if $(filter %s,$(obj)/$(basetarget)),y,n)' "${k^^}" "$(sanitized)"
}

own_build()
{
	local source=$1 missing name

	# the later of two lines for one symbol counts
	cat "$here/config/base.config" "$here/config/$k.config" |
		awk -F= '/^CONFIG_/ { line[$1] = $0 } END { for (s in line) print line[s] }' \
			>"$out/fragment"
	make -s -C "$source" O="$out" ARCH=x86_64 KCONFIG_ALLCONFIG="$out/fragment" \
		allnoconfig >/dev/null || return
	missing=$(own_missing "$out/fragment" "$out")
	if [ -n "$missing" ]; then
		printf 'kernel.sh: asked for and not granted:\n%s\n' "$missing" >&2
		return 1
	fi
	echo "kernel.sh: building the $k kernel (some ten minutes, once)" >&2
	rm -f "$out/whole"
	# a kernel is cached as a whole
	CCACHE_DISABLE=yes nice make -s -C "$source" O="$out" ARCH=x86_64 -j"$(nproc)" \
		"$(sanitize_flag)" bzImage modules_prepare >"$out/build.log" 2>&1 || {
		tail -n 30 "$out/build.log" >&2
		return 1
	}
	: >"$out/whole" || return
	for name in $(sanitized); do
		grep -q -e -fsanitize= "$out/${name%/*}/.${name##*/}.o.cmd" || {
			echo "kernel.sh: $name was not built to be looked into" >&2
			return 1
		}
	done
	# modules are built against it alone: there are none of its own
	cp "$out/vmlinux.symvers" "$out/Module.symvers" || return
	# a name that goes when the next one is built: nobody boots half of that
	cp "$out/arch/x86/boot/bzImage" "$out/bzImage-$key" &&
		make -s -C "$source" O="$out" ARCH=x86_64 kernelrelease >"$out/release.new" &&
		mv "$out/release.new" "$out/release-$key"
}

own_ensure()
{
	local source=$cache/kernel/source home=$cache/kernel/$k tmp name

	if [ ! -d "$source/$version" ]; then
		mkdir -p "$source" && rm -rf "$source"/.new.* || return
		tmp=$(mktemp -d "$source/.new.XXXXXX") || return
		if ! own_source "$tmp" || ! mv "$tmp" "$source/$version"; then
			rm -rf "$tmp"
			return 1
		fi
	fi
	[ -e "$out/release-$key" ] && return
	for name in $(sanitized); do
		[ -e "$source/$version/$name.c" ] || {
			echo "kernel.sh: there is no $name to look into" >&2
			return 1
		}
	done
	# One of another configuration: make builds what it changes. In a folder of another name
	# it would build all: objtool is made with that name in it, and all the rest with objtool.
	find "$home" -mindepth 1 -maxdepth 1 -type d ! -name "$version" -exec rm -rf {} +
	# Nor of what was interrupted: half a file may look like a whole one.
	[ -e "$out/whole" ] || rm -rf "$out"
	mkdir -p "$out" && rm -f "$out"/release-* "$out"/bzImage-* && own_build "$source/$version"
}

own_kernel()
{
	local version key out

	version=$(apt_version linux-source-6.1)
	if [ -z "$version" ]; then
		apt_refresh && version=$(apt_version linux-source-6.1)
		[ -n "$version" ] || die "cannot get Debian package linux-source-6.1"
	fi
	if grep -vE '^(#.*|[a-z][^ ]*( kasan)?)?$' "$here/config/sanitize" >&2; then
		die "config/sanitize: this is no name of an object"
	fi
	# not for another comment
	key=$({
		grep -hv '^#' "$here/config/base.config" "$here/config/$k.config"
		sanitize_flag
	} | sha256sum | cut -c 1-12)
	out=$cache/kernel/$k/$version
	if [ ! -e "$out/release-$key" ]; then
		locked "$cache/kernel/$k/lock" locked "$cache/kernel/source.lock" own_ensure ||
			die "cannot build the $k kernel"
	fi
	KDIR=$out
	KIMAGE=$out/bzImage-$key
	KRELEASE=$(cat "$out/release-$key")
}

here=$top/selftests/vm
# -gcov is about the module that runs on it, see module.sh
k=${1:-}
k=${k%-gcov}
case $k in
6.1)	debian_kernel cloud-amd64 ;;
6.12)	debian_kernel 6.12-cloud-amd64 ;;
# 6.1 with PREEMPT_RT
rt)	debian_kernel rt-amd64 ;;
kasan | kcsan)	own_kernel ;;
*)	die "unknown kernel '$k' (there are: 6.1 6.12 rt kasan kcsan)" ;;
esac
printf '%s=%q\n' KDIR "$KDIR" KIMAGE "$KIMAGE" KRELEASE "$KRELEASE"
# what make is told of a module: the kernel itself goes without UBSAN
[ "$k" = kasan ] && echo KCHECKS=UBSAN_SANITIZE=y || echo KCHECKS=
