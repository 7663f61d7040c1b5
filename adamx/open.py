"""python -m adamx.open: the report of a recorded sweep, or of a watched training, in the browser."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence

from adamx.inputs.commands import command
from adamx.report import REPORT

DESCRIPTION = """\
Open the report of a recorded sweep, or of a training that adamx.watch recorded, in the browser. The store is
./mlflow.db, or where MLFLOW_TRACKING_URI says."""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Open the report of what the command line names; the exit code: 0, 2 for unusable input."""
    parser = argparse.ArgumentParser(prog="python -m adamx.open", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN_ID", nargs="?", default="last", help="default: last, begun last")
    typed = parser.parse_args(arguments)
    from adamx.record import readback  # with mlflow: seconds
    from adamx.watch import recorded

    store = readback.open()
    seen = recorded.find(typed.run, store)
    address = seen.page if seen else readback.artifact(typed.run, REPORT, store)
    print(f"report: {address}")
    if not webbrowser.open(address):
        print("no browser was found here: open that address in one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
