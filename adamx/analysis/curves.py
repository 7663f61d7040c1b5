"""Loss curves by regime: what the runs of each regime did over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from adamx.analysis import COLORS
from adamx.analysis.scales import SYMBOLS, short
from adamx.analysis.style import STYLE, Picture, heading, panels
from adamx.engine.results import Results
from adamx.engine.settings import best_run
from adamx.inputs.errors import unknown
from adamx.regimes import REGIMES

ROUNDING = 1e-32  # of the gap at the start; lower values lie on the bottom of a log axis
MOST_LINES = 9
EXPLODED = 1e3  # times the gap at the start; higher values leave the top


@dataclass(frozen=True)
class GapAxis:
    """The vertical axis of a loss: the gap to the known minimum on a log scale where it is positive.

    Else (the minimum is a goal, not a bound) the loss itself, logarithmic on both sides of zero.
    """

    minimum: float
    start: float
    positive: bool
    bottom: float
    top: float

    @property
    def label(self) -> str:
        """The quantity on the axis."""
        return "loss - minimum" if self.positive and self.minimum else "loss"

    def values(self, loss: ArrayLike) -> np.ndarray:
        """The value that is drawn for a loss; NaN where the loss is not finite."""
        loss = np.asarray(loss, dtype=np.float64)
        loss = np.where(np.isfinite(loss), loss, np.nan)
        return np.maximum(loss - self.minimum, self.bottom) if self.positive else loss

    def apply(self, axes: Axes) -> None:
        """Set scale and limits."""
        if self.positive:
            axes.set_yscale("log")
            axes.set_ylim(self.bottom * 0.5, self.top * 3)
        else:
            axes.set_yscale("symlog", linthresh=self.start)
            axes.set_ylim(self.bottom, self.top * 1.1)


def gap_axis(results: Results, loss: np.ndarray) -> GapAxis:
    """The axis that fits some of the losses of results; it leaves out what exploded."""
    minimum = results.minimum if np.isfinite(results.minimum) else 0.0
    first = np.abs(results.loss[0] - minimum)
    start = float(first[np.isfinite(first)].max(initial=0.0)) or 1.0
    gap = loss - minimum
    finite = gap[np.isfinite(gap)]
    if not finite.size:
        return GapAxis(minimum, start, True, start, EXPLODED * start)
    most = float(min(finite.max(), EXPLODED * start))
    if finite.min() >= -1e-9 * start:
        seen = finite[finite > ROUNDING * start]
        return GapAxis(minimum, start, True, float(seen.min(initial=most)), most)
    least = float(max(finite.min(), -EXPLODED * start))
    return GapAxis(minimum, start, False, least + min(minimum, 0.0), most + max(minimum, 0.0))


def curves(results: Results) -> Figure:
    """The loss over the steps, a panel for each regime that occurred.

    A panel has the median and the 10-90 % band over its runs, its best and its worst run, and the best run of all;
    a curve ends at its last finite point. Lost runs count as infinite in the median and the band.
    """
    with rc_context(STYLE):
        return _curves(results)


def _curves(results: Results) -> Figure:
    present = [name for name in REGIMES if (results.regime == name).any()]
    across = {1: 1, 2: 2, 4: 2}.get(len(present), 3)
    rows = -(-len(present) // across)
    figure = Picture(
        figsize=(9.0 if across > 1 else 7.0, 1.4 + (2.7 if rows > 1 else 3.6) * rows), layout="constrained"
    )
    axis = gap_axis(results, results.loss)
    grid = panels(figure, len(present), across, "step", axis.label)
    steps = results.steps
    end = np.where(np.isfinite(results.loss[-1]), results.loss[-1], np.inf)
    best = (best_run([results]) or (0, 0))[1]
    val_loss = results.curves.get("val_loss")
    for axes, name in zip(grid, present, strict=True):
        runs = np.flatnonzero(results.regime == name)
        color = COLORS[name]
        low, middle, high = _quantiles(results.loss[:, runs])
        axes.fill_between(steps, _border(axis, low), _border(axis, high), color=color, alpha=0.3, linewidth=0)
        axes.plot(steps, axis.values(results.loss[:, best]), color="black", linewidth=0.9, linestyle=(0, (4, 2)))
        if val_loss is not None and best in runs:
            axes.plot(steps, axis.values(val_loss[:, best]), color="black", linewidth=1.1, linestyle=(0, (1, 1.5)))
        extremes = (("-", runs[np.argmin(end[runs])]), ("-.", runs[np.argmax(_badness(results)[runs])]))
        for dash, run in extremes:
            axes.plot(steps, axis.values(results.loss[:, run]), color=color, linewidth=0.9, linestyle=dash)
        axes.plot(steps, axis.values(middle), color=color, linewidth=2.2)
        axes.set_title(f"{name}, {len(runs):,} {'runs' if len(runs) > 1 else 'run'}")
        axes.grid(axis="y", color="0.92", linewidth=0.6)
    axis.apply(grid[0])
    _step_scale(grid[0], steps)
    heading(figure, results)

    def line(label: str, **style: Any) -> Line2D:
        return Line2D([], [], label=label, **style)

    handles = [
        line("median", color="0.4", linewidth=2.2),
        Patch(color="0.4", alpha=0.3, linewidth=0, label="10-90 % of runs"),
        line("best of the regime", color="0.4", linewidth=0.9),
        line("worst of the regime", color="0.4", linewidth=0.9, linestyle="-."),
        line("best of all", color="black", linewidth=0.9, linestyle=(0, (4, 2))),
    ]
    if len(results) == 1:  # it is its own median
        handles = []
    if val_loss is not None:
        handles.append(line("its val_loss", color="black", linewidth=1.1, linestyle=(0, (1, 1.5))))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def lines(results: Results, by: str = "regime", ax: Axes | None = None) -> Figure:
    """The loss over the steps on one pair of axes: for each group of runs its median and its 10-90 % band.

    Args:
        by: "regime", or a column: a hyperparameter or "seed". Of more than `MOST_LINES` values some are shown, evenly.
        ax: axes to draw on.
    Raises:
        InputError: no such column.
    """
    if by != "regime" and by not in results.columns:
        raise unknown("column", by, ["regime", *results.columns])
    with rc_context(STYLE):
        figure = ax.get_figure(root=True) if ax else Picture(figsize=(7.0, 4.8), layout="constrained")
        assert figure is not None
        axes = ax or figure.subplots()
        axis = gap_axis(results, results.loss)
        for label, runs, color in _groups(results, by):
            low, middle, high = _quantiles(results.loss[:, runs])
            axes.fill_between(results.steps, _border(axis, low), _border(axis, high), color=color, alpha=0.2, lw=0)
            axes.plot(results.steps, axis.values(middle), color=color, linewidth=1.8, label=label)
        axis.apply(axes)
        _step_scale(axes, results.steps)
        axes.set_xlabel("step")
        axes.set_ylabel(axis.label)
        axes.legend(title=f"{SYMBOLS.get(by, by)}, runs: median, 10-90 %", fontsize="small")
        if ax is None:
            heading(figure, results)
    return figure


def _groups(results: Results, by: str) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Each group of runs with its label and color."""
    if by == "regime":
        for name in REGIMES:
            if (runs := results.regime == name).any():
                yield f"{name}, {runs.sum():,}", runs, COLORS[name]
        return
    values = np.unique(results.columns[by])
    shown = values[np.unique(np.linspace(0, len(values) - 1, MOST_LINES).round().astype(int))]
    for value, place in zip(shown, np.linspace(0, 0.9, len(shown)), strict=True):
        runs = results.columns[by] == value
        yield f"{short(value)}, {runs.sum():,}", runs, colormaps["viridis"](place)


