"""Unroll: functions written out, a line a field or a coordinate, for loops that must be static."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from numba.extending import register_jitable


def generate(source: str, **namespace: Any) -> Callable[..., Any]:
    """A portable function from its source text, for code that must be unrolled: one line a coordinate or field."""
    exec(source, namespace)
    fn = next(v for k, v in namespace.items() if source.startswith(f"def {k}("))
    return register_jitable(fn)


def rows(kind: Any, first: int) -> tuple[Callable[..., Any], Callable[..., Any], int]:
    """Read and write a named tuple whose fields are consecutive rows of an array, with static indices.

    Returns:
        load(a, j) -> kind of a[first + i, j]; store(a, j, value); the row after the last.
    """
    count = len(kind._fields)
    items = ", ".join(f"a[{first + i}, j]" for i in range(count))
    load = generate(f"def load(a, j):\n    return kind({items})\n", kind=kind)
    lines = "".join(f"    a[{first + i}, j] = value[{i}]\n" for i in range(count)) or "    pass\n"
    store = generate(f"def store(a, j, value):\n{lines}")
    return load, store, first + count


def offsets(*counts: int) -> list[int]:
    """Where each of several consecutive groups of rows begins, and the total."""
    return [0, *itertools.accumulate(counts)]
