#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The documentation: manual pages are well formed, every name that can be called
# has one, and what can be listed by a program is all described. Native; needs
# the library, the tool and the pages in build/userlib.
set -u -o pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$top" || exit

pages=build/userlib/man
tool=build/userlib/lfpool
number=0 status=0

# check WORDS: a test point, of the last command line; what it found is in $found
check()
{
	local ok=$?

	number=$((number + 1))
	if [ $ok = 0 ]; then
		echo "ok $number $1"
	else
		[ -z "$found" ] || printf '#   %s\n' "${found//$'\n'/$'\n#   '}"
		echo "not ok $number $1"
		status=1
	fi
	found=
}

# A page as text: no bold, no line breaks within a paragraph's words.
text()
{
	mandoc -T utf8 -O width=900 "$pages/$1" | sed 's/.\x08//g'
}

# missing_in PAGE: of the words on standard input, those that it does not have. That
# there are none means that whoever looked for them no longer finds them.
missing_in()
{
	local page word n=0

	page=$(text "$1")
	while read -r word; do
		n=$((n + 1))
		grep -qwF -e "$word" <<<"$page" || echo "$word: not in $1"
	done
	[ $n -gt 0 ] || echo "no words for $1"
}

found=
echo "TAP version 13"

# scdoc writes a paragraph after each heading, and empty ones
found=$(mandoc -T lint -W warning "$pages"/*.[1-9] | grep -v 'skipping paragraph macro: PP \(after\|empty\)')
[ -z "$found" ]
check "mandoc finds nothing wrong in the pages but scdoc's own paragraphs"

found=$(for page in "$pages"/*.[1-9]; do
	mandoc -T utf8 "$page" >/dev/null 2>&1 || echo "$page"
	[ -e "$page" ] || echo "$page: a link to nothing"
done)
[ -z "$found" ]
check "every page can be read"

# what the library exports, but what inline functions call
exported=$(sed -n 's/^\t\(lfpool_[a-z_]*\);$/\1/p' userlib/lfpool.map | grep -v '_slow$\|_sized$')
# and what the header defines
inline=$(sed -n 's/^static inline .*[ *]\(lfpool_[a-z_]*\)(.*/\1/p' userlib/include/lfpool.h)
found=$(for name in $exported $inline LFPOOL_GUARD; do
	[ -e "$pages/$name.3" ] && grep -qw "$name" <<<"$(text "$name.3")" || echo "$name"
done)
[ -n "$exported" ] && [ -n "$inline" ] && [ -z "$found" ]
check "every function has a page that names it"

found=$(for page in "$pages"/*.[1-9]; do
	[ -L "$page" ] || text "${page##*/}" | grep -oE '\b(lfpool[a-z_.]*|LFPOOL_GUARD)\([0-9]\)' |
		sort -u | sed 's/\(.*\)(\(.\))/\1.\2/' | while read -r name; do
			[ -e "$pages/$name" ] || echo "${page##*/} refers to $name"
		done
done)
[ -z "$found" ]
check "every page that another one refers to is there"

found=$(sed -n 's/^# define \(LFPOOL_OPEN_[A-Z]*\).*/\1/p; s/^#define \(LFPOOL_OPEN_[A-Z]*\).*/\1/p' \
	userlib/include/lfpool.h | missing_in lfpool_open.3)
[ -z "$found" ]
check "every flag of lfpool_open is described"

found=$(sed -n 's/^LFPOOL_PARAM(\([a-z_]*\),.*/\1/p' module/main.c | missing_in lfpool.4)
[ -z "$found" ]
check "every parameter of the module is described"

found=$(sed -n 's/^#define \(LFPOOL_IOC_[A-Z_]*\)[[:space:]]*_IO.*/\1/p' uapi/linux/lfpool.h |
	missing_in lfpool.4)
[ -z "$found" ]
check "every ioctl is described"

found=$(sed -n 's/^DEFINE_EVENT([a-z_]*, \([a-z_]*\),.*/\1/p' module/trace.h | missing_in lfpool.4)
[ -z "$found" ]
check "every tracepoint is described"

found=$(sed -n 's/.*"\(lfpool-[a-z-]*\):\\t.*/\1/p' module/client.c | missing_in lfpool.4)
[ -z "$found" ]
check "every line of fdinfo is described"

