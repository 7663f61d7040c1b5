"""Arrays in an .npz: found by the names that people give them, and read only as far as is safe.

Headers are read first: what would unpack to more than `LIMIT`, or to Python objects, is refused before it does.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import IO, NamedTuple
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy

from adamx.inputs.errors import InputError
from adamx.inputs.tables import LIMIT

PAIRS = (("x", "y"), ("data", "target"), ("features", "labels"), ("x_train", "y_train"))  # in any case
HELD_OUT = (("x_val", "y_val"), ("x_test", "y_test"))  # beside the last; the first that is there


class Arrays(NamedTuple):
    """Features (rows, ...) and targets (rows,), numbers or words; the last `held` rows, of `source`, are held out."""

    x: np.ndarray
    y: np.ndarray
    target: str
    held: int
    source: str
    others: list[str]


def read_arrays(file: Path) -> Arrays:
    """The features and targets in an .npz.

    Raises:
        InputError: there is not one pair of them, or it holds objects, words for features, or more than the limit.
    """
    with ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        wanted = _wanted(file, names)
        _check(file, sum(archive.getinfo(f"{name}.npy").file_size for name in wanted))
        size = 0
        for name in wanted:
            with archive.open(f"{name}.npy") as content:
                size += _unpacked_size(file, name, content)
        _check(file, size)
        found = []
        for name in wanted:
            with archive.open(f"{name}.npy") as content:
                found.append(npy.read_array(content, allow_pickle=False))
    xs, ys = found[::2], [_flat(y) for y in found[1::2]]
    for x, y in zip(xs, ys, strict=True):
        alike = x.shape[1:] == xs[0].shape[1:] and (y.dtype.kind == "U") == (ys[0].dtype.kind == "U")
        if y.shape != x.shape[:1] or not alike:
            said = ", ".join(f"{n} {array.shape} {array.dtype}" for n, array in zip(wanted, found, strict=True))
            raise InputError(f"dataset {str(file)!r} has {said}: (rows, features) and (rows,) are needed")
    held, source = (len(xs[1]), wanted[2]) if len(xs) > 1 else (0, "")
    others = [name for name in names if name not in wanted]
    return Arrays(np.concatenate(xs), np.concatenate(ys), wanted[1], held, source, others)


def _wanted(file: Path, names: list[str]) -> list[str]:
    """The names of features and targets and, after them, of those that are held out, as they stand in the file."""
    spelled: dict[str, list[str]] = {}
    for name in names:
        spelled.setdefault(name.lower(), []).append(name)
    pairs = [pair for pair in PAIRS if set(pair) <= set(spelled)]
    wanted = list(pairs[0]) if pairs else []
    if pairs == [PAIRS[-1]]:
        wanted += next((pair for pair in HELD_OUT if set(pair) & set(spelled)), ())
    if len(pairs) != 1 or any(len(spelled.get(name, ())) > 1 for name in wanted):
        first, *others = (" and ".join(pair) for pair in PAIRS)
        raise InputError(
            f"dataset {str(file)!r} has arrays {sorted(names)}: {first} are needed, or {', '.join(others)}, of all "
            "these one pair"
        )
    if not set(wanted) <= set(spelled):
        raise InputError(f"dataset {str(file)!r} has arrays {sorted(names)}: {' and '.join(wanted[2:])} go together")
    return [spelled[name][0] for name in wanted]


def _check(file: Path, size: int) -> None:
    if size > LIMIT:
        raise InputError(
            f"dataset {str(file)!r} unpacks to {size / 1e9:.3g} GB of numbers: at most {LIMIT / 1e9:g} GB are read"
        )


def _unpacked_size(file: Path, name: str, content: IO[bytes]) -> int:
    """Bytes that an array takes as float64, from its header alone."""
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(npy.read_magic(content))
    if read is None:
        raise InputError(f"dataset {str(file)!r} has {name!r} in a format for tables: numbers are needed")
    shape, _, dtype = read(content)
    if dtype.hasobject:
        raise InputError(
            f"dataset {str(file)!r} has Python objects in {name!r}, which are code that would run: numbers are needed, "
            "or words for targets, as .astype(str) gives"
        )
    if dtype.kind not in ("biufUS" if name.lower() in {y for _, y in (*PAIRS, *HELD_OUT)} else "biuf"):
        raise InputError(f"dataset {str(file)!r} has {name!r} of {dtype}: numbers are needed")
    return prod(shape) * max(dtype.itemsize, 8)


def _flat(y: np.ndarray) -> np.ndarray:
    """(rows,) of float64 or str, also from (rows, 1)."""
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    return np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y
