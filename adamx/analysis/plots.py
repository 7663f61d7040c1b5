"""The regime map: which settings converge, crawl, spike, oscillate and diverge, as one picture."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke

from adamx.analysis import COLORS
from adamx.analysis.curves import curves, gap_axis
from adamx.analysis.scales import SYMBOLS, Scale, short
from adamx.analysis.slices import Slice, cut
from adamx.analysis.style import STYLE, Picture, heading, panels
from adamx.analysis.theory import lines_of
from adamx.engine.results import Results
from adamx.inputs.errors import InputError
from adamx.regimes import REGIMES

__all__ = ["curves", "regime_map"]

SHADED = ("converged", "slow")
PALEST = 0.45  # the most white that a shaded color is mixed with
DASHES = ("--", ":")  # of the lines of theory
SIGNS = {"--": "– –", ":": "· · ·"}
HALO = [Stroke(linewidth=2.6, foreground="white"), Normal()]
DOT: dict[str, Any] = {
    "marker": "o",
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 0.5,
    "linestyle": "",
}


def regime_map(results: Results, x: str | None = None, y: str | None = None, ax: Axes | None = None) -> Figure | None:
    """The regimes over two swept hyperparameters, a panel for each value of the others.

    A grid becomes cells, random or Sobol points become points, and a sweep of one hyperparameter shows the final loss
    over it. Several seeds in a cell show the regime of most runs (of two equally common the worse). The star is the
    setting with the least median final loss.

    Args:
        x, y: swept hyperparameters; by default lr and eps, then those with the most values.
        ax: axes to draw the one panel on, without heading and legend.
    Returns:
        None where nothing was swept.
    Raises:
        InputError: x or y was not swept, or there are several panels for `ax`.
    """
    view = cut(results, x, y)
    if view is None:
        return None
    if ax is not None:
        _draw_on(ax, results, view)
        return ax.get_figure(root=True)
    with rc_context(STYLE):
        return _line(results, view) if view.y is None else _panels(results, view, view.y)


def _draw_on(axes: Axes, results: Results, view: Slice) -> None:
    """Draw the one panel of a view on the caller's axes."""
    if len(view.panels) > 1:
        others = ", ".join(view.panels[0])
        raise InputError(
            f"one value of {others} fits on the axes, not {len(view.panels)}: draw without them, or take one"
        )
    if view.y is None:
        _losses(axes, results, view)
        return
    rgb = _shaded(view.settings, results.minimum) if view.gridded else _plain(view.settings["regime"])
    _panel(axes, view, view.y, view.panels[0], rgb)
    _theory(axes, results, view, view.y, view.panels[0])
    axes.set_xticks(*view.x.ticks(7))
    axes.set_yticks(*view.y.ticks(7))
    axes.set_xlabel(view.x.label)
    axes.set_ylabel(view.y.label)


def _panels(results: Results, view: Slice, y: Scale) -> Figure:
    width = 7.0 if view.across == 1 else 9.0
    side = (width - 0.8) / view.across
    height = min(side * (0.72 if view.across == 1 else 0.9), 7.2 / view.rows) * view.rows + 1.5
    figure = Picture(figsize=(width, height), layout="constrained")
    grid = panels(figure, len(view.panels), view.across, view.x.label, y.label)
    xticks, yticks = view.x.ticks(max(int(side / 0.5), 3)), y.ticks(6 if view.rows > 1 else 9)
    rgb = _shaded(view.settings, results.minimum) if view.gridded else _plain(view.settings["regime"])
    said: dict[str, None] = {}
    for axes, panel in zip(grid, view.panels, strict=True):
        _panel(axes, view, y, panel, rgb)
        said |= dict.fromkeys(_theory(axes, results, view, y, panel))
        axes.set_xticks(*xticks)
        axes.set_yticks(*yticks)
        axes.set_title("   ".join(f"{SYMBOLS.get(name, name)} = {short(panel[name])}" for name in sorted(panel)))
    shaded = "darker = lower final loss" if view.gridded else ""
    heading(figure, results)
    _legend(figure, results, view, shaded, list(said))
    return figure


def _theory(axes: Axes, results: Results, view: Slice, y: Scale, panel: dict[str, float]) -> list[str]:
    """Draw the borders that theory knows in one panel; what each separates, and who says so."""
    known = lines_of(results, view.x, y, **panel)
    for line, dash in zip(known, DASHES, strict=False):
        axes.plot(
            view.x.place(line.x), y.place(line.y), color="black", linestyle=dash, linewidth=1.2, path_effects=HALO
        )
    return [f"{SIGNS[dash]} {line.label} ({line.source})" for line, dash in zip(known, DASHES, strict=False)]


def _panel(axes: Axes, view: Slice, y: Scale, panel: dict[str, float], rgb: np.ndarray) -> None:
    """The settings of one panel, and the star of the best where it is among them."""
    mask = view.inside(panel)
    draw = _cells if view.gridded else _points
    draw(axes, view.x, y, view.settings[mask], rgb[mask])
    if np.isfinite(view.settings["final_loss"].iloc[0]) and mask[0]:  # the best is the first
        _mark_best(axes, view.x.place(view.settings[view.x.name].iloc[:1]), y.place(view.settings[y.name].iloc[:1]))


def _plain(regimes: Iterable[str]) -> np.ndarray:
    """(n, 3) the color of each regime."""
    return np.array([to_rgb(COLORS[name]) for name in regimes])


