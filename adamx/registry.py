"""The folder is the registry: an optimizer or a problem is one file, found by its name, or a user's file by path."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

USER = "_adamx_user_"  # begins the names of modules that are a user's files


class InputError(ValueError):
    """What the user typed cannot be used; the message is one line that says what is allowed.

    Names and values from files stand in it: what would break the line, or command the terminal, is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))


def unknown(kind: str, name: object, allowed: Iterable[str]) -> InputError:
    """The error for a name that does not exist: what was typed, the nearest valid name, all valid names."""
    allowed = sorted(allowed)
    near = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {str(name)!r}:{hint} allowed: {', '.join(allowed)}")


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


def raised(what: str, error: BaseException, where: str = "") -> InputError:
    """The error for what the user's own code raised."""
    return InputError(f"{what} raises {type(error).__name__}{where}: {error}".rstrip(": "))


@contextmanager
def told(kind: str, name: str) -> Iterator[None]:
    """What code raises within is an InputError if it is a user's file; what is shipped raises as it does."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the user's own code: anything may come
        if not name.endswith(".py"):
            raise
        raise raised(f"{kind} file {name!r}", error) from error


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
