"""A name stands for nothing: what a kernel reads, what a run is and what a record may run count by their content."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numba
import numpy as np
import pyarrow.parquet as pq
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
from adamx.record.codec import KEY
from adamx.record.identity import code_of
from adamx.report import __main__ as report

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
EDITS = {  # the text before a function, with a hole; two fillings; the expression that the function returns
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
    "a member of an enumeration": ("import enum\nclass E(enum.Enum): A = {}", "2.0", "3.0", "x * E.A.value"),
    "an attribute of a class": ("class C: A = {}", "2.0", "3.0", "x * C.A"),
    "a function that Numba vectorised": ("@numba.vectorize\ndef f(x): return x * {}", "2.0", "3.0", "f(x)"),
    "what is compiled in place of a function": (
        "def f(x): return x\n@numba.extending.overload(f)\ndef _(x): return lambda x: x * {}", "2.0", "3.0", "f(x)",
    ),
    "a wrapper": (
        "import functools\ndef inner(x): return x * {}\n@functools.wraps(inner)\ndef f(x): return inner(x)",
        "2.0", "3.0", "f(x)",
    ),
    "a helper's cache": ("import functools\n@functools.cache\ndef f(x): return x * {}", "2.0", "3.0", "f(x)"),
    "a module in a module": ("import types\nm = types.ModuleType('m'); m.n = m; m.B = {}", "2.0", "3.0", "x * m.n.B"),
    "a lambda's module": ("import types\nm = types.ModuleType('m'); m.B = {}", "2.0", "3.0", "(lambda y: y * m.B)(x)"),
}  # fmt: skip


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


def test_types_count():
    kept = {digest(eval("lambda x: T(x)", {"T": t})) for t in (numba.float32, numba.float64, np.float32, np.float64)}
    assert len(kept) == 4


def test_a_task_counts_by_all_that_its_file_builds(tmp_path):
    """Numbers that are no settings count too: `build` may have them in its code."""
    text = "import dataclasses\nfrom adamx.models.mlp import Mlp\n"
    text += "from adamx.problems.moons_logistic import build as made\n"
    text += "def build(): return dataclasses.replace(made(), {})\n"
    models = ("Mlp((2, 3, 1))", "Mlp((2, 4, 1))", "Mlp((2, 3, 1), 'gelu')", "Mlp((2, 3, 1), norm='layer')")
    built = ("batch=8", "batch=16", "minimum=0.1", "target=0.2", *(f"model={each}" for each in models))
    assert len({of(tmp_path, text.format(each)).digest for each in built}) == len(built)


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


@numba.experimental.jitclass([("a", numba.float64)])
class Compiled:
    def __init__(self):
        self.a = 1.0


THINGS = (Compiled, numba.stencil(lambda a: a[0]), numba.typed.List([1.0]), np.random.RandomState(1), Somebodys())


@pytest.mark.parametrize("thing", THINGS, ids=["jitclass", "stencil", "typed list", "generator", "object"])
def test_what_has_no_content_is_said(thing):
    with pytest.raises(UnreadableError, match=r"^thing: .* has no content that can be compared$"):
        digest(eval("lambda: thing", {"thing": thing}))


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


def test_what_is_shipped_keeps_its_name_beside_a_file(type_, here):
    Path("quadratic.py").write_text(BOWL.format(3.0))
    assert type_("problem=./quadratic.py,quadratic")[0] == 0
    found = readback.read(last(here))
    assert [r.problem for r in found.results] == ["quadratic (2)", "quadratic"]
    assert replay.main([last(here)]) == 0


def test_data_that_were_replaced_are_named(type_, here, capsys):
    """Two data sets had one name: the first file has changed since then, the second has not."""

    def write(name, seed):
        numbers = np.random.default_rng(seed)
        np.savez(name, x=numbers.normal(size=(90, 3)), y=numbers.normal(size=90))

    write("a.npz", 1)
    write("b.npz", 2)
    assert type_("problem=dataset", "problem.path=a.npz,b.npz", "problem.loss=squares")[0] == 0
    write("a.npz", 3)
    assert replay.main([last(here)]) == 0
    said = capsys.readouterr().out
    assert "2 of 4 runs are bit-identical" in said
    assert "content of problem dataset path=a.npz" in said and "content of problem dataset path=b.npz" not in said


def test_a_schedule_or_a_regime_that_changed_is_another_run(monkeypatch):
    before = code_of("cosine")
    assert code_of("cosine") == before != code_of("linear")
    monkeypatch.setattr("adamx.record.identity.classify", lambda *_: None)
    assert code_of("cosine") != before


def test_a_record_before_digests_has_its_file(type_, here, capsys):
    """A file with a shipped name was kept under that name; the table did not say so."""
    Path("quadratic.py").write_text(BOWL.format(3.0))
    assert type_("problem=./quadratic.py")[0] == 0
    client, run = MlflowClient(f"sqlite:///{here}/mlflow.db"), last(here)
    table = pq.read_table(client.download_artifacts(run, "table.parquet"))
    launches = json.loads(table.schema.metadata[KEY])
    for launch in launches:
        del launch["same"]["digests"], launch["same"]["files"]
    older = table.replace_schema_metadata({**table.schema.metadata, KEY: json.dumps(launches)})
    pq.write_table(older.drop_columns(["optimizer_digest", "problem_digest"]), "table.parquet")
    client.log_artifact(run, "table.parquet")
    client.log_artifact(run, "quadratic.py", "problem")
    client.delete_tag(run, "blas")
    assert replay.main([run]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 runs are bit-identical" in said and "blas: unknown when recorded" in said


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


def test_an_edited_file_is_resumed_as_it_was(type_, here, monkeypatch):
    """The file's new content is not run."""
    Path("mine.py").write_text(BOWL.format(1.0))

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr("adamx.sweep.progress.compute", stopped)
        assert type_("problem=./mine.py")[0] == 130
    Path("mine.py").write_text(BOWL.format(4.0) + "\nopen('pwned', 'a').close()\n")
    assert type_("resume=last")[0] == 0
    assert not Path("pwned").exists()
    (kept,) = Path("mlruns").glob("*/*/artifacts/problem/*/mine.py")
    assert kept.read_text() == BOWL.format(1.0)


