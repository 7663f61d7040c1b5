"""The record: what a sweep leaves in MLflow, both ways of writing it, and stores that cannot be used."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import recorded
import sqlalchemy as sa
from synthetic import product, synthetic

from adamx.engine.results import Results
from adamx.engine.settings import best_run, settings
from adamx.inputs.errors import InputError
from adamx.record import children as of_children
from adamx.record import description, writer
from adamx.record import page as view
from adamx.record import parent as record
from adamx.record.children import children, logarithms


def test_rows_without_a_positional_driver(opened: record.Store, sweep: Results) -> None:
    """Other databases take the same rows as dictionaries."""
    name, taken = "params", [("lr", "0.1", "r"), ("eps", "0", "r")]
    seen: list[object] = []

    class Connection:
        dialect = sa.create_engine("sqlite://", paramstyle="named").dialect

        def execute(self, statement: object, parameters: object) -> None:
            seen.extend([str(statement), parameters])

    writer._insert(Connection(), name, taken)  # type: ignore[arg-type]
    assert seen[0] == "INSERT INTO params (key, value, run_uuid) VALUES (:key, :value, :run_uuid)"
    assert seen[1] == [dict(zip(writer.TABLES[name], row, strict=True)) for row in taken]


def test_a_sweep(opened: record.Store, sweep: Results) -> None:
    other = synthetic(product(lr=[1e-3, 1e-2]), optimizer="amsgrad", problem="beale", accuracy=False)
    config = {"optimizer": {"lr": "log:1e-3:1:3"}, "steps": 400, "empty": None}
    parent = record.start(opened, "adam, amsgrad", config, ["optimizer.lr=log:1e-3:1:3", "optimizer.name=a b"])
    running = opened.client.get_run(parent.run_id)
    assert running.info.status == "RUNNING"
    seen: list[tuple[int, int]] = []
    swept = ["optimizer", "problem", "lr", "eps", "batch"]
    sentence = parent.write([sweep, other], swept, progress=lambda *at: seen.append(at))
    from matplotlib.figure import Figure

    figure = Figure()
    parent.finish("KILLED", [("map.png", figure), ("bytes.png", b"png")], {"updates_per_second": 1e6, "bad": np.nan})

    run = opened.client.get_run(parent.run_id)
    assert sentence == run.data.tags["children"] == "all 14 runs are children"
    assert seen[-1] == (14, 14) and run.info.status == "KILLED" and run.info.end_time >= run.info.start_time
    assert run.data.params == {"optimizer.lr": "log:1e-3:1:3", "steps": "400", "empty": "None"}
    assert (
        "python -m adamx.sweep optimizer.lr=log:1e-3:1:3 'optimizer.name=a b'" in run.data.tags["mlflow.note.content"]
    )
    assert {"python", "cpu", "cores", "version.mlflow", "mlflow.user", "overrides"} <= set(run.data.tags)
    assert run.data.metrics["runs"] == 14 == sum(v for k, v in run.data.metrics.items() if k.startswith("runs_"))
    assert run.data.metrics["updates_per_second"] == 1e6 and "bad" not in run.data.metrics
    final = sweep.loss[-1]
    assert run.data.metrics["best_final_loss.digits_mlp"] == final[best_run([sweep])[1]]
    names = {f.path for f in opened.client.list_artifacts(parent.run_id)}
    assert names == {"config.yaml", "table.parquet", "curves.parquet", "map.png", "bytes.png"}
    assert run.info.artifact_uri.startswith(str(Path.cwd() / "mlruns"))
    assert opened.view == "mlflow ui"

    folder = Path(run.info.artifact_uri)
    table = pd.read_parquet(folder / "table.parquet")
    assert list(table["optimizer"]) == ["adam"] * 12 + ["amsgrad"] * 2 and table["run_id"].notna().all()
    assert list(table["run"]) == list(range(14)) and list(table.columns[-1:]) == ["regime"]
    assert table["layers"].isna().sum() == 2 and table["batch"][0] == 64
    np.testing.assert_array_equal(table["final_loss"][:12], final)
    curves = pd.read_parquet(folder / "curves.parquet", filters=[("run", "==", 13)])
    np.testing.assert_array_equal(curves["loss"], other.loss[:, 1])
    np.testing.assert_array_equal(curves["step"], other.steps)

    found = opened.client.search_runs(
        [opened.experiment.experiment_id],
        f"metrics.eps < 1e-6 and tags.regime = 'spiking' and params.optimizer = 'adam' "
        f"and tags.mlflow.parentRunId = '{parent.run_id}'",
    )
    wanted = (sweep.columns["eps"] < 1e-6) & (sweep.regime == "spiking")
    assert len(found) == wanted.sum() > 0
    child = opened.client.get_run(table["run_id"][0])
    assert child.info.run_name == child.data.tags["mlflow.runName"] == "adam digits_mlp lr=0.001 eps=1e-08 batch=64"
    assert child.data.params["eps"] == "1e-08" and child.data.params["layers"] == "[64, 32, 10]"
    assert child.data.params["seed"] == "0" and child.data.params["dtype"] == "float32"
    assert child.data.metrics["eps"] == 1e-8 and child.data.metrics["final_loss"] == float(sweep.loss[-1, 0])
    history = opened.client.get_metric_history(child.info.run_id, "val_loss")
    assert [m.value for m in history] == sweep.curves["val_loss"][:, 0].tolist()
    best = run.data.tags["best_run_id.digits_mlp"]
    first = settings(sweep).iloc[0]
    params = opened.client.get_run(best).data.params
    assert {name: float(params[name]) for name in ("lr", "eps")} == {name: first[name] for name in ("lr", "eps")}


def test_a_swapped_column_is_seen_in_the_record(
    opened: record.Store, sweep: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swapped(results: Results, *rest: Any) -> Iterator[of_children.Child]:
        columns = {**results.columns, "lr": results.columns["eps"], "eps": results.columns["lr"]}
        return children(dataclasses.replace(results, columns=columns), *rest)

    monkeypatch.setattr(record, "children", swapped)
    with pytest.raises(AssertionError):
        test_a_sweep(opened, sweep)


def test_names_are_what_differs(sweep: Results) -> None:
    names = [child.name for child in children(sweep, ["optimizer", "lr", "seed"], {})]
    assert names[:2] == ["adam lr=0.001 seed=0", "adam lr=0.001 seed=1"]
    assert next(children(sweep, ["lr", "seed"], {})).name == "lr=0.001 seed=0"
    assert {c.name for c in children(sweep, [], {})} == {"adam"}


def test_logarithms_are_of_what_spans_decades(sweep: Results) -> None:
    logs = logarithms(sweep, ["lr", "eps", "seed", "optimizer"])
    assert list(logs) == ["log10_lr", "log10_eps", "log10_loss"]  # seeds are 0 and 1
    for i, child in enumerate(children(sweep, ["lr", "eps"], {})):
        values = {key: value for key, value, _ in child.metrics}
        assert 10 ** values["log10_lr"] == pytest.approx(sweep.columns["lr"][i])
        curves = {
            name: {step: value for key, value, step in child.metrics if key == name} for name in ("loss", "log10_loss")
        }
        assert curves["log10_loss"].keys() <= curves["loss"].keys()
        assert {0, max(curves["loss"])} <= curves["log10_loss"].keys()
        assert all(value == np.log10(curves["loss"][step]) for step, value in curves["log10_loss"].items())
    few = dataclasses.replace(sweep, loss=np.linspace(1.2, 1.001, sweep.loss.size).reshape(sweep.loss.shape))
    assert list(logarithms(few, ["lr"])) == ["log10_lr"]
    assert list(logarithms(dataclasses.replace(few, minimum=1.0), [])) == ["log10_gap"]
    assert list(logarithms(dataclasses.replace(few, minimum=1.05), [])) == []  # below the minimum: it is no bound


def test_a_loss_of_zero_has_no_logarithm(sweep: Results) -> None:
    zero = dataclasses.replace(sweep, loss=np.where(np.arange(len(sweep.steps))[:, None] > 20, 0.0, sweep.loss))
    for child in children(zero, [], {}):
        steps = [step for key, _, step in child.metrics if key == "log10_loss"]
        assert max(steps) <= sweep.steps[20] and all(np.isfinite(value) for _, value, _ in child.metrics)


def test_descriptions_say_what_it_is_and_how_to_repeat_it(opened: record.Store, sweep: Results) -> None:
    def about(experiment: str) -> str:
        return opened.client.get_experiment(experiment).tags[description.NOTE]

    number = opened.experiment.experiment_id
    parent = record.start(opened, "adam on digits_mlp", {}, ["optimizer.lr=1,2"])
    assert "python -m adamx.sweep" in about(number)
    parent.write([sweep], ["lr", "eps"])
    note = opened.client.get_run(parent.run_id).data.tags[description.NOTE]
    assert "python -m adamx.sweep optimizer.lr=1,2" in note
    best, counts = note.splitlines()[:2]
    assert re.fullmatch(
        r"- Best: \[lr=\S+, eps=\S+\]\(#/metric\?runs=\S+\), final loss \S+\.", best
    ) and counts.startswith("- 12 runs: ")
    assert f"({view.address(number, parent.run_id)})" in note
    opened.client.set_experiment_tag(number, description.NOTE, "mine")
    record.start(record.open(experiment="test"), "again", {}, [])
    assert about(number) == "mine"


@pytest.mark.parametrize(("mode", "axes"), [("all", {"log10_eps", "log10_loss"}), ("top", {"eps", "final_loss"})])
def test_the_view_names_what_the_children_have(opened: record.Store, sweep: Results, mode: str, axes: set[str]) -> None:
    other = synthetic(product(lr=[1e-3, 1.0], eps=[1e-8, 1e-2]), optimizer="amsgrad")
    parent, swept = record.start(opened, "two", {}, []), ["optimizer", "lr", "eps", "seed"]
    parent.write([sweep, other], swept, mode, 8)
    experiment = opened.client.get_experiment(opened.experiment.experiment_id)
    page = experiment.tags[view.TAG + parent.run_id]
    assert page.startswith("deflate;") and len(page) <= view.LONGEST
    state = json.loads(zlib.decompress(base64.b64decode(page.removeprefix("deflate;"))))
    found = opened.client.search_runs(
        [experiment.experiment_id], state["searchFilter"], order_by=["metrics.final_loss"]
    )
    assert len(found) == (16 if mode == "all" else 8)
    metrics = set.intersection(*(set(run.data.metrics) for run in found))
    named = set()
    for chart in state["compareRunCharts"]:
        named |= {*chart.get("selectedMetricKeys", []), *chart.get("selectedMetrics", [])}
        named |= {chart[axis]["key"] for axis in ("xaxis", "yaxis") if axis in chart}
        assert set(chart.get("selectedParams", [])) <= {"optimizer"}
    assert axes < named <= metrics
    for column in state["selectedColumns"]:
        kind, name = column.replace("`", "").split(".", 1)
        assert any(name in getattr(run.data, kind) for run in found)  # no final loss where it is not finite


def test_curves_end_at_the_last_finite_point(sweep: Results) -> None:
    recorded.curves_end_at_the_last_finite_point(of_children, sweep)


@pytest.mark.parametrize("records", [1, 2, 11, 99, 100, 101, 102, 150, 200, 201, 1000, 10**5 + 1, 10**7])
def test_points_are_log_spaced(records: int) -> None:
    recorded.points_are_log_spaced(of_children, records)


def test_a_record_more_is_no_other_curve() -> None:
    recorded.a_record_more_is_no_other_curve(of_children)


def test_selection() -> None:
    recorded.a_selection_is_the_best_or_some_of_every_regime(of_children)


def test_runs_without_a_child_have_no_id(opened: record.Store, sweep: Results) -> None:
    parent = record.start(opened, "few", {}, [])
    parent.write([sweep], ["lr"], "top", 3)
    artifacts = Path(opened.client.get_run(parent.run_id).info.artifact_uri)
    assert pd.read_parquet(artifacts / "table.parquet")["run_id"].notna().sum() == 3
    assert len(pd.read_parquet(artifacts / "curves.parquet")) == sweep.loss.size


def test_an_interrupt_keeps_the_table(opened: record.Store, sweep: Results) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    parent = record.start(opened, "stopped", {}, [])
    with pytest.raises(KeyboardInterrupt):
        parent.write([sweep], ["lr"], progress=stop)
    parent.finish("KILLED")
    run = opened.client.get_run(parent.run_id)
    assert run.info.status == "KILLED" and run.data.tags["children"].startswith("interrupted: 0 of 12")
    table = pd.read_parquet(Path(run.info.artifact_uri) / "table.parquet")
    assert len(table) == 12 and table["run_id"].isna().all()
    children_left = f"tags.mlflow.parentRunId = '{parent.run_id}'"
    assert not opened.client.search_runs([opened.experiment.experiment_id], children_left)


def test_environment_variables(opened: record.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", opened.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    found = record.open()
    assert found.uri == opened.uri and found.experiment.name == "mine"
    assert found.experiment.experiment_id != opened.experiment.experiment_id
    assert record.open().experiment.experiment_id == found.experiment.experiment_id
    found.client.delete_experiment(found.experiment.experiment_id)
    with pytest.raises(InputError, match="'mine' is deleted"):
        record.open()


def test_children_say_what_the_results_say() -> None:
    recorded.children_say_what_the_results_say(of_children)


def test_which_runs_become_children() -> None:
    recorded.the_runs_that_are_wanted_become_children(of_children)
