"""CUDA kernels compiled to PTX and assembled without a GPU: what can be read off their code."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'adamx[cuda]'")

import numba
from numba import cuda, types

if numba.config.ENABLE_CUDASIM:  # type: ignore[attr-defined]
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

from cuda.bindings import nvjitlink as link
from numba.cuda import codegen, dispatcher

from adamx.engine.cuda import device

__all__ = ["CAPABILITIES", "Code", "codegen", "compiled", "dispatcher", "type_of"]

CAPABILITIES = [(7, 5), (8, 0), (9, 0), (10, 0)]


class Code(NamedTuple):
    """A kernel's PTX and what its machine code takes."""

    ptx: str
    registers: int  # of a thread
    local: int  # bytes of local memory of a thread: stack and spilled registers
    shared: int  # bytes of static shared memory of a block

    @property
    def doubles(self) -> list[str]:
        """The instructions on float64."""
        return re.findall(r"^\s*\S+\.f64.*$", self.ptx, re.M)

    @property
    def fused(self) -> list[str]:
        """The fused multiply-adds."""
        return re.findall(r"^\s*fma\..*$", self.ptx, re.M)


def type_of(value: Any) -> Any:
    """The type of a kernel's argument."""
    if isinstance(value, np.ndarray):
        return types.Array(numba.from_dtype(value.dtype), value.ndim, "C")
    if isinstance(value, tuple):
        return types.BaseTuple.from_types(tuple(map(type_of, value)), type(value))
    return numba.typeof(value)


def compiled(kernel: Callable[..., Any], arguments: Sequence[Any], capability: tuple[int, int]) -> Code:
    """The code of a kernel as the backend compiles it; arguments are as it is called with, or their types."""
    signature = types.void(*(a if isinstance(a, types.Type) else type_of(a) for a in arguments))
    with pytest.MonkeyPatch.context() as patch, device._no_fused_sums():
        patch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=capability))
        ptx, _ = cuda.compile(kernel, signature, device=False, cc=capability, output="ptx", abi="numba")
    handle = link.create(2, ["-arch=sm_{}{}".format(*capability), "-verbose"])
    try:
        link.add_data(handle, link.InputType.PTX, ptx.encode(), len(ptx), "kernel")
        link.complete(handle)
        log = bytearray(link.get_info_log_size(handle))
        link.get_info_log(handle, log)
    finally:
        link.destroy(handle)
    (said,) = re.findall(r"used \d+ registers.*", log.decode())

    def number(pattern: str) -> int:
        return sum(map(int, re.findall(pattern, said)))

    local = number(r"(\d+) stack"), number(r"(\d+) bytes lmem")
    return Code(ptx, number(r"used (\d+) registers"), max(local), number(r"(\d+) bytes smem"))
