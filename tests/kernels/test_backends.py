"""Where runs are computed: what is said without a GPU, and several chunks at once."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import CancelledError
from importlib.util import find_spec
from pathlib import Path
from threading import Event, current_thread

import numpy as np
import pytest
from runs import assert_same
from synthetic import synthetic

import adamx
from adamx.engine import backends
from adamx.engine import simulate as engine
from adamx.engine.cpu import backend
from adamx.engine.pipeline import in_order
from adamx.engine.results import concatenate
from adamx.inputs.errors import InputError
from adamx.problems import problem
from adamx.sweep.estimate import _seconds

HYPER = {"lr": np.geomspace(1e-4, 0.1, 10)}
WITHOUT = """
import importlib.util as util
real = util.find_spec
util.find_spec = lambda name, *rest: None if name == "numba_cuda" else real(name, *rest)
import adamx
try:
    adamx.simulate("adam", "beale", {}, 3, backend="cuda")
except adamx.InputError as error:
    print(error)
print(adamx.simulate("adam", "beale", {}, 3, backend="auto").backend)
"""


def no_gpu() -> bool:
    try:
        backends.backend("cuda")
    except InputError:
        return True
    return False


lacking = pytest.mark.skipif(not no_gpu(), reason="there is a GPU here")


def test_without_numba_cuda_one_line_says_how_to_install_it():
    said = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True).stdout
    assert said == "backend=cuda needs numba-cuda, which is not installed: pip install 'adamx[cuda]'\ncpu\n"


@lacking
@pytest.mark.skipif(not find_spec("numba_cuda"), reason="numba-cuda is not installed")
def test_without_a_gpu_one_line_says_so():
    with pytest.raises(InputError, match="backend=cuda finds no NVIDIA GPU and driver: ") as raised:
        adamx.simulate("adam", "beale", {}, 3, backend="cuda")
    assert "\n" not in str(raised.value)


@lacking
def test_auto_falls_back_to_the_cpu_and_says_why():
    assert adamx.simulate("adam", "beale", {}, 3, backend="auto").backend == "cpu"
    said = backends.configure({"name": "auto", "threads": None, "devices": 1})
    assert said.startswith("backend=auto takes the CPU: backend=cuda ")
    assert backends.configure({"name": "cpu", "threads": None}) == "" and backends.devices() == {}


@lacking
def test_the_sweep_says_it_too(tmp_path):
    command = [sys.executable, "-m", "adamx.sweep", "problem=beale", "steps=20"]
    auto = subprocess.run([*command, "backend=auto"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert auto.stdout.startswith("backend=auto takes the CPU: backend=cuda ")
    (tmp_path / "empty").mkdir()
    cuda = subprocess.run([*command, "backend=cuda"], cwd=tmp_path / "empty", capture_output=True, text=True)
    assert (cuda.returncode, cuda.stdout, cuda.stderr.count("\n")) == (2, "", 1)
    assert cuda.stderr.startswith("adamx: backend=cuda ")
    assert not list((tmp_path / "empty").rglob("*.db"))


@lacking
def test_the_benchmark_says_it_too():
    script = Path(__file__).parents[2] / "experiments" / "bench_cuda.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 2 and "backend=cuda " in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def three_at_once(monkeypatch):
    monkeypatch.setattr(backend, "chunk_runs", lambda *_: 2)
    monkeypatch.setattr(backend, "at_once", lambda: 3)


def test_chunks_at_once_keep_their_order(three_at_once, monkeypatch):
    real, threads = backend.run, set()

    def slow(problem, chunk):
        threads.add(current_thread().name)
        time.sleep(0.02 * (chunk.hyper["lr"][0] < 0.001))  # the first ones finish last
        return real(problem, chunk)

    monkeypatch.setattr(backend, "run", slow)
    ticks: list[int] = []
    parts = list(engine.stream("adam", problem("beale"), HYPER, 20, tick=ticks.append))
    assert len(parts) == 5 and len(threads) > 1 and max(ticks) > 2 * 20
    monkeypatch.undo()
    assert_same(adamx.simulate("adam", "beale", HYPER, 20), concatenate(parts))


def test_what_fails_at_once_stops_the_others(three_at_once, monkeypatch):
    real = backend.run

    def failing(problem, chunk):
        if chunk.hyper["lr"][0] > 0.001:
            raise InputError("the GPU stopped: lost")
        return real(problem, chunk)

    monkeypatch.setattr(backend, "run", failing)
    parts = engine.stream("adam", problem("beale"), HYPER, 20)
    assert [len(next(parts)) for _ in range(2)] == [2, 2]
    with pytest.raises(InputError, match="lost"):
        next(parts)


def test_who_stops_listening_stops_the_work():
    whole = next(engine.chunks("adam", problem("beale"), HYPER, 20))
    stopped, working = [], Event()

    def endless(chunk):
        if chunk.hyper["lr"][0] == HYPER["lr"][0]:
            return iter(["first"])
        working.set()
        try:
            while True:
                chunk.tick(len(chunk))
        except CancelledError:
            stopped.append(len(chunk))
            raise

    results = in_order(endless, [whole.part(slice(i, i + 1)) for i in range(4)], 2)
    assert next(results) == "first"
    assert working.wait(10)
    results.close()
    assert stopped


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("halved", [False, True])
def test_no_update_is_counted_twice(at_once, halved, monkeypatch):
    """Finished updates and ticks are never more than all updates, and their sum never falls by more than a chunk."""
    steps, of_chunk, runs = 10, 8, 40
    monkeypatch.setattr(backend, "chunk_runs", lambda *_: of_chunk)
    monkeypatch.setattr(backend, "at_once", lambda: at_once)

    def run(p, chunk):
        if halved and len(chunk) > of_chunk // 2:
            raise MemoryError
        for step in range(1, steps + 1):
            chunk.tick(len(chunk) * step)
        return synthetic({"lr": chunk.hyper["lr"], "seed": chunk.seeds}, "sgd", "beale", "float64", steps)

    monkeypatch.setattr(backend, "run", run)
    finished, seen = 0, []
    tick = lambda updates: seen.append(finished * steps + updates)
    for part in engine.stream("sgd", problem("beale"), {"lr": np.full(runs, 0.1)}, steps, tick=tick):
        finished += len(part)
        seen.append(finished * steps)
    assert finished == runs and max(seen) == runs * steps
    assert len(seen) >= runs // of_chunk * (steps + 1)


def test_the_estimate_is_the_time_that_it_takes(expand, monkeypatch):
    """On a clock that goes on by what is computed, chunk by chunk: no machine is fast or slow here."""
    clock, steps, runs = [0.0], 100, 400
    monkeypatch.setattr("adamx.sweep.estimate.perf_counter", lambda: clock[0])
    monkeypatch.setattr(backend, "chunk_runs", lambda *_: 8)

    def run(p, chunk):
        for step in range(1, steps + 1):
            clock[0] += 1e-3 * len(chunk)
            chunk.tick(len(chunk) * step)
        return synthetic({"lr": chunk.hyper["lr"], "seed": chunk.seeds}, "sgd", "beale", "float64", steps)

    monkeypatch.setattr(backend, "run", run)
    (launch,) = expand("problem=beale", "optimizer=sgd", f"optimizer.lr=log:1e-3:1:{runs}", f"steps={steps}")
    expected = _seconds(launch)
    clock[0] = 0.0
    assert sum(map(len, launch.stream())) == runs
    assert clock[0] == pytest.approx(1e-3 * runs * steps) and expected == pytest.approx(clock[0], rel=0.01)