def test_only_the_command_line_makes_a_file_run(type_, here, monkeypatch, tmp_path_factory):
    """A configuration and a journal name a file: it does not run, unless it has run here before."""
    Path("theirs.py").write_text(BOWL.format(2.0) + "\nopen('pwned', 'a').close()\n")
    Path("conf/preset").mkdir(parents=True)
    Path("conf/preset/theirs.yaml").write_text("# @package _global_\nproblem:\n  name: ./theirs.py\n")
    theirs = ("preset=theirs", "--multirun", "--config-dir=conf")
    code, said = type_(*theirs)
    assert code == 2 and "'./theirs.py' is code that has not run here" in said and not Path("pwned").exists()
    Path("not_theirs.py").write_text(BOWL.format(1.0))
    assert type_("problem=./not_theirs.py", *theirs)[0] == 2 and not Path("pwned").exists()

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("adamx.sweep.progress.compute", stopped)
        assert type_("problem='./theirs.py'")[0] == 130 and Path("pwned").exists()
    with monkeypatch.context() as patch:
        patch.setenv("ADAMX_CACHE_DIR", str(tmp_path_factory.mktemp("another machine")))
        patch.setattr("adamx.inputs.files._execute", lambda *_: pytest.fail("it ran"))
        code, said = type_("resume=last")
        assert code == 2 and "has not run here" in said
    assert type_("resume=last")[0] == 0
    assert "has not run here" not in type_(*theirs)[1]  # it is known now


def test_a_report_executes_nothing(type_, here, monkeypatch):
    Path("quadratic.py").write_text(BOWL.format(3.0))
    assert type_("problem=./quadratic.py")[0] == 0
    monkeypatch.setattr("adamx.inputs.files._execute", lambda *_: pytest.fail("it ran"))
    assert report.main([last(here), "--out", "figures"]) == 0
    assert any(Path("figures").iterdir())
