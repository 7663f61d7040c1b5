"""The CPU kernel for landscapes: runs side by side in SIMD lanes.

`LANES` runs make a block, a block is one iteration of a parallel loop, and within it every step is a loop over lanes
on rows of one small scratch array, `a[row, lane]`. That the rows share an array and lie a constant distance apart is
what lets the compiler prove that they do not overlap; that points and gradients are tuples with static indices is
what keeps the loop free of memory it does not need. A lane's arithmetic does not depend on its neighbours, so a run
is the same to the bit wherever it lands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

from adamx import instruments, precision, regimes, rng
from adamx.instruments import Crossings, Seen
from adamx.optimizer import Nothing, Rule
from adamx.portable import cached, digest, generate, portable, rows, specialise
from adamx.precision import Storage, keeper
from adamx.problem import Landscape
from adamx.regimes import Criteria, Figures, Marks
from adamx.schedules import SCHEDULES, Schedule
from adamx.sharpness import of_landscape

LANES = 64


class Layout:
    """Which rows of a run's column hold what.

    The point, the last move, the state, the clock, the hyperparameters, the schedule's, the figures; then what lives
    within a step.
    """

    def __init__(self, rule: Rule, dim: int, scheduled: bool) -> None:
        self.dim = dim
        self.x = 0
        self.moved = dim
        self.state = 2 * dim
        self.states = [rows(rule.State, self.state + i * len(rule.State._fields)) for i in range(dim)]
        self.clock = self.state + dim * len(rule.State._fields)
        self.load_clock, self.store_clock, self.hyper = rows(rule.Clock, self.clock)
        self.load_hyper, _, self.schedule = rows(rule.Hyper, self.hyper)
        self.load_schedule, _, self.figures = rows(Schedule if scheduled else Nothing, self.schedule)
        self.load_figures, self.store_figures, self.gap = rows(Figures, self.figures)
        self.slope = self.gap + 1
        self.factor = self.gap + 2
        self.over = self.gap + 3  # the sharpness over its limit
        self.total = self.gap + 4
        self.load_marks, self.store_marks, self.crossings = rows(Marks, 0)
        self.load_crossings, self.store_crossings, self.total_marks = rows(Crossings, self.crossings)


def _evaluate(function: Any, Params: Any, dim: int, separable: bool, online: bool, dtype: str) -> Callable[..., Any]:
    """f(a, l, params, t) -> value, gradient tuple at lane l's point."""
    fn = specialise(function, dtype)
    load_params, _, _ = rows(Params, 0)
    lines, t = [], ", t" * online
    if separable:
        for i in range(dim):
            j = f"{i} if params.shape[1] > 1 else 0"
            lines.append(f"    f{i}, g{i} = fn(a[{i}, l], load(params, {j}){t})")
        total = " + ".join(f"f{i}" for i in range(dim))
    else:
        xs = "".join(f"a[{i}, l], " for i in range(dim))
        gs = ", ".join(f"g{i}" for i in range(dim))
        lines.append(f"    total, ({gs},) = fn(({xs}), load(params, 0){t})")
        total = "total"
    gradient = "".join(f"g{i}, " for i in range(dim))
    source = "def evaluate(a, l, params, t):\n" + "\n".join(lines) + f"\n    return {total}, ({gradient})\n"
    return generate(source, fn=fn, load=load_params)


def _moves(
    rule: Rule, layout: Layout, dtype: str, storage: Storage, bounds: tuple[float, float] | None
) -> Callable[..., Any]:
    """f(a, l, g, h, now, seed, t): every coordinate's update, unrolled."""
    fields = len(rule.State._fields)
    lines, namespace = [], {"update": specialise(rule.update, dtype), "Pool": rule.Pool, "State": rule.State}
    namespace["keep"] = keeper(storage.params, storage.rounding, precision.PARAMS)
    namespace["keep_state"] = keeper(storage.state, storage.rounding, precision.STATE)
    if bounds:
        namespace |= {"low": np.dtype(dtype).type(bounds[0]), "high": np.dtype(dtype).type(bounds[1])}
    for i, (load, store, _) in enumerate(layout.states):
        namespace |= {f"load{i}": load, f"store{i}": store}
    coordinates = range(layout.dim)
    if rule.pool:
        namespace |= {"pool": specialise(rule.pool, dtype), "share": np.dtype(dtype).type(1 / layout.dim)}
        lines += [f"    p{i} = pool(a[{i}, l], g[{i}], load{i}(a, l), h, now)" for i in coordinates]
        sums = (" + ".join(f"p{i}[{k}]" for i in coordinates) for k in range(len(rule.Pool._fields)))
        lines.append(f"    mean = Pool({', '.join(f'({total}) * share' for total in sums)})")
    for i in coordinates:
        kept = "".join(f"keep_state(s{i}[{k}], seed, t, {k * layout.dim + i}), " for k in range(fields))
        lines += [
            f"    x{i} = a[{i}, l]",
            f"    z{i}, s{i} = update(x{i}, g[{i}], load{i}(a, l), h, now{', mean' * bool(rule.pool)})",
            f"    y{i} = keep(z{i}, seed, t, {i})",
            *[f"    y{i} = low if y{i} < low else (high if y{i} > high else y{i})"] * bool(bounds),
            f"    store{i}(a, l, State({kept}))",
            f"    a[{layout.moved + i}, l] = y{i} - x{i}",
            f"    a[{i}, l] = y{i}",
        ]
    return generate("def moves(a, l, g, h, now, seed, t):\n" + "\n".join(lines) + "\n", **namespace)


