#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# model forward, as a user runs it. What it computes: tests/model/test_forward.c.
. "$(dirname "$0")/helper.sh"
golden=$source/tests/golden/model

expect 0 "$program" model forward "$golden/t5-full.gguf" --input "$golden/t5-full.h5" --output y.h5
[ ! -s out ] || die "forward printed on stdout"
[ -s y.h5 ] || die "no y.h5"
expect 0 "$program" model forward "$golden/t5-full.gguf" --input "$golden/t5-full.h5" -o streamed.h5 --streaming
expect 0 "$program" model forward "$golden/t5-full.gguf" --input "$golden/t5-full.h5" -o streamed.h5 --chunk 7 --stop-layer 1 --bidirectional
says err "labels leak"

# Wrong usage.
expect 2 "$program" model forward
expect 2 "$program" model forward "$golden/opt-full.gguf" --input "$golden/opt-full.h5"
expect 2 "$program" model forward "$golden/opt-full.gguf" --output y.h5
expect 2 "$program" model forward "$golden/opt-full.gguf" --input "$golden/opt-full.h5" --output n.h5 --chunk 0
expect 2 "$program" model forward "$golden/opt-full.gguf" --input "$golden/opt-full.h5" --output n.h5 --device none
expect 2 "$program" model forward "$golden/opt-full.gguf" --input "$golden/opt-full.h5" --output n.h5 --stop-layer 99
expect 2 "$program" model forward "$golden/opt-full.gguf" --input "$golden/opt-full.h5" --output n.h5 --bidirectional

# Unusable files, and a place that cannot be written.
expect 3 "$program" model forward "$golden/opt-full.gguf" --input missing.h5 --output n.h5
says err "missing.h5"
expect 3 "$program" model forward "$golden/opt-full.gguf" --input "$golden/opt-full.gguf" --output n.h5
says err "is not an HDF5 file"
expect 3 "$program" model forward "$golden/opt-full.gguf" --input y.h5 --output n.h5
says err "no dataset 'embeddings'"
expect 3 "$program" model forward "$golden/opt-full.h5" --input "$golden/opt-full.h5" --output n.h5
expect 3 "$program" model forward "$golden/gpt2-lora.gguf" --input "$golden/gpt2-full.h5" --output n.h5
says err "are 16 wide, but"
expect 1 "$program" model forward "$golden/opt-full.gguf" --input "$golden/opt-full.h5" --output no/such/n.h5
[ "$(ls)" = "$(printf 'err\nout\nstreamed.h5\ny.h5')" ] || die "something was left behind: $(ls)"
