"""RMSprop. Hinton, Tieleman 2012, Coursera lecture 6e; centered: Graves 2013, arXiv 1308.0850, eq. (38)-(45).

v_t = beta2 v_{t-1} + (1 - beta2) g_t^2
a_t = beta2 a_{t-1} + (1 - beta2) g_t           subtracted as v_t - a_t^2 when centered
b_t = momentum b_{t-1} + g_t / (sqrt(v_t) + eps)
x_t = x_{t-1} - lr b_t

beta2 is PyTorch's alpha and Keras' rho. v starts at 0 and is not corrected: the first step is lr / sqrt(1 - beta2).
"""

import math
from typing import NamedTuple

from adamx.optimizers import Stable
from adamx.portable import portable

EPS = "outside the root of an uncorrected v"
MATCHES = ("torch.optim.RMSprop",)
STABLE = Stable(
    "eps",
    ">",
    "lr curvature / (2 (1 + momentum))",
    "Polyak 1964, USSR Comp. Math. 4(5), at the rate lr / eps",
    lambda h, curvature: h["lr"] * curvature / (2 * (1 + h["momentum"])),
)


class Hyper(NamedTuple):
    lr: float = 0.01
    beta2: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False


class State(NamedTuple):
    v: float
    a: float
    b: float


@portable
def deviation(v, a, h):
    centred = v - h.centered * a * a  # rounding may take it below 0
    return math.sqrt(centred if centred > 0 else 0)


@portable
def update(x, g, state, h, now):
    v = h.beta2 * state.v + (1 - h.beta2) * g * g
    a = h.beta2 * state.a + (1 - h.beta2) * g
    b = h.momentum * state.b + g / (deviation(v, a, h) + h.eps)
    return x - h.lr * b, State(v, a, b)


@portable
def preconditioner(x, g, state, clock, h, now):
    v = h.beta2 * state.v + (1 - h.beta2) * g * g
    a = h.beta2 * state.a + (1 - h.beta2) * g
    root = deviation(v, a, h)
    return root, h.lr / (root + h.eps)


@portable
def alternating(clock, h, now):
    return 1 / (1 + h.momentum)
