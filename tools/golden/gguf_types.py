#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Golden file of the block types, computed and written by the gguf Python package.

    gguf_types.py OUT.gguf

For each TYPE it holds

    TYPE.blocks     random blocks, scales of every size included       TYPE.expanded   the same as f32
    numbers         f32 numbers, awkward ones included                 TYPE.quantised  the same as TYPE (where we quantise)
"""
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

EXPANDED = [T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q4_K, T.Q5_K, T.Q6_K]
QUANTISED = [T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1]
ROWS = 3

# Where the half-precision scales of a block lie.
SCALES = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}


def random_scales(rng, n):
    """Finite halves: usual ones, subnormal ones, zeros of both signs, the largest."""
    scales = (rng.standard_normal(n) * 0.01).astype(np.float16)
    special = np.array([0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0x0400], np.uint16).view(np.float16)
    where = rng.integers(0, 4, n) == 0
    scales[where] = rng.choice(special, where.sum())
    return scales


def random_blocks(rng, qtype):
    block, size = gguf.GGML_QUANT_SIZES[qtype]
    if block == 1:
        data = rng.integers(0, 1 << 16, (ROWS, 256), np.uint16)
        exponent = 0x7C00 if qtype == T.F16 else 0x7F80
        data[(data & exponent) == exponent] &= 0x83FF  # NaNs have more than one form
        return data.view(np.uint8)
    n = ROWS * (4 if block == 32 else 2)
    data = rng.integers(0, 256, (n, size), np.uint8)
    for at in SCALES[qtype]:
        data[:, at:at + 2] = random_scales(rng, n).view(np.uint8).reshape(n, 2)
    return data.reshape(ROWS, -1)


def awkward_numbers(rng):
    """Blocks of 32: normals of several sizes, and what rounding and scaling trip over."""
    blocks = [rng.standard_normal(32) * s for s in (1.0, 0.02, 1e-4, 300.0, 1e-7, 1e-20)]
    blocks.append(np.zeros(32))
    blocks.append(-np.zeros(32))
    blocks.append(np.full(32, 0.75))
    blocks.append(np.arange(32) - 15.5)  # ties
    blocks.append(np.where(np.arange(32) % 2, 1.0, -1.0))  # extremes of both signs: the first wins
    blocks.append(np.abs(rng.standard_normal(32)))
    blocks.append(np.r_[65504.0, 65519.9, -65520.0, 1e5, 6.1e-5, 6e-8, 2.98e-8, 2.99e-8, rng.standard_normal(24)])
    blocks.append((1 + np.arange(32) * 2.0**-12) * 2.0**-3)  # half way between halves
    blocks.append(rng.standard_normal(32))
    return np.array(blocks, np.float32)


def main(path):
    rng = np.random.default_rng(20240607)
    writer = gguf.GGUFWriter(path, "test")
    for qtype in EXPANDED:
        name = qtype.name.lower()
        blocks = random_blocks(rng, qtype)
        expanded = dequantize(blocks.view(np.float16) if qtype == T.F16 else blocks, qtype)
        writer.add_tensor(f"{name}.blocks", blocks, raw_dtype=qtype)
        writer.add_tensor(f"{name}.expanded", expanded.astype(np.float32))
    numbers = awkward_numbers(rng)
    writer.add_tensor("numbers", numbers)
    for qtype in QUANTISED:
        with np.errstate(over="ignore"):
            quantised = quantize(numbers, qtype).view(np.uint8)
        writer.add_tensor(f"{qtype.name.lower()}.quantised", quantised, raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
