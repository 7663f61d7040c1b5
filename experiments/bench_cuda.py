"""Benchmark on a GPU: adamx's kernels, the bounds of the card, the same work in jax and torch, as Markdown.

    python experiments/bench_cuda.py [--quick]

Needs numba-cuda and a GPU; jax, optax and torch are peers, and say so where they are not installed. A call runs until
the GPU is done; the first one compiles and is timed apart.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import numpy as np
from numba import cuda
from peers_kernels import jax_mlp, jax_rosenbrock
from racing import Way, machine, optional, race

import adamx
from adamx.engine.stepper.stepper import Stepper
from adamx.inputs.errors import InputError
from adamx.problems import Task, problem

QUICK = "--quick" in sys.argv  # small enough for Numba's simulator
REPEATS = 2 if QUICK else 5
RUNS, STEPS = (64, 4) if QUICK else (1 << 20, 10_000)
MLP_RUNS, MLP_STEPS, BATCH = (2, 2, 8) if QUICK else (16_384, 1_000, 128)
ELEMENTS = 10_000 if QUICK else 256 << 20
TENSORS, EACH = (4, 100) if QUICK else (1_000, 10_000)
MOVED = 7 * 4  # bytes of an element in a step of Adam in float32: x, g, m, v are read, x, m, v written
AGAIN = 1 if QUICK else 20  # steps of a call, where one is too short to be timed
THREADS = 4 if QUICK else 128
HIDDEN = [2] if QUICK else [32]


def done(call: Callable[[], object]) -> Callable[[], None]:
    """The call, until the GPU has done it."""

    def wait() -> None:
        call()
        cuda.synchronize()

    return wait


def table(title: str, unit: str, dtype: str, work: float, ways: Sequence[Way]) -> None:
    """Print the ways to do some work, adamx first and the bound, if there is one, last; work in units of the table."""
    print(f"\n**{title}, {dtype}**\n")
    print(f"| way | first call, s | best, ms | median, ms | {unit}, best | median | x adamx's time | of the bound |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    ours, bound = ways[0].median, ways[-1].median if ways[-1].name.startswith("bound") else 0.0
    for way in ways:
        if way.call is None:
            print(f"| {way.name} |" + " |" * 7)
            continue
        least, median = min(way.seconds), way.median
        share = f"{bound / median:.1%}" if bound else ""
        cells = [f"{way.first:.1f}", *(f"{1e3 * s:,.4g}" for s in (least, median))]
        cells += [*(f"{work / s:,.4g}" for s in (least, median)), f"{median / ours:,.2f}", share]
        print(f"| {way.name} | {' | '.join(cells)} |")


def peers(make: Callable[..., Iterator[Way]], *arguments: object) -> list[Way]:
    """The ways of jax on one device, which is all the GPU has."""
    return [way for way in optional(make, *arguments) if not way.call or way.name.endswith(", 1 device")]


def roots(dtype: str) -> Way:
    """Three square roots and three divisions a run and step: two coordinates, and every run's own bias correction."""
    from adamx.engine.cuda import device

    two = np.dtype(dtype).type(2)

    def kernel(last, steps):
        run = cuda.grid(1)
        a, b, c = last[0, run], last[1, run], last[2, run]
        for _ in range(steps):
            a, b, c = two / math.sqrt(a), two / math.sqrt(b), two / math.sqrt(c)
        last[0, run] = a + b + c

    compiled, last = device.jit(kernel, "roots", dtype), cuda.to_device(np.full((3, RUNS), two))
    launch = partial(device.launch, compiled, (RUNS // THREADS, THREADS, 0, 0), (last, STEPS))
    return Way("bound: square roots and divisions alone", done(launch))


def rosenbrock() -> None:
    """Adam on Rosenbrock in float64 and float32."""
    columns = {"lr": np.geomspace(1e-4, 1, RUNS)}
    columns |= {name: np.full(RUNS, value) for name, value in (("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8))}
    for dtype in ("float64", "float32"):
        simulate = partial(adamx.simulate, "adam", "rosenbrock", columns, STEPS, STEPS, dtype=dtype, backend="cuda")
        typed = [column.astype(dtype) for column in columns.values()]
        ways = [Way("adamx.simulate", simulate), *peers(jax_rosenbrock, typed, STEPS, STEPS), roots(dtype)]
        race(ways, REPEATS)
        table(f"Adam on Rosenbrock 2-D, {RUNS:,} runs x {STEPS:,} steps", "G steps/s", dtype, RUNS * STEPS / 1e9, ways)


def mlp() -> None:
    """Adam on the digits, one hidden layer, float32."""
    task = problem("digits_mlp", {"batch": BATCH, "hidden": HIDDEN})
    assert isinstance(task, Task)
    lr = np.geomspace(1e-4, 1, MLP_RUNS).astype(np.float32)
    simulate = partial(adamx.simulate, "adam", task, {"lr": lr}, MLP_STEPS, MLP_STEPS, dtype="float32", backend="cuda")
    ways = [Way("adamx.simulate", simulate), *peers(jax_mlp, task, lr, MLP_STEPS)]
    race(ways, REPEATS)
    sizes = "-".join(map(str, task.model.widths))
    title = f"Adam on digits, MLP {sizes}, batch {BATCH}, {MLP_RUNS:,} runs x {MLP_STEPS:,}"
    table(f"{title} steps", "TFLOP/s", "float32", 6e-12 * task.dim * BATCH * MLP_STEPS * MLP_RUNS, ways)
    print("\n6 x parameters x batch FLOP a step. jax multiplies matrices in TF32 unless it is told otherwise.")


def torch_steps(count: int, size: int) -> Iterator[Way]:
    """torch's fused Adam, and adamx on torch's tensors."""
    import torch

    if not torch.cuda.is_available():
        yield Way("torch: sees no GPU")
        return
    params = [torch.zeros(size, device="cuda", requires_grad=True) for _ in range(count)]
    for param in params:
        param.grad = torch.ones_like(param)
    adam = torch.optim.Adam(params, fused=True)
    yield Way("torch.optim.Adam(fused=True)", done(lambda: [adam.step() for _ in range(AGAIN)]), AGAIN)
    ours, grads = Stepper("adam", params), [param.grad for param in params]
    yield Way("adamx.Stepper on torch's tensors", done(lambda: [ours.step(grads) for _ in range(AGAIN)]), AGAIN)


def steps(count: int, size: int) -> None:
    """A step of Adam over tensors, in float32, beside a copy on the card that moves as many bytes."""
    params, grads = ([cuda.to_device(np.full(size, x, np.float32)) for _ in range(count)] for x in (0, 1))
    stepper = Stepper("adam", params)
    here, there = (cuda.device_array(count * size, np.float32) for _ in range(2))
    copied = 2 * 4 / MOVED  # a copy reads and writes
    ways = [
        Way("adamx.Stepper", done(lambda: [stepper.step(grads) for _ in range(AGAIN)]), AGAIN),
        *optional(torch_steps, count, size),
        Way("bound: a copy", done(lambda: [there.copy_to_device(here) for _ in range(AGAIN)]), AGAIN * copied),
    ]
    race(ways, REPEATS)
    table(f"A step of Adam, {count:,} x {size:,} elements", "GB/s", "float32", MOVED * count * size / 1e9, ways)


def driver() -> str:
    """The version of NVIDIA's driver."""
    with suppress(OSError, subprocess.CalledProcessError):
        ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return "driver " + subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split("\n")[0]
    return "no nvidia-smi"


def main() -> int:
    """Print the tables; 2 where there is no GPU."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else jax takes most of the memory for itself
    try:
        from adamx.engine.cuda import device

        device.check()
    except InputError as error:
        print(error)
        return 2
    print(f"{device.describe()}, {driver()}, {time.strftime('%Y-%m-%d')}  ")
    print(machine("adamx", "numba", "numba-cuda", "numpy", "jax", "optax", "torch"))
    rosenbrock()
    mlp()
    steps(1, ELEMENTS)
    steps(TENSORS, EACH)
    return 0


if __name__ == "__main__":
    sys.exit(main())
