"""Instruments: what a run can show besides its loss, chosen by name. What is not asked for costs nothing.

They look at the step from x_t to x_{t+1}: the gradient g at x_t, the move D = x_{t+1} - x_t, sqrt(v_hat) as the rule
divides by it in this step, and the effective rate with which it multiplies its momentum m_hat (the rule's
`preconditioner` says both): lr / (sqrt(v_hat) + eps), and what else there is, such as a trust ratio. lr is that of the
step, after its schedule. At every recorded step each gives one curve or several; `crossings` gives figures, of all
steps.

An instrument is a function of `Seen` under `@instrument`, which says what it needs to see; its docstring says what it
shows, here and in conf/README.md (`markdown`). Four are no such function, and stand in `INSTRUMENTS` by themselves.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from adamx.inputs.errors import InputError, unknown
from adamx.optimizers import Rule
from adamx.portable import portable, specialise
from adamx.portable.team import ALONE
from adamx.portable.unroll import static, unrolled
from adamx.problems import Landscape, Problem, Task

F = TypeVar("F", bound=Callable[..., Any])


class Need(NamedTuple):
    """A condition that an instrument has, and the words for a rule or a problem that does not meet it."""

    met: Callable[[Rule, Problem], bool]
    words: str


RATES = Need(
    lambda rule, problem: rule.preconditioner is not None,
    "needs an optimizer with a `preconditioner`; {rule} has none",
)
LIMIT = Need(
    lambda rule, problem: rule.alternating is not None, "needs an optimizer with `alternating`; {rule} has none"
)
EPS = Need(lambda rule, problem: "eps" in rule.Hyper._fields, "needs an optimizer with an eps; {rule} has none")
LANDSCAPE = Need(lambda rule, problem: isinstance(problem, Landscape), "is of landscapes; {problem} is a {kind}")
CURVATURE = Need(
    lambda rule, problem: not isinstance(problem, Task) or problem.model.curvature("float64", ALONE) is not None,
    "needs a model with a `curvature`; {problem} has none",
)
MINIMIZERS = Need(
    lambda rule, problem: len(getattr(problem, "minimizers", ())) > 0,
    "needs `minimizers`, the known minimum points; {problem} has none",
)


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


class Instrument(NamedTuple):
    """Curves by name: each a function of `Seen`, or None for one that the kernel fills in by itself."""

    about: str
    needs: tuple[Need, ...]
    curves: Mapping[str, Callable[..., Any] | None]


INSTRUMENTS: dict[str, Instrument] = {}


def instrument(*needs: Need) -> Callable[[F], F]:
    """The function under it is an instrument of one curve, of the same name."""

    def listed(function: F) -> F:
        name = function.__name__
        INSTRUMENTS[name] = Instrument(inspect.getdoc(function) or "", needs, {name: function})
        return portable(function)

    return listed


class Crossings(NamedTuple):
    """Upward crossings of the sharpness over its limit; a step that has not come is -1."""

    crossings: int = 0
    late_crossings: int = 0
    first_crossing_step: int = -1


@instrument()
def grad_norm(s):
    """|g|, Euclidean"""
    total = s.lr * 0
    for g in s.g:
        total += g * g
    return math.sqrt(total)


@instrument()
def update_rms(s):
    """sqrt(mean D^2)"""
    total = s.lr * 0
    for move in s.move:
        total += move * move
    return math.sqrt(total / float(len(s.move)))


@instrument()
def largest_step(s):
    """max |D| / lr"""
    most = s.lr * 0
    for move in s.move:
        most = max(most, abs(move))
    return most / s.lr


@instrument(RATES, EPS)
def below_eps(s):
    """share of coordinates with sqrt(v_hat) < eps"""
    count = 0
    for root in s.root:
        count += root < s.eps
    return float(count) / float(len(s.root))


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


def _quantile(share: float) -> Callable[..., Any]:
    @portable
    def of_rates(s):
        return quantile(s.rate, share)

    return of_rates


INSTRUMENTS["effective_lr"] = Instrument(
    "nearest-rank quantiles of the effective rates over the coordinates",
    (RATES,),
    {f"effective_lr_{percent}": _quantile(percent / 100) for percent in (10, 50, 90)},
)


@instrument(RATES, EPS)
def lag(s):
    """sqrt(mean g^2 / max(v_hat, eps^2)): above 1 where v underestimates g^2. Wortsman et al. 2023, arXiv 2304.13013,
    section 3"""
    total = s.lr * 0
    for i in range(len(s.g)):
        total += s.g[i] * s.g[i] / max(s.root[i] * s.root[i], s.eps * s.eps)
    return math.sqrt(total / float(len(s.g)))


@instrument(LANDSCAPE, MINIMIZERS)
def distance(s):
    """to the nearest known minimizer"""
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


INSTRUMENTS["path"] = Instrument("x0, x1, ...: the point itself", (LANDSCAPE,), {})
INSTRUMENTS["sharpness"] = Instrument(
    "the largest eigenvalue of P^-1 H, with P = diag(lr / effective rate); and sharpness_limit, 2 / (lr F), above "
    "which the rule with frozen P diverges on the quadratic with that Hessian. F is the momentum's answer to gradients "
    "1, -1, 1, ... (the rule's `alternating`): 1 without momentum, (1 - beta1) / (1 + beta1) in Adam, "
    "1 / (1 + momentum) in Polyak's. Of all training rows, whatever the batch. Cohen et al. 2022, arXiv 2207.14484, "
    "section 2",
    (RATES, LIMIT, CURVATURE),
    {"sharpness_limit": sharpness_limit, "sharpness": None},
)
INSTRUMENTS["crossings"] = Instrument(
    "figures instead of a curve, of every step: how often the sharpness rose above its limit, also counted in the "
    "run's second half alone, and the first time",
    (RATES, LIMIT, LANDSCAPE),
    {},
)
ORDER = (*(name for name in INSTRUMENTS if name not in ("sharpness", "crossings")), "sharpness", "crossings")


def check(chosen: object, rule: Rule, problem: Problem) -> tuple[str, ...]:
    """The instruments' names in the order of `ORDER`, once each.

    Args:
        chosen: a name or names. rule, problem: what they will look at.
    Raises:
        InputError: an unknown name, or one that the rule or the problem cannot answer.
    """
    several = isinstance(chosen, Sequence) and not isinstance(chosen, str)
    typed = list(map(str, chosen)) if several else [str(chosen)]  # type: ignore[call-overload]
    for name in typed:
        if name not in INSTRUMENTS:
            raise unknown("instrument", name, INSTRUMENTS)
        for need in INSTRUMENTS[name].needs:
            if not need.met(rule, problem):
                said = {"rule": rule.name, "problem": problem.name, "kind": type(problem).__name__.lower()}
                raise InputError(f"instrument {name!r} {need.words.format(**said)}")
    return tuple(name for name in ORDER if name in typed)


def curves(chosen: Sequence[str], dim: int) -> tuple[str, ...]:
    """The names of the curves that instruments give: rows of the kernel's array; sharpness last."""
    path = [f"x{i}" for i in range(dim)] if "path" in chosen else []
    return (*path, *(curve for name in chosen for curve in INSTRUMENTS[name].curves))


