"""python -m adamx.replay RUN_ID: re-runs a recorded run from its MLflow record alone and compares its loss curve."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from rich.console import Console

from adamx.engine.launch import Launch
from adamx.engine.results import Results
from adamx.inputs.commands import command
from adamx.inputs.errors import printable
from adamx.record import readback
from adamx.record.children import digests
from adamx.record.provenance import versions
from adamx.record.readback import Recorded
from adamx.sweep.progress import compute

DESCRIPTION = """\
Re-run a recorded run from its MLflow record alone and say whether its loss curve is the same to the last bit, or how
far off it is and what differs: versions, machine, sources. The exit code is 1 where the curve differs and nothing else
does. The store is ./mlflow.db, or where MLFLOW_TRACKING_URI says."""
IRRELEVANT = ("cores", "git_commit", "git_dirty")  # threads change no bit; the sources have a digest


class Deviation(NamedTuple):
    """How far replayed curves are from the recorded ones.

    `first` is the first recorded step at which a curve differs; `largest` the largest relative difference (infinite
    where only one of the two is finite), of the run at position `run` and at step `step`.
    """

    first: int
    largest: float
    run: int
    step: int


@dataclass(frozen=True, repr=False)
class Replayed:
    """The outcome of a replay.

    Attributes:
        results: the runs as they are now. same: (runs,) whether each curve is that of the record, to the last bit.
        elsewhere: what else differs, by name: its value then and now. lines: all that in words.
    """

    results: list[Results]
    same: np.ndarray
    elsewhere: Mapping[str, tuple[str, str]]
    lines: list[str]

    def __repr__(self) -> str:
        return "\n".join(self.lines)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Replay what the command line names; the exit code: 0, 1 for an unexplained difference, 2 for unusable input."""
    parser = argparse.ArgumentParser(prog="python -m adamx.replay", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN_ID", help=readback.ADDRESS)
    parser.add_argument("--trust", action="store_true", help=readback.TRUST)
    typed, console = parser.parse_args(arguments), Console()
    found = replayed(readback.read(typed.run), console, typed.trust)
    for line in found.lines:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    return int(not found.same.all() and not found.elsewhere)


def replayed(found: Recorded, console: Console, trust: bool = False) -> Replayed:
    """Runs computed again from their record, and compared.

    Raises:
        InputError: a file that the record carries may not run (see `Recorded.launches`).
    """
    again = run(found.launches(trust), console)
    same, elsewhere = identical(found, again), differences(found, again)
    return Replayed(again, same, elsewhere, list(report(found, again, same, elsewhere)))


def run(launches: Sequence[Launch], console: Console) -> list[Results]:
    """The Results of each launch, with progress on the console."""
    results = compute(launches, console)
    if sum(map(len, results)) < sum(map(len, launches)):
        raise KeyboardInterrupt
    return results


def identical(found: Recorded, again: Sequence[Results]) -> np.ndarray:
    """(runs,) whether each curve has the digest that was recorded."""
    return np.array([mark for r in again for mark in digests(r)]) == np.array(found.digests)


def deviation(old: np.ndarray, new: np.ndarray, steps: np.ndarray) -> Deviation:
    """How far curves `new` (records, runs) are from the curves `old`, which are not all the same."""
    a, b = np.asarray(old, np.float64), np.asarray(new, np.float64)
    with np.errstate(invalid="ignore"):
        relative = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
    finite = np.isfinite(a) & np.isfinite(b)
    relative = np.where(finite, np.nan_to_num(relative), np.inf)  # 0 / 0 is no difference
    relative[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
    step, run = np.unravel_index(relative.argmax(), relative.shape)
    first = relative.any(axis=1).argmax()
    return Deviation(int(steps[first]), float(relative[step, run]), int(run), int(steps[step]))


def differences(found: Recorded, again: Sequence[Results]) -> dict[str, tuple[str, str]]:
    """Other things that a curve depends on and that have changed: by name, the value then and now."""
    then, now = dict(found.parent.data.tags), versions()
    for old, new in zip(found.results, again, strict=True):
        for kind, content in old.digests.items():
            if content != new.digests[kind]:
                name = f"content of {kind} {old.task if kind == 'problem' else old.optimizer}"
                then[name], now[name] = content, new.digests[kind]
    gone = (name for name in then if (name == "gpu" or name.startswith("version.")) and name not in now)
    names = [*now, *gone]
    absent = {name: "none" if name == "gpu" or name.startswith("version.") else "unknown" for name in names}
    pairs = {n: (then.get(n, absent[n]), now.get(n, absent[n])) for n in names if n not in IRRELEVANT}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def report(
    found: Recorded, again: Sequence[Results], same: np.ndarray, elsewhere: Mapping[str, tuple[str, str]]
) -> Iterator[str]:
    """The outcome, line by line."""
    words = (
        f"{same.sum():,} of {len(same):,} runs are"
        if len(same) > 1
        else "the run is"
        if same.all()
        else "the run is not"
    )
    yield f"{words} bit-identical to the record"
    first = 0
    for old, new in zip(found.results, again, strict=True):
        part = slice(first, first := first + len(old))
        differ = ~same[part]
        if differ.any():
            far = deviation(old.loss[:, differ], new.loss[:, differ], old.steps)
            where = f"row {found.rows[part][differ][far.run]}, step {far.step:,}"
            yield f"{old.title}: {differ.sum():,} not, from step {far.first:,} on"
            yield f"the largest difference is {far.largest:.2g} of the loss ({where})"
    for name, (then, now) in elsewhere.items():
        yield f"{name}: {then} when recorded, {now} now"
    if not elsewhere:
        yield "machine, versions, code and data are those of the record"


if __name__ == "__main__":
    sys.exit(main())
