"""Ranges: what a hyperparameter may be, and columns of those that somebody wants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adamx.inputs.errors import InputError, unknown
from adamx.schedules import Schedule

if TYPE_CHECKING:
    from adamx.optimizers import Rule


class Range(NamedTuple):
    """The allowed values of a hyperparameter: least <= value < bound, and the same in words."""

    least: float
    bound: float
    words: str


def usual(name: str, default: object) -> Range:
    """The range of a hyperparameter whose rule says nothing of it, by the names that the field uses."""
    if isinstance(default, bool):
        return Range(0.0, math.inf, "true or false")
    if name == "lr":
        return Range(math.nextafter(0.0, 1.0), math.inf, "lr > 0")
    if name.rstrip("123") == "beta" or name == "momentum":
        return Range(0.0, 1.0, f"0 <= {name} < 1")
    return within(name, 0.0)


def within(name: str, least: float, most: float = math.inf) -> Range:
    """From the least value to the largest, both allowed."""
    if math.isinf(most):
        return Range(least, math.inf, f"{name} >= {least:g}")
    return Range(least, math.nextafter(most, math.inf), f"{least:g} <= {name} <= {most:g}")


def check(rule: Rule, hyper: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Columns of float64 for every hyperparameter of a rule and of its schedule, all of one length.

    Args:
        hyper: scalars or 1-d arrays of equal length, by name; what is missing has its default.
    Raises:
        InputError: an unknown name, a value out of range or not a number, unequal lengths.
    """
    defaults = {**rule.defaults, **Schedule._field_defaults}
    for name in hyper:
        if name not in defaults:
            raise unknown(f"hyperparameter of {rule.name}", name, defaults)
    columns = {}
    for name, default in defaults.items():
        typed = hyper.get(name, default)
        try:
            values = np.atleast_1d(np.asarray(typed, dtype=np.float64))
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{rule.name}.{name} is {typed!r}: not a number") from None
        least, bound, words = rule.ranges[name] if name in rule.ranges else usual(name, default)
        good = np.isin(values, (0.0, 1.0)) if isinstance(default, bool) else (values >= least) & (values < bound)
        if values.ndim != 1 or not values.size:
            raise InputError(f"{rule.name}.{name} has shape {values.shape}: a scalar or a 1-d array is needed")
        if not good.all():
            raise InputError(f"{rule.name}.{name} is {values[~good][0]:g}: {words} is needed")
        columns[name] = values
    lengths = {name: len(values) for name, values in columns.items() if len(values) > 1}
    if len(set(lengths.values())) > 1:
        raise InputError(f"hyperparameter arrays have different lengths: {lengths}; adamx.grid makes the product")
    runs = max(lengths.values(), default=1)
    return {name: np.ascontiguousarray(np.broadcast_to(values, runs)) for name, values in columns.items()}
