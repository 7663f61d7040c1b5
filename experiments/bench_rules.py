"""Benchmark: every rule on Rosenbrock in float64, and the same with optax where optax has the rule.

    python experiments/bench_rules.py [--quick]

10,000 runs x 1,000 steps, every hyperparameter a column, the loss recorded every 10 steps. optax: jit(vmap(scan)),
every hyperparameter a traced array, as a sweep over all of them needs. adamx also follows every run at every step,
which is what its regimes come from; optax stands there twice, without that and with it (the same function, its
conditional expressions made `jnp.where`).
"""

from __future__ import annotations

import ast
import inspect
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
from adamx import regimes
from adamx.inputs.files import load
from adamx.optimizers import optimizers, rule

QUICK = "--quick" in sys.argv
RUNS, STEPS, EVERY, REPEATS = (128, 20, 10, 1) if QUICK else (10_000, 1_000, 10, 3)
# optax's names of the hyperparameters that are swept, where they are not those of Adam
OTHERS = {
    "sgd": (), "sign_sgd": (), "signum": ("beta",), "rmsprop": ("decay", "eps"), "adagrad": ("eps",),
    "rprop": (), "adadelta": ("rho", "eps"), "lion": ("b1", "b2"), "nesterov": ("momentum",), "momentum": ("momentum",),
}  # fmt: skip
CALLED = {
    "momentum": ("sgd", {}), "nesterov": ("sgd", {"nesterov": True}), "sgd": ("sgd", {}), "adamw": ("adamw", {}),
    "amsgrad": ("amsgrad", {}), "rmsprop": ("rmsprop", {}), "yogi": ("yogi", {}), "rprop": ("rprop", {}),
}  # fmt: skip
VALUES = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "beta": 0.9, "decay": 0.9, "rho": 0.9, "momentum": 0.9}


def optax_name(name: str) -> str | None:
    """The name of a rule in optax."""
    if name in CALLED:
        return name
    matches = getattr(load("adamx.optimizers", "optimizer", name), "MATCHES", ())
    found = [m.partition("(")[0].split(".")[-1] for m in matches if m.startswith("optax.")]
    return found[0] if found else None


class Branchless(ast.NodeTransformer):
    """`a if c else b` becomes `where(c, a, b)`, as traced values need it."""

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        arguments = [self.visit(part) for part in (node.test, node.body, node.orelse)]
        return ast.copy_location(ast.Call(ast.Name("where", ast.Load()), arguments, []), node)


def traced(function: Callable[..., Any], jnp: Any) -> Callable[..., Any]:
    """A portable function for jax."""
    tree = ast.parse(inspect.getsource(function))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    tree = ast.fix_missing_locations(Branchless().visit(tree))
    namespace = {**function.__globals__, "where": jnp.where, "max": jnp.maximum}  # type: ignore[attr-defined]
    exec(compile(tree, "traced", "exec"), namespace)
    return namespace[function.__name__]


def by_optax(name: str, followed: bool) -> list[Way]:
    """optax's way; `followed`: with the figures that adamx keeps of every step."""
    jax, jnp, optax = load_jax()
    jax.config.update("jax_enable_x64", True)
    called, fixed = CALLED.get(name, (name, {}))
    make = getattr(optax, called, None) or getattr(optax.contrib, called, None)
    if make is None or called.startswith(("scale_by", "ema")):
        return []
    swept = OTHERS.get(name, ("b1", "b2", "eps"))
    gradient = jax.value_and_grad(lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2)

    def run(lr: Any, *values: Any) -> Any:
        optimizer = make(lr, **dict(zip(swept, values, strict=True)), **fixed)

        def step(carry: Any, _: Any) -> Any:
            x, state, t, move, figures, marks = carry
            value, g = gradient(x)
            if followed:
                kept = track_tail(t, tail, value, g @ move, figures, marks, criteria)
                kept = track(t, value, *kept, criteria)
                figures, marks = jax.tree.map(lambda new, old: new.astype(old.dtype), kept, (figures, marks))
            move, state = optimizer.update(g, state, x)
            return (optax.apply_updates(x, move), state, t + 1, move, figures, marks), value

        def record(carry: Any, _: Any) -> Any:
            carry, losses = jax.lax.scan(step, carry, None, length=EVERY)
            return carry, losses[0]

        x = jnp.array([-1.2, 1.0])
        figures, marks = jax.tree.map(jnp.asarray, (begin(gradient(x)[0], criteria), regimes.Marks()))
        start = (x, optimizer.init(x), 0, jnp.zeros(2), figures, marks)
        carry, losses = jax.lax.scan(record, start, None, length=STEPS // EVERY)
        return (carry[0], carry[4:], losses) if followed else (carry[0], losses)

    begin, track, track_tail = (traced(f, jnp) for f in (regimes.begin, regimes.track, regimes.track_tail))
    criteria, tail = regimes.Criteria(1e-6), regimes.tail_start(STEPS)
    columns = [jnp.geomspace(1e-4, 1e-2, RUNS), *(jnp.full(RUNS, VALUES[k]) for k in swept)]
    go: Callable[..., Any] = jax.jit(jax.vmap(run))
    return [Way(name, lambda: jax.block_until_ready(go(*columns)))]


def main() -> None:
    console = Console(width=100 if not Console().is_terminal else None)
    console.print(machine("numba", "jax", "optax"))
    console.print(f"Rosenbrock, float64, {RUNS:,} runs x {STEPS:,} steps: M steps/s, best of {REPEATS}")
    table = Table()
    for header in ("rule", "adamx", "optax", "ratio", "optax, followed", "ratio"):
        table.add_column(header, justify="left" if header == "rule" else "right")
    for name in ("adam", "amsgrad") if QUICK else optimizers():
        hyper = {k: np.full(RUNS, float(v)) for k, v in rule(name).defaults.items()}
        hyper["lr"] = np.geomspace(1e-4, 1e-2, RUNS)
        ours = Way("adamx", partial(adamx.simulate, name, "rosenbrock", hyper, STEPS, EVERY))
        peer = optax_name(name)
        peers = [way for followed in (False, True) if peer for way in optional(by_optax, peer, followed)]
        race([ours, *peers], REPEATS)
        rate, *others = [RUNS * STEPS / min(way.seconds) / 1e6 for way in (ours, *peers) if way.seconds]
        beside = [cell for other in others for cell in (f"{other:,.0f}", f"{rate / other:.1f}")]
        table.add_row(name, f"{rate:,.0f}", *beside)
    console.print(table)


if __name__ == "__main__":
    main()
