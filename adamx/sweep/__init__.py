"""Sweep: every point of a grid of hyperparameters, computed, recorded in MLflow and mapped.

`python -m adamx.sweep` is the command, and `adamx.sweep(...)` the same from Python: this package can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamx.sweep.recorded import RecordedSweep


class _Called(ModuleType):
    """A package that is a function too: importing `adamx.sweep.command` would put the package in a function's place."""

    def __call__(self, *typed: str, **named: Any) -> RecordedSweep | None:
        from adamx.sweep.python import sweep

        return sweep(*typed, **named)

    def __getattr__(self, name: str) -> Any:
        if name == "__signature__":  # shown by `help`, an editor and a notebook
            import inspect

            from adamx.sweep.python import sweep

            return inspect.signature(sweep)
        raise AttributeError(f"module 'adamx.sweep' has no attribute {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        from importlib import import_module

        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Called
