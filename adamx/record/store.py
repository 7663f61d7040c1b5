"""Store: an MLflow tracking store and an experiment in it, opened before anything is computed."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import mlflow
import sqlalchemy as sa
from mlflow.entities import DatasetInput, Experiment, LifecycleStage, Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient, fluent
from mlflow.utils.file_utils import get_local_path_or_none
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from adamx.inputs.errors import InputError, first_line
from adamx.record import sql, writer
from adamx.record.address import address, database, hidden, shown
from adamx.record.children import Child

PATIENCE = 5  # seconds for a tracking server's first answer
DEFAULT = "adamx"  # the experiment
CLIENTS = {  # of artifacts, which MLflow imports when it writes the first one: the module, and what brings it
    **dict.fromkeys(("s3", "r2", "b2"), ("boto3", "boto3")),
    "gs": ("google.cloud.storage", "google-cloud-storage"),
    "wasbs": ("azure.storage.blob", "azure-storage-blob azure-identity"),
    "abfss": ("azure.storage.filedatalake", "azure-storage-file-datalake azure-identity"),
    "sftp": ("pysftp", "pysftp"),
}
PARENTS = "tags.command LIKE '%'"  # what only sweeps have
LOCAL = "http://127.0.0.1:5000"  # where `mlflow ui` serves
RETRIES = "5"  # of a request while runs are written: a minute


class NoRunError(InputError):
    """A run that is not in the store."""


@dataclass(frozen=True)
class Store:
    """An open store and the experiment that runs go to."""

    uri: str
    client: MlflowClient
    experiment: Experiment
    backend: Any  # MLflow's tracking store behind the client
    direct: bool  # True if runs may be written without the client
    within: str | None = None  # the run below which sweeps are nested

    @property
    def view(self) -> str:
        """How to look at the runs: a command, or the address of the tracking server."""
        if not isinstance(self.backend, SqlAlchemyStore):
            return f"{shown(self.uri).rstrip('/')}/{self._runs}"
        file = database(self.uri)
        here = file and file.resolve() == Path("mlflow.db").resolve()
        return "mlflow ui" if here else f"mlflow ui --backend-store-uri {shlex.quote(shown(self.uri))}"

    @property
    def sweeps(self) -> str:
        """How to look at all sweeps, and at them alone: a command, if it needs one, and the address."""
        here = f"{self.view}, {LOCAL}/{self._runs}" if isinstance(self.backend, SqlAlchemyStore) else self.view
        return f"{here}&searchFilter={quote(PARENTS)}"

    @property
    def _runs(self) -> str:
        """The page of the experiment's runs, within the UI."""
        return f"#/experiments/{self.experiment.experiment_id}/runs?workflowType=machine_learning"

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

    def tag(self, name: str, value: str) -> None:
        """Tag the experiment."""
        _shared(lambda: self.client.set_experiment_tag(self.experiment.experiment_id, name, value))

    def data(self, run_id: str, inputs: Sequence[DatasetInput]) -> None:
        """Make data sets the inputs of a run."""
        _shared(lambda: self.client.log_inputs(run_id, list(inputs)))

    def artifact(self, run_id: str, name: str, folder: str) -> str:
        """Bring an artifact into a folder; its path there."""
        with _no_bars():
            return self.client.download_artifacts(run_id, name, folder)

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
            with writer.environment(**{name: os.environ.get(name, RETRIES)}), _no_bars(), _quiet():
                yield
        except (InputError, BrokenPipeError):  # a closed terminal is none of the store's errors
            raise
        except (MlflowException, sa.exc.SQLAlchemyError, OSError) as error:
            raise _explain("was lost", self.uri, error) from error


def open(uri: str | None = None, experiment: str | None = None, run_id: str | None = None, write: bool = True) -> Store:
    """Open a store and its experiment, both created where they do not exist yet.

    Args:
        uri: default MLFLOW_TRACKING_URI, else mlflow.db in the working directory with artifacts in ./mlruns, which
            is where a bare `mlflow ui` looks.
        experiment: its name. Default: the one of the active run, of `mlflow.set_experiment`, of
            MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID, else "adamx".
        run_id: a run whose experiment it is, instead.
        write: whether anything will be written. If not, nothing is created either, and MLflow's Default stands for an
            experiment that does not exist.
    Raises:
        InputError: unreachable, not writable, of another MLflow, an experiment that is deleted or whose artifacts
            are out of reach: within seconds, unless another sweep is writing (`sql.WAIT`).
    """
    within = _within() if uri is None and not (experiment or run_id) and write else None
    uri = uri or address()
    quick = writer.environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT=str(PATIENCE))
    try:
        with quick, _quiet(), _ready(uri, write):
            client = MlflowClient(uri)
            backend = client._tracking_client.store
            found = _chosen(client, experiment, run_id or within, write)
            direct = write and writer.known(backend)
            if write:
                _check_artifacts(found)
                if isinstance(backend, SqlAlchemyStore):
                    _check_writable(backend.engine)
    except InputError:
        raise
    except Exception as error:  # drivers, plugins, alembic and servers raise what they like
        raise _explain("cannot be used", uri, error) from error
    return Store(uri, client, found, backend, direct, within)


def is_sweep(run: Run) -> bool:
    """True if a run is the parent run of a sweep; it may be nested itself."""
    return "command" in run.data.tags


