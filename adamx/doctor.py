"""python -m adamx.doctor: what adamx stands on here, and whether its kernels compute what the rules say.

Exit code 0 where all is right, 1 where a check failed; what failed says in one line what to do. Nothing is created but
compiled kernels.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

import adamx
from adamx.engine.backends import backend
from adamx.engine.cpu import backend as cpu
from adamx.engine.cpu import threads as pool
from adamx.engine.results import Results
from adamx.engine.simulate import chunks
from adamx.inputs.commands import command
from adamx.inputs.errors import InputError, first_line
from adamx.portable import rng
from adamx.portable.cache import folder_of
from adamx.problems import Landscape, problem

OK, NOTE, WRONG = "ok", "-", "WRONG"
STYLES = {OK: "green", NOTE: "dim", WRONG: "bold red"}
WIDTHS = {"avx512f": 512, "sve": 0, "avx2": 256, "avx": 256, "sse2": 128, "neon": 128}  # bits; 0: the machine's own
STEPS = 60_000  # of claim 1: the time to come back to the minimum and leave it again
THRESHOLD = 0.1 * (1 - 0.9) / (2 * (1 + 0.9))  # eps* = lr curvature (1 - beta1) / (2 (1 + beta1))


class Finding(NamedTuple):
    """One line; `todo` follows it where something is wrong."""

    state: str
    what: str
    said: str
    todo: str = ""


def versions() -> Iterator[Finding]:
    """Python, adamx and all that it needs, against the versions that it admits."""
    from packaging.requirements import Requirement

    yield Finding(OK, "python", f"{platform.python_version()} on {platform.platform()}")
    try:
        yield Finding(OK, "adamx", importlib.metadata.version("adamx"))
    except importlib.metadata.PackageNotFoundError:
        yield Finding(WRONG, "adamx", f"not installed, run from {Path(adamx.__file__).parent}", "pip install -e .")
        return
    for wanted in map(Requirement, importlib.metadata.requires("adamx") or ()):
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        todo = f"pip install '{wanted.name}{wanted.specifier}'"
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(WRONG, wanted.name, "not installed", todo)
            continue
        if wanted.specifier.contains(found, prereleases=True):
            yield Finding(OK, wanted.name, found)
        else:
            yield Finding(WRONG, wanted.name, f"{found}, but {wanted.specifier} is needed", todo)


def machine() -> Iterator[Finding]:
    """Threads, the SIMD width, the GPU."""
    import llvmlite.binding as llvm  # type: ignore[import-untyped]

    yield Finding(OK, "threads", f"{pool.count()} of {pool.most()}; the machine has {os.cpu_count()} cores")
    features = llvm.get_host_cpu_features()
    widest = next((name for name in WIDTHS if features.get(name)), None)
    if widest:
        bits = WIDTHS[widest]
        said = f"{widest}, {bits} bits: {bits // 64} float64 or {bits // 32} float32" if bits else widest
        yield Finding(OK, "SIMD", f"{said} ({llvm.get_host_cpu_name()})")
    else:
        said = f"none found ({llvm.get_host_cpu_name()}): kernels will be slow"
        yield Finding(WRONG, "SIMD", said, "unset NUMBA_CPU_NAME and NUMBA_CPU_FEATURES; update numba")
    yield _gpu()


def _gpu() -> Finding:
    if not find_spec("numba_cuda"):
        return Finding(NOTE, "GPU", "numba-cuda is not installed; the CPU runs everything")
    version = importlib.metadata.version("numba-cuda")
    try:
        return Finding(OK, "GPU", f"{backend('cuda').device.describe()}, numba-cuda {version}")
    except InputError as error:
        if "finds no" in str(error):
            return Finding(NOTE, "GPU", f"numba-cuda {version} finds no device; the CPU runs everything")
        return Finding(WRONG, "GPU", str(error), "pip install the numba-cuda of the driver: 'adamx[cuda]' or [cuda12]")


def store() -> Iterator[Finding]:
    """The store for sweeps: whether it answers, and the way runs are written there."""
    from adamx.record.address import address, database, hidden, shown

    uri = address()
    path = database(uri)
    if path and not (path.is_file() and path.stat().st_size):
        if path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
            yield Finding(WRONG, "store", f"{uri} cannot be written", "go to, or name, a folder that you may write in")
        else:
            yield Finding(NOTE, "store", f"{uri} does not exist yet: the first sweep makes it")
        return
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # it prints the traceback of what is said here in a line
    try:
        yield Finding(OK, "store", f"{shown(uri)}, {_answer(uri)}")
    except Exception as error:  # drivers, plugins, alembic and servers raise what they like
        todo = "start that store, or set MLFLOW_TRACKING_URI to another"
        yield Finding(WRONG, "store", f"{shown(uri)}: {hidden(first_line(error)[:200], uri)}", todo)


def _answer(uri: str) -> str:
    """The store's description of itself; nothing is created in it."""
    import sqlalchemy as sa
    from mlflow import MlflowClient
    from mlflow.store.db.db_types import DATABASE_ENGINES

    from adamx.record import sql, writer
    from adamx.record.store import PATIENCE

    quick = writer.environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT=str(PATIENCE))
    with quick, ExitStack() as stack:
        schema = "it answers"
        if uri.partition(":")[0].partition("+")[0] in DATABASE_ENGINES:
            engine = sa.create_engine(uri)
            stack.callback(engine.dispose)
            with engine.connect() as connection:  # fails at once, where MLflow would try for minutes
                if not sa.inspect(connection).has_table("alembic_version"):
                    return "it answers and has no tables yet: the first sweep makes them"
                schema = f"schema {connection.scalar(sa.text('SELECT version_num FROM alembic_version'))}"
            stack.enter_context(sql.ready(uri))  # raises where that is not this MLflow's
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
        direct = writer.known(client._tracking_client.store)
    return f"{schema}, runs are written {'directly' if direct else 'through the client'}"


