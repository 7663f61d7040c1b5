"""Runs of a Model side by side: gradients by the framework's vmap, the rule and the figures on stacked arrays.

Every leaf of the parameters is (runs, elements). jax takes all steps between two records in one jitted scan.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np

from adamx import regimes
from adamx.engine.arrays import origin
from adamx.engine.chunk import Chunk
from adamx.engine.looks import Looks
from adamx.engine.results import Results
from adamx.engine.tensorized import Library, library, on_arrays, tensorized
from adamx.inputs.errors import InputError
from adamx.portable import rng
from adamx.problems._model import Model
from adamx.regimes import Figures, Marks
from adamx.schedules import SCHEDULES, Schedule

BYTES = 1e9  # that a chunk's arrays may take, roughly
MOST = 256  # runs of a chunk


def configure(settings: Mapping[str, Any]) -> str:
    return ""


def compiled(problem: Model, chunk: Chunk) -> bool:
    return True


def at_once() -> int:
    return 1


def chunk_runs(problem: Model, whole: Chunk) -> int:
    """How many runs make a chunk."""
    fields = len(whole.rule.State._fields)
    rows = sum(np.asarray(array).size for array in problem.data)
    looks = 12 if whole.instruments else 0
    of_run = 8 * (problem.dim * (6 + fields + looks) + 4 * rows)
    return int(np.clip(BYTES / of_run, 1, MOST))


class _Torch:
    """The operations that differ between libraries, for torch."""

    def __init__(self, model: Model, dtype: str) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.model, self.dtype = model, getattr(self.torch, dtype)
        self.names = list(model.init(0))
        self.exact: Any = contextlib.nullcontext

    def leaves(self, seed: int) -> list[np.ndarray]:
        return [leaf.detach().double().numpy() for leaf in self.model.init(seed).values()]

    def put(self, array: Any) -> Any:
        tensor = array if isinstance(array, self.torch.Tensor) else self.torch.from_numpy(np.array(array))
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def tree(self, leaves: Any) -> Any:
        return dict(zip(self.names, leaves, strict=True))

    def gradients(self, shared: bool) -> Callable[..., Any]:
        func = self.torch.func

        def one(leaves: Any, batch: Any) -> Any:
            return self.model.loss(self.tree(leaves), batch)

        def both(leaves: Any, batch: Any) -> Any:
            g, value = func.vmap(func.grad_and_value(one), in_dims=(0, None if shared else 0))(leaves, batch)
            return value.detach(), tuple(part.detach() for part in g)

        return both

    def losses(self, leaves: Any, batch: Any) -> Any:
        with self.torch.no_grad():
            one = lambda leaves, batch: self.model.loss(self.tree(leaves), batch)  # noqa: E731
            return self.torch.func.vmap(one, in_dims=(0, None))(leaves, batch)

    def curvature(self, leaves: Any, along: Any, batch: Any) -> Any:
        """H u of every run, the Hessian of its loss times the leaves of u."""
        func = self.torch.func

        def one(leaves: Any, along: Any) -> Any:
            slope = func.grad(lambda leaves: self.model.loss(self.tree(leaves), batch))
            return func.jvp(slope, (leaves,), (along,))[1]

        with warnings.catch_warnings():  # torch's own first jvp calls what it warns of
            warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated")
            return tuple(part.detach() for part in func.vmap(one)(leaves, along))

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def segment(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """f(carry, times, rows): the carry after these steps."""

        def several(carry: Any, times: np.ndarray, rows: np.ndarray) -> Any:
            for t, some in zip(times.tolist(), self.put(rows), strict=True):
                carry = step(carry, t, some)
            return carry

        return several


class _Jax:
    """The operations that differ between libraries, for jax."""

    def __init__(self, model: Model, dtype: str) -> None:
        self.jax: Any = importlib.import_module("jax")
        self.model, self.dtype = model, dtype
        self.structure = self.jax.tree.structure(model.init(0))
        self.exact = partial(self.jax.enable_x64, True)

    def leaves(self, seed: int) -> list[np.ndarray]:
        return [np.asarray(leaf, np.float64) for leaf in self.jax.tree.leaves(self.model.init(seed))]

    def put(self, array: Any) -> Any:
        array = np.asarray(array)
        return self.jax.numpy.asarray(array, self.dtype if np.issubdtype(array.dtype, np.floating) else None)

    def gradients(self, shared: bool) -> Callable[..., Any]:
        def one(leaves: Any, batch: Any) -> Any:
            return self.model.loss(self.structure.unflatten(leaves), batch)

        return self.jax.vmap(self.jax.value_and_grad(one), in_axes=(0, None if shared else 0))

    def losses(self, leaves: Any, batch: Any) -> Any:
        if not hasattr(self, "_losses"):
            one = lambda leaves, batch: self.model.loss(self.structure.unflatten(leaves), batch)  # noqa: E731
            self._losses = self.jax.jit(self.jax.vmap(one, in_axes=(0, None)))
        return self._losses(leaves, batch)

    @cached_property
    def curvature(self) -> Callable[..., Any]:
        def one(leaves: Any, along: Any, batch: Any) -> Any:
            slope = self.jax.grad(lambda leaves: self.model.loss(self.structure.unflatten(leaves), batch))
            return self.jax.jvp(slope, (leaves,), (along,))[1]

        return self.jax.jit(self.jax.vmap(one, in_axes=(0, 0, None)))

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.jax.jit(function)

    def segment(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def several(carry: Any, times: Any, rows: Any) -> Any:
            return self.jax.lax.scan(lambda c, at: (step(c, *at), None), carry, (times, rows))[0]

        return self.jax.jit(several)


def _drawn(seeds: np.ndarray, times: np.ndarray, count: int, batch: int | None) -> np.ndarray:
    """(steps, seeds, rows) of every minibatch: the draws of tasks."""
    if batch is None:
        return np.broadcast_to(np.arange(count), (len(times), 1, count))
    where = np.arange(batch)
    return rng.below(count, seeds[None, :, None], rng.ROWS, times[:, None, None], where[None, None])


def run(problem: Model, chunk: Chunk) -> Results:
    """All runs of a chunk from start to end."""
    if len(chunk) == 1:  # a framework multiplies a stack of one in another way, and its bits would be others
        return run(problem, chunk.part(np.zeros(2, np.int64))).take(np.zeros(1, np.int64))
    if any(chunk.storage[:3]):
        raise InputError("storage in 16 bits is not of models: dtype=float32 or float64 is needed")
    name, shapes = problem.example
    frame: Any = (_Torch if name == "torch" else _Jax)(problem, chunk.dtype)
    try:
        with frame.exact(), np.errstate(all="ignore"):
            return _run(problem, chunk, frame, library(name, chunk.dtype), shapes)
    except RuntimeError as error:
        if "alloc" in str(error) or "RESOURCE_EXHAUSTED" in str(error):
            raise MemoryError(str(error)) from error
        raise


def _run(problem: Model, chunk: Chunk, frame: Any, to: Library, shapes: list[tuple[int, ...]]) -> Results:
    runs, count, put = len(chunk), len(problem.data[0]), frame.put
    seeds, of_run = np.unique(chunk.seeds, return_inverse=True)
    shared = len(seeds) == 1 or problem.batch is None
    data = tuple(map(put, problem.data))
    on, rule = on_arrays(chunk.rule, to), chunk.rule
    column = lambda values: put(np.asarray(values, np.float64)[:, None])  # noqa: E731
    h = rule.Hyper(**{key: column(values) for key, values in chunk.hyper.items()})
    scheduled = Schedule(**{key: column(values) for key, values in chunk.schedule[1].items()})
    factor = chunk.scheduled and tensorized(SCHEDULES[chunk.scheduled], to)
    track, track_tail = tensorized(regimes.track, to), tensorized(regimes.track_tail, to)
    c = problem.criteria
    gradients, tail = frame.gradients(shared), regimes.tail_start(chunk.steps)
    index, cuts = put(of_run), np.cumsum([prod(shape) for shape in shapes])[:-1]

    def flat_leaves(whole: np.ndarray) -> Any:
        """The leaves (runs, elements) of an array (runs, parameters)."""
        return tuple(put(np.ascontiguousarray(part)) for part in np.split(whole, cuts, axis=1))

    if chunk.x0 is None:
        starts = [frame.leaves(int(seed)) for seed in seeds]
        x = tuple(put(np.stack(leaf).reshape(len(seeds), -1)[of_run]) for leaf in zip(*starts, strict=True))
    else:
        x = flat_leaves(chunk.x0)

    def shaped(leaves: Any) -> Any:
        return tuple(leaf.reshape(runs, *shape) for leaf, shape in zip(leaves, shapes, strict=True))

    def slopes(x: Any, rows: Any) -> Any:
        """The loss of a step's minibatch, and its gradient."""
        rows = rows[0] if shared else rows[index]
        value, g = gradients(shaped(x), tuple(array[rows] for array in data))
        return value, tuple(part.reshape(runs, -1) for part in g)

    def look(carry: Any, t: Any, rows: Any) -> Any:
        """The gradient at step t, and the figures after it."""
        x, moved, states, clock, f, m = carry
        value, g = slopes(x, rows)
        slope = sum((a * b).sum(1) for a, b in zip(g, moved, strict=True))
        f, m = track_tail(t, tail, value, slope, f, m, c)
        f, m = track(t, value, f, m, c)
        m = Marks(*(field * one for field in m))
        return (x, moved, states, clock, f, m), g

    def paced(clock: Any, t: Any) -> Any:
        """What depends on time alone in step t: (h, clock, now)."""
        now_h = h._replace(lr=h.lr * factor(t + 1, chunk.steps, scheduled)) if factor else h
        return now_h, *on.per_step(t + 1, clock, now_h)

    def step(carry: Any, t: Any, rows: Any) -> Any:
        (x, moved, states, clock, f, m), g = look(carry, t, rows)
        now_h, clock, now = paced(clock, t)
        moves = [on.step(a, b, s, now_h, now, over=(-1,)) for a, b, s in zip(x, g, states, strict=True)]
        new, states = zip(*moves, strict=True)
        moved = tuple(a - b for a, b in zip(new, x, strict=True))
        states = tuple(rule.State(*(f + 0 * a for f in s)) for s, a in zip(states, new, strict=True))
        return new, moved, states, rule.Clock(*(field + 0 * h.lr for field in clock)), f, m

    def seen(x: Any, states: Any, clock: Any, t: Any, rows: Any) -> Any:
        """Of the step to come, for instruments: g, move, sqrt(v_hat) and rates, leaf by leaf; lr, and the limit."""
        _, g = slopes(x, rows)
        now_h, clock, now = paced(clock, t)
        each = list(zip(x, g, states, strict=True))
        move = [on.step(a, b, s, now_h, now, over=(-1,))[0] - a for a, b, s in each]
        root, rate = zip(*(on.rates(a, b, s, clock, now_h, now, over=(-1,)) for a, b, s in each), strict=True)
        answer = on.alternating(clock, now_h, now) if on.alternating else 1.0
        return (g, move, root, rate), now_h.lr, 2 / (now_h.lr * answer)

    def show(record: int, t: int, carry: Any) -> None:
        x, states, clock = carry[0], carry[2], carry[3]
        rows = put(_drawn(seeds, np.full(1, t, np.int64), count, problem.batch)[0])
        parts, *numbers = seeing(x, states, clock, t, rows)
        lr, limit = (np.asarray(column, chunk.dtype)[:, 0] for column in numbers)

        def flat(leaves: Any) -> np.ndarray:
            each = [np.broadcast_to(np.asarray(part), leaf.shape) for part, leaf in zip(leaves, x, strict=True)]
            return np.concatenate(each, axis=1, dtype=chunk.dtype)

        def product(u: np.ndarray) -> np.ndarray:
            try:
                found = frame.curvature(shaped(x), shaped(flat_leaves(u)), data)
            except (NotImplementedError, TypeError) as error:  # as torch and jax say that an operation has none
                why = f"{problem.name} has none: {error}".partition(r"\n")[0].splitlines()[0]
                raise InputError(f"instrument 'sharpness' needs a loss with forward derivatives; {why}") from error
            return flat(tuple(part.reshape(runs, -1) for part in found))

        looks.show(record, [flat(part) for part in (x, *parts)], lr, limit, product)

    one = put(np.ones(runs))
    clock = rule.Clock(*(field + 0 * h.lr for field in on.initial_clock(h)))
    states = tuple(rule.State(*(field + 0 * leaf for field in on.initial_state(h))) for leaf in x)
    f = Figures(*(field * one for field in tensorized(regimes.begin, to)(frame.losses(shaped(x), data), c)))
    m = Marks(*(mark * one for mark in Marks()))
    carry = (x, tuple(0 * leaf for leaf in x), states, clock, f, m)
    segment, records = frame.segment(step), chunk.records.tolist()
    loss = np.empty((len(records), runs), chunk.dtype)
    looks, seeing = Looks(chunk, problem.dim), frame.compiled(seen)
    for record, t in enumerate(records):
        loss[record] = np.asarray(frame.losses(shaped(carry[0]), data))
        if looks.names:
            show(record, t, carry)
        times = np.arange(t, records[record + 1] if t < chunk.steps else t, dtype=np.int64)
        if len(times):
            carry = segment(carry, times, _drawn(seeds, times, count, problem.batch))
        if chunk.tick:
            chunk.tick(runs * t)
    last = np.full(1, chunk.steps, np.int64)
    carry, _ = frame.compiled(look)(carry, chunk.steps, put(_drawn(seeds, last, count, problem.batch)[0]))
    x, f, m = carry[0], carry[4], carry[5]
    return Results(
        optimizer=rule.name,
        problem=problem.name,
        dtype=chunk.precision,
        backend="cpu",
        steps=chunk.records,
        loss=loss,
        x=np.concatenate([np.asarray(leaf) for leaf in x], axis=1),
        columns={**chunk.hyper, **chunk.schedule[1], "seed": chunk.seeds},
        figures={
            **{key: np.asarray(value, np.float64) for key, value in f._asdict().items()},
            **{key: np.asarray(value).astype(np.int64) for key, value in m._asdict().items()},
        },
        minimum=problem.minimum,
        criteria=problem.criteria,
        curves=looks.curves,
        settings=problem.settings,
        setup=problem.setup,
        schedule=chunk.schedule[0],
        **origin(problem, chunk),
    )
