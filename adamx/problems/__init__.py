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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from adamx.inputs.errors import InputError, raised, unknown, user_errors
from adamx.inputs.files import Source, load, names, source
from adamx.models import Family
from adamx.optimizers import Nothing
from adamx.portable.content import identity
from adamx.problems._model import Model
from adamx.regimes import NO_OBJECTIVE, NO_TARGET, Criteria, of_batches, of_landscape

PACKAGE = "adamx.problems"
MODEL_SETTINGS = ("batch", "target")
LOSSES = ("softmax", "logistic", "squares")


@dataclass(frozen=True)
class Landscape:
    """A function of `dim` coordinates as the engine sees it. `params` is (fields, dim or 1).

    `settings` are all of the problem's settings, `setup` those that are not its defaults. `source` is the user's file
    that it comes from, None of a shipped one.
    """

    name: str
    settings: Mapping[str, Any]
    setup: Mapping[str, Any]
    start: np.ndarray
    minimum: float  # 0 where none is known
    Params: Any
    params: np.ndarray
    function: Callable[..., Any]
    objective: Callable[..., Any] | None
    separable: bool
    noise: float
    criteria: Criteria
    minimizers: np.ndarray
    bounds: tuple[float, float] | None
    source: Source | None = None

    @property
    def dim(self) -> int:
        return len(self.start)

    @cached_property
    def digest(self) -> str:
        """The content of what is minimised."""
        what = (self.function, self.Params, self.params, self.start, self.separable, self.minimum, self.bounds)
        return identity(*what, *filter(None, [self.objective]))

    @property
    def online(self) -> bool:
        """True if the function changes at every step."""
        return _online(self.function)


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
        made = _landscape(short, module, given)
        return replace(made, criteria=made.criteria._replace(**own), source=source(module))


def _model(name: str, model: Model, given: Mapping[str, Any]) -> Model:
    defaults = {key: getattr(model, key) for key in MODEL_SETTINGS}
    for key in given:
        if key not in defaults:
            raise unknown(f"setting of problem {name}", key, defaults)
    values = {**defaults, **given}
    return replace(model, **values, name=name, settings=values, setup=_changed(values, defaults))


def _thresholds(typed: Mapping[str, float | None]) -> dict[str, float]:
    """The given thresholds, as numbers."""
    allowed, found = Criteria._fields[1:], {}
    for key, value in typed.items():
        if key not in allowed:
            raise unknown("regimes", key, allowed)
        if value is not None:
            (number, *more) = _numbers(f"regimes.{key}", value)
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
    return _landscape_settings(name, module)


def _landscape_settings(name: str, module: Any) -> dict[str, Any]:
    if not (hasattr(module, "value_and_grad") or hasattr(module, "term")) or not hasattr(module, "start"):
        raise InputError(
            f"problem {name!r} needs `start` and `value_and_grad(x, p)`, `term(x, p)`, `build(...)` or `model`"
        )
    params = dict(getattr(module, "Params", Nothing)._field_defaults)
    return {**params, "x0": module.start, "noise": 0.0, "target": getattr(module, "target", 1e-6)}


def _landscape(name: str, module: Any, given: dict[str, Any]) -> Landscape:
    values = _landscape_settings(name, module)
    separable = hasattr(module, "term")
    for key in given:
        if key not in values:
            raise unknown(f"setting of problem {name}", key, values)
    values.update(given)
    numbers = {key: _numbers(f"{name}.{key}", value) for key, value in values.items()}
    for key in ("noise", "target"):
        if len(numbers[key]) != 1 or numbers[key][0] < 0:
            raise InputError(f"problem {name}.{key} is {values[key]!r}: one number >= 0 is needed")
    Params = getattr(module, "Params", Nothing)
    fields = {key: numbers[key] for key in Params._fields}
    start = numbers["x0"]
    lengths = {key: len(v) for key, v in {**fields, "x0": start}.items() if len(v) > 1}
    if separable:
        dim = max(lengths.values(), default=1)
        if set(lengths.values()) - {dim}:
            raise InputError(f"problem {name}: lists of different lengths: {lengths}")
        start = np.broadcast_to(start, dim)
    else:
        dim = len(start)
        long = [key for key in fields if key in lengths]
        if long or dim != len(_numbers("start", module.start)):
            raise InputError(
                f"problem {name} has {len(module.start)} coordinates; got {long or 'x0'} of another length"
            )
    width = dim if separable else 1
    params = np.array([np.broadcast_to(v, width) for v in fields.values()]).reshape(len(fields), width)
    function = module.term if separable else module.value_and_grad
    constants = Params(*map(float, params[:, 0]))
    _try(name, function, start, constants, separable)
    online = _online(function)
    objective = getattr(module, "objective", None) if online else None
    if objective:
        _try(name, objective, start, constants, separable, alone=True)
    return Landscape(
        name=name,
        settings=values,
        setup=_changed(values, _landscape_settings(name, module)),
        start=np.array(start),
        minimum=float(_exactly(f"{name}.minimum", getattr(module, "minimum", 0.0), 1)[0]) * (dim if separable else 1),
        Params=Params,
        params=params,
        function=function,
        objective=objective,
        separable=separable,
        noise=float(numbers["noise"][0]),
        criteria=of_landscape(_target(module, given, numbers, online), float(numbers["noise"][0])),
        minimizers=_minimizers(module, constants, separable, dim),
        bounds=_bounds(name, getattr(module, "bounds", None)),
    )


