"""Activations: what a hidden layer makes of its sums z, by name.

    relu    max(z, 0)                           Nair & Hinton 2010, ICML
    gelu    z P(z), P(z) = (1 + erf(z / sqrt 2)) / 2 the normal distribution: the exact form, torch's default
                                                Hendrycks & Gimpel 2016, arXiv 1606.08415
    tanh    tanh z

Each is three portable functions of one number, with h the activation's value at z.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from adamx.portable import portable

ROOT_HALF = math.sqrt(0.5)
BELL = 1 / math.sqrt(2 * math.pi)  # the normal density at 0


class Activation(NamedTuple):
    """An activation.

    Attributes:
        value: (z) -> h.
        through: (d, z, h) -> d times its derivative: a slope by h becomes the one by z.
        bend: (z, h) -> its second derivative; None where that is 0 at all z but kinks.
        needs_z: whether `through` or `bend` read z; where not, h is given in its place.
        spread: times 1 / inputs it is the variance of the first weights, which keeps that of the layers' sums: 2 for
            what is about half of z (He et al. 2015, arXiv 1502.01852), 1 for what is about z (LeCun et al. 1998,
            Efficient BackProp, 4.6).
    """

    value: Callable[..., Any]
    through: Callable[..., Any]
    bend: Callable[..., Any] | None
    needs_z: bool
    spread: float


@portable
def relu(z):
    return z if z > 0.0 else z * 0.0  # NaN stays


@portable
def through_relu(d, z, h):
    return d if h > 0.0 else 0.0


@portable
def gelu(z):
    return 0.5 * z * (1.0 + math.erf(z * ROOT_HALF))


@portable
def through_gelu(d, z, h):
    return d * (0.5 * (1.0 + math.erf(z * ROOT_HALF)) + z * BELL * math.exp(-0.5 * z * z))


@portable
def bend_of_gelu(z, h):
    return (2.0 - z * z) * BELL * math.exp(-0.5 * z * z)


@portable
def tangent(z):  # the name of what it calls would be taken for itself
    return math.tanh(z)


@portable
def through_tanh(d, z, h):
    return d * (1.0 - h * h)


@portable
def bend_of_tanh(z, h):
    return -2.0 * h * (1.0 - h * h)


ACTIVATIONS = {
    "relu": Activation(relu, through_relu, None, False, 2.0),
    "gelu": Activation(gelu, through_gelu, bend_of_gelu, True, 2.0),
    "tanh": Activation(tangent, through_tanh, bend_of_tanh, False, 1.0),
}
