#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# run.sh [depot|handover|scavenge]...: explores the models with spin, every
# state of each, and their mutants, each of which must be caught.
#
# The models say at their top what they model and what each mutant breaks.
# Models are searched depth first, mutants breadth first, so that what catches
# one is as short as can be: "bash run.sh", then for the steps
#
#	cd build/model/depot-NO_TAG && spin -t -p -g $(cat options) depot.pml
#
# With LFPOOL_KNOWN=yes what was found in the very same model is not searched for again,
# and told to be known.
#
# KTAP; exits 0 if all is as it must be, 1 if not, 4 if there is no spin.
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
inside "$0" "$@"

source=$top/selftests/model
build=$top/build/model

# model|sizes|macros|flags of pan.c
models="
depot|3 buffers, 1 victim, 1 living, born again for ever|NB=3|NOREDUCE
depot|3 buffers, 1 victim, 1 living, lists stay|NB=3 KEEP_LISTS ONCE WALK_AT_ONCE|NOREDUCE
depot|2 buffers, 2 victims, 1 living|NB=2 VICTIMS=2 ONCE WALK_AT_ONCE|NOREDUCE
depot|2 buffers, 2 victims that die together, 1 living|NB=2 VICTIMS=2 TOGETHER ONCE WALK_AT_ONCE|NOREDUCE
depot|2 buffers, 2 victims of one client, 1 living|NB=2 VICTIMS=2 TOGETHER ONE_CLIENT ONCE WALK_AT_ONCE|NOREDUCE
depot|2 buffers, 1 victim, 2 living|NB=2 LIVING=2 ONCE WALK_AT_ONCE|NOREDUCE
depot|2 buffers, 1 victim, 1 living, born again for ever, audits|NB=2 AUDITS WALK_AT_ONCE|NOREDUCE
handover|1 buffer, 2 victims, 1 living, born again for ever||NOREDUCE
scavenge|3 buffers, 2 threads|NB=3|
scavenge|2 buffers, 2 threads, 1 waiter|WAITERS=1|
scavenge|2 buffers, 1 thread that fills the depot, 2 waiters|THREADS=1 WAITERS=2 PREFILL|
scavenge|2 buffers, 1 thread that fills the depot, 1 waiter, 1 poller|THREADS=1 WAITERS=1 POLLER PREFILL|
scavenge|2 buffers, 1 thread that fills the depot and dies, 2 waiters|THREADS=1 WAITERS=2 PREFILL THREAD_DIES|NOREDUCE
scavenge|1 buffer, 1 thread that fills the depot, 2 waiters, of whom 1 dies|NB=1 THREADS=1 WAITERS=2 PREFILL WAITER_DIES|
"

# model|mutant|macros|flags of pan.c
mutants="
depot|NO_TAG|ONCE|NOREDUCE
depot|TAG_OF_2|ONCE|NOREDUCE
depot|JOURNAL_KEPT|ONCE|NOREDUCE
depot|JOURNAL_AFTER_POP|ONCE|NOREDUCE
depot|JOURNAL_BEFORE_WORD|ONCE|NOREDUCE
depot|LEADER_FIRST|ONCE|NOREDUCE
depot|MEMBERS_LEFT|ONCE|NOREDUCE
depot|LIST_LATE|ONCE|NOREDUCE
depot|JOURNAL_AFTER_WORD|ONCE|NOREDUCE
depot|JOURNAL_BEFORE_PUSH|ONCE|NOREDUCE
depot|WORD_LATE|ONCE|NOREDUCE
depot|NO_GENERATION|ONCE|NOREDUCE
depot|NO_PASS_1|ONCE|NOREDUCE
depot|NO_PASS_2|ONCE|NOREDUCE
depot|WORDS_ONCE|ONCE|NOREDUCE
depot|WALK_BLIND|ONCE|NOREDUCE
depot|DEFERRED_TAKEN|ONCE|NOREDUCE
depot|DEFERRED_FORGOTTEN|ONCE|NOREDUCE
depot|NO_R1|ONCE|NOREDUCE
depot|NO_STRIKE_OUT|ONCE|NOREDUCE
depot|R2_BLIND|ONCE|NOREDUCE
depot|DRAIN_UNLOCKED|ONCE|NOREDUCE
handover|IMPORT_ANY||NOREDUCE
handover|IMPORT_PLAIN||NOREDUCE
handover|IMPORT_KEEPS||NOREDUCE
handover|PUT_BLIND||NOREDUCE
handover|PUT_PLAIN||NOREDUCE
handover|PUT_KEEPS||NOREDUCE
handover|R2_PLAIN||NOREDUCE
handover|R2_KEEPS||NOREDUCE
handover|IOCTL_OUTLIVES||NOREDUCE
handover|RELEASE_PLAIN||NOREDUCE
handover|RELEASE_KEEPS||NOREDUCE
handover|RELEASE_BIT_FIRST||NOREDUCE
scavenge|NO_IPI||
scavenge|BUSY_IGNORED||
scavenge|REVOKED_EARLY||
scavenge|REVOKED_IGNORED||
scavenge|N_FIRST|THREADS=1 WAITERS=1|
scavenge|BUSY_EARLY||
scavenge|PUT_LOOKS_FIRST|THREADS=1 WAITERS=1|
scavenge|STORE_BLIND|THREADS=1 WAITERS=1|
scavenge|PUSH_SILENT|THREADS=1 WAITERS=1 PREFILL|
scavenge|WAIT_NO_IPI|THREADS=1 WAITERS=1|
scavenge|WAIT_IGNORES_BUSY|THREADS=1 WAITERS=1|
scavenge|LEAVES_BUSY|THREADS=1 WAITERS=2 PREFILL|
scavenge|EPISODE_UNCOUNTED|THREADS=1 WAITERS=1|
scavenge|EPISODE_ASSUMED|THREADS=1 WAITERS=1 POLLER|
scavenge|FENCED_EARLY|THREADS=1 WAITERS=1 POLLER|
scavenge|COUNTS_LATE|THREADS=1 WAITERS=1|
scavenge|QUEUES_LATE|THREADS=1 WAITERS=1|
scavenge|POLL_NO_IPI|THREADS=1 POLLER|
scavenge|POLL_IGNORES_BUSY|THREADS=1 POLLER|
scavenge|RECOVERY_SILENT|THREADS=1 WAITERS=1 PREFILL THREAD_DIES|NOREDUCE
scavenge|RECOVERY_WAKES_ONE|NB=1 THREADS=1 WAITERS=2 PREFILL WAITER_DIES|
"

