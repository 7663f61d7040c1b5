"""python -m adamx.report RUN_ID: every figure of a recorded sweep again, drawn from its recorded tables alone."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from adamx.analysis.style import png
from adamx.engine.results import Results
from adamx.engine.settings import LOSS, named_rank
from adamx.inputs.commands import command
from adamx.inputs.errors import InputError, printable
from adamx.record import readback
from adamx.record.readback import Recorded
from adamx.report.figures import figures
from adamx.report.page import how_run
from adamx.watch import recorded
from adamx.watch.recorded import Watched
from adamx.watch.recording import PAGE

DESCRIPTION = """\
Draw the figures of a recorded sweep again (the interactive report, the regime maps, the curves) from its table.parquet
and curves.parquet alone, and put them in place of those it has. Of a training that adamx.watch recorded: where its page
is, or, with --out, a copy of it. The store is ./mlflow.db, or where MLFLOW_TRACKING_URI says."""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Redraw what the command line names; the exit code: 0, 2 for unusable input."""
    parser = argparse.ArgumentParser(prog="python -m adamx.report", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN_ID", help="of the sweep, or `last`, begun last")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write, instead of the run's artifacts")
    parser.add_argument("--rank", default=LOSS, metavar="FIGURE", help="what is best, such as val_loss or val_accuracy")
    typed, console = parser.parse_args(arguments), Console()
    if seen := recorded.find(typed.run):
        console.print(printable(f"report: {_page(seen, typed)}"), markup=False, highlight=False, soft_wrap=True)
        return 0
    found = sweep(typed.run)
    rank = named_rank(found.results, typed.rank)
    lines = how_run(found.parent.data.tags, found.parent.info.start_time)
    where = typed.out
    if where is None:
        with tempfile.TemporaryDirectory() as folder, found.store.explained():
            names = draw(found.results, Path(folder), lines, rank)
            found.store.client.log_artifacts(found.run.info.run_id, folder)
        where = found.run.info.artifact_uri
    else:
        where.mkdir(parents=True, exist_ok=True)
        names = draw(found.results, where, lines, rank)
    console.print(printable(f"{', '.join(names)} in {where}"), markup=False, highlight=False, soft_wrap=True)
    return 0


def _page(seen: Watched, typed: argparse.Namespace) -> str:
    """The page of a watched training: where it is, or where a copy of it is now."""
    if typed.rank != LOSS:
        raise InputError(f"run {seen.run_id} is a watched training: --rank is for sweeps")
    if typed.out is None:
        return seen.page
    page = seen.file(PAGE).read_bytes()
    typed.out.mkdir(parents=True, exist_ok=True)
    (typed.out / PAGE).write_bytes(page)
    return str(typed.out / PAGE)


def sweep(address: str) -> Recorded:
    """The recorded sweep of a parent run's id, or "last", the one begun last.

    Raises:
        InputError: there is none, or it is a single run's address.
    """
    store = readback.open()
    found = readback.read(address, store)
    if found.run is not found.parent or ":" in address:
        raise InputError(f"{address} is one run: its sweep is {found.parent.info.run_id}")
    return found


def draw(
    results: Sequence[Results], folder: Path, lines: Sequence[tuple[str, str]] = (), rank: str = LOSS
) -> list[str]:
    """Write every figure of some results into a folder; the names of the files. The rest is as of `page.report`."""
    names = []
    for name, figure in figures(results, lines, rank):
        (folder / name).write_bytes(figure if isinstance(figure, bytes) else png(figure))
        names.append(name)
    return names


if __name__ == "__main__":
    sys.exit(main())
