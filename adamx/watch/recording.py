"""Recording: a watched training as metrics of an MLflow run, the active one or a new one, and its report beside them.

watch/NAME           curves of all parameters at measured steps (`tape.MEASURES`), the loss and the curvature
watch/groupN/NAME    the same of one parameter group, where there are several
"""

from __future__ import annotations

import math
import time

import mlflow
from mlflow.entities import Metric

from adamx.watch.page import page
from adamx.watch.tape import CURVATURES, Tape
from adamx.watch.verdict import Verdict

MOST = 1000  # metrics that MLflow takes in one call
PENDING = 500  # metrics that wait to be written together


class Recording:
    """The metrics that go to MLflow while a training is watched."""

    def __init__(self) -> None:
        active = mlflow.active_run()
        self.own = active is None
        self.run_id = (active or mlflow.start_run()).info.run_id
        self.client = mlflow.MlflowClient()
        self.pending: list[Metric] = []
        self.losses = self.curvatures = 0

    def _add(self, name: str, value: float, step: int) -> None:
        if math.isfinite(value):  # MLflow keeps infinities as numbers that wreck its axes
            self.pending.append(Metric(f"watch/{name}", value, int(time.time() * 1000), step))

    def row(self, tape: Tape) -> None:
        """Take the last measured row of a tape."""
        step = tape.rows[-1]
        for name, values in tape.whole.items():
            self._add(name, values[-1], step)
        if len(tape.parts) > 1:
            for i, part in enumerate(tape.parts):
                for name, values in part.items():
                    self._add(f"group{i}/{name}", values[-1], step)
        for i, lr in enumerate(tape.lr):
            self._add(f"group{i}/lr" if len(tape.lr) > 1 else "lr", lr[-1], step)
        if len(tape.loss) > self.losses:
            self.losses = len(tape.loss)
            self._add("loss", tape.loss[-1], tape.loss_step[-1])
        while self.curvatures < len(tape.curvature_steps):
            for name in CURVATURES:
                at = tape.curvature_steps[self.curvatures]
                self._add(name, tape.curvatures[name][self.curvatures], at)
            self.curvatures += 1
        if len(self.pending) >= PENDING:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        while self.pending:
            self.client.log_batch(self.run_id, self.pending[:MOST])
            del self.pending[:MOST]

    def close(self, tape: Tape, verdict: Verdict) -> None:
        """Write the rest, the verdict as tags and text, and the report; end the run if it was begun here."""
        self.flush()
        self.client.set_tag(self.run_id, "watch.cause", verdict.cause)
        if verdict.regime:
            self.client.set_tag(self.run_id, "watch.regime", verdict.regime)
        self.client.log_text(self.run_id, str(verdict), "watch.txt")
        self.client.log_text(self.run_id, page(tape, verdict).decode(), "watch.html")
        if self.own:
            mlflow.end_run()
