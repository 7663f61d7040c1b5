"""Arrays: what a kernel reads and writes for a chunk; prepared and read in the same way for every backend.

Their order is that of the kernel's arguments, before the times of a launch: t0, t1, steps, tail, every.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from adamx import instruments
from adamx.engine.chunk import Chunk
from adamx.engine.kernels.layout import Layout
from adamx.engine.results import Results
from adamx.instruments import Crossings
from adamx.portable.precision import rounded
from adamx.problems import LOSSES, Compiled, Landscape, Task
from adamx.regimes import Figures, Marks


class OfLandscape(NamedTuple):
    """A kernel of a landscape. `carry` and `marks` are (rows of the layout, runs)."""

    carry: np.ndarray
    marks: np.ndarray
    seeds: np.ndarray
    params: np.ndarray
    criteria: np.ndarray
    minimum: np.ndarray
    noise: np.ndarray
    minimizers: np.ndarray
    loss: np.ndarray  # (records, runs)
    final: np.ndarray  # (runs, coordinates)
    out: np.ndarray  # (curves of instruments, records, runs)


class OfTask(NamedTuple):
    """A kernel of a task. `x` and `moved` are (runs, parameters), `state` (runs, fields * parameters)."""

    carry: np.ndarray
    marks: np.ndarray
    seeds: np.ndarray
    x: np.ndarray
    moved: np.ndarray
    state: np.ndarray
    fresh: bool  # x is to be drawn
    data: np.ndarray
    labels: np.ndarray
    val_data: np.ndarray
    val_labels: np.ndarray
    widths: np.ndarray
    kind: int
    batch: int
    criteria: np.ndarray
    minimizers: np.ndarray
    curves: np.ndarray  # (4, records, runs): loss, accuracy, val_loss, val_accuracy
    out: np.ndarray


Arrays = OfLandscape | OfTask
OF_RUNS = (
    "carry",
    "marks",
    "seeds",
    "x",
    "moved",
    "state",
    "loss",
    "final",
    "curves",
    "out",
)  # grow with them
WRITTEN = ("carry", "marks", "x", "loss", "final", "curves", "out")  # what is read when a chunk is done
FILLED = ("loss", "final", "curves", "out")  # of these, what has no value before


def prepare(problem: Compiled, chunk: Chunk, layout: Layout) -> Arrays:
    """The arrays of a chunk at its start."""
    with np.errstate(all="ignore"):  # a column may overflow to inf or 0 in float32: that is the experiment
        return (
            _of_landscape(problem, chunk, layout)
            if isinstance(problem, Landscape)
            else _of_task(problem, chunk, layout)
        )


def constants(chunk: Chunk) -> Any:
    """The hyperparameters as a kernel knows them: columns, rounded to the format of constants."""
    return chunk.rule.Hyper(**{k: rounded(v, chunk.storage.constants) for k, v in chunk.hyper.items()})


def _columns(layout: Layout, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
    """Every run's column with its clock, hyperparameters and empty figures: (carry, marks)."""
    carry = np.zeros((layout.total, len(chunk)), chunk.dtype)
    h = constants(chunk)
    starts = list(chunk.rule.initial_state(h)) * layout.dim
    starting = ((layout.state, starts), (layout.clock, chunk.rule.initial_clock(h)), (layout.hyper, h))
    for first, values in (*starting, (layout.schedule, chunk.schedule[1].values())):
        for row, value in enumerate(values, first):
            carry[row] = value
    marks = np.repeat(np.array([(*Marks(), *Crossings())], np.int32).T, len(chunk), axis=1)
    carry[layout.over] = np.inf  # so that a run which starts above the limit has not crossed it
    return carry, marks


def _shown(problem: Compiled, chunk: Chunk) -> np.ndarray:
    """(curves, records, runs) for the instruments."""
    names = instruments.curves(chunk.instruments, problem.dim)
    return np.empty((len(names), len(chunk.records), len(chunk)), chunk.dtype)


