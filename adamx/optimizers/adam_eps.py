"""Adam with an epsilon in every place that one has been put, to compare them. Kingma & Ba 2014, arXiv 1412.6980.

v_t = beta2 v_{t-1} + (1 - beta2) g_t^2 + eps_added
x_t = x_{t-1} - lr m_hat / (max(sqrt(v_hat + eps_root), eps_floor) + eps + eps_hat / sqrt(1 - beta2^t))

    eps         outside the root: the paper's algorithm, PyTorch, optax
    eps_root    inside the root: optax's eps_root; with eps = 0 the smooth floor sqrt(v_hat + eps_root)
    eps_hat     beside the uncorrected root: the paper's section 2, TensorFlow, Keras; early it counts for more
    eps_added   to v at every step: EAdam, AdaBelief; in the long run eps_root = eps_added / (1 - beta2)
    eps_floor   a hard floor: max(sqrt(v_hat), eps_floor), as in ADOPT
    all 0       none: 0/0 where every gradient so far was 0
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import Clock, State, alternating, moments
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "eps outside, eps_root inside, eps_hat beside the uncorrected root, eps_added to v, eps_floor a floor"


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 0.0
    eps_root: float = 0.0
    eps_hat: float = 1e-7
    eps_added: float = 0.0
    eps_floor: float = 0.0


class Now(NamedTuple):
    lr: float
    eps: float
    eps_root: float
    eps_floor: float


@portable
def per_step(t, clock, h):
    clock = Clock(clock.beta1_t * h.beta1, clock.beta2_t * h.beta2)
    c2 = 1 - clock.beta2_t
    root = math.sqrt(c2)
    return clock, Now(h.lr * root / (1 - clock.beta1_t), h.eps * root + h.eps_hat, h.eps_root * c2, h.eps_floor * root)


@portable
def update(x, g, state, h, now):
    m, v = moments(g, state.m, state.v, h)
    v = v + h.eps_added
    root = math.sqrt(v + now.eps_root)
    return x - now.lr * m / ((now.eps_floor if root < now.eps_floor else root) + now.eps), State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now):
    _, v = moments(g, state.m, state.v, h)
    v_hat = (v + h.eps_added) / (1 - clock.beta2_t)
    root = math.sqrt(v_hat + h.eps_root)
    eps = h.eps + h.eps_hat / math.sqrt(1 - clock.beta2_t)
    return math.sqrt(v_hat), h.lr / ((h.eps_floor if root < h.eps_floor else root) + eps)
