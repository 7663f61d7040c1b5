"""The CPU kernel for tasks: one run a thread, products through BLAS, the update vectorised over parameters."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

from adamx import instruments, precision, regimes
from adamx.instruments import Seen
from adamx.layout import Layout, with_lr
from adamx.network import network
from adamx.optimizer import Rule
from adamx.portable import cached, digest, generate, portable, rows, specialise
from adamx.precision import Storage, keeper
from adamx.regimes import Criteria
from adamx.schedules import SCHEDULES
from adamx.sharpness import of_task


def _moves(rule: Rule, dtype: str, storage: Storage) -> Any:
    """f(x, g, memory, step, widths, h, now, seed, t): the update of all parameters; step becomes the move."""
    update = specialise(rule.update, dtype)
    load, store, fields = rows(rule.State, 0)
    keep = keeper(storage.params, storage.rounding, precision.PARAMS)
    keep_state = keeper(storage.state, storage.rounding, precision.STATE)
    kept = "".join(f"keep_state(s[{k}], seed, t, {k} * size + i), " for k in range(fields))
    state_kept = generate(
        f"def state_kept(s, seed, t, size, i):\n    return State({kept})\n", keep_state=keep_state, State=rule.State
    )

    if not rule.pool:

        @portable
        def moves(x, g, memory, step, widths, h, now, seed, t):
            for i in range(np.uint64(len(x))):
                before = x[i]
                after, s = update(before, g[i], load(memory, i), h, now)
                after = keep(after, seed, t, i)
                store(memory, i, state_kept(s, seed, t, len(x), i))
                step[i] = after - before
                x[i] = after

        return moves

    pool = specialise(rule.pool, dtype)
    load_sum, _, pooled = rows(rule.Pool, 0)

    @portable
    def pooled_moves(x, g, memory, step, widths, h, now, seed, t):
        sums = np.empty((pooled, 1), x.dtype)
        first = 0
        for layer in range(len(widths) - 1):
            for size in (widths[layer] * widths[layer + 1], widths[layer + 1]):  # the weights, then the biases
                sums[:] = sums.dtype.type(0)
                for i in range(first, first + size):
                    terms = pool(x[i], g[i], load(memory, i), h, now)
                    for k in range(pooled):
                        sums[k, 0] += terms[k]
                for k in range(pooled):
                    sums[k, 0] /= x.dtype.type(size)
                mean = load_sum(sums, 0)
                for i in range(np.uint64(first), np.uint64(first + size)):
                    before = x[i]
                    after, s = update(before, g[i], load(memory, i), h, now, mean)
                    after = keep(after, seed, t, i)
                    store(memory, i, state_kept(s, seed, t, len(x), i))
                    step[i] = after - before
                    x[i] = after
                first += size

    return pooled_moves


def _see(rule: Rule, dtype: str) -> Any:
    """f(memory, clock, h, root, rate): root and rate become those of all parameters."""
    if not rule.preconditioner:
        return portable(lambda memory, clock, h, root, rate: None)
    scale = specialise(rule.preconditioner, dtype)
    load, _, _ = rows(rule.State, 0)

    @portable
    def see(memory, clock, h, root, rate):
        for i in range(len(root)):
            root[i], rate[i] = scale(load(memory, i), h, clock)

    return see


@cache
def kernel_for(
    rule: Rule, dtype: str, schedule: str | None, storage: Storage, shown: tuple[str, ...]
) -> tuple[Layout, Any]:
    """The layout of a run's column (a point of no coordinates: parameters have arrays of their own) and the kernel."""
    real: Any = np.dtype(dtype).type
    layout = Layout(rule, 0, schedule is not None)
    net = network(dtype)
    start, gather, forward, loss_of, backward, score = net
    per_step = specialise(rule.per_step, dtype)
    begin, track = specialise(regimes.begin, dtype), specialise(regimes.track, dtype)
    move_all = _moves(rule, dtype, storage)
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
    see, limit_of, eps_of = _see(rule, dtype), instruments.limit_of(rule, dtype), instruments.eps_of(rule)
    sharp, SHARP = "sharpness" in shown, len(names) - 1
    sharpness = of_task(dtype)

    @portable
    def train(
        run, carry, marks, seeds, x, moved, state, fresh, data, labels, val_data, val_labels, widths, kind, batch,
        criteria, minimizers, t0, t1, steps, tail, every, curves, probe, out,
    ):  # fmt: skip
        """One run from step t0 up to t1."""
        size = x.shape[1]
        units = widths.sum()
        n = data.shape[0]
        drawn = batch if batch > 0 else n
        capacity = max(drawn, min(n, 256))
        acts, slopes = np.empty(capacity * units, real), np.empty(capacity * units, real)
        y, g = np.empty(drawn, real), np.empty(size, real)
        before, root, rate = np.empty((3, size if measured else 0), real)
        spare = np.empty((4, size if sharp else 0), real)
        point, step, memory = x[run], moved[run], state[run]
        seed = seeds[run]
        c = load_criteria(criteria, 0)
        if t0 == 0 and fresh:
            start(point, widths, seed)
            for i in range(size):
                point[i] = first_kept(point[i], seed, 0, i)
        for t in range(t0, t1):
            if batch > 0:
                gather(data, labels, batch, seed, t, acts, y)
            else:
                for r in range(n):
                    for j in range(data.shape[1]):
                        acts[r * data.shape[1] + j] = data[r, j]
                    y[r] = labels[r]
            z = forward(point, widths, acts, drawn)
            top = drawn * (units - z.shape[1])
            gap = loss_of(kind, z, y, slopes[top : top + z.size].reshape(z.shape))
            backward(point, widths, acts, slopes, drawn, g)
            slope = np.dot(g, step)
            if t == 0:
                store_figures(carry, run, begin(gap, c))
            f, m = track(t, gap, slope, t >= tail, load_figures(carry, run), load_marks(marks, run), c)
            store_figures(carry, run, f)
            store_marks(marks, run, m)
            recorded = t % every == 0 or t == steps
            if recorded:
                record = (t + every - 1) // every
                curves[0, record, run], curves[1, record, run] = score(
                    kind, point, widths, data, labels, acts, slopes, capacity
                )
                curves[2, record, run], curves[3, record, run] = score(
                    kind, point, widths, val_data, val_labels, acts, slopes, capacity
                )
            if t < steps or measured:
                h = load_hyper(carry, run)
                if scheduled:
                    h = scaled(h, factor(real(t + 1), real(steps), load_schedule(carry, run)))
                clock, now = per_step(real(t + 1), load_clock(carry, run), h)
                store_clock(carry, run, clock)
                if measured and recorded:
                    before[:] = point
                move_all(point, g, memory, step, widths, h, now, seed, t)
                if measured and recorded:
                    see(memory, clock, h, root, rate)
                    seen = Seen(before, g, step, root, rate, minimizers, h.lr, eps_of(h), limit_of(h))
                    measure(seen, out, record, run)
                    if sharp:
                        out[SHARP, record, run] = (
                            sharpness(
                                kind, before, widths, rate, probe[run], seed, data, labels, acts, slopes, capacity,
                                spare,
                            )
                            / h.lr
                        )  # fmt: skip
                if t == steps:  # that step was only looked at
                    point[:] = before

    def kernel(
        carry, marks, seeds, x, moved, state, fresh, data, labels, val_data, val_labels, widths, kind, batch,
        criteria, minimizers, t0, t1, steps, tail, every, curves, probe, out,
    ):  # fmt: skip
        for run in numba.prange(len(seeds)):
            train(
                run, carry, marks, seeds, x, moved, state, fresh, data, labels, val_data, val_labels, widths, kind,
                batch, criteria, minimizers, t0, t1, steps, tail, every, curves, probe, out,
            )  # fmt: skip

    name = f"{rule.name}_task_{dtype}_{schedule}_{storage.params}"
    return layout, cached(numba.njit(parallel=True, error_model="numpy"), kernel, name, digest(kernel, dtype))
