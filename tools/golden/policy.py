#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Golden files of the policy: the whole of it once more in PyTorch, from pool columns to every parameter's gradient.

    policy.py OUT_FOLDER

writes, for each case, <case>.gguf (the base) and <case>.h5 (what goes in and what must come out). It shares nothing with
the C program but the description of the policy; transformers computes the bases.
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

WIDTH, HEADS, KV_HEADS, FFN, LAYERS, CONTEXT = 32, 4, 2, 48, 2, 64

CASES = {
    "llama": dict(seed=11, residual=True, action="embedding", normaliser="both", weights=[1.0, 1.0, 1.0], stop=0,
                  time="window", targets=["q", "v"], normalise=True),
    "gpt2": dict(seed=12, residual=False, action="linear", normaliser="standard", weights=[0.5, 2.0, 3.0], stop=1,
                 time="episode", targets=["q", "v", "up"], normalise=False),
}
CASES["llama-full"] = dict(CASES["llama"], seed=13, targets=[])  # no LoRA: every weight of the base is trained
CASES["gpt2-full"] = dict(CASES["gpt2"], seed=14, targets=[], stop=0)
FEATURES = ["current_qdelay", "drop_prob", "len_bytes", "pkt_len"]
SEQUENCES = ["len_bytes", "current_qdelay"]  # not in the order of the features
W, E, K, RANK, ALPHA, GAMMA, HORIZON, C = 5, 8, 3, 3, 6.0, 0.9, 7, 1.0
EPISODES = [0, 13]
ROWS = 24
LONGEST = 13  # rows of the longest episode
WINDOWS = [(0, 5, 0), (6, 5, 6), (13, 4, 0), (19, 5, 6)]  # start, length, offset in the episode
SCORE_FROM = [0, 2, 0, 1]

CONFIG = """seed: 3
model: {{stop_layer: {stop}}}
reward: {{kind: power, unit: ms, c: {c}, gamma: {gamma}, horizon: {horizon}, horizon_unit: rows, normalise: {normalise}}}
policy:
  window: {w}
  features: [{features}]
  sequences: [{sequences}]
  encoder_width: {e}
  kernel: {k}
  action_embedding: {action}
  time_embedding: {time}
  normaliser: {normaliser}
  residual: {residual}
lora: {{rank: {rank}, alpha: {alpha}, dropout: 0, targets: [{targets}]}}
"""


def columns(generator):
    """Columns of a made-up pool, with values such as logs have."""
    walk = np.abs(np.cumsum(generator.normal(0, 2500, ROWS))) + 500
    return {
        "current_qdelay": np.floor(walk),
        "drop_prob": np.floor(generator.uniform(0, 2**29, ROWS)),
        "len_bytes": np.floor(walk * 12.5),
        "pkt_len": np.where(generator.uniform(size=ROWS) < 0.3, 60, 1500).astype(float),
    }


def rewards_and_returns(pool):
    reward = pool["pkt_len"] / (pool["current_qdelay"] / 1000.0 + C)
    returns = np.zeros(ROWS)
    ends = EPISODES[1:] + [ROWS]
    for start, end in zip(EPISODES, ends):
        for t in range(start, end):
            for k in range(min(HORIZON, end - t)):
                returns[t] += GAMMA**k * reward[t + k]
    return returns


def normalise(kind, column):
    """(rows, values): one value a feature, or with "both" two."""
    scales = {"standard": [column], "log-standard": [np.sign(column) * np.log1p(np.abs(column))]}
    scales["both"] = scales["standard"] + scales["log-standard"]
    return np.stack([(x - x.mean()) / x.std() for x in scales[kind]], axis=1)


class Lora(nn.Module):
    """W x + (alpha / r) B A x around columns [first, first + out) of a linear's output."""

    def __init__(self, inner, width_in, parts):
        super().__init__()
        self.inner = inner
        self.parts = parts  # name -> (first, out)
        self.a = nn.ParameterDict({n: nn.Parameter(torch.randn(RANK, width_in) * 0.3) for n in parts})
        self.b = nn.ParameterDict({n: nn.Parameter(torch.randn(out, RANK) * 0.3) for n, (_, out) in parts.items()})

    def forward(self, x):
        y = self.inner(x)
        pieces = torch.zeros_like(y)
        for name, (first, out) in self.parts.items():
            delta = ALPHA / RANK * (x @ self.a[name].T) @ self.b[name].T
            pieces = pieces + F.pad(delta, (first, y.shape[-1] - first - out))
        return y + pieces


