"""Backends: where runs are computed. One is imported when it is asked for, and says what it lacks."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from adamx.registry import InputError, unknown

BACKENDS = ("cpu", "cuda", "auto")


def backend(name: object) -> Any:
    """The module of a backend: `run`, `compiled`, `chunk_runs` and `at_once`.

    Args:
        name: "cpu", "cuda", or "auto": cuda where a GPU works, else cpu.
    Raises:
        InputError: there is none of that name, or it cannot be used here; the message says what is missing.
    """
    if name not in BACKENDS:
        raise unknown("backend", name, BACKENDS)
    return importlib.import_module(f"adamx.{_choice()[0] if name == 'auto' else name}")


@cache
def _choice() -> tuple[str, str]:
    """What "auto" takes, and why."""
    try:
        return "cuda", backend("cuda").describe()
    except InputError as error:
        return "cpu", str(error)


def chosen() -> str:
    """A line that says what "auto" takes, and why."""
    return "backend=auto takes {}: {}".format(*_choice())
