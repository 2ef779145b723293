#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Golden files of the base transformers: transformers computes hidden states and every gradient, in double precision.

    model.py OUT_FOLDER [SEED]

writes, for each case, <case>.gguf (the base) and <case>.h5: `embeddings` (B, T, d), `hidden`, `dhidden` (the gradient that goes in),
`dembeddings`, and groups `values` and `gradients` by the C program's parameter names.
"""
import sys
from pathlib import Path

import gguf
import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaModel

LAYERS, CONTEXT, RANK, SCALE, WINDOWS, TOKENS = 2, 40, 3, 2.5, 2, 17
GGUF_NAMES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
CASES = {
    # odd head counts, grouped queries, a head as wide as it likes, biases, the frequencies of Llama 3
    "llama-lora": dict(arch="llama", d=24, heads=3, kv=1, head_dim=10, ffn=20, bias=True, rope=LLAMA3, targets="q k v o gate up down"),
    "llama-full": dict(arch="llama", d=16, heads=4, kv=2, head_dim=4, ffn=28, bias=False,
                       rope={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}, targets=""),
    "gpt2-lora": dict(arch="gpt2", d=24, heads=3, kv=3, head_dim=8, ffn=40, targets="q k v o up down"),
    "gpt2-full": dict(arch="gpt2", d=16, heads=2, kv=2, head_dim=8, ffn=20, targets=""),
}


class Lora(nn.Module):
    """Adapters on columns [first, first + out) of a linear's output; parts: target -> (first, out)."""

    def __init__(self, inner, width_in, parts):
        super().__init__()
        self.inner, self.parts = inner, parts
        self.a = nn.ParameterDict({n: nn.Parameter(torch.randn(RANK, width_in) * 0.3) for n in parts})
        self.b = nn.ParameterDict({n: nn.Parameter(torch.randn(out, RANK) * 0.3) for n, (_, out) in parts.items()})

    def forward(self, x):
        y = self.inner(x)
        for name, (first, out) in self.parts.items():
            delta = SCALE * (x @ self.a[name].T) @ self.b[name].T
            y = y + F.pad(delta, (first, y.shape[-1] - first - out))
        return y


