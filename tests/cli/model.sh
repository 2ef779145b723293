#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# model info and model synth, as a user runs them.
. "$(dirname "$0")/helper.sh"

# Synthetic models: the same again for the same seed, another for another.
expect 0 "$program" model synth --preset tiny-llama --type q8_0 --seed 3 -o a.gguf
[ ! -s out ] || die "synth printed on stdout"
expect 0 "$program" model synth --preset tiny-llama --type q8_0 --seed 3 -o b.gguf
cmp a.gguf b.gguf
expect 0 "$program" model synth --preset tiny-llama --type q8_0 --seed 4 -o b.gguf
cmp -s a.gguf b.gguf && die "two seeds gave one model"
[ "$(ls)" = "$(printf 'a.gguf\nb.gguf\nerr\nout')" ] || die "something was left behind: $(ls)"

expect 0 "$program" model info a.gguf
says out "architecture   llama"
says out "blk.2.ffn_down.weight"
expect 0 "$program" model info a.gguf --json
says out '"architecture": "llama"'
says out '"name": "blk.2.ffn_down.weight"'

# Wrong usage.
expect 2 "$program" model synth --preset tiny-llama
expect 2 "$program" model synth -o c.gguf
expect 2 "$program" model synth --preset tiny-llama --type q4_k -o c.gguf
expect 2 "$program" model synth --preset tiny-llama --type nonsense -o c.gguf
expect 2 "$program" model synth --preset tiny-llama --seed -1 -o c.gguf
expect 2 "$program" model synth --preset nonsense -o c.gguf
says err "no preset 'nonsense' (tiny-llama,"
expect 2 "$program" model info
expect 2 "$program" model info a.gguf b.gguf
[ ! -e c.gguf ] || die "a model after wrong usage"

# Unusable files, and a place that cannot be written.
head -c 100000 a.gguf >cut.gguf
expect 3 "$program" model info cut.gguf
says err "bytes past the end of the file"
head -c 100000 /dev/urandom >noise.gguf
expect 3 "$program" model info noise.gguf
says err "cannot read 'noise.gguf': it is not a GGUF file"
expect 3 "$program" model info missing.gguf
expect 1 "$program" model synth --preset tiny-llama -o no/such/c.gguf
