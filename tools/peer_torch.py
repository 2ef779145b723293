#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The training step of `aqmtrain bench step` as PyTorch, transformers and PEFT do it: the same base's shape with random weights, the same
tokens of the same encoder, LoRA (or everything trained, with --rank 0), bfloat16 by autocast, attention through SDPA, fused AdamW, clipping.

    peer_torch.py --arch llama --layers 32 --width 4096 --heads 32 --kv-heads 32 --ffn 11008 --windows 32

`aqmtrain bench step --peer` prints the whole command for its own step. Prints one JSON object: time of a step (the shortest), tokens a second,
peak memory of the device.
"""
import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional as F


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--arch", choices=["llama", "gpt2", "opt"], required=True)
    for name, value in (("layers", 2), ("width", 96), ("heads", 6), ("kv-heads", 0), ("ffn", 256), ("windows", 32), ("window", 20),
                        ("features", 8), ("sequences", 2), ("kernel", 4), ("encoder", 256), ("rank", 128), ("runs", 4)):
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--alpha", type=float, default=32)
    p.add_argument("--dropout", type=float, default=0.05)
    p.add_argument("--checkpoint", action="store_true", help="recompute activations in backward")
    p.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return p.parse_args()


def base_model(a, tokens):
    from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaModel, OPTConfig, OPTModel

    length = max(1024, tokens)
    if a.arch == "llama":
        config = LlamaConfig(vocab_size=8, hidden_size=a.width, intermediate_size=a.ffn, num_hidden_layers=a.layers,
                             num_attention_heads=a.heads, num_key_value_heads=a.kv_heads or a.heads, max_position_embeddings=length)
        kind = LlamaModel
    elif a.arch == "gpt2":
        config = GPT2Config(vocab_size=8, n_positions=length, n_embd=a.width, n_layer=a.layers, n_head=a.heads, n_inner=a.ffn,
                            resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
        kind = GPT2Model
    else:
        config = OPTConfig(vocab_size=8, hidden_size=a.width, ffn_dim=a.ffn, num_hidden_layers=a.layers, num_attention_heads=a.heads,
                           max_position_embeddings=length, dropout=0, attention_dropout=0, word_embed_proj_dim=a.width)
        kind = OPTModel
    config._attn_implementation = "sdpa"
    config.use_cache = False
    # A frozen base lies in bfloat16; a trained one needs its float32 masters, and autocast casts.
    dtype = torch.bfloat16 if a.rank > 0 and a.dtype == "bf16" else torch.float32
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(a.device):
            model = kind(config)
    finally:
        torch.set_default_dtype(before)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.float()
    if a.checkpoint:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if a.rank == 0:
        return model
    from peft import LoraConfig, get_peft_model

    targets = {"llama": ["q_proj", "v_proj"], "opt": ["q_proj", "v_proj"], "gpt2": ["c_attn"]}[a.arch]
    return get_peft_model(model, LoraConfig(r=a.rank, lora_alpha=a.alpha, lora_dropout=a.dropout, target_modules=targets,
                                            fan_in_fan_out=a.arch == "gpt2"))


class Policy(nn.Module):
    """Return, features and action of each step as tokens; the head reads where the state ends."""

    def __init__(self, a):
        super().__init__()
        self.a, self.tokens = a, a.features + 2
        self.base = base_model(a, a.window * self.tokens)
        d, e = a.width, a.encoder
        self.returns = nn.Linear(1, d)
        self.inner = nn.ModuleList(nn.Linear(a.kernel if f < a.sequences else 1, e) for f in range(a.features))
        self.outer = nn.ModuleList(nn.Linear(e, d) for _ in range(a.features))
        self.action, self.time = nn.Embedding(3, d), nn.Embedding(a.window, d)
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 3)

    def forward(self, returns, features, actions):
        b, w = actions.shape
        time_of = self.time(torch.arange(w, device=actions.device))
        columns = [self.returns(returns)]
        columns += [outer(F.leaky_relu(inner(x))) for inner, outer, x in zip(self.inner, self.outer, features)]
        columns.append(self.action(actions))
        x = torch.stack([c + time_of for c in columns], 2).reshape(b, w * self.tokens, -1)
        x = self.norm(x)
        half = self.a.rank > 0 and self.a.dtype == "bf16"
        hidden = self.base(inputs_embeds=x.bfloat16() if half else x, use_cache=False).last_hidden_state
        at = slice(self.tokens - 2, None, self.tokens)
        return self.head(hidden[:, at].float() + x[:, at].float())


def main():
    a = parse()
    device = torch.device(a.device)
    cuda = device.type == "cuda"
    torch.manual_seed(1)
    policy = Policy(a).to(device)
    policy.train()
    trained = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=1e-4, fused=True)
    shape = (a.windows, a.window)
    returns = torch.randn(*shape, 1, device=device)
    features = [torch.randn(*shape, a.kernel if f < a.sequences else 1, device=device) for f in range(a.features)]
    actions = torch.randint(3, shape, device=device)

    def step():
        with torch.autocast(device.type, torch.bfloat16, enabled=a.dtype == "bf16"):
            logits = policy(returns, features, actions)
        loss = F.cross_entropy(logits.reshape(-1, 3).float(), actions.reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 0.25)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if cuda:
            torch.cuda.synchronize()
        return loss.item()

    times, loss = [], 0.0
    for i in range(a.runs + 2):  # the first two find kernels and fill caches
        if cuda and i == 2:
            torch.cuda.reset_peak_memory_stats()
        begin = time.perf_counter()
        loss = step()
        times.append(time.perf_counter() - begin)
    best = min(times[2:])
    tokens = a.windows * a.window * (a.features + 2)
    print(json.dumps({
        "name": f"peer/{a.arch}-{a.layers}x{a.width}/{device.type}",
        "step_ms": best * 1e3,
        "tokens_per_s": tokens / best,
        "peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "trained": sum(p.numel() for p in trained),
        "loss": loss,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
    }))


if __name__ == "__main__":
    main()