def _of_landscape(problem: Landscape, chunk: Chunk, layout: Layout) -> OfLandscape:
    carry, marks = _columns(layout, chunk)
    carry[: problem.dim] = rounded(problem.start[:, None] if chunk.x0 is None else chunk.x0.T, chunk.storage.params)
    real = partial(np.ascontiguousarray, dtype=chunk.dtype)
    return OfLandscape(
        carry=carry,
        marks=marks,
        seeds=chunk.seeds,
        params=real(problem.params),
        criteria=real(np.array(problem.criteria)[:, None]),
        minimum=real([problem.minimum]),
        noise=real([problem.noise]),
        minimizers=real(problem.minimizers),
        loss=np.empty((len(chunk.records), len(chunk)), chunk.dtype),
        final=np.empty((len(chunk), problem.dim), chunk.dtype),
        out=_shown(problem, chunk),
    )


def _of_task(problem: Task, chunk: Chunk, layout: Layout) -> OfTask:
    carry, marks = _columns(layout, chunk)
    x = np.zeros((len(chunk), problem.dim), chunk.dtype)
    if chunk.x0 is not None:
        x[:] = rounded(chunk.x0, chunk.storage.params)
    state = np.empty((len(chunk), len(chunk.rule.State._fields), problem.dim), chunk.dtype)
    for field, start in enumerate(chunk.rule.initial_state(constants(chunk))):
        state[:, field] = np.reshape(start, (-1, 1))
    real = partial(np.ascontiguousarray, dtype=chunk.dtype)
    return OfTask(
        carry=carry,
        marks=marks,
        seeds=chunk.seeds,
        x=x,
        moved=np.zeros_like(x),
        state=state.reshape(len(chunk), -1),
        fresh=chunk.x0 is None,
        data=real(problem.x),
        labels=real(problem.y),
        val_data=real(problem.val_x),
        val_labels=real(problem.val_y),
        widths=np.array(problem.widths),
        kind=LOSSES.index(problem.loss),
        batch=problem.batch,
        criteria=real(np.array(problem.criteria)[:, None]),
        minimizers=np.empty((0, 0), chunk.dtype),  # none is known
        curves=np.empty((4, len(chunk.records), len(chunk)), chunk.dtype),
        out=_shown(problem, chunk),
    )


def read(problem: Compiled, chunk: Chunk, layout: Layout, arrays: Arrays, backend: str) -> Results:
    """The Results of a chunk that a backend has finished."""
    figures = {name: arrays.carry[layout.figures + i].astype(np.float64) for i, name in enumerate(Figures._fields)}
    kept = Marks._fields + Crossings._fields * ("crossings" in chunk.instruments)
    figures |= {name: arrays.marks[i].astype(np.int64) for i, name in enumerate(kept)}
    curves = dict(zip(instruments.curves(chunk.instruments, problem.dim), arrays.out, strict=True))
    if isinstance(arrays, OfLandscape):
        loss, x = arrays.loss, arrays.final
    else:
        loss, accuracy, val_loss, val_accuracy = arrays.curves
        held_out, classes = len(arrays.val_labels) > 0, arrays.kind != LOSSES.index("squares")
        own = (
            ("val_loss", val_loss, held_out),
            ("accuracy", accuracy, classes),
            ("val_accuracy", val_accuracy, held_out and classes),
        )
        curves, x = {**{name: curve for name, curve, there in own if there}, **curves}, arrays.x
    return Results(
        optimizer=chunk.rule.name,
        problem=problem.name,
        dtype=chunk.precision,
        backend=backend,
        steps=chunk.records,
        loss=loss,
        x=x,
        columns={**chunk.hyper, **chunk.schedule[1], "seed": chunk.seeds},
        figures=figures,
        minimum=problem.minimum,
        criteria=problem.criteria,
        curves=curves,
        settings=problem.settings,
        setup=problem.setup,
        schedule=chunk.schedule[0],
        **origin(problem, chunk),
    )


def origin(problem: Any, chunk: Chunk) -> dict[str, Any]:
    """What was computed, by content, and the user's files that it came from: for `Results`."""
    parts = {"optimizer": chunk.rule, "problem": problem}
    files = {kind: f"{kind}/{part.source.path}" for kind, part in parts.items() if part.source}
    return {"digests": {kind: part.digest for kind, part in parts.items()}, "files": files}