@cache
def _test_problem() -> Landscape:
    """x^2/2 with the noise of claim 1; every check runs on it, so that one kernel is compiled."""
    landscape = problem("quadratic", {"curvature": 1.0, "noise": 1e-12, "target": 1e-14})
    assert isinstance(landscape, Landscape)
    return landscape


def _run(steps: int, every: int, **axes: object) -> Results:
    return adamx.simulate("adam", _test_problem(), adamx.grid(**axes), steps, every)


def kernels() -> Iterator[Finding]:
    """The folder of compiled kernels; compiles the one that the checks need."""
    chunk = next(chunks("adam", _test_problem(), {"lr": 0.1}, 1))
    ready, start = cpu.compiled(_test_problem(), chunk), perf_counter()
    _run(1, 1, lr=0.1)
    seconds = perf_counter() - start
    yield Finding(OK, "kernel", f"{'loaded' if ready else 'compiled'} in {seconds:.1f} s")
    folder = folder_of(cpu.kernel(_test_problem(), chunk)[1])
    if folder is None:
        yield Finding(WRONG, "cache", "no folder can be written", "set NUMBA_CACHE_DIR to a folder of your own")
        return
    code = list(folder.glob("*.nbc"))
    size = sum(path.stat().st_size for path in code) / 1e6
    kept = f"{folder}, {len(code)} kernels, {size:.1f} MB"
    if os.access(folder, os.W_OK):
        yield Finding(OK, "cache", kept)
    else:
        yield Finding(WRONG, "cache", f"{kept}, not writable", "set NUMBA_CACHE_DIR to a folder of your own")


