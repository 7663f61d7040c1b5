"""Watch and rescue: what is wrong with somebody's own training, with evidence.

    with adamx.watch(optimizer) as w: ...         on a running torch training (`Watch`)
    python -m adamx.watch losses.csv              from a log alone

The package itself can be called; torch is loaded then and not before.
"""

from __future__ import annotations

import sys
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


sys.modules[__name__].__class__ = _Package
