"""Figures: every picture of a sweep, with its file name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from adamx.analysis.plots import curves, regime_map
from adamx.analysis.report import report
from adamx.results import Results

REPORT = "report.html"


def figures(results: Sequence[Results]) -> Iterator[tuple[str, Figure | bytes]]:
    """The interactive report, then the regime map and the curves of each of the results, each made when asked for."""
    if results:
        yield REPORT, report(results)
    for i, r in enumerate(results):
        suffix = f"_{i}_{r.optimizer}_{r.problem}_{r.dtype}" if len(results) > 1 else ""
        regimes = regime_map(r)
        if regimes is not None:
            yield f"regime_map{suffix}.png", regimes
        yield f"curves{suffix}.png", curves(r)
