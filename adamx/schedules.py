"""Learning-rate schedules, for every rule: lr_t = lr factor(t), t from 1 to steps.

With w = lr_warmup and n = steps - w,

    warm-up         t / w for t <= w; then
    constant        1
    linear          1 - (1 - lr_end) u                          u = (t - 1 - w) / n, as optax and PyTorch count
    cosine          lr_end + (1 - lr_end) (1 + cos(pi u)) / 2   Loshchilov & Hutter 2016, arXiv 1608.03983
    inverse_sqrt    sqrt(max(w, 1) / t)                         Vaswani et al. 2017, arXiv 1706.03762, section 5.3
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from adamx.portable import portable


class Schedule(NamedTuple):
    """Columns of every rule: steps of warm-up, and the share of lr that is left at the end of a decay."""

    lr_warmup: float = 0.0
    lr_end: float = 0.0


@portable
def decayed(t, steps, s):
    """The share of the decay that lies behind step t, in [0, 1)."""
    return max(t - 1 - s.lr_warmup, 0) / max(steps - s.lr_warmup, 1)


@portable
def warm(t, s):
    """The factor of the warm-up."""
    return t / s.lr_warmup if t < s.lr_warmup else 1


@portable
def constant(t, steps, s):
    return warm(t, s)


@portable
def linear(t, steps, s):
    return warm(t, s) * (1 - (1 - s.lr_end) * decayed(t, steps, s))


@portable
def cosine(t, steps, s):
    half = 0.5 + 0.5 * math.cos(math.pi * decayed(t, steps, s))
    return warm(t, s) * (s.lr_end + (1 - s.lr_end) * half)


@portable
def inverse_sqrt(t, steps, s):
    return warm(t, s) * math.sqrt(max(s.lr_warmup, 1) / max(t, max(s.lr_warmup, 1)))


SCHEDULES: dict[str, Any] = {f.__name__: f for f in (constant, linear, cosine, inverse_sqrt)}
