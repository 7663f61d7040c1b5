"""Store: an MLflow tracking store and an experiment in it, opened before anything is computed."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from mlflow.entities import Experiment, LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient

from adamx import writer
from adamx.children import Child
from adamx.registry import InputError

PATIENCE = 5  # seconds for a tracking server's first answer


@dataclass(frozen=True)
class Store:
    """An open store and the experiment that runs go to."""

    uri: str
    client: MlflowClient
    experiment: Experiment
    backend: Any  # MLflow's tracking store behind the client
    direct: bool  # whether runs may be written without the client

    @property
    def view(self) -> str:
        """How to look at the runs: a command, or the address of the tracking server."""
        if not isinstance(self.backend, SqlAlchemyStore):
            return f"{self.uri.rstrip('/')}/#/experiments/{self.experiment.experiment_id}"
        here = Path(sa.make_url(self.uri).database or "").resolve() == Path("mlflow.db").resolve()
        return "mlflow ui" if here else f"mlflow ui --backend-store-uri {shlex.quote(_shown(self.uri))}"

    def write(
        self, children: Iterable[Child], total: int, start: int, end: int, progress: writer.Progress | None = None
    ) -> list[str]:
        """Write finished runs, all or (directly) none; returns their ids, in order.

        Args:
            children: taken a chunk at a time. total: how many they are. progress: called with (written, total).
            start, end: of every run, in milliseconds since 1970; `end` stamps the metrics too.
        """
        if self.direct:
            way = writer.direct(self.backend, self.experiment, total, start, end)
        else:  # one SQL store takes one writer
            workers = 1 if isinstance(self.backend, SqlAlchemyStore) else writer.REQUESTS
            way = writer.client(self.client, self.experiment, workers, start, end)
        with way as write:
            return writer.write(write, children, total, progress)

    def analyze(self) -> None:
        """Prepare a SQL store for quick queries, after writing."""
        if isinstance(self.backend, SqlAlchemyStore):
            writer.analyze(self.backend.engine)


def open(uri: str | None = None, experiment: str | None = None) -> Store:
    """Open a store and its experiment, both created where they do not exist yet.

    Args:
        uri: default MLFLOW_TRACKING_URI, else mlflow.db in the working directory with artifacts in ./mlruns, which
            is where a bare `mlflow ui` looks.
        experiment: default MLFLOW_EXPERIMENT_NAME, else "adamx".
    Raises:
        InputError: within seconds: unreachable, not writable, a schema that MLflow refuses, a deleted experiment.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"
    name = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "adamx"
    quick = writer.environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT=str(PATIENCE))
    try:
        with quick, _quiet(), _reached(uri):
            client = MlflowClient(uri)
            backend = client._tracking_client.store
            found = _experiment(client, name)
            direct = writer.known(backend)
            if isinstance(backend, SqlAlchemyStore):
                _check_writable(backend.engine)
    except InputError:
        raise
    except Exception as error:  # drivers, plugins, alembic and servers raise what they like
        lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"MLflow store {_shown(uri)!r} cannot be used: {lines[0][:400]}") from error
    return Store(uri, client, found, backend, direct)


def _experiment(client: MlflowClient, name: str) -> Experiment:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.get_experiment(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return _experiment(client, name)  # another process was faster
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise InputError(
            f"MLflow experiment {name!r} is deleted: restore it with `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, or set MLFLOW_EXPERIMENT_NAME to another name"
        )
    return found


def _check_writable(engine: sa.Engine) -> None:
    """A statement that changes nothing and yet needs the right to write."""
    runs = sa.table("runs", sa.column("name"))
    with engine.begin() as connection:
        connection.execute(sa.update(runs).where(sa.false()).values(name=""))


@contextmanager
def _reached(uri: str) -> Iterator[None]:
    """For a SQL store: fail at once where it does not connect (MLflow would retry for minutes); for SQLite also hold
    the folder's lock, since two processes that migrate one fresh file at once break it."""
    if uri.partition(":")[0].partition("+")[0] not in DATABASE_ENGINES:
        yield
        return
    engine = sa.create_engine(uri)
    with ExitStack() as stack:
        if engine.dialect.name == "sqlite":
            folder = Path(engine.url.database or "").resolve().parent
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_lock(folder))
        engine.connect().close()
        engine.dispose()
        yield


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    if os.name == "nt":  # no flock, and a folder cannot be opened
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _quiet() -> Iterator[None]:
    """No INFO lines of a migration, no tracebacks of an error that is about to become one line."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _shown(uri: str) -> str:
    """The address without its password."""
    try:
        return sa.make_url(uri).render_as_string(hide_password=True)
    except sa.exc.ArgumentError:  # not a URL with a scheme, such as a path or "databricks"
        return uri
