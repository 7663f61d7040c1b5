"""Threads: a compiled function of a range, called for all of it by as many threads as are asked for.

Numba's own parallel loops are for `Stepper`, whose launches are too short for this. A kernel without one compiles in
two thirds of the time, runs in a forked process and beside other kernels, and leaves OpenMP's threads, which torch
shares, as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import numba

PARTS = 8  # a thread, so that none waits long for the last one

_asked: int | None = None


def most() -> int:
    """All cores, or NUMBA_NUM_THREADS."""
    return numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]


def count() -> int:
    """How many threads compute."""
    return _asked or most()


def use(threads: int | None) -> None:
    """Let so many threads compute from now on; all of them if None."""
    global _asked
    _asked = threads


def share(compute: Callable[..., Any], items: int, *arguments: Any) -> None:
    """compute(start, stop, *arguments) for ranges that together are range(items); it has to release the GIL.

    What interrupts it waits for the ranges that are being computed, and for no others.
    """
    threads = max(1, min(count(), items))
    size = max(1, items // (threads * PARTS))
    parts = [(start, min(start + size, items)) for start in range(0, items, size)]
    rest = iter(parts)  # of all threads: each takes the next one

    def work() -> None:
        try:
            for part in rest:
                compute(*part, *arguments)
        finally:
            parts.clear()  # of all threads, where this one was stopped

    with ThreadPoolExecutor(threads) as pool:
        others = [pool.submit(work) for _ in range(threads - 1)]
        work()
    for other in others:
        other.result()


class _OneOfBlas:
    """While runs share the threads, the BLAS that they call takes none of its own."""

    def __init__(self) -> None:
        self._lock, self._users = Lock(), 0
        self._limit: Any = None

    def __enter__(self) -> None:
        import scipy.linalg.cython_blas  # noqa: F401  that BLAS: loaded before its threads are limited
        from threadpoolctl import threadpool_limits

        with self._lock:
            if not self._users:
                self._limit = threadpool_limits(1, user_api="blas")
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._limit.restore_original_limits()


one_of_blas = _OneOfBlas()
