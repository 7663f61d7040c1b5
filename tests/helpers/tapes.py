"""Small tapes of trainings that were never made."""

from __future__ import annotations

from array import array

import numpy as np

from adamx.watch.tape import CURVATURES, MEASURES, Tape


def falling(n=300, noise=0.05, seed=0):
    draw = np.random.default_rng(seed)
    return 2.3 * np.exp(-np.arange(n) / 100) * np.exp(noise * draw.standard_normal(n))


def tape_of(loss, lr=1e-3, norm=None, exact=False, **group):
    tape = Tape(exact=exact)
    tape.steps = len(loss)
    tape.loss_step, tape.loss = array("q", range(1, len(loss) + 1)), array("d", loss)
    tape.lr = [array("d", np.broadcast_to(lr, len(loss)))]
    tape.norm = array("d", np.ones(len(loss)) if norm is None else norm)
    tape.parts = [{name: [] for name in MEASURES}]
    tape.groups = [{"optimizer": "Adam", "adaptive": 1.0, "beta1": 0.9, "beta2": 0.999, "coordinates": 10.0, **group}]
    return tape


def measure(tape, **curves):
    """Write curves of MEASURES on a tape, of every step: each a function of it."""
    for t in range(1, tape.steps + 1):
        row = {name: float(curves[name](t)) if name in curves else np.nan for name in MEASURES}
        tape.row(t, row, [row])
    return tape


def curved(tape, ratios):
    """Write curvatures on a tape: a step and the curvature over its limit there."""
    for t, ratio in ratios.items():
        tape.curve(t, **dict(zip(CURVATURES, (ratio, ratio, 1.0), strict=True)))
    return tape
