"""A name stands for nothing: what a kernel reads, what a run is and what a record may run count by their content."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numba
import numpy as np
import pytest
from mlflow import MlflowClient

from adamx import replay
from adamx.inputs.errors import InputError
from adamx.inputs.files import known
from adamx.optimizers import rule
from adamx.portable.cache import cached
from adamx.portable.content import UnreadableError, digest, identity
from adamx.problems import problem
from adamx.record import readback

FILE = """
import math
import numpy as np
import numba
from functools import partial
from adamx.portable import portable
start, minimum = 1.0, 0.0
{before}
@portable
def term(x, p{argument}):
    return {value}, 0.0 * x
"""
LONG = "B = np.arange(2000.0); B[1000] = {}"
EDITS = {  # what stands in a file before its function, with a hole; two fillings; what the function reads
    "the ninth digit of an array": ("B = np.array([{}, 2.0])", "0.123456701", "0.123456704", "x * B[0]"),
    "the middle of a long array": (LONG, "1.0", "2.0", "x * B[1000]"),
    "an array's type": ("B = np.array([1, 2], np.{})", "int32", "int64", "x * B[0]"),
    "a helper that Numba compiled": ("@numba.njit\ndef f(x): return x * {}", "2.0", "3.0", "f(x)"),
    "its options": ("@numba.njit(fastmath={})\ndef f(x): return x * 2.0", "False", "True", "f(x)"),
    "a helper of a helper": ("def g(x): return x * {}\n@portable\ndef f(x): return g(x)", "2.0", "3.0", "f(x)"),
    "a default": ("@portable\ndef f(x, a={}): return x * a", "2.0", "3.0", "f(x)"),
    "a keyword's default": ("@portable\ndef f(x, *, a={}): return x * a", "2.0", "3.0", "f(x)"),
    "a bound argument": ("f = partial(math.pow, {})", "2.0", "3.0", "f(x)"),
    "a closure": ("def make(a):\n    return lambda x: x * a\nf = make({})", "2.0", "3.0", "f(x)"),
    "an operator": ("@portable\ndef f(x): return x {} 2.0", "+", "-", "f(x)"),
    "a number in a tuple": ("B = (1.0, ({}, 3.0))", "2.0", "2.5", "x * B[1][0]"),
    "a number": ("B = {}", "1.0", "1.0000000000000002", "x * B"),
    "the sign of zero": ("B = {}", "0.0", "-0.0", "x * B"),
}


def of(folder, text, name="mine.py"):
    (folder / name).write_text(text)
    return problem(str(folder / name))


@pytest.mark.parametrize("what", EDITS)
def test_everything_that_a_function_reads_counts(tmp_path, what):
    before, one, other, value = EDITS[what]
    first = FILE.format(before=before.format(one), argument="", value=value)
    second = FILE.format(before=before.format(other), argument="", value=value)
    assert first != second
    same, changed = (of(tmp_path, text).digest for text in (first, second))
    assert of(tmp_path, first).digest == same != changed


def test_what_a_function_does_not_read_does_not_count(tmp_path):
    texts = [FILE.format(before=f"unread = {n}\n", argument="", value="x * x") for n in (1, 2)]
    assert len({of(tmp_path, text).digest for text in texts}) == 1


def test_attributes_of_modules_count():
    module = ModuleType("somebodys")
    read = eval("lambda x: x * somebodys.factor", {"somebodys": module})
    found = set()
    for module.factor in (1.0, 2.0, np.array([1.0]), np.array([2.0])):
        found.add(digest(read))
    assert len(found) == 4


def test_a_content_is_the_same_in_another_process():
    code = "from adamx.optimizers import optimizers, rule; print({n: rule(n).digest for n in optimizers()})"
    run = functools.partial(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run().stdout == run(env={"PYTHONHASHSEED": "3"}).stdout
    assert len(set(eval(run().stdout).values())) > 25  # some differ in their defaults alone


class Somebodys:
    pass


def test_what_has_no_content_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    thing = Somebodys()

    def reads(x):
        return x if thing is None else x + 1

    with pytest.raises(UnreadableError, match="thing: Somebodys has no content"):
        digest(reads)
    assert identity(reads) != identity(reads)

    with pytest.warns(RuntimeWarning, match="compiled anew in every process: it reads thing"):
        cached(numba.jit(forceobj=True), reads, "reads")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cached(numba.njit, lambda x: x + 1, "kept")(1) == 2
    assert any(tmp_path.rglob("*kept_*"))


def test_functions_that_read_one_another_end():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    assert digest(even) != digest(odd)


def test_rules_and_shipped_names(tmp_path):
    source = Path(sys.modules[rule("sgd").update.__module__].__file__).read_text()
    (tmp_path / "sgd.py").write_text(source)
    assert rule(str(tmp_path / "sgd.py")).digest == rule("sgd").digest  # the same in all that it computes
    (tmp_path / "sgd.py").write_text(source.replace("h.lr * g", "2 * h.lr * g"))
    assert rule(str(tmp_path / "sgd.py")).digest != rule("sgd").digest


# --- sweeps ----------------------------------------------------------------------------------------------------------

BOWL = """
from adamx.portable import portable
start, minimum = 1.0, 0.0
@portable
def term(x, p):
    return {0} * x * x, 2 * {0} * x
