"""Landscapes: a function of a few coordinates, as its file says it and as the engine sees it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from adamx.inputs.errors import InputError, raised, unknown
from adamx.inputs.files import Source
from adamx.optimizers import Nothing
from adamx.portable.content import identity
from adamx.regimes import NO_OBJECTIVE, NO_TARGET, Criteria, of_landscape


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
    def seeded(self) -> bool:
        """True if runs of two seeds differ."""
        return self.noise != 0

    @property
    def online(self) -> bool:
        """True if the function changes at every step."""
        return is_online(self.function)


def defaults(name: str, module: Any) -> dict[str, Any]:
    if not (hasattr(module, "value_and_grad") or hasattr(module, "term")) or not hasattr(module, "start"):
        raise InputError(
            f"problem {name!r} needs `start` and `value_and_grad(x, p)`, `term(x, p)`, `build(...)` or `model`"
        )
    params = dict(getattr(module, "Params", Nothing)._field_defaults)
    return {**params, "x0": module.start, "noise": 0.0, "target": getattr(module, "target", 1e-6)}


def landscape(name: str, module: Any, given: dict[str, Any]) -> Landscape:
    values = defaults(name, module)
    separable = hasattr(module, "term")
    for key in given:
        if key not in values:
            raise unknown(f"setting of problem {name}", key, values)
    values.update(given)
    numbers = {key: numbers_of(f"{name}.{key}", value) for key, value in values.items()}
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
        if long or dim != len(numbers_of("start", module.start)):
            raise InputError(
                f"problem {name} has {len(module.start)} coordinates; got {long or 'x0'} of another length"
            )
    width = dim if separable else 1
    params = np.array([np.broadcast_to(v, width) for v in fields.values()]).reshape(len(fields), width)
    function = module.term if separable else module.value_and_grad
    constants = Params(*map(float, params[:, 0]))
    _try(name, function, start, constants, separable)
    online = is_online(function)
    objective = getattr(module, "objective", None) if online else None
    if objective:
        _try(name, objective, start, constants, separable, alone=True)
    return Landscape(
        name=name,
        settings=values,
        setup=changed(values, defaults(name, module)),
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


def is_online(function: Callable[..., Any]) -> bool:
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
    numbers = numbers_of(what, value)
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
    time = (1.0,) * is_online(function)
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


def changed(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that differ from their defaults; a list is the same as a tuple."""
    return {k: v for k, v in values.items() if not np.array_equal(np.asarray(v), np.asarray(defaults[k]))}


def numbers_of(what: str, value: object) -> np.ndarray:
    try:
        array = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"problem {what} is {value!r}: a number or a list of numbers is needed") from None
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise InputError(f"problem {what} is {value!r}: finite numbers are needed")
    return array
