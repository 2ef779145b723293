#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The cost model of docs/scaling.md: what a data-parallel step takes on N ranks.

    T(N) = T1 + max(0, C - t - B) + t          C = n t, n = ceil(S / b)
    t    = h a + 2 (N - 1) / N b / w           h = 2 (N - 1) in a ring, 2 log2 N in trees

T1: a rank's own work on its windows; B: the part of it that is the backward pass, behind which sums hide; S: bytes of
gradients; b: bytes of a bucket; a: seconds a hop; w: bytes a second of a rank's link, each way. The last bucket's sum
hides behind nothing.
"""
import argparse
from math import ceil, log2


def step(own, backward, gradients, ranks, hop, rate, tree, bucket=4 * 2**20):
    buckets = ceil(gradients / bucket)
    size = min(bucket, gradients)
    hops = 2 * log2(ranks) if tree else 2 * (ranks - 1)
    one = hops * hop + 2 * (ranks - 1) / ranks * size / rate
    exposed = max(0, (buckets - 1) * one - backward) + one
    return buckets * one, exposed, own + exposed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--own-ms", type=float, help="a rank's own work; without it, the table of docs/scaling.md")
    parser.add_argument("--backward", type=float, default=0.5, help="share of it that is backward")
    parser.add_argument("--gradients-mb", type=float, default=268.4)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--hop-us", type=float, default=5)
    parser.add_argument("--rate-gbs", type=float, default=40, help="GB/s")
    parser.add_argument("--bucket-mib", type=float, default=4)
    parser.add_argument("--tree", action="store_true")
    o = parser.parse_args()
    if o.own_ms:
        rows = [("", o.own_ms, o.backward, o.gradients_mb, [(o.ranks, o.hop_us, o.rate_gbs, o.tree)])]
    else:
        nets = [(8, 1.5, 370, False), (64, 5, 40, False), (64, 5, 40, True), (1024, 5, 40, False), (1024, 5, 40, True)]
        rows = [
            ("Llama-2-7B, LoRA 128, 32 windows a GPU", 373, 0.5, 268.4, nets),
            ("Llama-2-7B, LoRA 128, 1 window a GPU", 16, 0.5, 268.4, nets),
            ("GPT-2 full, 32 windows a GPU", 32, 2 / 3, 498, nets),
            ("GPT-2, LoRA 128, 32 windows a GPU", 22, 0.5, 25.3, nets),
        ]
    print(f"{'':40s} ranks      sums, ms  not hidden  step, ms  efficiency")
    for name, own, share, gradients, where in rows:
        for ranks, hop, rate, tree in where:
            sums, exposed, whole = step(own / 1e3, share * own / 1e3, gradients * 1e6, ranks, hop / 1e6, rate * 1e9, tree,
                                        o.bucket_mib * 2**20)
            print(f"{name:40s} {ranks:5d} {'tree' if tree else 'ring'} {sums * 1e3:10.1f} {exposed * 1e3:10.1f} "
                  f"{whole * 1e3:10.1f} {own / 1e3 / whole:10.3f}")


if __name__ == "__main__":
    main()