def with_lr(rule: Rule) -> Callable[..., Any]:
    """f(h, factor) -> h with lr times the factor."""
    fields = ", ".join(f"h.{name} * factor" if name == "lr" else f"h.{name}" for name in rule.Hyper._fields)
    return generate(f"def scaled(h, factor):\n    return Hyper({fields})\n", Hyper=rule.Hyper)


def _see(rule: Rule, layout: Layout, dtype: str) -> Callable[..., Any]:
    """f(a, l, clock, h) -> tuples (coordinates,) of lane l: sqrt(v_hat), the effective rates; zeros where unknown."""
    scale = rule.preconditioner or portable(lambda state, h, clock: (h.lr * 0, h.lr * 0))
    namespace: dict[str, Any] = {"scale": specialise(scale, dtype) if rule.preconditioner else scale}
    namespace |= {f"load{i}": load for i, (load, _, _) in enumerate(layout.states)}
    lines = [f"    root{i}, rate{i} = scale(load{i}(a, l), h, clock)" for i in range(layout.dim)]
    roots, rates = ("".join(f"{name}{i}, " for i in range(layout.dim)) for name in ("root", "rate"))
    source = "def see(a, l, clock, h):\n" + "\n".join(lines) + f"\n    return ({roots}), ({rates})\n"
    return generate(source, **namespace)


def kernel_for(
    rule: Rule, problem: Landscape, dtype: str, schedule: str | None, storage: Storage, shown: tuple[str, ...]
) -> tuple[Layout, Any]:
    """The layout of a run's column and the compiled kernel; constants of the landscape are run-time values."""
    p = problem
    shape = (p.function, p.Params, p.dim, p.separable, p.online, p.noise > 0, p.bounds)
    return _kernel(rule, *shape, dtype, schedule, storage, shown)


