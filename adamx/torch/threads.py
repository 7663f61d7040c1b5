"""Threads: torch's own number of them, which a Numba kernel that shares OpenMP with torch would change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kept() -> Iterator[None]:
    """Leave torch's number of threads as it is: another one would be slower, and its sums differ in the last bits."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
