"""Journal: the finished chunks of a sweep, kept on disk until all of it is in the record.

A folder a sweep, `mlruns/.adamx/<parent run id>/` beside a SQLite store, else in the working directory:

    sweep.json     the overrides and an identity of each launch; where the sweep is recorded; the user's files
    <launch>-<first run>-<digest>.parquet  a chunk: a row a run, with its curves as lists, and the digest of the file
    lock           locked by the process that works on the sweep, as long as it lives

A file is written aside, brought to the disk, then renamed. `python -m adamx.sweep resume=last` computes what is missing
or damaged and writes the record: whatever the environment says now, to the store and the experiment where the sweep
began. The folder goes when the sweep is recorded to its end.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from adamx.engine.launch import Launch
from adamx.engine.results import Results
from adamx.inputs.errors import InputError, unknown
from adamx.record import codec
from adamx.record.address import HIDDEN, address, database, shown
from adamx.record.identity import code_of

ABANDONED = 3600  # seconds of a folder without a sweep.json, until it is cleared


class AbandonedError(InputError):
    """The sweep of a journal is no longer in MLflow."""


@dataclass(eq=False)
class Journal:
    """The journal of one sweep; `begin` or `find` makes it. `computed` counts the runs that this process kept."""

    folder: Path
    computed: int = 0

    @property
    def run_id(self) -> str:
        """The id of the parent run in MLflow."""
        return self.folder.name

    @cached_property
    def about(self) -> dict[str, Any]:
        """The arguments of `begin`, read back.

        Raises:
            InputError: it cannot be read.
        """
        try:
            about = json.loads((self.folder / "sweep.json").read_text())
            return {key: about[key] for key in ("overrides", "launches", "rows", "store", "folder", "files")}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{self} cannot be read: {type(error).__name__}, {error}") from error

    def __str__(self) -> str:
        return f"the journal of sweep {self.run_id} ({self.folder})"

    @property
    def store(self) -> str:
        """The address where the sweep is recorded.

        Raises:
            InputError: the journal does not have its password, and MLFLOW_TRACKING_URI is another address.
        """
        kept = str(self.about["store"])
        if HIDDEN not in kept:
            return kept
        if shown(address()) != kept:
            raise InputError(f"sweep {self.run_id} is recorded at {kept}: set MLFLOW_TRACKING_URI to it")
        return address()

    @property
    def files(self) -> dict[str, bytes]:
        """The user's files as they were when the sweep began, by what was typed."""
        return {name: text.encode("latin-1") for name, text in self.about["files"].items()}

    def check(self) -> None:
        """Raise InputError unless the journal can be locked and read, and lies where it was begun."""
        self.lock()
        began = Path(self.about["folder"])
        if began.resolve() == self.folder.resolve():
            return
        if began.exists():
            raise InputError(f"{self} is a copy: what is resumed here would be put into the original's record; {began}")
        home = began.parents[2]
        raise InputError(
            f"{self} was moved, and MLflow keeps the artifacts of its store under the path that they had: move the "
            f"folder back to {home}, or make a link: ln -s {self.folder.resolve().parents[2]} {home}"
        )

    @cached_property
    def _lock(self) -> FileLock:
        return FileLock(self.folder / "lock", timeout=0, thread_local=False)

    def lock(self) -> None:
        """Hold the lock until `release`, or as long as this process lives.

        Raises:
            InputError: another process holds it, or it cannot be opened.
        """
        if self._lock.is_locked:
            return
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(f"sweep {self.run_id} is being worked on by another process") from None
        except OSError as error:
            raise InputError(f"{self} cannot be locked: {error.strerror or error}") from error

    @property
    def alive(self) -> bool:
        """True while a process works on the sweep; False if its lock cannot be opened."""
        try:
            with FileLock(self.folder / "lock", timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
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
        self.lock()
        if self.about["launches"] != [identity(launch) for launch in launches]:
            self.release(done=False)
            raise InputError(
                f"sweep {self.run_id} cannot be resumed: {' '.join(self.about['overrides'])} are other runs now than "
                "they were (a file, its data, adamx or its configuration has changed)"
            )

    @property
    def empty(self) -> bool:
        """True if no chunk was kept."""
        return not any(self.folder.glob("*.parquet"))

    def keep(self, launch: int, first: int, chunk: Results) -> None:
        """Put a finished chunk on the disk: the runs from `first` on of a launch."""
        content = codec.encode(chunk)
        with _written(self.folder):
            _write(self.folder / f"{launch:04d}-{first:010d}-{_digest(content)}.parquet", content)
        self.computed += len(chunk)

    def kept(self, launch: int) -> dict[int, Results]:
        """The chunks of a launch that are on the disk, by their first run; one that is damaged is removed, and said."""
        found = {}
        for path in sorted(self.folder.glob(f"{launch:04d}-*.parquet")):
            try:
                _, first, digest = path.stem.split("-")
                content = path.read_bytes()
                if _digest(content) != digest:
                    raise ValueError("its content has changed")
                found[int(first)] = codec.decode(content)
            except (OSError, ValueError, TypeError, KeyError) as error:
                words = f"a chunk in {self} is damaged and is computed again: {path.name}, {error}"
                logging.getLogger(__name__).warning(str(InputError(words)))
                with suppress(OSError):
                    path.unlink()
        return found

    def release(self, done: bool) -> None:
        """Stop working on the sweep; remove the journal if the sweep is finished with."""
        if done:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()


def place(uri: str) -> Path:
    """The folder of the journals of sweeps that are recorded at an MLflow tracking URI."""
    file = database(uri)
    return (file.parent if file else Path()) / "mlruns" / ".adamx"


def begin(
    uri: str,
    run_id: str,
    launches: Sequence[Launch],
    overrides: Sequence[str],
    rows: Sequence[np.ndarray],
    files: Mapping[str, bytes] | None = None,
) -> Journal:
    """Start the journal of a sweep, and clear those that were never begun in earnest.

    Args:
        uri: where it is recorded. rows: those runs of each launch of the overrides that it computes. files: the
            user's, by what was typed.
    """
    journal = Journal(place(uri) / run_id)
    _remove_leftovers(journal.folder.parent)
    file = database(uri)
    absolute = f"sqlite:///{file.resolve()}" if file and not set(str(file.resolve())) & set("%?") else shown(uri)
    about = {
        "overrides": list(overrides),
        "launches": [identity(launch) for launch in launches],
        "rows": [_ranges(each) for each in rows],
        "store": absolute,
        "folder": str(journal.folder.resolve()),
        "files": {name: content.decode("latin-1") for name, content in (files or {}).items()},
    }
    with _written(journal.folder):
        journal.folder.mkdir(parents=True)
        journal.lock()
        _write(journal.folder / "sweep.json", json.dumps(about).encode())
        _sync(journal.folder.parent)
    return journal


def _remove_leftovers(folder: Path) -> None:
    """Remove the folders of sweeps that were killed before they had a sweep.json."""
    for path in folder.glob("*/"):
        with suppress(OSError):
            old = time.time() - path.stat().st_mtime > ABANDONED
            if old and not (path / "sweep.json").exists() and not Journal(path).alive:
                shutil.rmtree(path)


def _write(path: Path, content: bytes) -> None:
    """Write a file that exists as a whole or not at all, also after a crash."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


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


def find(uri: str, typed: str, check: Callable[[Journal], object] = Journal.check) -> Journal:
    """The journal of a parent run's id, or "last", the one begun last that can be resumed and that nobody works on.

    Args:
        check: raises an InputError for one that cannot be resumed. "last" says it and takes the one before, and clears
            one that is abandoned.
    Raises:
        InputError: there is none.
    """
    found = [journal for journal in journals(uri) if not journal.alive]
    if typed not in ("last", *(journal.run_id for journal in found)) and found:
        raise unknown("interrupted sweep", typed, ["last", *(journal.run_id for journal in found)])
    refused: list[InputError] = []
    for journal in found:
        if typed not in ("last", journal.run_id):
            continue
        try:
            check(journal)
            return journal
        except InputError as error:
            refused.append(error)
            journal.release(done=isinstance(error, AbandonedError))
            if typed == "last" and len(found) > 1:
                logging.getLogger(__name__).warning(f"{error}; it is passed over")
    raise refused[0] if refused else InputError(f"resume={typed}: no sweep was interrupted here ({place(uri)})")


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
