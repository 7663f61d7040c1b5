"""Cause: one explanation of what is wrong, and what all causes need."""

from __future__ import annotations

from typing import NamedTuple

from adamx.watch.scene import NEAR, Scene

CERTAIN, LIKELY, POSSIBLE = 0.9, 0.65, 0.4


class Cause(NamedTuple):
    """One explanation: its name, how sure it is, the evidence, the smallest change that theory names."""

    name: str
    sure: float
    evidence: tuple[str, ...]
    change: str


def follows(scene: Scene, step: int, within: int = NEAR) -> bool:
    """True if the loss went wrong at a step or soon after it."""
    begun = [e.step for e in scene.episodes] + ([scene.broken] if scene.broken is not None else [])
    begun += [scene.early.step] if scene.early else []
    return any(step - 1 <= b <= step + within for b in begun)
