#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What programs that read source code find: style, types, locks, paths that leak
# or crash. Native; in TAP. A tool that is not there is a skip.
#
# Whatever is turned off has its reason beside it.
# shellcheck disable=SC2317 # search() calls the functions
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
inside "$0" "$@"
# shellcheck source-path=SCRIPTDIR source=tap.sh
. "$(dirname "$0")/tap.sh"
cd "$top" || exit

# what is found may depend on the files and the tools alone
unset KCFLAGS KCPPFLAGS CPATH C_INCLUDE_PATH
# it keeps nothing that goes to /dev/null
export CCACHE_DISABLE=yes

kernels=${CHECK_KERNELS:-6.1 6.12}

# reasoned SEPARATOR: of lines "name  reason", the names
reasoned()
{
	sed -n 's/^\([^[:space:]]\{1,\}\)[[:space:]].*/\1/p' | paste -sd "$1"
}

# silent COMMAND...: whatever it says is a finding.
silent()
{
	"$@" 2>&1 | tee "$scratch/said"
	[ "${PIPESTATUS[0]}" = 0 ] && [ ! -s "$scratch/said" ]
}

# each COMMAND...: with every file of standard input, as many at a time as there
# are CPUs
each()
{
	silent xargs -P "$(nproc)" -n 1 "$@"
}

#
# Style
#

