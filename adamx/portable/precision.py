"""Precision: parameters, state and constants rounded as a 16-bit format would keep them, in float32 arithmetic.

    bfloat16    8 bits of significand, the exponents of float32
    float16     11 bits of significand, from 2^-24 to 65504

Rounding is to the nearest, ties to even (IEEE 754), or stochastic: up with the probability of the distance to the
number below (Gupta et al. 2015, arXiv 1502.02551, section 2), from the counter-based generator. These functions see the
bits of a float32 and are its alone, so they are compiled as they stand and not through `portable.specialise`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from adamx.portable import portable, rng

FORMATS = ("bfloat16", "float16")
ROUNDINGS = ("nearest", "stochastic")
PARAMS, STATE = 4, 5  # streams of random words


class Storage(NamedTuple):
    """The formats that numbers are kept in between steps, None for that of the arithmetic; and how they are rounded."""

    params: str | None = None
    state: str | None = None
    constants: str | None = None
    rounding: str = "nearest"


@portable
def bfloat16(x):
    """x, a float32, rounded to the nearest bfloat16."""
    b = np.int64(np.float32(x).view(np.int32))
    rounded = np.int32((b + 32767 + ((b >> 16) & 1)) & -65536).view(np.float32)
    return rounded if x == x else np.float32(x)


@portable
def float16(x):
    """x, a float32, rounded to the nearest float16."""
    b = np.int64(np.float32(x).view(np.int32))
    normal = np.int32((b + 4095 + ((b >> 13) & 1)) & -8192).view(np.float32)
    size = np.float32(abs(x))
    # below 2^-14 the numbers are multiples of 2^-24, as float32 itself has them between 1/2 and 1
    small = np.float32(math.copysign((size + np.float32(0.5)) - np.float32(0.5), x))
    rounded = small if size < np.float32(2.0**-14) else normal
    rounded = np.float32(math.copysign(np.float32(np.inf), x)) if size >= np.float32(65520.0) else rounded
    return rounded if x == x else np.float32(x)


@portable
def stochastic_bfloat16(x, word):
    """x, a float32, rounded to one of the two bfloat16 beside it by 32 random bits."""
    b = np.int64(np.float32(x).view(np.int32))
    rounded = np.int32((b + (word & 65535)) & -65536).view(np.float32)
    return rounded if x - x == 0 else np.float32(x)


@portable
def stochastic_float16(x, word):
    """x, a float32, rounded to one of the two float16 beside it by 32 random bits."""
    b = np.int64(np.float32(x).view(np.int32))
    normal = np.int32((b + (word & 8191)) & -8192).view(np.float32)
    size = np.float32(abs(x))
    share = np.float32(word & 65535) * np.float32(2.0**-16)
    small = np.floor(size * np.float32(2.0**24) + share) * np.float32(2.0**-24)
    rounded = np.float32(math.copysign(small, x)) if size < np.float32(2.0**-14) else normal
    most = np.float32(65504.0)
    rounded = np.float32(math.copysign(np.float32(np.inf), x)) if abs(rounded) > most else rounded
    return rounded if x - x == 0 else np.float32(x)


NEAREST: dict[str, Any] = {"bfloat16": bfloat16, "float16": float16}
STOCHASTIC: dict[str, Any] = {"bfloat16": stochastic_bfloat16, "float16": stochastic_float16}


@portable
def as_it_is(x, seed, t, index):
    return x


def keeper(format: str | None, rounding: str, stream: int) -> Callable[..., Any]:
    """f(x, seed, t, index) -> x as it is kept; the draw of a stochastic rounding is that of (seed, t, index)."""
    if format is None:
        return as_it_is
    nearest, stochastic = NEAREST[format], STOCHASTIC[format]
    if rounding == "nearest":

        @portable
        def keep(x, seed, t, index):
            return nearest(x)

        return keep

    @portable
    def keep_stochastically(x, seed, t, index):
        return stochastic(x, rng.bits(seed, stream, t, index)[0])

    return keep_stochastically


def rounded(values: np.ndarray, format: str | None) -> np.ndarray:
    """An array of any shape, every number rounded to the nearest of a format."""
    if format is None:
        return values
    with np.errstate(over="ignore", invalid="ignore"):  # inf is what a number too large becomes
        distinct, where = np.unique(np.asarray(values, dtype=np.float32), return_inverse=True)
        return np.array([NEAREST[format](v) for v in distinct], np.float32)[where].reshape(np.shape(values))
