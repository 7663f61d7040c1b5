"""The user's own data, `problem.path=mine.csv` or `.npz`, through one of the losses, linear or with hidden layers."""

from collections.abc import Sequence

import numpy as np

from adamx.inputs.datasets import read
from adamx.inputs.errors import InputError, unknown
from adamx.problems import LOSSES, Task
from adamx.problems._data import task


def build(
    path: str = "",
    target_column: str | None = None,
    loss: str = "softmax",
    hidden: Sequence[int] = (),
    batch: int = 0,
    held_out: float = 0.2,
    target: float = 0.1,
) -> Task:
    if not path:
        raise InputError("problem.path is empty: the path of an .npz or .csv file is needed")
    if loss not in LOSSES:
        raise unknown("problem.loss", loss, LOSSES)
    x, y = read(path, target_column)
    classes = np.unique(y)
    if loss == "logistic" and len(classes) != 2:
        raise InputError(f"dataset {path!r} has {len(classes)} classes: logistic regression needs 2")
    if loss == "softmax" and len(classes) > min(1000, len(y) // 2):
        raise InputError(
            f"dataset {path!r} has {len(classes)} different targets in {len(y)} rows: use problem.loss=squares"
        )
    if loss != "squares":
        y = np.searchsorted(classes, y).astype(np.float64)
    return task(x, y, hidden=hidden, loss=loss, batch=batch, held_out=held_out, target=target)
