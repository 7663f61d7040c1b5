"""Why a run did what it did: what one knob at another value does to it, in sentences, as a table and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle, groupby

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from rich.table import Table

from adamx.analysis import COLORS
from adamx.analysis.curves import gap_axis
from adamx.analysis.scales import Scale, short
from adamx.analysis.style import Picture, heading, image, styled
from adamx.engine.results import Results
from adamx.why.knobs import LENGTHS, LONGER, Change, Tried, Turn, outcome, smallest

DASHES = ("-", (0, (6, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
SHADES = ("black", "#117733", "#CC79A7", "#56B4E9", "#882255", "#332288", "#44AA99", "#999933")  # no regime has them


@dataclass(frozen=True, repr=False)
class Cause:
    """A run as it was, what theory says of it (or None), and what became of it with each knob changed.

    `regimes` are those of the run over `LENGTHS` times its steps.
    """

    run: Results
    theory: str | None
    tries: Sequence[Tried]
    regimes: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """Converged where the run is over all lengths; else the first regime that is something else."""
        return outcome(self.regimes)

    @property
    def converged(self) -> bool:
        return self.outcome == "converged"

    def __repr__(self) -> str:
        return "\n".join([self.run.title, *sentences(self)])

    def _repr_html_(self) -> str:
        said = "<br>".join(escape(line) for line in sentences(self))
        return f"<b>{escape(self.run.title)}</b><br>{said}<br>{image(self.draw())}"

    def draw(self) -> Figure:
        """The figure of `figure`."""
        return figure(self)

    @property
    def turning(self) -> list[Turn]:
        """The smallest changes that save the run; of one that converged, those that spoil it."""
        return smallest(self.tries, lambda t: (t.outcome == "converged") != self.converged)

    @property
    def delays(self) -> list[Tried]:
        """For each knob that does not save the run, the smallest changes that do so over its own steps alone."""
        saving = {turn.tried.change.knob for turn in self.turning}
        others = [t for t in self.tries if t.change.knob not in saving and not self.converged]
        return [turn.tried for turn in smallest(others, lambda t: t.regime == "converged")]

    @property
    def knobs(self) -> dict[str, list[Tried]]:
        """The changes of every knob."""
        return {knob: list(group) for knob, group in groupby(self.tries, key=lambda t: t.change.knob)}


def words(change: Change) -> str:
    """A change, such as "raising eps 1,000x to 1e-05"."""
    knob, old, new = change.knob, change.old, change.new
    if isinstance(old, str) or isinstance(new, str):
        return f"{knob}={new}"
    if change.kind == "switch":
        return f"{knob}={str(bool(new)).lower()}"
    if change.kind == "steps":
        return f"a warm-up of {new:,.0f} steps"
    times = f" {_times(10**change.decades)}x" if change.kind == "factor" else ""
    return f"{'raising' if new > old else 'lowering'} {knob}{times} to {short(new)}"


def _times(ratio: float) -> str:
    """A factor above 1, such as "24,000", "2.4" or "1.05": two digits, and near 1 as many as tell it from 1."""
    if ratio >= 10:
        return f"{float(f'{ratio:.1e}'):,.0f}" if ratio < 1e6 else f"{ratio:.2g}"
    return f"{ratio:.2g}" if ratio >= 1.1 else f"{ratio:.{1 - math.floor(math.log10(ratio - 1))}f}"


def sentences(cause: Cause) -> list[str]:
    """The run's outcome and the change that saves it (or spoils it if it converged); then the prediction of theory."""
    said = _spoiled_by(cause) if cause.converged else _saved_by(cause)
    return [" ".join([f"{_run_sentence(cause.run)}{_later(cause)}.", *said]), *filter(None, [cause.theory])]


def _later(cause: Cause) -> str:
    """The regimes of the run over more steps, if they differ."""
    own, *later = cause.regimes
    changed = [f"at {n} times the steps {regime}" for n, regime in zip(LENGTHS[1:], later, strict=False)]
    return f"; {', '.join(changed)}" if {own} != {*later} and later else ""


