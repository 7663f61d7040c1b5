"""Gradients to order: f_t = g_t x, with g_1, g_2, g_3 and then one that stays."""

from typing import NamedTuple

from adamx.portable import portable


class Params(NamedTuple):
    g1: float = 1.0
    g2: float = 0.0
    g3: float = 0.0
    later: float = 0.0


start = (0.0,)


@portable
def value_and_grad(x, p, t):
    g = p.g1 if t == 1 else (p.g2 if t == 2 else (p.g3 if t == 3 else p.later))
    return g * x[0], (g,)
