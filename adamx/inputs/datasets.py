"""Data for tasks: what scikit-learn bundles, and the user's own .npz or .csv; standardised and split.

Nothing is downloaded and nothing is unpickled.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from adamx.inputs import files
from adamx.inputs.errors import InputError, unknown


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

    An .npz has arrays `x` (rows, features) and `y` (rows,). A .csv has a header line; the target is the named
    column, or the last.

    Raises:
        InputError: the file is missing or unreadable, has the wrong columns, text, NaN or fewer than 4 rows.
    """
    file = files.file(path) if isinstance(path, str) else None
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
