"""Tasks from raw data: a fixed shuffled split, features standardised by the training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adamx.inputs.errors import InputError, whole
from adamx.models.mlp import Mlp
from adamx.problems import Task

ROUNDING = 1e-12  # of a column's largest value


def standardised(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """(rows, columns) with mean 0 and deviation 1 in the training rows; what is constant there is 0 in all rows.

    Constant is what varies by no more than rounding: 0.1 in every row has a deviation of 1e-17.
    """
    most = np.abs(x[train]).max(axis=0)
    power = np.frexp(most)[1]
    x = np.ldexp(x, np.where(abs(power) > 400, -power, 0))  # by a power of 2, where squares would not be finite
    mean, spread = x[train].mean(axis=0), x[train].std(axis=0)
    constant = spread <= ROUNDING * np.abs(x[train]).max(axis=0)
    return np.where(constant, 0.0, (x - mean) / np.where(constant, 1.0, spread))


def task(
    x: np.ndarray,
    y: np.ndarray,
    *,
    hidden: int | Sequence[int],
    loss: str,
    batch: int,
    held_out: float,
    target: float,
    activation: str = "relu",
    norm: str = "none",
    standardize: bool = True,
    own: int = 0,
) -> Task:
    """A Task from raw data: a fixed shuffled split, features standardised by the training rows.

    Args:
        hidden: units of the hidden layers, [] for a linear model.
        loss: one of `problem.LOSSES`. Targets of "softmax" are classes 0..k-1, of "logistic" 0 and 1;
            those of "squares" are standardised.
        batch: rows of a minibatch, 0 for all rows every step.
        held_out: share of rows kept for validation, in [0, 1); at least one row if it is above 0.
        target: the training loss that counts as reached.
        activation, norm: of the hidden layers, see `adamx.models.mlp.Mlp`.
        standardize: false takes features and targets as they are.
        own: where not 0, the last so many rows are kept for validation, whatever `held_out` says.
    """
    train, val = (np.arange(len(x) - own), np.arange(len(x) - own, len(x))) if own else split(len(x), held_out)
    if not isinstance(target, (int, float)) or not target > 0:
        raise InputError(f"problem.target is {target!r}: a loss > 0 is needed")
    batch = whole("problem.batch", batch, 0)
    if batch > len(train):
        raise InputError(f"problem.batch is {batch}: at most the {len(train)} training rows, or 0 for all of them")
    if standardize:
        with np.errstate(over="ignore", invalid="ignore"):  # said in words below
            x = standardised(x, train)
            if loss == "squares":
                y = standardised(y[:, None], train)[:, 0]
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("held-out values are beyond all that can be compared with the training rows'")
    outputs = int(y.max()) + 1 if loss == "softmax" else 1
    model = _layers(x.shape[1], hidden, outputs, activation, norm)
    return Task(x[train], y[train], x[val], y[val], model, loss, batch, float(target))


def _layers(features: int, hidden: int | Sequence[int], outputs: int, activation: str, norm: str) -> Mlp:
    """The network; `hidden` may be one number, a list, or empty."""
    units = hidden if isinstance(hidden, Sequence) else [hidden]
    model = Mlp((features, *(whole("problem.hidden", h, 1) for h in units), outputs), activation, norm)
    for name, typed in (("activation", activation), ("norm", norm)):
        if not units and typed != getattr(Mlp, name):
            raise InputError(f"problem.{name} is {typed!r}, and there is no hidden layer: problem.hidden=[32] has one")
    return model


def split(rows: int, held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the training and of the held-out rows: the same for the same numbers.

    Raises:
        InputError: held_out is no share, or leaves no row to train on.
    """
    if isinstance(held_out, bool) or not isinstance(held_out, (int, float)) or not 0 <= held_out < 1:
        raise InputError(f"problem.held_out is {held_out!r}: a share from 0, all rows train, to below 1 is needed")
    cut = max(1, round(held_out * rows)) if held_out else 0
    if cut >= rows:
        raise InputError(f"problem.held_out is {held_out!r}: none of the {rows} rows is left to train on")
    order = np.random.default_rng(0).permutation(rows)
    return order[cut:], order[:cut]
