"""Layout: a run as a column of numbers that kernels carry from launch to launch, the same for every backend."""

from __future__ import annotations

from adamx.instruments import Crossings
from adamx.optimizers import Nothing, Rule
from adamx.portable.unroll import rows
from adamx.regimes import Figures, Marks
from adamx.schedules import Schedule


class Layout:
    """Which rows of a run's column hold what.

    The point, the last move, the state, the clock, the hyperparameters, the schedule's, the figures; then what lives
    within a step.
    """

    def __init__(self, rule: Rule, dim: int, scheduled: bool) -> None:
        self.dim = dim
        self.x = 0
        self.moved = dim
        self.state = 2 * dim
        states = [rows(rule.State, self.state + i * len(rule.State._fields)) for i in range(dim)]
        self.load_state, self.store_state = tuple(load for load, _, _ in states), tuple(store for _, store, _ in states)
        self.clock = self.state + dim * len(rule.State._fields)
        self.load_clock, self.store_clock, self.hyper = rows(rule.Clock, self.clock)
        self.changed = self.hyper  # rows that a step changes: the point, the last move, the state and the clock
        self.load_hyper, _, self.schedule = rows(rule.Hyper, self.hyper)
        self.load_schedule, _, self.figures = rows(Schedule if scheduled else Nothing, self.schedule)
        self.load_figures, self.store_figures, self.gap = rows(Figures, self.figures)
        self.slope = self.gap + 1
        self.factor = self.gap + 2
        self.over = self.gap + 3  # the sharpness over its limit
        self.total = self.gap + 4
        self.load_marks, self.store_marks, self.crossings = rows(Marks, 0)
        self.load_crossings, self.store_crossings, self.total_marks = rows(Crossings, self.crossings)
