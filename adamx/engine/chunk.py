"""Chunk: what a backend is given at a time, the same for every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import NamedTuple

import numpy as np

from adamx.engine.backends import AUTO
from adamx.optimizers import Rule
from adamx.portable.precision import Storage
from adamx.regimes import tail_start


class Times(NamedTuple):
    """Steps of a launch: from t0 up to t1, of a run of `steps` whose tail begins at `tail`, recorded each `every`."""

    t0: int
    t1: int
    steps: int
    tail: int
    every: int


@dataclass(frozen=True)
class Chunk:
    """Some runs of one optimizer, from start to end.

    Attributes:
        hyper: (runs,) float64 columns of all hyperparameters, in the order of rule.Hyper.
        schedule: the name of the lr schedule, and its (runs,) columns; no columns where lr stays as it is.
        seeds: (runs,) int64.
        steps: updates of every run; record_every: the loss is recorded at 0, every so many steps, and at the end.
        dtype: of all arithmetic: float32 or float64. storage: what numbers are rounded to between steps.
        instruments: names in `instruments.INSTRUMENTS` of what is shown besides the loss.
        x0: (runs, coordinates) starting points in place of the problem's, or None.
        tick: told the number of updates (runs x steps) done, several times a second, or None.
        engine: how a model is computed, one of `backends.ENGINES`.
    """

    rule: Rule
    hyper: Mapping[str, np.ndarray]
    schedule: tuple[str, Mapping[str, np.ndarray]]
    seeds: np.ndarray
    steps: int
    record_every: int
    dtype: str
    storage: Storage
    instruments: tuple[str, ...] = ()
    x0: np.ndarray | None = None
    tick: Callable[[int], None] | None = None
    engine: str = AUTO

    def __len__(self) -> int:
        return len(self.seeds)

    def part(self, runs: slice | np.ndarray) -> Chunk:
        """Some of its runs, by a slice or their positions."""
        columns = {name: values[runs] for name, values in self.hyper.items()}
        name, scheduled = self.schedule
        return replace(
            self,
            hyper=columns,
            schedule=(name, {key: values[runs] for key, values in scheduled.items()}),
            seeds=self.seeds[runs],
            x0=None if self.x0 is None else self.x0[runs],
        )

    @property
    def scheduled(self) -> str | None:
        """The name of the schedule that kernels follow; None where lr stays as it is."""
        return self.schedule[0] if self.schedule[1] else None

    @property
    def precision(self) -> str:
        """A name: "float32", "bfloat16" where all is kept so, or "float32 state=bfloat16 rounding=stochastic"."""
        kept = set(self.storage[:3])
        dtype = self.storage.params if len(kept) == 1 and self.storage.params else self.dtype
        parts = [f"{k}={v}" for k, v in self.storage._asdict().items() if v and v != "nearest"]
        return " ".join([dtype, *(p for p in parts if dtype == self.dtype or p.startswith("rounding"))])

    @property
    def records(self) -> np.ndarray:
        """(records,) the recorded steps: 0, every, 2 every, ... and the last."""
        return np.append(np.arange(0, self.steps, self.record_every), self.steps)

    def launches(self, length: int, seconds: float) -> Iterator[Times]:
        """The times of each launch of a kernel; the last ends after the final evaluation.

        Args:
            length: of the first launch, in steps. seconds: that a launch should take; the next one's length follows
                from the time until it is asked for. What a run does, does not depend on it.
        """
        t0 = 0
        while t0 <= self.steps:
            length, start = max(1, length), perf_counter()
            t1 = min(t0 + length, self.steps + 1)
            yield Times(t0, t1, self.steps, tail_start(self.steps), self.record_every)
            if self.tick:
                self.tick(len(self) * min(t1, self.steps))
            t0, length = t1, int(length * min(4.0, seconds / (perf_counter() - start)))
