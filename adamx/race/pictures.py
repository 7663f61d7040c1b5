"""The race: what optimizers did on a surface over time, as a strip of pictures and as the frames of a film."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from adamx.analysis.curves import GapAxis
from adamx.analysis.style import styled
from adamx.analysis.surface import Surface

# Told apart with every kind of color blindness (Paul Tol's "bright", and black), and by their markers.
PALETTE = ("#222222", "#EE6677", "#4477AA", "#228833", "#AA3377", "#CCBB44", "#66CCEE")
MARKERS = "osD^vPX"
MOST = len(PALETTE)
STRIP = 6  # pictures in a strip
SIZE = (6.4, 3.9)  # of a frame, inches


@dataclass(frozen=True)
class Racer:
    """One run.

    Attributes:
        label: what tells it from the others. rule: its optimizer. constants: its hyperparameters, as typed.
        path: (steps + 1, 2) its points. loss: (steps + 1,).
        goal: its first step at the goal, or -1. popped: whether it left the goal again. regime: of `regimes.REGIMES`.
    """

    label: str
    rule: str
    constants: str
    path: np.ndarray
    loss: np.ndarray
    goal: int
    popped: bool
    regime: str

    def status(self, step: int) -> str:
        """The racer's status at a step, in words."""
        if not 0 <= self.goal <= step:
            return "short of the goal" if step == len(self.loss) - 1 else " "
        popped = ", popped" if self.popped and step == len(self.loss) - 1 else ""
        return f"goal at {self.goal}{popped}"


@dataclass(frozen=True)
class Race:
    """Racers on a surface, at most `MOST`.

    Attributes:
        title: what was run.
        axis: of the loss.
        ordered: the racers are one optimizer along an axis: their colors have an order too.
    """

    title: str
    racers: Sequence[Racer]
    surface: Surface
    axis: GapAxis
    ordered: bool = False

    @property
    def steps(self) -> int:
        return len(self.racers[0].loss) - 1

    @property
    def colors(self) -> list[Any]:
        """One for each racer."""
        if self.ordered:
            return [colormaps["plasma"](share) for share in np.linspace(0, 0.82, len(self.racers))]
        return list(PALETTE[: len(self.racers)])


class Trails:
    """Every racer as a line that it leaves behind and a marker at its head."""

    def __init__(self, axes: Axes, race: Race, points: Sequence[np.ndarray]) -> None:
        """On axes, with the points (steps + 1, 2) of each racer there."""
        self.points = points
        outline = [Stroke(linewidth=3.0, foreground="white", alpha=0.8), Normal()]
        self.lines = [axes.plot([], [], color=c, linewidth=1.5, path_effects=outline)[0] for c in race.colors]
        self.heads = [axes.add_line(_head(c, m)) for c, m in zip(race.colors, MARKERS, strict=False)]

    def show(self, step: int) -> None:
        """Move to a step."""
        for points, line, head in zip(self.points, self.lines, self.heads, strict=True):
            line.set_data(*points[: step + 1].T)
            head.set_data(*points[step : step + 1].T)


def _head(color: Any, marker: str) -> Line2D:
    return Line2D([], [], color=color, marker=marker, markersize=7, markeredgecolor="white", linestyle="", zorder=6)


def filmstrip(race: Race) -> Figure:
    """The race at six steps, each about twice as far as the one before, and the loss of all."""
    steps = np.unique(np.geomspace(max(race.steps / 2 ** (STRIP - 1), 1), race.steps, STRIP).round().astype(int))
    with styled():
        figure = Figure(figsize=(9.6, 5.2), layout="constrained")
        fields, chart, legend = _stage(figure, race, 2, -(-len(steps) // 2))
        for axes, step in zip(fields, steps, strict=False):
            Trails(axes, race, [racer.path for racer in race.racers]).show(step)
            axes.set_title(f"step {step}")
        Trails(chart, race, _losses(race)).show(race.steps)
        _say(legend, race, race.steps)
    return figure


def images(race: Race, count: int, width: int) -> Iterator[np.ndarray]:
    """The film: `count` images (height, width, 3) uint8 with even sides, evenly spaced in steps.

    What stands still is drawn again only when a racer's status changes.
    """
    with styled():
        figure = Figure(figsize=SIZE, dpi=width / SIZE[0], layout="constrained")
        canvas = FigureCanvasAgg(figure)
        (field,), chart, legend = _stage(figure, race, 1, 1)
        title = field.set_title(f"step {race.steps}")
        moving = [Trails(field, race, [racer.path for racer in race.racers]), Trails(chart, race, _losses(race))]
        artists = [title, *(artist for trails in moving for artist in (*trails.lines, *trails.heads))]
        for artist in artists:
            artist.set_animated(True)
        said = _say(legend, race, race.steps)  # at its widest, for the layout
        canvas.draw()
        figure.set_layout_engine("none")
        for step in np.linspace(0, race.steps, count).round().astype(int):
            before, said = said, _say(legend, race, step)
            if said != before or step == 0:
                canvas.draw()
                still = canvas.copy_from_bbox(figure.bbox)
            canvas.restore_region(still)
            title.set_text(f"step {step}")
            for trails in moving:
                trails.show(step)
            for artist in artists:
                figure.draw_artist(artist)
            image = np.asarray(canvas.buffer_rgba())[..., :3]
            yield image[: len(image) // 2 * 2, : image.shape[1] // 2 * 2].copy()


def _stage(figure: Figure, race: Race, rows: int, across: int) -> tuple[list[Axes], Axes, Legend]:
    """Fields with the surface, row by row; right of them the legend above the chart of the loss."""
    columns = figure.add_gridspec(1, 2, width_ratios=(1.4 if across == 1 else 2.8, 1))
    fields = columns[0].subgridspec(rows, across).subplots(sharex=True, sharey=True, squeeze=False)
    for axes in fields.flat:
        race.surface.draw(axes)
        axes.label_outer()
    side = columns[1].subgridspec(2, 1, height_ratios=(1, 1.15))
    chart = figure.add_subplot(side[1])
    race.axis.apply(chart)
    goal = float(race.axis.values(race.surface.base + race.surface.target))
    chart.axhline(goal, color="0.2", linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
    chart.text(1.01, goal, "goal", transform=chart.get_yaxis_transform(), va="center", fontsize=9)
    chart.set(xlim=(0, 1.04 * race.steps), xlabel="step", ylabel=race.axis.label)
    empty = figure.add_subplot(side[0])
    empty.set_axis_off()
    heads = [_head(c, m) for c, m in zip(race.colors, MARKERS, strict=False)]
    labels = [racer.label for racer in race.racers]
    size = 9.5 if len(labels) <= 5 else 7.5
    legend = empty.legend(heads, labels, loc="upper left", borderaxespad=0, handlelength=1, fontsize=size)
    figure.suptitle(race.title, weight="bold", fontsize=11)
    return list(fields.flat), chart, legend


def _losses(race: Race) -> list[np.ndarray]:
    """(steps + 1, 2) the points of each racer on the chart."""
    return [np.column_stack([np.arange(race.steps + 1), race.axis.values(racer.loss)]) for racer in race.racers]


def _say(legend: Legend, race: Race, step: int) -> list[str]:
    """Write each racer's label and status into the legend."""
    said = [f"{racer.label}\n{racer.status(step)}" for racer in race.racers]
    for text, words in zip(legend.get_texts(), said, strict=True):
        text.set_text(words)
    return said
