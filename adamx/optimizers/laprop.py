"""LaProp: momentum of the scaled gradients. Ziyin, Wang & Ueda 2020, arXiv 2002.04839, algorithm 1.

v_t = beta2 v_{t-1} + (1 - beta2) g_t^2         v_hat = v_t / (1 - beta2^t)
m_t = beta1 m_{t-1} + (1 - beta1) g_t / (sqrt(v_hat) + eps)
x_t = x_{t-1} - lr m_t / (1 - beta1^t)

Adam scales the momentum by the present v_hat, LaProp every gradient by the v_hat of its own time, so that its step is
bounded for every beta1 and not only for beta1 < sqrt(beta2). The paper's mu and nu are beta1 and beta2.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import Clock, State, alternating
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "outside the root"


class Hyper(NamedTuple):
    lr: float = 0.0004
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-15


class Now(NamedTuple):
    lr: float
    root: float
    eps: float


@portable
def per_step(t, clock, h):
    clock = Clock(clock.beta1_t * h.beta1, clock.beta2_t * h.beta2)
    root = math.sqrt(1 - clock.beta2_t)
    return clock, Now(h.lr / (1 - clock.beta1_t), root, root * h.eps)


@portable
def update(x, g, state, h, now):
    v = h.beta2 * state.v + (1 - h.beta2) * g * g
    m = h.beta1 * state.m + (1 - h.beta1) * (g * now.root / (math.sqrt(v) + now.eps))
    return x - now.lr * m, State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now):
    root = math.sqrt((h.beta2 * state.v + (1 - h.beta2) * g * g) / (1 - clock.beta2_t))
    return root, h.lr / (root + h.eps)
