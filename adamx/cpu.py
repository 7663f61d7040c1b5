"""The CPU backend: prepares a chunk of runs, launches its kernel for a slice of steps at a time, reads the figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np

from adamx import instruments, lanes, training
from adamx.chunk import Chunk
from adamx.instruments import Crossings
from adamx.lane import kind_of
from adamx.lanes import LANES
from adamx.layout import Layout
from adamx.portable import on_disk
from adamx.precision import rounded
from adamx.problem import LOSSES, Landscape, Problem, Task
from adamx.regimes import Figures, Marks, tail_start
from adamx.results import Results

LAUNCH_SECONDS = 0.5  # between two looks at Ctrl-C and the progress bar
FLOPS = 2e10  # a rough rate per thread; it sizes launches and never changes a result
STEPS_PER_SECOND = 1e8


def cost(problem: Problem, runs: int) -> float:
    """Seconds that one step of `runs` runs takes, roughly."""
    threads = numba.get_num_threads()
    if isinstance(problem, Landscape):
        return runs * max(problem.dim, 2) / (2 * STEPS_PER_SECOND * threads)
    rows = problem.batch or len(problem.x)
    return runs * (6 * problem.dim * rows + 1e4) / (FLOPS * threads)


def chunk_runs(problem: Problem, steps: int) -> int:
    """How many runs make a chunk of about one second, a multiple of what keeps all threads busy."""
    grain = numba.get_num_threads() * (LANES if isinstance(problem, Landscape) else 8)
    many = 2 * LAUNCH_SECONDS / (cost(problem, grain) * (steps + 1))
    return grain * int(np.clip(many, 1, 512))


def _kernel(problem: Problem, chunk: Chunk) -> tuple[Layout, Any]:
    schedule = chunk.schedule[0] if chunk.schedule[1] else None
    if isinstance(problem, Landscape):
        return lanes.kernel_for(kind_of(chunk.rule, problem, chunk.dtype, schedule, chunk.storage, chunk.instruments))
    return training.kernel_for(chunk.rule, chunk.dtype, schedule, chunk.storage, chunk.instruments)


def compiled(problem: Problem, chunk: Chunk) -> bool:
    """Whether the kernel for a chunk lies ready on the disk."""
    return on_disk(_kernel(problem, chunk)[1])


def run(problem: Problem, chunk: Chunk) -> Results:
    """All runs of a chunk from start to end."""
    with np.errstate(all="ignore"):  # a column may overflow to inf or 0 in float32: that is the experiment
        simulate = _landscape(problem, chunk) if isinstance(problem, Landscape) else _task(problem, chunk)
    carry, marks, layout, loss, curves, final = simulate
    figures = {name: carry[layout.figures + i].astype(np.float64) for i, name in enumerate(Figures._fields)}
    kept = Marks._fields + Crossings._fields * ("crossings" in chunk.instruments)
    figures |= {name: marks[i].astype(np.int64) for i, name in enumerate(kept)}
    return Results(
        optimizer=chunk.rule.name,
        problem=problem.name,
        dtype=chunk.precision,
        backend="cpu",
        steps=chunk.records,
        loss=loss,
        x=final,
        columns={**chunk.hyper, **chunk.schedule[1], "seed": chunk.seeds},
        figures=figures,
        minimum=problem.minimum,
        criteria=problem.criteria,
        curves=curves,
        settings=problem.settings,
        setup=problem.setup,
        schedule=chunk.schedule[0],
    )


Simulated = tuple[np.ndarray, np.ndarray, Layout, np.ndarray, dict[str, np.ndarray], np.ndarray]


def _constants(chunk: Chunk) -> Any:
    """The hyperparameters as the kernel knows them: columns, rounded to the format of constants."""
    return chunk.rule.Hyper(**{k: rounded(v, chunk.storage.constants) for k, v in chunk.hyper.items()})


def _columns(layout: Layout, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
    """Every run's column with its clock, hyperparameters and empty figures: (carry, marks)."""
    carry = np.zeros((layout.total, len(chunk)), chunk.dtype)
    h = _constants(chunk)
    starts = list(chunk.rule.initial_state(h)) * layout.dim
    starting = ((layout.state, starts), (layout.clock, chunk.rule.initial_clock(h)), (layout.hyper, h))
    for first, values in (*starting, (layout.schedule, chunk.schedule[1].values())):
        for row, value in enumerate(values, first):
            carry[row] = value
    marks = np.zeros((layout.total_marks, len(chunk)), np.int32)
    carry[layout.over] = np.inf  # so that a run which starts above the limit has not crossed it
    for name in ("first_spike_step", "reached_step", "diverged_step", "first_crossing_step"):
        marks[(Marks._fields + Crossings._fields).index(name)] = -1
    return carry, marks


