"""Several sweeps at once in one store: all complete, nothing is lost, and whoever must wait does."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from serving import serving
from synthetic import product, synthetic

from adamx.engine.results import Results
from adamx.inputs.errors import InputError
from adamx.record import parent as record
from adamx.record import sql, store, writer
from adamx.record.children import children

WRITERS = 4
ROUNDS = 10
RUNS = 75
FORK = multiprocessing.get_context("fork")  # the children do nothing but their work
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),  # jax, which another test file may have imported
]


def at_once(work: Callable[[int], None]) -> None:
    """Do work(0), work(1), ... in processes that start it at the same moment."""
    barrier = FORK.Barrier(WRITERS)

    def begin(number: int) -> None:
        barrier.wait(20)
        work(number)

    processes = [FORK.Process(target=begin, args=(number,)) for number in range(WRITERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * WRITERS


def same(number: int) -> Results:
    """The results of each sweep: the same runs for the same number, with losses of their own."""
    return synthetic(product(lr=np.geomspace(1e-4, 1, RUNS // 3), eps=[1e-8, 1e-4, 1e-2], seed=[number]))


def sweep(uri: str, number: int) -> None:
    opened = store.open(uri)
    parent = record.start(opened, f"sweep {number}", {"steps": 400}, [])
    parent.write([same(number)], ["lr", "eps"])
    parent.finish(figures=[("map.png", b"png")])


@contextmanager
def looked_at(uri: str, folder: Path) -> Iterator[Counter[int]]:
    """MLflow's pages on a store, asked again and again for the newest runs: how often, by the answers' status."""
    answers: Counter[int] = Counter()
    closed = threading.Event()
    body = json.dumps({"experiment_ids": ["1"], "max_results": 100, "order_by": ["metrics.final_loss"]}).encode()

    def look() -> None:
        search = urllib.request.Request(
            f"{address}/api/2.0/mlflow/runs/search", body, {"Content-Type": "application/json"}
        )
        while not closed.wait(0.05):
            try:
                with urllib.request.urlopen(search, timeout=60) as answer:
                    answers[answer.status] += 1
            except urllib.error.HTTPError as error:
                answers[error.code] += 1

    with serving(folder, "--backend-store-uri", uri) as address:
        person = threading.Thread(target=look)
        person.start()
        try:
            yield answers
        finally:
            closed.set()
            person.join()


def checked(uri: str) -> int:
    """Compare all rows of all sweeps with what was to be written; how many they are."""
    engine = sa.create_engine(uri)
    found = 0
    with engine.connect() as connection:

        def rows(query: str, parent: str) -> list[tuple[object, ...]]:
            nonlocal found
            below = f"FROM {query} x JOIN runs r ON r.run_uuid = x.run_uuid JOIN tags t ON t.run_uuid = r.run_uuid"
            columns = "r.name, x.key, x.value, x.step" if "metrics" in query else "r.name, x.key, x.value"
            where = f"WHERE t.key = 'mlflow.parentRunId' AND t.value = '{parent}'"
            taken = sorted(tuple(row) for row in connection.exec_driver_sql(f"SELECT {columns} {below} {where}"))
            found += len(taken)
            return taken

        named = dict(connection.exec_driver_sql("SELECT name, run_uuid FROM runs").fetchall())
        for number in range(WRITERS):
            parent = named[f"sweep {number}"]
            meant = list(children(same(number), ["lr", "eps"], {}))
            assert rows("metrics", parent) == sorted((c.name, *m[:2], m[2]) for c in meant for m in c.metrics)
            assert rows("params", parent) == sorted((c.name, *p) for c in meant for p in c.params.items())
            tags = [tag for tag in rows("tags", parent) if not str(tag[1]).startswith("mlflow.")]
            assert tags == sorted((c.name, *t) for c in meant for t in c.tags.items())
            last = {(c.name, m[0]): (m[2], m[1]) for c in meant for m in sorted(c.metrics, key=lambda m: m[2])}
            latest = {(row[0], row[1]): (row[3], row[2]) for row in rows("latest_metrics", parent)}
            assert latest == last
        status = connection.exec_driver_sql("SELECT status, count(*) FROM runs GROUP BY status").fetchall()
        assert [tuple(row) for row in status] == [("FINISHED", WRITERS * (RUNS + 1))]
    engine.dispose()
    return found


def test_four_sweeps_into_one_sqlite_store(here: Path, record_property: Callable[[str, object], None]) -> None:
    uri = f"sqlite:///{here}/mlflow.db"
    store.open(uri).backend.engine.dispose()
    SqlAlchemyStore._engine_map.pop(uri)
    with looked_at(uri, here) as answers:
        at_once(lambda number: sweep(uri, number))
    found = checked(uri)
    record_property("rows", found)
    print(f"{WRITERS} sweeps, {found:,} rows, the page answered {answers}")
    assert answers.keys() == {200} and answers[200] > 5
    with sqlite3.connect(here / "mlflow.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_tag_that_another_process_adds_between_mlflow_s_look_and_its_write(here: Path) -> None:
    opened = store.open(f"sqlite:///{here}/mlflow.db")
    others = []

    def first(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "INSERT INTO experiment_tags" in statement and not others:
            others.append(statement)
            with sqlite3.connect(here / "mlflow.db") as other:
                other.execute("INSERT INTO experiment_tags VALUES ('view', 'theirs', ?)", [experiment])

    experiment = opened.experiment.experiment_id
    sa.event.listen(opened.backend.engine, "before_cursor_execute", first)
    opened.tag("view", "mine")
    assert others and opened.client.get_experiment(experiment).tags["view"] == "mine"


def test_four_sweeps_into_postgresql(database: str, here: Path, record_property: Callable[[str, object], None]) -> None:
    with looked_at(database, here) as answers:
        at_once(lambda number: sweep(database, number))
    found = checked(database)
    record_property("rows", found)
    print(f"{WRITERS} sweeps, {found:,} rows, the page answered {answers}")
    assert answers.keys() == {200} and answers[200] > 5


def test_four_commands_in_an_empty_folder(here: Path) -> None:
    """From what is typed to the record, kernels compiled and all."""
    command = [sys.executable, "-m", "adamx.sweep", "problem=beale", "optimizer.lr=log:1e-4:1:8", "steps=50"]
    command += ["record.figures=false", "record_every=10", "optimizer.beta1=0.9", "optimizer.beta2=0.99"]
    running = [
        subprocess.Popen([*command, f"seed={n}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for n in range(WRITERS)
    ]
    said = [process.communicate(timeout=150)[0] for process in running]
    assert [process.returncode for process in running] == [0] * WRITERS, "\n".join(said)
    opened = store.open()
    runs = opened.client.search_runs([opened.experiment.experiment_id], max_results=10_000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    below = Counter(run.data.tags.get("mlflow.parentRunId", "") for run in runs)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == below.pop("") == WRITERS
    assert below == {run.info.run_id: run.data.metrics["runs"] for run in parents}
    seeds = {run.data.params["seed"] for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert seeds == {str(n) for n in range(WRITERS)}


def test_a_fresh_sqlite_store_is_created_once(here: Path) -> None:
    for number in range(ROUNDS):
        folder = here / str(number)

        def open_fresh(_: int, folder: Path = folder) -> None:
            assert store.open(f"sqlite:///{folder}/mlflow.db").experiment.experiment_id == "1"

        at_once(open_fresh)
        assert [path.name for path in folder.iterdir()] == ["mlflow.db"]
        with sqlite3.connect(folder / "mlflow.db") as connection:
            found = connection.execute("SELECT name FROM experiments ORDER BY experiment_id").fetchall()
        assert found == [("Default",), ("adamx",)]


def test_a_fresh_postgresql_store_is_created_once(database: str, here: Path) -> None:
    def open_fresh(_: int) -> None:
        assert store.open(database).experiment.experiment_id == "1"

    at_once(open_fresh)
    assert store.open(database).direct


def test_a_store_whose_creation_is_killed_is_created_again(here: Path) -> None:
    uri = f"sqlite:///{here}/mlflow.db"
    killed, draw = 0, random.Random(7)
    for _ in range(8):
        process = FORK.Process(target=store.open, args=(uri,))
        process.start()
        time.sleep(draw.uniform(0.05, 0.8))
        os.kill(process.pid, signal.SIGKILL)
        process.join(20)
        killed += not (here / "mlflow.db").exists()
    assert killed >= 2
    assert store.open(uri).direct


# Locks --------------------------------------------------------------------------------------------------------------


@contextmanager
def impatient(opened: store.Store) -> Iterator[None]:
    """Shorten MLflow's own wait, which comes before ours."""

    def shorten(
        connection: object, cursor: object, statement: str, parameters: object, *_: object
    ) -> tuple[str, object]:
        return statement.replace("busy_timeout = 20000", "busy_timeout = 100"), parameters

    engine = opened.backend.engine
    sa.event.listen(engine, "before_cursor_execute", shorten, retval=True)
    yield
    sa.event.remove(engine, "before_cursor_execute", shorten)


