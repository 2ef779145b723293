#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# sweep.sh [SEED]: every architecture against transformers with new random numbers (default: today's date), wider than the
# committed golden files are: gradients of all weights and adapters (test_model_golden on what tools/golden/model.py makes),
# published models of many shapes, types and shards through `model convert` and `model forward` (tools/golden/convert.py), and
# adapters out and in (tools/golden/adapters.py). For a nightly run. PYTHON must have torch, transformers, peft, safetensors, gguf,
# h5py and numpy; LLAMA_CPP may name a checkout of llama.cpp, whose converter must then write the same tensors, and LLAMA_PYTHON
# an interpreter with llama_cpp.
set -eu
cd "$(dirname "$0")/.."
seed=${1:-$(date +%Y%m%d)}
python=${PYTHON:-python3}
jobs=$(nproc)
export OMP_WAIT_POLICY=passive

tools/install-deps.sh
cmake --preset release
cmake --build --preset release -j "$jobs" --target aqmtrain test_model_golden

golden=$(mktemp -d)
trap 'rm -rf "$golden"' EXIT
echo "== gradients, seed $seed"
"$python" tools/golden/model.py "$golden" "$seed"
AQM_GOLDEN_MODELS=$golden build/release/tests/test_model_golden

echo "== published models, seed $seed"
"$python" tools/golden/convert.py check build/release/aqmtrain --seed "$seed" \
	${LLAMA_CPP:+--llama-cpp "$LLAMA_CPP"} ${LLAMA_PYTHON:+--llama-python "$LLAMA_PYTHON"}

echo "== adapters, seed $seed"
"$python" tools/golden/adapters.py build/release/aqmtrain --seed "$seed" ${LLAMA_PYTHON:+--llama-python "$LLAMA_PYTHON"}
