"""The CUDA backend: a chunk's arrays go to a GPU, its kernel runs in launches of bounded time, results come back.

A landscape's run is a thread (`threads`), a task's a block of threads (`blocks`). Several chunks are computed at once,
on streams of their own: the results of one travel while the next is computed, and GPUs share the runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numba import cuda
from numba.cuda.cudadrv.driver import CudaAPIError

from adamx import gpu, threads
from adamx.arrays import FILLED, OF_RUNS, WRITTEN, prepare, read
from adamx.chunk import Chunk
from adamx.lane import Kind, kind_of
from adamx.layout import Layout
from adamx.portable import on_disk
from adamx.problem import Landscape, Problem
from adamx.results import Results

THREADS = 128  # of a block, where a run is one
LAUNCH_SECONDS = 0.25  # between two looks at Ctrl-C and the progress bar
FIRST_STEPS = 16  # of the first launch, whose time sizes the next
AHEAD = 2  # chunks on a GPU: one is computed, one comes back
FEW = 1 << 14  # runs that are not worth sharing
MOST = 1 << 20  # runs of a chunk: four for every thread that the largest card holds
MEMORY = 0.8  # of the card's, for all chunks on it

gpu.check()


def configure(settings: Mapping[str, Any]) -> str:
    """Use the GPUs that `settings["devices"]` names; says which they are."""
    gpu.use(settings["devices"])
    return f"backend=cuda: {gpu.describe()}"


def at_once() -> int:
    """How many chunks are computed at a time."""
    return 1 if gpu.SIMULATED else AHEAD * gpu.count()


def chunk_runs(problem: Problem, whole: Chunk) -> int:
    """How many runs make a chunk: a share for every GPU, as many as fit its memory."""
    one = prepare(problem, whole.part(slice(0, 1)), _kernel(problem, whole)[0])._asdict()
    size = sum(values.nbytes for name, values in one.items() if name in OF_RUNS)
    fit = min(MEMORY * gpu.memory()[1] / AHEAD / size, MOST)
    share = -(-len(whole) // at_once())
    return max(1, min(int(fit), max(share, FEW)))


@cache
def _of_landscape(kind: Kind) -> tuple[Layout, Any]:
    layout, kernel = threads.kernel_for(kind)
    return layout, gpu.jit(kernel, kind.name, kind.dtype)


def _kernel(problem: Problem, chunk: Chunk) -> tuple[Layout, Any]:
    assert isinstance(problem, Landscape)
    return _of_landscape(kind_of(problem, chunk))


def compiled(problem: Problem, chunk: Chunk) -> bool:
    """Whether the kernel for a chunk lies ready on the disk."""
    return gpu.SIMULATED or on_disk(_kernel(problem, chunk)[1])


def run(problem: Problem, chunk: Chunk) -> Results:
    """All runs of a chunk from start to end, on this thread's GPU and stream.

    Raises:
        MemoryError: they do not fit the card.
        InputError: the GPU stopped; the message names the cause.
    """
    with gpu.mine():
        layout, kernel = _kernel(problem, chunk)
        here, stream = prepare(problem, chunk, layout), gpu.stream()
        shape = (-(-len(chunk) // THREADS), THREADS, stream, 0)
        try:
            there = [_send(name, value, stream) for name, value in here._asdict().items()]
            for times in chunk.launches(FIRST_STEPS, LAUNCH_SECONDS):
                gpu.launch(kernel, shape, (*there, *times))
                stream.synchronize()
            for name, array in zip(here._fields, there, strict=True):
                if name in WRITTEN:
                    gpu.fetch(array, getattr(here, name))
        except CudaAPIError as error:
            raise gpu.failed(error) from error
    return read(problem, chunk, layout, here, "cuda")


def _send(name: str, value: Any, stream: Any) -> Any:
    """A kernel's argument on the GPU."""
    if not isinstance(value, np.ndarray):
        return value
    if name in FILLED:
        return cuda.device_array(value.shape, value.dtype, stream=stream)
    return cuda.to_device(value, stream=stream)
