"""Record: a sweep in MLflow. A parent run is the sweep, its children are the runs (see `adamx.record.children`).

The parent has the resolved configuration, the command, the environment, counts per regime and the best run; and as
artifacts config.yaml, the user's own files that it names, the figures, and every run whether it has a child or not, in
table.parquet and curves.parquet (see `adamx.record.tables`).
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow.tracking.context.registry as context
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from mlflow.entities import DatasetInput, LifecycleStage, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from adamx.engine.results import Results
from adamx.engine.settings import best_runs
from adamx.inputs.errors import InputError, first_line
from adamx.inputs.nested import leaves
from adamx.record import description, interrupt, page, tables
from adamx.record.address import hidden, shown
from adamx.record.children import MODES, Selection, children, cut, select, text
from adamx.record.provenance import versions
from adamx.record.store import PARENTS, NoRunError, Store, open
from adamx.record.writer import Progress, environment
from adamx.regimes import REGIMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MODES", "NoRunError", "Selection", "Store", "Sweep", "open", "resume", "select", "start"]

LONGEST_TAG = 8000
PROCESS = "process"  # the tag of a parent that says who writes it


def start(
    store: Store,
    name: str,
    config: Mapping[str, Any],
    overrides: Sequence[str],
    sources: Mapping[str, bytes] | None = None,
    module: str = "adamx.sweep",
    about: str = "",
    data: str = "",
    inputs: Sequence[DatasetInput] = (),
) -> Sweep:
    """Begin the parent run of a sweep.

    Args:
        name: such as "adam on digits_mlp". config: resolved and nested, of plain containers. overrides: as typed.
        sources: the user's files, by the artifact's path, such as problem/1c2f9a7be0d4c3aa/mine.py.
        module: what was called with them. about: the first words of the description, Markdown.
        data: what was read of the user's own data, for a tag. inputs: the data sets, as of `record.data`.
    """
    command = shlex.join(["python", "-m", module, *overrides])
    note = description.begun(name, command, about)
    common, now = context.resolve_tags(), _now()
    tags = {
        **common,
        description.NOTE: note,
        "overrides": " ".join(overrides),
        "command": command,
        PROCESS: _process(),
        **versions(),
        **({"data": data} if data else {}),
        **({MLFLOW_PARENT_RUN_ID: store.within} if store.within else {}),
    }
    with store.explained():
        client = store.client
        if description.NOTE not in store.experiment.tags:
            store.tag(description.NOTE, description.ABOUT)
        run = client.create_run(
            store.experiment.experiment_id, now, {k: v[:LONGEST_TAG] for k, v in tags.items()}, cut(name)
        )
        run_id = run.info.run_id
        sweep = Sweep(store, run_id, now, {**common, MLFLOW_PARENT_RUN_ID: run_id}, note)
        try:
            if inputs:
                store.data(run_id, inputs)
            client.log_batch(run_id, params=[Param(k, text(v)) for k, v in leaves(config)])
            sweep._artifact("config.yaml", yaml.safe_dump(dict(config), sort_keys=False).encode())
            for path, source in (sources or {}).items():
                sweep._artifact(path, source)
        except BaseException:
            with suppress(Exception):
                sweep.finish("FAILED")  # nobody will
            raise
    return sweep


def points(store: Store) -> set[str]:
    """The identities of all runs that sweeps have recorded in the store's experiment, with a child or without."""
    found: set[str] = set()
    sweeps = store.client.search_runs([store.experiment.experiment_id], PARENTS)
    for run in sweeps:
        with tempfile.TemporaryDirectory() as folder, suppress(MlflowException, OSError, KeyError):
            table = store.artifact(run.info.run_id, "table.parquet", folder)
            found.update(pq.read_table(table, columns=["point"])["point"].to_pylist())
    return found


def mark_killed(store: Store) -> None:
    """Mark as KILLED the sweeps of this machine that are still RUNNING although their process is gone."""
    alone = f"attributes.status = 'RUNNING' and tags.{PROCESS} LIKE '{platform.node()} %'"
    for run in store.client.search_runs([store.experiment.experiment_id], alone):
        if not _is_running(int(run.data.tags[PROCESS].split()[-1])):
            store.client.set_terminated(run.info.run_id, "KILLED")


