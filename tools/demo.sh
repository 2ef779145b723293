#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# From nothing to a trained, evaluated, exported policy: installs what is missing where it may, builds, then runs the whole path
# on the sample log in data/. Usage: tools/demo.sh [FOLDER]   (default: build/demo; made anew)
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/demo}
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE || true # a pinned kernel would slow it down
export OMP_WAIT_POLICY=passive                     # and so would threads that spin while something else runs

tools/install-deps.sh
cmake --preset release >/dev/null
cmake --build --preset release --target aqmtrain
aqmtrain=$PWD/build/release/aqmtrain

rm -rf "$out"
mkdir -p "$out"
say() { printf '\n\033[1m$ aqmtrain %s\033[0m\n' "$*"; "$aqmtrain" "$@"; }

began=$(date +%s)
say pool parse data/sample-log -o "$out/pool.h5"
say pool info "$out/pool.h5"
say pool split "$out/pool.h5" --train "$out/train.h5" --eval "$out/eval.h5" --fraction 0.7
say model synth --preset tiny-llama --seed 1 -o "$out/tiny-llama.gguf"
say train -c configs/tiny-llama.yaml --set "model.path=$out/tiny-llama.gguf" --set "pool.train=$out/train.h5" \
    --set "pool.eval=$out/eval.h5" -o "$out/run"
say eval -r "$out/run" --pool "$out/eval.h5"
say export -r "$out/run" --peft "$out/peft" --gguf-lora "$out/adapter.gguf" --merged "$out/merged.gguf" --bundle "$out/policy.bundle"
printf '\nDone in %d s. Everything is in %s:\n' "$(($(date +%s) - began))" "$out"
ls -l "$out"
