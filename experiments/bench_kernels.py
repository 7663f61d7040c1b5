"""Benchmark: adamx's kernels, the same work in jax and torch, and the bound of the arithmetic, in turn in one process.

    python experiments/bench_kernels.py [--quick]

A call runs from Python to finished arrays. The first one compiles, or loads what was compiled before, and is timed
apart. Peers that are not installed say so.
"""

from __future__ import annotations

import sys
from functools import partial

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  the BLAS that np.dot calls in a kernel
from peers_kernels import jax_mlp, jax_rosenbrock, torch_rosenbrock
from racing import Way, fill, machine, optional, race, table
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import adamx
from adamx.problems import Task, problem

QUICK = "--quick" in sys.argv
REPEATS = 2 if QUICK else 9
RUNS, STEPS, EVERY = (640, 100, 10) if QUICK else (10_000, 1_000, 10)
TORCH_RUNS = 1 if QUICK else 3
MLP_RUNS, MLP_STEPS, BATCH = (8, 10, 128) if QUICK else (256, 200, 128)
LANES = 64


@numba.njit(parallel=True, error_model="numpy")
def roots(runs, steps, last):
    """Two square roots and two divisions a run and step, in SIMD lanes: the least that Adam in 2-D needs."""
    two = last.dtype.type(2)
    for block in numba.prange((runs + LANES - 1) // LANES):
        a = np.full((2, LANES), two)
        for _ in range(steps):
            for lane in range(np.uint64(LANES)):
                a[0, lane] = two / np.sqrt(a[0, lane])
                a[1, lane] = two / np.sqrt(a[1, lane])
        last[block] = a.sum()


def rosenbrock() -> Table:
    """Adam on Rosenbrock in float64 and float32."""
    columns = {"lr": np.geomspace(1e-4, 1, RUNS)}
    columns |= {name: np.full(RUNS, value) for name, value in (("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8))}
    entries = {}
    for dtype in ("float64", "float32"):
        simulate = partial(adamx.simulate, "adam", "rosenbrock", columns, STEPS, EVERY, dtype=dtype)
        typed = [column.astype(dtype) for column in columns.values()]
        peers = optional(jax_rosenbrock, typed, STEPS, EVERY)
        slow = optional(torch_rosenbrock, typed, STEPS, EVERY, TORCH_RUNS)
        bound = partial(roots, RUNS, STEPS, np.empty((RUNS + LANES - 1) // LANES, dtype))
        least = Way("bound: square roots and divisions alone", bound)
        entries[dtype] = [Way("adamx.simulate", simulate), *peers, *slow, least]
    race([way for ways in entries.values() for way in ways], REPEATS)
    for ours, *others in entries.values():  # the same work: the losses of steps 0 and 10 agree
        for way in others:
            if way.name.startswith("jax") and way.call:
                np.testing.assert_allclose(way.call()[1].T[:2], ours.call().loss[:2], rtol=1e-2)
    made = table(f"Adam on Rosenbrock 2-D, {RUNS:,} runs x {STEPS:,} steps, loss every {EVERY}", "M steps/s")
    for dtype, ways in entries.items():
        fill(made, ways, dtype, RUNS * STEPS / 1e6)
    double, single = (ways[0].median for ways in entries.values())
    made.caption = (
        f"{REPEATS} calls each, in turn. adamx sweeps all four and follows every run's figures at every step; float32 "
        f"is {double / single:.2f} x float64.\nBound by the divider, which square roots share; then by those figures."
    )
    return made


@numba.njit(parallel=True)
def products(runs, steps, x, weights, slopes):
    """The matrix products of training a network with one hidden layer, through BLAS, one run a thread."""
    for _run in numba.prange(runs):
        x0, w1, w2, d = x.copy(), weights[0].copy(), weights[1].copy(), slopes.copy()
        hidden, out = np.empty((len(x), w1.shape[1]), x.dtype), np.empty((len(x), w2.shape[1]), x.dtype)
        g1, g2, down = np.empty_like(w1), np.empty_like(w2), np.empty_like(hidden)
        for _t in range(steps):
            np.dot(x0, w1, hidden)
            np.dot(hidden, w2, out)
            np.dot(hidden.T, d, g2)
            np.dot(d, w2.T, down)
            np.dot(x0.T, down, g1)


def mlp() -> Table:
    """Adam on the digits, one hidden layer, float32."""
    task = problem("digits_mlp", {"batch": BATCH})
    assert isinstance(task, Task)
    lr, rng, (a, b, c) = np.geomspace(1e-4, 1, MLP_RUNS).astype(np.float32), np.random.default_rng(0), task.model.widths
    x, w1, w2, d = (rng.normal(size=s).astype(np.float32) for s in ((BATCH, a), (a, b), (b, c), (BATCH, c)))
    hyper = {"lr": lr, "beta1": np.full(MLP_RUNS, 0.9), "beta2": np.full(MLP_RUNS, 0.999)}
    simulate = partial(adamx.simulate, "adam", task, hyper, MLP_STEPS, MLP_STEPS, dtype="float32")
    ways = [
        Way("adamx.simulate", simulate),
        *optional(jax_mlp, task, lr, MLP_STEPS),
        Way("bound: matrix products alone", partial(products, MLP_RUNS, MLP_STEPS, x, (w1, w2), d)),
    ]
    with threadpool_limits(1, user_api="blas"):
        race(ways, REPEATS)
    sizes = "-".join(map(str, task.model.widths))
    made = table(f"Adam on digits, MLP {sizes}, batch {BATCH}, {MLP_RUNS} runs x {MLP_STEPS} steps", "GFLOP/s")
    fill(made, ways, "float32", 6e-9 * task.dim * BATCH * MLP_STEPS * MLP_RUNS)
    made.caption = (
        f"{REPEATS} calls each, in turn; 6 x parameters x batch FLOP a step. adamx draws its own minibatches, sweeps "
        "all and scores all rows at the start and the end.\nBound by small matrix products in BLAS, one run a core."
    )
    return made


def main() -> None:
    """Run both and print the tables."""
    console = Console(width=max(Console().width, 140))  # also where there is no terminal
    console.print(machine("adamx", "numba", "numpy", "scipy", "jax", "optax", "torch"), highlight=False, soft_wrap=True)
    console.print(rosenbrock())
    console.print(mlp())


if __name__ == "__main__":
    main()
