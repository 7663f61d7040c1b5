"""ADOPT. Taniguchi et al. 2024, arXiv 2411.02853, with the clipping of its later versions.

r_t = g_t / max(sqrt(v_{t-1}), eps)             clipping: limited to +-(t - 1)^(1/4)
m_t = beta1 m_{t-1} + (1 - beta1) r_t
x_t = x_{t-1} - lr m_t
v_t = beta2 v_{t-1} + (1 - beta2) g_t^2

The first step only sets v_1 = g_1^2. A gradient is scaled by those before it, never by itself, and momentum is taken
of the scaled gradients. eps is a floor under sqrt(v), not a term added to it: above the floor it changes nothing.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import State, alternating
from adamx.portable import portable

__all__ = ["Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "a floor: max(sqrt(v), eps)"
MATCHES = ("optax.contrib.adopt",)


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.9999
    eps: float = 1e-6
    clipping: bool = True


class Now(NamedTuple):
    beta2: float  # 0 at the first step
    bound: float  # 0 at the first step


@portable
def per_step(t, clock, h):
    bound = math.inf if t > 1 and h.clipping == 0 else math.sqrt(math.sqrt(t - 1))
    return clock, Now(h.beta2 if t > 1 else 0, bound)


@portable
def update(x, g, state, h, now):
    root = math.sqrt(state.v)
    r = g / (root if root > h.eps else h.eps)
    r = now.bound if r > now.bound else r
    r = -now.bound if r < -now.bound else r
    m = h.beta1 * state.m + (1 - h.beta1) * r
    return x - h.lr * m, State(m, now.beta2 * state.v + (1 - now.beta2) * g * g)


@portable
def preconditioner(x, g, state, clock, h, now):
    root = math.sqrt(state.v)
    least = root if root > h.eps else h.eps
    factor = now.bound / abs(g) if abs(g) > now.bound * least else 1 / least
    return root, h.lr * (factor if now.bound > 0 else 0)
