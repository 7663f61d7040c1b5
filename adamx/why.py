"""python -m adamx.why RUN_ID: which single knob would have saved a recorded run.

The run is computed again with one knob changed and all else, the seed too, as it was: every hyperparameter of its rule
up and down, a warm-up, the other precisions, and the rules that share its hyperparameters (AMSGrad for Adam). What
differs in numbers alone is one launch. A change saves a run that it makes converge. Of a run that did converge the
same changes say how far each knob may be turned before it does not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from adamx import knobs, recorded, replay
from adamx.analysis.theory import prediction
from adamx.analysis.why import Cause, figure, sentences, table
from adamx.record import LONGEST_TAG
from adamx.recorded import Recorded
from adamx.registry import InputError, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DESCRIPTION = """\
Which single knob would have saved a recorded run: re-runs it with one knob changed (hyperparameters up and down, a
warm-up, other precisions, AMSGrad for Adam) and says the smallest change of each that works; for a run that
converged, how far each may be turned. Keeps the figure with the run. The store is ./mlflow.db, or where
MLFLOW_TRACKING_URI says."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Explain the run that the command line names; the exit code: 0, 2 for unusable input."""
    parser = argparse.ArgumentParser(prog="python -m adamx.why", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN_ID", help="a child's run id, or PARENT:ROW for a row of its table.parquet")
    parser.add_argument("knobs", metavar="KNOB", nargs="*", help="only these, such as eps lr dtype; default: all")
    parser.add_argument("--out", type=Path, help="the .png to write, instead of one among the run's artifacts")
    typed, console = parser.parse_args(arguments), Console()
    try:
        if typed.out and (typed.out.suffix != ".png" or not typed.out.parent.is_dir()):
            raise InputError(f"--out is {str(typed.out)!r}: a .png file in a folder that exists is needed")
        found = recorded.read(typed.run)
        cause = explain(found, typed.knobs, console)
    except InputError as error:
        print(f"adamx: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    console.print(cause.run.title, style="bold", markup=False, highlight=False, soft_wrap=True)
    if not replay.identical(found, [cause.run]).all():
        console.print("computed now it differs from the record: `python -m adamx.replay` says by how much")
    said = sentences(cause)
    console.print("\n".join(said), markup=False, highlight=False, soft_wrap=True)
    console.print(table(cause))
    picture = figure(cause)
    if typed.out:
        picture.savefig(typed.out)
    console.print(f"figure: {typed.out or _keep(found, picture, said)}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _keep(found: Recorded, picture: Figure, said: Sequence[str]) -> str:
    """Put the figure, and of a child also the sentences, into its record; the artifact's address."""
    client, run = found.store.client, found.run
    name = "why.png" if run is not found.parent else f"why_{found.rows[0]}.png"
    client.log_figure(run.info.run_id, picture, name)
    if run is not found.parent:
        client.set_tag(run.info.run_id, "why", " ".join(said)[:LONGEST_TAG])
    return f"{run.info.artifact_uri}/{name}"


def explain(found: Recorded, only: Sequence[str], console: Console) -> Cause:
    """Run a recorded run again with each of its knobs changed.

    Args:
        only: the knobs to change; all of them where it is empty.
    Raises:
        InputError: a sweep instead of a run, or a knob that the run does not have.
    """
    if len(found.rows) > 1:
        regimes = np.concatenate([r.regime for r in found.results])
        example = f"{found.run.info.run_id}:{np.argmax(regimes != 'converged')}"
        raise InputError(f"that is a sweep of {len(regimes):,} runs: one of them is needed, such as {example}")
    (launch,), (old,) = found.launches, found.results
    changes = list(knobs.changes(launch, old.dtype))
    allowed = dict.fromkeys(change.knob for change in changes)
    for name in only:
        if name not in allowed:
            raise unknown("knob", name, allowed)
    changes = [change for change in changes if change.knob in (only or allowed)]
    run, tries = knobs.tried(replay.run(knobs.launches(launch, changes), console), changes)
    hyper = {name: float(values[0]) for name, values in old.columns.items()}
    constant = old.schedule == "constant" and not hyper.get("lr_warmup")
    theory = prediction(old.optimizer, old.problem, old.settings, hyper) if constant else None
    return Cause(run, theory, tries)


if __name__ == "__main__":
    sys.exit(main())
