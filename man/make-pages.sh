#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# make-pages.sh PROGRAM TEMPLATES DATADIR OUTPUT: the manual pages whose contents the program knows itself: commands
# from --help, options from its table.
set -eu
program=$1 templates=$2 datadir=$3 output=$4

# Lines of text as a literal block of mdoc.
literal() {
	echo ".Bd -literal"
	sed '/^  -?, --help /d; /^      --usage  /d; /^  -V, --version  /d; /^Mandatory or optional/,/^for any/d
		s/[[:space:]]*$//; s/\\/\\e/g; s/^[.'\'']/\\\&&/; s/-/\\-/g' |
		awk 'NF { for (; blank > 0; blank = 0) print ""; print; next } { blank = 1 }' # one empty line where there were more
	echo ".Ed"
}

# names COMMAND...: of the commands below this one.
names() {
	"$program" "$@" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p'
}

describe() {
	echo ".Ss aqmtrain $*"
	"$program" "$@" --help | literal
}

commands() {
	for command in $(names); do
		below=$("$program" "$command" --help | grep -c '^Commands:' || true)
		if [ "$below" = 0 ]; then
			describe "$command"
		else
			for subcommand in $(names "$command"); do
				describe "$command" "$subcommand"
			done
		fi
	done
}

# From: "# help (what it takes)", "key: default", sections indented.
options() {
	"$program" config --defaults | sed 's/\\/\\e/g' | awk '
		/^ *# / { sub(/^ *# /, ""); help = $0; next }
		/^[a-z_]+:$/ { section = substr($0, 1, length($0) - 1) "."; next }
		/^[a-z_]+: / { section = "" }
		{
			match($0, /: /)
			key = substr($0, 1, RSTART - 1)
			sub(/^ */, "", key)
			value = substr($0, RSTART + 2)
			printf ".It Cm %s%s\n\\&%s.\n.br\n\\&Default: %s\n", section, key, help, value
		}'
}

mkdir -p "$output"
commands >"$output/commands"
options >"$output/options"
[ -s "$output/commands" ] && [ -s "$output/options" ]
sed -e "/^@COMMANDS@/r $output/commands" -e '/^@COMMANDS@/d' -e "s|@DATADIR@|$datadir|" "$templates/aqmtrain.1.in" >"$output/aqmtrain.1"
sed -e "/^@OPTIONS@/r $output/options" -e '/^@OPTIONS@/d' "$templates/aqmtrain.yaml.5.in" >"$output/aqmtrain.yaml.5"
rm "$output/commands" "$output/options"
