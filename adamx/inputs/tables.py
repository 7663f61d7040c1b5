"""Tables as people have them: a text file with a row a line, read without guessing in silence.

What `Reading` leaves open is found. The separator is the first of `SEPARATORS` that cuts every line into equally many
fields. The first line is a header unless all of its fields are numbers. A column is numbers, or it is words. An empty
last column, from a separator at the end of every line, is left out.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adamx.inputs.errors import InputError, unknown

# The comma late: it stands within numbers too; and the space last: it stands within words
SEPARATORS = {"tab": "\t", "semicolon": ";", "pipe": "|", "comma": ",", "space": " "}
DECIMALS = {"point": ".", "comma": ","}
MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})
GROUPED = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?")  # 1,234.5
SWAPPED = str.maketrans(".,", ",.")
LIMIT = 2_000_000_000  # bytes that a file may unpack to


class Reading(NamedTuple):
    """How a table is read; what is None is found.

    Attributes:
        separator, decimal: the character. header: whether the first line is one.
        na: what else means missing: words in lower case, and numbers. None: a table with missing values is refused.
    """

    separator: str | None = None
    decimal: str | None = None
    header: bool | None = None
    na: frozenset[str | float] | None = None


FOUND = Reading()


def reading(separator: object = None, decimal: object = None, header: object = "auto", na: object = None) -> Reading:
    """The Reading of a problem's settings.

    Args:
        separator, decimal: a name in `SEPARATORS`, `DECIMALS`, or the character. header: true, false or "auto".
        na: a word, or a list of them.
    Raises:
        InputError: another value; the message says which are allowed.
    """
    if header != "auto" and not isinstance(header, bool):
        raise InputError(f"problem.header is {header!r}: true, false or auto is needed")
    words = None if na is None else several("problem.na", na)
    return Reading(
        _character("separator", separator, SEPARATORS),
        _character("decimal", decimal, DECIMALS),
        header if isinstance(header, bool) else None,
        None if words is None else frozenset(form for word in words for form in _forms(word)),
    )


def several(what: str, typed: object) -> list[str | int | float]:
    """A list, from one word or number, or from a list of them."""
    found: list[Any] = list(typed) if isinstance(typed, (list, tuple)) else [typed]
    if any(isinstance(each, bool) or not isinstance(each, (str, int, float)) for each in found):
        raise InputError(f"{what} is {typed!r}: a word or a number, or a list of them, is needed")
    return found


def _character(setting: str, typed: object, allowed: dict[str, str]) -> str | None:
    if typed is None or typed in allowed.values():
        return typed  # type: ignore[return-value]
    if not isinstance(typed, str) or typed not in allowed:
        raise unknown(f"problem.{setting}", typed, allowed)
    return allowed[typed]


def _forms(word: str | int | float) -> list[str | float]:
    """The forms of a word: in a column of words, and in one of numbers if it is a number."""
    text = str(word).strip()
    number = _number(text, ".", frozenset())
    return [text.lower(), *([] if number is None else [number])]


@dataclass(frozen=True)
class Table:
    """The columns of a text file. `names` are the header's, or "1", "2", ...; `empty` last ones were left out."""

    file: str
    reading: Reading
    names: list[str]
    cells: list[list[str]]
    headed: bool
    empty: int

    def column(self, name: str) -> np.ndarray:
        """(rows,) float64 with NaN for what is missing, where all cells are numbers in one way of writing them; else
        (rows,) str with "" for what is missing.

        Commas with three digits after each of them, in all cells that have commas, are those of thousands.

        Raises:
            InputError: some cells are numbers and some are not, or decimal signs are mixed.
        """
        cells, na = self.cells[self.names.index(name)], self.reading.na or frozenset()
        ways = [self.reading.decimal] if self.reading.decimal else list(DECIMALS.values())
        found = [[_number(cell, way, na) for cell in cells] for way in ways]
        points = any("." in cell for cell in cells)
        proven = bool(self.reading.decimal) or not points or any("." in cell and "," in cell for cell in cells)
        for way, numbers in zip(ways, found, strict=True):
            if None not in numbers and (way == "." or proven):
                return np.array(numbers, np.float64)
        known = [next((v for v in values if v is not None), None) for values in zip(*found, strict=True)]
        if None not in known:
            raise InputError(f"dataset {self.file!r} has points and commas as decimal signs in column {name!r}")
        if any(number is not None and not np.isnan(number) for number in known):
            row = known.index(None)
            raise InputError(
                f"dataset {self.file!r} has numbers in column {name!r}, and {cells[row]!r} in row {row}: problem.na "
                "takes words that mean missing, problem.decimal the decimal sign"
            )
        missing = (MISSING - {"none"}) | na  # "none" is a class like others
        return np.array(["" if cell.lower() in missing else cell for cell in cells])


