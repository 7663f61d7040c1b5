"""Memory: the elements of torch's tensors on the CPU as a Numba kernel reads them, wherever they lie."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from adamx.engine.stepper.tensors import memory
from adamx.portable import portable

KEPT = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.float16: "float16"}
BITS = {"bfloat16": np.int16, "float16": np.int16}
BASE, END = 64, 2**47  # addresses of a process; the first is no null pointer


@portable
def from_bfloat16(bits):
    return np.int32(np.int32(bits) << np.int32(16)).view(np.float32)


@portable
def from_float16(bits):
    """A float16 by its bits: 2^112 puts its exponent into float32's range, the smallest numbers too."""
    b = np.int32(bits)
    size = np.int32((b & np.int32(0x7FFF)) << np.int32(13)).view(np.float32) * np.float32(2.0**112)
    size = size if (b & np.int32(0x7C00)) != np.int32(0x7C00) else size * np.float32(np.inf)
    size = size if (b & np.int32(0x7FFF)) <= np.int32(0x7C00) else np.float32(np.nan)
    return -size if bits < 0 else size


@portable
def itself(x):
    return x


READ = {"bfloat16": from_bfloat16, "float16": from_float16}


@cache
def everything(dtype: str) -> np.ndarray:
    """All memory as one array, of 16-bit formats their bits: made once, and read by a kernel `at` addresses alone."""
    stored = np.dtype(BITS.get(dtype, dtype))
    return np.asarray(SimpleNamespace(__array_interface__=memory(BASE, (END - BASE) // stored.itemsize, stored)))


def at(dtype: str) -> Any:
    """f(address) -> the index in `everything`, for kernels."""
    shift = {2: 1, 4: 2, 8: 3}[np.dtype(BITS.get(dtype, dtype)).itemsize]

    @portable
    def index(address):
        return np.uint64((address - BASE) >> shift)

    return index
