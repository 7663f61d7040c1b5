"""Knobs: a run with one thing changed, everything that can be changed, and the smallest change that does something.

What a change does is looked at over the run's own steps, and then over 2 and 4 times as many: a change that saves a run
converges over all of them, and one that converges over its own steps alone is a delay. A warm-up acts for a
while only, so that it can delay for long: what it saves is looked at over 8 and 16 times the steps too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from adamx.engine.launch import Launch
from adamx.engine.results import Results
from adamx.engine.simulate import DTYPES
from adamx.optimizers import Range, optimizers, rule
from adamx.problems import Model
from adamx.regimes import REGIMES

A_DECADE = 8  # values tried
REACH = 8  # decades up and down, and up to 1 wherever the value is
CLOSEST = 1e-6  # of a decay rate to 1: float32 has 17 numbers in between
LEAST = 1e-16  # a value of 0 is tried from here to 1
LENGTHS = (1, 2, 4)  # times the steps of the run
LONGER = (8, 16)  # for a warm-up
FINAL = ("diverged", "spiking")  # regimes that more steps do not change

Kind = Literal["factor", "rate", "zero", "steps", "switch", "choice"]
Named = Mapping[str, Sequence[float]]  # by hyperparameter


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


@dataclass(frozen=True)
class Tried:
    """A change, and the one run that it led to, over the steps of the run and over `LENGTHS` times as many.

    Attributes:
        regimes: over as many of `LENGTHS` and, of a warm-up, `LONGER` as it was run for: for as long as it converges.
        run: over the run's own steps.
    """

    change: Change
    run: Results
    regimes: tuple[str, ...]

    @property
    def regime(self) -> str:
        """Over the run's own steps."""
        return self.regimes[0]

    @property
    def outcome(self) -> str:
        """Converged only where it converges over all lengths; else the first that is something else."""
        return outcome(self.regimes)

    @property
    def words(self) -> str:
        """Its outcome, such as "spiking", "spiking at 2 times the steps", "slow, converged at 4 times the steps"."""
        later = [
            (n, r)
            for n, r in zip(LENGTHS + LONGER, self.regimes, strict=False)
            if (r == "converged") != self._converged
        ]
        if self._converged:
            return f"{later[0][1]} at {later[0][0]} times the steps" if later else "converged"
        return f"{self.regime}, converged at {later[0][0]} times the steps" if later else self.regime

    @property
    def _converged(self) -> bool:
        return self.regime == "converged"


def outcome(regimes: Sequence[str]) -> str:
    """The first regime that is not converged; converged where none is."""
    return next((regime for regime in regimes if regime != "converged"), "converged")


class Turn(NamedTuple):
    """The smallest change of a knob, up or down, that does something; `alone`: its neighbours do not."""

    tried: Tried
    alone: bool


def changes(launch: Launch, precision: str, named: Named | None = None) -> Iterator[Change]:
    """Every change of one knob of a launch of one run: knob by knob, values in no order.

    Args:
        precision: the name of its precision, as in `Results.dtype`.
        named: values that are among the tries, by hyperparameter: those beside the bounds of theory.
    """
    own = launch.rule
    for name, default in own.defaults.items():
        old = float(launch.hyper[name][0])
        kind, values = _values(own.ranges[name], default, old, (named or {}).get(name, ()))
        yield from (Change(name, kind, old, new) for new in values)
    old = float(launch.hyper.get("lr_warmup", [0.0])[0])
    lengths = (2.0**k for k in range(1, int(math.log2(max(launch.steps, 2)))))
    yield from (Change("lr_warmup", "steps", old, new) for new in lengths if new != old)
    formats = DTYPES[:2] if isinstance(launch.problem, Model) else DTYPES  # a framework keeps no 16 bits of ours
    yield from (Change("dtype", "choice", precision, name) for name in formats if name != precision)
    relatives = (name for name in optimizers() if rule(name).Hyper is own.Hyper and name != own.name)
    yield from (Change("optimizer", "choice", own.name, name) for name in relatives)


