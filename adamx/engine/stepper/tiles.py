"""Tiles: the update of many tensors in pieces of 2,048 elements, for kernels that give every tile to a crew.

A crew is one thread (the CPU) or a block of them (a GPU): member `me` takes every `size`-th element, and all wait for
one another at `barrier`. All tensors are reached through one array, `memory`, that begins at the lowest address among
them; the table says how far from there each begins. A tile of state holds its fields one after another,
`state[tile, field, element]`: their distances are constants, which is what lets a compiler prove that they do not
overlap. Sums over a tensor are taken lane by lane and then pairwise, in an order that is the same for every crew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from adamx.engine.kernels.rule import with_mean
from adamx.optimizers import Rule
from adamx.portable import inlined, portable, specialise
from adamx.portable.unroll import rows, static, unrolled

TILE = 2048
LANES = 256  # of a sum, and threads of a GPU's block
FIRST, SIZE, X, G = range(4)  # rows of the table: a tensor's first tile, its elements, where it and its gradient begin


class Tiling:
    """Which elements are in which tile.

    Attributes:
        tensors: (tiles,) the tensor of every tile.
        table: (4, tensors) int64; the rows X and G are the caller's to fill.
    """

    def __init__(self, shapes: Sequence[Sequence[int]]) -> None:
        sizes = np.array([prod(shape) for shape in shapes], np.int64)
        counts = -(-sizes // TILE)
        self.tensors = np.repeat(np.arange(len(sizes)), counts)
        self.table = np.zeros((4, len(sizes)), np.int64)
        self.table[FIRST] = np.cumsum(counts) - counts
        self.table[SIZE] = sizes

    def place(self, x: np.ndarray, g: np.ndarray, itemsize: int) -> tuple[int, int, np.ndarray] | None:
        """Write into the table where tensors and their gradients are, (tensors,) addresses each.

        Returns:
            The lowest address, the elements from there to the end, the addresses of all that have elements (one
            without may say that it is anywhere); None where none has.
        """
        some = self.table[SIZE] > 0
        if not some.any():
            return None
        addresses = np.concatenate([x[some], g[some]])
        base = int(addresses.min())
        span = int((addresses - base + itemsize * np.tile(self.table[SIZE, some], 2)).max()) // itemsize
        self.table[[X, G]] = (np.stack([x, g]) - base) // itemsize
        return base, span, addresses

    def used(self) -> np.ndarray:
        """(tiles, TILE) bool: False behind the end of a tensor."""
        first, size = self.table[:2, self.tensors]
        left = size - (np.arange(len(self.tensors)) - first) * TILE
        return np.arange(TILE) < left[:, None]


class Crew(NamedTuple):
    """Who works on a tile, and how many elements each member reads before it writes the first."""

    size: int
    ahead: int
    barrier: Callable[[], None]


class Work(NamedTuple):
    """The functions that a crew runs, in this order; the first two are for a rule with a pool, and None for others."""

    add: Any  # (tile, me, memory, state, tensors, table, h, now, lanes, sums): the sums of a tile's terms
    average: Any  # (tensor, me, table, lanes, sums, means): the means of a tensor
    move: Any  # (tile, me, memory, state, tensors, table, h, now, means): the update of a tile


@portable
def locate(tile, tensors, table):
    """The tensor of a tile, how many elements the tile has, where they and their gradients begin."""
    tensor = tensors[tile]
    first = (tile - table[FIRST, tensor]) * TILE
    count = min(TILE, table[SIZE, tensor] - first)
    return tensor, np.uint64(count), np.uint64(table[X, tensor] + first), np.uint64(table[G, tensor] + first)


def _update(rule: Rule, dtype: str, offsets: Sequence[int]) -> Callable[..., Any]:
    """f(memory, x, g, state, s, h, now, mean): the elements at these offsets, all read before any is written."""
    update, State, fields, count = (
        with_mean(rule, rule.update, dtype),
        rule.State,
        len(rule.State._fields),
        len(offsets),
    )
    element = tuple(map(np.uint64, offsets))
    place = [[np.uint64(k * TILE + offset) for k in range(fields)] for offset in offsets]

    @unrolled
    def moved(memory, x, g, state, s, h, now, mean):
        xs = tuple(memory[x + element[n]] for n in static(count))
        gs = tuple(memory[g + element[n]] for n in static(count))
        states = tuple(State(*(state[s + place[n][k]] for k in static(fields))) for n in static(count))
        for n in static(count):
            memory[x + element[n]], after = update(xs[n], gs[n], states[n], h, now, mean)
            for k in static(fields):
                state[s + place[n][k]] = after[k]

    return moved


def _term(rule: Rule, dtype: str) -> Callable[..., Any]:
    """f(i, memory, x, g, state, s, h, now): what element i adds to the sums."""
    pool, State, fields = specialise(rule.pool, dtype), rule.State, len(rule.State._fields)
    place = tuple(np.uint64(k * TILE) for k in range(fields))

    @unrolled
    def term(i, memory, x, g, state, s, h, now):
        at = s + i
        return pool(memory[x + i], memory[g + i], State(*(state[at + place[k]] for k in static(fields))), h, now)

    return term


def _sum(Pool: Any, dtype: str, crew: Crew, term: Callable[..., Any]) -> Callable[..., Any]:
    """f(count, me, lanes, *where): the sum of term(i, *where) over i < count, which all members get.

    lanes: (fields, LANES) scratch that the crew shares.
    """
    load, store, fields = rows(Pool, 0)

    @unrolled
    def plus(a, b):
        return Pool(*(a[k] + b[k] for k in static(fields)))

    nothing = Pool(*[np.dtype(dtype).type(0)] * fields)
    size, width, barrier = np.uint64(crew.size), np.uint64(LANES), crew.barrier

    @inlined
    def spread(count, me, lanes, *where):
        for lane in range(np.uint64(me), width, size):
            store(lanes, lane, nothing)
        for first in range(np.uint64(0), np.uint64(count), width):
            for lane in range(np.uint64(me), min(width, np.uint64(count) - first), size):
                store(lanes, lane, plus(load(lanes, lane), term(first + lane, *where)))

    @inlined
    def total(count, me, lanes, *where):
        spread(count, me, lanes, *where)
        half = width // np.uint64(2)
        while half > 0:
            barrier()
            for lane in range(np.uint64(me), half, size):
                store(lanes, lane, plus(load(lanes, lane), load(lanes, lane + half)))
            half //= np.uint64(2)
        barrier()
        return load(lanes, 0)

    return total


def work(rule: Rule, dtype: str, crew: Crew) -> Work:
    """The functions that a crew runs for a rule."""
    size, stretch, several = np.uint64(crew.size), np.uint64(crew.size * crew.ahead), crew.ahead > 1
    one = _update(rule, dtype, (0,))
    many = _update(rule, dtype, [crew.size * i for i in range(crew.ahead)])
    tile_of_state = np.uint64(len(rule.State._fields) * TILE)
    load, store, fields = rows(rule.Pool, 0)

    @inlined
    def move(tile, me, memory, state, tensors, table, h, now, means):
        tensor, count, x, g = locate(tile, tensors, table)
        mean, s = load(means, tensor), np.uint64(tile) * tile_of_state
        whole = np.uint64(0)
        if several:
            whole = count - count % stretch
            for i in range(np.uint64(me), whole, stretch):
                many(memory, x + i, g + i, state, s + i, h, now, mean)
        for i in range(whole + np.uint64(me), count, size):
            one(memory, x + i, g + i, state, s + i, h, now, mean)

    if not rule.pool:
        return Work(None, None, move)

    real: Any = np.dtype(dtype).type
    sum_of_tile = _sum(rule.Pool, dtype, crew, _term(rule, dtype))
    sum_of_tensor = _sum(rule.Pool, dtype, crew, portable(lambda i, sums, first: load(sums, first + i)))
    Pool = rule.Pool

    @unrolled
    def over(a, n):
        return Pool(*(a[k] / n for k in static(fields)))

    @inlined
    def add(tile, me, memory, state, tensors, table, h, now, lanes, sums):
        _, count, x, g = locate(tile, tensors, table)
        found = sum_of_tile(count, me, lanes, memory, x, g, state, np.uint64(tile) * tile_of_state, h, now)
        if me == 0:
            store(sums, tile, found)

    @inlined
    def average(tensor, me, table, lanes, sums, means):
        elements = table[SIZE, tensor]
        found = sum_of_tensor((elements + TILE - 1) // TILE, me, lanes, sums, np.uint64(table[FIRST, tensor]))
        if me == 0:
            store(means, tensor, over(found, real(elements)))

    return Work(add, average, move)
