#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Every configuration that comes with the program can be read, and trains a tiny model of its architecture for an epoch.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"
make_inputs
# All eight features of the defaults: a count of drops too.
awk -F, -v OFS=, 'NR == 1 { print $0, "drops"; next } { print $0, drops + 0; drops += $8 == 1 }' pool.csv >eight.csv
expect 0 "$program" pool import eight.csv -o pool.h5
expect 0 "$program" pool split pool.h5 --train train.h5 --eval eval.h5 --fraction 0.7

# preset_of FILE: the tiny base with the architecture of the one that the configuration is for
preset_of() {
	case $(basename "$1") in
	gpt2*) echo tiny-gpt2 ;;
	opt*) echo tiny-opt ;;
	t5*) echo tiny-t5 ;;
	*) echo tiny-llama ;;
	esac
}

for config in "$source"/configs/*.yaml "$source"/configs/paper/*.yaml; do
	name=${config#"$source"/configs/}
	run=$(echo "${name%.yaml}" | tr / -)
	preset=$(preset_of "$config")
	expect 0 "$program" config -c "$config"
	[ "$name" != closed-loop.yaml ] || continue # wants ranks, which pools of logs have not: utility.sh trains it
	[ -f "$preset.gguf" ] || "$program" model synth --preset "$preset" -o "$preset.gguf"
	expect 0 "$program" train -c "$config" --set model.path="$preset.gguf" --set model.stop_layer=0 --set encoder_width=16 \
		--set epochs=1 --set threads=1 -o "$run"
	case $name in
	paper/*)
		for doubt in normaliser gamma min-max time_embedding tiles clip_each warmup action_embedding last; do
			grep -q "warning:.*$doubt" err || die "$name trains without a word about $doubt"
		done
		case $name in
		*t5*) grep -q "warning:.*causal" err || die "$name trains without a word about its encoder" ;;
		esac
		;;
	*)
		! grep -q "warning: '" err || { cat err >&2; die "$name is warned of"; }
		;;
	esac
	expect 0 "$program" eval -r "$run" --pool eval.h5
done
