"""A ReLU network, or another, on scikit-learn's 1,797 digits of 8x8 pixels (Alpaydin & Kaynak 1998, UCI)."""

from collections.abc import Sequence

from adamx.inputs.datasets import bundled
from adamx.problems import Task
from adamx.problems._data import task


def build(
    hidden: Sequence[int] = (32,),
    activation: str = "relu",
    norm: str = "none",
    batch: int = 128,
    held_out: float = 0.2,
    target: float = 0.1,
) -> Task:
    return task(
        *bundled("digits"),
        hidden=hidden,
        loss="softmax",
        activation=activation,
        norm=norm,
        batch=batch,
        held_out=held_out,
        target=target,
    )
