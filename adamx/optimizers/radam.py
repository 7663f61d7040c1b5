"""RAdam: rectified Adam. Liu et al. 2019, arXiv 1908.03265, algorithm 2; eps, eps_root and threshold as in optax.

m_hat, v_hat as in Adam                         rho_inf = 2 / (1 - beta2) - 1
rho_t = rho_inf - 2 t beta2^t / (1 - beta2^t)   the number of gradients that v averages over
x_t = x_{t-1} - lr r_t m_hat / (sqrt(v_hat + eps_root) + eps)  if rho_t > threshold, else x_{t-1} - lr m_hat
r_t = sqrt((rho_t - 4) (rho_t - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho_t))

r_t needs rho_t > 4, the paper's threshold (a smaller one counts as 4); PyTorch and optax have 5. With beta2 <= 0.6 it
is never adaptive. Both epsilons mean what they do in Adam; PyTorch's stands beside the uncorrected sqrt(v_t).
"""

import math
from typing import NamedTuple

from adamx.optimizers.adam import State, alternating, moments
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "outside the root; eps_root inside"
MATCHES = ("optax.radam", "torch.optim.RAdam(eps=1e-300)")


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0
    threshold: float = 5.0


class Clock(NamedTuple):
    beta1_t: float = 1.0
    beta2_t: float = 1.0
    weight: float = 0.0
    age: float = 0.0


class Now(NamedTuple):
    lr: float
    eps: float
    eps_root: float
    adaptive: float


@portable
def per_step(t, clock, h):
    # (rho_t + 1) / 2 is the mean of i <= t with weights beta2^(i-1): sums lose no digits, as the difference does
    weight, age = clock.weight + clock.beta2_t, clock.age + t * clock.beta2_t
    clock = Clock(clock.beta1_t * h.beta1, clock.beta2_t * h.beta2, weight, age)
    rho_t, rho_inf = 2 * age / weight - 1, 2 / (1 - h.beta2) - 1
    adaptive = rho_t > (h.threshold if h.threshold > 4 else 4.0)
    rho, top = (rho_t, rho_inf) if adaptive else (5.0, 5.0)
    r = math.sqrt((rho - 4) * (rho - 2) * top / ((top - 4) * (top - 2) * rho))
    c2 = 1 - clock.beta2_t
    root = math.sqrt(c2)
    lr = h.lr / (1 - clock.beta1_t) * (r * root if adaptive else 1.0)
    return clock, Now(lr, h.eps * root, h.eps_root * c2, 1.0 if adaptive else 0.0)


@portable
def update(x, g, state, h, now):
    m, v = moments(g, state.m, state.v, h)
    scale = math.sqrt(v + now.eps_root) + now.eps
    return x - now.lr * m / (scale if now.adaptive > 0 else 1.0), State(m, v)


@portable
def preconditioner(x, g, state, clock, h, now):
    _, v = moments(g, state.m, state.v, h)
    root, scale = math.sqrt(v / (1 - clock.beta2_t)), math.sqrt(v + now.eps_root) + now.eps
    return root, now.lr * (1 - clock.beta1_t) / (scale if now.adaptive > 0 else 1.0)
