"""A recorded sweep, as `adamx.sweep` and `adamx.load` give it: all of its runs, and what can be asked of them."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console

from adamx import replay
from adamx.analysis import shown
from adamx.engine.results import Results
from adamx.engine.settings import best
from adamx.inputs.errors import InputError
from adamx.record import readback
from adamx.record.link import link
from adamx.record.readback import Recorded
from adamx.record.store import Store
from adamx.replay import Replayed
from adamx.report import REPORT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adamx.why.cause import Cause


@dataclass(frozen=True, repr=False)
class RecordedSweep:
    """A sweep in MLflow; a run of it is named by its row in `table`."""

    recorded: Recorded

    def __len__(self) -> int:
        """The number of runs."""
        return len(self.recorded.rows)

    @property
    def run_id(self) -> str:
        """The id of the sweep's run in MLflow."""
        return self.recorded.parent.info.run_id

    @property
    def results(self) -> list[Results]:
        """A part for each optimizer, problem, schedule and precision, one after another."""
        return self.recorded.results

    @property
    def report(self) -> str | None:
        """Where a browser can open the page with the map, its axes and every curve; None where it has none."""
        return link(self.recorded.store, self.recorded.parent, REPORT)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a run, as `Results.table`; what tells the parts apart (optimizer, problem, ...) stands before."""
        names = [{**r.names, "problem": r.task} for r in self.results]
        telling = [key for key in names[0] if len({each[key] for each in names}) > 1]
        tables = []
        for each, r in zip(names, self.results, strict=True):
            own = pd.DataFrame({key: each[key] for key in telling}, index=range(len(r)))
            tables.append(pd.concat([own, r.table], axis=1))
        return pd.concat(tables).set_axis(pd.Index(self.recorded.rows, name="row"))

    def best(self, n: int = 5, rank: str = "final_loss") -> pd.DataFrame:
        """The n best settings on each problem, the best first, as `Results.best`; medians over seeds."""
        return best(self.results, n, rank)

    def map(self, x: str | None = None, y: str | None = None, ax: Axes | None = None) -> Figure | None:
        """The regimes over two swept hyperparameters, as `Results.map`."""
        return self._one.map(x, y, ax)

    def plot(self, by: str = "regime", ax: Axes | None = None) -> Figure:
        """The loss over the steps, as `Results.plot`."""
        return self._one.plot(by, ax)

    def why(self, row: int | None = None, *knobs: str, trust: bool = False) -> Cause:
        """Which single change would have saved the run of a row: it is computed again with one knob changed at a time.

        Args:
            row: of `table`; not needed where this is a single run. knobs: only these, such as "eps", "lr".
            trust: whether Python files that the record carries may run, though nobody has run them here.
        Raises:
            InputError: no such row or knob.
        """
        from adamx.why.explain import explain

        found = self.recorded if row is None else readback.read(f"{self.run_id}:{row}", self.recorded.store)
        return explain(found, knobs, Console(), trust)

    def replay(self, trust: bool = False) -> Replayed:
        """Compute all runs again from the record alone, and compare their curves to the last bit."""
        return replay.replayed(self.recorded, Console(), trust)

    def open(self) -> None:
        """Open the report in the browser.

        Raises:
            InputError: it has none.
        """
        webbrowser.open(readback.artifact(self.run_id, REPORT, self.recorded.store))

    @property
    def _one(self) -> Results:
        if len(self.results) > 1:
            parts = ", ".join(f"[{i}] {r.rule} on {r.task}, {r.dtype}" for i, r in enumerate(self.results))
            raise InputError(f"this sweep has several parts, results[0] and so on, each to be drawn alone: {parts}")
        return self.results[0]

    def __repr__(self) -> str:
        return shown.text(self.results, f"sweep {self.run_id}")

    def _repr_html_(self) -> str:
        report = self.report
        where = f'<a href="{report}" target="_blank">report</a>' if report else ""
        return shown.html(self.results, f"sweep <code>{self.run_id}</code> {where}")


def load(address: str = "last", store: Store | None = None) -> RecordedSweep:
    """A recorded sweep, or one run of it, from MLflow: the store and the experiment that `adamx.sweep` would write to.

    Args:
        address: a sweep's run id or "last", the one begun last; "last:12" for one row; or a child's run id.
    Raises:
        InputError: there is none, or it was not recorded to its end.
    """
    store = store or readback.open()
    return RecordedSweep(readback.read(address, store))
