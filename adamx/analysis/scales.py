"""An axis as people read it: how its values are spaced, where a value is drawn and what the ticks say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

SYMBOLS = {
    "lr": r"$\eta$",
    "beta1": r"$\beta_1$",
    "beta2": r"$\beta_2$",
    "eps": r"$\varepsilon$",
    "eps_root": r"$\varepsilon_\mathrm{root}$",
    "weight_decay": r"$\lambda$",
    "momentum": r"$\mu$",
}

Spacing = Literal["linear", "log", "one-minus"]


def short(value: float) -> str:
    """A number in its short form: 0.9, 1e-08, 0.9995; close to 1 as many digits as tell it from 1."""
    if 0.9 < value < 1:
        return f"{value:.{2 - math.floor(math.log10(1 - value) + 1e-9) - 1}f}".rstrip("0")
    return f"{value:.3g}"


def spacing(name: str, values: np.ndarray) -> Spacing:
    """The spacing in which distinct sorted values are the most even; a zero on a log axis does not count.

    Two values are even in any: the betas then read in 1 - beta, everything else in logarithms.
    """
    positive = values[values > 0]
    candidates: dict[Spacing, np.ndarray] = {}
    if (name.startswith("beta") or name == "momentum") and values[-1] < 1:
        candidates["one-minus"] = -np.log10(1 - values)
    elif len(positive) > len(values) - 2 and len(positive):
        candidates["log"] = np.log10(positive)
    candidates["linear"] = values

    def unevenness(kind: Spacing) -> float:
        gaps = np.diff(candidates[kind])
        return round(float(np.std(gaps) / np.mean(gaps)), 1) if len(gaps) else 0.0

    return min(candidates, key=unevenness)


@dataclass(frozen=True, eq=False)
class Scale:
    """A swept axis: its distinct values (n,), sorted, drawn at positions that are even for its spacing."""

    name: str
    values: np.ndarray

    @cached_property
    def spacing(self) -> Spacing:
        """Linear, logarithmic, or logarithmic in 1 - value."""
        return spacing(self.name, self.values)

    @property
    def symbol(self) -> str:
        """As in the papers, in mathtext; the plain name where there is no custom."""
        return SYMBOLS.get(self.name, self.name)

    @property
    def label(self) -> str:
        """The config key and its symbol."""
        return f"{self.name}  {self.symbol}" if self.name in SYMBOLS else self.name

    @property
    def has_zero(self) -> bool:
        """A zero that a log axis cannot show: it gets a place of its own, left of the others."""
        return self.spacing == "log" and self.values[0] == 0

    def place(self, values: ArrayLike) -> np.ndarray:
        """Where values are drawn."""
        values = np.asarray(values, dtype=np.float64)
        if self.spacing == "linear":
            return values
        if self.spacing == "one-minus":
            return -np.log10(1 - values)
        return np.where(values > 0, np.log10(np.where(values > 0, values, 1)), self._zero)

    @cached_property
    def _zero(self) -> float:
        """The place of zero: a step before the least positive value, wide enough to be seen among many values."""
        logs = np.log10(self.values[self.values > 0])
        if len(logs) == 1:
            return float(logs[0]) - 1
        return float(logs[0] - max(np.median(np.diff(logs)), (logs[-1] - logs[0]) / 12))

    def edges(self) -> np.ndarray:
        """(n + 1,) the borders of cells around the values: halfway between neighbours."""
        at = self.place(self.values)
        if len(at) == 1:
            return at[0] + np.array([-0.5, 0.5])
        inner = (at[1:] + at[:-1]) / 2
        if self.has_zero and len(at) > 2:
            inner[0] = at[1] - (at[2] - at[1]) / 2  # the zero's cell takes what the first value's does not need
        return np.concatenate([[2 * at[0] - inner[0]], inner, [2 * at[-1] - inner[-1]]])

    def index(self, values: ArrayLike) -> np.ndarray:
        """The index of each of some values in `self.values`."""
        return np.searchsorted(self.values, np.asarray(values))

    def ticks(self, most: int) -> tuple[np.ndarray, list[str]]:
        """Places and labels of at most about `most` ticks: the values where few and round, else round numbers."""
        whole = 1 - self.values if self.spacing == "one-minus" else self.values
        if len(whole) <= 3 or (len(whole) <= most and all(abs(float(f"{v:.1g}") - v) <= 1e-6 * v for v in whole)):
            at = self.values
        elif self.spacing == "linear":
            at = _round_steps(self.values[0], self.values[-1], most)
        elif self.spacing == "one-minus":
            at = 1 - _decades(1 - self.values[-1], 1 - self.values[0], most)[::-1]
        else:
            at = _decades(self.values[self.values > 0][0], self.values[-1], most)
            if self.has_zero:
                places = self.place(at)
                clear = places - self._zero > 0.6 * (places[-1] - self._zero) / most
                at = np.concatenate([[0.0], at[clear]])
        label = _power if self.spacing == "log" else short
        return self.place(at), [label(v) for v in at]


def _power(value: float) -> str:
    """The short form, with whole powers of ten as such."""
    exponent = math.log10(value) if value > 0 else 0.0
    whole = exponent != 0 and abs(exponent - round(exponent)) < 1e-9
    return f"$10^{{{round(exponent)}}}$" if whole else short(value)


def _decades(low: float, high: float, most: int) -> np.ndarray:
    """Powers of ten within [low, high], thinned to at most `most`; with 2 and 5 between them where they are few."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first >= 2:
        stride = -(-(last - first + 1) // most)
        return 10.0 ** np.array([k for k in range(first, last + 1) if k % stride == 0])
    mantissas = (1, 2, 5) if last - first < 1 else (1, 3)
    fine = np.array([m * 10.0**k for k in range(first - 1, last + 1) for m in mantissas])
    fine = fine[(fine >= low * (1 - 1e-9)) & (fine <= high * (1 + 1e-9))]
    return fine if len(fine) > 1 else _round_steps(low, high, most)


def _round_steps(low: float, high: float, most: int) -> np.ndarray:
    """Multiples of 1, 2 or 5 times a power of ten within [low, high], at most `most`."""
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    return step * np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
