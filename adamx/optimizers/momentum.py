"""Momentum. Polyak 1964, USSR Comp. Math. 4(5) (heavy ball); Sutskever et al. 2013, ICML, eq. (1)-(2).

m_t = momentum m_{t-1} + w g_t        w = 1 (heavy ball) or, with ema, 1 - momentum (an average of gradients)
x_t = x_{t-1} - lr m_t

The heavy ball's steady step is 1/(1 - momentum) times that of the average at the same lr.
"""

from typing import NamedTuple

from adamx.optimizers import Stable
from adamx.optimizers.sgd import preconditioner
from adamx.portable import portable

__all__ = ["Hyper", "State", "alternating", "preconditioner", "update"]

EPS = "none"
MATCHES = ("torch.optim.SGD", "optax.ema")
STABLE = Stable(  # of the heavy ball
    "lr",
    "<",
    "2 (1 + momentum) / curvature",
    "Polyak 1964, USSR Comp. Math. 4(5)",
    lambda h, curvature: 2 * (1 + h["momentum"]) / curvature,
)


class Hyper(NamedTuple):
    lr: float = 0.01
    momentum: float = 0.9
    ema: bool = False


class State(NamedTuple):
    m: float


@portable
def update(x, g, state, h, now):
    m = h.momentum * state.m + (1 - h.ema * h.momentum) * g
    return x - h.lr * m, State(m)


@portable
def alternating(clock, h, now):
    return (1 - h.ema * h.momentum) / (1 + h.momentum)
