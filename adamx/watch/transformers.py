"""Transformers: a callback that watches the optimizer of a Hugging Face Trainer.

    from adamx.watch.transformers import Watch
    watch = Watch(trainer, every=10)                   # after the Trainer is made
    trainer.train()                                    # the verdict is printed at the end, and is watch.verdict

Callbacks of transformers see no losses but the averages that are logged. Handed the trainer, the watch overrides
`training_step`, as a subclass of Trainer would, and has the loss of every step; and `log`, so that what it measures is
in the Trainer's logs: in `state.log_history`, on the console, in W&B, TensorBoard and MLflow. As one of the
`callbacks=[Watch()]` alone it is told the logged averages, and only callbacks after it see its figures.
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from adamx.inputs.errors import InputError
from adamx.watch.callback import Watches, row

AVERAGED = (
    "Losses are the averages that Trainer logs (every logging_steps): a spike of one step may not show. "
    "Watch(trainer) has the loss of each step."
)


class Watch(Watches, TrainerCallback):
    """A training of transformers that is watched.

    Attributes:
        watches: the watch (`adamx.watch.watch.Watch`), once it has begun. verdict, tape, report: of it.
    """

    def __init__(self, trainer: Any = None, *, log: bool = True, say: bool = True, **options: Any) -> None:
        """Prepare; hooks go on when the training begins, with the step of a checkpoint that it goes on from.

        Args:
            trainer: the Trainer, which is given this callback; None for one that has it among its `callbacks`.
            log: whether what is measured goes to its logs, as `watch/grad_norm` and so on.
            say: whether process 0 prints the verdict at the end.
            options: as in `adamx.watch`: `every`, `target`, `minimum`, `batch`, `mlflow`.
        Raises:
            InputError: no Trainer, an option that the Trainer knows itself; when it begins: an unusable one.
        """
        self._options(options)
        self.log, self.say, self.each = log, say, trainer is not None
        if trainer is None:
            return
        if not all(hasattr(trainer, name) for name in ("training_step", "log", "add_callback")):
            raise InputError(f"trainer is {type(trainer).__name__}: a Trainer of transformers is needed")
        step, write = trainer.training_step, trainer.log

        def training_step(*args: Any, **kwargs: Any) -> Any:
            loss = step(*args, **kwargs)  # its share of the step's, where gradients are accumulated
            self._add(loss)
            return loss

        def log_(logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
            write({**logs, **self._figures(logs)}, *args, **kwargs)

        trainer.training_step, trainer.log = training_step, log_
        trainer.add_callback(self)

    def _figures(self, logs: dict[str, float]) -> dict[str, float]:
        """The last figures, to go with a log of the training's loss."""
        if not (self.log and "loss" in logs and self.watches and self.watches[0].tape.rows):
            return {}
        return row(self.watches[0].tape, "watch")

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        scaler = getattr(optimizer, "scaler", None)
        while type(optimizer).__module__.startswith("accelerate."):  # has torch's own in it
            optimizer = optimizer.optimizer
        self._begin([optimizer], state.global_step, scaler)
        if not self.each:
            self.tape.notes.append(AVERAGED)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._tell()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not self.each and logs and "loss" in logs and not self.watches[0].closed:
            self.watches[0].loss(logs["loss"])
            logs.update(self._figures(logs))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._end()
        if self.say and state.is_world_process_zero:
            print(self._said())
