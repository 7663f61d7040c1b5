"""adamx.sweep: the command as a function. Its arguments become the overrides that the record keeps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from adamx.engine.results import Results
from adamx.inputs.axes import Interval
from adamx.inputs.errors import InputError
from adamx.sweep.recorded import RecordedSweep, load


def sweep(
    *typed: str,
    optimizer: str | Sequence[str] | None = None,
    problem: str | Sequence[str] | None = None,
    problem_args: Mapping[str, Any] | None = None,
    steps: int | Sequence[int] | None = None,
    record_every: int | None = None,
    seed: Any = None,
    dtype: str | Sequence[str] | None = None,
    schedule: str | Sequence[str] | None = None,
    backend: str | None = None,
    storage: Mapping[str, str] | None = None,
    instruments: str | Sequence[str] | None = None,
    regimes: Mapping[str, float] | None = None,
    preset: str | None = None,
    samples: int | None = None,
    sampler: str | None = None,
    record: str | None = None,
    skip: str | None = None,
    resume: str | None = None,
    open: bool | None = None,
    dry_run: bool | None = None,
    progress: bool = True,
    callback: Callable[[Results], object] | None = None,
    **hyper: Any,
) -> RecordedSweep | None:
    """Run every point of a grid of hyperparameters and record all runs in MLflow, as `python -m adamx.sweep` does.

    It goes where MLflow's own functions would put a run: `mlflow.set_tracking_uri`, `mlflow.set_experiment` and their
    variables hold, and within `mlflow.start_run()` the sweep is a child of that run. What is not named is as in
    `conf/sweep.yaml`; where neither an optimizer, a problem nor an axis is named, that is the default grid.

    Args:
        typed: overrides as on the command line, such as "problem.batch=32,64", for all that has no argument here.
        optimizer, problem, steps, dtype, schedule: one, or several of each, which are a kernel each.
        problem_args: settings of the problem, such as {"curvature": 1.0}.
        seed: a whole number, several, or a range: every setting runs with every seed.
        hyper: values of hyperparameters: a number, an axis such as "log:1e-4:1:9", a sequence, an array, or an
            interval such as "log:1e-4:1", of which `samples` points are drawn.
        progress: whether to show progress.
        callback: called with each chunk of runs as it is finished, as Results.
        others: as in `conf/sweep.yaml`.

    Returns:
        What `adamx.load` of its id gives again later; None where nothing was computed: a dry run, or all skipped.

    Raises:
        InputError: (a ValueError) before anything is computed.
        KeyboardInterrupt: what was finished is recorded, and `adamx.sweep(resume="last")` goes on.

    Example:
        >>> sweep = adamx.sweep(problem="beale", lr="log:1e-3:1:9", eps=[1e-8, 1e-4], steps=500)  # doctest: +SKIP
        >>> sweep.map("lr", "eps")  # doctest: +SKIP
    """
    own = {"preset": preset, "optimizer": optimizer, "problem": problem, "steps": steps, "record_every": record_every}
    own |= {"seed": seed, "dtype": dtype, "schedule": schedule, "backend": backend, "samples": samples}
    own |= {"sampler": sampler, "record": record, "skip": skip, "resume": resume, "open": open, "dry_run": dry_run}
    words = [f"{key}={_axis(key, value)}" for key, value in own.items() if value is not None]
    if instruments is not None:
        words.append(f"instruments={_value([instruments] if isinstance(instruments, str) else instruments)}")
    groups = {"problem": problem_args, "storage": storage, "regimes": regimes}
    words += [f"{group}.{key}={_value(v)}" for group, given in groups.items() for key, v in (given or {}).items()]
    words += [f"optimizer.{name}={_axis(name, value)}" for name, value in hyper.items()]
    return _perform([*words, *typed], progress, callback)


def _perform(
    overrides: Sequence[str], progress: bool, callback: Callable[[Results], object] | None
) -> RecordedSweep | None:
    from rich.console import Console

    from adamx.inputs.files import only_typed
    from adamx.sweep import run
    from adamx.sweep.arguments import read
    from adamx.sweep.plan import planned

    console = Console(quiet=not progress)
    with only_typed(overrides), planned(read(list(overrides))) as (plan, notes):
        for note in notes:
            console.print(note, markup=False, highlight=False)
        done = run.perform(*plan, console, callback)
    if done is None:
        return None
    if done.runs < done.planned:
        again = 'adamx.sweep(resume="last") computes the rest'
        raise KeyboardInterrupt(f"{done.runs:,} of {done.planned:,} runs were finished; {again}")
    return load(done.run_id, done.store)


def _axis(name: str, given: Any) -> str:
    """One value, or several with commas between them: an override's right side."""
    if isinstance(given, range):
        return f"range({given.start},{given.stop},{given.step})"
    if isinstance(given, Interval):
        return f"{given.scale}:{given.low!r}:{given.high!r}"
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if not isinstance(given, (list, tuple)):
        return _value(given)
    if not given:
        raise InputError(f"{name} has no values")
    return ",".join(_axis(name, each) if isinstance(each, (range, Interval)) else _value(each) for each in given)


def _value(given: Any) -> str:
    """A value in Hydra's grammar, every digit of a number kept."""
    if given is None or isinstance(given, (bool, np.bool_)):
        return "null" if given is None else str(bool(given)).lower()
    if isinstance(given, (int, np.integer)):
        return str(int(given))
    if isinstance(given, (float, np.floating)):
        return repr(float(given)).removesuffix(".0")  # as it is typed
    if isinstance(given, str):
        plain = re.fullmatch(r"[\w./:,~+%@-]+", given) is not None
        return given if plain else "'" + re.sub(r"(\\*)'", r"\1\1\\'", given) + "'"
    if isinstance(given, Mapping):
        return "{" + ",".join(f"{key}:{_value(value)}" for key, value in given.items()) + "}"
    if isinstance(given, (Sequence, np.ndarray)):
        return f"[{','.join(map(_value, given))}]"
    raise InputError(
        f"{given!r} is no number, text or list of these, and a sweep keeps what repeats it: name a problem or an "
        "optimizer, or the path of its file; adamx.simulate runs objects"
    )
