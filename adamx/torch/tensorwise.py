"""Parameters that no kernel reaches, one after another by torch's own functions: half precision, other devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from adamx.engine.stepper.clock import clockwork
from adamx.engine.tensorized import library, on_arrays
from adamx.optimizers import Rule


class Tensorwise:
    """A rule on some parameters; the arguments are those of Fused.

    The state of parameters in half precision is float32, and the update is computed in it and rounded once.
    """

    def __init__(self, rule: Rule, params: list[torch.Tensor], states: Sequence[Any], h: Any, clock: Any, t: int):
        self.rule, self.params, self.t = rule, params, t
        self.dtype = precise(params[0].dtype)
        self.on = on_arrays(rule, library("torch", str(self.dtype).removeprefix("torch.")))
        self.time = clockwork(rule, "float64")
        self.numbers = self.time.column(h, clock)
        start = rule.initial_state(h)
        self._states = [
            rule.State(*(self._full(p, f) for f in start))
            if s is None
            else rule.State(*(f.to(p.device, self.dtype, copy=True) for f in s))
            for p, s in zip(params, states, strict=True)
        ]

    def _full(self, p: torch.Tensor, value: Any) -> torch.Tensor:
        """A field of state as a tensor of its own."""
        if isinstance(value, torch.Tensor):
            return value
        return torch.full(p.shape, float(value), dtype=self.dtype, device=p.device)

    def step(self, grads: Sequence[torch.Tensor], h: Any) -> None:
        self.t += 1
        self.time.advance(self.numbers, h, self.t)
        now = self.time.load_now(self.numbers, 0)
        now = type(now)(*map(float, now))
        for i, (p, g) in enumerate(zip(self.params, grads, strict=True)):
            x, state = self.on.step(p.to(self.dtype), g.to(self.dtype), self._states[i], h, now)
            self._states[i] = self.rule.State(*(self._full(p, field) for field in state))
            p.copy_(x)

    @property
    def clock(self) -> Any:
        return self.rule.Clock(*map(float, self.time.load_clock(self.numbers, 0)))

    def states(self) -> list[Any]:
        return self._states


def precise(dtype: torch.dtype) -> torch.dtype:
    """The dtype that a parameter's state has."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32
