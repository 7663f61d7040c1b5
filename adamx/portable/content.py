"""Content: a digest of all that a function computes from, however it is named and wherever it comes from."""

from __future__ import annotations

import enum
import functools
import hashlib
import importlib.metadata
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba.core.types import Type
from numba.core.typing.templates import builtin_registry


class UnreadableError(TypeError):
    """Something that code reads has no content that a digest could follow."""


def digest(*parts: object) -> str:
    """16 hex digits that change when the content of any part changes.

    A function counts with its code as it was loaded (a file may have been edited since), its defaults, and all that the
    code reads, in the same way: closed over values, globals, members of modules, functions under a decorator of
    Numba. Arrays count by their bytes. Bytecode is one of Python's versions, and so is a function's digest.

    Raises:
        UnreadableError: a part, or what it reads, is of a kind that has no content (an open file, somebody's object).
    """
    content = _Content()
    for part in parts:
        content.add(part)
    return content.sha.hexdigest()[:16]


def identity(*parts: object) -> str:
    """The digest of the parts; if one has no content, a random digest that no other process will give."""
    try:
        return digest(*parts)
    except UnreadableError:
        return secrets.token_hex(8)


def reads(fn: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """The globals that a function reads, by name."""

    assert isinstance(fn, FunctionType)
    return ((n, fn.__globals__[n]) for n in _names(fn.__code__) if n in fn.__globals__)


def _names(code: CodeType) -> Iterator[str]:
    """The names of globals and attributes in code, and in the functions that it defines."""
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


def closed_over(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """The values that a function closes over, by name; one that has none yet is left out."""
    assert isinstance(function, FunctionType)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):
            yield name, cell.cell_contents


def _overloads(function: FunctionType) -> list[Any]:
    """The functions that `numba.extending.overload` compiles in place of this one; Numba has no public way to ask."""
    kinds = (kind for value, kind in builtin_registry.globals if value is function)
    templates = (template for kind in kinds for template in getattr(kind, "templates", ()))
    return [each._overload_func for each in templates if hasattr(each, "_overload_func")]


@cache
def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return ""  # Python's own


def _library(part: Any) -> str:
    """The installed library, or the part of Python, that something is of; empty for adamx and for a user's own.

    A library counts by its name and version: what is in it is not read.
    """
    module = part.__name__ if isinstance(part, ModuleType) else getattr(part, "__module__", None) or ""
    root = str(module).partition(".")[0]
    if root in ("", "adamx", "__main__"):
        return ""
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    return root if root in sys.stdlib_module_names or "site-packages" in file or "dist-packages" in file else ""


class _Content:
    """A hash that takes values of every kind, each with its kind and its length, so that no two run together."""

    def __init__(self) -> None:
        self.sha = hashlib.sha256()
        self.seen: dict[int, tuple[int, object]] = {}  # by identity, kept alive: functions may read one another

    def say(self, *words: object) -> None:
        self.sha.update(f"{words!r}\n".encode(errors="surrogatepass"))

    def add(self, part: Any) -> None:
        if part is None or isinstance(part, (bool, int, float, complex, str, bytes, type(...), range, slice)):
            self.say(type(part).__name__, part)
        elif isinstance(part, enum.Enum):
            self.say("enum", type(part).__qualname__, part.name)
            self.add(part.value)
        elif isinstance(part, (np.ndarray, np.generic)):
            self.array(np.asarray(part))
        elif isinstance(part, (np.dtype, Type)):
            self.say("type", repr(part))
        elif isinstance(part, (tuple, list)):
            self.say(type(part).__name__, getattr(part, "_fields", ""), len(part))
            self.each(part)
        elif isinstance(part, Mapping):
            self.say("mapping", len(part))
            self.each(each for pair in part.items() for each in pair)
        elif isinstance(part, (set, frozenset)):
            self.say("set", sorted(digest(each) for each in part))
        elif isinstance(part, CodeType):
            self.code(part)
        elif id(part) in self.seen:
            self.say("again", self.seen[id(part)][0])
        else:
            self.seen[id(part)] = len(self.seen), part
            self.object(part)

    def each(self, parts: Any) -> None:
        for part in parts:
            self.add(part)

    def array(self, array: np.ndarray) -> None:
        self.say("array", repr(array.dtype), array.shape)
        if array.dtype.hasobject:
            self.each(array.ravel().tolist())
        else:
            self.sha.update(np.ascontiguousarray(array).tobytes())

    def object(self, part: Any) -> None:
        """Add an object with an identity: a function, a class, a wrapper of one, a module."""
        library = _library(part)
        if library and isinstance(part, (FunctionType, BuiltinFunctionType, np.ufunc, type, ModuleType)):
            self.say(library, _version(library), getattr(part, "__qualname__", part.__name__))
        elif isinstance(part, FunctionType):
            self.function(part)
        elif hasattr(part, "py_func"):  # compiled by Numba
            self.say("compiled", sorted((k, repr(v)) for k, v in getattr(part, "targetoptions", {}).items()))
            self.add(part.py_func)
        elif hasattr(part, "_defn"):  # an intrinsic of Numba
            self.add(part._defn)
        elif isinstance(part, functools.partial):
            self.say("partial")
            self.each((part.func, part.args, part.keywords))
        elif isinstance(part, type):
            self.a_class(part)
        elif isinstance(part, BuiltinFunctionType):
            self.say("builtin", part.__module__, part.__qualname__)
        elif hasattr(part, "state_dict") and hasattr(part, "modules"):  # of torch; its numbers are drawn anew
            self.say("layers", str(part))
            self.each(list(dict.fromkeys(map(type, part.modules()))))
        elif hasattr(part, "__array__") and hasattr(part, "shape"):  # of torch or jax
            self.array(np.asarray(part.detach().cpu() if hasattr(part, "detach") else part))
        elif hasattr(part, "__wrapped__"):
            self.add(part.__wrapped__)
        elif library and hasattr(part, "__name__"):
            self.say(library, _version(library), type(part).__qualname__, part.__name__)
        else:
            raise UnreadableError(f"{type(part).__qualname__} has no content that can be compared")

    def a_class(self, part: Any) -> None:
        """The members of an enumeration, the fields of a named tuple, and what the body defines."""
        if hasattr(part, "class_type"):
            raise UnreadableError(f"{part.__name__}, a class that Numba compiled, has no content that can be compared")
        fields = getattr(part, "_fields", ())
        self.say("class", part.__qualname__, fields)
        self.add(getattr(part, "_field_defaults", None))
        if issubclass(part, enum.Enum):
            self.each((each.name, each.value) for each in part)
            return
        for name, value in vars(part).items():
            if issubclass(part, tuple):  # the rest of it is made by Python
                own = not name.startswith("_") and name not in fields
            else:
                own = not name.startswith("__") or isinstance(value, FunctionType)
            if own:
                self.say("defines", name)
                self.named(name, value)

    def function(self, function: FunctionType) -> None:
        code = function.__code__
        self.code(code)
        self.say("marks", sorted(vars(function)))
        self.each((function.__defaults__, function.__kwdefaults__))
        self.each(_overloads(function))
        modules: list[ModuleType] = []
        for name, value in [*reads(function), *closed_over(function)]:
            self.say("reads", name)
            if isinstance(value, ModuleType):
                modules.append(value)
            else:
                self.named(name, value)
        self.modules(modules, sorted(set(_names(code))))

    def modules(self, modules: list[ModuleType], names: list[str]) -> None:
        """Add the members of modules that a function names, and of the modules in them."""
        for module in modules:  # it grows
            if _library(module):
                self.add(module)
                continue
            for name in names:
                value = getattr(module, name, None)
                if isinstance(value, ModuleType):
                    modules += [value] * (value not in modules)
                elif value is not None:
                    self.say("of", module.__name__, name)
                    self.named(name, value)

    def named(self, name: str, value: Any) -> None:
        try:
            self.add(value)
        except UnreadableError as error:
            raise UnreadableError(f"{name}: {error}") from None

    def code(self, code: CodeType) -> None:
        self.sha.update(code.co_code)
        self.say(code.co_names, code.co_varnames, code.co_freevars, code.co_argcount, code.co_kwonlyargcount)
        self.each(code.co_consts)