def randomise(module):
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(torch.randn_like(p) * 0.2 + (1.0 if p.ndim == 1 and "bias" not in name else 0.0))


def llama(case):
    config = LlamaConfig(hidden_size=WIDTH, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                         num_key_value_heads=KV_HEADS, max_position_embeddings=CONTEXT, vocab_size=8, rms_norm_eps=1e-5,
                         attn_implementation="eager")
    model = LlamaModel(config)
    randomise(model)
    adapters = {}
    kv = WIDTH // HEADS * KV_HEADS
    for i, layer in enumerate(model.layers):
        for target, module, name, out in [("q", layer.self_attn, "q_proj", WIDTH), ("v", layer.self_attn, "v_proj", kv)]:
            if target in case["targets"]:
                wrapped = Lora(getattr(module, name), WIDTH, {target: (0, out)})
                setattr(module, name, wrapped)
                adapters[i, target] = wrapped
    return model, adapters, lambda x: model(inputs_embeds=x, use_cache=False).last_hidden_state


def gpt2(case):
    config = GPT2Config(n_embd=WIDTH, n_inner=FFN, n_layer=case["stop"] or LAYERS, n_head=HEADS, n_positions=CONTEXT, vocab_size=8,
                        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, attn_implementation="eager")
    model = GPT2Model(config)
    randomise(model)
    adapters = {}
    for i, block in enumerate(model.h):
        qkv = {t: (place * WIDTH, WIDTH) for t, place in [("q", 0), ("k", 1), ("v", 2)] if t in case["targets"]}
        block.attn.c_attn = Lora(block.attn.c_attn, WIDTH, qkv)
        for t in qkv:
            adapters[i, t] = block.attn.c_attn
        if "up" in case["targets"]:
            block.mlp.c_fc = Lora(block.mlp.c_fc, WIDTH, {"up": (0, FFN)})
            adapters[i, "up"] = block.mlp.c_fc
    return model, adapters, lambda x: model(inputs_embeds=x, use_cache=False).last_hidden_state


class Policy(nn.Module):
    def __init__(self, case):
        super().__init__()
        d = WIDTH
        self.case = case
        self.ret = nn.Linear(1, d)
        values = 2 if case["normaliser"] == "both" else 1
        self.inner = nn.ModuleDict({f: nn.Linear(values * (K if f in SEQUENCES else 1), E) for f in FEATURES})
        self.outer = nn.ModuleDict({f: nn.Linear(E, d) for f in FEATURES})
        self.action = nn.Embedding(3, d) if case["action"] == "embedding" else nn.Linear(1, d)
        self.time = nn.Embedding(W if case["time"] == "window" else LONGEST, d)
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, 3)
        randomise(self)

    def forward(self, base, returns, states, sequences, actions, times):
        tokens = [self.ret(returns[..., None])]
        for i, f in enumerate(FEATURES):
            x = sequences[f] if f in SEQUENCES else states[:, :, i]
            tokens.append(self.outer[f](F.leaky_relu(self.inner[f](x), 0.01)))
        if self.case["action"] == "embedding":
            tokens.append(self.action(actions))
        else:
            tokens.append(self.action((actions[..., None] + 1).double() / 3))
        x = torch.stack(tokens, dim=2) + self.time(times)[:, :, None, :]  # (B, w, F + 2, d)
        x = self.norm(x)
        batch, w, per_step, d = x.shape
        hidden = base(x.reshape(batch, w * per_step, d)).reshape(batch, w, per_step, d)
        read = hidden[:, :, len(FEATURES)]
        if self.case["residual"]:
            read = read + x[:, :, len(FEATURES)]
        return self.head(read)


def batch_of(case, pool, actions):
    returns = rewards_and_returns(pool)
    if case["normalise"]:
        returns = (returns - returns.mean()) / returns.std()
    states = np.stack([normalise(case["normaliser"], pool[f]) for f in FEATURES], axis=1)  # (rows, F, values)
    values = states.shape[2]
    start_of = np.zeros(ROWS, dtype=int)
    for start in EPISODES:
        start_of[start:] = start
    b = len(WINDOWS)
    out = dict(returns=np.zeros((b, W)), states=np.zeros((b, W, len(FEATURES), values)), actions=np.zeros((b, W), dtype=int),
               labels=np.full((b, W), -1), times=np.zeros((b, W), dtype=int), sequences={f: np.zeros((b, W, K * values)) for f in SEQUENCES})
    for i, (start, length, offset) in enumerate(WINDOWS):
        for t in range(W):
            out["times"][i, t] = t if case["time"] == "window" else min(offset + t, LONGEST - 1)
            if t >= length:
                continue
            row = start + t
            out["returns"][i, t] = returns[row]
            out["states"][i, t] = states[row]
            out["actions"][i, t] = actions[row]
            if t >= SCORE_FROM[i]:
                out["labels"][i, t] = actions[row]
            for f in SEQUENCES:
                rows = [max(row - K + 1 + j, start_of[row]) for j in range(K)]
                out["sequences"][f][i, t] = states[rows, FEATURES.index(f)].reshape(-1)
    return out


