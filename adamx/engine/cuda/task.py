"""The CUDA kernel for tasks: a block of threads trains a run, by the same `train` as the CPU.

The launch, for the `Plan` of `plan(...)` and arrays of `arrays.prepare` in which state is (runs, fields * parameters):

    kernel[blocks, plan.threads, stream, plan.shared_bytes](*arrays, place, times)

with the `Place` of `plan.place(blocks)`, its arrays of any content. There may be fewer blocks
than runs: each takes one after another. What a launch leaves in the arrays is all that the next one needs.

A batch goes through the network `capacity` rows at a time, so that the rows' activations and slopes are in shared
memory whatever the batch and the layers, but for the widest; then the run's own numbers (point, gradient, last move,
state) where there is room for them. Sums are taken in an order that depends on the number of threads alone: a run is
the same to the bit at every launch, whatever the other runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import cuda, from_dtype, int32

from adamx import instruments
from adamx.engine.cuda.device import SIMULATED
from adamx.engine.kernels.layout import Layout
from adamx.engine.kernels.sharpness import spare_of, spare_size
from adamx.engine.kernels.task import Kind, Look, Own, Work, training
from adamx.models import Scratch
from adamx.optimizers import Rule
from adamx.portable import portable
from adamx.portable.team import LEFT, RIGHT, Team
from adamx.portable.unroll import offsets
from adamx.problems import Task

THREADS = 128  # of a block, or another multiple of WARP; fewer than WARP, for the simulator
WARP = 32
SIDE = 4  # of the square of a product that a thread holds in registers
ACROSS = 8  # threads side by side in the part of a product that a block does at a time
DEPTH = 16  # of the slices of the factors that lie in shared memory
ALIGNED = None if SIMULATED else 16  # bytes, so that four float32 are one load; the simulator has no such
LEAST_ROWS = 16  # at a time: where fewer fit shared memory, they go through the network in global memory
SHARED_BYTES = 48 * 1024  # of a block, without asking the driver for more


class Reserved(NamedTuple):
    """Where in dynamic shared memory the numbers of a team begin, and what follows them, in elements.

    Static arrays would be simpler: numba-cuda defines one again wherever a function that has one is called from.
    """

    right: int  # after the slice of a product's left factor, that of the right one
    sums: int  # a number a thread
    parts: int  # a number a thread
    zero: int  # see `block`
    end: int


def _tile(threads: int) -> tuple[int, int]:
    """Rows and columns of the part of a product that a block does at a time."""
    across = ACROSS if threads % ACROSS == 0 else 1
    return SIDE * (threads // across), SIDE * across


def _reserved(threads: int) -> Reserved:
    tall, wide = _tile(threads)
    return Reserved(*offsets(DEPTH * (tall + SIDE), DEPTH * (wide + SIDE), threads, threads, SIDE)[1:])


@cache
def block(dtype: str, threads: int) -> Team:
    """A block of threads as a team. Its products fuse multiplication and addition, as BLAS does on the CPU.

    A thread's index is its number plus a 0 from memory, which the kernel has put there: a compiler that sees a
    constant computes all addresses that follow from it before the loop over steps, and runs out of registers.
    """
    number, zero = from_dtype(np.dtype(dtype)), np.dtype(dtype).type(0)
    lanes = min(WARP, threads)
    groups = threads // lanes
    RIGHT_AT, SUMS, PARTS, ZERO, _ = map(np.uint64, _reserved(threads))
    ZERO *= np.uint64(np.dtype(dtype).itemsize // 4)
    tall, wide = map(np.uint64, _tile(threads))
    ORIGIN, one, side, deep = np.uint64(0), np.uint64(1), np.uint64(SIDE), np.uint64(DEPTH)
    tall_pitch, wide_pitch = tall + side, wide + side  # neighbours are in different banks

    @portable
    def index():
        return np.uint64(cuda.threadIdx.x + cuda.shared.array(0, int32)[ZERO])

    @portable
    def share(first, last):
        return range(np.uint64(first) + index(), np.uint64(last), np.uint64(threads))

    @portable
    def rows(n):
        return range(index() // np.uint64(lanes), np.uint64(n), np.uint64(groups))

    @portable
    def columns(n):
        return range(index() % np.uint64(lanes), np.uint64(n), np.uint64(lanes))

    @portable
    def first():
        return cuda.threadIdx.x == 0

    @portable
    def sync():
        cuda.syncthreads()

    @portable
    def total(value):
        shared, me, n = cuda.shared.array(0, number), index(), np.uint64(threads)
        cuda.syncthreads()  # all have read the total before
        shared[SUMS + me] = value
        while n > one:
            cuda.syncthreads()
            half = (n + one) // np.uint64(2)
            if me + half < n:
                shared[SUMS + me] += shared[SUMS + me + half]
            n = half
        cuda.syncthreads()
        return shared[SUMS]

    @portable
    def dot(a, b):
        value = zero
        for i in share(0, len(a)):
            value += a[i] * b[i]
        return total(value)

    @portable
    def sums(a, out, m, n):
        shared, lane = cuda.shared.array(0, number), cuda.threadIdx.x % lanes
        for j0 in range(0, n, lanes):
            j, value = j0 + lane, zero
            if j < n:
                for r in rows(m):
                    value += a[np.uint64(r * np.uint64(n)) + np.uint64(j)]
            shared[PARTS + np.uint64(cuda.threadIdx.x)] = value
            cuda.syncthreads()
            if cuda.threadIdx.x < min(lanes, n - j0):
                for k in range(1, groups):
                    value += shared[PARTS + np.uint64(k * lanes + lane)]
                out[j] = value
            cuda.syncthreads()

    @portable
    def stage(me, shared, at, pitch, size, along, source, first, count, stride, k0, depth, k_stride):
        """shared[at + k * pitch + i] = source[(first + i) * stride + (k0 + k) * k_stride], 0 outside of it.

        Neighbouring threads take neighbouring i where `along`, else neighbouring k: as the source lies in memory.
        """
        e = me
        while e < size * deep:
            i, k = (e % size, e // size) if along else (e // deep, e % deep)
            inside = (first + i < count) & (k0 + k < depth)
            shared[at + k * pitch + i] = source[(first + i) * stride + (k0 + k) * k_stride] if inside else zero
            e += np.uint64(threads)

    @portable
    def product(a, b, out, m, k, n, turned):
        shared, held = cuda.shared.array(0, number, ALIGNED), cuda.local.array((SIDE, SIDE), number)
        me, m, n, depth = index(), np.uint64(m), np.uint64(n), np.uint64(k)
        for r0 in range(np.uint64(0), m, tall):
            for c0 in range(np.uint64(0), n, wide):
                squares = (min(n - c0, wide) + side - one) // side  # side by side: as few threads as can be have any
                r, c = side * (me // squares), side * (me % squares)
                busy = r < min(m - r0, tall)
                for i in range(side):
                    for j in range(side):
                        held[i, j] = zero
                for k0 in range(np.uint64(0), depth, deep):
                    if turned == LEFT:
                        stage(me, shared, ORIGIN, tall_pitch, tall, True, a, r0, m, one, k0, depth, m)
                    else:
                        stage(me, shared, ORIGIN, tall_pitch, tall, False, a, r0, m, depth, k0, depth, one)
                    if turned == RIGHT:
                        stage(me, shared, RIGHT_AT, wide_pitch, wide, False, b, c0, n, depth, k0, depth, one)
                    else:
                        stage(me, shared, RIGHT_AT, wide_pitch, wide, True, b, c0, n, one, k0, depth, n)
                    cuda.syncthreads()
                    if busy:
                        left, right = r, RIGHT_AT + c
                        while left < deep * tall_pitch:
                            for i in range(side):
                                for j in range(side):
                                    held[i, j] = cuda.fma(shared[left + i], shared[right + j], held[i, j])
                            left += tall_pitch
                            right += wide_pitch
                    cuda.syncthreads()
                if busy:
                    for i in range(side):
                        for j in range(side):
                            if (r0 + r + i < m) & (c0 + c + j < n):
                                out[(r0 + r + i) * n + c0 + c + j] = held[i, j]
        cuda.syncthreads()

    return Team(share, rows, columns, first, sync, total, dot, sums, product)


class Place(NamedTuple):
    """Where a block works: numbers of a `Plan`, rows (blocks, capacity) int64 and scratch (blocks, plan.scratch)."""

    capacity: Any
    layers_shared: Any
    run_shared: Any
    rows: Any
    scratch: Any


class Plan(NamedTuple):
    """How a task is laid out on a GPU.

    Attributes:
        threads: of a block.
        capacity: rows that go through the network at a time.
        layers_shared, run_shared: whether these rows' activations and slopes, and whether the run's own numbers, are
            in shared memory; where not, the former are in scratch and the latter in the arrays and in scratch.
        shared_bytes: of dynamic shared memory.
        scratch: numbers of global memory that a block needs, besides capacity row numbers.
    """

    threads: int
    capacity: int
    layers_shared: bool
    run_shared: bool
    shared_bytes: int
    scratch: int

    def place(self, blocks: int, dtype: str, array: Callable[..., Any]) -> Place:
        """The kernel's Place, for so many blocks; array(shape, dtype) makes an array."""
        work = array((blocks, self.capacity), np.int64), array((blocks, self.scratch), dtype)
        return Place(self.capacity, self.layers_shared, self.run_shared, *work)