def _values(allowed: Range, default: float | bool, old: float, named: Sequence[float]) -> tuple[Kind, list[float]]:
    """The values to try for a hyperparameter: two digits, over its whole range; three digits for named values."""
    if isinstance(default, bool):
        return "switch", [1 - old]
    least, end, _ = allowed
    kind: Kind = "rate" if end == 1 else "factor" if old else "zero"
    counted = 1 - old if kind == "rate" else old
    if kind == "zero":
        tried = LEAST * 10 ** (2 * np.arange(REACH * A_DECADE + 1) / A_DECADE)
    else:
        up = REACH if counted > 1 else max(REACH, math.ceil(-math.log10(counted)))
        steps = np.arange(-REACH * A_DECADE, up * A_DECADE + 1)
        tried = counted * 10 ** (steps[steps != 0] / A_DECADE)
    values = _rounded(tried, 2)
    if len(named):
        values = np.append(values, _rounded(1 - np.array(named) if kind == "rate" else named, 3))
    if kind == "rate":
        values = np.append(np.round(1 - values[(values >= CLOSEST) & (values < 1)], 12), 0.0)
    return kind, [float(v) for v in np.unique(values) if least <= v < end and v != old]


def _rounded(values: ArrayLike, digits: int) -> np.ndarray:
    return np.array([float(f"{v:.{digits - 1}e}") for v in np.asarray(values)])


def launches(launch: Launch, changes: Sequence[Change], times: int = 1) -> list[Launch]:
    """Launches of the changed runs over so many times the steps: first one of the run as it was and of all changes of
    numbers, in the order of the changes; then one for each choice."""
    launch = replace(launch, steps=times * launch.steps, record_every=times * launch.record_every)
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


def tried(
    launch: Launch, changes: Sequence[Change], compute: Callable[[Sequence[Launch]], Sequence[Results]]
) -> tuple[Results, tuple[str, ...], list[Tried]]:
    """The run as it was, its regimes over `LENGTHS`, and every change with its run.

    A changed run goes on to the next length where it has converged so far; if the run itself has, also where it may.
    """
    own: list[Results] = []
    runs: dict[Change, list[Results]] = {change: [] for change in changes}
    goes_on, going = {"converged"}, list(changes)
    for times in LENGTHS + LONGER:
        together, *choices = compute(launches(launch, going, times))
        rows, others = iter(range(1, len(together))), iter(choices)
        for change in going:
            ran = next(others) if change.kind == "choice" else together.take(np.array([next(rows)]))
            runs[change].append(ran)
        own.append(together.take(np.array([0])))
        if own[0].regime[0] == "converged":
            goes_on = {*REGIMES} - {*FINAL}
        going = [c for c in going if runs[c][-1].regime[0] in goes_on and (c.kind == "steps" or times < LENGTHS[-1])]
        if times >= LENGTHS[-1] and not going:
            break
    found = [Tried(change, ran[0], _regimes(ran)) for change, ran in runs.items()]
    return own[0], _regimes(own[: len(LENGTHS)]), found


def _regimes(runs: Sequence[Results]) -> tuple[str, ...]:
    return tuple(str(run.regime[0]) for run in runs)


def smallest(tries: Sequence[Tried], good: Callable[[Tried], bool]) -> list[Turn]:
    """The smallest change of each knob, up and down, that is good; the smallest factors first.

    A good value whose neighbours both are not is isolated. Of a direction: the first isolated value, and the first of
    the first row of several, or of one that goes on to the last value tried.
    """
    found: list[Turn] = []
    for way in _ways(tries):
        rows = [list(row) for is_good, row in groupby(way, key=good) if is_good]
        turns = [Turn(row[0], len(row) == 1 and row[0] is not way[-1]) for row in rows]
        lasting = next((i for i, turn in enumerate(turns) if not turn.alone), len(turns))
        found += [*turns[: min(lasting, 1)], *turns[lasting : lasting + 1]]
    return sorted(found, key=lambda turn: turn.tried.change.decades)


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
