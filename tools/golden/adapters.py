#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Adapters out and in, against PEFT and llama.cpp, over seeded random models of every architecture.

    adapters.py AQMTRAIN [--seed N] [--only WORD] [--llama-python PYTHON]

Out: a model of transformers is converted, a policy is trained on it for a few steps and exported; PEFT loads the folder on the model. Compared are
the hidden states and logits of PEFT with those of `model forward`: base + PEFT folder, base + GGUF adapter, merged model. With a PYTHON that has
llama_cpp, llama.cpp too, with the GGUF adapter and with the merged model.

In: adapters that PEFT makes and saves, of many settings and in half precision, through `model forward --adapter`; and those that one
rank and scale can hold, through `train --init-adapter` at a learning rate of 0 and out again, bit for bit.

References are computed in double precision; differences are relative to the largest number. Adapters can make a network that amplifies roundings:
where PEFT itself is farther off in float32, four times its own difference is allowed. Needs torch, transformers, peft, safetensors, gguf, h5py
and numpy.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import transformers
from convert import CASES, difference, hidden_states, save

TOLERANCE, OWN, TOKENS, WINDOWS = 1e-5, 4, 20, 2
# llama.cpp computes in float32 with roundings of its own, and takes GELU from a table in half precision.
LLAMA_TOLERANCE = {"gpt2": 2e-3, "gpt2-odd-sharded": 2e-3, "t5-1.1": 1e-2}
ALL = {"Llama": "q, k, v, o, gate, up, down", "GPT2": "q, k, v, o, up, down", "OPT": "q, k, v, o, up, down", "T5": "q, k, v, o, up, down"}
MODULES = {"Llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], "GPT2": ["c_attn", "c_proj", "c_fc"],
           "OPT": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"], "T5": ["q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo"]}
PAIR = {"GPT2": ["c_attn"], "T5": ["q", "v"]}  # else q_proj, v_proj


def family_of(name):
    family = CASES[name][0]
    return "Llama" if family in ("Mistral", "Qwen2") else family


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip().splitlines()[-1:]}")
    return done


class Bench:
    """One model: its base in GGUF, embeddings, and what computes on them."""

    def __init__(self, program, name, folder, seed):
        import h5py

        self.program, self.name, self.folder, self.seed = program, name, folder, seed
        self.model_path, self.base = folder / "model", folder / "base.gguf"
        model = save(name, CASES[name], self.model_path, seed)
        self.width, self.gated = model.config.hidden_size, getattr(model.config, "is_gated_act", True)
        run(program, "model", "convert", self.model_path, "-o", self.base, "--type", "f32")
        self.x = np.random.default_rng(seed + 1).normal(0, 1, (WINDOWS, TOKENS, self.width)).astype(np.float32)
        with h5py.File(folder / "x.h5", "w") as file:
            file["embeddings"] = self.x

    def load(self):
        """The model in float32, fresh; not in the type it was saved in."""
        import torch
        from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

        head = CASES[self.name][4]
        auto = AutoModel if not head else AutoModelForSeq2SeqLM if family_of(self.name) == "T5" else AutoModelForCausalLM
        return auto.from_pretrained(self.model_path, dtype=torch.float32, attn_implementation="eager").eval()

    def forward(self, *options, base=None):
        import h5py

        run(self.program, "model", "forward", base or self.base, "--input", self.folder / "x.h5", "--output", self.folder / "y.h5", *options)
        with h5py.File(self.folder / "y.h5") as file:
            return file["hidden"][:]

    def head(self, model, hidden):
        """Logits of hidden states, in double precision; None without an LM head."""
        import torch

        if not hasattr(model, "lm_head"):
            return hidden
        scale = model.config.d_model**-0.5 if model.config.model_type == "t5" and model.config.tie_word_embeddings else 1
        with torch.no_grad():
            return (torch.from_numpy(np.asarray(hidden, np.float64)) * scale @ model.lm_head.weight.double().T).numpy()

    def llama(self, python, base, adapter):
        script = Path(__file__).with_name("export_peft.py")
        np.save(self.folder / "x.npy", self.x)
        run(python, script, "--in-llama", base, adapter or "", self.folder / "x.npy", self.folder / "y.npy")
        return np.load(self.folder / "y.npy")


def states_and_roundings(model, x):
    """Hidden states in double precision, and how far float32 is off."""
    single = hidden_states(model, x, "float32")
    double = hidden_states(model, x)
    return double, difference(single, double)


