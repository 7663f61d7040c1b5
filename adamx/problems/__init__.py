"""The contract of a problem: a landscape of a few coordinates, or a task with data.

A landscape is one file, in `adamx/problems/` or the user's own, plain Python on scalars:

    Params    named tuple of the function's constants with defaults           (may be absent: none)
    start     the starting point, one number a coordinate                     minimum   the known least value
    value_and_grad(x, p) -> f, (df/dx_0, df/dx_1, ...)                        x a tuple, p the Params

or, for a sum of equal terms in any number of coordinates, with `start` and `minimum` of one coordinate,

    term(x, p) -> f, df/dx           each field of Params may then be a list, one number a coordinate

`target` is the gap above the minimum that counts as reached (1e-6 where absent); `minimizers` the known points of
least value (for a term: of one coordinate), or a function of the Params; `bounds`, (low, high), an interval that
every coordinate is projected on after each step. A function with a third argument, value_and_grad(x, p, t), is
another one at every step t = 1, 2, ... (online learning); `objective(x, p)` is then the value that all these steps
minimise, which is recorded and judged. Without it the component's own value is recorded, and no regime is named but
for numbers that are not finite. Where no `minimum` is known, `target`, if given, is a loss. All landscapes take
`noise`, the standard deviation of normal noise added to each gradient coordinate, and `x0`.

A task is a file with `build(...) -> Task`; its arguments are the problem's settings. A file with `model`, an
`adamx.Model`, is that model; build may return one too.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from adamx.inputs.errors import InputError, unknown, user_errors
from adamx.inputs.files import Source, load, names, source
from adamx.models import Family
from adamx.portable.content import identity
from adamx.problems import _landscape
from adamx.problems._landscape import Landscape
from adamx.problems._model import Model
from adamx.regimes import Criteria, of_batches

PACKAGE = "adamx.problems"
MODEL_SETTINGS = ("batch", "target")
LOSSES = ("softmax", "logistic", "squares")


@dataclass(frozen=True)
class Task:
    """A model on data under one of `LOSSES`.

    Attributes:
        x, y: (rows, features) float64 and (rows,) targets: classes 0..k-1, or numbers for "squares".
        val_x, val_y: the held-out rows; there may be none.
        model: of a family in `adamx.models`, such as Mlp((features, 32, classes)).
        batch: rows of a minibatch, drawn with replacement; 0 means all rows every step.
        about: what was read of the user's own data, in one line.
    """

    x: np.ndarray
    y: np.ndarray
    val_x: np.ndarray
    val_y: np.ndarray
    model: Family
    loss: str
    batch: int
    target: float
    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    setup: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    minimum: float = 0.0
    source: Source | None = None
    about: str = ""

    @cached_property
    def digest(self) -> str:
        """The content of what is minimised: data and model."""
        rows, goal = (self.x, self.y, self.val_x, self.val_y), (self.batch, self.target, self.minimum)
        return identity(*rows, *self.model.content, self.loss, *goal)

    @property
    def seeded(self) -> bool:
        """True if runs of two seeds differ."""
        return self.batch > 0 or self.model.seeded

    @property
    def dim(self) -> int:
        """The number of parameters."""
        return self.model.dim

    @property
    def criteria(self) -> Criteria:
        """The thresholds of its regimes."""
        return of_batches(self.target, self.batch, self.thresholds)


Compiled = Landscape | Task  # computed by kernels
Problem = Compiled | Model


def problems() -> tuple[str, ...]:
    """The names of all problems."""
    return names(PACKAGE)


def problem(
    name: str, args: Mapping[str, Any] | None = None, thresholds: Mapping[str, float | None] | None = None
) -> Problem:
    """The problem of that name, or from the user's file at that path, with the given settings.

    Args:
        thresholds: fields of `regimes.Criteria` (but for target, a setting) that are not the problem's own; None leaves
            one as it is.
    Raises:
        InputError: no such problem or setting, or a value that cannot be used.
    """
    module = load(PACKAGE, "problem", name)
    if thresholds is not None and not isinstance(thresholds, Mapping):
        raise InputError(f"regimes is {thresholds!r}: thresholds are needed, such as regimes.spike_ratio=100")
    given, own = dict(args or {}), _thresholds(thresholds or {})
    with user_errors("problem", name):
        short = name.removesuffix(".py").rsplit("/", 1)[-1]
        if hasattr(module, "model"):
            return replace(_model(short, module.model, given), thresholds=own, source=source(module))
        if hasattr(module, "build"):
            return replace(_task(short, module, given), thresholds=own, source=source(module))
        made = _landscape.landscape(short, module, given)
        return replace(made, criteria=made.criteria._replace(**own), source=source(module))


def _model(name: str, model: Model, given: Mapping[str, Any]) -> Model:
    defaults = {key: getattr(model, key) for key in MODEL_SETTINGS}
    for key in given:
        if key not in defaults:
            raise unknown(f"setting of problem {name}", key, defaults)
    values = {**defaults, **given}
    return replace(model, **values, name=name, settings=values, setup=_landscape.changed(values, defaults))


def _thresholds(typed: Mapping[str, float | None]) -> dict[str, float]:
    """The given thresholds, as numbers."""
    allowed, found = Criteria._fields[1:], {}
    for key, value in typed.items():
        if key not in allowed:
            raise unknown("regimes", key, allowed)
        if value is not None:
            (number, *more) = _landscape.numbers_of(f"regimes.{key}", value)
            if more or number < 0 or (key == "keep" and number >= 1):
                raise InputError(f"regimes.{key} is {value!r}: a number >= 0{' and < 1' * (key == 'keep')} is needed")
            found[key] = float(number)
    return found


def settings(name: str) -> dict[str, Any]:
    """The settings of a problem with their defaults."""
    module = load(PACKAGE, "problem", name)
    if hasattr(module, "model"):
        return {}
    if hasattr(module, "build"):
        return {k: p.default for k, p in inspect.signature(module.build).parameters.items()}
    return _landscape.defaults(name, module)


def _task(name: str, module: Any, given: dict[str, Any]) -> Task | Model:
    defaults = {k: p.default for k, p in inspect.signature(module.build).parameters.items()}
    for key in given:
        if key not in defaults:
            raise unknown(f"setting of problem {name}", key, defaults)
    values = {**defaults, **given}
    return replace(module.build(**values), name=name, settings=values, setup=_landscape.changed(values, defaults))
