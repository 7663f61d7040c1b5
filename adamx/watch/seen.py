"""Seen: what has been seen of a training, whatever its library: the tape, the losses told, verdict, report and record.

What an optimizer does is measured in its own library (`adamx.torch.probe`, `adamx.optax.figures`) and written on the
tape; here is the rest of a watch.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from adamx.inputs.errors import InputError, real, whole
from adamx.watch.live import SMOOTHED, Live
from adamx.watch.tape import Event, Tape
from adamx.watch.verdict import Verdict, judge


class Seen:
    """A training as far as it has been seen.

    Attributes:
        tape: all of it. closed: whether it is over. recording: its run in MLflow, or None.
    """

    def __init__(
        self,
        *,
        every: int = 10,
        target: float | None = None,
        minimum: float = 0.0,
        batch: int = SMOOTHED,
        step: int = 0,
        mlflow: bool = False,
    ) -> None:
        """Begin; the arguments are those of `adamx.watch.watch.Watch`."""
        self.tape = Tape(every=whole("every", every, 1), first=whole("step", step, 0) + 1, exact=batch == 0)
        target = None if target is None else real("target", target)
        self._live = Live(target, whole("batch", batch, 0), real("minimum", minimum))
        self._record(mlflow)
        self.closed = False

    def _record(self, mlflow: bool) -> None:
        """Begin to write to MLflow if it is asked for."""
        self.recording = importlib.import_module("adamx.watch.recording").Recording() if mlflow else None

    def _measured(self) -> None:
        """A row was added to the tape."""
        if self.recording:
            self.recording.row(self.tape)

    def _tell(self, step: int, value: Any) -> bool:
        """Take the loss of a step; whether it is unusual: a spike begins, or it is not finite.

        Raises:
            InputError: it is no single number.
        """
        try:
            number = float(value.detach() if hasattr(value, "detach") else value)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"loss is {type(value).__name__}: a number or a tensor of one element is needed") from None
        tape = self.tape
        tape.loss_step.append(step)
        tape.loss.append(number)
        finite = number - number == 0
        if not finite and not any(e.kind == "nonfinite" for e in tape.events):
            tape.events.append(Event(step, "nonfinite", f"the loss is {number} at step {step}"))
        unusual = self._live.see(step, number) or not finite
        tape.spikes = self._live.spikes
        tape.regime = None
        return unusual

    def _open(self) -> None:
        if self.closed:
            raise InputError("this watch is closed: begin a new one with adamx.watch(optimizer)")

    def __enter__(self) -> Any:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """See no more; what was seen stays, and is written to MLflow if it was asked for."""
        if not self.closed:
            self.closed = True
            if self.recording:
                saved = self.before_spike
                self.recording.close(self.tape, self.verdict, saved if saved and saved.whole else None)

    @property
    def before_spike(self) -> Any:
        """The kept state from before the loss went wrong; None where none is kept."""
        return None

    @property
    def regime(self) -> str | None:
        """The regime of the loss so far (`adamx.regimes`); None where no loss was told."""
        return self._live.regime

    @property
    def verdict(self) -> Verdict:
        """The verdict from all that was seen so far."""
        self.tape.regime = self.regime
        return judge(self.tape)

    def report(self, path: str | Path = "watch.html") -> Path:
        """Write the verdict and all curves as one HTML page; its path."""
        page = importlib.import_module("adamx.watch.page").page
        file = Path(path)
        if file.suffix != ".html" or not file.parent.is_dir():
            raise InputError(f"path is {str(path)!r}: an .html file in a folder that exists is needed")
        file.write_bytes(page(self.tape, self.verdict))
        return file
