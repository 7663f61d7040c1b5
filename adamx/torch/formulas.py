"""Formulas: the step that an optimizer of torch.optim has just made, from what it keeps, and no copy of parameters.

With x the parameter after the step, g its gradient, and m, v, w the tensors of its state:

    n      = a m + b (sign g + coupled x_before)            numerator
    root   = sqrt(c v)                                      what the literature calls sqrt(v_hat)
    den    = scale (root + eps)
    move   = rate n / den + lr decoupled x_before           x_before - x

    plain      den = 1: there is no v
    root       as above
    centered   root = sqrt(c v - w^2)
    largest    root = v: an infinity norm that has eps in it
    delta      n / den = sqrt(w + eps) / sqrt(v + eps) g, with w as it was before the step (Adadelta)
    kept       move = rate m, while den is only the scale (RMSprop with momentum)
    copied     m is a copy of the parameter from before the step: of an optimizer that is not one of torch.optim's

The sources are the papers that torch.optim names, in torch's own order of operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch


class Formula(NamedTuple):
    """The step of one parameter: its tensors (None for those that it has not), its kind and its numbers."""

    m: Any = None
    v: Any = None
    w: Any = None
    kind: str = "plain"
    a: float = 0.0
    b: float = 0.0
    c: float = 0.0
    eps: float = 0.0
    scale: float = 1.0
    coupled: float = 0.0
    decoupled: float = 0.0
    ratio: float = 1.0  # rate / lr
    sign: float = 1.0
    decay: float = 0.0  # the share of v that is left after a step without gradients
    beta1: float = 0.0  # the share of the old m in the new one


NUMBERS = tuple(name for name in Formula._fields if name not in ("m", "v", "w", "kind"))


def _decays(group: Mapping[str, Any]) -> dict[str, Any]:
    decay = float(group.get("weight_decay", 0))
    apart = group.get("decoupled_weight_decay", False)
    signed = -1.0 if group.get("maximize") else 1.0
    return {"decoupled": decay, "sign": signed} if apart else {"coupled": decay, "sign": signed}


def _sgd(group: Any, state: Any, t: float) -> Formula:
    m, momentum = state.get("momentum_buffer"), float(group["momentum"])
    if m is None:
        return Formula(b=1.0, **_decays(group))
    a, b = (momentum, 1.0) if group["nesterov"] else (1.0, 0.0)
    return Formula(m=m, a=a, b=b, beta1=momentum, **_decays(group))


def _adam(group: Any, state: Any, t: float) -> Formula:
    beta1, beta2 = map(float, group["betas"])
    v = state["max_exp_avg_sq"] if group["amsgrad"] else state["exp_avg_sq"]
    a, c = 1 / (1 - beta1**t), 1 / (1 - beta2**t)
    moments = {"m": state["exp_avg"], "v": v, "decay": 1.0 if group["amsgrad"] else beta2, "beta1": beta1}
    return Formula(kind="root", a=a, c=c, eps=group["eps"], **moments, **_decays(group))


def _nadam(group: Any, state: Any, t: float) -> Formula:
    beta1, beta2 = map(float, group["betas"])
    mu, after = (beta1 * (1 - 0.5 * 0.96 ** (s * group["momentum_decay"])) for s in (t, t + 1))
    product = float(state["mu_product"])
    a, b, c = after / (1 - product * after), (1 - mu) / (1 - product), 1 / (1 - beta2**t)
    moments = {"m": state["exp_avg"], "v": state["exp_avg_sq"], "decay": beta2, "beta1": beta1}
    return Formula(kind="root", a=a, b=b, c=c, eps=group["eps"], **moments, **_decays(group))


def _radam(group: Any, state: Any, t: float) -> Formula:
    beta1, beta2 = map(float, group["betas"])
    left = 1 - beta2**t
    most = 2 / (1 - beta2) - 1
    length = most - 2 * t * beta2**t / left
    a, moments = 1 / (1 - beta1**t), {"m": state["exp_avg"], "beta1": beta1}
    if length <= 5:
        return Formula(a=a, **moments, **_decays(group))
    rect = ((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)) ** 0.5
    moments |= {"v": state["exp_avg_sq"], "decay": beta2, "eps": group["eps"] / left**0.5}
    return Formula(kind="root", a=a, c=1 / left, scale=1 / rect, **moments, **_decays(group))


def _rmsprop(group: Any, state: Any, t: float) -> Formula:
    m, w = state.get("momentum_buffer"), state.get("grad_avg") if group["centered"] else None
    which = {"m": m, "a": 1.0} if group["momentum"] > 0 else {"b": 1.0}
    kind = ("kept" if group["momentum"] > 0 else "") + ("centered" if group["centered"] else "")
    memory = {"v": state["square_avg"], "w": w, "decay": group["alpha"], "beta1": group["momentum"]}
    return Formula(kind=kind or "root", c=1.0, eps=group["eps"], **which, **memory, **_decays(group))


def _adagrad(group: Any, state: Any, t: float) -> Formula:
    ratio = 1 / (1 + (t - 1) * group["lr_decay"])
    return Formula(
        kind="root", v=state["sum"], b=1.0, c=1.0, eps=group["eps"], ratio=ratio, decay=1.0, **_decays(group)
    )


def _adadelta(group: Any, state: Any, t: float) -> Formula:
    memory = {"v": state["square_avg"], "w": state["acc_delta"], "decay": group["rho"]}
    return Formula(kind="delta", b=1.0, c=1.0, eps=group["eps"], **memory, **_decays(group))


def _adamax(group: Any, state: Any, t: float) -> Formula:
    beta1, beta2 = map(float, group["betas"])
    moments = {"m": state["exp_avg"], "v": state["exp_inf"], "decay": beta2, "beta1": beta1}
    return Formula(kind="largest", a=1 / (1 - beta1**t), c=1.0, **moments, **_decays(group))


FORMULAS: dict[type, Callable[[Any, Any, float], Formula]] = {
    torch.optim.SGD: _sgd,
    torch.optim.RMSprop: _rmsprop,
    torch.optim.Adagrad: _adagrad,
    torch.optim.Adadelta: _adadelta,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adam,
    torch.optim.Adamax: _adamax,
    torch.optim.NAdam: _nadam,
    torch.optim.RAdam: _radam,
}


def formula_of(optimizer: torch.optim.Optimizer) -> Callable[[Any, Any, float], Formula] | None:
    """f(group, state, t) -> Formula for an optimizer, None where its class is not one of torch.optim's."""
    return FORMULAS.get(type(optimizer))


