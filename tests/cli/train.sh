#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# train: a run directory and what is in it, refusals, Ctrl-C, and the memory that it said it would take.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"
make_inputs

expect 0 "$program" train -c tiny.yaml -o run
says err "trainable parameters"
says err "memory: base model"
says err "epoch 3/3: train loss"
says err "majority class"
for file in config.yaml metrics.jsonl policy.h5 best/policy.h5 checkpoints/latest; do
	[ -s "run/$file" ] || die "no run/$file"
done
grep -q '^{"step":1,"epoch":1,"loss":' run/metrics.jsonl || die "no line of the first step"
grep -q '"split":"eval"' run/metrics.jsonl || die "no line of an evaluation"

# Planned and real peak: within 5 %, and the allocator's grain, which matters where everything is tiny. Sanitizers take
# memory of their own.
peak=$(sed -n 's/.*peak memory \([0-9.]*\) MB, planned \([0-9.]*\) MB.*/\1 \2/p' err)
echo "$peak" | awk '{ d = $1 - $2; if (d < 0) d = -d; exit !(NF == 2 && (d < 0.05 * $1 || d < 4)) }' ||
	[ -n "${AQM_SANITIZED:-}" ] || die "peak and planned memory: $peak"

expect 2 "$program" train -c tiny.yaml -o run
says err "already holds a run"
expect 2 "$program" train -c tiny.yaml -o run --resume --set train.lr=0.1
says err "train.lr"
expect 0 "$program" train -o run --resume
expect 2 "$program" train
expect 2 "$program" train -c tiny.yaml -o x --set train.no_such=1
expect 3 "$program" train -c tiny.yaml -o x --set pool.train=nothing.h5
expect 3 "$program" train -c tiny.yaml -o x --set model.path=pool.h5
[ ! -e x/config.yaml ] || die "a failed start left a run"

# labels=logged is pool.labels=logged.
expect 0 "$program" train -c tiny.yaml -o logged --set labels=logged --set epochs=1
grep -q 'labels: logged' logged/config.yaml || die "labels were not set"

# Ctrl-C: a checkpoint, 130, and on with it to the same weights.
expect 0 "$program" train -c tiny.yaml -o whole --set train.epochs=15
"$program" train -c tiny.yaml -o cut --set train.epochs=15 2>err &
process=$!
tries=0
until [ -s cut/metrics.jsonl ]; do
	tries=$((tries + 1))
	[ "$tries" -lt 1000 ] || die "no metrics appear"
	sleep 0.01
done
kill -INT "$process"
status=0
wait "$process" || status=$?
[ "$status" -eq 130 ] || { cat err >&2; die "SIGINT gave status $status"; }
says err "interrupted after step"
[ ! -e cut/policy.h5 ] || die "the interrupted run says that it is finished"
expect 0 "$program" train -o cut --resume
says err "resuming at step"
cmp whole/policy.h5 cut/policy.h5
