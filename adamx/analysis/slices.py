"""Slices: from the settings of a sweep to a 2-D slice in panels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from adamx.analysis.scales import Scale, short
from adamx.engine.results import Results
from adamx.engine.settings import settings, swept
from adamx.inputs.errors import InputError, unknown

ACROSS = 4  # panels in a row, and along each of two panel axes
ALONE = 12  # panels along a single panel axis


@dataclass(frozen=True)
class Slice:
    """A slice of a sweep, ready to draw.

    Attributes:
        x, y: its axes; y is None where only one hyperparameter was swept.
        settings: (rows) what is shown, best first; see `settings`.
        panels: for each panel the values that hold in it, by hyperparameter, row by row.
        rows, across: the arrangement of the panels.
        gridded: whether every setting has a cell of its own; otherwise they are points.
        notes: what is not shown, a phrase each.
    """

    x: Scale
    y: Scale | None
    settings: pd.DataFrame
    panels: list[dict[str, float]]
    rows: int
    across: int
    gridded: bool
    notes: list[str]

    def inside(self, panel: dict[str, float]) -> np.ndarray:
        """(settings,) which settings belong to a panel."""
        mask = np.ones(len(self.settings), dtype=bool)
        for name, value in panel.items():
            mask &= (self.settings[name] == value).to_numpy()
        return mask


def cut(results: Results, x: str | None = None, y: str | None = None) -> Slice | None:
    """The slice over x and y, in panels over the remaining swept axes; None where nothing was swept.

    Defaults are lr and eps, then the axes with the most values. At most two axes become panels; any further one is
    held at the best setting's value.

    Raises:
        InputError: x or y was not swept, or both are the same.
    """
    table = settings(results)
    distinct = {name: np.unique(results.columns[name]) for name in swept(results)}
    for name in (x, y):
        if name is not None and name not in distinct:
            raise unknown("swept axis", name, distinct)
    if x is not None and x == y:
        raise InputError(f"x and y are both {x!r}: two different axes are needed")
    if not distinct:
        return None

    preferred = sorted(distinct, key=lambda n: (n != "lr", n != "eps", -len(distinct[n])))
    free = [name for name in preferred if name not in (x, y)]
    x = x or free.pop(0)
    y = y or (free.pop(0) if free else None)

    sampled = {name for name, values in distinct.items() if 2 * len(values) > len(table)} if y else set()
    notes = [f"{name} varies from point to point" for name in free if name in sampled]
    rest = sorted((n for n in free if n not in sampled), key=lambda n: -len(distinct[n]))
    for name in rest[2:]:
        held = table[name].iloc[0]
        table = table[table[name] == held].reset_index(drop=True)
        notes.append(f"{name} = {short(held)} only, of {len(distinct[name])} values")

    shown = {}
    for name in sorted(rest[:2]):
        shown[name] = _spread(distinct[name], table[name].iloc[0], ACROSS if len(rest) > 1 else ALONE)
        if len(shown[name]) < len(distinct[name]):
            notes.append(f"{len(shown[name])} of {len(distinct[name])} values of {name}")
            table = table[table[name].isin(shown[name])].reset_index(drop=True)

    order = list(shown)[::-1]  # the first varies along a row
    panels = [dict(zip(order, values, strict=True)) for values in product(*(shown[n] for n in order))]
    across = len(shown[order[-1]]) if len(order) == 2 else min(len(panels), ACROSS if len(panels) != 6 else 3)
    return Slice(
        x=Scale(x, distinct[x]),
        y=Scale(y, distinct[y]) if y else None,
        settings=table,
        panels=panels,
        rows=-(-len(panels) // across),
        across=across,
        gridded=not sampled,
        notes=notes,
    )


def _spread(values: np.ndarray, keep: float, most: int) -> np.ndarray:
    """At most `most` of the values, evenly spread, the ends and `keep` among them."""
    if len(values) <= most:
        return values
    picks = np.linspace(0, len(values) - 1, most).round().astype(int)
    wanted = int(np.searchsorted(values, keep))
    if wanted not in picks:
        inner = picks[1:-1] if most > 2 else picks
        inner[np.abs(inner - wanted).argmin()] = wanted
    return values[np.sort(picks)]
