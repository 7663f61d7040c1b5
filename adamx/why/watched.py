"""Watched: why a training that `adamx.watch` recorded went wrong: its verdict again, and the rescue from its record."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from adamx.inputs.errors import InputError, user_errors, whole
from adamx.inputs.files import load
from adamx.watch.recorded import Watched
from adamx.watch.recording import CHECKPOINT, rescued

FILE = """\
FILE.py has `loss(params, batch)`, a scalar of torch, with tensors by name as torch.func.functional_call takes them; and
`batch(step)`, the batch of a step of the training, counted from 1. `names` are those of the parameters in the
optimizer's order, where it was not made from named_parameters(); `optimizer` is its class, where that is none of
torch.optim's."""


def said(found: Watched) -> list[str]:
    """The verdict with its evidence, where its report is, and its rescue: as it came out, or how to run it.

    Raises:
        InputError: there is no verdict yet.
    """
    lines = [found.verdict, f"report: {found.page}"]
    if found.rescued:
        return [*lines, "", *_counting(found), found.rescued]
    if found.kept:
        saved, onset = found.at
        lines += [
            "",
            f"The record has the training as it was after step {saved}, {onset - saved} steps before the loss goes "
            f"wrong at step {onset}. Which single change would have avoided it:",
            "",
            f"    python -m adamx.why {found.run_id} --rescue FILE.py",
            "",
            *FILE.splitlines(),
            "Or from Python, in the training's own script:",
            "",
            f"    file = mlflow.artifacts.download_artifacts(run_id={found.run_id!r}, artifact_path={CHECKPOINT!r})",
            "    saved = adamx.torch.Checkpoint.read(file)",
            "    params = dict(zip([name for name, _ in model.named_parameters()], saved.params))",
            f"    with mlflow.start_run({found.run_id!r}):  # keeps the table and the picture with the run",
            f"        print(adamx.rescue(loss, params, batches, state=saved.state, steps={found.steps}))",
            "",
            f"where batches are those of the steps {saved + 1} to {saved + found.steps}.",
        ]
    elif "healthy" not in found.run.data.tags.get("watch.cause", ""):
        lines.append(
            "No state from before it is in the record: with w.checkpoint(every=100) in the training there is one, from "
            "which every knob is tried."
        )
    return lines


def rescue(found: Watched, name: str, steps: int | None = None) -> str:
    """Run the rescue from the recorded state with a user's file (see `FILE`), and record it; the table.

    Raises:
        InputError: no state was kept, or the file has not what is needed.
    """
    from adamx.torch import Checkpoint
    from adamx.torch.rescue import rescue as run

    if not found.kept:
        raise InputError(
            f"run {found.run_id} has no state from before a spike: w.checkpoint(every=100) in the training keeps one"
        )
    if not name.endswith(".py"):
        raise InputError(f"--rescue is {name!r}: a .py file is needed")
    module, saved = load("", "rescue", name), Checkpoint.read(found.file(CHECKPOINT))
    loss, batch = (_function(module, name, each) for each in ("loss", "batch"))
    names = list(getattr(module, "names", saved.names))
    if len(set(names)) != len(saved.params):
        raise InputError(f"{name}: `names` has {len(set(names))} names, and {len(saved.params)} parameters are saved")
    count = found.steps if steps is None else whole("--steps", steps, 20)
    with user_errors("rescue", name):
        made = run(
            loss,
            dict(zip(names, saved.params, strict=True)),
            lambda t: batch(saved.step + 1 + t),
            state=saved.state,
            steps=count,
            optimizer=getattr(module, "optimizer", None) or saved.kind or None,
        )
    with found.store.explained():
        rescued(made, found.run_id, found.store.client)
    return "\n".join([*_counting(found), str(made)])


def _counting(found: Watched) -> list[str]:
    """What the steps in a rescue's table count from."""
    if not found.kept:
        return []
    saved, onset = found.at
    return [f"From the state after step {saved}, where steps count from: {onset - saved} is step {onset}."]


def _function(module: ModuleType, name: str, wanted: str) -> Any:
    function = getattr(module, wanted, None)
    if not callable(function):
        raise InputError(f"{name} has no function `{wanted}`: it needs `loss(params, batch)` and `batch(step)`")
    return function
