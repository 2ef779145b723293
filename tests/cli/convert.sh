#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# model convert, as a user runs it.
. "$(dirname "$0")/helper.sh"
models=$source/tests/golden/convert

expect 0 "$program" model convert "$models/llama-sharded" -o a.gguf
[ ! -s out ] || die "convert printed on stdout"
expect 0 "$program" model info a.gguf
says out "architecture   llama"
says out "rope_freqs.weight"
says out "bf16"
expect 0 "$program" model convert "$models/llama-sharded/" --type q4_0 -o b.gguf
expect 0 "$program" model info b.gguf --json
says out '"general.name": "llama-sharded"'
says out '"type": "q4_0"'
[ "$(wc -c <b.gguf)" -lt "$(wc -c <a.gguf)" ] || die "q4_0 is no smaller than bf16"
[ "$(ls)" = "$(printf 'a.gguf\nb.gguf\nerr\nout')" ] || die "something was left behind: $(ls)"

# Rows that are no multiple of a block.
expect 0 "$program" model convert "$models/llama-sharded" --type q8_0 -o b.gguf
says err "2 matrices have rows that are no multiple of 32, the block of type q8_0: written as f16"

# Wrong usage.
expect 2 "$program" model convert
expect 2 "$program" model convert "$models/gpt2"
expect 2 "$program" model convert -o c.gguf
expect 2 "$program" model convert "$models/gpt2" "$models/opt" -o c.gguf
expect 2 "$program" model convert "$models/gpt2" --type q6_k -o c.gguf
expect 2 "$program" model convert a.gguf -o c.gguf
says err "'a.gguf' is a GGUF file already: use it as it is"
expect 2 "$program" model convert "$models/gpt2/config.json" -o c.gguf
says err "expected the folder"

# Unusable folders, and a place that cannot be written.
mkdir old
cp "$models/gpt2/config.json" old
expect 3 "$program" model convert old -o c.gguf
says err "'old' has neither model.safetensors nor model.safetensors.index.json"
: >old/pytorch_model.bin
expect 3 "$program" model convert old -o c.gguf
says err "save_pretrained(new, safe_serialization=True)"
head -c 20000 "$models/gpt2/model.safetensors" >old/model.safetensors
expect 3 "$program" model convert old -o c.gguf
says err "past the end of the file"
expect 3 "$program" model convert missing -o c.gguf
expect 1 "$program" model convert "$models/gpt2" -o no/such/c.gguf
[ ! -e c.gguf ] || die "a model after a failure"