def limit_of(rule: Rule, dtype: str) -> Callable[..., Any]:
    """f(clock, h, now): the sharpness above which the rule with frozen rates diverges on a quadratic."""
    two = np.dtype(dtype).type(2)
    answer = specialise(rule.alternating, dtype) if rule.alternating else portable(lambda clock, h, now: two)
    return portable(lambda clock, h, now: two / (h.lr * answer(clock, h, now)))


def eps_of(rule: Rule) -> Callable[..., Any]:
    """f(h): the rule's eps, 0 where it has none."""
    return portable((lambda h: h.eps) if "eps" in rule.Hyper._fields else (lambda h: h.lr * 0))


def measure(chosen: Sequence[str], dim: int, dtype: str) -> Callable[..., Any]:
    """f(seen, out, record, run): fills rows of out (curves, records, runs), all but the sharpness."""
    functions = {f"x{i}": _coordinate(i) for i in range(dim)}
    functions |= {curve: f for name in chosen for curve, f in INSTRUMENTS[name].curves.items() if f}
    shown = [(row, functions[curve]) for row, curve in enumerate(curves(chosen, dim)) if curve in functions]
    row, show, count = [row for row, _ in shown], [specialise(f, dtype) for _, f in shown], len(shown)

    @unrolled
    def measure(s, out, record, run):
        for k in static(count):
            out[row[k], record, run] = show[k](s)

    return measure


def _coordinate(i: int) -> Callable[..., Any]:
    @portable
    def of_point(s):
        return s.x[i]

    return of_point


def markdown() -> str:
    """All there are, as a table for conf/README.md."""
    rows = (f"| `{name}` | {' '.join(INSTRUMENTS[name].about.split()).replace('|', chr(92) + '|')} |" for name in ORDER)
    return "\n".join(["| instrument | what it shows |", "| --- | --- |", *rows])
