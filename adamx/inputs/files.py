"""The folder is the registry: an optimizer or a problem is one file, found by its name, or a user's file by path."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from adamx.inputs.errors import InputError, raised, unknown

USER = "_adamx_user_"  # begins the names of modules that are a user's files


@cache
def names(package: str) -> tuple[str, ...]:
    """The names of the modules in a package, such as `adamx.optimizers`."""
    root = importlib.import_module(package)
    files = (f for folder in root.__path__ for f in Path(folder).glob("*.py"))
    return tuple(sorted(f.stem for f in files if not f.stem.startswith("_")))


def load(package: str, kind: str, name: str) -> ModuleType:
    """The module `name` of a package, or the file at that path when the name ends in `.py`.

    Raises:
        InputError: no such name or file, or the file raises while it is read.
    """
    if name.endswith(".py"):
        return _load_file(name, kind)
    if name not in names(package):
        raise unknown(kind, name, names(package))
    return importlib.import_module(f"{package}.{name}")


def file(typed: str) -> Path | None:
    """The file at a path that a person typed; None where there is none."""
    try:
        path = Path(typed).expanduser().resolve()
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long, nobody's home, links in a circle, a null byte
        return None


def is_user(function: object) -> bool:
    """Whether a function is of a user's file."""
    return getattr(function, "__module__", "").startswith(USER)


def _load_file(name: str, kind: str) -> ModuleType:
    path = file(name)
    if path is None:
        raise InputError(f"{kind} file {name!r} does not exist")
    try:
        return _execute(path, path.stat().st_mtime_ns)
    except (Exception, SystemExit) as error:  # the user's own code: anything may come
        raise raised(f"{kind} file {str(path)!r}", error) from error


@cache
def _execute(path: Path, changed: int) -> ModuleType:
    """The module of a file, once for every state of it."""
    name = USER + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        source = compile(path.read_bytes(), str(path), "exec")  # not by the loader: its .pyc may be a second old
        exec(source, module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module
