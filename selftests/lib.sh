# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What the shell scripts of the tests share: where things are, how to fail, how to
# leave no process behind, and how to bring in a Debian package without installing it.

# shellcheck disable=SC2034 # used by the scripts that source this one
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Kernels and the kselftest files live outside the tree: they outlast
# "make clean" and are shared by all clones.
cache=${LFPOOL_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/lfpool}

# What is compiled once more in the very same way comes from there, too, whatever the clone:
# where a program was built, as it tells debuggers, may be another one.
if [ -d /usr/lib/ccache ] && [ -z "${CCACHE_DIR-}" ] &&
   mkdir -p "$cache/ccache" 2>/dev/null && [ -w "$cache/ccache" ]; then
	export CCACHE_DIR=$cache/ccache CCACHE_MAXSIZE=1G CCACHE_NOHASHDIR=yes
	PATH=/usr/lib/ccache:$PATH
fi

# shellcheck source-path=SCRIPTDIR source=inside.sh
. "$top/selftests/inside.sh"

# The tests that want a machine.
machine_tests="parity uapi uapi32 concurrency lifecycle steady readme death quarantine soak crash
	exhaustion hostile demo tool examples cpp trace"

# All but trace run on the debugging kernels, too, which have no BPF, and the fuzzer runs only
# there. Such a kernel is several times slower, and what it looks for it finds in the
# first rounds: of long storms and sweeps it gets a share, and the largest pools
# there can be are nothing but time.
debug_tests="${machine_tests/ trace/} fuzz_ioctl"
debug_share="LFPOOL_EVERY=401 LFPOOL_PAIRS_EVERY=520 LFPOOL_PLACES_EVERY=13 LFPOOL_ROUNDS=13"
debug_share+=" LFPOOL_KILLS=30 LFPOOL_STORM_SECONDS=1"
debug_share+=" LFPOOL_NOT=range.its_end_is_accepted,slow.a_million_buffers"

# All in two machines, of one processor and of two: to boot, and to look for leaks, takes
# longer than most tests do.
debug_machine=(--mem 320M)

die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# locked FILE COMMAND...: one at a time among all that use the same FILE.
locked()
{
	local file=$1

	shift
	mkdir -p "${file%/*}" || die "cannot create ${file%/*}"
	(
		flock 9 || die "cannot lock $file"
		"$@"
	) 9>"$file"
}

# A search that starts from nothing but its files, and always finds the same, is kept in
# the cache. Its file, by what is read: the files, the versions of the tools, the options.
finding()
{
	local key

	key=$(sha256sum) || die "cannot tell what is searched"
	printf '%s/known/%s' "$cache" "${key%% *}"
}

# is_known FILE: there it is, and with LFPOOL_KNOWN=yes that is enough
is_known()
{
	[ "${LFPOOL_KNOWN-}" = yes ] && [ -s "$1" ]
}

# make_known FILE TEXT
make_known()
{
	mkdir -p "${1%/*}" && printf '%s\n' "$2" >"$1.new.$$" && mv "$1.new.$$" "$1"
}

# An answer that apt gave stays right until its package lists change.
apt_unchanged_since()
{
	[ -e "$1" ] && [ ! /var/lib/apt/lists -nt "$1" ]
}

# The version that "apt-get download PACKAGE" would bring; empty if unknown.
apt_version()
{
	apt-cache show --no-all-versions "$1" 2>/dev/null |
		sed -n 's/^Version: //p' | head -n 1
}

# apt_refresh: "apt-get update", where we may; false where we may not.
apt_refresh()
{
	[ "$(id -u)" = 0 ] || return 1
	apt-get -qq update >&2
}

# apt_download FOLDER PACKAGE...
apt_download()
{
	local folder=$1

	shift
	# apt's own user could not write to the cache of another user
	(cd "$folder" && apt-get -qq -o APT::Sandbox::User=root download "$@") >&2
}
