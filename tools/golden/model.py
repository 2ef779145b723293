#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Golden files of the base transformers: transformers computes hidden states and every gradient, in double precision.

    model.py OUT_FOLDER [SEED]

writes, for each case, <case>.gguf (the base) and <case>.h5: `embeddings` (B, T, d), `hidden`, `dhidden` (the gradient that goes in),
`dembeddings`, and groups `gradients` and, with LoRA, `values` by the C program's parameter names.
"""
import sys
from pathlib import Path
from unittest import mock

import gguf
import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaModel, OPTConfig, OPTModel, T5Config, T5Model

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
    "opt-lora": dict(arch="opt", d=24, heads=3, kv=3, head_dim=8, ffn=40, targets="q k v o up down"),
    "opt-full": dict(arch="opt", d=16, heads=2, kv=2, head_dim=8, ffn=20, targets=""),
    # 1.1 and 1.0; few buckets, so that windows this short reach the logarithmic ones; one window longer than all of them
    "t5-lora": dict(arch="t5", d=16, heads=3, kv=3, head_dim=6, ffn=12, gated=True, buckets=8, causal=True, targets="q k v o gate up down"),
    "t5-full": dict(arch="t5", d=16, heads=3, kv=3, head_dim=4, ffn=12, gated=False, buckets=12, causal=True, targets=""),
    "t5-long": dict(arch="t5", d=8, heads=1, kv=1, head_dim=6, ffn=6, gated=True, buckets=32, causal=True, tokens=150, targets=""),
    # as published: the encoder and cross-attention see the whole window
    "t5-bidirectional": dict(arch="t5", d=12, heads=2, kv=2, head_dim=4, ffn=12, gated=False, buckets=8, causal=False, targets=""),
}


class Lora(nn.Module):
    """Adapters on columns [first, first + out) of a linear's output; parts: target -> (first, out)."""

    def __init__(self, inner, width_in, parts):
        super().__init__()
        self.inner, self.parts = inner, parts
        self.a = nn.ParameterDict({n: nn.Parameter(torch.randn(RANK, width_in) * 0.3) for n in parts})
        self.b = nn.ParameterDict({n: nn.Parameter(torch.randn(out, RANK) * 0.3) for n, (_, out) in parts.items()})

    @property
    def weight(self):  # T5 asks for its type
        return self.inner.weight

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


def t5_layers(model):
    """(GGUF prefix, [(GGUF name, norm)], [(GGUF name, target, holder, attribute)]) of every block of both stacks."""
    for stack, prefix in ((model.encoder, "enc"), (model.decoder, "dec")):
        for i, block in enumerate(stack.block):
            *attentions, ffn = block.layer
            dense, norms, linears = ffn.DenseReluDense, [], []
            for kind, layer in zip(("attn_", "cross_attn_"), attentions):
                norms.append((kind + "norm", layer.layer_norm))
                holder = layer.SelfAttention if kind == "attn_" else layer.EncDecAttention
                linears += [(kind + t, t, holder, t) for t in "qkvo"]
            gate = [("ffn_gate", "gate", dense, "wi_0"), ("ffn_up", "up", dense, "wi_1")]
            linears += (gate if hasattr(dense, "wi_0") else [("ffn_up", "up", dense, "wi")]) + [("ffn_down", "down", dense, "wo")]
            yield f"{prefix}.blk.{i}.", norms + [("ffn_norm", ffn.layer_norm)], linears


