"""Waiting: what happens before there is anything to show, in one line on a terminal that the next one replaces."""

from __future__ import annotations

import os
import sys


def say(words: str) -> None:
    """Show what happens now; nothing where the output is no terminal, or one that cannot take a line back."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        sys.stdout.write(f"\r\x1b[2K{words}" + " ..." * bool(words))
        sys.stdout.flush()


def clear() -> None:
    """Take the line away, before anything else is printed."""
    say("")