def plan(
    problem: Task, rule: Rule, dtype: str, shown: tuple[str, ...], threads: int = THREADS, room: int = SHARED_BYTES
) -> Plan:
    """The Plan of a task under a rule; `shown` are the instruments, and `room` bytes of shared memory are a block's."""
    (tall, _), reserved, itemsize = _tile(threads), _reserved(threads).end, np.dtype(dtype).itemsize
    wanted = max(problem.batch or len(problem.x), min(len(problem.x), tall))
    row = problem.model.row
    of_row = row.acts + row.slopes
    fit = (room // itemsize - reserved) // of_row
    layers_shared = fit >= min(wanted, LEAST_ROWS)
    capacity = min(wanted, fit if layers_shared else 2 * tall)
    if tall < capacity < wanted:
        capacity -= capacity % tall
    layers, own = capacity * of_row, problem.dim * (4 + len(rule.State._fields))
    run_shared = reserved + layers * layers_shared + own <= room // itemsize
    looks = 3 * problem.dim * bool(instruments.curves(shown, 0))
    if "sharpness" in shown:
        looks += spare_size(problem.dim, capacity, row.slopes, row.tangents)
    scratch = layers * (not layers_shared) + 2 * problem.dim * (not run_shared) + looks
    shared = reserved + layers * layers_shared + own * run_shared
    return Plan(threads, capacity, layers_shared, run_shared, shared * itemsize, scratch)


@cache
def kernel_for(kind: Kind, threads: int = THREADS) -> tuple[Layout, Any]:
    """The layout of a run's column and the kernel, to be compiled and launched as the module's docstring says."""
    number, zero = from_dtype(np.dtype(kind.dtype)), np.dtype(kind.dtype).type(0)
    team = block(kind.dtype, threads)
    layout, train = training(kind, team)
    share, sync = team.share, team.sync
    ZERO, END = _reserved(threads)[-2:]
    seen = bool(instruments.curves(kind.shown, 0))

    @portable
    def copy(a, b):
        for i in share(0, len(a)):
            b[i] = a[i]

    def kernel(runs, data, model, curves, place, times):
        shared, own, capacity = cuda.shared.array(0, number), place.scratch[cuda.blockIdx.x], place.capacity
        shared[ZERO] = zero
        sync()
        shared = shared[END:]
        size, top, end = runs.x.shape[1], capacity * model.acts, capacity * (model.acts + model.slopes)
        layers = shared[:end] if place.layers_shared else own[:end]
        rest = own if place.layers_shared else own[end:]
        held = (shared[end:] if place.layers_shared else shared) if place.run_shared else rest
        rest = rest if place.run_shared else rest[2 * size :]
        g, part = held[:size], held[size : 2 * size]
        scratch = Scratch(capacity, layers[:top], layers[top:end], place.rows[cuda.blockIdx.x], part)
        look = Look(rest[:size], rest[size : 2 * size], rest[2 * size : 3 * size])
        rest = rest[3 * size :] if seen else rest
        work = Work(g, scratch, look, spare_of(rest, size, capacity, model.slopes, model.tangents))
        for run in range(cuda.blockIdx.x, len(runs.seeds), cuda.gridDim.x):
            there = Own(runs.x[run], runs.moved[run], runs.state[run])
            here = there
            if place.run_shared:
                here = Own(held[2 * size : 3 * size], held[3 * size : 4 * size], held[4 * size :])
                copy(there.x, here.x)
                copy(there.moved, here.moved)
                copy(there.state, here.state)
                sync()
            train(run, here, runs, data, model, curves, work, times)
            sync()
            if place.run_shared:
                copy(here.x, there.x)
                copy(here.moved, there.moved)
                copy(here.state[: len(there.state)], there.state)
                sync()

    return layout, kernel
