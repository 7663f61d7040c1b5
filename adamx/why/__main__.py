"""python -m adamx.why RUN_ID: which single knob would have saved a recorded run, or a watched training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from adamx import replay
from adamx.inputs.commands import command
from adamx.inputs.errors import InputError, printable
from adamx.record import readback
from adamx.record.parent import LONGEST_TAG
from adamx.record.readback import Recorded
from adamx.watch import recorded
from adamx.watch.recorded import Watched
from adamx.why import watched
from adamx.why.cause import figure, sentences, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

from adamx.why.explain import explain

WHICH = (
    "SWEEP:ROW for a row of a sweep's table, such as last:12 of the sweep begun last; a child's run id; or the id of a "
    "training that adamx.watch recorded, `last` for the one begun last"
)
DESCRIPTION = """\
Which single knob would have saved a recorded run: re-runs it with one knob changed (hyperparameters up and down, a
warm-up, other precisions, AMSGrad for Adam) and says the smallest change of each that works; for a run that
converged, how far each may be turned. Keeps the figure with the run. Of a training that adamx.watch recorded it says
the verdict again and, where a state from before the spike was kept (w.checkpoint), how every knob is tried from there.
The store is ./mlflow.db, or where MLFLOW_TRACKING_URI says."""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Explain the run that the command line names; the exit code: 0, 2 for unusable input."""
    parser = argparse.ArgumentParser(prog="python -m adamx.why", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN_ID", help=WHICH)
    parser.add_argument("knobs", metavar="KNOB", nargs="*", help="only these, such as eps lr dtype; default: all")
    parser.add_argument("--out", type=Path, help="the .png to write, instead of one among the run's artifacts")
    parser.add_argument("--trust", action="store_true", help=readback.TRUST)
    parser.add_argument("--rescue", metavar="FILE.py", help="of a watched training: try every knob; " + watched.FILE)
    parser.add_argument("--steps", type=int, help="of that, from the kept state on; default: 100 behind the spike")
    typed, console = parser.parse_args(arguments), Console()
    store = readback.open()
    if seen := recorded.find(typed.run, store):
        return _watched(seen, typed)
    for name in ("rescue", "steps"):
        if getattr(typed, name) is not None:
            raise InputError(f"--{name} is for a training that adamx.watch recorded: run {typed.run!r} is none")
    if typed.out and (typed.out.suffix != ".png" or not typed.out.parent.is_dir()):
        raise InputError(f"--out is {str(typed.out)!r}: a .png file in a folder that exists is needed")
    found = readback.read(typed.run, store)
    cause = explain(found, typed.knobs, console, typed.trust)
    console.print(printable(cause.run.title), style="bold", markup=False, highlight=False, soft_wrap=True)
    if not replay.identical(found, [cause.run]).all():
        console.print("computed now it differs from the record: `python -m adamx.replay` says by how much")
    said = sentences(cause)
    console.print("\n".join(map(printable, said)), markup=False, highlight=False, soft_wrap=True)
    console.print(table(cause))
    picture = figure(cause)
    if typed.out:
        picture.savefig(typed.out)
    where = typed.out or _keep(found, picture, said)
    console.print(printable(f"figure: {where}"), markup=False, highlight=False, soft_wrap=True)
    return 0


def _watched(found: Watched, typed: argparse.Namespace) -> int:
    """Say the verdict of a watched training again; or rescue it."""
    if typed.knobs or typed.out or typed.trust:
        raise InputError(f"run {found.run_id} is a watched training: its only options are --rescue FILE.py and --steps")
    print(found.title)
    lines = [watched.rescue(found, typed.rescue, typed.steps)] if typed.rescue else watched.said(found)
    print("\n".join(lines))
    return 0


def _keep(found: Recorded, picture: Figure, said: Sequence[str]) -> str:
    """Put the figure, and of a child also the sentences, into its record; the artifact's address."""
    client, run = found.store.client, found.run
    name = "why.png" if run is not found.parent else f"why_{found.rows[0]}.png"
    with found.store.explained():
        client.log_figure(run.info.run_id, picture, name)
        if run is not found.parent:
            client.set_tag(run.info.run_id, "why", " ".join(said)[:LONGEST_TAG])
    return f"{run.info.artifact_uri}/{name}"


if __name__ == "__main__":
    sys.exit(main())
