"""The CUDA kernel for landscapes: a thread a run, everything that the run carries in the thread's registers.

It is the loop over steps about the same functions of one lane as on the CPU (`lane`), with the lane in small local
arrays. All their indices are static, so that they become registers and no local memory is touched
(tests/test_ptx.py), but for what instruments look at. Neighbouring threads write neighbouring runs of a curve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from adamx.engine.kernels.landscape import Kind, lane
from adamx.engine.kernels.layout import Layout
from adamx.portable.unroll import generate


def _copy(count: int, into: str, out: str) -> Callable[..., Any]:
    """f(a, b, run): `count` assignments with static rows, such as a[0, 0] = b[0, run]."""
    lines = "".join(f"    {into} = {out}\n".replace("row", str(row)) for row in range(count))
    return generate(f"def copy(a, b, run):\n{lines}")


def kernel_for(kind: Kind) -> tuple[Layout, Callable[..., Any]]:
    """The layout of a run's column and the kernel, not yet compiled; its arguments are those of the CPU's."""
    real: Any = np.dtype(kind.dtype).type
    layout, dim = kind.layout, kind.dim
    pace, advance, begin, watch, cross, show, load_criteria = lane(kind, layout)
    scheduled, crossing, measured = kind.schedule is not None, "crossings" in kind.shown, bool(kind.curves)
    TOTAL, MARKS, GAP, CHANGED = layout.total, layout.total_marks, layout.gap, layout.changed
    take, give = _copy(TOTAL, "a[row, 0]", "b[row, run]"), _copy(TOTAL, "b[row, run]", "a[row, 0]")
    take_marks, give_marks = _copy(MARKS, "a[row, 0]", "b[row, run]"), _copy(MARKS, "b[row, run]", "a[row, 0]")
    keep, end_at = _copy(CHANGED, "b[row, 0]", "a[row, 0]"), _copy(dim, "b[run, row]", "a[row, 0]")

    def kernel(runs, constants, curves, times):
        carry, marks, seeds = runs
        params, criteria, minimum, noise, minimizers = constants
        loss, final, out = curves
        t0, t1, steps, tail, every = times
        run = cuda.grid(1)
        if run < carry.shape[1]:
            a = cuda.local.array((TOTAL, 1), real)
            k = cuda.local.array((MARKS, 1), np.int32)
            before = cuda.local.array((CHANGED, 1), real)  # what a step started from, where instruments look
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
                    keep(a, before, run)
                advance(a, 0, params, low, sigma, seed, t)
                if t == 0:
                    begin(a, 0, c)
                watch(a, k, 0, t, t >= tail, c)
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
