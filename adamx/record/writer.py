"""Writer: thousands of finished runs into an MLflow store, two ways that leave the same rows.

direct    executemany into MLflow's five run tables, in one transaction, through the engine of MLflow's own
          SqlAlchemyStore. Only where `known` says so: that store has checked the schema's revision when it opened,
          and the five tables have exactly the columns of `TABLES`.
client    MlflowClient.create_run, log_batch, set_terminated: a tracking server, a plugin, an unknown schema.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

import sqlalchemy as sa
from mlflow.entities import Experiment, LifecycleStage, Metric, Param, RunStatus, SourceType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_USER
from mlflow.utils.uri import append_to_uri_path

from adamx.record import interrupt
from adamx.record.children import Child

METRIC = ("key", "value", "timestamp", "step", "is_nan", "run_uuid")
TABLES = {  # in an order that foreign keys allow
    "runs": (
        *("run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status", "start_time"),
        *("end_time", "deleted_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id"),
    ),
    "params": ("key", "value", "run_uuid"),
    "tags": ("key", "value", "run_uuid"),
    "metrics": METRIC,
    "latest_metrics": METRIC,
}
CACHE = 200_000  # KiB of changed pages that SQLite may hold in memory; a run takes about 75
CHUNK = 500  # runs held in memory as rows
REQUESTS = 8  # parallel requests to a tracking server

Progress = Callable[[int, int], None]
Write = Callable[[list[Child]], list[str]]


def known(backend: Any) -> bool:
    """True if runs can be written directly into MLflow's tracking store `backend`."""
    if type(backend) is not SqlAlchemyStore:
        return False
    inspector = sa.inspect(backend.engine)
    return all({c["name"] for c in inspector.get_columns(name)} == set(columns) for name, columns in TABLES.items())


def write(way: Write, children: Iterable[Child], total: int, progress: Progress | None = None) -> list[str]:
    """Write runs one of the two ways; returns their ids, in order.

    Args:
        children: taken a chunk at a time. total: how many they are. progress: called with (written, total).
    """
    ids: list[str] = []
    children = iter(children)
    while chunk := list(islice(children, CHUNK)):
        interrupt.check()
        ids += way(chunk)
        if progress:
            progress(len(ids), total)
    return ids


@contextmanager
def direct(
    backend: SqlAlchemyStore, experiment: Experiment, ids: Sequence[str], start: int, end: int
) -> Iterator[Write]:
    """The direct way, for runs of these ids from `start` to `end` (milliseconds since 1970).

    Ascending ids append to the indices instead of scattering over them: half the time.
    """
    left = iter(ids)
    with backend.ManagedSessionMaker(read_only=False) as session:
        connection = session.connection()
        if connection.dialect.name == "sqlite":
            # Each row refers to a run inserted here a moment ago, and the check costs a quarter of the time. MLflow
            # turns it on again at the start of each of its sessions.
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            # Pages that leave memory before the end shut out all readers, such as MLflow's UI, until the end.
            connection.exec_driver_sql(f"PRAGMA cache_size = -{CACHE}")
            # SQLite's own wait for another writer cannot be interrupted; the one of `sql` can.
            connection.exec_driver_sql("PRAGMA busy_timeout = 100")

        def insert(chunk: list[Child]) -> list[str]:
            taken = list(islice(left, len(chunk)))
            for name, rows in _rows(experiment, zip(taken, chunk, strict=True), start, end).items():
                interrupt.check()
                _insert(connection, name, rows)
            return taken

        try:
            yield insert
            interrupt.check()
        except BaseException:
            session.rollback()  # before anything else, such as the parent's summary; MLflow does not for an interrupt
            raise
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA busy_timeout = 20000")  # for readers, when it commits


def remove(backend: SqlAlchemyStore, parent: str) -> None:
    """Delete the rows of all children of a parent run, in one transaction."""
    with backend.ManagedSessionMaker(read_only=False) as session:
        tags = sa.table("tags", sa.column("key"), sa.column("value"), sa.column("run_uuid"))
        mine = (tags.c.key == MLFLOW_PARENT_RUN_ID) & (tags.c.value == parent)
        ids = session.scalars(sa.select(tags.c.run_uuid).where(mine)).all()
        for name in reversed(TABLES):
            table = sa.table(name, sa.column("run_uuid"))
            for first in range(0, len(ids), CHUNK):
                session.execute(sa.delete(table).where(table.c.run_uuid.in_(ids[first : first + CHUNK])))


@contextmanager
def client(client: MlflowClient, experiment: Experiment, workers: int, start: int, end: int) -> Iterator[Write]:
    """The public way, with `workers` requests at a time."""

    def log(child: Child) -> str:
        run_id = client.create_run(experiment.experiment_id, start, dict(child.tags), child.name).info.run_id
        metrics = [Metric(key, value, end, step) for key, value, step in child.metrics]
        client.log_batch(run_id, metrics, [Param(*item) for item in child.params.items()])
        client.set_terminated(run_id, end_time=end)
        return run_id

    with ThreadPoolExecutor(workers) as pool, environment(MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true"):

        def send(chunk: list[Child]) -> list[str]:
            ids = []
            for run_id in pool.map(log, chunk):  # leaving this block drops the waiting requests
                ids.append(run_id)
                interrupt.check()
            return ids

        yield send


def analyze(engine: sa.Engine) -> None:
    """Let SQLite count its rows: MLflow never does, and its queries for charts are many times slower without."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA analysis_limit=1000")
            connection.exec_driver_sql("ANALYZE")


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Environment variables, set for a while: MLflow reads some settings from nowhere else."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _rows(
    experiment: Experiment, runs: Iterable[tuple[str, Child]], start: int, end: int
) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of each table that the client way leaves for the same runs."""
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}
    source = (SourceType.to_string(SourceType.UNKNOWN), "", "")
    status = RunStatus.to_string(RunStatus.FINISHED)
    number = int(experiment.experiment_id)
    for run_id, child in runs:
        user = child.tags.get(MLFLOW_USER, "unknown")
        artifacts = append_to_uri_path(experiment.artifact_location, run_id, SqlAlchemyStore.ARTIFACTS_FOLDER_NAME)
        state = (status, start, end, None, "", LifecycleStage.ACTIVE, artifacts, number)
        rows["runs"].append((run_id, child.name, *source, user, *state))
        rows["params"] += [(key, value, run_id) for key, value in child.params.items()]
        rows["tags"] += [(key, value, run_id) for key, value in {**child.tags, MLFLOW_RUN_NAME: child.name}.items()]
        rows["metrics"] += [(key, value, end, step, False, run_id) for key, value, step in child.metrics]
        # MLflow's latest is the greatest (step, timestamp, value): of a key's ascending values, the last one stays
        latest = {key: (value, step) for key, value, step in sorted(child.metrics, key=lambda m: (m[2], m[1]))}
        rows["latest_metrics"] += [(key, value, end, step, False, run_id) for key, (value, step) in latest.items()]
    return rows


def _insert(connection: sa.Connection, name: str, rows: list[tuple[Any, ...]]) -> None:
    if not rows:
        return
    statement = sa.insert(sa.table(name, *map(sa.column, TABLES[name])))
    if connection.dialect.positional:  # the driver's own executemany, without a dictionary a row
        connection.exec_driver_sql(str(statement.compile(dialect=connection.dialect)), rows)
    else:
        connection.execute(statement, [dict(zip(TABLES[name], row, strict=True)) for row in rows])
