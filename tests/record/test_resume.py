"""Nothing lost: a sweep that was killed, interrupted or cut off goes on where it was, to the same record."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from killing import OVERRIDES, RUNS
from mlflow import MlflowClient
from serving import free_port, serving
from synthetic import product, synthetic

import adamx
from adamx.engine import simulate as engine
from adamx.engine.cpu import backend
from adamx.engine.launch import build
from adamx.inputs.errors import InputError
from adamx.record import identity
from adamx.sweep import command as sweep
from adamx.sweep import journal

KILLING = Path(__file__).parents[1] / "helpers" / "killing.py"
KILLS = 50
OTHER = ("mlflow.parentRunId", "mlflow.source")  # the parent's id, and the script that was called


@pytest.fixture
def type_(monkeypatch, here, capsys):
    """Types a command line: (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def type_(*arguments):
        monkeypatch.setattr(sys, "argv", ["adamx-sweep", *arguments])
        return sweep.main(), *capsys.readouterr()

    return type_


def record(folder):
    """All that a store says of children, but for ids and times; the parents' statuses; and the parent's tables."""
    rows = {}
    with sa.create_engine(f"sqlite:///{folder}/mlflow.db").connect() as connection:
        of = "(SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId')"
        for name, columns in (
            ("metrics", "key, step, value, is_nan"),
            ("params", "key, value"),
            ("tags", "key, value"),
        ):
            query = f"SELECT r.name, {columns} FROM {name} JOIN runs r USING (run_uuid) WHERE run_uuid IN {of}"
            found = connection.execute(sa.text(query)).fetchall()
            rows[name] = sorted(map(repr, (row for row in found if not row[1].startswith(OTHER))))
        query = f"SELECT name, status, lifecycle_stage FROM runs WHERE run_uuid IN {of}"
        rows["runs"] = sorted(map(tuple, connection.execute(sa.text(query))))
        query = f"SELECT status FROM runs WHERE run_uuid NOT IN {of}"
        parents = [status for (status,) in connection.execute(sa.text(query))]
    tables = {}
    for name in ("table", "curves"):
        (path,) = Path(folder).glob(f"mlruns/*/*/artifacts/{name}.parquet")
        tables[name] = pd.read_parquet(path).drop(columns="run_id", errors="ignore")
    return rows, parents, tables


def test_killed_at_any_moment_a_sweep_loses_nothing(tmp_path):
    """SIGKILL, during the start, the computation and the writing."""
    command = [sys.executable, KILLING, tmp_path, str(KILLS), "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    print(said)
    assert said["kills"] == KILLS
    assert said["writing"] >= 5
    whole = tmp_path / "whole"
    whole.mkdir()
    subprocess.run([sys.executable, "-m", "adamx.sweep", *OVERRIDES], cwd=whole, capture_output=True, check=True)
    expected, parents, tables = record(whole)
    assert parents == ["FINISHED"] and len(expected["runs"]) == len(tables["table"]) == RUNS
    for number in range(said["sweeps"]):
        rows, parents, found = record(tmp_path / str(number))
        assert rows == expected
        assert sorted(parents) == ["FINISHED", *["KILLED"] * (len(parents) - 1)]  # killed before it had a journal
        assert all(found[name].equals(tables[name]) for name in tables)
        assert not list((tmp_path / str(number) / "mlruns" / ".adamx").iterdir())


ADAM = {"name": "adam", "lr": "log:1e-3:1:3"}
SMALL = ("problem=beale", "optimizer=adam,rmsprop", "optimizer.lr=log:1e-3:1:130", "steps=60", "record.figures=false")


def test_resumed_after_ctrl_c_the_record_is_that_of_an_uninterrupted_sweep(type_, interrupted, here, monkeypatch):
    interrupted(10**9)
    assert type_(*SMALL)[0] == 0
    (here / "again").mkdir()
    monkeypatch.chdir(here / "again")
    interrupted(4)
    code, out, _ = type_(*SMALL)
    assert code == 130 and "194 of 260 runs were finished; python -m adamx.sweep resume=last computes the rest" in out
    interrupted(1)
    code, out, _ = type_("resume=last")
    assert code == 130 and "258 of 260" in out
    interrupted(10**9)
    assert type_("resume=last")[0] == 0
    rows, parents, tables = record(here)
    now = record(here / "again")
    assert now[:2] == (rows, parents)
    assert all(now[2][name].equals(tables[name]) for name in tables)


def test_a_lost_store_keeps_what_was_finished(type_, here, monkeypatch):
    def lost(*_):
        raise InputError("MLflow store 'x' was lost: gone")

    monkeypatch.setattr("adamx.record.store.Store.write", lost)
    code, _, err = type_(*SMALL[:1], "steps=20")
    assert code == 2 and "was lost" in err and "resume=last goes on with it" in err
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setattr(engine, "stream", None)  # nothing is computed again
    assert type_("resume=last")[0] == 0
    assert record(here)[1] == ["FINISHED"]


def test_what_cannot_be_resumed(type_, interrupted, here, monkeypatch):
    assert "no sweep was interrupted here" in type_("resume=last")[2]
    interrupted(1)
    type_(*SMALL)
    (kept,) = journal.journals("sqlite:///mlflow.db")
    assert "did you mean" in type_(f"resume={kept.run_id[:-1]}x")[2]
    assert "goes alone" in type_("resume=last", "steps=3")[2]
    about = json.loads((kept.folder / "sweep.json").read_text())
    about["overrides"][-2] = "steps=61"
    (kept.folder / "sweep.json").write_text(json.dumps(about))
    assert "are other runs now than they were" in type_("resume=last")[2]
    hold = f"k = Journal(Path({str(kept.folder)!r})); k.lock(); print(flush=True); input()"
    code = f"from adamx.sweep.journal import *; {hold}"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-O", "-c", code], cwd=here, **pipes) as other:
        assert other.stdout.readline() == b"\n"
        assert kept.alive
        assert "no sweep was interrupted here" in type_(f"resume={kept.run_id}")[2]
        other.communicate(b"\n")


# Other files around a sweep ------------------------------------------------------------------------------------------

ONE = ("problem=beale", "optimizer.lr=log:1e-3:1:130", "steps=60", "record.figures=false")


def runs_of(name):
    """The runs of an experiment: the parents, and the children."""
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    found = client.get_experiment_by_name(name)
    runs = client.search_runs([found.experiment_id], max_results=1000) if found else []
    below = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return [run for run in runs if run not in below], below


def test_a_sweep_goes_on_in_its_store_and_experiment(type_, interrupted, here, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "first")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    interrupted(1)
    assert type_(*ONE)[0] == 130
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "second")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/other.db")
    interrupted(10**9)
    assert type_("resume=last")[0] == 0
    parents, below = runs_of("first")
    assert len(parents) == 1 and len(below) == 130
    assert not any(map(len, runs_of("second"))) and not (here / "other.db").exists()


def test_a_journal_keeps_no_password(here, monkeypatch):
    secret = "postgresql://me:sesame@127.0.0.1:1/db"
    kept = journal.begin(secret, "abc", [], [], [])
    assert b"sesame" not in (kept.folder / "sweep.json").read_bytes()
    kept.release(done=False)
    kept = journal.Journal(kept.folder)
    with pytest.raises(InputError, match=r"recorded at postgresql://me:\*\*\*@127.0.0.1:1/db: set MLFLOW_TRACKING_URI"):
        kept.store
    monkeypatch.setenv("MLFLOW_TRACKING_URI", secret)
    assert kept.store == secret


def test_a_moved_and_a_copied_folder_are_refused_with_what_helps(type_, interrupted, here, monkeypatch):
    (here / "old").mkdir()
    monkeypatch.chdir(here / "old")
    interrupted(1)
    type_(*ONE)
    (table,) = Path("mlruns").glob("*/*/artifacts/table.parquet")
    before = table.read_bytes()
    shutil.copytree(here / "old", here / "copy")
    interrupted(10**9)
    monkeypatch.chdir(here / "copy")
    code, _, err = type_("resume=last")
    assert code == 2 and "is a copy" in err and str(here / "old") in err
    assert (here / "old" / table).read_bytes() == before
    monkeypatch.chdir(here)
    (here / "old").rename(here / "new")
    monkeypatch.chdir(here / "new")
    code, _, err = type_("resume=last")
    assert code == 2 and f"move the folder back to {here}/old, or make a link: ln -s {here}/new {here}/old" in err
    (here / "old").symlink_to(here / "new")
    assert type_("resume=last")[0] == 0
    assert len(pd.read_parquet(table)) == 130


def test_a_users_file_is_what_it_was(type_, interrupted, here):
    text = (Path(adamx.__file__).parent / "problems" / "beale.py").read_text()
    (here / "mine.py").write_text(text)
    interrupted(1)
    assert type_("problem=./mine.py", *ONE[1:])[0] == 130
    (here / "mine.py").write_text(text.replace("1.5", "2.5"))
    interrupted(10**9)
    assert type_("resume=last")[0] == 0
    (path,) = Path("mlruns").glob("*/*/artifacts/table.parquet")
    table = pd.read_parquet(path)
    whole = adamx.simulate("adam", "beale", {"lr": table["lr"]}, 60)
    np.testing.assert_array_equal(table["final_loss"], whole.loss[-1])


def test_a_resumed_parent_says_what_an_uninterrupted_one_says(type_, interrupted, here, monkeypatch):
    """Its figures stand there once, and are those of all runs."""
    two = ("problem=beale,rosenbrock", "optimizer.lr=log:1e-3:1:100", "steps=60", "record.figures=false")
    interrupted(10**9)
    assert type_(*two)[0] == 0
    (whole,), _ = runs_of("adamx")
    (here / "again").mkdir()
    monkeypatch.chdir(here / "again")
    interrupted(2)  # all of the first problem: its best has another name while it is alone
    assert type_(*two)[0] == 130
    (part,), below = runs_of("adamx")
    assert "best" in part.data.tags and not part.data.metrics and len(below) == 100
    interrupted(10**9)
    assert type_("resume=last")[0] == 0
    (run,), below = runs_of("adamx")
    timed = {"seconds", "runs_per_second"}
    assert run.data.metrics.keys() == whole.data.metrics.keys()
    assert all(run.data.metrics[key] == value for key, value in whole.data.metrics.items() if key not in timed)
    assert run.data.metrics["runs_per_second"] * run.data.metrics["seconds"] == pytest.approx(100)
    own = {key for key in whole.data.tags if key.startswith("best") or key == "children"}
    assert {key for key in run.data.tags if key.startswith("best") or key == "children"} == own
    for key in own - {"best_run_id.beale", "best_run_id.rosenbrock"}:
        assert run.data.tags[key] == whole.data.tags[key]
    assert {run.data.tags[f"best_run_id.{name}"] for name in ("beale", "rosenbrock")} <= {r.info.run_id for r in below}
    with sa.create_engine(f"sqlite:///{here}/again/mlflow.db").connect() as connection:
        query = "SELECT key, count(*) FROM metrics WHERE run_uuid = :run GROUP BY key HAVING count(*) > 1"
        assert connection.execute(sa.text(query), {"run": run.info.run_id}).fetchall() == []


# Journals that are damaged --------------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path):
    path.write_bytes(b"")


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, emptied, flipped])
def test_a_damaged_chunk_is_computed_again_and_said(damage, type_, interrupted, here, caplog):
    interrupted(2)
    assert type_(*ONE)[0] == 130
    (kept,) = journal.journals(f"sqlite:///{here}/mlflow.db")
    damage(min(kept.folder.glob("*.parquet")))
    interrupted(10**9)
    assert type_("resume=last")[0] == 0
    assert len(caplog.messages) == 1 and "is damaged and is computed again: 0000-0000000000" in caplog.messages[0]
    (run,), below = runs_of("adamx")
    assert len(below) == run.data.metrics["runs"] == 130
    computed = run.data.metrics["runs_per_second"] * run.data.metrics["seconds"]
    assert computed == pytest.approx(64 + 2)


