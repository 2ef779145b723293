#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Check exports against those who read them: PEFT on transformers, and llama.cpp.

    export_peft.py AQMTRAIN RUN BASE.gguf [--llama-python PYTHON]

exports the run's policy as --peft, --gguf-lora and --merged (float32), puts the same random embeddings through

    transformers + PEFT    the base's weights from the GGUF file, the adapter by PeftModel.from_pretrained
    transformers           the merged model
    llama.cpp              base + adapter and merged, when PYTHON has llama_cpp (this file runs itself there)

and prints the largest difference of hidden states to the first, relative to the largest hidden state. At last it computes the loss of one
window from the exported files alone, in PyTorch, and compares it with `aqmtrain eval`. Needs torch, transformers, peft, safetensors, gguf,
numpy and yaml. A developer's script: the committed tests check the same files' numbers in C.
"""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TOKENS, WINDOWS, TOLERANCE = 24, 2, 1e-5


# ---- llama.cpp: runs in an interpreter that has llama_cpp and numpy ----

def llama_hidden(model_path, adapter_path, embeddings):
    """Hidden states behind the final norm, one window after the other."""
    import ctypes

    import llama_cpp as L

    L.llama_backend_init()
    silent = L.llama_log_callback(lambda level, text, data: None)  # must outlive the calls below
    L.llama_log_set(silent, None)
    options = L.llama_model_default_params()
    options.use_mmap = False
    model = L.llama_model_load_from_file(model_path.encode(), options)
    assert model, f"llama.cpp cannot load {model_path}"
    options = L.llama_context_default_params()
    options.n_ctx = 64
    options.n_batch = options.n_ubatch = 64
    options.n_threads = options.n_threads_batch = 1
    options.embeddings = True
    options.pooling_type = L.LLAMA_POOLING_TYPE_NONE
    options.type_k = options.type_v = 0  # float32
    options.flash_attn_type = 0
    context = L.llama_init_from_model(model, options)
    assert context, "no context"
    if adapter_path:
        adapter = L.llama_adapter_lora_init(model, adapter_path.encode())
        assert adapter, f"llama.cpp cannot load {adapter_path}"
        if hasattr(L, "llama_set_adapters_lora"):
            adapters = (L.llama_adapter_lora_p_ctypes * 1)(adapter)
            assert L.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(1.0)) == 0
        else:
            assert L.llama_set_adapter_lora(context, adapter, 1.0) == 0
    width = embeddings.shape[2]

    def compute(run, window):
        """A window of embeddings through llama_encode or llama_decode."""
        batch = L.llama_batch_init(len(window), width, 1)
        batch.n_tokens = len(window)
        ctypes.memmove(batch.embd, np.ascontiguousarray(window).ctypes.data, window.nbytes)
        for i in range(len(window)):
            batch.pos[i], batch.n_seq_id[i], batch.logits[i] = i, 1, 1
            batch.seq_id[i][0] = 0
        assert run(context, batch) == 0
        return np.stack([np.ctypeslib.as_array(L.llama_get_embeddings_ith(context, i), (width,)).copy() for i in range(len(window))])

    hidden = np.zeros_like(embeddings)
    for w, window in enumerate(embeddings):
        L.llama_memory_clear(L.llama_get_memory(context), True)
        if L.llama_model_has_encoder(model):  # t5: the decoder is fed what it attends to
            window = compute(L.llama_encode, window)
        hidden[w] = compute(L.llama_decode, window)
    return hidden


def for_llama(path, copy):
    """The same model in float32, as llama.cpp would round the other factor of a quantised matrix; and with a tokenizer, be it none."""
    import gguf

    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(copy, arch)
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            writer.add_key_value(key, field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None)
    if "tokenizer.ggml.model" not in reader.fields:
        writer.add_tokenizer_model("none")
        writer.add_vocab_size(int(next(t for t in reader.tensors if t.name == "token_embd.weight").shape[1]))
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return copy


# ---- transformers and PEFT ----

LLAMA = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm"}
GPT2 = {"attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj", "attn_norm": "ln_1",
        "ffn_norm": "ln_2"}
GPT2_TRANSPOSED = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")


def unpermute(w, heads):
    return w.reshape(heads, -1, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


class Base:
    """A GGUF file as a causal language model of transformers."""

    def __init__(self, path):
        import gguf

        reader = gguf.GGUFReader(path)
        self.fields = {k: f.contents() for k, f in reader.fields.items()}
        self.arch = self.fields["general.architecture"]
        self.tensors = {t.name: np.array(gguf.dequantize(t.data, t.tensor_type), dtype=np.float32) for t in reader.tensors}

    def get(self, key, default=None):
        return self.fields.get(f"{self.arch}.{key}", default)

    def config(self):
        from transformers import GPT2Config, LlamaConfig

        vocabulary = len(self.tensors["token_embd.weight"])
        width, layers, heads = self.get("embedding_length"), self.get("block_count"), self.get("attention.head_count")
        common = dict(vocab_size=vocabulary, attn_implementation="eager", tie_word_embeddings=True)
        if self.arch == "gpt2":
            return GPT2Config(n_embd=width, n_layer=layers, n_head=heads, n_inner=self.get("feed_forward_length"),
                              n_positions=self.get("context_length"), layer_norm_epsilon=self.get("attention.layer_norm_epsilon"), **common)
        return LlamaConfig(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
                           num_key_value_heads=self.get("attention.head_count_kv", heads), intermediate_size=self.get("feed_forward_length"),
                           max_position_embeddings=self.get("context_length"), rms_norm_eps=self.get("attention.layer_norm_rms_epsilon"),
                           rope_parameters={"rope_type": "default", "rope_theta": self.get("rope.freq_base", 10000.0)}, **common)

    def renamed(self):
        """(name in transformers, array) of every tensor."""
        heads, kv = self.get("attention.head_count"), self.get("attention.head_count_kv")
        plain = {"gpt2": {"token_embd": "transformer.wte", "position_embd": "transformer.wpe", "output_norm": "transformer.ln_f"},
                 "llama": {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}}[self.arch]
        names, prefix = (GPT2, "transformer.h") if self.arch == "gpt2" else (LLAMA, "model.layers")
        for name, value in self.tensors.items():
            stem, kind = name.rsplit(".", 1)
            if stem in plain:
                yield f"{plain[stem]}.{kind}", value
            elif stem.startswith("blk."):
                _, layer, part = stem.split(".")
                if self.arch == "llama" and part in ("attn_q", "attn_k"):
                    value = unpermute(value, heads if part == "attn_q" else kv)
                if self.arch == "gpt2" and part in GPT2_TRANSPOSED and kind == "weight":
                    value = value.T
                yield f"{prefix}.{layer}.{names[part]}.{kind}", value

    def model(self):
        import torch
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_config(self.config()).float().eval()
        state = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in self.renamed()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
        return model


def peft_hidden(base, folder, embeddings):
    from peft import PeftModel

    model = base.model()
    plain = run_transformers(model, embeddings)
    adapted = PeftModel.from_pretrained(model, folder).eval()
    hidden = run_transformers(adapted.get_base_model(), embeddings)
    merged = run_transformers(adapted.merge_and_unload(), embeddings)
    return plain, hidden, merged


def run_transformers(model, embeddings):
    import torch

    with torch.no_grad():
        body = getattr(model, "transformer", None) or model.model
        return body(inputs_embeds=torch.from_numpy(embeddings), use_cache=False).last_hidden_state.numpy()


# ---- the whole policy, from exported files alone ----

def first_window(program, manifest, folder):
    """The first rows of the training pool, as many as a window has: a pool of their own, and its columns."""
    import csv

    import yaml

    config = yaml.safe_load(manifest["config"])
    subprocess.run([program, "pool", "export", config["pool"]["train"], "-o", folder / "all.csv"], check=True)
    with open(folder / "all.csv", newline="", encoding="ascii") as file:
        rows = list(csv.reader(file))[:1 + config["policy"]["window"]]
    with open(folder / "window.csv", "w", newline="", encoding="ascii") as file:
        csv.writer(file).writerows(rows)
    subprocess.run([program, "pool", "import", folder / "window.csv", "-o", folder / "window.h5"], check=True)
    return config, {name: np.array([float(r[i]) for r in rows[1:]]) for i, name in enumerate(rows[0])}


def returns_to_go(config, pool):
    reward = config["reward"]
    delay = pool["current_qdelay"] * {"us": 1.0, "ms": 1e-3, "s": 1e-6}[reward["unit"]]
    assert reward["kind"] == "power" and reward["horizon_unit"] == "rows", "only the default reward is known here"
    earned = pool["pkt_len"] / (delay + reward["c"])
    horizon = reward["horizon"] or len(earned)
    return np.array([sum(reward["gamma"]**k * r for k, r in enumerate(earned[t:t + horizon])) for t in range(len(earned))])


def normalised(kind, feature, x):
    """(rows, values): one value a row, or the standard and the log-standard one side by side."""
    logarithm = np.sign(x) * np.log1p(np.abs(x))
    values = {"log-standard": [logarithm], "both": [x, logarithm]}.get(kind, [x])
    return (np.stack(values, 1) - feature["mean"]) / feature["scale"]


def window_loss(base, folder, config, manifest, pool):
    """Mean cross-entropy of the window, with PEFT's model and the tensors of policy.safetensors."""
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from torch.nn.functional import cross_entropy, embedding, layer_norm, leaky_relu, linear

    tensors = load_file(folder / "policy.safetensors")
    model = PeftModel.from_pretrained(base.model(), str(folder)).eval().get_base_model()
    body = getattr(model, "transformer", None) or model.model
    layers = "h" if hasattr(body, "h") else "layers"
    setattr(body, layers, getattr(body, layers)[:manifest["base"]["used_layers"]])

    def apply(name, x):
        return linear(x, tensors[f"policy.{name}.weight"], tensors[f"policy.{name}.bias"])

    def number(x):
        return torch.tensor(np.asarray(x), dtype=torch.float32)

    returns = (returns_to_go(config, pool) - manifest["returns"]["mean"]) / manifest["returns"]["scale"]
    tokens, rows = [apply("return", number(returns)[:, None])], len(returns)
    for feature in manifest["features"]:
        x = normalised(manifest["normaliser"], feature, pool[feature["name"]])
        if feature["sequence"]:
            k = config["policy"]["kernel"]
            x = np.stack([x[np.maximum(np.arange(rows) - k + 1 + j, 0)] for j in range(k)], 1)
        x = number(x).reshape(rows, -1)
        tokens.append(apply(f"state.{feature['name']}.out", leaky_relu(apply(f"state.{feature['name']}.in", x), 0.01)))
    actions = torch.tensor(pool["action" if config["pool"]["labels"] == "effective" else "action_logged"].astype(int))
    if config["policy"]["action_embedding"] == "embedding":
        tokens.append(embedding(actions, tensors["policy.action.table"]))
    else:
        tokens.append(apply("action", (actions[:, None] + 1) / 3))
    x = torch.stack(tokens, 1) + tensors["policy.time.table"][:rows, None]
    x = layer_norm(x, x.shape[-1:], tensors["policy.norm.weight"], tensors["policy.norm.bias"])
    hidden = torch.from_numpy(run_transformers(model, x.reshape(1, -1, x.shape[-1]).numpy())).reshape(x.shape)
    read = hidden[:, -2] + (x[:, -2] if config["policy"]["residual"] else 0)
    return float(cross_entropy(apply("head", read), actions))


