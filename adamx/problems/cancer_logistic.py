"""Logistic regression on scikit-learn's 569 breast tumours (Wolberg, Street & Mangasarian 1995, UCI)."""

from adamx.inputs.datasets import bundled
from adamx.problems import Task
from adamx.problems._data import task


def build(batch: int = 0, held_out: float = 0.2, target: float = 0.1) -> Task:
    return task(*bundled("breast_cancer"), hidden=(), loss="logistic", batch=batch, held_out=held_out, target=target)
