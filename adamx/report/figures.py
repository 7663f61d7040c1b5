"""Figures: every picture of a sweep, with its file name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from adamx.analysis.plots import curves, regime_map
from adamx.engine.results import Results
from adamx.engine.settings import LOSS
from adamx.report import REPORT
from adamx.report.page import report


def figures(
    results: Sequence[Results], about: Sequence[tuple[str, str]] = (), rank: str = LOSS
) -> Iterator[tuple[str, Figure | bytes]]:
    """The interactive report, then the regime map and the curves of each of the results, each made when asked for.

    Args:
        about, rank: see `page.report`.
    """
    if results:
        yield REPORT, report(results, about, rank)
    for i, r in enumerate(results):
        names = [Path(r.optimizer).stem, Path(r.problem).stem, r.dtype]  # of a user's own file, without the folder
        suffix = "_".join(["", str(i), *names]) if len(results) > 1 else ""
        regimes = regime_map(r)
        if regimes is not None:
            yield f"regime_map{suffix}.png", regimes
        yield f"curves{suffix}.png", curves(r)
