"""Kills sweeps: python killing.py FOLDER KILLS SEED. Prints, as JSON, how many were killed in which phase.

In FOLDER a sweep is begun and its process killed (SIGKILL) at a random moment, then resumed and killed again, until it
is recorded; then the next one, each in a store of its own, 0, 1, 2 ... Processes are forked from this one, which has
imported everything and touched nothing: a second each instead of four.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from pyarrow import parquet

from adamx.analysis import summary
from adamx.record import parent
from adamx.report import figures
from adamx.sweep import command
from adamx.sweep.journal import place

OVERRIDES = [
    "problem=rosenbrock", "optimizer=adam,rmsprop", "optimizer.lr=log:1e-4:1:16", "optimizer.eps=log:1e-10:1:20",
    "steps=400000", "record_every=4000", "dtype=float64", "record=all", "record.figures=false", "backend.threads=1",
]  # fmt: skip
RUNS = 640


def begin(folder, overrides):
    """A process that runs a sweep in a folder; its id."""
    pid = os.fork()
    if pid:
        return pid
    os.chdir(folder)
    quiet = os.open("out.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.argv = ["sweep", *overrides]
    os._exit(command.main())


def phase(folder):
    """The phase that a killed sweep had reached, from its journal."""
    if not any((folder / place("")).glob("*/sweep.json")):
        return "recorded" if (folder / "mlruns").exists() else "starting"
    kept = (folder / place("")).glob("*/*.parquet")
    return "computing" if sum(parquet.read_metadata(path).num_rows for path in kept) < RUNS else "writing"


def main(folder, kills, seed):
    draw, killed, sweeps = random.Random(seed), [], 0
    longest = 3.0  # seconds that a process has before it is killed: nearly what a whole sweep takes
    while len(killed) < kills:
        here = Path(folder, str(sweeps))
        here.mkdir()
        sweeps += 1
        while True:
            again = any((here / place("")).glob("*/sweep.json"))
            start = time.monotonic()
            pid = begin(here, ["resume=last"] if again else OVERRIDES)
            deadline = start + (draw.uniform(0.1, longest) if len(killed) < kills else 1e9)
            aimed = len(killed) % 3 == 2 and len(killed) < kills  # every third at the writing, however busy the machine
            while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and (aimed or time.monotonic() < deadline):
                time.sleep(0.005)
                if aimed and phase(here) == "writing":
                    aimed, deadline = False, time.monotonic() + draw.uniform(0, 1)
            if ended != (0, 0):
                if ended[1]:
                    sys.exit((here / "out.txt").read_text())
                break
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            killed.append(phase(here))
            if killed[-1] == "recorded":
                break
    print(json.dumps({"kills": len(killed), "sweeps": sweeps, **{p: killed.count(p) for p in sorted(set(killed))}}))


if __name__ == "__main__":
    assert parent and figures and summary
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
