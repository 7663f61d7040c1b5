"""Lane: what a run of a landscape does in one step, for kernels that hold runs as columns `a[row, lane]`.

Every function works on one lane. The CPU keeps many lanes side by side and loops over them (`lanes`), a GPU thread has
one of its own (`threads`). Rows and coordinates have static indices, unrolled when the functions are made: that is what
lets a compiler vectorise over lanes, or keep a lane in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from adamx import instruments, regimes
from adamx.engine.chunk import Chunk
from adamx.engine.kernels.layout import Layout
from adamx.engine.kernels.rule import with_lr, with_mean
from adamx.engine.kernels.sharpness import of_landscape
from adamx.instruments import Crossings, Seen
from adamx.optimizers import Nothing, Rule
from adamx.portable import inlined, portable, precision, rng, specialise
from adamx.portable.precision import Storage, keeper
from adamx.portable.unroll import rows, static, unrolled
from adamx.problems import Landscape
from adamx.regimes import Criteria
from adamx.schedules import SCHEDULES


class Lane(NamedTuple):
    """The phases of a step, in their order; `at` is the lane, t the step that counts from 0.

    Whether there is a schedule, crossings or curves is known when a kernel is made: it leaves out the absent ones.
    """

    pace: Any  # (a, at, t, steps): the schedule's factor of lr
    advance: Any  # (a, at, params, low, noise, seed, t): loss and gradient, then the update
    begin: Any  # (a, at, c): the figures at step 0
    watch: Any  # (a, marks, at, t, c): the running figures
    watch_tail: Any  # (a, marks, at, t, tail, c), before `watch`: those of the tail
    cross: Any  # (a, marks, at, before, matrix, params, noise, seed, t, steps): crossings of the sharpness's limit
    show: Any  # (a, at, before, look, matrix, params, noise, seed, minimizers, t, out, record, run): the instruments
    load_criteria: Any


def _evaluate(
    function: Any, objective: Any, Params: Any, dim: int, separable: bool, online: bool, dtype: str
) -> Callable[..., Any]:
    """f(a, at, params, t) -> value, gradient tuple at lane `at`'s point; the value is the objective's, if any."""
    fn, alone = _at_step(specialise(function, dtype), online), objective is None
    value_of = portable(lambda x, p: x) if objective is None else specialise(objective, dtype)
    load, _, _ = rows(Params, 0)

    if separable:

        @unrolled
        def evaluate(a, at, params, t):
            own = params.shape[1] > 1  # each coordinate has constants of its own
            each = tuple(fn(a[i, at], load(params, i if own else 0), t) for i in static(dim))
            gradient = tuple(each[i][1] for i in static(dim))
            if alone:
                return sum(each[i][0] for i in static(dim)), gradient
            return sum(value_of(a[i, at], load(params, i if own else 0)) for i in static(dim)), gradient

    else:

        @unrolled
        def evaluate(a, at, params, t):
            x, p = tuple(a[i, at] for i in static(dim)), load(params, 0)
            value, g = fn(x, p, t)
            if alone:
                return value, tuple(g[i] for i in static(dim))
            return value_of(x, p), tuple(g[i] for i in static(dim))

    return evaluate


def _at_step(fn: Callable[..., Any], online: bool) -> Callable[..., Any]:
    """f(x, p, t) of a landscape's function, which has a t only where it is another one at every step."""
    return fn if online else portable(lambda x, p, t: fn(x, p))


def _pooled(rule: Rule, layout: Layout, dtype: str) -> Callable[..., Any]:
    """f(a, at, g, h, now): the Pool over all coordinates of lane `at`; nothing for a rule without one."""
    if not rule.pool:
        return portable(lambda a, at, g, h, now: Nothing())
    pool, Pool, fields, dim = specialise(rule.pool, dtype), rule.Pool, len(rule.Pool._fields), layout.dim
    share, load = np.dtype(dtype).type(1 / dim), layout.load_state

    @unrolled
    def pooled(a, at, g, h, now):
        terms = tuple(pool(a[i, at], g[i], load[i](a, at), h, now) for i in static(dim))
        return Pool(*(sum(terms[i][k] for i in static(dim)) * share for k in static(fields)))

    return pooled