number=0
failed=0

# result STATUS TEXT LOG
result()
{
	number=$((number + 1))
	if [ "$1" -eq 0 ]; then
		printf 'ok %d - %s\n' $number "$2"
		return
	fi
	failed=1
	awk '{ print "# " $0 }' "$3"
	printf 'not ok %d - %s\n' $number "$2"
}

# searched MODEL WORDS...: what a search depends on
searched()
{
	spin -V
	gcc --version
	cat "$source/run.sh" "$source/$1.pml"
	printf '%s\n' "$@"
}

# told FILE: true if it is known, and then that is the result
told()
{
	is_known "$1" && result 0 "$(cat "$1"), known"
}

# found FILE TEXT: a result that is right
found()
{
	make_known "$1" "$2"
	result 0 "$2"
}

# generate FOLDER MODEL MACROS CFLAGS...: a folder with pan, built so; what goes
# wrong is in its log
generate()
{
	local folder=$build/$1 model=$2 macros=$3 options=() macro

	shift 3
	rm -rf "$folder"
	mkdir -p "$folder" && cd "$folder" || exit
	for macro in $macros; do
		options+=("-D$macro")
	done
	printf '%s\n' "${options[*]}" >options
	cp "$source/$model.pml" . &&
		spin "${options[@]}" -a "$model.pml" >log 2>&1 &&
		gcc -w -DSAFETY -DMEMLIM=4000 "$@" -o pan pan.c >>log 2>&1
}

# states LOG
states()
{
	sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$1"
}

# What a trail ends in: the comment beside the assertion.
caught_by()
{
	local model=$1 defines line steps what

	read -ra defines <options
	spin -t "${defines[@]}" "$model.pml" >trail 2>&1
	line=$(sed -n "s/^spin: $model.pml:\([0-9]*\), Error: assertion violated.*/\1/p" trail |
		head -n 1)
	steps=$(sed -n 's/^spin: trail ends after \([0-9]*\) steps.*/\1/p' trail)
	[ -n "$line" ] || return
	what=$(sed -n "${line}s,.*/\* \(.*\) \*/.*,\1,p" "$model.pml")
	printf 'assertion %s:%d, "%s", after %d steps' "$model.pml" "$line" "$what" "$steps"
}

check_model()
{
	local model=$1 sizes=$2 macros=$3 flag=$4 folder text file

	file=$(searched "$@" | finding) || exit
	! told "$file" || return
	folder=$model${macros:+-${macros// /-}}
	text="$model: $sizes"
	if ! generate "$folder" "$model" "$macros" -O2 ${flag:+"-D$flag"}; then
		result 1 "$text" log
		return
	fi
	nice ./pan -m8000000 >log 2>&1
	if grep -q 'errors: 0$' log && [ -n "$(states log)" ] &&
	   ! grep -Eq 'max search depth|not completed|out of memory|MEMLIM|aborted' log; then
		found "$file" "$text: $(states log) states, exhaustive"
	else
		caught_by "$model" >>log
		result 1 "$text" log
	fi
	rm -f pan pan.*
}

check_mutant()
{
	local model=$1 mutant=$2 macros=$3 flag=$4 text by file

	file=$(searched "$@" | finding) || exit
	! told "$file" || return
	text="$model mutant $mutant"
	if ! generate "$model-$mutant" "$model" "$mutant${macros:+ $macros}" \
	     -O0 -DBFS ${flag:+"-D$flag"}; then
		result 1 "$text" log
		return
	fi
	nice ./pan -w20 -m100000 >log 2>&1
	by=$(caught_by "$model")
	if grep -q 'errors: 1$' log && [ -n "$by" ]; then
		found "$file" "$text: caught by $by"
	else
		result 1 "$text: not caught" log
	fi
	rm -f pan pan.*
}

wanted()
{
	[ -z "$only" ] || [[ " $only " == *" $1 "* ]]
}

only=$*
for name in $only; do
	[ -e "$source/$name.pml" ] || die "no such model: $name"
done
if ! command -v spin >/dev/null || ! command -v gcc >/dev/null; then
	echo "1..0 # SKIP spin and gcc are needed"
	exit 4
fi

count=0
while IFS='|' read -r model _; do
	[ -n "$model" ] && wanted "$model" && count=$((count + 1))
done <<<"$models$mutants"

echo "KTAP version 1"
echo "1..$count"
while IFS='|' read -r model sizes macros flag; do
	[ -n "$model" ] && wanted "$model" && check_model "$model" "$sizes" "$macros" "$flag"
done <<<"$models"
while IFS='|' read -r model mutant macros flag; do
	[ -n "$model" ] && wanted "$model" && check_mutant "$model" "$mutant" "$macros" "$flag"
done <<<"$mutants"
exit $failed
