"""The folder is the registry: an optimizer or a problem is one file, found by its name, or a user's file by path."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import linecache
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from adamx.inputs.errors import InputError, raised, unknown

USER = "_adamx_user_"  # begins the names of modules that are a user's files
_typed: list[str] = []  # within `only_typed`, the innermost last
_kept: dict[str, bytes] = {}  # within `as_they_were`


class Source(NamedTuple):
    """A user's file as it ran."""

    name: str
    content: bytes

    @property
    def path(self) -> str:
        """The path in a record: in a folder that is named for its content."""
        return f"{hashlib.sha256(self.content).hexdigest()[:16]}/{self.name}"


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


def source(module: ModuleType) -> Source | None:
    """The user's file that a module is; None of what is shipped."""
    return getattr(module, "__adamx_source__", None)


def is_user(function: object) -> bool:
    """True if a function is defined in a user's file."""
    return getattr(function, "__module__", "").startswith(USER)


def _load_file(name: str, kind: str) -> ModuleType:
    path = file(name)
    if path is None and name not in _kept:
        raise InputError(f"{kind} file {name!r} does not exist")
    path = path or Path(name)
    try:
        content = _kept[name] if name in _kept else path.read_bytes()
    except OSError as error:
        raise InputError(f"{kind} file {str(path)!r} cannot be read: {error.strerror or error}") from error
    if _typed and not _is_named_in(_typed[-1], name) and not known(content):
        raise InputError(
            f"{kind} file {name!r} is code that has not run here as it is now, and the command line does not name it: "
            f"read it, then type {kind}={name}"
        )
    try:
        module = _execute(path, content)
    except (Exception, SystemExit) as error:  # the user's own code: anything may come
        raise raised(f"{kind} file {str(path)!r}", error) from error
    _remember(content)
    return module


@cache
def _execute(path: Path, content: bytes) -> ModuleType:
    """The module of a file, once for every content of it."""
    name = USER + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    vars(module)["__adamx_source__"] = Source(path.name, content)
    text = content.decode(errors="replace")
    linecache.cache[str(path)] = len(text), None, text.splitlines(True), str(path)  # as it ran, whatever comes later
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)  # not by the loader: its .pyc may be a second old
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def as_they_were(files: Mapping[str, bytes]) -> Iterator[None]:
    """A context in which these contents stand for the user's files of these names, whatever is on the disk now."""
    _kept.update(files)
    try:
        yield
    finally:
        _kept.clear()


@contextmanager
def only_typed(arguments: Sequence[str]) -> Iterator[None]:
    """A context in which a user's file runs only if the command line names it, or if this user has run it here before.

    A configuration, a journal and a record may come from elsewhere: that they name a file does not make it run.
    """
    _typed.append("\n".join(arguments).replace("\\", ""))
    try:
        yield
    finally:
        _typed.pop()


def _is_named_in(typed: str, name: str) -> bool:
    """True if the typed text contains a name as a whole, and not as a part of another name."""
    return re.search(rf"""(?<![^\s=,:(\[{{'"]){re.escape(name)}(?![^\s,)\]}}'"])""", typed) is not None


def known(content: bytes) -> bool:
    """True if this user has run a file of that content here before."""
    return _mark(content).is_file()


def _mark(content: bytes) -> Path:
    """The empty file that stands for a content, in a folder that is this user's alone."""
    home = os.environ.get("ADAMX_CACHE_DIR") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "adamx")
    return Path(home).expanduser() / "ran" / hashlib.sha256(content).hexdigest()


@cache
def _remember(content: bytes) -> None:
    with suppress(OSError, RuntimeError):  # no home, or nothing may be written there: then it is asked for again
        mark = _mark(content)
        mark.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        mark.touch()
