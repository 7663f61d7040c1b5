"""Errors: what a person typed that cannot be used, said in one line with the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

SYNONYMS = {"gpu": "cuda", "learning_rate": "lr", "epsilon": "eps"}


class InputError(ValueError):
    """Input that cannot be used; the message is one line that says what is allowed.

    Names and values from files stand in it: what would break the line, or command the terminal, is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """A text from a file or a store, safe for a terminal: characters that break the line or control it are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The valid name that was probably meant: the same without its group, another word for it, or one spelt alike."""
    allowed = list(allowed)
    group, dot, last = name.rpartition(".")
    known = SYNONYMS.get(last, last)
    same = [a for a in allowed if a == group + dot + known] or [a for a in allowed if a.rpartition(".")[2] == known]
    return next(iter(same or difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)), None)


def unknown(kind: str, name: object, allowed: Iterable[str], elsewhere: Iterable[str] = ()) -> InputError:
    """The error for a name that does not exist: what was typed, the nearest valid name, all valid names.

    Args:
        elsewhere: names that may have been meant, and are too many to be listed.
    """
    allowed = sorted(allowed)
    near = nearest(str(name), [*allowed, *elsewhere])
    hint = f" did you mean {near!r}?" if near else ""
    return InputError(f"unknown {kind} {str(name)!r}:{hint} allowed: {', '.join(allowed)}")


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type if the message is empty.

    SQLAlchemy wraps the error of a driver; the driver's message is the useful one.
    """
    lines = (line.strip() for line in str(getattr(error, "orig", None) or error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def raised(what: str, error: BaseException, where: str = "") -> InputError:
    """The error for what the user's own code raised."""
    return InputError(f"{what} raises {type(error).__name__}{where}: {error}".rstrip(": "))


@contextmanager
def user_errors(kind: str, name: str) -> Iterator[None]:
    """A context in which errors from a user's file become InputErrors; those of shipped files stay as they are."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the user's own code: anything may come
        if not name.endswith(".py"):
            raise
        raise raised(f"{kind} file {name!r}", error) from error


def whole(what: str, value: object, least: int) -> int:
    """A whole number of at least `least`, or an InputError that says so; 1e4 is one too."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or value != value // 1 or value < least:  # type: ignore[operator]
        raise InputError(f"{what} is {value!r}: a whole number >= {least} is needed")
    return int(value)


def real(what: str, value: object) -> float:
    """A finite number, or an InputError that says so."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not np.isfinite(value):  # type: ignore[call-overload]
        raise InputError(f"{what} is {value!r}: a number is needed")
    return float(value)  # type: ignore[arg-type]


def flag(what: str, value: object) -> bool:
    """True or false, or an InputError that says so."""
    if not isinstance(value, bool):
        raise InputError(f"{what} is {value!r}: true or false is needed")
    return value
