"""The user's own data, `problem.path=mine.csv` or `.npz`, through one of the losses, linear or with hidden layers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from adamx.inputs.datasets import Data, read
from adamx.inputs.errors import InputError, printable, unknown
from adamx.inputs.tables import reading, several
from adamx.problems import LOSSES, Task
from adamx.problems._data import task

HELD_OUT = 0.2  # if the file itself holds out no rows


def build(
    path: str = "",
    target_column: str | int | None = None,
    loss: str = "softmax",
    hidden: Sequence[int] = (),
    activation: str = "relu",
    norm: str = "none",
    batch: int = 0,
    held_out: float | None = None,
    target: float = 0.1,
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | str = "auto",
    na: str | float | Sequence[str | float] | None = None,
    drop: str | int | Sequence[str | int] = (),
    standardize: bool = True,
) -> Task:
    """The task of a file.

    Args:
        target_column, drop: columns by name or position; see `adamx.inputs.datasets.read`.
        separator, decimal, header: of a table, found where they are not said; see `adamx.inputs.tables.reading`.
        na: words or numbers that mean missing, besides ?, NA and the like. Rows that miss a value are then left out,
            and without it refused.
        standardize: whether features and the targets of "squares" are; false takes them as they are.
        hidden, activation, norm, loss, batch, held_out, target: see `adamx.problems._data.task`. Without held_out, the
            rows that the file itself holds out are, or 0.2 of them.
    """
    if not path:
        raise InputError("problem.path is empty: the path of an .npz or .csv file is needed")
    if loss not in LOSSES:
        raise unknown("problem.loss", loss, LOSSES)
    if not isinstance(standardize, bool):
        raise InputError(f"problem.standardize is {standardize!r}: true or false is needed")
    data = read(path, target_column, reading(separator, decimal, header, na), several("problem.drop", drop))
    if data.held and held_out is not None:
        raise InputError(
            f"problem.held_out is {held_out!r}, and dataset {path!r} holds rows out itself, {data.source}: leave it out"
        )
    classes = np.unique(data.y)
    if loss == "squares":
        if data.y.dtype.kind == "U":
            raise InputError(
                f"dataset {path!r} has words in its target {data.target!r}, such as {str(classes[0])!r}: "
                "problem.loss=softmax is needed"
            )
        y = data.y
    else:
        if loss == "logistic" and len(classes) != 2:
            raise InputError(f"dataset {path!r} has {len(classes)} classes: logistic regression needs 2")
        if loss == "softmax" and len(classes) > min(1000, len(data.y) // 2):
            raise InputError(
                f"dataset {path!r} has {len(classes)} different targets in {len(data.y)} rows: use problem.loss=squares"
            )
        y = np.searchsorted(classes, data.y).astype(np.float64)
    made = task(
        data.x,
        y,
        hidden=hidden,
        activation=activation,
        norm=norm,
        loss=loss,
        batch=batch,
        held_out=HELD_OUT if held_out is None else held_out,
        target=target,
        standardize=standardize,
        own=data.held,
    )
    return replace(made, about=_about(path, data, made, 0 if loss == "squares" else len(classes)))


def _about(path: str, data: Data, made: Task, classes: int) -> str:
    """The data that was read, in one line."""
    kind = _count(classes, "class", "es") if classes else "regression"
    parts = [
        _count(len(data.y), "row"),
        _count(data.x.shape[1], "feature"),
        *data.remarks,
        f"target {data.target!r} ({kind})",
        f"{_count(len(made.val_y), 'row')} held out" + (f" ({data.source})" if data.held else ""),
    ]
    dropped = f"; dropped: {', '.join(data.dropped)}" if data.dropped else ""
    return printable(f"{path}: {', '.join(parts)}{dropped}")


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number or 'no'} {what}{plural if number != 1 else ''}"
