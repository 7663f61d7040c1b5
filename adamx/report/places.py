"""Places: where the report draws losses and labels, and losses as levels of an axis."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adamx.analysis.curves import GapAxis, gap_axis
from adamx.analysis.scales import Scale
from adamx.engine.results import Results

OUTSIDE = 0.06  # of the length of an axis of losses: how far beyond its ends lies what left it
LEVELS = 65_533  # of a curve: codes 1 ... LEVELS lie on the axis, 0 at or below its bottom
ABOVE, LOST = LEVELS + 1, LEVELS + 2  # codes of what left the top, and of what is not finite
GREEK = {r"\eta": "η", r"\beta": "β", r"\varepsilon": "ε", r"\lambda": "λ", r"\mu": "μ", r"\mathrm": "", "-": "−"}


@dataclass(frozen=True)
class LossScale:
    """Where a loss is drawn: decades of the gap, or decades on both sides of zero where it has both signs."""

    axis: GapAxis

    def place(self, loss: np.ndarray) -> np.ndarray:
        """Places of losses, those that left the axis at `below` and `above`; NaN where not finite."""
        return np.clip(self._place(self.axis.values(loss)), self.below, self.above)

    def _place(self, values: Any) -> Any:
        if self.axis.positive:
            return np.log10(values)
        return np.sign(values) * np.log10(1 + np.abs(values) / self.axis.start)

    @property
    def ends(self) -> tuple[float, float]:
        """Places of the bottom and the top of the axis."""
        low, high = (float(self._place(end)) for end in (self.axis.bottom, self.axis.top))
        return (low, high) if high - low > 0.1 else (low - 0.1, high + 0.1)

    @property
    def below(self) -> float:
        """The place of what left the bottom: outside, or on the bottom where that is the limit of rounding."""
        low, high = self.ends
        return low if self.axis.positive else low - OUTSIDE * (high - low)

    @property
    def above(self) -> float:
        """The place of what left the top, and of lost runs."""
        low, high = self.ends
        return high + OUTSIDE * (high - low)

    def codes(self, loss: np.ndarray) -> np.ndarray:
        """(runs, records) levels of losses on the axis, each less the one before it (modulo 2^16)."""
        low, high = self.ends
        places = self.place(loss)
        with np.errstate(invalid="ignore"):
            levels = np.clip(np.round((places - low) / (high - low) * LEVELS), 0, LEVELS)
            levels = np.where(places > high, ABOVE, levels)
        codes = np.where(np.isnan(places), LOST, levels).astype(np.uint16)
        return np.diff(codes, axis=1, prepend=np.uint16(0))

    def said(self) -> dict[str, Any]:
        """The facts that the page needs."""
        axis, (low, high) = self.axis, self.ends
        if axis.positive:
            at, labels = Scale("gap", np.logspace(low, high, 50)).ticks(8)
        else:
            most = np.log10(max(abs(axis.bottom), abs(axis.top)))
            powers = np.arange(np.ceil(np.log10(axis.start)), np.floor(most) + 1).astype(int)
            at = self._place(np.concatenate([-(10.0 ** powers[::-1]), [0.0], 10.0**powers]))
            labels = [*(f"$-10^{{{k}}}$" for k in powers[::-1]), "0", *(f"$10^{{{k}}}$" for k in powers)]
        known = {name: getattr(axis, name) for name in ("label", "minimum", "start", "positive")}
        places = {"low": low, "high": high, "below": self.below, "above": self.above}
        return {**known, **places, "ticks": ticks(at, labels)}


def loss_scale(results: Results, loss: np.ndarray) -> LossScale:
    """The scale that fits some of the losses of results."""
    axis = gap_axis(results, loss)
    if axis.positive and axis.top <= 0:  # all of them lie on the minimum
        axis = replace(axis, bottom=axis.start, top=axis.start)
    return LossScale(axis)


def ticks(places: np.ndarray, labels: Sequence[str]) -> list[list[Any]]:
    """Ticks as the page has them: [places, labels]."""
    return [np.asarray(places).tolist(), [markup(label) for label in labels]]


def markup(text: str) -> str:
    """Mathtext as the HTML that plotly draws, everything else escaped."""

    def formula(match: re.Match[str]) -> str:
        math = match[1]
        for name, letter in GREEK.items():
            math = math.replace(name, letter)
        math = re.sub(r"_\{?(\w+)\}?", r"<sub>\1</sub>", math)
        return re.sub(r"\^\{(.+?)\}", r"<sup>\1</sup>", math)

    return re.sub(r"\$(.+?)\$", formula, html.escape(text))
