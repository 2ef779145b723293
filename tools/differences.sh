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
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE || true
export OMP_WAIT_POLICY=passive

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
			returns|the last two together|reward.gamma=1 reward.horizon=0 reward.normalise=min-max reward.scale=1000
			tiles|the same windows in every epoch|train.sampler=tiles
			windows|32 windows a step|train.windows=32
			clip|clipped behind each window|train.clip_each=true
			windows-clip|32 windows a step, clipped behind each|train.windows=32 train.clip_each=true
			lr|learning rate 1e-4|train.lr=0.0001
			constant|no decay of the rate|train.schedule=constant
			warmup|warm-up of 2,000 steps|train.warmup=2000
			schedule|the last three together|train.lr=0.0001 train.schedule=constant train.warmup=2000
			residual|the input added before the head|policy.residual=true
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
			schedule-windows|the last two together|train.lr=0.001 train.warmup=0.05 train.schedule=cosine train.lr_min=0.02 train.windows=8 train.clip_each=false
			schedule-features|our rates and normalised features|train.lr=0.001 train.warmup=0.05 train.schedule=cosine train.lr_min=0.02 policy.normaliser=both
			three|our rates, normalised features, our returns|train.lr=0.001 train.warmup=0.05 train.schedule=cosine train.lr_min=0.02 policy.normaliser=both reward.gamma=0.99 reward.horizon=100 reward.normalise=standard
		PLAN
	fi
}

# bases, in the order of the document: name|title
bases() {
	cat <<-'PLAN'
		tiny-llama|a synthetic llama of 3 layers and width 96, with random weights (`model synth --preset tiny-llama`)
		smollm2|SmolLM2-135M, its first two layers of 30, with its public weights (Q4_1)
	PLAN
}

# sides_of BASE POOL: which sides are measured there; SmolLM2 takes ten times as long
sides_of() {
	case $1/$2 in
	*/paper-train-pool) echo "ours paper" ;;
	tiny-llama/freebsd-dualpi2-a) echo ours ;;
	esac
}

# settings of a base, of a pool
settings_of_base() {
	case $1 in
	smollm2) echo "model.path=$smollm2 model.stop_layer=2" ;;
	*) echo "model.path=$work/$1.gguf model.stop_layer=0" ;;
	esac
}
fields_of_pool() {
	case $1 in
	freebsd-dualpi2-a)
		echo "policy.features=[queue_type,burst_allowance,drop_prob,current_qdelay,accu_prob,tot_bytes,drops] policy.sequences=[current_qdelay] train.epochs=10"
		;;
	esac
}

# ---- runs ----

prepare() {
	[ -f "$work/tiny-llama.gguf" ] || "$aqmtrain" model synth --preset tiny-llama --seed 1 -o "$work/tiny-llama.gguf"
	smollm2=${SMOLLM2:-$(find "$work" -name '*SmolLM2*.gguf' | head -n 1)}
	if [ -z "$smollm2" ]; then
		tools/fetch-smollm2.sh "$work"
		smollm2=$(find "$work" -name '*SmolLM2*.gguf' | head -n 1)
	fi
	for pool in paper-train-pool freebsd-dualpi2-a; do
		[ -f "$work/$pool.h5" ] || "$aqmtrain" pool import "$data/$pool.csv.gz" -o "$work/$pool.h5"
	done
	[ -f "$work/logs.h5" ] || "$aqmtrain" pool parse "$data/logs" -o "$work/logs.h5"
	for pool in paper-train-pool freebsd-dualpi2-a logs; do
		[ -f "$work/$pool-eval.h5" ] ||
			"$aqmtrain" pool split "$work/$pool.h5" --train "$work/$pool-train.h5" --eval "$work/$pool-eval.h5" --fraction 0.7
	done
	# What happened, as if it had been logged: what a policy of either labels is scored on.
	if [ ! -f "$work/happened-eval.h5" ]; then
		"$aqmtrain" pool export "$work/logs-eval.h5" -o "$work/happened.csv"
		awk -F, -v OFS=, 'NR == 1 { for (i = 1; i <= NF; i++) { if ($i == "action") a = i; if ($i == "action_logged") l = i } }
			NR > 1 { $l = $a } { print }' "$work/happened.csv" >"$work/happened-eval.csv"
		"$aqmtrain" pool import "$work/happened-eval.csv" -o "$work/happened-eval.h5"
	fi
}

# figure FILE ROW COLUMN: a number of the table that eval prints
figure() {
	awk -v row="$2" -v column="$3" 'index($0, row) == 1 { sub(row, ""); print $column; exit }' "$1"
}

