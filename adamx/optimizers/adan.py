"""Adan: Nesterov momentum without the extrapolation. Xie et al. 2022, arXiv 2208.06677, algorithm 1.

d_t = g_t - g_{t-1}                             d_1 = 0
m_t = beta1 m_{t-1} + (1 - beta1) g_t           m_hat = m_t / (1 - beta1^t)
v_t = beta2 v_{t-1} + (1 - beta2) d_t           v_hat = v_t / (1 - beta2^t)
n_t = beta3 n_{t-1} + (1 - beta3) (g_t + beta2 d_t)^2       n_hat = n_t / (1 - beta3^t)
x_t = (1 - lr weight_decay) x_{t-1} - lr (m_hat + beta2 v_hat) / (sqrt(n_hat + eps_root) + eps)

The betas are those of the authors' code, 1 - beta in the paper; so is the bias correction. The decay is that code's
no_prox (its default, and the paper, divide by 1 + lr weight_decay instead). optax 0.2.8 weighs d_t and v_hat with
1 - beta2, a slip between the two conventions (optax #1715): it agrees at beta2 = 1/2 only.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import rate
from adamx.portable import portable

EPS = "outside the root; eps_root inside"
MATCHES = ("optax.adan(b2=0.5)",)


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.98
    beta2: float = 0.92
    beta3: float = 0.99
    eps: float = 1e-8
    eps_root: float = 0.0
    weight_decay: float = 0.0


class State(NamedTuple):
    m: float
    v: float
    n: float
    g: float


class Clock(NamedTuple):
    beta1_t: float = 1.0
    beta2_t: float = 1.0
    beta3_t: float = 1.0


class Now(NamedTuple):
    later: float  # 0 at the first step, which has no difference, then 1
    m: float
    v: float
    eps: float
    eps_root: float


@portable
def per_step(t, clock, h):
    clock = Clock(clock.beta1_t * h.beta1, clock.beta2_t * h.beta2, clock.beta3_t * h.beta3)
    c3 = 1 - clock.beta3_t
    root = math.sqrt(c3)
    lr = h.lr * root
    later = 1 if t > 1 else 0
    return clock, Now(
        later, lr / (1 - clock.beta1_t), lr * h.beta2 / (1 - clock.beta2_t), h.eps * root, h.eps_root * c3
    )


@portable
def update(x, g, state, h, now):
    d = now.later * (g - state.g)
    ahead = g + h.beta2 * d
    m = h.beta1 * state.m + (1 - h.beta1) * g
    v = h.beta2 * state.v + (1 - h.beta2) * d
    n = h.beta3 * state.n + (1 - h.beta3) * ahead * ahead
    step = (now.m * m + now.v * v) / (math.sqrt(n + now.eps_root) + now.eps)
    return x - h.lr * h.weight_decay * x - step, State(m, v, n, g)


@portable
def preconditioner(x, g, state, clock, h, now):
    ahead = g + h.beta2 * now.later * (g - state.g)
    n_hat = (h.beta3 * state.n + (1 - h.beta3) * ahead * ahead) / (1 - clock.beta3_t)
    return rate(n_hat, h)


@portable
def alternating(clock, h, now):
    return (1 - h.beta1) / (1 + h.beta1) + 2 * h.beta2 * (1 - h.beta2) / (1 + h.beta2)
