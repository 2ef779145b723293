#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# students.sh: make docs/students.md: students of the teacher that tools/results.sh trained on freebsd-dualpi2-a.csv.gz: what they can do, what they
# cost, and how they and their teacher fare in the closed loop.
#
#     tools/students.sh [WORK_FOLDER]
#
# WORK_FOLDER (default build/results) holds the teacher's run and pools. Needs a release build. The teacher's answers and simulations
# that are done are found again when the script is run a second time.
set -eu
cd "$(dirname "$0")/.."
work=${1:-build/results}
aqmtrain=${AQMTRAIN:-build/release/aqmtrain}
teacher=$work/freebsd-dualpi2-a
out=$work/students
seeds=${SEEDS:-2}
[ -f "$teacher/policy.h5" ] || {
	echo "students.sh: no teacher in '$teacher': run tools/results.sh first" >&2
	exit 1
}
mkdir -p "$out" docs

distil() { # NAME [--set KEY=VALUE]...
	name=$1
	shift
	"$aqmtrain" distill -r "$teacher" -o "$out/$name" --set "distill.cache=$out/logits" "$@" >"$out/$name.txt"
}

distil network
distil tree --set distill.student=tree --set distill.depth=6
distil network-rounds --set distill.rounds=2 --set 'distill.scenarios=[configs/scenarios/paper.yaml]' --set distill.seconds=5
distil sweep --sweep
for name in network tree; do
	"$aqmtrain" bench decide --student "$out/$name/student.json" --threads 1 >"$out/$name-bench.txt"
done

closed() { # NAME OPTION...
	name=$1
	shift
	"$aqmtrain" eval -r "$teacher" --closed-loop "$@" --seeds "$seeds" --every 1 --delay none -o "$out/closed-loop" \
		--aqm "dualpi2,freebsd-l4s,student:$out/network,student:$out/network-rounds,student:$out/tree,policy" >"$out/closed-$name.txt"
}

closed paper --scenario configs/scenarios/paper.yaml --set seconds=10 --set warmup=2
closed grid --grid configs/grids/steady.yaml --set mix=prague-cubic --set link.rate=4,12,40 --set flows.rtt=20 --set seconds=5 --set warmup=1

room=$(echo "$out/" | tr -c '\n' ' ')

# block TITLE FILE
block() {
	printf '%s\n\n```\n' "$1"
	sed "s|student:$out/\([a-z-]*\)  |student:\1$room  |; s|student:$out/|student:|" "$2" # columns stay where they are
	printf '```\n\n'
}

{
	cat <<-'TEXT'
		# Students

		Made by `tools/students.sh`. The teacher is the run of [results.md](results.md) on freebsd-dualpi2-a.csv.gz (SmolLM2-135M, four layers, LoRA),
		told its own target return, as when it decides. The first 70 % of the rows are learned from; what is measured is measured on the last 30 %.
		Fidelity is the share of rows on which a student answers as the teacher; macro-F1 is by the logged actions. "Tree on labels" was grown on the
		log's own actions with the same limits, without the teacher: what distillation adds is what a student does better.

		On this log it adds little: the rule that was logged is a few comparisons, one of them with a field that tells the answer (the log is written
		after the decision has reset accu_prob), and a tree that sees the labels finds them. What a student brings is the teacher's own answers,
		also where there are no labels, as in the simulator.

	TEXT
	printf '## What students can do\n\n'
	block 'The default, a network:' "$out/network.txt"
	block 'A tree:' "$out/tree.txt"
	block 'The network after two rounds in the simulator (the paper'"'"'s testbed), where it acts and the teacher labels what it met:' "$out/network-rounds.txt"
	block 'Kinds and sizes (`distill --sweep`):' "$out/sweep.txt"
	printf '## What a decision costs\n\n'
	printf '`bench decide --student`: the C header compiled with general registers only, ten million decisions on one core. "Taken again": a decision\n'
	printf 'that took over a microsecond is taken three more times from the same state; what stays slow is its own doing, the rest is the machine'"'"'s\n'
	printf '(the last lines say what it does to a loop that only reads the clock).\n\n'
	block 'The network:' "$out/network-bench.txt"
	block 'The tree:' "$out/tree-bench.txt"
	printf '## In the closed loop\n\n'
	printf 'Every packet decided without delay, in freebsd-l4s; dualpi2 and freebsd-l4s by their own rules. The teacher learned to say what a log\n'
	printf 'says, not to keep a queue short, and on states of its own making it does not. Its students follow it there: the tree as it is, the network once it\n'
	printf 'has met such states (drops and marks of network-rounds are nearer to the teacher'"'"'s than those of network).\n\n'
	block 'The testbed of the paper, 10 s:' "$out/closed-paper.txt"
	block 'Three cells of the steady grid, 5 s each:' "$out/closed-grid.txt"
} >docs/students.md.tmp
mv docs/students.md.tmp docs/students.md
echo "docs/students.md written"
