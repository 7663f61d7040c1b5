"""Curvature: the Hessian of a loss along the optimizer's own direction, and the preconditioned sharpness.

With P^-1 what the optimizer multiplies gradients with (1 / den of `formulas`) and d = P^-1 g:

    along       d.H d / (g.d): of P^-1 H, seen in the direction that a step without momentum would take. One product
                with the Hessian. Bai et al. 2025, arXiv 2506.04805, follow it to say when Adam spikes.
    sharpness   the largest eigenvalue of P^-1 H, from below, by power iteration that goes on where the last call ended

Parameters, their gradients and the random numbers of torch are left as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


class Curvature(NamedTuple):
    """The result of one call."""

    along: float
    sharpness: float
    vector: list[Any]  # where the power iteration is


def _dot(a: Sequence[Any], b: Sequence[Any]) -> Any:
    return sum(((x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)), torch.zeros(()).double())


def curvature(
    loss: Callable[[], Any],
    params: Sequence[Any],
    multipliers: Sequence[Any],
    vector: Sequence[Any] | None,
    products: int,
) -> Curvature:
    """The curvature of a loss at the parameters.

    Args:
        loss: computes the loss of the batch anew, with its graph.
        multipliers: P^-1, a tensor for each parameter.
        vector: what the last call gave. products: of the power iteration.
    """
    devices = sorted({p.device for p in params if p.is_cuda}, key=str)
    # flash attention has no second derivative
    with torch.random.fork_rng(devices=devices), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        found = torch.autograd.grad(loss(), params, create_graph=True, allow_unused=True)
    used = [i for i, g in enumerate(found) if g is not None and g.requires_grad]
    some, grads, scale = ([part[i] for i in used] for part in (params, found, multipliers))
    if not some:
        return Curvature(float("nan"), float("nan"), [])

    def product(v: Sequence[Any]) -> list[Any]:
        h = torch.autograd.grad(grads, some, v, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(p) if x is None else x for x, p in zip(h, some, strict=True)]

    g = [x.detach() for x in grads]
    d = [x * m.to(x.dtype) for x, m in zip(g, scale, strict=True)]
    along = _dot(d, product(d)) / _dot(g, d)
    if not products:
        return Curvature(float(along), float("nan"), list(vector or []))
    fits = vector and [v.shape for v in vector] == [p.shape for p in some]
    w, most = (list(vector or []) if fits else d), float("nan")
    for _ in range(products):
        # w.H w / (w.P w) is the Rayleigh quotient of P^-1/2 H P^-1/2 at P^1/2 w
        weight = _dot(w, [v / m.to(v.dtype) for v, m in zip(w, scale, strict=True)])
        size = float(weight) ** 0.5
        if not 0 < size < float("inf"):
            break
        w = [v / size for v in w]
        hw = product(w)
        most = float(_dot(w, hw))
        w = [h * m.to(h.dtype) for h, m in zip(hw, scale, strict=True)]
    return Curvature(float(along), most, [v.detach() for v in w])
