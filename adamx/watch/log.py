"""Log: a training from its log alone, a CSV file with a column of losses.

Understood are a bare column of numbers; tables with a header, as W&B (`Step, RUN - train/loss, RUN - train/loss__MIN`)
and TensorBoard (`Wall time, Step, Value`) export them; and the long form of MLflow's metrics (`key, value, step`).
Besides the loss are used: the step, the lr, the norm of the gradient.
"""

from __future__ import annotations

import gzip
import re
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from adamx.inputs.errors import InputError, unknown
from adamx.inputs.tables import read_table
from adamx.watch.causes import Cause
from adamx.watch.live import Live
from adamx.watch.scene import Scene
from adamx.watch.tape import Event, Tape
from adamx.watch.verdict import Verdict, judge

STEP = ("step", "_step", "global_step", "trainer/global_step", "iteration", "iter", "epoch")
LR = ("lr", "learning_rate", "train/learning_rate", "train/lr", "lr-adam", "lr-adamw")
NORM = ("grad_norm", "gradient_norm", "train/grad_norm", "gnorm")
NOT_TRAINING = re.compile(r"(^|[^a-z])(val|valid|validation|eval|test|dev)([^a-z]|$)")
NAN = re.compile(r"(^|[,;|\t\s])-?nan([,;|\t\s]|$)")
KEY, RUN = ("key", "metric"), ("run_id", "run id")  # of MLflow's long form
RANGES = ("__min", "__max")  # W&B writes them beside each column
HINT = 0.3  # a cause that the loss alone suggests: below what is named as the cause


def read(path: Path, loss: str | None = None) -> Tape:
    """The tape of a log.

    Args:
        loss: the column (or MLflow's key) to read; None where there is one that can be meant.
    Raises:
        InputError: no such file, no numbers, or several columns that could be the loss.
    """
    columns = _columns(path, loss)
    name = _loss(columns, loss)
    values = columns[name]
    kept = ~np.isnan(values) | _rows_with_nan(path, len(values))
    steps = _named(columns, STEP)
    x = np.arange(1, len(values) + 1) if steps is None else steps
    kept &= np.isfinite(x)
    order = np.argsort(x[kept], kind="stable")
    x, values = x[kept][order], values[kept][order]
    if not len(values):
        raise InputError(f"{path}: the column {name!r} has no numbers")
    tape = Tape(first=int(x[0]), exact=False)
    tape.loss_step, tape.loss = array("q", map(int, x)), array("d", values)
    tape.steps = int(x[-1]) - int(x[0]) + 1
    for target, names in (("lr", LR), ("norm", NORM)):
        found = _named(columns, names)
        dense = np.full(tape.steps, np.nan)
        if found is not None:
            dense[(x - x[0]).astype(int)] = found[kept][order]
            dense = _filled_forward(dense)
        if target == "lr":
            tape.lr = [array("d", dense)]
        elif found is not None:
            tape.norm = array("d", dense)
    tape.groups = [{}]
    live = Live()
    for step, value in zip(tape.loss_step, tape.loss, strict=True):
        live.see(step, value)
        if not np.isfinite(value) and not tape.events:
            tape.events.append(Event(step, "nonfinite", f"the loss is {value}"))
    tape.spikes, tape.regime = live.spikes, live.regime
    return tape


def _filled_forward(values: np.ndarray) -> np.ndarray:
    """Every gap filled with the value before it."""
    at = np.where(np.isfinite(values), np.arange(len(values)), 0)
    return values[np.maximum.accumulate(at)]


def _columns(path: Path, loss: str | None) -> dict[str, np.ndarray]:
    """Numbers by the name of their column; of MLflow's long form the one key that is the loss."""
    try:
        table = read_table(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except InputError as error:
        raise InputError(str(error).replace("dataset ", "log ", 1)) from None
    columns = {name: table.column(name) for name in table.names}
    lower = {name.lower(): name for name in columns}
    key = next((lower[k] for k in KEY if k in lower and columns[lower[k]].dtype.kind == "U"), None)
    if key and "value" in lower:
        for name in (lower[n] for n in RUN if n in lower):
            if len(runs := np.unique(columns[name].astype(str))) > 1:
                raise InputError(f"{path} has {len(runs)} runs in its column {name!r}: the log of one is needed")
        keys = columns[key]
        name = _loss({str(key): None for key in np.unique(keys)}, loss)
        columns = {c: v[keys == name] for c, v in columns.items()}
        columns[name] = columns.pop(lower["value"])
    return {name: values for name, values in columns.items() if values.dtype.kind == "f"}


def _rows_with_nan(path: Path, rows: int) -> np.ndarray:
    """(rows,) True where a cell says NaN; an empty cell does not."""
    text = path.read_bytes()
    lines = (gzip.decompress(text) if path.suffix.lower() == ".gz" else text).decode("utf-8-sig").splitlines()
    found = np.array([NAN.search(line.lower()) is not None for line in lines if line.strip()])
    return found[len(found) - rows :] if len(found) >= rows else np.zeros(rows, bool)


def _named(columns: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    for name in names:
        for column, values in columns.items():
            said = column.lower()
            if said == name or said.endswith(f" - {name}"):
                return values
    return None


def _loss(columns: dict[str, Any], loss: str | None) -> str:
    """The column that is the loss."""
    names = list(columns)
    if loss is not None:
        if loss not in names:
            raise unknown("column", loss, names)
        return loss
    usable = [c for c in names if not c.lower().endswith(RANGES)]
    said = [c for c in usable if "loss" in c.lower()]
    training = [c for c in said if not NOT_TRAINING.search(c.lower())] or said
    known = {*STEP, *LR, *NORM, "wall time", "timestamp", "_timestamp", "_runtime", "relative time (process)"}
    rest = [c for c in usable if c.lower() not in known]
    exact = [c for c in training if c.lower() in ("loss", "train_loss", "train/loss", "training_loss")]
    value = [c for c in usable if c.lower() == "value"]
    for some in (exact, training, value, rest):
        if len(some) == 1:
            return some[0]
        if len(some) > 1:
            raise InputError(f"several columns could be the loss: choose one with --loss: {', '.join(sorted(some))}")
    raise InputError(f"no column of losses is among {', '.join(names) or 'none with numbers'}: name it with --loss")


def verdict(tape: Tape) -> Verdict:
    """The verdict on a log: what `judge` says, and what the shape of the loss suggests where it cannot tell."""
    found = judge(tape)
    scene = Scene(tape)
    hints = list(found.causes)
    known = {cause.name for cause in hints}

    def hint(name: str, evidence: str, change: str) -> None:
        if name not in known:
            hints.append(Cause(name, HINT, (evidence,), change))

    short = [e for e in scene.episodes if e.end - e.step <= 3]
    if scene.early:
        hint("no_warmup", "the loss rises in the first steps", "warm the lr up over 2 / (1 - beta2) steps")
    if short and len(short) == len(scene.episodes) <= 2:
        hint(
            "bad_batch", f"the loss is back within three steps (step {short[0].step})", "look at the batch of that step"
        )
    if len(scene.episodes) > 2:
        said = f"the loss jumps {len(scene.episodes)} times after it had fallen"
        hint("v_forgot", said, "watch the optimizer (adamx.watch): beta2 or eps up if sqrt(v_hat) has fallen")
    if scene.broken is not None or (scene.risen and not scene.episodes):
        hint("edge_of_stability", "the loss leaves without coming back", "a smaller lr")
    notes = (*found.notes, "From a log alone: adamx.watch(optimizer) in the training would measure the causes.")
    return Verdict(found.cause, tuple(hints), found.symptoms, notes, tape.regime)
