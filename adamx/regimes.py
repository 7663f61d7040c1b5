"""Regimes: what a run did, in words and in formulas.

Every step t of every run, at full rate and inside the kernel, `track` sees the gap

    gap_t = loss_t - minimum            (the loss itself where the minimum is 0 or unknown)
    s_t   = keep s_{t-1} + (1 - keep) gap_t     keep = 0 where the loss is exact; a minibatch loss is smoothed

with s_{-1} = gap_0, the gap of all rows at the start, and a reference level r_t, the running 2/3 quantile of s in
logarithms: it rises by the factor `RISE` when s is above it and falls by its root when s is below. A quantile is not
moved by one bad minibatch and follows a decay over hundreds of decades. That it rises faster than it falls forgives
oscillations: their zero crossings are short dips of s (cos^8 stays within a factor 10 of its level; with a median
cos^4 would not), where a running mean or minimum would take the way back for a spike. Then

    spike        s_t > spike_ratio r_{t-1} and above the target, after the run had halved its starting gap, and visible:
                 r is never taken below spike_floor gap_0 / spike_ratio. It ends when s <= 2 r.
    reached      the first t with s_t <= target
    popped       s_t > pop_ratio target, after the run had settled, stayed under the target for at least SETTLE steps,
                 and left it at least LEAVE times faster than it had stayed, as no oscillation does: on |x|^k its way
                 from the target to ten times the target takes 1.1 (k = 2) to 0.2 (k = 8) of the time below
    overshoot    g_t . (x_t - x_{t-1}) > overshoot_ratio |gap_t|: the step just made ended on an upward slope
                 that matters; counted in the tail, the last quarter of the run
    non-finite   the first t at which the gap is NaN or infinite
    lost, high   the steps of the tail above the target after it was reached, and those above the run's ceiling, the
                 larger of blowup gap_0 and pop_ratio target
    rose         s_t > 2 (least s of the tail so far)

and `classify` names the regime, the first of these that holds:

    unjudged     an online problem without an objective whose numbers stayed finite: the loss of one component says
                 nothing
    diverged     a non-finite step; or a quarter of the tail's steps high, and s at the end above gap_0; or s at the end
                 above the ceiling without a spike
    unbounded    s at the end < -blowup |gap_0|, and it still falls at half its average rate or faster
    spiking      a spike or a pop
    converged    it reached the target, at most a quarter of the tail's steps since then were lost, and s at the end is
                 not above pop_ratio target. Where neither minimum nor target is known: the tail moved by less than
                 FLAT of the whole descent
    oscillating  at least a quarter of the tail's steps overshot, or s rose in it, or s at the end > 2 (least s): it
                 moves, and has lost ground that it had
    slow         everything else: above the target with nothing wrong in its curve (also a local minimum)

What decides is the tail, not the last value: a cycle of two steps has one regime, whatever the parity of the steps.
Nothing that stays under the target diverges, spikes or pops.

The literature has no common definition of a spike. Wortsman et al. 2023, arXiv 2304.13013, mark a loss that exceeds its
running mean by 3.2 running standard deviations; a mean and a deviation have no meaning for a loss that falls by decades
within their window, so here it is a ratio to a quantile of logarithms. What counts as settled, and as oscillation
against a slow crawl, follows the stability theory that tests/oracles/test_regimes.py holds it to: on 50 x 50 settings
about Adam's threshold of eps and on both sides of gradient descent's largest lr the regime is that which theory names.
tests/oracles/test_labelled.py holds it to curves that were judged by eye.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from adamx.portable import portable

REGIMES = ("converged", "slow", "unjudged", "unbounded", "spiking", "oscillating", "diverged")

MEANINGS = {  # each in one line; above are the formulas
    "converged": "it reached the target and stayed there",
    "slow": "above the target at the end, with nothing wrong in its curve",
    "unjudged": "the loss of this problem says nothing, and the numbers stayed finite",
    "unbounded": "the loss falls without end",
    "spiking": "the loss rose many times above its level and came back, or left the target at once after staying there",
    "oscillating": "the loss still moves up and down at the end, and has lost ground that it had",
    "diverged": "NaN or infinite, or at the end above its start and staying high",
}

RISE = 2.0 ** (1 / 8)  # the level rises by at most a factor of 10 in 27 steps
FALL = 2.0 ** (-1 / 16)
CALM = 2.0  # a spike ends within this factor of the level
SETTLE = 27  # the steps in which the level rises by a factor of 10
LEAVE = 8
TAIL = 4  # the tail is the last 1/TAIL of a run
SHARE = 0.25  # of the tail's steps
LOST_GROUND = 2.0
FLAT = 1e-6
NOISY = 100.0  # spike_ratio under gradient noise: at a noisy floor x^2 exceeds 10 times its level now and then
NO_TARGET, NO_OBJECTIVE = -np.inf, np.nan  # as a `target`


class Criteria(NamedTuple):
    """Thresholds, relative to the gap at the start but for `target`, which is a gap itself.

    A problem sets `target` (`NO_TARGET` where neither a target nor the minimum is known, `NO_OBJECTIVE` where the loss
    is not what is minimised), and `keep`, `spike_ratio` and `spike_floor` where its loss is noisy; the rest is the same
    for all. `regimes.spike_ratio=100` on the command line sets another one.
    """

    target: float
    keep: float = 0.0
    spike_ratio: float = 10.0
    spike_floor: float = 1e-12
    pop_ratio: float = 10.0
    overshoot_ratio: float = 0.1
    blowup: float = 2.0


def of_landscape(target: float, noise: float) -> Criteria:
    """The criteria of a landscape: of a loss that is exact, under gradient noise or not.

    Args:
        target: the gap that counts as reached, `NO_TARGET` or `NO_OBJECTIVE`. noise: its standard deviation, in units
            in which curvatures are about 1.
    """
    usual = Criteria(target)
    if noise**2 > target:  # else its floor lies below the target, where nothing is judged
        usual = usual._replace(spike_ratio=NOISY)
    if not np.isfinite(target):  # nothing says how far down a level may go
        usual = usual._replace(spike_floor=1e-2)
    return usual


def of_batches(target: float, batch: int | None, thresholds: Mapping[str, float]) -> Criteria:
    """The criteria of a loss on data.

    A minibatch loss is smoothed over 16 steps, or over 256 rows where that is more, and only spikes above 2 % of the
    first loss are visible.

    Args:
        batch: rows of a minibatch; 0 or None for all rows every step. thresholds: those that somebody has set.
    """
    usual = Criteria(target, spike_floor=1e-9)
    if batch:
        usual = usual._replace(keep=1 - 1 / max(16, 256 / batch), spike_ratio=4.0, spike_floor=0.02)
    return usual._replace(**thresholds)


class Figures(NamedTuple):
    """The running figures of a run that are losses."""

    start: float  # gap_0, of all rows
    smooth: float  # s_t
    level: float  # r_t
    best: float  # least s so far
    base: float  # r when the present spike began
    peak: float  # largest s of the present spike
    base_most: float  # base and peak of the largest spike so far: largest peak / base
    peak_most: float
    entry: float  # s where the tail began
    least: float  # least s of the tail so far


class Marks(NamedTuple):
    """A run's running figures that are steps, counts and flags, at first as here; -1 is a step that has not come."""

    best_step: int = 0
    spikes: int = 0
    first_spike_step: int = -1
    spiking: int = 0
    reached_step: int = -1
    settled: int = 0  # steps under the target; on the way out after SETTLE of them -LEAVE times the steps that are left
    popped: int = 0
    diverged_step: int = -1
    overshoots: int = 0
    lost: int = 0
    high: int = 0
    rose: int = 0


