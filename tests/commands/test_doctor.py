"""The doctor: no complaint on a sound machine, and a line with a remedy for each fault."""

import dataclasses
import importlib.metadata
import os
import sqlite3

import numba
import numpy as np
import pytest

from adamx import doctor
from adamx.doctor import NOTE, OK, WRONG
from adamx.engine.cpu import threads


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def one(part):
    (found,) = part()
    return found


def said(found, state, *words):
    assert found.state == state, found
    assert all(word in found.said for word in words), found
    assert "\n" not in found.said
    assert bool(found.todo) or state != WRONG


def test_all_is_right_and_nothing_is_made(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["numba>=0.62", "torch>=2; extra == 'peers'"])
    assert doctor.main([]) == 0
    out, error = capsys.readouterr()
    assert error == ""
    assert "\x1b" not in out, "plain where it is piped"
    for word in ("python", "adamx", "numba", "threads", "SIMD", "GPU", "store", "cache", "arithmetic", "all right"):
        assert word in out
    assert "torch" not in out, "what is optional is not asked for"
    assert not list(tmp_path.iterdir())


def test_the_exit_code_and_the_remedy(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "PARTS", (lambda: iter([doctor.Finding(WRONG, "thing", "is broken", "mend it")]),))
    assert doctor.main([]) == 1
    assert "is broken\n" + " " * 20 + "do: mend it\n1 wrong" in capsys.readouterr().out


def test_a_part_that_breaks_is_a_finding(monkeypatch):
    def broken():
        raise OSError("no\nsuch thing")

    monkeypatch.setattr(doctor, "PARTS", (broken,))
    said(one(doctor.findings), WRONG, "OSError: no")


def test_versions_outside_what_is_admitted(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["numba<0.1", "no-such-package>=3", "numpy"])
    *_, numba_, missing, numpy_ = doctor.versions()
    said(numba_, WRONG, numba.__version__, "<0.1 is needed")
    said(missing, WRONG, "not installed")
    assert missing.todo == "pip install 'no-such-package>=3'"
    said(numpy_, OK, np.__version__)


def changed(monkeypatch, change):
    """Let every run of the doctor come out changed."""
    run = doctor._run
    monkeypatch.setattr(doctor, "_run", lambda *a, **k: change(run(*a, **k)))


def test_a_kernel_that_is_a_little_wrong(monkeypatch):
    said(one(doctor.arithmetic), OK, "24 runs", "agree to the bit")
    changed(monkeypatch, lambda r: dataclasses.replace(r, loss=r.loss * (1 + 1e-11)))
    said(one(doctor.arithmetic), WRONG, "agree to 1.0e-11")


def test_a_kernel_that_gives_nan(monkeypatch):
    changed(monkeypatch, lambda r: dataclasses.replace(r, loss=r.loss * np.nan))
    said(one(doctor.arithmetic), WRONG)
    said(one(doctor.threshold), WRONG)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_another_threshold_is_not_found(monkeypatch, factor):
    said(one(doctor.threshold), OK, "spiking and converged")
    monkeypatch.setattr(doctor, "THRESHOLD", doctor.THRESHOLD * factor)
    said(one(doctor.threshold), WRONG)


def test_bits_that_depend_on_threads(monkeypatch):
    before = threads.count()
    said(one(doctor.threads), OK, "the same bits")
    changed(monkeypatch, lambda r: dataclasses.replace(r, x=r.x + threads.count()))
    said(one(doctor.threads), WRONG if before > 1 else OK)
    assert threads.count() == before


def test_a_cache_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    kernel, cache = doctor.kernels()
    said(kernel, OK, "loaded in")
    said(cache, WRONG, "not writable")
    assert "NUMBA_CACHE_DIR" in cache.todo


def test_stores(monkeypatch, tmp_path):
    said(one(doctor.store), NOTE, "the first sweep makes it")
    (tmp_path / "mlflow.db").touch()
    said(one(doctor.store), NOTE, "the first sweep makes it")
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to be looked at" * 40)
    said(one(doctor.store), WRONG, "not a database")
    assert [p.name for p in tmp_path.iterdir()] == ["mlflow.db"]
    for uri, words in {
        f"sqlite:///{tmp_path}": "cannot be written",
        f"sqlite:///{tmp_path}/nowhere/mlflow.db": "cannot be written",
        "http://127.0.0.1:9": "failed",
        "nosuch://me:secret@place": "nosuch://me:***@place",
    }.items():
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        said(one(doctor.store), WRONG, words)
    assert [p.name for p in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_real_store_and_a_newer_one(monkeypatch, tmp_path):
    from mlflow import MlflowClient

    database = tmp_path / "real.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    sqlite3.connect(database).execute("CREATE TABLE mine (a INT)").connection.close()
    said(one(doctor.store), OK, "no tables yet")
    MlflowClient(f"sqlite:///{database}").search_experiments()
    before = database.read_bytes()
    said(one(doctor.store), OK, "schema", "written directly")
    assert database.read_bytes() == before
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    connection.close()
    said(one(doctor.store), WRONG, "from_the_future")


def test_a_machine_without_simd(monkeypatch):
    import llvmlite.binding as llvm

    many, simd, _ = doctor.machine()
    said(many, OK, f"of {numba.config.NUMBA_NUM_THREADS}")
    said(simd, OK, "bits")
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: {"sse": True, "avx2": False})
    said(list(doctor.machine())[1], WRONG, "none found")
