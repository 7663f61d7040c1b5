"""Results: what a grid of runs did: curves, final points and one row of figures a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from adamx.regimes import Criteria, classify

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True, repr=False)
class Results:
    """Every run of one optimizer on one problem.

    Attributes:
        optimizer, problem: their names.
        dtype: "float32" or "float64", the arithmetic of the kernel.
        backend: where it ran. schedule: of lr.
        settings: the problem's settings; setup: those of them that are not the problem's defaults.
        steps: (records,) the step of each record; the first is 0, the last the final step.
        loss: (records, runs) the training loss over all rows (tasks) or the function's value (landscapes).
        curves: further recorded curves of the same shape (accuracy; of held-out rows val_loss, val_accuracy).
        x: (runs, coordinates) the final points.
        columns: the swept columns (runs,): every hyperparameter, and seed.
        figures: what `regimes.track` kept at every step (runs,), by name.
        minimum: the problem's known least loss, 0 where none is known; gaps are measured from it.
        criteria: the thresholds the figures were kept with.
        digests: of "optimizer" and "problem", the content of what was computed: code and data.
        files: of those of them that are a user's files, where a record keeps the file.
    """

    optimizer: str
    problem: str
    dtype: str
    backend: str
    steps: np.ndarray
    loss: np.ndarray
    x: np.ndarray
    columns: Columns
    figures: Columns
    minimum: float
    criteria: Criteria
    curves: Columns = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    setup: Mapping[str, object] = field(default_factory=dict)
    schedule: str = "constant"
    digests: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.loss.shape[1]

    @property
    def names(self) -> dict[str, str]:
        """The names that all runs share: optimizer, schedule, problem, dtype, backend."""
        return {key: getattr(self, key) for key in ("optimizer", "schedule", "problem", "dtype", "backend")}

    @property
    def rule(self) -> str:
        """The optimizer with its schedule, such as "adam cosine"."""
        return self.optimizer if self.schedule == "constant" else f"{self.optimizer} {self.schedule}"

    @property
    def task(self) -> str:
        """The problem with what was changed of it, such as "quadratic curvature=1"."""
        return " ".join([self.problem, *(f"{k}={v}".replace(" ", "") for k, v in self.setup.items())])

    @property
    def title(self) -> str:
        """A title: optimizer, problem, runs, steps, dtype."""
        runs = f"{len(self):,} run{'s' * (len(self) != 1)}"
        return f"{self.rule} on {self.task}: {runs}, {int(self.steps[-1]):,} steps, {self.dtype}"

    @cached_property
    def regime(self) -> np.ndarray:
        """(runs,) one of `regimes.REGIMES` for each run."""
        if "regime" in self.figures:  # from a record of a version that kept other figures
            return self.figures["regime"]
        return classify(self.figures, self.criteria, int(self.steps[-1]))

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a run: hyperparameters, seed, then the figures and the regime.

        Steps that never came (`reached_step`, `first_spike_step`, `diverged_step`) are <NA>. `final_loss` is of all
        training rows; the figures of a minibatch task follow its smoothed minibatch loss: `best_loss` may lie above.
        """
        import pandas as pd

        def step(name: str) -> pd.Series:
            values = pd.Series(self.figures[name], dtype="Int64")
            return values.mask(values < 0)

        spiked = self.figures["spikes"] > 0
        with np.errstate(over="ignore", invalid="ignore"):
            largest = self.figures["peak_most"] / self.figures["base_most"]
        final = {f"final_{name}": values[-1] for name, values in self.curves.items()}
        return pd.DataFrame(
            {
                **self.columns,
                "final_loss": self.loss[-1],
                **final,
                "best_loss": self.figures["best"] + self.minimum,
                "best_step": step("best_step"),
                "spikes": self.figures["spikes"],
                "first_spike_step": step("first_spike_step"),
                "largest_spike": np.where(spiked, largest, np.nan),
                "reached_step": step("reached_step"),
                "popped": self.figures["popped"] > 0,
                "diverged_step": step("diverged_step"),
                **{name: self.figures[name] for name in ("crossings", "late_crossings") if name in self.figures},
                **({"first_crossing_step": step("first_crossing_step")} if "crossings" in self.figures else {}),
                "regime": pd.Categorical(self.regime),
            }
        )

    @cached_property
    def by_setting(self) -> pd.DataFrame:
        """A row a distinct setting, in no order: what `engine.settings.settings` ranks, again and again."""
        from adamx.engine.settings import by_setting

        return by_setting(self)

    def best(self, n: int = 5, rank: str = "final_loss") -> pd.DataFrame:
        """The n best settings of the swept hyperparameters, the best first; medians over seeds.

        Args:
            rank: what is best: `final_loss`, `val_loss`, `val_accuracy`, ..., `reached_step`.
        """
        from adamx.engine.settings import best

        return best([self], n, rank)

    def map(self, x: str | None = None, y: str | None = None, ax: Axes | None = None) -> Figure | None:
        """The regimes over two swept hyperparameters, a panel for each value of the others.

        Args:
            x, y: by default lr and eps, then those with the most values.
            ax: axes to draw on, where there is one panel.
        Returns:
            The figure; None where nothing was swept.
        Raises:
            InputError: x or y was not swept.
        """
        from adamx.analysis import plots

        return plots.regime_map(self, x, y, ax)

    def plot(self, by: str = "regime", ax: Axes | None = None) -> Figure:
        """The loss over the steps, the median and the 10-90 % band of each group of runs.

        Args:
            by: "regime", a panel each; or a column, such as "eps", a line for each value.
            ax: axes to draw on.
        Raises:
            InputError: no such column.
        """
        from adamx.analysis import curves

        return curves.curves(self) if by == "regime" and ax is None else curves.lines(self, by, ax)

    def __repr__(self) -> str:
        from adamx.analysis import shown

        return shown.text([self])

    def _repr_html_(self) -> str:
        from adamx.analysis import shown

        return shown.html([self])

    def take(self, runs: np.ndarray) -> Results:
        """The results of some runs, by position or mask."""
        return replace(
            self,
            loss=self.loss[:, runs],
            x=self.x[runs],
            columns={k: v[runs] for k, v in self.columns.items()},
            figures={k: v[runs] for k, v in self.figures.items()},
            curves={k: v[:, runs] for k, v in self.curves.items()},
        )


def with_distinct_names(results: Sequence[Results]) -> list[Results]:
    """Results in which different things have different names: the second `mine` becomes `mine (2)`."""
    found = list(results)
    for kind in ("optimizer", "problem"):
        taken: dict[str, list[str]] = {}  # by name its owners: the shipped one, then files in their order
        for r in sorted(results, key=lambda r: kind in r.files):
            known = taken.setdefault(getattr(r, kind), [])
            if r.files.get(kind, "") not in known:
                known.append(r.files.get(kind, ""))
        for i, r in enumerate(found):
            name, file = getattr(r, kind), r.files.get(kind, "")
            if at := taken[name].index(file):
                found[i] = replace(r, **{kind: f"{name} ({at + 1})"})  # type: ignore[arg-type]
    return found


def concatenate(parts: Iterable[Results]) -> Results:
    """One Results from chunks of the same optimizer, problem and steps, in order."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]

    def join(name: str, axis: int) -> dict[str, np.ndarray]:
        return {k: np.concatenate([getattr(p, name)[k] for p in parts], axis) for k in getattr(parts[0], name)}

    return replace(
        parts[0],
        loss=np.concatenate([p.loss for p in parts], axis=1),
        x=np.concatenate([p.x for p in parts]),
        columns=join("columns", 0),
        figures=join("figures", 0),
        curves=join("curves", 1),
    )