@portable
def begin(gap, c):
    """The figures at step 0, from the gap there (of all rows) and the criteria."""
    level = max(gap, gap * 0.0)  # a start below the goal has no level
    one = level * 0.0 + 1.0
    return Figures(gap, gap, level, gap, level, level, level * 0.0 + 1.0, one, gap, gap)


@portable
def track(t, gap, f, m, c):
    """The figures after step t, but for those of the tail; selects only, so that a loop over runs stays vectorised.

    Args:
        t: the step. gap: loss_t - minimum. f, m: Figures and Marks before. c: Criteria.
    """
    finite = gap - gap == 0.0
    s = c.keep * f.smooth + (1.0 - c.keep) * gap
    better = s < f.best
    under, stayed = s <= c.target, m.settled >= SETTLE

    began = (s > c.spike_ratio * f.level) & (f.level <= 0.5 * f.start) & (m.spiking < 1) & (under < 1)
    base = f.level if began else f.base
    peak = s if (began | (s > f.peak)) else f.peak
    moved = f.level * RISE if s > f.level else f.level * FALL
    lowest = abs(f.start) * c.spike_floor / c.spike_ratio
    level = moved if moved > lowest else lowest
    spiking = began | ((m.spiking > 0) & (s > CALM * level))
    largest = spiking & (peak * f.base_most > f.peak_most * base)

    left = LEAVE - m.settled if stayed else m.settled + LEAVE  # whole numbers without a literal, which would be a real
    settled = m.settled * (m.settled > 0) + under if under else left * (left < 0)
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
            f.entry,
            f.least,
        ),
        Marks(
            t if better else m.best_step,
            m.spikes + began,
            t if (began & (m.first_spike_step < 0)) else m.first_spike_step,
            spiking,
            t if (under & (m.reached_step < 0)) else m.reached_step,
            settled,
            (m.popped > 0) | ((stayed | (m.settled < 0)) & (s > c.pop_ratio * c.target)),
            m.diverged_step if (finite | (m.diverged_step >= 0)) else t,
            m.overshoots,
            m.lost,
            m.high,
            m.rose,
        ),
    )


