"""The CPU kernel for tasks: a run a thread, products through BLAS."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

from adamx import instruments
from adamx.engine.kernels.layout import Layout
from adamx.engine.kernels.network import Scratch
from adamx.engine.kernels.sharpness import spare_of, spare_size
from adamx.engine.kernels.task import Look, training
from adamx.engine.kernels.team import ALONE
from adamx.optimizers import Rule
from adamx.portable.cache import cached
from adamx.portable.precision import Storage


@cache
def kernel_for(
    rule: Rule, dtype: str, schedule: str | None, storage: Storage, shown: tuple[str, ...]
) -> tuple[Layout, Any]:
    """The layout of a run's column and the CPU's kernel: a run a thread, products through BLAS."""
    real: Any = np.dtype(dtype).type
    layout, train = training(rule, dtype, schedule, storage, shown, ALONE)
    measured, sharp = bool(instruments.curves(shown, 0)), "sharpness" in shown

    def kernel(
        carry, marks, seeds, x, moved, state, fresh, data, labels, val_data, val_labels, widths, kind, batch,
        criteria, minimizers, curves, out, t0, t1, steps, tail, every,
    ):  # fmt: skip
        size, n, units = x.shape[1], data.shape[0], widths.sum()
        drawn = batch if batch > 0 else n
        capacity = max(drawn, min(n, 256))
        for run in numba.prange(len(seeds)):
            acts, slopes = np.empty(capacity * units, real), np.empty(capacity * (units - widths[0]), real)
            g, part = np.empty(size, real), np.empty(size if sharp else 0, real)
            look, above = np.empty((3, size if measured else 0), real), capacity * (units - widths[0])
            spare = np.empty(spare_size(size, above) if sharp else 0, real)
            train(
                run, carry, marks, seeds[run], x[run], moved[run], state[run], fresh, data, labels,
                val_data, val_labels, widths, kind, batch, criteria, minimizers, curves, out, g, capacity,
                Scratch(acts, slopes, np.empty(capacity, np.int64), part), Look(look[0], look[1], look[2]),
                spare_of(spare, size, above), t0, t1, steps, tail, every,
            )  # fmt: skip

    name = f"{rule.name}_task_{dtype}_{schedule}_{storage.params}"
    return layout, cached(numba.njit(parallel=True, error_model="numpy"), kernel, name, dtype)
