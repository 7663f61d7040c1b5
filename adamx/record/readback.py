"""Readback: what `adamx.record.parent` wrote, read back through MLflow's public client: Results as they were, and the
launches that compute them again."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from adamx import optimizers, problems
from adamx.engine.launch import Launch
from adamx.engine.results import Results
from adamx.inputs.errors import InputError
from adamx.inputs.files import known
from adamx.record import codec, store
from adamx.record.address import address, database
from adamx.record.link import link
from adamx.record.store import PARENTS, Store, is_sweep
from adamx.regimes import Figures, Marks

TRUST = "let the Python files that the record carries run, though nobody has run them here: read them first"
ADDRESS = (
    "a sweep's run id or `last`, the one begun last, for all its runs; SWEEP:ROW (such as last:12) for a row of its "
    "table; or a child's run id"
)


@dataclass(frozen=True)
class Recorded:
    """One run, or all runs of a sweep, as recorded. Reading executes nothing; `launches` loads the user's files.

    Attributes:
        parent: the sweep's MLflow run. run: the MLflow run that was asked for: a child, or the parent itself.
        rows: (runs,) rows of the parent's table. digests: (runs,) of their curves.
        results: the parts of the sweep that these runs are of, in order; a final point `x` is not recorded.
    """

    store: Store
    parent: Run
    run: Run
    rows: np.ndarray
    digests: list[str]
    results: list[Results]

    def launches(self, trust: bool = False) -> list[Launch]:
        """Launches that compute the results again, to the bit on the same machine with the same versions.

        Args:
            trust: whether files that the record carries may run, though nobody has run them here.
        Raises:
            InputError: an optimizer or problem that is neither shipped nor a file that the record has, or a file that
                is not trusted.
        """
        return [self._launch(r, trust) for r in self.results]

    def _launch(self, r: Results, trust: bool) -> Launch:
        dtype, *kept = r.dtype.split()  # the name of a precision, as Chunk.precision makes it
        regimes = {name: value for name, value in r.criteria._asdict().items() if name != "target"}
        settings = dict(r.settings)
        return Launch(
            rule=optimizers.rule(self._source("optimizer", r, optimizers.optimizers(), trust)),
            problem=problems.problem(self._source("problem", r, problems.problems(), trust), settings, regimes),
            problem_args=settings,
            hyper={name: values for name, values in r.columns.items() if name != "seed"},
            seeds=r.columns["seed"],
            steps=int(r.steps[-1]),
            record_every=int(r.steps[1]),
            dtype=dtype,
            backend="auto" if r.backend == "cuda" else r.backend,  # the CPU if there is no GPU
            schedule=r.schedule,
            storage={key: value for key, _, value in (pair.partition("=") for pair in kept)},
            instruments=(),  # instruments do not change a run
            config={},
        )

    def _source(self, kind: str, r: Results, shipped: tuple[str, ...], trust: bool) -> str:
        """A shipped name as it stands; else the user's file as it was when the sweep ran."""
        name = getattr(r, kind)
        if name in shipped and r.digests and kind not in r.files:
            return name
        kept = r.files.get(kind, f"{kind}/{Path(name).stem}.py")  # in records before 0.2, which have no digests
        try:
            file = local(self.store, self.parent.info.run_id, kept)
        except InputError:
            if name in shipped and not r.digests:
                return name
            raise InputError(f"{kind} {name!r} is not one of adamx, and its file is not in the record") from None
        if not trust and not known(Path(file).read_bytes()):
            raise InputError(
                f"the record has a Python file of its own, {kept}, which was never run here: it is code that would "
                f"run; read it ({file}) and say --trust"
            )
        return file


def open() -> Store:
    """The store that MLFLOW_TRACKING_URI names, else ./mlflow.db, to be read: nothing is created or written.

    Raises:
        InputError: there is none, or it cannot be used.
    """
    uri = address()
    if (file := database(uri)) and not file.exists():
        raise InputError(f"no MLflow store {uri}: go to the folder of the sweep, or set MLFLOW_TRACKING_URI")
    return store.open(uri, write=False)


def last(store: Store) -> str:
    """The id of the sweep of the store's experiment that began last.

    Raises:
        InputError: there is none.
    """
    found = store.client.search_runs(
        [store.experiment.experiment_id],
        PARENTS,
        max_results=1,
        order_by=["attributes.start_time DESC"],
    )
    if not found:
        raise InputError(f"no sweep is recorded in {store.view} yet")
    return found[0].info.run_id


def artifact(typed: str, name: str, store: Store | None = None) -> str:
    """Where a browser can open a file of the sweep at an address.

    Raises:
        InputError: no such sweep, or it has no such file.
    """
    store = store or open()
    _, parent = _named(store, typed.partition(":")[0])
    found = link(store, parent, name)
    if found is None:
        again = f"python -m adamx.report {parent.info.run_id}"
        raise InputError(f"sweep {parent.info.run_id} has no {name} that a browser can open: {again} draws it")
    return found


