"""Instruments: what a run can show besides its loss, chosen by name. What is not asked for costs nothing.

They look at the step from x_t to x_{t+1}: the gradient g at x_t, the move D = x_{t+1} - x_t, sqrt(v_hat) as the rule
divides by it in this step, and the effective rate with which it multiplies its momentum m_hat (the rule's
`preconditioner` says both): lr / (sqrt(v_hat) + eps), and what else there is, such as a trust ratio. lr is that of the
step, after its schedule. At every recorded step they give curves:

    grad_norm       |g|, Euclidean
    update_rms      sqrt(mean D^2)
    largest_step    max |D| / lr
    below_eps       share of coordinates with sqrt(v_hat) < eps
    effective_lr    effective_lr_10, _50, _90: nearest-rank quantiles over the coordinates
    lag             sqrt(mean g^2 / max(v_hat, eps^2)): above 1 where v underestimates g^2. Wortsman et al. 2023,
                    arXiv 2304.13013, section 3
    distance        to the nearest known minimizer (landscapes that have one)
    path            x0, x1, ...: the point itself (landscapes)
    sharpness       the largest eigenvalue of P^-1 H, with P = diag(lr / effective rate); and sharpness_limit,
                    2 / (lr F), above which the rule with frozen P diverges on the quadratic with that Hessian. F is
                    the momentum's answer to gradients 1, -1, 1, ... (the rule's `alternating`): 1 without momentum,
                    (1 - beta1) / (1 + beta1) in Adam, 1 / (1 + momentum) in Polyak's. Cohen et al. 2022, arXiv
                    2207.14484, section 2. Of all training rows, whatever the batch
    crossings       figures instead of a curve, at every step: how often the sharpness rose above its limit, also
                    counted in the run's second half alone, and the first time (landscapes)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from adamx.inputs.errors import InputError, unknown
from adamx.optimizers import Rule
from adamx.portable import portable, specialise
from adamx.portable.team import ALONE
from adamx.portable.unroll import generate
from adamx.problems import Landscape, Problem, Task

QUANTILES = {"effective_lr_10": 0.1, "effective_lr_50": 0.5, "effective_lr_90": 0.9}


class Seen(NamedTuple):
    """One step of one run: arrays (coordinates,), then numbers. `minimizers` is (points, coordinates)."""

    x: Any
    g: Any
    move: Any
    root: Any  # sqrt(v_hat)
    rate: Any  # effective
    minimizers: Any
    lr: float
    eps: float
    limit: float  # of the sharpness


class Crossings(NamedTuple):
    """Upward crossings of the sharpness over its limit; a step that has not come is -1."""

    crossings: int = 0
    late_crossings: int = 0
    first_crossing_step: int = -1


@portable
def grad_norm(s):
    total = s.lr * 0
    for g in s.g:
        total += g * g
    return math.sqrt(total)


@portable
def update_rms(s):
    total = s.lr * 0
    for move in s.move:
        total += move * move
    return math.sqrt(total / float(len(s.move)))


@portable
def largest_step(s):
    most = s.lr * 0
    for move in s.move:
        most = max(most, abs(move))
    return most / s.lr


@portable
def below_eps(s):
    count = 0
    for root in s.root:
        count += root < s.eps
    return float(count) / float(len(s.root))


@portable
def lag(s):
    total = s.lr * 0
    for i in range(len(s.g)):
        total += s.g[i] * s.g[i] / max(s.root[i] * s.root[i], s.eps * s.eps)
    return math.sqrt(total / float(len(s.g)))


@portable
def distance(s):
    nearest = s.lr * 0 + math.inf
    for k in range(len(s.minimizers)):
        total = s.lr * 0
        for i in range(len(s.x)):
            off = s.x[i] - s.minimizers[k, i]
            total += off * off
        nearest = min(nearest, math.sqrt(total))
    return nearest


@portable
def sharpness_limit(s):
    return s.limit


@portable
def quantile(values, share):
    """The nearest-rank quantile of positive numbers, without sorting: halve the range until it holds one of them."""
    rank = math.ceil(share * float(len(values)))
    low, high = values[0], values[0]
    for value in values:
        low, high = min(low, value), max(high, value)
    count = 0
    for value in values:
        count += value <= low
    if count >= rank:
        return low
    for _ in range(2200):  # the exponents and digits of float64; of the numbers above `low` and up to `high` one is it
        middle = low + (high - low) / 2
        if not low < middle < high:
            break
        count = 0
        for value in values:
            count += value <= middle
        if count >= rank:
            high = middle
        else:
            low = middle
    return high


def _quantile_of(share: float, dtype: str) -> Callable[..., Any]:
    function, share = specialise(quantile, dtype), np.dtype(dtype).type(share)

    @portable
    def effective_lr(s):
        return function(s.rate, share)

    return effective_lr


CURVES: dict[str, tuple[str, ...]] = {
    "grad_norm": ("grad_norm",),
    "update_rms": ("update_rms",),
    "largest_step": ("largest_step",),
    "below_eps": ("below_eps",),
    "effective_lr": tuple(QUANTILES),
    "lag": ("lag",),
    "distance": ("distance",),
    "path": (),
    "sharpness": ("sharpness_limit", "sharpness"),
    "crossings": (),
}
OF_LANDSCAPES = ("distance", "path", "crossings")
OF_SCALE = ("below_eps", "effective_lr", "lag", "sharpness", "crossings")
OF_LIMIT = ("sharpness", "crossings")
OF_EPS = ("below_eps", "lag")
FUNCTIONS = {f.__name__: f for f in (grad_norm, update_rms, largest_step, below_eps, lag, distance, sharpness_limit)}


def check(chosen: object, rule: Rule, problem: Problem) -> tuple[str, ...]:
    """The instruments' names in the order of `CURVES`, once each.

    Args:
        chosen: a name or names. rule, problem: what they will look at.
    Raises:
        InputError: an unknown name, or one that the rule or the problem cannot answer.
    """
    several = isinstance(chosen, Sequence) and not isinstance(chosen, str)
    typed = list(map(str, chosen)) if several else [str(chosen)]  # type: ignore[call-overload]
    for name in typed:
        if name not in CURVES:
            raise unknown("instrument", name, CURVES)
        if name in OF_SCALE and rule.preconditioner is None:
            raise InputError(f"instrument {name!r} needs an optimizer with a `preconditioner`; {rule.name} has none")
        if name in OF_LIMIT and rule.alternating is None:
            raise InputError(f"instrument {name!r} needs an optimizer with `alternating`; {rule.name} has none")
        if name in OF_EPS and "eps" not in rule.Hyper._fields:
            raise InputError(f"instrument {name!r} needs an optimizer with an eps; {rule.name} has none")
        if name in OF_LANDSCAPES and not isinstance(problem, Landscape):
            raise InputError(f"instrument {name!r} is of landscapes; {problem.name} is a task")
        if name == "sharpness" and isinstance(problem, Task) and not problem.model.curvature("float64", ALONE):
            raise InputError(f"instrument 'sharpness' needs a model with a `curvature`; {problem.name} has none")
        if name == "distance" and not len(getattr(problem, "minimizers", ())):
            raise InputError(
                f"instrument 'distance' needs `minimizers`, the known minimum points; {problem.name} has none"
            )
    return tuple(name for name in CURVES if name in typed)


def curves(chosen: Sequence[str], dim: int) -> tuple[str, ...]:
    """The names of the curves that instruments give: rows of the kernel's array; sharpness last."""
    found = [curve for name in chosen for curve in CURVES[name]]
    path = [f"x{i}" for i in range(dim)] if "path" in chosen else []
    return (*path, *found)


