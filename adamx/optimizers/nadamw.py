"""NAdamW: NAdam with decoupled weight decay. Dozat 2016 and Loshchilov & Hutter 2017, arXiv 1711.05101.

x_t = (1 - lr weight_decay) x_{t-1} - lr m_bar / (sqrt(v_hat + eps_root) + eps)

with NAdam's m_bar and Adam's v_hat. The decay is multiplied by lr, as in PyTorch and optax.
"""

from typing import NamedTuple

from adamx.optimizers.nadam import Clock, State, alternating, initial_clock, per_step, preconditioner
from adamx.optimizers.nadam import update as nadam_update
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "initial_clock", "per_step", "preconditioner", "update"]

EPS = "outside the root; eps_root inside"
MATCHES = ("torch.optim.NAdam(decoupled_weight_decay=True)", "optax.nadamw")


class Hyper(NamedTuple):
    lr: float = 0.002
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0
    momentum_decay: float = 0.004
    weight_decay: float = 0.01


@portable
def update(x, g, state, h, now):
    return nadam_update(x - h.lr * h.weight_decay * x, g, state, h, now)