def _shaded(settings: pd.DataFrame, minimum: float) -> np.ndarray:
    """(settings, 3) the color of each regime; converged and slow ones are paler the higher their final loss."""
    rgb = _plain(settings["regime"])
    gap = np.log10(np.clip(settings["final_loss"].to_numpy() - minimum, 1e-30, 1e30))
    for name in SHADED:
        inside = (settings["regime"] == name).to_numpy()
        if inside.any():
            low, high = np.quantile(gap[inside], [0.02, 0.98])
            share = np.clip((gap[inside] - low) / max(high - low, 1e-9), 0, 1)[:, None] * PALEST
            rgb[inside] += (1 - rgb[inside]) * share
    return rgb


def _cells(axes: Axes, x: Scale, y: Scale, settings: pd.DataFrame, rgb: np.ndarray) -> None:
    """A cell a setting; transparent where there is none, a dot where its runs disagree."""
    column, row = x.index(settings[x.name]), y.index(settings[y.name])
    image = np.zeros((len(y.values), len(x.values), 4))
    image[row, column, :3] = rgb
    image[row, column, 3] = 1
    axes.pcolormesh(x.edges(), y.edges(), image, rasterized=True)
    mixed = settings[~settings["agree"]]
    if len(mixed):
        size = float(np.clip(60 / max(image.shape[:2]), 1.5, 4))
        axes.plot(x.place(mixed[x.name]), y.place(mixed[y.name]), markersize=size, **DOT)
    if x.has_zero:
        axes.axvline(x.edges()[1], color="white", linewidth=2)
    if y.has_zero:
        axes.axhline(y.edges()[1], color="white", linewidth=2)


def _points(axes: Axes, x: Scale, y: Scale, settings: pd.DataFrame, rgb: np.ndarray) -> None:
    """A point a setting."""
    size = float(np.clip(9000 / max(len(settings), 1), 4, 60))
    axes.scatter(x.place(settings[x.name]), y.place(settings[y.name]), s=size, c=rgb, edgecolors="white", lw=0.4)


def _line(results: Results, view: Slice) -> Figure:
    """The final loss of every run over the one swept axis."""
    figure = Picture(figsize=(7.0, 4.8), layout="constrained")
    lost = _losses(figure.subplots(), results, view)
    heading(figure, results)
    _legend(figure, results, view, "triangles: beyond the top" if lost else "")
    return figure


def _losses(axes: Axes, results: Results, view: Slice) -> bool:
    """The final losses, the median of each setting as a line; whether some are beyond the top."""
    x = view.x
    axis = gap_axis(results, results.loss[-1])
    runs = axis.values(results.loss[-1])
    at = x.place(results.columns[x.name])
    ordered = view.settings.sort_values(x.name)
    middle = axis.values(ordered["final_loss"])
    axes.plot(x.place(ordered[x.name]), np.where(middle <= axis.top, middle, np.nan), color="0.6", zorder=1)
    rgb = _plain(results.regime)
    kept = runs <= axis.top
    axes.scatter(at[kept], runs[kept], s=42, c=rgb[kept], edgecolors="white", lw=0.5, zorder=2)
    lost = ~kept
    if lost.any():
        top = np.full(lost.sum(), 0.98)
        axes.scatter(at[lost], top, s=42, c=rgb[lost], marker="^", transform=axes.get_xaxis_transform())
    axis.apply(axes)
    axes.set_xlim(x.edges()[0], x.edges()[-1])
    axes.set_xticks(*x.ticks(9))
    axes.set_xlabel(x.label)
    axes.set_ylabel(f"final {axis.label}")
    if np.isfinite(view.settings["final_loss"].iloc[0]):
        _mark_best(axes, x.place(view.settings[x.name].iloc[:1]), axis.values(view.settings["final_loss"].iloc[:1]))
    return bool(lost.any())


def _mark_best(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Mark the best setting."""
    axes.plot(x, y, "*", color="white", markeredgecolor="black", markersize=15, clip_on=False, zorder=5, label="best")


def _legend(figure: Figure, results: Results, view: Slice, remark: str, theory: Sequence[str] = ()) -> None:
    """Below the panels: the best setting, what theory says, what is not shown, and the regimes with their counts."""
    handles: list[Any] = []
    counts = {name: (results.regime == name).sum() for name in REGIMES}
    present = [name for name in REGIMES if counts[name]]
    for name in present:
        base = np.array(to_rgb(COLORS[name]))
        pale = (0.0, PALEST / 2, PALEST) if name in SHADED and view.gridded and view.y else (0.0,)
        handles.append(tuple(Patch(facecolor=tuple(base + (1 - base) * share)) for share in pale))
    labels = [f"{name} {counts[name]:,}" for name in present]
    notes = [remark, *view.notes, *(["counts are of all runs"] if view.notes else [])]
    if view.gridded and view.y and not view.settings["agree"].all():
        handles.append(Line2D([], [], markersize=4, **DOT))
        labels.append("seeds disagree")
    lines = textwrap.wrap("; ".join(note for note in notes if note), 100)
    best = view.settings.iloc[0]
    if np.isfinite(best["final_loss"]):
        values = ", ".join(f"{SYMBOLS.get(n, n)} = {short(best[n])}" for n in results.columns if n in view.settings)
        lines.insert(0, f"\N{WHITE STAR} best: {values}; final loss {short(best['final_loss'])}")
    lines += [part for line in theory for part in textwrap.wrap(line, 84)]
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=6 if figure.get_figwidth() > 8 else 3,
        title="\n".join(lines) or None,
        columnspacing=1.4,
        handlelength=1.6,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
    )
