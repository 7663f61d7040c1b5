"""Cache: compiled kernels on the disk, each under the content of everything that it reads."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache

from adamx.portable import F
from adamx.portable.content import UnreadableError, digest


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
    dispatcher._cache = disk(kernel)
    dispatcher._cache._index_key = lambda sig, codegen: (sig, codegen.magic_tuple(), key)
    return dispatcher


def on_disk(dispatcher: Any) -> bool:
    """Whether a kernel made by `cached` was compiled before."""
    file = getattr(dispatcher._cache, "_cache_file", None)
    return file is not None and Path(file._index_path).is_file()
