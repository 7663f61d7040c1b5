"""python -m adamx.why RUN_ID: which single knob would have saved a recorded run."""

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
from adamx.why.cause import figure, sentences, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

from adamx.why.explain import explain

WHICH = "SWEEP:ROW for a row of a sweep's table, such as last:12 of the sweep begun last; or a child's run id"
DESCRIPTION = """\
Which single knob would have saved a recorded run: re-runs it with one knob changed (hyperparameters up and down, a
warm-up, other precisions, AMSGrad for Adam) and says the smallest change of each that works; for a run that
converged, how far each may be turned. Keeps the figure with the run. The store is ./mlflow.db, or where
MLFLOW_TRACKING_URI says."""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Explain the run that the command line names; the exit code: 0, 2 for unusable input."""
    parser = argparse.ArgumentParser(prog="python -m adamx.why", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN_ID", help=WHICH)
    parser.add_argument("knobs", metavar="KNOB", nargs="*", help="only these, such as eps lr dtype; default: all")
    parser.add_argument("--out", type=Path, help="the .png to write, instead of one among the run's artifacts")
    parser.add_argument("--trust", action="store_true", help=readback.TRUST)
    typed, console = parser.parse_args(arguments), Console()
    if typed.out and (typed.out.suffix != ".png" or not typed.out.parent.is_dir()):
        raise InputError(f"--out is {str(typed.out)!r}: a .png file in a folder that exists is needed")
    found = readback.read(typed.run)
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
