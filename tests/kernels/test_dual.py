"""Dual numbers against differences of the plain functions, and compiled against plain Python."""

import itertools
import math
from math import tanh
from typing import NamedTuple

import numba
import numpy as np
import pytest

from adamx.inputs.errors import InputError
from adamx.portable import portable
from adamx.portable.dual import OF_TWO, SLOPES, dual, functions

BELOW_ONE = ("asin", "acos", "atanh")


def slope(f, x):
    """By central differences with Richardson's extrapolation, twice."""
    at = [(f(x + h) - f(x - h)) / (2 * h) for h in (4e-3, 2e-3, 1e-3)]
    first = [(4 * b - a) / 3 for a, b in itertools.pairwise(at)]
    return (16 * first[1] - first[0]) / 15


@pytest.mark.parametrize("name", SLOPES)
def test_functions_of_one_number(name):
    plain, f = (lambda v: 2.0**v) if name == "exp2" else getattr(math, name), functions("float64")[name]
    points = (0.3, 0.6) if name in BELOW_ONE else (1.3, 2.6)
    for v in points + (() if name.startswith(("log", "sqrt", "acosh")) else tuple(-v for v in points)):
        if v < -1 and name == "log1p":
            continue
        y = f(complex(v, 3.0))
        assert y.real == pytest.approx(plain(v), rel=1e-15)
        assert y.imag == pytest.approx(3 * slope(plain, v), rel=1e-9, abs=1e-9)
        assert f(v) == plain(v) and f(complex(v, 0)).imag == 0


@pytest.mark.parametrize("name", OF_TWO)
def test_functions_of_two_numbers(name):
    plain, f = getattr(math, name), functions("float64")[name]
    for v, w in ((1.3, 0.7), (-1.3, 0.7), (1.3, -0.7), (-2.3, -0.7)):
        assert f(complex(v, 1), w).imag == pytest.approx(slope(lambda v: plain(v, w), v), rel=1e-9, abs=1e-9)
        assert f(v, complex(w, 1)).imag == pytest.approx(slope(lambda w: plain(v, w), w), rel=1e-9, abs=1e-9)
        assert f(v, w).real == plain(v, w)


class P(NamedTuple):
    k: float = 3.0


@portable
def helper(x, n=2.0):
    return x**n + math.pi


@portable
def program(x, p):
    """A bit of everything that decides or multiplies."""
    total = 0
    for i in range(len(x)):
        total += (i + 1) * x[i] ** 2 / 2
    y = max(x[0], x[1], 0.1) * min(x[0], x[1]) + helper(x[0]) - helper(x[1], 3)
    if x[0] > 0 and not x[1] > 0:
        y *= x[0] ** p.k
    elif x[0] < -2 or y == 0:
        y -= tanh(x[1])
    else:
        y /= 1 + abs(x[0])
    up = x[1] > 0.5
    while y > 50:
        y *= 0.5
    y += (x[0] % 0.7) * (x[1] // 0.3) + (x[0] > 1) * x[1] + int(x[0]) * x[1] + float(3) * x[0]
    y **= 2
    y = y + x[0] ** -2 + x[1] ** p.k if up else y + np.exp(x[0]) * math.floor(x[1])
    return total + 2.0 ** x[0] + y + max(x) + math.hypot(x[0], x[1])


@pytest.mark.parametrize("x", [(0.8, 0.65), (0.8, -0.4), (-2.5, 0.95), (-1.2, -0.35), (3.1, 2.2), (-0.9, 1.6)])
def test_programs(x):
    along, p = dual(program, "float64"), P()
    for i in range(2):
        z = tuple(complex(v, i == j) for j, v in enumerate(x))
        y = along(z, p)
        assert y.real == pytest.approx(program(x, p), rel=1e-14)
        expected = slope(lambda v: program(tuple(v if i == j else w for j, w in enumerate(x)), p), x[i])
        assert y.imag == pytest.approx(expected, rel=1e-8)
        assert compiled(z, p) == pytest.approx(y, rel=1e-13)
        small = np.complex64(z[0]), np.complex64(z[1])
        assert compiled_small(small, P(np.float32(3))) == pytest.approx(y, rel=1e-4)


WHOLE, SMALL = dual(program, "float64"), dual(program, "float32")
compiled = numba.njit(lambda z, p: WHOLE(z, p), error_model="numpy")
compiled_small = numba.njit(lambda z, p: SMALL(z, p), error_model="numpy")


def test_powers_of_negative_numbers_and_of_zero():
    f = functions("float64")["pow"]
    assert f(complex(-2, 1), 3.0) == complex(-8, 12)
    assert f(complex(-2, 1), -1.0) == complex(-0.5, -0.25)
    assert f(complex(0, 1), 1.0) == complex(0, 1)
    assert f(complex(0, 1), 2.0) == f(complex(0, 1), 3.0) == 0
    assert f(complex(0, 1), 0.0) == f(complex(-3, 1), 0.0) == 1


@portable
def unknown(x):
    return math.gamma(x)


def test_a_function_without_a_known_derivative_is_named():
    with pytest.raises(InputError, match=r"unknown calls math\.gamma, whose derivative is not known"):
        dual(unknown, "float64")
