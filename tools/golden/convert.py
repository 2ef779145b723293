#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Seeded random models as transformers saves them, and what `aqmtrain model convert` should make of them.

    convert.py check AQMTRAIN [--seed N] [--llama-cpp FOLDER] [--llama-python PYTHON] [--only WORD]
    convert.py fixtures OUT_FOLDER

check: converts every case in every type and compares all tensors, bit for bit, with the state dict under the names and in the types of the
gguf package; then the hidden states of `aqmtrain model forward`, in float32, with transformers', within 1e-5 of the largest. With a checkout of
llama.cpp (its conversion/ and gguf-py/), also with the tensors that its own converter writes; with a PYTHON that has llama_cpp, the hidden
states that llama.cpp computes from the same file.

fixtures: the small folders of tests/golden/convert/, each with expected.safetensors: `embeddings` and `hidden` (1, T, d), and as metadata the
type, shape and SHA-256 of every tensor of the GGUF file. Needs torch, transformers, safetensors, gguf, h5py and numpy.
"""
import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TOLERANCE, TOKENS = 1e-5, 19
LLAMA_CPP_TOLERANCE = {"GPT2": 2e-3}  # it takes GELU from a table in half precision
TYPES = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"]
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "rope_theta": 5000.0, "factor": 2.5}


def llama(d, heads, kv, ffn, layers, **more):
    return dict(hidden_size=d, num_attention_heads=heads, num_key_value_heads=kv, intermediate_size=ffn, num_hidden_layers=layers,
                vocab_size=40, max_position_embeddings=128, **more)


# name: (transformers' family, options of its config, dtype, bytes a shard or None, with the LM head)
CASES = {
    "llama": ("Llama", llama(64, 4, 4, 96, 2), "float32", None, True),
    "llama-grouped-sharded": ("Llama", llama(96, 6, 2, 128, 3), "bfloat16", 60000, True),
    "llama-odd-heads": ("Llama", llama(96, 3, 1, 64, 2, head_dim=10, attention_bias=True, mlp_bias=True), "float16", None, True),
    "llama-odd-width": ("Llama", llama(45, 5, 5, 33, 1, head_dim=8), "float32", None, True),
    "llama-tied": ("Llama", llama(64, 2, 1, 64, 2, tie_word_embeddings=True), "bfloat16", None, True),
    "llama-bare": ("Llama", llama(64, 2, 2, 64, 2), "float32", 40000, False),
    "llama-3": ("Llama", llama(128, 2, 1, 96, 2, rope_parameters=LLAMA3), "bfloat16", None, True),
    "llama-linear": ("Llama", llama(64, 4, 2, 96, 2, rope_parameters=LINEAR), "float32", None, True),
    "mistral": ("Mistral", llama(64, 4, 2, 96, 2, sliding_window=None), "bfloat16", None, True),
    "mistral-wide-heads": ("Mistral", llama(96, 3, 3, 64, 2, head_dim=64, sliding_window=4096), "float16", 50000, True),
    "qwen2": ("Qwen2", llama(64, 4, 2, 96, 2), "bfloat16", None, True),
    "qwen2-tied-sharded": ("Qwen2", llama(96, 3, 1, 64, 3, tie_word_embeddings=True), "float32", 70000, True),
    "gpt2": ("GPT2", dict(n_embd=64, n_head=4, n_layer=2, n_positions=40, vocab_size=40), "float32", None, True),
    "gpt2-odd-sharded": ("GPT2", dict(n_embd=33, n_head=3, n_layer=3, n_inner=70, n_positions=40, vocab_size=40), "float16", 20000, True),
    "gpt2-bare": ("GPT2", dict(n_embd=96, n_head=3, n_layer=1, n_positions=40, vocab_size=40), "bfloat16", None, False),
    "opt": ("OPT", dict(hidden_size=64, num_attention_heads=4, num_hidden_layers=2, ffn_dim=96, word_embed_proj_dim=64, vocab_size=40,
                        max_position_embeddings=40), "float16", None, True),
    "opt-odd-sharded": ("OPT", dict(hidden_size=45, num_attention_heads=5, num_hidden_layers=3, ffn_dim=70, word_embed_proj_dim=45,
                                    vocab_size=40, max_position_embeddings=40), "float32", 30000, True),
    "opt-bare": ("OPT", dict(hidden_size=96, num_attention_heads=3, num_hidden_layers=1, ffn_dim=64, word_embed_proj_dim=96,
                             vocab_size=40, max_position_embeddings=40), "bfloat16", None, False),
    "t5": ("T5", dict(d_model=64, d_kv=16, d_ff=96, num_heads=4, num_layers=2, vocab_size=40), "float32", None, True),
    "t5-odd-sharded": ("T5", dict(d_model=45, d_kv=8, d_ff=70, num_heads=5, num_layers=2, num_decoder_layers=3, vocab_size=40),
                       "bfloat16", 20000, True),
    "t5-1.1": ("T5", dict(d_model=64, d_kv=16, d_ff=96, num_heads=3, num_layers=2, vocab_size=40, feed_forward_proj="gated-gelu",
                          tie_word_embeddings=False), "float16", None, True),
}
FIXTURES = {
    "llama-sharded": ("Llama", llama(96, 3, 1, 32, 2, head_dim=12, rope_parameters=LLAMA3), "bfloat16", 40000, True),
    "qwen2-tied": ("Qwen2", llama(32, 4, 2, 32, 1, tie_word_embeddings=True), "float32", None, True),
    "gpt2": ("GPT2", dict(n_embd=32, n_head=4, n_layer=1, n_inner=64, n_positions=24, vocab_size=40), "float16", None, True),
    "opt": ("OPT", dict(hidden_size=32, num_attention_heads=4, num_hidden_layers=1, ffn_dim=64, word_embed_proj_dim=32, vocab_size=40,
                        max_position_embeddings=24), "float16", None, True),
    "t5-1.1": ("T5", dict(d_model=32, d_kv=8, d_ff=32, num_heads=3, num_layers=1, vocab_size=40, feed_forward_proj="gated-gelu",
                          tie_word_embeddings=False), "bfloat16", None, True),
}


# ---- models ----

def save(name, case, folder, seed=0):
    """The model in float32 with the numbers that the folder holds."""
    import torch
    import transformers

    family, options, dtype, shard, head = case
    torch.manual_seed(sum(map(ord, name)) + seed)
    kind = {"GPT2": "LMHeadModel", "T5": "ForConditionalGeneration"}.get(family, "ForCausalLM") if head else "Model"
    options = dict(options, **{"bos_token_id": 0, "eos_token_id": 0} if family == "GPT2" else {})
    config = getattr(transformers, family + "Config")(**options)
    model = getattr(transformers, family + kind)(config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            norm = p.ndim == 1 and not key.endswith("bias")
            # T5 does not divide its scores by sqrt(d_kv): what it learns is smaller instead.
            size = 0.05 if key.endswith("Attention.q.weight") else 0.2
            p.copy_((torch.randn_like(p) * size + (1.0 if norm else 0.0)).to(getattr(torch, dtype)))
    model.tie_weights()
    model.to(getattr(torch, dtype)).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    return getattr(transformers, family + kind).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def hidden_states(model, x, dtype="float64"):
    """Behind the last norm, computed in double precision unless told otherwise. T5: causal encoder, and a decoder that is fed the encoder's output and sees no later token of it."""
    import torch

    x = torch.from_numpy(x).to(getattr(torch, dtype))
    model.to(x.dtype)  # the same numbers
    with torch.no_grad():
        if model.config.model_type != "t5":
            return model.base_model(inputs_embeds=x, use_cache=False).last_hidden_state.numpy()
        mask = torch.zeros(1, 1, x.shape[1], x.shape[1]).masked_fill(torch.ones(x.shape[1], x.shape[1]).triu(1).bool(), -1e30)
        encoded = model.encoder(inputs_embeds=x, attention_mask=mask).last_hidden_state
        return model.decoder(inputs_embeds=encoded, encoder_hidden_states=encoded, encoder_attention_mask=mask,
                             use_cache=False).last_hidden_state.numpy()


