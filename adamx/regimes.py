"""Regimes: what a run did, in words and in formulas.

Every step t of every run, at full rate and inside the kernel, `track` sees the gap

    gap_t = loss_t - minimum            (the loss itself where the minimum is 0 or unknown)
    s_t   = keep s_{t-1} + (1 - keep) gap_t     keep = 0 where the loss is exact; a minibatch loss is smoothed

and a reference level r_t, the running median of s in logarithms: it rises by the factor `RISE` when s is above
it and falls by the same factor when s is below. A median is not moved by one bad minibatch, follows a decay over
hundreds of decades, and forgives the zero crossings of an oscillation (cos^2 stays within a factor 4 of it),
where a running mean or minimum would not. Then

    spike        s_t > spike_ratio r_{t-1}, after the run had halved its starting gap, and visible: r is never
                 taken below spike_floor gap_0 / spike_ratio. It ends when s <= 2 r.
    reached      the first t with s_t <= target
    popped       s_t > pop_ratio target, after the run had settled: stayed under the target for SETTLE steps, which
                 the zero crossing of an oscillation does not
    overshoot    g_t . (x_t - x_{t-1}) > overshoot_ratio |gap_t|: the step just made ended on an upward slope
                 that matters; counted over the last quarter of the run
    non-finite   the first t at which the gap is NaN or infinite

and `classify` names the regime, the first of these that holds:

    diverged     a non-finite step, or s at the end > blowup gap_0
    spiking      a spike or a pop
    converged    s at the end <= target
    oscillating  at least a quarter of the last quarter's steps overshot, or s at the end > 2 (least s): it moves, and
                 has lost ground that it had
    slow         everything else: above the target with nothing wrong in its curve (also a local minimum)

The literature has no common definition of a spike. Wortsman et al. 2023, arXiv 2304.13013, mark a loss that exceeds its
running mean by 3.2 running standard deviations; a mean and a deviation have no meaning for a loss that falls by decades
within their window, so here it is a ratio to a median of logarithms. What counts as settled, and as oscillation against
a slow crawl, follows the stability theory that tests/test_regimes.py holds it to: on 50 x 50 settings about Adam's
threshold of eps and on both sides of gradient descent's largest lr the regime is the one that theory names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from adamx.portable import portable

REGIMES = ("converged", "slow", "spiking", "oscillating", "diverged")

RISE = 2.0 ** (1 / 8)  # the level moves by at most a factor of 10 in 27 steps
FALL = 2.0 ** (-1 / 8)
CALM = 2.0  # a spike ends within this factor of the level
SETTLE = 27  # the steps in which the level moves by a factor of 10
TAIL = 4  # overshoots count in the last 1/TAIL of a run
OSCILLATING_SHARE = 0.25
LOST_GROUND = 2.0


class Criteria(NamedTuple):
    """Thresholds, relative to the gap at the start but for `target`, which is a gap itself.

    A problem sets `target`, and `keep`, `spike_ratio` and `spike_floor` where its loss is noisy; the rest is the same
    for all. `regimes.spike_ratio=100` on the command line sets another one.
    """

    target: float
    keep: float = 0.0
    spike_ratio: float = 10.0
    spike_floor: float = 1e-12
    pop_ratio: float = 10.0
    overshoot_ratio: float = 0.1
    blowup: float = 2.0


def of_batches(target: float, batch: int | None, thresholds: Mapping[str, float]) -> Criteria:
    """The criteria of a loss on data.

    A minibatch loss is smoothed over 16 steps, and only spikes above 1 % of the first loss are visible.

    Args:
        batch: rows of a minibatch; 0 or None for all rows every step. thresholds: those that somebody has set.
    """
    usual = Criteria(target, spike_floor=1e-9)
    if batch:
        usual = usual._replace(keep=15 / 16, spike_ratio=4.0, spike_floor=0.02)
    return usual._replace(**thresholds)


class Figures(NamedTuple):
    """The running figures of a run that are losses."""

    start: float  # gap_0
    smooth: float  # s_t
    level: float  # r_t
    best: float  # least s so far
    base: float  # r when the present spike began
    peak: float  # largest s of the present spike
    base_most: float  # base and peak of the largest spike so far: largest peak / base
    peak_most: float


class Marks(NamedTuple):
    """The running figures of a run that are steps, counts and flags; a step that has not come is -1."""

    best_step: int
    spikes: int
    first_spike_step: int
    spiking: int
    reached_step: int
    settled: int  # consecutive steps under the target; kept once it is SETTLE
    popped: int
    diverged_step: int
    overshoots: int


@portable
def begin(gap, c):
    """The figures at step 0, from the gap there and the criteria."""
    level = max(gap, gap * 0.0)  # a start below the goal has no level
    return Figures(gap, gap, level, gap, level, level, level * 0.0 + 1.0, level * 0.0 + 1.0)


@portable
def track(t, gap, slope, in_tail, f, m, c):
    """The figures after step t; selects only, so that a loop over runs stays vectorised.

    Args:
        t: the step. gap: loss_t - minimum. slope: g_t . (x_t - x_{t-1}). in_tail: t is in the run's last quarter.
        f, m: Figures and Marks before. c: Criteria.
    """
    finite = gap - gap == 0.0
    s = c.keep * f.smooth + (1.0 - c.keep) * gap
    better = s < f.best

    began = (s > c.spike_ratio * f.level) & (f.level <= 0.5 * f.start) & (m.spiking < 1)
    base = f.level if began else f.base
    peak = s if (began | (s > f.peak)) else f.peak
    moved = f.level * RISE if s > f.level else f.level * FALL
    least = abs(f.start) * c.spike_floor / c.spike_ratio
    level = moved if moved > least else least
    under, settled = s <= c.target, m.settled >= SETTLE
    spiking = began | ((m.spiking > 0) & (s > CALM * level))
    largest = spiking & (peak * f.base_most > f.peak_most * base)
    return (
        Figures(
            f.start,
            s if finite else f.smooth,
            level if finite else f.level,
            s if better else f.best,
            base,
            peak,
            base if largest else f.base_most,
            peak if largest else f.peak_most,
        ),
        Marks(
            t if better else m.best_step,
            m.spikes + began,
            t if (began & (m.first_spike_step < 0)) else m.first_spike_step,
            spiking,
            t if (under & (m.reached_step < 0)) else m.reached_step,
            m.settled * (under | settled) + under,
            (m.popped > 0) | (settled & (s > c.pop_ratio * c.target)),
            m.diverged_step if (finite | (m.diverged_step >= 0)) else t,
            m.overshoots + (in_tail & (slope > c.overshoot_ratio * abs(gap))),
        ),
    )


def tail_start(steps: int) -> int:
    """The first step of the last quarter of a run of `steps` steps."""
    return steps - steps // TAIL + 1


def classify(figures: Mapping[str, np.ndarray], criteria: Criteria, steps: int) -> np.ndarray:
    """(runs,) the regime of each run, from the final figures of `track`."""
    f = figures
    end = f["smooth"]
    tail = max(steps - tail_start(steps) + 1, 1)
    conditions = [
        (f["diverged_step"] >= 0) | ~(end <= criteria.blowup * np.abs(f["start"])),
        (f["spikes"] > 0) | (f["popped"] > 0),
        end <= criteria.target,
        (f["overshoots"] >= OSCILLATING_SHARE * tail) | (end > LOST_GROUND * f["best"]),
    ]
    return np.select(conditions, ["diverged", "spiking", "converged", "oscillating"], "slow")
