"""Live: the regime of a loss that is told step by step, by the criteria of `adamx.regimes`.

A loss that can neither begin a spike nor end one waits for the next ones: a spike needs `spike_ratio` times the level,
which falls by `FALL` a step and no faster. So most steps cost a comparison.
"""

from __future__ import annotations

import numpy as np

from adamx.regimes import FALL, Criteria, Marks, begin, classify, of_batches, tail_start, track, track_tail
from adamx.watch.tape import Spike

TARGET = 1e-2  # of the first loss, where no target is named
WAIT = 10  # losses that are looked at together
SMOOTHED = 16  # rows and more: a loss is smoothed over 16 steps


class Live:
    """The running figures of one loss.

    Args:
        target: the loss that counts as reached. batch: 0 says that the loss is of all data and not of a minibatch.
        minimum: the least loss possible.
    """

    def __init__(self, target: float | None = None, batch: int = SMOOTHED, minimum: float = 0.0) -> None:
        self.target, self.batch, self.minimum = target, batch, minimum
        self.t, self.harmless = 0, -np.inf
        self.spikes: list[Spike] = []
        self.gaps: list[float] = []

    def see(self, step: int, loss: float) -> bool:
        """Take the next loss; whether a spike begins with it."""
        gap = loss - self.minimum
        self.gaps.append(gap)
        if gap <= self.harmless and len(self.gaps) - self.t < WAIT:
            return False
        began = False
        for gap in self.gaps[self.t :]:
            began = self._track(step, gap)  # the last alone can begin one, and the step is its own
        level = self.criteria.spike_ratio * self.f.level * FALL**WAIT
        self.harmless = level if self.f.smooth <= level and not self.m.spiking else -np.inf
        return began

    def _track(self, step: int, gap: float) -> bool:
        """The figures after the next loss; whether a spike begins with it."""
        if self.t == 0 or not self.started:
            target = self.target - self.minimum if self.target is not None else TARGET * gap
            self.criteria: Criteria = of_batches(target, self.batch, {})
            self.f = begin(gap, self.criteria)
            self.m = Marks()
        before = self.m.spikes
        self.f, self.m = track(self.t, gap, self.f, self.m, self.criteria)
        self.t += 1
        began = self.m.spikes > before
        if began:
            self.spikes.append(Spike(step, float(self.f.base), float(self.f.peak)))
        elif self.m.spiking and self.spikes and self.f.peak > self.spikes[-1].peak:
            self.spikes[-1] = self.spikes[-1]._replace(peak=float(self.f.peak))
        return began

    @property
    def started(self) -> bool:
        """True once a finite loss has been seen."""
        return hasattr(self, "f") and bool(np.isfinite(self.f.start))

    @property
    def regime(self) -> str | None:
        """One of `regimes.REGIMES`, as if the training ended now; None before the first loss."""
        if not hasattr(self, "f"):
            return None
        steps = len(self.gaps) - 1
        start = next((i for i, gap in enumerate(self.gaps) if np.isfinite(gap)), 0)
        f, m = begin(self.gaps[start], self.criteria), Marks()
        for t, gap in enumerate(self.gaps):  # the tail is known only now
            f, m = track_tail(t, tail_start(steps), gap, 0.0, f, m, self.criteria)
            f, m = track(t, gap, f, m, self.criteria)
        figures = {name: np.array([float(value)]) for name, value in {**f._asdict(), **m._asdict()}.items()}
        return str(classify(figures, self.criteria, max(steps, 1))[0])
