"""Content: what the report shows of one Results: numbers of every run, and what is told of all runs together."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from adamx.analysis.scales import Scale, short
from adamx.analysis.statistics import importance
from adamx.analysis.summary import findings
from adamx.analysis.theory import Line, lines_of
from adamx.engine.results import Results
from adamx.engine.settings import best_run, ranks, settings, swept
from adamx.record.children import text
from adamx.regimes import REGIMES
from adamx.report.packing import counted, rounded
from adamx.report.places import LossScale, loss_scale, markup, ticks

GRIDDED = 1024  # values up to which an axis may be one of a grid
BANDS = 48  # of an axis in a picture of shares, where it has more values
COMBINATIONS = 400  # of slider positions that lines of theory are computed for
SHADED = (0.02, 0.98)  # quantiles of the final loss between which a color is darkest and palest


def content(results: Results, curve: LossScale) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """All that the page shows of one Results but its curves: what JSON says, and arrays by name."""
    table, distinct = results.table, settings(results)
    scales = {name: Scale(name, np.unique(results.columns[name])) for name in swept(results)}
    codes = pd.Categorical(results.regime, REGIMES).codes.astype(np.uint8)
    final = loss_scale(results, results.loss[-1])
    places = final.place(results.loss[-1])

    arrays = {"regime": codes}
    axes = []
    for name, scale in scales.items():
        gridded = len(scale.values) <= GRIDDED and (len(scales) == 1 or 2 * len(scale.values) <= len(distinct))
        column = results.columns[name]
        arrays[f"axis.{name}"] = counted(scale.index(column)) if gridded else rounded(column)
        axes.append(_axis(scale, gridded) | {"shares": _shares(scale, column, codes)})
    figures = table.drop(columns=[*results.columns, "regime"])
    if "seed" in results.columns and np.ptp(results.columns["seed"]):
        figures.insert(0, "seed", table["seed"])
    for figure in figures:
        arrays[f"figure.{figure}"] = _figure(figures[figure])

    fan, present = _quantile_bands(results, curve)
    theory, sampled = _theory(results, scales), {a["name"] for a in axes if not a["gridded"]}
    drawn = [t for t in theory if not sampled & set(t["over"])]
    for i, t in enumerate(drawn):
        arrays[f"theory.{i}"] = t.pop("points")
    steps = results.steps
    meta = {
        "title": results.title,
        "runs": len(results),
        "fixed": [[n, short(float(v[0]))] for n, v in results.columns.items() if n not in scales and n != "seed"],
        "problem": {key: text(value) for key, value in results.settings.items()},
        "axes": axes,
        "bests": [[rank, (best_run([results], rank) or (0, 0))[1]] for rank in ranks(results)],
        "names": results.names | {"problem": results.task},
        "found": findings(results),
        "final": final.said(),
        "curve": curve.said(),
        "shade": {n: _shade(places[codes == REGIMES.index(n)]) for n in ("converged", "slow")},
        "steps": _steps(steps),
        "figures": list(figures),
        "fan": present,
        "importance": _importance(table, list(scales)),
        "theory": drawn,
    }
    return meta, {**arrays, "fan": fan}


def _axis(scale: Scale, gridded: bool) -> dict[str, Any]:
    places = scale.place(scale.values)
    said = {
        "name": scale.name,
        "label": markup(scale.label),
        "spacing": scale.spacing,
        "low": float(places[0]),
        "high": float(places[-1]),
        "ticks": ticks(*scale.ticks(9)),
        "few": ticks(*scale.ticks(4)),
        "gridded": gridded,
        "zero": bool(scale.has_zero),
    }
    if gridded:
        said |= {"values": scale.values.tolist(), "places": places.tolist(), "edges": scale.edges().tolist()}
    return said


def _figure(values: pd.Series) -> np.ndarray:
    """A column of the table: steps and counts are integers, and -1 where they never came."""
    if pd.api.types.is_bool_dtype(values):
        return values.to_numpy(np.uint8)
    if pd.api.types.is_integer_dtype(values):
        return values.fillna(-1).to_numpy(np.int32)
    return rounded(values.to_numpy(np.float64))


def _shade(places: np.ndarray) -> list[float]:
    """Places of the final loss where a regime's color is darkest and palest."""
    return np.quantile(places, SHADED).tolist() if len(places) else [0.0, 0.0]


