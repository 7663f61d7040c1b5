"""Errors: what a person typed that cannot be used, said in one line with the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np


class InputError(ValueError):
    """What the user typed cannot be used; the message is one line that says what is allowed.

    Names and values from files stand in it: what would break the line, or command the terminal, is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """A text from a file or a store as it may stand on a terminal: what would break its line or command it, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def unknown(kind: str, name: object, allowed: Iterable[str]) -> InputError:
    """The error for a name that does not exist: what was typed, the nearest valid name, all valid names."""
    allowed = sorted(allowed)
    near = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {str(name)!r}:{hint} allowed: {', '.join(allowed)}")


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


def whole(what: str, value: object, least: int) -> int:
    """A whole number of at least `least`, or an InputError that says so."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{what} is {value!r}: a whole number >= {least} is needed")
    return int(value)
