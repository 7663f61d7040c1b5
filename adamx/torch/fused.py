"""Parameters of one dtype on one device that take their steps together, in one launch of the fused kernels."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from adamx.engine.stepper import tiles
from adamx.engine.stepper.clock import clockwork
from adamx.engine.stepper.stepper import LAUNCHERS
from adamx.engine.stepper.tensors import ITEMSIZE, Extents, describe
from adamx.engine.stepper.tiles import Tiling
from adamx.inputs.errors import InputError
from adamx.optimizers import Rule
from adamx.torch import threads


@cache
def reachable(device: str) -> bool:
    """True if there are kernels for a device."""
    if device == "cuda":
        try:
            importlib.import_module("adamx.engine.cuda.device").check()
        except (ImportError, InputError):
            return False
    return device in LAUNCHERS


def fits(param: torch.Tensor) -> bool:
    """True if the kernels can update a parameter."""
    name = str(param.dtype).removeprefix("torch.")
    return name in ITEMSIZE and param.is_contiguous() and reachable(param.device.type)


class Fused:
    """A rule on some parameters.

    Args:
        states: of each parameter, its fields in the order of the rule's State; None is the initial state.
        clock, t: those of the last step.
    """

    def __init__(self, rule: Rule, params: list[torch.Tensor], states: Sequence[Any], h: Any, clock: Any, t: int):
        self.rule, self.params, self.t = rule, params, t
        self.dtype = str(params[0].dtype).removeprefix("torch.")
        device = params[0].device
        self.stream_of = device if device.type == "cuda" else None
        extents = Extents(describe(params, "params"), "params")
        self.tiling = Tiling([p.shape for p in params])
        self.time = clockwork(rule, self.dtype)
        self.numbers = self.time.column(h, clock)
        self.at = np.zeros((2, 0), np.int64)
        launcher = importlib.import_module(LAUNCHERS[device.type]).Launcher
        self.launcher = launcher(rule, self.tiling, self._tiled(states, h), extents.begin)

    def _tiled(self, states: Sequence[Any], h: Any) -> np.ndarray:
        tiled = np.zeros((len(self.tiling.tensors), len(self.rule.State._fields), tiles.TILE), self.dtype)
        for k, start in enumerate(self.rule.initial_state(h)):
            if start != 0:
                tiled[:, k] = start
        if any(state is not None for state in states):
            for p, state, where in zip(self.params, states, self._places(), strict=True):
                if state is not None:
                    for k, field in enumerate(state):
                        flat = np.zeros((where.stop - where.start) * tiles.TILE, self.dtype)
                        flat[: p.numel()] = field.detach().cpu().reshape(-1).numpy()
                        tiled[where, k] = flat.reshape(-1, tiles.TILE)
        return tiled

    def _places(self) -> list[slice]:
        """The tiles of every parameter."""
        ends = np.searchsorted(self.tiling.tensors, np.arange(len(self.params)), "right").tolist()
        return [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]

    def step(self, grads: Sequence[torch.Tensor], h: Any) -> None:
        """Update the parameters by their gradients."""
        grads = [g if g.is_contiguous() else g.contiguous() for g in grads]
        stream = torch.cuda.current_stream(self.stream_of).cuda_stream if self.stream_of else 0
        at = np.array([[p.data_ptr() for p in self.params], [g.data_ptr() for g in grads]])
        if not np.array_equal(at, self.at):
            placed = self.tiling.place(at[0], at[1], ITEMSIZE[self.dtype])
            if placed:
                self.launcher.place(*placed, stream)
            self.at = at
        self.t += 1
        self.time.advance(self.numbers, h, self.t)
        if len(self.tiling.tensors):
            with threads.kept():
                self.launcher.step(self.numbers, stream)
        torch.autograd.graph.increment_version(self.params)

    @property
    def clock(self) -> Any:
        return self.rule.Clock(*map(float, self.time.load_clock(self.numbers, 0)))

    def states(self) -> list[Any]:
        """Copies of the state of every parameter."""
        tiled = self.launcher.read()
        return [
            self.rule.State(
                *(
                    torch.from_numpy(tiled[where, k].reshape(-1)[: p.numel()].copy()).reshape(p.shape).to(p.device)
                    for k in range(tiled.shape[1])
                )
            )
            for p, where in zip(self.params, self._places(), strict=True)
        ]
