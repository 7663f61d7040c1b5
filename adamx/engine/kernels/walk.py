"""Walk: rows of data through a model and its loss, up for the value and down for the gradient.

A team of workers shares every loop; all scratch belongs to the caller. Sizes, data and loss are run-time values, so one
compiled kernel serves every task of a kind of model.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from adamx.engine.kernels.losses import losses
from adamx.models import Family
from adamx.portable import portable, rng
from adamx.portable.team import Team


class Rows(NamedTuple):
    """Rows of data: x (rows, features), y (rows,)."""

    x: Any
    y: Any


class Draw(NamedTuple):
    """Which rows: those of step t's minibatch under a seed or, batch 0, all."""

    batch: Any
    seed: Any
    t: Any


@cache
def gathering(team: Team) -> Any:
    """f(x, draw, first, count, scratch): copy rows of x, `count` from the first-th of the draw on, into scratch.acts.

    Their positions are in scratch.rows.
    """
    share, rows_of, columns_of, sync = team.share, team.rows, team.columns, team.sync

    @portable
    def gather(x, draw, first, count, scratch):
        n, features = x.shape
        for r in share(0, count):
            scratch.rows[r] = (
                rng.below(n, draw.seed, rng.ROWS, draw.t, first + r) if draw.batch > 0 else first + r
            )  # fmt: skip
        sync()
        for r in rows_of(count):
            row, at = scratch.rows[r], np.uint64(r * features)
            for j in columns_of(features):
                scratch.acts[at + j] = x[row, j]
        sync()

    return gather


@cache
def walking(kind: Family, dtype: str, team: Team) -> Any:
    """f(x, model, rows, draw, learn, scratch, g): the mean loss of the rows drawn, at the parameters x.

    The model is the kernel's group. It returns the loss; and the share of right answers or, where `learn`, 0, and g
    (parameters,) becomes the gradient. What it writes can be read by every worker.
    """
    real: Any = np.dtype(dtype).type
    zero = real(0)
    share, sync, total = team.share, team.sync, team.total
    _, outputs_at, forward, backward = kind.functions(dtype, team)
    gather, (loss, hits, _) = gathering(team), losses(dtype, team)

    @portable
    def walk(x, model, rows, draw, learn, scratch, g):
        n, outputs = draw.batch if draw.batch > 0 else rows.x.shape[0], model.outputs
        mean, right = zero, zero
        for r0 in range(0, n, scratch.capacity):
            count = min(scratch.capacity, n - r0)
            weight = real(count) / real(n)
            gather(rows.x, draw, r0, count, scratch)
            forward(x, model.sizes, scratch.acts, count)
            at, above = outputs_at(model.sizes, count)
            z, slope = scratch.acts[at : at + count * outputs], scratch.slopes[above : above + count * outputs]
            lost = loss(model.loss, z, rows.y, scratch.rows, slope, count, outputs)
            mean += lost * weight if learn else lost * real(count)
            if learn:
                backward(x, model.sizes, scratch.acts, scratch.slopes, count, g if count == n else scratch.part)
                for i in share(0, len(g) if count < n else 0):
                    g[i] = scratch.part[i] * weight + (g[i] if r0 > 0 else zero)
            else:
                right += hits(z, rows.y, scratch.rows, count, outputs)
            sync()
        return mean if learn else mean / real(n), total(right) / real(n)

    return walk
