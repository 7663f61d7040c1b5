"""Data for tasks: what scikit-learn bundles, and the user's own .npz or table.

Nothing is downloaded and nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adamx.inputs import files
from adamx.inputs.arrays import read_arrays
from adamx.inputs.errors import InputError, first_line
from adamx.inputs.tables import FOUND, Reading, position, read_table

TEXT = (".csv", ".tsv", ".txt")  # or compressed, .csv.gz
NUMBERING = ("", "id", "index", "unnamed: 0")  # names of columns that may merely number the rows; the first is pandas'


@cache
def bundled(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(rows, features) float64 and (rows,) targets of digits, breast_cancer, diabetes or moons (noise 0.2)."""
    from sklearn import datasets

    if name == "moons":
        return datasets.make_moons(n_samples=1000, noise=0.2, random_state=0)
    bunch = getattr(datasets, f"load_{name}")()
    return np.asarray(bunch.data, dtype=np.float64), np.asarray(bunch.target, dtype=np.float64)


class Data(NamedTuple):
    """The data in a user's file.

    Attributes:
        x: (rows, features) float64. y: (rows,) float64, or str where the targets are words.
        names: of the features. target: its name.
        held: the last so many rows are those that the file itself holds out, in its array `source`.
        remarks: on how it was read. dropped: what was left out.
    """

    x: np.ndarray
    y: np.ndarray
    names: list[str]
    target: str
    held: int
    source: str
    remarks: list[str]
    dropped: list[str]


def read(
    path: str, target_column: str | int | None = None, reading: Reading = FOUND, drop: Sequence[object] = ()
) -> Data:
    """Features and targets of a user's file.

    Of an .npz they are arrays of names that say so (`adamx.inputs.arrays`). Of a table (`adamx.inputs.tables`) the
    target is the last column or the one named, as are those to drop; a number is a position, from 1 on or, from the
    end, from -1 on. A column that merely numbers the rows, and says so by its name, is dropped.

    Raises:
        InputError: the file is missing or unreadable, has the wrong columns, words, NaN or fewer than 4 rows.
    """
    file = files.file(path) if isinstance(path, str) else None
    if file is None:
        raise InputError(f"dataset {path!r} does not exist")
    suffix = Path(path.lower().removesuffix(".gz")).suffix
    if suffix not in (".npz", *TEXT):
        raise InputError(f"dataset {path!r} ends in {suffix!r}: .npz (arrays x and y) or {', '.join(TEXT)} is needed")
    try:
        whole = (_of_arrays if suffix == ".npz" else _of_table)(file, target_column, reading, drop)
    except InputError:
        raise
    except Exception as error:  # any file may be given: say what is wrong with it, not where we stumbled
        raise InputError(f"dataset {path!r} cannot be read: {first_line(error)}") from error
    data = whole if reading.na is None else _without_missing(whole)
    rows, *columns = data.x.shape
    if len(columns) != 1 or not columns[0] or data.y.shape != (rows,) or rows < 4:
        left = f", without {', '.join(data.dropped)}" if data.dropped else ""
        raise InputError(
            f"dataset {path!r} has x {data.x.shape} and y {data.y.shape}{left}: (rows, features) and (rows,) are "
            "needed, and 4 rows at least"
        )
    if whole.held and not data.held:
        raise InputError(f"dataset {path!r} has missing values in all rows of {data.source}")
    bad = _cells(data, lambda numbers: ~np.isfinite(numbers))
    if bad.any():
        first, missing = bad.any(axis=1).argmax(), _cells(data, np.isnan).any()
        ways = ["problem.na=NA leaves out rows that miss a value"] * bool(missing and reading.na is None)
        raise InputError(
            f"dataset {path!r} has NaN or infinite values in {bad.any(axis=1).sum()} rows, the first is row {first}, "
            f"in {_columns(data, bad)}: {', '.join([*ways, 'problem.drop leaves out columns'])}"
        )
    return data