def test_a_bad_journal_does_not_stand_before_a_good_one(type_, interrupted, here, caplog):
    interrupted(1)
    for number in range(5):
        assert type_(*ONE, f"seed={number}")[0] == 130
    newest, locked, deleted, gone, good = journal.journals(f"sqlite:///{here}/mlflow.db")
    emptied(newest.folder / "sweep.json")
    (locked.folder / "lock").unlink()
    (locked.folder / "lock").mkdir()
    client = MlflowClient(f"sqlite:///{here}/mlflow.db")
    client.delete_run(deleted.run_id)
    with sa.create_engine(f"sqlite:///{here}/mlflow.db").begin() as connection:
        for table in ("latest_metrics", "metrics", "params", "tags", "runs"):
            connection.execute(sa.text(f"DELETE FROM {table} WHERE run_uuid = '{gone.run_id}'"))
    for kept, words in ((newest, "cannot be read"), (locked, "cannot be locked"), (deleted, "mlflow runs restore")):
        code, _, err = type_(f"resume={kept.run_id}")
        assert code == 2 and words in err and err.count("\n") == 1
        assert client.get_run(kept.run_id).info.status == "KILLED"
    interrupted(10**9)
    assert type_("resume=last")[0] == 0
    assert client.get_run(good.run_id).info.status == "FINISHED"
    assert not good.folder.exists() and not gone.folder.exists() and deleted.folder.exists()
    assert sum("it is passed over" in message for message in caplog.messages) == 4


