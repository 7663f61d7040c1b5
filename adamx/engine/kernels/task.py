"""Training: one run of a task, written for a team of workers, on every backend."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from adamx import instruments, regimes
from adamx.engine.chunk import Chunk
from adamx.engine.kernels.layout import Layout
from adamx.engine.kernels.rule import with_lr, with_mean
from adamx.engine.kernels.sharpness import of_task
from adamx.engine.kernels.walk import Draw, Rows, walking
from adamx.instruments import Seen
from adamx.models import Family
from adamx.optimizers import Nothing, Rule
from adamx.portable import portable, precision, specialise
from adamx.portable.precision import Storage, keeper
from adamx.portable.team import Team
from adamx.portable.unroll import rows, static, unrolled
from adamx.problems import Task
from adamx.regimes import Criteria
from adamx.schedules import SCHEDULES


class Kind(NamedTuple):
    """The choices for which a kernel is compiled; the rest are run-time values. `model` is a family's `kind`."""

    rule: Rule
    model: Family
    dtype: str
    schedule: str | None
    storage: Storage
    shown: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the compiled file."""
        return f"{self.rule.name}_{self.model.name}_{self.dtype}_{self.schedule}_{self.storage.params}"


def kind_of(problem: Task, chunk: Chunk) -> Kind:
    """The kind of kernel that a chunk on a task needs."""
    return Kind(chunk.rule, problem.model.kind, chunk.dtype, chunk.scheduled, chunk.storage, chunk.instruments)


class Own(NamedTuple):
    """One run's numbers, flat: x, and moved, the last move, (parameters,); state, field after field of all of them."""

    x: Any
    moved: Any
    state: Any


class Look(NamedTuple):
    """Scratch for instruments, (parameters,) each: the point before a step, sqrt(v_hat) and the effective rates."""

    before: Any
    root: Any
    rate: Any


class Work(NamedTuple):
    """Scratch of a run, with any content: its gradient (parameters,), a model's `Scratch`, and that of instruments.

    A `Look` and a `Spare` are empty where none is asked for.
    """

    g: Any
    scratch: Any
    look: Any
    spare: Any


def _memory(rule: Rule) -> tuple[Any, Any]:
    """load(memory, size, i) -> State and store(memory, size, i, state); memory is flat, `size` numbers a field."""
    State, fields = rule.State, len(rule.State._fields)
    field = tuple(map(np.uint64, range(fields)))

    @unrolled
    def load(memory, size, i):
        return State(*(memory[field[k] * size + i] for k in static(fields)))

    @unrolled
    def store(memory, size, i, state):
        for k in static(fields):
            memory[field[k] * size + i] = state[k]

    return load, store


def _mean(rule: Rule, dtype: str, team: Team) -> Any:
    """f(x, g, memory, first, last, h, now): the Pool over a tensor, the parameters from first on and before last."""
    if not rule.pool:
        return portable(lambda x, g, memory, first, last, h, now: Nothing())
    real: Any = np.dtype(dtype).type
    pool, Pool, fields, zero = specialise(rule.pool, dtype), rule.Pool, len(rule.Pool._fields), real(0)
    (load, _), share, total, whole = _memory(rule), team.share, team.total, np.uint64

    @unrolled
    def mean(x, g, memory, first, last, h, now):
        sums = Pool(*(zero for k in static(fields)))
        for i in share(first, last):
            terms = pool(x[i], g[i], load(memory, whole(len(x)), i), h, now)
            sums = Pool(*(sums[k] + terms[k] for k in static(fields)))
        return Pool(*(total(sums[k]) / real(last - first) for k in static(fields)))

    return mean


def _moves(rule: Rule, dtype: str, storage: Storage, team: Team) -> Any:
    """f(own, g, tensors, h, now, seed, t): the update of all parameters; own.moved becomes the move."""
    share, mean_of, update = team.share, _mean(rule, dtype, team), with_mean(rule, rule.update, dtype)
    (load, store), State, fields = _memory(rule), rule.State, len(rule.State._fields)
    keep = keeper(storage.params, storage.rounding, precision.PARAMS)
    keep_state = keeper(storage.state, storage.rounding, precision.STATE)

    @unrolled
    def moves(own, g, tensors, h, now, seed, t):
        x, memory, n, size = own.x, own.state, len(own.x), np.uint64(len(own.x))
        for tensor in range(len(tensors) - 1):
            first, last = tensors[tensor], tensors[tensor + 1]
            mean = mean_of(x, g, memory, first, last, h, now)
            for i in share(first, last):
                before = x[i]
                after, s = update(before, g[i], load(memory, size, i), h, now, mean)
                after = keep(after, seed, t, i)
                store(memory, size, i, State(*(keep_state(s[k], seed, t, k * n + i) for k in static(fields))))
                own.moved[i] = after - before
                x[i] = after

    return moves


def _see(rule: Rule, dtype: str, team: Team) -> Any:
    """f(own, g, tensors, clock, h, now, look), before the update: look.root and look.rate of all parameters."""
    if not rule.preconditioner:
        return portable(lambda own, g, tensors, clock, h, now, look: None)
    share, mean_of, scale = team.share, _mean(rule, dtype, team), with_mean(rule, rule.preconditioner, dtype)
    load, _ = _memory(rule)

    @portable
    def see(own, g, tensors, clock, h, now, look):
        x, memory, size = own.x, own.state, np.uint64(len(own.x))
        for k in range(len(tensors) - 1):
            first, last = tensors[k], tensors[k + 1]
            mean = mean_of(x, g, memory, first, last, h, now)
            for i in share(first, last):
                look.root[i], look.rate[i] = scale(x[i], g[i], load(memory, size, i), clock, h, now, mean)

    return see


