"""EAdam: an eps that accumulates. Yuan & Gao 2020, arXiv 2011.02150.

m_t = beta1 m_{t-1} + (1 - beta1) g_t           m_hat = m_t / (1 - beta1^t)
v_t = beta2 v_{t-1} + (1 - beta2) g_t^2 + eps   v_hat = v_t / (1 - beta2^t)
x_t = x_{t-1} - lr m_hat / sqrt(v_hat)

After t steps v_hat holds eps (1 + beta2 + ... + beta2^{t-1}) / (1 - beta2^t) = eps / (1 - beta2), whatever t: this is
Adam with eps = 0 and eps_root = eps / (1 - beta2). The default 1e-8 acts like an Adam's eps of about 3e-3.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import Clock, State, alternating, moments
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "added to v at every step: inside the root, eps / (1 - beta2)"


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


class Now(NamedTuple):
    lr: float


@portable
def per_step(t, clock, h):
    clock = Clock(clock.beta1_t * h.beta1, clock.beta2_t * h.beta2)
    return clock, Now(h.lr * math.sqrt(1 - clock.beta2_t) / (1 - clock.beta1_t))


@portable
def update(x, g, state, h, now):
    m, v = moments(g, state.m, state.v, h)
    v = v + h.eps
    return x - now.lr * m / math.sqrt(v), State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now):
    _, v = moments(g, state.m, state.v, h)
    root = math.sqrt((v + h.eps) / (1 - clock.beta2_t))
    return root, h.lr / root
