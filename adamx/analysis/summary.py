"""The findings of a sweep in a few lines: runs per regime, the best settings, and where runs failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text
from scipy import stats

from adamx.analysis import COLORS
from adamx.analysis.certainty import certainty
from adamx.analysis.scales import short
from adamx.engine.results import Results
from adamx.engine.settings import FAILING, best, settings, swept
from adamx.inputs.errors import printable
from adamx.regimes import REGIMES

BEST = 5
CONTRAST = 0.2  # two shares that differ by less are no finding
FEWEST = 5  # settings on each side of a threshold
CHANCE = 0.05  # that a summary names any threshold although there is none
UNBOUNDED = 10_000  # columns; no table is as wide
VERBS = {
    "diverged": "diverge",
    "oscillating": "oscillate",
    "spiking": "spike",
    "slow": "are slow",
    "unbounded": "fall without end",
}


class Split(NamedTuple):
    """Where one threshold divides runs best: the share of marked runs on the worse side and on the other."""

    words: str  # the worse side, such as ">= 0.32", or its only value
    opposite: str  # the other side: below, above
    share: float
    other: float


def summary(results: Sequence[Results], found: Sequence[str] = ()) -> RenderableType:
    """The findings of the sweeps, to be printed by rich; plain text where the output is no terminal.

    One Results: its regimes, its best settings, a line a swept hyperparameter, and how certain that is. Several: a row
    each, then the best settings for each problem.

    Args:
        found: the `findings` of the one, where they are known already.
    """
    if len(results) == 1:
        return _one(results[0], found or findings(results[0]))
    problems = dict.fromkeys(r.task for r in results)
    parts: list[RenderableType] = [_rows(results)]
    for name in problems:
        parts += ["", Text(printable(f"best on {name}"), style="bold"), _best([r for r in results if r.task == name])]
    return Group(*parts)


def findings(results: Results) -> list[str]:
    """A line a swept hyperparameter: where its runs diverge, oscillate, spike or are slow, and its best value.

    A threshold is named for a regime where the regime's share on its two sides differs by at least 20 points and by
    more than chance. Where none is, but the failing regimes (spiking, oscillating, diverged) together do, it is that.
    Seeds are repetitions: a setting counts once, whatever the number of its seeds.
    """
    first, names = settings(results).iloc[0], swept(results)
    repeats, questions = np.unique(results.columns["seed"]).size, len(names) * (len(VERBS) + 1)
    lines = []
    for name in names:

        def clause(marked: np.ndarray, verb: str, values: np.ndarray = results.columns[name]) -> str:
            return _clause(threshold(values, marked, repeats, questions), verb)

        clauses = [clause(results.regime == regime, verb) for regime, verb in VERBS.items()]
        if not any(clauses[:-1]):
            clauses.insert(0, clause(np.isin(results.regime, FAILING), "fail"))
        clauses = [clause for clause in clauses if clause] or ["no clear difference"]
        if np.isfinite(first["final_loss"]):
            clauses.append(f"best at {short(first[name])}")
        lines.append(f"{name}: {'; '.join(clauses)}")
    return lines


def _clause(split: Split | None, verb: str) -> str:
    """The shares of marked runs beside a threshold, as "at >= 0.32 all diverge, below 3%"; empty without one."""
    if split is None:
        return ""
    return f"at {split.words} {_percent(split.share)} {verb}, {split.opposite} {_percent(split.other)}"


def threshold(values: np.ndarray, marked: np.ndarray, repeats: int = 1, questions: int = 1) -> Split | None:
    """The threshold on `values` that divides marked from other runs best, or None where none does it clearly.

    Of all thresholds with at least `FEWEST` settings on both sides the one with the most variance of the mark between
    its sides (a decision tree of one node). It is clear where Fisher's exact test, times the number of thresholds tried
    (Bonferroni), says that chance makes such a difference in less than `CHANCE` of all summaries.

    Args:
        repeats: runs of a setting, which say one thing together. questions: how many such searches a summary makes.
    """
    distinct, group = np.unique(values, return_inverse=True)
    share = float(marked.mean())
    if len(distinct) < 2 or share in (0.0, 1.0):
        return None
    count = np.bincount(group)[:-1].cumsum()
    hits = np.bincount(group, weights=marked)[:-1].cumsum()
    low, high = hits / count, (marked.sum() - hits) / (len(values) - count)
    total = len(values) / repeats
    allowed = np.minimum(count, len(values) - count) >= FEWEST * repeats
    between = np.where(allowed, count * (len(values) - count) * (high - low) ** 2, -1.0)
    at = int(between.argmax())
    if not allowed[at] or abs(high[at] - low[at]) < CONTRAST:
        return None
    drawn = stats.hypergeom(round(total), round(marked.sum() / repeats), round(count[at] / repeats))
    found = round(hits[at] / repeats)
    by_chance = 2 * min(drawn.cdf(found), drawn.sf(found - 1))
    if by_chance * allowed.sum() * questions > CHANCE:
        return None
    if high[at] > low[at]:
        sign = ">= " if at + 2 < len(distinct) else ""
        return Split(sign + short(distinct[at + 1]), "below", float(high[at]), float(low[at]))
    sign = "<= " if at > 0 else ""
    return Split(sign + short(distinct[at]), "above", float(low[at]), float(high[at]))


def _percent(share: float) -> str:
    """A share in whole per cent; "all" and "none" only where it is exact."""
    if share in (0.0, 1.0):
        return "all" if share else "none"
    return f"{np.clip(round(100 * share), 1, 99):.0f}%"


def brief(results: Sequence[Results]) -> RenderableType:
    """The runs of each regime and the best settings, without the findings."""
    if len(results) > 1:
        return _rows(results)
    return Group(Text(results[0].title, style="bold"), _counts(results[0]), "", _best(results))


def _counts(results: Results) -> Columns:
    counts = {name: (results.regime == name).sum() for name in REGIMES}
    return Columns([Text(f" {name} {count:,} ", style=_style(name)) for name, count in counts.items() if count])


def _one(results: Results, found: Sequence[str]) -> RenderableType:
    said = map(_finding, [*found, *certainty(results)])
    return Group(Text(printable(results.title), style="bold"), _counts(results), "", _best([results]), "", *said)


def _finding(line: str) -> Text:
    text = Text(line)
    text.stylize("bold", 0, line.index(":"))
    return text


def _style(regime: str) -> str:
    """The regime's color behind letters that can be read on it."""
    return f"{ink(regime)} on {COLORS[regime]}"


