"""How sure a sweep is: intervals, paired differences, regime shares, and which hyperparameter matters.

Chance enters a sweep through its seeds, and every setting sees the same ones. So the seed is the unit that is drawn
again: intervals are of the percentile bootstrap over seeds (`scipy.stats.bootstrap`), and settings are compared seed
by seed. The percentile interval of few values is too narrow; its level is raised as Hesterberg 2015 ("What teachers
should know about the bootstrap", The American Statistician 69(4), "expanded percentile") does, which with few seeds
makes it their range: that of 3 holds the true median in 75 of 100 cases, that of 5 in 94. Resampling is seeded: the
same table gives the same numbers.

A run that ends with a loss that is not finite is lost, and a lost run is worse than any other: its loss is +inf, no
run is dropped, and what is computed of losses (medians, ranks, wins) does not depend on how much worse it is.

All take the table of `Results` (a row a run) and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from adamx.analysis.scales import short
from adamx.inputs.errors import InputError, unknown
from adamx.regimes import REGIMES

RESAMPLES = 2000
LOST = 1e300  # stands for inf in medians and quantiles, where inf - inf has no value
FEWEST_DRAWS = 16  # of a hyperparameter that say something of its importance
BINS = 64  # at most, of drawn values


class Interval(NamedTuple):
    """An estimate and its confidence interval; low and high are NaN for a single seed, which shows no spread."""

    value: float
    low: float
    high: float


class Paired(NamedTuple):
    """Setting b against setting a, seed by seed.

    Attributes:
        seeds: how many they share.
        difference: the median of log10(final gap of b / final gap of a). Gaps differ by factors, so the logarithm is
            what spreads evenly; infinite where one of the two is lost in most seeds. A seed that loses both counts 0.
        better, worse: the seeds in which b ends lower, and higher.
    """

    seeds: int
    difference: Interval
    better: int
    worse: int


def interval(losses: Any, confidence: float = 0.95) -> Interval:
    """The median of one setting's final losses, one a seed, and its confidence interval."""
    return _median(_nonfinite_as_inf(losses), confidence)