def published_states(model, x):
    """As llama.cpp has them: t5's encoder and cross-attention see the whole window."""
    import torch

    if model.config.model_type != "t5":
        return hidden_states(model, x)
    with torch.no_grad():
        encoded = model.encoder(inputs_embeds=torch.from_numpy(x).double()).last_hidden_state
        return model.decoder(inputs_embeds=encoded, encoder_hidden_states=encoded, use_cache=False).last_hidden_state.numpy()


# ---- out ----

CONFIG = """seed: 3
threads: 1
model: {{path: {base}}}
pool: {{train: {pool}}}
policy: {{window: 4, features: [current_qdelay, len_bytes, pkt_len], sequences: [], encoder_width: 8}}
lora: {{rank: {rank}, alpha: {alpha}, targets: [{targets}], rslora: {rslora}, dropout: 0}}
train: {{epochs: {epochs}, windows: 8, lr: {lr}, warmup: 0, clip: 0}}
"""


def make_pool(program, folder):
    rng = np.random.default_rng(0)
    rows = ["current_qdelay,len_bytes,pkt_len,action"]
    for delay in rng.integers(0, 30000, 120):
        rows.append(f"{delay},{delay * 12},{rng.choice([60, 1500])},{1 if delay > 20000 else 2 if delay > 12000 else 0}")
    (folder / "pool.csv").write_text("\n".join(rows) + "\n", encoding="ascii")
    run(program, "pool", "import", folder / "pool.csv", "-o", folder / "pool.h5")
    return folder / "pool.h5"


def train(bench, pool, run_path, settings, *options):
    values = dict(base=bench.base, pool=pool, rank=4, alpha=8, targets="q, v", rslora="false", epochs=3, lr=0.02) | settings
    (bench.folder / "config.yaml").write_text(CONFIG.format(**values), encoding="ascii")
    run(bench.program, "train", "-c", bench.folder / "config.yaml", "-o", run_path, *options)


def check_out(bench, pool, number, settings, python):
    from peft import PeftModel

    here = bench.folder / f"out{number}"
    here.mkdir()
    train(bench, pool, here / "run", settings)
    run(bench.program, "export", "-r", here / "run", "--last", "--peft", here / "peft", "--gguf-lora", here / "lora.gguf", "--merged",
        here / "merged.gguf", "--type", "f32")
    model = bench.load()
    plain = hidden_states(model, bench.x)
    adapted = PeftModel.from_pretrained(bench.load(), here / "peft").eval().get_base_model()
    reference, own = states_and_roundings(adapted, bench.x)
    logits = bench.head(model, reference)
    found = {}
    for what, hidden in [("PEFT folder", bench.forward("--adapter", here / "peft")), ("GGUF adapter", bench.forward("--adapter", here / "lora.gguf")),
                         ("merged", bench.forward(base=here / "merged.gguf"))]:
        found[what] = max(difference(hidden, reference), difference(bench.head(model, hidden), logits))
    line = f"    out {json.dumps(settings)}: changes by {difference(plain, reference):.2g}; PEFT in float32 {own:.2g}, " + ", ".join(f"{k} {v:.2g}" for k, v in found.items())
    good = max(found.values()) < max(TOLERANCE, OWN * own) and difference(plain, reference) > 1e-3
    if python and family_of(bench.name) != "OPT" and "num_decoder_layers" not in CASES[bench.name][1]:  # which it cannot load
        limit, reference = LLAMA_TOLERANCE.get(bench.name, TOLERANCE), published_states(adapted, bench.x)
        theirs = {"GGUF adapter": (bench.base, here / "lora.gguf"), "merged": (here / "merged.gguf", None)}
        theirs = {k: difference(bench.llama(python, *v), reference) for k, v in theirs.items()}
        line += "; llama.cpp: " + ", ".join(f"{k} {v:.2g}" for k, v in theirs.items())
        good = good and max(theirs.values()) < max(limit, OWN * own)
    print(line + ("" if good else "  <-- FAILED"))
    return good


# ---- in ----

