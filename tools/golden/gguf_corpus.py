#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Seed corpus of the GGUF fuzz target: small sound files (versions 2 and 3, every value and tensor type), and cut ones.

    gguf_corpus.py OUT_FOLDER
"""
import struct
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

TYPES = [T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q4_K, T.Q5_K, T.Q6_K, T.Q2_K, T.I32]


def every_value(writer):
    writer.add_uint8("a.u8", 1)
    writer.add_int8("a.i8", -1)
    writer.add_uint16("a.u16", 2)
    writer.add_int16("a.i16", -2)
    writer.add_uint32("llama.block_count", 3)
    writer.add_int32("a.i32", -3)
    writer.add_float32("llama.rope.freq_base", 1e4)
    writer.add_bool("a.bool", True)
    writer.add_string("general.name", "näme")
    writer.add_array("a.strings", ["x", "", "yz"])
    writer.add_array("a.floats", [0.5] * 20)
    writer.add_uint64("a.u64", 1 << 63)
    writer.add_int64("a.i64", -(1 << 63))
    writer.add_float64("a.f64", 0.1)


def tensors(writer, types):
    rng = np.random.default_rng(1)
    for qtype in types:
        block, size = gguf.GGML_QUANT_SIZES[qtype]
        data = rng.integers(0, 256, (2, size * (4 if block == 1 else 1)), np.uint8)
        writer.add_tensor(f"blk.0.{qtype.name.lower()}", data, raw_dtype=qtype)


def write(path, types, values=False, alignment=None):
    writer = gguf.GGUFWriter(path, "llama")
    if alignment:
        writer.add_custom_alignment(alignment)
    if values:
        every_value(writer)
    tensors(writer, types)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "types", TYPES)
    write(folder / "values", [], values=True)
    write(folder / "aligned", [T.F32, T.Q4_0], alignment=64)
    for qtype in (T.F32, T.Q8_0, T.Q6_K):
        write(folder / qtype.name.lower(), [qtype])
    whole = (folder / "values").read_bytes()
    (folder / "version2").write_bytes(whole[:4] + struct.pack("<I", 2) + whole[8:])
    (folder / "big-endian").write_bytes(whole[:4] + struct.pack(">I", 3) + whole[8:])
    for cut in (6, 30, 200):
        (folder / f"values-cut-{cut}").write_bytes(whole[:cut])
    types = (folder / "types").read_bytes()
    for cut in (100, 700, len(types) - 50):
        (folder / f"types-cut-{cut}").write_bytes(types[:cut])
    nested = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 3) + b"key" + struct.pack("<I", 9)
    (folder / "nested").write_bytes(nested + struct.pack("<IQ", 9, 1) * 2 + struct.pack("<IQI", 4, 1, 7))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