def ink(regime: str) -> str:
    """The color of letters on the regime's."""
    color = COLORS[regime]
    return "black" if sum(int(color[i : i + 2], 16) for i in (1, 3, 5)) > 380 else "white"


def _best(results: Sequence[Results]) -> Rows:
    """The best settings of some results on one problem: swept values, final loss, held-out accuracy, regime."""
    several = len({r.rule for r in results}) > 1
    table = best(results, BEST)
    names = list(dict.fromkeys(name for r in results for name in swept(r)))
    accuracy = next((c for c in ("final_val_accuracy", "final_accuracy") if c in table), None)

    headers = [*(["optimizer"] if several else []), *names, "loss"]
    headers += [accuracy.removeprefix("final_").replace("accuracy", "acc")] if accuracy else []
    rows = []
    for _, row in table.iterrows():
        cells = [row["optimizer"]] if several else []
        cells += ["" if pd.isna(row[name]) else short(row[name]) for name in names]
        cells.append(short(row["final_loss"]))
        if accuracy:
            cells.append("" if pd.isna(row[accuracy]) else f"{100 * row[accuracy]:.1f}%")
        rows.append([*cells, row["regime"]])
    return Rows([*headers, "regime"], rows, left=len(headers) + 1)


def _rows(results: Sequence[Results]) -> Rows:
    """A row a sweep: how many runs are in each regime, and its least final loss."""
    rows, present = [], [name for name in REGIMES if any((r.regime == name).any() for r in results)]
    for r in results:
        counts = (f"{(r.regime == name).sum():,}" for name in present)
        rows.append([r.rule, r.task, *counts, short(settings(r)["final_loss"].iloc[0])])
    return Rows(["optimizer", "problem", *(name[:4] for name in present), "best"], rows, left=2)


class Rows(NamedTuple):
    """A table, whole: in a window too narrow for it a line a row, such as "lr=0.1 eps=1e-08 loss=0.5 regime=slow"."""

    headers: list[str]
    rows: list[list[str]]
    left: int  # columns of words; those after them are numbers

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
        for i, header in enumerate(self.headers):
            table.add_column(header, no_wrap=True, justify="left" if i < self.left else "right")
        for row in self.rows:
            table.add_row(*row)
        width = console.measure(table, options=options.update(max_width=UNBOUNDED)).maximum
        if width <= options.max_width or not console.is_terminal:
            yield from console.render(table, options.update(width=width))
            return
        for row in self.rows:
            yield Text(" ".join(f"{k}={v}" for k, v in zip(self.headers, row, strict=True) if v))
