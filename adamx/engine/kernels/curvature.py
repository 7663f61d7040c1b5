"""Curvature: the Hessian of a model's mean loss over all rows, times a vector. Exact; the Hessian is never formed.

R{} is the derivative along u, a direction in the space of the parameters, of all that a gradient computes (Pearlmutter
1994, Neural Comput. 6(1)). The model has its own (`adamx.models.Curvature`), the loss its (`losses`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from adamx.engine.kernels.losses import losses
from adamx.engine.kernels.walk import Draw, gathering
from adamx.models import Family
from adamx.portable import portable
from adamx.portable.team import Team


@cache
def curvature(kind: Family, dtype: str, team: Team) -> Any:
    """f(x, u, model, rows, scratch, tangents, out): out (parameters,) becomes H u at x; model is the kernel's group."""
    real: Any = np.dtype(dtype).type
    zero = real(0)
    share, sync = team.share, team.sync
    derived = kind.curvature(dtype, team)
    assert derived, f"{kind.name} has no curvature"  # `instruments.check` has said so
    (ahead, back), (_, outputs_at, forward, _) = derived, kind.functions(dtype, team)
    gather, (loss, _, turn) = gathering(team), losses(dtype, team)

    @portable
    def times(x, u, model, rows, scratch, tangents, out):
        n, outputs = rows.x.shape[0], model.outputs
        for r0 in range(0, n, scratch.capacity):
            count = min(scratch.capacity, n - r0)
            weight = real(count) / real(n)
            gather(rows.x, Draw(0, 0, 0), r0, count, scratch)
            forward(x, model.sizes, scratch.acts, count)
            ahead(x, u, model.sizes, scratch.acts, tangents, count)
            at, above = outputs_at(model.sizes, count)
            z, here = scratch.acts[at : at + count * outputs], slice(above, above + count * outputs)
            loss(model.loss, z, rows.y, scratch.rows, scratch.slopes[here], count, outputs)
            sync()
            turn(
                model.loss, rows.y, scratch.rows, scratch.slopes[here], tangents.acts[here], tangents.slopes[here],
                count, outputs,
            )  # fmt: skip
            back(x, u, model.sizes, scratch, tangents, count, out if count == n else scratch.part)
            sync()
            for i in share(0, len(out) if count < n else 0):
                out[i] = scratch.part[i] * weight + (out[i] if r0 > 0 else zero)
            sync()

    return times
