"""SPAM: Adam that clips gradient spikes and resets its memory. Huang et al. 2025, arXiv 2501.06842, algorithm 1.

g_t <- sign(g_t) sqrt(threshold v_{t-1})   where g_t^2 > threshold v_{t-1} and v_{t-1} > 0
x_t = x_{t-1} - lr m_hat / (sqrt(v_hat) + eps)             m_hat, v_hat as in Adam, counted from the last reset

Every `interval` steps m = v = 0, and lr rises again from 0 by a half cosine in `warmup` steps. A coordinate whose v
is 0 has no memory to compare with and is not clipped.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import State, alternating, moments
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "outside the root"


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-6
    threshold: float = 5000.0
    interval: float = 500.0
    warmup: float = 150.0


class Clock(NamedTuple):
    beta1_t: float = 1.0
    beta2_t: float = 1.0
    since: float = 0.0  # steps since the last reset
    resets: float = 0.0


class Now(NamedTuple):
    keep: float
    lr: float
    eps: float


@portable
def per_step(t, clock, h):
    reset = clock.since >= h.interval
    since = 0 if reset else clock.since
    resets = clock.resets + reset
    beta1_t = h.beta1 if reset else clock.beta1_t * h.beta1
    beta2_t = h.beta2 if reset else clock.beta2_t * h.beta2
    rising = (resets > 0) & (since < h.warmup)
    ramp = 0.5 - 0.5 * math.cos(math.pi * since / h.warmup) if rising else 1
    root = math.sqrt(1 - beta2_t)
    now = Now(0 if reset else 1, h.lr * ramp * root / (1 - beta1_t), h.eps * root)
    return Clock(beta1_t, beta2_t, since + 1, resets), now


@portable
def clipped(g, v, h):
    most = math.sqrt(h.threshold * v)
    spike = (g * g > h.threshold * v) & (v > 0)
    return math.copysign(most, g) if spike else g


@portable
def update(x, g, state, h, now):
    m, v = now.keep * state.m, now.keep * state.v
    m, v = moments(clipped(g, v, h), m, v, h)
    return x - now.lr * m / (math.sqrt(v) + now.eps), State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now):
    taken = clipped(g, now.keep * state.v, h)
    _, v = moments(taken, now.keep * state.m, now.keep * state.v, h)
    root, rate = math.sqrt(v / (1 - clock.beta2_t)), now.lr * (1 - clock.beta1_t) / (math.sqrt(v) + now.eps)
    return root, rate * (1 if taken == g else taken / g)
