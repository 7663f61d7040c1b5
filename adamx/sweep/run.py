"""Run: everything checked, all launches computed, recorded in MLflow, and for the command summed up on the terminal."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from adamx.engine import backends
from adamx.engine.launch import Launch, swept
from adamx.engine.results import Results, with_distinct_names
from adamx.inputs.errors import InputError, flag, printable, unknown, whole
from adamx.record import identity
from adamx.record.children import select
from adamx.sweep import journal, waiting
from adamx.sweep.journal import AbandonedError, Journal, part
from adamx.sweep.memory import exhausted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from adamx.record.store import Store

AGAIN = "python -m adamx.sweep resume=last"


@dataclass(frozen=True)
class Done:
    """A recorded sweep.

    Attributes:
        run_id: of its parent run. results: of each launch, as far as finished. planned: runs. children: a sentence.
        found: the findings, where there is one launch.
    """

    store: Store
    run_id: str
    results: list[Results]
    planned: int
    children: str
    found: Sequence[str] = ()

    @property
    def runs(self) -> int:
        """How many were finished."""
        return sum(map(len, self.results))


def run(launches: Sequence[Launch], overrides: Sequence[str], resumed: Journal | None = None) -> None:
    """The command: perform the sweep, print what came out, and say where it can be looked at.

    The arguments and errors are those of `perform`.

    Raises:
        KeyboardInterrupt: after what was finished has been recorded and the parent run marked KILLED.
    """
    from rich.console import Console

    console = Console()
    done = perform(launches, overrides, resumed, console)
    if done is None:
        return
    if done.results:
        from adamx.analysis.summary import summary

        console.print(summary(done.results, done.found), soft_wrap=not console.is_terminal)
    for line in addresses(done, launches[0].config["open"]):
        console.print(line, soft_wrap=True)  # an address is copied whole
    if done.runs < done.planned:
        said = f"interrupted: {done.runs:,} of {done.planned:,} runs were finished; {AGAIN} computes the rest"
        console.print(said, highlight=False, soft_wrap=not console.is_terminal)
        raise KeyboardInterrupt


def addresses(done: Done, browse: bool = False) -> Iterator[Text]:
    """Lines that say where to look at a sweep: its report, its id, a run worth explaining, and all sweeps.

    Args:
        browse: whether to open the report in the browser.
    """
    from rich.text import Text

    from adamx.record.link import link
    from adamx.report import REPORT

    run = done.store.client.get_run(done.run_id)
    if report := link(done.store, run, REPORT):
        yield Text.assemble("report: ", (printable(report), f"link {report}"))
        if browse and not webbrowser.open(report):
            yield Text("no browser was found here: open that address in one")
    yield Text(f"sweep: {done.run_id} (or `last`); {done.children}")
    if (row := spiked(done.results)) is not None:
        yield Text.assemble("explain a spike: ", (f"python -m adamx.why last:{row}", "bold"))
    yield Text.assemble("all sweeps: ", (printable(done.store.sweeps), "bold"))


def spiked(results: Sequence[Results]) -> int | None:
    """The row of the sweep's table of the spiking run that had come closest to its minimum; None where none spiked."""
    gaps = [np.where(r.regime == "spiking", r.figures["best"], np.inf) for r in results]
    rows = np.concatenate(gaps) if gaps else np.empty(0)
    return int(rows.argmin()) if np.isfinite(rows).any() else None