def test_what_was_never_begun_is_cleared(here):
    left = journal.place(f"sqlite:///{here}/mlflow.db") / "left"
    left.mkdir(parents=True)
    journal.begin(f"sqlite:///{here}/mlflow.db", "a", [], [], []).release(done=False)
    assert left.exists()  # perhaps its sweep is just beginning
    os.utime(left, (0, 0))
    journal.begin(f"sqlite:///{here}/mlflow.db", "b", [], [], []).release(done=False)
    assert not left.exists() and sorted(path.name for path in left.parent.iterdir()) == ["a", "b"]


def test_recorded_points_are_skipped(type_):
    type_("problem=beale", "optimizer.lr=0.1,0.2", "optimizer.eps=1e-8,1e-4", "steps=20", "record=parent")
    _, out, _ = type_("problem=beale", "optimizer.lr=0.1,0.3", "optimizer.eps=1e-8,1e-4", "steps=20", "skip=recorded")
    assert "2 of 4 runs are recorded already, and skipped" in out
    _, out, _ = type_("problem=beale", "optimizer.lr=0.1,0.3", "optimizer.eps=1e-8", "steps=20", "skip=recorded")
    assert out.strip() == "2 of 2 runs are recorded already, and skipped"
    client = MlflowClient()
    assert len(client.search_runs(["1"])) == 2 + 2  # two parents, and the two runs of the second
    _, out, err = type_("problem=beale", "skip=everything")
    assert "unknown skip 'everything': allowed: recorded" in err


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9))), st.integers(1, 60))
def test_missing_is_what_no_chunk_has(chunks, runs):
    got = {row for part in journal.missing(chunks, runs) for row in range(part.start, part.stop)}
    assert got == set(range(runs)) - {first + i for first, count in chunks for i in range(count)}


