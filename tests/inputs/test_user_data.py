"""A file of one's own: what is read of it and said, what is left out, and what is refused."""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from numpy.lib import format as npy

import adamx
from adamx.inputs import tables
from adamx.inputs.arrays import PAIRS
from adamx.inputs.datasets import read
from adamx.inputs.errors import InputError
from adamx.inputs.tables import DECIMALS, SEPARATORS, read_table, reading
from adamx.problems import problem

XOR = "a,b,y\n0,0,0\n0,1,1\n1,0,1\n1,1,0\n"
WORDS = ("cat", "dog", "cat", "dog", "dog")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes a file in the working directory; the task of it, with settings."""
    monkeypatch.chdir(tmp_path)

    def made(content, name="mine.csv", **options):
        if isinstance(content, dict):
            np.savez(name, **content)
        else:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return problem("dataset", {"path": name, **options})

    return made


def table(**columns):
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))])


def rows_of(task):
    """Features and targets of all rows, in one order."""
    both = np.column_stack([np.concatenate([task.x, task.val_x]), np.concatenate([task.y, task.val_y])])
    return both[np.lexsort(both.T)]


# --- the line --------------------------------------------------------------------------------------------------------

NUMBER = range(10)
COLUMNS = {"a": [3 * i % 7 for i in NUMBER], "y": [i % 3 for i in NUMBER]}


@pytest.mark.parametrize(
    ("content", "options", "line"),
    [
        (table(**COLUMNS), {}, "mine.csv: 10 rows, 1 feature, target 'y' (3 classes), 2 rows held out"),
        (
            table(Id=NUMBER, **COLUMNS),
            {"held_out": 0.1},
            "mine.csv: 10 rows, 1 feature, target 'y' (3 classes), 1 row held out; dropped: 'Id' (numbers the rows)",
        ),
        (
            table(Id=NUMBER, **COLUMNS, z=NUMBER),
            {"loss": "squares", "drop": "y", "held_out": 0},
            "mine.csv: 10 rows, 1 feature, target 'z' (regression), no rows held out; dropped: 'Id' (numbers the "
            "rows), 'y'",
        ),
        (
            table(a=["?", *COLUMNS["a"][1:]], y=COLUMNS["y"]),
            {"na": []},
            "mine.csv: 9 rows, 1 feature, target 'y' (3 classes), 2 rows held out; dropped: 1 row with missing values "
            "in column 'a'",
        ),
        (
            "0,0,0,\n0,1,1,\n1,0,1,\n1,1,0,\n",
            {"held_out": 0},
            "mine.csv: 4 rows, 2 features, no header, target '3' (2 classes), no rows held out; dropped: 1 empty last "
            "column",
        ),
        (
            table(a=COLUMNS["a"], id=NUMBER),
            {"loss": "squares"},
            "mine.csv: 10 rows, 1 feature, the target numbers the rows, target 'id' (regression), 2 rows held out",
        ),
    ],
)
def test_what_was_read_is_one_line(made, content, options, line):
    assert made(content, **options).about == line


def test_what_is_in_a_file_does_not_break_the_line(made):
    said = made(table(**{"a\x1b[31m": COLUMNS["a"], "y\u2028": COLUMNS["y"]})).about
    assert said.isprintable()


@pytest.mark.parametrize("name", ["Id", "id", "ID", "index", "Unnamed: 0", ""])
@pytest.mark.parametrize("first", [0, 1, 1000])
def test_a_column_that_numbers_the_rows_is_dropped(made, name, first):
    numbers = [first + i for i in NUMBER]
    plain = rows_of(made(table(**COLUMNS)))
    for order in (numbers, numbers[::-1]):
        task = made(table(**{name: order}, **COLUMNS))
        np.testing.assert_array_equal(rows_of(task), plain)
        assert f"dropped: {name!r} (numbers the rows)" in task.about


@pytest.mark.parametrize("numbers", [[0, *range(9)], [2 * i for i in NUMBER], [i + 0.5 for i in NUMBER]])
def test_other_content_or_another_name_is_kept(made, numbers):
    assert made(table(Id=numbers, **COLUMNS)).model.widths[0] == 2
    assert made(table(number=NUMBER, **COLUMNS)).model.widths[0] == 2
    targeted = made(table(id=NUMBER, **COLUMNS), target_column="id", loss="squares")
    assert targeted.model.widths[0] == 2  # never the target


# --- columns and options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "values"), [(1, [1, 2, 3, 4]), ("2", [5, 6, 7, 8]), (-1, [9, 8, 7, 6]), ("-3", [1, 2, 3, 4])]
)
def test_a_number_is_a_position_where_no_column_has_that_name(made, typed, values):
    content = table(a=[1, 2, 3, 4], b=[5, 6, 7, 8], c=[9, 8, 7, 6])
    made(content, loss="squares")
    assert read("mine.csv", typed).y.tolist() == values
    made(content.replace("a,b,c", "a,1,-1"), loss="squares")
    assert read("mine.csv", 1).target == "1" and read("mine.csv", 1).y.tolist() == [5, 6, 7, 8]  # a name is a name


@pytest.mark.parametrize("typed", [0, 4, -4, "99"])
@pytest.mark.parametrize("setting", ["target_column", "drop"])
def test_a_position_that_is_none_is_refused(made, setting, typed):
    with pytest.raises(
        InputError, match=f"unknown column '{typed}': dataset .* has 3, 1 to 3 or, from the end, -1 to -3"
    ):
        made(XOR, **{setting: typed})


def test_columns_are_dropped_by_name_and_by_position(made):
    content = table(a=[1, 2, 3, 4, 5], word=WORDS, b=[9, 8, 7, 6, 4], y=[0, 1, 0, 1, 1])
    plain = rows_of(made(table(b=[9, 8, 7, 6, 4], y=[0, 1, 0, 1, 1])))
    for drop in (["a", "word"], [1, 2], ["word", -4], ["a", 1, "word"]):
        np.testing.assert_array_equal(rows_of(made(content, drop=drop)), plain)
    assert made(content, drop="word").model.widths[0] == 2
    for drop, said in (("wrd", "did you mean 'word'"), ("y", "which is the target"), (-1, "which is the target")):
        with pytest.raises(InputError, match=said):
            made(content, drop=drop)
    with pytest.raises(InputError, match=r"columns that are not numbers: word \(cat\); problem.drop"):
        made(content)


def test_standardize_false_takes_numbers_as_they_are(made):
    content = table(a=[1, 2, 3, 4, 5], y=[10, 20, 30, 40, 50])
    raw = rows_of(made(content, standardize=False, loss="squares"))
    np.testing.assert_array_equal(raw, np.column_stack([[1, 2, 3, 4, 5], [10, 20, 30, 40, 50]]))
    assert abs(made(content, loss="squares").x.mean()) < 1e-15


def test_words_that_mean_missing(made):
    content = table(a=[1, "unknown", -999, 4, 5, 6, 7], y=["x", "y", "x", "y", "x", "UNKNOWN", "y"])
    with pytest.raises(InputError, match=r"numbers in column 'a', and 'unknown' in row 1: problem\.na"):
        made(content)
    task = made(content, na=["unknown", -999], standardize=False, held_out=0)
    assert sorted(task.x[:, 0]) == [1, 4, 5, 7] and task.model.widths == (1, 2)
    with pytest.raises(
        InputError, match=r"NaN or infinite values in 1 rows, the first is row 0, in column 'a': problem\.na"
    ):
        made(table(a=["NA", 2, 3, 4, 5], y=[0, 1, 0, 1, 1]))
    with pytest.raises(InputError, match=r"in column 'a': problem\.drop"):  # infinite is not missing
        made(table(a=["inf", 2, 3, 4, 5], y=[0, 1, 0, 1, 1]), na="?")


def test_none_is_a_class_and_an_empty_target_is_missing(made):
    levels = ["None", "mild", "None", "severe", "mild", "severe"]
    assert "(3 classes)" in made(table(a=range(6), y=levels)).about
    for missing in ("", "?", "NA"):
        with pytest.raises(InputError, match="1 rows, the first is row 2, in column 'y'"):
            made(table(a=range(6), y=[*levels[:2], missing, *levels[3:]]))


def test_words_as_a_target_of_regression_are_refused(made):
    with pytest.raises(InputError, match=r"words in its target 'y', such as 'cat': problem\.loss=softmax"):
        made(table(a=range(5), y=WORDS), loss="squares")


def test_header_and_decimal_as_they_are_said(made):
    years = "1990,1991\n" + "".join(f"{i},{i % 2}\n" for i in range(5))
    assert len(rows_of(made(years, header=True))) == 5 and len(rows_of(made(years, loss="squares"))) == 6
    with pytest.raises(InputError, match="'a' in row 0"):
        made(XOR, header=False)
    prices = "price;y\n" + "".join(f"{i},234;{i % 2}\n" for i in range(1, 6))
    for decimal, scale in (("point", 1000.0), ("comma", 1.0), (",", 1.0), (None, 1000.0)):
        task = made(prices, decimal=decimal, standardize=False)
        np.testing.assert_allclose(rows_of(task)[:, 0].min(), 1.234 * scale)
    (row,) = set(made("a;y\n" + "1.234,50;0\n1.234,50;1\n" * 3, standardize=False, held_out=0).x[:, 0])
    assert row == 1234.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"separator": "colon"}, "unknown problem.separator 'colon'.* allowed: comma, pipe, semicolon, space, tab"),
        ({"separator": 1}, "unknown problem.separator '1'"),
        ({"decimal": "commma"}, "did you mean 'comma'. allowed: comma, point"),
        ({"header": "yes"}, "problem.header is 'yes': true, false or auto is needed"),
        ({"header": 1}, "problem.header is 1"),
        ({"na": [None]}, r"problem.na is \[None\]: a word or a number, or a list of them"),
        ({"drop": {"a": 1}}, "problem.drop is {'a': 1}: a word or a number, or a list"),
        ({"drop": True}, "problem.drop is True"),
        ({"standardize": 0}, "problem.standardize is 0: true or false is needed"),
        ({"batch": 4}, "problem.batch is 4: at most the 3 training rows, or 0 for all of them"),
        ({"held_out": 1.0}, "problem.held_out is 1.0: a share from 0, all rows train, to below 1"),
        ({"held_out": False}, "problem.held_out is False"),
        ({"held_out": 0.99}, "none of the 4 rows is left to train on"),
        ({"drop": ["a", "b"]}, r"has x \(4, 0\) and y \(4,\), without 'a', 'b'"),
    ],
)
def test_wrong_values_are_refused_in_one_line(made, options, said):
    with pytest.raises(InputError, match=said) as error:
        made(XOR, **options)
    assert "\n" not in str(error.value)


@settings(deadline=None)
@given(
    rows=st.integers(2, 5).flatmap(
        lambda n: st.lists(st.lists(st.floats(-1e15, 1e15), min_size=n, max_size=n), min_size=1, max_size=6)
    ),
    separator=st.sampled_from(sorted(SEPARATORS)),
    decimal=st.sampled_from(sorted(DECIMALS)),
    header=st.booleans(),
    grouped=st.booleans(),
)
def test_what_is_said_is_taken(tmp_path_factory, rows, separator, decimal, header, grouped):
    """With separator, decimal and header said, no number is read as another, however it looks."""
    rows = [[float(f"{v:.3f}") for v in row] for row in rows]
    swap = str.maketrans(".,", ",." if decimal == "comma" else ".,")
    cells = [[f"{v:,.3f}" if grouped else f"{v:.3f}" for v in row] for row in rows]
    lines = [[f'"{cell.translate(swap)}"' for cell in row] for row in cells]
    names = [f'"{1990 + i}"' for i in range(len(rows[0]))]  # of digits
    path = tmp_path_factory.getbasetemp() / "said.csv"
    path.write_text("\n".join(map(SEPARATORS[separator].join, [names, *lines] if header else lines)))
    found = read_table(path, reading(separator, decimal, header))
    assert found.names == ([name.strip('"') for name in names] if header else [str(i + 1) for i in range(len(names))])
    np.testing.assert_array_equal(np.column_stack([found.column(name) for name in found.names]), np.array(rows))


# --- arrays ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    upper=st.booleans(),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    dtype=st.sampled_from(["f8", "f4", "u1", "i8"]),
    flat=st.booleans(),
    held=st.sampled_from([None, "val", "test"]),
    seed=st.integers(0, 99),
)
def test_arrays_come_back(tmp_path_factory, pair, upper, shape, dtype, flat, held, seed):
    random = np.random.default_rng(seed)
    sizes = {"": 7, **({f"_{held}": 3} if held and pair[0] == "x_train" else {})}
    arrays, xs, ys = {}, [], []
    for end, rows in sizes.items():
        x, y = (100 * random.random((rows, *shape))).astype(dtype), random.integers(0, 2, rows)
        names = pair if not end else (f"x{end}", f"y{end}")
        arrays |= {names[0].upper() if upper else names[0]: x, names[1]: y if flat else y[:, None]}
        xs, ys = [*xs, x.reshape(rows, -1)], [*ys, y]
    path = tmp_path_factory.getbasetemp() / "arrays.npz"
    np.savez(path, **arrays)
    found = read(str(path))
    np.testing.assert_array_equal(found.x, np.concatenate(xs).astype(float))
    np.testing.assert_array_equal(found.y, np.concatenate(ys))
    assert found.held == (3 if len(sizes) > 1 else 0) and found.target == pair[1]


def test_rows_that_a_file_holds_out_are_held_out(made):
    x = np.arange(20.0)[:, None]
    arrays = {"x_train": x, "y_train": x[:, 0] % 2, "x_test": 100 + x[:6], "y_test": np.ones(6)}
    task = made(arrays, "a.npz", standardize=False)
    assert sorted(task.val_x[:, 0]) == [100, 101, 102, 103, 104, 105] and sorted(task.x[:, 0]) == list(range(20))
    assert task.about == "a.npz: 26 rows, 1 feature, target 'y_train' (2 classes), 6 rows held out (x_test)"
    standard = made(arrays, "a.npz")
    assert standard.x.mean() == pytest.approx(0, abs=1e-15) and standard.val_x.min() > 5  # by the training rows alone
    both = made({**arrays, "x_val": x[:4], "y_val": np.zeros(4)}, "a.npz")
    assert "4 rows held out (x_val); dropped: array 'x_test', array 'y_test'" in both.about
    with pytest.raises(InputError, match="holds rows out itself, x_test"):
        made(arrays, "a.npz", held_out=0.5)


def test_images_words_and_dropped_columns_of_arrays(made):
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3)
    task = made({"X": images, "y": np.array(WORDS), "names": np.array(["a"])}, "a.npz", standardize=False, drop=[1, -1])
    assert task.model.widths == (4, 2)
    assert rows_of(task)[0].tolist() == [1, 2, 3, 4, 0]
    assert task.about == (
        "a.npz: 5 rows, 4 features, 2 x 3 flattened, target 'y' (2 classes), 1 row held out; dropped: column 1, "
        "column 6, array 'names'"
    )
    assert made({"x": np.eye(5), "y": np.array(WORDS, "S3")}, "a.npz").model.widths == (5, 2)
    holes = np.where(np.eye(6) > 0, np.nan, images[0, 0, 1])[:, :2]
    assert len(rows_of(made({"x": holes, "y": np.arange(6) % 2}, "a.npz", na=[]))) == 4


FIVE = np.arange(5.0)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            {"x": np.eye(5), "y": FIVE, "data": np.eye(5), "target": FIVE},
            r"arrays \['data', 'target', 'x', 'y'\]: x and y",
        ),
        ({"x": np.eye(5), "X": np.eye(5), "y": FIVE}, r"has arrays \['X', 'x', 'y'\]"),
        ({"a": np.eye(5)}, r"has arrays \['a'\]: x and y are needed, or data and target, features and labels, x_train"),
        ({"x_train": np.eye(5), "y_train": FIVE, "x_test": np.eye(5)}, "x_test and y_test go together"),
        ({"x_train": np.eye(5), "y_train": FIVE, "x_test": np.eye(4), "y_test": FIVE[:4]}, r"x_test \(4, 4\)"),
        ({"x": np.eye(5), "y": FIVE[:4]}, r"x \(5, 5\) float64, y \(4,\) float64: \(rows, features\) and \(rows,\)"),
        ({"x": np.eye(5), "y": np.eye(5)}, r"y \(5, 5\)"),
        ({"x": np.array(WORDS)[:, None], "y": FIVE}, "'x' of <U3: numbers are needed"),
        ({"x": np.eye(5).astype(object), "y": FIVE}, "Python objects in 'x'"),
        ({"x": np.eye(5), "y": np.array(WORDS, object)}, "Python objects in 'y'.*astype"),
    ],
)
def test_arrays_that_are_not_clear_are_refused(made, arrays, said):
    with pytest.raises(InputError, match=said):
        made(arrays, "a.npz")


@pytest.mark.parametrize(
    "option", [{"separator": "tab"}, {"decimal": "comma"}, {"header": True}, {"target_column": "y"}]
)
def test_options_of_tables_are_not_ignored_in_silence(made, option):
    with pytest.raises(InputError, match=f"problem.{next(iter(option))} is for tables of text"):
        made({"x": np.eye(5), "y": FIVE}, "a.npz", **option)


@pytest.mark.parametrize("packed", [True, False])
def test_a_bomb_is_refused_from_its_header(made, monkeypatch, packed):
    """Gigabytes in a file of some kilobytes: announced and there, or only announced."""

    def header(shape):
        file = io.BytesIO()
        npy.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
        return file.getvalue()

    def unpacked(*_, **__):
        raise AssertionError("it was unpacked")

    monkeypatch.setattr(npy, "read_array", unpacked)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("x.npy", header((10**9, 1)) + bytes(10**8 if packed else 0))
        archive.writestr("y.npy", header((10**9,)))
    assert len(bomb.getvalue()) < 10**6
    with pytest.raises(InputError, match="unpacks to 16 GB of numbers: at most 2 GB are read"):
        made(bomb.getvalue(), "bomb.npz")


def test_a_table_that_unpacks_to_more_than_the_limit_is_refused(made, monkeypatch):
    monkeypatch.setattr(tables, "LIMIT", 10_000)
    with pytest.raises(InputError, match="unpacks to more than 1e-05 GB, the most that is read"):
        made(gzip.compress(XOR.encode() * 1000), "mine.csv.gz")
    assert made(gzip.compress(XOR.encode()), "mine.csv.gz").model.widths == (2, 2)


# --- nothing held out ------------------------------------------------------------------------------------------------

RATES = adamx.grid(lr=[0.01, 0.1])


def test_nothing_held_out_is_no_figure(made):
    """All four rows of XOR train; columns and curves of held-out rows are absent, all others are as with such rows."""
    for typed in (0, 0.0):
        task = made(XOR, held_out=typed, hidden=[8])
        assert len(task.x) == 4 and task.val_x.shape == (0, 2) and task.val_y.shape == (0,)
    results = adamx.simulate("adam", task, RATES, steps=300)
    assert tuple(results.curves) == ("accuracy",)
    assert not any("val" in name for name in results.table)
    assert results.table["final_accuracy"].tolist() == [1.0, 1.0]
    beside = adamx.simulate("adam", replace(task, val_x=task.x[:1], val_y=task.y[:1]), RATES, steps=300)
    np.testing.assert_array_equal(beside.loss, results.loss)
    np.testing.assert_array_equal(beside.curves["accuracy"], results.curves["accuracy"])
    squares = made(XOR, held_out=0, loss="squares")
    assert adamx.simulate("sgd", squares, RATES, steps=3).curves == {}


def test_a_bundled_task_may_hold_nothing_out():
    task = problem("digits_softmax", {"held_out": 0})
    assert len(task.x) == 1797 and len(task.val_x) == 0


@pytest.fixture
def type_(here, monkeypatch, capsys):
    """Types a sweep on XOR: (exit code, what it said)."""
    from adamx.sweep import command

    monkeypatch.setattr(sys, "path", [*sys.path])
    (here / "xor.csv").write_text(XOR)

    def type_(*typed):
        usual = ["problem=dataset", "problem.path=xor.csv", "optimizer.lr=0.01,0.1", "problem.hidden=[8]", "steps=100"]
        monkeypatch.setattr(sys, "argv", ["adamx-sweep", *usual, "dtype=float64", *typed])
        code = command.main()
        said = capsys.readouterr()
        return code, said.out + said.err

    return type_


def test_a_sweep_on_xor_with_nothing_held_out(type_, here, capsys):
    """The line is printed before the sweep and kept in the record, which has nothing on rows that do not exist."""
    from adamx import replay
    from adamx.record import readback

    line = "xor.csv: 4 rows, 2 features, target 'y' (2 classes), no rows held out"
    code, said = type_("problem.held_out=0", "optimizer=adam")
    assert code == 0 and said.startswith(line + "\n"), said
    assert "val" not in said
    client = MlflowClient(f"sqlite:///{here}/mlflow.db")
    runs = client.search_runs(["1"])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert parent.data.tags["data"] == line
    assert len(runs) == 3 and not any("val" in name for run in runs for name in run.data.metrics)
    (results,) = readback.results(parent.info.run_id)
    assert tuple(results.curves) == ("accuracy",) and "val" not in " ".join(results.table)
    page = Path(client.download_artifacts(parent.info.run_id, "report.html"))
    assert "val_loss" not in page.read_text()
    assert replay.main([parent.info.run_id]) == 0 and "2 of 2 runs are bit-identical" in capsys.readouterr().out


def test_how_a_table_is_read_is_a_part_of_what_a_run_is(type_):
    """The options are settings like others: they are swept and recorded, and other values make other runs."""
    quick = ("problem.held_out=0", "record.figures=false", "skip=recorded")
    code, said = type_(*quick, "problem.standardize=true,false")
    assert code == 0 and "recorded already" not in said
    assert "2 of 2 runs are recorded already" in type_(*quick, "problem.standardize=false")[1]
    assert "recorded already" not in type_(*quick, "problem.drop=[a]")[1]
    assert "2 of 2 runs are recorded already" in type_(*quick, "problem.drop=[a]")[1]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("problem.separator=tabs", "unknown problem.separator 'tabs': did you mean 'tab'?"),
        ("problem.header=maybe", "problem.header is 'maybe'"),
        ("problem.na=[[1]]", "problem.na is [[1]]"),
        ("problem.target_column=7", "unknown column '7'"),
        ("problem.batch=64", "problem.batch is 64: at most the 3 training rows"),
        ("problem.seperator=tab", "did you mean 'separator'?"),
    ],
)
def test_what_cannot_be_used_is_said_before_any_work(type_, here, typed, said):
    code, line = type_(typed)
    assert code == 2 and said in line and line.count("\n") == 1
    assert not (here / "mlflow.db").exists()
