"""Cache: compiled kernels on the disk, each under the content of everything that it reads.

Numba says where: NUMBA_CACHE_DIR, beside this file, or the user's cache; a private temporary folder is the last resort.
Its file there ends with a digest, so what is damaged is compiled again. Of processes that need the same kernel at once
one compiles it.
"""

from __future__ import annotations

import os
import pickle
import secrets
import stat
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from adamx.portable import F
from adamx.portable.content import UnreadableError, digest

# Numba names the functions within a kernel by a number that counts what a process has compiled. Kernels that two
# processes made can have one name for two functions, and a process that loads both would call the first for both:
# other numbers, or a crash. So every process counts from a number of its own. There is no public way.
FunctionIdentity._unique_ids = count(secrets.randbits(62))
COUNTED = 2  # of kernels that are kept: those before were counted from 1

DIGEST = 16  # bytes
PATIENCE = 600  # seconds for another process that compiles the same kernel; then it is compiled here too


def cached(decorate: Callable[..., Any], kernel: F, name: str, *also: object, disk: Any = FunctionCache) -> F:
    """Compile `kernel` with a Numba decorator, kept on disk under `name` until what it reads changes.

    Numba's own key misses edits in imported rules (a stale kernel would silently give the old rule's numbers). A kernel
    that reads something without content is compiled in every process, and a warning says so.

    Args:
        also: what else the code depends on, such as its dtype. disk: the class of Numba's cache for the target.
    """
    try:
        key = digest(kernel, COUNTED, *also)
    except UnreadableError as error:
        warnings.warn(f"{name} is compiled anew in every process: it reads {error}", RuntimeWarning, stacklevel=2)
        return decorate(kernel)
    kernel.__name__ = kernel.__qualname__ = f"{name}_{key}"
    dispatcher = decorate(kernel)
    cache = _cache(disk, kernel)
    if cache:
        dispatcher._cache = cache  # no public way: Numba's own, of `cache=True`, has Numba's key
        dispatcher.compile = _by_one_process(dispatcher.compile, cache.files)
    return dispatcher


def on_disk(dispatcher: Any) -> bool:
    """True if a kernel made by `cached` was compiled before."""
    files = getattr(dispatcher._cache, "files", None)
    return files is not None and files.any


def folder_of(dispatcher: Any) -> Path | None:
    """The folder that a kernel made by `cached` is kept in; None where there is none."""
    files = getattr(dispatcher._cache, "files", None)
    return files and files.folder


def _cache(disk: Any, kernel: Callable[..., Any]) -> Any:
    """The cache of a kernel, None where no folder will do."""
    anywhere = disk._impl_class._locator_classes
    why = "no folder for compiled kernels can be written"
    for locators in ([*anywhere, Temporary], [Temporary]):
        try:
            cache = _kept(disk, locators)(kernel)
        except (RuntimeError, OSError):  # Numba's error where no locator will do
            break
        unsafe = _unsafe(cache.files.folder)
        if not unsafe:
            return cache
        why = unsafe
        words = f"{why}, so they are kept elsewhere; set NUMBA_CACHE_DIR to a folder of your own"
        warnings.warn(words, RuntimeWarning, stacklevel=3)
    words = f"kernels are compiled anew in every process: {why}; set NUMBA_CACHE_DIR to a folder of your own"
    warnings.warn(words, RuntimeWarning, stacklevel=3)
    return None


def _kept(disk: Any, locators: list[Any]) -> Any:
    """Numba's cache for a target with `Files` in place of its own, in the first folder that a locator finds."""

    class Where(disk._impl_class):
        _locator_classes = locators

    class Kept(disk):
        _impl_class = Where

        def __init__(self, kernel: Callable[..., Any]) -> None:
            super().__init__(kernel)
            self.files = self._cache_file = Files(Path(self.cache_path), self._impl.filename_base)

        def _index_key(self, signature: Any, codegen: Any) -> str:  # the file's name has the kernel's content
            return repr((signature, codegen.magic_tuple()))

        def load_overload(self, signature: Any, context: Any) -> Any:
            with suppress(Exception):  # what another version has written
                return super().load_overload(signature, context)

        def save_overload(self, signature: Any, compiled: Any) -> None:
            with suppress(OSError):  # a full disk: the kernel runs all the same
                super().save_overload(signature, compiled)

    return Kept


class Files:
    """The files of one kernel: one for each signature and processor."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    @property
    def any(self) -> bool:
        return next(self.folder.glob(f"{self.name}.*.nbc"), None) is not None

    @property
    def lock(self) -> FileLock:
        return FileLock(self.folder / f"{self.name}.lock", PATIENCE)

    def _path(self, key: str) -> Path:
        return self.folder / f"{self.name}.{_digest(key.encode()).hex()}.nbc"

    def load(self, key: str) -> Any:
        """The kernel in the form that Numba keeps; None where there is none, or it is damaged."""
        with suppress(OSError):
            content = self._path(key).read_bytes()
            kept, written = content[:-DIGEST], content[-DIGEST:]
            if _digest(kept) == written:
                return pickle.loads(kept)
        return None

    def save(self, key: str, kernel: Any) -> None:
        """Keep a kernel; OSError leaves no file behind."""
        kept, path = dumps(kernel), self.folder / f"{self.name}.{uuid4().hex}.tmp"
        try:
            path.write_bytes(kept + _digest(kept))
            path.replace(self._path(key))
        finally:
            path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Forget the kernel."""
        for path in self.folder.glob(f"{self.name}.*.nbc"):
            path.unlink(missing_ok=True)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST).digest()


def _by_one_process(compile: Callable[[Any], Any], files: Files) -> Callable[[Any], Any]:
    """compile(signature), which waits where another process compiles the kernel, and loads what that has made."""

    def once(signature: Any) -> Any:
        if files.any:
            return compile(signature)
        lock = files.lock
        with suppress(Timeout, OSError, NotImplementedError):  # no locks there: it is compiled as often as needed
            lock.acquire()
        try:
            return compile(signature)
        finally:
            lock.release()

    return once


class Temporary:
    """A locator of Numba's cache: a folder of this user alone among the temporary ones."""

    def __init__(self, line: int) -> None:
        self.line = line

    @classmethod
    def from_function(cls, kernel: Callable[..., Any], _: str) -> Temporary:
        made = cls(kernel.__code__.co_firstlineno)
        made.ensure_cache_path()
        return made

    def get_cache_path(self) -> str:
        user = os.getuid() if hasattr(os, "getuid") else "user"
        return str(Path(tempfile.gettempdir(), f"adamx-{user}"))

    def ensure_cache_path(self) -> None:
        Path(self.get_cache_path()).mkdir(mode=0o700, exist_ok=True)

    def get_source_stamp(self) -> str:
        return ""

    def get_disambiguator(self) -> str:
        return str(self.line)


def _unsafe(folder: Path) -> str:
    """The reason why what lies in a folder must not run, as it is unpickled; "" where there is none.

    Whoever owns the folder, or may write to it, chooses the code that runs.
    """
    if not hasattr(os, "getuid"):  # Windows
        return ""
    found = folder.stat()
    if found.st_uid not in _trusted():
        return f"the folder of compiled kernels, {folder}, is another user's"
    if found.st_mode & stat.S_IWOTH:
        return f"every user can write to the folder of compiled kernels, {folder}"
    return ""


def _trusted() -> set[int]:
    """The users whose compiled kernels may run: this one, the owner of adamx's own files, and root."""
    return {0, os.getuid(), Path(__file__).stat().st_uid}
