"""Watch: somebody's own training, from the moment it is wrapped until it is closed.

    with adamx.watch(optimizer, loss=closure, every=10) as w:
        for batch in loader:
            ...
            w.loss(loss)
    print(w.verdict)

What an optimizer does is measured by the probe of its library (`adamx.torch.probe`) and written on a `Tape`, from
which `verdict` reads. Neither changes the training.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adamx.inputs.errors import InputError, whole
from adamx.watch.live import SMOOTHED, Live
from adamx.watch.tape import Event, Tape
from adamx.watch.verdict import Verdict, judge

RARELY = 10  # curvature: at one of so many measured steps


class Watch:
    """A training that is watched.

    Attributes:
        tape: all that has been seen. closed: whether the hooks are off.
    """

    def __init__(
        self,
        optimizer: Any,
        loss: Callable[[], Any] | None = None,
        *,
        every: int = 10,
        curvature: int | None = None,
        target: float | None = None,
        minimum: float = 0.0,
        batch: int = SMOOTHED,
        step: int = 0,
        scaler: Any = None,
        mlflow: bool = False,
    ) -> None:
        """Begin to watch.

        Args:
            optimizer: any torch.optim.Optimizer, `adamx.torch.Optimizer` among them.
            loss: computes the loss of the present batch anew, for the curvature; None leaves it out.
            every: steps between measurements. curvature: between those of the curvature; default 10 times `every`.
            target: the loss that counts as reached; default a hundredth of the first. minimum: the least possible.
            batch: 0 says that the loss is of all data, and not of a minibatch.
            step: the steps that the training had made before, for one that goes on from a checkpoint.
            scaler: torch's GradScaler, so that the steps it skips are counted.
            mlflow: whether to write into the active run of MLflow, or a new one.
        Raises:
            InputError: something else.
        """
        self.tape = Tape(every=whole("every", every, 1), first=whole("step", step, 0) + 1, exact=batch == 0)
        rarely = whole("curvature", RARELY * every if curvature is None else curvature, 1)
        self._live = Live(target, whole("batch", batch, 0), minimum)
        self._before: bool | None = None  # True if losses are told before their steps
        probe = importlib.import_module("adamx.torch.probe").Probe
        self.probe = probe(optimizer, self.tape, every, loss, rarely, scaler)
        self.probe.measured = self._measured
        self.recording = importlib.import_module("adamx.watch.recording").Recording() if mlflow else None
        self.probe.attach()
        self.closed = False

    def _measured(self) -> None:
        if self.recording:
            self.recording.row(self.tape)

    def __enter__(self) -> Watch:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks off; what was seen stays."""
        if not self.closed:
            self.closed = True
            self.probe.detach()
            if self.recording:
                self.recording.close(self.tape, self.verdict)

    def checkpoint(self, every: int, keep: int = 3) -> None:
        """From now on keep the last `keep` states: copies of parameters and optimizer, of every `every`-th step.

        `checkpoints` has them; buffers of modules, such as those of BatchNorm, are not among them.
        """
        self._open()
        self.probe.keep(whole("every", every, 1), whole("keep", keep, 1))

    @property
    def checkpoints(self) -> list[Any]:
        """The states that are kept, oldest first: (step, params, state); `load(optimizer)` goes back to one."""
        return list(self.probe.ring)

    def report(self, path: str | Path = "watch.html") -> Path:
        """Write the verdict and all curves as one HTML page; its path."""
        page = importlib.import_module("adamx.watch.page").page
        file = Path(path)
        if file.suffix != ".html" or not file.parent.is_dir():
            raise InputError(f"path is {str(path)!r}: an .html file in a folder that exists is needed")
        file.write_bytes(page(self.tape, self.verdict))
        return file

    def _open(self) -> None:
        if self.closed:
            raise InputError("this watch is closed: begin a new one with adamx.watch(optimizer)")

    def loss(self, value: Any) -> None:
        """Tell the loss of the present step, before it or after: as early in every step as in the first.

        Args:
            value: a number, or a scalar tensor, which is read at once.
        Raises:
            InputError: it is no single number, or the watch is closed.
        """
        self._open()
        try:
            number = float(value.detach() if hasattr(value, "detach") else value)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"loss is {type(value).__name__}: a number or a tensor of one element is needed") from None
        tape = self.tape
        if self._before is None:
            self._before = tape.steps == 0
        step = tape.last + 1 if self._before else tape.last
        self.probe.scaled()
        tape.loss_step.append(step)
        tape.loss.append(number)
        finite = number - number == 0
        if not finite and not any(e.kind == "nonfinite" for e in tape.events):
            tape.events.append(Event(step, "nonfinite", f"the loss is {number} at step {step}"))
        if self._live.see(step, number) or not finite:
            self.probe.notice()
        tape.spikes = self._live.spikes
        tape.regime = None

    @property
    def regime(self) -> str | None:
        """The regime of the loss so far (`adamx.regimes`); None where no loss was told."""
        return self._live.regime

    @property
    def verdict(self) -> Verdict:
        """The verdict from all that was seen so far."""
        self.tape.regime = self.regime
        return judge(self.tape)
