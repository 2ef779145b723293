#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# reproduce.sh: results.md and report.html from nothing, with short settings: under 40 minutes on two cores.
#
#     tools/reproduce.sh [--data FOLDER] [--base FILE.gguf] [--full] [--work FOLDER] [--out FOLDER]
#
#     --data FOLDER   pools that were measured: paper-train-pool.csv.gz, freebsd-dualpi2-a.csv.gz (also: $AQM_DATA). Without, the decisions
#                     are those of the paper's kernel in the simulator
#     --base FILE     a GGUF of SmolLM2-135M (also: $SMOLLM2). Without, a tiny base with random weights
#     --full          the settings of the configurations, SmolLM2-135M, ten scenarios more: hours on a CPU
#     --work FOLDER   runs and pools (default build/reproduce); what is finished there is not made again
#     --out FOLDER    where results.md and report.html go (default docs)
#
# $AQMTRAIN is the program, if it is not to be built here.
set -eu
cd "$(dirname "$0")/.."
data=${AQM_DATA:-} base=${SMOLLM2:-} full= work=build/reproduce out=docs
while [ $# -gt 0 ]; do
	case $1 in
	--data) data=${2:?} && shift ;;
	--base) base=${2:?} && shift ;;
	--work) work=${2:?} && shift ;;
	--out) out=${2:?} && shift ;;
	--full) full=1 ;;
	*)
		sed -n '3,16s/^# \{0,1\}//p' "$0" >&2
		exit 2
		;;
	esac
	shift
done
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE || true # a pinned kernel would slow it down
export OMP_WAIT_POLICY=passive
began=$(date +%s)
say() { printf '\n[%d min] %s\n' "$((($(date +%s) - began) / 60))" "$*"; }

aqmtrain=${AQMTRAIN:-$PWD/build/release/aqmtrain}
if [ -z "${AQMTRAIN:-}" ]; then
	say "the program"
	cmake --preset release >/dev/null
	cmake --build --preset release --target aqmtrain
fi
mkdir -p "$work" "$out"

# ---- decisions to learn from ----

if [ -z "$data" ]; then
	data=$work/data
	if [ ! -f "$data/simulated.h5" ]; then
		say "the paper's set-up in the simulator, with the paper's kernel: its first seconds, four times"
		mkdir -p "$data"
		"$aqmtrain" sim --collect "$data/simulated.h5" --grid configs/grids/paper.yaml --set "seconds=$([ -n "$full" ] && echo 20 || echo 2)"
	fi
fi
pool=simulated
for name in freebsd-dualpi2-a paper-train-pool; do
	[ ! -f "$data/$name.csv.gz" ] || pool=$name
done

# ---- results.md ----

say "results.md"
short=1 synthetic=
[ -z "$full" ] || short=
[ -n "$base" ] || [ -n "$full" ] || synthetic=1
SMOLLM2=$base SHORT=$short SYNTHETIC=$synthetic AQMTRAIN=$aqmtrain KEEP=1 SHAPES=$work/shapes OUT=$out/results.md \
	tools/results.sh "$data" "$work/results"

# ---- what the report shows: a run an architecture, and a controller ----

runs=$work/runs
mkdir -p "$runs"
for shape in tiny-llama tiny-opt tiny-gpt2 tiny-t5 smollm2; do
	made=$work/shapes/$shape/$pool/ours/as-it-is/1/run
	[ ! -d "$made" ] || [ -d "$runs/$shape" ] || cp -r "$made" "$runs/$shape"
done
[ -d "$runs/update" ] || cp -r "$work/results/updates" "$runs/update"

# into FILE COMMAND...: unless it is there
into() {
	file=$1
	shift
	[ -f "$file" ] || { say "$*" && "$aqmtrain" "$@" -o "$file" >/dev/null; }
}
held_out=$work/shapes/$pool-eval.h5
for run in "$runs"/tiny-* "$runs"/smollm2; do
	[ -d "$run" ] || continue
	into "$run/eval.json" eval -r "$run" --pool "$held_out"
	into "$run/eval-target.json" eval -r "$run" --pool "$held_out" --returns target
	for interval in 10 100; do
		into "$run/replay-$interval.json" eval -r "$run" --pool "$held_out" --replay --interval $interval
	done
	if [ ! -f "$run/bench.json" ]; then
		say "bench decide on the base of $run"
		"$aqmtrain" bench decide --quick --json --model "$(sed -n 's/^  path: *//p' "$run/config.yaml" | head -n 1)" >"$run/bench.json.part"
		mv "$run/bench.json.part" "$run/bench.json"
	fi
done
into "$runs/update/eval.json" eval -r "$runs/update" --pool "$(sed -n 's/^  eval: *//p' "$runs/update/config.yaml")"

# ---- the closed loop ----

grid=configs/grids/small.yaml seeds=10
[ -z "$full" ] || grid=configs/grids/steady.yaml
name=$(basename $grid .yaml)
for run in tiny-llama update; do
	if [ ! -f "$runs/$run/closed-loop/$name.json" ]; then
		say "$run in the closed loop: $grid, $seeds seeds"
		"$aqmtrain" eval -r "$runs/$run" --closed-loop --grid $grid --seeds $seeds --aqm enqueue,random:0.5,fifo,pie,codel,dualpi2,freebsd-l4s,policy
	fi
done
if ! grep -q '"sweep"' "$runs/tiny-llama/closed-loop/targets.json" 2>/dev/null; then
	say "what asking for more gives"
	"$aqmtrain" eval -r "$runs/tiny-llama" --closed-loop --scenario configs/scenarios/steady.yaml --set seconds=5 --set warmup=1 --set link.rate=8 --set name=targets --seeds $seeds \
		--aqm dualpi2,policy --every 1 --delay none --target-return q0.1,0.5,0.9
fi

# ---- the report ----

say "report.html"
"$aqmtrain" report --paper --title "aqmtrain: results" -o "$out/report.html" $(find "$runs" -mindepth 1 -maxdepth 1 -type d | sort | sed 's/^/-r /')
say "done: $out/results.md, $out/report.html"