@given(st.sets(st.integers(0, 40)))
def test_rows_come_back(rows):
    ascending = np.array(sorted(rows), int)
    ranges = journal._ranges(ascending)
    assert [row for first, last in ranges for row in range(first, last)] == ascending.tolist()


def test_a_chunk_comes_back_to_the_bit(here):
    config = {"lr": [0.1, 1e30], "eps": [1e-8, 0.0]}
    chunk = adamx.simulate("adam", "rosenbrock", config, 50, 5, dtype="float32", instruments=["path", "crossings"])
    assert not np.isfinite(chunk.loss[-1, 1])
    kept = journal.begin("sqlite:///mlflow.db", "abc", [], [], [])
    kept.keep(0, 7, chunk)
    kept.keep(0, 3, synthetic(product(lr=[0.1, 0.2])))
    back = kept.kept(0)
    assert list(back) == [3, 7]
    for field in dataclasses.fields(chunk):
        old, new = (getattr(r, field.name) for r in (chunk, back[7]))
        if isinstance(old, dict) and old and isinstance(next(iter(old.values())), np.ndarray):
            assert all(np.array_equal(old[k], new[k], equal_nan=True) and old[k].dtype == new[k].dtype for k in old)
        elif isinstance(old, np.ndarray):
            assert np.array_equal(old, new, equal_nan=True) and old.dtype == new.dtype
        else:
            assert str(old).replace("(", "[").replace(")", "]") == str(new).replace("(", "[").replace(")", "]")
    kept.release(done=True)
    assert not kept.folder.exists()