def _process() -> str:
    """This machine and process, as `mark_killed` finds them."""
    return f"{platform.node()} {os.getpid()}"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def check(store: Store, run_id: str) -> Run:
    """The parent run of a sweep that may be resumed.

    Raises:
        InputError: the run is not in the store, or was deleted.
    """
    try:
        run = store.client.get_run(run_id)
    except MlflowException as error:
        raise InputError(f"sweep {run_id} cannot be resumed: {error.message}") from None
    if run.info.lifecycle_stage != LifecycleStage.ACTIVE:
        raise InputError(f"sweep {run_id} was deleted in MLflow: `mlflow runs restore --run-id {run_id}` restores it")
    return run


def resume(store: Store, run_id: str) -> Sweep:
    """Take up the parent run of a sweep that was interrupted; what was written of its children and of its best run is
    taken back.

    Raises:
        InputError: the run is not in the store, or was deleted.
    """
    run = check(store, run_id)
    with store.explained():
        store.client.update_run(run_id, "RUNNING")
        store.client.set_tag(run_id, PROCESS, _process())
        for tag in run.data.tags:
            if tag.partition(".")[0] in ("best", "best_run_id", "children"):
                store.client.delete_tag(run_id, tag)
        store.remove_children(run_id)
    common = {**context.resolve_tags(), MLFLOW_PARENT_RUN_ID: run_id}
    note = description.begun(run.info.run_name, run.data.tags["command"])
    return Sweep(store, run_id, run.info.start_time, common, note, dict(run.data.metrics))