def arithmetic() -> Iterator[Finding]:
    """A grid through the kernel, and through the rule in plain Python."""
    from adamx.optimizers import rule

    found = _run(200, 1, lr=[1e-3, 0.1, 1.0], beta1=[0.0, 0.9], beta2=[0.9, 0.999], eps=[1e-8, 0.1], seed=[3])
    adam, landscape = rule("adam"), _test_problem()
    p = landscape.Params(*map(float, landscape.params[:, 0]))
    expected = np.empty_like(found.loss)
    for run in range(len(found)):
        h = adam.Hyper(**{name: float(found.columns[name][run]) for name in adam.Hyper._fields})
        x, state, clock = float(landscape.start[0]), adam.initial_state(h), adam.initial_clock(h)
        for t in range(201):
            expected[t, run], g = landscape.function(x, p)
            g += landscape.noise * rng.gaussian(*rng.bits(int(found.columns["seed"][run]), rng.NOISE, t, 0))
            clock, now = adam.per_step(t + 1.0, clock, h)
            x, state = adam.update(x, g, state, h, now)
    worst = float((np.abs(found.loss - expected) / (1e-300 + np.abs(expected))).max())
    words = "to the bit" if np.array_equal(found.loss, expected) else f"to {worst:.1e}"
    yield Finding(
        OK if worst <= 1e-12 else WRONG,
        "arithmetic",
        f"{len(found)} runs of Adam x 200 steps, kernel and plain Python agree {words}",
        "clear the cache above; if it stays, the figures of this machine cannot be trusted",
    )


def threshold() -> Iterator[Finding]:
    """Claim 1: on x^2/2 Adam is stable iff eps > lr (1 - beta1) / (2 (1 + beta1))."""
    found = _run(STEPS, 500, lr=0.1, beta1=0.9, eps=[0.98 * THRESHOLD, 1.02 * THRESHOLD])
    below, above = np.sqrt(2 * found.loss[-40:].max(axis=0))
    regimes = " and ".join(found.regime)
    right = above < 1e-9 < 1e-6 < below and found.regime[1] == "converged" != found.regime[0]
    said = f"at 0.98 and 1.02 of the theory's eps {THRESHOLD:.7f}: |x| to {below:.1e} and {above:.1e}, {regimes}"
    yield Finding(OK if right else WRONG, "threshold", said, "clear the cache above; report it with this page")


def threads() -> Iterator[Finding]:
    """The same bits whatever the number of threads."""
    sweep = partial(_run, 500, 50, lr=np.geomspace(1e-4, 1e3, 50), eps=np.geomspace(1e-12, 1, 20))
    many, before = sweep(), pool.count()
    try:
        pool.use(1)
        one = sweep()
    finally:
        pool.use(before)
    pairs = [(one.loss, many.loss), (one.x, many.x), *((one.figures[k], many.figures[k]) for k in one.figures)]
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
    said = f"{len(many):,} runs with 1 and with {before} threads: {'the same' if same else 'not the same'} bits"
    yield Finding(OK if same else WRONG, "bits", said, "clear the cache above; if it stays, set NUMBA_NUM_THREADS=1")


PARTS = (versions, machine, store, kernels, arithmetic, threshold, threads)


def findings() -> Iterator[Finding]:
    """All lines; a check that breaks is a finding too."""
    for part in PARTS:
        try:
            yield from part()
        except Exception as error:  # whatever is broken here is what this page is for
            said = f"{type(error).__name__}: {first_line(error)}"
            yield Finding(WRONG, part.__name__, said, "reinstall adamx; if it stays, report it with this page")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; the exit code."""
    argparse.ArgumentParser(prog="python -m adamx.doctor", description=__doc__).parse_args(arguments)
    from rich.console import Console
    from rich.text import Text

    console, start, wrong = Console(), perf_counter(), 0
    for state, what, said, todo in findings():
        wrong += state == WRONG
        line = Text.assemble((f"{state:6}", STYLES[state]), (f"{what:14}", "bold"), said)
        if state == WRONG:
            line.append(f"\n{'':20}do: {todo}", style="yellow")
        console.print(line, soft_wrap=True)
    words = f"{wrong} wrong" if wrong else "all right"
    console.print(Text(f"{words}, {perf_counter() - start:.1f} s", style="bold red" if wrong else "bold green"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
