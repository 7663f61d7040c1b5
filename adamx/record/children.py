"""Children: which runs of a sweep become runs of their own in the record, and what of a run is written there.

A child has short parameters; its hyperparameters as metrics too, since MLflow compares parameters as strings; the
figures of `Results.table` as metrics; its curves at up to `POINTS` records. Infinities and NaN are never written (SQL
stores keep them as 1.8e308 and 0, which wrecks an axis): a diverged run's curve ends at the last finite point, and its
`regime` tag and `diverged_step` say the rest.

MLflow's parallel coordinates, scatter and contour plots have linear axes only. So what spans `WIDE` is there as a
logarithm too: `log10_lr` and the like of a swept hyperparameter, and the curve `log10_loss` (`log10_gap`, above the
problem's minimum, where that is not 0). Nothing is written where there is no logarithm, as of a loss of exactly 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from adamx.engine.results import Results
from adamx.engine.settings import best_runs
from adamx.inputs.errors import unknown
from adamx.record import identity

MODES = ("auto", "all", "top", "parent")
POINTS = 100  # of a child's curve; log-spaced, so that early steps are seen as well as late ones
LOG_POINTS = 50  # of its logarithm, which is for charts alone
WIDE = 100.0  # largest over smallest
LONGEST_NAME = 250  # characters


class Child(NamedTuple):
    """A finished run: finite metrics as (key, value, step), one value for each key and step."""

    name: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[tuple[str, float, int]]


class Selection(NamedTuple):
    """Which runs become children: positions for each Results, and a sentence that says so."""

    keep: list[np.ndarray]
    sentence: str


def select(results: Sequence[Results], mode: str = "auto", limit: int | None = None) -> Selection:
    """Choose the runs that become children; the same runs for the same results.

    Args:
        mode: "all", "parent" (none), "top" (the best `limit`, 100 if not said) or "auto": all up to `limit` (2,000),
            beyond it the best quarter, the worst eighth and a sample of every regime. Runs are ranked by final loss
            among those of their problem.
    Raises:
        InputError: another mode.
    """
    if mode not in MODES:
        raise unknown("record mode", mode, MODES)
    sizes = [len(r) for r in results]
    total = sum(sizes)
    limit = limit or (100 if mode == "top" else 2000)
    count = total if mode == "all" or (mode == "auto" and total <= limit) else 0 if mode == "parent" else limit
    if count in (0, total) or total <= limit:
        chosen = np.arange(total if count else 0)
        words = f"none of the {total:,} runs is a child" if not count else "the run is a child"
        words = f"all {total:,} runs are children" if count and total > 1 else words
    else:
        order, finite = _ranking(results)
        if mode == "top":
            chosen, words = order[:limit], f"the best {limit:,} of {total:,} runs are children"
        else:
            best, worst = order[: limit // 4], order[max(finite - limit // 8, 0) : finite]
            extremes = np.union1d(best, worst)
            rest = order[~np.isin(order, extremes)]
            regimes = np.concatenate([r.regime for r in results])
            chosen = np.concatenate([extremes, *_spread(rest, regimes[rest], limit - len(extremes))])
            words = (
                f"{len(chosen):,} of {total:,} runs are children: the best {len(best):,}, the worst {len(worst):,} "
                "and a sample of every regime"
            )
    kept = "" if len(chosen) == total else "; table.parquet and curves.parquet have every run"
    starts = np.cumsum([0, *sizes])
    chosen = np.sort(chosen)
    keep = [chosen[(a <= chosen) & (chosen < b)] - a for a, b in pairwise(starts)]
    return Selection(keep, words + kept)


def _ranking(results: Sequence[Results]) -> tuple[np.ndarray, int]:
    """All runs from the best to the worst, those without a finite loss last; and how many have one."""
    loss = pd.Series(np.concatenate([r.loss[-1] for r in results]).astype(float))
    problem = np.repeat([r.problem for r in results], [len(r) for r in results])
    rank = loss.where(np.isfinite(loss)).groupby(problem).rank(pct=True).to_numpy(copy=True)
    starts = np.cumsum([0, *map(len, results)])
    rank[[starts[which] + run for which, run in best_runs(results).values()]] = 0  # the best is always a child
    return np.argsort(rank, kind="stable"), int(np.isfinite(rank).sum())


def _spread(runs: np.ndarray, regimes: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Up to `count` of the runs, equally many of every regime where it has them, evenly spaced in each."""
    groups = sorted((runs[regimes == name] for name in np.unique(regimes)), key=len)
    for left, group in zip(range(len(groups), 0, -1), groups, strict=True):
        share = min(len(group), count // left)
        count -= share
        yield group[np.linspace(0, len(group) - 1, share).round().astype(int)]


def points(records: int, count: int = POINTS) -> np.ndarray:
    """Positions of `count` of a curve's records, with the first and the last; of all where they are no more.

    They are spaced evenly on a logarithmic axis from the second record on, as far as there are so many: early records
    are taken one by one.
    """
    if records <= count:
        return np.arange(records)
    at, last = [0, 1], records - 1
    while len(at) < count:
        left = count - len(at)
        wanted = round(at[-1] * (last / at[-1]) ** (1 / left))
        at.append(min(max(wanted, at[-1] + 1), last - left + 1))
    return np.array(at)


def children(results: Results, swept: Sequence[str], tags: Mapping[str, str]) -> Iterator[Child]:
    """The children of one Results: this file's docstring says what they carry."""
    r = results
    common = {**r.names, **r.settings}
    words = {k: text(v) for k, v in common.items()}
    columns = {k: v.tolist() for k, v in r.columns.items()}
    logs = logarithms(r, swept)
    table = r.table.drop(columns="regime").assign(**{name: log for name, log in logs.items() if log.ndim == 1})
    numbers = table.astype(float).replace([np.inf, -np.inf], np.nan)
    figures = [(str(name), numbers[name].tolist()) for name in numbers]
    regimes = r.regime.tolist()
    at = points(len(r.steps))
    curves = [(name, _Curve(r.steps, curve, at)) for name, curve in {"loss": r.loss, **r.curves}.items()]
    few = at[np.linspace(0, len(at) - 1, min(len(at), LOG_POINTS)).round().astype(int)]
    curves += [(name, _Curve(r.steps, log, few)) for name, log in logs.items() if log.ndim == 2]
    marks, points_ = digests(r), identity.of_results(r)
    bare = ("optimizer", "problem", "dtype")
    shown = [k for k in swept if k != "backend" and (k in columns or k in words)]
    for i in range(len(r)):
        own = {k: v[i] for k, v in columns.items()}
        name = [words[k] if k in bare else f"{k}={own[k]:.4g}" if k in own else f"{k}={words[k]}" for k in shown]
        metrics = [(key, value, 0) for key, values in figures if (value := values[i]) == value]
        for key, curve in curves:
            metrics += [(key, value, step) for step, value in curve.points(i)]
        params = {**words, **{k: text(v) for k, v in own.items()}}
        own_tags = {**tags, "regime": regimes[i], "curve_digest": marks[i], "point": points_[i]}
        yield Child(cut(" ".join(name) or r.optimizer), params, own_tags, metrics)


def logarithms(results: Results, swept: Sequence[str]) -> dict[str, np.ndarray]:
    """Logarithms of what spans `WIDE`: swept columns (runs,), such as log10_lr; last the loss (records, runs)."""
    r = results
    logs = {f"log10_{name}": _log10(r.columns[name]) for name in swept if name in r.columns}
    logs["log10_gap" if r.minimum else "log10_loss"] = _log10(r.loss - r.minimum, 1e-6 * abs(r.minimum))
    return {name: log for name, log in logs.items() if log is not None}


def _log10(values: np.ndarray, rounding: float = 0.0) -> np.ndarray | None:
    """Logarithms, NaN where there is none; None for values that do not span `WIDE` or are negative beyond rounding."""
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    if not positive.size or positive.max() < WIDE * positive.min() or finite.min() < -rounding:
        return None
    return np.log10(np.where(values > 0, values, np.nan))


class _Curve:
    """The points of many runs' curves: at the chosen records, finite ones only, up to the last finite record."""

    def __init__(self, steps: np.ndarray, curve: np.ndarray, at: np.ndarray) -> None:
        self.steps, self.curve = steps, curve
        self.finite = np.isfinite(curve)
        self.at, self.at_steps = at, steps[at].tolist()
        self.chosen = np.ascontiguousarray(curve[at].T)
        self.whole = self.finite.all(axis=0)

    def points(self, i: int) -> Iterable[tuple[int, float]]:
        """(step, value) of run i."""
        if self.whole[i]:
            return zip(self.at_steps, self.chosen[i].tolist(), strict=True)
        finite = np.flatnonzero(self.finite[:, i])
        at = np.union1d(np.intersect1d(self.at, finite), finite[-1:])
        return zip(self.steps[at].tolist(), self.curve[at, i].tolist(), strict=True)


def digests(results: Results) -> list[str]:
    """For each run 32 hex digits of its loss curve at all records: values to the last bit (any NaN is the same), their
    type, and the steps."""
    found: list[str] = []
    for first in range(0, len(results), 4096):  # runs at a time: a transposed copy of all may not fit
        block = np.array(results.loss[:, first : first + 4096].T, order="C")
        block[np.isnan(block)] = np.nan
        found += identity.digests(f"{results.loss.dtype} {results.steps.tolist()}", block)
    return found


def cut(name: str) -> str:
    """A run's name, no longer than a store takes; SQLite alone takes any."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def text(value: object) -> str:
    """A parameter's text: numbers in full, whole ones without a point."""
    if isinstance(value, (float, np.floating)):
        return repr(float(value)).removesuffix(".0")
    return str(value)[:6000]
