"""StableAdamW: AdamW with update clipping. Wortsman et al. 2023, arXiv 2304.13013, algorithm 2.

m_hat, v_hat as in Adam                                        (the paper's beta_hat is the same bias correction)
RMS_t = sqrt(mean over the tensor of g_t^2 / max(v_hat, eps^2))
lr_t  = lr / max(1, RMS_t)
x_t = (1 - lr_t weight_decay) x_{t-1} - lr_t m_hat / (sqrt(v_hat) + eps)

RMS > 1 says that v lags behind the gradient, as it does just before a loss spike; the step is shortened by as much.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import Clock, State, alternating, moments
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "Pool", "State", "alternating", "per_step", "pool", "preconditioner", "update"]

EPS = "outside the root; a floor, max(v, eps^2), in the clipping"


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-6
    weight_decay: float = 0.2


class Now(NamedTuple):
    correct_m: float
    correct_v: float


class Pool(NamedTuple):
    lag: float


@portable
def per_step(t, clock, h):
    clock = Clock(clock.beta1_t * h.beta1, clock.beta2_t * h.beta2)
    return clock, Now(1 / (1 - clock.beta1_t), 1 / (1 - clock.beta2_t))


@portable
def direction(x, m, v, h, now):
    return m * now.correct_m / (math.sqrt(v * now.correct_v) + h.eps) + h.weight_decay * x


@portable
def pool(x, g, state, h, now):
    _, v = moments(g, state.m, state.v, h)
    return Pool(g * g / max(v * now.correct_v, h.eps * h.eps))


@portable
def update(x, g, state, h, now, mean):
    m, v = moments(g, state.m, state.v, h)
    lr = h.lr / max(math.sqrt(mean.lag), 1)
    return x - lr * direction(x, m, v, h, now), State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now, mean):
    _, v = moments(g, state.m, state.v, h)
    root, clipping = math.sqrt(v * now.correct_v), max(math.sqrt(mean.lag), 1)
    return root, h.lr / clipping / (root + h.eps)
