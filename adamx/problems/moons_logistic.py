"""Logistic regression on 1,000 points of two noisy half moons (scikit-learn's make_moons, noise 0.2).

With `hidden`, a network that can bend around them.
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
    target: float = 0.32,
) -> Task:
    return task(
        *bundled("moons"),
        hidden=hidden,
        loss="logistic",
        activation=activation,
        norm=norm,
        batch=batch,
        held_out=held_out,
        target=target,
    )
