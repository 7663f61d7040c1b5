"""Description: what MLflow shows as the description of a sweep and of an experiment of sweeps, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NOTE = "mlflow.note.content"  # MLflow shows it as the description of a run or an experiment
ABOUT = """\
Sweeps by adamx: whole training runs of an optimizer, one for each point of a grid of lr, beta1, beta2, eps and seeds.

A sweep is a parent run. Its description has the command that repeats it and a link that compares its runs; among its
artifacts are the maps and the table of all runs. The runs are the children below it; to search among them:

    metrics.eps < 1e-6 and tags.regime = 'spiking'

To start another:

    python -m adamx.sweep optimizer=adam problem=digits_mlp optimizer.lr=log:1e-4:1:9 optimizer.eps=1e-12,1e-8,1e-4
"""


def begun(name: str, command: str, about: str = "") -> str:
    """The description of a sweep that has just begun: how to repeat it."""
    about = about or f"adamx sweep: {name}. Every run of the grid is a nested run."
    return f"{about}\n\nReproduce with\n\n    {command}\n"


def done(best: Sequence[str], counts: str, found: Sequence[str], before: str, tags: Mapping[str, str]) -> str:
    """The description of a sweep that is done: the answer first.

    Args:
        best: a line for each problem. counts: of runs in each regime. found: the findings, a line a hyperparameter.
        before: what the description was before. tags: what else is known, by name.
    """
    answer = [f"- {line}" for line in (*best, counts, *found)]
    return "\n".join([*answer, "", before, *(f"- {name}: {value}" for name, value in tags.items())])
