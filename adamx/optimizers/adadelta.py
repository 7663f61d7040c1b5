"""ADADELTA. Zeiler 2012, arXiv 1212.5701, algorithm 1; lr as in PyTorch and optax (the paper has none: lr = 1).

v_t = beta2 v_{t-1} + (1 - beta2) g_t^2
d_t = sqrt(u_{t-1} + eps) / sqrt(v_t + eps) g_t
u_t = beta2 u_{t-1} + (1 - beta2) d_t^2
x_t = x_{t-1} - lr d_t

beta2 is the paper's rho. eps stands inside both roots and is no mere guard: u starts at 0, so sqrt(eps) is what the
first steps are made of, and the step grows from there at a pace that eps sets.
"""

import math
from typing import NamedTuple

from adamx.optimizers.sgd import alternating
from adamx.portable import portable

__all__ = ["Hyper", "State", "alternating", "preconditioner", "update"]

EPS = "inside both roots: it sets the first steps"
MATCHES = ("torch.optim.Adadelta", "optax.adadelta")


class Hyper(NamedTuple):
    lr: float = 1.0
    beta2: float = 0.9
    eps: float = 1e-6


class State(NamedTuple):
    v: float
    u: float


@portable
def update(x, g, state, h, now):
    v = h.beta2 * state.v + (1 - h.beta2) * g * g
    d = math.sqrt((state.u + h.eps) / (v + h.eps)) * g
    return x - h.lr * d, State(v, h.beta2 * state.u + (1 - h.beta2) * d * d)


@portable
def preconditioner(x, g, state, clock, h, now):
    v = h.beta2 * state.v + (1 - h.beta2) * g * g
    return math.sqrt(v), h.lr * math.sqrt((state.u + h.eps) / (v + h.eps))
