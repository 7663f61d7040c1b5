"""A rule as a torch.optim.Optimizer.

    optimizer = adamx.torch.Optimizer(model.parameters(), "adopt", lr=1e-3)

Parameters in float32 and float64 are updated by the fused kernels of `adamx.Stepper`, all of a group in one launch, on
the CPU and on CUDA; others by the rule on tensors. Where the kernels run, the state lies in their order in memory:
`optimizer.state` copies it into tensors, one a field, which is what is saved, copied and pickled. They are the state
from then until the next step, which takes them up again: read them anew after it.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch

from adamx.inputs.errors import InputError, unknown
from adamx.optimizers import check, optimizers, rule
from adamx.torch import translate
from adamx.torch.fused import Fused, fits
from adamx.torch.tensorwise import Tensorwise, precise

OTHERS = {"betas", "rho", "alpha", "etas", "step_sizes", "amsgrad", "dampening", "foreach", "fused", "capturable"}


class _Kept:
    """A tensor that torch hands on without changing its dtype."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


class Optimizer(torch.optim.Optimizer):
    """Any rule of `adamx.optimizers`, or of a user's file, on a model's parameters.

    Args:
        params: as torch's optimizers take them: parameters, (name, parameter) pairs, or groups.
        optimizer: a rule's name, or the path of a file with a rule.
        maximize: climb instead of descend.
        hyper: hyperparameters by name; what is not named has the rule's default. Groups may have their own, and
            whoever changes one in `param_groups`, as the schedulers do, changes it from the next step on.

    Raises:
        InputError: (a ValueError) an unknown name, a value out of range, complex parameters, sparse gradients.
    """

    def __init__(self, params: Any, optimizer: str, *, maximize: bool = False, **hyper: Any) -> None:
        self._take(optimizer)
        for name in hyper:
            if name not in self._rule.defaults:
                raise unknown(f"hyperparameter of {self._rule.name}", name, self._rule.defaults)
        super().__init__(params, {**self._rule.defaults, **hyper, "maximize": maximize, "optimizer": self._rule.name})

    def _take(self, optimizer: str) -> None:
        self.optimizer, self._rule = optimizer, rule(optimizer)
        if "step" in self._rule.State._fields:
            raise InputError(f"a field of {optimizer}'s State is called 'step', which is torch's count: rename it")
        self._together: dict[int, list[Any]] = {}  # of a group, the parameters that take their steps together

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with hyperparameters of their own."""
        known = {*self._rule.defaults, "maximize"}
        if isinstance(param_group, dict):
            if param_group.get("optimizer", self._rule.name) != self._rule.name:
                raise InputError(f"a group asks for {param_group['optimizer']!r}: all groups have {self._rule.name!r}")
            for name in param_group:
                if name not in known and (name in OTHERS or any(name in rule(o).defaults for o in optimizers())):
                    raise unknown(f"hyperparameter of {self._rule.name}", name, known)
        super().add_param_group(param_group)
        try:
            self._hyper(self.param_groups[-1])
            for i, p in enumerate(self.param_groups[-1]["params"]):
                if not p.is_floating_point():
                    raise InputError(f"params[{i}] is {str(p.dtype).removeprefix('torch.')}: a real float is needed")
        except InputError:
            del self.param_groups[-1]
            raise

    def _hyper(self, group: Mapping[str, Any]) -> Any:
        """The hyperparameters of a group; lr = 0, which schedulers write, is allowed."""
        typed = [group[name] for name in self._rule.Hyper._fields]
        for name, value in zip(self._rule.Hyper._fields, typed, strict=True):
            if isinstance(value, torch.Tensor) and value.numel() != 1:
                raise InputError(f"Tensor {name} must be 1-element: it has the shape {tuple(value.shape)}")
        try:
            h = self._rule.Hyper(*map(float, typed))
        except (TypeError, ValueError):
            h = self._rule.Hyper(*typed)
        if h != getattr(self, "_checked", None):
            columns = h._asdict()
            check(self._rule, columns if columns["lr"] != 0 else {**columns, "lr": 1.0})
            self._checked = h
        return h

    @property
    def state(self) -> defaultdict[torch.Tensor, Any]:
        """Of every parameter that has taken steps: `step`, the fields of the rule's State, and `clock.NAME`."""
        for number in list(self._together):
            self._part(number)
        return self.__dict__["state"]

    @state.setter
    def state(self, value: Any) -> None:
        self.__dict__["state"] = value

    def _part(self, number: int) -> None:
        """Bring what a group's kernels hold into tensors."""
        for some in self._together.pop(number):
            clock = {f"clock.{name}": value for name, value in some.clock._asdict().items()}
            for p, state in zip(some.params, some.states(), strict=True):
                self.__dict__["state"][p] = {"step": torch.tensor(float(some.t)), **state._asdict(), **clock}

    def _join(self, params: list[torch.Tensor], h: Any) -> list[Any]:
        """The parameters of a group, those together that can take their steps together."""
        parts: dict[Any, list[tuple[torch.Tensor, Any]]] = {}
        for p in params:
            saved = self.__dict__["state"].get(p) or {}
            fresh = self._rule.initial_clock(h)
            clock = self._rule.Clock(*(float(saved.get(f"clock.{n}", c)) for n, c in fresh._asdict().items()))
            start = self._rule.initial_state(h)._asdict()
            fields = {n: saved.get(n, v) for n, v in start.items()}
            for name, field in fields.items():
                if not isinstance(field, torch.Tensor):
                    fields[name] = torch.full(p.shape, float(field), dtype=precise(p.dtype), device=p.device)
                elif field.shape != p.shape:
                    raise InputError(
                        f"the state {name!r} has the shape {tuple(field.shape)}, its parameter {tuple(p.shape)}"
                    )
            state = tuple(fields.values()) if saved else None
            key = fits(p), p.dtype, p.device, int(saved.get("step", 0)), clock
            parts.setdefault(key, []).append((p, state))
        made = []
        for (fused, _, _, t, clock), members in parts.items():
            some, states = zip(*members, strict=True)
            made.append((Fused if fused else Tensorwise)(self._rule, list(some), states, h, clock, t))
        return made

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: computes the loss anew and returns it.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for number, group in enumerate(self.param_groups):
            pairs = [(p, g) for p in group["params"] if (g := p.grad) is not None]
            for i, (_, g) in enumerate(pairs):
                if g.layout is not torch.strided:
                    raise InputError(f"gradient {i} of group {number} is sparse: a dense one is needed")
            h, gradients = self._hyper(group), dict(pairs)
            together = self._together.get(number)
            params = [p for p, _ in pairs]
            if together is None or not _same([p for some in together for p in some.params], params):
                if together is not None:
                    self._part(number)
                together = self._together[number] = self._join(params, h)
            for some in together:
                grads = [gradients[p] for p in some.params]
                some.step([-g for g in grads] if group["maximize"] else grads, h)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state: of this rule, or of the optimizer of torch.optim that the rule equals.

        Raises:
            InputError: it is of something else.
        """
        handle = self.register_load_state_dict_pre_hook(lambda _, saved: self._in_rule_names(saved))
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()

    def _in_rule_names(self, saved: dict[str, Any]) -> dict[str, Any]:
        """A saved state in the rule's names, its tensors kept from torch's rounding to the parameters' dtype."""
        groups, states = [], dict(saved["state"])
        for group in saved["param_groups"]:
            if translate.is_torchs(group):
                ours = translate.translated(self._rule, group)
                for key in set(group["params"]) & set(states):
                    states[key] = translate.state_of(self._rule, states[key], ours)
                group = ours
            if group.get("optimizer") != self._rule.name:
                raise InputError(f"the saved state is of {group.get('optimizer')!r}, not of {self._rule.name!r}")
            groups.append(group)
        for key, state in states.items():
            states[key] = {n: _Kept(v) if isinstance(v, torch.Tensor) else v for n, v in state.items()}
        return {**saved, "state": states, "param_groups": groups}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "optimizer": self.optimizer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._take(state.get("optimizer") or self.optimizer)
        super().__setstate__(state)
        for p, fields in self.__dict__["state"].items():
            for name, value in fields.items():
                if isinstance(value, _Kept):
                    copied = value.tensor.clone()
                    fields[name] = copied if name == "step" else copied.to(p.device, precise(p.dtype))


def _same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(operator.is_, a, b))
