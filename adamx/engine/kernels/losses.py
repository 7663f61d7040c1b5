"""Losses of a model's outputs z (rows, outputs), their slopes by z and the derivative of these.

    softmax   mean_r [ log sum_k exp z_rk - z_r,y ]
    logistic  mean_r [ log(1 + exp z_r) - y_r z_r ]
    squares   mean_r [ (z_r - y_r)^2 / 2 ]

Along a direction R{z} of the outputs, R{slopes} is, over the number of rows,

    softmax   p_k (R{z_k} - sum_j p_j R{z_j})       logistic   p (1 - p) R{z}       squares   R{z}
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from adamx.portable import portable, specialise
from adamx.portable.team import Team
from adamx.problems import LOSSES

SOFTMAX, LOGISTIC, SQUARES = range(len(LOSSES))


@portable
def exp_below(x):
    """exp(x) for x <= 0 to 2 units in the last place: it vectorises where libm does not, and is the same everywhere.

    x = r - k ln 2 with whole k and |r| <= ln 2 / 2, a Taylor polynomial of degree 13 for exp(r), and 2^-k from the
    binary digits of k. Below -700 it stays at exp(-700) = 1e-304 (0 in float32).
    """
    x = -700 if x < -700 else x
    k = np.floor(0.5 - x * 1.4426950408889634)
    r = x + k * 0.693145751953125 + k * 1.4286068203094172e-6  # ln 2 in two parts, the first exact in 15 bits
    p = 1 / 6227020800  # 1/13!
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 1 / 2
    p = p * r + 1
    p = p * r + 1
    has = k >= 512
    p, k = p * 2.0**-512 if has else p, k - 512 if has else k
    has = k >= 256
    p, k = p * 2.0**-256 if has else p, k - 256 if has else k
    has = k >= 128
    p, k = p * 2.0**-128 if has else p, k - 128 if has else k
    has = k >= 64
    p, k = p * 2.0**-64 if has else p, k - 64 if has else k
    has = k >= 32
    p, k = p * 2.0**-32 if has else p, k - 32 if has else k
    has = k >= 16
    p, k = p * 2.0**-16 if has else p, k - 16 if has else k
    has = k >= 8
    p, k = p * 2.0**-8 if has else p, k - 8 if has else k
    has = k >= 4
    p, k = p * 2.0**-4 if has else p, k - 4 if has else k
    has = k >= 2
    p, k = p * 2.0**-2 if has else p, k - 2 if has else k
    return p * 0.5 if k >= 1 else p


class Losses(NamedTuple):
    """The functions of `losses(dtype, team)`; see the source of each. `loss` is one of the numbers above."""

    value: Any
    hits: Any
    turn: Any


@cache
def losses(dtype: str, team: Team) -> Losses:
    """The functions for one dtype, to be inlined in a kernel: which loss is a run-time value."""
    real: Any = np.dtype(dtype).type
    zero, one, half = real(0), real(1), real(0.5)
    exp, share, sync, total = specialise(exp_below, dtype), team.share, team.sync, team.total

    @portable
    def value(loss, z, labels, rows, slope, count, outputs):
        """The mean loss of outputs z (count, outputs); slope becomes its gradient by z."""
        share_of_row = one / real(count)
        lost = zero
        if loss == SOFTMAX:
            for r in share(0, count):
                at = np.uint64(r * outputs)
                top = z[at]
                for k in range(np.uint64(1), np.uint64(outputs)):
                    top = max(top, z[at + k])
                for k in range(np.uint64(outputs)):
                    slope[at + k] = z[at + k] - top
                lost -= slope[at + int(labels[rows[r]])]
            sync()
            for i in share(0, count * outputs):
                slope[i] = exp(slope[i])
            sync()
            for r in share(0, count):
                at = np.uint64(r * outputs)
                norm = zero
                for k in range(np.uint64(outputs)):
                    norm += slope[at + k]
                scale = share_of_row / norm
                for k in range(np.uint64(outputs)):
                    slope[at + k] *= scale
                slope[at + int(labels[rows[r]])] -= share_of_row
                lost += math.log(norm)
        elif loss == LOGISTIC:
            for r in share(0, count):
                y = labels[rows[r]]
                e = exp(-abs(z[r]))
                lost += max(z[r], zero * z[r]) - y * z[r] + math.log1p(e)
                slope[r] = share_of_row * ((one if z[r] >= zero else e) / (one + e) - y)
        else:
            for r in share(0, count):
                residual = z[r] - labels[rows[r]]
                lost += half * residual * residual
                slope[r] = share_of_row * residual
        return total(lost) * share_of_row

    @portable
    def hits(z, labels, rows, count, outputs):
        """How many of this worker's rows are answered right."""
        right = zero
        for r in share(0, count):
            at, label = np.uint64(r * outputs), int(labels[rows[r]])
            if outputs == 1:
                hit = (z[at] > zero) == (label > 0)
            else:  # the first of the largest outputs is the label's
                hit = True
                for k in range(outputs):
                    hit &= z[at + k] < z[at + label] if k < label else z[at + k] <= z[at + label]
            right += one if hit else zero
        return right

    @portable
    def turn(loss, labels, rows, slope, z, out, count, outputs):
        """R{slope} of the outputs, from the slopes and z = R{outputs}."""
        n = real(count)
        for r in share(0, count):
            at = np.uint64(r * outputs)
            if loss == SOFTMAX:
                label = at + np.uint64(int(labels[rows[r]]))
                mean = z[label]
                for k in range(at, at + np.uint64(outputs)):
                    mean += slope[k] * n * z[k]
                for k in range(at, at + np.uint64(outputs)):
                    p = slope[k] * n + (one if k == label else zero)
                    out[k] = p * (z[k] - mean) / n
            elif loss == LOGISTIC:
                p = slope[r] * n + labels[rows[r]]
                out[r] = p * (one - p) * z[r] / n
            else:
                out[r] = z[r] / n
        sync()

    return Losses(value, hits, turn)