def paired(
    table: pd.DataFrame, a: Mapping[str, float], b: Mapping[str, float], minimum: float = 0.0, confidence: float = 0.95
) -> Paired:
    """Two settings of a sweep compared over the seeds they share.

    Args:
        a, b: hyperparameters by name; enough of them that one run a seed is left.
        minimum: the problem's known least loss; what is compared is the gap above it.
    Raises:
        InputError: an unknown hyperparameter, no such run, several runs of a seed, or no shared seed.
    """
    first, second = _by_seed(table, a), _by_seed(table, b)
    shared = first.index.intersection(second.index)
    if shared.empty:
        raise InputError(f"{_text(a)} and {_text(b)} share no seed")
    before, after = (np.maximum(runs[shared].to_numpy() - minimum, 0.0) for runs in (first, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(before == after, 0.0, np.log10(after) - np.log10(before))
    return Paired(len(shared), _median(ratio, confidence), int((after < before).sum()), int((after > before).sum()))


def _by_seed(table: pd.DataFrame, setting: Mapping[str, float]) -> pd.Series:
    """The final losses of one setting, indexed by seed."""
    for name in setting:
        if name not in table:
            raise unknown("hyperparameter", name, table.columns)
    runs = table[np.logical_and.reduce([table[name] == value for name, value in setting.items()], axis=0)]
    if runs.empty:
        raise InputError(f"no run has {_text(setting)}")
    if runs["seed"].duplicated().any():
        raise InputError(f"{_text(setting)} leaves several runs of a seed: the other swept hyperparameters are needed")
    return pd.Series(_nonfinite_as_inf(runs["final_loss"]), index=runs["seed"])


def _text(setting: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={short(value)}" for name, value in setting.items())


def _nonfinite_as_inf(losses: Any) -> np.ndarray:
    """Losses as float64 with +inf for every one that is not finite."""
    losses = np.asarray(losses, dtype=np.float64)
    return np.where(np.isfinite(losses), losses, np.inf)


def _median(values: np.ndarray, confidence: float) -> Interval:
    """The median with its interval; halfway between a number and inf is inf, between -inf and inf 0."""
    held = np.clip(values, -LOST, LOST)
    low, high = _bootstrap(held, np.median, confidence)
    found = np.array([np.median(held), low, high])
    return Interval(*np.where(np.abs(found) > 1e-20 * LOST, np.copysign(np.inf, found), found).tolist())


def _bootstrap(values: np.ndarray, statistic: Callable[..., Any], confidence: float) -> tuple[Any, Any]:
    """(low, high) of a statistic over the last axis of values, that of seeds."""
    n = values.shape[-1]
    if n < 2:
        return np.full(values.shape[:-1], np.nan), np.full(values.shape[:-1], np.nan)
    tail = stats.norm.cdf(stats.t.ppf((1 - confidence) / 2, n - 1) * np.sqrt(n / (n - 1)))
    with np.errstate(over="ignore"):  # the standard error of lost runs, which is not used
        found = stats.bootstrap(
            (values,),
            statistic,
            n_resamples=RESAMPLES,
            batch=max(1, 2**22 // values.size),
            axis=-1,
            confidence_level=1 - 2 * tail,
            method="percentile",
            rng=np.random.default_rng(0),
        )
    return tuple(found.confidence_interval)


def shares(table: pd.DataFrame, by: str | None = None, confidence: float = 0.95) -> pd.DataFrame:
    """The share of each regime, over all runs or for each value of a hyperparameter, with its confidence interval.

    Several seeds: the settings stay as they are and seeds are drawn again, so the interval says what other seeds might
    have given; it is NaN for a value that not every seed has run. One seed: the interval of Clopper & Pearson 1934,
    for settings drawn independently; for an even grid it is too wide rather than too narrow.

    Returns:
        A row for each value and regime, in the order of `REGIMES`: `by`, regime, runs, share, low, high.
    """
    if by is not None and by not in table:
        raise unknown("hyperparameter", by, table.columns)
    values, at = np.unique(table[by] if by else np.zeros(len(table)), return_inverse=True)
    seeds, seed = np.unique(table["seed"], return_inverse=True)
    counts = np.zeros((len(values), len(REGIMES), len(seeds)), dtype=np.int64)
    np.add.at(counts, (at, pd.Categorical(table["regime"], categories=REGIMES).codes, seed), 1)
    hits, runs = counts.sum(axis=-1), counts.sum(axis=(1, 2))[:, None]
    if len(seeds) > 1:
        of_seed = counts.sum(axis=1, keepdims=True)
        low, high = _bootstrap(counts / np.maximum(of_seed, 1), np.mean, confidence)
        partial = (of_seed == 0).any(axis=-1)
        low, high = np.where(partial, np.nan, low), np.where(partial, np.nan, high)
    else:
        tail = (1 - confidence) / 2
        low = np.where(hits > 0, stats.beta.ppf(tail, np.maximum(hits, 1), runs - hits + 1), 0.0)
        high = np.where(hits < runs, stats.beta.ppf(1 - tail, hits + 1, np.maximum(runs - hits, 1)), 1.0)
    frame = pd.DataFrame(
        {
            "regime": pd.Categorical(np.tile(REGIMES, len(values)), categories=REGIMES),
            "runs": hits.ravel(),
            "share": (hits / runs).ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
        }
    )
    if by:
        frame.insert(0, by, np.repeat(values, len(REGIMES)))
    return frame


def importance(table: pd.DataFrame, names: Sequence[str], y: str = "final_loss") -> pd.DataFrame:
    """How much of the variance of y each swept hyperparameter explains: variance-based (Sobol') indices.

    main    Var(E[y | name]) / Var(y): what it explains alone
    total   E[Var(y | all others)] / Var(y): with all its interactions, what would be left if only it varied

    A full grid is its own population, each of its points of equal weight, and both are exact: the functional ANOVA of
    Sobol' 1993 (Math. Model. Comput. Exp. 1) as Hutter, Hoos & Leyton-Brown 2014 (ICML) use it. Seeds are one more
    factor of the grid, with a row of their own: what is luck. For drawn points `main` is estimated from quantile bins
    (Plischke, Borgonovo & Smith 2013, EJOR 226), less what chance puts between bins (epsilon squared, Kelley 1935,
    PNAS 21) and at least 0; `total` is then NaN, as is `main` of fewer than 16 draws.

    Args:
        names: the swept hyperparameters.
        y: "final_loss": the ranks of the final losses, lost runs tied as the worst, so that neither a divergence nor
            the scale of the loss decides. A regime: whether a run is in it. Any other column: as it is.

    Returns:
        A row a factor, the most important first: name, main, total. NaN where y does not vary.
    """
    for name in names:
        if name not in table:
            raise unknown("hyperparameter", name, table.columns)
    factors = [*names, *(["seed"] if table["seed"].nunique() > 1 else [])]
    target = _target(table, y)
    levels = [np.unique(table[name], return_inverse=True) for name in factors]
    shape = [len(values) for values, _ in levels]
    nan = np.full(len(factors), np.nan)
    if target.var() == 0:
        main, total = nan, nan
    elif _is_grid(levels, len(table)):
        cube = np.empty(shape)
        cube[tuple(at for _, at in levels)] = target
        axes = range(len(factors))
        main = np.array([cube.mean(axis=tuple(j for j in axes if j != i)).var() for i in axes]) / cube.var()
        total = np.array([cube.var(axis=i).mean() for i in axes]) / cube.var()
    else:
        settings = len(table[list(names)].drop_duplicates())
        main, total = np.array([_given_data(at, target, settings) for _, at in levels]), nan
    frame = pd.DataFrame({"name": factors, "main": main, "total": total})
    return frame.sort_values(["total", "main"], ascending=False, kind="stable", ignore_index=True)


def _target(table: pd.DataFrame, y: str) -> np.ndarray:
    if y == "final_loss":
        return stats.rankdata(_nonfinite_as_inf(table[y]))
    if y in REGIMES:
        return (table["regime"] == y).to_numpy(dtype=np.float64)
    if y not in table:
        raise unknown("figure or regime", y, [*table.columns, *REGIMES])
    target = pd.to_numeric(table[y]).to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(target).all():
        raise InputError(f"{y} is missing or infinite in {(~np.isfinite(target)).sum():,} of {len(table):,} runs")
    return target


def _is_grid(levels: list[tuple[np.ndarray, np.ndarray]], runs: int) -> bool:
    """True if every combination of levels has exactly one run."""
    shape = [len(values) for values, _ in levels]
    if math.prod(shape) != runs:
        return False
    return len(np.unique(np.ravel_multi_index([at for _, at in levels], shape))) == runs


def _given_data(at: np.ndarray, target: np.ndarray, settings: int) -> float:
    """The main index of a factor from its level (runs,) in each run; what is drawn is a level, not a run."""
    runs = np.bincount(at)
    levels, weight = len(runs), runs / len(target)
    if levels == settings < FEWEST_DRAWS:
        return np.nan
    mean = np.bincount(at, weights=target) / runs
    bins = levels if levels < FEWEST_DRAWS else min(round(math.sqrt(levels)), BINS)
    into = np.arange(levels) * bins // levels
    of_bin = np.bincount(into, weights=weight * mean) / np.bincount(into, weights=weight)
    between = np.bincount(into, weights=weight) @ (of_bin - target.mean()) ** 2
    within = weight @ (mean - of_bin[into]) ** 2
    by_chance = (bins - 1) / (levels - bins) * within if levels > bins else 0.0
    return max(between - by_chance, 0.0) / target.var()
