"""The CPU kernel for tasks: a run a thread, products through BLAS."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

from adamx import instruments
from adamx.engine.kernels.layout import Layout
from adamx.engine.kernels.sharpness import spare_of, spare_size
from adamx.engine.kernels.task import Kind, Look, Own, Work, training
from adamx.models import Scratch
from adamx.portable.cache import cached
from adamx.portable.team import ALONE

ROWS = 256  # at a time through the model, where a batch has no more


@cache
def kernel_for(kind: Kind) -> tuple[Layout, Any]:
    """The layout of a run's column and the CPU's kernel: a run a thread, products through BLAS."""
    real: Any = np.dtype(kind.dtype).type
    layout, train = training(kind, ALONE)
    measured, sharp = bool(instruments.curves(kind.shown, 0)), "sharpness" in kind.shown

    def kernel(start, stop, runs, data, model, curves, times):
        size, n = runs.x.shape[1], data.x.shape[0]
        drawn = data.batch if data.batch > 0 else n
        capacity = max(drawn, min(n, ROWS))
        for run in range(start, stop):
            acts, slopes = np.empty(capacity * model.acts, real), np.empty(capacity * model.slopes, real)
            g, part = np.empty(size, real), np.empty(size if sharp else 0, real)
            look = np.empty((3, size if measured else 0), real)
            of_spare = size, capacity, model.slopes, model.tangents
            spare = np.empty(spare_size(*of_spare) if sharp else 0, real)
            work = Work(
                g,
                Scratch(capacity, acts, slopes, np.empty(capacity, np.int64), part),
                Look(look[0], look[1], look[2]),
                spare_of(spare, *of_spare),
            )
            train(run, Own(runs.x[run], runs.moved[run], runs.state[run]), runs, data, model, curves, work, times)

    return layout, cached(numba.njit(nogil=True, error_model="numpy"), kernel, kind.name, kind.dtype)