def build(case):
    d, heads, kv, ffn = case["d"], case["heads"], case["kv"], case["ffn"]
    if case["arch"] == "llama":
        model = LlamaModel(LlamaConfig(hidden_size=d, intermediate_size=ffn, num_hidden_layers=LAYERS, num_attention_heads=heads,
                                       num_key_value_heads=kv, head_dim=case["head_dim"], max_position_embeddings=CONTEXT, vocab_size=8,
                                       rms_norm_eps=1e-5, attention_bias=case["bias"], mlp_bias=case["bias"],
                                       rope_parameters=case["rope"], attn_implementation="eager"))
    elif case["arch"] == "opt":
        model = OPTModel(OPTConfig(hidden_size=d, ffn_dim=ffn, num_hidden_layers=LAYERS, num_attention_heads=heads, word_embed_proj_dim=d,
                                   max_position_embeddings=CONTEXT, vocab_size=8, dropout=0, attn_implementation="eager"))
    elif case["arch"] == "t5":
        model = T5Model(T5Config(d_model=d, d_ff=ffn, d_kv=case["head_dim"], num_heads=heads, num_layers=LAYERS, vocab_size=8, dropout_rate=0,
                                 relative_attention_num_buckets=case["buckets"], feed_forward_proj="gated-gelu" if case["gated"] else "relu",
                                 attn_implementation="eager"))
    else:
        model = GPT2Model(GPT2Config(n_embd=d, n_inner=ffn, n_layer=LAYERS, n_head=heads, n_positions=CONTEXT, vocab_size=8,
                                     resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, attn_implementation="eager"))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * 0.25 + (1.0 if p.ndim == 1 and "bias" not in name else 0.0))
            if name.endswith("Attention.q.weight"):  # T5 does not scale its scores
                p.mul_(case["head_dim"] ** -0.5)
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
    if case["arch"] == "opt":
        decoder = model.decoder
        out["position_embd.weight"] = (decoder.embed_positions.weight, same)
        out["output_norm.weight"], out["output_norm.bias"] = (decoder.final_layer_norm.weight, same), (decoder.final_layer_norm.bias, same)
        for i, layer in enumerate(decoder.layers):
            a = layer.self_attn
            for name, module in [("attn_norm", layer.self_attn_layer_norm), ("attn_q", a.q_proj), ("attn_k", a.k_proj), ("attn_v", a.v_proj),
                                 ("attn_output", a.out_proj), ("ffn_norm", layer.final_layer_norm), ("ffn_up", layer.fc1), ("ffn_down", layer.fc2)]:
                out[f"blk.{i}.{name}.weight"], out[f"blk.{i}.{name}.bias"] = (module.weight, same), (module.bias, same)
        return out
    if case["arch"] == "t5":
        for stack, prefix in ((model.encoder, "enc"), (model.decoder, "dec")):
            out[f"{prefix}.output_norm.weight"] = (stack.final_layer_norm.weight, same)
            out[f"{prefix}.blk.0.attn_rel_b.weight"] = (stack.block[0].layer[0].SelfAttention.relative_attention_bias.weight, same)
        for prefix, norms, linears in t5_layers(model):
            out |= {f"{prefix}{name}.weight": (norm.weight, same) for name, norm in norms}
            out |= {f"{prefix}{name}.weight": (getattr(holder, attribute).weight, same) for name, _, holder, attribute in linears}
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
    if case["arch"] == "t5":
        for prefix, _, linears in t5_layers(model):
            for name, target, holder, attribute in linears:
                inner = getattr(holder, attribute)
                lora = Lora(inner, inner.in_features, {target: (0, inner.out_features)})
                lora.b[target].data.mul_(0.25)  # float32 must do: many large steps one after the other amplify its rounding
                setattr(holder, attribute, lora)
                for factor, parameter in (("a", lora.a[target]), ("b", lora.b[target])):
                    out[f"{prefix}{name}.lora_{factor}"] = (parameter, lambda x: x)
        return out
    layers = {"llama": lambda: model.layers, "gpt2": lambda: model.h, "opt": lambda: model.decoder.layers}[case["arch"]]()
    for i, layer in enumerate(layers):
        if case["arch"] == "llama":
            a, m = layer.self_attn, layer.mlp
            places = [(a, "q_proj", d, {"q": (0, q)}), (a, "k_proj", d, {"k": (0, kv)}), (a, "v_proj", d, {"v": (0, kv)}),
                      (a, "o_proj", q, {"o": (0, d)}), (m, "gate_proj", d, {"gate": (0, ffn)}), (m, "up_proj", d, {"up": (0, ffn)}),
                      (m, "down_proj", ffn, {"down": (0, d)})]
        elif case["arch"] == "opt":
            a = layer.self_attn
            places = [(a, "q_proj", d, {"q": (0, d)}), (a, "k_proj", d, {"k": (0, d)}), (a, "v_proj", d, {"v": (0, d)}),
                      (a, "out_proj", d, {"o": (0, d)}), (layer, "fc1", d, {"up": (0, ffn)}), (layer, "fc2", ffn, {"down": (0, d)})]
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
    elif case["arch"] == "t5":
        writer.add_decoder_block_count(LAYERS)
        writer.add_key_length(case["head_dim"])
        writer.add_value_length(case["head_dim"])
        writer.add_relative_attn_buckets_count(case["buckets"])
        writer.add_layer_norm_rms_eps(1e-6)
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


def in_double(function):
    """transformers takes norms and softmax in float32, whatever the type of the rest: here they are double too."""
    def wrapped(*args):
        with mock.patch.object(torch, "float32", torch.float64), mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
            return function(*args)
    return wrapped


@in_double
def run(case, model, x):
    if case["arch"] != "t5":
        return model(inputs_embeds=x, use_cache=False).last_hidden_state
    tokens, mask = x.shape[1], None
    if case["causal"]:
        mask = torch.full((tokens, tokens), float("-inf"), dtype=x.dtype).triu(1)[None, None]
    encoded = model.encoder(inputs_embeds=x, attention_mask=mask).last_hidden_state
    return model.decoder(inputs_embeds=encoded, encoder_hidden_states=encoded, encoder_attention_mask=mask, use_cache=False).last_hidden_state


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
    tokens = case.get("tokens", TOKENS)
    x = (torch.randn(WINDOWS, tokens, case["d"]) * 0.7).double().requires_grad_()
    g = torch.randn(WINDOWS, tokens, case["d"]).double()
    hidden = run(case, model, x)
    if case["arch"] == "t5" and case["causal"]:  # that the masks above did what they are for
        changed = torch.cat([x[:, :9], torch.randn_like(x[:, 9:])], 1)
        assert torch.equal(run(case, model, changed)[:, :9], hidden[:, :9]) and not torch.equal(run(case, model, changed), hidden)
    (hidden * g).sum().backward()
    write_base(str(folder / f"{name}.gguf"), case, base)
    with h5py.File(folder / f"{name}.h5", "w", libver=("v108", "v110")) as f:
        f.attrs["targets"] = case["targets"]
        for key, t in {"embeddings": x, "hidden": hidden, "dhidden": g, "dembeddings": x.grad}.items():
            f[key] = array(t)
        for key, (p, order) in trained.items():
            if case["targets"]:
                f[f"values/{key}"] = array(p, order)
            f[f"gradients/{key}"] = array(p.grad, order)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for case_name in CASES:
        make(case_name, out, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
