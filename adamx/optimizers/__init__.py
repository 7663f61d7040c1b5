"""The contract of an update rule.

A rule is one file in `adamx/optimizers/`, plain Python on the scalars of one coordinate:

    Hyper     named tuple of hyperparameters with the source's defaults (a bool is a column of 0 and 1)
    State     named tuple, one coordinate's state                             (may be absent: none)
    Clock     named tuple, one run's state                                    (may be absent: none)
    initial_state(h) -> State, initial_clock(h) -> Clock                      (may be absent: zeros, the defaults)
    per_step(t, clock, h) -> clock, now     all that depends on time alone: once a step, not once a coordinate
    update(x, g, state, h, now) -> x, state

The two initial functions are called once, outside the kernel, and h may hold whole columns: arithmetic and NumPy.
EPS says in words where epsilon stands; MATCHES names the optimizers of other libraries that the rule equals (tested).
Both feed the catalogue, `python -m adamx.optimizers`. RANGES has the least and the largest value of the hyperparameters
for which that is something else than usual (`ranges.usual`); STABLE is what theory says of a minimum (`Stable`).

A rule that looks across coordinates (a trust ratio, clipping by RMS) has a second function before its update:

    Pool      named tuple
    pool(x, g, state, h, now) -> Pool       terms of one coordinate, averaged over its tensor (in a landscape: over
                                            all coordinates) and handed to the update
    update(x, g, state, h, now, mean) -> x, state

A rule whose step is a rate of each coordinate times its momentum can say so to the instruments (`adamx.instruments`):

    preconditioner(x, g, state, clock, h, now[, mean]) -> sqrt(v_hat), rate
        What this step divides by (1 where it divides by nothing), and all that it multiplies the momentum with: lr,
        1 / (sqrt(v_hat) + eps), a decay of lr, a trust ratio, clipping. Without momentum the move is -rate g. It is
        called before the update, with the update's own arguments and the clock of `per_step`.
    alternating(clock, h, now) -> the momentum's size where gradients are 1, -1, 1, ... for long
        1 without momentum, (1 - beta1) / (1 + beta1) of an average; no correction of a bias is in it. The sharpness
        has its limit from it: with rates that stay as they are, steps on a quadratic grow if
        rate alternating curvature > 2.

Nothing else knows the names of rules; a new file is picked up by the sweep and by every contract test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from adamx.inputs.errors import InputError, user_errors
from adamx.inputs.files import Source, load, names, source
from adamx.optimizers._ranges import Range, usual, within
from adamx.optimizers._ranges import check as check
from adamx.portable import portable
from adamx.portable.content import identity

PACKAGE = "adamx.optimizers"


class Nothing(NamedTuple):
    """No state, or no clock."""


@portable
def no_time(t, clock, h):
    """The `per_step` of a rule that does not depend on time."""
    return clock, clock


class Stable(NamedTuple):
    """When a minimum is stable under a rule whose v has forgotten all gradients: iff `name` `sign` bound(h, curvature).

    Attributes:
        name, sign: the hyperparameter that is bounded, and on which side, ">" or "<".
        formula, source: the bound, to be read, and who derived it.
        bound: the same as a function of all hyperparameters by name, numbers or arrays, and of the largest curvature
            at the minimum.
    """

    name: str
    sign: str
    formula: str
    source: str
    bound: Callable[[Mapping[str, Any], Any], Any]


@dataclass(frozen=True)
class Rule:
    """An update rule as the engine sees it.

    `source` is the user's file that it comes from, None of a shipped one; `digest` is the content of what it computes.
    """

    name: str
    Hyper: Any
    State: Any
    Clock: Any
    initial_state: Callable[..., Any]
    initial_clock: Callable[..., Any]
    per_step: Callable[..., Any]
    update: Callable[..., Any]
    Pool: Any
    pool: Callable[..., Any] | None
    preconditioner: Callable[..., Any] | None
    alternating: Callable[..., Any] | None
    doc: str
    source: Source | None
    digest: str
    ranges: Mapping[str, Range] = field(compare=False)
    stable: Stable | None = field(compare=False)

    @property
    def defaults(self) -> dict[str, float | bool]:
        """Hyperparameter names and default values."""
        return dict(self.Hyper._field_defaults)


def optimizers() -> tuple[str, ...]:
    """The names of all rules."""
    return names(PACKAGE)


def rule(name: str | Rule) -> Rule:
    """The rule of that name, or from the user's file at that path; a rule that was made before is itself.

    Raises:
        InputError: there is none; the message has the nearest name.
    """
    if isinstance(name, Rule):
        return name
    module = load(PACKAGE, "optimizer", name)
    with user_errors("optimizer", name):
        return _rule(name.removesuffix(".py").rsplit("/", 1)[-1], module)


@cache
def _rule(name: str, module: Any) -> Rule:
    for needed in ("Hyper", "update"):
        if not hasattr(module, needed):
            raise InputError(f"optimizer {name!r} has no `{needed}`: adamx/optimizers/sgd.py is the least example")
    State, Clock = getattr(module, "State", Nothing), getattr(module, "Clock", Nothing)
    parts = ("initial_state", "initial_clock", "per_step", "update", "pool", "Hyper", "State", "Clock", "Pool")
    shown = ("preconditioner", "alternating")
    defaults = module.Hyper._field_defaults
    own = {name: within(name, *limits) for name, limits in getattr(module, "RANGES", {}).items()}
    rule = Rule(
        name=name,
        Hyper=module.Hyper,
        State=State,
        Clock=Clock,
        initial_state=getattr(module, "initial_state", lambda h: State(*[0.0] * len(State._fields))),
        initial_clock=getattr(module, "initial_clock", lambda h: Clock()),
        per_step=getattr(module, "per_step", no_time),
        update=module.update,
        Pool=getattr(module, "Pool", Nothing),
        pool=getattr(module, "pool", None),
        preconditioner=getattr(module, "preconditioner", None),
        alternating=getattr(module, "alternating", None),
        doc=module.__doc__ or "",
        source=source(module),
        digest=identity(*(getattr(module, part, None) for part in (*parts, *shown))),
        ranges={name: own[name] if name in own else usual(name, value) for name, value in defaults.items()},
        stable=getattr(module, "STABLE", None),
    )
    _try(rule)
    return rule


def _try(rule: Rule) -> None:
    """Take one step in plain Python: a mistake is reported now, by Python and not by the compiler."""
    for function in filter(None, (rule.per_step, rule.update, rule.pool, rule.preconditioner, rule.alternating)):
        if not getattr(function, "__portable__", False):
            raise InputError(f"optimizer {rule.name!r}: {function.__name__} needs the decorator @portable")
    h = rule.Hyper(**rule.defaults)
    clock, now = rule.per_step(1.0, rule.initial_clock(h), h)
    rule.Clock(*map(float, clock))
    state = rule.initial_state(h)
    mean = (rule.pool(1.0, 0.5, state, h, now),) if rule.pool else ()
    if rule.preconditioner:
        root, rate = rule.preconditioner(1.0, 0.5, state, clock, h, now, *mean)
        float(root), float(rate)
    if rule.alternating:
        float(rule.alternating(clock, h, now))
    x, state = rule.update(1.0, 0.5, state, h, now, *mean)
    float(x)
    rule.State(*map(float, state))
