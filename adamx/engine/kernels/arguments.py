"""Arguments: what a kernel is given, in groups that are the same on every backend.

A kernel of a landscape takes (runs, constants, curves, times), one of a task (runs, data, model, curves, times), and on
a GPU a place to work; `times` are of a launch (`chunk.Times`). The groups are flat: Numba hands no nested ones to a
parallel loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class LandscapeRuns(NamedTuple):
    """Numbers kept between launches: carry and marks (rows of the layout, runs); seeds (runs,) int64."""

    carry: Any
    marks: Any
    seeds: Any


class Constants(NamedTuple):
    """Constants of a landscape and of its judgement.

    params (fields, coordinates or 1), criteria (fields, 1), minimum and noise (1,), minimizers (points, coordinates).
    """

    params: Any
    criteria: Any
    minimum: Any
    noise: Any
    minimizers: Any


class LandscapeCurves(NamedTuple):
    """Arrays that a kernel fills.

    loss (records, runs), final (runs, coordinates), shown (curves of instruments, records, runs).
    """

    loss: Any
    final: Any
    shown: Any


class TaskRuns(NamedTuple):
    """Numbers kept between launches.

    fresh (runs,) bool: whether x is to be drawn; x and moved (runs, parameters); state (runs, fields * parameters); the
    rest is as in `LandscapeRuns`.
    """

    carry: Any
    marks: Any
    seeds: Any
    fresh: Any
    x: Any
    moved: Any
    state: Any


class Data(NamedTuple):
    """Rows and how they are used.

    x (rows, features), y (rows,); val_x, val_y the held-out ones; batch: rows of a minibatch, 0 for all; criteria
    (fields, 1); minimizers (0, 0): none is known.
    """

    x: Any
    y: Any
    val_x: Any
    val_y: Any
    batch: Any
    criteria: Any
    minimizers: Any


class Model(NamedTuple):
    """The sizes of a model, of `adamx.models.Family`, and its loss.

    sizes and tensors are int64: what its functions are given, and where each tensor begins in the parameters, then
    their number. acts, slopes, tangents: numbers a row, as in `Row`. outputs: a row; loss: a position in `LOSSES`.
    """

    sizes: Any
    tensors: Any
    acts: Any
    slopes: Any
    tangents: Any
    outputs: Any
    loss: Any


class TaskCurves(NamedTuple):
    """Arrays that a kernel fills.

    scores (4, records, runs): loss, accuracy, val_loss, val_accuracy; shown is as in `LandscapeCurves`.
    """

    scores: Any
    shown: Any
