"""Backends: where runs are computed. One is imported when it is asked for, and says what it lacks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from adamx.inputs.errors import InputError, unknown
from adamx.problems._model import Model

SETTINGS = {"cpu": ("threads",), "cuda": ("devices",), "auto": ("threads", "devices")}
BACKENDS = tuple(SETTINGS)


def backend(name: object) -> Any:
    """The module of a backend: `configure`, `compiled`, `chunk_runs`, `at_once` and `run`.

    Args:
        name: "cpu", "cuda", or "auto": cuda where a GPU works, else cpu.
    Raises:
        InputError: there is none of that name, or it cannot be used here; the message says what is missing.
    """
    if name not in BACKENDS:
        raise unknown("backend", name, BACKENDS)
    return importlib.import_module(f"adamx.engine.{_auto()[0] if name == 'auto' else name}.backend")


def for_problem(name: object, problem: object) -> Any:
    """The module that computes a problem: the backend of that name, but for a model, which brings its own framework.

    Raises:
        InputError: as for `backend`; a model is not computed by the kernels of "cuda".
    """
    if not isinstance(problem, Model):
        return backend(name)
    if name == "cuda":
        raise InputError("backend=cuda is of landscapes and tasks: a model runs by its own framework, backend=cpu")
    return importlib.import_module("adamx.engine.stacked")


@cache
def _auto() -> tuple[str, str]:
    """What "auto" takes, and why not the GPU."""
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
        if key not in ("name", *SETTINGS[name]):
            raise unknown(f"setting of backend {name}", key, SETTINGS[name])
    said = module.configure(settings)
    return said or (f"backend=auto takes the CPU: {_auto()[1]}" if name == "auto" else "")


def devices() -> dict[str, str]:
    """What computes besides the CPU, once it has been asked for."""
    cuda = sys.modules.get("adamx.engine.cuda.backend")
    return {"gpu": cuda.device.describe()} if cuda else {}
