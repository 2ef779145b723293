#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# eval: the table, the JSON, both kinds of returns, and what it says when something is missing.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"
make_inputs
expect 0 "$program" train -c tiny.yaml -o run

expect 0 "$program" eval -r run --pool eval.h5
says out "macro-F1"
says out "balanced accuracy"
says out "majority"
says out "label \\ predicted"
says out "The policy "
expect 0 "$program" eval -r run --pool eval.h5 --json
for key in rows loss accuracy macro_f1 balanced_accuracy per_class confusion baselines majority tree enqueue drop mark precision recall f1 \
	support; do
	says out "\"$key\":"
done
says out '"returns": "logged"'
cp out first.json
expect 0 "$program" eval -r run --pool eval.h5 --json
cmp out first.json || die "the same evaluation twice gives two results"
expect 0 "$program" eval -r run --pool eval.h5 --json --threads 1

# Every row is scored, and the held-out figures are those that training wrote of its best epoch.
rows=$("$program" pool info eval.h5 --json | sed -n 's/.*"records": *\([0-9]*\).*/\1/p')
says first.json "\"rows\": $rows,"
f1=$(sed -n 's/^  "macro_f1": \([0-9.e-]*\),$/\1/p' first.json)
grep '"split":"eval"' run/metrics.jsonl | grep -qF "\"macro_f1\":$f1" || die "macro-F1 $f1 is none of the training's"

expect 0 "$program" eval -r run --pool eval.h5 --json --returns target
says out '"returns": "target"'
expect 0 "$program" eval -r run --pool eval.h5 --last
expect 0 "$program" eval -r run/policy.h5 --pool eval.h5

# Moved files: a base elsewhere is named, another base is refused, a missing training pool costs the tree only.
mkdir elsewhere
mv base.gguf elsewhere
expect 3 "$program" eval -r run --pool eval.h5
says err "base.gguf"
expect 0 "$program" eval -r run --pool eval.h5 --base elsewhere/base.gguf
"$program" model synth --preset tiny-llama --seed 2 -o base.gguf
expect 3 "$program" eval -r run --pool eval.h5
says err "another base model"
mv elsewhere/base.gguf .
mv train.h5 elsewhere
expect 0 "$program" eval -r run --pool eval.h5
says out "Note: no decision tree"
expect 0 "$program" eval -r run --pool eval.h5 --json
says out '"tree": null'

says out '"trained_on": null'
mv elsewhere/train.h5 .
expect 0 "$program" eval -r run --pool train.h5
says out "were trained on"
expect 0 "$program" eval -r run --pool train.h5 --json
says out '"trained_on": true'
expect 0 "$program" eval -r run --pool eval.h5 --json
says out '"trained_on": false'

# Row after row, as a queue has them: the same figures; and in 8 bits nearly so.
expect 0 "$program" eval -r run --pool eval.h5 --returns target
sed '1d' out >windows
expect 0 "$program" eval -r run --pool eval.h5 --decisions float32
says out "decided one after the other in float32, aiming at"
sed '1d' out | cmp - windows
expect 0 "$program" eval -r run --pool eval.h5 --decisions int8 --json
says out '"decisions": "int8"'
says out '"returns": "target"'
expect 2 "$program" eval -r run --pool eval.h5 --decisions int4
says err "float32 or int8"
expect 2 "$program" eval -r run --pool eval.h5 --decisions int8 --returns logged
expect 2 "$program" eval -r run --replay --interval 10 --pool eval.h5 --decisions int8

expect 2 "$program" eval -r run
expect 2 "$program" eval --pool eval.h5
expect 2 "$program" eval -r run --pool eval.h5 --returns hoped-for
says err "logged or target"
expect 3 "$program" eval -r nothing --pool eval.h5
expect 3 "$program" eval -r run --pool nothing.h5
head -c 100000 /dev/urandom >noise
expect 3 "$program" eval -r noise --pool eval.h5
expect 3 "$program" eval -r run --pool noise
printf 'drop_prob,action\n1,0\n2,1\n' >few.csv
"$program" pool import few.csv -o few.h5
expect 3 "$program" eval -r run --pool few.h5

# Options of another evaluation are not overlooked, and the pool is not written over.
expect 2 "$program" eval -r run --pool eval.h5 --seeds 5
says err "go with --closed-loop"
expect 2 "$program" eval -r run --pool eval.h5 --interval 10
expect 2 "$program" eval -r run --pool eval.h5 -o eval.h5
mkdir "it's here"
cp eval.h5 "it's here/"
expect 0 "$program" eval -r run --pool "it's here/eval.h5" --json
says out "'it'\\\\''s here/eval.h5'"
