"""Slow, obvious oracles: whole training runs in plain Python and NumPy, one at a time."""

from __future__ import annotations

import functools
import math
import operator
from itertools import pairwise

import numpy as np

from adamx import regimes
from adamx.optimizers import rule
from adamx.portable import rng
from adamx.schedules import SCHEDULES


def figures_of(gaps, slopes, criteria, start=None, by=regimes):
    """The figures of a run from its gap and slope at every step, and its gap of all rows at the start.

    `by` is adamx.regimes, or what stands in its place.
    """
    steps = len(gaps) - 1
    f, m = by.begin(gaps[0] if start is None else start, criteria), by.Marks()
    for t, (gap, slope) in enumerate(zip(gaps, slopes, strict=True)):
        f, m = by.track_tail(t, by.tail_start(steps), gap, slope, f, m, criteria)
        f, m = by.track(t, gap, f, m, criteria)
    return {k: float(v) for k, v in {**f._asdict(), **m._asdict()}.items()}


def updates(r, x, g, states, h, now):
    """(x, state) of every coordinate of one tensor after a step of rule r."""
    mean = ()
    if r.pool:
        terms = [r.pool(xi, gi, s, h, now) for xi, gi, s in zip(x, g, states, strict=True)]
        sums = [functools.reduce(operator.add, column) for column in zip(*terms, strict=True)]
        mean = (r.Pool(*(total * (1 / len(x)) for total in sums)),)
    return [r.update(xi, gi, s, h, now, *mean) for xi, gi, s in zip(x, g, states, strict=True)]


def at(h, schedule, t, steps):
    """The hyperparameters at step t; schedule is (name, Schedule) or None."""
    return h._replace(lr=h.lr * SCHEDULES[schedule[0]](float(t), float(steps), schedule[1])) if schedule else h


def landscape(optimizer, p, hyper, steps, seed=0, schedule=None):
    """Losses (steps + 1,), the final point and the figures of one run."""
    losses, slopes, x = path(optimizer, p, hyper, steps, seed, schedule)
    return losses, x, figures_of([v - p.minimum for v in losses.tolist()], slopes, p.criteria)


def path(optimizer, p, hyper, steps, seed=0, schedule=None):
    """Losses (steps + 1,), the slope of every step (steps + 1,) and the final point of one run."""
    r = rule(optimizer)
    h = r.Hyper(**hyper)
    clock = r.initial_clock(h)
    x = tuple(map(float, p.start))
    moved = (0.0,) * p.dim
    states = [r.initial_state(h)] * p.dim
    columns = [p.Params(*map(float, p.params[:, j])) for j in range(p.params.shape[1])]
    losses, slopes = [], []
    for t in range(steps + 1):
        time = (t + 1.0,) * p.online
        if p.separable:
            terms = [p.function(xi, columns[i if len(columns) > 1 else 0], *time) for i, xi in enumerate(x)]
            value, g = terms[0][0], [term[1] for term in terms]
            for term in terms[1:]:
                value = value + term[0]
        else:
            value, g = p.function(x, columns[0], *time)
        if p.objective:
            terms = x if p.separable else (x,)
            value = sum(p.objective(xi, columns[i if len(columns) > 1 else 0]) for i, xi in enumerate(terms))
        if p.noise:
            g = [gi + p.noise * rng.gaussian(*rng.bits(seed, rng.NOISE, t, i)) for i, gi in enumerate(g)]
        losses.append(value)
        slope = g[0] * moved[0]
        for gi, mi in zip(g[1:], moved[1:], strict=True):
            slope = slope + gi * mi
        slopes.append(slope)
        if t == steps:
            break
        h_t = at(h, schedule, t + 1, steps)
        clock, now = r.per_step(t + 1.0, clock, h_t)
        pairs = updates(r, x, g, states, h_t, now)
        if p.bounds:
            pairs = [(min(max(new, p.bounds[0]), p.bounds[1]), s) for new, s in pairs]
        moved = tuple(new - old for (new, _), old in zip(pairs, x, strict=True))
        x, states = tuple(new for new, _ in pairs), [s for _, s in pairs]
    return np.array(losses), slopes, np.array(x)


def _gelu_slope(z):
    normal = np.vectorize(lambda v: (1 + math.erf(v / math.sqrt(2))) / 2, otypes=[float])(z)
    return normal + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