def _within() -> str | None:
    """The run below which sweeps are nested: the active one, or MLFLOW_RUN_ID, which `mlflow run` sets."""
    active = mlflow.active_run()
    return active.info.run_id if active else os.environ.get("MLFLOW_RUN_ID") or None


def _chosen(client: MlflowClient, name: str | None, run_id: str | None, create: bool) -> Experiment:
    """The experiment that runs go to: see `open`."""
    own = os.environ.get("MLFLOW_EXPERIMENT_NAME") or None
    own_id = getattr(fluent, "_active_experiment_id", None)  # of mlflow.set_experiment, which has no other way out
    if own_id:
        own = None
    else:
        own_id = os.environ.get("MLFLOW_EXPERIMENT_ID") or None
    try:
        if name is None and run_id:
            return _active(client.get_experiment(client.get_run(run_id).info.experiment_id))
        named = None if name or own else own_id
        if named:
            return _active(client.get_experiment(named))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        if run_id:
            raise NoRunError(f"run {run_id!r} (MLFLOW_RUN_ID, or active) is not in the MLflow store") from None
        raise InputError(f"MLFLOW_EXPERIMENT_ID {own_id!r} is not in the MLflow store: set another") from None
    if not create:
        return client.get_experiment_by_name(name or own or DEFAULT) or client.get_experiment("0")
    found = _active(_experiment(client, name or own or DEFAULT))
    if name is None and own and own_id not in (None, found.experiment_id):
        raise InputError(
            f"MLFLOW_EXPERIMENT_NAME {own!r} is experiment {found.experiment_id}, and MLFLOW_EXPERIMENT_ID is "
            f"{own_id!r}: unset one of them"
        )
    return found


def _experiment(client: MlflowClient, name: str) -> Experiment:
    """The experiment of a name, created where there is none."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.get_experiment(client.create_experiment(name, _artifacts(client, name)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return _experiment(client, name)  # another process was faster
    return found


def _artifacts(client: MlflowClient, name: str) -> str | None:
    """The place of a new experiment's artifacts: MLflow's own choice, unless that is a path which MLflow would take
    apart at a %, ? or #."""
    root = getattr(client._tracking_client.store, "artifact_root_uri", None)
    if root is None or urlsplit(root).scheme or not set(root) & set("%?#"):
        return None
    return f"{Path(root).as_uri()}/{quote(name, safe='')}"


def _active(found: Experiment) -> Experiment:
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise InputError(
            f"MLflow experiment {found.name!r} is deleted: restore it with `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, or set MLFLOW_EXPERIMENT_NAME to another name"
        )
    return found


def _check_artifacts(experiment: Experiment) -> None:
    """Raise InputError for artifacts in a folder that is another machine's, or gone, or not to be written."""
    local = get_local_path_or_none(experiment.artifact_location)
    if local is None:
        _check_client(experiment)
        return
    folder = Path(local)
    # missing folders mlruns and mlruns/1 are made, but not the folder above them
    there = next((f for f in (folder, *folder.parents[:2]) if f.is_dir()), None)
    if there and os.access(there, os.W_OK):
        return
    what = "cannot be written" if there else "does not exist"
    raise InputError(
        f"MLflow experiment {experiment.name!r} keeps its artifacts in {local!r}, which {what} here: it may be another "
        "machine's; mount it here, or set MLFLOW_EXPERIMENT_NAME to a new name"
    )


def _check_client(experiment: Experiment) -> None:
    """Raise InputError for artifacts at an address that nothing here can write to."""
    uri = experiment.artifact_location
    scheme = urlsplit(uri).scheme
    what = f"MLflow experiment {experiment.name!r} keeps its artifacts in {shown(uri)!r}"
    if scheme not in get_registered_artifact_repositories():
        raise InputError(f"{what}, and this MLflow knows no {scheme}://")
    module, package = CLIENTS.get(scheme, ("mlflow", "mlflow"))
    try:
        there = find_spec(module)
    except ModuleNotFoundError:  # a package that it would be in
        there = None
    if there is None:
        raise InputError(f"{what}, which needs a client: pip install {package}")


def _check_writable(engine: sa.Engine) -> None:
    """A statement that changes nothing and yet needs the right to write."""
    runs = sa.table("runs", sa.column("name"))
    with engine.begin() as connection:
        connection.execute(sa.update(runs).where(sa.false()).values(name=""))


def _ready(uri: str, create: bool) -> AbstractContextManager[None]:
    scheme = uri.partition(":")[0].partition("+")[0]
    return sql.ready(uri, create) if scheme in DATABASE_ENGINES else nullcontext()


def _explain(what: str, uri: str, error: Exception) -> InputError:
    """An error of a store in one line, wherever it comes from."""
    return InputError(f"MLflow store {shown(uri)!r} {what}: {hidden(first_line(error)[:400], uri)}")


def _shared(add: Callable[[], None]) -> None:
    """Add what several sweeps may add to an experiment at once: MLflow looks for it first, so of two that add it one
    fails, and then finds it."""
    try:
        add()
    except MlflowException:  # BAD_REQUEST, from a server too
        add()


def _no_bars() -> AbstractContextManager[None]:
    """MLflow draws bars of progress where tqdm is installed, also into files."""
    return writer.environment(MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")


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
