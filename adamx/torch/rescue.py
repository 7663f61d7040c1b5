"""Rescue: the same next steps from a checkpoint once for every knob changed alone, and which avoids the spike.

    found = adamx.rescue(loss, params, batches, state=optimizer.state_dict(), steps=500)
    print(found)

All runs see the same batches. A knob is a list of changes from the smallest on, and the first that avoids the spike is
its answer: lr, beta1, beta2 and eps up and down, float64, clipping, leaving out the batch at the spike, moments set to
zero, and a warm-up with the old moments or with new ones. A run spikes as `watch.scene` sees it. Plain torch, one run
after another: the engine that stacks models cannot start from somebody's optimizer state.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from adamx.inputs.errors import InputError, whole
from adamx.watch.scene import BEFORE, FIRST, JUMP, JUMP_ALONE, Scene
from adamx.watch.tape import Tape

WARM = (10, 30, 100)  # steps of a warm-up


@dataclass(frozen=True)
class Change:
    """One knob turned.

    Attributes:
        knob, said: which, and to what. group: sets values in every parameter group. clip: largest norm of the gradient.
        skip: steps, from 0, without an update. reset: moments are lost. warm: steps in which lr rises to its own.
        dtype: of parameters, state and data.
    """

    knob: str
    said: str
    group: Callable[[dict[str, Any]], None] = lambda group: None
    clip: float = math.inf
    skip: tuple[int, ...] = ()
    reset: bool = False
    warm: int = 0
    dtype: Any = None


@dataclass(frozen=True)
class Try:
    """A run with one change. losses: (steps,), NaN behind the first that is not finite."""

    change: Change
    losses: np.ndarray
    saved: bool


@dataclass(frozen=True)
class Rescue:
    """All runs. `answers` has of each knob the smallest change that avoids the spike, None where none does.

    Attributes:
        own: the step, from 0, whose batch is out of line by itself, and does not count; None where there is none.
    """

    base: Try
    tries: tuple[Try, ...] = field(repr=False)
    own: int | None = None

    @property
    def answers(self) -> dict[str, Try | None]:
        """For each knob the first try that avoids the spike."""
        found: dict[str, Try | None] = {}
        for t in self.tries:
            found[t.change.knob] = found.get(t.change.knob) or (t if t.saved else None)
        return found

    def __str__(self) -> str:
        if self.base.saved:
            return f"Nothing to rescue: no spike in these {len(self.base.losses)} steps."
        lines = [f"{'knob':20}{'smallest change that avoids the spike':40}{'last loss':>12}"]
        for knob, t in self.answers.items():
            said = t.change.said if t else "none of those tried"
            lines.append(f"{knob:20}{said:40}{_last(t):>12}")
        if self.own is not None:
            lines.append(f"The batch of step {self.own + 1} has a high loss before any update by it: it is left out.")
        return "\n".join(lines)

    def csv(self) -> str:
        """All tries as a table: the knob, to what, whether it avoids the spike, the median of the last ten losses."""
        lines = ["knob,change,avoids_spike,last_loss"]
        for t in (self.base, *self.tries):
            lines.append(f'{t.change.knob},"{t.change.said}",{t.saved},{float(np.median(t.losses[-10:]))!r}')
        return "\n".join(lines) + "\n"

    def figure(self) -> Any:
        """The losses of the run as it was and of every answer, as a plotly figure."""
        import plotly.graph_objects as go

        figure = go.Figure()
        figure.add_scatter(y=self.base.losses, name="as it was", line={"color": "#222222", "width": 2.5})
        for knob, t in self.answers.items():
            if t:
                figure.add_scatter(y=t.losses, name=f"{knob}: {t.change.said}", line={"width": 1.3})
        figure.update_layout(template="plotly_white", xaxis_title="steps from the checkpoint", yaxis_title="loss")
        figure.update_yaxes(type="log", exponentformat="power")
        return figure


def _last(t: Try | None) -> str:
    return f"{np.median(t.losses[-10:]):.4g}" if t else ""


def rescue(
    loss: Callable[[Mapping[str, Any], Any], Any],
    params: Mapping[str, Any],
    batches: Sequence[Any] | Callable[[int], Any],
    *,
    state: Mapping[str, Any],
    steps: int = 500,
    optimizer: type[torch.optim.Optimizer] | str | None = None,
) -> Rescue:
    """Which single change would have avoided a spike.

    Args:
        loss: f(params, batch) -> a scalar. params: tensors by name, in the optimizer's order, as of the checkpoint.
        batches: one for each step, or f(step from 0) -> batch.
        state: the optimizer's state_dict of the same checkpoint. steps: how far to go.
        optimizer: its class, or the name of one in torch.optim; None where the state_dict tells it (SGD, RMSprop,
            Adagrad, Adadelta, Adam, AdamW, NAdam).
    Raises:
        InputError: params and state do not fit, too few batches, or a class that the state_dict does not tell.
    """
    steps = whole("steps", steps, 20)
    if not callable(batches) and len(batches) < steps:
        raise InputError(f"batches has {len(batches)}: {steps} are needed, one for each step")
    count = sum(len(group["params"]) for group in state["param_groups"])
    if count != len(params):
        raise InputError(f"params has {len(params)} tensors, the state_dict is of {count}")
    named = getattr(torch.optim, optimizer, None) if isinstance(optimizer, str) else optimizer
    kind = named or _kind(state["param_groups"][0])
    batch_at = batches if callable(batches) else batches.__getitem__

    own: int | None = None

    def made(change: Change) -> Try:
        losses = _run(loss, params, batch_at, kind, state, steps, change)
        return Try(change, losses, _onset(losses, {*change.skip, own}) is None)

    as_it_was = Change("as it was", "")
    base = made(as_it_was)
    if base.saved:
        return Rescue(base, ())
    at = _onset(base.losses, set()) or 0
    if at and _is_usual(_run(loss, params, _twice(batch_at, at), kind, state, at + 1, as_it_was)):
        own = at
    tries: list[Try] = []
    for ladder in _ladders(state["param_groups"][0], at):
        for change in ladder:
            tries.append(made(change))
            if tries[-1].saved:
                break
    return Rescue(base, tuple(tries), own)


def _kind(group: Mapping[str, Any]) -> type[torch.optim.Optimizer]:
    """The class whose groups have these settings."""
    names = {"nesterov": "SGD", "alpha": "RMSprop", "lr_decay": "Adagrad", "rho": "Adadelta", "momentum_decay": "NAdam"}
    for setting, name in names.items():
        if setting in group:
            return getattr(torch.optim, name)
    if "amsgrad" in group:
        return torch.optim.AdamW if group.get("decoupled_weight_decay") else torch.optim.Adam
    raise InputError("the state_dict does not say of which optimizer it is: optimizer=torch.optim.… is needed")


def _onset(losses: np.ndarray, apart: set[int | None]) -> int | None:
    """The step, from 0, at which losses begin to spike, those of some steps left out; None where they do not.

    As `watch.scene` sees it; but of its early rises those by `JUMP_ALONE` alone, for batches scatter, and these are no
    training's first.
    """
    kept = [t for t in range(len(losses)) if t not in apart]
    tape = Tape(steps=len(kept))
    tape.loss_step.extend(kept)
    tape.loss.extend(losses[kept])
    scene = Scene(tape)
    begun = [e.step for e in scene.episodes[:1]] + ([scene.broken] if scene.broken is not None else [])
    begun += [t for t in kept[1:FIRST] if losses[t] > JUMP_ALONE * scene.start][:1]
    return min(begun) if begun else scene.least[0] if scene.risen else None


def _twice(batch_at: Callable[[int], Any], at: int) -> Callable[[int], Any]:
    """The batches, with that before a step once more in its place."""
    return lambda t: batch_at(at - 1 if t == at else t)


def _is_usual(losses: np.ndarray) -> bool:
    """True if the last loss is no jump above the median of those before."""
    return len(losses) > BEFORE // 2 and bool(losses[-1] < JUMP * np.median(losses[-BEFORE - 1 : -1]))


def _cast(value: Any, dtype: Any) -> Any:
    """Floating tensors of a batch in a dtype."""
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, (tuple, list)):
        return type(value)(_cast(v, dtype) for v in value)
    return {k: _cast(v, dtype) for k, v in value.items()} if isinstance(value, dict) else value


def _run(loss: Any, params: Any, batch_at: Any, kind: type, state: Any, steps: int, change: Change) -> np.ndarray:
    """(steps,) the losses of one run."""
    own = {name: p.detach().to(change.dtype or p.dtype, copy=True).requires_grad_() for name, p in params.items()}
    groups, left = [], list(own.values())
    for saved in state["param_groups"]:
        groups.append({"params": left[: len(saved["params"])]})
        left = left[len(saved["params"]) :]
    optimizer = kind(groups, lr=float(state["param_groups"][0]["lr"]))
    optimizer.load_state_dict(copy.deepcopy(dict(state)))
    if change.reset:
        optimizer.state.clear()
    for group in optimizer.param_groups:
        change.group(group)
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    losses = np.full(steps, np.nan)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # dropout is the same in every run, too
        for t in range(steps):
            batch = batch_at(t)
            optimizer.zero_grad()
            value = loss(own, _cast(batch, change.dtype) if change.dtype else batch)
            value.backward()
            losses[t] = float(value.detach())
            if not math.isfinite(losses[t]):
                break
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, (t + 1) / change.warm) if change.warm else rate
            if change.clip < math.inf:
                torch.nn.utils.clip_grad_norm_(list(own.values()), change.clip)
            if t not in change.skip:
                optimizer.step()
    return losses


def _times(name: str, factor: float) -> Callable[[dict[str, Any]], None]:
    def change(group: dict[str, Any]) -> None:
        group[name] = group[name] * factor

    return change


def _beta(i: int, factor: float) -> Callable[[dict[str, Any]], None]:
    """1 - beta times a factor."""

    def change(group: dict[str, Any]) -> None:
        betas = list(group["betas"])
        betas[i] = 1 - (1 - betas[i]) * factor
        group["betas"] = tuple(betas)

    return change


def _ladders(group: Mapping[str, Any], onset: int) -> Iterator[list[Change]]:
    """The changes of each knob, the smallest first, for a spike that begins at a step."""
    lr = float(group["lr"])
    factors: tuple[float, ...]
    for way, factors in (("down", (0.7, 0.5, 0.25, 0.1, 0.01)), ("up", (2.0, 10.0))):
        yield [Change(f"lr {way}", f"{lr * f:.3g}", _times("lr", f)) for f in factors]
    if group.get("eps"):
        eps = float(group["eps"])
        for way, factors in (("up", tuple(10.0**k for k in range(1, 8))), ("down", (0.1, 0.01))):
            yield [Change(f"eps {way}", f"{eps * f:.3g}", _times("eps", f)) for f in factors]
    if "betas" in group:
        for i, name in enumerate(("beta1", "beta2")):
            left = 1 - float(group["betas"][i])
            for way, factors in (("up", (0.5, 0.1, 0.01)), ("down", (2.0, 10.0, 100.0))):
                some = [f for f in factors if left * f <= 1]
                yield [Change(f"{name} {way}", f"{1 - left * f:.6g}", _beta(i, f)) for f in some]
    yield [Change("precision", "float64", dtype=torch.float64)]
    yield [Change("clipping", f"norm at most {norm:g}", clip=norm) for norm in (10.0, 3.0, 1.0, 0.3, 0.1)]
    at = max(2, onset)
    around = ((at,), (at - 1, at), tuple(range(at - 2, at + 3)))
    yield [Change("skipping batches", f"{', '.join(str(s + 1) for s in skip)}", skip=skip) for skip in around]
    yield [Change("moments set to 0", "and counted anew", reset=True)]
    yield [Change("warm-up", f"{n} steps, moments kept", warm=n) for n in WARM]
    yield [Change("moments and warm-up", f"set to 0, {n} steps", reset=True, warm=n) for n in WARM]
