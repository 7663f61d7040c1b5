"""Curvature: the Hessian of a network's mean loss over all rows, times a vector. Exact; the Hessian is never formed.

R{} is the derivative along u, a direction in the space of the parameters, of all that a gradient computes (Pearlmutter
1994, Neural Comput. 6(1)). With a the activations, z = a W + c, d the slopes of the loss by z, and U the part of u that
belongs to W (V to c), every layer has

    R{z} = R{a} W + a U + V                 R{next a} = R{z} where z > 0, else 0; of the inputs it is 0
    R{loss by W} = R{a}' d + a' R{d}        R{loss by c} = the sum of R{d} over the rows
    R{d below} = R{d} W' + d U'             where z below is > 0, else 0: a kink has the curvature of its side

and at the outputs R{d} is, over the number of rows,

    softmax   p_k (R{z_k} - sum_j p_j R{z_j})       logistic   p (1 - p) R{z}       squares   R{z}
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from adamx.engine.kernels.network import LOGISTIC, SOFTMAX, network
from adamx.engine.kernels.team import LEFT, NEITHER, RIGHT, Team
from adamx.portable import portable


class Tangents(NamedTuple):
    """Scratch for a product, flat, with any content: R{} of what the network's `Scratch` holds.

    acts and slopes (capacity * units without the first layer's); other (parameters,).
    """

    acts: Any
    slopes: Any
    other: Any


@cache
def curvature(dtype: str, team: Team) -> Any:
    """f(kind, x, u, widths, data, labels, capacity, scratch, tangents, out): out (parameters,) becomes H u at x."""
    real: Any = np.dtype(dtype).type
    zero, one = real(0), real(1)
    _, _, gather, forward, loss, top_of = network(dtype, team)
    share, rows_of, columns_of, _, sync, _, _, sums, product = team

    @portable
    def ahead(x, u, widths, acts, tangents, count):
        """R{z}, or of its ReLU, of every layer."""
        first, below, at = 0, 0, 0  # where layers begin: in x, in acts, in the tangents
        layers = len(widths) - 1
        for i in range(layers):
            a, b = widths[i], widths[i + 1]
            weights, biases = slice(first, first + a * b), slice(first + a * b, first + (a + 1) * b)
            above = below + count * a
            inputs, outputs, out = (
                acts[below:above],
                acts[above : above + count * b],
                tangents.acts[at : at + count * b],
            )
            through = tangents.slopes[: count * b]  # not yet used
            product(inputs, u[weights], out, count, a, b, NEITHER)
            if i > 0:
                product(tangents.acts[at - count * a : at], x[weights], through, count, a, b, NEITHER)
            bias = u[biases]
            for r in rows_of(count):
                row = np.uint64(r * b)
                for j in columns_of(b):
                    z = out[row + j] + bias[j]
                    z = z + through[row + j] if i > 0 else z
                    out[row + j] = z if (i == layers - 1 or outputs[row + j] > zero) else zero
            sync()
            first += (a + 1) * b
            below = above
            at += count * b

    @portable
    def turn(kind, labels, rows, slope, z, out, count, outputs):
        """R{slope} of the outputs, from the slopes and z = R{outputs}."""
        n = real(count)
        for r in share(0, count):
            at = np.uint64(r * outputs)
            if kind == SOFTMAX:
                label = at + np.uint64(int(labels[rows[r]]))
                mean = z[label]
                for k in range(at, at + np.uint64(outputs)):
                    mean += slope[k] * n * z[k]
                for k in range(at, at + np.uint64(outputs)):
                    p = slope[k] * n + (one if k == label else zero)
                    out[k] = p * (z[k] - mean) / n
            elif kind == LOGISTIC:
                p = slope[r] * n + labels[rows[r]]
                out[r] = p * (one - p) * z[r] / n
            else:
                out[r] = z[r] / n
        sync()

    @portable
    def back(x, u, widths, scratch, tangents, count, out):
        """R{gradient}; slopes and their tangents are filled downwards."""
        first, (below, above) = len(x), top_of(widths, count)  # where layers begin: in x, in acts, in slopes
        for i in range(len(widths) - 2, -1, -1):
            a, b = widths[i], widths[i + 1]
            first -= (a + 1) * b
            weights = slice(first, first + a * b)
            inputs, top = scratch.acts[below : below + count * a], slice(above, above + count * b)
            product(inputs, tangents.slopes[top], out[weights], a, count, b, LEFT)
            sums(tangents.slopes[top], out[first + a * b : first + (a + 1) * b], count, b)
            if i > 0:
                under = slice(above - count * a, above)
                moved, down, turned = tangents.acts[under], scratch.slopes[under], tangents.slopes[under]
                product(moved, scratch.slopes[top], tangents.other[weights], a, count, b, LEFT)
                for j in share(first, first + a * b):
                    out[j] += tangents.other[j]
                product(scratch.slopes[top], u[weights], moved, count, b, a, RIGHT)  # its place is free now
                product(scratch.slopes[top], x[weights], down, count, b, a, RIGHT)
                product(tangents.slopes[top], x[weights], turned, count, b, a, RIGHT)
                for j in share(0, count * a):
                    on = inputs[j] > zero
                    down[j] = down[j] if on else zero
                    turned[j] = turned[j] + moved[j] if on else zero
                sync()
                below -= count * widths[i - 1]
                above -= count * a

    @portable
    def times(kind, x, u, widths, data, labels, capacity, scratch, tangents, out):
        n, outputs = data.shape[0], widths[len(widths) - 1]
        for r0 in range(0, n, capacity):
            count = min(capacity, n - r0)
            weight = real(count) / real(n)
            gather(data, 0, 0, 0, r0, count, scratch)
            first = forward(x, widths, scratch.acts, count)
            ahead(x, u, widths, scratch.acts, tangents, count)
            top = first - count * widths[0]
            z, here = scratch.acts[first : first + count * outputs], slice(top, top + count * outputs)
            loss(kind, z, labels, scratch.rows, scratch.slopes[here], count, outputs)
            sync()
            turn(
                kind, labels, scratch.rows, scratch.slopes[here], tangents.acts[here], tangents.slopes[here], count,
                outputs,
            )  # fmt: skip
            back(x, u, widths, scratch, tangents, count, out if count == n else scratch.part)
            sync()
            for i in share(0, len(out) if count < n else 0):
                out[i] = scratch.part[i] * weight + (out[i] if r0 > 0 else zero)
            sync()

    return times