# ---- what the file should hold ----

OPT_NAMES = {"self_attn_layer_norm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.out_proj": "attn_output", "final_layer_norm": "ffn_norm", "fc1": "ffn_up", "fc2": "ffn_down"}


def opt_name(key):
    outer = {"embed_tokens": "token_embd", "embed_positions": "position_embd", "final_layer_norm": "output_norm", "lm_head": "output"}
    stem, _, suffix = key.rpartition(".")
    if ".layers." not in stem:
        return f"{outer[stem.rpartition('.')[2]]}.{suffix}"
    number, _, module = stem.partition(".layers.")[2].partition(".")
    return f"blk.{number}.{OPT_NAMES[module]}.{suffix}"


def gguf_names(model):
    """The published name of a parameter -> the name in the file."""
    import gguf

    family = {"mistral": "llama"}.get(model.config.model_type, model.config.model_type)
    if family == "opt":
        return opt_name
    arch = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == family)
    layers = max(getattr(model.config, "num_decoder_layers", 0), model.config.num_hidden_layers)
    names = gguf.get_tensor_name_map(arch, layers)

    def name_of(key):
        for known in (key, "model." + key, "transformer." + key):
            found = names.get_name(known, try_suffixes=(".weight", ".bias"))
            if found:
                return found
        raise KeyError(key)
    return name_of