# train_one FOLDER CONFIG POOL SEED SETTING...: unless it is there, a run and its figures on the held-out rows, in FOLDER/figures
train_one() {
	folder=$1 config=$2 pool=$3 seed=$4
	shift 4
	[ ! -f "$folder/figures" ] || return 0
	mkdir -p "$folder"
	set -- "$@" seed="$seed" threads=1 train.best=macro_f1 train.eval_every=1 train.keep_checkpoints=1 \
		pool.train="$work/$pool-train.h5" pool.eval="$work/$pool-eval.h5"
	for setting; do
		set -- "$@" --set "$setting"
		shift
	done
	resume=
	[ ! -f "$folder/run/config.yaml" ] || resume=--resume
	echo "$folder"
	"$aqmtrain" train -c "$config" "$@" -o "$folder/run" $resume 2>"$folder/log" || {
		cat "$folder/log" >&2
		exit 1
	}
	scored=$pool
	[ "$pool" != logs ] || scored=happened
	"$aqmtrain" eval -r "$folder/run" --pool "$work/$scored-eval.h5" --last >"$folder/last.txt" 2>/dev/null
	"$aqmtrain" eval -r "$folder/run" --pool "$work/$scored-eval.h5" >"$folder/best.txt" 2>/dev/null
	for which in last best; do
		for row in accuracy macro-F1; do
			printf '%s %s %s %s %s\n' "$which" "$row" "$(figure "$folder/$which.txt" "$row" 1)" \
				"$(figure "$folder/$which.txt" "$row" 2)" "$(figure "$folder/$which.txt" "$row" 3)"
		done
	done >"$folder/figures.part"
	printf 'steps %s\nseconds %s\n' "$(grep -c '"lr"' "$folder/run/metrics.jsonl")" \
		"$(sed -n 's/.*"elapsed_s":\([0-9]*\).*/\1/p' "$folder/run/metrics.jsonl" | tail -n 1)" >>"$folder/figures.part"
	mv "$folder/figures.part" "$folder/figures"
	rm -rf "$folder/run/checkpoints" "$folder/run/best" "$folder/run/policy.h5"
}

config_of() {
	case $1 in
	ours) echo configs/smollm2-135m.yaml ;;
	paper) echo configs/paper/llama2-7b.yaml ;;
	esac
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
					wanted "$base/$pool/$side/$item" || continue
					# The pool's fields last, but a switch about fields behind them.
					fields=$(fields_of_pool "$pool")
					train_one "$work/$base/$pool/$side/$item/$1" "$(config_of "$side")" "$pool" "$1" \
						$(settings_of_base "$base") pool.labels=logged $fields $settings </dev/null
				done
			done
		done
		for labels in effective logged; do
			wanted "$base/logs/labels/$labels" || continue
			train_one "$work/$base/logs/labels/$labels/$1" configs/smollm2-135m.yaml logs "$1" \
				$(settings_of_base "$base") pool.labels=$labels </dev/null
		done
	done
}

# ---- tables ----

figures_below() {
	[ ! -d "$1" ] || find "$1" -name figures -exec cat {} +
}

# spread FOLDER WHICH ROW: mean over seeds, and least and largest
spread() {
	figures_below "$1" | awk -v which="$2" -v row="$3" '$1 == which && $2 == row {
			n++; sum += $3; if (n == 1 || $3 < low) low = $3; if (n == 1 || $3 > high) high = $3 }
		END { if (n) printf "%.3f (%.3f-%.3f)", sum / n, low, high; else printf "not run" }'
}
mean() {
	figures_below "$1" | awk -v key="$2" '$1 == key { n++; sum += $2 } END { if (n) printf "%.0f", sum / n; else printf "-" }'
}
seeds_of() {
	find "$1" -name figures 2>/dev/null | grep -c . || true
}

row() {
	printf '| %s | %s | %s | %s | %s | %s | %s | %s |\n' "$2" "$(spread "$1" last macro-F1)" "$(spread "$1" last accuracy)" \
		"$(spread "$1" best macro-F1)" "$(spread "$1" best accuracy)" "$(mean "$1" steps)" "$(mean "$1" seconds)" "$(seeds_of "$1")"
}

# baselines FOLDER: the rows of the majority class and the tree, out of any run's figures
baselines() {
	any=$(find "$1" -name figures 2>/dev/null | sort | head -n 1)
	[ -n "$any" ] || return 0
	for column in '4 always the commonest action' '5 a decision tree of depth 8'; do
		awk -v column="${column%% *}" -v title="${column#* }" '$1 == "last" { value[$2] = $column }
			END { printf "| %s | %s | %s | | | | | |\n", title, value["macro-F1"], value["accuracy"] }' "$any"
	done
}

heading() {
	printf '| %s | macro-F1, last step | accuracy, last step | macro-F1, best | accuracy, best | steps | s | runs |\n' "$1"
	printf '|---|---|---|---|---|---|---|---|\n'
}

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
					row "$work/$base/$pool/$side/$item" "$what"
				done
				echo
			done
		done
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
