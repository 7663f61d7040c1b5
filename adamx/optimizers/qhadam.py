"""QHAdam: quasi-hyperbolic Adam. Ma & Yarats 2018, arXiv 1810.06801.

m_t, v_t, m_hat, v_hat as in Adam
x_t = x_{t-1} - lr ((1 - nu1) g_t + nu1 m_hat) / (sqrt((1 - nu2) g_t^2 + nu2 v_hat) + eps)

nu1 and nu2, in [0, 1], are the weights of the averages against the present gradient: 1, 1 is Adam; 0, 1 is RMSprop with
bias correction. The defaults are those the authors recommend.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import Clock, State, moments
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "outside the root"
RANGES = {"nu1": (0, 1), "nu2": (0, 1)}


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.995
    beta2: float = 0.999
    nu1: float = 0.7
    nu2: float = 1.0
    eps: float = 1e-8


class Now(NamedTuple):
    nu1: float
    nu2: float


@portable
def per_step(t, clock, h):
    clock = Clock(clock.beta1_t * h.beta1, clock.beta2_t * h.beta2)
    return clock, Now(h.nu1 / (1 - clock.beta1_t), h.nu2 / (1 - clock.beta2_t))


@portable
def update(x, g, state, h, now):
    m, v = moments(g, state.m, state.v, h)
    top = (1 - h.nu1) * g + now.nu1 * m
    return x - h.lr * top / (math.sqrt((1 - h.nu2) * g * g + now.nu2 * v) + h.eps), State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now):
    _, v = moments(g, state.m, state.v, h)
    root = math.sqrt((1 - h.nu2) * g * g + now.nu2 * v)
    return root, h.lr / (root + h.eps)


@portable
def alternating(clock, h, now):
    return 1 - h.nu1 + h.nu1 * (1 - h.beta1) / (1 + h.beta1)
