"""Page: MLflow's page of runs, set up for one sweep: its children from the best on, the columns and charts that tell.

By default that page charts what the parents have. A shared view is an experiment's tag with the page's state in JSON,
deflated; the page opens it by the key in its address, as after its own "Share". A page that cannot read it says so and
shows what it always does.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

from adamx.engine.results import Results
from adamx.record.children import logarithms

TAG = "mlflow.sharedViewState."  # and the view's key
LONGEST = 5000  # characters of an experiment's tag
RUNS = 20  # the best, whose curves are shown: 10, 20 or all, in MLflow
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


def tag(run_id: str, results: Sequence[Results], swept: Sequence[str]) -> str:
    """The value of the tag `TAG` + key for the children of a parent run."""
    page = json.dumps(state(run_id, results, swept), separators=(",", ":"))
    return "deflate;" + base64.b64encode(zlib.compress(page.encode(), 9)).decode()


def state(run_id: str, results: Sequence[Results], swept: Sequence[str]) -> dict[str, Any]:
    """The page's state: filter, order, columns and charts."""
    logs = set.intersection(*(set(logarithms(r, swept)) for r in results))
    log = next((name for name in ("log10_loss", "log10_gap") if name in logs), None)
    last = log or "final_loss"
    numbers = [name for name in swept if name != "seed" and all(name in r.columns for r in results)]
    words = [name for name in swept if name != "seed" and name not in numbers]
    axes = [f"log10_{name}" if f"log10_{name}" in logs else name for name in numbers]
    accuracy = [name for name in ("val_accuracy", "accuracy") if all(name in r.curves for r in results)][:1]

    charts: list[dict[str, Any]] = [
        {"type": "LINE", "metricKey": name, "selectedMetricKeys": [name], "xAxisKey": "step", "lineSmoothness": 0}
        for name in [log or "loss", *accuracy]
    ]
    charts.append({"type": "PARALLEL", "selectedParams": words, "selectedMetrics": [*axes, last], "showAllRuns": True})
    charts += [{"type": "SCATTER", "xaxis": _axis(name), "yaxis": _axis(last)} for name in axes]
    common = {"metricSectionId": SECTION["uuid"], "deleted": False, "isGenerated": False, "runsCountToCompare": RUNS}
    figures = ["final_loss", *(f"final_{name}" for name in accuracy), "spikes"]
    return {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{run_id}'",
        "orderByKey": "metrics.`final_loss`",
        "orderByAsc": True,
        "selectedColumns": ["tags.`regime`", *(f"metrics.`{k}`" for k in figures), *(f"params.`{k}`" for k in swept)],
        "runsHiddenMode": f"FIRST_{RUNS}_RUNS",
        "compareRunCharts": [{**chart, **common, "uuid": f"adamx{i}"} for i, chart in enumerate(charts)],
        "compareRunSections": [SECTION],
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _axis(metric: str) -> dict[str, str]:
    return {"key": metric, "type": "METRIC"}