def permute(weight, heads):
    """Rows of llama's q and k as GGUF has them: pairs that RoPE turns lie side by side."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(rows, -1)


def numbers(tensor):
    return np.ascontiguousarray(tensor.detach().numpy().astype(np.float32))


def plain(module):
    return module.inner if isinstance(module, Lora) else module


def write_llama(path, model):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_tensor("token_embd.weight", numbers(model.embed_tokens.weight))
    writer.add_tensor("output_norm.weight", numbers(model.norm.weight))
    for i, layer in enumerate(model.layers):
        attention, mlp = layer.self_attn, layer.mlp
        for name, tensor in {
            "attn_norm": numbers(layer.input_layernorm.weight),
            "ffn_norm": numbers(layer.post_attention_layernorm.weight),
            "attn_q": permute(numbers(plain(attention.q_proj).weight), HEADS),
            "attn_k": permute(numbers(plain(attention.k_proj).weight), KV_HEADS),
            "attn_v": numbers(plain(attention.v_proj).weight),
            "attn_output": numbers(attention.o_proj.weight),
            "ffn_gate": numbers(mlp.gate_proj.weight),
            "ffn_up": numbers(mlp.up_proj.weight),
            "ffn_down": numbers(mlp.down_proj.weight),
        }.items():
            writer.add_tensor(f"blk.{i}.{name}.weight", np.ascontiguousarray(tensor))
    return writer


def write_gpt2(path, model):
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-5)
    writer.add_tensor("token_embd.weight", numbers(model.wte.weight))
    writer.add_tensor("position_embd.weight", numbers(model.wpe.weight))
    for part in ["weight", "bias"]:
        writer.add_tensor(f"output_norm.{part}", numbers(getattr(model.ln_f, part)))
    for i in range(LAYERS):  # a layer behind stop_layer is there and must not matter
        block = model.h[min(i, len(model.h) - 1)]
        for name, module in {
            "attn_norm": block.ln_1, "ffn_norm": block.ln_2, "attn_qkv": plain(block.attn.c_attn),
            "attn_output": block.attn.c_proj, "ffn_up": plain(block.mlp.c_fc), "ffn_down": block.mlp.c_proj,
        }.items():
            weight = numbers(module.weight)
            writer.add_tensor(f"blk.{i}.{name}.weight", np.ascontiguousarray(weight.T) if weight.ndim == 2 else weight)
            writer.add_tensor(f"blk.{i}.{name}.bias", numbers(module.bias))
    return writer


GGUF_NAMES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}


def named_parameters(policy, adapters, architecture):
    """The C program's names -> (parameter, how its rows are ordered there)."""
    as_is, q_rows = (lambda x: x), (lambda x: permute(x, HEADS))
    names = {"policy.time.table": policy.time.weight, "policy.norm.weight": policy.norm.weight, "policy.norm.bias": policy.norm.bias}
    linears = {"return": policy.ret, "head": policy.head}
    if isinstance(policy.action, nn.Embedding):
        names["policy.action.table"] = policy.action.weight
    else:
        linears["action"] = policy.action
    for f in FEATURES:
        linears[f"state.{f}.in"] = policy.inner[f]
        linears[f"state.{f}.out"] = policy.outer[f]
    for name, linear in linears.items():
        names[f"policy.{name}.weight"] = linear.weight
        names[f"policy.{name}.bias"] = linear.bias
    out = {name: (parameter, as_is) for name, parameter in names.items()}
    for (layer, target), module in adapters.items():
        prefix = f"blk.{layer}.{GGUF_NAMES[target]}"
        out[f"{prefix}.lora_a"] = (module.a[target], as_is)
        out[f"{prefix}.lora_b"] = (module.b[target], q_rows if architecture == "llama" and target == "q" else as_is)
    return out


