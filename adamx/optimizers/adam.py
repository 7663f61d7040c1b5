"""Adam. Kingma & Ba 2014, arXiv 1412.6980, algorithm 1; eps_root as in optax.

m_t = beta1 m_{t-1} + (1 - beta1) g_t           m_hat = m_t / (1 - beta1^t)
v_t = beta2 v_{t-1} + (1 - beta2) g_t^2         v_hat = v_t / (1 - beta2^t)
x_t = x_{t-1} - lr m_hat / (sqrt(v_hat + eps_root) + eps)

Both corrections are folded into the step and the two epsilons, once a step instead of once a coordinate (section 2
of the paper): with c = 1 - beta2^t,  sqrt(v_hat + eps_root) + eps = (sqrt(v + c eps_root) + sqrt(c) eps) / sqrt(c).
"""

import math
from typing import NamedTuple

from adamx.optimizers import Stable
from adamx.portable import portable

EPS = "outside the root; eps_root inside"
MATCHES = ("torch.optim.Adam", "optax.adam")
COHEN = "Cohen et al. 2022, arXiv 2207.14484, as v -> 0"
STABLE = Stable(
    "eps",
    ">",
    "lr curvature (1 - beta1) / (2 (1 + beta1))",
    COHEN,
    lambda h, curvature: h["lr"] * curvature * (1 - h["beta1"]) / (2 * (1 + h["beta1"])),
)


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0
    bias_correction: bool = True


class State(NamedTuple):
    m: float
    v: float


class Clock(NamedTuple):
    beta1_t: float = 1.0
    beta2_t: float = 1.0


class Now(NamedTuple):
    lr: float
    eps: float
    eps_root: float


@portable
def per_step(t, clock, h):
    clock = Clock(clock.beta1_t * h.beta1, clock.beta2_t * h.beta2)
    c1 = 1 - h.bias_correction * clock.beta1_t
    c2 = 1 - h.bias_correction * clock.beta2_t
    root = math.sqrt(c2)
    return clock, Now(h.lr * root / c1, h.eps * root, h.eps_root * c2)


@portable
def moments(g, m, v, h):
    return h.beta1 * m + (1 - h.beta1) * g, h.beta2 * v + (1 - h.beta2) * g * g


@portable
def update(x, g, state, h, now):
    m, v = moments(g, state.m, state.v, h)
    return x - now.lr * m / (math.sqrt(v + now.eps_root) + now.eps), State(m, v)


@portable
def rate(v_hat, h):
    """sqrt(v_hat), and the effective rate that follows from it."""
    return math.sqrt(v_hat), h.lr / (math.sqrt(v_hat + h.eps_root) + h.eps)


@portable
def scale(v, clock, h):
    return rate(v / (1 - h.bias_correction * clock.beta2_t), h)


@portable
def preconditioner(x, g, state, clock, h, now):
    _, v = moments(g, state.m, state.v, h)
    return scale(v, clock, h)


@portable
def alternating(clock, h, now):
    return (1 - h.beta1) / (1 + h.beta1)
