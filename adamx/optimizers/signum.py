"""Signum: the sign of momentum. Bernstein et al. 2018, arXiv 1802.04434, algorithm 2.

m_t = momentum m_{t-1} + (1 - momentum) g_t
x_t = x_{t-1} - lr sign(m_t)                    sign(0) = 0

There is no eps: every step is lr or nothing, however small the gradient. momentum=0 is signSGD.
"""

from typing import NamedTuple

from adamx.optimizers.momentum import State
from adamx.portable import portable

__all__ = ["Hyper", "State", "sign", "update"]

EPS = "none: a step is lr or nothing"
MATCHES = ("optax.signum", "optax.sign_sgd")


class Hyper(NamedTuple):
    lr: float = 0.0001
    momentum: float = 0.9


@portable
def sign(a):
    up = 1 if a > 0 else a  # NaN stays
    return -1 if a < 0 else up


@portable
def update(x, g, state, h, now):
    m = h.momentum * state.m + (1 - h.momentum) * g
    return x - h.lr * sign(m), State(m)