def limit_of(rule: Rule, dtype: str) -> Callable[..., Any]:
    """f(clock, h, now): the sharpness above which the rule with frozen rates diverges on a quadratic."""
    two = np.dtype(dtype).type(2)
    answer = specialise(rule.alternating, dtype) if rule.alternating else portable(lambda clock, h, now: two)
    return generate(
        "def limit_of(clock, h, now):\n    return two / (h.lr * answer(clock, h, now))\n", two=two, answer=answer
    )


def eps_of(rule: Rule) -> Callable[..., Any]:
    """f(h): the rule's eps, 0 where it has none."""
    return generate(f"def eps_of(h):\n    return {'h.eps' if 'eps' in rule.Hyper._fields else 'h.lr * 0'}\n")


def measure(chosen: Sequence[str], dim: int, dtype: str) -> Callable[..., Any]:
    """f(seen, out, record, run): fills rows of out (curves, records, runs), all but the sharpness."""
    lines, namespace = [], {}
    for row, name in enumerate(curves(chosen, dim)):
        if name in QUANTILES:
            namespace[name] = _quantile_of(QUANTILES[name], dtype)
        elif name in FUNCTIONS:
            namespace[name] = specialise(FUNCTIONS[name], dtype)
        elif name != "sharpness":
            lines.append(f"    out[{row}, record, run] = s.x[{name[1:]}]")
            continue
        if name != "sharpness":
            lines.append(f"    out[{row}, record, run] = {name}(s)")
    return generate("def measure(s, out, record, run):\n" + "\n".join(lines or ["    pass"]) + "\n", **namespace)