@portable
def track_tail(t, tail, gap, slope, f, m, c):
    """The tail's figures after step t, from the figures before it: to be called before `track`, from step `tail` on.

    A call at an earlier step changes nothing of what the tail's steps give.

    Args:
        t, gap, f, m, c: as for `track`. tail: the step where the tail begins. slope: g_t . (x_t - x_{t-1}).
    """
    later = t > tail
    s = c.keep * f.smooth + (1.0 - c.keep) * gap
    entry = f.entry if later else f.smooth
    least = f.least if later else f.smooth
    above, start = c.pop_ratio * c.target, abs(f.start)
    ceiling = above if above > c.blowup * start else c.blowup * start
    lowest = s if s < least else least
    over, lost, high = slope > c.overshoot_ratio * abs(gap), (m.reached_step >= 0) & ((s <= c.target) < 1), s > ceiling
    rose = (m.rose * later > 0) | ((s > LOST_GROUND * least) & (least > 0.0))
    f = Figures(f.start, f.smooth, f.level, f.best, f.base, f.peak, f.base_most, f.peak_most, entry, lowest)
    return f, Marks(
        m.best_step,
        m.spikes,
        m.first_spike_step,
        m.spiking,
        m.reached_step,
        m.settled,
        m.popped,
        m.diverged_step,
        m.overshoots * later + over,
        m.lost * later + lost,
        m.high * later + high,
        rose,
    )


def tail_start(steps: int) -> int:
    """The first step of the tail, the last quarter of a run of `steps` steps and at least its last step."""
    return steps - max(steps // TAIL, 1) + 1


def classify(figures: Mapping[str, np.ndarray], criteria: Criteria, steps: int) -> np.ndarray:
    """(runs,) the regime of each run, from the final figures of `track`."""
    f, c = figures, criteria
    start, end, best = f["start"], f["smooth"], f["best"]
    begun = tail_start(steps)
    tail = max(steps - begun + 1, 1)
    finite, spiked = f["diverged_step"] < 0, (f["spikes"] > 0) | (f["popped"] > 0)
    ceiling = np.fmax(c.blowup * np.abs(start), c.pop_ratio * c.target)
    with np.errstate(invalid="ignore", over="ignore"):
        stays = (f["high"] >= SHARE * tail) & ~(end <= np.abs(start))
        diverged = ~finite | stays | (~(end <= ceiling) & ~spiked)
        fast = f["entry"] - end >= (start - end) * (tail / max(steps, 1)) / 2
        unbounded = (end < -c.blowup * np.abs(start)) & fast
        if c.target == NO_TARGET:
            converged = np.maximum(f["entry"], end) - f["least"] <= FLAT * np.abs(start - best)
        else:
            since = np.maximum(steps - np.maximum(f["reached_step"], begun) + 1, 0)
            converged = (f["reached_step"] >= 0) & (f["lost"] <= SHARE * since) & (end <= c.pop_ratio * c.target)
        moves = (f["overshoots"] >= SHARE * tail) | (f["rose"] > 0) | (end > LOST_GROUND * np.abs(best))
    return np.select(
        [finite & np.isnan(c.target), diverged, unbounded, spiked, converged, moves],
        ["unjudged", "diverged", "unbounded", "spiking", "converged", "oscillating"],
        "slow",
    )
