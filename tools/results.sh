#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# results.sh: make docs/results.md: train configs/smollm2-135m.yaml on real DualPI2 decisions, evaluate beside the baselines; then the four
# architectures of the paper, each with the paper's configuration and with ours.
#
#     tools/results.sh DATA_FOLDER [WORK_FOLDER]
#
# The runs of the four architectures lie in $SHAPES (default build/differences, where tools/differences.sh has made some of them), for the
# seeds $SEEDS (default 1 2); the first trainings are repeated with the seeds $SPREAD (default 1 2 3 4 5).
#
# DATA_FOLDER holds paper-train-pool.csv.gz and freebsd-dualpi2-a.csv.gz (measured by the paper's authors; not part of this project), or a
# simulated pool, simulated.h5 (tools/reproduce.sh makes one). Needs a release build. A run that was interrupted goes on where it
# stopped when the script is run again; a finished one is not repeated. In the environment:
#
#     SHORT=1           a third of the epochs, two layers, and one seed: minutes
#     SYNTHETIC=1       a tiny base with random weights instead of SmolLM2: nothing is fetched
#     OUT=FILE          instead of docs/results.md
set -eu
cd "$(dirname "$0")/.."
data=${1:?usage: tools/results.sh DATA_FOLDER [WORK_FOLDER]}
work=${2:-build/results}
aqmtrain=${AQMTRAIN:-build/release/aqmtrain}
config=configs/smollm2-135m.yaml
shapes=${SHAPES:-build/differences}
seeds=${SEEDS:-1 2}
spread=${SPREAD:-1 2 3 4 5}
out=${OUT:-docs/results.md}
short= epochs= everywhere=
if [ -n "${SHORT:-}" ]; then
	short="--set model.stop_layer=2" epochs=10 seeds=${SEEDS:-1} spread=${SPREAD:-1}
	everywhere=train.epochs=10
fi
. tools/runs.sh

mkdir -p "$work" "$(dirname "$out")"
if [ -n "${SYNTHETIC:-}" ]; then
	base=$work/tiny-llama.gguf
	[ -f "$base" ] || "$aqmtrain" model synth --preset tiny-llama --seed 1 -o "$base"
	base_words='a llama of 3 layers and width 96 with random weights'
	short="--set model.stop_layer=0"
else
	base=${SMOLLM2:-$(find "$work" -name '*SmolLM2*.gguf' | head -n 1)}
	if [ -z "$base" ]; then
		tools/fetch-smollm2.sh "$work"
		base=$(find "$work" -name '*SmolLM2*.gguf' | head -n 1)
	fi
	SMOLLM2=$base
	base_words='SmolLM2-135M (Q4_1), its first four layers'
	[ -z "$short" ] || base_words='SmolLM2-135M (Q4_1), its first two layers'
fi

# The pools that are there; the first is the one that architectures are compared on.
pools=
for name in paper-train-pool freebsd-dualpi2-a simulated; do
	if [ -f "$data/$name.csv.gz" ] || { [ $name = simulated ] && [ -f "$data/$name.h5" ]; }; then
		pools="$pools $name"
	fi
done
[ -n "$pools" ] || {
	echo "$0: no pool in '$data'" >&2
	exit 3
}
first=$(echo $pools | cut -d ' ' -f 1)

# train_on POOL [--set KEY=VALUE]...: import, split by time, train, keep what eval prints
train_on() {
	name=$1
	shift
	run=$work/$name
	if [ ! -f "$run/policy.h5" ]; then
		prepare_pool "$name"
		resume=
		[ ! -d "$run" ] || resume=--resume
		# shellcheck disable=SC2086 # words
		"$aqmtrain" train -c $config --set labels=logged --set "model.path=$base" --set "pool.train=$work/$name-train.h5" \
			--set "pool.eval=$work/$name-eval.h5" "$@" $short ${epochs:+--set train.epochs=$epochs} -o "$run" $resume
	fi
	"$aqmtrain" eval -r "$run" --pool "$work/$name-train.h5" >"$work/$name-train.txt"
	"$aqmtrain" eval -r "$run" --pool "$work/$name-eval.h5" >"$work/$name-eval.txt"
	"$aqmtrain" eval -r "$run" --pool "$work/$name-train.h5" --last >"$work/$name-train-last.txt"
	"$aqmtrain" eval -r "$run" --pool "$work/$name-eval.h5" --last >"$work/$name-last.txt"
	"$aqmtrain" eval -r "$run" --pool "$work/$name-eval.h5" --returns target >"$work/$name-target.txt"
	"$aqmtrain" eval -r "$run" --pool "$work/$name-eval.h5" --decisions int8 >"$work/$name-int8.txt"
}

