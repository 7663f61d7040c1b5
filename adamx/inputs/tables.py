"""Tables as people have them: a text file with a row a line, read without guessing in silence.

The separator is the first of `SEPARATORS` that cuts every line into equally many fields. The first line is a header
unless all of its fields are numbers. An empty last column, from a separator at the end of every line, is dropped. A
column is numbers, or it is text.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path

import numpy as np

from adamx.inputs.errors import InputError

SEPARATORS = ("\t", ";", "|", ",")  # the comma last: it stands within numbers too
MISSING = {"", "?", "na", "n/a", "nan", "null", "none"}
GROUPED = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?")  # 1,234.5
DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")  # 1234,5


def read_table(file: Path) -> dict[str, np.ndarray]:
    """The columns of a text file by name: (rows,) float64 with NaN for what is missing, or (rows,) str.

    A column without a header is named for its position, "1" for the first.

    Raises:
        InputError: it is no text, its lines have different numbers of fields, or two columns have one name.
    """
    content = file.read_bytes()
    try:
        text = (gzip.decompress(content) if file.suffix.lower() == ".gz" else content).decode("utf-8-sig")
        separator = _separator(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error, EOFError, OSError) as error:
        raise InputError(f"dataset {str(file)!r} is no table of UTF-8 text: {error}") from None
    if not lines:
        raise InputError(f"dataset {str(file)!r} is empty")
    rows = [[cell.strip() for cell in row] for _, row in lines]
    while len(rows[0]) > 1 and all(len(row) == len(rows[0]) and not row[-1] for row in rows):
        rows = [row[:-1] for row in rows]
    width = len(rows[0])
    for (line, _), row in zip(lines, rows, strict=True):
        if len(row) != width:
            raise InputError(
                f"dataset {str(file)!r} has {len(row)} fields in line {line} and {width} in its first line, cut at "
                f"{separator!r}: a field with a {separator!r} in it is to be quoted"
            )
    numeric = all(_number(cell) is not None or _with_commas(cell) for cell in rows[0])
    names = [str(i) for i in range(1, width + 1)] if numeric else rows.pop(0)
    if len(set(names)) < width:
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"dataset {str(file)!r} has two columns that are called {twice!r}")
    return {name: _column(file, name, [row[i] for row in rows]) for i, name in enumerate(names)}


def _separator(text: str) -> str:
    """The first of `SEPARATORS` that cuts the first lines into equally many fields; a comma where none does."""
    head = [line for line in text.splitlines()[:50] if line.strip()]
    for separator in SEPARATORS:
        widths = {len(row) for row in csv.reader(head, delimiter=separator)}
        if len(widths) == 1 and widths != {1}:
            return separator
    return ","


def _number(cell: str) -> float | None:
    """The number that a cell is, NaN where it says that it has none; None for text."""
    if cell.lower() in MISSING:
        return np.nan
    try:
        return float(cell) if "_" not in cell else None
    except ValueError:
        return None


def _with_commas(cell: str) -> bool:
    return bool(GROUPED.fullmatch(cell) or DECIMAL_COMMA.fullmatch(cell))


def _column(file: Path, name: str, cells: list[str]) -> np.ndarray:
    """Numbers where all cells are numbers in one way of writing them; else the text.

    Commas with three digits after each of them, in all cells that have commas, are those of thousands.

    Raises:
        InputError: some cells are numbers and some are not, or decimal signs are mixed.
    """
    plain = [_number(cell) for cell in cells]
    if None not in plain:
        return np.array(plain, np.float64)
    odd = [cell for cell, number in zip(cells, plain, strict=True) if number is None]
    grouped, decimal = (all(way.fullmatch(cell) for cell in odd) for way in (GROUPED, DECIMAL_COMMA))
    if decimal and not grouped:
        if any("." in cell for cell in cells):
            raise InputError(f"dataset {str(file)!r} has points and commas as decimal signs in column {name!r}")
        return np.array([_number(cell.replace(",", ".")) for cell in cells], np.float64)
    if grouped:
        return np.array([_number(cell.replace(",", "")) for cell in cells], np.float64)
    if any(number is not None and not np.isnan(number) for number in plain):
        row = plain.index(None)
        raise InputError(f"dataset {str(file)!r} has numbers in column {name!r}, and {cells[row]!r} in row {row}")
    return np.array(cells)
