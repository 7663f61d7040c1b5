"""Layer normalisation over the units of a layer, a row at a time (Ba, Kiros & Hinton 2016, arXiv 1607.06450).

With mean and var over the `width` numbers z of a row (var is the mean of squares, not width - 1), gain and shift
(width,) parameters that start at 1 and 0, and eps as torch.nn.LayerNorm has it,

    r = 1 / sqrt(var + EPS)     n = (z - mean) r        y = gain n + shift

    slopes      d n = gain d y          d z = r (d n - mean(d n) - n mean(d n n))       means over the row
    along u     R{r} = r q, q = -r mean(n R{z})         R{n} = r (R{z} - mean R{z}) + n q

and R{d z} is d z q + r R{what is in its brackets}. A row's sums are one worker's, in the order of the units: they
do not depend on the team.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from adamx.portable import portable
from adamx.portable.team import Team

EPS = 1e-5


class LayerNorm(NamedTuple):
    """The functions of `layernorm(dtype, team)`. All arrays are flat.

    Arguments: z, y, n, dy, dz and R{} of them are (count, width); r and q (count,); gain, shift, their slopes and R{}
    of them (width,). `free` (count, width) is scratch.
    """

    up: Any  # (z, n, r, gain, shift, count, width): z becomes y; n and r are kept for the others
    down: Any  # (dy, n, r, gain, d_gain, d_shift, free, count, width): dy becomes dz
    ahead: Any  # (Rz, n, r, Rn, q, gain, u_gain, u_shift, count, width): R{z} becomes R{y}; Rn and q are kept
    back: Any  # (dy, Rdy, n, r, Rn, q, gain, u_gain, R_gain, R_shift, free, count, width): they become dz and R{dz}


@cache
def layernorm(dtype: str, team: Team) -> LayerNorm:
    """The functions for one dtype and team; each ends with a sync."""
    real: Any = np.dtype(dtype).type
    zero, one, eps = real(0), real(1), real(EPS)
    share, sync, sums = team.share, team.sync, team.sums

    @portable
    def up(z, n, r, gain, shift, count, width):
        units = np.uint64(width)
        for row in share(0, count):
            at, mean, squares = row * units, zero, zero
            for j in range(units):
                mean += z[at + j]
            mean /= real(width)
            for j in range(units):
                n[at + j] = z[at + j] - mean
                squares += n[at + j] * n[at + j]
            scale = one / math.sqrt(squares / real(width) + eps)
            r[row] = scale
            for j in range(units):
                n[at + j] *= scale
                z[at + j] = gain[j] * n[at + j] + shift[j]
        sync()

    @portable
    def down(dy, n, r, gain, d_gain, d_shift, free, count, width):
        units = np.uint64(width)
        for i in share(0, count * width):
            free[i] = dy[i] * n[i]
        sync()
        sums(free, d_gain, count, width)
        sums(dy, d_shift, count, width)
        for row in share(0, count):
            at, mean, along = row * units, zero, zero
            for j in range(units):
                dy[at + j] *= gain[j]
                mean += dy[at + j]
                along += dy[at + j] * n[at + j]
            mean, along = mean / real(width), along / real(width)
            for j in range(units):
                dy[at + j] = r[row] * (dy[at + j] - mean - n[at + j] * along)
        sync()

    @portable
    def ahead(Rz, n, r, Rn, q, gain, u_gain, u_shift, count, width):
        units = np.uint64(width)
        for row in share(0, count):
            at, mean, along = row * units, zero, zero
            for j in range(units):
                mean += Rz[at + j]
                along += Rz[at + j] * n[at + j]
            mean, rate = mean / real(width), -r[row] * along / real(width)
            q[row] = rate
            for j in range(units):
                Rn[at + j] = r[row] * (Rz[at + j] - mean) + n[at + j] * rate
                Rz[at + j] = gain[j] * Rn[at + j] + u_gain[j] * n[at + j] + u_shift[j]
        sync()

    @portable
    def back(dy, Rdy, n, r, Rn, q, gain, u_gain, R_gain, R_shift, free, count, width):
        units = np.uint64(width)
        for i in share(0, count * width):
            free[i] = Rdy[i] * n[i] + dy[i] * Rn[i]
        sync()
        sums(free, R_gain, count, width)
        sums(Rdy, R_shift, count, width)
        for row in share(0, count):
            at, mean, along, Rmean, Ralong = row * units, zero, zero, zero, zero
            for j in range(units):
                Rdy[at + j] = Rdy[at + j] * gain[j] + dy[at + j] * u_gain[j]
                dy[at + j] *= gain[j]
                mean += dy[at + j]
                along += dy[at + j] * n[at + j]
                Rmean += Rdy[at + j]
                Ralong += Rdy[at + j] * n[at + j] + dy[at + j] * Rn[at + j]
            mean, along = mean / real(width), along / real(width)
            Rmean, Ralong = Rmean / real(width), Ralong / real(width)
            for j in range(units):
                dy[at + j] = r[row] * (dy[at + j] - mean - n[at + j] * along)
                inner = Rdy[at + j] - Rmean - Rn[at + j] * along - n[at + j] * Ralong
                Rdy[at + j] = dy[at + j] * q[row] + r[row] * inner
        sync()

    return LayerNorm(up, down, ahead, back)
