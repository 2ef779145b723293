#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Manual pages: every command, option key and function is there, and the pages are well-formed.
. "$(dirname "$0")/../cli/helper.sh"
build=$(realpath "$4")
manual=$build/man/aqmtrain.1 options=$build/man/aqmtrain.yaml.5 library=$source/man/libaqmtrain.3

names() {
	"$program" "$@" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p'
}
commands=0
for command in $(names); do
	subcommands=$("$program" "$command" --help | grep -q '^Commands:' && names "$command" || true)
	for subcommand in ${subcommands:-''}; do
		grep -qx "\.Ss aqmtrain $command${subcommand:+ $subcommand}" "$manual" || die "no '$command $subcommand' in aqmtrain.1"
		for option in $("$program" "$command" $subcommand --help | grep -oE '^ +(-[a-zA-Z], )?--[a-z-]+' | grep -oE -- '--[a-z-]+'); do
			case $option in --help | --usage | --version) continue ;; esac
			sed 's/\\-/-/g' "$manual" | grep -qF -e "$option" || die "no '$option' of '$command $subcommand' in aqmtrain.1"
		done
		commands=$((commands + 1))
	done
done
[ $commands -ge 15 ] || die "only $commands commands found"

keys=0
"$program" config --defaults | awk '
	/^[a-z_]+:$/ { section = substr($1, 1, length($1) - 1) "."; next }
	/^[a-z_]+:/ { section = "" }
	/^ *[a-z_]+:/ { key = $1; sub(/:.*/, "", key); print section key }' >keys
for key in $(cat keys); do
	expect 0 "$program" config --explain "$key"
	grep -qx "\.It Cm $key" "$options" || die "no '$key' in aqmtrain.yaml.5"
	keys=$((keys + 1))
done
[ $keys -ge 40 ] || die "only $keys keys found"

for function in $(grep -o 'AQM_API [a-z_ ]*[ *]aqm_[a-z_]*(' "$source/include/aqmtrain/aqmtrain.h" | sed 's/.*[ *]//; s/($//'); do
	grep -q "^\.F[no] .*$function" "$library" && grep -q "^\.Nm $function" "$library" || die "no '$function' in libaqmtrain.3"
done

# Lines of a page may be long, and pages refer to pages that are not installed yet.
if command -v mandoc >/dev/null; then
	mandoc -Tlint "$manual" "$options" "$library" | grep -v 'longer than 80\|referenced manual not found' >lint || true
	[ ! -s lint ] || die "$(cat lint)"
elif command -v groff >/dev/null; then
	groff -ww -mdoc -Tascii "$manual" "$options" "$library" 2>lint >pages
	[ ! -s lint ] || die "$(cat lint)"
else
	echo "neither mandoc nor groff: not rendered"
fi

if command -v bash >/dev/null; then
	cat >complete.bash <<-'BASH'
		. "$2/man/aqmtrain.bash"
		try() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=(); _aqmtrain; echo "${COMPREPLY[*]}"; }
		try "$1" ex
		try "$1" pool pa
		try "$1" eval --po
	BASH
	bash complete.bash "$program" "$source" >completed
	printf 'export\nparse\n--pool\n' | diff - completed || die "completion"
fi
