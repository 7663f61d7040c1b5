"""Store: an MLflow tracking store and an experiment in it, opened before anything is computed."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from mlflow.entities import Experiment, LifecycleStage, Run
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import get_local_path_or_none
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from adamx.inputs.errors import InputError
from adamx.record import sql, writer
from adamx.record.children import Child

PATIENCE = 5  # seconds for a tracking server's first answer
RETRIES = "5"  # of a request while runs are written: a minute


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
            runs = f"#/experiments/{self.experiment.experiment_id}/runs?workflowType=machine_learning"
            return f"{self.uri.rstrip('/')}/{runs}"
        here = Path(sa.make_url(self.uri).database or "").resolve() == Path("mlflow.db").resolve()
        return "mlflow ui" if here else f"mlflow ui --backend-store-uri {shlex.quote(sql.shown(self.uri))}"

    def write(
        self,
        children: Iterable[Child],
        ids: Sequence[str],
        start: int,
        end: int,
        progress: writer.Progress | None = None,
    ) -> list[str]:
        """Write finished runs, all or (directly) none; returns their ids, in order.

        Args:
            children: taken a chunk at a time. ids: one for each, ascending; MLflow's own where the store is not
            written directly. progress: called with (written, total).
            start, end: of every run, in milliseconds since 1970; `end` stamps the metrics too.
        """
        end = max(start, end)  # a clock may be set back
        if self.direct:
            way = writer.direct(self.backend, self.experiment, ids, start, end)
        else:  # one SQL store takes one writer
            workers = 1 if isinstance(self.backend, SqlAlchemyStore) else writer.REQUESTS
            way = writer.client(self.client, self.experiment, workers, start, end)
        with self.explained(), way as write:
            return writer.write(write, children, len(ids), progress)

    def remove_children(self, run_id: str) -> None:
        """Take back the children of a parent run: gone from a store that is written directly, else marked deleted."""
        with self.explained():
            if self.direct:
                writer.remove(self.backend, run_id)
            else:
                mine = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'"
                while found := self.client.search_runs([self.experiment.experiment_id], mine):
                    for run in found:
                        self.client.delete_run(run.info.run_id)

    def analyze(self) -> None:
        """Prepare a SQL store for quick queries, after writing."""
        if isinstance(self.backend, SqlAlchemyStore):
            with self.explained():
                writer.analyze(self.backend.engine)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what a lost, locked or full store raises within into an InputError; a server is given `RETRIES`."""
        name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
        try:
            with writer.environment(**{name: os.environ.get(name, RETRIES)}), _quiet():
                yield
        except (InputError, BrokenPipeError):  # a closed terminal is none of the store's errors
            raise
        except (MlflowException, sa.exc.SQLAlchemyError, OSError) as error:
            raise _explain(f"MLflow store {sql.shown(self.uri)!r} was lost", error) from error


def address() -> str:
    """Where runs are recorded: MLFLOW_TRACKING_URI, else mlflow.db in the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"


def open(uri: str | None = None, experiment: str | None = None) -> Store:
    """Open a store and its experiment, both created where they do not exist yet.

    Args:
        uri: default MLFLOW_TRACKING_URI, else mlflow.db in the working directory with artifacts in ./mlruns, which
            is where a bare `mlflow ui` looks.
        experiment: default MLFLOW_EXPERIMENT_NAME, else "adamx".
    Raises:
        InputError: unreachable, not writable, of another MLflow, an experiment that is deleted or whose artifacts
            are out of reach: within seconds, unless another sweep is writing (`sql.WAIT`).
    """
    uri = uri or address()
    name = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "adamx"
    quick = writer.environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT=str(PATIENCE))
    try:
        with quick, _quiet(), _ready(uri):
            client = MlflowClient(uri)
            backend = client._tracking_client.store
            found = _experiment(client, name)
            _check_artifacts(found)
            direct = writer.known(backend)
            if isinstance(backend, SqlAlchemyStore):
                _check_writable(backend.engine)
    except InputError:
        raise
    except Exception as error:  # drivers, plugins, alembic and servers raise what they like
        raise _explain(f"MLflow store {sql.shown(uri)!r} cannot be used", error) from error
    return Store(uri, client, found, backend, direct)


def is_sweep(run: Run) -> bool:
    """Whether a run is the parent run of a sweep; it may be nested itself."""
    return "command" in run.data.tags


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


def _check_artifacts(experiment: Experiment) -> None:
    """Raise InputError for artifacts in a folder that is another machine's, or gone, or not to be written."""
    local = get_local_path_or_none(experiment.artifact_location)
    if local is None:
        return
    folder = Path(local)
    # what is not there yet is made, but not the folder that mlruns/1 was to lie in
    there = next((f for f in (folder, *folder.parents[:2]) if f.is_dir()), None)
    if there and os.access(there, os.W_OK):
        return
    what = "cannot be written" if there else "does not exist"
    raise InputError(
        f"MLflow experiment {experiment.name!r} keeps its artifacts in {local!r}, which {what} here: it may be another "
        "machine's; mount it here, or set MLFLOW_EXPERIMENT_NAME to a new name"
    )


def _check_writable(engine: sa.Engine) -> None:
    """A statement that changes nothing and yet needs the right to write."""
    runs = sa.table("runs", sa.column("name"))
    with engine.begin() as connection:
        connection.execute(sa.update(runs).where(sa.false()).values(name=""))


def _ready(uri: str) -> AbstractContextManager[None]:
    scheme = uri.partition(":")[0].partition("+")[0]
    return sql.ready(uri) if scheme in DATABASE_ENGINES else nullcontext()


def _explain(what: str, error: Exception) -> InputError:
    """The first line of an error, wherever it comes from."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    return InputError(f"{what}: {lines[0][:400]}")


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
