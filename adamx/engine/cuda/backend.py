"""The CUDA backend: a chunk's arrays go to a GPU, its kernel runs in launches of bounded time, results come back.

A landscape's run is a thread (`landscape`), a task's a block of threads (`task`). Several chunks are computed at once,
on streams of their own: the results of one travel while the next is computed, and GPUs share the runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from adamx.engine.arrays import LEFT, prepare, read, size
from adamx.engine.chunk import Chunk
from adamx.engine.cuda import device, landscape, task
from adamx.engine.kernels.landscape import Kind, kind_of
from adamx.engine.kernels.layout import Layout
from adamx.engine.kernels.task import Kind as KindOfTask
from adamx.engine.kernels.task import kind_of as kind_of_task
from adamx.engine.results import Results
from adamx.portable.cache import on_disk
from adamx.problems import Compiled, Landscape

LAUNCH_SECONDS = 0.25  # between two looks at Ctrl-C and the progress bar
FIRST_STEPS = 16  # of the first launch, whose time sizes the next
AHEAD = 2  # chunks on a GPU: one is computed, one comes back
MEMORY = 0.8  # of the card's, for all chunks on it


class Limits(NamedTuple):
    """Limits for a kind of problem: runs that are not worth sharing, most runs of a chunk, most blocks of a launch."""

    few: int
    most: int
    blocks: int


THREADS = 128  # of a block, where a run is one
LANDSCAPES = Limits(1 << 14, 1 << 20, 1 << 30)  # four runs for every thread that the largest card holds
TASKS = Limits(1 << 9, 1 << 14, 1 << 12)  # more blocks than the largest card holds, each with its scratch memory

device.check()


def configure(settings: Mapping[str, Any]) -> str:
    """Use the GPUs that `settings["devices"]` names; says which they are."""
    device.use(settings.get("devices", 1))
    return f"backend=cuda: {device.describe()}"


def at_once() -> int:
    """How many chunks are computed at a time."""
    return 1 if device.SIMULATED else AHEAD * device.count()


def chunk_runs(problem: Compiled, whole: Chunk) -> int:
    """How many runs make a chunk: a share for every GPU, as many as fit its memory."""
    one = size(prepare(problem, whole.part(slice(0, 1)), _job(problem, whole).layout))
    limits = LANDSCAPES if isinstance(problem, Landscape) else TASKS
    fit = min(MEMORY * device.memory()[1] / AHEAD / one, limits.most)
    share = -(-len(whole) // at_once())
    return max(1, min(int(fit), max(share, limits.few)))


class Job(NamedTuple):
    """A chunk's kernel, and its launch: blocks, their threads and bytes of shared memory; and of a task its Plan."""

    layout: Layout
    kernel: Any
    blocks: int
    threads: int
    shared_bytes: int
    plan: task.Plan | None


def _job(problem: Compiled, chunk: Chunk) -> Job:
    if isinstance(problem, Landscape):
        return Job(*_of_landscape(kind_of(problem, chunk)), -(-len(chunk) // THREADS), THREADS, 0, None)
    plan = task.plan(problem, chunk.rule, chunk.dtype, chunk.instruments)
    kernel = _of_task(kind_of_task(problem, chunk))
    return Job(*kernel, min(len(chunk), TASKS.blocks), plan.threads, plan.shared_bytes, plan)


@cache
def _of_landscape(kind: Kind) -> tuple[Layout, Any]:
    layout, kernel = landscape.kernel_for(kind)
    return layout, device.jit(kernel, kind.name, kind.dtype)


@cache
def _of_task(kind: KindOfTask) -> tuple[Layout, Any]:
    layout, kernel = task.kernel_for(kind)
    return layout, device.jit(kernel, kind.name, kind.dtype)


def compiled(problem: Compiled, chunk: Chunk) -> bool:
    """True if the compiled kernel for a chunk is on the disk."""
    return device.SIMULATED or on_disk(_job(problem, chunk).kernel)


def run(problem: Compiled, chunk: Chunk) -> Results:
    """All runs of a chunk from start to end, on this thread's GPU and stream.

    Raises:
        MemoryError: they do not fit the card.
        InputError: the GPU stopped; the message names the cause.
    """
    with device.explained(), device.mine():
        job = _job(problem, chunk)
        here, stream = prepare(problem, chunk, job.layout), device.stream()
        there = (*(_send(group, stream) for group in here[:-1]), _empty(here.curves, stream))
        runs, curves = there[0], there[-1]
        if job.plan:
            there = (*there, job.plan.place(job.blocks, chunk.dtype, partial(cuda.device_array, stream=stream)))
        for times in chunk.launches(FIRST_STEPS, LAUNCH_SECONDS):
            device.launch(job.kernel, (job.blocks, job.threads, stream, job.shared_bytes), (*there, times))
            stream.synchronize()
        for name in (name for name in LEFT if name in here.runs._fields):
            device.fetch(getattr(runs, name), getattr(here.runs, name))
        for far, near in zip(curves, here.curves, strict=True):
            device.fetch(far, near)
    return read(problem, chunk, job.layout, here, "cuda")


def _send(group: Any, stream: Any) -> Any:
    """A group of a kernel's arguments, its arrays on the GPU."""
    return group._make(cuda.to_device(v, stream=stream) if isinstance(v, np.ndarray) else v for v in group)


def _empty(group: Any, stream: Any) -> Any:
    """A group of arrays that the kernel fills, on the GPU."""
    return group._make(cuda.device_array(v.shape, v.dtype, stream=stream) for v in group)
