"""The CUDA kernel for landscapes: a thread a run, everything that the run carries in the thread's registers.

It is the loop over steps about the same functions of one lane as on the CPU (`lane`), with the lane in small local
arrays. All their indices are static, so that they become registers and no local memory is touched
(tests/gpu/test_ptx.py), but for what instruments look at. Neighbouring threads write neighbouring runs of a curve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from adamx.engine.kernels.landscape import Kind, lane
from adamx.engine.kernels.layout import Layout
from adamx.portable.unroll import static, unrolled


def _copies(count: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """take(a, b, run): a thread's column becomes column `run` of b; give: the other way round."""

    @unrolled
    def take(a, b, run):
        for row in static(count):
            a[row, 0] = b[row, run]

    @unrolled
    def give(a, b, run):
        for row in static(count):
            b[row, run] = a[row, 0]

    return take, give


def kernel_for(kind: Kind) -> tuple[Layout, Callable[..., Any]]:
    """The layout of a run's column and the kernel, not yet compiled; its arguments are those of the CPU's."""
    real: Any = np.dtype(kind.dtype).type
    layout, dim = kind.layout, kind.dim
    pace, advance, begin, watch, watch_tail, cross, show, load_criteria = lane(kind, layout)
    scheduled, crossing, measured = kind.schedule is not None, "crossings" in kind.shown, bool(kind.curves)
    TOTAL, MARKS, GAP, CHANGED = layout.total, layout.total_marks, layout.gap, layout.changed
    (take, give), (take_marks, give_marks), (_, keep) = map(_copies, (TOTAL, MARKS, CHANGED))

    @unrolled
    def end_at(a, b, run):
        for row in static(dim):
            b[run, row] = a[row, 0]

    def kernel(runs, constants, curves, times):
        carry, marks, seeds = runs
        params, criteria, minimum, noise, minimizers = constants
        loss, final, out = curves
        t0, t1, steps, tail, every = times
        run = cuda.grid(1)
        if run < carry.shape[1]:
            a = cuda.local.array((TOTAL, 1), real)
            k = cuda.local.array((MARKS, 1), np.int32)
            before = cuda.local.array((CHANGED, 1), real)  # the values before a step, if instruments look
            look = cuda.local.array((4, dim), real)
            matrix = cuda.local.array((dim, dim), real)
            take(a, carry, run)
            take_marks(k, marks, run)
            c = load_criteria(criteria, 0)
            low, sigma, seed = minimum[0], noise[0], seeds[run]
            record = (t0 + every - 1) // every
            due = min(record * every, steps)  # no division in the loop
            for t in range(np.int32(t0), np.int32(t1)):
                if t == steps:
                    end_at(a, final, run)
                if scheduled:
                    pace(a, 0, t, steps)
                if crossing or (measured and t == due):
                    keep(a, before, 0)
                advance(a, 0, params, low, sigma, seed, t)
                if t == 0:
                    begin(a, 0, c)
                if t >= tail:
                    watch_tail(a, k, 0, t, tail, c)
                watch(a, k, 0, t, c)
                if crossing and t < steps:
                    cross(a, k, 0, before, matrix, params, sigma, seed, t, steps)
                if t == due:
                    loss[record, run] = a[GAP, 0] + low
                    if measured:
                        show(a, 0, before, look, matrix, params, sigma, seed, minimizers, t, out, record, run)
                    record += 1
                    due = min(due + every, steps)
            give(a, carry, run)
            give_marks(k, marks, run)

    return layout, kernel
