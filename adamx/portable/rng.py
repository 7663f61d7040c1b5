"""Counter-based random numbers, the same on every backend whatever the order they are asked for.

Philox 2x32-10 of Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11: a draw is a pure function
of (seed, stream, step, index), so that all hyperparameter settings share minibatches and noise. Words are kept in
signed 64-bit integers under a 32-bit mask, which Python, Numba and CUDA treat alike.
"""

from __future__ import annotations

import math

from adamx.portable import portable

MASK = 0xFFFFFFFF
MULTIPLIER = 0xD256D193
WEYL = 0x9E3779B9

# The purpose of a draw: the top bits of the index word.
NOISE, ROWS, WEIGHTS, SPLIT = 0, 1, 2, 3
STREAM_SHIFT = 28


@portable
def philox(c0, c1, key):
    """Two words of 32 random bits from a counter of two words and a key of one."""
    for _ in range(10):
        product = c0 * MULTIPLIER
        c0, c1 = ((product >> 32) & MASK) ^ key ^ c1, product & MASK
        key = (key + WEYL) & MASK
    return c0, c1


@portable
def bits(seed, stream, step, index):
    """Two words of random bits for a seed below 2^32, a stream below 16 and an index below 2^28."""
    return philox((stream << STREAM_SHIFT) | index, step & MASK, seed & MASK)


@portable
def below(n, seed, stream, step, index):
    """A whole number in [0, n) for n < 2^31."""
    return (bits(seed, stream, step, index)[0] * n) >> 32


@portable
def gaussian(a, b):
    """A standard normal number from two random words (Box & Muller 1958); 24 bits of each, as float32 can hold."""
    u = (float(a >> 8) + 0.5) * 5.9604644775390625e-08
    return math.sqrt(-2.0 * math.log(u)) * math.cos(math.tau * (float(b >> 8) * 5.9604644775390625e-08))
