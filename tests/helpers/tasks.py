"""Tasks small enough for Numba's simulator."""

import numpy as np

from adamx.models.mlp import Mlp
from adamx.problems import Task


def task(loss="softmax", hidden=(), batch=5, features=3, rows=11, **kind):
    """A small task with numbers drawn at random; no size is a multiple of another."""
    rng = np.random.default_rng(0)
    outputs = 3 if loss == "softmax" else 1
    x, val_x = rng.normal(size=(rows, features)), rng.normal(size=(4, features))
    y, val_y = (
        rng.normal(size=n) if loss == "squares" else rng.integers(max(outputs, 2), size=n) * 1.0 for n in (rows, 4)
    )
    return Task(x, y, val_x, val_y, Mlp((features, *hidden, outputs), **kind), loss, batch, target=0.01)
