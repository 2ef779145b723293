#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# export: everything at once, again over itself, and what it refuses to overwrite.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"
make_inputs
expect 0 "$program" train -c tiny.yaml -o run --set train.epochs=1

expect 0 "$program" export -r run --peft peft/ --gguf-lora lora.gguf --merged merged.gguf --bundle policy.bundle
says err "wrote PEFT adapter 'peft/'"
says err "wrote merged model 'merged.gguf'"
for file in peft/adapter_config.json peft/adapter_model.safetensors peft/policy.safetensors peft/README.md lora.gguf merged.gguf \
	policy.bundle; do
	[ -s "$file" ] || die "no $file"
done
says peft/adapter_config.json '"q_proj"'
says peft/README.md "PeftModel.from_pretrained"

# The same input gives the same bytes.
mkdir first
mv lora.gguf merged.gguf policy.bundle first
cp -r peft first
expect 0 "$program" export -r run --peft peft --gguf-lora lora.gguf --merged merged.gguf --bundle policy.bundle
for file in peft/adapter_model.safetensors peft/policy.safetensors lora.gguf merged.gguf policy.bundle; do
	cmp "$file" "first/$file"
done

# A bundle is a policy; a merged model is a base.
expect 0 "$program" eval -r run --pool eval.h5 --json
grep -vE '"(command|policy)":' out >whole.json # which say where it came from
expect 0 "$program" eval -r policy.bundle --pool eval.h5 --json
grep -vE '"(command|policy)":' out | cmp - whole.json || die "the bundle decides otherwise than the run"
expect 0 "$program" model info merged.gguf
expect 0 "$program" train -c tiny.yaml -o onwards --set model.path=merged.gguf --set train.epochs=1
expect 0 "$program" export -r run --merged small.gguf --type q8_0
[ "$(stat -c %s small.gguf)" -lt "$(stat -c %s merged.gguf)" ] || die "q8_0 is no smaller"

# What is there stays when an export is refused or fails.
echo mine >peft/notes
expect 2 "$program" export -r run --peft peft
says err "notes"
says peft/notes mine
cp base.gguf copy.gguf
expect 2 "$program" export -r run --merged base.gguf
expect 2 "$program" export -r run --gguf-lora peft/../base.gguf
says err "it is what is read"
expect 2 "$program" export -r run --bundle base.gguf
cmp base.gguf copy.gguf
expect 2 "$program" export -r run --gguf-lora new.gguf --merged ./new.gguf
says err "named twice"
expect 2 "$program" export -r run --merged merged.gguf --type q4_k
cmp merged.gguf first/merged.gguf
expect 1 "$program" export -r run --bundle no/such/folder/x
expect 2 "$program" export -r run
says err "wants to know what to write"
expect 2 "$program" export --peft x
expect 2 "$program" export -r run --bundle x --type f16
expect 3 "$program" export -r nothing --bundle x
[ ! -e x ] || die "a failed export left something"

# Full fine-tuning has no adapter to export, but a model.
expect 0 "$program" train -c tiny.yaml -o full --set lora.rank=0 --set train.epochs=1
expect 2 "$program" export -r full --peft full-peft
says err "lora.rank is 0"
expect 2 "$program" export -r full --gguf-lora full.gguf
expect 0 "$program" export -r full --merged full.gguf
expect 0 "$program" model info full.gguf
ls | grep -F .tmp && die "temporary files are left" || true