LAYERS = {  # an activation's value, its slope, and the spread of the first weights
    "relu": (lambda z: np.maximum(z, 0), lambda z: z > 0, 2),
    "gelu": (np.vectorize(lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2, otypes=[float]), _gelu_slope, 2),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2, 1),
}


def task(optimizer, p, hyper, steps, seed=0, schedule=None):
    """Minibatch losses (steps + 1,) and final parameters of an Mlp's run, softmax or logistic, by matrix algebra."""
    r = rule(optimizer)
    h = r.Hyper(**hyper)
    clock = r.initial_clock(h)
    size, widths, normed = p.dim, p.model.widths, p.model.norm == "layer"
    value, slope_of, spread = LAYERS[p.model.activation]
    x = np.zeros(size)
    first, layers = 0, []
    for i, (a, b) in enumerate(pairwise(widths)):
        if len(widths) > 2:
            draws = [rng.gaussian(*rng.bits(seed, rng.WEIGHTS, 0, first + j)) for j in range(a * b)]
            x[first : first + a * b] = math.sqrt(spread / a) * np.array(draws)
        layers.append((first, a, b))
        first += (a + 1) * b
        if normed and i < len(widths) - 2:
            x[first : first + b] = 1
            first += 2 * b
    state = r.State(*[np.full(size, start) for start in r.initial_state(h)])
    losses = []
    for t in range(steps + 1):
        picked = [rng.below(len(p.x), seed, rng.ROWS, t, i) for i in range(p.batch)] if p.batch else slice(None)
        data, y = p.x[picked], p.y[picked]
        inputs, sums, normal = [data], [], []
        for o, a, b in layers[:-1]:
            z = inputs[-1] @ x[o : o + a * b].reshape(a, b) + x[o + a * b : o + (a + 1) * b]
            if normed:
                o += (a + 1) * b
                root = np.sqrt(z.var(axis=1, keepdims=True) + 1e-5)
                normal.append(((z - z.mean(axis=1, keepdims=True)) / root, root))
                z = normal[-1][0] * x[o : o + b] + x[o + b : o + 2 * b]
            sums.append(z)
            inputs.append(value(z))
        o, a, b = layers[-1]
        z = inputs[-1] @ x[o : o + a * b].reshape(a, b) + x[o + a * b :]
        if p.loss == "softmax":
            top = z.max(axis=1, keepdims=True)
            log_norm = np.log(np.exp(z - top).sum(axis=1, keepdims=True)) + top
            losses.append(float((log_norm[:, 0] - z[np.arange(len(y)), y.astype(int)]).mean()))
            delta = (np.exp(z - log_norm) - np.eye(z.shape[1])[y.astype(int)]) / len(y)
        else:
            losses.append(float((np.logaddexp(0, z[:, 0]) - y * z[:, 0]).mean()))
            delta = (1 / (1 + np.exp(-z)) - y[:, None]) / len(y)
        g = np.zeros(size)
        for i, (o, a, b) in reversed(list(enumerate(layers))):
            if i < len(layers) - 1:
                delta = delta * slope_of(sums[i])
                if normed:
                    (n, root), gain = normal[i], slice(o + (a + 1) * b, o + (a + 2) * b)
                    g[gain], g[gain.stop : gain.stop + b] = (delta * n).sum(axis=0), delta.sum(axis=0)
                    delta = delta * x[gain]
                    along = (delta * n).mean(axis=1, keepdims=True)
                    delta = (delta - delta.mean(axis=1, keepdims=True) - n * along) / root
            g[o : o + a * b] = (inputs[i].T @ delta).ravel()
            g[o + a * b : o + (a + 1) * b] = delta.sum(axis=0)
            delta = delta @ x[o : o + a * b].reshape(a, b).T
        if t < steps:
            h_t = at(h, schedule, t + 1, steps)
            clock, now = r.per_step(t + 1.0, clock, h_t)
            pairs, o = [], 0
            states = [r.State(*s) for s in zip(*state, strict=True)] or [r.State()] * size
            for n in p.model.tensors:  # a tensor at a time
                pairs += updates(r, x[o : o + n], g[o : o + n], states[o : o + n], h_t, now)
                o += n
            x = np.array([new for new, _ in pairs])
            state = r.State(*np.array([s for _, s in pairs]).T)
    return np.array(losses), x
