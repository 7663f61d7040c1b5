"""Lion. Chen et al. 2023, arXiv 2302.06675, algorithm 2.

c_t = beta1 m_{t-1} + (1 - beta1) g_t
x_t = (1 - lr weight_decay) x_{t-1} - lr sign(c_t)      sign(0) = 0
m_t = beta2 m_{t-1} + (1 - beta2) g_t

There is no eps: every step is lr or nothing. beta1 mixes the present gradient in, beta2 alone is the memory.
"""

from typing import NamedTuple

from adamx.optimizers.momentum import State
from adamx.optimizers.signum import sign
from adamx.portable import portable

__all__ = ["Hyper", "State", "update"]

EPS = "none: a step is lr or nothing"
MATCHES = ("optax.lion",)


class Hyper(NamedTuple):
    lr: float = 0.0001
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0


@portable
def update(x, g, state, h, now):
    c = h.beta1 * state.m + (1 - h.beta1) * g
    m = h.beta2 * state.m + (1 - h.beta2) * g
    return x - h.lr * h.weight_decay * x - h.lr * sign(c), State(m)
