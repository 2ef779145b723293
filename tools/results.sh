#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# results.sh: make docs/results.md: train configs/smollm2-135m.yaml on real DualPI2 decisions, evaluate beside the baselines.
#
#     tools/results.sh DATA_FOLDER [WORK_FOLDER]
#
# DATA_FOLDER holds paper-train-pool.csv.gz and freebsd-dualpi2-a.csv.gz (measured by the paper's authors; not part of this project). Needs a
# release build. A run that was interrupted goes on where it stopped when the script is run again; a finished one is not repeated.
set -eu
cd "$(dirname "$0")/.."
data=${1:?usage: tools/results.sh DATA_FOLDER [WORK_FOLDER]}
work=${2:-build/results}
aqmtrain=${AQMTRAIN:-build/release/aqmtrain}
config=configs/smollm2-135m.yaml
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE || true # a pinned kernel would slow it down

mkdir -p "$work" docs
base=$(find "$work" -name '*.gguf' | head -n 1)
if [ -z "$base" ]; then
	tools/fetch-smollm2.sh "$work"
	base=$(find "$work" -name '*.gguf' | head -n 1)
fi

# train_on POOL [--set KEY=VALUE]...: import, split by time, train, keep what eval prints
train_on() {
	name=$1
	shift
	run=$work/$name
	if [ ! -f "$run/policy.h5" ]; then
		"$aqmtrain" pool import "$data/$name.csv.gz" -o "$work/$name.h5"
		"$aqmtrain" pool split "$work/$name.h5" --train "$work/$name-train.h5" --eval "$work/$name-eval.h5" --fraction 0.7
		resume=
		[ ! -d "$run" ] || resume=--resume
		"$aqmtrain" train -c $config --set labels=logged --set "model.path=$base" --set "pool.train=$work/$name-train.h5" \
			--set "pool.eval=$work/$name-eval.h5" "$@" -o "$run" $resume
	fi
	"$aqmtrain" eval -r "$run" --pool "$work/$name-train.h5" >"$work/$name-train.txt"
	"$aqmtrain" eval -r "$run" --pool "$work/$name-eval.h5" >"$work/$name-eval.txt"
	"$aqmtrain" eval -r "$run" --pool "$work/$name-train.h5" --last >"$work/$name-train-last.txt"
	"$aqmtrain" eval -r "$run" --pool "$work/$name-eval.h5" --last >"$work/$name-last.txt"
	"$aqmtrain" eval -r "$run" --pool "$work/$name-eval.h5" --returns target >"$work/$name-target.txt"
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
	printf '## %s.csv.gz\n\n`%s` with `--set labels=logged`%s; the first 70 %% of the rows train, the rest are held out.\n' \
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
}

train_on paper-train-pool
train_on freebsd-dualpi2-a \
	--set 'policy.features=[queue_type, burst_allowance, drop_prob, current_qdelay, accu_prob, tot_bytes, drops]' \
	--set 'policy.sequences=[current_qdelay]' --set train.epochs=20

{
	printf '# Results on real decisions\n\nMade by `tools/results.sh`: SmolLM2-135M (Q4_1, its first four layers), LoRA rank 128 on q and v, on the CPU.\n'
	printf 'The rows are FreeBSD DualPI2 decisions measured by the authors of the paper. A logged action is what the kernel logged, phantom drops\n'
	printf 'included: imitating the log is the task that the paper set, and a high score says that the rule was learned, not that it is a good rule.\n\n'
	chapter paper-train-pool ''
	chapter freebsd-dualpi2-a ' and the fields that this pool has (`tot_bytes`, `drops`; no `len_bytes`, no `pkt_len`), 20 epochs'
} >docs/results.md.tmp
mv docs/results.md.tmp docs/results.md
echo "docs/results.md written"
