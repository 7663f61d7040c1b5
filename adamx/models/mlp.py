"""Fully connected layers, an activation behind each but the last, on request with layer normalisation before it.

Without a hidden layer it is a linear model. The parameters are, layer by layer, weights (inputs, outputs) and biases
(outputs,), and in a hidden layer with normalisation its gain and its shift (outputs,) each. With a the activations
below, W, c the weights and biases, d the slopes of the loss by z, and N the normalisation:

    z = a W + c             y = N(z), or z          next a = activation(y)
    loss by W = a' d        loss by c = the sum of d over the rows          slopes by a = d W'

R{} is the derivative along u, a direction in the space of the parameters, of all that a gradient computes (Pearlmutter
1994, Neural Comput. 6(1)). With U, V the parts of u that belong to W, c, every layer has

    R{z} = R{a} W + a U + V                 of the features R{a} is 0
    R{loss by W} = R{a}' d + a' R{d}        R{loss by c} = the sum of R{d}          R{slopes by a} = R{d} W' + d U'

and `activations` and `layernorm` have theirs. A kink of a ReLU has the curvature of its side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from adamx.inputs.errors import unknown
from adamx.models import Curvature, Family, Functions, Row
from adamx.models.activations import ACTIVATIONS
from adamx.models.layernorm import layernorm
from adamx.portable import portable, rng, specialise
from adamx.portable.team import LEFT, NEITHER, RIGHT, Team

NORMS = ("none", "layer")


@dataclass(frozen=True)
class Mlp(Family):
    """Layers of `widths` units, from the features to the outputs.

    Attributes:
        activation: one of `ACTIVATIONS`. norm: one of `NORMS`, before each activation.
    Raises:
        InputError: another activation or norm.
    """

    widths: tuple[int, ...]
    activation: str = "relu"
    norm: str = "none"

    def __post_init__(self) -> None:
        for name, typed, allowed in (("activation", self.activation, ACTIVATIONS), ("norm", self.norm, NORMS)):
            if typed not in tuple(allowed):  # it may be a list
                raise unknown(f"problem.{name}", typed, allowed)

    @property
    def kind(self) -> Mlp:
        return replace(self, widths=())

    @property
    def name(self) -> str:
        return f"mlp_{self.activation}_{self.norm}"

    @property
    def seeded(self) -> bool:
        return len(self.widths) > 2  # a linear model starts at 0

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.widths

    @property
    def tensors(self) -> tuple[int, ...]:
        last, found = len(self.widths) - 2, []
        for i, (a, b) in enumerate(pairwise(self.widths)):
            found += [a * b, b] + [b, b] * (self.norm == "layer" and i < last)
        return tuple(found)

    @property
    def outputs(self) -> int:
        return self.widths[-1]

    @property
    def row(self) -> Row:
        used, norm, above = ACTIVATIONS[self.activation], self.norm == "layer", sum(self.widths[1:])
        kept, turned = (
            sum(_kept(asked, norm)[0](1, b) for b in self.widths[1:-1]) for asked in (used.needs_z, bool(used.bend))
        )
        return Row(sum(self.widths) + kept, above, above + turned)

    @property
    def content(self) -> tuple[Any, ...]:
        plain = self == Mlp(self.widths)
        return (self.widths,) if plain else (self.widths, self.activation, self.norm)

    def functions(self, dtype: str, team: Team) -> Functions:
        return functions(self.activation, self.norm == "layer", dtype, team)

    def curvature(self, dtype: str, team: Team) -> Curvature:
        return curvature(self.activation, self.norm == "layer", dtype, team)


@portable
def outputs(sizes, count):
    """Where the outputs begin in acts, and in slopes."""
    at, above = 0, 0
    for i in range(len(sizes) - 1):
        at += count * sizes[i]
        above += count * sizes[i] if i > 0 else 0
    return at, above


def _kept(asked: bool, norm: bool) -> tuple[Any, Any]:
    """The numbers that a hidden layer of b units keeps of `count` rows: how many, and where they begin.

    Returns:
        size(count, b): how many numbers. parts(numbers, at, h, count, b): z, n and r from position `at` on. z (count,
        b) is kept where `asked`, and is else h; n (count, b) and r (count,) are there with a `norm`. R{} of them alike.
    """
    ASKED, NORM = int(asked), int(norm)

    @portable
    def size(count, b):
        return count * (b * (ASKED + NORM) + NORM)

    @portable
    def parts(numbers, at, h, count, b):
        middle = at + count * b * ASKED
        end = middle + count * b * NORM
        return (numbers[at:middle] if asked else h), numbers[middle:end], numbers[end : end + count * NORM]

    return size, parts


@cache
def functions(activation: str, norm: bool, dtype: str, team: Team) -> Functions:
    """The model's functions of one kind, for one dtype and team."""
    real: Any = np.dtype(dtype).type
    zero, one = real(0), real(1)
    used = ACTIVATIONS[activation]
    value, through, spread = specialise(used.value, dtype), specialise(used.through, dtype), real(used.spread)
    needs_z, at_once = used.needs_z, not (norm or used.needs_z)
    (size, parts), gaussian = _kept(needs_z, norm), specialise(rng.gaussian, dtype)
    up, down_norm, _, _ = layernorm(dtype, team)
    share, rows_of, columns_of, _, sync, _, _, sums, product = team

    @portable
    def start(x, sizes, seed):
        """Normal weights of the activation's spread, biases 0, gains 1, shifts 0; a linear model starts at 0."""
        first, layers = 0, len(sizes) - 1
        for i in range(layers):
            a, b = sizes[i], sizes[i + 1]
            scale = math.sqrt(spread / real(a)) if layers > 1 else zero
            for j in share(first, first + a * b):
                u, w = rng.bits(seed, rng.WEIGHTS, 0, j)
                x[j] = scale * gaussian(u, w)
            for j in share(first + a * b, first + (a + 1) * b):
                x[j] = zero
            first += (a + 1) * b
            if norm and i < layers - 1:
                for j in share(first, first + b):
                    x[j] = one
                for j in share(first + b, first + 2 * b):
                    x[j] = zero
                first += 2 * b
        sync()

    @portable
    def forward(x, sizes, acts, count):
        layers, first, below, (end, _) = len(sizes) - 1, 0, 0, outputs(sizes, count)
        at = end + count * sizes[layers]  # of what is kept besides
        for i in range(layers):
            a, b, hidden = sizes[i], sizes[i + 1], i < layers - 1
            above = below + count * a
            out = acts[above : above + count * b]
            product(acts[below:above], x[first : first + a * b], out, count, a, b, NEITHER)
            bias = x[first + a * b : first + (a + 1) * b]
            for r in rows_of(count):
                row = np.uint64(r * b)
                for j in columns_of(b):
                    z = out[row + j] + bias[j]
                    out[row + j] = value(z) if (hidden and at_once) else z
            sync()
            first += (a + 1) * b
            below = above
            if hidden and not at_once:
                z, n, scale = parts(acts, at, out, count, b)
                at += size(count, b)
                if norm:
                    up(out, n, scale, x[first : first + b], x[first + b : first + 2 * b], count, b)
                    first += 2 * b
                for j in share(0, count * b):
                    here = out[j]
                    if needs_z:
                        z[j] = here
                    out[j] = value(here)
                sync()

    @portable
    def backward(x, sizes, acts, slopes, count, g):
        layers, first, (end, above) = len(sizes) - 1, len(x), outputs(sizes, count)
        below, at = end - count * sizes[layers - 1], end + count * sizes[layers]
        for i in range(1, layers):
            at += size(count, sizes[i])
        for i in range(layers - 1, -1, -1):
            a, b = sizes[i], sizes[i + 1]
            first -= (a + 1) * b
            inputs, slope = acts[below : below + count * a], slopes[above : above + count * b]
            product(inputs, slope, g[first : first + a * b], a, count, b, LEFT)
            sums(slope, g[first + a * b : first + (a + 1) * b], count, b)
            if i > 0:
                down = slopes[above - count * a : above]
                product(slope, x[first : first + a * b], down, count, b, a, RIGHT)
                at -= size(count, a)
                z, n, scale = parts(acts, at, inputs, count, a)
                for j in share(0, count * a):
                    down[j] = through(down[j], z[j], inputs[j])
                sync()
                if norm:  # the activations have served, and their place is free
                    first -= 2 * a
                    gain, shift = slice(first, first + a), slice(first + a, first + 2 * a)
                    down_norm(down, n, scale, x[gain], g[gain], g[shift], inputs, count, a)
                below -= count * sizes[i - 1]
                above -= count * a

    return Functions(start, outputs, forward, backward)


