"""A chunk of a model's runs: the contract of a backend (see `engine.backends`), and the ways to compute it.

"stacked" computes one stack of runs after another in this process; "processes" has a single-threaded process for every
core. A framework may multiply stacks of two sizes in two ways, which changes last bits; so a sweep is cut into
the same stacks whatever the way and the number of cores, and the results are the same.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from adamx.engine.arrays import origin
from adamx.engine.chunk import Chunk
from adamx.engine.cpu import threads
from adamx.engine.model.looks import Looks
from adamx.engine.model.training import Carry, Given, Training
from adamx.engine.results import Results, concatenate
from adamx.inputs.errors import InputError
from adamx.portable import rng
from adamx.problems._model import Model
from adamx.regimes import tail_start
from adamx.schedules import Schedule

BYTES = 1e9  # that all arrays of a stack may take, roughly
NEAR = 1e7  # that its parameters, gradients and state may take: what a core's cache has room for
LEAST, MOST = 8, 64  # runs of a stack that memory does not limit
DRAWN = 1e8  # bytes of minibatches that are drawn at a time
TRIAL = 0.5  # seconds, at least, that the speed of a way is measured for
SHORT = 10.0  # seconds that a chunk takes stacked, below which processes, which have to begin, are not tried


def compiled(problem: Model, chunk: Chunk) -> bool:
    return True


def at_once() -> int:
    return 1


def chunk_runs(problem: Model, whole: Chunk) -> int:
    """How many runs make a chunk: a stack or more for every core."""
    return _stack(problem, whole) * threads.count()


def _stack(problem: Model, chunk: Chunk) -> int:
    """How many runs are computed side by side."""
    own = 8 * problem.dim * (6 + len(chunk.rule.State._fields) + (12 if chunk.instruments else 0))
    rows = 32 * sum(np.asarray(array).size for array in problem.rows)
    return max(1, int(min(BYTES / (own + rows), np.clip(NEAR / own, LEAST, MOST))))


def stacks(problem: Model, chunk: Chunk) -> list[Chunk]:
    """A chunk in parts that are computed side by side."""
    size = _stack(problem, chunk)
    return [chunk.part(slice(first, first + size)) for first in range(0, len(chunk), size)]


def run(problem: Model, chunk: Chunk) -> Results:
    """All runs of a chunk from start to end."""
    if any(chunk.storage[:3]):
        raise InputError("storage in 16 bits is not of models: dtype=float32 or float64 is needed")
    way = _way(problem, chunk) if chunk.engine == "auto" else chunk.engine
    return WAYS[way](problem, chunk)


def stacked(problem: Model, chunk: Chunk) -> Results:
    """A chunk in this process, a stack after another."""
    done, results = 0, []

    def tick(updates: int) -> None:
        if chunk.tick:
            chunk.tick(done + updates)

    for part in stacks(problem, chunk):
        results.append(stack(problem, replace(part, tick=tick)))
        done += len(part) * chunk.steps
    return concatenate(results)


def by_processes(problem: Model, chunk: Chunk) -> Results:
    """A chunk by single-threaded processes, a stack each at a time."""
    from adamx.engine.model.processes import computed

    done, results = 0, []
    for part in computed(problem, stacks(problem, chunk), threads.count()):
        results.append(part)
        done += len(part) * chunk.steps
        if chunk.tick:
            chunk.tick(done)
    return concatenate(results)


WAYS = {"stacked": stacked, "processes": by_processes}


def _way(problem: Model, chunk: Chunk) -> str:
    """The faster way for a chunk of a sweep: measured with its first one, and kept with the problem."""
    key = chunk.rule.name, chunk.dtype, bool(chunk.instruments)
    if key not in problem.ways:
        problem.ways[key] = _measured(problem, chunk)
    return problem.ways[key]


def _measured(problem: Model, chunk: Chunk) -> str:
    if threads.count() == 1 or len(stacks(problem, chunk)) == 1:
        return "stacked"
    steps, seconds = 1, 0.0

    def taken(way: str) -> float:
        brief = replace(chunk, steps=steps, record_every=steps, tick=None)
        start = perf_counter()
        WAYS[way](problem, brief)
        return perf_counter() - start

    while seconds < TRIAL and steps < chunk.steps:
        steps = min(4 * steps, chunk.steps)
        taken("stacked")  # compiles, where the framework does
        seconds = taken("stacked")
    if seconds / steps * chunk.steps < SHORT:
        return "stacked"
    taken("processes")  # they begin
    return "processes" if taken("processes") < seconds else "stacked"


def stack(problem: Model, chunk: Chunk) -> Results:
    """The runs of a chunk side by side."""
    if len(chunk) == 1:  # a framework multiplies a stack of one in another way, and its bits would be others
        return stack(problem, chunk.part(np.zeros(2, np.int64))).take(np.zeros(1, np.int64))
    training = _training(problem, chunk)
    try:
        with training.frame.exact(), np.errstate(all="ignore"):
            return _trained(problem, chunk, training)
    except RuntimeError as error:
        if "alloc" in str(error) or "RESOURCE_EXHAUSTED" in str(error):
            raise MemoryError(str(error)) from error
        raise


def _training(problem: Model, chunk: Chunk) -> Training:
    """The training of a chunk, made once for all chunks of a sweep."""
    shared = not problem.drawn or len(set(chunk.seeds.tolist())) == 1
    key = chunk.rule, chunk.dtype, chunk.scheduled, shared
    if key not in problem.trainings:
        problem.trainings[key] = Training(problem, *key)
    return problem.trainings[key]


def batches(problem: Model, seeds: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, ...]:
    """Arrays (steps, seeds, rows, ...) of every minibatch: what a function makes, or the rows that tasks draw too."""
    if problem.streams:
        made = [[problem.made(int(seed), int(t)) for seed in seeds] for t in times]
        return tuple(np.array([[batch[i] for batch in row] for row in made]) for i in range(len(made[0][0])))
    count = len(problem.rows[0])
    if problem.batch is None:
        return (np.broadcast_to(np.arange(count), (len(times), 1, count)),)
    where = np.arange(problem.batch)
    return (rng.below(count, seeds[None, :, None], rng.ROWS, times[:, None, None], where[None, None]),)


def given_of(training: Training, chunk: Chunk, run: np.ndarray) -> Given:
    """What the steps of a chunk read; run: (runs,) which of the seeds a run has."""
    frame = training.frame
    column = lambda values: frame.put(np.asarray(values, np.float64)[:, None])  # noqa: E731
    return Given(
        h=chunk.rule.Hyper(**{key: column(values) for key, values in chunk.hyper.items()}),
        schedule=Schedule(**{key: column(values) for key, values in chunk.schedule[1].items()}),
        data=training.data,
        run=frame.put(run),
        steps=chunk.steps,
        tail=tail_start(chunk.steps),
    )


def _trained(problem: Model, chunk: Chunk, training: Training) -> Results:
    frame, runs = training.frame, len(chunk)
    seeds, of_run = np.unique(chunk.seeds, return_inverse=True)
    given = given_of(training, chunk, of_run)

    def rows(t: int) -> Any:
        return tuple(frame.put(part[0]) for part in batches(problem, seeds, np.full(1, t, np.int64)))

    if chunk.x0 is None:
        starts = [frame.leaves(int(seed)) for seed in seeds]
        x = tuple(frame.put(np.stack(leaf).reshape(len(seeds), -1)[of_run]) for leaf in zip(*starts, strict=True))
    else:
        x = training.flat_leaves(chunk.x0)
    carry, records = training.start(x, given), chunk.records.tolist()
    length = max(1, int(DRAWN // sum(part.nbytes for part in batches(problem, seeds, np.zeros(1, np.int64)))))
    loss, looks = np.empty((len(records), runs), chunk.dtype), Looks(chunk, problem.dim)
    for record, t in enumerate(records):
        loss[record] = frame.get(frame.losses(training.shaped(carry.x), given.data))
        if looks.names:
            _show(looks, record, training, given, carry, t, rows(t))
        times = np.arange(t, records[record + 1] if t < chunk.steps else t, dtype=np.int64)
        for some in np.split(times, range(length, len(times), length)) if len(times) else ():
            carry = training.segment(given, carry, some, batches(problem, seeds, some))
        if chunk.tick:
            chunk.tick(runs * t)
    carry, _ = training.last(given, carry, chunk.steps, rows(chunk.steps))
    return Results(
        optimizer=chunk.rule.name,
        problem=problem.name,
        dtype=chunk.precision,
        backend="cpu",
        steps=chunk.records,
        loss=loss,
        x=np.concatenate([frame.get(leaf) for leaf in carry.x], axis=1),
        columns={**chunk.hyper, **chunk.schedule[1], "seed": chunk.seeds},
        figures={
            **{key: frame.get(value).astype(np.float64) for key, value in carry.figures._asdict().items()},
            **{key: frame.get(value).astype(np.int64) for key, value in carry.marks._asdict().items()},
        },
        minimum=problem.minimum,
        criteria=problem.criteria,
        curves=looks.curves,
        settings=problem.settings,
        setup=problem.setup,
        schedule=chunk.schedule[0],
        **origin(problem, chunk),
    )


def _show(looks: Looks, record: int, training: Training, given: Given, carry: Carry, t: int, rows: Any) -> None:
    """The instruments of one record."""
    frame, dtype, name = training.frame, looks.shown.dtype, training.model.name
    parts, *numbers = training.seen(given, carry, t, rows)
    lr, limit = (frame.get(column)[:, 0].astype(dtype, copy=False) for column in numbers)

    def flat(leaves: Any) -> np.ndarray:
        each = [np.broadcast_to(frame.get(part), leaf.shape) for part, leaf in zip(leaves, carry.x, strict=True)]
        return np.concatenate(each, axis=1, dtype=dtype)

    def product(u: np.ndarray) -> np.ndarray:
        along = training.shaped(training.flat_leaves(u))
        try:
            found = frame.curvature(training.shaped(carry.x), along, given.data)
        except (NotImplementedError, TypeError) as error:  # as torch and jax say that an operation has none
            why = f"{name} has none: {error}".partition(r"\n")[0].splitlines()[0]
            raise InputError(f"instrument 'sharpness' needs a loss with forward derivatives; {why}") from error
        return flat(tuple(part.reshape(len(u), -1) for part in found))

    looks.show(record, [flat(part) for part in (carry.x, *parts)], lr, limit, product)
