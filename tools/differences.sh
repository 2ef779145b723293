#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# differences.sh: what each difference between the paper's set-up and ours does to the result, one at a time. Makes the tables of
# docs/differences.md, between its markers.
#
#     tools/differences.sh POOL_FOLDER [WORK_FOLDER]
#
# POOL_FOLDER holds paper-train-pool.csv.gz and freebsd-dualpi2-a.csv.gz, and logs/ of the same kernel (measured by the paper's authors;
# not part of this project). Needs a release build. Finished runs are not repeated; what was interrupted goes on. In the environment:
#
#     SEEDS="1 2 3"     seeds of each run (default 1 2 3)
#     ONLY="REGEX"      make only those runs of the plan that match, "base/pool/side/item"
#     SMOLLM2=FILE      the GGUF of SmolLM2-135M (default: found in, or fetched into, WORK_FOLDER)
#     AQMTRAIN=FILE     the program (default build/release/aqmtrain)
#     NO_RUNS=1         tables of what is there, without any run
set -euf
cd "$(dirname "$0")/.."
data=${1:?usage: tools/differences.sh POOL_FOLDER [WORK_FOLDER]}
work=${2:-build/differences}
aqmtrain=${AQMTRAIN:-build/release/aqmtrain}
seeds=${SEEDS:-1 2 3}
document=docs/differences.md
. tools/runs.sh

mkdir -p "$work"

# ---- the plan ----

# items SIDE: name|title|settings, settings separated by spaces and without any in themselves. Side "ours" changes one thing of our
# configuration into the paper's, side "paper" one thing of the paper's into ours.
items() {
	if [ "$1" = ours ]; then
		cat <<-'PLAN'
			as-it-is|our configuration|
			features|raw features|policy.normaliser=none
			sequences|no sequences: every feature a scalar|policy.sequences=[]
			action|actions on a line, (a + 1) / 3|policy.action_embedding=linear
			time|time embedding by the row in the episode|policy.time_embedding=episode
			gamma|return of the whole episode: gamma 1, no horizon|reward.gamma=1 reward.horizon=0
			min-max|min-max rewards, returns / 1000|reward.normalise=min-max reward.scale=1000
			returns|both: gamma 1, no horizon, min-max rewards, returns / 1000|reward.gamma=1 reward.horizon=0 reward.normalise=min-max reward.scale=1000
			tiles|the same windows in every epoch|train.sampler=tiles
			windows|32 windows a step|train.windows=32
			clip|clipped behind each window|train.clip_each=true
			windows-clip|32 windows a step, clipped behind each|train.windows=32 train.clip_each=true
			lr|learning rate 1e-4|train.lr=0.0001
			constant|no decay of the rate|train.schedule=constant
			warmup|warm-up of 2,000 steps|train.warmup=2000
			schedule|all three: 1e-4, no decay, warm-up of 2,000 steps|train.lr=0.0001 train.schedule=constant train.warmup=2000
			residual|the input added before the head|policy.residual=true
			epochs|80 epochs|train.epochs=80
			causal|an encoder that sees both ways|model.causal=false
			causal-full|an encoder that sees both ways, every weight trained|model.causal=false lora.rank=0
			stop|only the first of three layers (no difference to the paper)|model.stop_layer=1
			full|every weight trained, no adapters|lora.rank=0
			full-lr|every weight trained, no adapters, learning rate 1e-4|lora.rank=0 train.lr=0.0001
		PLAN
	else
		cat <<-'PLAN'
			as-it-is|the paper's configuration|
			features|normalised features|policy.normaliser=both
			sequences|sequences through Conv1d|policy.sequences=[current_qdelay,len_bytes]
			action|a vector an action|policy.action_embedding=embedding
			time|time embedding by the step of the window|policy.time_embedding=window
			returns|standardised returns, gamma 0.99, 100 rows|reward.gamma=0.99 reward.horizon=100 reward.normalise=standard
			tiles|windows cut anew each epoch|train.sampler=uniform
			windows|8 windows a step, clipped once|train.windows=8 train.clip_each=false
			schedule|learning rate 1e-3, warm-up of 5 %, cosine|train.lr=0.001 train.warmup=0.05 train.schedule=cosine train.lr_min=0.02
			schedule-windows|our rate (as above) and 8 windows a step|train.lr=0.001 train.warmup=0.05 train.schedule=cosine train.lr_min=0.02 train.windows=8 train.clip_each=false
			schedule-features|our rate and normalised features|train.lr=0.001 train.warmup=0.05 train.schedule=cosine train.lr_min=0.02 policy.normaliser=both
			schedule-time|our rate and our time embedding|train.lr=0.001 train.warmup=0.05 train.schedule=cosine train.lr_min=0.02 policy.time_embedding=window
			three|our rate, normalised features, our returns|train.lr=0.001 train.warmup=0.05 train.schedule=cosine train.lr_min=0.02 policy.normaliser=both reward.gamma=0.99 reward.horizon=100 reward.normalise=standard
			four|our rate, normalised features, our returns, our time embedding|train.lr=0.001 train.warmup=0.05 train.schedule=cosine train.lr_min=0.02 policy.normaliser=both reward.gamma=0.99 reward.horizon=100 reward.normalise=standard policy.time_embedding=window
		PLAN
	fi
}

# bases, in the order of the document: name|title
bases() {
	cat <<-'PLAN'
		tiny-llama|a synthetic llama of 3 layers and width 96, with random weights (`model synth --preset tiny-llama`)
		tiny-t5|a synthetic T5 of width 96, with random weights (`model synth --preset tiny-t5`)
		smollm2|SmolLM2-135M, its first two layers of 30, with its public weights (Q4_1)
	PLAN
}