def permute(x, heads):
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def rope_factors(rope, head_dim):
    turns = rope["original_max_position_embeddings"] / (2 * np.pi) / rope["rope_theta"] ** (np.arange(0, head_dim, 2) / head_dim)
    blend = np.clip((turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"]), 0, 1)
    return (1 / ((1 - blend) / rope["factor"] + blend)).astype(np.float32)


def expected_tensors(model):
    """Name -> float32 array, as the file should have them."""
    c, out, name_of = model.config, {}, gguf_names(model)
    llama_like = c.model_type in ("llama", "mistral")
    shared = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    for key, p in model.state_dict().items():
        if (key in shared and c.model_type == "t5") or (key == "lm_head.weight" and c.tie_word_embeddings):
            continue
        x = p.float().numpy()
        if llama_like and ".q_proj." in key:
            x = permute(x, c.num_attention_heads)
        if llama_like and ".k_proj." in key:
            x = permute(x, c.num_key_value_heads)
        if c.model_type == "gpt2" and key.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            x = x.T
        out[name_of(key)] = np.ascontiguousarray(x)
    rope = getattr(c, "rope_parameters", None) or {}
    if rope.get("rope_type") == "llama3":
        out["rope_freqs.weight"] = rope_factors(rope, c.head_dim)
    return out


def encode(name, x, type_name):
    """(type, bytes) of a tensor in a file of that type; vectors and tables of positions stay float32."""
    import gguf

    kind = gguf.GGMLQuantizationType[type_name.upper()]
    if x.ndim == 1 or name.startswith("position_embd") or "rel_b" in name:
        kind = gguf.GGMLQuantizationType.F32
    elif x.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0]:
        kind = gguf.GGMLQuantizationType.F16
    return kind, gguf.quants.quantize(x, kind).tobytes()


# ---- check ----

def difference(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


def check_tensors(path, expected, type_name):
    import gguf

    found = {t.name: t for t in gguf.GGUFReader(path).tensors}
    assert set(found) == set(expected), f"{path}: {sorted(set(found) ^ set(expected))}"
    for name, x in expected.items():
        kind, data = encode(name, x, type_name)
        assert found[name].tensor_type == kind, f"{path}: {name} is {found[name].tensor_type!r}, not {kind!r}"
        assert tuple(found[name].shape) == x.shape[::-1], f"{path}: {name} is {found[name].shape}"
        if name == "rope_freqs.weight":
            assert np.allclose(found[name].data, x, rtol=1e-6), f"{path}: {name}"
        else:
            assert found[name].data.tobytes() == data, f"{path}: {name} has other numbers"
    return len(found)


def llama_cpp_convert(checkout, folder, path, type_name):
    """Its converter, without a tokenizer. Run in a process of its own: its gguf package is another one."""
    code = f"""
import sys, pathlib
sys.path[:0] = [{str(checkout)!r}, {str(checkout / 'gguf-py')!r}]
import gguf, torch
from conversion import get_model_class
from conversion.base import ModelBase, ModelType, get_model_architecture
folder = pathlib.Path({str(folder)!r})
kind = get_model_class(get_model_architecture(ModelBase.load_hparams(folder, False), ModelType.TEXT))
kind.set_vocab = lambda self: self._set_vocab_none()
types = dict(f32="ALL_F32", f16="MOSTLY_F16", bf16="MOSTLY_BF16", q8_0="MOSTLY_Q8_0")
with torch.inference_mode():
    kind(folder, gguf.LlamaFileType[types[{type_name!r}]], pathlib.Path({str(path)!r})).write()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def compare_files(ours, theirs):
    """Every tensor bit for bit, and every number of the metadata that both have."""
    import gguf

    a, b = gguf.GGUFReader(ours), gguf.GGUFReader(theirs)
    x, y = ({t.name: t for t in r.tensors} for r in (a, b))
    assert set(x) == set(y), f"llama.cpp has other tensors: {sorted(set(x) ^ set(y))}"
    for name in x:
        assert x[name].tensor_type == y[name].tensor_type and tuple(x[name].shape) == tuple(y[name].shape), name
        assert x[name].data.tobytes() == y[name].data.tobytes(), f"llama.cpp has other numbers in {name}"
    ignored = ("general.", "GGUF.", "tokenizer.")
    lacking = [k for k in b.fields if k not in a.fields and not k.startswith(ignored)]
    assert not lacking, f"llama.cpp also writes {lacking}"
    for key in b.fields:
        if not key.startswith(ignored):
            assert a.fields[key].contents() == b.fields[key].contents(), key


def check_forward(program, model, path, folder):
    import h5py

    width = model.config.hidden_size
    x = np.random.default_rng(7).standard_normal((1, TOKENS, width)).astype(np.float32)
    with h5py.File(folder / "x.h5", "w") as f:
        f["embeddings"] = x
    subprocess.run([program, "model", "forward", path, "--input", folder / "x.h5", "--output", folder / "y.h5"], check=True)
    with h5py.File(folder / "y.h5") as f:
        return difference(f["hidden"][:], hidden_states(model, x))


def check_llama(python, model, path, folder):
    """Hidden states of llama.cpp, computed by export_peft.py in an interpreter that has it."""
    script = Path(__file__).with_name("export_peft.py")
    x = np.random.default_rng(7).standard_normal((1, TOKENS, model.config.hidden_size)).astype(np.float32)
    np.save(folder / "x.npy", x)
    subprocess.run([python, script, "--in-llama", path, "", folder / "x.npy", folder / "y.npy"], check=True)
    return difference(np.load(folder / "y.npy"), hidden_states(model, x))


def check(args):
    with tempfile.TemporaryDirectory(prefix="convert-") as folder:
        check_in(args, Path(folder))


def check_in(args, scratch):
    failed = []
    for name, case in CASES.items():
        if args.only not in name:
            continue
        folder, said = scratch / name, []
        model = save(name, case, folder, args.seed)
        expected = expected_tensors(model)
        for type_name in TYPES:
            path = scratch / f"{name}-{type_name}.gguf"
            done = subprocess.run([args.program, "model", "convert", folder, "-o", path, "--type", type_name], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            count = check_tensors(path, expected, type_name)
            if args.llama_cpp and case[0] in ("Llama", "Mistral", "Qwen2") and case[4] and type_name in ("f32", "f16", "bf16", "q8_0"):
                llama_cpp_convert(args.llama_cpp, folder, scratch / "theirs.gguf", type_name)
                compare_files(path, scratch / "theirs.gguf")
        said.append(f"{count} tensors in {len(TYPES)} types equal")
        path, published = scratch / f"{name}-f32.gguf", scratch / f"{name}.gguf"
        subprocess.run([args.program, "model", "convert", folder, "-o", published], check=True, capture_output=True)
        check_tensors(published, expected, {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}[case[2]])
        error = check_forward(args.program, model, path, scratch)
        said.append(f"hidden states {error:.1e}")
        failed += [name] if not error <= TOLERANCE else []
        if args.llama_python and case[0] not in ("OPT", "T5"):
            error = check_llama(args.llama_python, model, path, scratch)
            said.append(f"llama.cpp {error:.1e}")
            failed += [name] if not error <= LLAMA_CPP_TOLERANCE.get(case[0], TOLERANCE) else []
        print(f"{name:24} {', '.join(said)}", flush=True)
    if failed:
        sys.exit(f"too far off: {', '.join(failed)}")


# ---- fixtures ----

def fixtures(args):
    from safetensors.numpy import save_file

    for name, case in FIXTURES.items():
        folder = args.folder / name
        model = save(name, case, folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        x = np.random.default_rng(7).standard_normal((1, 12, model.config.hidden_size)).astype(np.float32)
        said = {"tensors": str(len(expected_tensors(model)))}
        for tensor, numbers in expected_tensors(model).items():
            kind, data = encode(tensor, numbers, "q8_0")
            # The factors of Llama 3 come out of powf(): compared as numbers by the test, not by their bits.
            digest = "" if tensor == "rope_freqs.weight" else hashlib.sha256(data).hexdigest()
            said[tensor] = " ".join([kind.name.lower(), "x".join(map(str, numbers.shape)), digest]).strip()
        data = {"embeddings": x, "hidden": hidden_states(model, x).astype(np.float32)}
        if "rope_freqs.weight" in said:
            data["rope_freqs.weight"] = expected_tensors(model)["rope_freqs.weight"]
        save_file(data, folder / "expected.safetensors", metadata=said)
        print(name, json.dumps({p.name: p.stat().st_size for p in sorted(folder.iterdir())}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    checker = commands.add_parser("check")
    checker.add_argument("program")
    checker.add_argument("--seed", type=int, default=0)
    checker.add_argument("--llama-cpp", type=Path)
    checker.add_argument("--llama-python")
    checker.add_argument("--only", default="")
    checker.set_defaults(run=check)
    maker = commands.add_parser("fixtures")
    maker.add_argument("folder", type=Path)
    maker.set_defaults(run=fixtures)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
