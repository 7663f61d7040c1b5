"""Probe: a torch optimizer seen through its own step hooks. It measures and writes on a tape; it changes nothing.

A step is measured when it is one of the first, every n-th, or one at which something is unusual: the gradient's norm
leaves its running median by a factor of `OUTLIER`, or the loss spikes. Of the classes in `formulas` a step is known
from the state; of others, adamx.torch.Optimizer among them, the parameters are copied before a measured step.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from math import inf, isfinite, nan
from typing import Any

import numpy as np
import torch

from adamx.inputs.errors import InputError
from adamx.regimes import FALL, RISE
from adamx.torch import shards
from adamx.torch.checkpoint import Ring
from adamx.torch.curvature import curvature
from adamx.torch.figures import Part, Sums, together
from adamx.torch.formulas import Formula, formula_of, limit, of_copy, scales
from adamx.torch.glance import glance
from adamx.torch.measures import figures_of
from adamx.torch.optimizer import Optimizer
from adamx.torch.shards import local
from adamx.watch.tape import MEASURES, Event, Tape

FIRST = 5  # steps that are all measured
OUTLIER = 4.0
AFTER = 3  # steps measured after an unusual one
MOST = 20, 0.02  # unusual steps measured: as many, or this share of all steps
PRODUCTS = 3  # of the power iteration at a time
PLAIN_MOMENTUM = (torch.optim.SGD, torch.optim.RMSprop)
HYPER = ("lr", "eps", "weight_decay", "momentum", "alpha", "rho", "nesterov", "amsgrad", "maximize", "beta1", "beta2")

SPARSE = "Parameters with sparse gradients are left out of all figures."


class Probe:
    """The hooks on one optimizer.

    Args:
        optimizer: any torch.optim.Optimizer with dense real parameters.
        tape: what is written on. every: steps between measurements.
        loss: computes the loss of the present batch anew, for the curvature; or None.
        curvature: steps between its measurements.
    """

    def __init__(
        self, optimizer: Any, tape: Tape, every: int, loss: Callable[[], Any] | None, curvature: int, scaler: Any = None
    ) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise InputError(f"optimizer is {type(optimizer).__name__}: a torch.optim.Optimizer is needed")
        if loss is not None and not callable(loss):
            raise InputError(f"loss is {type(loss).__name__}: a function that computes the loss is needed, or None")
        if scaler is not None and not hasattr(scaler, "get_scale"):
            raise InputError(f"scaler is {type(scaler).__name__}: a torch.amp.GradScaler is needed, or None")
        params = [p for group in optimizer.param_groups for p in group["params"]]
        for p in params:
            if p.is_complex():
                raise InputError("a parameter is complex: real parameters are needed")
        self.optimizer, self.tape, self.every, self.loss, self.rarely = optimizer, tape, every, loss, curvature
        self.formula = formula_of(optimizer)
        self.scaler, self.scale = scaler, None if scaler is None else scaler.get_scale()
        self.shapes = [p.shape for p in params]
        self.before: dict[Any, Any] = {}
        self.level, self.attention, self.unusual, self.skipped = nan, 0, 0, 0
        self.count: tuple[int, float] | None = None
        self.had_state = False
        self.roots: list[tuple[int, float, float] | None] = []
        self.vector: list[Any] | None = None
        self.pending: list[Any] = []
        self.measured: Callable[[], None] = lambda: None
        self.ring: Ring | None = None
        tape.every = every
        tape.groups[:] = [self._facts(group) for group in optimizer.param_groups]
        for _ in optimizer.param_groups:
            self._open_group()
        self.sharded = any(shards.is_sharded(p) for p in params)
        if self.sharded and loss is not None:
            raise InputError("loss is given, and parameters are sharded: of these the curvature is not measured")
        tape.notes += shards.notes(params)
        if self.formula is None:
            name = type(optimizer).__name__
            tape.notes.append(f"{name}: the parameters are copied before each measured step to see its update.")
        if tape.first > 1 and not self._state():
            said = f"step {tape.first} begins without any optimizer state: its moments were not restored"
            tape.events.append(Event(tape.first, "moments_lost", said))

    def _open_group(self) -> None:
        self.tape.lr.append(array("d", [nan] * self.tape.steps))
        self.tape.parts.append({name: [nan] * len(self.tape.rows) for name in MEASURES})
        self.roots.append(None)

    def _facts(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a group, in the names of this project."""
        facts: dict[str, Any] = {
            name: float(group[name]) for name in HYPER if isinstance(group.get(name), (int, float, torch.Tensor))
        }
        if "betas" in group:
            facts["beta1"], facts["beta2"] = map(float, group["betas"])
        for there, here in (("alpha", "beta2"), ("rho", "beta2"), ("momentum", "beta1")):
            if there in facts:
                facts[here] = facts.pop(there)
        params = group["params"]
        facts["optimizer"] = group.get("optimizer") or type(self.optimizer).__name__
        facts["adaptive"] = float(self.formula is None or type(self.optimizer) is not torch.optim.SGD)
        facts["corrected"] = float(type(self.optimizer) not in (torch.optim.RMSprop,))
        # of an unknown formula the decay is compared with the update, in which it is
        facts["decoupled"] = float(group.get("decoupled_weight_decay", self.formula is None) or 0)
        facts["coordinates"] = float(sum(local(p).numel() for p in params))
        facts["tensors"] = float(len(params))
        facts["dtype"] = "/".join(sorted({str(p.dtype).removeprefix("torch.") for p in params}))
        return facts

    def attach(self) -> None:
        """Hook in."""
        self.handles = [
            self.optimizer.register_step_pre_hook(self._before),
            self.optimizer.register_step_post_hook(self._after),
        ]

    def detach(self) -> None:
        """Unhook; what is still on a device is read."""
        for handle in self.handles:
            handle.remove()
        self._flush()
        self.before, self.vector = {}, None

    def _state(self) -> Any:
        """The optimizer's state, as it lies there."""
        return self.optimizer.__dict__["state"] if isinstance(self.optimizer, Optimizer) else self.optimizer.state

    def _due(self) -> bool:
        made = self.tape.steps
        return made < FIRST or (made + 1) % self.every == 0 or self.attention > 0

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Before a step."""
        for group in optimizer.param_groups[len(self.tape.groups) :]:
            self.tape.groups.append(self._facts(group))
            self.shapes += [p.shape for p in group["params"]]
            self._open_group()
        if self.had_state and not len(self._state()) and self.formula is not None:
            self._moments_lost("the optimizer's state was emptied", self.tape.last + 1)
        if self.formula is None and self._due():
            self._copy()

    @torch.no_grad()
    def _copy(self) -> None:
        """Copy the parameters, into the last copies where these fit."""
        for p in (p for group in self.optimizer.param_groups for p in group["params"]):
            there = self.before.get(p)
            if there is None or there.shape != p.shape or there.dtype != p.dtype:
                self.before[p] = p.detach().clone()
            else:
                there.copy_(p)

    def _moments_lost(self, said: str, step: int) -> None:
        self.had_state, self.count = False, None
        self.roots = [None] * len(self.roots)
        self.tape.events.append(Event(step, "moments_lost", said))

    @torch.no_grad()
    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """After a step."""
        tape, step = self.tape, self.tape.last + 1
        skipped = self._skips(step)
        if skipped and getattr(optimizer, "found_inf", None) is not None:
            return  # a fused optimizer was called and made no step
        lrs = [float(group["lr"]) for group in optimizer.param_groups]
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.sharded:
            grads = [local(g) for g in grads]
        norm = self._norm([g for g in grads if g.layout is torch.strided])
        due = self._due()
        tape.step(lrs, norm)
        unusual = self._outlier(norm)
        if unusual and not due and self.unusual < max(MOST[0], MOST[1] * tape.steps):
            self.unusual += 1
            due, self.attention = self.formula is not None, AFTER
        elif self.attention:
            self.attention -= 1
        if due:
            self._flush()
            self._count(step)
            self._measure(step)
            if self.loss is not None and self.formula is not None:
                rare = (tape.steps % self.rarely == 0) or tape.steps == 1
                if rare or (unusual and isfinite(norm)):
                    self._curve(step, lrs)
            self.measured()
        if self.ring:
            self.ring.see(step, optimizer)

    def notice(self, step: int) -> None:
        """The loss of a step is unusual: keep the state from before it, and measure the next steps."""
        if self.ring:
            self.ring.hold(step)
        if self.unusual < max(MOST[0], MOST[1] * self.tape.steps):
            self.unusual += 1
            self.attention = AFTER

    def _skips(self, step: int) -> bool:
        """True if GradScaler has skipped a step since the last call; counts it."""
        found = getattr(self.optimizer, "found_inf", None)
        if found is not None and float(found) > 0:
            self._skip(step)
            return True
        return False

    def scaled(self) -> None:
        """Look at the scaler, whose scale falls when it has skipped a step."""
        if self.scaler is not None:
            scale = self.scaler.get_scale()
            if scale < self.scale:
                self._skip(self.tape.last + 1)
            self.scale = scale

    def _skip(self, step: int) -> None:
        if not self.tape.events or self.tape.events[-1][:2] != (step, "skipped"):
            self.skipped += 1
            self.tape.events.append(Event(step, "skipped", "GradScaler skipped a step: a gradient was not finite"))

    def _norm(self, grads: list[Any]) -> float:
        """The norm of all gradients; NaN until the next measured step where they are on a device."""
        if not grads:
            return 0.0
        try:
            return glance(grads)
        except ValueError:  # another device, strides or several dtypes
            norm = torch.nn.utils.get_total_norm([g.float() for g in grads])
        if norm.is_cpu:
            return float(norm)
        self.pending.append((self.tape.steps, norm))
        return nan

    def _flush(self) -> None:
        """Read the norms that are still on a device, in one transfer."""
        if self.pending:
            at, norms = zip(*self.pending, strict=True)
            for i, value in zip(at, torch.stack(list(norms)).tolist(), strict=True):
                self.tape.norm[i] = value
            self.pending = []

    def _outlier(self, norm: float) -> bool:
        """True if a norm is unusual; updates the running median, as `regimes.track` does."""
        if norm != norm or norm == 0:
            return False
        if self.level != self.level:
            self.level = norm
        unusual = not isfinite(norm) or norm > OUTLIER * self.level
        self.level *= RISE if norm > self.level else FALL
        return unusual

    def _count(self, step: int) -> None:
        """Follow the optimizer's own count of steps: where it starts anew, its moments are gone."""
        state = self._state()
        first = next(iter(state.values()), None) if len(state) else None
        self.had_state = self.had_state or bool(first)
        count = first.get("step") if first else None
        if isinstance(count, torch.Tensor):
            count = float(count) if count.device.type == "cpu" else None
        if count is None or isinstance(self.optimizer, Optimizer):
            return
        if self.count is not None and count <= self.count[1]:
            said = f"the optimizer's own count of steps went from {self.count[1]:.0f} to {count:.0f}"
            if count <= step - self.count[0]:  # it began since the last look
                self._moments_lost(said, step - int(count) + 1)
            else:
                self.tape.events.append(Event(step, "rewound", said))
                self.roots = [None] * len(self.roots)
        self.count = step, float(count)

    def _measure(self, step: int) -> None:
        parts = []
        for number, group in enumerate(self.optimizer.param_groups):
            pairs = [(p, p.grad) for p in group["params"] if p.grad is not None]
            if any(g.layout is not torch.strided for _, g in pairs):
                pairs = [(p, g) for p, g in pairs if g.layout is torch.strided]
                self._note(SPARSE)
            for p, g in pairs:
                if p.shape != g.shape:
                    raise InputError(f"a parameter has the shape {tuple(p.shape)}, its gradient {tuple(g.shape)}")
            pairs = [(p, g) for p, g in pairs if local(p).numel()]
            formulas = [self._formula(group, p) for p, _ in pairs]
            if self.sharded:
                pairs, formulas = [(local(p), local(g)) for p, g in pairs], [shards.of(f) for f in formulas]
            part = self._part(float(group["lr"]), pairs, formulas)
            sizes = np.array([p.numel() for p, _ in pairs])
            parts.append((part, sizes, self._decay_of(number, group)))
            self._check_v(step, number, part, formulas)
        if [p.shape for g in self.optimizer.param_groups for p in g["params"]] != self.shapes:
            raise InputError("parameters have changed their shape since the watch began: begin a new one")
        whole = figures_of(parts)
        self.tape.row(step, whole, [whole] if len(parts) == 1 else [figures_of([part]) for part in parts])

    def _note(self, said: str) -> None:
        if said not in self.tape.notes:
            self.tape.notes.append(said)

    def _decay_of(self, number: int, group: Mapping[str, Any]) -> tuple[float, bool]:
        return float(group.get("weight_decay") or 0.0), bool(self.tape.groups[number]["decoupled"])

    def _formula(self, group: Any, p: Any) -> Formula:
        if self.formula is None:
            return of_copy(group, self.before[p])
        state = self.optimizer.state[p]
        t = float(state["step"]) if "step" in state else float(self.tape.steps)
        return self.formula(group, state, t)

    def _part(self, lr: float, pairs: list[tuple[Any, Any]], formulas: list[Formula]) -> Part:
        if not pairs:
            return Part(Sums(*np.zeros((len(Sums._fields), 0))), np.zeros(0))
        params, grads = zip(*pairs, strict=True)
        return together(params, grads, formulas, lr, 1.0)

    def _check_v(self, step: int, number: int, part: Part, formulas: list[Formula]) -> None:
        """Note where v has fallen faster than beta2 allows: it was reset."""
        if not formulas:
            return
        f = formulas[0]
        if f.v is None or f.kind == "largest" or not f.c or f.v.element_size() < 4:
            return  # in 16 bits v may underflow
        v = float(part.sums.root2.sum()) / f.c
        last = self.roots[number]
        if last is not None and last[0] < step and last[2] == len(formulas) and f.decay < 1:
            least = f.decay ** (step - last[0]) * last[1]
            if v < 0.5 * least and least > 1e-30:
                left = f"beta2 leaves it {least / last[1]:.2g}"
                said = f"v fell to {v / last[1]:.2g} of itself in {step - last[0]} steps; {left}"
                self.tape.events.append(Event(step, "moments_lost", said))
        self.roots[number] = (step, v, len(formulas)) if isfinite(v) else None

    def _curve(self, step: int, lrs: list[float]) -> None:
        """Measure the curvature; groups of other lr are brought to that of the first by P."""
        params, multipliers, limits = [], [], []
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            for p in group["params"]:
                if p.grad is None or not p.requires_grad or not lrs[0]:
                    continue
                f = self._formula(group, p)
                _, multiplier = scales(f, p.detach().to(torch.promote_types(p.dtype, torch.float32)))
                params.append(p)
                multipliers.append(multiplier * (f.ratio * lr / lrs[0]))
                nesterov = bool(group.get("nesterov")) or type(self.optimizer) is torch.optim.NAdam
                limits.append(limit(f, lrs[0], not isinstance(self.optimizer, PLAIN_MOMENTUM), nesterov))
        if not params:
            return
        assert self.loss is not None
        found = curvature(self.loss, params, multipliers, self.vector, PRODUCTS)
        self.vector = found.vector or None
        edge = min(limits, default=inf)
        self.tape.curve(step, curvature=found.along, sharpness=found.sharpness, sharpness_limit=edge)