def _spoiled_by(cause: Cause) -> list[str]:
    after = [f"{words(turn.tried.change)} ({_seen(turn)})" for turn in cause.turning]
    return [
        f"It does so at {_and(LENGTHS[1:])} times the steps too: nothing to explain.",
        f"The smallest changes that spoil it: {', '.join(after)}." if after else "No change tried spoils it.",
    ]


def _saved_by(cause: Cause) -> list[str]:
    lasting = [words(turn.tried.change) for turn in cause.turning if not turn.alone]
    alone = [words(turn.tried.change) for turn in cause.turning if turn.alone]
    delays = [f"{words(t.change)} ({t.words})" for t in cause.delays]
    said = []
    if lasting:
        first, *more = lasting
        said.append(f"{_capitalized(first)} would have saved it{'; so would ' * bool(more)}{', '.join(more)}.")
    if alone:
        rest = "did too" if lasting else "would have saved it"
        said.append(f"Isolated, with neighbours that do not: {', '.join(alone)} {rest}.")
    if lasting or alone:
        warm = any(turn.tried.change.kind == "steps" for turn in cause.turning)
        longer = f" (the warm-up at {_and(LONGER)} times too)" * warm
        said.append(f"Run at {_and(LENGTHS[1:])} times the steps each of these converges too{longer}.")
    else:
        said.append("No change of a single knob that was tried would have saved it.")
    if delays:
        said.append(f"Only a delay: {', '.join(delays)}.")
    helped = {turn.tried.change.knob for turn in cause.turning} | {t.change.knob for t in cause.delays}
    nothing = [knob for knob in cause.knobs if knob not in helped]
    if nothing and (lasting or alone or delays):
        said.append(f"Nothing tried did for {', '.join(nothing)}.")
    return said


def _seen(turn: Turn) -> str:
    return f"{turn.tried.words}{', isolated' * turn.alone}"


def _capitalized(words: str) -> str:
    return words[0].upper() + words[1:]


def _and(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))


def _run_sentence(run: Results) -> str:
    """A sentence about the run, such as "It spiked 3 times, first at step 1,204"."""
    row, regime = run.table.iloc[0], run.regime[0]
    if regime == "converged":
        return f"It converged (under its target first at step {row['reached_step']:,})"
    if regime == "diverged":
        if pd.notna(row["diverged_step"]):
            return f"It diverged: its loss was not finite at step {row['diverged_step']:,}"
        return f"It diverged: its loss ended at {short(row['final_loss'])}, from {short(run.loss[0, 0])}"
    if regime == "spiking":
        if not row["spikes"]:
            return f"It popped: it reached its target at step {row['reached_step']:,}, settled, and left it again"
        times = f"{row['spikes']:,} times, first" if row["spikes"] > 1 else "once,"
        return (
            f"It spiked {times} at step {row['first_spike_step']:,}, up to {row['largest_spike']:,.3g} times its level"
        )
    if regime == "unbounded":
        return f"It fell without end: its loss ended at {short(row['final_loss'])}, from {short(run.loss[0, 0])}"
    if regime == "unjudged":
        return "It stayed finite; its problem has no `objective`, so no regime is named"
    did = "oscillated" if regime == "oscillating" else "was slow"
    return f"It {did}: its loss ended at {short(row['final_loss'])}, above its target"


def table(cause: Cause) -> Table:
    """A row a knob: its value, what was tried, and the smallest changes that save (or spoil) the run."""
    view = Table("knob", "was", "tried", "spoiled by" if cause.converged else "saved by", box=None, pad_edge=False)
    for knob, tries in cause.knobs.items():
        news, old = [t.change.new for t in tries], tries[0].change.old
        if isinstance(old, str) or tries[0].change.kind == "switch":
            values = [str(v) if isinstance(v, str) else str(bool(v)).lower() for v in (old, *news)]
            was, range_ = values[0], ", ".join(values[1:])
        else:
            numbers = [float(v) for v in news]
            was, range_ = short(float(old)), f"{short(min(numbers))} to {short(max(numbers))}"
        turning = [turn for turn in cause.turning if turn.tried.change.knob == knob]
        seen = [_seen(turn) if cause.converged else "isolated" * turn.alone for turn in turning]
        after = [words(turn.tried.change) + f" ({s})" * bool(s) for turn, s in zip(turning, seen, strict=True)]
        after += [f"{words(t.change)} (a delay)" for t in cause.delays if t.change.knob == knob]
        view.add_row(knob, was, range_, ", ".join(after) or "-")
    return view