@cache
def _kernel(
    rule: Rule,
    function: Any,
    Params: Any,
    dim: int,
    separable: bool,
    online: bool,
    noisy: bool,
    bounds: tuple[float, float] | None,
    dtype: str,
    schedule: str | None,
    storage: Storage,
    shown: tuple[str, ...],
) -> tuple[Layout, Any]:
    real: Any = np.dtype(dtype).type
    layout = Layout(rule, dim, schedule is not None)
    evaluate = _evaluate(function, Params, dim, separable, online, dtype)
    moves = _moves(rule, layout, dtype, storage, bounds)
    per_step = specialise(rule.per_step, dtype)
    begin, track = specialise(regimes.begin, dtype), specialise(regimes.track, dtype)
    gaussian = specialise(rng.gaussian, dtype)
    slope_of = generate(
        "def slope_of(a, l, g):\n    return "
        + " + ".join(f"g[{i}] * a[{layout.moved + i}, l]" for i in range(dim))
        + "\n"
    )
    load_clock, store_clock, load_hyper = layout.load_clock, layout.store_clock, layout.load_hyper
    load_figures, store_figures = layout.load_figures, layout.store_figures
    load_marks, store_marks = layout.load_marks, layout.store_marks
    load_criteria, _, _ = rows(Criteria, 0)
    load_schedule, scaled = layout.load_schedule, with_lr(rule)
    factor = specialise(SCHEDULES[schedule or "constant"], dtype)
    scheduled = schedule is not None
    TOTAL, MARKS, GAP, SLOPE, FACTOR = layout.total, layout.total_marks, layout.gap, layout.slope, layout.factor
    OVER, MOVED, one = layout.over, layout.moved, real(1)
    lanes = np.uint64(LANES)

    curves = instruments.curves(shown, dim)
    measure, measured = instruments.measure(shown, dim, dtype), bool(curves)
    limit_of, eps_of, crossing = instruments.limit_of(rule, dtype), instruments.eps_of(rule), "crossings" in shown
    sharp, SHARP = "sharpness" in shown, len(curves) - 1
    load_crossings, store_crossings = layout.load_crossings, layout.store_crossings
    see = _see(rule, layout, dtype)
    if sharp or crossing:
        sharpness = of_landscape(function, Params, dim, separable, online, dtype)
    else:
        sharpness = portable(lambda a, lane, rate, params, t, m: rate[0])

    if noisy:
        draws = ", ".join(f"g[{i}] + noise * gaussian(*bits(seed, {rng.NOISE}, t, {i}))" for i in range(dim))
        blur = generate(f"def blur(g, noise, seed, t):\n    return ({draws},)\n", gaussian=gaussian, bits=rng.bits)
    else:

        @portable
        def blur(g, noise, seed, t):
            return g

    def kernel(
        carry, marks, seeds, params, criteria, minimum, noise, minimizers, t0, t1, steps, tail, every, loss, final, out,
    ):  # fmt: skip
        runs = carry.shape[1]
        for block in numba.prange((runs + LANES - 1) // LANES):
            a = np.empty((TOTAL, LANES), real)
            k = np.empty((MARKS, LANES), np.int32)
            seed = np.empty(LANES, np.int64)
            before = np.empty((dim, LANES), real)  # the point that a step started from, where instruments look
            look = np.empty((4, dim), real)
            matrix = np.empty((dim, dim), real)
            first = block * LANES
            for lane in range(LANES):
                run = min(first + lane, runs - 1)
                seed[lane] = seeds[run]
                for row in range(TOTAL):
                    a[row, lane] = carry[row, run]
                for row in range(MARKS):
                    k[row, lane] = marks[row, run]
            count = min(LANES, runs - first)
            c = load_criteria(criteria, 0)
            low, sigma = minimum[0], noise[0]
            for t in range(t0, t1):
                now_t = real(t + 1)
                recorded = t % every == 0 or t == steps
                if t == steps:
                    for lane in range(count):
                        for i in range(dim):
                            final[first + lane, i] = a[i, lane]
                if scheduled:
                    for lane in range(lanes):
                        a[FACTOR, lane] = factor(now_t, real(steps), load_schedule(a, lane))
                if crossing or (measured and recorded):
                    for i in range(dim):
                        for lane in range(lanes):
                            before[i, lane] = a[i, lane]
                for lane in range(lanes):
                    value, g = evaluate(a, lane, params, now_t)
                    g = blur(g, sigma, seed[lane], t)
                    a[GAP, lane] = value - low
                    a[SLOPE, lane] = slope_of(a, lane, g)
                    h = load_hyper(a, lane)
                    if scheduled:
                        h = scaled(h, a[FACTOR, lane])
                    clock, now = per_step(now_t, load_clock(a, lane), h)
                    store_clock(a, lane, clock)
                    moves(a, lane, g, h, now, seed[lane], t)
                if t == 0:
                    for lane in range(lanes):
                        store_figures(a, lane, begin(a[GAP, lane], c))
                in_tail = t >= tail
                for lane in range(lanes):
                    f, m = track(
                        t, a[GAP, lane], a[SLOPE, lane], in_tail, load_figures(a, lane), load_marks(k, lane), c
                    )
                    store_figures(a, lane, f)
                    store_marks(k, lane, m)
                late = 2 * t >= steps
                if crossing and t < steps:
                    for lane in range(lanes):
                        h = load_hyper(a, lane)
                        if scheduled:
                            h = scaled(h, a[FACTOR, lane])
                        _, rates = see(a, lane, load_clock(a, lane), h)
                        over = sharpness(before, lane, rates, params, now_t, matrix) / (h.lr * limit_of(h))
                        x = load_crossings(k, lane)
                        up = (over >= one) & (a[OVER, lane] < one)
                        at = t if (up & (x.first_crossing_step < 0)) else x.first_crossing_step
                        store_crossings(k, lane, Crossings(x.crossings + up, x.late_crossings + (up & late), at))
                        a[OVER, lane] = over
                if recorded:
                    record = (t + every - 1) // every
                    for lane in range(count):
                        loss[record, first + lane] = a[GAP, lane] + low
                if measured and recorded:
                    for lane in range(count):
                        h = load_hyper(a, lane)
                        if scheduled:
                            h = scaled(h, a[FACTOR, lane])
                        _, g = evaluate(before, lane, params, now_t)
                        g = blur(g, sigma, seed[lane], t)
                        for i in range(dim):
                            look[0, i] = g[i]
                            look[1, i] = a[MOVED + i, lane]
                        roots, rates = see(a, lane, load_clock(a, lane), h)
                        for i in range(dim):
                            look[2, i] = roots[i]
                            look[3, i] = rates[i]
                        limit = limit_of(h)
                        seen = Seen(
                            before[:, lane], look[0], look[1], look[2], look[3], minimizers, h.lr, eps_of(h), limit
                        )
                        measure(seen, out, record, first + lane)
                        if sharp:
                            out[SHARP, record, first + lane] = (
                                sharpness(before, lane, rates, params, now_t, matrix) / h.lr
                            )
            for lane in range(count):
                for row in range(TOTAL):
                    carry[row, first + lane] = a[row, lane]
                for row in range(MARKS):
                    marks[row, first + lane] = k[row, lane]

    name = f"{rule.name}_{function.__module__.rsplit('.', 1)[-1]}_{dim}d_{dtype}_{schedule}_{storage.params}"
    return layout, cached(numba.njit(parallel=True, error_model="numpy"), kernel, name, digest(kernel, dtype))
