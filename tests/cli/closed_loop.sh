#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# eval --closed-loop with policies of packets and of update intervals: modes, delays, targets, contexts, grids, and going on
# after an interruption.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"
make_inputs
expect 0 "$program" train -c tiny.yaml -o packets
cat >short.yaml <<'YAML'
name: short
seconds: 2
warmup: 0.5
link: {rate: 4}
flows: [{cc: prague, rtt: 10}, {cc: cubic, rtt: 10}]
YAML
cat >grid.yaml <<'YAML'
name: rates
base: {seconds: 3, warmup: 1, aqm: {kind: dualpi2}, flows: [{cc: prague, rtt: 10}, {cc: cubic, rtt: 10}]}
axes: {link.rate: [5, 10]}
seeds: 1
YAML
closed() {
	run=$1
	shift
	expect 0 "$program" eval -r "$run" --closed-loop "$@"
}
# Packets: every mode, with the delay that was measured and without, all on the same seeds.
closed packets --scenario short.yaml --seeds 2
for word in fifo pie codel dualpi2 dualpi2-linux freebsd-l4s "policy, every packet" "policy, every 10" "policy, every 100" \
	"policy, every 100, its own delay" "95 % interval" "utility balanced" "a decision takes"; do
	says out "$word"
done
[ -f packets/closed-loop/short.json ] || die "no summary"
[ "$(grep -c '"kind":"simulation"' packets/closed-loop/results.jsonl)" -eq 24 ] || die "not 12 arms times 2 seeds"
[ "$(grep -c '"kind":"delay"' packets/closed-loop/results.jsonl)" -eq 1 ] || die "the delay was not measured once"
cp packets/closed-loop/results.jsonl before.jsonl
closed packets --scenario short.yaml --seeds 2 --json
cmp before.jsonl packets/closed-loop/results.jsonl || die "what is there was simulated again"
cmp out packets/closed-loop/short.json || die "what is printed is not what is written"
says out '"kind": "closed-loop"'
says out '"definition":'
says out '"decision_delay_measured": true'
! grep -q "another build" err || die "it takes itself for another build"
sed -i 's/"program":"[0-9a-f]*"/"program":"0123"/; s/"key":"......../"key":"00000000/' packets/closed-loop/results.jsonl
closed packets --scenario short.yaml --seeds 1 --aqm fifo
says err "holds 0 of 1 simulations; 24 others there are of another build"
mv before.jsonl packets/closed-loop/results.jsonl
closed packets --scenario short.yaml --aqm fifo,policy --every 100 --delay none
says out "10 seeds"
expect 2 "$program" eval -r packets --closed-loop --scenario short.yaml --every update
says err "decides on packets"

# Threads do not matter, nor does a signal in between.
closed packets --scenario short.yaml --set seconds=4 --seeds 101-104 --aqm fifo,policy --every 10 --delay 2 -o one --threads 1 --json
grep -v '"command"' out >one.json
"$program" eval -r packets --closed-loop --scenario short.yaml --set seconds=4 --seeds 101-104 --aqm fifo,policy --every 10 --delay 2 \
	-o two --threads 2 --json >out 2>err &
pid=$!
while [ ! -s two/results.jsonl ]; do
	kill -0 $pid 2>/dev/null || break
done
kill -INT $pid 2>/dev/null || true
status=0
wait $pid || status=$?
[ $status -eq 130 ] || [ $status -eq 0 ] || die "interrupted with status $status"
[ $status -eq 0 ] || says err "goes on from there"
[ $status -eq 0 ] || [ ! -f two/short.json ] || die "a summary of half the simulations"
closed packets --scenario short.yaml --set seconds=4 --seeds 101-104 --aqm fifo,policy --every 10 --delay 2 -o two --threads 2 --json
grep -v '"command"' out >two.json
cmp one.json two.json || die "threads or the interruption have changed the result"

# A policy that was trained on a cell of the grid, and what it is worth in the other.
expect 0 "$program" sim --collect cell.h5 --grid grid.yaml --set link.rate=5,5.5 --set aqm.kind=dualpi2
sed -e 's/train.h5/cell.h5/' -e 's/eval.h5/cell.h5/' -e 's/epochs: 3/epochs: 1/' tiny.yaml >cell.yaml
expect 0 "$program" train -c cell.yaml --set control=update --set train.windows_per_epoch=40 --set policy.bins=4 -o updates
closed updates --grid grid.yaml --seeds 3 --aqm dualpi2,policy --delay none,5 --json
says out '"every": "update"'
says out '"generalisation":'
says out '"seeds_trained_on": 1'
says out '"link.rate=5"'
[ "$(grep -c '"trained": true' out)" -eq 3 ] || die "not the cell, and the cell of each policy, that it was trained in"
closed updates --grid grid.yaml --seeds 3 --aqm dualpi2,policy --delay none --train-cell link.rate=10
says out "mean over the others"
says out "* link.rate=10"
says out "Fewer than 10 seeds"
expect 2 "$program" eval -r updates --closed-loop --grid grid.yaml --every 10
says err "update interval"

