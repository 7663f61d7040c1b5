"""Steps on a GPU: a tile is a block's, on the stream that the caller names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import cuda

from adamx.engine.cuda import device
from adamx.engine.stepper import tiles
from adamx.engine.stepper.clock import clockwork
from adamx.engine.stepper.tensors import memory
from adamx.engine.stepper.tiles import Crew, Tiling, Work, work
from adamx.inputs.errors import InputError
from adamx.optimizers import Rule
from adamx.portable import portable

AHEAD = 4  # elements that a thread reads before it writes the first: so many loads hide the memory's latency


@cache
def kernels(rule: Rule, dtype: str) -> Work:
    """The kernels for a rule, not yet compiled: a thread for every lane of a tile or a tensor."""
    real: Any = np.dtype(dtype).type
    add, average, move = work(rule, dtype, Crew(tiles.LANES, AHEAD, portable(lambda: cuda.syncthreads())))
    shape = len(rule.Pool._fields), tiles.LANES

    def moves(memory, state, tensors, table, h, now, means):
        move(cuda.blockIdx.x, cuda.threadIdx.x, memory, state, tensors, table, h, now, means)

    def sums(memory, state, tensors, table, h, now, sums):
        lanes = cuda.shared.array(shape, real)
        add(cuda.blockIdx.x, cuda.threadIdx.x, memory, state, tensors, table, h, now, lanes, sums)

    def averages(table, sums, means):
        lanes = cuda.shared.array(shape, real)
        average(cuda.blockIdx.x, cuda.threadIdx.x, table, lanes, sums, means)

    return Work(sums, averages, moves) if rule.pool else Work(None, None, moves)


@cache
def _compiled(rule: Rule, dtype: str) -> Work:
    made = kernels(rule, dtype)
    return Work(*(k and device.jit(k, f"{rule.name}_{k.__name__}_{dtype}", dtype) for k in made))


@cache
def _stream(handle: int) -> Any:
    """Numba's object for a stream, always the same one: launches are remembered by it."""
    return cuda.external_stream(handle) if handle else cuda.legacy_default_stream()


def _view(interface: dict[str, Any]) -> Any:
    """A device array of memory that others own."""
    if device.SIMULATED:  # there the GPU's memory is this process's
        array = np.asarray(SimpleNamespace(__array_interface__=interface))
        return cuda.device_array(array.shape, array.dtype, buffer=array)
    return cuda.from_cuda_array_interface(interface)


def _home(addresses: np.ndarray) -> int:
    """The number of the GPU that all addresses belong to."""
    if len(cuda.gpus) == 1:
        return 0
    from numba.cuda.cudadrv.driver import binding, driver

    attribute = binding.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    homes = {int(driver.cuPointerGetAttribute(attribute, binding.CUdeviceptr(int(a)))) for a in addresses}
    if len(homes) > 1:
        raise InputError(f"the arrays are on several GPUs, {sorted(homes)}: one is needed")
    return homes.pop() if homes else 0


class Launcher:
    """The state of a rule for some tensors, (tiles, fields, TILE), and the launches of its kernels.

    Raises:
        InputError: there is no GPU that works, or the arrays are on several. MemoryError: the state does not fit.
    """

    def __init__(self, rule: Rule, tiling: Tiling, state: np.ndarray, addresses: np.ndarray) -> None:
        device.check()
        self.kernels, self.time = _compiled(rule, state.dtype.name), clockwork(rule, state.dtype.name)
        self.home, self.tiling, self.shape, self.dtype = _home(addresses), tiling, state.shape, state.dtype
        fields = max(1, len(rule.Pool._fields))
        with self._here():
            self.state = cuda.to_device(state.reshape(-1))
            self.tensors, self.table = cuda.to_device(tiling.tensors), cuda.to_device(tiling.table)
            self.sums = cuda.device_array((fields, len(state)), state.dtype)
            self.means = cuda.device_array((fields, tiling.table.shape[1]), state.dtype)
            cuda.synchronize()  # the caller's stream may wait for no other

    @contextmanager
    def _here(self) -> Iterator[None]:
        with device.explained(), cuda.gpus[self.home]:
            yield

    def place(self, base: int, span: int, addresses: np.ndarray, stream: int) -> None:
        """Take note that the table has changed: memory begins at address base and has span elements."""
        if _home(addresses) != self.home:
            raise InputError(f"the gradients are on another GPU than the parameters, which are on number {self.home}")
        with self._here():
            self.memory = _view(memory(base, span, self.dtype))
            self.table.copy_to_device(self.tiling.table, stream=_stream(stream))

    def step(self, numbers: np.ndarray, stream: int) -> None:
        add, average, move = self.kernels
        time = self.time.load_hyper(numbers, 0), self.time.load_now(numbers, 0)
        where = self.memory, self.state, self.tensors, self.table, *time
        with self._here():
            if add:
                self._launch(add, self.tensors.shape[0], stream, *where, self.sums)
                self._launch(average, self.table.shape[1], stream, self.table, self.sums, self.means)
            self._launch(move, self.tensors.shape[0], stream, *where, self.means)

    @staticmethod
    def _launch(kernel: Any, crews: int, stream: int, *arguments: Any) -> None:
        device.launch(kernel, (crews, tiles.LANES, _stream(stream), 0), arguments)

    def wait(self, stream: int) -> None:
        """Until the steps on a stream are done."""
        with self._here():
            _stream(stream).synchronize()

    def read(self) -> np.ndarray:
        """The state, when all steps are done."""
        with self._here():
            cuda.synchronize()
            return self.state.copy_to_host().reshape(self.shape)

    def write(self, state: np.ndarray) -> None:
        with self._here():
            cuda.synchronize()
            self.state.copy_to_device(state.reshape(-1))
            cuda.synchronize()
