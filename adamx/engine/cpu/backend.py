"""The CPU backend: launches the kernel of a chunk for a slice of steps at a time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from adamx.engine.arrays import prepare, read
from adamx.engine.chunk import Chunk
from adamx.engine.cpu import landscape, task, threads
from adamx.engine.kernels.landscape import kind_of
from adamx.engine.kernels.layout import Layout
from adamx.engine.kernels.task import kind_of as kind_of_task
from adamx.engine.results import Results
from adamx.inputs.errors import InputError, whole
from adamx.portable.cache import on_disk
from adamx.problems import Compiled, Landscape

LAUNCH_SECONDS = 0.5  # between two looks at Ctrl-C and the progress bar
FLOPS = 2e10  # a rough rate per thread; it sizes launches and never changes a result
STEPS_PER_SECOND = 1e8


def configure(settings: Mapping[str, Any]) -> str:
    """Use `settings["threads"]` threads, or all cores if that is None; there is no message."""
    asked = settings.get("threads")
    if asked is not None:
        asked = whole("backend.threads", asked, 1)
        if asked > threads.most():
            raise InputError(f"backend.threads is {asked}: there are {threads.most()}")
    threads.use(asked)
    return ""


def cost(problem: Compiled, runs: int) -> float:
    """Seconds that one step of `runs` runs takes, roughly."""
    if isinstance(problem, Landscape):
        return runs * max(problem.dim, 2) / (2 * STEPS_PER_SECOND * threads.count())
    rows = problem.batch or len(problem.x)
    return runs * (6 * problem.dim * rows + 1e4) / (FLOPS * threads.count())


def at_once() -> int:
    """How many chunks are computed at a time: all threads work on one."""
    return 1


def chunk_runs(problem: Compiled, whole: Chunk) -> int:
    """How many runs make a chunk of about one second, a multiple of what keeps all threads busy."""
    grain = threads.count() * (landscape.LANES if isinstance(problem, Landscape) else 8)
    many = 2 * LAUNCH_SECONDS / (cost(problem, grain) * (whole.steps + 1))
    return grain * int(np.clip(many, 1, 512))


def kernel(problem: Compiled, chunk: Chunk) -> tuple[Layout, Any]:
    if isinstance(problem, Landscape):
        return landscape.kernel_for(kind_of(problem, chunk))
    return task.kernel_for(kind_of_task(problem, chunk))


def compiled(problem: Compiled, chunk: Chunk) -> bool:
    """True if the compiled kernel for a chunk is on the disk."""
    return on_disk(kernel(problem, chunk)[1])


def run(problem: Compiled, chunk: Chunk) -> Results:
    """All runs of a chunk from start to end."""
    layout, compute = kernel(problem, chunk)
    arrays = prepare(problem, chunk, layout)
    alone = isinstance(problem, Landscape)
    items = -(-len(chunk) // landscape.LANES) if alone else len(chunk)
    with nullcontext() if alone else threads.one_of_blas:
        for times in chunk.launches(int(LAUNCH_SECONDS / cost(problem, len(chunk))), LAUNCH_SECONDS):
            threads.share(compute, items, *arrays, times)
    return read(problem, chunk, layout, arrays, "cpu")
