"""Training: a step of many runs of a model on stacked arrays; the rule and the figures are those of the kernels.

What a step computes from comes as its arguments, so that jax compiles it once for all chunks of a sweep.
"""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np

from adamx import regimes
from adamx.engine.model.frames import FRAMES
from adamx.engine.tensorized import library, on_arrays, tensorized
from adamx.optimizers import Rule
from adamx.problems._model import Model
from adamx.regimes import Figures, Marks
from adamx.schedules import SCHEDULES


class Given(NamedTuple):
    """What a step reads and leaves as it is.

    Attributes:
        h: the rule's hyperparameters, (runs, 1) each. schedule: the columns of lr's schedule.
        data: the model's arrays. run: (runs,) the row of `seeds` that a run has.
        steps, tail: of every run, and the step at which its tail begins.
    """

    h: Any
    schedule: Any
    data: Any
    run: Any
    steps: Any
    tail: Any


class Carry(NamedTuple):
    """What a step changes: leaves (runs, elements) of the point, its last move and the state; clock; figures."""

    x: Any
    moved: Any
    states: Any
    clock: Any
    figures: Figures
    marks: Marks


class Training:
    """A rule on a model, in one type and with one schedule; runs, settings and steps are arguments.

    Args:
        schedule: the name of lr's, None where lr stays. shared: all runs see the same minibatches.
    """

    def __init__(self, model: Model, rule: Rule, dtype: str, schedule: str | None, shared: bool) -> None:
        name, self.shapes = model.example
        to = library(name, dtype)
        self.model, self.rule, self.shared = model, rule, shared
        self.frame = FRAMES[name](model, dtype)
        self.on = on_arrays(rule, to)
        self.factor = schedule and tensorized(SCHEDULES[schedule], to)
        self.begin, self.track, self.track_tail = (
            tensorized(f, to) for f in (regimes.begin, regimes.track, regimes.track_tail)
        )
        self.gradients = self.frame.gradients(shared)
        self.segment, self.last = self.frame.segment(self._step), self.frame.compiled(self._look)
        self.seen = self.frame.compiled(self._seen)

    @cached_property
    def data(self) -> Any:
        """The rows that the recorded loss is of, in the model's framework."""
        return tuple(map(self.frame.put, self.model.rows))

    def flat_leaves(self, whole: np.ndarray) -> Any:
        """The leaves (runs, elements) of an array (runs, parameters)."""
        cuts = np.cumsum([prod(shape) for shape in self.shapes])[:-1]
        return tuple(self.frame.put(np.ascontiguousarray(part)) for part in np.split(whole, cuts, axis=1))

    def shaped(self, leaves: Any) -> Any:
        """The leaves (runs, ...) as the model has them."""
        return tuple(leaf.reshape(leaf.shape[0], *shape) for leaf, shape in zip(leaves, self.shapes, strict=True))

    def start(self, x: Any, given: Given) -> Carry:
        """Before the first step, from the leaves of a point."""
        one = _ones(given)
        clock = self.rule.Clock(*(field + 0 * given.h.lr for field in self.on.initial_clock(given.h)))
        states = tuple(self.rule.State(*(f + 0 * leaf for f in self.on.initial_state(given.h))) for leaf in x)
        begun = self.begin(self.frame.losses(self.shaped(x), given.data), self.model.criteria)
        figures, marks = Figures(*(field * one for field in begun)), Marks(*(mark * one for mark in Marks()))
        return Carry(x, tuple(0 * leaf for leaf in x), states, clock, figures, marks)

    def _slopes(self, given: Given, x: Any, rows: Any) -> Any:
        """The loss of a step's minibatch, and its gradient; rows: see `batches`."""
        batch = tuple(part[0] if self.shared else part[given.run] for part in rows)
        if not self.model.streams:
            batch = tuple(array[batch[0]] for array in given.data)
        value, g = self.gradients(self.shaped(x), batch)
        return value, tuple(part.reshape(leaf.shape) for part, leaf in zip(g, x, strict=True))

    def _look(self, given: Given, carry: Carry, t: Any, rows: Any) -> Any:
        """The gradient at step t, and the figures after it."""
        value, g = self._slopes(given, carry.x, rows)
        slope = sum((a * b).sum(1) for a, b in zip(g, carry.moved, strict=True))
        c, one = self.model.criteria, _ones(given)
        f, m = self.track_tail(t, given.tail, value, slope, carry.figures, carry.marks, c)
        f, m = self.track(t, value, f, m, c)
        return carry._replace(figures=f, marks=Marks(*(field * one for field in m))), g

    def _paced(self, given: Given, clock: Any, t: Any) -> Any:
        """What depends on time alone in step t: (h, clock, now)."""
        h, time = (
            given.h,
            self.frame.real(t + 1),
        )  # a whole number's root would be float64, whatever the training's type
        if self.factor:
            h = h._replace(lr=h.lr * self.factor(time, given.steps, given.schedule))
        return h, *self.on.per_step(time, clock, h)

    def _step(self, given: Given, carry: Carry, t: Any, rows: Any) -> Carry:
        carry, g = self._look(given, carry, t, rows)
        h, clock, now = self._paced(given, carry.clock, t)
        each = zip(carry.x, g, carry.states, strict=True)
        x, states = zip(*(self.on.step(a, b, s, h, now, over=(-1,)) for a, b, s in each), strict=True)
        moved = tuple(a - b for a, b in zip(x, carry.x, strict=True))
        states = tuple(self.rule.State(*(f + 0 * a for f in s)) for s, a in zip(states, x, strict=True))
        clock = self.rule.Clock(*(field + 0 * h.lr for field in clock))
        return Carry(x, moved, states, clock, carry.figures, carry.marks)

    def _seen(self, given: Given, carry: Carry, t: Any, rows: Any) -> Any:
        """Of the step to come, for instruments: g, move, sqrt(v_hat) and rates, leaf by leaf; lr, and the limit."""
        _, g = self._slopes(given, carry.x, rows)
        h, clock, now = self._paced(given, carry.clock, t)
        on, each = self.on, list(zip(carry.x, g, carry.states, strict=True))
        move = [on.step(a, b, s, h, now, over=(-1,))[0] - a for a, b, s in each]
        root, rate = zip(*(on.rates(a, b, s, clock, h, now, over=(-1,)) for a, b, s in each), strict=True)
        answer = on.alternating(clock, h, now) if on.alternating else 1.0
        return (g, move, root, rate), h.lr, 2 / (h.lr * answer)


def _ones(given: Given) -> Any:
    """(runs,) ones in the training's type, which marks are kept in."""
    return 1 + 0 * given.h.lr[:, 0]