def base_parameters(model, architecture):
    """The weights of the base by their names in the file -> (parameter, how its rows are ordered there)."""
    same, turned = (lambda x: x), (lambda x: x.T)
    if architecture == "llama":
        out = {"output_norm.weight": (model.norm.weight, same)}
        for i, layer in enumerate(model.layers):
            a, m = layer.self_attn, layer.mlp
            for name, module, order in [("attn_norm", layer.input_layernorm, same), ("attn_q", a.q_proj, lambda x: permute(x, HEADS)),
                                        ("attn_k", a.k_proj, lambda x: permute(x, KV_HEADS)), ("attn_v", a.v_proj, same),
                                        ("attn_output", a.o_proj, same), ("ffn_norm", layer.post_attention_layernorm, same),
                                        ("ffn_gate", m.gate_proj, same), ("ffn_up", m.up_proj, same), ("ffn_down", m.down_proj, same)]:
                out[f"blk.{i}.{name}.weight"] = (module.weight, order)
        return out
    out = {"position_embd.weight": (model.wpe.weight, same), "output_norm.weight": (model.ln_f.weight, same),
           "output_norm.bias": (model.ln_f.bias, same)}
    for i, block in enumerate(model.h):
        for name, module in [("attn_norm", block.ln_1), ("attn_qkv", plain(block.attn.c_attn)), ("attn_output", block.attn.c_proj),
                             ("ffn_norm", block.ln_2), ("ffn_up", plain(block.mlp.c_fc)), ("ffn_down", block.mlp.c_proj)]:
            out[f"blk.{i}.{name}.weight"] = (module.weight, turned if module.weight.ndim == 2 else same)
            out[f"blk.{i}.{name}.bias"] = (module.bias, same)
    return out


def two_dimensional(array):
    return array if array.ndim == 2 else array[None, :]


def make(name, folder):
    case, architecture = CASES[name], name.split("-")[0]
    torch.manual_seed(case["seed"])
    generator = np.random.default_rng(case["seed"])
    pool = columns(generator)
    actions = generator.choice(3, ROWS, p=[0.6, 0.2, 0.2])
    model, adapters, base = {"llama": llama, "gpt2": gpt2}[architecture](case)
    policy = Policy(case)

    # In double, so that what is compared with is the truth to float32.
    model.double()
    policy.double()
    batch = batch_of(case, pool, actions)
    to = lambda x: torch.tensor(x, dtype=torch.double if x.dtype.kind == "f" else torch.long)
    # Weights go to the files as float32: compute with the same numbers.
    with torch.no_grad():
        for p in list(model.parameters()) + list(policy.parameters()):
            p.copy_(p.float().double())
    logits = policy(base, to(batch["returns"]), to(batch["states"]), {f: to(v) for f, v in batch["sequences"].items()},
                    to(batch["actions"]), to(batch["times"]))
    loss = F.cross_entropy(logits.reshape(-1, 3), to(batch["labels"]).reshape(-1), ignore_index=-1,
                           weight=torch.tensor(case["weights"], dtype=torch.double))
    loss.backward()

    path = folder / f"{name}.gguf"
    writer = {"llama": write_llama, "gpt2": write_gpt2}[architecture](str(path), model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    yes = {True: "true", False: "false"}
    config = CONFIG.format(stop=case["stop"], c=C, gamma=GAMMA, horizon=HORIZON, normalise=yes[case["normalise"]], w=W,
                           features=", ".join(FEATURES), sequences=", ".join(SEQUENCES), e=E, k=K, action=case["action"],
                           time=case["time"], normaliser=case["normaliser"], residual=yes[case["residual"]], rank=RANK if case["targets"] else 0, alpha=ALPHA,
                           targets=", ".join(case["targets"]))
    with h5py.File(folder / f"{name}.h5", "w") as file:
        file.create_dataset("config", data=np.bytes_(config + "\0"))
        file["columns"] = np.stack([pool[f] for f in FEATURES])
        file["actions"] = actions.astype(np.int32)
        file["episodes"] = np.array(EPISODES, dtype=np.int32)
        file["windows"] = np.array(WINDOWS, dtype=np.int32)
        file["score_from"] = np.array(SCORE_FROM, dtype=np.int32)
        file["class_weights"] = np.array(case["weights"], dtype=np.float32)
        file["logits"] = logits.detach().numpy().reshape(-1, 3).astype(np.float32)
        file["loss"] = np.array([loss.item()])
        trained = named_parameters(policy, adapters, architecture)
        if not case["targets"]:
            trained |= base_parameters(model, architecture)
        for key, (parameter, order) in trained.items():
            assert parameter.grad is not None, key
            file[f"values/{key}"] = two_dimensional(order(numbers(parameter)))
            file[f"gradients/{key}"] = two_dimensional(order(numbers(parameter.grad)))


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in CASES:
        make(name, folder)


if __name__ == "__main__":
    main()
