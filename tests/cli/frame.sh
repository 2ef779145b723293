#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The frame around all commands: help everywhere, exit statuses, what is printed where, output that does not arrive.
. "$(dirname "$0")/helper.sh"

expect 0 "$program" --help
says out "Usage: aqmtrain COMMAND"
[ ! -s err ] || die "--help writes to stderr"
expect 0 "$program" --version
says out "aqmtrain 0."
expect 2 "$program"
says err "Usage: aqmtrain COMMAND"
[ ! -s out ] || die "wrong usage writes to stdout"
expect 2 "$program" no-such-command
says err "aqmtrain: no command 'no-such-command'"

# explain COMMAND...: --help of a command, and of every command below it, prints its usage; an unknown option is wrong usage.
commands() {
	sed -n 's/^  \([a-z][a-z_-]*\)  *.*/\1/p' "$1"
}
explain() {
	expect 0 "$program" "$@" --help
	says out "Usage: aqmtrain $*"
	if grep -q '^Commands:' out; then
		for below in $(commands out); do
			(explain "$@" "$below")
		done
		expect 2 "$program" "$@" no-such-command
		expect 2 "$program" "$@"
	else
		expect 0 "$program" "$@" --version
		says out "aqmtrain 0."
		expect 2 "$program" "$@" --no-such-option
		says err "no-such-option"
	fi
}
expect 0 "$program" --help
list=$(commands out)
echo "$list" | grep -qx config || die "the command 'config' is not listed"
for command in $list; do
	(explain "$command")
done

# a full disk behind standard output
if [ -w /dev/full ]; then
	for arguments in "--help" "config" "config --help" "config --defaults"; do
		status=0
		"$program" $arguments >/dev/full 2>err || status=$?
		[ "$status" -eq 1 ] || die "'$arguments' onto a full disk exited with $status"
		says err "aqmtrain: cannot write standard output"
	done
fi
status=0
"$program" config >&- 2>err || status=$?
[ "$status" -eq 1 ] || die "'config' with stdout closed exited with $status"