def results(run_id: str, store: Store | None = None) -> list[Results]:
    """The results of a recorded sweep, from its parent's artifacts: tables, curves and regimes to the bit."""
    return read(run_id, store).results


def read(typed: str, store: Store | None = None) -> Recorded:
    """The recorded run, or all runs of the recorded sweep, at what was typed (see `ADDRESS`).

    Raises:
        InputError: no such run, or one that was not recorded to its end by adamx.
    """
    store = store or open()
    named, _, row = typed.partition(":")
    run, parent = _named(store, named)
    run_id, parent_id = run.info.run_id, parent.info.run_id
    table = pq.read_table(local(store, parent_id, "table.parquet"))
    try:
        launches = json.loads(table.schema.metadata[codec.KEY])
    except KeyError:
        raise InputError(f"run {parent_id} was recorded by a version of adamx whose runs cannot be read back") from None
    rows = np.arange(len(table))
    if row:
        if not row.isdecimal() or int(row) >= len(table):
            raise InputError(f"row {row!r} of run {run_id}: a row from 0 to {len(table) - 1} is needed")
        rows = rows[int(row) :][:1]
    elif parent is not run:
        rows = np.flatnonzero(table["run_id"].to_numpy(zero_copy_only=False) == run_id)
        if not len(rows):
            raise InputError(f"run {run_id} is not in the table of its sweep {parent_id}")
    some = [("run", "==", rows[0])] if len(rows) == 1 else None
    curves = pq.read_table(local(store, parent_id, "curves.parquet"), filters=some)
    parts = list(_parts(launches, table.take(rows).to_pandas(), curves))
    return Recorded(store, parent, run, rows, table["curve_digest"].take(rows).to_pylist(), parts)


def _parts(launches: list[dict[str, Any]], table: pd.DataFrame, curves: pa.Table) -> Iterator[Results]:
    """The Results of every launch that has rows in the table; their curves stand in the same order."""
    ends = np.cumsum([launch["runs"] for launch in launches])
    of, at = np.searchsorted(ends, table["run"], side="right"), 0
    for i, launch in enumerate(launches):
        own = table[of == i]
        if own.empty:
            continue
        runs, records = len(own), launch["records"]
        mine, at = curves.slice(at, runs * records), at + runs * records

        def curve(name: str, mine: pa.Table = mine, launch: dict[str, Any] = launch, runs: int = runs) -> np.ndarray:
            return mine[name].to_numpy().reshape(runs, -1).T.astype(launch["dtype"])

        yield codec.again(
            launch["same"],
            steps=mine["step"].to_numpy()[:records],
            loss=curve("loss"),
            x=np.empty((runs, 0)),
            columns={k: own[k].to_numpy(np.int64 if k == "seed" else np.float64) for k in launch["columns"]},
            figures=_figures(own, launch["figures"]),
            curves={name: curve(name) for name in launch["curves"]},
        )


def _figures(table: pd.DataFrame, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The recorded figures; also the regime, if a version with other figures recorded it."""
    found = {name: _figure(table, name) for name in names}
    if set(Figures._fields + Marks._fields) - set(found):
        found["regime"] = table["regime"].to_numpy(str)
    return found


def _figure(table: pd.DataFrame, name: str) -> np.ndarray:
    """A figure as the kernel kept it; a step that never came is -1."""
    column = table[f"figure.{name}" if f"figure.{name}" in table else name]
    return column.to_numpy(np.float64) if name in Figures._fields else column.fillna(-1).to_numpy(np.int64)


def _named(store: Store, name: str) -> tuple[Run, Run]:
    """The run of that id, or "last" sweep's, and the parent run of its sweep."""
    run = _run(store, last(store) if name == "last" else name)
    above = None if is_sweep(run) else run.data.tags.get(MLFLOW_PARENT_RUN_ID)
    return run, _run(store, above) if above else run


def _run(store: Store, run_id: str) -> Run:
    try:
        return store.client.get_run(run_id)
    except MlflowException:
        raise InputError(f"no run {run_id!r} in this MLflow store; what is needed is {ADDRESS}") from None


@cache
def _folder(run_id: str) -> str:
    """The folder for copies of a run's artifacts, until this process ends."""
    folder = tempfile.mkdtemp(prefix="adamx-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def local(store: Store, run_id: str, name: str) -> str:
    """The local path of an artifact.

    Raises:
        InputError: there is none.
    """
    try:
        return store.artifact(run_id, name, _folder(run_id))
    except (MlflowException, OSError):
        raise InputError(f"run {run_id} has no {name}: it is not a sweep of adamx, or was stopped too early") from None
