"""Certainty: which hyperparameter matters, and how sure the seeds of a sweep make its shares and its best setting."""

from __future__ import annotations

import numpy as np

from adamx.analysis.statistics import Interval, importance, paired, shares
from adamx.engine.results import Results
from adamx.engine.settings import settings, swept


def certainty(results: Results) -> list[str]:
    """Importance if several hyperparameters were swept; with several seeds also shares, and best against second."""
    names = swept(results)
    lines = [_importance(results, names)] if len(names) > 1 else []
    if np.unique(results.columns["seed"]).size > 1:
        lines += [_shares(results), *([_best(results, names)] if names else [])]
    return [line for line in lines if line]


def _importance(results: Results, names: list[str]) -> str:
    """Such as "importance: lr 62% (with interactions 96%), eps 3% (31%)"; empty where the draws are too few to say."""
    found = importance(results.table, names).dropna(subset="main")
    if found.empty:
        return ""
    words = []
    for row in found.sort_values("main", ascending=False).to_dict("records"):
        together = "" if np.isnan(row["total"]) else f" ({row['total']:.0%})"
        words.append(f"{'seeds (luck)' if row['name'] == 'seed' else row['name']} {row['main']:.0%}{together}")
    note = " alone (with interactions)" if found["total"].notna().any() else ""
    return f"importance for the final loss's rank{note}: {', '.join(words)}"


def _shares(results: Results) -> str:
    """Such as "over 6 seeds: converged 18% [15%, 20%], spiking 56% [55%, 57%]"."""
    found = shares(results.table)
    words = (
        f"{row['regime']} {row['share']:.1%} [{row['low']:.1%}, {row['high']:.1%}]"
        for row in found.to_dict("records")
        if row["runs"]
    )
    return f"over {np.unique(results.columns['seed']).size} seeds: {', '.join(words)}"


def _best(results: Results, names: list[str]) -> str:
    """The best setting against the second, seed by seed."""
    ranked = settings(results)
    if len(ranked) < 2 or not np.isfinite(ranked["final_loss"].iloc[1]):
        return ""
    best, second = ({name: float(ranked[name].iloc[i]) for name in names} for i in (0, 1))
    found = paired(results.table, best, second, results.minimum)
    if found.seeds < 2 or not np.isfinite(found.difference.value):
        return ""
    times = Interval(*(10**x for x in found.difference))
    clear = "" if times.low > 1 or times.high < 1 else ": no clear difference"
    return (
        f"best against second: the second ends {times.value:.3g} times as high [{times.low:.3g}, {times.high:.3g}], "
        f"worse in {found.worse} of {found.seeds} seeds{clear}"
    )
