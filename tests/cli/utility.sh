#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# aqmtrain sim --collect --utility, and a policy that corrects its host: collected, trained, in the closed loop, and in a
# pool again.
. "$(dirname "$0")/helper.sh"

"$program" model synth --preset micro-llama -o micro-llama.gguf
cp "$source/configs/closed-loop.yaml" "$source/configs/grids/closed-loop-train.yaml" .
small="--set mix=one --set link.rate=8,20 --set flows.rtt=10 --set aqm.target=3,8,20 --set draws=1 --set seeds=1 --set seconds=4 --set warmup=1"

expect 0 "$program" sim --collect train.h5 --grid closed-loop-train.yaml --utility balanced --relabel $small
expect 0 "$program" pool info train.h5
for column in utility utility_rank rule_drop_prob controller_delay slow_bytes other_bytes next_drop_prob; do
	says out "$column"
done
expect 0 "$program" train -c closed-loop.yaml -o run --set train.epochs=2 --set train.windows_per_epoch=512 --set train.windows=64
expect 0 "$program" eval -r run --closed-loop --grid "$source/configs/grids/closed-loop-test.yaml" --seeds 2 --utility balanced \
	--aqm dualpi2,policy --delay none --set mix=one --set link.rate=20 --set flows.rtt=10 --set seconds=8 -o loop
says out "utility balanced"
says out "policy"
expect 0 "$program" sim --collect again.h5 --grid closed-loop-train.yaml --utility l4s --policy run --policy-runs 2 $small
expect 0 "$program" pool info again.h5
says out "episodes         10" # three runs by the rules and two of the policy on each of two links

wrong() {
	expect 2 "$program" sim --collect no.h5 "$@"
	[ ! -e no.h5 ] || die "a pool was left by '$*'"
}
wrong --grid closed-loop-train.yaml --utility best
says err "no utility 'best'"
wrong --utility balanced
says err "wants --grid"
wrong --grid closed-loop-train.yaml --relabel
says err "want --utility"
wrong --grid closed-loop-train.yaml $small --utility balanced --set aqm.kind=freebsd-l4s --relabel
says err "what it would have done"

# The reward is a whole episode's.
expect 2 "$program" train -c closed-loop.yaml -o bad --set reward.gamma=0.9
says err "reward.gamma"