def permute(weight, heads):
    """Rows of llama's q and k as GGUF has them: the pairs that RoPE turns lie side by side."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def rope_factors(rope, head_dim):
    """What a Llama 3 file divides the inverse frequencies by: 1 for short waves, `factor` for long ones."""
    out = []
    for i in range(head_dim // 2):
        turns = rope["original_max_position_embeddings"] / (2 * np.pi * rope["rope_theta"] ** (2 * i / head_dim))
        blend = np.clip((turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"]), 0, 1)
        out.append(1 / ((1 - blend) / rope["factor"] + blend))
    return np.array(out, np.float32)


def build(case):
    d, heads, kv, ffn = case["d"], case["heads"], case["kv"], case["ffn"]
    if case["arch"] == "llama":
        model = LlamaModel(LlamaConfig(hidden_size=d, intermediate_size=ffn, num_hidden_layers=LAYERS, num_attention_heads=heads,
                                       num_key_value_heads=kv, head_dim=case["head_dim"], max_position_embeddings=CONTEXT, vocab_size=8,
                                       rms_norm_eps=1e-5, attention_bias=case["bias"], mlp_bias=case["bias"],
                                       rope_parameters=case["rope"], attn_implementation="eager"))
    else:
        model = GPT2Model(GPT2Config(n_embd=d, n_inner=ffn, n_layer=LAYERS, n_head=heads, n_positions=CONTEXT, vocab_size=8,
                                     resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, attn_implementation="eager"))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * 0.25 + (1.0 if p.ndim == 1 and "bias" not in name else 0.0))
    return model


def base_tensors(case, model):
    """GGUF name -> (parameter, function of its array), of everything but the token table."""
    same, transposed = (lambda x: x), (lambda x: x.T)
    q_rows, k_rows = (lambda x: permute(x, case["heads"])), (lambda x: permute(x, case["kv"]))
    out = {}
    if case["arch"] == "llama":
        out["output_norm.weight"] = (model.norm.weight, same)
        for i, layer in enumerate(model.layers):
            a, m = layer.self_attn, layer.mlp
            for name, module, order in [("attn_norm", layer.input_layernorm, same), ("attn_q", a.q_proj, q_rows), ("attn_k", a.k_proj, k_rows),
                                        ("attn_v", a.v_proj, same), ("attn_output", a.o_proj, same),
                                        ("ffn_norm", layer.post_attention_layernorm, same), ("ffn_gate", m.gate_proj, same),
                                        ("ffn_up", m.up_proj, same), ("ffn_down", m.down_proj, same)]:
                out[f"blk.{i}.{name}.weight"] = (module.weight, order)
                if getattr(module, "bias", None) is not None:
                    out[f"blk.{i}.{name}.bias"] = (module.bias, order)
        return out
    out["position_embd.weight"] = (model.wpe.weight, same)
    out["output_norm.weight"], out["output_norm.bias"] = (model.ln_f.weight, same), (model.ln_f.bias, same)
    for i, block in enumerate(model.h):
        for name, module in [("attn_norm", block.ln_1), ("attn_qkv", block.attn.c_attn), ("attn_output", block.attn.c_proj),
                             ("ffn_norm", block.ln_2), ("ffn_up", block.mlp.c_fc), ("ffn_down", block.mlp.c_proj)]:
            out[f"blk.{i}.{name}.weight"] = (module.weight, transposed if module.weight.ndim == 2 else same)
            out[f"blk.{i}.{name}.bias"] = (module.bias, same)
    return out


def attach(case, model):
    """Wrap the targets; C name -> (parameter, function of its array)."""
    d, ffn, q, kv = case["d"], case["ffn"], case["heads"] * case["head_dim"], case["kv"] * case["head_dim"]
    targets, out = case["targets"].split(), {}
    for i, layer in enumerate(model.layers if case["arch"] == "llama" else model.h):
        if case["arch"] == "llama":
            a, m = layer.self_attn, layer.mlp
            places = [(a, "q_proj", d, {"q": (0, q)}), (a, "k_proj", d, {"k": (0, kv)}), (a, "v_proj", d, {"v": (0, kv)}),
                      (a, "o_proj", q, {"o": (0, d)}), (m, "gate_proj", d, {"gate": (0, ffn)}), (m, "up_proj", d, {"up": (0, ffn)}),
                      (m, "down_proj", ffn, {"down": (0, d)})]
        else:
            a, m = layer.attn, layer.mlp
            places = [(a, "c_attn", d, {"q": (0, d), "k": (d, d), "v": (2 * d, d)}), (a, "c_proj", d, {"o": (0, d)}),
                      (m, "c_fc", d, {"up": (0, ffn)}), (m, "c_proj", ffn, {"down": (0, d)})]
        for holder, name, width_in, parts in places:
            parts = {t: p for t, p in parts.items() if t in targets}
            lora = Lora(getattr(holder, name), width_in, parts)
            setattr(holder, name, lora)
            for t in parts:
                order = (lambda x: x)
                if case["arch"] == "llama" and t in "qk":
                    order = (lambda x, n=case["heads"] if t == "q" else case["kv"]: permute(x, n))
                out[f"blk.{i}.{GGUF_NAMES[t]}.lora_a"] = (lora.a[t], lambda x: x)
                out[f"blk.{i}.{GGUF_NAMES[t]}.lora_b"] = (lora.b[t], order)
    return out


def write_base(path, case, tensors):
    writer = gguf.GGUFWriter(path, case["arch"])
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(case["d"])
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(case["ffn"])
    writer.add_head_count(case["heads"])
    if case["arch"] == "llama":
        writer.add_head_count_kv(case["kv"])
        writer.add_key_length(case["head_dim"])
        writer.add_value_length(case["head_dim"])
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(10000.0)
        writer.add_rope_dimension_count(case["head_dim"])
        if case["rope"]["rope_type"] == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(case["rope"]["factor"])
        else:
            writer.add_tensor("rope_freqs.weight", rope_factors(case["rope"], case["head_dim"]))
    else:
        writer.add_layer_norm_eps(1e-5)
    for name, (parameter, order) in tensors.items():
        writer.add_tensor(name, array(parameter, order))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def array(tensor, order=lambda x: x):
    return np.ascontiguousarray(order(tensor.detach().numpy()).astype(np.float32))


def make(name, folder, seed):
    case = CASES[name]
    torch.manual_seed(sum(map(ord, name)) + seed)
    model = build(case).double()
    base = base_tensors(case, model)
    trained = base
    if case["targets"]:
        trained = attach(case, model)
        model.double()
        alive = {id(p) for p in model.parameters()}
        assert all(id(p) in alive for p, _ in trained.values())  # double() keeps the objects
    with torch.no_grad():  # compute with the float32 numbers that the files hold
        for p in model.parameters():
            p.copy_(p.float().double())
    x = (torch.randn(WINDOWS, TOKENS, case["d"]) * 0.7).double().requires_grad_()
    g = torch.randn(WINDOWS, TOKENS, case["d"]).double()
    hidden = model(inputs_embeds=x, use_cache=False).last_hidden_state
    (hidden * g).sum().backward()
    write_base(str(folder / f"{name}.gguf"), case, base)
    with h5py.File(folder / f"{name}.h5", "w") as f:
        f.attrs["targets"] = case["targets"]
        for key, t in {"embeddings": x, "hidden": hidden, "dhidden": g, "dembeddings": x.grad}.items():
            f[key] = array(t)
        for key, (p, order) in trained.items():
            f[f"values/{key}"] = array(p, order)
            f[f"gradients/{key}"] = array(p.grad, order)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for case_name in CASES:
        make(case_name, out, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