@cache
def curvature(activation: str, norm: bool, dtype: str, team: Team) -> Curvature:
    """The same along a direction: the gradient's derivative, without the Hessian."""
    used = ACTIVATIONS[activation]
    curved, at_once = used.bend is not None, not (norm or used.bend)
    through, bend = specialise(used.through, dtype), specialise(used.bend or used.value, dtype)
    if not used.bend:
        bend = portable(lambda z, h: z)  # not called
    (size, parts), (turned_size, turned_parts) = _kept(used.needs_z, norm), _kept(curved, norm)
    _, _, ahead_norm, back_norm = layernorm(dtype, team)
    share, rows_of, columns_of, _, sync, _, _, sums, product = team

    @portable
    def ahead(x, u, sizes, acts, tangents, count):
        layers, first, below, lower, (end, above) = len(sizes) - 1, 0, 0, 0, outputs(sizes, count)
        at, turned_at = end + count * sizes[layers], above + count * sizes[layers]
        for i in range(layers):
            a, b, hidden = sizes[i], sizes[i + 1], i < layers - 1
            weights, biases = slice(first, first + a * b), slice(first + a * b, first + (a + 1) * b)
            upper = below + count * a
            inputs, h = acts[below:upper], acts[upper : upper + count * b]
            out, beside = tangents.acts[lower : lower + count * b], tangents.slopes[: count * b]  # not yet used
            product(inputs, u[weights], out, count, a, b, NEITHER)
            if i > 0:
                product(tangents.acts[lower - count * a : lower], x[weights], beside, count, a, b, NEITHER)
            bias = u[biases]
            for r in rows_of(count):
                row = np.uint64(r * b)
                for j in columns_of(b):
                    Rz = out[row + j] + bias[j]
                    Rz = Rz + beside[row + j] if i > 0 else Rz
                    out[row + j] = through(Rz, h[row + j], h[row + j]) if (hidden and at_once) else Rz
            sync()
            first += (a + 1) * b
            below = upper
            lower += count * b
            if hidden and not at_once:
                z, n, scale = parts(acts, at, h, count, b)
                Rz, Rn, q = turned_parts(tangents.acts, turned_at, out, count, b)
                at += size(count, b)
                turned_at += turned_size(count, b)
                if norm:
                    gain, shift = slice(first, first + b), slice(first + b, first + 2 * b)
                    ahead_norm(out, n, scale, Rn, q, x[gain], u[gain], u[shift], count, b)
                    first += 2 * b
                for j in share(0, count * b):
                    here = out[j]
                    if curved:
                        Rz[j] = here
                    out[j] = through(here, z[j], h[j])
                sync()

    @portable
    def back(x, u, sizes, scratch, tangents, count, out):
        layers, first, (end, above) = len(sizes) - 1, len(x), outputs(sizes, count)
        below = end - count * sizes[layers - 1]
        at, turned_at = end + count * sizes[layers], above + count * sizes[layers]
        for i in range(1, layers):
            at += size(count, sizes[i])
            turned_at += turned_size(count, sizes[i])
        for i in range(layers - 1, -1, -1):
            a, b = sizes[i], sizes[i + 1]
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
                at -= size(count, a)
                turned_at -= turned_size(count, a)
                z, n, scale = parts(scratch.acts, at, inputs, count, a)
                Rz, Rn, q = turned_parts(tangents.acts, turned_at, moved, count, a)
                for j in share(0, count * a):
                    d = down[j]
                    down[j] = through(d, z[j], inputs[j])
                    turned[j] = through(turned[j] + moved[j], z[j], inputs[j])
                    if curved:
                        turned[j] += d * bend(z[j], inputs[j]) * Rz[j]
                sync()
                if norm:
                    first -= 2 * a
                    gain, shift = slice(first, first + a), slice(first + a, first + 2 * a)
                    back_norm(
                        down, turned, n, scale, Rn, q, x[gain], u[gain], out[gain], out[shift], moved, count, a
                    )  # fmt: skip
                below -= count * sizes[i - 1]
                above -= count * a

    return Curvature(ahead, back)