# block TITLE FILE
block() {
	printf '%s\n\n```\n' "$1"
	cat "$2"
	printf '```\n\n'
}

# chapter POOL "EXTRA --set, as text"
chapter() {
	name=$1
	printf '## %s\n\n`%s` with `--set labels=logged`%s; the first 70 %% train, the rest are held out.\n' \
		"$name" "$config" "$2"
	printf 'Seed %s. %s steps in %s.\n\n' "$(sed -n 's/^seed: //p' "$work/$name/config.yaml")" \
		"$(grep -c '"lr"' "$work/$name/metrics.jsonl")" \
		"$(sed -n 's/.*"elapsed_s":\([0-9]*\).*/\1/p' "$work/$name/metrics.jsonl" | tail -n 1) s"
	block 'Training part, last step:' "$work/$name-train-last.txt"
	block 'Held-out part, last step (nothing was picked):' "$work/$name-last.txt"
	block 'Training part, best checkpoint:' "$work/$name-train.txt"
	block 'Held-out part, best checkpoint (picked by macro-F1 on these same rows, so it flatters):' "$work/$name-eval.txt"
	block 'Held-out part, best checkpoint, conditioned on the target return instead of the logged returns, as decisions are:' \
		"$work/$name-target.txt"
	block 'The same decided row after row as a queue would, in 8 bits (`decide.arithmetic: int8`):' "$work/$name-int8.txt"
}

# What a pool has no fields for, or is too large for.
settings_of_pool() {
	case $1 in
	freebsd-dualpi2-a)
		echo "--set policy.features=[queue_type,burst_allowance,drop_prob,current_qdelay,accu_prob,tot_bytes,drops]" \
			"--set policy.sequences=[current_qdelay] --set train.epochs=20"
		;;
	esac
}

for name in $pools; do
	# shellcheck disable=SC2046 # words
	train_on "$name" $(settings_of_pool "$name")
done

# ---- over seeds ----

# The first pool has all of them, larger ones the first two.
seeds_of_pool() {
	if [ "$1" = "$first" ]; then echo "$spread"; else echo "$spread" | cut -d ' ' -f 1-2; fi
}

train_seeds() (
	for name in $pools; do
		for seed in $(seeds_of_pool "$name"); do
			# shellcheck disable=SC2046,SC2086 # settings are words
			train_one "$work/seeds/$name/$seed" $config "$name" "$seed" "model.path=$base" labels=logged \
				$(settings_of_pool "$name" | sed 's/--set //g') $(echo $short | sed 's/--set //g') $everywhere
		done
	done
)

table_of_seeds() {
	printf '## Over seeds\n\nThe same trainings with seeds %s, or the first two of them, one thread each: the mean and the range on the held-out part. Best is the epoch of\n' \
		"$(echo $spread | sed 's/ /, /g')"
	printf 'the highest held-out macro-F1, so it flatters; aimed is the last step, told its own target return.\n\n'
	heading 'pool'
	for name in $pools; do
		baselines "$work/seeds/$name"
		row "$work/seeds/$name" "$name"
	done
	printf '\n'
}

train_seeds

# ---- control: update ----

case $pools in
*freebsd-dualpi2-a*) updates=freebsd-dualpi2-a ;;
*) updates=$first ;;
esac

train_updates() {
	run=$work/updates
	if [ ! -f "$run/policy.h5" ]; then
		resume=
		[ ! -d "$run" ] || resume=--resume
		"$aqmtrain" train -c configs/smollm2-135m-update.yaml --set "model.path=$base" --set "pool.train=$work/$updates-train.h5" \
			--set "pool.eval=$work/$updates-eval.h5" $short ${epochs:+--set train.epochs=$epochs} -o "$run" $resume
	fi
	"$aqmtrain" eval -r "$run" --pool "$work/$updates-eval.h5" >"$work/updates-eval.txt"
	"$aqmtrain" eval -r "$run" --pool "$work/$updates-eval.h5" --last >"$work/updates-last.txt"
	"$aqmtrain" eval -r "$run" --pool "$work/$updates-eval.h5" --returns target --last >"$work/updates-target.txt"
}

