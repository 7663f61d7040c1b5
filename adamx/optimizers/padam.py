"""Padam: partially adaptive AMSGrad. Chen et al. 2018, arXiv 1806.06763, algorithm 1.

m_t, v_t as in Adam                             u_t = max(u_{t-1}, v_t)
x_t = x_{t-1} - lr m_hat / (sqrt(u_t / (1 - beta2^t) + eps_root) + eps)^(2p)

p = 1/2 is AMSGrad, p = 0 is momentum. eps stands outside the root and inside the power, as in the authors' code. The
paper has no bias correction (bias_correction=false); corrected, u is so before the power, which keeps p = 1/2 the
AMSGrad of this folder, where the authors' code multiplies the step by sqrt(1 - beta2^t) whatever p.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import Clock, Now, alternating, moments
from adamx.optimizers.amsgrad import State
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "outside the root, inside the power; eps_root inside"
RANGES = {"p": (0, 1)}


class Hyper(NamedTuple):
    lr: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0
    p: float = 0.125
    bias_correction: bool = True


@portable
def per_step(t, clock, h):
    clock = Clock(clock.beta1_t * h.beta1, clock.beta2_t * h.beta2)
    c1 = 1 - h.bias_correction * clock.beta1_t
    c2 = 1 - h.bias_correction * clock.beta2_t
    root = math.sqrt(c2)
    return clock, Now(h.lr * root ** (2 * h.p) / c1, h.eps * root, h.eps_root * c2)


@portable
def update(x, g, state, h, now):
    m, v = moments(g, state.m, state.v, h)
    u = v if v > state.u else state.u
    return x - now.lr * m / (math.sqrt(u + now.eps_root) + now.eps) ** (2 * h.p), State(m, v, u)


@portable
def preconditioner(x, g, state, clock, h, now):
    _, v = moments(g, state.m, state.v, h)
    u = v if v > state.u else state.u
    u_hat = u / (1 - h.bias_correction * clock.beta2_t)
    return math.sqrt(u_hat), h.lr / (math.sqrt(u_hat + h.eps_root) + h.eps) ** (2 * h.p)
