"""Fixtures of several test files: MLflow stores, and a sweep to be recorded there."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.register_assert_rewrite("definitions", "recorded", "rules", "runs")  # helpers that judge

if TYPE_CHECKING:  # most tests need neither: they are imported where they are used
    from adamx.engine.launch import Launch
    from adamx.engine.results import Results
    from adamx.record.store import Store

ABSENT = re.compile("GPU|simulator|installed|could not import")  # why a test may be skipped where ADAMX_CI is set
SKIPPED: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "leave out a test at the moment that it asks Numba for a kernel (compiled or kept), or starts a process"
    parser.addoption("--compile-nothing", action="store_true", help=words)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("compile_nothing"):
        import uncompiled

        uncompiled.begin()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and not ABSENT.search(str(report.longrepr)):
        SKIPPED.append(f"{report.nodeid}: {report.longrepr}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A server that does not start must not pass unnoticed: only what the machine lacks is a reason to skip."""
    if SKIPPED and os.environ.get("ADAMX_CI") and not hasattr(session.config, "workerinput"):
        print("", *SKIPPED, "skipped, which ADAMX_CI does not allow", sep="\n", file=sys.__stderr__)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's files that have run in tests are remembered apart from those that this machine's user has run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAMX_CACHE_DIR", str(tmp_path_factory.mktemp("ran")))
        yield


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty migrated store, to be copied: migrating takes longer than the tests that need one."""
    from adamx.record import store

    folder = tmp_path_factory.mktemp("fresh")
    with contextlib.chdir(folder):  # an experiment keeps the artifact folder that it was made with
        store.open(f"sqlite:///{folder}/mlflow.db", "adamx")
    return folder / "mlflow.db"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no word about MLflow in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("TRACKING_URI", "EXPERIMENT_NAME", "EXPERIMENT_ID", "RUN_ID"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)
    return tmp_path


@pytest.fixture
def type_(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Types a command line of adamx.sweep in an empty directory: (exit code, stdout, stderr)."""
    from adamx.sweep import command as sweep

    monkeypatch.setattr(sys, "path", [*sys.path])

    def type_(*arguments: str) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["adamx-sweep", *arguments])
        try:
            code = sweep.main()
        except SystemExit as exit_:
            code = exit_.code
        return code, *capsys.readouterr()

    return type_


@pytest.fixture
def expand(type_: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Launch]]:
    """The launches that a command line expands to."""
    from adamx.sweep import run as running

    def expand(*arguments: str) -> list[Launch]:
        seen: list[Launch] = []
        monkeypatch.setattr(running, "run", lambda launches, *_: seen.extend(launches))
        code, _, said = type_(*arguments)
        assert code == 0, said
        return seen

    return expand


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ctrl-C after a number of chunks, of 64 runs each."""
    from adamx.engine import simulate as engine

    real, left = engine.stream, [0]

    def stream(*arguments: Any, **options: Any) -> Iterator[Any]:
        for chunk in real(*arguments, **options):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            yield chunk

    def after(chunks: int) -> None:
        left[0] = chunks

    monkeypatch.setattr(engine, "stream", stream)
    monkeypatch.setattr("adamx.engine.cpu.backend.chunk_runs", lambda *_: 64)
    return after


@pytest.fixture
def opened(fresh: Path, here: Path) -> Store:
    """A store in the working directory, with an experiment of its own."""
    from adamx.record import store

    (here / "mlflow.db").write_bytes(fresh.read_bytes())
    return store.open(experiment="test")


@pytest.fixture(scope="module")
def sweep() -> Results:
    """Runs of every kind, the diverged ones with infinities and NaN."""
    import numpy as np
    from synthetic import product, synthetic

    results = synthetic(product(lr=[1e-3, 1e-2, 1.0], eps=[1e-8, 1e-2], seed=[0, 1]))
    results = dataclasses.replace(results, settings={"batch": 64, "layers": [64, 32, 10]})
    results.loss[30:, -1] = np.inf
    assert set(results.regime) >= {"diverged", "spiking"} and not np.isfinite(results.loss).all()
    return results


@pytest.fixture(autouse=True)
def _reset_process() -> Iterator[None]:
    """Undo what a test sets in MLflow, which holds for the whole process and for those that it starts.

    Remove log handlers too (Hydra's, and absl's, which optax imports) that write to an earlier test's output.
    """
    for name in (None, *logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        for handler in [h for h in logger.handlers if getattr(getattr(h, "stream", None), "closed", False)]:
            logger.removeHandler(handler)
    if absl := sys.modules.get("absl.logging"):
        absl.get_absl_handler().python_handler.stream = sys.__stderr__
    yield
    if mlflow := sys.modules.get("mlflow"):
        mlflow.set_tracking_uri(None)
    if fluent := sys.modules.get("mlflow.tracking.fluent"):
        fluent._active_experiment_id = None  # type: ignore[attr-defined]
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
