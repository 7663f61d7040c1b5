"""Causes: what can be wrong with a training, each a function of a `Scene` that gives its evidence or None.

    settings     what settings and the optimizer's state tell
    gradients    gradients that grow: a bad batch, an explosion, data that have changed
    steps        steps that are too large: for the first ones, for the curvature, for what v still knows

The thresholds were tuned on the trainings that `experiments/planted_faults.py tune` makes. How sure a cause is, from 0
to 1, is its evidence's weight against that of the others and no probability.
"""

from __future__ import annotations

from collections.abc import Callable

from adamx.watch.causes.cause import POSSIBLE, Cause
from adamx.watch.causes.gradients import bad_batch, exploding_gradient, v_lags
from adamx.watch.causes.settings import dead_coordinates, half_precision, lr_jump, moments_lost, weight_decay
from adamx.watch.causes.steps import edge_of_stability, eps_too_small, no_warmup, v_forgot
from adamx.watch.scene import Scene

__all__ = ["CHECKS", "POSSIBLE", "Cause"]

CHECKS: tuple[Callable[[Scene], Cause | None], ...] = (
    moments_lost,
    lr_jump,
    half_precision,
    dead_coordinates,
    weight_decay,
    no_warmup,
    bad_batch,
    exploding_gradient,
    v_lags,
    v_forgot,
    eps_too_small,
    edge_of_stability,
)
