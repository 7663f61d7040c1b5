"""AvaGrad: Adam with normalised per-coordinate rates. Savarese et al. 2019, arXiv 1912.01823, algorithm 2.

m_t = beta1 m_{t-1} + (1 - beta1) g_t
r_t = 1 / (sqrt(v_{t-1}) + eps)                                v before this step's gradient
x_t = x_{t-1} - lr r_t / sqrt(mean over the tensor of r_t^2) m_t
v_t = beta2 v_{t-1} + (1 - beta2) g_t^2

eps says only how adaptive the rule is, from Adam to momentum: its size no longer scales the step. There is no bias
correction.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import State, alternating, moments
from adamx.portable import portable

__all__ = ["Hyper", "Pool", "State", "alternating", "pool", "preconditioner", "update"]

EPS = "outside the root; sets how adaptive the rule is, not its step"


class Hyper(NamedTuple):
    lr: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 0.1


class Pool(NamedTuple):
    rr: float


@portable
def pool(x, g, state, h, now):
    root = math.sqrt(state.v) + h.eps
    return Pool(1 / (root * root))


@portable
def update(x, g, state, h, now, mean):
    m, v = moments(g, state.m, state.v, h)
    rate = 1 / ((math.sqrt(state.v) + h.eps) * math.sqrt(mean.rr))
    return x - h.lr * rate * m, State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now, mean):
    root = math.sqrt(state.v)
    return root, h.lr / ((root + h.eps) * math.sqrt(mean.rr))
