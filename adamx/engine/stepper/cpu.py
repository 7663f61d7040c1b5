"""Steps on the CPU: a tile is one thread's, and its loop over elements is vectorised."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np

from adamx.engine.stepper import tiles
from adamx.engine.stepper.clock import clockwork
from adamx.engine.stepper.tensors import memory
from adamx.engine.stepper.tiles import Crew, Tiling, Work, work
from adamx.optimizers import Rule
from adamx.portable import portable
from adamx.portable.cache import cached


@cache
def kernels(rule: Rule, dtype: str) -> Work:
    """The kernels for a rule."""
    real: Any = np.dtype(dtype).type
    load_hyper, load_now = clockwork(rule, dtype).load_hyper, clockwork(rule, dtype).load_now
    add, average, move = work(rule, dtype, Crew(1, 1, portable(lambda: None)))
    shape = len(rule.Pool._fields), tiles.LANES

    def moves(memory, state, tensors, table, numbers, means):
        for tile in numba.prange(len(tensors)):
            move(tile, 0, memory, state, tensors, table, load_hyper(numbers, 0), load_now(numbers, 0), means)

    def sums(memory, state, tensors, table, numbers, sums):
        for tile in numba.prange(len(tensors)):
            h, now = load_hyper(numbers, 0), load_now(numbers, 0)
            add(tile, 0, memory, state, tensors, table, h, now, np.empty(shape, real), sums)

    def averages(table, sums, means):
        for tensor in numba.prange(table.shape[1]):
            average(tensor, 0, table, np.empty(shape, real), sums, means)

    def compiled(kernel: Any) -> Any:
        name = f"{rule.name}_{kernel.__name__}_{dtype}"
        return cached(numba.njit(parallel=True, error_model="numpy"), kernel, name, dtype)

    return Work(*map(compiled, (sums, averages, moves))) if rule.pool else Work(None, None, compiled(moves))


class Launcher:
    """The state of a rule for some tensors, (tiles, fields, TILE), and the launches of its kernels."""

    def __init__(self, rule: Rule, tiling: Tiling, state: np.ndarray, addresses: np.ndarray) -> None:
        self.kernels, self.tiling, self.state = kernels(rule, state.dtype.name), tiling, state
        self.sums, self.means = (
            np.empty((len(rule.Pool._fields), count), state.dtype) for count in (len(state), tiling.table.shape[1])
        )

    def place(self, base: int, span: int, addresses: np.ndarray, stream: int) -> None:
        """Take note that the table has changed: memory begins at address base and has span elements."""
        self.memory = np.asarray(SimpleNamespace(__array_interface__=memory(base, span, self.state.dtype)))

    def step(self, numbers: np.ndarray, stream: int) -> None:
        add, average, move = self.kernels
        where = self.memory, self.state.reshape(-1), self.tiling.tensors, self.tiling.table, numbers
        if add:
            add(*where, self.sums)
            average(self.tiling.table, self.sums, self.means)
        move(*where, self.means)

    def wait(self, stream: int) -> None:
        """A step has been done when it returns."""

    def read(self) -> np.ndarray:
        return self.state

    def write(self, state: np.ndarray) -> None:
        self.state[:] = state
