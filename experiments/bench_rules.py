"""Benchmark: every rule on Rosenbrock in float64, and the same with optax where optax has the rule.

    python experiments/bench_rules.py [--quick]

10,000 runs x 1,000 steps, every hyperparameter a column, the loss recorded every 10 steps; adamx keeps its full-rate
figures besides. optax: jit(vmap(scan)), every hyperparameter a traced array, as a sweep over all of them needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from peers_kernels import load_jax
from racing import Way, machine, optional, race
from rich.console import Console
from rich.table import Table

import adamx
from adamx.optimizer import optimizers, rule
from adamx.registry import load

QUICK = "--quick" in sys.argv
RUNS, STEPS, EVERY, REPEATS = (128, 20, 10, 1) if QUICK else (10_000, 1_000, 10, 3)
# optax's names of the hyperparameters that are swept, where they are not those of Adam
OTHERS = {
    "sgd": (), "sign_sgd": (), "signum": ("beta",), "rmsprop": ("decay", "eps"), "adagrad": ("eps",),
    "adadelta": ("rho", "eps"), "lion": ("b1", "b2"), "nesterov": ("momentum",), "momentum": ("momentum",),
}  # fmt: skip
CALLED = {"momentum": ("sgd", {}), "nesterov": ("sgd", {"nesterov": True})}
VALUES = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "beta": 0.9, "decay": 0.9, "rho": 0.9, "momentum": 0.9}


def optax_name(name: str) -> str | None:
    """What optax calls a rule."""
    if name in CALLED:
        return name
    matches = getattr(load("adamx.optimizers", "optimizer", name), "MATCHES", ())
    found = [m.partition("(")[0].split(".")[-1] for m in matches if m.startswith("optax.")]
    return found[0] if found else None


def by_optax(name: str) -> list[Way]:
    jax, jnp, optax = load_jax()
    jax.config.update("jax_enable_x64", True)
    called, fixed = CALLED.get(name, (name, {}))
    make = getattr(optax, called, None) or getattr(optax.contrib, called, None)
    if make is None or called.startswith(("scale_by", "ema")):
        return []
    swept = OTHERS.get(name, ("b1", "b2", "eps"))
    slope = jax.value_and_grad(lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2)

    def run(lr: Any, *values: Any) -> Any:
        optimizer = make(lr, **dict(zip(swept, values, strict=True)), **fixed)

        def step(carry: Any, _: Any) -> Any:
            x, state = carry
            value, g = slope(x)
            update, state = optimizer.update(g, state, x)
            return (optax.apply_updates(x, update), state), value

        def record(carry: Any, _: Any) -> Any:
            carry, losses = jax.lax.scan(step, carry, None, length=EVERY)
            return carry, losses[0]

        x = jnp.array([-1.2, 1.0])
        carry, losses = jax.lax.scan(record, (x, optimizer.init(x)), None, length=STEPS // EVERY)
        return carry[0], losses

    columns = [jnp.geomspace(1e-4, 1e-2, RUNS), *(jnp.full(RUNS, VALUES[k]) for k in swept)]
    go: Callable[..., Any] = jax.jit(jax.vmap(run))
    return [Way(name, lambda: jax.block_until_ready(go(*columns)))]


def main() -> None:
    console = Console(width=100 if not Console().is_terminal else None)
    console.print(machine("numba", "jax", "optax"))
    console.print(f"Rosenbrock, float64, {RUNS:,} runs x {STEPS:,} steps: M steps/s, best of {REPEATS}")
    table = Table()
    for header in ("rule", "adamx", "optax", "ratio"):
        table.add_column(header, justify="left" if header == "rule" else "right")
    for name in ("adam", "amsgrad") if QUICK else optimizers():
        hyper = {k: np.full(RUNS, float(v)) for k, v in rule(name).defaults.items()}
        hyper["lr"] = np.geomspace(1e-4, 1e-2, RUNS)
        ours = Way("adamx", partial(adamx.simulate, name, "rosenbrock", hyper, STEPS, EVERY))
        peer = optax_name(name)
        ways = [ours, *(optional(by_optax, peer) if peer else [])]
        race(ways, REPEATS)
        rates = [RUNS * STEPS / min(way.seconds) / 1e6 for way in ways if way.seconds]
        told = [f"{r:,.0f}" if r >= 10 else f"{r:.1f}" for r in rates]
        table.add_row(name, *told, *([f"{rates[0] / rates[1]:.1f}"] if len(rates) == 2 else []))
    console.print(table)


if __name__ == "__main__":
    main()
