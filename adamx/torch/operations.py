"""Operations: the sums of one tensor by torch's own operations, on any device and with any strides."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from adamx.torch.formulas import Formula, scales

TINY = 1e-38  # least root that is divided by


class Sums(NamedTuple):
    """Of the coordinates of one tensor; `largest` is a maximum."""

    g2: Any  # sum of g^2
    nonfinite: Any  # gradients that are NaN or infinite
    zero: Any  # gradients that are 0
    step2: Any  # sum of (move / lr)^2
    core2: Any  # the same without decoupled weight decay
    x2: Any  # sum of x^2
    root2: Any  # sum of root^2
    below: Any  # root < eps
    lag: Any  # sum of g^2 / max(root^2, eps^2)
    lost: Any  # moves, not 0, that the parameter's dtype rounds away
    dead: Any  # gradient 0 and never another: v (without one: m) is 0 too
    largest: Any  # largest |move| / lr


def tensorwise(p: Any, g: Any, f: Formula, lr: float, inverse: float) -> tuple[list[float], Any]:
    """The sums of one tensor and its effective rates; these are NaN where they are not known."""
    real = torch.float64 if p.dtype == torch.float64 else torch.float32
    x, gradient = p.detach().to(real), g.detach().to(real) * inverse
    state: list[Any] = [None if t is None else t.to(real) for t in (f.m, f.v, f.w)]
    m, v, w = state
    pushed, rate = f.sign * gradient + f.coupled * x, f.ratio * lr
    numerator = (0.0 if m is None else f.a * m) + f.b * pushed
    root, multiplier = scales(f, x)
    if f.kind == "copied":
        core = (m - x) * f.a
    elif f.kind == "delta":
        r = pushed * pushed / (v + f.eps)
        before = ((w - (1 - f.decay) * f.eps * r) / (f.decay + (1 - f.decay) * r)).clamp(min=0)
        core = pushed * (before + f.eps).sqrt() / (v + f.eps).sqrt()
    elif f.kind.startswith("kept"):
        core = m * f.a
    else:
        core = numerator / (1 / multiplier - f.b * f.coupled * rate)
    core = core * f.ratio
    step = core + f.decoupled * (x + lr * core) / (1 - lr * f.decoupled)
    return _summed(p, x, gradient, pushed, step, core, root, f, lr), rate * multiplier


def _summed(p: Any, x: Any, g: Any, pushed: Any, step: Any, core: Any, root: Any, f: Formula, lr: float) -> list[float]:
    """Sums of one tensor, in one transfer from its device."""
    move, none, known = lr * step, torch.zeros((), device=x.device), root is not None
    root = none if root is None else root
    behind = torch.where(pushed == 0, torch.zeros_like(x), pushed).double() / root.double().clamp(min=max(f.eps, TINY))
    if f.kind == "copied":
        lost, dead = (f.m == p.detach()) & (g != 0), g == 0
    else:
        kept = next(t for t in (f.v, f.m, x) if t is not None)
        lost, dead = (move != 0) & ((x - move).to(p.dtype) == p.detach()), (g == 0) & (kept == 0)
    some = [
        (g.double() ** 2).sum(),
        (~torch.isfinite(g)).sum(),
        (g == 0).sum(),
        (step.double() ** 2).sum(),
        (core.double() ** 2).sum(),
        (x.double() ** 2).sum(),
        (root.double() ** 2).sum(),
        (root < f.eps).sum() if known else none,
        (behind**2).sum() if known else none,
        lost.sum(),
        dead.sum(),
        step.abs().max() if step.numel() else none,
    ]
    return torch.stack([s.double() for s in some]).tolist()
