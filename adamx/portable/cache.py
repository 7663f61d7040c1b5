"""Cache: compiled kernels on the disk, under a digest of everything that they read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from numba.core.caching import FunctionCache

from adamx.portable import F, _reads


def digest(*parts: object) -> str:
    """16 hex digits that change when any part changes.

    A function counts with its code as it was loaded (a file may have been edited since) and with all that the code
    reads, in the same way: closed over values, globals, functions of modules it names.
    """
    sha = hashlib.sha256()
    seen: set[object] = set()

    def add_code(code: CodeType) -> None:
        sha.update(code.co_code + repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
        for const in code.co_consts:
            add(const)

    def add(part: object) -> None:
        if isinstance(part, FunctionType):
            if part in seen:
                return
            seen.add(part)
            add_code(part.__code__)
            sha.update(repr(sorted(vars(part))).encode())  # how it is marked
            cells = zip(part.__code__.co_freevars, part.__closure__ or (), strict=True)
            for name, value in [*_reads(part), *((n, cell.cell_contents) for n, cell in cells)]:
                sha.update(name.encode())
                if isinstance(value, ModuleType):  # rng.bits: the functions of the module that are named
                    for attribute in part.__code__.co_names:
                        add(getattr(value, attribute, None))
                else:
                    add(value)
        elif isinstance(part, CodeType):
            add_code(part)
        elif isinstance(part, type):
            sha.update(f"{part.__qualname__}{getattr(part, '_fields', '')}".encode())
        elif not callable(part):
            sha.update(repr(part).encode())

    for part in parts:
        add(part)
    return sha.hexdigest()[:16]


def cached(decorate: Callable[..., Any], kernel: F, name: str, key: str, disk: Any = FunctionCache) -> F:
    """Compile `kernel` with a Numba decorator, kept on disk under `name` until `key` changes.

    Numba's own key misses edits in imported rules (a stale kernel would silently give the old rule's numbers).

    Args:
        disk: the class of Numba's cache for the target.
    """
    kernel.__name__ = kernel.__qualname__ = f"{name}_{key}"
    dispatcher = decorate(kernel)
    dispatcher._cache = disk(kernel)
    dispatcher._cache._index_key = lambda sig, codegen: (sig, codegen.magic_tuple(), key)
    return dispatcher


def on_disk(dispatcher: Any) -> bool:
    """Whether a kernel made by `cached` was compiled before."""
    return Path(dispatcher._cache._cache_file._index_path).is_file()
