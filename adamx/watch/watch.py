"""Watch: somebody's own training in torch, from the moment it is wrapped until it is closed.

    with adamx.watch(optimizer, loss=closure, every=10) as w:
        for batch in loader:
            ...
            w.loss(loss)
    print(w.verdict)

What an optimizer does is measured by `adamx.torch.probe`, which changes nothing of the training; `seen` has the rest.
`adamx.optax.watch` is the same for optax, and `lightning` and `transformers` have callbacks.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from adamx.inputs.errors import whole
from adamx.watch.live import SMOOTHED
from adamx.watch.scene import Scene
from adamx.watch.seen import Seen

RARELY = 10  # curvature: at one of so many measured steps


class Watch(Seen):
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
            mlflow: whether to write into the active run of MLflow, or a new one; of several processes the first does.
        Raises:
            InputError: something else.
        """
        super().__init__(every=every, target=target, minimum=minimum, batch=batch, step=step)
        rarely = whole("curvature", RARELY * every if curvature is None else curvature, 1)
        self._before: bool | None = None  # True if losses are told before their steps
        probe = importlib.import_module("adamx.torch.probe").Probe
        self.probe = probe(optimizer, self.tape, every, loss, rarely, scaler)
        self.probe.measured = self._measured
        first = importlib.import_module("adamx.torch.shards").process()[0] == 0
        self._record(mlflow and first)  # an optimizer that cannot be watched leaves no run behind
        self.probe.attach()

    def close(self) -> None:
        """Take the hooks off; what was seen stays."""
        if not self.closed:
            self.probe.detach()
        super().close()

    def checkpoint(self, every: int, keep: int = 3) -> None:
        """From now on keep the last `keep` states: copies of parameters and optimizer, of every `every`-th step.

        Besides these the state from before the first spike stays. `checkpoints` has them; buffers of modules, such as
        those of BatchNorm, are not among them. With MLflow, `before_spike` is in the run's record.
        """
        self._open()
        ring = importlib.import_module("adamx.torch.checkpoint").Ring
        self.probe.ring = ring(whole("every", every, 1), whole("keep", keep, 1))

    @property
    def checkpoints(self) -> list[Any]:
        """The states that are kept, oldest first (`adamx.torch.Checkpoint`); `load(optimizer)` goes back to one."""
        return self.probe.ring.all if self.probe.ring else []

    @property
    def before_spike(self) -> Any:
        """The kept state from which a rescue begins: before the loss went wrong; None where there is none."""
        before = importlib.import_module("adamx.torch.checkpoint").before
        found = (before(self.checkpoints, step) for step in Scene(self.tape).onsets)
        return next(filter(None, found), None)

    def loss(self, value: Any) -> None:
        """Tell the loss of the present step, before it or after: as early in every step as in the first.

        Args:
            value: a number, or a scalar tensor, which is read at once.
        Raises:
            InputError: it is no single number, or the watch is closed.
        """
        self._open()
        tape = self.tape
        if self._before is None:
            self._before = tape.steps == 0
        self.probe.scaled()
        if self._tell(tape.last + 1 if self._before else tape.last, value):
            self.probe.notice(tape.loss_step[-1])
