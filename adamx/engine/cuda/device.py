"""GPUs: which there are and which take part, how kernels are compiled for them, how arrays come back.

Importing this module needs numba-cuda and a GPU that works, or Numba's simulator (NUMBA_ENABLE_CUDASIM=1), which runs
kernels as plain Python; nothing else knows of the simulator. Float64 and float32 arithmetic is that of the CPU to the
bit: no product is fused with a sum, division and square root round correctly. Functions of libm (exp, log, cos, pow)
are CUDA's own and differ from the CPU's in the last place or two.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from adamx.inputs.errors import InputError
from adamx.portable.cache import cached

INSTALL = "pip install 'adamx[cuda]'"
if not find_spec("numba_cuda"):
    raise InputError(f"backend=cuda needs numba-cuda, which is not installed: {INSTALL}")

from numba import config, cuda  # noqa: E402  not the target of that name which Numba itself still has
from numba.extending import overload  # noqa: E402

SIMULATED = bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # type: ignore[attr-defined]  # a few runs are a few blocks
DRIVERS = {"CudaAPIError", "CUDAError"}  # errors of numba-cuda and of cuda-core, which does not export its own
STAGING = 1 << 26  # bytes of pinned memory through which arrays come back

_using: list[int] = [0]
_own = threading.local()
_turns = itertools.count()
_compiling = threading.RLock()


@overload(np.floor, target="cuda")
def floor(x):
    """NumPy's name for what numba-cuda has under that of math alone."""
    return lambda x: math.floor(x)


@contextmanager
def _no_fused_sums() -> Iterator[None]:
    """Makes NVVM leave every product and every sum its own rounding; numba-cuda has no switch for it."""
    from numba.cuda.cudadrv import nvvm

    compile_ir = nvvm.compile_ir
    nvvm.compile_ir = partial(compile_ir, fma=False)
    try:
        yield
    finally:
        nvvm.compile_ir = compile_ir


def jit(kernel: Callable[..., Any], name: str, dtype: str) -> Any:
    """A kernel to be launched with `launch`, kept on disk until the code that it consists of changes."""
    if SIMULATED:
        return cuda.jit(kernel)
    from numba.cuda.dispatcher import CUDACache

    return cached(cuda.jit(lto=False), kernel, f"{name}_cuda", dtype, "no fused sums", disk=CUDACache)


def launch(kernel: Any, shape: Sequence[Any], arguments: Sequence[Any]) -> None:
    """Start a kernel, compiled before if this is its first time; shape is (blocks, threads, stream, shared bytes)."""
    if not SIMULATED:
        types = tuple(map(kernel.typeof_pyval, arguments))
        if types not in kernel.overloads:
            with _compiling, _no_fused_sums():
                kernel.compile(types)
    kernel[tuple(shape)](*arguments)


@cache
def check() -> None:
    """Raise InputError, saying what is missing, unless a kernel runs and its result comes back."""

    def one(a):
        a[0] = 1

    try:
        if not cuda.is_available():
            raise InputError(f"backend=cuda finds no NVIDIA GPU and driver: {_first_line(cuda.cuda_error())}")
        there = cuda.to_device(np.zeros(1))
        launch(jit(one, "one", "float64"), (1, 1), (there,))
        if there.copy_to_host()[0] != 1:
            raise InputError("backend=cuda: the GPU computes wrong results")
    except InputError:
        raise
    except Exception as error:  # of the driver, the compiler, the linker: whatever is wrong with an installation
        raise InputError(f"backend=cuda: the GPU does not work: {_first_line(error)}") from error


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error or "none is visible").splitlines() if line.strip(" :")]
    return " ".join(lines[:2])


def use(devices: Any) -> None:
    """Choose the GPUs that share the runs: "all", how many, or a list of their numbers."""
    there = range(len(cuda.gpus))
    devices = int(devices) if isinstance(devices, float) and devices.is_integer() else devices
    listed = there if devices == "all" else range(devices) if isinstance(devices, int) else devices
    if not isinstance(listed, Sequence) or not listed or set(listed) - set(there):
        raise InputError(f"backend.devices is {devices!r}: all, how many, or numbers from 0 to {len(there) - 1}")
    _using[:] = dict.fromkeys(listed)


def count() -> int:
    """How many GPUs share the runs."""
    return len(_using)


def describe() -> str:
    """The GPUs that share the runs: names, compute capability and memory."""
    if SIMULATED:
        return "Numba's simulator"
    return ", ".join(_describe(n) for n in _using)


def _describe(number: int) -> str:
    with cuda.gpus[number] as gpu:
        name = gpu.name.decode() if isinstance(gpu.name, bytes) else gpu.name
        major, minor = gpu.compute_capability
        return f"{name} (compute capability {major}.{minor}, {memory()[1] / 2**30:.0f} GiB)"


def memory() -> tuple[int, int]:
    """Free and total bytes of this thread's GPU."""
    return tuple(cuda.current_context().get_memory_info())


def mine() -> Any:
    """A context with the GPU of this thread: threads take them in turn."""
    if not hasattr(_own, "number"):
        _own.number = _using[next(_turns) % len(_using)]
    return cuda.gpus[_own.number]


def stream() -> Any:
    """This thread's stream."""
    if not hasattr(_own, "stream"):
        _own.stream = cuda.stream()
    return _own.stream


def fetch(there: Any, here: np.ndarray) -> None:
    """Copy a contiguous device array into one of the host, through pinned memory, while other streams go on."""
    if not here.size:
        return
    if not hasattr(_own, "staging"):
        _own.staging = cuda.pinned_array(STAGING, np.uint8)
    flat, target = there.ravel(), here.reshape(-1)
    size = STAGING // here.itemsize
    for first in range(0, target.size, size):
        part = target[first : first + size]
        staged = _own.staging[: part.nbytes].view(here.dtype)
        flat[first : first + size].copy_to_host(staged, stream=stream())
        stream().synchronize()
        part[:] = staged


@contextmanager
def explained() -> Iterator[None]:
    """An error of the driver within is a MemoryError where memory is short, else an InputError that names the cause."""
    try:
        yield
    except Exception as error:
        if not DRIVERS & {each.__name__ for each in type(error).__mro__}:
            raise
        if "OUT_OF_MEMORY" in f"{getattr(error, 'code', '')} {error}":
            raise MemoryError from error
        raise InputError(f"the GPU stopped: {_first_line(error)}") from error
