"""Modules that users' files import by an earlier name: the import works, and a line says the new name."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "adamx.axes": ("adamx.inputs.axes",),
    "adamx.datasets": ("adamx.inputs.datasets",),
    "adamx.optimizer": ("adamx.optimizers",),
    "adamx.precision": ("adamx.portable.precision",),
    "adamx.problem": ("adamx.problems", "adamx.inputs.errors"),
    "adamx.registry": ("adamx.inputs.errors", "adamx.inputs.files"),
    "adamx.results": ("adamx.engine.results",),
    "adamx.rng": ("adamx.portable.rng",),
}


class EarlierNames:
    """Finds and loads a module under its earlier name: one of its own that holds what the new ones hold."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None  # an ordinary one

    def exec_module(self, module: ModuleType) -> None:
        homes = MOVED[module.__name__]
        said = f"{module.__name__} is {' and '.join(homes)} since adamx 0.2: please change the import"
        warnings.warn(said, FutureWarning, stacklevel=2)
        for home in homes:
            found = vars(importlib.import_module(home))
            vars(module).update({name: value for name, value in found.items() if not name.startswith("__")})


sys.meta_path.append(EarlierNames())