module_style="
LINUX_VERSION_CODE	one source for all kernels from 6.1 on; see compat.h
CONSTANT_COMPARISON	takes LINUX_VERSION_CODE, which is to the left, for a constant
MACRO_ARG_REUSE		arguments that are pasted or made strings: names do nothing twice
"
# tracepoints are laid out as all of the kernel's are, which is not its own style
trace_style="$module_style
PARENTHESIS_ALIGNMENT	of TP_PROTO() below its event
OPEN_ENDED_LINE		TP_STRUCT__entry(
"
user_style="
PREFER_KERNEL_TYPES	u32 is the kernel's, uint32_t is everybody's
VOLATILE		what a signal handler or another process changes; there is no READ_ONCE
PREFER_DEFINED_ATTRIBUTE_MACRO	__printf and its like are the kernel's
ARRAY_SIZE		the kernel's
BIT_MACRO		the kernel's
CAMELCASE		names of others: PRIu64, uLongf, _Static_assert
SPLIT_STRING		messages to people: nobody looks for them in the source
EMBEDDED_FUNCTION_NAME	words that are a function's name as well
MACRO_ARG_REUSE		arguments that are pasted, or that typeof does not evaluate
COMPLEX_MACRO		takes an asm statement or an initialiser for an expression
NEW_TYPEDEFS		a vector type has no other name
MACRO_WITH_FLOW_CONTROL	LFPOOL_GOTO_IF(): that it may leave is its name
TRAILING_SEMICOLON	an attribute of a label wants one
"
tests_style="$user_style
MACRO_WITH_FLOW_CONTROL	a failed assertion leaves the test, as the harness's do
BRACES			the harness's macros are more than one statement
MULTIPLE_ASSIGNMENTS	a view and its state share what one of them owns
SPACING			takes FIXTURE_DATA(x) *self for a product
AVOID_EXTERNS		what libFuzzer calls is declared nowhere
UNNECESSARY_PARENTHESES	gcc wants them where comparisons are compared
ENOSYS			the answer of a file system in user space
"

# checkpatch IGNORED FILE...
checkpatch()
{
	local scripts ignored

	need perl || return
	ignored=$(reasoned , <<<"$1")
	shift
	scripts=$(bash selftests/kselftest.sh scripts) || return
	# it looks for names in CamelCase there, and leaves a file where it is run
	mkdir -p "$scratch/include"
	(cd "$scratch" && HOME=$scratch silent perl "$scripts/checkpatch.pl" --root="$scratch" --strict \
		--no-tree --terse --show-types --no-summary --quiet --ignore "$ignored" -f "${@/#/$top/}")
}

# Not the shim: it is the kernel's macros, in as many words. Not the benchmark: its
# drivers are in the style of what they measure.
tests_of_style()
{
	find selftests -name '*.[ch]' ! -path 'selftests/shim/*' ! -path 'selftests/bench/*' | sort
}

# all that is a shell's, wherever it is
shell_files()
{
	need shellcheck git || return
	[ $# -gt 20 ] || {
		echo "git knows of $# scripts"
		return 1
	}
	shellcheck --norc -x "$@"
}

#
# The module
#

# In a folder of its own, made anew: gcc is silent about what it need not compile.
warnings_of_module()
{
	rm -rf "build/warnings-$1"
	MODULE_OUT=$top/build/warnings-$1 silent bash selftests/vm/module.sh "$1"
}

sparse()
{
	need sparse || return
	silent bash selftests/vm/module.sh "$1" C=2 CF=-D__CHECK_ENDIAN__
}

# Kconfig chose for gcc; these are what it would have chosen for clang.
clang_choices="
CONFIG_CC_IS_GCC=		it is not
CONFIG_CC_IS_CLANG=y		it is
CONFIG_GCC_VERSION=0		so that no option for a gcc of some age is taken
CONFIG_CC_IMPLICIT_FALLTHROUGH=-Wimplicit-fallthrough	gcc's has a level
CONFIG_CC_HAS_AUTO_VAR_INIT_ZERO_ENABLER=y	clang 14 wants to be asked twice
CONFIG_FTRACE_MCOUNT_USE_CC=	clang cannot write mcount tables
CONFIG_RETHUNK=			nor return thunks, before 15 (6.1)
CONFIG_MITIGATION_RETHUNK=	(6.12)
CONFIG_SLS=			nor guard against straight-line speculation (6.1)
CONFIG_MITIGATION_SLS=		(6.12)
"

# Into a folder of its own: the machines boot what gcc made.
clang_module()
{
	local choices

	need clang ld || return
	# named address spaces: clang takes each of the kernel's for two
	cat >"$scratch/clang.h" <<-END
		#undef CONFIG_CC_IS_GCC
		#define CONFIG_CC_IS_CLANG 1
		#undef CONFIG_USE_X86_SEG_SUPPORT
	END
	mapfile -t choices < <(reasoned '\n' <<<"$clang_choices")
	# each warning is said: no -Werror is wanted
	MODULE_OUT=$top/build/clang-$1 silent bash selftests/vm/module.sh "$1" CC=clang \
		"${choices[@]}" KCFLAGS="-include $scratch/clang.h" || return
	readelf -p .comment "build/clang-$1/lfpool.ko" | tee "$scratch/compilers"
	grep -q clang "$scratch/compilers"
}

# The kernel's semantic patches; some search what is not C, or need more than
# Debian's coccinelle brings.
not_cocci="
api/check_bq27xxx_data.cocci	needs a compiler of OCaml; of one driver
null/badzero.cocci		needs a compiler of OCaml; sparse finds the same
"

# one semantic patch, with the options that its head asks for
cocci_one()
{
	local options

	options=$(sed -n 's,^// *Options: *,,p' "$1")
	# shellcheck disable=SC2086 # words
	spatch --very-quiet --no-show-diff -D report $options --cocci-file "$1" \
		-I uapi -I . module/*.c 2>&1 |
		# of its own sources
		grep -v '^warning: line [0-9]*: should .* be a metavariable?$'
	# not whether grep let anything through
	return "${PIPESTATUS[0]}"
}

# cocci_patches FOLDER...: those in each, by name
cocci_patches()
{
	find "$@" -name '*.cocci' | grep -vF "$(reasoned '\n' <<<"$not_cocci")" | sort
}

coccicheck()
{
	need spatch && [ -d "$cocci" ] || return
	export -f cocci_one
	# shellcheck disable=SC2016 # for the shell inside
	cocci_patches "$cocci" | each bash -c 'cocci_one "$1"' cocci
}

#
# User space
#

user="-std=gnu11 -O2 -pthread -Iuserlib -Iuserlib/include -Iuapi"
# what the Makefiles of library and tool define; the tests do it themselves
defines="-D_GNU_SOURCE -DTOOL_VERSION=__DATE__"
warnings="-Wall -Wextra -Werror"

user_sources()
{
	printf '%s\n' userlib/*.c userlib/tool/*.c userlib/examples/*.c
}

# compile COMPILER: library, tool, examples, and the tests
compile()
{
	local kselftest

	need "$1" || return
	kselftest=$(bash selftests/kselftest.sh) || return
	# shellcheck disable=SC2086 # words
	user_sources | each "$1" $user $warnings $defines -c -o /dev/null || return
	# shellcheck disable=SC2086 # words
	printf '%s\n' selftests/*.c |
		each "$1" $user $warnings -isystem "$kselftest" -c -o /dev/null
}

# gcc 12 knows no more than C, and what one file has
analyzer()
{
	# shellcheck disable=SC2086 # words
	need gcc && user_sources | each gcc $user $warnings $defines -fanalyzer -c -o /dev/null
}

# clang-tidy's groups that look for faults, less
not_tidy="
bugprone-easily-swappable-parameters	an opinion about interfaces
bugprone-narrowing-conversions	sizes and times that are shown to people as double
bugprone-reserved-identifier	_UAPI_LINUX_LFPOOL_H: the kernel's headers are called so
bugprone-suspicious-string-compare	if (strcmp()) is as the kernel has it
bugprone-macro-repeated-side-effects	takes the operand of typeof for evaluated
clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling	memcpy_s() is not in glibc
clang-analyzer-security.insecureAPI.strcpy	of names whose length was looked at
performance-no-int-to-ptr	addresses are computed as integers, several at a time
"

# One file at a time: with several the analyzer thinks that va_start() did nothing.
tidy()
{
	local without

	need clang-tidy || return
	without=$(reasoned ' ' <<<"$not_tidy")
	# shellcheck disable=SC2016 # for the shell inside
	user_sources | each sh -c '
		clang-tidy --quiet --config="{}" --warnings-as-errors="*" --checks="$2" \
			--header-filter="(userlib|uapi)/" "$3" -- $1 2>/dev/null' tidy "$user $defines" \
		"-*,bugprone-*,clang-analyzer-*,performance-*,portability-*,cert-err34-c,-${without// /,-}"
}

not_cppcheck="
variableScope		the kernel's style declares at the top of a function
redundantPointerOp	of a macro that takes an lvalue
duplicateCondition	what is called in between changes what is asked again
missingIncludeSystem	it is not shown any
"

cppchecks()
{
	local suppressed

	need cppcheck || return
	mapfile -t suppressed < <(reasoned '\n' <<<"$not_cppcheck")
	# -DLFPOOL_TSAN: what stands in for asm goto, which it does not understand
	user_sources | silent cppcheck --quiet --enable=warning,style,performance,portability \
		--error-exitcode=1 --std=c11 -j "$(nproc)" -D__linux__ -D__x86_64__ -D__GNUC__=12 -DLFPOOL_TSAN \
		-Iuserlib/include -Iuapi -Iuserlib "${suppressed[@]/#/--suppress=}" --file-list=-
}

# What was clean is not searched again with LFPOOL_KNOWN=yes, if all is as it was: the files
# that are searched and those that they include, the scripts, the kernel's headers, and
# every package of this machine. Elsewhere than on Debian, nothing is known.
packages=$(dpkg-query -W 2>/dev/null)

# kept WHAT WORDS...: where; WHAT there is to search: module, user or all
kept()
{
	local -a from=(selftests/{lint,tap,lib,inside,kselftest}.sh Kbuild module uapi)

	case $1 in
	module)	from+=(selftests/vm/module.sh) ;;
	user)	from+=(userlib) ;;
	all)	from=(Kbuild Makefile module uapi userlib selftests .ci) ;;
	esac
	[ -n "$packages" ] || return
	{
		printf '%s\n' "$@" "$packages" "$headers" && bash selftests/kselftest.sh scripts &&
			find "${from[@]}" -type f -print0 | sort -z | xargs -0 sha256sum
	} | finding
}

# search WHAT WORDS COMMAND...: a test point
search()
{
	local file ended

	file=$(kept "$@") || file=
	if [ -n "$file" ] && is_known "$file"; then
		result 0 "$2, known"
		return
	fi
	"${@:3}" >"$log" 2>&1 </dev/null
	ended=$?
	# nor may it have changed meanwhile
	if [ $ended -eq 0 ] && [ -n "$file" ] && [ "$(kept "$@")" = "$file" ]; then
		make_known "$file" clean
	fi
	result $ended "$2"
}

headers=
echo "TAP version 13"
mapfile -t files < <(find module uapi -name '*.[ch]' ! -name trace.h | sort)
search module "checkpatch --strict: the module and its contract" checkpatch "$module_style" "${files[@]}"
search module "checkpatch --strict: tracepoints" checkpatch "$trace_style" module/trace.h
mapfile -t files < <(find userlib -name '*.[ch]' | sort)
search user "checkpatch --strict: library, tool and examples" checkpatch "$user_style" "${files[@]}"
mapfile -t files < <(tests_of_style)
search all "checkpatch --strict: tests" checkpatch "$tests_style" "${files[@]}"
mapfile -t files < <(git ls-files '*.sh' selftests/vm/init .ci/run)
search all "shellcheck" shell_files "${files[@]}"
for k in $kernels; do
	# what is said of bringing it in is no finding
	headers=$(bash selftests/vm/kernel.sh "$k")
	search module "gcc, W=1: the module for $k" warnings_of_module "$k"
	search module "sparse: the module for $k" sparse "$k"
	search module "clang: the module for $k" clang_module "$k"
done
headers=
cocci=$(bash selftests/kselftest.sh scripts)/coccinelle
search module "coccicheck: the module" coccicheck
search all "gcc: user space" compile gcc
search all "clang: user space" compile clang
search user "gcc -fanalyzer: library, tool and examples" analyzer
search user "clang-tidy: library, tool and examples" tidy
search user "cppcheck: library, tool and examples" cppchecks
tap_end
