"""The model of every task: fully connected layers with ReLU between them, its loss and its gradient.

With no hidden layer it is softmax regression, logistic regression or least squares. Parameters lie in one flat array,
layer by layer: weights (inputs, outputs), then biases. A team of workers shares every loop; all scratch belongs to the
caller. Layer widths, data and loss are run-time values, so one compiled kernel serves every task.

    softmax   mean_r [ log sum_k exp z_rk - z_r,y ]
    logistic  mean_r [ log(1 + exp z_r) - y_r z_r ]
    squares   mean_r [ (z_r - y_r)^2 / 2 ]
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from adamx.engine.kernels.team import LEFT, NEITHER, RIGHT, Team
from adamx.portable import portable, rng, specialise
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


class Scratch(NamedTuple):
    """What a gradient or a score needs, for `capacity` rows at a time. All flat, with any content.

    acts (capacity * units) are the activations, layer after layer, and slopes (capacity * units without the first
    layer's) the gradients by them; rows (capacity,) are int64; part (parameters,) is used where a batch has more rows.
    """

    acts: Any
    slopes: Any
    rows: Any
    part: Any


class Network(NamedTuple):
    """The functions of `network(dtype, team)`; see the source of each."""

    start: Any
    walk: Any
    gather: Any
    forward: Any
    loss: Any
    top_of: Any


@cache
def network(dtype: str, team: Team) -> Network:
    """The model's functions for one dtype, to be inlined in a kernel. `widths` (layers + 1,) are the layers' units.

    What they write can be read by every worker once they return.
    """
    real: Any = np.dtype(dtype).type
    zero, one, half, two = real(0), real(1), real(0.5), real(2)
    gaussian, exp = specialise(rng.gaussian, dtype), specialise(exp_below, dtype)
    share, rows_of, columns_of, _, sync, total, _, sums, product = team

    @portable
    def start(x, widths, seed):
        """He et al. 2015 weights from the seed, zero biases; a linear model starts at zero."""
        first = 0
        for i in range(len(widths) - 1):
            a, b = widths[i], widths[i + 1]
            scale = math.sqrt(two / real(a)) if len(widths) > 2 else zero
            for j in share(first, first + a * b):
                u, w = rng.bits(seed, rng.WEIGHTS, 0, j)
                x[j] = scale * gaussian(u, w)
            for j in share(first + a * b, first + (a + 1) * b):
                x[j] = zero
            first += (a + 1) * b
        sync()

    @portable
    def gather(data, batch, seed, t, first, count, scratch):
        """Copy rows into the first layer: `count` from the first-th on, of step t's minibatch or, batch 0, of all."""
        n, features = data.shape
        for r in share(0, count):
            scratch.rows[r] = rng.below(n, seed, rng.ROWS, t, first + r) if batch > 0 else first + r
        sync()
        for r in rows_of(count):
            row, at = scratch.rows[r], np.uint64(r * features)
            for j in columns_of(features):
                scratch.acts[at + j] = data[row, j]
        sync()

    @portable
    def forward(x, widths, acts, count):
        """Fill acts from its first layer on; returns where the outputs (count, outputs) begin."""
        first, below = 0, 0
        layers = len(widths) - 1
        for i in range(layers):
            a, b = widths[i], widths[i + 1]
            above = below + count * a
            out = acts[above : above + count * b]
            product(acts[below:above], x[first : first + a * b], out, count, a, b, NEITHER)
            bias = x[first + a * b : first + (a + 1) * b]
            for r in rows_of(count):
                at = np.uint64(r * b)
                for j in columns_of(b):
                    z = out[at + j] + bias[j]
                    out[at + j] = z if (i == layers - 1 or z > zero) else z * zero
            sync()
            first += (a + 1) * b
            below = above
        return below

    @portable
    def loss(kind, z, labels, rows, slope, count, outputs):
        """The mean loss of outputs z (count, outputs); slope becomes its gradient by z."""
        share_of_row = one / real(count)
        lost = zero
        if kind == SOFTMAX:
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
        elif kind == LOGISTIC:
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
    def top_of(widths, count):
        """Where the last layer's inputs begin in acts, and its slopes in slopes."""
        below, above = 0, 0
        for i in range(len(widths) - 2):
            below += count * widths[i]
            above += count * widths[i + 1]
        return below, above

    @portable
    def backward(x, widths, acts, slopes, count, g):
        """The gradient g by all parameters, from slopes of the outputs; slopes are filled downwards."""
        first, (below, above) = len(x), top_of(widths, count)  # where layers begin: in x, in acts, in slopes
        for i in range(len(widths) - 2, -1, -1):
            a, b = widths[i], widths[i + 1]
            first -= (a + 1) * b
            inputs, slope = acts[below : below + count * a], slopes[above : above + count * b]
            product(inputs, slope, g[first : first + a * b], a, count, b, LEFT)
            sums(slope, g[first + a * b : first + (a + 1) * b], count, b)
            if i > 0:
                down = slopes[above - count * a : above]
                product(slope, x[first : first + a * b], down, count, b, a, RIGHT)
                for j in share(0, count * a):
                    down[j] = down[j] if inputs[j] > zero else zero
                sync()
                below -= count * widths[i - 1]
                above -= count * a

    @portable
    def walk(kind, x, widths, data, labels, batch, seed, t, learn, capacity, scratch, g):
        """Take step t's minibatch or, batch 0, all rows through the network.

        Returns:
            the mean loss; and the share of right answers or, where `learn`, 0, and g becomes the gradient.
        """
        n, outputs = batch if batch > 0 else data.shape[0], widths[len(widths) - 1]
        mean, right = zero, zero
        for r0 in range(0, n, capacity):
            count = min(capacity, n - r0)
            weight = real(count) / real(n)
            gather(data, batch, seed, t, r0, count, scratch)
            first = forward(x, widths, scratch.acts, count)
            z = scratch.acts[first : first + count * outputs]
            top = first - count * widths[0]
            slope = scratch.slopes[top : top + count * outputs]
            lost = loss(kind, z, labels, scratch.rows, slope, count, outputs)
            mean += lost * weight if learn else lost * real(count)
            if learn:
                backward(x, widths, scratch.acts, scratch.slopes, count, g if count == n else scratch.part)
                for i in share(0, len(g) if count < n else 0):
                    g[i] = scratch.part[i] * weight + (g[i] if r0 > 0 else zero)
            else:
                right += hits(z, labels, scratch.rows, count, outputs)
            sync()
        return mean if learn else mean / real(n), total(right) / real(n)

    return Network(start, walk, gather, forward, loss, top_of)