def variants(name):
    """Settings of PEFT, the type the adapter is saved in, and the lora section that holds it exactly (None: none does)."""
    family, layers = family_of(name), CASES[name][1].get("num_hidden_layers") or CASES[name][1].get("n_layer") or CASES[name][1]["num_layers"]
    pair = PAIR.get(family, ["q_proj", "v_proj"])
    words = "q, k, v" if family == "GPT2" else "q, v"
    every = ALL[family].replace("up", "gate, up") if name == "t5-1.1" else ALL[family]
    yield dict(r=4, lora_alpha=8, target_modules=pair), "float32", dict(rank=4, alpha=8, targets=words)
    yield dict(r=3, lora_alpha=7, target_modules=MODULES[family], use_rslora=True), "float32", dict(rank=3, alpha=7, rslora="true", targets=every)
    yield dict(r=5, lora_alpha=16, target_modules=MODULES[family]), "bfloat16", dict(rank=5, alpha=16, targets=every)
    yield dict(r=2, lora_alpha=3, target_modules=pair), "float16", dict(rank=2, alpha=3, targets=words)
    ends = MODULES[family][:2] if family != "T5" else ["q", "o"]
    yield dict(r=4, lora_alpha=8, target_modules=MODULES[family], rank_pattern={ends[0]: 6}, alpha_pattern={ends[1]: 20}), "float32", None
    if not CASES[name][4]:
        return  # PEFT finds layers only behind another component of the name
    yield dict(r=2, lora_alpha=4, target_modules=pair, layers_to_transform=[layers - 1],
               **({"layers_pattern": "block"} if family == "T5" else {})), "float32", None


def make_adapter(bench, settings, dtype, seed):
    """Random factors, as they are after training; states_and_roundings() of PEFT with what the saved folder holds."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(seed)
    folder = bench.folder / f"in{seed}"
    adapted = get_peft_model(bench.load(), LoraConfig(**settings))
    with torch.no_grad():
        for key, p in adapted.named_parameters():
            if "lora_" in key:
                p.copy_(torch.randn_like(p) * 0.1)
                p.data = p.data.to(getattr(torch, dtype))
    adapted.save_pretrained(folder)
    reference = PeftModel.from_pretrained(bench.load(), folder).eval().get_base_model()
    return folder, *states_and_roundings(reference, bench.x)


def same_numbers(a, b):
    """The tensors of two adapters, bit for bit, whatever type they are in; how many there are."""
    from safetensors.torch import load_file

    a, b = (load_file(folder / "adapter_model.safetensors") for folder in (a, b))
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    return all((a[k].float() == b[k].float()).all() for k in a) and len(a)


def check_in(bench, pool, number, settings, dtype, exactly):
    folder, reference, own = make_adapter(bench, settings, dtype, number)
    limit = max(TOLERANCE, OWN * own)
    found = difference(bench.forward("--adapter", folder), reference)
    streamed = difference(bench.forward("--adapter", folder, "--streaming"), reference)
    line = f"    in {json.dumps(settings)} {dtype}: {found:.2g}, streamed {streamed:.2g}, PEFT in float32 {own:.2g}"
    good = max(found, streamed) < limit
    if exactly:
        train(bench, pool, folder / "run", exactly | dict(epochs=1, lr=0), "--init-adapter", folder)
        run(bench.program, "export", "-r", folder / "run", "--last", "--peft", folder / "peft")
        if family_of(bench.name) == "GPT2":  # q, k and v share A there: the same function by other factors
            again = difference(bench.forward("--adapter", folder / "peft"), reference)
            line, good = line + f"; trained at rate 0 and exported: {again:.2g}", good and again < limit
        elif CASES[bench.name][4]:
            same = same_numbers(folder, folder / "peft")
            line, good = line + f"; trained at rate 0 and exported: {same or 'other'} tensors{' the same' if same else ''}", good and same
    print(line + ("" if good else "  <-- FAILED"))
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=lambda p: Path(p).resolve())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--llama-python")
    args = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module="peft")
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        pool = make_pool(args.program, Path(scratch))
        for name in CASES:
            if args.only not in name:
                continue
            folder = Path(scratch) / name
            folder.mkdir()
            bench = Bench(args.program, name, folder, args.seed)
            every = ALL[family_of(name)].replace("up", "gate, up") if name == "t5-1.1" else ALL[family_of(name)]
            print(name)
            if CASES[name][4]:  # PEFT's task type asks for an LM head
                for i, settings in enumerate([dict(), dict(rank=3, targets=every, rslora="true"), dict(targets="k, down", alpha=5)]):
                    failed += not check_out(bench, pool, i, settings, args.llama_python)
            for i, (settings, dtype, exactly) in enumerate(variants(name)):
                failed += not check_in(bench, pool, 100 + i, settings, dtype, exactly)
    print("all as they should be" if not failed else f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
