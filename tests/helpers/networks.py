"""Networks small enough to be differentiated by hand: the kernels' functions in plain Python, and torch's layers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from adamx.engine.kernels.arguments import Model
from adamx.engine.kernels.curvature import curvature
from adamx.engine.kernels.walk import Draw, Rows, walking
from adamx.models import Scratch, Tangents
from adamx.models.mlp import Mlp
from adamx.portable.team import ALONE
from adamx.portable.unroll import offsets
from adamx.problems import LOSSES, Task

EPS = 1e-5  # of torch.nn.LayerNorm
ROWS, FEATURES = 13, 6


def made(hidden, loss, activation="relu", norm="none"):
    """A task of 13 rows drawn at random."""
    random = np.random.default_rng(0)
    outputs = 3 if loss == "softmax" else 1
    y = random.integers(0, max(outputs, 2), ROWS).astype(float)
    model = Mlp((FEATURES, *hidden, outputs), activation, norm)
    return Task(random.normal(size=(ROWS, FEATURES)), y, np.ones((1, FEATURES)), np.ones(1), model, loss, 0, 0.1)


def empty(count):
    return np.full(count, np.nan)


def group(p):
    """A task's model as the kernels have it."""
    sizes = np.array(p.model.sizes), np.array(offsets(*p.model.tensors))
    return Model(*sizes, *p.model.row, p.model.outputs, LOSSES.index(p.loss))


def scratch_of(p, capacity):
    """Scratch that holds no number."""
    row = p.model.row
    rows = np.empty(capacity, np.int64)
    return Scratch(capacity, empty(capacity * row.acts), empty(capacity * row.slopes), rows, empty(p.dim))


def value_and_grad(p, x, capacity=ROWS):
    """By the kernels' functions in plain Python, so many rows at a time."""
    g, walk = empty(p.dim), walking(p.model.kind, "float64", ALONE)
    value, _ = walk(x, group(p), Rows(p.x, p.y), Draw(0, 0, 0), True, scratch_of(p, capacity), g)
    return value, g


def product(p, x, u, capacity=ROWS):
    """H u in the same way."""
    row, out = p.model.row, empty(p.dim)
    tangents = Tangents(empty(capacity * row.tangents), empty(capacity * row.slopes), empty(p.dim))
    times = curvature(p.model.kind, "float64", ALONE)
    times(x, u, group(p), Rows(p.x, p.y), scratch_of(p, capacity), tangents, out)
    return out


def loss_in_torch(p, x):
    """The mean loss of an Mlp on a task's rows, by torch's own layers."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    h, y, at = torch.tensor(p.x), torch.tensor(p.y), 0

    def take(*shape):
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return x[at - count : at].reshape(shape)

    for i, (a, b) in enumerate(itertools.pairwise(p.model.widths)):
        h = functional.linear(h, take(a, b).T, take(b))
        if i < len(p.model.widths) - 2:
            if p.model.norm == "layer":
                h = functional.layer_norm(h, (b,), take(b), take(b), EPS)
            h = {"relu": torch.relu, "tanh": torch.tanh, "gelu": functional.gelu}[p.model.activation](h)
    assert at == len(x)
    if p.loss == "softmax":
        return functional.cross_entropy(h, y.long())
    h = h[:, 0]
    return (functional.softplus(h) - y * h if p.loss == "logistic" else (h - y) ** 2 / 2).mean()
