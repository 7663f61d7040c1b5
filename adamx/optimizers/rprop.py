"""Rprop. Riedmiller & Braun 1993, ICNN; without backtracking: iRprop- of Igel & Huesken 2000, as in PyTorch.

s_t = sign(g_t), or 0 where g_t changed sign since the last step: no move then, nor a comparison with it afterwards
d_t = clip(d_{t-1} (eta_plus if the sign stayed, eta_minus if it changed, else 1), min_step_size, max_step_size)
x_t = x_{t-1} - s_t d_t                         d_0 = lr

There is no eps: only the gradient's sign counts, and lr is no more than the first step's size. d is kept as a multiple
of lr, so that a schedule scales all steps. Signs are compared, not multiplied gradients (PyTorch, optax), which
underflow. optax does not clip d where s_t or s_{t-1} is 0.
"""

from typing import NamedTuple

from adamx.portable import portable

EPS = "none: only signs count"
RANGES = {"eta_minus": (0, 1), "eta_plus": (1,)}
MATCHES = ("torch.optim.Rprop",)


class Hyper(NamedTuple):
    lr: float = 0.01
    eta_minus: float = 0.5
    eta_plus: float = 1.2
    min_step_size: float = 1e-6
    max_step_size: float = 50.0


class State(NamedTuple):
    sign: float
    multiple: float  # of lr


def initial_state(h):
    return State(0.0, 1.0)


@portable
def update(x, g, state, h, now):
    sign = 1.0 if g > 0 else (-1.0 if g < 0 else 0.0)
    same = sign * state.sign
    step = h.lr * state.multiple * (h.eta_plus if same > 0 else (h.eta_minus if same < 0 else 1.0))
    step = h.min_step_size if step < h.min_step_size else step
    step = h.max_step_size if step > h.max_step_size else step
    sign = 0.0 if same < 0 else sign
    return x - sign * step, State(sign, step / h.lr)