closed updates --grid grid.yaml --seeds 1-2 --aqm dualpi2,policy --delay none
says out "1 of these seeds were trained on"
closed updates --grid grid.yaml --seeds 2-3 --aqm dualpi2,policy --delay none
! grep -q "were trained on" out || die "seeds that training never saw are taken for others"

# What it writes is what a report reads.
expect 0 "$program" report -r updates -o cells.html --cell link.rate=10
says cells.html "Beyond what it was trained on"
says cells.html "one cell of 2, number 2: <code>link.rate=10</code>"
expect 2 "$program" report -r updates -o cells.html --cell link.rate=11

# Returns asked for, and the context: both are in the labels, and a context changes what is decided.
closed updates --grid grid.yaml --seeds 3 --aqm dualpi2,policy --delay none --target-return q0.1,0.9 --json
says out '"rank_correlation":'
says out '"sweep":'
closed updates --grid grid.yaml --seeds 3 --aqm dualpi2,policy --delay none --target-return q0.1,0.9
says out "rank correlation of asked and obtained"
closed packets --scenario short.yaml --seeds 1 --aqm fifo,policy --every 100 --delay none --target-return q0.1,0.9
says out "on one seed, which says nothing of others"
says out "One seed does not tell"
! grep -q nan out || die "an interval out of one seed"
closed packets --scenario short.yaml --seeds 2 --aqm fifo,policy --every 1 --delay none --context-windows 0,2 --json
says out '"context_windows": 2'
figures_of() {
	grep -F "\"seed\":1,\"aqm\":\"$1\"" packets/closed-loop/results.jsonl | sed 's/.*"figures"//; s/}.*//'
}
[ -n "$(figures_of "policy, every packet, context 2")" ] || die "no line of the context"
[ "$(figures_of "policy, every packet")" != "$(figures_of "policy, every packet, context 2")" ] || die "a context changes nothing"
expect 2 "$program" eval -r packets --closed-loop --scenario short.yaml --seeds 2 --every 100 --delay none --context-windows 1000
says err "too few"

# Disciplines alone: what sim says of the same seed. Words that are not known.
expect 0 "$program" eval --closed-loop --scenario short.yaml --seeds 2 --aqm fifo,dualpi2,enqueue,random:0.5 -o rules
says out "random:0.5"
utilisation() {
	grep -o '"utilisation": *[0-9.]*' "$1" | head -n 1 | sed 's/.*: *//' | awk '{ printf "%.5f", $1 }'
}
grep -F '"seed":2,"aqm":"dualpi2"' rules/results.jsonl | sed 's/":/": /g' >line
expect 0 "$program" sim -c short.yaml --aqm dualpi2 --seed 2 --json
[ "$(utilisation line)" = "$(utilisation out)" ] || die "$(utilisation line) here, $(utilisation out) by sim"
# Names that are no UTF-8, which JSON cannot say: they are shown as far as they can be.
strange=$(printf 'caf\351')
cp short.yaml "$strange.yaml"
sed -i '/^name/d' "$strange.yaml"
expect 0 "$program" eval --closed-loop --scenario "$strange.yaml" --seeds 2 --aqm fifo -o "$strange" --json
says out "caf$(printf '\357\277\275').yaml"
expect 0 "$program" eval --closed-loop --scenario "$strange.yaml" --seeds 2 --aqm fifo -o "$strange"
expect 2 "$program" eval --closed-loop --scenario short.yaml
expect 2 "$program" eval -r packets --closed-loop
expect 2 "$program" eval -r packets --closed-loop --scenario short.yaml --grid grid.yaml
expect 2 "$program" eval -r packets --closed-loop --scenario short.yaml --seeds 0
expect 2 "$program" eval -r packets --closed-loop --scenario short.yaml --seeds 3,3
expect 2 "$program" eval -r packets --closed-loop --scenario short.yaml --delay soon
expect 2 "$program" eval -r packets --closed-loop --scenario short.yaml --aqm dualpi3
expect 2 "$program" eval -r packets --closed-loop --scenario short.yaml --utility joy
expect 2 "$program" eval -r packets --closed-loop --scenario short.yaml --pool eval.h5
expect 3 "$program" eval -r nothing --closed-loop --scenario short.yaml