def read_table(file: Path, reading: Reading = FOUND) -> Table:
    """The table in a text file, which may be compressed, .gz.

    Raises:
        InputError: it is no text, its lines have different numbers of fields, or two columns have one name.
    """
    content = file.read_bytes()
    try:
        text = (_unpacked(file, content) if file.suffix.lower() == ".gz" else content).decode("utf-8-sig")
        separator = reading.separator or _separator(text)
        reader = _cut(io.StringIO(text, newline=""), separator)
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error, EOFError, OSError) as error:
        raise InputError(f"dataset {str(file)!r} is no table of UTF-8 text: {error}") from None
    if not lines:
        raise InputError(f"dataset {str(file)!r} is empty")
    rows, empty = [[cell.strip() for cell in row] for _, row in lines], 0
    while len(rows[0]) > 1 and all(len(row) == len(rows[0]) and not row[-1] for row in rows):
        rows, empty = [row[:-1] for row in rows], empty + 1
    width = len(rows[0])
    for (line, _), row in zip(lines, rows, strict=True):
        if len(row) != width:
            raise InputError(
                f"dataset {str(file)!r} has {len(row)} fields in line {line} and {width} in its first line, cut at "
                f"{separator!r}: a field with a {separator!r} in it is to be quoted; problem.separator takes another"
            )
    headed = not _numeric(rows[0], reading) if reading.header is None else reading.header
    names = rows.pop(0) if headed else [str(i) for i in range(1, width + 1)]
    if len(set(names)) < width:
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"dataset {str(file)!r} has two columns that are called {twice!r}")
    return Table(str(file), reading, names, [[row[i] for row in rows] for i in range(width)], headed, empty)


def position(file: str, names: Sequence[str], typed: object) -> int:
    """The position of a typed column: a name, or else a number, from 1 on or, from the end, from -1 on.

    Raises:
        InputError: there is none.
    """
    word, count = str(typed), len(names)
    if word in names:
        return names.index(word)
    if not re.fullmatch(r"[-+]?\d{1,9}", word):
        raise unknown("column", word, names)
    number = int(word)
    if not 1 <= abs(number) <= count:
        raise InputError(
            f"unknown column {word!r}: dataset {file!r} has {count}, 1 to {count} or, from the end, -1 to -{count}"
        )
    return number - 1 if number > 0 else count + number


def _unpacked(file: Path, content: bytes) -> bytes:
    """The content of a .gz, read no further than the limit."""
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
        found = packed.read(LIMIT + 1)
    if len(found) > LIMIT:
        raise InputError(f"dataset {str(file)!r} unpacks to more than {LIMIT / 1e9:g} GB, the most that is read")
    return found


def _separator(text: str) -> str:
    """The first of `SEPARATORS` that cuts the first lines into equally many fields; a comma where none does."""
    head = [line for line in text.splitlines()[:50] if line.strip()]
    for separator in SEPARATORS.values():
        widths = {len(row) for row in _cut(head, separator)}
        if len(widths) == 1 and widths != {1}:
            return separator
    return ","


def _cut(lines: Iterable[str], separator: str) -> Any:
    """A csv.reader. Several spaces separate as one does, and none does at a line's ends."""
    if separator != " ":
        return csv.reader(lines, delimiter=separator)
    return csv.reader((line.strip(" \t\r\n") for line in lines), delimiter=" ", skipinitialspace=True)


def _numeric(cells: Sequence[str], reading: Reading) -> bool:
    ways = [reading.decimal] if reading.decimal else list(DECIMALS.values())
    return all(any(_number(cell, way, reading.na or frozenset()) is not None for way in ways) for cell in cells)


def _number(cell: str, decimal: str, na: frozenset[str | float]) -> float | None:
    """The number that a cell is, NaN where it says that it has none; None for words."""
    if cell.lower() in MISSING or cell.lower() in na:
        return np.nan
    plain = cell if decimal == "." else cell.translate(SWAPPED)
    try:
        value = float(plain.replace(",", "") if GROUPED.fullmatch(plain) else plain) if "_" not in plain else None
    except ValueError:
        return None
    return np.nan if value in na else value
