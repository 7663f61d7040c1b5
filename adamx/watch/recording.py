"""Recording: a watched training as metrics of an MLflow run, the active one or a new one, and its report beside them.

watch/NAME           curves of all parameters at measured steps (`tape.MEASURES`), the loss and the curvature
watch/groupN/NAME    the same of one parameter group, where there are several

The tag `watch` is "open", and "closed" once the verdict is there: `watch.cause`, `watch.regime`, watch.txt, watch.html;
where something went wrong and a state from before it was kept, `CHECKPOINT` too. `adamx.watch.recorded` reads them.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric

from adamx.watch.page import page
from adamx.watch.scene import Scene
from adamx.watch.tape import CURVATURES, Tape
from adamx.watch.verdict import Verdict

MOST = 1000  # metrics that MLflow takes in one call
PENDING = 500  # metrics that wait to be written together
PAGE, SAID, CHECKPOINT = "watch.html", "watch.txt", "watch_checkpoint.pt"  # artifacts
TABLE, TRIES, PICTURE = "rescue.txt", "rescue.csv", "rescue.html"


class Recording:
    """The metrics that go to MLflow while a training is watched."""

    def __init__(self) -> None:
        active = mlflow.active_run()
        self.own = active is None
        self.run_id = (active or mlflow.start_run()).info.run_id
        self.client = mlflow.MlflowClient()
        self.pending: list[Metric] = []
        self.losses = self.curvatures = 0
        self.client.set_tag(self.run_id, "watch", "open")

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

    def close(self, tape: Tape, verdict: Verdict, checkpoint: Any = None) -> None:
        """Write the rest, the verdict as tags and text, the report and a state; end the run if it was begun here.

        Args:
            checkpoint: the state from before what went wrong (`adamx.torch.Checkpoint`), or None.
        """
        self.flush()
        client, onsets = self.client, Scene(tape).onsets
        tags = {"cause": verdict.cause, "regime": verdict.regime, "first": tape.first, "last": tape.last}
        if checkpoint:
            with tempfile.TemporaryDirectory() as folder:
                checkpoint.write(Path(folder, CHECKPOINT))
                client.log_artifact(self.run_id, str(Path(folder, CHECKPOINT)))
            tags |= {"checkpoint": checkpoint.step, "onset": next(s for s in onsets if s > checkpoint.step)}
        client.log_text(self.run_id, str(verdict), SAID)
        client.log_text(self.run_id, page(tape, verdict).decode(), PAGE)
        for name, value in tags.items():
            if value is not None:
                client.set_tag(self.run_id, f"watch.{name}", value)
        client.set_tag(self.run_id, "watch", "closed")
        if self.own:
            mlflow.end_run()


def rescued(found: Any, run_id: str, client: mlflow.MlflowClient | None = None) -> None:
    """Write a rescue (`adamx.torch.rescue.Rescue`) into a run: its table, all tries, the picture."""
    client = client or mlflow.MlflowClient()
    client.log_text(run_id, str(found), TABLE)
    client.log_text(run_id, found.csv(), TRIES)
    client.log_text(run_id, found.figure().to_html(include_plotlyjs=True, config={"displaylogo": False}), PICTURE)
