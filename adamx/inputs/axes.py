"""Axes: the values a hyperparameter takes, from a short text, a sequence, or an interval to draw from.

    log:1e-12:1:25        25 points from 1e-12 to 1, equal ratios
    lin:0.001:0.1:10      10 points, equal differences
    1-log:1e-4:1e-1:16    16 points with 1 - value in equal ratios: what a beta needs, from 0.9999 down to 0.9

`grid` crosses axes; `sample` draws points from intervals on the same three scales, which `interval` reads from a text
without a number of points, such as 1-log:1e-4:1.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adamx.inputs.errors import InputError, unknown

SCALES = ("log", "lin", "1-log")
SAMPLERS = ("sobol", "random")
DIGITS = 12  # significant, so that a decade reads 1e-09 and not 9.999999999999999e-10
MOST_RUNS = 10_000_000  # a larger grid is a typing error: its columns alone fill a machine's memory


@dataclass(frozen=True)
class Interval:
    """Where `sample` draws from: low <= value <= high on a scale; with "1-log" the ends are those of 1 - value."""

    low: float
    high: float
    scale: str = "lin"

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise unknown("scale", self.scale, SCALES)
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise InputError(f"from {self.low:g} to {self.high:g}: both ends must be finite")
        if self.low > self.high:
            raise InputError(f"from {self.low:g} to {self.high:g}: the ends are reversed")
        if self.scale != "lin" and self.low <= 0:
            raise InputError(f"from {self.low:g} to {self.high:g}: a logarithmic scale needs ends above 0")

    def at(self, share: np.ndarray) -> np.ndarray:
        """The values at shares in [0, 1] of the way from low to high; the ends are exact."""
        low, high = (self.low, self.high) if self.scale == "lin" else (math.log(self.low), math.log(self.high))
        values = low * (1 - share) + high * share
        if self.scale != "lin":
            with np.errstate(over="ignore"):  # at the largest float; clipped below
                values = np.exp(values)
        values = np.array([float(f"{v:.{DIGITS}g}") for v in values])
        values = np.clip(np.where(share == 0, self.low, np.where(share == 1, self.high, values)), self.low, self.high)
        return 1 - values if self.scale == "1-log" else values


def axis(text: str) -> np.ndarray | None:
    """The points of an axis text such as "log:1e-12:1:25"; None for a text that is not an axis.

    Raises:
        InputError: nearly an axis: another scale, not four parts, no points, reversed or non-positive ends.
    """
    scale, *parts = text.split(":")
    if not parts:
        return None
    if scale not in SCALES:
        if len(parts) == 3 or difflib.get_close_matches(scale, SCALES, cutoff=0.6):
            raise unknown("axis", scale, SCALES)
        return None
    if len(parts) != 3:
        raise InputError(f"axis {text!r} needs {scale}:LOW:HIGH:POINTS")
    try:
        points = int(parts[2])
    except ValueError:
        raise InputError(f"axis {text!r}: POINTS must be a whole number") from None
    between = _interval(text, scale, *parts[:2])
    if points < 1:
        raise InputError(f"axis {text!r} has no points")
    if points > MOST_RUNS:
        raise InputError(f"axis {text!r} has more than {MOST_RUNS:,} points")
    return between.at(np.linspace(0, 1, points))


def interval(typed: Any) -> Interval | None:
    """The interval of a text such as "1-log:1e-4:1", or an Interval as it is; None for anything else.

    Raises:
        InputError: ends that are no numbers, reversed, or not above 0 on a logarithmic scale.
    """
    if isinstance(typed, Interval):
        return typed
    scale, *ends = typed.split(":") if isinstance(typed, str) else [""]
    return _interval(typed, scale, *ends) if scale in SCALES and len(ends) == 2 else None


def _interval(text: str, scale: str, low: str, high: str) -> Interval:
    try:
        ends = float(low), float(high)
    except ValueError:
        raise InputError(f"axis {text!r}: LOW and HIGH must be numbers") from None
    try:
        return Interval(*ends, scale)
    except InputError as error:
        raise InputError(f"axis {text!r} {error}") from None


def values(name: str, typed: Any) -> np.ndarray:
    """(points,) the numbers of one axis, from a number, an axis text, or a sequence of these.

    Raises:
        InputError: no points, or something that is neither a number nor an axis.
    """
    parts = []
    for item in typed if isinstance(typed, (list, tuple, range)) else [typed]:
        try:
            part = axis(item) if isinstance(item, str) else np.asarray(item)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        except ValueError:  # nested lists of different lengths
            part = None
        if part is None or part.dtype.kind not in "bif" or part.ndim > 1:
            spaced = isinstance(item, str) and len(item.split()) > 1
            hint = "; several values have commas between them" if spaced else ""
            raise InputError(f"{name} is {item!r}: a number or an axis such as log:1e-12:1:25 is needed{hint}")
        parts.append(np.atleast_1d(part))
    points = np.concatenate(parts) if parts else np.empty(0)
    if not points.size:
        raise InputError(f"{name} has no points")
    return points


def grid(**axes: Any) -> dict[str, np.ndarray]:
    """Every combination of the axes, the last axis fastest: equal-length columns, a run a row.

    Args:
        axes: by name, a number, a sequence or array of numbers, or an axis text.

    >>> grid(lr=[0.1, 0.2], eps="log:1e-8:1:2")
    {'lr': array([0.1, 0.1, 0.2, 0.2]), 'eps': array([1.e-08, 1.e+00, 1.e-08, 1.e+00])}

    Raises:
        InputError: an axis has no points or is not one, or there are more than `MOST_RUNS` combinations.
    """
    points = [values(name, typed) for name, typed in axes.items()]
    runs = math.prod(len(p) for p in points)
    if runs > MOST_RUNS:
        lengths = " x ".join(f"{len(p)} {name}" for name, p in zip(axes, points, strict=True) if len(p) > 1)
        raise InputError(f"{lengths} = {runs:,} runs: at most {MOST_RUNS:,} in one sweep")
    columns = np.meshgrid(*points, indexing="ij")
    return {name: column.reshape(-1) for name, column in zip(axes, columns, strict=True)}


def sample(intervals: Mapping[str, Interval], n: int, sampler: str = "sobol", seed: int = 0) -> dict[str, np.ndarray]:
    """n points from a box of intervals: (n,) a column for each.

    Args:
        sampler: "sobol" (scrambled, evenly spread) or "random" (independent).
    Raises:
        InputError: an unknown sampler.
    """
    if sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS)
    if not intervals:
        return {}
    if sampler == "random":
        shares = np.random.default_rng(seed).random((n, len(intervals)))
    else:
        from scipy.stats import qmc  # 0.3 s to import, and only here

        power = math.ceil(math.log2(max(n, 1)))  # a Sobol sequence is balanced at powers of 2 and says so
        shares = qmc.Sobol(len(intervals), seed=seed).random_base2(power)[:n]
    return {name: interval.at(shares[:, i]) for i, (name, interval) in enumerate(intervals.items())}
