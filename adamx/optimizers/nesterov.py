"""Nesterov's accelerated gradient. Nesterov 1983, Dokl. 269; in the form of Sutskever et al. 2013 and PyTorch.

m_t = momentum m_{t-1} + g_t
x_t = x_{t-1} - lr (g_t + momentum m_t)
"""

from typing import NamedTuple

from adamx.optimizers import Stable
from adamx.optimizers.sgd import preconditioner
from adamx.portable import portable

__all__ = ["Hyper", "State", "alternating", "preconditioner", "update"]

EPS = "none"
MATCHES = ("torch.optim.SGD(nesterov=True)",)
STABLE = Stable(
    "lr",
    "<",
    "2 (1 + momentum) / ((1 + 2 momentum) curvature)",
    "Nesterov 1983, Dokl. 269: z = -1 in the polynomial of its steps",
    lambda h, curvature: 2 * (1 + h["momentum"]) / ((1 + 2 * h["momentum"]) * curvature),
)


class Hyper(NamedTuple):
    lr: float = 0.01
    momentum: float = 0.9


class State(NamedTuple):
    m: float


@portable
def update(x, g, state, h, now):
    m = h.momentum * state.m + g
    return x - h.lr * (g + h.momentum * m), State(m)


@portable
def alternating(clock, h, now):
    return (1 + 2 * h.momentum) / (1 + h.momentum)
