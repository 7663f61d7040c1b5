"""Preconditioned sharpness: the largest eigenvalue of R^1/2 H R^1/2, with R the effective rates and H the Hessian.

Adam with frozen R is stable on a quadratic if it is below 2 (1 + beta1) / (1 - beta1) (Cohen et al. 2022, arXiv
2207.14484). Divided by lr it is the eigenvalue of P^-1 H that `instruments` records.

For landscapes a column of H is the derivative of the gradient along e_j, on dual numbers. For tasks H is never formed:
Lanczos 1950 (Golub & Van Loan, Matrix Computations, chapter 10) on exact products H u over all training rows, until the
residual of the largest eigenvalue is small against it. It starts from the same random vector at every record, so that
what is found does not depend on when it was last looked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from adamx.engine.kernels.curvature import curvature
from adamx.models import Family, Tangents
from adamx.portable import portable, rng, specialise
from adamx.portable.dual import dual
from adamx.portable.team import Team
from adamx.portable.unroll import generate, rows

SWEEPS = 12  # of Jacobi's method: its convergence is quadratic
PRODUCTS = 1000  # of Lanczos, at most
LOOKED = 4  # products between two looks at the residual
NEAR = {"float64": 1e-6, "float32": 1e-3}  # the residual over the eigenvalue: a bound of its relative error
PROBE = 6  # the random stream of the first vector


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
    fn, largest = dual(function, dtype), specialise(largest_eigenvalue, dtype)
    load, _, _ = rows(Params, 0)
    t = ", t" if online else ""
    zero = np.dtype(dtype).type(0)
    along = np.complex64(1j) if dtype == "float32" else np.complex128(1j)
    namespace = {"fn": fn, "load": load, "largest": largest, "along": along, "none": 0 * along, "zero": zero}
    lines = []
    if separable:
        for i in range(dim):
            column = f"{i} if params.shape[1] > 1 else 0"
            lines.append(f"    s{i} = rate[{i}] * (fn(a[{i}, l] + along, load(params, {column}){t})[1] + zero).imag")
        result = "s0"
        for i in range(1, dim):
            result = f"max({result}, s{i})"
    else:
        for j in range(dim):
            xs = "".join(f"a[{i}, l] + {'along' if i == j else 'none'}, " for i in range(dim))
            lines.append(f"    _, g = fn(({xs}), load(params, 0){t})")
            lines += [f"    m[{i}, {j}] = math.sqrt(rate[{i}] * rate[{j}]) * (g[{i}] + zero).imag" for i in range(dim)]
        result, namespace["math"] = "largest(m)", math
    source = "def sharpness(a, l, rate, params, t, m):\n" + "\n".join(lines) + f"\n    return {result}\n"
    return generate(source, **namespace)


class Spare(NamedTuple):
    """Scratch, flat, with any content.

    q, old, along, product: (parameters,), Lanczos' vectors; diagonal, beside: (PRODUCTS,) his matrix.
    """

    q: Any
    old: Any
    along: Any
    product: Any
    diagonal: Any
    beside: Any
    tangents: Any


@portable
def spare_size(size, capacity, slopes, tangents):
    """Numbers that a `Spare` takes, of `size` parameters; slopes and tangents are numbers a row, as in `models.Row`."""
    return 5 * size + capacity * (slopes + tangents) + 2 * PRODUCTS


@portable
def spare_of(flat, size, capacity, slopes, tangents):
    """The Spare in a flat array."""
    vectors, rest = flat[: 5 * size], flat[5 * size :]
    middle, end = capacity * tangents, capacity * (tangents + slopes)
    turned, matrix = rest[:end], rest[end:]
    return Spare(
        vectors[:size],
        vectors[size : 2 * size],
        vectors[2 * size : 3 * size],
        vectors[3 * size : 4 * size],
        matrix[:PRODUCTS],
        matrix[PRODUCTS : 2 * PRODUCTS],
        Tangents(turned[:middle], turned[middle:], vectors[4 * size :]),
    )


@portable
def largest_of_three_diagonals(diagonal, beside, n):
    """Of Lanczos' matrix after n steps: (largest eigenvalue, its residual, the matrix's size).

    The eigenvalue is found by bisection: x is above all of them where every pivot of the matrix less x is negative. The
    residual is beside[n-1] times the last component of the eigenvector, whose components follow from the pivots.
    """
    zero = diagonal[0] * 0
    low, high, size, before = diagonal[0], diagonal[0], zero, zero
    for j in range(n):  # Gershgorin; the last circle is wider than it need be
        radius, before = before + beside[j], beside[j]
        low, high = max(low, diagonal[j]), max(high, diagonal[j] + radius)
        size = max(size, abs(diagonal[j]) + radius)
    high += 1e-6 * size  # strictly above
    for _ in range(200):
        middle = low + (high - low) / 2
        if not low < middle < high:
            break
        pivot = diagonal[0] - middle
        for j in range(1, n):
            if not pivot < 0:
                break
            pivot = diagonal[j] - middle - beside[j - 1] * beside[j - 1] / pivot
        if pivot < 0:
            high = middle
        else:
            low = middle
    pivot, whole = diagonal[0] - high, zero + 1  # of the components, squared and over the last one's
    for j in range(1, n):
        ratio = beside[j - 1] / pivot
        whole = 1 + ratio * ratio * whole
        pivot = diagonal[j] - high - beside[j - 1] * beside[j - 1] / pivot
    return high, beside[n - 1] / math.sqrt(whole), size


@cache
def of_task(kind: Family, dtype: str, team: Team) -> Callable[..., Any]:
    """f(x, rate, seed, model, rows, scratch, spare) of one run.

    scratch is the model's, spare a `Spare`. NaN where PRODUCTS are not enough, or a number is not finite.
    """
    real: Any = np.dtype(dtype).type
    share, first_worker, sync, total = team.share, team.first, team.sync, team.total
    gaussian, times = specialise(rng.gaussian, dtype), curvature(kind, dtype, team)
    largest = specialise(largest_of_three_diagonals, dtype)
    zero, nan = real(0), real(math.nan)
    near, least = real(NEAR[dtype]), real(2 * math.sqrt(np.finfo(real).eps))  # as rounding of the pivots leaves it

    @portable
    def sharpness(x, rate, seed, model, rows, scratch, spare):
        q, old, size = spare.q, spare.old, zero
        for i in share(0, len(x)):
            u, w = rng.bits(seed, PROBE, 0, i)
            q[i], old[i] = gaussian(u, w), zero
            size += q[i] * q[i]
        norm, before = math.sqrt(total(size)), zero
        for k in range(PRODUCTS):
            for i in share(0, len(x)):
                q[i] /= norm
                spare.along[i] = math.sqrt(rate[i]) * q[i]
            sync()
            times(x, spare.along, model, rows, scratch, spare.tangents, spare.product)
            within, beside = zero, zero
            for i in share(0, len(x)):
                old[i] = math.sqrt(rate[i]) * spare.product[i] - before * old[i]
                within += q[i] * old[i]
            within = total(within)
            for i in share(0, len(x)):
                old[i] -= within * q[i]
                beside += old[i] * old[i]
            norm = math.sqrt(total(beside))
            if first_worker():
                spare.diagonal[k], spare.beside[k] = within, norm
            sync()
            if (k + 1) % LOOKED == 0 or not norm > least * abs(within):
                value, residual, size = largest(spare.diagonal, spare.beside, k + 1)
                if not residual > max(near * abs(value), least * size):
                    return value
            q, old, before = old, q, norm
        return nan

    return sharpness
