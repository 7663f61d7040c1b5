"""Results made from columns by a formula, for tests of everything downstream of the engine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from adamx.engine.results import Results
from adamx.regimes import Criteria, tail_start

TARGET = 1e-2
DEFAULTS = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}


def product(**axes: object) -> dict[str, np.ndarray]:
    """Equal-length columns of the Cartesian product of axes."""
    mesh = np.meshgrid(*(np.atleast_1d(np.asarray(v, dtype=float)) for v in axes.values()), indexing="ij")
    return {name: m.ravel() for name, m in zip(axes, mesh, strict=True)}


def synthetic(
    columns: Mapping[str, np.ndarray],
    optimizer: str = "adam",
    problem: str = "digits_mlp",
    dtype: str = "float32",
    steps: int = 400,
    records: int = 50,
    minimum: float = 0.0,
    accuracy: bool = True,
) -> Results:
    """A plausible sweep: large lr diverges, small eps with a large beta2 spikes, beta1 near 1 oscillates.

    Args:
        columns: hyperparameters by name, and `seed`; those missing take Adam's defaults.
        accuracy: add the curves of a task (val_loss, accuracy, val_accuracy).
    """
    runs = len(next(iter(columns.values())))
    columns = {name: np.full(runs, value) for name, value in DEFAULTS.items()} | dict(columns)
    columns["seed"] = np.asarray(columns.get("seed", np.zeros(runs)), dtype=np.int64)
    rng = np.random.default_rng(columns["seed"][-1])
    jitter = 1 + 0.25 * rng.standard_normal(runs)

    lr, beta1, beta2, eps = (columns[name] for name in DEFAULTS)
    reach = lr / (1 + eps / 1e-2) * jitter
    diverged = reach > 0.25 * (1.1 - beta1) / 0.2
    spiking = ~diverged & (eps < 1e-6 * reach / 0.01) & (beta2 > 0.95)
    oscillating = ~diverged & ~spiking & (reach > 0.02) & (beta1 > 0.95)
    end = np.maximum(np.exp(-reach * steps * 3), 1e-12 / np.maximum(reach, 1e-9) ** 0.5)
    end = np.where(oscillating, 0.3, np.where(spiking, np.minimum(end * 5, 0.5), end))

    at = np.unique(np.linspace(0, steps, records + 1).astype(np.int64))
    t = at[:, None] / steps
    gap = 2.3 * end ** (t**0.7) * np.exp(0.1 * rng.standard_normal((len(at), runs)) * (t > 0))
    gap *= np.where(spiking, 1 + 40 * (rng.random((len(at), runs)) < 0.04) * (t > 0.2), 1)
    blowup = rng.uniform(0.05, 0.6, runs)
    with np.errstate(over="ignore", invalid="ignore"):
        gap *= np.where(diverged, np.exp(np.minimum(1500 * np.maximum(t - blowup, 0), 1e3)), 1)
        gap = np.where(diverged & (t > blowup + 0.4), np.nan, gap)
    smooth = np.where(diverged, 2.3, gap[-1])

    never = np.full(runs, -1)
    reached = np.nan_to_num(gap, nan=np.inf) <= TARGET
    first = np.where(reached.any(0), at[reached.argmax(0)], -1)
    spikes = np.where(spiking, 1 + rng.integers(0, 3, runs), 0)
    figures = {
        "start": gap[0],
        "smooth": smooth,
        "level": smooth,
        "best": np.nanmin(gap, axis=0),
        "base": np.full(runs, 0.1),
        "peak": np.full(runs, 1.0),
        "base_most": np.full(runs, 0.1),
        "peak_most": np.full(runs, 4.0),
        "best_step": at[np.nan_to_num(gap, nan=np.inf).argmin(0)],
        "spikes": spikes,
        "first_spike_step": np.where(spiking, steps // 3, -1),
        "spiking": np.zeros(runs, dtype=np.int64),
        "reached_step": first,
        "settled": np.zeros(runs, dtype=np.int64),
        "popped": np.zeros(runs, dtype=np.int64),
        "diverged_step": np.where(diverged, (blowup * steps).astype(np.int64) + 1, never),
        "overshoots": np.where(oscillating, steps - tail_start(steps) + 1, 0),
        "entry": gap[-2],
        "least": np.fmin(gap[-1], gap[-2]),
        "lost": np.zeros(runs, dtype=np.int64),
        "high": np.zeros(runs, dtype=np.int64),
        "rose": np.zeros(runs, dtype=np.int64),
    }
    curves = {}
    if accuracy:
        hit = np.nan_to_num(1 - 0.9 * np.minimum(gap / 2.3, 1), nan=0.1)
        curves = {"val_loss": gap * 1.3 + 0.03, "accuracy": hit, "val_accuracy": 0.98 * hit}
    return Results(
        optimizer=optimizer,
        problem=problem,
        dtype=dtype,
        backend="cpu",
        steps=at,
        loss=gap + minimum,
        x=np.zeros((runs, 2)),
        columns=columns,
        figures=figures,
        minimum=minimum,
        criteria=Criteria(target=TARGET),
        curves=curves,
    )