def _moves(
    rule: Rule, layout: Layout, dtype: str, storage: Storage, bounds: tuple[float, float] | None
) -> Callable[..., Any]:
    """f(a, at, g, h, now, seed, t): every coordinate's update, unrolled."""
    update, pooled = with_mean(rule, rule.update, dtype), _pooled(rule, layout, dtype)
    keep = keeper(storage.params, storage.rounding, precision.PARAMS)
    keep_state = keeper(storage.state, storage.rounding, precision.STATE)
    load, store, State = layout.load_state, layout.store_state, rule.State
    dim, fields, moved, bounded = layout.dim, len(State._fields), layout.moved, bounds is not None
    low, high = map(np.dtype(dtype).type, bounds or (0, 0))

    @unrolled
    def moves(a, at, g, h, now, seed, t):
        mean = pooled(a, at, g, h, now)
        for i in static(dim):
            x = a[i, at]
            z, s = update(x, g[i], load[i](a, at), h, now, mean)
            y = keep(z, seed, t, i)
            if bounded:
                y = low if y < low else (high if y > high else y)
            store[i](a, at, State(*(keep_state(s[k], seed, t, k * dim + i) for k in static(fields))))
            a[moved + i, at] = y - x
            a[i, at] = y

    return moves


def _see(rule: Rule, layout: Layout, dtype: str) -> Callable[..., Any]:
    """f(a, at, g, clock, h, now) -> tuples (coordinates,): sqrt(v_hat), the effective rates; zeros where unknown.

    a is lane `at` before its update.
    """
    dim, load, pooled = layout.dim, layout.load_state, _pooled(rule, layout, dtype)
    scale = portable(lambda x, g, state, clock, h, now, mean: (h.lr * 0, h.lr * 0))
    if rule.preconditioner:
        scale = with_mean(rule, rule.preconditioner, dtype)

    @unrolled
    def see(a, at, g, clock, h, now):
        mean = pooled(a, at, g, h, now)
        seen = tuple(scale(a[i, at], g[i], load[i](a, at), clock, h, now, mean) for i in static(dim))
        return tuple(seen[i][0] for i in static(dim)), tuple(seen[i][1] for i in static(dim))

    return see


class Kind(NamedTuple):
    """The choices for which a kernel is compiled; everything else about a run is a run-time value."""

    rule: Rule
    function: Any
    objective: Any
    Params: Any
    dim: int
    separable: bool
    online: bool
    noisy: bool
    bounds: tuple[float, float] | None
    dtype: str
    schedule: str | None
    storage: Storage
    shown: tuple[str, ...]

    @property
    def layout(self) -> Layout:
        return Layout(self.rule, self.dim, self.schedule is not None)

    @property
    def curves(self) -> tuple[str, ...]:
        """The instruments' curves."""
        return instruments.curves(self.shown, self.dim)

    @property
    def name(self) -> str:
        """The name of the compiled file."""
        module = self.function.__module__.rsplit(".", 1)[-1]
        return f"{self.rule.name}_{module}_{self.dim}d_{self.dtype}_{self.schedule}_{self.storage.params}"


def kind_of(p: Landscape, chunk: Chunk) -> Kind:
    """The kind of kernel that a chunk on a landscape needs."""
    landscape = (p.function, p.objective, p.Params, p.dim, p.separable, p.online, p.noise > 0, p.bounds)
    return Kind(chunk.rule, *landscape, chunk.dtype, chunk.scheduled, chunk.storage, chunk.instruments)


