"""Notebook: a progress bar in a notebook's output, without widgets."""

from __future__ import annotations

from html import escape
from time import perf_counter
from typing import Any

SECONDS = 0.2  # between two updates


class Bar:
    """One line of HTML that is replaced; gone at the end."""

    def __init__(self) -> None:
        from IPython.display import display

        self._shown: Any = display(_Html(""), display_id=True)
        self._last = 0.0

    def show(self, name: str, done: int, total: int, words: str, at_once: bool = False) -> None:
        """Show the launch that is computed, the runs that are done, and more in words."""
        if at_once or done == total or perf_counter() - self._last > SECONDS:
            self._last = perf_counter()
            self._shown.update(_Html(bar(name, done, total, words)))

    def close(self) -> None:
        self._shown.update(_Html(""))


class _Html:
    """HTML as it is."""

    def __init__(self, html: str) -> None:
        self._html = html

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return ""


def bar(name: str, done: int, total: int, words: str) -> str:
    """The line."""
    meter = f'<progress style="width: 18em" value="{done}" max="{total}"></progress>'
    return f"<div>{escape(name)} {meter} {done:,}/{total:,} runs {escape(words)}</div>"
