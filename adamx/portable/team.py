"""A team: the workers that share one run of a task. On the CPU it is one thread, on a GPU a block of threads.

What a run does is written once, in terms of a team:

    share(first, last)  those numbers of first, first + 1, ... last - 1 that are this worker's (unsigned)
    rows(n), columns(n)     the same for two nested loops over a matrix
    first()             whether this is the worker that does what is done once
    sync()              wait for all: what they wrote before can be read after
    total(value)        the sum of all workers' values, at all workers, always in the same order
    dot(a, b)           of two vectors
    sums(a, out, m, n)          out (n,): the sums over the rows of a (m, n)
    product(a, b, out, m, k, n, turned)     out (m, n) = a (m, k) @ b (k, n), where a or b may be stored turned, the
                        other way round

The last two end with a sync; matrices are flat arrays, row after row. Every worker calls sync, total, dot, sums and
product, the same number of times.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from adamx.portable import portable

NEITHER, LEFT, RIGHT = range(3)  # which factor of a product is stored turned


class Team(NamedTuple):
    """Portable functions; see the module's docstring."""

    share: Any
    rows: Any
    columns: Any
    first: Any
    sync: Any
    total: Any
    dot: Any
    sums: Any
    product: Any


@portable
def share(first, last):
    return range(np.uint64(first), np.uint64(last))  # unsigned: a signed index is checked, and stops SIMD


@portable
def every(n):
    return range(np.uint64(n))


@portable
def yes():
    return True


@portable
def nothing():
    pass


@portable
def itself(value):
    return value


@portable
def dot(a, b):
    return np.dot(a, b)


@portable
def sums(a, out, m, n):
    matrix = a.reshape((m, n))
    out[:] = out.dtype.type(0)
    for r in range(m):
        for j in range(n):
            out[j] += matrix[r, j]


@portable
def product(a, b, out, m, k, n, turned):
    to = out.reshape((m, n))
    if turned == LEFT:
        np.dot(a.reshape((k, m)).T, b.reshape((k, n)), to)
    elif turned == RIGHT:
        np.dot(a.reshape((m, k)), b.reshape((n, k)).T, to)
    else:
        np.dot(a.reshape((m, k)), b.reshape((k, n)), to)


ALONE = Team(share, every, every, yes, nothing, itself, dot, sums, product)
