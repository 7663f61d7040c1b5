"""Data for tasks: what scikit-learn bundles, and the user's own .npz or .csv; standardised and split.

Nothing is downloaded and nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from adamx import registry
from adamx.problem import Task, layers, whole
from adamx.registry import InputError, unknown


@cache
def bundled(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(rows, features) float64 and (rows,) targets of digits, breast_cancer, diabetes or moons (noise 0.2)."""
    from sklearn import datasets

    if name == "moons":
        return datasets.make_moons(n_samples=1000, noise=0.2, random_state=0)
    bunch = getattr(datasets, f"load_{name}")()
    return np.asarray(bunch.data, dtype=np.float64), np.asarray(bunch.target, dtype=np.float64)


def task(
    x: np.ndarray,
    y: np.ndarray,
    *,
    hidden: int | Sequence[int],
    loss: str,
    batch: int,
    held_out: float,
    target: float,
) -> Task:
    """A Task from raw data: a fixed shuffled split, features standardised by the training rows.

    Args:
        hidden: units of the hidden layers, [] for a linear model.
        loss: one of `problem.LOSSES`. Targets of "softmax" are classes 0..k-1, of "logistic" 0 and 1;
            those of "squares" are standardised.
        batch: rows of a minibatch, 0 for all rows every step.
        held_out: share of rows kept for validation, in (0, 1).
        target: the training loss that counts as reached.
    """
    if not (isinstance(held_out, float) and 0 < held_out < 1):
        raise InputError(f"problem.held_out is {held_out!r}: a share between 0 and 1 is needed")
    if not isinstance(target, (int, float)) or not target > 0:
        raise InputError(f"problem.target is {target!r}: a loss > 0 is needed")
    order = np.random.default_rng(0).permutation(len(x))
    cut = max(1, round(held_out * len(x)))
    val, train = order[:cut], order[cut:]
    if whole("problem.batch", batch, 0) > len(train):
        raise InputError(f"problem.batch is {batch}: at most the {len(train)} training rows, or 0 for all of them")
    with np.errstate(over="ignore", invalid="ignore"):  # said in words below
        mean, spread = x[train].mean(axis=0), x[train].std(axis=0)
        x = (x - mean) / np.where(spread > 0, spread, 1.0)
        if loss == "squares":
            y = (y - y[train].mean()) / (y[train].std() or 1.0)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("the data's values are too large: their squares must be finite")
    outputs = int(y.max()) + 1 if loss == "softmax" else 1
    widths = layers(x.shape[1], hidden, outputs)
    return Task(x[train], y[train], x[val], y[val], widths, loss, batch, float(target))


def read(path: str, target_column: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of a user's file.

    An .npz has arrays `x` (rows, features) and `y` (rows,). A .csv has a header line; the target is the named
    column, or the last.

    Raises:
        InputError: the file is missing or unreadable, has the wrong columns, text, NaN or fewer than 4 rows.
    """
    file = registry.file(path) if isinstance(path, str) else None
    if file is None:
        raise InputError(f"dataset {path!r} does not exist")
    suffix = Path(path).suffix
    if suffix not in (".npz", ".csv"):
        raise InputError(f"dataset {path!r} ends in {suffix!r}: .npz (arrays x and y) or .csv is needed")
    try:
        x, y = _read_npz(file) if suffix == ".npz" else _read_csv(file, target_column)
    except InputError:
        raise
    except Exception as error:  # any file may be given: say what is wrong with it, not where we stumbled
        raise InputError(f"dataset {path!r} cannot be read: {error}".splitlines()[0]) from error
    if x.ndim != 2 or y.shape != (len(x),) or x.shape[1] < 1 or len(x) < 4:
        raise InputError(f"dataset {path!r} has x {x.shape} and y {y.shape}: (rows, features) and (rows,) are needed")
    bad = ~(np.isfinite(x).all(axis=1) & np.isfinite(y))
    if bad.any():
        raise InputError(
            f"dataset {path!r} has NaN or infinite values in {bad.sum()} rows, the first is row {bad.argmax()}"
        )
    return x, y


def _read_npz(file: Path) -> tuple[np.ndarray, np.ndarray]:
    with file.open("rb") as content, np.load(content, allow_pickle=False) as arrays:
        for name in ("x", "y"):
            if name not in arrays:
                raise InputError(f"dataset {str(file)!r} has arrays {sorted(arrays)}: x and y are needed")
        x, y = arrays["x"], arrays["y"]
        if {x.dtype.kind, y.dtype.kind} - set("biuf"):
            raise InputError(f"dataset {str(file)!r} has x of {x.dtype} and y of {y.dtype}: numbers are needed")
        return x.astype(np.float64), y.astype(np.float64)


def _read_csv(file: Path, target_column: str | None) -> tuple[np.ndarray, np.ndarray]:
    import pandas as pd

    frame = pd.read_csv(file)
    column = target_column or frame.columns[-1]
    if column not in frame:
        raise unknown("column", column, map(str, frame.columns))
    text = [c for c in frame.columns if c != column and not pd.api.types.is_numeric_dtype(frame[c])]
    if text:
        raise InputError(f"dataset {str(file)!r} has columns that are not numbers: {', '.join(map(str, text))}")
    y: Any = frame.pop(column)
    if not pd.api.types.is_numeric_dtype(y):
        y = np.where(y.isna(), np.nan, pd.factorize(y, sort=True)[0].astype(float))
    return frame.to_numpy(np.float64), np.asarray(y, dtype=np.float64)
