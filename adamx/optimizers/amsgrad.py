"""AMSGrad. Reddi, Kale & Kumar 2018, arXiv 1904.09237, algorithm 2; with Adam's bias correction, as in PyTorch.

m_t, v_t as in Adam                             u_t = max(u_{t-1}, v_t)
x_t = x_{t-1} - lr m_hat / (sqrt(u_t / (1 - beta2^t) + eps_root) + eps)

The paper has no bias correction (bias_correction=false); optax takes the maximum after correcting v.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import Clock, Hyper, alternating, moments, per_step, scale
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "outside the root; eps_root inside"
MATCHES = ("torch.optim.Adam(amsgrad=True)",)


class State(NamedTuple):
    m: float
    v: float
    u: float


@portable
def update(x, g, state, h, now):
    m, v = moments(g, state.m, state.v, h)
    u = v if v > state.u else state.u
    return x - now.lr * m / (math.sqrt(u + now.eps_root) + now.eps), State(m, v, u)


@portable
def preconditioner(x, g, state, clock, h, now):
    _, v = moments(g, state.m, state.v, h)
    return scale(v if v > state.u else state.u, clock, h)
