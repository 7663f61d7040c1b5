"""Watch and rescue: what is wrong with somebody's own training, with evidence.

    with adamx.watch(optimizer) as w: ...         on a running torch training (`Watch`)
    adamx.watch.lightning.Watch(every=10)         a callback of Lightning
    adamx.watch.transformers.Watch(trainer)       a callback of Hugging Face's Trainer
    adamx.optax.watch(optimizer)                  on a training with optax
    python -m adamx.watch losses.csv              from a log alone

The package itself can be called. Libraries are loaded when they are named and not before.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamx.watch.watch import Watch


class _Package(ModuleType):
    """`adamx.watch(...)`: a submodule stands in its package under its own name, so it is the module that is called."""

    def __call__(self, optimizer: Any, loss: Any = None, **options: Any) -> Watch:
        """Watch an optimizer of torch; the arguments are those of `adamx.watch.watch.Watch`."""
        from adamx.watch.watch import Watch

        return Watch(optimizer, loss, **options)

    def __getattr__(self, name: str) -> Any:
        """`adamx.watch.lightning` without an import of its own."""
        if name in ("lightning", "transformers"):
            return import_module(f"adamx.watch.{name}")
        raise AttributeError(f"module 'adamx.watch' has no attribute {name!r}")


sys.modules[__name__].__class__ = _Package
