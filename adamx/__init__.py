"""adamx: every point of an optimizer's hyperparameter grid, thousands of whole training runs, in one Numba kernel."""

from adamx import _moved  # noqa: F401  (earlier names of modules keep working)
from adamx.engine.results import Results
from adamx.engine.simulate import simulate
from adamx.engine.stepper.stepper import Stepper
from adamx.inputs.axes import grid
from adamx.inputs.errors import InputError

__all__ = ["InputError", "Results", "Stepper", "grid", "simulate"]
__version__ = "0.1.0"
