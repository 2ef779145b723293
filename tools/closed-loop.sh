#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A policy against DualPI2 in the closed loop, from nothing to the tables of docs/closed-loop.md: a pool of ranked runs, a
# small base, training, and links and seeds that training never saw. About five minutes of one core; wants jq and bc.
#   tools/closed-loop.sh [FOLDER]        (default: build/closed-loop)
# AQMTRAIN names the program (default build/release/aqmtrain), EPOCHS, SEEDS, THREADS the effort (10, 101-110, 1).
set -eu

source=$(cd "$(dirname "$0")/.." && pwd)
program=${AQMTRAIN:-$source/build/release/aqmtrain}
epochs=${EPOCHS:-10} seeds=${SEEDS:-101-110} threads=${THREADS:-1}
folder=${1:-$source/build/closed-loop}
grids=$source/configs/grids
export OMP_WAIT_POLICY=passive
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
[ -x "$program" ] || { echo "no program '$program': build it, or name one in AQMTRAIN" >&2; exit 1; }
mkdir -p "$folder"
cd "$folder"

[ -f micro-llama.gguf ] || "$program" model synth --preset micro-llama -o micro-llama.gguf
[ -f train.h5 ] || "$program" sim --collect train.h5 --grid "$grids/closed-loop-train.yaml" --utility balanced --relabel \
	--threads "$threads"
[ -f run/policy.h5 ] || "$program" train -c "$source/configs/closed-loop.yaml" -o run --set train.epochs="$epochs" \
	--set threads="$threads"

# The policy, return by return, beside the rules as they are.
"$program" eval -r run --closed-loop --grid "$grids/closed-loop-test.yaml" --seeds "$seeds" --utility balanced \
	--aqm fifo,codel,pie,dualpi2,freebsd-l4s,policy --delay none --target-return 0.05,0.5,0.8,0.95 --threads "$threads" \
	-o policy >policy.txt
# Decisions that take time.
"$program" eval -r run --closed-loop --grid "$grids/closed-loop-test.yaml" --seeds "$seeds" --utility balanced \
	--aqm dualpi2,policy --delay measured,5,39 --target-return 0.95 --threads "$threads" -o delay >delay.txt
# Once more, on links and seeds that nothing was chosen by.
"$program" eval -r run --closed-loop --grid "$grids/closed-loop-test.yaml" --set link.rate=9,30,60 --set flows.rtt=8,20,50 \
	--seeds 201-205 --utility balanced --aqm dualpi2,policy --delay none --target-return 0.95 --threads "$threads" \
	-o fresh >fresh.txt

# DualPI2 with other settings. Of one for all links there is the one that was best on the training's, and the best of
# them on the very links it is judged on; the oracle has one of its own on each of these.
scan() { # scan FOLDER GRID SEEDS OVERRIDES...: lines of "gain target link utility", a line a run
	out=$1 grid=$2 on=$3
	shift 3
	for gain in 1 2 4; do
		"$program" eval -r run --closed-loop --grid "$grids/$grid.yaml" --seeds "$on" --utility balanced --aqm dualpi2 \
			--threads "$threads" --set aqm.target=2,3,5,8,11,15,20 --set aqm.alpha="$(echo "0.15 * $gain" | bc)" \
			--set aqm.beta=$((3 * gain)) "$@" -o "$out-$gain" >/dev/null
		jq -r --arg gain $gain 'select(.kind == "simulation") | (.cell | capture("aqm.target=(?<t>[0-9.]+)").t) as $t |
			"\($gain) \($t) \(.cell | gsub("aqm.target=[0-9.]+ ?"; "") | gsub(" "; ","))  \(.utilities.balanced)"' \
			"$out-$gain/results.jsonl"
	done >"$out.txt"
}
scan scan-train closed-loop-train 1 --set draws=1
scan scan-test closed-loop-test "$seeds"

# Mean utility of each setting, and of the best setting of each link.
summary() {
	awk '{ k = $1 " " $2; sum[k] += $4; n[k]++; l = k " " $3; of[l] += $4; m[l]++; key[l] = $3 }
		END { best = -1e9
			for (k in sum) if (sum[k] / n[k] > best) { best = sum[k] / n[k]; which = k }
			for (l in of) if (!(key[l] in top) || of[l] / m[l] > top[key[l]]) top[key[l]] = of[l] / m[l]
			for (c in top) { oracle += top[c]; links++ }
			split(which, w, " ")
			printf "gain %s target %s: %.2f; oracle %.2f; default %.2f\n", w[1], w[2], best, oracle / links,
				sum["1 15"] / n["1 15"] }' "$1"
}
of() { # of FILE GAIN TARGET
	awk -v gain="$2" -v target="$3" '$1 == gain && $2 == target { s += $4; n++ } END { printf "%.2f\n", s / n }' "$1"
}
chosen=$(summary scan-train.txt)
gain=$(echo "$chosen" | sed 's/gain \([0-9]*\) .*/\1/') target=$(echo "$chosen" | sed 's/.*target \([0-9]*\):.*/\1/')
{
	echo "training links: $chosen"
	echo "test links: $(summary scan-test.txt)"
	echo "test links, gain $gain target $target as chosen on the training's: $(of scan-test.txt "$gain" "$target")"
} | tee scan.out
sed -n '/^all cells/,$p' policy.txt
sed -n '/^all cells/,/^$/p' delay.txt
sed -n '/^all cells/,/^$/p' fresh.txt
