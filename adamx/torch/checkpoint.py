"""Checkpoint: a training as it was after a step, kept in memory in a ring, and as a file that holds no code."""

from __future__ import annotations

import copy
import pickle
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adamx.inputs.errors import InputError
from adamx.torch.shards import is_sharded

MARGIN = 20  # steps before a spike that a run needs from its checkpoint on, for a level that the spike leaves


@dataclass(frozen=True, repr=False)
class Checkpoint:
    """A training as it was after a step.

    Attributes:
        step: its number. params: copies of the parameters, in the optimizer's order. state: of its state_dict.
        kind: the optimizer's class where that is one of torch.optim, else "".
    """

    step: int
    params: list[Any]
    state: dict[str, Any]
    kind: str = ""

    @classmethod
    @torch.no_grad()
    def of(cls, step: int, optimizer: torch.optim.Optimizer) -> Checkpoint:
        """Copies of all that an optimizer and its parameters are."""
        params = [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]
        kind = type(optimizer).__name__
        known = getattr(torch.optim, kind, None) is type(optimizer)
        return cls(step, params, copy.deepcopy(optimizer.state_dict()), kind if known else "")

    @property
    def names(self) -> list[str]:
        """Of each parameter its name, where the optimizer was made from `named_parameters()`; else its number."""
        said = [name for group in self.state["param_groups"] for name in group.get("param_names", ())]
        return said if len(said) == len(self.params) else [str(i) for i in range(len(self.params))]

    @property
    def whole(self) -> bool:
        """False where parameters are sharded, and this is one process's part of the training."""
        return not any(map(is_sharded, self.params))

    @torch.no_grad()
    def load(self, optimizer: torch.optim.Optimizer) -> None:
        """Set an optimizer and its parameters back to it."""
        for p, saved in zip((p for g in optimizer.param_groups for p in g["params"]), self.params, strict=True):
            p.copy_(saved)
        optimizer.load_state_dict(copy.deepcopy(self.state))

    def write(self, path: Path) -> None:
        """Write it to a file."""
        torch.save({"step": self.step, "params": self.params, "state": self.state, "kind": self.kind}, path)

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """The checkpoint in a file, which is read as numbers: nothing in it runs.

        Raises:
            InputError: it cannot be read, or is something else.
        """
        try:
            return cls(**torch.load(path, map_location="cpu", weights_only=True))
        except OSError as error:
            raise InputError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
        except (pickle.UnpicklingError, RuntimeError, TypeError, EOFError):
            raise InputError(f"{str(path)!r} is no checkpoint of a watch") from None


class Ring:
    """The last checkpoints, and the one from before the first spike.

    Args:
        every: steps between them. keep: how many.
    """

    def __init__(self, every: int, keep: int) -> None:
        self.every = every
        self.last: deque[Checkpoint] = deque(maxlen=keep)
        self.held: Checkpoint | None = None

    def see(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """A step was made."""
        if step % self.every == 0:
            self.last.append(Checkpoint.of(step, optimizer))

    def hold(self, step: int) -> None:
        """A spike begins: keep the state from before it, whatever comes later; of the first spike alone."""
        self.held = self.held or before(list(self.last), step)

    @property
    def all(self) -> list[Checkpoint]:
        """Those that are kept, oldest first."""
        held = [self.held] if self.held and all(c.step != self.held.step for c in self.last) else []
        return [*held, *self.last]


def before(some: Sequence[Checkpoint], step: int) -> Checkpoint | None:
    """Of checkpoints, oldest first, the last by `MARGIN` before a step; where none is, the oldest before it."""
    earlier = [c for c in some if c.step < step]
    far = [c for c in earlier if c.step <= step - MARGIN]
    return far[-1] if far else earlier[0] if earlier else None
