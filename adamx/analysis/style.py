"""The look that all figures share: fonts, the heading, and panels in rows."""

from __future__ import annotations

import base64
import io
from contextlib import AbstractContextManager
from typing import Any

from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adamx.engine.results import Results

# Okabe & Ito's colors, told apart with every kind of color blindness: curves that are not regimes.
CYCLE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")

STYLE: dict[Any, Any] = {
    "axes.prop_cycle": cycler(color=CYCLE),
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.family": "DejaVu Sans",  # comes with matplotlib, and has the star
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 11,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.title_fontsize": 9.5,
    "text.usetex": False,
}


def heading(figure: Figure, results: Results) -> None:
    """Write above the figure which optimizer and problem were run."""
    title = results.title
    widest = 72 * figure.get_figwidth() / (0.68 * len(title))  # a bold letter is about 0.68 of its size wide
    figure.suptitle(title, fontsize=min(12, max(widest, 6)), weight="bold")


def panels(figure: Figure, count: int, across: int, xlabel: str, ylabel: str) -> list[Axes]:
    """Panels that share both axes, row by row; labels stand below each column and left of each row."""
    grid = figure.subplots(-(-count // across), across, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[count:]:
        axes.remove()
    for axes in grid.flat[max(count - across, 0) : count]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(xlabel)
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
    return list(grid.flat[:count])


def styled() -> AbstractContextManager[None]:
    """The context in which every figure is drawn."""
    return rc_context(STYLE)


class Picture(Figure):
    """A figure that a notebook shows, whether pyplot was imported there or not."""

    def _repr_png_(self) -> bytes:
        return png(self)


def image(figure: Figure) -> str:
    """The figure as HTML that needs no file."""
    data = base64.b64encode(png(figure)).decode()
    return f'<img style="max-width: 760px; width: 100%" src="data:image/png;base64,{data}">'


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