def test_identity_is_that_of_the_configuration(here):
    def launch(**changed):
        config = {
            "optimizer": ADAM, "problem": {"name": "beale"}, "backend": {"name": "cpu"},
            "steps": 20, "record_every": 5, "dtype": "float32", "schedule": "constant", "seed": 0, "samples": None,
            "storage": {}, "sampler": "sobol", "instruments": [], **changed,
        }  # fmt: skip
        return build(config, {})

    base = launch()
    marks = identity.of_launch(base)
    (results,) = base.stream()
    assert identity.of_results(results) == marks and len(set(marks)) == 3
    same = [launch(record_every=7), launch(instruments=["grad_norm"]), launch(seed=0.0)]
    assert all(identity.of_launch(each) == marks for each in same)
    other = [
        launch(steps=21), launch(seed=1), launch(dtype="float64"), launch(schedule="cosine"),
        launch(storage={"state": "bfloat16"}), launch(optimizer={**ADAM, "eps": 1e-7}),
    ]  # fmt: skip
    assert not any(set(identity.of_launch(each)) & set(marks) for each in other)
    assert not set(identity.of_launch(launch(problem={"name": "beale", "x0": [1, 1.5]}))) & set(marks)
    assert identity.of_launch(launch(problem={"name": "beale", "x0": (1, 1)})) == marks


def test_a_server_that_is_lost_is_sent_the_rest_by_resume(type_, here, monkeypatch):
    real, port, files = engine.stream, free_port(), ["--backend-store-uri", f"sqlite:///{here}/server.db"]
    files += ["--artifacts-destination", str(here / "artifacts")]
    with ExitStack() as running:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", running.enter_context(serving(here, *files, port=port)))
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

        def stream(*arguments, **options):
            yield from real(*arguments, **options)
            running.close()

        monkeypatch.setattr(engine, "stream", stream)
        code, _, err = type_("problem=beale", "optimizer.lr=0.1,0.2", "steps=20", "record.figures=false")
        said = err.strip().splitlines()[-1]
        assert code == 2 and "was lost" in said and said.endswith("resume=last goes on with it")
    with serving(here, *files, port=port) as address:
        command = [sys.executable, "-m", "adamx.sweep", "resume=last"]  # MLflow remembers a run's address in a process
        assert subprocess.run(command, capture_output=True).returncode == 0
        found = MlflowClient(address).search_runs(["1"])
        assert [run.info.status for run in found] == ["FINISHED"] * 3


def test_a_journal_that_cannot_be_written_is_one_line(type_, here):
    (here / "mlruns").mkdir()
    (here / "mlruns" / ".adamx").write_text("in the way")
    code, _, err = type_("problem=beale", "steps=20")
    assert code == 2 and "the journal" in err and "cannot be written: Not a directory" in err


def test_short_of_memory_chunks_are_halved(monkeypatch):
    whole = adamx.simulate("adam", "beale", {"lr": np.geomspace(1e-3, 0.1, 50)}, 30)
    real, sizes = backend.run, []

    def small(problem, chunk):
        sizes.append(len(chunk))
        if len(chunk) > 16:
            raise MemoryError
        return real(problem, chunk)

    monkeypatch.setattr(backend, "run", small)
    parts = adamx.simulate("adam", "beale", {"lr": np.geomspace(1e-3, 0.1, 50)}, 30)
    assert np.array_equal(whole.loss, parts.loss) and max(sizes) == 50 and len(sizes) > 5
    monkeypatch.setattr(backend, "run", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(InputError, match="one run of 30 steps does not fit the memory"):
        adamx.simulate("adam", "beale", {}, 30)


def test_curves_that_do_not_fit_the_memory_are_refused_before_any_work(type_, here):
    code, _, err = type_("problem=beale", "optimizer.lr=log:1e-4:1:100000", "steps=10000000", "record_every=1")
    assert code == 2 and "of memory and" in err and "raise record_every (now 1)" in err
    assert not (here / "mlflow.db").exists()
