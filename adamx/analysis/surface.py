"""A loss over two coordinates, computed by the kernel itself: the contours that a race is drawn on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from adamx.engine.simulate import simulate
from adamx.inputs.errors import InputError
from adamx.models.mlp import Mlp
from adamx.optimizers import Rule
from adamx.problems import Landscape, Problem

FINE = 221  # points along each side
LEVELS = 17
DEPTH = 3e-4  # of the highest gap in view; what is lower lies inside the innermost contour
MARGIN = 0.08  # around what must be in view, as a share of it
OUTSIDE = 3.0  # times the gap at the start: a racer is not followed so high
SHADES = LinearSegmentedColormap.from_list("depth", ["#8ea9c4", "#b4c6d8", "#d9e2eb", "#f6f8fa"])

View = tuple[float, float, float, float]  # left, right, bottom, top


@dataclass(frozen=True)
class Surface:
    """The contours under a race.

    Attributes:
        x, y: (n,) places along the two coordinates. names: of the coordinates.
        loss: (n, n) at each y and x.
        base: the loss that gaps are measured from. target: the gap that counts as the goal.
        minimizers: (points, 2) where the loss is least; none where that is not known.
        section: at which values of further coordinates, "" where there are none.
    """

    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    base: float
    target: float
    minimizers: np.ndarray
    names: tuple[str, str]
    section: str

    def draw(self, axes: Axes) -> None:
        """Contours, the minimum as a star, and where the base is no minimum the border of the goal.

        Levels are even in the logarithm of the gap; in the loss itself where it falls below the base, as at a saddle.
        """
        gap = np.where(np.isfinite(self.loss), self.loss - self.base, np.nan)
        most = float(np.nanmax(gap))
        if np.nanmin(gap) >= -1e-9 * most:
            gap = np.log10(np.maximum(gap, DEPTH * most))
        else:
            axes.contour(self.x, self.y, gap, levels=[self.target], colors="0.2", linestyles=[(0, (4, 3))])
        levels = np.linspace(np.nanmin(gap), np.nanmax(gap), LEVELS)
        axes.contourf(self.x, self.y, gap, levels=levels, cmap=SHADES)
        axes.contour(self.x, self.y, gap, levels=levels, colors="white", linewidths=0.7, linestyles="solid")
        axes.plot(*self.minimizers.T, "*", color="black", markersize=11, markeredgecolor="white", zorder=5)
        axes.set(xlim=self.x[[0, -1]], ylim=self.y[[0, -1]], xlabel=self.names[0], ylabel=self.names[1])


def check(problem: Problem) -> None:
    """Raise InputError unless the problem has a surface."""
    if isinstance(problem, Landscape) and problem.dim != 2:
        raise InputError(f"a race needs a landscape of 2 coordinates: {problem.name} has {problem.dim}")
    if not isinstance(problem, Landscape) and getattr(problem, "model", None) != Mlp((2, 1)):
        raise InputError(
            f"a race needs a landscape of 2 coordinates, or a linear model of 2 features such as moons_logistic: "
            f"{problem.name} has {problem.dim} parameters"
        )


def surface(
    problem: Problem, optimizer: str | Rule, paths: np.ndarray, losses: np.ndarray, view: View | None = None
) -> Surface:
    """The surface of a problem of two coordinates; of a linear model of two features, the section at its best bias.

    Args:
        optimizer: whose kernel is used: the loss of a run that starts at a point, before its first step.
        paths: (racers, steps + 1, coordinates). losses: (racers, steps + 1).
        view: by default a box around the minimizers and all of the paths from the start to the goal.
    """

    def height(points: np.ndarray) -> np.ndarray:
        """(points,) losses at (points, coordinates)."""
        seeds = {"seed": np.zeros(len(points))}
        return simulate(optimizer, problem, seeds, steps=1, x0=points, instruments=shown).loss[0]

    shown = ("path",) if isinstance(problem, Landscape) else ()  # the racers' own kernel: nothing more to compile
    base, target, rest = problem.minimum, problem.criteria.target, np.empty(0)
    names, section = ("x", "y"), ""
    if isinstance(problem, Landscape):
        minimizers = problem.minimizers
    else:
        lowest = paths.reshape(-1, problem.dim)[np.nanargmin(losses)]
        best, base = _least(height, lowest)
        minimizers, rest, target = best[None, :2], best[2:], target - base
        names, section = ("weight 1", "weight 2"), f"at bias = {rest[0]:.2f}"
    if view is None:
        gap, start = losses - base, abs(losses[0, 0] - base)
        near = (gap >= -1e-9 * start) & (gap <= OUTSIDE * start)  # not beyond the goal of a loss without a minimum
        view = _box(np.concatenate([minimizers, paths[near][:, :2]]))
    x, y = np.linspace(*view[:2], FINE), np.linspace(*view[2:], FINE)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    loss = height(np.column_stack([points, np.broadcast_to(rest, (len(points), len(rest)))])).reshape(FINE, FINE)
    return Surface(x, y, loss, base, target, minimizers, names, section)


def _least(height: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> tuple[np.ndarray, float]:
    """The least loss near a point, and where."""
    from scipy.optimize import minimize

    best = minimize(lambda x: height(x[None])[0], start, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-12})
    return best.x, float(best.fun)


def _box(points: np.ndarray) -> View:
    """A box around points, with a margin."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = MARGIN * np.maximum(high - low, 1e-2 * (high - low).max() or 1.0)
    (left, bottom), (right, top) = low - margin, high + margin
    return float(left), float(right), float(bottom), float(top)
