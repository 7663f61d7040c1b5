"""Knobs: a run with one thing changed, everything that can be changed, and the smallest change that does something."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Literal, NamedTuple

import numpy as np

from adamx.engine.launch import Launch
from adamx.engine.results import Results
from adamx.engine.simulate import DTYPES
from adamx.optimizers import allowed_range, optimizers, rule
from adamx.problems import Model

A_DECADE = 8  # values tried
REACH = 8  # decades up and down
CLOSEST = 1e-6  # of a decay rate to 1: float32 has 17 numbers in between
LASTING = 3  # values in a row
LEAST = 1e-16  # what is 0 is tried from here to 1

Kind = Literal["factor", "rate", "zero", "steps", "switch", "choice"]


class Change(NamedTuple):
    """One knob turned from `old` to `new`.

    `kind` is how it is counted: as a factor of the value; of 1 - value (a decay rate); as a value where it was 0; in
    steps (of warm-up); on or off; or a choice of kernel, by name.
    """

    knob: str
    kind: Kind
    old: float | str
    new: float | str

    @property
    def factor(self) -> float | None:
        """How many times what is counted grew, where that can be said."""
        old, new = self.old, self.new
        if isinstance(old, str) or isinstance(new, str) or self.kind not in ("factor", "rate"):
            return None
        return (1 - new) / (1 - old) if self.kind == "rate" else new / old

    @property
    def decades(self) -> float:
        """The size of a change by a factor; infinite for others."""
        return math.inf if self.factor is None else abs(math.log10(self.factor))


class Tried(NamedTuple):
    """A change and the one run that it led to."""

    change: Change
    run: Results

    @property
    def regime(self) -> str:
        return str(self.run.regime[0])


def changes(launch: Launch, precision: str) -> Iterator[Change]:
    """Every change of one knob of a launch of one run: knob by knob, values in no order.

    Args:
        precision: the name of its precision, as in `Results.dtype`.
    """
    own = launch.rule
    for name, default in own.defaults.items():
        old = float(launch.hyper[name][0])
        kind, values = _values(name, default, old)
        yield from (Change(name, kind, old, new) for new in values)
    old = float(launch.hyper.get("lr_warmup", [0.0])[0])
    lengths = (2.0**k for k in range(1, int(math.log2(max(launch.steps, 2)))))
    yield from (Change("lr_warmup", "steps", old, new) for new in lengths if new != old)
    formats = DTYPES[:2] if isinstance(launch.problem, Model) else DTYPES  # a framework keeps no 16 bits of ours
    yield from (Change("dtype", "choice", precision, name) for name in formats if name != precision)
    relatives = (name for name in optimizers() if rule(name).Hyper is own.Hyper and name != own.name)
    yield from (Change("optimizer", "choice", own.name, name) for name in relatives)


def _values(name: str, default: float | bool, old: float) -> tuple[Kind, list[float]]:
    """What to try for a hyperparameter: numbers of two digits, as far as it may go."""
    if isinstance(default, bool):
        return "switch", [1 - old]
    least, bound, _ = allowed_range(name, default)
    factors = 10 ** (np.arange(-REACH * A_DECADE, REACH * A_DECADE + 1) / A_DECADE)
    kind: Kind = "factor"
    if bound == 1:
        kind, rest = "rate", _rounded((1 - old) * factors)
        values = np.append(np.round(1 - rest[(rest >= CLOSEST) & (rest < 1)], 12), 0.0)
    elif old == 0:
        kind, values = "zero", _rounded(LEAST * factors[factors >= 1] ** 2)
    else:
        values = _rounded(old * factors)
    return kind, [float(v) for v in np.unique(values) if least <= v < bound and v != old]


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.array([float(f"{v:.1e}") for v in values])


def launches(launch: Launch, changes: Sequence[Change]) -> list[Launch]:
    """What computes the changed runs: first one launch of the run as it was and of all that differs in numbers, in the
    order of the changes; then one of each choice."""
    numbers = [change for change in changes if change.kind != "choice"]
    names = dict.fromkeys([*launch.hyper, *(change.knob for change in numbers)])
    hyper = {name: np.repeat(launch.hyper.get(name, np.zeros(1)), 1 + len(numbers)) for name in names}
    for row, change in enumerate(numbers, 1):
        hyper[change.knob][row] = change.new
    together = replace(launch, hyper=hyper, seeds=np.repeat(launch.seeds, 1 + len(numbers)))
    choices = [change for change in changes if change.kind == "choice"]
    return [together, *(replace(launch, **_choice(change)) for change in choices)]


def _choice(change: Change) -> dict[str, Any]:
    if change.knob == "optimizer":
        return {"rule": rule(str(change.new))}
    return {"dtype": change.new, "storage": {}}


def tried(results: Sequence[Results], changes: Sequence[Change]) -> tuple[Results, list[Tried]]:
    """The run as it was, and every change with its run, from the results of `launches`."""
    together, *others = results
    runs = iter(range(1, len(together)))
    choices = iter(others)
    found = [Tried(c, next(choices) if c.kind == "choice" else together.take(np.array([next(runs)]))) for c in changes]
    return together.take(np.array([0])), found


def smallest(tries: Sequence[Tried], good: Callable[[str], bool]) -> list[Tried]:
    """The smallest change of each knob, up and down, that leads to a good regime; the smallest factors first.

    It is the first of `LASTING` values in a row that do, or of all that are left: an island is luck and no advice.
    """
    found: list[Tried] = []
    for way in _ways(tries):
        marks = [good(t.regime) for t in way]
        found += [t for i, t in enumerate(way) if all(marks[i : i + LASTING])][:1]
    return sorted(found, key=lambda t: t.change.decades)


def _ways(tries: Sequence[Tried]) -> Iterator[list[Tried]]:
    """The changes of each knob in one direction, smallest first; a choice is a way of its own."""
    for _, group in groupby(tries, key=lambda t: t.change.knob):
        members = list(group)
        if members[0].change.kind == "choice":
            yield from ([t] for t in members)
            continue
        ordered = sorted(members, key=lambda t: t.change.new)
        yield [t for t in ordered if t.change.new > t.change.old]  # type: ignore[operator]
        yield [t for t in reversed(ordered) if t.change.new < t.change.old]  # type: ignore[operator]
