"""Estimate: what a sweep would take, before it is run: time, memory and the size of the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from rich.filesize import decimal

from adamx.engine.launch import Launch
from adamx.engine.results import Results
from adamx.inputs.errors import InputError
from adamx.instruments import check as shown
from adamx.instruments import curves
from adamx.problems import Landscape
from adamx.record.children import LOG_POINTS, POINTS
from adamx.regimes import Figures, Marks
from adamx.sweep.memory import free

PROBE_SECONDS = 1.0  # of each launch's kernel
FIGURES = len(Figures._fields) + len(Marks._fields)
POINT_BYTES = 240  # of one recorded value in MLflow's SQLite tables, indices included


class _EnoughError(Exception):
    """The probe has run long enough."""


def estimate(launches: Sequence[Launch], children: str, most: int) -> str:
    """Lines that say how many runs there are and what they would take.

    The time is measured: each launch starts for real and is stopped after a second. It compiles kernels, too.

    Args:
        children, most: which runs become children in the record, and how many at most.
    """
    runs = sum(map(len, launches))
    limit = {"all": runs, "parent": 0}.get(children, most)
    seconds = memory = points = 0.0
    lines = [f"{runs:,} runs in {len(launches)} launch{'es' * (len(launches) > 1)}"]
    for launch in launches:
        lines.append(f"  {len(launch):,} of {launch}, {launch.steps:,} steps, {launch.dtype}")
        one = _one(launch)
        memory += bytes_of(launch)
        records = min(-(-launch.steps // launch.record_every) + 1, POINTS)
        written = records * (1 + len(one.curves)) + LOG_POINTS + len(one.table.columns)
        points += len(launch) * min(1, limit / runs) * written
        seconds += _seconds(launch)
    return "\n".join(
        [
            *lines,
            f"time      about {seconds:,.0f} s of computing, measured on {PROBE_SECONDS:g} s of the real kernel",
            f"memory    about {decimal(int(memory))} for curves and final points",
            f"database  about {decimal(int(points * POINT_BYTES))} for {min(runs, limit):,} child runs",
        ]
    )


def bytes_of(launch: Launch) -> float:
    """The memory that the curves, final points and columns of a launch take."""
    problem = launch.problem
    own = len(curves(shown(launch.instruments, launch.rule, problem), problem.dim))
    count = own + (1 if isinstance(problem, Landscape) else 4)
    records = -(-launch.steps // launch.record_every) + 1
    size = 8 if launch.dtype == "float64" else 4
    return len(launch) * (size * (records * count + problem.dim) + 8 * (len(launch.hyper) + FIGURES))


def check_memory(launches: Sequence[Launch]) -> None:
    """Raise InputError unless all curves fit the free memory, twice: chunks are joined at the end."""
    needed = 2 * sum(map(bytes_of, launches))
    if needed > (left := free()):
        raise InputError(
            f"the curves need about {decimal(int(needed))} of memory and {decimal(int(left))} are free: raise "
            f"record_every (now {launches[0].record_every}), or sweep fewer points"
        )


def _one(launch: Launch) -> Results:
    """A single short run, which also compiles the kernel."""
    hyper = {name: column[:1] for name, column in launch.hyper.items()}
    return next(replace(launch, hyper=hyper, seeds=launch.seeds[:1], steps=1).stream())


def _seconds(launch: Launch) -> float:
    """Computing time of a launch, extrapolated from its first second."""
    start, finished, work = perf_counter(), 0, 1

    def tick(updates: int) -> None:
        nonlocal work
        work = finished * launch.steps + updates
        if perf_counter() - start > PROBE_SECONDS:
            raise _EnoughError

    try:
        for chunk in launch.stream(tick):
            finished += len(chunk)
    except _EnoughError:
        pass
    return (perf_counter() - start) * len(launch) * launch.steps / work
