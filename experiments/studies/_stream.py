"""A stream of gradients that do not depend on the point: `drift`, plus the noise of every landscape.

The value is the position itself, so that the recorded loss is the trajectory. It starts at 1, far from where a study's
small lr can carry it in the other direction; no minimum is meant.
"""

from typing import NamedTuple

from adamx.portable import portable


class Params(NamedTuple):
    drift: float = 0.0


start = (1.0,)


@portable
def value_and_grad(x, p):
    return x[0], (p.drift,)
