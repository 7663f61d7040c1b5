"""Backends: where runs are computed. Each is a folder beside this file, imported when it is asked for.

__init__.py     SETTINGS: the names of the settings that a configuration may have of it; light to import
backend.py      configure(settings) -> what will compute, in a line, or ""; it raises InputError where it cannot be used
                compiled(problem, chunk) -> whether its kernel is there already
                chunk_runs(problem, whole) -> how many runs of a chunk are computed at a time
                at_once() -> how many chunks are computed side by side
                run(problem, chunk) -> Results
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from adamx.inputs.errors import InputError, unknown
from adamx.problems._model import Model

AUTO = "auto"
ENGINES = (AUTO, "stacked", "processes")  # the ways to compute a model, see `engine.model.run`


def backends() -> tuple[str, ...]:
    """The names of all backends, and "auto"."""
    places = import_module("adamx.engine").__path__
    return (AUTO, *sorted({file.parent.name for place in places for file in Path(place).glob("*/backend.py")}))


def settings_of(name: str) -> tuple[str, ...]:
    """The names of a backend's settings."""
    if name == AUTO:
        return (*settings_of("cpu"), *settings_of("cuda"))
    return tuple(import_module(f"adamx.engine.{name}").SETTINGS)


def backend(name: object) -> Any:
    """The module of a backend: `configure`, `compiled`, `chunk_runs`, `at_once` and `run`.

    Args:
        name: "cpu", "cuda", or "auto": cuda where a GPU works, else cpu.
    Raises:
        InputError: there is none of that name, or it cannot be used here; the message says what is missing.
    """
    if name not in backends():
        raise unknown("backend", name, backends())
    return import_module(f"adamx.engine.{_auto()[0] if name == AUTO else name}.backend")


def for_problem(name: object, problem: object) -> Any:
    """The module that computes a problem: the backend of that name, but for a model, which brings its own framework.

    Raises:
        InputError: as for `backend`; a model is not computed by the kernels of "cuda".
    """
    if not isinstance(problem, Model):
        return backend(name)
    if name not in (AUTO, "cpu"):
        raise InputError(f"backend={name} is of landscapes and tasks: a model runs by its own framework, backend=cpu")
    return import_module("adamx.engine.model.run")


def check_engine(engine: object, problem: object) -> None:
    """Raise an InputError where a problem is not computed by this engine."""
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if engine != AUTO and not isinstance(problem, Model):
        raise InputError(f"engine={engine} is of models of torch and jax; {getattr(problem, 'name', problem)} is none")


@cache
def _auto() -> tuple[str, str]:
    """The backend that "auto" takes, and why it is not the GPU."""
    try:
        backend("cuda")
        return "cuda", ""
    except InputError as error:
        return "cpu", str(error)


def configure(settings: Mapping[str, Any]) -> str:
    """Take the settings of a configuration's backend; a line that says what will compute, empty for backend=cpu."""
    name = settings["name"]
    module = backend(name)
    for key in settings:
        if key not in ("name", *settings_of(name)):
            raise unknown(f"setting of backend {name}", key, settings_of(name))
    said = module.configure(settings)
    return said or (f"backend=auto takes the CPU: {_auto()[1]}" if name == AUTO else "")


def devices() -> dict[str, str]:
    """The GPUs that compute, once they have been asked for; empty if only the CPU does."""
    cuda = sys.modules.get("adamx.engine.cuda.backend")
    return {"gpu": cuda.device.describe()} if cuda else {}