def of_copy(group: Mapping[str, Any], before: Any) -> Formula:
    """The formula of a step of which nothing is known but the parameter before it."""
    lr = float(group["lr"])
    return Formula(m=before, kind="copied", a=1 / lr if lr else 0.0)


def scales(f: Formula, like: Any) -> tuple[Any, Any]:
    """(root, 1 / den) of every coordinate, as tensors like `like`; root is None where there is no v. NaN: not known."""
    if f.v is None:
        return None, torch.full_like(like, float("nan") if f.kind == "copied" else 1.0)
    v, w = f.v.to(like.dtype), None if f.w is None else f.w.to(like.dtype)
    if f.kind == "delta":
        assert w is not None
        return v.sqrt(), (w + f.eps).sqrt() / (v + f.eps).sqrt()
    if f.kind == "largest":
        return v * f.c, 1 / (v * f.c)
    square: Any = v * f.c - (w * w if w is not None else 0)
    root = square.clamp(min=0).sqrt()
    return root, 1 / ((root + f.eps) * f.scale)


def limit(f: Formula, lr: float, averaged: bool, nesterov: bool) -> float:
    """The preconditioned sharpness above which the step with frozen v diverges on a quadratic.

    With beta the momentum's share of the old: (2 + 2 beta) / lr where the gradient is added whole (heavy ball),
    divided by 1 - beta where it is averaged in (Adam; Cohen et al. 2022, arXiv 2207.14484, section 2), and by
    1 + 2 beta for Nesterov's; 2 / lr without momentum.
    """
    of_one = (2 + 2 * f.beta1) / ((1 - f.beta1) if averaged else 1) / ((1 + 2 * f.beta1) if nesterov else 1)
    return of_one / lr if lr else float("inf")
