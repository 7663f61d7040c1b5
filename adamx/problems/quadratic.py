"""A quadratic bowl, one curvature a coordinate: f = sum_i curvature_i x_i^2 / 2. Minimum 0 at 0."""

from typing import NamedTuple

from adamx.portable import portable


class Params(NamedTuple):
    curvature: float | tuple = (1.0, 100.0)


start = 1.0
minimum = 0.0
minimizers = (0.0,)


@portable
def term(x, p):
    return 0.5 * p.curvature * x * x, p.curvature * x
