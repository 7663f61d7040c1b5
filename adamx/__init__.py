"""adamx: every point of an optimizer's hyperparameter grid, thousands of whole training runs, in one Numba kernel."""

import importlib
from typing import Any

from adamx import _moved  # noqa: F401  (earlier names of modules keep working)
from adamx.engine.results import Results
from adamx.engine.simulate import simulate
from adamx.engine.stepper.stepper import Stepper
from adamx.inputs.axes import grid
from adamx.inputs.errors import InputError
from adamx.problems._model import Model

__all__ = ["InputError", "Model", "Results", "Stepper", "grid", "simulate"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Loaded when they are named: `adamx.torch` and `adamx.optax` need those libraries, and few need `adamx.watch`."""
    if name in ("torch", "optax", "watch"):
        return importlib.import_module(f"adamx.{name}")
    if name == "rescue":
        return importlib.import_module("adamx.torch.rescue").rescue
    raise AttributeError(f"module 'adamx' has no attribute {name!r}")
