#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# control: update, from packets to an evaluated and exported policy.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"
make_inputs
update="--set control=update"

expect 0 "$program" pool updates eval.h5 -o updates.h5
expect 0 "$program" pool info updates.h5
says out "next_drop_prob"
expect 3 "$program" pool updates updates.h5 -o again.h5
says err "already"
expect 3 "$program" pool split updates.h5 --train a.h5 --eval b.h5
says err "split the pool of packets"

# One output with squared error, and bins; a pool of packets is turned into intervals on the way.
expect 0 "$program" train -c tiny.yaml $update --set labels=logged -o run
says err "with 'control: update' it says nothing"
rm -r run
expect 0 "$program" train -c tiny.yaml $update -o run
expect 0 "$program" train -c tiny.yaml $update --set bins=8 --set best=within -o binned
for run in run binned; do
	expect 0 "$program" eval -r $run --pool eval.h5
	says out "persistence"
	says out "share within 10 %"
	cp out packets.out
	expect 0 "$program" eval -r $run --pool updates.h5
	cmp out packets.out || die "intervals made beforehand give another result"
	expect 0 "$program" eval -r $run --pool eval.h5 --json
	for key in rows loss log_rmse log_mae within_10_percent baselines persistence beats; do
		says out "\"$key\":"
	done
done
grep '"split":"eval"' run/metrics.jsonl | grep -q '"persistence"' || die "no baseline beside the held-out figures"
expect 0 "$program" export -r run --bundle bundle.h5 --peft adapter
expect 0 "$program" eval -r run --pool eval.h5 --returns target

# What belongs to one mode only is refused in the other.
expect 2 "$program" train -c tiny.yaml $update --set best=macro_f1 -o refused
says err "control: update"
expect 2 "$program" train -c tiny.yaml --set bins=4 -o refused
expect 2 "$program" train -c tiny.yaml --set best=within -o refused
expect 2 "$program" train -c tiny.yaml $update --set bins=1 -o refused
expect 2 "$program" train -c tiny.yaml $update --set class_weights=balanced -o refused
expect 2 "$program" train -c tiny.yaml $update --set sample=true -o refused
expect 3 "$program" train -c tiny.yaml --set pool.train=updates.h5 -o refused
says err "control: packet needs one of packets"
