#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# aqmtrain config: defaults, files, settings, explanations.
. "$(dirname "$0")/helper.sh"

expect 0 "$program" config
mv out resolved.yaml
expect 0 "$program" config -c resolved.yaml
cmp out resolved.yaml || die "a resolved configuration does not read back as itself"
expect 0 "$program" config --defaults
mv out defaults.yaml
expect 0 "$program" config -c defaults.yaml
cmp out resolved.yaml || die "--defaults does not read back as the defaults"

printf 'lora:\n  rank: 8\n' >a.yaml
expect 0 "$program" config -c a.yaml --set lora.alpha=16 --set 'lora.targets=[q, k]' --set train.lr=3e-4
says out "  rank: 8"
says out "  alpha: 16.0"
says out "  targets: [q, k]"
says out "  lr: 0.0003"
expect 0 "$program" config -c a.yaml --set lora.rank=4
says out "  rank: 4"

printf 'lora:\n  rnk: 8\n' >b.yaml
expect 2 "$program" config -c b.yaml
says err "aqmtrain: b.yaml:2:3: no option 'lora.rnk'; did you mean 'lora.rank'?"
expect 2 "$program" config -c missing.yaml
says err "cannot open 'missing.yaml'"
expect 2 "$program" config --set lora.rank
expect 2 "$program" config --set 'policy.sequences=[nosuch]'
says err "policy.features"
expect 2 "$program" config stray
head -c 100000 /dev/urandom >noise
expect 2 "$program" config -c noise

expect 0 "$program" config --explain lora.rank
says out "whole number from 0 to 65536"
expect 0 "$program" config --explain train
says out "train.schedule"
expect 0 "$program" config --explain rank
expect 2 "$program" config --explain lora.rnak
says err "did you mean 'lora.rank'?"
