"""NAdam: Adam with Nesterov momentum. Dozat 2016, ICLR workshop (OpenReview OM0jvwB8jIp57ZJjtNEZ), as in PyTorch.

mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)                 momentum warms up from beta1/2 to beta1
m_t, v_t, v_hat as in Adam
m_bar = mu_{t+1} m_t / (1 - prod_{i<=t+1} mu_i) + (1 - mu_t) g_t / (1 - prod_{i<=t} mu_i)
x_t = x_{t-1} - lr m_bar / (sqrt(v_hat + eps_root) + eps)

Both epsilons mean what they do in Adam. optax has no warm-up, mu_t = beta1: a large momentum_decay, such as 1e6.
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import State, moments, rate
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "initial_clock", "per_step", "preconditioner", "update"]

EPS = "outside the root; eps_root inside"
MATCHES = ("torch.optim.NAdam", "optax.nadam")


class Hyper(NamedTuple):
    lr: float = 0.002
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0
    momentum_decay: float = 0.004


class Clock(NamedTuple):
    beta2_t: float
    mu_product: float
    fade: float
    fade_t: float


class Now(NamedTuple):
    mu: float
    mu_next: float
    lr_m: float
    lr_g: float
    eps: float
    eps_root: float


def initial_clock(h):
    fade = 0.96**h.momentum_decay
    return Clock(1.0, 1.0, fade, fade)


@portable
def per_step(t, clock, h):
    fade_next = clock.fade_t * clock.fade
    mu, mu_next = h.beta1 * (1 - 0.5 * clock.fade_t), h.beta1 * (1 - 0.5 * fade_next)
    clock = Clock(clock.beta2_t * h.beta2, clock.mu_product * mu, clock.fade, fade_next)
    c2 = 1 - clock.beta2_t
    root = math.sqrt(c2)
    weight_m = mu_next / (1 - clock.mu_product * mu_next)
    weight_g = (1 - mu) / (1 - clock.mu_product)
    return clock, Now(mu, mu_next, h.lr * root * weight_m, h.lr * root * weight_g, h.eps * root, h.eps_root * c2)


@portable
def update(x, g, state, h, now):
    m, v = moments(g, state.m, state.v, h)
    return x - (now.lr_m * m + now.lr_g * g) / (math.sqrt(v + now.eps_root) + now.eps), State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now):
    _, v = moments(g, state.m, state.v, h)
    return rate(v / (1 - clock.beta2_t), h)


@portable
def alternating(clock, h, now):
    return 1 - now.mu + now.mu_next * (1 - h.beta1) / (1 + h.beta1)
