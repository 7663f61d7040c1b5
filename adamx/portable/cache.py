"""Cache: compiled kernels on the disk, each under the content of everything that it reads.

A file of the cache has a digest at its end, which Numba does not look at: what is damaged is compiled again.
"""

from __future__ import annotations

import os
import pickle
import stat
import warnings
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache

from adamx.portable import F
from adamx.portable.content import UnreadableError, digest

DIGEST = 16  # bytes


def cached(decorate: Callable[..., Any], kernel: F, name: str, *also: object, disk: Any = FunctionCache) -> F:
    """Compile `kernel` with a Numba decorator, kept on disk under `name` until what it reads changes.

    Numba's own key misses edits in imported rules (a stale kernel would silently give the old rule's numbers). A kernel
    that reads something without content is compiled in every process, and a warning says so.

    Args:
        also: what else the code depends on, such as its dtype. disk: the class of Numba's cache for the target.
    """
    try:
        key = digest(kernel, *also)
    except UnreadableError as error:
        warnings.warn(f"{name} is compiled anew in every process: it reads {error}", RuntimeWarning, stacklevel=2)
        return decorate(kernel)
    kernel.__name__ = kernel.__qualname__ = f"{name}_{key}"
    dispatcher = decorate(kernel)
    cache, why = None, "no folder for compiled kernels can be written"
    with suppress(RuntimeError):  # Numba's error
        cache = disk(kernel)
        why = _unsafe(Path(cache.cache_path))
    if cache is None or why:
        words = f"{why}; set NUMBA_CACHE_DIR to one of your own"
        warnings.warn(f"{name} is compiled anew in every process: {words}", RuntimeWarning, stacklevel=2)
        return dispatcher
    cache._index_key = lambda sig, codegen: (sig, codegen.magic_tuple(), key)
    _survive_damage(cache)
    dispatcher._cache = cache
    return dispatcher


def _survive_damage(cache: Any) -> None:
    """Make a cache ignore damaged files, and go on where a file cannot be written."""
    file, load, save = cache._cache_file, cache.load_overload, cache.save_overload

    def load_overload(signature: Any, context: Any) -> Any:
        try:
            return load(signature, context)
        except Exception:  # unpickling a damaged file can raise anything
            with suppress(OSError):
                cache.flush()
            return None

    def save_overload(signature: Any, compiled: Any) -> None:
        with suppress(OSError):  # a full disk: the kernel runs all the same
            save(signature, compiled)

    def load_data(name: str) -> Any:
        content = Path(file._data_path(name)).read_bytes()
        data, digest = content[:-DIGEST], content[-DIGEST:]
        if _digest(data) != digest:
            raise ValueError(f"{name} is damaged")
        return pickle.loads(data)

    def save_data(name: str, compiled: Any) -> None:
        data = file._dump(compiled)
        with file._open_for_write(file._data_path(name)) as out:
            out.write(data + _digest(data))

    cache.load_overload, cache.save_overload = load_overload, save_overload
    file._load_data, file._save_data = load_data, save_data


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST).digest()


def _unsafe(folder: Path) -> str:
    """The reason why what lies in a folder must not run, as it is unpickled; "" where there is none.

    Whoever owns the folder, or may write to it, chooses the code that runs.
    """
    if not hasattr(os, "getuid"):  # Windows
        return ""
    found = folder.stat()  # Numba has made it
    if found.st_uid not in _trusted():
        return f"the folder of compiled kernels, {folder}, is another user's"
    if found.st_mode & stat.S_IWOTH:
        return f"every user can write to the folder of compiled kernels, {folder}"
    return ""


def _trusted() -> set[int]:
    """The users whose compiled kernels may run: this one, the owner of adamx's own files, and root."""
    return {0, os.getuid(), Path(__file__).stat().st_uid}


def on_disk(dispatcher: Any) -> bool:
    """True if a kernel made by `cached` was compiled before."""
    file = getattr(dispatcher._cache, "_cache_file", None)
    return file is not None and Path(file._index_path).is_file()


def folder_of(dispatcher: Any) -> Path | None:
    """The folder that a kernel made by `cached` is kept in; None where there is none."""
    path = dispatcher._cache.cache_path
    return None if path is None else Path(path)
