"""Arrays: what a kernel reads and writes for a chunk; prepared and read in the same way for every backend.

Their order is that of the kernel's arguments, before the times of a launch; `kernels.arguments` has the groups.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from adamx import instruments
from adamx.engine.chunk import Chunk
from adamx.engine.kernels.arguments import (
    Constants,
    Data,
    LandscapeCurves,
    LandscapeRuns,
    Model,
    TaskCurves,
    TaskRuns,
)
from adamx.engine.kernels.layout import Layout
from adamx.engine.results import Results
from adamx.instruments import Crossings
from adamx.portable.precision import rounded
from adamx.portable.unroll import offsets
from adamx.problems import LOSSES, Compiled, Landscape, Task
from adamx.regimes import Figures, Marks


class OfLandscape(NamedTuple):
    """A kernel of a landscape."""

    runs: LandscapeRuns
    constants: Constants
    curves: LandscapeCurves


class OfTask(NamedTuple):
    """A kernel of a task."""

    runs: TaskRuns
    data: Data
    model: Model
    curves: TaskCurves


Arrays = OfLandscape | OfTask
LEFT = ("carry", "marks", "x")  # the arrays of runs that are read when a chunk is done; curves are read whole


def size(arrays: Arrays) -> int:
    """Bytes of what grows with the runs."""
    return sum(values.nbytes for values in (*arrays.runs, *arrays.curves))


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
        runs=LandscapeRuns(carry, marks, chunk.seeds),
        constants=Constants(
            params=real(problem.params),
            criteria=real(np.array(problem.criteria)[:, None]),
            minimum=real([problem.minimum]),
            noise=real([problem.noise]),
            minimizers=real(problem.minimizers),
        ),
        curves=LandscapeCurves(
            loss=np.empty((len(chunk.records), len(chunk)), chunk.dtype),
            final=np.empty((len(chunk), problem.dim), chunk.dtype),
            shown=_shown(problem, chunk),
        ),
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
    model = problem.model
    return OfTask(
        runs=TaskRuns(
            carry=carry,
            marks=marks,
            seeds=chunk.seeds,
            fresh=np.full(len(chunk), chunk.x0 is None),
            x=x,
            moved=np.zeros_like(x),
            state=state.reshape(len(chunk), -1),
        ),
        data=Data(
            x=real(problem.x),
            y=real(problem.y),
            val_x=real(problem.val_x),
            val_y=real(problem.val_y),
            batch=problem.batch,
            criteria=real(np.array(problem.criteria)[:, None]),
            minimizers=np.empty((0, 0), chunk.dtype),
        ),
        model=Model(
            sizes=np.array(model.sizes, np.int64),
            tensors=np.array(offsets(*model.tensors), np.int64),
            **model.row._asdict(),
            outputs=model.outputs,
            loss=LOSSES.index(problem.loss),
        ),
        curves=TaskCurves(
            scores=np.empty((4, len(chunk.records), len(chunk)), chunk.dtype), shown=_shown(problem, chunk)
        ),
    )


def read(problem: Compiled, chunk: Chunk, layout: Layout, arrays: Arrays, backend: str) -> Results:
    """The Results of a chunk that a backend has finished."""
    figures = {name: arrays.runs.carry[layout.figures + i].astype(np.float64) for i, name in enumerate(Figures._fields)}
    kept = Marks._fields + Crossings._fields * ("crossings" in chunk.instruments)
    figures |= {name: arrays.runs.marks[i].astype(np.int64) for i, name in enumerate(kept)}
    curves = dict(zip(instruments.curves(chunk.instruments, problem.dim), arrays.curves.shown, strict=True))
    if isinstance(arrays, OfLandscape):
        loss, x = arrays.curves.loss, arrays.curves.final
    else:
        loss, accuracy, val_loss, val_accuracy = arrays.curves.scores
        held_out, classes = len(arrays.data.val_y) > 0, arrays.model.loss != LOSSES.index("squares")
        own = (
            ("val_loss", val_loss, held_out),
            ("accuracy", accuracy, classes),
            ("val_accuracy", val_accuracy, held_out and classes),
        )
        curves, x = {**{name: curve for name, curve, there in own if there}, **curves}, arrays.runs.x
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
    """The digests of the optimizer and the problem, and the user's files that they came from, for `Results`."""
    parts = {"optimizer": chunk.rule, "problem": problem}
    files = {kind: f"{kind}/{part.source.path}" for kind, part in parts.items() if part.source}
    return {"digests": {kind: part.digest for kind, part in parts.items()}, "files": files}
