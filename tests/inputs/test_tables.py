"""Tables as people write them are read as they are meant, or refused with the cause."""

from __future__ import annotations

import csv
import gzip
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamx.inputs.datasets import read
from adamx.inputs.errors import InputError
from adamx.inputs.tables import read_table
from adamx.problems import problem
from adamx.problems._data import standardised

READ = {  # file: what is in it, its columns
    "commas.csv": ("a,y\n1,2\n3,4\n", {"a": [1, 3], "y": [2, 4]}),
    "semicolons.csv": ('"acid level";"y"\n7.0;4\n8.1;6\n', {"acid level": [7, 8.1], "y": [4, 6]}),
    "tabs.tsv": ("a\ty\n1\t2\n3\t4\n", {"a": [1, 3], "y": [2, 4]}),
    "bars.txt": ("a|y\r\n1|2\r\n3|4\r\n", {"a": [1, 3], "y": [2, 4]}),
    "loud.CSV": ("a,y\n1,2\n3,4\n", {"a": [1, 3], "y": [2, 4]}),
    "trailing.csv": ("a,b,y,\n6.5,2.2,7,\n8.0,3.0,4,\n", {"a": [6.5, 8], "b": [2.2, 3], "y": [7, 4]}),
    "no header.csv": ("12.7,2.8,1\n14.3,6.7,2\n", {"1": [12.7, 14.3], "2": [2.8, 6.7], "3": [1, 2]}),
    "mark.csv": ("\ufeffa,y\n1,2\n", {"a": [1], "y": [2]}),
    "thousands.csv": ('a,y\n1,"125,154"\n2,"1,234.5"\n3,900\n', {"a": [1, 2, 3], "y": [125154, 1234.5, 900]}),
    "decimal commas.csv": ("a;y\n1,5;2,25\n3,0;4\n", {"a": [1.5, 3], "y": [2.25, 4]}),
    "missing.csv": ("a,y\n1,?\n,4\nNA,5\n", {"a": [1, np.nan, np.nan], "y": [np.nan, 4, 5]}),
    "blank lines.csv": ("\na,y\n\n1,2\n\n3,4\n\n", {"a": [1, 3], "y": [2, 4]}),
    "words.csv": ("a,y\n1,cat\n2,dog\n", {"a": [1, 2], "y": ["cat", "dog"]}),
    "one column.csv": ("y\n1\n2\n", {"y": [1, 2]}),
    "quoted.csv": ('a,"y, in m"\n"1",2\n', {"a": [1], "y, in m": [2]}),
}
REFUSED = {
    "unquoted commas.csv": ("a,y\n1,5,2\n3,0,4\n", "3 fields in line 2 and 2 in its first line"),
    "ragged.csv": ("a,b,y\n1,2,3\n4,5\n", "2 fields in line 3 and 3 in its first line"),
    "some text.csv": ("a,y\n1,2\nmany,4\n", "numbers in column 'a', and 'many' in row 1"),
    "dollars.csv": ("a,y\n1,2\n3,$5\n", r"numbers in column 'y', and '\$5' in row 1"),
    "twice.csv": ("a,a\n1,2\n", "two columns that are called 'a'"),
    "empty.csv": ("", "is empty"),
    "mixed.csv": ("a;y\n1,5;1\n2.5;2\n", "points and commas as decimal signs in column 'a'"),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_unambiguous_is_read(tmp_path, name, packed):
    text, columns = READ[name]
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    found = read_table(path)
    assert found.names == list(columns)
    for column, values in columns.items():
        np.testing.assert_array_equal(found.column(column), np.array(values, float if values[0] != "cat" else str))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_is_refused_with_its_cause(tmp_path, name):
    text, said = REFUSED[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        columns(read_table(tmp_path / name))


def columns(table):
    return [table.column(name) for name in table.names]


def test_what_is_no_text_is_said(tmp_path):
    (tmp_path / "latin.csv").write_bytes("a,é\n1,2\n".encode("latin-1"))
    with pytest.raises(InputError, match="no table of UTF-8 text"):
        read_table(tmp_path / "latin.csv")


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(
    rows=st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(NUMBERS, min_size=n, max_size=n), min_size=1)),
    separator=st.sampled_from(";\t|,"),
    header=st.booleans(),
    comma=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_numbers_come_back(tmp_path_factory, rows, separator, header, comma, quoting, end):
    """To the bit, whatever separates them. Decimal commas have four digits here: 1,234 would be a thousand and more."""
    comma = comma and separator == ";"
    if comma:
        rows = [[float(f"{np.clip(v, -1e9, 1e9):.4f}") for v in row] for row in rows]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end)
    names = [f"x{i}" for i in range(len(rows[0]))] if header else [str(i + 1) for i in range(len(rows[0]))]
    if header:
        writer.writerow(names)
    writer.writerows([[f"{v:.4f}".replace(".", ",") if comma else repr(v) for v in row] for row in rows])
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    path.write_bytes(text.getvalue().encode())
    if len(names) == 1 and separator == ";" and comma and quoting == csv.QUOTE_MINIMAL:
        return  # one column of 1,5 is a table of two columns: nothing tells them apart
    found = read_table(path)
    assert found.names == names
    np.testing.assert_array_equal(np.column_stack(columns(found)), np.array(rows))


def test_targets_by_name_and_by_position(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("1,10,0\n2,20,1\n3,30,0\n4,40,1\n")
    assert read(str(path)).y.tolist() == [0, 1, 0, 1]
    for typed in ("2", 2):
        data = read(str(path), typed)
        assert data.y.tolist() == [10, 20, 30, 40] and data.x.shape == (4, 2)


def test_a_target_of_numbers_in_text_is_numbers(tmp_path):
    path = tmp_path / "price.csv"
    path.write_text("area,price\n" + "".join(f'{a},"{a * 1000:,}"\n' for a in range(1, 12)))
    p = problem("dataset", {"path": str(path), "loss": "squares"})
    both = np.concatenate([p.y, p.val_y])
    np.testing.assert_allclose(both, np.concatenate([p.x, p.val_x])[:, 0], rtol=1e-12)  # price = 1000 area


def test_what_is_constant_is_nothing_and_what_is_large_is_not():
    train = np.arange(8)
    x = np.column_stack([np.full(10, 0.1), np.full(10, 1 / 3), 1e200 * np.arange(10.0), 1e-200 * np.arange(10.0)])
    x[9, 0] = 7.0  # held out, and another
    found = standardised(x, train)
    assert not found[:, :2].any()
    plain = standardised(np.arange(10.0)[:, None], train)[:, 0]
    np.testing.assert_allclose(found[:, 2:], np.column_stack([plain, plain]), rtol=1e-14)
    assert plain[train].mean() == pytest.approx(0, abs=1e-15) and plain[train].std() == pytest.approx(1)
