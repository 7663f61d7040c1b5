"""AdEMAMix: Adam with a second, slow momentum. Pagliardini et al. 2024, arXiv 2409.03137, algorithm 1.

m_t, v_t, m_hat, v_hat as in Adam
s_t = beta3_t s_{t-1} + (1 - beta3_t) g_t       not corrected: it fills slowly
x_t = (1 - lr weight_decay) x_{t-1} - lr (m_hat + alpha_t s_t) / (sqrt(v_hat + eps_root) + eps)

alpha_t grows linearly from 0 to alpha in alpha_warmup steps; in beta3_warmup steps the time constant -1 / ln beta3_t
grows linearly from that of beta1 to that of beta3 (the paper's exp(ln beta1 ln beta3 / ...)). The paper warms both up
over the whole run; 0 is no warm-up, as in optax, where they are schedules.
"""

import math
from typing import NamedTuple

import numpy as np

from adamx.optimizers.adam import moments, rate
from adamx.portable import portable

EPS = "outside the root; eps_root inside"
MATCHES = ("optax.contrib.ademamix",)


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    beta3: float = 0.9999
    alpha: float = 5.0
    alpha_warmup: float = 0.0
    beta3_warmup: float = 0.0
    eps: float = 1e-8
    eps_root: float = 0.0
    weight_decay: float = 0.0


class State(NamedTuple):
    m: float
    s: float
    v: float


class Clock(NamedTuple):
    beta1_t: float
    beta2_t: float
    fast: float  # the time constants of beta1 and beta3
    slow: float


class Now(NamedTuple):
    beta3: float
    alpha: float
    m: float
    s: float
    eps: float
    eps_root: float


def initial_clock(h):
    least = 1e-300  # stands for a beta of 0
    return Clock(1.0, 1.0, -1 / np.log(h.beta1 + least), -1 / np.log(h.beta3 + least))


@portable
def per_step(t, clock, h):
    clock = Clock(clock.beta1_t * h.beta1, clock.beta2_t * h.beta2, clock.fast, clock.slow)
    c2 = 1 - clock.beta2_t
    root = math.sqrt(c2)
    lr = h.lr * root
    alpha = h.alpha * t / h.alpha_warmup if t < h.alpha_warmup else h.alpha
    grown = t / h.beta3_warmup if t < h.beta3_warmup else 1
    beta3 = math.exp(-1 / (clock.fast + grown * (clock.slow - clock.fast))) if grown < 1 else h.beta3
    return clock, Now(beta3, alpha, lr / (1 - clock.beta1_t), lr * alpha, h.eps * root, h.eps_root * c2)


@portable
def update(x, g, state, h, now):
    m, v = moments(g, state.m, state.v, h)
    s = now.beta3 * state.s + (1 - now.beta3) * g
    step = (now.m * m + now.s * s) / (math.sqrt(v + now.eps_root) + now.eps)
    return x - h.lr * h.weight_decay * x - step, State(m, s, v)


@portable
def preconditioner(x, g, state, clock, h, now):
    _, v = moments(g, state.m, state.v, h)
    return rate(v / (1 - clock.beta2_t), h)


@portable
def alternating(clock, h, now):
    return (1 - h.beta1) / (1 + h.beta1) + now.alpha * (1 - now.beta3) / (1 + now.beta3)
