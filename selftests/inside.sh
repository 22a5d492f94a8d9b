# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For scripts that start machines, or many processes: all of them end with the
# script, however it ends. lib.sh has this; with it, and before anything else,
#
#	inside "$0" "$@"
#
# runs the script again in a PID namespace. Whatever it starts there is killed by
# the kernel with the namespace's first process; that one is told to die with
# unshare, which is told to die with this shell, which stays outside and waits.
# Below make, this shell dies with make as well: who kills make -9 means us too.
# (Not elsewhere: what nohup started outlives the shell that it was started from.)
#
# What is written to TMPDIR goes the same way, where we may mount: no trap can
# remove what a kill -9 leaves. Where there is no such namespace for us, the script
# just goes on as it is.

# Dies if the parent is another than process $1 by now: before it could be said
# that its death is to be told, it was dead.
# shellcheck disable=SC2016 # for the shell inside
inside_orphan='[ $PPID = "$1" ] || exit 137; shift; exec "$@"'

# Runs in the namespace, with unshare's own file in /proc as descriptor 9: unshare
# may have been killed before its child asked to be told.
# shellcheck disable=SC2016 # for the shell inside
inside_first='
	read -r _ _ state _ <&9 && [ "$state" != Z ] || exit 137
	exec 9<&-
	if mkdir -p "$1/build/tmp" && mount -t tmpfs -o mode=1777 tmpfs "$1/build/tmp"; then
		TMPDIR=$1/build/tmp
		export TMPDIR
	fi 2>/dev/null
	shift
	exec "$@"'

inside()
{
	local -a unshare=(unshare --pid --fork --kill-child --mount-proc)

	[ -z "${LFPOOL_INSIDE-}" ] || return 0
	[ "$(id -u)" = 0 ] || unshare+=(--user --map-current-user)
	"${unshare[@]}" true 2>/dev/null || return 0

	if [ -n "${MAKELEVEL-}" ] && [ -z "${LFPOOL_BELOW_MAKE-}" ]; then
		LFPOOL_BELOW_MAKE=yes exec setpriv --pdeathsig KILL \
			sh -c "$inside_orphan" sh "$PPID" bash "$@"
	fi
	# $! is known as soon as there is a child
	trap 'kill -KILL $! 2>/dev/null; exit 129' HUP
	trap 'kill -KILL $! 2>/dev/null; exit 130' INT
	trap 'kill -KILL $! 2>/dev/null; exit 143' TERM
	# what runs in the background has neither standard input nor ^C unless told
	# shellcheck disable=SC2016,SC2154 # for the shell inside; top is lib.sh's
	LFPOOL_INSIDE=yes setpriv --pdeathsig KILL sh -c "$inside_orphan" sh $$ \
		sh -c 'exec 9</proc/$$/stat; exec "$@"' sh "${unshare[@]}" \
		env --default-signal=INT,QUIT sh -c "$inside_first" sh "$top" bash "$@" <&0 &
	wait $!
	exit
}
