"""The model of every task: fully connected layers with ReLU between them, its loss and its gradient.

With no hidden layer it is softmax regression, logistic regression or least squares. Parameters lie in one flat array,
layer by layer: weights (inputs, outputs), then biases. Products go through BLAS, one thread a run; all scratch belongs
to the caller. Layer widths, data and loss are run-time values, so one compiled kernel serves every task.

    softmax   mean_r [ log sum_k exp z_rk - z_r,y ]
    logistic  mean_r [ log(1 + exp z_r) - y_r z_r ]
    squares   mean_r [ (z_r - y_r)^2 / 2 ]
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from adamx import rng
from adamx.portable import portable, specialise
from adamx.problem import LOSSES

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


@portable
def view(flat, first, a, b):
    """Elements of a flat array as an (a, b) matrix."""
    return flat[first : first + a * b].reshape((a, b))


class Network(NamedTuple):
    """The functions of `network(dtype)`; see the source of each."""

    start: Any
    gather: Any
    forward: Any
    loss: Any
    backward: Any
    score: Any


@cache
def network(dtype: str) -> Network:
    """The model's functions for one dtype, to be inlined in a kernel.

    `widths` (layers + 1,) are the units of each layer; `acts` and `slopes` (capacity * sum(widths),) hold the
    activations and their gradients, layer after layer, `rows` rows each.
    """
    real: Any = np.dtype(dtype).type
    zero, one, half, two = real(0), real(1), real(0.5), real(2)
    gaussian, exp = specialise(rng.gaussian, dtype), specialise(exp_below, dtype)

    @portable
    def start(x, widths, seed):
        """He et al. 2015 weights from the seed, zero biases; a linear model starts at zero."""
        first = 0
        for i in range(len(widths) - 1):
            a, b = widths[i], widths[i + 1]
            scale = math.sqrt(two / real(a)) if len(widths) > 2 else zero
            for j in range(a * b):
                u, w = rng.bits(seed, rng.WEIGHTS, 0, first + j)
                x[first + j] = scale * gaussian(u, w)
            x[first + a * b : first + (a + 1) * b] = zero
            first += (a + 1) * b

    @portable
    def gather(data, labels, batch, seed, t, acts, picked):
        """Draw `batch` rows with replacement into acts and picked."""
        features = data.shape[1]
        for r in range(batch):
            row = rng.below(data.shape[0], seed, rng.ROWS, t, r)
            for j in range(features):
                acts[r * features + j] = data[row, j]
            picked[r] = labels[row]

    @portable
    def forward(x, widths, acts, rows):
        """Fill acts from its first layer on; returns the outputs (rows, outputs)."""
        first, below = 0, 0
        layers = len(widths) - 1
        for i in range(layers):
            a, b = widths[i], widths[i + 1]
            above = below + rows * a
            out = view(acts, above, rows, b)
            np.dot(view(acts, below, rows, a), view(x, first, a, b), out)
            bias = x[first + a * b : first + (a + 1) * b]
            for r in range(rows):
                for j in range(b):
                    z = out[r, j] + bias[j]
                    out[r, j] = z if (i == layers - 1 or z > zero) else z * zero
            first += (a + 1) * b
            below = above
        return view(acts, below, rows, widths[layers])

    @portable
    def loss(kind, z, y, slope):
        """The mean loss of outputs z (rows, outputs); slope becomes its gradient by z."""
        rows, outputs = z.shape
        share = one / real(rows)
        total = zero
        if kind == SOFTMAX:
            for r in range(rows):
                top = z[r, 0]
                for k in range(1, outputs):
                    top = max(top, z[r, k])
                for k in range(outputs):
                    slope[r, k] = z[r, k] - top
                total -= slope[r, int(y[r])]
            flat = slope.reshape(slope.size)
            for i in range(np.uint64(flat.size)):
                flat[i] = exp(flat[i])
            for r in range(rows):
                norm = zero
                for k in range(outputs):
                    norm += slope[r, k]
                scale = share / norm
                for k in range(outputs):
                    slope[r, k] *= scale
                slope[r, int(y[r])] -= share
                total += math.log(norm)
        elif kind == LOGISTIC:
            for r in range(rows):
                e = exp(-abs(z[r, 0]))
                total += max(z[r, 0], zero * z[r, 0]) - y[r] * z[r, 0] + math.log1p(e)
                slope[r, 0] = share * ((one if z[r, 0] >= zero else e) / (one + e) - y[r])
        else:
            for r in range(rows):
                residual = z[r, 0] - y[r]
                total += half * residual * residual
                slope[r, 0] = share * residual
        return total * share

    @portable
    def backward(x, widths, acts, slopes, rows, g):
        """The gradient g by all parameters, from slopes of the outputs; slopes are filled downwards."""
        first, above = len(x), 0
        layers = len(widths) - 1
        for i in range(layers):
            above += rows * widths[i]
        for i in range(layers - 1, -1, -1):
            a, b = widths[i], widths[i + 1]
            first -= (a + 1) * b
            below = above - rows * a
            slope = view(slopes, above, rows, b)
            inputs = view(acts, below, rows, a)
            np.dot(inputs.T, slope, view(g, first, a, b))
            bias = g[first + a * b : first + (a + 1) * b]
            bias[:] = zero
            for r in range(rows):
                for j in range(b):
                    bias[j] += slope[r, j]
            if i > 0:
                down = view(slopes, below, rows, a)
                np.dot(slope, view(x, first, a, b).T, down)
                for r in range(rows):
                    for j in range(a):
                        down[r, j] = down[r, j] if inputs[r, j] > zero else zero
            above = below

    @portable
    def score(kind, x, widths, data, labels, acts, slopes, capacity):
        """Mean loss and share of right answers over all rows, `capacity` rows at a time."""
        total, right = zero, zero
        rows_all, features = data.shape
        outputs = widths[len(widths) - 1]
        for r0 in range(0, rows_all, capacity):
            rows = min(capacity, rows_all - r0)
            for r in range(rows):
                for j in range(features):
                    acts[r * features + j] = data[r0 + r, j]
            z = forward(x, widths, acts, rows)
            total += loss(kind, z, labels[r0 : r0 + rows], view(slopes, 0, rows, outputs)) * real(rows)
            for r in range(rows):
                label = int(labels[r0 + r])
                if outputs == 1:
                    hit = (z[r, 0] > zero) == (label > 0)
                else:  # the first of the largest outputs is the label's
                    hit = True
                    for k in range(outputs):
                        hit &= z[r, k] < z[r, label] if k < label else z[r, k] <= z[r, label]
                right += one if hit else zero
        return total / real(rows_all), right / real(rows_all)

    return Network(start, gather, forward, loss, backward, score)
