"""Recorded runs come back as they were, and replay says whether they can be computed again."""

import contextlib
import dataclasses
import itertools
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from synthetic import product, synthetic

from adamx import replay
from adamx.engine import simulate as engine
from adamx.engine.chunk import Chunk
from adamx.engine.launch import Launch
from adamx.inputs.errors import InputError
from adamx.optimizers import rule
from adamx.problems import problem
from adamx.record import parent as record
from adamx.record import provenance, readback, store
from adamx.record.children import digests
from adamx.record.codec import KEY
from adamx.sweep.run import sources

MINE = """
from typing import NamedTuple
from adamx.portable import portable

class Params(NamedTuple):
    a: float = 1.0
    eps: float = 0.0

start = (1.0,)
minimum = -1.0

@portable
def value_and_grad(x, p):
    return p.a * x[0] * x[0] - 1, (2 * p.a * x[0],)
"""


def launch(name, dtype, hyper, **args):
    _, hyper, seeds = engine.columns("adam", hyper)
    return Launch(rule("adam"), problem(name, args), args, hyper, seeds, 60, 7, dtype, "cpu", "constant", {}, (), {})


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A recorded sweep of two launches, one of them of a file that is gone: (folder, parent's id, results)."""
    folder = tmp_path_factory.mktemp("swept")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        (folder / "mine.py").write_text(MINE)
        launches = [
            launch("./mine.py", "float64", {"lr": [1e-3, 0.1], "seed": [0, 1]}, a=1.5, noise=0.1),
            launch("quadratic", "float32", {"lr": [0.1, 1e30, 1.0], "eps": 1e-3}, curvature=[1, 10.5], x0=[1.0, 2]),
        ]
        results = [r for each in launches for r in replay.run([each], replay.Console(quiet=True))]
        config = {"problem": [{"name": "./mine.py"}, {"name": "quadratic"}], "optimizer": {"name": "adam"}}
        sweep = record.start(store.open(), "test", config, [], sources(launches))
        sweep.write(results, ["lr"], limit=4)
        sweep.finish()
        (folder / "mine.py").unlink()
    return folder, sweep.run_id, results


@pytest.fixture
def there(swept, monkeypatch):
    """In the folder of the sweep: (parent's id, results)."""
    monkeypatch.chdir(swept[0])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return swept[1:]


def same(a, b):
    """Assert that two Results are equal to the last bit; a recorded one has no final points."""
    pd.testing.assert_frame_equal(a.table, b.table, check_exact=True)
    assert a.title == b.title and a.names == b.names and a.criteria == b.criteria and a.minimum == b.minimum
    assert a.loss.dtype == b.loss.dtype and a.steps.tolist() == b.steps.tolist()
    for x, y in zip(({"loss": a.loss, **a.curves}, a.figures), ({"loss": b.loss, **b.curves}, b.figures), strict=True):
        assert list(x) == list(y)
        for name in x:
            np.testing.assert_array_equal(x[name], y[name], name)


def test_results_come_back(there):
    parent, results = there
    assert not np.isfinite(results[1].loss).all()
    for was, back in zip(results, readback.results(parent), strict=True):
        same(was, back)
    (fourth,) = readback.read(f"{parent}:3").results
    same(results[1].take(np.array([1])), fourth)


def test_results_of_every_kind_come_back(there):
    """Tasks with curves of their own beside launches without; settings of all types; mixed widths."""
    parts = [
        synthetic(product(lr=[1e-3, 1.0], eps=[1e-8, 1e-2], seed=[0, 1])),
        synthetic(product(lr=[0.1]), optimizer="lion", problem="beale", accuracy=False, minimum=-2.0),
    ]
    settings = {"hidden": [64, 32], "path": "1", "none": None, "yes": True, "lr": "text", "number": 0.1 + 0.2}
    parts[0] = dataclasses.replace(parts[0], settings=settings, setup={"hidden": [64, 32]}, schedule="cosine")
    parts[1] = dataclasses.replace(parts[1], loss=parts[1].loss.astype(np.float32))
    sweep = record.start(store.open(), "kinds", {}, [])
    sweep.write(parts, [], "parent")
    for was, back in zip(parts, readback.results(sweep.run_id), strict=True):
        same(was, back)
        assert back.settings == was.settings and back.schedule == was.schedule


def test_replays_from_the_record_alone(there, capsys):
    parent, results = there
    assert replay.main([parent]) == 0
    assert "5 of 5 runs are bit-identical" in capsys.readouterr().out
    tables = pq.read_table(store.open().client.download_artifacts(parent, "table.parquet")).to_pandas()
    assert list(tables["curve_digest"]) == [mark for r in results for mark in digests(r)]
    children = tables["run_id"].dropna()
    assert len(children) == 4
    assert replay.main([children.iloc[0]]) == 0
    assert "the run is bit-identical" in capsys.readouterr().out
    child = store.open().client.get_run(children.iloc[1])
    assert child.data.tags["curve_digest"] == tables.set_index("run_id").loc[child.info.run_id, "curve_digest"]


def test_says_how_far_off_a_curve_is(there, monkeypatch, capsys):
    parent, _ = there
    real = replay.run

    def nudged(launches, console):
        (result,) = real(launches, console)
        result.loss[3] *= 1 + 1e-9
        result.loss[5] *= 1 - 1e-6
        return [result]

    tags = store.open().client.get_run(parent).data.tags
    now = {name: tags[name] for name in provenance.versions()}  # the sources may have been edited since the sweep ran
    monkeypatch.setattr(replay, "versions", lambda: now)
    monkeypatch.setattr(replay, "run", nudged)
    assert replay.main([f"{parent}:1"]) == 1
    said = capsys.readouterr().out
    assert "the run is not bit-identical" in said and "from step 21 on" in said
    assert "1e-06 of the loss (row 1, step 35)" in said and "those of the record" in said
    monkeypatch.setattr(replay, "versions", lambda: {**now, "version.numba": "0.0", "cores": "1000"})
    assert replay.main([f"{parent}:1"]) == 0
    said = capsys.readouterr().out
    assert f"version.numba: {now['version.numba']} when recorded, 0.0 now" in said and "cores" not in said


def test_what_a_gpu_recorded_is_replayed_without_one(there, monkeypatch):
    parent, _ = there
    found = readback.read(f"{parent}:1")
    on_gpu = dataclasses.replace(found, results=[dataclasses.replace(r, backend="cuda") for r in found.results])
    assert [launch.backend for launch in on_gpu.launches()] == ["auto"]
    assert replay.identical(on_gpu, replay.run(on_gpu.launches(), Console(quiet=True))).all()
    on_gpu.parent.data.tags["gpu"] = "a card"
    monkeypatch.setattr(replay, "versions", lambda: {k: v for k, v in provenance.versions().items() if k != "gpu"})
    assert replay.differences(on_gpu, replay.run(on_gpu.launches(), Console(quiet=True)))["gpu"] == ("a card", "none")


def test_deviation():
    old = np.array([[1.0, 1.0], [2.0, np.nan], [0.0, np.inf], [4.0, 5.0]])
    new = np.array([[1.0, 1.0], [2.0, np.nan], [1e-9, np.inf], [4.0, 4.0]])
    steps = np.array([0, 10, 20, 30])
    assert replay.deviation(old[:, 1:], new[:, 1:], steps) == (30, 0.2, 0, 30)
    assert replay.deviation(old, new, steps) == (20, 1.0, 0, 20)
    assert replay.deviation(old[:2], np.array([[1, 1], [2, 3.0]]), steps) == (10, np.inf, 1, 10)


def test_a_digest_sees_every_bit():
    results = synthetic(product(lr=[1e-3, 1e-2], seed=[0, 1]))
    marks = digests(results)
    assert len({*marks}) == 4 and all(len(mark) == 32 for mark in marks)
    assert digests(results.take(np.array([2]))) == marks[2:3]
    later = dataclasses.replace(results, steps=results.steps + 1)
    single = dataclasses.replace(results, loss=results.loss.astype(np.float32).astype(np.float64))
    lone = dataclasses.replace(single, loss=single.loss.astype(np.float32))
    assert not {*marks} & {*digests(later)} and not {*digests(single)} & {*digests(lone)}
    bit = results.loss.copy()
    bit[7, 1] = np.nextafter(bit[7, 1], 1)
    differ = [a != b for a, b in zip(marks, digests(dataclasses.replace(results, loss=bit)), strict=True)]
    assert differ == [False, True, False, False]
    bit[7] = -np.nan
    once = digests(dataclasses.replace(results, loss=bit))
    bit[7] = np.nan
    assert digests(dataclasses.replace(results, loss=bit)) == once


@pytest.mark.parametrize("dtype", engine.DTYPES)
def test_every_precision_is_read_from_its_name(there, dtype):
    formats = (None, "float32", "bfloat16", "float16")
    for kept in itertools.product(formats, formats, formats, ("nearest", "stochastic")):
        storage = dict(zip(("params", "state", "constants", "rounding"), kept, strict=True))
        try:
            wanted = engine.precision(dtype, storage)
        except InputError:
            continue
        name = Chunk(rule("adam"), {}, ("constant", {}), np.zeros(1), 1, 1, *wanted).precision
        found = readback.read(f"{there[0]}:2")
        again = dataclasses.replace(found, results=[dataclasses.replace(found.results[0], dtype=name)]).launches()[0]
        assert engine.precision(again.dtype, again.storage) == wanted, name


def test_what_cannot_be_replayed(there, tmp_path, monkeypatch, capsys):
    parent, _ = there
    client = store.open().client
    other = client.create_run("0").info.run_id
    old = record.start(store.open(), "old", {}, [])
    old.write([synthetic(product(lr=[0.1]), problem="theirs")], [])
    mistakes = {
        "nope": "no run 'nope'",
        f"{parent}:5": "a row from 0 to 4",
        f"{parent}:-1": "a row from 0 to 4",
        other: "has no table.parquet",
        old.run_id: "'theirs' is not one of adamx",
    }
    for typed, said in mistakes.items():
        assert replay.main([typed]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    monkeypatch.chdir(tmp_path)
    assert replay.main([parent]) == 2
    assert "go to the folder of the sweep" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_record_of_an_older_version(there, tmp_path, capsys):
    sweep = record.start(store.open(), "older", {}, [])
    path = tmp_path / "table.parquet"
    pd.DataFrame({"run": [0]}).to_parquet(path)
    store.open().client.log_artifact(sweep.run_id, str(path))
    assert replay.main([sweep.run_id]) == 2
    assert "recorded by a version of adamx" in capsys.readouterr().err


def test_the_table_says_its_launches_in_json(there):
    metadata = pq.read_schema(store.open().client.download_artifacts(there[0], "table.parquet")).metadata
    said = json.loads(metadata[KEY])
    assert [(each["runs"], each["same"]["problem"]) for each in said] == [(2, "mine"), (3, "quadratic")]