def _of_table(file: Path, target_column: str | int | None, reading: Reading, drop: Sequence[object]) -> Data:
    table = read_table(file, reading)
    target = table.names[-1 if target_column in (None, "") else position(str(file), table.names, target_column)]
    typed = [table.names[position(str(file), table.names, each)] for each in drop]
    if target in typed:
        raise InputError(f"problem.drop has {target!r}, which is the target: problem.target_column takes another")
    columns = {name: table.column(name) for name in table.names if name != target and name not in typed}
    words = [f"{name} ({values[0]!s})" for name, values in columns.items() if values.dtype.kind == "U"]
    if words:
        raise InputError(
            f"dataset {str(file)!r} has columns that are not numbers: {', '.join(words)}; problem.drop leaves "
            "columns out"
        )
    numbering = [name for name, values in columns.items() if _numbers_rows(name, values)]
    y = table.column(target)
    remarks = [*(["no header"] * (not table.headed)), *(["the target numbers the rows"] * _numbers_rows(target, y))]
    kept = {name: values for name, values in columns.items() if name not in numbering}
    dropped = [*(f"{name!r} (numbers the rows)" for name in numbering), *(repr(name) for name in dict.fromkeys(typed))]
    dropped += [f"{table.empty} empty last column{'s' * (table.empty > 1)}"] if table.empty else []
    x = np.column_stack(list(kept.values())) if kept else np.empty((len(y), 0))
    return Data(x, y, list(kept), target, 0, "", remarks, dropped)


def _of_arrays(file: Path, target_column: str | int | None, reading: Reading, drop: Sequence[object]) -> Data:
    of_text = {"target_column": target_column, "separator": reading.separator, "decimal": reading.decimal}
    typed = [name for name, value in {**of_text, "header": reading.header}.items() if value not in (None, "")]
    if typed:
        raise InputError(f"problem.{typed[0]} is for tables of text, and dataset {str(file)!r} is an .npz")
    found = read_arrays(file)
    shape, na = found.x.shape[1:], reading.na or frozenset()
    x = found.x.reshape(len(found.x), prod(shape)) if len(shape) > 1 else found.x
    names = [str(i) for i in range(1, prod(x.shape[1:]) + 1)]
    left_out = sorted({position(str(file), names, each) for each in drop})
    x = np.delete(x, left_out, axis=1) if left_out else x
    x = _with_missing(x.astype(np.float64), na)
    y = found.y if found.y.dtype.kind == "U" else _with_missing(found.y.astype(np.float64), na)
    if y.dtype.kind == "U":
        y = np.where(np.isin(np.char.lower(y), [word for word in na if isinstance(word, str)]), "", y)
    dropped = [*(f"column {i + 1}" for i in left_out), *(f"array {name!r}" for name in found.others)]
    kept = [name for i, name in enumerate(names) if i not in set(left_out)]
    flattened = [f"{' x '.join(map(str, shape))} flattened"] if len(shape) > 1 else []
    return Data(x, y, kept, found.target, found.held, found.source, flattened, dropped)


def _with_missing(values: np.ndarray, na: frozenset[str | float]) -> np.ndarray:
    """NaN where a number means missing."""
    return np.where(np.isin(values, [number for number in na if isinstance(number, float)]), np.nan, values)


def _without_missing(data: Data) -> Data:
    """The rows that have all values."""
    lacking = _cells(data, np.isnan)
    rows = np.flatnonzero(lacking.any(axis=1))
    if not len(rows):
        return data
    said = f"{len(rows)} row{'s' * (len(rows) > 1)} with missing values in {_columns(data, lacking)}"
    held = data.held - int((rows >= len(data.y) - data.held).sum())
    kept = {"x": np.delete(data.x, rows, axis=0), "y": np.delete(data.y, rows)}
    return data._replace(**kept, held=held, dropped=[*data.dropped, said])  # type: ignore[arg-type]


def _cells(data: Data, odd: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(rows, features + 1) True where a feature or a target is odd, or where a target that is a word is missing."""
    return np.column_stack([odd(data.x), data.y == "" if data.y.dtype.kind == "U" else odd(data.y)])


def _columns(data: Data, cells: np.ndarray) -> str:
    """The names of the columns with any of these cells."""
    names = [[*data.names, data.target][i] for i in np.flatnonzero(cells.any(axis=0))]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"column{'s' * (len(names) > 1)} {', '.join(map(repr, names[:3]))}{more}"


def _numbers_rows(name: str, values: np.ndarray) -> bool:
    """True if a column has a name such as "id" and consecutive whole numbers, each once."""
    named = name.lower() in NUMBERING and values.dtype.kind == "f" and len(values) > 0
    if not named or not np.isfinite(values).all():
        return False
    first = values.min()
    return bool(first == np.floor(first) and (np.sort(values) == first + np.arange(len(values))).all())
