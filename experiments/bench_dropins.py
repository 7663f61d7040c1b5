"""adamx.torch.Optimizer("adam") against torch.optim.Adam(fused=True): `python experiments/bench_dropins.py`.

Milliseconds a step in float32 on the CPU, the best of 15 rounds, with the threads that each takes by itself.
"""

from __future__ import annotations

import time

import torch

from adamx.torch import Optimizer

ROUNDS, STEPS = 15, 10


def parameters(shapes: list[tuple[int, ...]]) -> list[torch.Tensor]:
    made = [torch.randn(shape, requires_grad=True) for shape in shapes]
    for p in made:
        p.grad = torch.randn_like(p)
    return made


def transformer() -> list[tuple[int, ...]]:
    """The shapes of a real model: an encoder of six layers of width 256, 4.7 million parameters."""
    layer = torch.nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True)
    return [tuple(p.shape) for p in torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).parameters()]


def main() -> None:
    cases = {
        "1 x 1,000,000": [(1_000_000,)],
        "1,000 x 10,000": [(10_000,)] * 1000,
        "transformer, 6 layers": transformer(),
    }
    print(
        f"{'parameters':24}{'torch fused':>12}{'adamx':>12}{'ratio':>8}   ms a step, {torch.get_num_threads()} threads"
    )
    for name, shapes in cases.items():
        optimizers = torch.optim.Adam(parameters(shapes), fused=True), Optimizer(parameters(shapes), "adam")
        best = [float("inf")] * 2
        for _ in range(ROUNDS):
            for i, optimizer in enumerate(optimizers):
                optimizer.step()
                start = time.perf_counter()
                for _ in range(STEPS):
                    optimizer.step()
                best[i] = min(best[i], (time.perf_counter() - start) / STEPS * 1e3)
        print(f"{name:24}{best[0]:12.3f}{best[1]:12.3f}{best[1] / best[0]:8.2f}")


if __name__ == "__main__":
    main()
