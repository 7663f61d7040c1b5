"""Figures: what one update did to the parameters, as arrays inside jit: the MEASURES of `adamx.watch.tape`.

With u the update, x the parameters after it, g the gradients that were handed over, v_hat the second moment by its
bias correction, all sums over coordinates in the most precise dtype of the parameters (float32 at least). A figure
whose ingredients are not known is NaN. The quantiles are of an even sample of at most `SAMPLE` coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adamx.watch.tape import MEASURES

SAMPLE = 16_384  # coordinates whose effective lr is sorted: exact quantiles of models up to that size
SMALL = 16  # coordinates from which a tensor can be said to be dead
QUANTILES = (0.1, 0.5, 0.9)


class Moments(NamedTuple):
    """What an optax state keeps of the gradients, each a list with an entry a parameter (None where there is none).

    v: the second moment. mean: that of the gradient, where v is taken about it. m: the first, or momentum's trace.
    count: updates made, None where it is not kept. corrected: whether v is divided by 1 - b2^count.
    averaged: v = b2 v + (1 - b2) g^2, so that the size of g can be had from it.
    """

    v: list[Any] | None = None
    mean: list[Any] | None = None
    m: list[Any] | None = None
    count: Any = None
    corrected: bool = False
    averaged: bool = False

    def of(self, kept: list[int]) -> Moments:
        """Those of some parameters, by their positions."""
        v, mean, m = (None if one is None else [one[i] for i in kept] for one in self[:3])
        return self._replace(v=v, mean=mean, m=m)


V = {  # by the names of optax's states: the field with v, whether it is bias-corrected, whether it is an average
    "ScaleByAdamState": ("nu", True, True),
    "ScaleByAmsgradState": ("nu_max", False, False),
    "ScaleByBeliefState": ("nu", True, False),
    "ScaleByRmsState": ("nu", False, True),
    "ScaleByRmsWithCountState": ("nu", True, True),
    "ScaleByRStdDevState": ("nu", False, True),
    "ScaleByRStdDevWithCountState": ("nu", True, True),
    "ScaleByRssState": ("sum_of_squares", False, False),
}
M = {"ScaleByLionState": "mu", "TraceState": "trace"}


def found(state: Any, names: Any) -> list[Any]:
    """The states of some classes, by name, within a state, in the order in which they are applied."""
    every = jax.tree.leaves(state, is_leaf=lambda s: type(s).__name__ in names)
    return [s for s in every if type(s).__name__ in names]


def moments(state: Any, tree: Any) -> Moments:
    """Read the moments in a transformation's state.

    Where several parts of it keep a v (optax.partition), whose is whose is not told apart and there is none.
    """

    def leaves(field: Any) -> list[Any]:
        return [leaf if isinstance(leaf, jax.Array) else None for leaf in tree.flatten_up_to(field)]

    holders = found(state, V)
    if len(holders) != 1:
        traces = found(state, M)
        one = traces[0] if len(traces) == 1 else None
        return Moments(m=None if one is None else leaves(getattr(one, M[type(one).__name__])))
    (one,) = holders
    name, corrected, averaged = V[type(one).__name__]
    m = leaves(one.mu) if hasattr(one, "mu") else None
    mean = m if "RStdDev" in type(one).__name__ else None
    return Moments(leaves(getattr(one, name)), mean, m, getattr(one, "count", None), corrected, averaged)


def total(kept: Moments, dtype: Any) -> jax.Array:
    """The sum of v, NaN where it is no average of g^2 or has 16 bits."""
    if not kept.averaged or kept.v is None or any(v is not None and jnp.finfo(v.dtype).bits < 32 for v in kept.v):
        return jnp.asarray(jnp.nan, dtype)
    return jnp.asarray(sum(jnp.sum(v, dtype=dtype) for v in kept.v if v is not None), dtype)


def clipping(before: jax.Array, after: jax.Array, size: jax.Array, b2: jax.Array) -> jax.Array:
    """The norm of the gradients that v has seen over that of those handed over, 1 where it cannot be told.

    Args:
        before, after: `total` around an update. size: the norm of its gradients.
    """
    reached = after - b2 * before
    told = (1 - b2) * size * size > 1e3 * jnp.finfo(after.dtype).eps * after
    factor = jnp.sqrt(jnp.maximum(reached, 0) / ((1 - b2) * size * size))
    return jnp.where(told & (factor < 0.95), factor, 1)


def measure(
    gradients: list[Any],
    updates: list[Any],
    params: list[Any],
    kept: Moments,
    clip: jax.Array,
    hyper: Mapping[str, Any],
    dtype: Any,
) -> jax.Array:
    """The figures of one update.

    Args:
        gradients, updates, params: a leaf each for every parameter; params are those before the update.
        clip: what `clipping` says.
        hyper: scalars `lr, b1, b2, eps, eps_root, weight_decay`, NaN where they are not known.
        dtype: of the sums.

    Returns:
        (len(MEASURES),) of that dtype, in their order.
    """
    n = sum(p.size for p in params)
    nan = jnp.asarray(jnp.nan, dtype)
    real = [jnp.asarray(g, dtype) for g in gradients]
    moves = [jnp.asarray(u, dtype) for u in updates]
    after = [jnp.asarray(p + u, p.dtype) for p, u in zip(params, updates, strict=True)]
    xs = [jnp.asarray(x, dtype) for x in after]

    def share(counts: list[Any]) -> Any:
        return jnp.asarray(sum(jnp.count_nonzero(c) for c in counts), dtype) / n

    lr = jnp.where(hyper["lr"] == 0, nan, hyper["lr"])
    g2, x2 = sum(jnp.sum(g * g) for g in real), sum(jnp.sum(x * x) for x in xs)
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(u)) for u in moves]))
    still = [g == 0 for g in real]
    # weight decay of optax is decoupled: the rest of the update is -u/lr - decay x, with x before it
    decay = hyper["weight_decay"]
    core2 = sum(jnp.sum((u / lr + decay * p) ** 2) for u, p in zip(moves, params, strict=True))
    memory = kept.v if kept.v is not None else kept.m
    dead = [s if k is None else s & (k == 0) for s, k in zip(still, memory or [None] * len(still), strict=True)]
    large = [jnp.asarray(jnp.count_nonzero(d), dtype) / d.size for d in dead if d.size >= SMALL]
    figures = {
        "grad_norm": jnp.sqrt(g2),
        "step_rms": jnp.sqrt(sum(jnp.sum(u * u) for u in moves) / n) / lr,
        "largest_step": largest / lr,
        "weight_rms": jnp.sqrt(x2 / n),
        "decay": jnp.where(decay == 0, 0, jnp.sqrt(decay**2 * x2 / core2)),
        "zero_grads": share(still),
        "nonfinite_grads": share([~jnp.isfinite(g) for g in real]),
        "lost_updates": share([(u != 0) & (x == p) for u, x, p in zip(updates, after, params, strict=True)]),
        "dead": share(dead),
        "dead_most": jnp.max(jnp.stack(large)) if large else jnp.zeros((), dtype),
    }
    if kept.v is not None:
        figures |= _of_v(real, kept, clip, hyper, lr, dtype)
    else:
        figures |= {"below_eps": jnp.zeros((), dtype), "lag": jnp.zeros((), dtype), "root_rms": jnp.zeros((), dtype)}
        figures |= dict.fromkeys(("effective_lr_10", "effective_lr_50", "effective_lr_90"), jnp.asarray(lr, dtype))
    return jnp.stack([jnp.asarray(figures[name], dtype) for name in MEASURES])


def _of_v(
    real: list[Any], kept: Moments, clip: jax.Array, hyper: Mapping[str, Any], lr: Any, dtype: Any
) -> dict[str, Any]:
    """The figures that hang on v, over the coordinates that have one."""
    b2, eps, inside = hyper["b2"], hyper["eps"], hyper["eps_root"]
    assert kept.v is not None
    c = 1 / (1 - b2 ** jnp.asarray(kept.count, dtype)) if kept.corrected else jnp.ones((), dtype)
    floor = eps + jnp.sqrt(inside)
    means = kept.mean or [None] * len(kept.v)
    n, roots, below, lag, rates = 0, [], [], [], []
    for g, v, mean in zip(real, kept.v, means, strict=True):
        if v is None:
            continue
        n += v.size
        wide = jnp.asarray(v, dtype)
        square = jnp.maximum(c * wide - (0 if mean is None else jnp.asarray(mean, dtype) ** 2), 0)
        bottom = jnp.maximum(jnp.maximum(square, floor * floor), jnp.finfo(dtype).tiny)
        roots.append(jnp.sum(square))
        below.append(jnp.where(jnp.isnan(floor) | jnp.isnan(c), jnp.nan, jnp.count_nonzero(square < floor * floor)))
        lag.append(jnp.sum(jnp.where(jnp.isnan(floor), jnp.nan, g * g / bottom)))
        rates.append((jnp.sqrt(square + inside) + eps).reshape(-1))
    stride = max(1, -(-n // SAMPLE))
    low, middle, high = _quantiles(_sampled(rates, stride))
    return {
        "root_rms": jnp.sqrt(sum(roots) / n),
        "below_eps": sum(below) / n,
        "lag": clip * jnp.sqrt(sum(lag) / n),
        "effective_lr_10": lr * low,
        "effective_lr_50": lr * middle,
        "effective_lr_90": lr * high,
    }


def _sampled(rates: list[Any], stride: int) -> jax.Array:
    """1 / denominator of every `stride`-th coordinate, counted through the tensors."""
    past, kept = 0, []
    for rate in rates:
        kept.append(rate[-past % stride :: stride])
        past += rate.size
    return 1 / jnp.concatenate(kept)


def _quantiles(values: jax.Array) -> list[Any]:
    """The quantiles of the finite values, each one of them."""
    finite = jnp.isfinite(values)
    many = jnp.count_nonzero(finite)
    ordered = jnp.sort(jnp.where(finite, values, jnp.inf))
    return [
        jnp.where(many > 0, ordered[jnp.clip(jnp.ceil(q * many).astype(int) - 1, 0, len(values) - 1)], jnp.nan)
        for q in QUANTILES
    ]


def injected(state: Any) -> dict[str, Any]:
    """The hyperparameters that `optax.inject_hyperparams` keeps in a state, {} where it does not."""
    names = ("InjectStatefulHyperparamsState", "InjectHyperparamsState")
    holders = found(state, names)
    return dict(holders[0].hyperparams) if len(holders) == 1 else {}


def norm(gradients: list[Any], dtype: Any) -> jax.Array:
    """The Euclidean norm of all gradients."""
    return jnp.asarray(optax.tree.norm([jnp.asarray(g, dtype) for g in gradients]), dtype)
