# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# bash completion for lfpool(1)

_lfpool()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local commands='list stat top holders check reset bench demo'
	local command='' words='' i path

	for ((i = 1; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} != -* ]]; then
			command=${COMP_WORDS[i]}
			break
		fi
	done

	case $command,$before in
	top,-s | top,--sort) words='held cached gets age pid' ;;
	stat,-i | stat,--interval | top,-d | top,--delay) words='1 5 10' ;;
	stat,-c | stat,--count | bench,-[tbs] | bench,--threads | bench,--burst | \
	bench,--seconds | demo,-[rs] | demo,--rounds | demo,--seconds) ;;
	,*)	words="$commands help"
		[[ $word != -* ]] || words='--help --version' ;;
	help,*)	words=$commands ;;
	*)
		if [[ $word != -* ]]; then
			for path in /sys/class/lfpool/*; do
				[[ $command = demo || ! -e $path ]] || words+=" ${path##*/}"
			done
		else
			case $command in
			list | holders | reset) words='--json' ;;
			stat)	words='--interval --count --json --openmetrics --prometheus' ;;
			top)	words='--delay --sort --once --json' ;;
			check)	words='--json --quiet' ;;
			bench)	words='--threads --burst --seconds --embedded --json' ;;
			demo)	words='--rounds --seconds --embedded --json' ;;
			esac
			words+=' --help'
		fi ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _lfpool lfpool
