"""Benchmark: what a sweep costs beside its kernel: the default start by phases, the import, and stock Hydra.

    python experiments/bench_sweep.py [--quick]

Every figure is of whole processes, as a shell would start them, in temporary folders, kernels compiled before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from racing import Way, in_turn, machine, seconds
from rich.console import Console
from rich.table import Table

QUICK = "--quick" in sys.argv
REPEATS = 1 if QUICK else 3
DEFAULT = ["optimizer.lr=0.001,0.01", "steps=20"] if QUICK else []  # no arguments: the default sweep
JOBS, MANY = (2, 4) if QUICK else (50, 2000)
STEPS, EVERY = 990, 10
FUSED = ["-m", "adamx.sweep", "problem=rosenbrock", "dtype=float64", f"steps={STEPS}", f"record_every={EVERY}"]

STOCK = f"""
import hydra, mlflow, time
from hydra.core.config_store import ConfigStore
from mlflow.entities import Metric, Param
import adamx

ConfigStore.instance().store("config", {{"lr": 0.001}})

@hydra.main(version_base="1.3", config_path=None, config_name="config")
def main(config):
    run = adamx.simulate("adam", "rosenbrock", {{"lr": config.lr}}, {STEPS}, {EVERY})
    client = mlflow.MlflowClient("sqlite:///mlflow.db")
    now = int(time.time() * 1000)
    created = client.create_run("0", now)
    points = zip(run.loss[:, 0].tolist(), run.steps.tolist())
    metrics = [Metric("loss", value, now, step) for value, step in points]
    figures = run.table.iloc[0].drop("regime").dropna()
    metrics += [Metric(name, float(value), now, 0) for name, value in figures.items()]
    client.log_batch(created.info.run_id, metrics, [Param("lr", str(config.lr))])
    client.set_terminated(created.info.run_id)

main()
"""


class Phases:
    """Seconds spent in each phase: in its functions, without the phases inside them."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    def watch(self, owner: Any, name: str, phase: str) -> None:
        """Count the calls of a function into a phase."""
        function = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            began = perf_counter()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                whole = perf_counter() - began
                self.spent[phase] += whole - self._inner.pop()
                if self._inner:
                    self._inner[-1] += whole

        setattr(owner, name, counted)


def watched(arguments: list[str]) -> None:
    """python -m adamx.sweep in this process, with its phases in phases.json; runs in a process of its own."""
    from matplotlib.figure import Figure

    from adamx.record import parent
    from adamx.report import figures
    from adamx.sweep import command as sweep
    from adamx.sweep import progress

    phases, draw = Phases(), figures.figures
    figures.figures = lambda *given: list(draw(*given))  # type: ignore[assignment]  # drawn now, not while written
    phases.watch(progress, "compute", "kernel, with loading it")
    phases.watch(parent, "open", "opening the store")
    phases.watch(parent, "start", "MLflow: the parent run")
    phases.watch(parent.Sweep, "write", "MLflow: children, table and curves")
    phases.watch(parent.Sweep, "finish", "MLflow: figures and the end")
    phases.watch(figures, "figures", "drawing figures")
    phases.watch(Figure, "savefig", "drawing figures")
    sys.argv = ["adamx-sweep", *arguments]
    code = sweep.main()
    Path("phases.json").write_text(json.dumps(phases.spent))
    sys.exit(code)


def shell(folder: str, *arguments: str) -> None:
    """python with these arguments in a folder; what it says is shown where it fails."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{arguments}: exit code {done.returncode}\n{done.stderr}")


def fresh(*arguments: str) -> None:
    """python with these arguments in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        shell(folder, *arguments)