def _steps(steps: np.ndarray) -> dict[str, Any]:
    """The axis of steps, logarithmic beyond the first record where they were recorded so."""
    first, last = float(steps[min(1, len(steps) - 1)]), float(steps[-1])
    linear = len(steps) < 3 or steps[-1] - steps[-2] < 10 * (steps[1] - steps[0])

    def place(values: np.ndarray) -> np.ndarray:
        beyond = 1 + np.log10(np.maximum(values, first) / first)
        return values if linear else np.where(values > first, beyond, values / first)

    if linear:
        at, labels = Scale("step", np.linspace(0, last, 50)).ticks(6)
        labels = [f"{v:,.0f}" for v in at]
    else:
        at, labels = Scale("step", np.geomspace(first, last, 50)).ticks(6)
        at, labels = np.concatenate([[0.0], place(10.0**at)]), ["0", *labels]
    return {"values": steps.tolist(), "places": place(steps.astype(float)).tolist(), "ticks": ticks(at, labels)}


def _shares(scale: Scale, column: np.ndarray, codes: np.ndarray) -> dict[str, Any]:
    """Runs of each regime for each value of an axis, or for each of `BANDS` bands where it has more values."""
    if len(scale.values) <= BANDS:
        edges, of = scale.edges(), scale.index(column)
    else:
        cells = scale.edges()
        edges = np.linspace(cells[0], cells[-1], BANDS + 1)  # beyond the values: none lies on an edge
        of = np.searchsorted(edges[1:-1], scale.place(column), side="right")
    runs = np.bincount(of * len(REGIMES) + codes, minlength=(len(edges) - 1) * len(REGIMES))
    return {"edges": edges.tolist(), "runs": runs.reshape(-1, len(REGIMES)).T.tolist()}


def _quantile_bands(results: Results, scale: LossScale) -> tuple[np.ndarray, list[list[Any]]]:
    """(regimes, 3, records) places of the 10, 50 and 90 % quantiles of the loss over all runs of each regime that
    occurred, lost runs as the highest; and [regime, runs] of each."""
    present = [name for name in REGIMES if (results.regime == name).any()]
    fan = np.empty((len(present), 3, len(results.steps)), dtype=np.float32)
    for bands, name in zip(fan, present, strict=True):
        inside = results.loss[:, results.regime == name]
        inside = np.where(np.isfinite(inside), inside, np.inf)
        quantiles = np.quantile(inside, [0.1, 0.5, 0.9], axis=1, method="nearest")
        bands[:] = np.where(np.isfinite(quantiles), scale.place(quantiles), scale.above)
    return fan, [[name, int((results.regime == name).sum())] for name in present]


def _importance(table: pd.DataFrame, names: list[str]) -> list[list[Any]]:
    """[name, main, total] of each swept hyperparameter; empty where they cannot be told apart."""
    if not names:
        return []
    rows = importance(table, names, "final_loss")[["name", "main", "total"]]
    return rows.astype(object).where(rows.notna(), None)[rows["main"].notna()].to_numpy().tolist()


def _theory(results: Results, scales: dict[str, Scale]) -> list[dict[str, Any]]:
    """Lines of theory for every two axes: for each position of the other axes that move them."""
    found: list[dict[str, Any]] = []

    def known(x: str, y: str, **fixed: float) -> list[Line]:
        return lines_of(results, scales[x], scales[y], **fixed)

    for x, y in combinations(scales, 2):
        others = {n: scales[n].values for n in scales if n not in (x, y)}
        plain = known(x, y)
        over = [n for n, v in others.items() if any(not _same(plain, known(x, y, **{n: one})) for one in _spread(v))]
        if np.prod([len(others[n]) for n in over]) > COMBINATIONS:
            continue
        drawn, points = [], []
        for values in product(*(others[n] for n in over)):
            position = [int(scales[n].index(v)) for n, v in zip(over, values, strict=True)]
            for line in known(x, y, **dict(zip(over, values, strict=True))):
                places = np.stack([scales[x].place(line.x), scales[y].place(line.y)]).astype(np.float32)
                drawn.append({"at": position, "label": line.label, "source": line.source, "points": places.shape[1]})
                points.append(places.ravel())
        if drawn:
            found.append({"x": x, "y": y, "over": over, "lines": drawn, "points": np.concatenate(points)})
    return found


def _spread(values: np.ndarray) -> np.ndarray:
    """At most 16 of some values, the ends among them."""
    return values[np.unique(np.linspace(0, len(values) - 1, 16).round().astype(int))]


def _same(a: list[Line], b: list[Line]) -> bool:
    return len(a) == len(b) and all(
        p.label == q.label and np.array_equal(p.x, q.x) and np.array_equal(p.y, q.y) for p, q in zip(a, b, strict=True)
    )
