"""A Stepper in plain Python, and arrays to try it and the others on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import naive
import numpy as np

from adamx.engine.stepper.tiles import TILE
from adamx.optimizers import rule

SHAPES = [(3,), (), (4, 5), (0, 2), (TILE + 7,)]


class Plain:
    """A Stepper in plain Python on scalars."""

    def __init__(self, name, params, **hyper):
        self.rule, self.params = rule(name), params
        self.h = self.rule.Hyper(**hyper)
        self.clock, self.t = self.rule.initial_clock(self.h), 0
        self.states = [[self.rule.initial_state(self.h)] * x.size for x in params]

    def step(self, grads, **hyper):
        self.t, self.h = self.t + 1, self.h._replace(**hyper)
        self.clock, now = self.rule.per_step(float(self.t), self.clock, self.h)
        for i, (x, g) in enumerate(zip(self.params, grads, strict=True)):
            if x.size:
                moved = naive.updates(self.rule, x.ravel(), g.ravel(), self.states[i], self.h, now)
                x[...] = np.array([new for new, _ in moved]).reshape(x.shape)
                self.states[i] = [state for _, state in moved]


def draws(shapes, dtype="float64", seed=0):
    """Arrays of these shapes."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def copies(arrays):
    return [array.copy() for array in arrays]


def assert_agree(name, found, expected):
    """To the bit, but for rules with means over a tensor: their sums have another order."""
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 if rule(name).pool else 0)


@dataclass
class OnlyDLPack:
    """An array that has no interface but DLPack."""

    array: Any

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()
