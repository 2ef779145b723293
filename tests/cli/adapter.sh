#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# train --init-adapter and model forward --adapter: an adapter out, in, and out again is the same; and what is refused.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"
make_inputs
embeddings=$source/tests/golden/model/t5-full

# A run's adapter into a run that does not move: the same bytes come out, whichever way it went in.
expect 0 "$program" train -c tiny.yaml -o run --set train.epochs=1
expect 0 "$program" export -r run --last --peft adapter --gguf-lora adapter.gguf
for adapter in adapter adapter.gguf; do
	expect 0 "$program" train -c tiny.yaml -o again --set train.epochs=1 --set train.lr=0 --init-adapter "$adapter"
	says err "the adapters begin with those of '$adapter'"
	says again/init_adapter.json "\"path\": \"$adapter\""
	says again/init_adapter.json '"sha256": "'
	expect 0 "$program" export -r again --last --peft second --gguf-lora second.gguf
	cmp adapter/adapter_model.safetensors second/adapter_model.safetensors
	cmp adapter.gguf second.gguf
	rm -r again
done

# Resuming does not need it; another beginning gives another policy.
expect 0 "$program" train -c tiny.yaml -o whole --set train.epochs=2 --set train.keep_checkpoints=100 --init-adapter adapter
expect 0 "$program" train -c tiny.yaml -o cut --set train.epochs=2 --set train.keep_checkpoints=100 --init-adapter adapter
mv adapter moved
rm cut/policy.h5
for step in cut/checkpoints/step-*; do
	[ "$step" = cut/checkpoints/step-0 ] || rm -r "$step"
done
echo step-0 >cut/checkpoints/latest
expect 0 "$program" train -o cut --resume
says err "resuming at step 0"
cmp whole/policy.h5 cut/policy.h5
expect 0 "$program" train -c tiny.yaml -o without --set train.epochs=2 --set train.keep_checkpoints=100
cmp -s whole/policy.h5 without/policy.h5 && die "the adapter made no difference"
mv moved adapter
[ ! -e without/init_adapter.json ] || die "a record of no adapter"

# Killed before its adapter was in a checkpoint: not taken for a run without one.
rm -r cut/checkpoints
expect 2 "$program" train -o cut --resume
says err "it was killed before its adapter was in a checkpoint"

# Wrong settings: the message has the right ones.
expect 2 "$program" train -c tiny.yaml -o x --init-adapter adapter --set lora.rank=8 --set 'lora.targets=[q, v, o]'
says err "--set lora.rank=4 --set lora.alpha=8 --set 'lora.targets=[q, v]'"
expect 2 "$program" train -c tiny.yaml -o x --init-adapter adapter --set lora.rank=0
expect 2 "$program" train -o run --resume --init-adapter adapter
expect 2 "$program" train -c tiny.yaml -o run --init-adapter adapter
[ ! -e x/config.yaml ] || die "a failed start left a run"

# What is no adapter of this base.
expect 3 "$program" train -c tiny.yaml -o x --init-adapter missing
expect 3 "$program" train -c tiny.yaml -o x --init-adapter base.gguf
says err "is no LoRA adapter"
expect 3 "$program" train -c tiny.yaml -o x --init-adapter pool.h5
mkdir old
cp adapter/adapter_config.json old
expect 3 "$program" train -c tiny.yaml -o x --init-adapter old
says err "expected a PEFT folder or a GGUF adapter"
: >old/adapter_model.bin
expect 3 "$program" train -c tiny.yaml -o x --init-adapter old
says err "save it as safetensors first"
cp adapter/adapter_model.safetensors old
sed 's/"use_rslora": false/"use_dora": true/' adapter/adapter_config.json >old/adapter_config.json
expect 3 "$program" train -c tiny.yaml -o x --init-adapter old
says err "DoRA"
expect 3 "$program" model forward "$embeddings.gguf" --input "$embeddings.h5" --output y.h5 --adapter adapter
[ ! -e y.h5 ] || die "hidden states of another model's adapter"
expect 3 "$program" model forward "$embeddings.gguf" --input "$embeddings.h5" --output y.h5 --adapter adapter.gguf
says err "is an adapter of architecture 'llama'; the base model is a t5"
