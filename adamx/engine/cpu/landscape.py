"""The CPU kernel for landscapes: runs side by side in SIMD lanes.

`LANES` runs make a block, threads share the blocks, and within one every phase of a step is a loop over lanes on rows
of one small scratch array, `a[row, lane]`. That the rows share an array and lie a constant distance apart is what lets
the compiler prove that they do not overlap; that points and gradients are tuples with static indices is what keeps the
loop free of memory it does not need. A lane's arithmetic does not depend on its neighbours, so a run is the same to the
bit wherever it lands.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

from adamx.engine.kernels.landscape import Kind, lane
from adamx.engine.kernels.layout import Layout
from adamx.portable import portable
from adamx.portable.cache import cached

LANES = 64


@cache
def kernel_for(kind: Kind) -> tuple[Layout, Any]:
    """The layout of a run's column and the compiled kernel; constants of the landscape are run-time values."""
    real: Any = np.dtype(kind.dtype).type
    layout, dim = kind.layout, kind.dim
    pace, advance, begin, watch, watch_tail, cross, show, load_criteria = lane(kind, layout)
    scheduled, crossing, measured = kind.schedule is not None, "crossings" in kind.shown, bool(kind.curves)
    TOTAL, MARKS, GAP, CHANGED = layout.total, layout.total_marks, layout.gap, layout.changed
    lanes = np.uint64(LANES)

    @portable  # within the loop over blocks it would share its registers, which costs a tenth of the speed
    def one_block(block, runs, constants, curves, times):
        carry, marks, seeds = runs
        params, criteria, minimum, noise, minimizers = constants
        loss, final, out = curves
        t0, t1, steps, tail, every = times
        every_run = carry.shape[1]
        a = np.empty((TOTAL, LANES), real)
        k = np.empty((MARKS, LANES), np.int32)
        seed = np.empty(LANES, np.int64)
        before = np.empty((CHANGED, LANES), real)  # the values before a step, if instruments look
        look = np.empty((4, dim), real)
        matrix = np.empty((dim, dim), real)
        first = block * LANES
        for at in range(LANES):
            run = min(first + at, every_run - 1)
            seed[at] = seeds[run]
            for row in range(TOTAL):
                a[row, at] = carry[row, run]
            for row in range(MARKS):
                k[row, at] = marks[row, run]
        count = min(LANES, every_run - first)
        c = load_criteria(criteria, 0)
        low, sigma = minimum[0], noise[0]
        for t in range(t0, t1):
            recorded = t % every == 0 or t == steps
            if t == steps:
                for at in range(count):
                    for i in range(dim):
                        final[first + at, i] = a[i, at]
            if scheduled:
                for at in range(lanes):
                    pace(a, at, t, steps)
            if crossing or (measured and recorded):
                for row in range(CHANGED):
                    for at in range(lanes):
                        before[row, at] = a[row, at]
            for at in range(lanes):
                advance(a, at, params, low, sigma, seed[at], t)
            if t == 0:
                for at in range(lanes):
                    begin(a, at, c)
            if t >= tail:
                for at in range(lanes):
                    watch_tail(a, k, at, t, tail, c)
            for at in range(lanes):
                watch(a, k, at, t, c)
            if crossing and t < steps:
                for at in range(lanes):
                    cross(a, k, at, before, matrix, params, sigma, seed[at], t, steps)
            if recorded:
                record = (t + every - 1) // every
                for at in range(count):
                    loss[record, first + at] = a[GAP, at] + low
                    if measured:
                        show(
                            a, at, before, look, matrix, params, sigma, seed[at], minimizers, t, out, record,
                            first + at,
                        )  # fmt: skip
        for at in range(count):
            for row in range(TOTAL):
                carry[row, first + at] = a[row, at]
            for row in range(MARKS):
                marks[row, first + at] = k[row, at]

    def kernel(start, stop, runs, constants, curves, times):
        for block in range(start, stop):
            one_block(block, runs, constants, curves, times)

    return layout, cached(numba.njit(nogil=True, error_model="numpy"), kernel, kind.name, kind.dtype)
