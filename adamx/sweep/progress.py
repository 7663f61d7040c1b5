"""Progress: runs done, rate, time left and the best loss so far; a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter

import numpy as np
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from adamx.engine.launch import Launch
from adamx.engine.results import Results, concatenate
from adamx.inputs.errors import printable
from adamx.sweep import notebook
from adamx.sweep.journal import Journal, missing, part

LINE_SECONDS = 5.0  # between two lines where there is no terminal


class _Bar(Progress):
    """One task in two lines, so that it fits a narrow window: what and how many; then the task's `words`."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield from (task.fields["words"] for task in self.tasks)


def compute(
    launches: Sequence[Launch],
    console: Console,
    journal: Journal | None = None,
    finished: Callable[[Results], object] | None = None,
) -> list[Results]:
    """The Results of each launch, with progress on the console; after Ctrl-C, those runs that were finished.

    Args:
        journal: has the chunks that need not be computed again, and takes those that are.
        finished: told each chunk that was computed.
    """
    results: list[Results] = []
    with SweepProgress(launches, console) as progress:
        for i, launch in enumerate(launches):
            parts = journal.kept(i) if journal else {}
            progress.launch(launch, launch.compiled())
            for chunk in parts.values():
                progress.finished(chunk)
            try:
                for runs in list(missing([(first, len(chunk)) for first, chunk in parts.items()], len(launch))):
                    first = runs.start
                    for chunk in part(launch, runs).stream(progress.tick):
                        if journal:
                            journal.keep(i, first, chunk)
                        progress.finished(chunk)
                        parts[first] = chunk
                        first += len(chunk)
                        if finished:
                            finished(chunk)
            except KeyboardInterrupt:
                return [*results, _joined(parts)] if parts else results
            results.append(_joined(parts))
    return results


def _joined(parts: Mapping[int, Results]) -> Results:
    return concatenate(parts[first] for first in sorted(parts))


class SweepProgress:
    """Follows launches that are computed one after another; a context manager.

    A run that is halfway counts half. Rate and time left are measured from the first tick of a launch on, so that
    compiling does not distort them.
    """

    def __init__(self, launches: Sequence[Launch], console: Console) -> None:
        self.console = console
        self.runs = sum(map(len, launches))
        self.best = math.nan
        self._launches, self._begun = len(launches), 0
        self._work = float(sum(len(launch) * launch.steps for launch in launches))  # in updates
        self._done = 0.0  # updates of finished chunks
        self._seconds = self._measured = 0.0  # computing time, and the updates made in it
        self._last: tuple[float, float] | None = None  # when, and the updates done then
        self._printed = perf_counter()
        count = 2 * len(f"{self.runs:,}") + 1
        self._bar = _Bar(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            BarColumn(),
            TextColumn("{task.completed:,}/{task.total:,}", table_column=Column(min_width=count, no_wrap=True)),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=self.runs, words="")
        self._notebook = notebook.Bar() if console.is_jupyter and not console.quiet else None

    def __enter__(self) -> SweepProgress:
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.console.is_terminal:
            self._bar.stop()
        if self._notebook:
            self._notebook.close()

    def launch(self, launch: Launch, compiled: bool) -> None:
        """The next launch begins; until its first tick its kernel is loaded or compiled."""
        self._launch, self._last = launch, None
        self._begun += 1
        which = f" {self._begun} of {self._launches}" * (self._launches > 1)
        words = f"loading its kernel{which}" if compiled else f"compiling its kernel{which}, once: 5 to 15 s"
        self._bar.update(self._task, description=printable(str(launch)), words=words)
        if self._notebook:
            self._notebook.show(str(launch), round(self.runs * self._done / self._work), self.runs, words, at_once=True)
        elif not self.console.is_terminal:
            self._print(f"{launch}, {len(launch):,} run{'s' * (len(launch) != 1)} of {launch.steps:,} steps: {words}")

    def tick(self, updates: int) -> None:
        """So many updates are done in chunks that are not complete."""
        now, done = perf_counter(), self._done + updates
        if self._last:
            self._seconds += now - self._last[0]
            self._measured += done - self._last[1]
        self._last = now, done
        self._show(done)

    def finished(self, chunk: Results) -> None:
        """A chunk is complete."""
        self._done += len(chunk) * self._launch.steps
        self.best = float(np.fmin(self.best, np.fmin.reduce(chunk.figures["best"]) + chunk.minimum))
        self._show(self._done)

    def _show(self, done: float) -> None:
        words = [] if math.isnan(self.best) else [f"best {self.best:.3g}"]
        if self._measured:
            rate = self._measured / self._seconds
            left = (self._work - done) / rate
            runs = rate * self.runs / self._work
            words = [f"{runs:,.{0 if runs >= 10 else 2}f} runs/s", f"{left:,.0f} s left", *words]
        completed = round(self.runs * done / self._work)
        self._bar.update(
            self._task, completed=completed, description=printable(str(self._launch)), words=", ".join(words)
        )
        if self._notebook:
            self._notebook.show(str(self._launch), completed, self.runs, ", ".join(words))
        elif not self.console.is_terminal and perf_counter() - self._printed > LINE_SECONDS:
            self._print(", ".join([f"{completed:,} of {self.runs:,} runs", *words]))

    def _print(self, line: str) -> None:
        self.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
        self._printed = perf_counter()