@cache
def training(kind: Kind, team: Team) -> tuple[Layout, Any]:
    """The layout of a run's column (a point of no coordinates: parameters have arrays of their own) and `train`."""
    rule, family, dtype, schedule, storage, shown = kind
    real: Any = np.dtype(dtype).type
    layout = Layout(rule, 0, schedule is not None)
    start, walk = family.functions(dtype, team).start, walking(family, dtype, team)
    share, first_worker, sync, dot = team.share, team.first, team.sync, team.dot
    per_step = specialise(rule.per_step, dtype)
    begin, track, track_tail = (specialise(f, dtype) for f in (regimes.begin, regimes.track, regimes.track_tail))
    move_all = _moves(rule, dtype, storage, team)
    first_kept = keeper(storage.params, "nearest", precision.PARAMS)
    load_clock, store_clock, load_hyper = layout.load_clock, layout.store_clock, layout.load_hyper
    load_figures, store_figures = layout.load_figures, layout.store_figures
    load_marks, store_marks = layout.load_marks, layout.store_marks
    load_criteria, _, _ = rows(Criteria, 0)
    load_schedule, scaled = layout.load_schedule, with_lr(rule)
    factor = specialise(SCHEDULES[schedule or "constant"], dtype)
    scheduled = schedule is not None
    names = instruments.curves(shown, 0)
    measure, measured = instruments.measure(shown, 0, dtype), bool(names)
    see, limit_of, eps_of = _see(rule, dtype, team), instruments.limit_of(rule, dtype), instruments.eps_of(rule)
    sharp, SHARP = "sharpness" in shown, len(names) - 1
    sharpness = portable(lambda x, rate, seed, model, rows, scratch, spare: rate[0])
    if sharp:
        sharpness = of_task(family, dtype, team)

    @portable
    def train(run, own, runs, data, model, curves, work, times):
        """Run number `run` from step t0 up to t1.

        Its own numbers and gradient are flat; what only one worker writes is read after a sync. The groups are those
        of `arguments`.
        """
        carry, marks, seed, point, moved = runs.carry, runs.marks, runs.seeds[run], own.x, own.moved
        t0, t1, steps, tail, every = times
        g, scratch, look, spare = work
        rows, held = Rows(data.x, data.y), Rows(data.val_x, data.val_y)
        c = load_criteria(data.criteria, 0)
        if t0 == 0 and runs.fresh[run]:
            start(point, model.sizes, seed)
            for i in share(0, len(point)):
                point[i] = first_kept(point[i], seed, 0, i)
            sync()
        for t in range(t0, t1):
            recorded = t % every == 0 or t == steps
            record = (t + every - 1) // every
            gap = real(0)
            walks = 1 if not recorded else 3 if len(held.y) > 0 else 2
            for walk_of in range(walks):  # the batch, which gives the gradient; all rows; the held-out
                learn = walk_of == 0
                drawn = Draw(data.batch if learn else 0, seed, t)
                value, right = walk(point, model, held if walk_of == 2 else rows, drawn, learn, scratch, g)
                if learn:
                    gap = value
                elif first_worker():
                    if t == 0 and walk_of == 1:
                        whole = value if data.batch > 0 else gap  # the same bits as the first step's
                        store_figures(carry, run, begin(whole, c))
                    first = 2 * walk_of - 2
                    curves.scores[first, record, run], curves.scores[first + 1, record, run] = value, right
            slope = dot(g, moved)
            if first_worker():
                if t >= tail:
                    f, m = load_figures(carry, run), load_marks(marks, run)
                    f, m = track_tail(t, tail, gap, slope, f, m, c)
                    store_figures(carry, run, f)
                    store_marks(marks, run, m)
                f, m = track(t, gap, load_figures(carry, run), load_marks(marks, run), c)
                store_figures(carry, run, f)
                store_marks(marks, run, m)
            if t < steps or measured:
                h = load_hyper(carry, run)
                if scheduled:
                    h = scaled(h, factor(real(t + 1), real(steps), load_schedule(carry, run)))
                clock, now = per_step(real(t + 1), load_clock(carry, run), h)
                if measured and recorded:
                    for i in share(0, len(point)):
                        look.before[i] = point[i]
                    see(own, g, model.tensors, clock, h, now, look)
                    sync()
                move_all(own, g, model.tensors, h, now, seed, t)
                sync()
                if first_worker():
                    store_clock(carry, run, clock)
                if measured and recorded:
                    if first_worker():
                        limit = limit_of(clock, h, now)
                        seen = Seen(
                            look.before, g, moved, look.root, look.rate, data.minimizers, h.lr, eps_of(h), limit
                        )
                        measure(seen, curves.shown, record, run)
                    if sharp:
                        most = sharpness(look.before, look.rate, seed, model, rows, scratch, spare)
                        if first_worker():
                            curves.shown[SHARP, record, run] = most / h.lr
                if t == steps:  # that step was only looked at
                    for i in share(0, len(point)):
                        point[i] = look.before[i]

    return layout, train
