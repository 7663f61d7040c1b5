"""The work of bench_kernels.py, as jax and torch do it best: each function yields ways to race.

jax runs `jit(vmap(...))` over columns of hyperparameters, on one device and split over a device for every core.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from racing import CORES, Way

from adamx.problems import Task


def load_jax() -> tuple[Any, Any, Any]:
    """jax, jax.numpy and optax, with a jax device for every core."""
    os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={CORES}")
    import jax
    import jax.numpy as jnp
    import optax

    return jax, jnp, optax


def jitted(
    jax: Any, name: str, function: Callable[..., Any], columns: list[np.ndarray], *shared: np.ndarray
) -> Iterator[Way]:
    """jit(vmap(function)) over columns, in their precision: on one jax device, then split over a device a core."""
    x64, runs = columns[0].dtype == np.float64, len(columns[0])
    go = jax.jit(jax.vmap(function, in_axes=(0,) * len(columns) + (None,) * len(shared)))
    for devices in {1: 1, max(n for n in range(1, CORES + 1) if runs % n == 0): 1}:
        jax.config.update("jax_enable_x64", x64)
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), "run")
        split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("run"))
        placed = [jax.device_put(column, split) for column in columns]

        def call(placed: list[Any] = placed) -> Any:
            jax.config.update("jax_enable_x64", x64)
            return jax.block_until_ready(go(*placed, *shared))

        yield Way(f"jax {name}, {devices} device{'s' * (devices > 1)}", call)


def jax_rosenbrock(columns: list[np.ndarray], steps: int, every: int) -> Iterator[Way]:
    """Nested scans that return the loss of every `every`-th step and nothing else. Columns: lr, b1, b2, eps."""
    jax, jnp, optax = load_jax()
    dtype = columns[0].dtype
    slope = jax.value_and_grad(lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2)

    def scans(step: Any, carry: Any) -> Any:
        def record(carry: Any, _: Any) -> Any:
            carry, losses = jax.lax.scan(step, carry, None, length=every)
            return carry, losses[0]

        carry, losses = jax.lax.scan(record, carry, None, length=steps // every)
        return carry[0], losses

    def by_optax(lr: Any, *others: Any) -> Any:
        adam, x = optax.adam(lr, *others), jnp.array([-1.2, 1.0], dtype)

        def step(carry: Any, _: Any) -> Any:
            x, state = carry
            value, g = slope(x)
            update, state = adam.update(g, state)
            return (optax.apply_updates(x, update), state), value

        return scans(step, (x, adam.init(x)))

    def by_hand(lr: Any, b1: Any, b2: Any, eps: Any) -> Any:
        """Running powers of b1 and b2 in place of two calls of pow a step, which take most of optax's time."""
        x, zero, one = jnp.array([-1.2, 1.0], dtype), jnp.zeros(2, dtype), jnp.ones((), dtype)

        def step(carry: Any, _: Any) -> Any:
            x, m, v, p1, p2 = carry
            value, g = slope(x)
            m, v, p1, p2 = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g, p1 * b1, p2 * b2
            return (x - lr / (1 - p1) * m / (jnp.sqrt(v / (1 - p2)) + eps), m, v, p1, p2), value

        return scans(step, (x, zero, zero, one, one))

    yield from jitted(jax, "optax.adam, all swept", by_optax, columns)
    yield from jitted(jax, "optax.adam, lr alone swept", by_optax, columns[:1])
    yield from jitted(jax, "Adam by hand, all swept", by_hand, columns)


def torch_rosenbrock(columns: list[np.ndarray], steps: int, every: int, few: int) -> Iterator[Way]:
    """torch.optim.Adam on `few` of the runs, one after another."""
    import torch

    runs = len(columns[0])

    def call() -> None:
        for lr, b1, b2, eps in np.transpose(columns)[:: runs // few][:few].tolist():
            x = torch.tensor([-1.2, 1.0], dtype=getattr(torch, columns[0].dtype.name), requires_grad=True)
            adam, losses = torch.optim.Adam([x], lr, (b1, b2), eps, fused=True), []
            for t in range(steps):
                adam.zero_grad()
                loss = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
                loss.backward()
                adam.step()
                if t % every == 0:
                    losses.append(loss.item())

    yield Way(f"torch fused Adam in a loop (scaled from {few})", call, few / runs)


def jax_mlp(task: Task, lr: np.ndarray, steps: int) -> Iterator[Way]:
    """The same training with minibatches drawn before and shared by all runs."""
    jax, jnp, optax = load_jax()
    rng, (a, b, c) = np.random.default_rng(0), task.model.widths
    rows = rng.integers(0, len(task.x), (steps, task.batch))
    data, labels = task.x.astype(np.float32), task.y.astype(np.int32)
    start = [rng.normal(0, (2 / a) ** 0.5, (a, b)), np.zeros(b), rng.normal(0, (2 / b) ** 0.5, (b, c)), np.zeros(c)]

    def loss(weights: Any, x: Any, y: Any) -> Any:
        w1, b1, w2, b2 = weights
        z = jax.nn.relu(x @ w1 + b1) @ w2 + b2
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

    def train(lr: Any, rows: Any) -> Any:
        adam, weights = optax.adam(lr), [jnp.asarray(w, jnp.float32) for w in start]

        def step(carry: Any, row: Any) -> Any:
            weights, state = carry
            value, g = jax.value_and_grad(loss)(weights, jnp.asarray(data)[row], jnp.asarray(labels)[row])
            update, state = adam.update(g, state)
            return (optax.apply_updates(weights, update), state), value

        return jax.lax.scan(step, (weights, adam.init(weights)), rows)

    yield from jitted(jax, "optax.adam, lr alone swept", train, [lr], rows)
