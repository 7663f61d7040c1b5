"""Scene: what is wrong with the loss, and when it began; what the causes ask about the steps around it.

    episode     a loss above the median of the 20 before it by a factor of `JUMP` and by `SIGMAS` of the usual scatter,
                that can be seen: above 1e-9 of the first loss, of a minibatch above a tenth of it. It ends within a
                factor of 2 of where it began
    early       in the first `EARLY` steps two losses in a row above the first by a factor of `EARLY_RISE`, or one of
                the first `FIRST` by `JUMP_ALONE`
    nonfinite   a loss or a gradient that is NaN or infinite
    risen       the last losses lie a factor of 2 above the least that there were
    stalled     the last losses lie above `STALLED` of the first, after 100 steps
    flat        the last quarter of the losses lies no lower than the second, by a hundredth or twice the error of both
                medians, while lr is as large as ever, the loss above a tenth of the first and the gradient not small;
                of a schedule that lowers lr, the losses before that, where it has not taken a quarter off them
    rough       of a loss of all data: a tenth of the later steps go up, by a fiftieth or more, where below the edge of
                stability none does

Where no loss was told, the norm of the gradient stands for it in episodes, and nothing else can be said.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from adamx.watch.tape import Tape

BEFORE = 20  # losses that one is compared with
JUMP, JUMP_ALONE, SIGMAS = 2.5, 4.0, 6.0
EARLY, EARLY_RISE, FIRST = 40, 1.5, 5
RISEN, STALLED = 2.0, 0.98
VISIBLE, VISIBLE_OF_BATCH = 1e-9, 0.1
FLAT, FLAT_ERRORS, HIGH = 0.99, 2.0, 0.1  # of the loss before; of the medians; of the first loss
LOWERED, HELPED, SMALL_GRADIENT = 0.5, 0.75, 0.02  # of the largest lr; of the loss before; of the first gradients
ROUGH_STEP, ROUGH_SHARE = 1.02, 0.1
FEW = 10  # steps after which something can be said
NEAR = 30  # steps in which what happened at one can be the cause of what is seen


class Episode(NamedTuple):
    """Some steps with a loss out of line."""

    step: int
    base: float
    peak: float
    end: int  # the first step that is back, or behind the last


def medians_before(values: np.ndarray, width: int) -> np.ndarray:
    """Of each value the median of the `width` before it, of fewer where there are not as many; NaN of the first."""
    found = np.full(len(values), np.nan)
    if len(values) > width:
        windows = np.lib.stride_tricks.sliding_window_view(values, width)
        found[width:] = np.median(windows[:-1], axis=1)
    for i in range(1, min(width + 1, len(values))):
        found[i] = np.median(values[:i])
    return found


class Scene:
    """A tape, read for what is wrong."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        steps, values = tape.series("loss")
        self.has_loss = len(values) > 0
        if not self.has_loss:
            steps, values = tape.series("norm")
        finite = np.isfinite(values)
        self.steps, self.values = steps[finite], values[finite]
        self.broken = int(steps[~finite][0]) if self.has_loss and (~finite).any() else None
        self.length = int(max(tape.last - tape.first + 1, len(values)))

    @cached_property
    def start(self) -> float:
        """The first losses; the very first alone, which no update has touched, where the next ones are far above it."""
        if not len(self.values):
            return np.nan
        first, three = float(self.values[0]), float(np.median(self.values[:3]))
        return three if not three > EARLY_RISE * first > 0 else first

    @cached_property
    def end(self) -> float:
        """The last losses."""
        return float(np.median(self.values[-max(10, len(self.values) // 10) :])) if len(self.values) else np.nan

    def lowest(self, before: int | None) -> float:
        """The least loss before a step, of a minibatch the least median of ten."""
        y = self.values if before is None else self.values[self.steps < before]
        if not len(y):
            return np.inf
        if self.tape.exact or len(y) < 10:
            return float(y.min())
        return float(np.median(np.lib.stride_tricks.sliding_window_view(y, 10), axis=1).min())

    @cached_property
    def least(self) -> tuple[int, float]:
        """(step, loss) at the least median of ten losses."""
        if len(self.values) < 10:
            return int(self.steps[0]), self.start
        smooth = np.median(np.lib.stride_tricks.sliding_window_view(self.values, 10), axis=1)
        i = int(np.argmin(smooth))
        return int(self.steps[i + 9]), float(smooth[i])

    @cached_property
    def episodes(self) -> list[Episode]:
        """Losses out of line, in order."""
        y, x = self.values, self.steps
        if len(y) < FEW or not (y > 0).any():
            return []
        before = medians_before(y, BEFORE)
        with np.errstate(divide="ignore", invalid="ignore"):
            off = np.log(y / before)
        usual = off[np.isfinite(off)]
        sigma = 1.4826 * float(np.median(np.abs(usual - np.median(usual)))) if len(usual) else 0.0
        floor = abs(self.start) * (VISIBLE if self.tape.exact else VISIBLE_OF_BATCH)
        high = (off > max(np.log(JUMP), SIGMAS * sigma)) & (y > floor)
        found: list[Episode] = []
        i = 3
        while i < len(y):
            if high[i]:
                base, k = float(before[i]), i
                while k < len(y) and y[k] > 2 * base:
                    k += 1
                alone = not self.tape.exact and k - i < 3 and y[i:k].max() < JUMP_ALONE * base
                if alone:
                    i = k
                    continue
                found.append(Episode(int(x[i]), base, float(y[i:k].max()), int(x[k]) if k < len(y) else int(x[-1]) + 1))
                i = k
            i += 1
        return found

    @cached_property
    def early(self) -> Episode | None:
        """A rise in the first steps."""
        if not self.has_loss or len(self.values) < 5:
            return None
        first, y = self.start, self.values[1:EARLY]
        twice = np.minimum(y[:-1], y[1:]).max() > EARLY_RISE * first  # a single high one may be a batch
        if not twice and not y[:FIRST].max() > JUMP_ALONE * first:
            return None
        j = int(np.argmax(y > EARLY_RISE * first)) + 1
        return Episode(int(self.steps[j]), first, float(y.max()), int(self.steps[min(EARLY, len(self.steps) - 1)]))

    @cached_property
    def risen(self) -> bool:
        return self.has_loss and len(self.values) >= 20 and self.end > max(RISEN * self.least[1], self._floor)

    @cached_property
    def _floor(self) -> float:
        return abs(self.start) * (VISIBLE if self.tape.exact else VISIBLE_OF_BATCH)

    @cached_property
    def stalled(self) -> bool:
        return self.has_loss and len(self.values) >= 100 and self.end > STALLED * self.start

    @cached_property
    def lowered(self) -> int | None:
        """The step from which on some group's lr is below `LOWERED` of its largest; None where that is not so.

        A last quarter in which it is mostly so says nothing of that lr, whatever it does; the steps before may.
        """
        found = []
        for group in range(len(self.tape.lr)):
            steps, lr = self.tape.series("lr", group)
            steps, lr = steps[np.isfinite(lr)], lr[np.isfinite(lr)]
            if len(lr) and np.median(lr[-len(lr) // 4 :]) < LOWERED * lr.max():
                found.append(int(steps[np.flatnonzero(lr >= LOWERED * lr.max())[-1]]) + 1)
        return min(found, default=None)

    @cached_property
    def _high(self) -> np.ndarray:
        """The losses until lr was lowered."""
        return self.values if self.lowered is None else self.values[self.steps < self.lowered]

    @cached_property
    def fall(self) -> float:
        """The last quarter of the losses over the second; NaN where it says nothing of the training.

        Of the losses until lr was lowered, where it was: if lowering it took a quarter off the loss, all is well.
        It says nothing where they are few, and where the gradient has become small: it has converged.
        """
        y, until = self._high, np.inf if self.lowered is None else self.lowered - 1
        norms = self.rows("norm", self.tape.first, until)
        if not self.has_loss or len(y) < 100:
            return np.nan
        if len(norms) and np.median(norms[-(len(norms) // 4) :]) < SMALL_GRADIENT * np.median(norms[:FEW]):
            return np.nan
        earlier, last = self._quarters
        if self.lowered is not None and not self.end > HELPED * np.median(last):
            return np.nan
        return float(np.median(last) / np.median(earlier)) if np.median(earlier) > 0 else np.nan

    @property
    def _quarters(self) -> tuple[np.ndarray, np.ndarray]:
        quarter = len(self._high) // 4
        return self._high[quarter : 2 * quarter], self._high[-quarter:]

    @cached_property
    def flat(self) -> bool:
        if np.isnan(self.fall) or self.stalled or self.risen or not self.end > HIGH * self.start:
            return False
        earlier, last = self._quarters
        scatter = 1.4826 * float(np.median(np.abs(np.diff(self._high[len(earlier) :])))) / np.sqrt(2)
        error = 1.2533 * scatter * np.sqrt(2 / len(last)) / float(np.median(earlier))  # of two medians
        return self.fall > min(FLAT, 1 - FLAT_ERRORS * error)

    @cached_property
    def rough(self) -> bool:
        y = self.values[len(self.values) // 2 :]
        if not (self.has_loss and self.tape.exact and len(y) >= 50):
            return False
        return float(np.mean(y[1:] > ROUGH_STEP * y[:-1])) > ROUGH_SHARE

    @cached_property
    def symptoms(self) -> list[str]:
        """The symptoms of the loss, in words."""
        said = []
        if self.broken is not None:
            said.append(f"the loss is not finite from step {self.broken} on")
        if self.early:
            said.append(f"the loss rises from {self.early.base:.3g} to {self.early.peak:.3g} in the first steps")
        kind = "the loss" if self.has_loss else "the gradient's norm"
        for e in self.episodes[:3]:
            said.append(f"{kind} jumps at step {e.step} from {e.base:.3g} to {e.peak:.3g}")
        if len(self.episodes) > 3:
            said[-1] += f", and {len(self.episodes) - 3} more times"
        if self.stalled:
            said.append(f"the loss has not fallen: {self.start:.3g} at the start, {self.end:.3g} at the end")
        elif self.risen and self.broken is None:
            said.append(f"the loss was {self.least[1]:.3g} by step {self.least[0]} and is {self.end:.3g} at the end")
        elif self.flat:
            since, until = self.steps[len(self._high) // 4], f", when lr was lowered at step {self.lowered}, too"
            until = "" if self.lowered is None else until
            said.append(f"the loss has not fallen since step {since} and stays near {self.end:.3g}{until}")
        if self.rough:
            said.append("the loss of all data goes up and down from step to step")
        return said

    @cached_property
    def onset(self) -> int | None:
        """The step at which it began to go wrong; None where nothing did or where there is no such step."""
        first = [e.step for e in self.episodes[:1]]
        first += [self.early.step] if self.early else []
        first += [self.broken] if self.broken is not None else []
        if not first and self.risen:
            first = [self.least[0]]
        return min(first) if first else None

    @property
    def onsets(self) -> list[int]:
        """`onset`, and after it the steps at which every later episode and what is not finite begin."""
        if self.onset is None:
            return []
        later = {e.step for e in self.episodes} | ({self.broken} if self.broken is not None else set())
        return [self.onset, *sorted(later - {self.onset})]

    # Questions of the causes

    def rows(self, name: str, low: float, high: float) -> np.ndarray:
        """The values of a curve at the steps from `low` to `high`, the finite ones."""
        steps, values = self.tape.series(name)
        some = values[(steps >= low) & (steps <= high)]
        return some[np.isfinite(some)]

    def middle(self, name: str, low: float, high: float) -> float:
        """Their median; NaN where there is none."""
        some = self.rows(name, low, high)
        return float(np.median(some)) if len(some) else np.nan

    def most(self, name: str, low: float, high: float) -> float:
        some = self.rows(name, low, high)
        return float(some.max()) if len(some) else np.nan

    @cached_property
    def untouched(self) -> float:
        """The weights before the first step (root mean square); NaN where that was not measured."""
        at, weights = self.tape.series("weight_rms")
        if not len(at):
            return np.nan
        moved = self.tape.series("step_rms")[1][0] * self.rows("lr", at[0], at[0])[:1].sum()
        left = weights[0] ** 2 - (moved**2 if moved == moved else 0.0)
        return float(np.sqrt(max(left, (weights[0] / 10) ** 2)))

    @cached_property
    def beside(self) -> float:
        """The updates beside the weights, a step, over the last three quarters of the steps until lr was lowered.

        NaN where they were not measured.
        """
        group = self.tape.groups.index(self.main) if self.main else 0
        if group >= len(self.tape.parts):
            return np.nan
        at, moved = self.tape.series("step_rms", group)
        _, weights = self.tape.series("weight_rms", group)
        _, lr = self.tape.series("lr", group)
        with np.errstate(all="ignore"):
            some = moved * lr[at - self.tape.first] / weights
        first, end = self.tape.first, self.tape.last + 1 if self.lowered is None else self.lowered
        some = some[(at >= first + (end - first) // 4) & (at < end)]
        some = some[np.isfinite(some)]
        return float(np.median(some)) if len(some) else np.nan

    def ratio(self, low: float, high: float) -> tuple[float, int]:
        """The largest curvature over its limit at those steps, and when; NaN where it was not measured.

        The first steps of an adaptive optimizer are left out: coordinates whose v is still 0 or of one batch have no
        limit that says anything.
        """
        if self.fact("adaptive"):
            low = max(low, self.tape.first + NEAR)
        steps, limits = self.tape.series("sharpness_limit")
        both = np.fmax(self.tape.series("curvature")[1], self.tape.series("sharpness")[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = both / limits
        inside = (steps >= low) & (steps <= high) & np.isfinite(ratios)
        if not inside.any():
            return np.nan, -1
        i = int(np.argmax(np.where(inside, ratios, -np.inf)))
        return float(ratios[i]), int(steps[i])

    def fact(self, name: str, default: float = 0.0) -> float:
        """A hyperparameter of the group with the most coordinates."""
        return float(self.main.get(name, default))

    @cached_property
    def main(self) -> dict:
        return max(self.tape.groups, key=lambda group: group.get("coordinates", 0.0), default={})
