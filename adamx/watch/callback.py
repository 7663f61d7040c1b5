"""Callback: what the callbacks for `lightning` and `transformers` share: a watch for each of their optimizers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from adamx.inputs.errors import InputError, unknown
from adamx.watch.tape import MEASURES, Tape
from adamx.watch.verdict import Verdict
from adamx.watch.watch import Watch as One

ALLOWED = ("every", "target", "minimum", "batch", "mlflow")  # step and scaler are the trainer's own


class Watches:
    """Some optimizers that are watched.

    Attributes:
        watches: a watch for each, once the training has begun.
    """

    watches: list[One]

    def _options(self, options: dict[str, Any]) -> None:
        """Keep the options of the watches that will be; an unknown one is said now and not in the training."""
        for name in options:
            if name not in ALLOWED:
                raise unknown("option of the watch", name, {*ALLOWED, "log", "say"})
        self.options, self.watches, self.losses = options, [], None
        self.written: list[int] = []

    def _begin(self, optimizers: list[Any], step: int, scaler: Any) -> None:
        """Watch anew: hooks go on the optimizers."""
        self._end()
        if len(optimizers) > 1 and self.options.get("mlflow"):
            raise InputError(f"mlflow=True with {len(optimizers)} optimizers: their curves have the same names there")
        self.losses = None
        self.watches = [One(optimizer, step=step, scaler=scaler, **self.options) for optimizer in optimizers]
        self.written = [0] * len(optimizers)

    def _add(self, loss: Any) -> None:
        """Take the loss of one minibatch, by its share in that of the next step; it stays where it is."""
        loss = loss.detach()
        self.losses = loss if self.losses is None else self.losses + loss

    def _tell(self, which: int = 0) -> None:
        """A step comes: its loss is complete."""
        if self.losses is not None and not self.watches[which].closed:
            self.watches[which].loss(self.losses)
        self.losses = None

    def _end(self) -> None:
        for watch in self.watches:
            watch.close()

    def _rows(self) -> dict[str, float]:
        """What was measured since the last call, as metrics: the last row of each watch that has a new one."""
        found: dict[str, float] = {}
        for i, watch in enumerate(self.watches):
            if len(watch.tape.rows) > self.written[i]:
                self.written[i] = len(watch.tape.rows)
                found |= row(watch.tape, f"watch/optimizer{i}" if len(self.watches) > 1 else "watch")
        return found

    @property
    def verdict(self) -> Verdict:
        """The verdict on the training so far; with several optimizers, `watches[i].verdict` is each one's.

        Raises:
            InputError: there are several, or the training has not begun.
        """
        return self._one().verdict

    @property
    def tape(self) -> Tape:
        """All that was seen, likewise."""
        return self._one().tape

    def report(self, path: str | Path = "watch.html") -> Path:
        """Write verdict and curves as one HTML page, likewise; its path."""
        return self._one().report(path)

    def _one(self) -> One:
        if not self.watches:
            raise InputError("the training has not begun: nothing was watched yet")
        if len(self.watches) > 1:
            raise InputError(f"{len(self.watches)} optimizers are watched: see watches[0] to [{len(self.watches) - 1}]")
        return self.watches[0]

    def _said(self) -> str:
        """The verdicts, to be printed at the end."""
        if len(self.watches) == 1:
            return f"adamx.watch: {self.watches[0].verdict}"
        return "\n".join(f"adamx.watch, optimizer {i}: {w.verdict}" for i, w in enumerate(self.watches))


def row(tape: Tape, prefix: str) -> dict[str, float]:
    """The last measured row of a tape as finite metrics."""
    return {f"{prefix}/{n}": tape.whole[n][-1] for n in MEASURES if math.isfinite(tape.whole[n][-1])}
