"""Tape: what has been seen of a training so far, on one axis of steps.

At every step: the loss where it is told, the lr of every group and the norm of all gradients. At measured steps, of
all parameters together and of each group, the curves of `MEASURES`; rarer still the curvature. Besides, events: what
happened at one step that is no curve. A step has the number that torch's own schedulers would give it: the first is 1.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

MEASURES = {
    "grad_norm": "|g|, Euclidean",
    "step_rms": "sqrt(mean update^2) / lr",
    "largest_step": "max |update| / lr",
    "below_eps": "share of coordinates with sqrt(v_hat) < eps",
    "effective_lr_10": "lr / (sqrt(v_hat) + eps), quantiles over the coordinates",
    "effective_lr_50": "",
    "effective_lr_90": "",
    "lag": "sqrt(mean g^2 / max(v_hat, eps^2)): above 1 where v underestimates g^2",
    "root_rms": "sqrt(mean v_hat)",
    "weight_rms": "sqrt(mean x^2)",
    "decay": "size of the weight decay's part over that of the rest, of the update, or of the gradient if coupled",
    "zero_grads": "share of gradients that are 0",
    "nonfinite_grads": "share of gradients that are NaN or infinite",
    "lost_updates": "share of updates that the parameters' precision rounds away",
    "dead": "share of coordinates that have had no gradient at all",
    "dead_most": "the same of the tensor with the most, of those with 16 coordinates or more",
}
CURVATURES = {
    "curvature": "d.H d / g.d along the preconditioned gradient d",
    "sharpness": "largest eigenvalue of P^-1 H, from below",
    "sharpness_limit": "above it the step diverges on a quadratic",
}


class Event(NamedTuple):
    """An event at a step: one of `moments_lost, skipped, nonfinite, rewound`, and in words."""

    step: int
    kind: str
    said: str


class Spike(NamedTuple):
    """A spike of the loss as `regimes.track` sees it."""

    step: int
    base: float
    peak: float


@dataclass
class Tape:
    """Curves, events and facts.

    Attributes:
        groups: of each parameter group, its settings and dtypes: `optimizer, lr, beta1, beta2, eps, weight_decay,
            params, dtype, state_dtype, ...`, as far as it has them.
        notes: what the reader must know, such as that shards are watched.
        every: steps between measurements. exact: the loss is of all data, and not of a minibatch.
        first: the number of the first step.
    """

    groups: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    every: int = 10
    exact: bool = False
    first: int = 1
    steps: int = 0
    lr: list[array[float]] = field(default_factory=list)
    norm: array[float] = field(default_factory=lambda: array("d"))
    loss_step: array[int] = field(default_factory=lambda: array("q"))
    loss: array[float] = field(default_factory=lambda: array("d"))
    rows: list[int] = field(default_factory=list)
    whole: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MEASURES})
    parts: list[dict[str, list[float]]] = field(default_factory=list)
    curvature_steps: list[int] = field(default_factory=list)
    curvatures: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CURVATURES})
    events: list[Event] = field(default_factory=list)
    spikes: list[Spike] = field(default_factory=list)
    regime: str | None = None

    @property
    def last(self) -> int:
        """The number of the last step."""
        return self.first + self.steps - 1

    def step(self, lrs: list[float], norm: float) -> None:
        """One step was made."""
        self.steps += 1
        for curve, lr in zip(self.lr, lrs, strict=True):
            curve.append(lr)
        self.norm.append(norm)

    def row(self, step: int, whole: Mapping[str, float], parts: list[Mapping[str, float]]) -> None:
        """A step was measured."""
        self.rows.append(step)
        for name in MEASURES:
            self.whole[name].append(whole[name])
            for part, values in zip(self.parts, parts, strict=True):
                part[name].append(values[name])

    def curve(self, step: int, **values: float) -> None:
        """The curvature was measured."""
        self.curvature_steps.append(step)
        for name in CURVATURES:
            self.curvatures[name].append(values[name])

    def series(self, name: str, group: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) of a curve: `loss`, `lr`, `norm`, or one of MEASURES and CURVATURES."""
        every = np.arange(self.first, self.first + self.steps)
        if name == "loss":
            return np.array(self.loss_step), np.array(self.loss)
        if name == "lr":
            return every, np.array(self.lr[group or 0])
        if name == "norm":
            return every[: len(self.norm)], np.array(self.norm)  # a log may have none
        if name in CURVATURES:
            return np.array(self.curvature_steps, int), np.array(self.curvatures[name], float)
        return np.array(self.rows, int), np.array((self.whole if group is None else self.parts[group])[name], float)
