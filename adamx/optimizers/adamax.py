"""AdaMax: Adam with the infinity norm. Kingma & Ba 2014, arXiv 1412.6980, algorithm 2; eps as in PyTorch and optax.

m_t = beta1 m_{t-1} + (1 - beta1) g_t           m_hat = m_t / (1 - beta1^t)
u_t = max(beta2 u_{t-1}, |g_t| + eps)           a maximum needs no correction
x_t = x_{t-1} - lr m_hat / u_t

eps is added to the gradient's size inside the maximum: it is the least u, and decays with it. The paper has none
(eps = 0), and then 0/0 where no gradient has come yet.
"""

from typing import NamedTuple

from adamx.optimizers.adam import alternating
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "inside the maximum: max(beta2 u, |g| + eps)"
MATCHES = ("torch.optim.Adamax", "optax.adamax")


class Hyper(NamedTuple):
    lr: float = 0.002
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


class State(NamedTuple):
    m: float
    u: float


class Clock(NamedTuple):
    beta1_t: float = 1.0


class Now(NamedTuple):
    lr: float


@portable
def per_step(t, clock, h):
    clock = Clock(clock.beta1_t * h.beta1)
    return clock, Now(h.lr / (1 - clock.beta1_t))


@portable
def update(x, g, state, h, now):
    m = h.beta1 * state.m + (1 - h.beta1) * g
    old, new = h.beta2 * state.u, abs(g) + h.eps
    u = new if new > old else old
    return x - now.lr * m / u, State(m, u)


@portable
def preconditioner(x, g, state, clock, h, now):
    old, new = h.beta2 * state.u, abs(g) + h.eps
    u = new if new > old else old
    return u, h.lr / u
