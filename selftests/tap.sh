# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For scripts that report in TAP, a test point a command. Exit with tap_end.

number=0 status=0
scratch=$(mktemp -d) || exit
trap 'rm -rf "$scratch"' EXIT
log=$scratch/log

# result STATUS WORDS: a test point; 4 is a skip. Why is told by $log
result()
{
	number=$((number + 1))
	case $1 in
	0)	echo "ok $number $2" ;;
	4)	echo "ok $number $2 # SKIP $(tail -n 1 "$log")" ;;
	*)
		tail -n 30 "$log" | sed 's/^/#   /'
		echo "not ok $number $2"
		status=1 ;;
	esac
}

# try WORDS COMMAND...
try()
{
	local words=$1

	shift
	"$@" >"$log" 2>&1 </dev/null
	result $? "$words"
}

# need COMMAND...: a status of 4 where one is not there
need()
{
	local command

	for command; do
		if ! command -v "$command" >/dev/null; then
			echo "no $command here"
			return 4
		fi
	done
}

tap_end()
{
	echo "1..$number"
	exit $status
}