@pytest.fixture
def held(opened: store.Store) -> Iterator[sqlite3.Connection]:
    """The connection of somebody else who is writing."""
    connection = sqlite3.connect("mlflow.db", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    yield connection
    connection.close()


def test_a_lock_is_waited_for(
    opened: store.Store, held: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sql, "QUIET", 0.5)
    end = threading.Timer(2, lambda: held.execute("COMMIT"))
    end.start()
    began = time.monotonic()
    with impatient(opened):
        parent = record.start(opened, "patient", {}, [])
        assert time.monotonic() - began > 1.5  # ten times as long as MLflow itself would have
        parent.write([same(0)], ["lr", "eps"])
        parent.finish()
    end.join()
    assert caplog.messages.count("waiting for another process to finish its write to the MLflow store") == 1
    mine = f"tags.mlflow.parentRunId = '{parent.run_id}'"
    assert len(opened.client.search_runs([opened.experiment.experiment_id], mine)) == RUNS


def test_others_read_while_runs_are_written(opened: store.Store) -> None:
    """Until the end, and without any waiting, they find the store as it was."""
    runs = list(children(same(0), ["lr", "eps"], {}))
    seen = []

    def look(written: int, total: int) -> None:
        with contextlib.closing(sqlite3.connect("mlflow.db", timeout=0)) as other:
            seen.append((written, *other.execute("SELECT count(*) FROM runs").fetchone()))

    before = Path("mlflow.db").stat().st_size
    opened.write(runs, [f"{i:032x}" for i in range(RUNS)], 1000, 2000, look)
    assert seen == [(RUNS, 0)]
    assert Path("mlflow.db").stat().st_size - before > 2.5e6  # more than SQLite's own cache holds


def test_a_lock_that_is_never_given_back_is_one_line(
    opened: store.Store, held: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sql, "WAIT", 1)
    runs = list(children(same(0), ["lr", "eps"], {}))
    line = f"MLflow store '{opened.uri}' was lost: locked by another process for more than 1 seconds"
    with impatient(opened), pytest.raises(InputError, match=line) as caught:
        opened.write(runs, [f"{i:032x}" for i in range(RUNS)], 1000, 2000)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be used: locked by another process for"):
        store.open()
    assert capfd.readouterr().err == ""
    held.execute("COMMIT")
    assert len(opened.write(runs, [f"{i:032x}" for i in range(RUNS)], 1000, 2000)) == RUNS


def test_a_folder_that_somebody_opens_for_ever_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "WAIT", 1)
    with sql._lock(here), pytest.raises(InputError, match="used: locked by another") as caught:
        store.open()
    assert "\n" not in str(caught.value)
    assert store.open().direct


