"""AdamW: Adam with decoupled weight decay. Loshchilov & Hutter 2017, arXiv 1711.05101, algorithm 2.

x_t = (1 - lr weight_decay) x_{t-1} - lr m_hat / (sqrt(v_hat + eps_root) + eps)

with Adam's m_hat and v_hat. The decay is multiplied by lr, as in PyTorch and optax.

STABLE is derived: z = -1 in z^2 - (d + beta1 - (1 - beta1) lr curvature / eps) z + d beta1, the polynomial of the steps
at v = 0, with d = 1 - lr weight_decay.
"""

from typing import NamedTuple

from adamx.optimizers import Stable
from adamx.optimizers.adam import COHEN, Clock, State, alternating, per_step, preconditioner
from adamx.optimizers.adam import update as adam_update
from adamx.portable import portable

__all__ = ["Clock", "Hyper", "State", "alternating", "per_step", "preconditioner", "update"]

EPS = "outside the root; eps_root inside"
MATCHES = ("torch.optim.AdamW",)
STABLE = Stable(
    "eps",
    ">",
    "lr curvature (1 - beta1) / ((2 - lr weight_decay) (1 + beta1))",
    COHEN,
    lambda h, L: h["lr"] * L * (1 - h["beta1"]) / ((2 - h["lr"] * h["weight_decay"]) * (1 + h["beta1"])),
)


class Hyper(NamedTuple):
    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0
    bias_correction: bool = True
    weight_decay: float = 0.01


@portable
def update(x, g, state, h, now):
    return adam_update(x - h.lr * h.weight_decay * x, g, state, h, now)
