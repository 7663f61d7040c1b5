"""adamx: every point of an optimizer's hyperparameter grid, thousands of whole training runs, in one Numba kernel."""

from adamx.axes import grid
from adamx.engine import simulate
from adamx.registry import InputError
from adamx.results import Results
from adamx.steps import Stepper

__all__ = ["InputError", "Results", "Stepper", "grid", "simulate"]
__version__ = "0.1.0"
