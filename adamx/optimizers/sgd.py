"""Gradient descent. Robbins & Monro 1951, Ann. Math. Stat. 22(3), eq. (6).

x_t = x_{t-1} - lr g_t
"""

from typing import NamedTuple

from adamx.optimizers import Stable
from adamx.portable import portable

EPS = "none"
MATCHES = ("torch.optim.SGD",)
STABLE = Stable("lr", "<", "2 / curvature", "a step multiplies the distance by 1 - lr curvature", lambda h, L: 2 / L)


class Hyper(NamedTuple):
    lr: float = 0.01


@portable
def update(x, g, state, h, now):
    return x - h.lr * g, state


@portable
def preconditioner(x, g, state, clock, h, now):
    return 1 + 0 * h.lr, h.lr


@portable
def alternating(clock, h, now):
    return 1 + 0 * h.lr
