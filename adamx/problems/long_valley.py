"""A long valley with steep walls and a floor of almost constant gentle slope, for the races of momentum and RMSprop.

f = steep x^2 / 2 + flat (sqrt(1 + y^2) - 1), minimum 0 at (0, 0). Radford's well-known animations (2014) of a long
valley never gave constants; these are adamx' own.
"""

import math
from typing import NamedTuple

from adamx.portable import portable


class Params(NamedTuple):
    steep: float = 50.0
    flat: float = 1.0


start = (1.0, 10.0)
minimum = 0.0
minimizers = ((0.0, 0.0),)


@portable
def value_and_grad(x, p):
    root = math.sqrt(1 + x[1] * x[1])
    # y^2 / (1 + root) is root - 1 without its cancellation at the minimum
    rise = x[1] * x[1] / (1 + root)
    return 0.5 * p.steep * x[0] * x[0] + p.flat * rise, (p.steep * x[0], p.flat * x[1] / root)