def compare_losses(options, base, folder):
    import json

    from safetensors import safe_open

    with safe_open(folder / "adapter" / "policy.safetensors", "pt") as file:
        manifest = json.loads(file.metadata()["manifest"])
    config, pool = first_window(options.program, manifest, folder)
    found = window_loss(base, folder / "adapter", config, manifest, pool)
    text = subprocess.run([options.program, "eval", "-r", options.run, "--base", options.base, "--pool", folder / "window.h5", "--json"],
                          check=True, capture_output=True, text=True).stdout
    expected = json.loads(text)["loss"]
    print(f"loss of a window: {found:.7g} from the exported files in PyTorch, {expected:.7g} by aqmtrain eval")
    return abs(found - expected) / max(1.0, abs(expected))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("run")
    parser.add_argument("base")
    parser.add_argument("--llama-python")
    options = parser.parse_args()
    base = Base(options.base)
    embeddings = np.random.default_rng(0).normal(0, 1, (WINDOWS, TOKENS, base.get("embedding_length"))).astype(np.float32)

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        adapter, lora, merged = folder / "adapter", folder / "lora.gguf", folder / "merged.gguf"
        subprocess.run([options.program, "export", "-r", options.run, "--base", options.base, "--peft", adapter, "--gguf-lora", lora, "--merged",
                        merged, "--type", "f32"], check=True)
        plain, reference, peft_merged = peft_hidden(base, str(adapter), embeddings)
        size = np.abs(reference).max()
        print(f"hidden states up to {size:.3g}; the adapter changes them by up to {np.abs(reference - plain).max():.3g}")
        # A pretrained base amplifies roundings: what PEFT's own merge makes of them is what two right answers may differ by.
        own = np.abs(peft_merged - reference).max() / max(1.0, size)
        worst = np.abs(run_transformers(Base(merged).model(), embeddings) - reference).max() / max(1.0, size)
        tolerance = max(TOLERANCE, 4 * own)
        print(f"{'PEFT, merged by itself':40} {own:.3g}")
        print(f"{'transformers, merged model':40} {worst:.3g}")
        if options.llama_python:
            np.save(folder / "x.npy", embeddings)

            def llama(model, extra):
                model = for_llama(model, folder / "float32.gguf")
                subprocess.run([options.llama_python, __file__, "--in-llama", model, str(extra), folder / "x.npy", folder / "y.npy"], check=True)
                return np.load(folder / "y.npy")

            # llama.cpp has roundings of its own (gpt2's GELU comes from a table of halves): the plain base shows how much.
            own = np.abs(llama(options.base, "") - plain).max() / max(1.0, size)
            print(f"{'llama.cpp, base alone':40} {own:.3g}")
            for what, model, extra in [("llama.cpp, base + GGUF adapter", options.base, lora), ("llama.cpp, merged model", merged, "")]:
                difference = np.abs(llama(model, extra) - reference).max() / max(1.0, size)
                print(f"{what:40} {difference:.3g}")
                worst = max(worst, 0.0 if difference < 10 * own else difference)
        worst = max(worst, compare_losses(options, base, folder))
        print("largest relative difference", f"{worst:.3g}")
        return 0 if worst < tolerance else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in-llama"]:
        np.save(sys.argv[5], llama_hidden(sys.argv[2], sys.argv[3], np.load(sys.argv[4])))
    else:
        sys.exit(main())
