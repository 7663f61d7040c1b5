"""Page: MLflow's page of runs, set up for sweeps: filter, order, columns and the charts that say something.

By default that page charts what the parents have. A saved view is an experiment's tag with the page's state in JSON,
deflated. There are two kinds:

    each sweep's own    the link in its parent's description opens it, by the run id of the parent
    those of the menu   named, in the page's menu "Views" (MLflow 3.15 and later): all sweeps; and of the last one its
                        curves, its regimes and its first two axes against each other

A page that cannot read a view says so and shows the runs as it always does.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np

from adamx.engine.results import Results
from adamx.record.children import logarithms
from adamx.record.store import PARENTS
from adamx.regimes import REGIMES

TAG = "mlflow.sharedViewState."  # and the view's key
LONGEST = 5000  # characters of an experiment's tag
BY_REGIME = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "regime"}]}
LEGIBLE = 1e-6  # the least number that the page's logarithmic axis does not write as 0
RUNS = 20  # the best, whose curves are shown: 10, 20 or all, in MLflow
WHOLE = {  # MLflow 3.13 draws a page for ever whose state lacks one of these
    "searchFilter": "",
    "orderByKey": "attributes.start_time",
    "orderByAsc": False,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
    "selectedColumns": [],
    "columnOrder": [],
    "runsExpanded": {},
    "runsPinned": [],
    "runsHidden": [],
    "runsHiddenMode": "SHOW_ALL",
    "runsVisibilityMap": {},
    "runListHidden": False,
    "viewMaximized": False,
    "groupBy": None,
    "groupsExpanded": {},
    "useGroupedValuesInCharts": True,
    "hideEmptyCharts": True,
    "autoRefreshEnabled": True,
    "isAccordionReordered": False,
    "chartsSearchFilter": "",
}
SECTION = {
    "uuid": "adamx",
    "name": "Sweep",
    "display": True,
    "isReordered": True,
    "deleted": False,
    "isGenerated": False,
}


def address(experiment: str, key: str) -> str:
    """The address of the view, within the UI."""
    return (
        f"#/experiments/{experiment}/runs?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={key}"
    )


def of_run(experiment: str, run_id: str, own: Results, swept: Sequence[str]) -> str:
    """The address of the loss of a run, within the UI; the run's own page begins with a bar for each number.

    Args:
        own: the results that the run is of.
    """
    metric = _logarithm(set(logarithms(own, swept))) or "loss"
    said = {
        "runs": [run_id],
        "metric": metric,
        "experiments": [experiment],
        "plot_metric_keys": [metric],
        "plot_layout": {"autosize": True, "xaxis": {}, "yaxis": {}},
        "line_smoothness": 1,
        "show_point": False,
        "deselected_curves": [],
        "last_linear_y_axis_range": [],
    }
    words = {"x_axis": "step", "y_axis_scale": "linear"}  # as they stand, the rest as JSON
    return "#/metric?" + urlencode({k: json.dumps(v) for k, v in said.items()} | words, quote_via=quote)


def tags(run_id: str, results: Sequence[Results], swept: Sequence[str], created: int) -> dict[str, str]:
    """The experiment's tags of the views, by name: the sweep's own, then the menu's; one that is too long is left out.

    Args:
        run_id: of the parent run. created: in milliseconds since 1970.
    """
    known = _Known(results, swept)
    children, lines, contour = _of_children(run_id, known), _lines(known), _contour(known)
    parallel = {"type": "PARALLEL", "selectedParams": known.words, "selectedMetrics": [*known.axes, known.last]}
    scatters = [{"type": "SCATTER", "xaxis": _axis(name), "yaxis": _axis(known.last)} for name in known.axes]
    menu = {
        "All sweeps": _of_parents(),
        "Last sweep: curves": children | _charts(lines),
        "Last sweep: by regime": children | _charts(lines) | {"groupBy": BY_REGIME},
    }
    if known.pair:
        contours = _charts(contour) | {"runsHiddenMode": "SHOW_ALL"}
        menu["Last sweep: " + " × ".join(known.pair)] = children | contours
    own = children | _charts([*lines, *contour, parallel | {"showAllRuns": True}, *scatters])
    found = {TAG + run_id: _deflated(own)}
    for i, (name, view) in enumerate(menu.items()):  # the page shows the newest first
        saved = {"name": name, "createdAt": created - i, "updatedAt": created - i, "state": _deflated(view)}
        found[f"{TAG}adamx{i}"] = json.dumps(saved)
    return {name: value for name, value in found.items() if len(value) <= LONGEST}


def _logarithm(logs: set[str]) -> str | None:
    """The metric of the logarithm of the loss among some logarithms."""
    return next((name for name in ("log10_loss", "log10_gap") if name in logs), None)


class _Known:
    """The names of what all children of a sweep have.

    Attributes:
        numbers, words: swept hyperparameters but for the seed.
        axes: metrics that stand for the numbers, their logarithms where they are swept so.
        pair: two of the numbers, lr and eps before others; none where there are fewer.
        last: the metric of the loss at the end. accuracy: none or one.
        legible: whether all losses are positive and not too small for MLflow's logarithmic axis.
    """

    def __init__(self, results: Sequence[Results], swept: Sequence[str]) -> None:
        logs = set.intersection(*(set(logarithms(r, swept)) for r in results))
        self.swept = swept
        self.log = _logarithm(logs)
        self.legible = self.log == "log10_loss" and min(np.min(r.loss) for r in results) >= LEGIBLE
        self.last = self.log or "final_loss"
        self.numbers = [name for name in swept if name != "seed" and all(name in r.columns for r in results)]
        self.words = [name for name in swept if name != "seed" and name not in self.numbers]
        self.axes = [f"log10_{name}" if f"log10_{name}" in logs else name for name in self.numbers]
        pair = sorted(self.numbers, key=lambda name: (name != "lr", name != "eps"))[:2]
        self.pair = pair if len(pair) == 2 else []
        names = ("val_accuracy", "accuracy")
        self.accuracy = [name for name in names if all(name in r.curves for r in results)][:1]


def _lines(known: _Known) -> list[dict[str, Any]]:
    """Curves over the steps: the loss, and an accuracy where there is one.

    The page writes numbers below 1e-6 as 0 beside a logarithmic axis: losses that small are drawn by their logarithm,
    as is the loss above a minimum, which is no metric itself.
    """
    axis = {"metricKey": "loss", "scaleType": "log"} if known.legible else {"metricKey": known.log or "loss"}
    curves = [axis, *({"metricKey": name} for name in known.accuracy)]
    line = {"type": "LINE", "xAxisKey": "step", "lineSmoothness": 0}
    return [{**line, **curve, "selectedMetricKeys": [curve["metricKey"]]} for curve in curves]


def _contour(known: _Known) -> list[dict[str, Any]]:
    """The loss over two axes, where there are two."""
    if not known.pair:
        return []
    x, y = (_axis(known.axes[known.numbers.index(name)]) for name in known.pair)
    return [{"type": "CONTOUR", "xaxis": x, "yaxis": y, "zaxis": _axis(known.last)}]


def _charts(charts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The state of the page's charts."""
    common = {"metricSectionId": SECTION["uuid"], "deleted": False, "isGenerated": False, "runsCountToCompare": RUNS}
    return {
        "compareRunCharts": [{**chart, **common, "uuid": f"adamx{i}"} for i, chart in enumerate(charts)],
        "compareRunSections": [SECTION],
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _of_children(run_id: str, known: _Known) -> dict[str, Any]:
    """The state of the page's table: the children of a parent, the best first."""
    figures = ["final_loss", *(f"final_{name}" for name in known.accuracy), "spikes"]
    names = ["tags.`regime`", *(f"metrics.`{k}`" for k in figures), *(f"params.`{k}`" for k in known.swept)]
    return {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{run_id}'",
        "orderByKey": "metrics.`final_loss`",
        "orderByAsc": True,
        "selectedColumns": names,
        "columnOrder": names,
        "runsHiddenMode": f"FIRST_{RUNS}_RUNS",
    }


def _of_parents() -> dict[str, Any]:
    """The state of the page's table: all sweeps, the last first."""
    figures = ("best_final_loss", "runs", *(f"runs_{regime}" for regime in REGIMES))
    names = ["tags.`best`", *(f"metrics.`{name}`" for name in figures)]
    return {
        "searchFilter": PARENTS,
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": names,
        "columnOrder": names,
    }


def _deflated(state: Mapping[str, Any]) -> str:
    page = json.dumps({**WHOLE, **state}, separators=(",", ":"))
    return "deflate;" + base64.b64encode(zlib.compress(page.encode(), 9)).decode()


def _axis(metric: str) -> dict[str, str]:
    return {"key": metric, "type": "METRIC"}