chapter_updates() {
	printf '## control: update\n\n`configs/smollm2-135m-update.yaml` on %s: a row is an update interval of one queue, between two\n' "$updates"
	printf 'changes of its drop_prob, and the action is the p'"'"' that the controller set next. Seed %s; %s steps in %s s.' \
		"$(sed -n 's/^seed: //p' "$work/updates/config.yaml")" "$(grep -c '"lr"' "$work/updates/metrics.jsonl")" \
		"$(sed -n 's/.*"elapsed_s":\([0-9]*\).*/\1/p' "$work/updates/metrics.jsonl" | tail -n 1)"
	if [ "$updates" = freebsd-dualpi2-a ]; then
		printf ' This log overlaps itself in places, where\np'"'"' jumps back for no reason that a controller would have.'
	fi
	printf '\n\n'
	block 'Held-out part, last step (nothing was picked):' "$work/updates-last.txt"
	block 'Held-out part, best checkpoint (picked by the loss on these same rows, so it flatters):' "$work/updates-eval.txt"
	block 'Held-out part, last step, conditioned on the target return, as decisions are:' "$work/updates-target.txt"
}

train_updates

# ---- the four architectures ----

# name|title
architectures() {
	[ -n "${SYNTHETIC:-}" ] || echo 'smollm2|llama: SmolLM2-135M, two of 30 layers, public weights (Q4_1)'
	cat <<-'PLAN'
		tiny-llama|llama: 3 layers of width 96, synthetic weights
		tiny-opt|opt: 3 layers of width 96, synthetic weights
		tiny-gpt2|gpt2: 3 layers of width 96, synthetic weights
		tiny-t5|t5: encoder and decoder of width 96, synthetic weights
	PLAN
}

# side|item|title|settings. Ours at one rate: the configurations of the large bases have a smaller one. Random weights are nothing to keep,
# so what has them is trained as a whole too.
variants() {
	echo 'ours|as-it-is|ours|train.lr=0.001'
	[ "$1" = smollm2 ] || echo 'ours|full|ours, every weight trained|train.lr=0.001 lora.rank=0'
	case $1 in
	*t5) echo "paper|as-it-is|the paper's (the encoder reads the actions to predict)|" ;;
	*) echo "paper|as-it-is|the paper's|" ;;
	esac
}

train_architectures() (
	work=$shapes
	mkdir -p "$work"
	prepare_pool "$first"
	for seed in $seeds; do
		architectures | while IFS='|' read -r shape _; do
			prepare_base "$shape"
			variants "$shape" | while IFS='|' read -r side item _ settings; do
				# shellcheck disable=SC2046,SC2086 # settings are words
				train_one "$work/$shape/$first/$side/$item/$seed" "$(config_of "$side" "$shape")" "$first" \
					"$seed" $(settings_of_base "$shape") pool.labels=logged $settings $everywhere </dev/null
			done
		done
	done
)

table_of_architectures() (
	work=$shapes
	printf '## The architectures of the paper\n\n%s as above, a base of each architecture in sizes that a CPU trains in minutes,\n' "$first"
	printf 'with our configuration (`configs/`, all at a learning rate of 0.001) and with the paper'"'"'s (`configs/paper/`). Each figure is the mean over the\n'
	printf 'seeds, which the last column counts, and their range. Random weights stand in where public ones could not be had; they are nothing to keep, so what\n'
	printf 'has them is trained as a whole too. Best is the epoch of the highest held-out macro-F1, so it flatters; aimed is the last step, told its\n'
	printf 'own target return. What each difference between the two configurations does is in [differences.md](differences.md).\n\n'
	heading 'base'
	baselines "$work/tiny-llama/$first/ours"
	architectures | while IFS='|' read -r shape title; do
		variants "$shape" | while IFS='|' read -r side item what _; do
			row "$work/$shape/$first/$side/$item" "$title: $what"
		done
	done
)

train_architectures

{
	printf '# Results on %s decisions\n\nMade by `tools/results.sh`: %s, LoRA rank 128 on q and v, on the CPU.\n' \
		"$([ "$first" = simulated ] && echo simulated || echo real)" "$base_words"
	if [ -n "${SHORT:-}" ]; then
		printf 'Short settings (`tools/reproduce.sh`): %s epochs and one seed, to see that it all works; more would do better.\n' "$epochs"
	fi
	if [ "$first" = simulated ]; then
		printf 'The rows are decisions of the FreeBSD kernel'"'"'s DualPI2 in the simulator.'
	else
		printf 'The rows are FreeBSD DualPI2 decisions measured by the authors of the paper.'
	fi
	printf ' A logged action is what the kernel logged, phantom drops\nincluded: imitating the log is the task that the paper set, and a high score '
	printf 'says that the rule was learned, not that it is a good rule.\n\n'
	for name in $pools; do
		case $name in
		freebsd-dualpi2-a) chapter $name ' and the fields that this pool has (`tot_bytes`, `drops`; no `len_bytes`, no `pkt_len`), '"${epochs:-20} epochs" ;;
		*) chapter "$name" '' ;;
		esac
	done
	table_of_seeds
	chapter_updates
	table_of_architectures
} >"$out.tmp"
mv "$out.tmp" "$out"
echo "$out written"
