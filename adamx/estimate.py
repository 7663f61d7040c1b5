"""Estimate: what a sweep would take, before it is run: time, memory and the size of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

from adamx.children import POINTS
from adamx.launch import Launch
from adamx.problem import Problem
from adamx.results import Results

PROBE_SECONDS = 1.0  # of each launch's kernel
POINT_BYTES = 240  # of one recorded value in MLflow's SQLite tables, indices included


class _EnoughError(Exception):
    """The probe has run long enough."""


def estimate(launches: Sequence[Launch], problems: Sequence[Problem], settings: Mapping[str, Any]) -> str:
    """Lines that say how many runs there are and what they would take.

    The time is measured: each launch starts for real and is stopped after a second. It compiles kernels, too.

    Args:
        problems: the problem of each launch. settings: `record` of the configuration.
    """
    runs = sum(map(len, launches))
    limit = {"all": runs, "parent": 0}.get(settings["children"], settings["limit"])
    seconds = memory = points = 0.0
    lines = [f"{runs:,} runs in {len(launches)} launch{'es' * (len(launches) > 1)}"]
    for launch, problem in zip(launches, problems, strict=True):
        lines.append(f"  {len(launch):,} of {launch}, {launch.steps:,} steps, {launch.dtype}")
        one = _one(launch, problem)
        curves = 1 + len(one.curves)
        records = -(-launch.steps // launch.record_every) + 1
        numbers = one.loss.itemsize * (records * curves + problem.dim)
        memory += len(launch) * (numbers + 8 * (len(one.columns) + len(one.figures)))
        figures = len(one.table.columns)
        points += len(launch) * min(1, limit / runs) * (curves * min(records, POINTS) + figures)
        seconds += _seconds(launch, problem)
    return "\n".join(
        [
            *lines,
            f"time      about {seconds:,.0f} s of computing, measured on {PROBE_SECONDS:g} s of the real kernel",
            f"memory    about {_size(memory)} for curves and final points",
            f"database  about {_size(points * POINT_BYTES)} for {min(runs, limit):,} child runs",
        ]
    )


def _one(launch: Launch, problem: Problem) -> Results:
    """A single short run, which also compiles the kernel."""
    hyper = {name: column[:1] for name, column in launch.hyper.items()}
    return next(replace(launch, hyper=hyper, seeds=launch.seeds[:1], steps=1).stream(problem))


def _seconds(launch: Launch, problem: Problem) -> float:
    """Computing time of a launch, extrapolated from its first second."""
    start, finished, work = perf_counter(), 0, 1

    def tick(runs: int, steps: int) -> None:
        nonlocal work
        work = finished * launch.steps + runs * steps
        if perf_counter() - start > PROBE_SECONDS:
            raise _EnoughError

    try:
        for chunk in launch.stream(problem, tick):
            finished += len(chunk)
    except _EnoughError:
        pass
    return (perf_counter() - start) * len(launch) * launch.steps / work


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB"
