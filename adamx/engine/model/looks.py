"""Instruments of models: the functions that tasks have, on runs side by side, at recorded steps.

The sharpness is that of `kernels.sharpness`: the same vectors, the same residual, with products H u by the framework.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np

from adamx import instruments
from adamx.engine.chunk import Chunk
from adamx.engine.cpu.threads import share
from adamx.engine.kernels.sharpness import LOOKED, NEAR, PROBE, PRODUCTS, largest_of_three_diagonals
from adamx.instruments import Seen
from adamx.portable import rng, specialise
from adamx.portable.cache import cached

Product = Callable[[np.ndarray], np.ndarray]  # H u of every run, of all rows: (runs, parameters) both


class Looks:
    """The curves of a chunk's instruments.

    Attributes:
        shown: (curves, records, runs), filled in record by record.
    """

    def __init__(self, chunk: Chunk, dim: int) -> None:
        self.names = instruments.curves(chunk.instruments, dim)
        self.shown = np.empty((len(self.names), len(chunk.records), len(chunk)), chunk.dtype)
        self._eps = np.asarray(chunk.hyper.get("eps", np.zeros(len(chunk))), chunk.dtype)
        self._measure = _measuring(chunk.instruments, chunk.dtype)
        self._first = None
        if "sharpness" in chunk.instruments:
            self._first = np.empty((len(chunk), dim), chunk.dtype)
            _lanczos(chunk.dtype)[0](chunk.seeds, self._first)

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """(records, runs) of every curve."""
        return dict(zip(self.names, self.shown, strict=True))

    def show(
        self, record: int, seen: Sequence[np.ndarray], lr: np.ndarray, limit: np.ndarray, product: Product
    ) -> None:
        """Fill in one record.

        Args:
            seen: (runs, parameters) each: the point, g, the move, sqrt(v_hat) and the effective rates, as in `Seen`.
            lr, limit: (runs,).
        """
        none = np.empty((0, 0), self.shown.dtype)
        share(self._measure, len(lr), *seen, none, lr, self._eps, limit, self.shown, record)
        if self._first is not None:
            self.shown[-1, record] = sharpness(product, seen[-1], self._first) / lr


@cache
def _measuring(shown: tuple[str, ...], dtype: str) -> Callable[..., Any]:
    """f(start, stop, the arrays of `Seen`, a row or a number a run, out, record): all curves but the sharpness."""
    measure = instruments.measure(shown, 0, dtype)

    def show(start, stop, point, g, move, root, rate, none, lr, eps, limit, out, record):
        for run in range(start, stop):
            seen = Seen(point[run], g[run], move[run], root[run], rate[run], none, lr[run], eps[run], limit[run])
            measure(seen, out, record, run)

    return cached(numba.njit(nogil=True, error_model="numpy"), show, f"instruments_{dtype}")


@cache
def _lanczos(dtype: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """start(seeds, q): the first vectors; settle(diagonal, beside, n, open, found): the runs whose residual is small.

    diagonal, beside: (runs, PRODUCTS), of which n are there; open: (runs,) bools; found: (runs,) eigenvalues.
    """
    real: Any = np.dtype(dtype).type
    gaussian, largest = specialise(rng.gaussian, dtype), specialise(largest_of_three_diagonals, dtype)
    bits, probe, looked = rng.bits, PROBE, LOOKED
    near, least = real(NEAR[dtype]), real(2 * np.sqrt(np.finfo(real).eps))

    def start(seeds, q):
        for run in range(len(seeds)):
            for i in range(q.shape[1]):
                u, w = bits(seeds[run], probe, 0, i)
                q[run, i] = gaussian(u, w)

    def settle(diagonal, beside, n, open, found):
        for run in range(len(open)):
            small = not beside[run, n - 1] > least * abs(diagonal[run, n - 1])
            if open[run] and (n % looked == 0 or small):
                value, residual, size = largest(diagonal[run], beside[run], n)
                if not residual > max(near * abs(value), least * size):
                    found[run], open[run] = value, False

    made = [cached(numba.njit(error_model="numpy"), f, f"lanczos_{f.__name__}_{dtype}") for f in (start, settle)]
    return made[0], made[1]


def sharpness(product: Product, rate: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(runs,) the largest eigenvalue of R^1/2 H R^1/2; NaN as in `kernels.sharpness.of_task`.

    Args:
        rate: (runs, parameters), the diagonal of R. first: (runs, parameters), where Lanczos starts.
    """
    runs, settle = len(rate), _lanczos(str(rate.dtype))[1]
    root, q, old, before = np.sqrt(rate), first, np.zeros_like(rate), np.zeros((runs, 1), rate.dtype)
    diagonal, beside = np.zeros((2, runs, PRODUCTS), rate.dtype)
    found, open = np.full(runs, np.nan, rate.dtype), np.ones(runs, bool)
    norm = np.sqrt((q * q).sum(1, keepdims=True))
    for k in range(PRODUCTS):
        q = q / norm
        old = root * product(root * q) - before * old
        within = (q * old).sum(1, keepdims=True)
        old = old - within * q
        norm = np.sqrt((old * old).sum(1, keepdims=True))
        diagonal[:, k], beside[:, k] = within[:, 0], norm[:, 0]
        settle(diagonal, beside, k + 1, open, found)
        if not open.any():
            break
        q, old, before = old, q, norm
    return found
