"""Lightning: a callback that watches the optimizers of a Trainer.

    from adamx.watch.lightning import Watch
    watch = Watch(every=10)
    Trainer(callbacks=[watch]).fit(model, loader)      # the verdict is printed at the end, and is watch.verdict

It is for `lightning` and `pytorch_lightning`, with automatic and manual optimization.
"""

from __future__ import annotations

from typing import Any

from adamx.watch.callback import Watches

try:
    from lightning.pytorch import Callback
except ImportError:
    from pytorch_lightning import Callback


class Watch(Watches, Callback):
    """A training of Lightning that is watched.

    The loss of a step is what is handed to backward before it, summed over the minibatches whose gradients it
    accumulates; it is read at every step. Under manual optimization `self.manual_backward(loss)` tells it, and each
    optimizer has a watch and the losses before its own steps.

    Attributes:
        watches: one for each optimizer (`adamx.watch.watch.Watch`). verdict, tape: of the only one. report: likewise.
    """

    def __init__(self, *, log: bool = True, say: bool = True, **options: Any) -> None:
        """Prepare; hooks go on when the training starts, with the step of a checkpoint that it goes on from.

        Args:
            log: whether what is measured goes to the Trainer's loggers, as `watch/grad_norm` and so on.
            say: whether process 0 prints the verdict at the end.
            options: as in `adamx.watch`: `every`, `target`, `minimum`, `batch`, `mlflow`.
        Raises:
            InputError: an option that the Trainer knows itself; when it starts: an unusable one.
        """
        super().__init__()
        self._options(options)
        self.log, self.say = log, say

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        optimizers = trainer.optimizers
        self.scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._begin(optimizers, trainer.global_step // max(1, len(optimizers)), self.scaler)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        self._add(loss if self.scaler is None else loss / self.scaler.get_scale())

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        for i, watch in enumerate(self.watches):
            if watch.probe.optimizer is optimizer:
                self._tell(i)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.log and trainer.loggers and (metrics := self._rows()):
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._end()
        if self.say and trainer.is_global_zero:
            print(self._said())

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._end()
