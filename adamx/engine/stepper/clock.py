"""Clockwork: the hyperparameters, the clock and what else depends on time alone, for steps that someone else counts."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

from adamx.optimizers import Rule
from adamx.portable import specialise
from adamx.portable.cache import cached
from adamx.portable.unroll import rows


class Clockwork:
    """A column of numbers, one below the other the hyperparameters, the clock and `now`, and how to read it.

    Attributes:
        load_hyper, load_clock, load_now: portable f(numbers, 0) -> named tuple.
    """

    def __init__(self, rule: Rule, dtype: str) -> None:
        self._dtype = dtype
        h = rule.Hyper(**rule.defaults)
        Now = type(rule.per_step(1.0, rule.initial_clock(h), h)[1])
        load_hyper, _, clock = rows(rule.Hyper, 0)
        load_clock, store_clock, self._now = rows(rule.Clock, clock)
        self.load_now, store_now, self._rows = rows(Now, self._now)
        self.load_hyper, self.load_clock = load_hyper, load_clock
        real: Any = np.dtype(dtype).type
        per_step = specialise(rule.per_step, dtype)

        def tick(numbers, t):
            clock, now = per_step(real(t), load_clock(numbers, 0), load_hyper(numbers, 0))
            store_clock(numbers, 0, clock)
            store_now(numbers, 0, now)

        self._tick = cached(numba.njit(error_model="numpy"), tick, f"{rule.name}_tick_{dtype}", dtype)

    def column(self, hyper: Any, clock: Any) -> np.ndarray:
        """The numbers when the clock stands at `clock`, (rows, 1)."""
        numbers = np.zeros((self._rows, 1), self._dtype)
        with np.errstate(all="ignore"):  # in float32 a large number is inf and a small one 0
            numbers[: self._now, 0] = [*hyper, *clock]
        return numbers

    def advance(self, numbers: np.ndarray, hyper: Any, t: int) -> None:
        """Bring the clock and now to step t, which counts from 1, with these hyperparameters."""
        with np.errstate(all="ignore"):
            numbers[: len(hyper), 0] = hyper
        self._tick(numbers, t)


clockwork = cache(Clockwork)