def lane(kind: Kind, layout: Layout) -> Lane:
    """The functions for one kind of kernel."""
    rule, dim, dtype, shown = kind.rule, kind.dim, kind.dtype, kind.shown
    real: Any = np.dtype(dtype).type
    evaluate = _evaluate(kind.function, kind.objective, kind.Params, dim, kind.separable, kind.online, dtype)
    moves = _moves(rule, layout, dtype, kind.storage, kind.bounds)
    per_step = specialise(rule.per_step, dtype)
    first, track, track_tail = (specialise(f, dtype) for f in (regimes.begin, regimes.track, regimes.track_tail))
    load_clock, store_clock = layout.load_clock, layout.store_clock
    load_figures, store_figures = layout.load_figures, layout.store_figures
    load_marks, store_marks = layout.load_marks, layout.store_marks
    load_schedule, load_crossings = layout.load_schedule, layout.load_crossings
    store_crossings = layout.store_crossings
    factor = specialise(SCHEDULES[kind.schedule or "constant"], dtype)
    GAP, SLOPE, FACTOR, OVER, MOVED = layout.gap, layout.slope, layout.factor, layout.over, layout.moved
    one = real(1)
    hyper = layout.load_hyper

    @unrolled
    def slope_of(a, at, g):
        return sum(g[i] * a[MOVED + i, at] for i in static(dim))

    if kind.schedule is not None:
        load_hyper, scaled = layout.load_hyper, with_lr(rule)

        @portable
        def hyper(a, at):
            return scaled(load_hyper(a, at), a[FACTOR, at])

    noisy, gaussian, bits, NOISE = kind.noisy, specialise(rng.gaussian, dtype), rng.bits, rng.NOISE

    @unrolled
    def blur(g, noise, seed, t):
        if noisy:
            return tuple(g[i] + noise * gaussian(*bits(seed, NOISE, t, i)) for i in static(dim))
        return g

    measure, sharp, SHARP = instruments.measure(shown, dim, dtype), "sharpness" in shown, len(kind.curves) - 1
    limit_of, eps_of = instruments.limit_of(rule, dtype), instruments.eps_of(rule)
    see = _see(rule, layout, dtype)
    if sharp or "crossings" in shown:
        sharpness = of_landscape(kind.function, kind.Params, dim, kind.separable, kind.online, dtype)
    else:
        sharpness = portable(lambda a, at, rate, params, t, m: rate[0])

    @inlined
    def pace(a, at, t, steps):
        a[FACTOR, at] = factor(real(t + 1), real(steps), load_schedule(a, at))

    @inlined
    def advance(a, at, params, low, noise, seed, t):
        value, g = evaluate(a, at, params, real(t + 1))
        g = blur(g, noise, seed, t)
        a[GAP, at] = value - low
        a[SLOPE, at] = slope_of(a, at, g)
        h = hyper(a, at)
        clock, now = per_step(real(t + 1), load_clock(a, at), h)
        store_clock(a, at, clock)
        moves(a, at, g, h, now, seed, t)

    @inlined
    def begin(a, at, c):
        store_figures(a, at, first(a[GAP, at], c))

    @inlined
    def watch(a, marks, at, t, c):
        f, m = track(t, a[GAP, at], load_figures(a, at), load_marks(marks, at), c)
        store_figures(a, at, f)
        store_marks(marks, at, m)

    @inlined
    def watch_tail(a, marks, at, t, tail, c):
        f, m = load_figures(a, at), load_marks(marks, at)
        f, m = track_tail(t, tail, a[GAP, at], a[SLOPE, at], f, m, c)
        store_figures(a, at, f)
        store_marks(marks, at, m)

    @inlined
    def cross(a, marks, at, before, matrix, params, noise, seed, t, steps):
        h = hyper(a, at)
        _, g = evaluate(before, at, params, real(t + 1))
        clock, now = per_step(real(t + 1), load_clock(before, at), h)
        _, rates = see(before, at, blur(g, noise, seed, t), clock, h, now)
        over = sharpness(before, at, rates, params, real(t + 1), matrix) / (h.lr * limit_of(clock, h, now))
        x = load_crossings(marks, at)
        up, late = (over >= one) & (a[OVER, at] < one), 2 * t >= steps
        when = t if (up & (x.first_crossing_step < 0)) else x.first_crossing_step
        store_crossings(marks, at, Crossings(x.crossings + up, x.late_crossings + (up & late), when))
        a[OVER, at] = over

    @inlined
    def show(a, at, before, look, matrix, params, noise, seed, minimizers, t, out, record, run):
        h = hyper(a, at)
        _, g = evaluate(before, at, params, real(t + 1))
        g = blur(g, noise, seed, t)
        clock, now = per_step(real(t + 1), load_clock(before, at), h)
        roots, rates = see(before, at, g, clock, h, now)
        for i in range(dim):
            look[0, i] = g[i]
            look[1, i] = a[MOVED + i, at]
            look[2, i] = roots[i]
            look[3, i] = rates[i]
        x, limit = before[:dim, at], limit_of(clock, h, now)
        seen = Seen(x, look[0], look[1], look[2], look[3], minimizers, h.lr, eps_of(h), limit)
        measure(seen, out, record, run)
        if sharp:
            out[SHARP, record, run] = sharpness(before, at, rates, params, real(t + 1), matrix) / h.lr

    return Lane(pace, advance, begin, watch, watch_tail, cross, show, rows(Criteria, 0)[0])
