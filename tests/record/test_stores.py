"""Stores for real: SQLite, PostgreSQL, a tracking server, stores of other MLflows; and what goes wrong with them."""

from __future__ import annotations

import dataclasses
import gzip
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sized
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from mlflow.entities import Run
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.utils import _tracking_store_registry as registry
from serving import serving

from adamx.engine.results import Results
from adamx.inputs.errors import InputError
from adamx.record import parent as record
from adamx.record import readback, store, writer
from adamx.record.address import hidden, shown
from adamx.record.children import Child, children
from adamx.record.readback import last

OLD = Path(__file__).with_name("data") / "mlflow_3.13.db.gz"
SWEPT = ["lr", "eps", "seed"]


# The same sweep in every store ------------------------------------------------------------------------------------


@contextmanager
def sqlite(folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    yield f"sqlite:///{folder}/mlflow.db"


@contextmanager
def postgresql(folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.getfixturevalue("database")


@contextmanager
def server(folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    (folder / "server.db").write_bytes(request.getfixturevalue("fresh").read_bytes())
    with serving(folder, *files(folder)) as address:
        yield address


def files(folder: Path) -> list[str]:
    """Where a server keeps everything."""
    return ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/artifacts"]


@contextmanager
def upgraded(folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A store of the oldest MLflow is upgraded by the command that adamx names."""
    (folder / "mlflow.db").write_bytes(gzip.decompress(OLD.read_bytes()))
    before = (folder / "mlflow.db").read_bytes()
    with pytest.raises(InputError, match=r"older: back it up, then run `mlflow db upgrade .*`") as caught:
        store.open()
    assert "\n" not in str(caught.value) and (folder / "mlflow.db").read_bytes() == before
    command = shlex.split(re.search("`(.*)`", str(caught.value))[1])
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    uri = f"sqlite:///{folder}/mlflow.db"
    yield uri
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("old").experiment_id])
    assert (run.info.run_name, run.info.status) == ("before", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (1000, 2000)
    assert (run.data.params, run.data.tags["regime"]) == ({"lr": "0.001"}, "slow")
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")] == [
        (step, 1 / (step + 1)) for step in range(5)
    ]


def recorded(uri: str, results: Results) -> tuple[list[dict[str, Any]], int]:
    """Record a sweep and read all of it back through MLflow's public client, the parent first: everything but ids and
    times; and how many values those are."""
    opened = store.open(uri, "same")
    parent = record.start(opened, "same sweep", {"steps": 1, "problem": {"name": "digits_mlp"}}, ["steps=1"])
    parent.write([results], SWEPT)
    parent.finish(figures=[("map.png", b"png")], metrics={"seconds": 1.0})
    client = MlflowClient(uri)
    experiment = [opened.experiment.experiment_id]
    below = client.search_runs(experiment, f"tags.mlflow.parentRunId = '{parent.run_id}'", max_results=100)
    assert len(client.search_runs(experiment)) == len(below) + 1
    names = {run.info.run_id: run.info.run_name for run in below} | {parent.run_id: "PARENT"}
    of_parent = _seen(client, client.get_run(parent.run_id), names)
    of_parent["artifacts"] = _artifacts(client, parent.run_id, names)
    runs = [of_parent, *sorted((_seen(client, run, names) for run in below), key=lambda run: run["run_name"])]
    return runs, sum(len(run[key]) for run in runs for key in ("params", "tags", "history"))


def _seen(client: MlflowClient, run: Run, names: dict[str, str]) -> dict[str, Any]:
    info = run.info
    assert info.end_time >= info.start_time > 1.7e12
    assert info.run_id in info.artifact_uri

    def named(text: str) -> str:
        text = re.sub(r'experiments(/|=\[")[0-9]+', r"experiments\1N", unquote(text))
        return re.sub("[0-9a-f]{32}", lambda found: names.get(found[0], found[0]), text)

    histories = {key: client.get_metric_history(info.run_id, key) for key in run.data.metrics}
    return {
        "run_name": info.run_name,
        "status": info.status,
        "lifecycle_stage": info.lifecycle_stage,
        "user_id": info.user_id,
        "params": run.data.params,
        "tags": {key: named(text) for key, text in run.data.tags.items()},
        "metrics": run.data.metrics,
        "history": [(key, m.step, m.value) for key, history in sorted(histories.items()) for m in history],
    }


def _artifacts(client: MlflowClient, run_id: str, names: dict[str, str]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for file in client.list_artifacts(run_id):
        local = Path(client.download_artifacts(run_id, file.path))
        if local.suffix == ".parquet":
            frame = pd.read_parquet(local)
            if "run_id" in frame:
                frame["run_id"] = frame["run_id"].map(names)
            content[file.path] = repr(frame.to_dict("list"))  # where a NaN equals a NaN
        else:
            content[file.path] = local.read_bytes()
    return content


@pytest.fixture(scope="module")
def reference(sweep: Results, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The sweep as SQLite returns it, which is what was meant to be written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder := tmp_path_factory.mktemp("reference"))
        runs, _ = recorded(f"sqlite:///{folder}/mlflow.db", sweep)
    meant = sorted(children(sweep, SWEPT, {}), key=lambda child: child.name)
    for run, child in zip(runs[1:], meant, strict=True):
        assert (run["run_name"], run["status"], run["lifecycle_stage"]) == (child.name, "FINISHED", "active")
        assert run["params"] == child.params and child.tags.items() <= run["tags"].items()
        assert run["tags"]["mlflow.parentRunId"] == "PARENT"
        assert sorted(run["history"]) == sorted((key, step, value) for key, value, step in child.metrics)
        last = {key: value for key, value, step in sorted(child.metrics, key=lambda m: m[2])}
        assert run["metrics"] == last
    assert set(runs[0]["artifacts"]) == {"config.yaml", "table.parquet", "curves.parquet", "map.png"}
    return runs


@pytest.mark.parametrize("kind", [postgresql, server, upgraded], ids=lambda kind: kind.__name__)
def test_every_store_returns_the_same_sweep(
    kind: Any, sweep: Results, reference: list[dict[str, Any]], here: Path, request: pytest.FixtureRequest
) -> None:
    with kind(here, request) as uri:
        runs, values = recorded(uri, sweep)
    assert len(runs) == len(reference) == len(sweep) + 1 and values > 1000
    for run, other in zip(runs, reference, strict=True):
        assert run.keys() == other.keys()
        for key in run:
            assert run[key] == other[key], (run["run_name"], key)


# The two ways of writing --------------------------------------------------------------------------------------------


def names(runs: Sized) -> list[str]:
    """Ids for some runs."""
    return [f"{i:032x}" for i in range(len(runs))]


def rows(engine: sa.Engine) -> dict[str, list[tuple[str, ...]]]:
    """The rows of MLflow's run tables, with run ids replaced by the runs' names."""
    with engine.connect() as connection:
        of = dict(connection.exec_driver_sql("SELECT run_uuid, name FROM runs").fetchall())
        tables = {}
        for table, columns in writer.TABLES.items():
            found = connection.exec_driver_sql(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
            tables[table] = sorted(tuple(_named(value, of) for value in row) for row in found)
    return tables


def _named(value: object, names: dict[str, str]) -> str:
    return re.sub("[0-9a-f]{32}", lambda found: names.get(found[0], found[0]), repr(value))


@pytest.mark.parametrize("kind", [sqlite, postgresql], ids=lambda kind: kind.__name__)
def test_direct_rows_equal_the_clients(kind: Any, sweep: Results, here: Path, request: pytest.FixtureRequest) -> None:
    runs = list(children(sweep, SWEPT, {"mlflow.user": "me", "mlflow.parentRunId": "p" * 32}))
    odd = [("loss", 1.0, 7), ("loss", 3.0, 5), ("tie", 2.0, 1), ("tie", 5.0, 1), ("negative", -0.0, -3)]
    runs.append(Child("odd", {}, {}, odd))
    with kind(here, request) as uri:
        opened = store.open(uri, "test")
        assert opened.direct
        ids = opened.write(runs, names(runs), 1000, 2000)
        direct = rows(opened.backend.engine)
        with opened.backend.engine.begin() as connection:
            for table in reversed(writer.TABLES):
                connection.exec_driver_sql(f"DELETE FROM {table}")
        public = dataclasses.replace(opened, direct=False)
        assert len(public.write(runs, names(runs), 1000, 2000)) == len(set(ids)) == len(runs)
        other = rows(opened.backend.engine)
        opened.backend.engine.dispose()
    assert {name: len(r) for name, r in direct.items()} == {name: len(r) for name, r in other.items()}
    assert len(direct["runs"]) == len(runs) and len(direct["metrics"]) == sum(len(run.metrics) for run in runs)
    assert direct == other


@pytest.mark.parametrize("kind", [sqlite, postgresql], ids=lambda kind: kind.__name__)
def test_an_unknown_column_means_the_client(
    kind: Any, sweep: Results, here: Path, request: pytest.FixtureRequest
) -> None:
    with kind(here, request) as uri:
        before = store.open(uri)
        with before.backend.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE metrics ADD COLUMN unit VARCHAR(20) NOT NULL DEFAULT 'm'")
        before.backend.engine.dispose()
        again = store.open(uri)
        assert before.direct and not again.direct
        parent = record.start(again, "client", {}, [])
        parent.write([sweep], ["lr"], "top", 2)
        below = f"tags.mlflow.parentRunId = '{parent.run_id}'"
        found = again.client.search_runs([again.experiment.experiment_id], below)
        assert len(found) == 2 and {r.info.status for r in found} == {"FINISHED"}
        assert all(r.data.metrics["lr"] == float(r.data.params["lr"]) for r in found)


def test_a_column_that_nobody_fills_is_one_line(database: str, sweep: Results, here: Path) -> None:
    with store.open(database).backend.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE params ADD COLUMN unit VARCHAR(20) NOT NULL")
    again = store.open(database)
    assert not again.direct
    with pytest.raises(InputError, match=r"was lost: .*unit") as caught:
        again.write(children(sweep, SWEPT, {}), names(sweep), 1000, 2000)
    assert "\n" not in str(caught.value) and "sesame" not in str(caught.value)


# Stores that cannot be used -----------------------------------------------------------------------------------------


def fails_quickly(uri: str, match: str, capfd: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=match) as caught:
        store.open(uri)
    assert time.monotonic() - began < 8 and "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_newer_schema_is_refused(fresh: Path, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "newer.db").write_bytes(fresh.read_bytes())
    with sqlite3.connect(here / "newer.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    fails_quickly("sqlite:///newer.db", "schema from_the_future.* newer: upgrade mlflow", capfd)


def test_stores_that_cannot_be_used(
    opened: store.Store, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "text.db").write_text("not a database, but long enough to be looked at" * 40)
    fails_quickly(f"sqlite:///{here}/text.db", "not a database", capfd)
    fails_quickly("sqlite:////proc/nowhere/mlflow.db", "/proc/nowhere", capfd)
    fails_quickly(f"sqlite:///{here}/text.db/mlflow.db", "text.db", capfd)  # a file where a folder is needed
    fails_quickly(f"sqlite:///{here}", "is not a file, and nothing is put in its place", capfd)
    fails_quickly("nosuch://place", "nosuch", capfd)
    monkeypatch.setattr(store, "PATIENCE", 1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        fails_quickly(f"http://127.0.0.1:{closed.getsockname()[1]}", "http://127", capfd)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        fails_quickly(f"http://127.0.0.1:{silent.getsockname()[1]}", "http://127", capfd)


def test_no_database_server_is_one_line_without_the_password(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("psycopg2")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        fails_quickly(
            f"postgresql+psycopg2://someone:sesame@127.0.0.1:{closed.getsockname()[1]}/db", r"someone:\*\*\*@127", capfd
        )


def test_a_sweep_whose_server_is_down_ends_in_one_line(here: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        env = {**os.environ, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{closed.getsockname()[1]}"}
        command = [sys.executable, "-m", "adamx.sweep", "problem=beale", "steps=10"]
        said = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert said.returncode == 2 and said.stdout == ""
    assert re.fullmatch("adamx: MLflow store 'http://127.* cannot be used: .*\n", said.stderr), said.stderr


def test_a_folder_of_another_machine(opened: store.Store, fresh: Path, here: Path) -> None:
    """An experiment from another machine keeps the address of its artifacts there."""
    for name, place in {"theirs": "/home/someone/elsewhere/mlruns/7", "read-only": "/proc/1/mlruns"}.items():
        opened.client.create_experiment(name, artifact_location=place)
        with pytest.raises(InputError, match=f"{name!r} keeps its artifacts in {place!r}, which .* here") as caught:
            store.open(opened.uri, name)
        assert "\n" not in str(caught.value) and not Path(place).exists()


CLIENTS = {"s3://bucket/7": "boto3", "gs://bucket/7": "google-cloud-storage", "sftp://me:sesame@host/7": "pysftp"}


@pytest.mark.parametrize("place", CLIENTS)
def test_artifacts_without_their_client_are_one_line_before_any_run(
    place: str, opened: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.client.create_experiment("bucket", artifact_location=place)
    monkeypatch.setattr(store, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"which needs a client: pip install {CLIENTS[place]}") as caught:
        store.open(opened.uri, "bucket")
    assert "\n" not in str(caught.value) and "sesame" not in str(caught.value)
    monkeypatch.setattr(store, "find_spec", lambda name: object())
    bucket = store.open(opened.uri, "bucket")
    assert bucket.experiment.artifact_location == place
    opened.client.create_experiment("unknown", artifact_location="nosuch://bucket/7")
    with pytest.raises(InputError, match="knows no nosuch://"):
        store.open(opened.uri, "unknown")


def test_a_parent_whose_artifacts_cannot_be_written_has_failed(
    opened: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise ValueError("credentials of s3://me:sesame@bucket/7\nare wrong")

    opened.client.create_experiment("bucket", artifact_location="s3://me:sesame@bucket/7")
    monkeypatch.setattr(store, "find_spec", lambda name: object())
    bucket = store.open(opened.uri, "bucket")
    monkeypatch.setattr(MlflowClient, "log_artifact", denied)
    with pytest.raises(
        InputError, match=r"cannot be written to 's3://me:\*\*\*@bucket/7': credentials of s3://me"
    ) as caught:
        record.start(bucket, "denied", {}, [])
    assert "sesame" not in str(caught.value)
    (run,) = bucket.client.search_runs([bucket.experiment.experiment_id])
    assert run.info.status == "FAILED"


# Where runs go --------------------------------------------------------------------------------------------------------


def test_surroundings_choose_the_experiment(opened: store.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = opened.client.create_experiment("mine")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", mine)
    assert store.open().experiment.name == "mine"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert store.open().experiment.name == "mine"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    with pytest.raises(InputError, match=f"'other' is experiment .*, and MLFLOW_EXPERIMENT_ID is '{mine}'"):
        store.open()
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "4711")
    with pytest.raises(InputError, match="MLFLOW_EXPERIMENT_ID '4711' is not in the MLflow store"):
        store.open()
    opened.client.delete_experiment(mine)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", mine)
    with pytest.raises(InputError, match="'mine' is deleted"):
        store.open()


@pytest.fixture
def fluent(opened: store.Store) -> Iterator[Any]:
    """MLflow as a person uses it from Python, with this store."""
    import mlflow

    mlflow.set_tracking_uri(opened.uri)
    yield mlflow
    while mlflow.active_run():
        mlflow.end_run()


def test_set_experiment_and_an_active_run_are_honoured(
    fluent: Any, sweep: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "from the shell")
    fluent.set_experiment("from Python")
    assert store.open().experiment.name == "from Python"
    with fluent.start_run(run_name="study") as study:
        opened = store.open()
        parent = record.start(opened, "below", {}, [])
        parent.write([sweep], SWEPT)
        parent.finish()
    assert store.open().within is None
    run = opened.client.get_run(parent.run_id)
    assert run.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert run.info.experiment_id == study.info.experiment_id
    below = f"tags.mlflow.parentRunId = '{parent.run_id}'"
    children = opened.client.search_runs([run.info.experiment_id], below)
    assert len(children) == len(sweep)
    assert len(readback.read(parent.run_id, opened).rows) == len(sweep)  # as of any other sweep
    assert readback.read(children[0].info.run_id, opened).parent.info.run_id == parent.run_id
    assert last(opened) == parent.run_id


def test_the_run_of_mlflow_run_is_above(opened: store.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    project = opened.client.create_run(opened.client.create_experiment("project"))
    monkeypatch.setenv("MLFLOW_RUN_ID", project.info.run_id)
    found = store.open()
    assert found.experiment.name == "project"
    parent = record.start(found, "below", {}, [])
    tags = found.client.get_run(parent.run_id).data.tags
    assert tags["mlflow.parentRunId"] == project.info.run_id
    assert store.open(experiment="test").within is None  # an argument takes precedence over the environment
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(InputError, match=r"run '0000.*' \(MLFLOW_RUN_ID, or active\) is not in the MLflow store"):
        store.open()


# Paths ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["100%", "a%20b", "what?", "#1", "a b", "it's", 'the "so"', "[red]", "é 🙂", "a:b@c"])
def test_a_folder_of_any_name(name: str, here: Path, sweep: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / name).mkdir()
    monkeypatch.chdir(here / name)
    registry._get_store_with_resolved_uri.cache_clear()  # a path with a % is a relative address, the same as before
    SqlAlchemyStore._engine_map.clear()
    opened = store.open()
    parent = record.start(opened, "anywhere", {}, [])
    parent.write([sweep], SWEPT)
    parent.finish()
    assert sorted(path.name for path in here.iterdir()) == [name]
    assert {path.name for path in (here / name).iterdir()} == {"mlflow.db", "mlruns"}
    assert len(list((here / name).glob(f"mlruns/*/{parent.run_id}/artifacts/table.parquet"))) == 1
    np.testing.assert_array_equal(readback.results(parent.run_id)[0].loss, sweep.loss)
    opened.backend.engine.dispose()
    SqlAlchemyStore._engine_map.clear()
    registry._get_store_with_resolved_uri.cache_clear()


def test_a_folder_that_is_not_named_in_utf_8_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.fsdecode(os.fsencode(here) + b"/\xff"))
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match="is not named in UTF-8") as caught:
        store.open()
    assert str(caught.value).isprintable()
    assert not list(folder.iterdir())


def test_a_new_store_replaces_nothing(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(here / "pipe")
    (here / "link.db").symlink_to(here / "pipe")
    for name in ("pipe", "link.db"):
        fails_quickly(f"sqlite:///{here}/{name}", "is not a file, and nothing is put in its place", capfd)
    assert (here / "pipe").is_fifo() and sorted(os.listdir(here)) == ["link.db", "pipe"]
    (here / "empty.db").touch()
    assert store.open(f"sqlite:///{here}/empty.db").direct


# Only read ------------------------------------------------------------------------------------------------------------


def test_reading_writes_nothing(
    opened: store.Store, sweep: Results, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = record.start(opened, "kept", {}, [])
    parent.write([sweep], SWEPT)
    parent.finish()
    opened.backend.engine.dispose()

    def content() -> dict[str, tuple[bytes, int]]:
        files = sorted(path for path in here.rglob("*") if path.is_file())
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    before = content()
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "absent")
    found = readback.open()
    assert found.experiment.name == "Default" and not found.direct
    np.testing.assert_array_equal(readback.read(parent.run_id, found).results[0].loss, sweep.loss)
    with pytest.raises(InputError, match="no sweep is recorded"):
        last(found)
    assert content() == before


def test_reading_creates_nothing(here: Path) -> None:
    with pytest.raises(InputError, match="no MLflow store"):
        readback.open()
    (here / "mlflow.db").touch()
    with pytest.raises(InputError, match="has no tables yet"):
        readback.open()
    assert [path.name for path in here.iterdir()] == ["mlflow.db"] and not (here / "mlflow.db").stat().st_size


def test_long_names_fit_every_store(database: str, sweep: Results, here: Path) -> None:
    opened = store.open(database)
    parent = record.start(opened, "adam on " + "x" * 400, {}, [])
    long = dataclasses.replace(sweep, settings={"path": "/data/" + "x" * 400})
    parent.write([long], ["path", "lr"])
    below = f"tags.mlflow.parentRunId = '{parent.run_id}'"
    found = opened.client.search_runs([opened.experiment.experiment_id], below)
    assert len(found) == len(sweep) and {len(run.info.run_name) for run in found} == {250}
    assert all(run.data.params["path"] == "/data/" + "x" * 400 for run in found)


# Secrets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:sesame@127.0.0.1:1/mlflow", "http://me:se%73ame@127.0.0.1:1", "http://a:sesame@b@127.0.0.1:1",
        "postgresql://me@127.0.0.1:1/db?password=sesame", "http://127.0.0.1:1/?token=sesame&x=1",
    ],
)  # fmt: skip
def test_a_password_is_never_shown(uri: str, opened: store.Store) -> None:
    assert "same" not in shown(uri) and "127.0.0.1:1" in shown(uri)
    assert "same" not in hidden(f"{uri}/api: no entry for 'sesame' at {uri}", uri)
    server = dataclasses.replace(opened, uri=uri, backend=None)
    assert "same" not in server.view
    with pytest.raises(InputError) as caught, server.explained():
        raise OSError(f"cannot reach {uri}/api/2.0: wrong password")
    assert "same" not in str(caught.value)
    assert shown(opened.uri) == opened.uri


# Stores that fail while they are written -----------------------------------------------------------------------------

WRITES = """
import sys
from pathlib import Path
import mlflow, numpy as np
from synthetic import product, synthetic
from adamx.inputs.errors import InputError
from adamx.record import store
from adamx.record.children import children
sweep = synthetic(product(lr=np.geomspace(1e-4, 1, 40)))
def write(path):
    try:
        opened = store.open(f"sqlite:///{path}", "test")
        opened.write(children(sweep, ["lr"], {}), [f"{i:032x}" for i in range(len(sweep))], 1000, 2000)
        opened.backend.engine.dispose()
        print("written")
    except InputError as error:
        print("adamx:", error)
"""


def mounted(folder: Path, options: str, code: str) -> list[str]:
    """The lines that code prints where `small` is a file system of its own, seen by nobody else."""
    (folder / "small").mkdir()
    code = WRITES + code
    mount = f"mount -t tmpfs -o {options} tmpfs small"
    apart = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c"]
    probe = [*apart, f"{mount} && mount -o remount,ro small"]
    if not shutil.which("unshare") or subprocess.run(probe, cwd=folder, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers")}
    command = f"{mount} && exec {shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    said = subprocess.run([*apart, command], cwd=folder, env=env, capture_output=True, text=True)
    assert said.returncode == 0 and said.stderr == "", said.stderr
    return said.stdout.splitlines()


def test_a_full_disk(here: Path) -> None:
    """The store is whole, without any of the runs, and takes them when there is room."""
    code = """
import sqlite3, subprocess
write("small/mlflow.db")
base = sqlite3.connect("small/mlflow.db")
print(*base.execute("PRAGMA integrity_check").fetchone(), *base.execute("SELECT count(*) FROM runs").fetchone())
subprocess.run(["mount", "-o", "remount,size=50m", "small"], check=True)
write("small/mlflow.db")
print(*base.execute("SELECT count(*) FROM runs").fetchone())
"""
    full, whole, *then = mounted(here, "size=2m", code)
    assert re.fullmatch(r"adamx: MLflow store 'sqlite:///small/mlflow.db' was lost: .*disk is full.*", full)
    assert (whole, then) == ("ok 0", ["written", "40"])


def test_a_disk_too_small_for_a_store(here: Path) -> None:
    full, left = mounted(here, "size=300k", 'write("small/mlflow.db"); print(*Path("small").iterdir())')
    assert re.fullmatch(r"adamx: MLflow store 'sqlite:///small/mlflow.db' cannot be used: .*disk is full.*", full)
    assert left == ""  # no half of a store


def test_a_read_only_folder(here: Path) -> None:
    code = """
import subprocess
write("small/mlflow.db")
subprocess.run(["mount", "-o", "remount,ro", "small"], check=True)
write("small/mlflow.db")
write("small/other.db")
"""
    first, second, third = mounted(here, "size=50m", code)
    assert first == "written"
    assert re.fullmatch("adamx: MLflow store 'sqlite:///small/mlflow.db' cannot be used: .*readonly.*", second)
    assert re.fullmatch("adamx: MLflow store 'sqlite:///small/other.db' cannot be used: .*Read-only.*", third)


def test_a_full_disk_of_artifacts(here: Path) -> None:
    code = """
import os
from adamx.record import parent as record
os.chdir("small")
opened = store.open("sqlite:///../mlflow.db", "test")
parent = record.start(opened, "full", {}, [])
try:
    with opened.explained():
        parent.finish(figures=[("map.png", bytes(10**6))])
except InputError as error:
    print("adamx:", error)
"""
    (said,) = mounted(here, "size=300k", code)
    assert re.fullmatch("adamx: MLflow store 'sqlite:///../mlflow.db' was lost: .*No space left.*", said)


def test_a_server_lost_half_way(
    fresh: Path, sweep: Results, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The rows that had reached the server are there when it comes back; the sweep ends soon, with one line."""
    monkeypatch.setattr(writer, "CHUNK", 4)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    (here / "server.db").write_bytes(fresh.read_bytes())
    with ExitStack() as running:
        opened = store.open(running.enter_context(serving(here, *files(here))), "remote")
        parent = record.start(opened, "lost", {}, [])
        began = time.monotonic()
        with pytest.raises(InputError, match=f"MLflow store '{opened.uri}' was lost: ") as caught:
            parent.write([sweep], SWEPT, progress=lambda written, total: running.close())
        assert time.monotonic() - began < 30 and "\n" not in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err
    kept = MlflowClient(f"sqlite:///{here}/server.db")
    found = kept.search_runs([opened.experiment.experiment_id], f"tags.mlflow.parentRunId = '{parent.run_id}'")
    meant = {child.name: child for child in children(sweep, SWEPT, {})}
    assert len(found) == 4
    for run in found:
        assert run.info.status == "FINISHED" and run.data.params == meant[run.info.run_name].params


def test_a_clock_that_goes_back(opened: store.Store, sweep: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr(record.time, "time", lambda: next(clock))
    parent = record.start(opened, "clock", {}, [])
    parent.write([sweep], SWEPT)
    parent.finish()
    found = opened.client.search_runs([opened.experiment.experiment_id], f"tags.mlflow.parentRunId = '{parent.run_id}'")
    assert len(found) == len(sweep)
    assert all(run.info.end_time >= run.info.start_time for run in found)
    for run in found:
        history = opened.client.get_metric_history(run.info.run_id, "loss")
        assert [m.step for m in history] == sorted(m.step for m in history)
        assert run.data.metrics["loss"] == max(history, key=lambda m: m.step).value
