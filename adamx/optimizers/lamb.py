"""LAMB: Adam with a trust ratio for every layer. You et al. 2019, arXiv 1904.00962, algorithm 2.

u_t = m_hat / (sqrt(v_hat) + eps) + weight_decay x_{t-1}       with Adam's m_hat and v_hat
x_t = x_{t-1} - lr |x_{t-1}| / |u_t| u_t

Norms are over the tensor; where either is 0 the ratio is 1 (phi is the identity), as in optax.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import Clock, State, alternating, moments
from adamx.optimizers.stable_adamw import direction, per_step
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "Pool", "State", "alternating", "per_step", "pool", "preconditioner", "update"]

EPS = "outside the root"
MATCHES = ("optax.lamb",)


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-6
    weight_decay: float = 0.0


class Pool(NamedTuple):
    xx: float
    uu: float


@portable
def pool(x, g, state, h, now):
    m, v = moments(g, state.m, state.v, h)
    u = direction(x, m, v, h, now)
    return Pool(x * x, u * u)


@portable
def trust_ratio(mean):
    return math.sqrt(mean.xx) / math.sqrt(mean.uu) if (mean.xx > 0) & (mean.uu > 0) else 1


@portable
def update(x, g, state, h, now, mean):
    m, v = moments(g, state.m, state.v, h)
    return x - h.lr * trust_ratio(mean) * direction(x, m, v, h, now), State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now, mean):
    _, v = moments(g, state.m, state.v, h)
    root, trust = math.sqrt(v * now.correct_v), trust_ratio(mean)
    return root, h.lr * trust / (root + h.eps)
