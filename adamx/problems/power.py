"""A power law, flat at its minimum for k > 2: f = sum_i |x_i|^k / k. Bai et al. 2026, arXiv 2603.09581."""

from typing import NamedTuple

from adamx.portable import portable


class Params(NamedTuple):
    k: float = 4.0


start = 1.0
minimum = 0.0
minimizers = (0.0,)


@portable
def term(x, p):
    slope = abs(x) ** (p.k - 2) * x
    return slope * x / p.k, slope
