"""Functions that every kernel uses for a rule: lr after a schedule, and the mean of a pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adamx.optimizers import Rule
from adamx.portable import portable, specialise
from adamx.portable.unroll import static, unrolled


def with_lr(rule: Rule) -> Callable[..., Any]:
    """f(h, factor) -> h with lr times the factor."""
    Hyper, fields, at = rule.Hyper, len(rule.Hyper._fields), rule.Hyper._fields.index("lr")

    @unrolled
    def scaled(h, factor):
        return Hyper(*(h[k] * factor if k == at else h[k] for k in static(fields)))

    return scaled


def with_mean(rule: Rule, function: Callable[..., Any], dtype: str) -> Callable[..., Any]:
    """A function of a rule, with the mean that a pool gives as the last argument: a rule without a pool ignores it."""
    own = specialise(function, dtype)
    return own if rule.pool else portable(lambda *arguments: own(*arguments[:-1]))
