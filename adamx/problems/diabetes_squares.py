"""Least squares on the 442 diabetes patients of Efron et al. 2004, "Least angle regression", Ann. Stat. 32(2)."""

from adamx.datasets import bundled, task
from adamx.problem import Task


def build(batch: int = 0, held_out: float = 0.2, target: float = 0.26) -> Task:
    return task(*bundled("diabetes"), hidden=(), loss="squares", batch=batch, held_out=held_out, target=target)
