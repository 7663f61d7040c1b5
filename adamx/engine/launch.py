"""Launch: one optimizer on one problem with columns of hyperparameters, built from a configuration and its axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adamx import instruments
from adamx.engine import backends, simulate
from adamx.engine.chunk import Chunk
from adamx.engine.results import Results
from adamx.inputs import axes
from adamx.inputs.errors import InputError, whole
from adamx.optimizers import Rule
from adamx.problems import Problem, problem

Axes = Mapping[str, np.ndarray | axes.Interval]


@dataclass(frozen=True)
class Launch:
    """The runs that one kernel computes: one for each row of the columns.

    Attributes:
        rule, problem: what runs, made and checked.
        problem_args: the problem's settings, as they were typed.
        hyper: (runs,) float64 columns of all hyperparameters.
        seeds: (runs,) int64; every setting runs with every seed.
        steps, record_every: whole numbers >= 1.
        dtype, backend, schedule, storage: the kernel's arithmetic, where it runs, the schedule of lr, and the formats
            that numbers are kept in (as for `simulate.precision`).
        instruments: what is shown besides the loss.
        config: the resolved configuration; a swept value stands there as it was typed.
        engine: how a model is computed.
    """

    rule: Rule
    problem: Problem
    problem_args: dict[str, Any]
    hyper: dict[str, np.ndarray]
    seeds: np.ndarray
    steps: int
    record_every: int
    dtype: str
    backend: str
    schedule: str
    storage: dict[str, str | None]
    instruments: str | Sequence[str]
    config: dict[str, Any]
    engine: str = backends.AUTO

    def __len__(self) -> int:
        return len(self.seeds)

    def __str__(self) -> str:
        return f"{self.optimizer} on {self.problem.name}"

    @property
    def optimizer(self) -> str:
        """The rule's name."""
        return self.rule.name

    @property
    def seeded(self) -> bool:
        """True if runs of two seeds differ."""
        return self.problem.seeded or self.storage.get("rounding") == "stochastic"

    def once(self) -> Launch:
        """Its runs of the first seed alone."""
        rows, first = self.seeds == self.seeds[0], int(self.seeds[0])
        hyper = {name: values[rows] for name, values in self.hyper.items()}
        return replace(self, hyper=hyper, seeds=self.seeds[rows], config={**self.config, "seed": first})

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `simulate.stream`."""
        names = ("problem", "steps", "record_every", "dtype", "backend", "schedule", "storage", "instruments", "engine")
        own = {name: getattr(self, name) for name in names}
        return {"optimizer": self.rule, **own, "hyper": {**self.hyper, "seed": self.seeds}}

    def stream(self, tick: Callable[[int], None] | None = None) -> Iterator[Results]:
        """Finished chunks of runs, from the engine."""
        return simulate.stream(tick=tick, **self.arguments)

    def chunks(self) -> Iterator[Chunk]:
        """The chunks for a backend, in order."""
        return simulate.chunks(**self.arguments)

    def compiled(self) -> bool:
        """True if the launch can begin without compiling."""
        return simulate.compiled(self.problem, next(self.chunks()), self.backend)


def build(config: dict[str, Any], swept: Axes, follows: Mapping[str, str] | None = None) -> Launch:
    """The launch of a resolved configuration.

    Args:
        config: as `conf/sweep.yaml` composes it; a hyperparameter and `seed` may be an axis text or a list.
        swept: points or intervals that replace values of the configuration: by hyperparameter name, and "seed".
        follows: hyperparameters that have, run by run, the value of another one (or of "seed").
    Raises:
        InputError: a value that cannot be used; the message names it.
    """
    kinds = ("optimizer", "problem", "backend")
    for kind in kinds:
        if not isinstance(config.get(kind), Mapping):
            raise InputError(f"{kind} is {config.get(kind)!r}: a name is needed")
    groups = {kind: dict(config[kind]) for kind in kinds}
    names = {group: settings.pop("name", None) for group, settings in groups.items()}
    for group, name in names.items():
        if not isinstance(name, str):
            raise InputError(f"{group}.name is {name!r}: a name is needed")
    shape = (config["steps"], config["record_every"], config["dtype"])
    steps, record_every = simulate.check_shape(*shape, names["backend"], config["schedule"])
    simulate.precision(config["dtype"], config["storage"])
    rule, hyper, seeds = simulate.columns(
        names["optimizer"], _columns(config, {**groups["optimizer"], **swept}, follows or {})
    )
    its_problem = problem(names["problem"], groups["problem"], config.get("regimes", {}))
    instruments.check(config["instruments"], rule, its_problem)
    engine = groups["backend"].get("engine", backends.AUTO)
    backends.check_engine(engine, its_problem)
    return Launch(
        rule=rule,
        problem=its_problem,
        backend=names["backend"],
        problem_args=groups["problem"],
        hyper=hyper,
        seeds=seeds,
        steps=steps,
        record_every=record_every,
        dtype=config["dtype"],
        schedule=config["schedule"],
        storage=config["storage"],
        instruments=config["instruments"],
        engine=engine,
        config={**config, "steps": steps, "record_every": record_every},
    )


def _columns(config: Mapping[str, Any], typed: Mapping[str, Any], follows: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Columns of hyperparameters and "seed": seeds x drawn points x grid, the seed slowest.

    A sweep that is stopped early has then the whole grid for its first seeds. What follows is no axis of its own.
    """
    typed = {"seed": config["seed"], **{name: value for name, value in typed.items() if name not in follows}}
    intervals = {name: found for name, value in typed.items() if (found := axes.interval(value))}
    if "seed" in intervals:
        raise InputError("seed cannot be drawn from an interval: name the seeds, as in seed=range(0,10)")
    seeds = simulate.check_seeds(axes.values("seed", typed.pop("seed")))
    points = {n: axes.values(f"optimizer.{n}", value) for n, value in typed.items() if n not in intervals}
    draws = _draws(config["samples"], intervals)
    drawn = axes.sample(intervals, draws, config["sampler"], int(seeds[0]))
    columns = axes.grid(seed=seeds, draw=np.arange(draws), **points)
    draw = columns.pop("draw")
    columns |= {name: values[draw] for name, values in drawn.items()}
    return columns | {name: columns[source] for name, source in follows.items()}


