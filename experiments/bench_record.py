"""Benchmark: 10,000 runs of 100 recorded points into a fresh SQLite store, and MLflow's queries on it.

    python experiments/bench_record.py

Writes into a temporary folder. The stock ways are timed on `STOCK` runs in a store of their own and scaled.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
from rich.console import Console
from rich.table import Table

import adamx
from adamx.record import parent as record
from adamx.record import writer
from adamx.record.children import children

STOCK = 50
REPEATS = 5
SWEPT = ["lr", "beta1", "beta2", "eps"]


def timed(call: Callable[[], object], repeats: int = 1) -> float:
    """Median seconds of a call."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def fluent(results: adamx.Results) -> None:
    """Record as a training script does: a run, its parameters, a metric at a time."""
    for child in children(results, SWEPT, {}):
        with mlflow.start_run(run_name=child.name, nested=True):
            mlflow.log_params(child.params)
            mlflow.set_tags(child.tags)
            for key, value, step in child.metrics:
                mlflow.log_metric(key, value, step=step)


def stock_client(store: record.Store, results: adamx.Results) -> None:
    """MLflow's client, a run at a time: create_run, log_batch, set_terminated."""
    now = int(time.time() * 1000)
    with writer.client(store.client, store.experiment, 1, now, now) as write:
        write(list(children(results, SWEPT, {})))


def queries(store: record.Store, parent: record.Sweep) -> dict[str, float]:
    """Seconds of what the UI asks for."""
    client, where = store.client, [store.experiment.experiment_id]
    nested = f"tags.mlflow.parentRunId = '{parent.run_id}'"
    spiking = "metrics.eps < 1e-6 and tags.regime = 'spiking'"
    order = ["metrics.final_loss ASC"]
    first = [run.info.run_id for run in client.search_runs(where, nested, max_results=10)]
    return {
        "first page, newest first": timed(lambda: client.search_runs(where, max_results=100), REPEATS),
        spiking: timed(lambda: client.search_runs(where, spiking, max_results=100), REPEATS),
        "the same by final_loss": timed(lambda: client.search_runs(where, spiking, 1, 100, order), REPEATS),
        "all by final_loss": timed(lambda: client.search_runs(where, "", 1, 100, order), REPEATS),
        "metric history, 10 runs": timed(lambda: [client.get_metric_history(i, "loss") for i in first], REPEATS),
        "chart, 10 runs": timed(
            lambda: store.backend.get_metric_history_bulk_interval(first, "loss", 320, None, None), REPEATS
        ),
    }


def main() -> None:
    """Run the benchmark and print its tables."""
    axes = {"lr": np.geomspace(1e-4, 1, 25), "eps": np.geomspace(1e-12, 1e-1, 20)}
    hyper = adamx.grid(**axes, beta1=[0.0, 0.5, 0.9, 0.99], beta2=[0.9, 0.95, 0.99, 0.999, 0.9999])
    results = adamx.simulate("adam", "rosenbrock", hyper, steps=990, record_every=10)
    runs, some = len(results), results.take(np.arange(STOCK))
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        created = timed(lambda: record.open("sqlite:///mlflow.db"))
        store = record.open("sqlite:///mlflow.db")
        parent = record.start(store, "benchmark", {}, [])
        now = int(time.time() * 1000)
        way = timed(lambda: store.write(children(results, SWEPT, parent.tags), runs, now, now))
        before = queries(store, parent)
        counted = timed(store.analyze)
        after = queries(store, parent)
        summary = timed(lambda: parent.write([results], SWEPT, "parent"))
        size = Path("mlflow.db").stat().st_size

        other = record.open("sqlite:///stock.db")
        by_client = timed(lambda: stock_client(other, some))
        mlflow.set_tracking_uri("sqlite:///stock.db")
        mlflow.set_experiment(other.experiment.name)
        by_hand = timed(lambda: fluent(some))

    table = Table(title=f"{runs:,} runs x {len(results.steps)} points into SQLite", title_justify="left")
    for name in ("way", "runs timed", "ms a run", f"s for {runs:,}", "ratio"):
        table.add_column(name, justify="left" if name == "way" else "right")
    ways = [("adamx", runs, way + counted), ("client, log_batch", STOCK, by_client), ("log_metric", STOCK, by_hand)]
    for name, count, seconds in ways:
        each = seconds / count
        ratio = each / ((way + counted) / runs)
        table.add_row(name, f"{count:,}", f"{each * 1e3:.2f}", f"{each * runs:,.1f}", f"{ratio:,.0f}")
    console = Console()
    console.print(table)
    console.print(
        f"fresh store {created:.1f} s, ANALYZE {counted:.2f} s, table and curves as Parquet {summary:.1f} s, "
        f"database {size / 1e6:.0f} MB",
        soft_wrap=True,
    )
    table = Table(title="queries, ms", title_justify="left")
    for name in ("query", "before ANALYZE", "after"):
        table.add_column(name, justify="left" if name == "query" else "right")
    for name in before:
        table.add_row(name, f"{before[name] * 1e3:.1f}", f"{after[name] * 1e3:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
