"""The record: what a sweep leaves in MLflow, both ways of writing it, and stores that cannot be used."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
import multiprocessing
import socket
import sqlite3
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from mlflow.tracking import MlflowClient
from serving import serving
from synthetic import product, synthetic

from adamx import record, store, view, writer
from adamx.children import Child, children, logarithms, points, select
from adamx.registry import InputError
from adamx.results import Results


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty migrated store, to be copied: migrating takes longer than the tests that need one."""
    folder = tmp_path_factory.mktemp("fresh")
    with contextlib.chdir(folder):  # an experiment keeps the artifact folder that it was made with
        record.open(f"sqlite:///{folder}/mlflow.db", "adamx")
    return folder / "mlflow.db"


@pytest.fixture
def opened(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> record.Store:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    (tmp_path / "mlflow.db").write_bytes(fresh.read_bytes())
    return record.open(experiment="test")


@pytest.fixture(scope="module")
def sweep() -> Results:
    """Runs of every kind, the diverged ones with infinities and NaN."""
    results = synthetic(product(lr=[1e-3, 1e-2, 1.0], eps=[1e-8, 1e-2], seed=[0, 1]))
    results = dataclasses.replace(results, settings={"batch": 64, "layers": [64, 32, 10]})
    results.loss[30:, -1] = np.inf
    assert set(results.regime) >= {"diverged", "spiking"} and not np.isfinite(results.loss).all()
    return results


def rows(path: Path) -> dict[str, list[tuple]]:
    """The rows of MLflow's run tables, with run ids replaced by the order of the runs' names."""
    with sqlite3.connect(path) as connection:
        names = dict(connection.execute("SELECT run_uuid, name FROM runs"))
        tables = {}
        for table, columns in {**writer.TABLES, "experiments": ("name", "artifact_location")}.items():
            found = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
            tables[table] = sorted(tuple(_named(value, names) for value in row) for row in found)
    return tables


def _named(value: object, names: dict[str, str]) -> str:
    text = repr(value)
    for run_id, name in names.items():
        text = text.replace(run_id, name)
    return text


def test_direct_rows_equal_the_clients(opened: record.Store, fresh: Path, sweep: Results, tmp_path: Path) -> None:
    runs = list(children(sweep, ["lr", "eps", "seed"], {"mlflow.user": "me", "mlflow.parentRunId": "p" * 32}))
    odd = [("loss", 1.0, 7), ("loss", 3.0, 5), ("tie", 2.0, 1), ("tie", 5.0, 1), ("negative", -0.0, -3)]
    runs.append(Child("odd", {}, {}, odd))
    assert opened.direct
    ids = opened.write(runs, len(runs), 1000, 2000)
    direct = rows(tmp_path / "mlflow.db")
    (tmp_path / "mlflow.db").rename(tmp_path / "direct.db")
    opened.backend.engine.dispose()
    (tmp_path / "mlflow.db").write_bytes(fresh.read_bytes())
    public = dataclasses.replace(record.open(experiment="test"), direct=False)
    assert len(public.write(runs, len(runs), 1000, 2000)) == len(set(ids)) == len(runs)
    other = rows(tmp_path / "mlflow.db")
    assert {name: len(r) for name, r in direct.items()} == {name: len(r) for name, r in other.items()}
    assert direct == other


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
    assert run.data.metrics["best_final_loss.digits_mlp"] == np.nanmin(final[np.isfinite(final)])
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
    assert opened.client.get_run(best := run.data.tags["best_run_id.digits_mlp"]).info.run_id == best


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
        return opened.client.get_experiment(experiment).tags[record.NOTE]

    number = opened.experiment.experiment_id
    parent = record.start(opened, "adam on digits_mlp", {}, ["optimizer.lr=1,2"])
    assert "python -m adamx.sweep" in about(number)
    parent.write([sweep], ["lr", "eps"])
    note = opened.client.get_run(parent.run_id).data.tags[record.NOTE]
    assert "python -m adamx.sweep optimizer.lr=1,2" in note and "12 runs: " in note
    assert f"({view.address(number, parent.run_id)})" in note
    opened.client.set_experiment_tag(number, record.NOTE, "mine")
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
    for i, child in enumerate(children(sweep, [], {})):
        assert all(np.isfinite(value) for _, value, _ in child.metrics)
        curve = [(step, value) for key, value, step in child.metrics if key == "loss"]
        last = np.flatnonzero(np.isfinite(sweep.loss[:, i]))[-1]
        assert curve[-1] == (sweep.steps[last], sweep.loss[last, i]) and curve[0][0] == 0
        assert len({(key, step) for key, _, step in child.metrics}) == len(child.metrics)


@pytest.mark.parametrize(("last", "every"), [(10, 1), (1000, 10), (1010, 10), (10**5, 1), (10**6, 1000), (1007, 10)])
def test_points_are_log_spaced(last: int, every: int) -> None:
    records = np.union1d(np.arange(0, last, every), last)
    at = points(records)
    assert at[0] == 0 and at[-1] == len(records) - 1 and (np.diff(at) > 0).all()
    assert min(len(records), 50) <= len(at) <= 101


def test_selection() -> None:
    results = [
        synthetic(product(lr=np.geomspace(1e-4, 1, 40), eps=[1e-8, 1e-2], beta1=[0.9, 0.99])),
        synthetic(product(lr=np.geomspace(1e-4, 1, 20)), optimizer="amsgrad"),
    ]
    keep, sentence = select(results)
    assert [len(k) for k in keep] == [160, 20] and sentence == "all 180 runs are children"
    assert [len(k) for k in select(results, "parent").keep] == [0, 0]
    top = select(results, "top", 30)
    assert sum(map(len, top.keep)) == 30 and "best 30 of 180" in top.sentence
    keep, sentence = select(results, "auto", 50)
    assert sum(map(len, keep)) == 50 and "50 of 180" in sentence and "table.parquet" in sentence
    assert all((a == b).all() for a, b in zip(keep, select(results, "auto", 50).keep, strict=True))
    regimes = [set(r.regime[k]) for r, k in zip(results, keep, strict=True)]
    assert set.union(*regimes) == set(results[0].regime) | set(results[1].regime)
    losses = np.concatenate([r.loss[-1] for r in results])
    kept = np.concatenate([r.loss[-1, k] for r, k in zip(results, keep, strict=True)])
    assert np.nanmin(kept) == np.nanmin(losses) and np.nanmax(kept) == np.nanmax(losses[np.isfinite(losses)])
    with pytest.raises(InputError, match="did you mean 'auto'"):
        select(results, "atuo")


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


def test_an_unknown_column_means_the_client(opened: record.Store, sweep: Results) -> None:
    with sqlite3.connect("mlflow.db") as connection:
        connection.execute("ALTER TABLE metrics ADD COLUMN unit VARCHAR(20)")
    opened.backend.engine.dispose()
    again = record.open()
    assert opened.direct and not again.direct
    parent = record.start(again, "client", {}, [])
    parent.write([sweep], ["lr"], "top", 2)
    found = again.client.search_runs([again.experiment.experiment_id], f"tags.mlflow.parentRunId = '{parent.run_id}'")
    assert len(found) == 2 and {r.info.status for r in found} == {"FINISHED"}


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


def fails_quickly(uri: str, match: str, capfd: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=match) as caught:
        record.open(uri)
    assert time.monotonic() - began < 8 and "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_newer_schema_is_refused(fresh: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    newer = tmp_path / "newer.db"
    newer.write_bytes(fresh.read_bytes())
    with sqlite3.connect(newer) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    fails_quickly(f"sqlite:///{newer}", "from_the_future", capfd)


def test_stores_that_cannot_be_used(
    opened: record.Store, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.db").write_text("not a database, but long enough to be looked at" * 40)
    fails_quickly(f"sqlite:///{tmp_path}/text.db", "not a database", capfd)
    fails_quickly("sqlite:////proc/nowhere/mlflow.db", "/proc/nowhere", capfd)
    fails_quickly(f"sqlite:///{tmp_path}", "unable to open", capfd)
    fails_quickly("nosuch://place", "nosuch", capfd)
    monkeypatch.setattr(store, "PATIENCE", 1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        fails_quickly(f"http://127.0.0.1:{closed.getsockname()[1]}", "http://127", capfd)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        fails_quickly(f"http://127.0.0.1:{silent.getsockname()[1]}", "http://127", capfd)
    # Root may write anywhere, so permissions are no test of this.
    engine = opened.backend.engine
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("PRAGMA query_only = ON"))
    fails_quickly(opened.uri, "readonly", capfd)
    engine.dispose()
    store.SqlAlchemyStore._engine_map.pop(opened.uri)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the children do nothing but this
def test_two_processes_open_one_fresh_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)

    def open_fresh() -> None:
        barrier.wait(10)
        assert record.open(f"sqlite:///{tmp_path}/new/mlflow.db").experiment.experiment_id == "1"

    both = [context.Process(target=open_fresh) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["mlflow.db"]


@pytest.fixture
def server(fresh: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a tracking server on a copy of the fresh store."""
    database = tmp_path / "server.db"
    database.write_bytes(fresh.read_bytes())
    arguments = ("--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(tmp_path / "artifacts"))
    with serving(tmp_path, *arguments) as address:
        yield address


def test_a_tracking_server(server: str, sweep: Results, capfd: pytest.CaptureFixture[str]) -> None:
    opened = record.open(server, "remote")
    assert not opened.direct and opened.view == f"{server}/#/experiments/{opened.experiment.experiment_id}"
    parent = record.start(opened, "remote", {"steps": 1}, ["steps=1"])
    parent.write([sweep], ["lr", "eps"])
    parent.finish(figures=[("map.png", b"png")])
    assert capfd.readouterr().out == ""
    client = MlflowClient(server)
    found = client.search_runs([opened.experiment.experiment_id], f"tags.mlflow.parentRunId = '{parent.run_id}'")
    assert len(found) == len(sweep) and {r.info.status for r in found} == {"FINISHED"}
    names = {f.path for f in client.list_artifacts(parent.run_id)}
    assert {"config.yaml", "table.parquet", "curves.parquet", "map.png"} <= names
    local = client.download_artifacts(parent.run_id, "table.parquet")
    table = pd.read_parquet(io.BytesIO(Path(local).read_bytes()))
    by_id = {r.info.run_id: r for r in found}
    for run_id, lr in zip(table["run_id"], sweep.columns["lr"], strict=True):
        assert by_id[run_id].data.metrics["lr"] == lr