def _draws(samples: object, intervals: Mapping[str, axes.Interval]) -> int:
    """How many points to draw; one, of nothing, where no axis is an interval."""
    if samples is None and intervals:
        raise InputError(f"optimizer.{next(iter(intervals))} is an interval: samples=N is needed, the points to draw")
    if samples is not None and not intervals:
        raise InputError(f"samples is {samples!r}, but no axis is an interval to draw from")
    draws = 1 if samples is None else whole("samples", samples, 1)
    if draws > axes.MOST_RUNS:
        raise InputError(f"samples is {draws:,}: at most {axes.MOST_RUNS:,} runs in one sweep")
    return draws


def _choice(launch: Launch, key: str) -> str:
    """One of a launch's choices of kernel; a user's file counts by its content."""
    chosen = launch.rule if key == "optimizer" else getattr(launch, key)
    return str(getattr(chosen, "source", None) or getattr(chosen, "name", chosen))


def swept(launches: Sequence[Launch]) -> list[str]:
    """The names of all that differs between runs: choices of kernel, settings of the problem, columns."""
    choices = ("optimizer", "schedule", "problem", "dtype")
    names = [key for key in choices if len({_choice(each, key) for each in launches}) > 1]
    if "dtype" not in names and len({repr(each.storage) for each in launches}) > 1:
        names.append("dtype")  # the name of the precision, as recorded, says the storage too
    settings: dict[tuple[str, str], set[str]] = {}  # settings of two problems differ without being swept
    for each in launches:
        for key, value in each.problem_args.items():
            settings.setdefault((_choice(each, "problem"), key), set()).add(repr(value))
    names += dict.fromkeys(key for (_, key), values in settings.items() if len(values) > 1)
    columns = [{**each.hyper, "seed": each.seeds} for each in launches]
    for key in dict.fromkeys(key for column in columns for key in column):
        values = [column[key] for column in columns if key in column]
        if any((v != values[0][0]).any() for v in values):
            names.append(key)
    return names