# Ctrl-C -------------------------------------------------------------------------------------------------------------

MOMENTS = 20
MANY = 225


def interrupted_sweep(uri: str, number: int, writing: Any, ends: Any) -> None:
    """A sweep as `adamx.sweep` records it; exit code 130 where Ctrl-C stops it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results = synthetic(product(lr=np.geomspace(1e-4, 1, MANY // 3), eps=[1e-8, 1e-4, 1e-2], seed=[0]))
    opened = store.open(uri)
    parent = record.start(opened, f"sweep {number}", {}, [])
    start = time.monotonic()
    writing.set()
    try:
        parent.write([results], ["lr", "eps"])
        parent.finish()
        ends.value = time.monotonic() - start
    except KeyboardInterrupt:
        parent.finish("KILLED")
        os._exit(130)


def test_ctrl_c_at_any_moment_of_the_write_frees_the_store(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{here}/mlflow.db"
    store.open(uri).backend.engine.dispose()
    SqlAlchemyStore._engine_map.pop(uri)
    seconds, taken, codes = 0.0, [], []
    monkeypatch.setattr(writer, "CHUNK", 45)
    for number in range(MOMENTS + 1):
        writing, ends = FORK.Event(), FORK.Value("d", 0.0)
        process = FORK.Process(target=interrupted_sweep, args=(uri, number, writing, ends))
        process.start()
        assert writing.wait(30)
        if number:  # the first one says how long it takes
            time.sleep(seconds * number / MOMENTS)
            pressed = time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
            process.join(30)
            taken.append(time.monotonic() - pressed)
        process.join(60)
        seconds = seconds or ends.value
        codes.append(process.exitcode)
        with contextlib.closing(sqlite3.connect("mlflow.db", timeout=0)) as other:
            other.execute("BEGIN EXCLUSIVE")
            query = "SELECT run_uuid, status FROM runs WHERE name = ?"
            ((run_id, status),) = other.execute(query, [f"sweep {number}"])
            below = "SELECT count(*) FROM tags WHERE key = 'mlflow.parentRunId' AND value = ?"
            (count,) = other.execute(below, [run_id]).fetchone()
            assert status == ("KILLED" if process.exitcode else "FINISHED")
            assert count in (0, MANY)
            assert len(list(here.glob(f"mlruns/*/{run_id}/artifacts/table.parquet"))) == 1
    print(f"a write of {seconds:.1f} s; after Ctrl-C at most {max(taken):.2f} s; {codes.count(130)} stopped")
    assert codes[0] == 0 and codes.count(130) >= MOMENTS / 2 and set(codes) == {0, 130}
    assert max(taken) < 5


def test_ctrl_c_ends_the_wait_for_another_writer(here: Path) -> None:
    """The first ends the wait for the children's turn, the second the process."""
    uri = f"sqlite:///{here}/mlflow.db"
    store.open(uri).backend.engine.dispose()
    SqlAlchemyStore._engine_map.pop(uri)
    writing, ends = FORK.Event(), FORK.Value("d", 0.0)
    process = FORK.Process(target=interrupted_sweep, args=(uri, 0, writing, ends))
    process.start()
    assert writing.wait(30)
    with contextlib.closing(sqlite3.connect("mlflow.db", timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(1.5)
        os.kill(process.pid, signal.SIGINT)
        time.sleep(1.5)
        pressed = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        process.join(30)
        assert time.monotonic() - pressed < 1 and process.exitcode == -signal.SIGINT
        other.execute("COMMIT")
    with contextlib.closing(sqlite3.connect("mlflow.db", timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
