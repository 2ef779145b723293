# SPDX-License-Identifier: BSD-2-Clause
#
# Sourced by results.sh and differences.sh: runs over bases, pools and seeds, each with its figures on the held-out rows in a folder of
# its own, and the rows of tables that follow from them. Wants $data, $work, $aqmtrain; with $KEEP policies stay.
# A finished run is not repeated.

unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE || true # a pinned kernel would slow it down
export OMP_WAIT_POLICY=passive

# settings_of_base BASE: where it lies and how much of it is used
settings_of_base() {
	case $1 in
	smollm2) echo "model.path=$smollm2 model.stop_layer=2" ;;
	*) echo "model.path=$work/$1.gguf model.stop_layer=0" ;;
	esac
}

# config_of SIDE BASE: the configuration of the base's architecture, ours or the paper's
config_of() {
	case $1/$2 in
	ours/*llama | ours/smollm2) echo configs/smollm2-135m.yaml ;;
	ours/*gpt2) echo configs/gpt2.yaml ;;
	ours/*opt) echo configs/opt-1.3b.yaml ;;
	ours/*t5) echo configs/t5-base.yaml ;;
	paper/*llama | paper/smollm2) echo configs/paper/llama2-7b.yaml ;;
	paper/*gpt2) echo configs/paper/gpt2.yaml ;;
	paper/*opt) echo configs/paper/opt-1.3b.yaml ;;
	paper/*t5) echo configs/paper/t5-base.yaml ;;
	esac
}

# prepare_base BASE
prepare_base() {
	case $1 in
	smollm2)
		smollm2=${SMOLLM2:-$(find "$work" -name '*SmolLM2*.gguf' | head -n 1)}
		if [ -z "$smollm2" ]; then
			tools/fetch-smollm2.sh "$work"
			smollm2=$(find "$work" -name '*SmolLM2*.gguf' | head -n 1)
		fi
		;;
	*) [ -f "$work/$1.gguf" ] || "$aqmtrain" model synth --preset "$1" --seed 1 -o "$work/$1.gguf" ;;
	esac
}

# prepare_pool POOL: import, and split by time or by episodes
prepare_pool() {
	[ ! -f "$work/$1-eval.h5" ] || return 0
	case $1 in
	logs) "$aqmtrain" pool parse "$data/logs" -o "$work/logs.h5" ;;
	simulated) cp "$data/simulated.h5" "$work/simulated.h5" ;;
	*) "$aqmtrain" pool import "$data/$1.csv.gz" -o "$work/$1.h5" ;;
	esac
	"$aqmtrain" pool split "$work/$1.h5" --train "$work/$1-train.h5" --eval "$work/$1-eval.h5" --fraction 0.7
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
	scored=$work/$pool-eval.h5
	[ ! -f "$work/$pool-happened.h5" ] || scored=$work/$pool-happened.h5
	"$aqmtrain" eval -r "$folder/run" --pool "$scored" --last >"$folder/last.txt" 2>/dev/null
	"$aqmtrain" eval -r "$folder/run" --pool "$scored" >"$folder/best.txt" 2>/dev/null
	"$aqmtrain" eval -r "$folder/run" --pool "$scored" --last --returns target >"$folder/aimed.txt" 2>/dev/null
	for which in last best aimed; do
		for row in accuracy macro-F1; do
			printf '%s %s %s %s %s\n' "$which" "$row" "$(figure "$folder/$which.txt" "$row" 1)" \
				"$(figure "$folder/$which.txt" "$row" 2)" "$(figure "$folder/$which.txt" "$row" 3)"
		done
	done >"$folder/figures.part"
	printf 'steps %s\n' "$(grep -c '"lr"' "$folder/run/metrics.jsonl")" >>"$folder/figures.part"
	mv "$folder/figures.part" "$folder/figures"
	rm -rf "$folder/run/checkpoints"
	[ -n "${KEEP:-}" ] || rm -rf "$folder/run/best" "$folder/run/policy.h5"
}

figures_below() {
	[ ! -d "$1" ] || find "$1" -name figures -exec cat {} +
}

# spread FOLDER WHICH ROW: mean over seeds, and the least and the largest where there are several
spread() {
	figures_below "$1" | awk -v which="$2" -v row="$3" '$1 == which && $2 == row {
			n++; sum += $3; if (n == 1 || $3 < low) low = $3; if (n == 1 || $3 > high) high = $3 }
		END { if (!n) printf "-"; else if (n == 1) printf "%.3f", sum; else printf "%.3f (%.3f-%.3f)", sum / n, low, high }'
}
mean() {
	figures_below "$1" | awk -v key="$2" '$1 == key { n++; sum += $2 } END { if (n) printf "%.0f", sum / n; else printf "-" }'
}
seeds_of() {
	find "$1" -name figures 2>/dev/null | grep -c . || true
}

# baselines FOLDER: the rows of the majority class and the tree, out of any run's figures
baselines() {
	any=$(find "$1" -name figures 2>/dev/null | sort | head -n 1)
	[ -n "$any" ] || return 0
	for column in '4 always the commonest action' '5 a decision tree of depth 8'; do
		awk -v column="${column%% *}" -v title="${column#* }" '$1 == "last" { value[$2] = $column }
			END { printf "| %s | %.3f | %.3f | | | | | |\n", title, value["macro-F1"], value["accuracy"] }' "$any"
	done
}

heading() {
	printf '| %s | macro-F1, last step | accuracy, last step | macro-F1, best | accuracy, best | macro-F1, aimed | steps | runs |\n' "$1"
	printf '|---|---|---|---|---|---|---|---|\n'
}

# row FOLDER TITLE
row() {
	printf '| %s | %s | %s | %s | %s | %s | %s | %s |\n' "$2" "$(spread "$1" last macro-F1)" "$(spread "$1" last accuracy)" \
		"$(spread "$1" best macro-F1)" "$(spread "$1" best accuracy)" "$(spread "$1" aimed macro-F1)" "$(mean "$1" steps)" "$(seeds_of "$1")"
}
