"""Recorded: a watched training as it stands in MLflow, read back: its verdict, its page, its state before the spike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from adamx.inputs.errors import InputError, printable
from adamx.record import readback
from adamx.record.link import link
from adamx.record.store import Store, is_sweep
from adamx.watch.recording import PAGE, PICTURE, SAID, TABLE

AFTER = 100  # steps behind the spike that a rescue needs, to see whether it stays away


@dataclass(frozen=True)
class Watched:
    """A watched training in a store."""

    store: Store
    run: Run

    @property
    def run_id(self) -> str:
        return self.run.info.run_id

    @property
    def title(self) -> str:
        """Its name, and the steps that were seen."""
        tags = self.run.data.tags
        steps = f", steps {tags['watch.first']} to {tags['watch.last']}" if "watch.last" in tags else ""
        return f"{self.run.info.run_name or self.run_id} (watched{steps})"

    @property
    def verdict(self) -> str:
        """The verdict as the watch said it.

        Raises:
            InputError: the training still runs, or ended without a word.
        """
        self._closed()
        return self._text(SAID)

    def _closed(self) -> None:
        if self.run.data.tags["watch"] != "closed":
            raise InputError(
                f"run {self.run_id} was watched, and has no verdict{self._seen()}: the training still runs, or was "
                "killed before the watch was closed; its curves are the metrics watch/…"
            )

    def _seen(self) -> str:
        history = self.store.client.get_metric_history(self.run_id, "watch/grad_norm")
        return f" (curves up to step {max(m.step for m in history)})" if history else ""

    @property
    def page(self) -> str:
        """Where a browser can open its report.

        Raises:
            InputError: there is none yet, or no browser gets there.
        """
        self._closed()
        found = link(self.store, self.run, PAGE)
        if found is None:
            raise InputError(f"run {self.run_id} has no {PAGE} that a browser can open: see its artifacts in MLflow")
        return found

    @property
    def rescued(self) -> str | None:
        """The table of a rescue that was recorded with it, and where its picture is; None where none was."""
        try:
            table = self._text(TABLE)
        except InputError:
            return None
        picture = link(self.store, self.run, PICTURE)
        return f"{table}\npicture: {picture}" if picture else table

    @property
    def kept(self) -> bool:
        """True if the state from before the spike is in the record: the artifact `CHECKPOINT`."""
        return "watch.checkpoint" in self.run.data.tags

    @property
    def at(self) -> tuple[int, int]:
        """(step of the checkpoint, the step at which the loss goes wrong after it)."""
        return int(self.run.data.tags["watch.checkpoint"]), int(self.run.data.tags["watch.onset"])

    @property
    def steps(self) -> int:
        """How many steps a rescue needs."""
        saved, onset = self.at
        return onset - saved + AFTER

    def file(self, name: str) -> Path:
        """An artifact on this machine.

        Raises:
            InputError: there is none.
        """
        try:
            return Path(readback.local(self.store, self.run_id, name))
        except InputError:
            raise InputError(f"run {self.run_id} has no {name}: its artifacts are gone, or out of reach here") from None

    def _text(self, name: str) -> str:
        return "\n".join(map(printable, self.file(name).read_text(encoding="utf-8").splitlines()))


def find(typed: str, store: Store | None = None) -> Watched | None:
    """The watched training of a run's id, or of "last" if no sweep was begun after it; None of a sweep and its runs.

    Raises:
        InputError: there is no such store, or the run is of something else.
    """
    store = store or readback.open()
    if typed == "last":
        last = _last(store)
        return Watched(store, last) if last else None
    try:
        run = store.client.get_run(typed)
    except MlflowException:
        return None
    if "watch" in run.data.tags:
        return Watched(store, run)
    if not is_sweep(run) and MLFLOW_PARENT_RUN_ID not in run.data.tags:
        raise InputError(f"run {typed} was recorded neither by a sweep of adamx nor by adamx.watch(..., mlflow=True)")
    return None


def _last(store: Store) -> Run | None:
    """The watched run of the store that began last, if no sweep began after it."""
    some = [e.experiment_id for e in store.client.search_experiments(view_type=ViewType.ACTIVE_ONLY)]
    order = ["attributes.start_time DESC"]
    found = store.client.search_runs(some, "tags.watch LIKE '%'", max_results=1, order_by=order)
    if not found:
        return None
    try:
        sweep = store.client.get_run(readback.last(store))
    except InputError:
        return found[0]
    return found[0] if found[0].info.start_time > sweep.info.start_time else None