"""


@pytest.fixture
def type_(here, monkeypatch, capsys):
    """Types a sweep in an empty folder: what it said."""
    from adamx.sweep import command

    monkeypatch.setattr(sys, "path", [*sys.path])

    def type_(*typed):
        usual = ["optimizer=sgd", "optimizer.lr=0.01,0.02", "steps=20", "dtype=float64", "record.figures=false"]
        monkeypatch.setattr(
            sys, "argv", ["adamx-sweep", *usual, *typed] if typed != ("resume=last",) else ["x", *typed]
        )
        code = command.main()
        said = capsys.readouterr()
        return code, said.out + said.err

    return type_


def last(here):
    runs = MlflowClient(f"sqlite:///{here}/mlflow.db").search_runs(["1"], order_by=["attributes.start_time DESC"])
    return next(run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags)


def test_two_files_of_one_name_are_told_apart_and_replayed(type_, here, capsys):
    for folder, factor in (("a", 1.0), ("b", 7.0)):
        Path(folder).mkdir()
        Path(folder, "mine.py").write_text(BOWL.format(factor))
    assert type_("problem=./a/mine.py,./b/mine.py")[0] == 0
    found = readback.read(last(here))
    assert [r.problem for r in found.results] == ["mine", "mine (2)"]
    assert [r.loss[0, 0] for r in found.results] == [1.0, 7.0]
    assert len({r.digests["problem"] for r in found.results}) == 2
    assert replay.main([last(here)]) == 0
    assert "4 of 4 runs are bit-identical" in capsys.readouterr().out


def test_an_edited_file_and_replaced_data_are_not_skipped(type_, here):
    Path("mine.py").write_text(BOWL.format(1.0))
    assert type_("problem=./mine.py")[0] == 0
    assert "2 of 2 runs are recorded already" in type_("problem=./mine.py", "skip=recorded")[1]
    Path("mine.py").write_text(BOWL.format(5.0))
    assert "recorded already" not in type_("problem=./mine.py", "skip=recorded")[1]
    data = ("problem=dataset", "problem.path=d.npz", "problem.loss=squares", "skip=recorded")
    for seed in (1, 2):
        numbers = np.random.default_rng(seed)
        np.savez("d.npz", x=numbers.normal(size=(90, 3)), y=numbers.normal(size=90))
        assert "recorded already" not in type_(*data)[1]
    assert "2 of 2 runs are recorded already" in type_(*data)[1]


def test_a_file_with_a_shipped_name_is_the_file(type_, here, capsys):
    Path("quadratic.py").write_text(BOWL.format(3.0))
    assert type_("problem=./quadratic.py")[0] == 0
    Path("quadratic.py").unlink()
    (launch,) = readback.read(last(here)).launches()
    assert launch.problem.function(1.0, None)[0] == 3.0
    assert replay.main([last(here)]) == 0
    assert "2 of 2 runs are bit-identical" in capsys.readouterr().out
    assert "recorded already" not in type_("problem=quadratic", "skip=recorded")[1]


def test_a_record_from_elsewhere_runs_nothing_unasked(type_, here, capsys, monkeypatch, tmp_path_factory):
    text = BOWL.format(2.0) + f"\nopen({str(here / 'pwned')!r}, 'a').close()\n"
    Path("mine.py").write_text(text)
    assert type_("problem=./mine.py")[0] == 0
    assert known(text.encode())
    Path("pwned").unlink()
    monkeypatch.setenv("ADAMX_CACHE_DIR", str(tmp_path_factory.mktemp("another machine")))
    assert not known(text.encode())
    with pytest.raises(InputError, match=r"a Python file of its own, problem/[0-9a-f]{16}/mine.py, .* say --trust"):
        readback.read(last(here)).launches()
    assert replay.main([last(here)]) == 2 and not Path("pwned").exists()
    assert "say --trust" in capsys.readouterr().err
    assert replay.main([last(here), "--trust"]) == 0


def test_an_edited_file_is_not_resumed(type_, here, monkeypatch):
    from adamx.sweep import run as running

    Path("mine.py").write_text(BOWL.format(1.0))

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr("adamx.sweep.progress.compute", stopped)
        assert type_("problem=./mine.py")[0] == 130
    assert running
    Path("mine.py").write_text(BOWL.format(4.0))
    code, said = type_("resume=last")
    assert code == 2 and "./mine.py, which has changed since" in said
    Path("mine.py").write_text(BOWL.format(1.0))
    assert type_("resume=last")[0] == 0
