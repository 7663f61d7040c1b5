"""Benchmark: the cost of a watch: `python experiments/bench_watch.py`.

Steps with a watch (every=10, no closure) and without, in turn: forward, backward and Adam in float32 on the CPU. The
processor's time of this process with one thread each, so that other work on the machine counts little; the overhead is
the median of the pairs, and its error half the range of the middle half of them over the root of their number. Which
of a pair comes first alternates. The first ten steps are not timed: the first five are all measured, and a training has
thousands. A fused Adam of 1,000,000 parameters in one tensor is the hardest case: nothing else is in its step.
"""

from __future__ import annotations

import time

import numba
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import adamx

ROUNDS, STEPS, BEFORE = 24, 50, 10


def perceptron(width: int, batch: int):
    net = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
    x, y = torch.randn(batch, 64), torch.randint(10, (batch,))

    def backward() -> torch.Tensor:
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        return loss

    return list(net.parameters()), backward


def one_tensor(size: int):
    p = nn.Parameter(torch.randn(size))
    p.grad = torch.randn(size)
    return [p], lambda: torch.ones(())


CASES = {
    "MLP 64-128-128-10, batch 256": lambda: perceptron(128, 256),
    "MLP 64-256-256-10, batch 256": lambda: perceptron(256, 256),
    "MLP 64-512-512-10, batch 256": lambda: perceptron(512, 256),
    "MLP 64-1000-1000-10, batch 32": lambda: perceptron(1000, 32),
    "1,000,000 in one tensor, Adam alone": lambda: one_tensor(1_000_000),
}


def main() -> None:
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    print(f"{'a step of':38}{'alone ms':>10}{'watched':>10}{'overhead':>10}{'+-':>8}")
    for name, case in CASES.items():
        params, backward = case()
        optimizer = torch.optim.Adam(params, lr=1e-4, fused=True)
        taken: tuple[list[float], list[float]] = ([], [])
        for turn in range(ROUNDS + 1):
            for watched in (turn % 2, 1 - turn % 2):
                w = adamx.watch(optimizer, every=10) if watched else None
                for step in range(BEFORE + STEPS):
                    if step == BEFORE:
                        start = time.process_time()
                    if len(params) > 1:
                        optimizer.zero_grad()
                    loss = backward()
                    optimizer.step()
                    if w:
                        w.loss(loss)
                taken[watched].append((time.process_time() - start) / STEPS * 1e3)
                if w:
                    w.close()
        alone, with_it = (np.array(t[1:]) for t in taken)
        ratios = with_it / alone - 1
        error = np.subtract(*np.quantile(ratios, [0.75, 0.25])) / 2 / np.sqrt(ROUNDS)
        middle = np.median(alone), np.median(with_it), np.median(ratios)
        print(f"{name:38}{middle[0]:10.3f}{middle[1]:10.3f}{middle[2]:10.1%}{error:8.1%}")


if __name__ == "__main__":
    main()
