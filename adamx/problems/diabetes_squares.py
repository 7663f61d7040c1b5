"""Least squares on the 442 diabetes patients of Efron et al. 2004, "Least angle regression", Ann. Stat. 32(2).

Linear by default, which makes the loss a quadratic; with problem.hidden=[32] a ReLU network.
"""

from collections.abc import Sequence

from adamx.inputs.datasets import bundled
from adamx.problems import Task
from adamx.problems._data import task


def build(
    hidden: Sequence[int] = (),
    activation: str = "relu",
    norm: str = "none",
    batch: int = 0,
    held_out: float = 0.2,
    target: float = 0.26,
) -> Task:
    return task(
        *bundled("diabetes"),
        hidden=hidden,
        loss="squares",
        activation=activation,
        norm=norm,
        batch=batch,
        held_out=held_out,
        target=target,
    )
