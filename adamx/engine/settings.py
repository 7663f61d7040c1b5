"""Settings: from a row a run to a row a setting, best first.

What is best is said here for all that names it: the terminal, the star of a map, the report, MLflow's `best_run_id`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from adamx.engine.results import Results
from adamx.inputs.errors import unknown
from adamx.regimes import REGIMES

FAILING = ("spiking", "oscillating", "diverged")
LOSS = "final_loss"
MORE = "accuracy"  # of figures that end so, the more the better


def swept(results: Results) -> list[str]:
    """The hyperparameters with more than one value, in the order of the columns; a seed is a repetition, no axis."""
    return [name for name, values in results.columns.items() if name != "seed" and (values != values[0]).any()]


def ranks(results: Results) -> list[str]:
    """The figures that settings can be ranked by: the final loss, other `final_` figures, `reached_step`."""
    return [LOSS, *(f"final_{name}" for name in results.curves), "reached_step"]


def settings(results: Results, rank: str = LOSS) -> pd.DataFrame:
    """A row a distinct setting of the swept hyperparameters, best first by one of `ranks`.

    Columns: the swept hyperparameters; `runs` (seeds); `regime`, that of most runs, and of two equally common the
    worse; `agree`, whether all runs share it; medians over the runs of `final_loss` (a lost run counts as infinite),
    of the other `final_` figures and of `reached_step`.
    """
    return _best_first(results.by_setting, rank)


def by_setting(results: Results) -> pd.DataFrame:
    """The rows of `settings` in no order; `Results.by_setting` keeps them."""
    names = swept(results)
    values = np.column_stack([results.columns[name] for name in names] or [np.zeros(len(results))])
    distinct, group = np.unique(values, axis=0, return_inverse=True)
    group = group.ravel()

    codes = pd.Categorical(results.regime, REGIMES).codes
    counts = np.bincount(group * len(REGIMES) + codes, minlength=len(distinct) * len(REGIMES))
    counts = counts.reshape(-1, len(REGIMES))
    majority = len(REGIMES) - 1 - counts[:, ::-1].argmax(axis=1)  # the last of equals is the worst

    final = {f"final_{name}": curve[-1] for name, curve in results.curves.items()}
    reached = results.figures["reached_step"]
    figures = pd.DataFrame(
        {
            "final_loss": np.where(np.isfinite(results.loss[-1]), results.loss[-1], np.inf),
            **final,
            "reached_step": np.where(reached < 0, results.steps[-1] + 1, reached),
        }
    )
    frame = pd.DataFrame(dict(zip(names, distinct.T, strict=False)), index=range(len(distinct)))
    frame["runs"] = counts.sum(axis=1)
    frame["regime"] = pd.Categorical.from_codes(majority, pd.Index(REGIMES))
    frame["agree"] = counts.max(axis=1) == frame["runs"]
    middle = figures.groupby(group).median() if len(distinct) < len(group) else figures.iloc[np.argsort(group)]
    return frame.join(middle.reset_index(drop=True))


def ranked(results: Sequence[Results], rank: str = LOSS) -> pd.DataFrame:
    """The settings of several results on one problem, best first, as of `settings`; `of` is the result's position."""
    return _best_first(pd.concat([settings(r).assign(of=i) for i, r in enumerate(results)], ignore_index=True), rank)


def best(results: Sequence[Results], n: int = 5, rank: str = LOSS) -> pd.DataFrame:
    """The n best settings on each problem, best first: what tells them apart, their medians over seeds, their regime.

    Args:
        rank: what is best: the least `final_loss`, another of `ranks`, or that without its `final_`, as `val_loss`.
    Raises:
        InputError: no such figure.

    Columns: problem, optimizer, dtype where several were run; the swept hyperparameters; the `final_` figures; `regime`
    and `runs` (see `settings`).
    """
    rank, tables = named_rank(results, rank), []
    for task in dict.fromkeys(r.task for r in results):
        own = [r for r in results if r.task == task]
        table = ranked(own, rank).head(n)
        of = table["of"].astype(int)
        table = table.assign(problem=task, optimizer=[own[i].rule for i in of], dtype=[own[i].dtype for i in of])
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    several = {"problem": {r.task for r in results}, "optimizer": {r.rule for r in results}}
    several["dtype"] = {r.dtype for r in results}
    telling = [name for name, values in several.items() if len(values) > 1]
    names = dict.fromkeys(name for r in results for name in swept(r))
    finals = [name for name in table if str(name).startswith("final_")]
    return table[[*telling, *names, *finals, "regime", "runs"]]


def named_rank(results: Sequence[Results], typed: str) -> str:
    """The figure of `ranks` that is meant by a name, which may lack its `final_`."""
    known = dict.fromkeys(name for r in results for name in ranks(r))
    found = next((name for name in (typed, f"final_{typed}") if name in known), None)
    if found is None:
        raise unknown("figure to rank by", typed, [name.removeprefix("final_") for name in known])
    return found


def _best_first(frame: pd.DataFrame, rank: str = LOSS) -> pd.DataFrame:
    """The meaning of "best" everywhere: the least median final loss, or the best of another figure where one is named;
    if equal (such as 0), the least held-out loss if there is one; then a healthy setting; then the one that reached
    its target first."""
    held_out = frame["final_val_loss"].fillna(np.inf) if "final_val_loss" in frame else np.zeros(len(frame))
    first = frame[rank].fillna(-np.inf if rank.endswith(MORE) else np.inf)
    keys: list[Any] = [frame["reached_step"], np.isin(frame["regime"], FAILING), held_out, frame[LOSS]]
    if rank != LOSS:
        keys.append(-first if rank.endswith(MORE) else first)
    return frame.iloc[np.lexsort(keys)].reset_index(drop=True)


def best_runs(results: Sequence[Results]) -> dict[str, tuple[int, int]]:
    """The best run of each task, as of `best_run`: losses of two problems do not compare."""
    found = {}
    for task in dict.fromkeys(r.task for r in results):
        at = [i for i, r in enumerate(results) if r.task == task]
        if best := best_run([results[i] for i in at]):
            found[task] = at[best[0]], best[1]
    return found


def best_run(results: Sequence[Results], rank: str = LOSS) -> tuple[int, int] | None:
    """The best setting's run with the median final loss: the position of its results, and the run; None where all
    runs are lost."""
    first = ranked(results, rank).iloc[0]
    if not np.isfinite(first["final_loss"]):
        return None
    r = results[int(first["of"])]
    same = np.logical_and.reduce([r.columns[name] == first[name] for name in swept(r)], axis=0)
    runs = np.flatnonzero(np.broadcast_to(same, len(r)))
    loss = np.where(np.isfinite(r.loss[-1, runs]), r.loss[-1, runs], np.inf)
    return int(first["of"]), int(runs[np.argsort(loss, kind="stable")[(len(runs) - 1) // 2]])
