"""The CPU backend: prepares a chunk of runs, launches its kernel for a slice of steps at a time, reads the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numba
import numpy as np

from adamx import lanes, training
from adamx.lanes import LANES, Layout
from adamx.optimizer import Rule
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


def column_block(layout: Layout, rule: Rule, hyper: Mapping[str, np.ndarray], dtype: str) -> tuple[np.ndarray, ...]:
    """The rows of every run's column with the clock, the hyperparameters and empty figures: (carry, marks)."""
    runs = len(hyper["lr"])
    carry = np.zeros((layout.total, runs), dtype)
    for row, start in enumerate(rule.Clock._field_defaults.values(), layout.clock):
        carry[row] = start
    for row, values in enumerate(hyper.values(), layout.hyper):
        carry[row] = values
    marks = np.zeros((layout.total_marks, runs), np.int32)
    for name in ("first_spike_step", "reached_step", "diverged_step"):
        marks[Marks._fields.index(name)] = -1
    return carry, marks


def run(
    rule: Rule,
    problem: Problem,
    hyper: Mapping[str, np.ndarray],
    seeds: np.ndarray,
    steps: int,
    every: int,
    dtype: str,
    x0: np.ndarray | None = None,
    tick: Callable[[int], None] | None = None,
) -> Results:
    """One chunk of runs from start to end.

    Args:
        hyper: (runs,) float64 columns for every hyperparameter, in the order of rule.Hyper.
        seeds: (runs,) int64.
        x0: (runs, coordinates) starting points in place of the problem's.
        tick: called with the number of steps done after every launch.
    """
    simulate = _landscape if isinstance(problem, Landscape) else _task
    with np.errstate(all="ignore"):  # a column may overflow to inf or 0 in float32: that is the experiment
        carry, marks, layout, loss, curves, final = simulate(rule, problem, hyper, seeds, steps, every, dtype, x0, tick)
    figures = {name: carry[layout.figures + i].astype(np.float64) for i, name in enumerate(Figures._fields)}
    figures |= {name: marks[i].astype(np.int64) for i, name in enumerate(Marks._fields)}
    return Results(
        optimizer=rule.name,
        problem=problem.name,
        dtype=dtype,
        backend="cpu",
        steps=record_steps(steps, every),
        loss=loss,
        x=final,
        columns={**hyper, "seed": seeds},
        figures=figures,
        minimum=problem.minimum,
        criteria=problem.criteria,
        curves=curves,
        settings=problem.settings,
    )


def record_steps(steps: int, every: int) -> np.ndarray:
    """(records,) the recorded steps: 0, every, 2 every, ... and the last."""
    return np.append(np.arange(0, steps, every), steps)


def _slices(problem: Problem, runs: int, steps: int, tick: Callable[[int], None] | None):
    """Ranges of steps, each about LAUNCH_SECONDS long; the last one ends after the final evaluation."""
    length = max(1, int(LAUNCH_SECONDS / cost(problem, runs)))
    for t0 in range(0, steps + 1, length):
        t1 = min(t0 + length, steps + 1)
        yield t0, t1
        if tick:
            tick(min(t1, steps))


def _landscape(rule, problem, hyper, seeds, steps, every, dtype, x0, tick):
    layout, kernel = lanes.kernel_for(rule, problem, dtype)
    carry, marks = column_block(layout, rule, hyper, dtype)
    carry[: problem.dim] = problem.start[:, None] if x0 is None else x0.T
    runs = len(seeds)
    loss = np.empty((len(record_steps(steps, every)), runs), dtype)
    final = np.empty((runs, problem.dim), dtype)
    shared = [
        np.ascontiguousarray(v, dtype)
        for v in (problem.params, np.array(problem.criteria)[:, None], [problem.minimum], [problem.noise])
    ]
    for t0, t1 in _slices(problem, runs, steps, tick):
        kernel(carry, marks, seeds, *shared, t0, t1, steps, tail_start(steps), every, loss, final)
    return carry, marks, layout, loss, {}, final


def _task(rule, problem: Task, hyper, seeds, steps, every, dtype, x0, tick):
    import scipy.linalg.cython_blas  # noqa: F401  the BLAS that kernels call: loaded before its threads are limited
    from threadpoolctl import threadpool_limits

    layout, kernel = training.kernel_for(rule, dtype)
    carry, marks = column_block(layout, rule, hyper, dtype)
    runs, size = len(seeds), problem.dim
    x = np.zeros((runs, size), dtype)
    if x0 is not None:
        x[:] = x0
    moved, state = np.zeros_like(x), np.zeros((runs, len(rule.State._fields), size), dtype)
    data = [np.ascontiguousarray(v, dtype) for v in (problem.x, problem.y, problem.val_x, problem.val_y)]
    widths, kind = np.array(problem.widths), LOSSES.index(problem.loss)
    criteria = np.array(problem.criteria, dtype)[:, None]
    curves = np.empty((4, len(record_steps(steps, every)), runs), dtype)
    with threadpool_limits(1, user_api="blas"):
        for t0, t1 in _slices(problem, runs, steps, tick):
            kernel(
                carry, marks, seeds, x, moved, state, x0 is None, *data, widths, kind, problem.batch,
                criteria, t0, t1, steps, tail_start(steps), every, curves,
            )  # fmt: skip
    named = {"val_loss": curves[2]}
    if problem.loss != "squares":
        named |= {"accuracy": curves[1], "val_accuracy": curves[3]}
    return carry, marks, layout, curves[0], named, x