def _online(function: Callable[..., Any]) -> bool:
    """True if the function has the step as its third argument."""
    return len(inspect.signature(function).parameters) == 3


def _target(module: Any, given: Mapping[str, Any], numbers: Mapping[str, np.ndarray], online: bool) -> float:
    """The gap that counts as reached, or a constant that says there is none."""
    if online and not hasattr(module, "objective"):
        return NO_OBJECTIVE
    known = hasattr(module, "minimum") or hasattr(module, "target") or "target" in given
    return float(numbers["target"][0]) if known else NO_TARGET


def _exactly(what: str, value: object, count: int) -> np.ndarray:
    """(count,) numbers, or an InputError."""
    numbers = _numbers(what, value)
    if len(numbers) != count:
        needed = "one number is" if count == 1 else f"{count} numbers are"
        raise InputError(f"problem {what} is {value!r}: {needed} needed")
    return numbers


def _bounds(name: str, typed: object) -> tuple[float, float] | None:
    if typed is None:
        return None
    low, high = map(float, _exactly(f"{name}.bounds", typed, 2))
    if low >= high:
        raise InputError(f"problem {name}.bounds is {typed!r}: the lower one comes first")
    return low, high


def _minimizers(module: Any, p: Any, separable: bool, dim: int) -> np.ndarray:
    """(points, coordinates) the known points of least value; a term's are of each coordinate."""
    points = getattr(module, "minimizers", ())
    points = points(p) if callable(points) else points
    return np.array([np.broadcast_to(p, dim) for p in points] if separable else points, float).reshape(len(points), dim)


def _try(
    name: str, function: Callable[..., Any], start: np.ndarray, params: Any, separable: bool, alone: bool = False
) -> None:
    """Call a landscape once, in plain Python: a mistake is reported now, by Python and not by the compiler.

    Args:
        alone: the value comes without a gradient.
    """
    if not getattr(function, "__portable__", False):
        raise InputError(f"problem {name!r}: {function.__name__} needs the decorator @portable (adamx.portable)")
    x = tuple(map(float, start))
    time = (1.0,) * _online(function)
    try:
        value = function(x[0] if separable else x, params, *time)
        value, g = (value, np.zeros(1 if separable else len(x))) if alone else value
        slopes = (g,) if separable and not alone else tuple(g)
        numbers = [float(v) for v in (value, *slopes)]
    except Exception as error:
        raise raised(f"problem {name!r}", error, " at its start") from error
    if len(numbers) != 1 + (1 if separable else len(x)):
        raise InputError(f"problem {name!r} has {len(x)} coordinates in its start and {len(slopes)} in its gradient")
    if not np.isfinite(numbers).all():
        raise InputError(f"problem {name!r} is not finite at its start: value {numbers[0]}, gradient {numbers[1:]}")


def _task(name: str, module: Any, given: dict[str, Any]) -> Task | Model:
    defaults = {k: p.default for k, p in inspect.signature(module.build).parameters.items()}
    for key in given:
        if key not in defaults:
            raise unknown(f"setting of problem {name}", key, defaults)
    values = {**defaults, **given}
    return replace(module.build(**values), name=name, settings=values, setup=_changed(values, defaults))


def _changed(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that differ from their defaults; a list is the same as a tuple."""
    return {k: v for k, v in values.items() if not np.array_equal(np.asarray(v), np.asarray(defaults[k]))}


def _numbers(what: str, value: object) -> np.ndarray:
    try:
        array = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"problem {what} is {value!r}: a number or a list of numbers is needed") from None
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise InputError(f"problem {what} is {value!r}: finite numbers are needed")
    return array