def _slices(problem: Problem, chunk: Chunk) -> Iterator[tuple[int, int, int, int, int]]:
    """(t0, t1, steps, tail, every) of each launch, LAUNCH_SECONDS long; the last ends after the final evaluation."""
    length = max(1, int(LAUNCH_SECONDS / cost(problem, len(chunk))))
    for t0 in range(0, chunk.steps + 1, length):
        t1 = min(t0 + length, chunk.steps + 1)
        yield t0, t1, chunk.steps, tail_start(chunk.steps), chunk.record_every
        if chunk.tick:
            chunk.tick(min(t1, chunk.steps))


def _landscape(problem: Landscape, chunk: Chunk) -> Simulated:
    layout, kernel = _kernel(problem, chunk)
    carry, marks = _columns(layout, chunk)
    carry[: problem.dim] = rounded(problem.start[:, None] if chunk.x0 is None else chunk.x0.T, chunk.storage.params)
    loss = np.empty((len(chunk.records), len(chunk)), chunk.dtype)
    final = np.empty((len(chunk), problem.dim), chunk.dtype)
    shared = [
        np.ascontiguousarray(v, chunk.dtype)
        for v in (
            problem.params, np.array(problem.criteria)[:, None], [problem.minimum], [problem.noise], problem.minimizers
        )
    ]  # fmt: skip
    names, out = _shown(problem, chunk)
    for times in _slices(problem, chunk):
        kernel(carry, marks, chunk.seeds, *shared, *times, loss, final, out)
    return carry, marks, layout, loss, dict(zip(names, out, strict=True)), final


def _shown(problem: Problem, chunk: Chunk) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the instruments' curves, and an array (curves, records, runs) for them."""
    names = instruments.curves(chunk.instruments, problem.dim)
    return names, np.empty((len(names), len(chunk.records), len(chunk)), chunk.dtype)


def _task(problem: Task, chunk: Chunk) -> Simulated:
    import scipy.linalg.cython_blas  # noqa: F401  the BLAS that kernels call: loaded before its threads are limited
    from threadpoolctl import threadpool_limits

    layout, kernel = _kernel(problem, chunk)
    carry, marks = _columns(layout, chunk)
    x = np.zeros((len(chunk), problem.dim), chunk.dtype)
    if chunk.x0 is not None:
        x[:] = rounded(chunk.x0, chunk.storage.params)
    moved = np.zeros_like(x)
    state = np.empty((len(chunk), len(chunk.rule.State._fields), problem.dim), chunk.dtype)
    for row, start in enumerate(chunk.rule.initial_state(_constants(chunk))):
        state[:, row] = np.reshape(start, (-1, 1))
    data = [np.ascontiguousarray(v, chunk.dtype) for v in (problem.x, problem.y, problem.val_x, problem.val_y)]
    widths, kind = np.array(problem.widths), LOSSES.index(problem.loss)
    criteria = np.array(problem.criteria, chunk.dtype)[:, None]
    nowhere = np.empty((0, 0), chunk.dtype)  # the known minimizers
    curves = np.empty((4, len(chunk.records), len(chunk)), chunk.dtype)
    names, out = _shown(problem, chunk)
    probe = np.zeros_like(x) if "sharpness" in chunk.instruments else np.zeros((len(chunk), 0), x.dtype)
    with threadpool_limits(1, user_api="blas"):
        for times in _slices(problem, chunk):
            kernel(
                carry, marks, chunk.seeds, x, moved, state, chunk.x0 is None, *data, widths, kind, problem.batch,
                criteria, nowhere, *times, curves, probe, out,
            )  # fmt: skip
    named = {"val_loss": curves[2]}
    if problem.loss != "squares":
        named |= {"accuracy": curves[1], "val_accuracy": curves[3]}
    return carry, marks, layout, curves[0], {**named, **dict(zip(names, out, strict=True))}, x
