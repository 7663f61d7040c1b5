"""Journal: the finished chunks of a sweep, kept on disk until all of it is in the record.

A folder a sweep, `mlruns/.adamx/<parent run id>/` beside a SQLite store, else in the working directory:

    sweep.json                    the overrides, and an identity of each launch
    <launch>-<first run>.parquet  a chunk: a row a run, with its curves as lists; written aside, then renamed
    lock                          locked by the process that works on the sweep, as long as it lives

`python -m adamx.sweep resume=last` computes what is missing and writes the record. The folder goes when the sweep is
recorded to its end.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np

from adamx.engine.launch import Launch
from adamx.engine.results import Results
from adamx.inputs.errors import InputError, unknown
from adamx.record.identity import code_of
from adamx.regimes import Criteria

ROWS = ("columns", "figures", "curves")


@dataclass(frozen=True)
class Journal:
    """The journal of one sweep; `begin` or `find` makes it."""

    folder: Path

    @property
    def run_id(self) -> str:
        """Of the parent run in MLflow."""
        return self.folder.name

    @cached_property
    def about(self) -> dict[str, Any]:
        """What `begin` was told: the overrides, the identities of the launches, and their rows in ranges."""
        return json.loads((self.folder / "sweep.json").read_text())

    @cached_property
    def _lock(self) -> IO[str]:
        lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise
        return lock

    def lock(self) -> None:
        """Hold the lock until `release`, or as long as this process lives.

        Raises:
            BlockingIOError: another process holds it.
        """
        self._lock.fileno()  # opening takes it

    @property
    def alive(self) -> bool:
        """Whether a process works on the sweep."""
        try:
            with (self.folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

    @property
    def rows(self) -> list[np.ndarray]:
        """The runs of each launch of the overrides that the sweep computes."""
        ranges = self.about["rows"]
        return [np.concatenate([np.arange(0), *(np.arange(*each) for each in own)]) for own in ranges]

    def take(self, launches: Sequence[Launch]) -> None:
        """Work on the sweep from now on.

        Raises:
            InputError: another process does, or the overrides mean other runs than when the sweep began.
        """
        try:
            self.lock()
        except BlockingIOError:
            raise InputError(f"sweep {self.run_id} is being worked on by another process") from None
        if self.about["launches"] != [identity(launch) for launch in launches]:
            self.release(done=False)
            raise InputError(
                f"sweep {self.run_id} cannot be resumed: {' '.join(self.about['overrides'])} are other runs now than "
                "they were (a file, its data, adamx or its configuration has changed)"
            )

    @property
    def empty(self) -> bool:
        """Whether no chunk was kept."""
        return not any(self.folder.glob("*.parquet"))

    def keep(self, launch: int, first: int, chunk: Results) -> None:
        """Put a finished chunk on the disk: the runs from `first` on of a launch."""
        import pyarrow.parquet as pq

        name = f"{launch:04d}-{first:010d}.parquet"
        with _written(self.folder):
            with (self.folder / f"{name}.part").open("wb") as file:
                pq.write_table(_table(chunk), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            (self.folder / f"{name}.part").rename(self.folder / name)

    def kept(self, launch: int) -> dict[int, Results]:
        """The chunks of a launch that are on the disk, by their first run."""
        paths = sorted(self.folder.glob(f"{launch:04d}-*.parquet"))
        return {int(path.stem.partition("-")[2]): _results(path) for path in paths}

    def release(self, done: bool) -> None:
        """Work on the sweep no more; remove the journal of one that is done with."""
        if done:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def place(uri: str) -> Path:
    """The folder of the journals of sweeps that are recorded at an MLflow tracking URI."""
    file = uri.removeprefix("sqlite:///")
    return (Path(file).parent if file != uri else Path()) / "mlruns" / ".adamx"


def begin(
    uri: str, run_id: str, launches: Sequence[Launch], overrides: Sequence[str], rows: Sequence[np.ndarray]
) -> Journal:
    """Start the journal of a sweep; rows are those runs of each launch of the overrides that it computes."""
    journal = Journal(place(uri) / run_id)
    identities = [identity(launch) for launch in launches]
    about = {"overrides": list(overrides), "launches": identities, "rows": [_ranges(each) for each in rows]}
    part = journal.folder / "sweep.json.part"
    with _written(journal.folder):
        journal.folder.mkdir(parents=True)
        journal.lock()
        part.write_text(json.dumps(about))
        part.rename(journal.folder / "sweep.json")
    return journal


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Say in one line that a folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"the journal {str(folder)!r} cannot be written: {error.strerror or error}") from error


def journals(uri: str) -> list[Journal]:
    """All that are beside a store, the last begun first."""
    found = place(uri).glob("*/sweep.json")
    return [Journal(path.parent) for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def find(uri: str, typed: str) -> Journal:
    """The journal of a parent run's id, or "last", the one begun last that nobody works on.

    Raises:
        InputError: there is none.
    """
    found = [journal for journal in journals(uri) if not journal.alive]
    if not found:
        raise InputError(f"resume={typed}: no sweep was interrupted here ({place(uri)})")
    for journal in found:
        if typed in ("last", journal.run_id):
            return journal
    raise unknown("interrupted sweep", typed, ["last", *(journal.run_id for journal in found)])


def identity(launch: Launch) -> str:
    """32 hex digits of everything that says what a launch computes: its code and data too."""
    same = {**launch.arguments, "optimizer": launch.rule.digest, "problem": launch.problem.digest}
    same |= {"code": code_of(launch.schedule), "problem_args": launch.problem_args, "criteria": launch.problem.criteria}
    columns = same.pop("hyper")
    mark = blake2b(json.dumps(same, sort_keys=True, default=str).encode(), digest_size=16)
    for name in sorted(columns):
        mark.update(name.encode() + np.ascontiguousarray(columns[name]).tobytes())
    return mark.hexdigest()


def _ranges(rows: np.ndarray) -> list[list[int]]:
    """Ascending numbers as [first, after the last] of each stretch."""
    stretches = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return [[int(each[0]), int(each[-1]) + 1] for each in stretches if len(each)]


def missing(kept: Sequence[tuple[int, int]], runs: int) -> Iterator[slice]:
    """The runs of a launch that no chunk of (first, runs) has."""
    at = 0
    for first, count in sorted(kept):
        if min(first, runs) > at:
            yield slice(at, min(first, runs))
        at = max(at, first + count)
    if at < runs:
        yield slice(at, runs)


def part(launch: Launch, runs: slice | np.ndarray) -> Launch:
    """Some runs of a launch."""
    hyper = {name: values[runs] for name, values in launch.hyper.items()}
    return replace(launch, hyper=hyper, seeds=launch.seeds[runs])


def _table(r: Results) -> Any:
    """A chunk as a table; its metadata has what is the same for all runs."""
    import pyarrow as pa

    def lists(curve: np.ndarray) -> Any:
        return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(curve.T).ravel()), len(curve))

    cells = {f"columns.{k}": pa.array(v) for k, v in r.columns.items()}
    cells |= {f"figures.{k}": pa.array(v) for k, v in r.figures.items()}
    cells |= {f"curves.{k}": lists(v) for k, v in r.curves.items()} | {"loss": lists(r.loss), "x": lists(r.x.T)}
    same = {f.name: getattr(r, f.name) for f in fields(r) if f.name not in (*ROWS, "loss", "x")}
    said = json.dumps(same, default=lambda value: value.tolist() if hasattr(value, "tolist") else str(value))
    return pa.table(cells).replace_schema_metadata({"adamx": said})


def _results(path: Path) -> Results:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    same = json.loads(table.schema.metadata[b"adamx"])
    same |= {"criteria": Criteria(*same["criteria"]), "steps": np.array(same["steps"])}
    rows: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in ROWS}
    for name in table.column_names:
        kind, _, key = name.partition(".")
        column = table[name].combine_chunks()
        if key:
            rows[kind][key] = _matrix(column).T if kind == "curves" else column.to_numpy()
    loss, x = (_matrix(table[name].combine_chunks()) for name in ("loss", "x"))
    columns, figures, curves = (rows[kind] for kind in ROWS)
    return Results(loss=loss.T, x=x, columns=columns, figures=figures, curves=curves, **same)


def _matrix(column: Any) -> np.ndarray:
    """(runs, items) of a column of lists of equal length."""
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