attributes=$(sed -n 's/^FIELD(\([a-z_]*\), [a-z]*);/\1/p; s/^static DEVICE_ATTR_[A-Z]*(\([a-z_]*\));/\1/p' module/sysfs.c)
found=$(missing_in lfpool.4 <<<"$attributes")
[ -n "$attributes" ] && [ -z "$found" ]
check "every file of sysfs is described"

found=$(diff <(sort <<<"$attributes") \
	<(sed -n 's,^What:[[:space:]]*/sys/class/lfpool/<pool>/,,p' module/abi-lfpool | sort))
[ -z "$found" ]
check "every file of sysfs has an ABI entry, and no other"

found=$(awk 'BEGIN { RS = "" } !/^What:\t\t[^\n]*\nDate:\t\t[^\n]*\nKernelVersion:\t[^\n]*\n(Contact:\t[^\n]*\n)?Description:\t\((RO|WO|RW)\) / &&
	/^What:/ { print "ill-formed: " $2 }' module/abi-lfpool)
[ -z "$found" ]
check "the ABI entries are well formed"

commands=$($tool --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
found=$(missing_in lfpool.1 <<<"$commands")
[ -n "$commands" ] && [ -z "$found" ]
check "every command of the tool is described"

found=$(for command in $commands; do $tool "$command" --help; done |
	grep -oE -- '--[a-z]+' | sort -u | missing_in lfpool.1)
[ -z "$found" ]
check "every option of the tool is described"

version=$(sed -n 's/^version := //p' userlib/Makefile)
[ -n "$version" ] && [ "$($tool --version)" = "lfpool $version" ] &&
	grep -qF "MODULE_VERSION(\"$version\")" module/main.c && grep -q "lfpool $version" <<<"$(text lfpool.7)" &&
	grep -q "^Version: $version$" build/userlib/lfpool.pc
check "tool, module, pages and pkg-config tell the version of userlib/Makefile"

# blocks of code in the pages: PAGE.scd.NUMBER.c
scratch=$(mktemp -d) || exit
trap 'rm -rf "$scratch"' EXIT
found=$(for page in userlib/man/*.3.scd; do
	awk -v out="$scratch/${page##*/}" '/^```/ { inside = !inside; n += inside; next }
		inside { print > (out "." n ".c") }' "$page"
done
for source in "$scratch"/*.c; do
	grep -q 'int main(' "$source" || continue
	echo "$source" >>"$scratch/programs"
	gcc -std=gnu11 -Wall -Wextra -Werror -Iuserlib/include -Iuapi "$source" \
		build/userlib/liblfpool.a -pthread -o "$scratch/program" 2>&1 &&
		"$scratch/program" >/dev/null || echo "${source##*/}"
done)
[ -s "$scratch/programs" ] && [ -z "$found" ]
check "the programs in the pages compile and run"

# block PAGE NUMBER: as somebody would type it in
block()
{
	sed 's/\\\\/\\/g' "$scratch/$1.scd.$2.c"
}

# compiles NAME COMPILER...: without a warning, the program on standard input
compiles()
{
	cat >"$scratch/wrapped"
	"${@:2}" -fsyntax-only -Wall -Wextra -Werror -Iuserlib/include -Iuapi "$scratch/wrapped" 2>&1 ||
		echo "$1"
}

found=$({
	printf '#include <%s.h>\n' errno stdio unistd lfpool
	block LFPOOL_GUARD.3 2
} | compiles "LFPOOL_GUARD(3): the example" gcc -x c -std=gnu11
{
	printf '#include <%s>\n' cmath lfpool.hpp
	echo 'void synopsis(); void synopsis() {'
	block lfpool.hpp.3 1
	echo '}'
	block lfpool.hpp.3 2
	echo 'void send_away(lfpool::buffer buffer, void (*send)(std::uint64_t)) {'
	block lfpool.hpp.3 3
	echo '}'
} | compiles "lfpool.hpp(3)" g++ -x c++ -std=c++17)
[ -z "$found" ]
check "LFPOOL_GUARD(3) and lfpool.hpp(3): what they show compiles"

echo "1..$number"
exit $status
