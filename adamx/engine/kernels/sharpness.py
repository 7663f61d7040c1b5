"""Preconditioned sharpness: the largest eigenvalue of R^1/2 H R^1/2, with R the effective rates and H the Hessian.

Adam with frozen R is stable on a quadratic if it is below 2 (1 + beta1) / (1 - beta1) (Cohen et al. 2022, arXiv
2207.14484). Divided by lr it is the eigenvalue of P^-1 H that `instruments` records.

For landscapes it is exact: a column of H is the imaginary part of the gradient at x + i h e_j over h (the complex step;
Squire & Trapp 1998, SIAM Rev. 40(1)), which cancels nothing, so h can be far below rounding. For tasks H is never
formed: power iteration on products H d, which are central differences of the gradient over all training rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from adamx.engine.kernels.network import network
from adamx.engine.kernels.team import Team
from adamx.portable import portable, rng, specialise
from adamx.portable.unroll import generate, rows

H = 1e-30  # of the complex step: h and its square are numbers in float32, too
SWEEPS = 12  # of Jacobi's method: its convergence is quadratic
PRODUCTS = 100  # at most, of power iteration, and as many again where it finds a negative eigenvalue first
STILL = 1e-3  # relative change between two products that ends it
PROBE = 6  # the random stream of its first direction


@portable
def largest_eigenvalue(m):
    """Of a symmetric matrix (n, n), which is overwritten. Jacobi 1846; Golub & Van Loan, Matrix Computations, 8.5."""
    n = len(m)
    for _ in range(SWEEPS):
        for p in range(n):
            for q in range(p + 1, n):
                scale = abs(m[p, p]) + abs(m[q, q])
                if scale + abs(m[p, q]) > scale:
                    theta = (m[q, q] - m[p, p]) / (2 * m[p, q])
                    t = math.copysign(1, theta) / (abs(theta) + math.sqrt(theta * theta + 1))
                    c = 1 / math.sqrt(t * t + 1)
                    s = t * c
                    for k in range(n):
                        m[k, p], m[k, q] = c * m[k, p] - s * m[k, q], s * m[k, p] + c * m[k, q]
                    for k in range(n):
                        m[p, k], m[q, k] = c * m[p, k] - s * m[q, k], s * m[p, k] + c * m[q, k]
    most = m[0, 0]
    for p in range(1, n):
        most = max(most, m[p, p])
    return most


def of_landscape(function: Any, Params: Any, dim: int, separable: bool, online: bool, dtype: str) -> Callable[..., Any]:
    """f(a, l, rate, params, t, scratch): at lane l's point, rows of a; scratch is (dim, dim).

    rate is a tuple (dim,), the effective rates at lane l.
    """
    complex_type = "complex64" if dtype == "float32" else "complex128"
    real: Any = np.dtype(dtype).type
    fn, largest = specialise(function, complex_type), specialise(largest_eigenvalue, dtype)
    load, _, _ = rows(Params, 0)
    t = ", t" if online else ""
    namespace = {"fn": fn, "load": load, "largest": largest, "ih": np.dtype(complex_type).type(1j * H), "h": real(H)}
    lines = []
    if separable:
        for i in range(dim):
            column = f"{i} if params.shape[1] > 1 else 0"
            lines.append(f"    s{i} = rate[{i}] * (fn(a[{i}, l] + ih, load(params, {column}){t})[1].imag / h)")
        result = "s0"
        for i in range(1, dim):
            result = f"max({result}, s{i})"
    else:
        for j in range(dim):
            xs = "".join(f"a[{i}, l]{' + ih' if i == j else ''}, " for i in range(dim))
            lines.append(f"    _, g = fn(({xs}), load(params, 0){t})")
            lines += [f"    m[{i}, {j}] = math.sqrt(rate[{i}] * rate[{j}]) * (g[{i}].imag / h)" for i in range(dim)]
        result, namespace["math"] = "largest(m)", math
    source = "def sharpness(a, l, rate, params, t, m):\n" + "\n".join(lines) + f"\n    return {result}\n"
    return generate(source, **namespace)


class Spare(NamedTuple):
    """Scratch, (parameters,) each: a point beside x and the gradients on both sides."""

    near: Any
    ahead: Any
    behind: Any


@cache
def of_task(dtype: str, team: Team) -> Callable[..., Any]:
    """f(kind, x, widths, rate, probe, seed, data, labels, capacity, scratch, spare) of one run.

    probe (coordinates,) is the last direction found, zeros at first; scratch is the `network`'s, spare a `Spare`.
    """
    real: Any = np.dtype(dtype).type
    _, walk = network(dtype, team)
    share, sync, total = team.share, team.sync, team.total
    gaussian = specialise(rng.gaussian, dtype)
    zero, one, two, still = real(0), real(1), real(2), real(STILL)
    reach = real(np.finfo(real).eps ** (1 / 3))  # where rounding and curvature of the gradient spoil a difference least

    @portable
    def sharpness(kind, x, widths, rate, probe, seed, data, labels, capacity, scratch, spare):
        size = zero
        for i in share(0, len(x)):
            size += probe[i] * probe[i]
        if not total(size) > zero:  # the first time, or after a run that is not finite
            for i in share(0, len(x)):
                u, w = rng.bits(seed, PROBE, 0, i)
                probe[i] = gaussian(u, w)
        value, shift = zero, zero
        for _ in range(2 * PRODUCTS):
            norm, long, wide = zero, zero, zero
            for i in share(0, len(x)):
                norm += probe[i] * probe[i]
            norm = total(norm)
            for i in share(0, len(x)):
                probe[i] /= math.sqrt(norm)
                long += rate[i] * probe[i] * probe[i]
                wide += x[i] * x[i]
            r = reach * (one + math.sqrt(total(wide))) / math.sqrt(total(long))
            for side, g in ((r, spare.ahead), (-r, spare.behind)):
                for i in share(0, len(x)):
                    spare.near[i] = x[i] + side * math.sqrt(rate[i]) * probe[i]
                sync()
                walk(kind, spare.near, widths, data, labels, 0, 0, 0, True, capacity, scratch, g)
            before, value = value, zero
            for i in share(0, len(x)):
                product = math.sqrt(rate[i]) * (spare.ahead[i] - spare.behind[i]) / (two * r) - shift * probe[i]
                value += probe[i] * product
                probe[i] = product
            value = total(value)
            if not abs(value - before) > still * abs(value):
                if not value < zero:
                    break
                value, shift = zero, value  # the largest in size is negative: from there all others are positive
        return value + shift

    return sharpness