@dataclass(frozen=True)
class Sweep:
    """The parent run of a sweep, RUNNING until `finish`."""

    store: Store
    run_id: str
    started: int  # milliseconds since 1970
    tags: dict[str, str] = field(repr=False)  # of every child
    note: str = field(repr=False)
    logged: dict[str, float] = field(default_factory=dict, repr=False)  # metrics of the parent

    def write(
        self,
        results: Sequence[Results],
        swept: Sequence[str],
        mode: str = "auto",
        limit: int | None = None,
        progress: Progress | None = None,
        whole: bool = True,
        found: Sequence[str] = (),
    ) -> str:
        """Write all runs of the sweep: the children, then the table, the curves and the parent's summary.

        Ctrl-C loses children, never the table and the curves; the second one leaves at once.

        Args:
            results: one for each optimizer, problem and dtype. swept: the names that differ between runs; they make
                the children's names. mode, limit: see `select`. progress: called with (written, total) children.
            whole: whether these are all that the sweep will have; the parent has its metrics then, and not before.
            found: sentences about the results, for the description.
        Returns:
            A sentence that says which runs are children.
        """
        with interrupt.held():
            return self._write(results, swept, select(results, mode, limit), progress, whole, found)

    def _write(
        self,
        results: Sequence[Results],
        swept: Sequence[str],
        chosen: Selection,
        progress: Progress | None,
        whole: bool,
        found: Sequence[str],
    ) -> str:
        keep, sentence = chosen
        kept = [r if len(runs) == len(r) else r.take(runs) for r, runs in zip(results, keep, strict=True)]
        total, done, first, end = sum(map(len, keep)), 0, 0, _now()
        run_ids = [np.full(len(r), None, dtype=object) for r in results]
        try:
            for r, runs, ids in zip(kept, keep, run_ids, strict=True):
                rows = children(r, swept, self.tags)
                report = partial(_offset, progress, done, total) if progress else None
                ids[runs] = self.store.write(rows, self._ids(first + runs), self.started, end, report)
                done, first = done + len(runs), first + len(ids)
            self.store.analyze()
        except KeyboardInterrupt:
            sentence = f"interrupted: {done:,} of {total:,} chosen runs are children"
            self._summary(results, run_ids, swept, found, sentence, False)
            raise
        with self.store.explained():
            link = self._view([r for r in kept if len(r)], swept)
            self._summary(results, run_ids, swept, found, sentence, whole, link)
        return sentence

    def begun(self) -> tuple[dict[str, str], int]:
        """The parent run's tags, and when it was started, in milliseconds since 1970."""
        with self.store.explained():
            run = self.store.client.get_run(self.run_id)
        return dict(run.data.tags), run.info.start_time

    def finish(
        self,
        status: str = "FINISHED",
        figures: Iterable[tuple[str, Path | bytes | Figure]] = (),
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """End the parent run.

        Args:
            status: FINISHED, KILLED or FAILED. figures: (file name, a file, its bytes or a matplotlib Figure), kept as
                artifacts. metrics: such as throughput.
        """
        with self.store.explained():
            for name, figure in figures:
                if isinstance(figure, bytes):
                    self._artifact(name, figure)
                elif isinstance(figure, Path):
                    self._artifact(name, figure.read_bytes())
                else:
                    self.store.client.log_figure(self.run_id, figure, name)
            self._log(metrics or {}, tags)
            with environment(MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true"):
                self.store.client.set_terminated(self.run_id, status, max(self.started, _now()))

    def _ids(self, rows: np.ndarray) -> list[str]:
        """The run ids of the children in some rows of the table, ascending: the same whenever they are written."""
        sweep = hashlib.blake2b(self.run_id.encode(), digest_size=10).hexdigest()
        return [f"{sweep}{row:012x}" for row in rows]

    def _view(self, results: Sequence[Results], swept: Sequence[str]) -> str:
        """A link to a page of MLflow that compares the children; empty for fewer than two."""
        if sum(map(len, results)) < 2:
            return ""
        experiment, tags = self.store.experiment.experiment_id, page.tags(self.run_id, results, swept, _now())
        for name, value in tags.items():
            self.store.tag(name, value)
        if page.TAG + self.run_id not in tags:
            return ""
        return f"[Compare its runs]({page.address(experiment, self.run_id)}) in charts. "

    def _summary(
        self,
        results: Sequence[Results],
        run_ids: Sequence[np.ndarray],
        swept: Sequence[str],
        found: Sequence[str],
        sentence: str,
        whole: bool,
        link: str = "",
    ) -> None:
        """Write the tables, the counts and the best runs; the description begins with the answer."""
        settings, figures = tables.halves(results, run_ids)
        self._artifact("table.parquet", tables.table(settings, figures, results))
        self._artifact("curves.parquet", tables.curves(results))

        table = pd.concat([settings, figures], axis=1)
        metrics: dict[str, float] = {"runs": len(table)}
        metrics |= {f"runs_{name}": int((table["regime"] == name).sum()) for name in REGIMES}
        tags, best_of = {"children": sentence}, []
        starts = np.cumsum([0, *map(len, results)])
        for task, (which, run) in best_runs(results).items():
            name, best = results[which].problem, int(starts[which]) + run
            several = len({r.task for r in results if r.problem == name}) > 1
            of = "." + re.sub(r"[^\w. -]", "", task if several else name)  # as MLflow allows
            of = of if len({r.task for r in results}) > 1 else ""
            metrics[f"best_final_loss{of}"] = loss = float(table["final_loss"][best])
            own = settings.loc[best].drop(["run", "run_id"]).dropna()
            named = ", ".join(f"{k}={text(own[k])}" for k in swept if k in own) or own["optimizer"]
            own_id = settings["run_id"][best]
            if pd.notna(own_id):  # opened on its loss
                address = page.of_run(self.store.experiment.experiment_id, own_id, results[which], swept)
                named = f"[{named}]({address})"
            best_of.append(f"Best{of.replace('.', ' on ', 1)}: {named}, final loss {loss:.4g}.")
            tags[f"best{of}"] = " ".join(f"{k}={text(v)}" for k, v in own.items())
            if pd.notna(own_id):
                tags[f"best_run_id{of}"] = own_id
        counts = ", ".join(f"{metrics[f'runs_{name}']:,} {name}" for name in REGIMES if metrics[f"runs_{name}"])
        counted = f"{len(table):,} runs: {counts}."
        self._log(
            metrics if whole else {},
            {**tags, description.NOTE: description.done(best_of, counted, found, link + self.note, tags)},
        )

    def _log(self, metrics: Mapping[str, float], tags: Mapping[str, str] | None = None) -> None:
        new = {k: float(v) for k, v in metrics.items() if np.isfinite(v) and self.logged.get(k) != v}
        finite = [Metric(k, v, _now(), 0) for k, v in new.items()]
        self.logged.update(new)
        self.store.client.log_batch(
            self.run_id, finite, tags=[RunTag(k, v[:LONGEST_TAG]) for k, v in (tags or {}).items()]
        )

    def _artifact(self, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, Path(name).name)
            path.write_bytes(content)
            try:
                self.store.client.log_artifact(self.run_id, str(path), str(Path(name).parent) if "/" in name else None)
            except (MlflowException, OSError):
                raise
            except Exception as error:  # a client of artifacts raises what it likes
                where = self.store.experiment.artifact_location
                raise InputError(
                    f"artifacts cannot be written to {shown(where)!r}: {hidden(first_line(error), where)}"
                ) from error


def _offset(progress: Progress, before: int, total: int, written: int, _: int) -> None:
    progress(before + written, total)


def _now() -> int:
    return int(time.time() * 1000)
