"""Measures: what is written on the tape of a measured step, from the sums over the tensors of its groups."""

from __future__ import annotations

from math import ceil, inf, nan, sqrt

import numpy as np

from adamx.torch.figures import Part
from adamx.torch.operations import Sums
from adamx.watch.tape import MEASURES

QUANTILES = 0.1, 0.5, 0.9
SMALL = 16  # coordinates from which a tensor can be said to be dead


def figures_of(parts: list[tuple[Part, np.ndarray, tuple[float, bool]]]) -> dict[str, float]:
    """MEASURES of some groups together."""
    every = np.concatenate([part.sums for part, _, _ in parts], axis=1)
    sums = Sums(*every)
    sizes = np.concatenate([sizes for _, sizes, _ in parts])
    n = float(sizes.sum())
    if not n:
        return dict.fromkeys(MEASURES, nan)
    rates = [part.rates for part, _, _ in parts]
    quantiles = _quantiles(rates[0] if len(rates) == 1 else np.concatenate(rates))
    large = sizes >= SMALL
    total = dict(zip(Sums._fields, every.sum(axis=1).tolist(), strict=True))
    pulled = pushed = 0.0
    for part, _, (decay, apart) in parts:
        pulled += decay**2 * float(part.sums.x2.sum())
        pushed += float((part.sums.core2 if apart else part.sums.g2).sum())
    return {
        "grad_norm": sqrt(total["g2"]) if total["g2"] >= 0 else nan,
        "step_rms": sqrt(total["step2"] / n) if total["step2"] >= 0 else nan,
        "largest_step": float(np.max(sums.largest)),
        "below_eps": total["below"] / n,
        "effective_lr_10": quantiles[0],
        "effective_lr_50": quantiles[1],
        "effective_lr_90": quantiles[2],
        "lag": sqrt(total["lag"] / n) if total["lag"] >= 0 else nan,
        "root_rms": sqrt(total["root2"] / n) if total["root2"] >= 0 else nan,
        "weight_rms": sqrt(total["x2"] / n) if total["x2"] >= 0 else nan,
        "decay": sqrt(pulled / pushed) if pushed > 0 else (inf if pulled > 0 else 0.0),
        "zero_grads": total["zero"] / n,
        "nonfinite_grads": total["nonfinite"] / n,
        "lost_updates": total["lost"] / n,
        "dead": total["dead"] / n,
        "dead_most": float((sums.dead / np.maximum(sizes, 1))[large].max()) if large.any() else 0.0,
    }


def _quantiles(rates: np.ndarray) -> list[float]:
    """The rates at 10, 50 and 90 % of those that are finite: one of them each (the inverted distribution function)."""
    rates = np.sort(rates)
    count = int(np.searchsorted(rates, inf))  # none is negative, and NaN stands behind infinity
    if not count:
        return [nan] * len(QUANTILES)
    return rates[[max(0, ceil(q * count) - 1) for q in QUANTILES]].tolist()
