"""Rosenbrock's banana valley: f = (a - x)^2 + b (y - x^2)^2. Rosenbrock 1960, Comput. J. 3(3).

Minimum 0 at (a, a^2).
"""

from typing import NamedTuple

from adamx.portable import portable


class Params(NamedTuple):
    a: float = 1.0
    b: float = 100.0


start = (-1.2, 1.0)
minimum = 0.0


def minimizers(p):
    return ((p.a, p.a * p.a),)


@portable
def value_and_grad(x, p):
    across = x[1] - x[0] * x[0]
    along = p.a - x[0]
    return along * along + p.b * across * across, (-2 * along - 4 * p.b * across * x[0], 2 * p.b * across)
