"""Run: everything checked, all launches computed, recorded in MLflow and summed up on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from adamx.engine import backends
from adamx.engine.launch import Launch, swept
from adamx.engine.results import told_apart
from adamx.inputs.errors import InputError, flag, printable, unknown, whole
from adamx.record import identity
from adamx.record.children import select
from adamx.sweep import journal
from adamx.sweep.journal import AbandonedError, Journal, part
from adamx.sweep.memory import exhausted

AGAIN = "python -m adamx.sweep resume=last"


def run(launches: Sequence[Launch], overrides: Sequence[str], resumed: Journal | None = None) -> None:
    """Check everything, compute all launches, record them in MLflow and print what came out.

    Args:
        overrides: as typed, for the record. resumed: of the sweep that they began, if it was interrupted.
    Raises:
        InputError: before anything is computed or recorded; or the store was lost: what is finished is in the journal.
        KeyboardInterrupt: after what was finished has been recorded and the parent run marked KILLED.
    """
    from rich.console import Console
    from rich.markup import escape

    console, config = Console(), launches[0].config
    say = partial(console.print, highlight=False, soft_wrap=not console.is_terminal)
    if sentence := backends.configure(config["backend"]):
        say(sentence, markup=False)
    record = config.get("record")
    if not isinstance(record, Mapping):
        raise InputError(f"record is {record!r}: a name is needed")
    limit, drawn = whole("record.limit", record["limit"], 1), flag("record.figures", record["figures"])
    mode = record["children"]
    select([], mode)  # an unknown mode is said now
    if config["skip"] not in (None, "recorded"):
        raise unknown("skip", config["skip"], ["recorded"])
    data = list(dict.fromkeys(about for each in launches if (about := getattr(each.problem, "about", ""))))
    for line in data:
        say(line, markup=False)
    from adamx.sweep.estimate import check_memory, estimate

    if flag("dry_run", config["dry_run"]):
        console.print(estimate(launches, mode, limit), highlight=False, soft_wrap=True)
        return
    check_memory(launches)
    from adamx.record import parent  # with mlflow: seconds
    from adamx.record.writer import environment
    from adamx.report.figures import figures
    from adamx.sweep.progress import compute

    store = parent.open(resumed.store, run_id=resumed.run_id) if resumed else parent.open()
    parent.bury(store)
    rows = resumed.rows if resumed else _rows(launches, config["skip"], store)
    parts = [part(each, own) for each, own in zip(launches, rows, strict=True)]
    planned, total = sum(map(len, launches)), sum(map(len, parts))
    if total < planned:
        say(f"{planned - total:,} of {planned:,} runs are recorded already, and skipped")
    if not total:
        return
    launches = [own for own in parts if len(own)]
    if resumed:
        resumed.take(launches)
        sweep, kept = parent.resume(store, resumed.run_id), resumed
    else:
        config_of_all = _merged([launch.config for launch in launches])
        own = sources(launches)
        sweep = parent.start(store, _name(launches), config_of_all, overrides, own, data="\n".join(data))
        kept = journal.begin(store.uri, sweep.run_id, launches, overrides, rows, _files(launches))
    finished = False
    try:
        start = perf_counter()
        results = told_apart(compute(launches, console, kept))
        done, seconds = sum(map(len, results)), perf_counter() - start
        sentence = "nothing was finished"
        if results:
            sentence = sweep.write(results, swept(launches), mode, limit, whole=done == total)
        rate = {"runs_per_second": kept.computed / seconds} if kept.computed else {}
        sweep.finish(
            "FINISHED" if done == total else "KILLED",
            figures(results) if drawn else (),
            {"seconds": seconds, **rate} if done == total else {},
        )
        finished = done == total
    except BaseException as error:
        with suppress(Exception), environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"):  # the store may be what failed
            sweep.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        if isinstance(error, MemoryError):
            error = exhausted(error)
        if isinstance(error, InputError):
            finished = kept.empty  # as where a user's file cannot be compiled
            if not finished:
                raise InputError(f"{error}; what was finished is kept, and {AGAIN} goes on with it") from error
        raise
    finally:
        kept.release(done=finished)
    if results:
        from adamx.analysis.summary import summary

        console.print(summary(results), soft_wrap=not console.is_terminal)
    say(f"{sentence}; to look at them: [bold]{escape(printable(store.view))}[/bold]")
    if done < total:
        say(f"interrupted: {done:,} of {total:,} runs were finished; {AGAIN} computes the rest")
        raise KeyboardInterrupt


def sources(launches: Sequence[Launch]) -> dict[str, bytes]:
    """The user's files that launches are made of, as they ran, by the place where the record keeps them."""
    made = [(kind, getattr(each, kind)) for each in launches for kind in ("rule", "problem")]
    kinds = {"rule": "optimizer", "problem": "problem"}
    return {f"{kinds[kind]}/{part.source.path}": part.source.content for kind, part in made if part.source}


def _files(launches: Sequence[Launch]) -> dict[str, bytes]:
    """The same by what was typed, for the journal."""
    kinds = {"rule": "optimizer", "problem": "problem"}
    made = [(each.config[kinds[kind]]["name"], getattr(each, kind)) for each in launches for kind in kinds]
    return {name: part.source.content for name, part in made if part.source}


def check_resumable(kept: Journal) -> None:
    """Raise InputError for a journal whose sweep cannot be gone on with."""
    from adamx.record import parent

    kept.check()
    try:
        store = parent.open(kept.store, run_id=kept.run_id)
    except parent.NoRunError as error:
        raise AbandonedError(f"{kept} is cleared: {error}") from error
    parent.check(store, kept.run_id)


def _rows(launches: Sequence[Launch], skip: object, store: Any) -> list[np.ndarray]:
    """The runs of each launch that are to be computed: all, or those that are not recorded."""
    from adamx.record import parent

    known = parent.points(store) if skip else set()
    marks = (identity.of_launch(each) if known else [""] * len(each) for each in launches)
    return [np.flatnonzero([mark not in known for mark in own]) for own in marks]


def _name(launches: Sequence[Launch]) -> str:
    """A name for the parent run, such as "adam, amsgrad on beale"."""
    optimizers, problems = ([x.optimizer for x in launches], [x.problem.name for x in launches])
    return f"{', '.join(dict.fromkeys(optimizers))} on {', '.join(dict.fromkeys(problems))}"


def _merged(configs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One configuration of all launches: where they differ, the list of distinct values."""
    merged = {}
    for key in configs[0]:
        distinct: list[Any] = []
        for config in configs:
            if config[key] not in distinct:
                distinct.append(config[key])
        merged[key] = distinct[0] if len(distinct) == 1 else distinct
    return merged
