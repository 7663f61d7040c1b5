"""AdaBelief. Zhuang et al. 2020, arXiv 2010.07468, algorithm 2; two epsilons as in optax, the paper has one for both.

m_t as in Adam
v_t = beta2 v_{t-1} + (1 - beta2) (g_t - m_t)^2 + eps_root     the paper's s_t: how far gradients stray from m
x_t = x_{t-1} - lr m_hat / (sqrt(v_hat) + eps)

eps_root is added to v at every step and so accumulates, to eps_root / (1 - beta2) inside the root in the end: 1000
times its value at beta2 = 0.999. It is the scale of v where gradients are constant. eps stands outside, as in Adam.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import Clock, State, alternating, per_step
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "outside the root; eps_root added to v at every step"
MATCHES = ("optax.adabelief",)


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-16
    eps_root: float = 1e-16
    bias_correction: bool = True


@portable
def update(x, g, state, h, now):
    m = h.beta1 * state.m + (1 - h.beta1) * g
    v = h.beta2 * state.v + (1 - h.beta2) * (g - m) * (g - m) + h.eps_root
    return x - now.lr * m / (math.sqrt(v) + now.eps), State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now):
    m = h.beta1 * state.m + (1 - h.beta1) * g
    v = h.beta2 * state.v + (1 - h.beta2) * (g - m) * (g - m) + h.eps_root
    root = math.sqrt(v / (1 - h.bias_correction * clock.beta2_t))
    return root, h.lr / (root + h.eps)
