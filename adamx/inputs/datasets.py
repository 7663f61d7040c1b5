"""Data for tasks: what scikit-learn bundles, and the user's own .npz or .csv; standardised and split.

Nothing is downloaded and nothing is unpickled.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from adamx.inputs import files
from adamx.inputs.errors import InputError, first_line, unknown
from adamx.inputs.tables import read_table

TEXT = (".csv", ".tsv", ".txt")  # or compressed, .csv.gz


@cache
def bundled(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(rows, features) float64 and (rows,) targets of digits, breast_cancer, diabetes or moons (noise 0.2)."""
    from sklearn import datasets

    if name == "moons":
        return datasets.make_moons(n_samples=1000, noise=0.2, random_state=0)
    bunch = getattr(datasets, f"load_{name}")()
    return np.asarray(bunch.data, dtype=np.float64), np.asarray(bunch.target, dtype=np.float64)


def read(path: str, target_column: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of a user's file.

    An .npz has arrays `x` (rows, features) and `y` (rows,). Of a table (`adamx.inputs.tables`) the target is the named
    column, or the last; a column without a header is named for its position, from 1 on.

    Raises:
        InputError: the file is missing or unreadable, has the wrong columns, text, NaN or fewer than 4 rows.
    """
    file = files.file(path) if isinstance(path, str) else None
    if file is None:
        raise InputError(f"dataset {path!r} does not exist")
    suffix = Path(path.lower().removesuffix(".gz")).suffix
    if suffix not in (".npz", *TEXT):
        raise InputError(f"dataset {path!r} ends in {suffix!r}: .npz (arrays x and y) or {', '.join(TEXT)} is needed")
    try:
        x, y = _read_npz(file) if suffix == ".npz" else _read_text(file, target_column)
    except InputError:
        raise
    except Exception as error:  # any file may be given: say what is wrong with it, not where we stumbled
        raise InputError(f"dataset {path!r} cannot be read: {first_line(error)}") from error
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


def _read_text(file: Path, target_column: str | None) -> tuple[np.ndarray, np.ndarray]:
    columns = read_table(file)
    column = list(columns)[-1] if target_column in (None, "") else str(target_column)
    if column not in columns:
        raise unknown("column", column, columns)
    y = columns.pop(column)
    text = [name for name, values in columns.items() if values.dtype.kind == "U"]
    if text:
        raise InputError(f"dataset {str(file)!r} has columns that are not numbers: {', '.join(text)}")
    x = np.column_stack(list(columns.values())) if columns else np.empty((len(y), 0))
    if y.dtype.kind == "U":  # classes, in alphabetical order
        y = np.where(np.char.lower(y) == "", np.nan, np.unique(y, return_inverse=True)[1].astype(float))
    return x, y.astype(np.float64)
