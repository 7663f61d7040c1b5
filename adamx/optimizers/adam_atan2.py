"""Adam-atan2: Adam without an eps. Everett et al. 2024, arXiv 2407.05872; a and b as in adam-atan2-pytorch.

m_hat, v_hat as in Adam
x_t = x_{t-1} - lr a atan2(m_hat, b sqrt(v_hat))

There is no eps: atan2(0, 0) = 0, and the step does not depend on the gradient's scale however small it is. It is at
most lr a pi / 2. a = 1.27 ~ 4 / pi makes it lr, as in Adam, where |m_hat| = sqrt(v_hat); a large b = a is Adam with
eps = 0.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import Clock, State, alternating, moments
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "none: atan2 needs no guard"


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    a: float = 1.27
    b: float = 1.0


class Now(NamedTuple):
    lr: float
    ratio: float


@portable
def per_step(t, clock, h):
    clock = Clock(clock.beta1_t * h.beta1, clock.beta2_t * h.beta2)
    return clock, Now(h.lr * h.a, math.sqrt(1 - clock.beta2_t) / (1 - clock.beta1_t))


@portable
def update(x, g, state, h, now):
    m, v = moments(g, state.m, state.v, h)
    return x - now.lr * math.atan2(now.ratio * m, h.b * math.sqrt(v)), State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now):
    m, v = moments(g, state.m, state.v, h)
    root, m_hat = math.sqrt(v / (1 - clock.beta2_t)), m / (1 - clock.beta1_t)
    rate = now.lr / (h.b * root) if m_hat == 0 else now.lr * math.atan2(m_hat, h.b * root) / m_hat
    return root, rate
