"""Rastrigin's egg box: f = sum_i x_i^2 + A (1 - cos 2 pi x_i). Rastrigin 1974.

Minimum 0 at 0, local minima near all whole numbers.
"""

import math
from typing import NamedTuple

from adamx.portable import portable


class Params(NamedTuple):
    amplitude: float = 10.0


start = (2.6, -3.4)
minimum = 0.0
minimizers = (0.0,)


@portable
def term(x, p):
    angle = math.tau * x
    bump = math.sin(0.5 * angle)  # 1 - cos(angle) = 2 sin^2(angle / 2), exact near the minimum
    return x * x + 2 * p.amplitude * bump * bump, 2 * x + math.tau * p.amplitude * math.sin(angle)
