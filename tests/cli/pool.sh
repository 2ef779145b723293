#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# pool: no command writes over what it reads, by whatever name.
. "$(dirname "$0")/helper.sh"

cp "$source/data/sample-log/messages" log
cp log first.log
ln -s log link
mkdir folder
cp log folder/messages
expect 2 "$program" pool parse log -o ./log
says err "it is what is read"
expect 2 "$program" pool parse log -o link
expect 2 "$program" pool parse folder -o folder/messages
cmp log first.log
cmp folder/messages log
expect 0 "$program" pool parse log -o pool.h5
expect 2 "$program" pool parse log -o ''
expect 2 "$program" pool export pool.h5 -o -
[ ! -e ./- ] || die "a file called '-'"

# Standard input is read once, however often it is named.
"$program" pool parse - - -o twice.h5 <log 2>err || die "standard input"
says err "'-' is '-' once more; read once"
"$program" pool info twice.h5 --json >out
[ "$(grep -c 'standard input' out)" -eq 1 ] || die "standard input is there twice"

cp pool.h5 first.h5
for output in pool.h5 ./pool.h5; do
	expect 2 "$program" pool split pool.h5 --train "$output" --eval other.h5
	expect 2 "$program" pool split pool.h5 --train other.h5 --eval "$output"
	expect 2 "$program" pool export pool.h5 -o "$output"
	expect 2 "$program" pool updates pool.h5 -o "$output"
done
cmp pool.h5 first.h5
[ ! -e other.h5 ] || die "half a split"
expect 2 "$program" pool split pool.h5 --train a.h5 --eval folder/../a.h5
says err "both the training and the held-out pool"

expect 0 "$program" pool export pool.h5 -o pool.csv
cp pool.csv first.csv
expect 2 "$program" pool import pool.csv -o pool.csv
cmp pool.csv first.csv
expect 0 "$program" pool import pool.csv -o again.h5
expect 0 "$program" pool export again.h5 -o again.csv
cmp again.csv first.csv

# A full disk (here: a limit on the size of files) is status 1, with one line and nothing left behind.
blocks=$(($(stat -c %s pool.h5) / 512))
for limit in 1 4 $((blocks / 2)) $((blocks - 8)) $((blocks - 1)); do
	for command in 'parse log' 'updates pool.h5' 'export pool.h5' 'import pool.csv'; do
		case $limit/$command in
		4/* | 1/* | */parse*) ;;
		*) continue ;; # their outputs have other sizes
		esac
		(
			trap '' XFSZ
			ulimit -f "$limit"
			# shellcheck disable=SC2086
			expect 1 "$program" pool $command -o full.h5
		)
		says err "full.h5"
	done
done
for left in full*; do
	[ ! -e "$left" ] || die "$left is left behind"
done