# is_run BASE POOL SIDE ITEM: SmolLM2 takes ten times as long, the second pool four times: only what makes the most difference there.
# Only T5 has an encoder.
is_run() {
	case $1/$2/$3/$4 in
	smollm2/*/as-it-is | smollm2/*/schedule | smollm2/*/ours/features | smollm2/*/ours/time | smollm2/*/ours/returns | smollm2/*/paper/four) ;;
	tiny-t5/*/as-it-is | tiny-t5/*/causal | tiny-t5/*/full | tiny-t5/*/causal-full) ;;
	smollm2/* | tiny-t5/* | */causal | */causal-full) return 1 ;;
	*/freebsd-dualpi2-a/*/clip | */freebsd-dualpi2-a/*/windows-clip | */freebsd-dualpi2-a/*/gamma | */freebsd-dualpi2-a/*/min-max) return 1 ;;
	*/freebsd-dualpi2-a/*/constant | */freebsd-dualpi2-a/*/residual | */freebsd-dualpi2-a/*/epochs) return 1 ;;
	*/freebsd-dualpi2-a/*/stop | */freebsd-dualpi2-a/*/full-lr) return 1 ;;
	esac
}

# sides_of BASE POOL: which sides are measured there
sides_of() {
	case $1/$2 in
	tiny-t5/paper-train-pool) echo ours ;;
	*/paper-train-pool) echo "ours paper" ;;
	tiny-llama/freebsd-dualpi2-a) echo ours ;;
	esac
}

# fields_of_pool POOL: where it lacks some of the configurations'
fields_of_pool() {
	case $1 in
	freebsd-dualpi2-a)
		echo "policy.features=[queue_type,burst_allowance,drop_prob,current_qdelay,accu_prob,tot_bytes,drops] policy.sequences=[current_qdelay] train.epochs=10"
		;;
	esac
}

# ---- runs ----

prepare() {
	for base in tiny-llama tiny-t5 smollm2; do
		prepare_base $base
	done
	for pool in paper-train-pool freebsd-dualpi2-a logs; do
		prepare_pool $pool
	done
	# What happened, as if it had been logged: what a policy of either labels is scored on.
	if [ ! -f "$work/logs-happened.h5" ]; then
		"$aqmtrain" pool export "$work/logs-eval.h5" -o "$work/logs-eval.csv"
		awk -F, -v OFS=, 'NR == 1 { for (i = 1; i <= NF; i++) { if ($i == "action") a = i; if ($i == "action_logged") l = i } }
			NR > 1 { $l = $a } { print }' "$work/logs-eval.csv" >"$work/logs-happened.csv"
		"$aqmtrain" pool import "$work/logs-happened.csv" -o "$work/logs-happened.h5"
	fi
}

wanted() {
	[ -z "${ONLY:-}" ] || echo "$1" | grep -Eq "$ONLY"
}

# All of a base and a pool with one seed, before the next seed: a table is complete early.
run_all() {
	bases | while IFS='|' read -r base _; do
		for pool in paper-train-pool freebsd-dualpi2-a; do
			for side in $(sides_of "$base" "$pool"); do
				items "$side" | while IFS='|' read -r item _ settings; do
					is_run "$base" "$pool" "$side" "$item" && wanted "$base/$pool/$side/$item" || continue
					# The pool's fields last, but a switch about fields behind them.
					fields=$(fields_of_pool "$pool")
					train_one "$work/$base/$pool/$side/$item/$1" "$(config_of "$side" "$base")" "$pool" "$1" \
						$(settings_of_base "$base") pool.labels=logged $fields $settings </dev/null
				done
			done
		done
		[ "$base" = tiny-llama ] || continue
		for labels in effective logged; do
			wanted "$base/logs/labels/$labels" || continue
			train_one "$work/$base/logs/labels/$labels/$1" configs/smollm2-135m.yaml logs "$1" \
				$(settings_of_base "$base") pool.labels=$labels </dev/null
		done
	done
}

# ---- tables ----

tables() {
	bases | while IFS='|' read -r base title; do
		printf '### Base: %s\n\n' "$title"
		for pool in paper-train-pool freebsd-dualpi2-a; do
			for side in $(sides_of "$base" "$pool"); do
				if [ "$side" = ours ]; then
					printf '`%s`, from our configuration one setting to the paper'"'"'s:\n\n' "$pool"
				else
					printf '`%s`, from the paper'"'"'s configuration one setting to ours:\n\n' "$pool"
				fi
				heading "$side"
				baselines "$work/$base/$pool/$side"
				items "$side" | while IFS='|' read -r item what _; do
					! is_run "$base" "$pool" "$side" "$item" || row "$work/$base/$pool/$side/$item" "$what"
				done
				echo
			done
		done
		[ "$base" = tiny-llama ] || continue
		printf 'Kernel logs (`logs/`), our configuration, scored on what happened to the held-out packets:\n\n'
		heading labels
		baselines "$work/$base/logs/labels/effective"
		row "$work/$base/logs/labels/effective" 'trained on what happened (ours)'
		row "$work/$base/logs/labels/logged" "trained on what was logged (the paper's)"
		echo
	done
}

prepare
[ -n "${NO_RUNS:-}" ] || for seed in $seeds; do
	run_all "$seed"
done
tables >"$work/tables.md"
awk -v file="$work/tables.md" '/^<!-- tables begin/ { print; print ""; while ((getline line < file) > 0) print line; skip = 1 }
	/^<!-- tables end/ { skip = 0 } !skip { print }' "$document" >"$document.tmp"
mv "$document.tmp" "$document"
echo "$document written"