def _quantiles(loss: np.ndarray) -> np.ndarray:
    """10 %, 50 % and 90 % of runs at each record; a lost run counts as infinite."""
    return np.quantile(np.where(np.isfinite(loss), loss, np.inf), [0.1, 0.5, 0.9], axis=1, method="nearest")


def _badness(results: Results) -> np.ndarray:
    """(runs,) larger is worse: the final loss, and above all losses the runs that were lost, the earliest worst."""
    end = results.loss[-1]
    lost = ~np.isfinite(end)
    finite = np.isfinite(results.loss).sum(axis=0)
    rank = np.argsort(np.argsort(np.where(lost, -np.inf, end), kind="stable"), kind="stable")
    return np.where(lost, len(end) + len(results.steps) - finite, rank)


def _border(axis: GapAxis, quantile: np.ndarray) -> np.ndarray:
    """The border of a band, which goes on above the top once so many runs are lost."""
    return axis.values(np.where(np.isfinite(quantile), quantile, 10 * axis.top + abs(axis.minimum)))


def _step_scale(axes: Axes, steps: np.ndarray) -> None:
    """Logarithmic steps where they were recorded so: the last interval is ten times the first or more."""
    if len(steps) > 2 and steps[-1] - steps[-2] >= 10 * (steps[1] - steps[0]):
        axes.set_xscale("symlog", linthresh=float(steps[1]))
    axes.set_xlim(0, steps[-1])
