"""python -m adamx.watch losses.csv: the regime of a logged loss, its spikes, and what can be said of their cause."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from adamx.inputs.commands import command
from adamx.inputs.errors import InputError
from adamx.watch import log
from adamx.watch.scene import Scene

DESCRIPTION = """\
What a log alone says about a training: the regime of its loss, spikes with their steps and sizes, and what could be
their cause. A CSV file with a column of losses, as MLflow, W&B and TensorBoard export it, or bare numbers; lr and the
norm of the gradient are used where columns are called so. `with adamx.watch(optimizer)` in the training says more."""
SHOWN = 12


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the log that the command line names; the exit code: 0, 2 for unusable input."""
    parser = argparse.ArgumentParser(prog="python -m adamx.watch", description=DESCRIPTION)
    parser.add_argument("log", type=Path, metavar="losses.csv")
    parser.add_argument("--loss", metavar="COLUMN", help="the column, where several could be the loss")
    parser.add_argument("--out", type=Path, metavar="PAGE.html", help="also write the report there")
    typed = parser.parse_args(arguments)
    if typed.out and (typed.out.suffix != ".html" or not typed.out.parent.is_dir()):
        raise InputError(f"--out is {str(typed.out)!r}: an .html file in a folder that exists is needed")
    tape = log.read(typed.log, typed.loss)
    scene, verdict = Scene(tape), log.verdict(tape)
    print(f"steps {tape.first} to {tape.last}, {len(tape.loss)} losses, regime: {tape.regime}")
    for e in scene.episodes[:SHOWN]:
        back = "not back" if e.end > tape.last else f"back at step {e.end}"
        print(f"spike at step {e.step}: from {e.base:.4g} to {e.peak:.4g} ({e.peak / e.base:.3g} times), {back}")
    if len(scene.episodes) > SHOWN:
        print(f"and {len(scene.episodes) - SHOWN} more")
    print(verdict)
    if typed.out:
        from adamx.watch.page import page

        typed.out.write_bytes(page(tape, verdict))
        print(f"report: {typed.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
