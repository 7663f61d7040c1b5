"""Interrupt: Ctrl-C while a record is written, held back to where nothing is half done.

A KeyboardInterrupt may strike between any two lines, also of SQLAlchemy's: the connection that it strikes there lives
on in the traceback and keeps its lock, against this process too.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_noted = False


@contextmanager
def held() -> Iterator[None]:
    """Within it the first Ctrl-C waits for `check`, or for the end of the block; the second ends the process at once.

    Nothing is held back in a thread of its own, or where somebody else handles the signal.
    """
    global _noted
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _noted = False
    signal.signal(signal.SIGINT, _note)
    try:
        yield
        check()
    finally:
        _noted = False
        signal.signal(signal.SIGINT, signal.default_int_handler)


def check() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed within `held`, once."""
    global _noted
    if _noted:
        _noted = False
        raise KeyboardInterrupt


def _note(*_: object) -> None:
    global _noted
    _noted = True
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the next one
