"""AdaGrad. Duchi, Hazan & Singer 2011, JMLR 12, figure 1 (diagonal); lr_decay as in PyTorch, eps_root as in optax.

v_t = v_{t-1} + g_t^2                           v_0 = initial_accumulator_value
x_t = x_{t-1} - lr / (1 + (t - 1) lr_decay) g_t / (sqrt(v_t + eps_root) + eps)

v is a sum that never decays, so both epsilons matter only until the first gradients of some size. eps stands outside
the root (the paper's delta, PyTorch), eps_root inside (optax, whose eps it is, with eps = 0 here).
"""

import math
from typing import NamedTuple

from adamx.optimizers.sgd import alternating
from adamx.portable import portable

__all__ = ["Hyper", "Now", "State", "alternating", "initial_state", "per_step", "preconditioner", "update"]

EPS = "outside the root; eps_root inside"
MATCHES = ("torch.optim.Adagrad", "optax.adagrad")


class Hyper(NamedTuple):
    lr: float = 0.01
    eps: float = 1e-10
    eps_root: float = 0.0
    initial_accumulator_value: float = 0.0
    lr_decay: float = 0.0


class State(NamedTuple):
    v: float


class Now(NamedTuple):
    lr: float


def initial_state(h):
    return State(h.initial_accumulator_value)


@portable
def per_step(t, clock, h):
    return clock, Now(h.lr / (1 + (t - 1) * h.lr_decay))


@portable
def update(x, g, state, h, now):
    v = state.v + g * g
    return x - now.lr * g / (math.sqrt(v + h.eps_root) + h.eps), State(v)


@portable
def preconditioner(x, g, state, clock, h, now):
    v = state.v + g * g
    return math.sqrt(v), now.lr / (math.sqrt(v + h.eps_root) + h.eps)