def perform(
    launches: Sequence[Launch],
    overrides: Sequence[str],
    resumed: Journal | None,
    console: Console,
    finished: Callable[[Results], object] | None = None,
) -> Done | None:
    """Check everything, compute all launches and record them in MLflow, with progress on the console.

    Args:
        overrides: as typed, for the record. resumed: of the sweep that they began, if it was interrupted.
        finished: told each chunk of runs as it is complete.
    Returns:
        None where nothing was to be computed: a dry run, or all runs are recorded already. After Ctrl-C `results` are
        what was finished, and the parent run is marked KILLED.
    Raises:
        InputError: before anything is computed or recorded; or the store was lost: what is finished is in the journal.
    """
    config = launches[0].config

    def now(words: str) -> None:
        if not console.quiet:
            waiting.say(words)

    def say(sentence: str) -> None:
        now("")
        console.print(sentence, highlight=False, markup=False, soft_wrap=not console.is_terminal)

    if sentence := backends.configure(config["backend"]):
        say(sentence)
    record = config.get("record")
    if not isinstance(record, Mapping):
        raise InputError(f"record is {record!r}: a name is needed")
    limit, drawn = whole("record.limit", record["limit"], 1), flag("record.figures", record["figures"])
    flag("open", config["open"])
    mode = record["children"]
    select([], mode)  # an unknown mode is said now
    if config["skip"] not in (None, "recorded"):
        raise unknown("skip", config["skip"], ["recorded"])
    data = list(dict.fromkeys(about for each in launches if (about := getattr(each.problem, "about", ""))))
    for line in data:
        say(line)
    from adamx.sweep.estimate import check_memory, estimate

    if flag("dry_run", config["dry_run"]):
        now("measuring")
        said = estimate(launches, mode, limit)
        now("")
        console.print(said, highlight=False, soft_wrap=True)
        return None
    check_memory(launches)
    now("loading MLflow")
    from adamx.record import parent  # with mlflow: seconds
    from adamx.record.data import inputs
    from adamx.record.system import system_metrics
    from adamx.record.writer import environment
    from adamx.report.figures import figures
    from adamx.report.page import how_run
    from adamx.sweep.progress import compute

    now("opening the store")
    store = parent.open(resumed.store, run_id=resumed.run_id) if resumed else parent.open()
    parent.mark_killed(store)
    rows = resumed.rows if resumed else _rows(launches, config["skip"], store)
    parts = [part(each, own) for each, own in zip(launches, rows, strict=True)]
    planned, total = sum(map(len, launches)), sum(map(len, parts))
    if total < planned:
        say(f"{planned - total:,} of {planned:,} runs are recorded already, and skipped")
    if not total:
        return None
    launches = [own for own in parts if len(own)]
    if resumed:
        resumed.take(launches)
        sweep, kept = parent.resume(store, resumed.run_id), resumed
    else:
        config_of_all = _merged([launch.config for launch in launches])
        own = sources(launches)
        sweep = parent.start(
            store,
            _name(launches),
            config_of_all,
            overrides,
            own,
            data="\n".join(data),
            inputs=inputs(each.problem for each in launches),
        )
        kept = journal.begin(store.uri, sweep.run_id, launches, overrides, rows, _files(launches))
    complete = False
    try:
        now("")
        start = perf_counter()
        with system_metrics(store, sweep.run_id):
            results = with_distinct_names(compute(launches, console, kept, finished))
        done, seconds = sum(map(len, results)), perf_counter() - start
        for line in _engines(launches):
            say(line)
        sentence, found = "nothing was finished", []
        if results:
            now("recording")
            if len(results) == 1:
                from adamx.analysis.summary import findings

                found = findings(results[0])
            sentence = sweep.write(results, swept(launches), mode, limit, whole=done == total, found=found)
        rate = {"runs_per_second": kept.computed / seconds} if kept.computed else {}
        now("drawing")
        sweep.finish(
            "FINISHED" if done == total else "KILLED",
            figures(results, how_run(*sweep.begun())) if drawn else (),
            {"seconds": seconds, **rate} if done == total else {},
        )
        complete = done == total
    except BaseException as error:
        with suppress(Exception), environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"):  # the store may be what failed
            sweep.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        if isinstance(error, MemoryError):
            error = exhausted(error)
        if isinstance(error, InputError):
            complete = kept.empty  # as where a user's file cannot be compiled
            if not complete:
                raise InputError(f"{error}; what was finished is kept, and {AGAIN} goes on with it") from error
        raise error
    finally:
        kept.release(done=complete)
        now("")
    return Done(store, sweep.run_id, results, total, sentence, found)


def sources(launches: Sequence[Launch]) -> dict[str, bytes]:
    """The user's files that launches are made of, as they ran, by the place where the record keeps them."""
    made = [(kind, getattr(each, kind)) for each in launches for kind in ("rule", "problem")]
    kinds = {"rule": "optimizer", "problem": "problem"}
    return {f"{kinds[kind]}/{part.source.path}": part.source.content for kind, part in made if part.source}


def _files(launches: Sequence[Launch]) -> dict[str, bytes]:
    """The user's files by their typed paths, for the journal."""
    kinds = {"rule": "optimizer", "problem": "problem"}
    made = [(each.config[kinds[kind]]["name"], getattr(each, kind)) for each in launches for kind in kinds]
    return {name: part.source.content for name, part in made if part.source}


def check_resumable(kept: Journal) -> None:
    """Raise InputError for a journal whose sweep cannot be resumed."""
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


def _engines(launches: Sequence[Launch]) -> list[str]:
    """The ways that engine=auto has found to be the faster ones, in a line a model."""
    ways = {each.problem.name: getattr(each.problem, "ways", {}) for each in launches}
    return [
        f"engine=auto takes {', '.join(dict.fromkeys(own.values()))} for {name}" for name, own in ways.items() if own
    ]


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
