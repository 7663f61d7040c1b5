"""Benchmark: a sweep of a torch or jax model by adamx beside what one writes by hand: 64-32-10 on the digits, batch 64.

    python experiments/bench_models.py [--quick]

256 values of lr x 200 steps of Adam in float32, the loss of all rows at the start and the end. By hand, in torch: a
loop over the settings, each with torch.optim.Adam(fused=True); in jax: jit(vmap(scan)) with Adam written out. adamx
also follows every run at every step, which is what its regimes come from; the ways by hand keep nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from racing import Way, machine, optional, race
from rich.console import Console
from rich.table import Table

import adamx
from adamx.problems import problem

QUICK = "--quick" in sys.argv
RUNS, STEPS, REPEATS, BY_LOOP = (8, 5, 1, 2) if QUICK else (256, 200, 3, 16)  # of the loop so many runs are timed
RATES = np.geomspace(1e-4, 1e-1, RUNS)
FILES = Path(__file__).parent / "models"
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def ours(file: str) -> Callable[[], Any]:
    """The sweep of one of `models`."""
    model = problem(str(FILES / file))
    return partial(adamx.simulate, "adam", model, {"lr": RATES}, STEPS, STEPS, dtype="float32")


def in_torch() -> list[Way]:
    """adamx and the loop, each with torch's own number of threads and with one."""
    import torch

    threads = torch.get_num_threads()
    model: Any = problem(str(FILES / "mlp_torch.py"))
    x, y = (torch.as_tensor(part) for part in model.data)
    x = x.float()

    def loop() -> None:
        for lr in RATES[:: RUNS // BY_LOOP].tolist():
            network = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
            optimizer = torch.optim.Adam(network.parameters(), lr=lr, fused=True)
            for _ in range(STEPS):
                rows = torch.randint(len(x), (model.batch,))
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
                optimizer.step()
            with torch.no_grad():
                torch.nn.functional.cross_entropy(network(x), y)

    def by(count: int, call: Callable[[], Any]) -> None:
        torch.set_num_threads(count)
        call()
        torch.set_num_threads(threads)

    share = BY_LOOP / RUNS
    return [
        Way(f"{name}, {count} thread{'s' * (count > 1)}", partial(by, count, call), part)
        for count in sorted({threads, 1}, reverse=True)
        for name, call, part in (("adamx, torch", ours("mlp_torch.py"), 1.0), ("torch, a loop", loop, share))
    ]


def in_jax() -> list[Way]:
    """adamx and jit(vmap(scan)) by hand."""
    import jax
    import jax.numpy as jnp

    model: Any = problem(str(FILES / "mlp_jax.py"))
    x, y = jnp.asarray(model.data[0], "float32"), jnp.asarray(model.data[1])
    start = jax.tree.map(lambda leaf: jnp.asarray(leaf, "float32"), model.init(0))
    slope = jax.grad(model.loss)

    def run(lr: Any) -> Any:
        def step(carry: Any, at: Any) -> Any:
            p, m, v, key = carry
            key, own = jax.random.split(key)
            rows = jax.random.randint(own, (model.batch,), 0, len(x))
            g = slope(p, (x[rows], y[rows]))
            m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
            v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
            move = lambda p, m, v: p - lr * m / (1 - BETA1**at) / (jnp.sqrt(v / (1 - BETA2**at)) + EPS)  # noqa: E731
            return (jax.tree.map(move, p, m, v), m, v, key), None

        zero = jax.tree.map(jnp.zeros_like, start)
        carry, _ = jax.lax.scan(step, (start, zero, zero, jax.random.key(0)), jnp.arange(1.0, STEPS + 1))
        return carry[0], model.loss(start, (x, y)), model.loss(carry[0], (x, y))

    whole = jax.jit(jax.vmap(run))
    by_hand = lambda: jax.block_until_ready(whole(jnp.asarray(RATES, "float32")))  # noqa: E731
    return [Way("adamx, jax", ours("mlp_jax.py")), Way("jax, jit(vmap(scan))", by_hand)]


def main() -> None:
    console = Console(width=100 if not Console().is_terminal else None)
    console.print(machine("torch", "jax"))
    console.print(f"{RUNS} settings x {STEPS} steps, float32, in turn; the loop's time from {BY_LOOP} settings")
    table = Table()
    for header in ("way", "first call, s", "least, s", "median, s"):
        table.add_column(header, justify="left" if header == "way" else "right")
    for made in (in_torch, in_jax):
        ways = optional(made)
        race(ways, REPEATS)
        for way in ways:
            seconds = (way.first / way.share, min(way.seconds), way.median) if way.call else ()
            table.add_row(way.name, *(f"{s:,.3g}" for s in seconds))
        table.add_section()
    console.print(table)


if __name__ == "__main__":
    main()
