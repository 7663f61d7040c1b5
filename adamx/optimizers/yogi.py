"""Yogi. Zaheer et al. 2018, NeurIPS, algorithm 2; bias correction, eps_root and the first v as in optax.

m_t as in Adam                                  v_0 = initial_accumulator_value
v_t = v_{t-1} - (1 - beta2) sign(v_{t-1} - g_t^2) g_t^2
x_t = x_{t-1} - lr m_hat / (sqrt(v_hat + eps_root) + eps)

v moves towards g^2 by a share of g^2, whatever the gap: it cannot fall fast after large gradients, as Adam's does.
eps, outside the root, is large by default (the paper's 1e-3) and so bounds how adaptive the rule is. optax starts m at
initial_accumulator_value too, so that it moves without a gradient; here m_0 = 0, as in the paper. The paper corrects
no bias (bias_correction=false).
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import Clock, State, alternating, per_step, scale
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "initial_state", "per_step", "preconditioner", "update"]

EPS = "outside the root; eps_root inside"
MATCHES = ("optax.scale_by_yogi(mu=0)",)


class Hyper(NamedTuple):
    lr: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-3
    eps_root: float = 0.0
    initial_accumulator_value: float = 1e-6
    bias_correction: bool = True


def initial_state(h):
    return State(0.0, h.initial_accumulator_value)


@portable
def second(g, v, h):
    move = (1 - h.beta2) * g * g
    return v - move if v > g * g else v + move


@portable
def update(x, g, state, h, now):
    m = h.beta1 * state.m + (1 - h.beta1) * g
    v = second(g, state.v, h)
    return x - now.lr * m / (math.sqrt(v + now.eps_root) + now.eps), State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now):
    return scale(second(g, state.v, h), clock, h)
