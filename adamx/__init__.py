"""adamx: every point of an optimizer's hyperparameter grid, thousands of whole training runs, in one Numba kernel."""

from importlib import import_module
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

from adamx import _moved  # noqa: F401  (earlier names of modules keep working)

if TYPE_CHECKING:
    from adamx.engine.results import Results
    from adamx.engine.simulate import simulate
    from adamx.engine.stepper.stepper import Stepper
    from adamx.inputs.axes import grid
    from adamx.inputs.errors import InputError
    from adamx.problems._model import Model
    from adamx.sweep.python import sweep
    from adamx.sweep.recorded import RecordedSweep, load

__all__ = ["InputError", "Model", "RecordedSweep", "Results", "Stepper", "grid", "load", "simulate", "sweep"]
__version__ = "0.1.0"

HOMES = {
    "InputError": "inputs.errors",
    "Model": "problems._model",
    "RecordedSweep": "sweep.recorded",
    "Results": "engine.results",
    "Stepper": "engine.stepper.stepper",
    "grid": "inputs.axes",
    "load": "sweep.recorded",
    "rescue": "watch.rescue",
    "simulate": "engine.simulate",
}


def __getattr__(name: str) -> Any:
    """All names and modules are loaded when they are named: a command's `--help` does without Numba."""
    if name in HOMES:
        found = getattr(import_module(f"adamx.{HOMES[name]}"), name)
    elif not name.startswith("__") and PathFinder.find_spec(f"adamx.{name}", __path__):
        found = import_module(f"adamx.{name}")  # adamx.torch and adamx.optax need those libraries
    else:
        raise AttributeError(f"module 'adamx' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
