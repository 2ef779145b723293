#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Golden file of AdamW: ten steps of torch.optim.AdamW on 37 numbers, in double, written as text.

    tools/golden/adamw.py > tests/golden/adamw.txt

Line 1: n, steps, lr, beta1, beta2, epsilon, weight decay, gradient scale. Then n starting values; then for each step a line of
n gradients (before scaling) and a line of n values after the step.
"""
import torch

N, STEPS = 37, 10
LR, BETA1, BETA2, EPSILON, DECAY, SCALE = 3e-3, 0.9, 0.999, 1e-8, 1e-2, 0.25

torch.manual_seed(7)
x = torch.nn.Parameter(torch.randn(N).double())
optimizer = torch.optim.AdamW([x], lr=LR, betas=(BETA1, BETA2), eps=EPSILON, weight_decay=DECAY)


def line(values):
    return " ".join(f"{float(v):.9g}" for v in values)


print(N, STEPS, LR, BETA1, BETA2, EPSILON, DECAY, SCALE)
print(line(x.detach()))
for step in range(STEPS):
    gradient = (torch.randn(N) * 10.0 ** torch.randint(-6, 3, (N,))).double()
    if step == 4:
        gradient[::3] = 0.0
    gradient = gradient.float().double()
    x.grad = gradient * SCALE
    optimizer.step()
    print(line(gradient))
    print(line(x.detach()))
