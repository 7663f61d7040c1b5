"""Glance: the norm of all gradients at every step, at the cost of reading some of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import isqrt, sqrt
from typing import Any

import numba
import numpy as np

from adamx.portable.cache import cached
from adamx.torch.memory import KEPT, READ, at, everything, itself

READ_AT_ONCE = 8192  # gradients that are read at every step, evenly spread over the tensors


@cache
def kernel(dtype: str) -> Any:
    """(memory, tiles, addresses, times) -> the sum of squares of some tiles, each times its tensor's factor."""
    load, index = READ.get(dtype, itself), at(dtype)

    def norms(memory, tiles, addresses, times):
        total = 0.0
        for tile in range(len(tiles)):
            tensor, first, count = tiles[tile, 0], tiles[tile, 1], tiles[tile, 2]
            start, of_tile = index(addresses[tensor]) + np.uint64(first), 0.0
            for i in range(np.uint64(count)):
                g = np.float64(load(memory[start + i]))
                of_tile += g * g
            total += of_tile * times[tensor]
        return total

    decorate = numba.njit(error_model="numpy", fastmath={"reassoc", "contract"})
    return cached(decorate, norms, f"watch_norms_{dtype}", dtype)


@cache
def _tiles(sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The tiles that are read, and the factor for each tensor's sum."""
    rows, read = [], np.zeros(len(sizes))
    share = max(1, -(-sum(sizes) // READ_AT_ONCE))
    for tensor, size in enumerate(sizes):
        left = max(-(-size // share), min(size, 16))
        pieces = 1 if left == size else max(1, isqrt(left // 64))  # whole, or apart from one another
        each = -(-left // pieces)
        for k in range(pieces):
            first = (size // pieces) * k
            count = min(each, size - first)
            rows.append((tensor, first, count))
            read[tensor] += count
    return np.array(rows, np.int64).reshape(-1, 3), np.array(sizes) / np.maximum(read, 1)


def glance(grads: Sequence[Any]) -> float:
    """The norm of all gradients together: exact up to `READ_AT_ONCE` of them, beyond from an even sample of as many.

    Raises:
        ValueError: they are not of one dtype in C order in the CPU's memory.
    """
    dtype = grads[0].dtype
    name = KEPT.get(dtype)
    for g in grads:
        if g.dtype is not dtype or not g.is_cpu or not g.is_contiguous() or name is None:
            raise ValueError
    tiles, times = _tiles(tuple([g.numel() for g in grads]))
    return sqrt(kernel(name)(everything(name), tiles, np.array([g.data_ptr() for g in grads]), times))
