"""Adam as Bai et al. 2026 study it: no eps, no bias correction, m and v start at the first gradient and its square.

Where float64 ends (v < 1e-300) the point has arrived and stays: g / sqrt(v) would be 0 / 0.
"""

import math
from typing import NamedTuple

from adamx.portable import portable


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.93


class State(NamedTuple):
    m: float
    v: float


class Now(NamedTuple):
    beta1: float
    beta2: float


@portable
def per_step(t, clock, h):
    later = t > 1
    return clock, Now(later * h.beta1, later * h.beta2)


@portable
def update(x, g, state, h, now):
    m = now.beta1 * state.m + (1 - now.beta1) * g
    v = now.beta2 * state.v + (1 - now.beta2) * g * g
    return (x - h.lr * m / math.sqrt(v) if v > 1e-300 else x), State(m, v)