def figure(cause: Cause) -> Figure:
    """The loss of the run and of those with the smallest changes that save (or spoil) it; below, a strip for every
    knob with the regime that each of its values leads to, and a mark at the run's own value."""
    with styled():
        return _figure(cause)


def _figure(cause: Cause) -> Figure:
    plain = ("choice", "switch")
    scaled = [tries for tries in cause.knobs.values() if tries[0].change.kind not in plain]
    named = [t for t in cause.tries if t.change.kind in plain]
    strips = len(scaled) + bool(named)
    figure = Picture(figsize=(8.0, 4.3 + 0.62 * strips), layout="constrained")
    top, *below = figure.subplots(1 + strips, 1, height_ratios=[3.6, *[0.22] * strips])
    _curves(top, cause.run, [turn.tried for turn in cause.turning[: len(SHADES)]])
    for axes, tries in zip(below, scaled, strict=False):
        _strip(axes, tries, cause.outcome)
    if named:
        _names(below[-1], named)
    heading(figure, cause.run)
    present = {cause.run.regime[0], cause.outcome, *(t.outcome for t in cause.tries)}
    figure.legend(
        handles=[Patch(color=color, label=name) for name, color in COLORS.items() if name in present],
        loc="outside lower center",
        ncols=len(present),
        title="strips: the run with that knob at another value, converged where it is at 1, 2 and 4 times the steps;\n"
        "the mark is its own value",
    )
    return figure


def _curves(axes: Axes, run: Results, shown: Sequence[Tried]) -> None:
    loss = np.concatenate([run.loss, *(t.run.loss for t in shown)], axis=1)
    axis = gap_axis(run, loss)
    regime = run.regime[0]
    axes.plot(run.steps, axis.values(run.loss[:, 0]), color=COLORS[regime], linewidth=2.4, label=f"the run: {regime}")
    for t, color, dash in zip(shown, SHADES, cycle(DASHES), strict=False):
        label = words(t.change)
        axes.plot(run.steps, axis.values(t.run.loss[:, 0]), color=color, linestyle=dash, linewidth=1.1, label=label)
    axis.apply(axes)
    axes.set_xlim(0, run.steps[-1])
    axes.set_xlabel("step")
    axes.set_ylabel(axis.label)
    axes.grid(axis="y", color="0.92", linewidth=0.6)
    own = ", ".join(f"{name} = {short(float(values[0]))}" for name, values in run.columns.items())
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, title=own, title_fontsize="small")


def _strip(axes: Axes, tries: Sequence[Tried], own: str) -> None:
    """A cell for each value of a knob; `own` is what the run does at its own value."""
    old = float(tries[0].change.old)
    regimes = {old: own, **{float(t.change.new): t.outcome for t in tries}}
    scale = Scale(tries[0].change.knob, np.array(sorted(regimes)))
    colors = [to_rgb(COLORS[regimes[value]]) for value in scale.values]
    axes.pcolormesh(scale.edges(), [0, 1], np.array([colors]), rasterized=True)
    axes.plot(scale.place([old]), [0.5], "D", color="white", markeredgecolor="black", markersize=6)
    axes.set_xticks(*scale.ticks(9))
    _label(axes, f"{scale.label}, steps" if tries[0].change.kind == "steps" else scale.label)


def _names(axes: Axes, tries: Sequence[Tried]) -> None:
    """A cell for each change that is no number."""
    axes.pcolormesh(np.arange(len(tries) + 1), [0, 1], np.array([[to_rgb(COLORS[t.outcome]) for t in tries]]))
    axes.vlines(np.arange(1, len(tries)), 0, 1, color="white", linewidth=3)
    axes.set_xticks(np.arange(len(tries)) + 0.5, [words(t.change).removeprefix("dtype=") for t in tries])
    _label(axes, "other")


def _label(axes: Axes, words: str) -> None:
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=2, pad=2)
    axes.set_ylabel(words, rotation=0, ha="right", va="center")