def start() -> Table:
    """The default sweep by phases: a folder's first one, and later ones."""
    taken: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        run = partial(shell, folder, str(Path(__file__).resolve()), "--watched", *DEFAULT)
        for _ in range(1 + REPEATS):
            whole = seconds(run)
            spent = json.loads(Path(folder, "phases.json").read_text())
            rest = whole - sum(spent.values())
            taken.append({**spent, "the rest: imports, composing, summary": rest, "all": whole})
    title, columns = f"python -m adamx.sweep {' '.join(DEFAULT)}", ("new folder", f"later, min of {REPEATS}", "median")
    made = Table("seconds in", *columns, title=title, title_justify="left", caption_justify="left")
    for phase in taken[0]:
        first, *later = (one[phase] for one in taken)
        made.add_row(phase, *(f"{value:.2f}" for value in (first, min(later), np.median(later))))
    inside = ("kernel", "MLflow")
    outside = [one["all"] - sum(v for k, v in one.items() if k.startswith(inside)) for one in taken]
    made.caption = (
        f"outside the kernel and MLflow's writes: {outside[0]:.1f} s in a new folder, "
        f"later {np.median(outside[1:]):.1f} s"
    )
    return made


def imported() -> Table:
    """import adamx beside a bare interpreter and what it imports."""
    modules = ("sys", "numpy", "numba", "adamx")
    ways = [Way(f"import {name}", partial(fresh, "-c", f"import {name}")) for name in modules]
    in_turn(ways, 2 * REPEATS + 1)
    title = f"python -c, {2 * REPEATS + 1} processes each"
    made = Table("seconds of", "min", "median", title=title, title_justify="left")
    for way in ways:
        made.add_row(way.name, f"{min(way.seconds):.2f}", f"{way.median:.2f}")
    return made


def stock() -> Table:
    """The same runs as jobs of stock Hydra's multirun, each recorded by MLflow's client, and as one adamx sweep."""

    def multirun(runs: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "app.py").write_text(STOCK)
            shell(folder, "app.py", "-m", "lr=" + ",".join(f"{lr:.6g}" for lr in np.geomspace(1e-4, 1, runs)))

    def sweep(runs: int) -> None:
        fresh(*FUSED, f"optimizer.lr=log:1e-4:1:{runs}")

    plans = (("stock multirun, client", multirun, 1), ("stock multirun, client", multirun, JOBS),
             ("adamx.sweep", sweep, JOBS), ("adamx.sweep", sweep, MANY))  # fmt: skip
    ways = [Way(name, partial(call, runs), share=runs) for name, call, runs in plans]  # so: seconds a run
    in_turn(ways, REPEATS)
    whole = [way.median * way.share for way in ways]
    by_stock, by_adamx = (whole[1] - whole[0]) / (JOBS - 1), (whole[3] - whole[2]) / (MANY - JOBS)
    title = f"Adam on Rosenbrock, {STEPS} steps, {STEPS // EVERY + 1} points a run, into a new SQLite store"
    made = Table(title=title, title_justify="left", caption_justify="left")
    for name in ("way", "runs", "s, min", "s, median", "ms a run"):
        made.add_column(name, justify="left" if name == "way" else "right")
    for way in ways:
        least, median = (f"{each * way.share:.2f}" for each in (min(way.seconds), way.median))
        made.add_row(way.name, f"{way.share:,}", least, median, f"{way.median * 1e3:.2f}")
    made.caption = (
        f"{REPEATS} times in turn, all included. {JOBS} runs: {whole[1] / whole[2]:.1f} times quicker."
        f"\nA further run: {by_stock * 1e3:.0f} ms by stock multirun, {by_adamx * 1e3:.2f} ms in adamx."
    )
    return made


def main() -> None:
    """Run all and print the tables."""
    console = Console(width=max(Console().width, 120))  # also where there is no terminal
    console.print(machine("adamx", "numba", "numpy", "mlflow", "hydra-core"), highlight=False, soft_wrap=True)
    if not QUICK:  # compiles, if nothing did before
        for sweep in (["-m", "adamx.sweep"], FUSED):
            fresh(*sweep, "optimizer.lr=0.001", "steps=1")
    for part in (start, imported, stock):
        console.print(part())


if __name__ == "__main__":
    if "--watched" in sys.argv:
        watched(sys.argv[2:])
    else:
        main()
