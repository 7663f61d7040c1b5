"""The names in torch.optim: its saved states become those of the rules that equal its optimizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from adamx.engine.stepper.clock import clockwork
from adamx.inputs.errors import InputError
from adamx.optimizers import Rule


class Source(NamedTuple):
    """An optimizer of torch.optim that a rule equals."""

    state: dict[str, str]  # of the rule's fields, the names there
    hyper: dict[str, Callable[[Any], float]]  # of the rule's hyperparameters, how to read a group there
    fixed: dict[str, Any]  # settings that a group must have there


def _key(name: str) -> Callable[[Any], float]:
    return lambda group: group[name]


def _at(name: str, i: int) -> Callable[[Any], float]:
    return lambda group: group[name][i]


BETAS = {"beta1": _at("betas", 0), "beta2": _at("betas", 1), "eps": _key("eps")}
MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq"}
PLAIN = {"weight_decay": 0}
SGD = {"dampening": 0, **PLAIN}
DECAY = {"weight_decay": _key("weight_decay")}
NADAM = {**BETAS, "momentum_decay": _key("momentum_decay")}
SOURCES = {
    "sgd": Source({}, {}, {**SGD, "momentum": 0}),
    "momentum": Source({"m": "momentum_buffer"}, {"momentum": _key("momentum")}, {**SGD, "nesterov": False}),
    "nesterov": Source({"m": "momentum_buffer"}, {"momentum": _key("momentum")}, {**SGD, "nesterov": True}),
    "rmsprop": Source(
        {"v": "square_avg", "a": "grad_avg", "b": "momentum_buffer"},
        {
            "beta2": _key("alpha"),
            "eps": _key("eps"),
            "momentum": _key("momentum"),
            "centered": _key("centered"),
        },
        PLAIN,
    ),
    "adagrad": Source(
        {"v": "sum"},
        {name: _key(name) for name in ("eps", "lr_decay", "initial_accumulator_value")},
        PLAIN,
    ),
    "adadelta": Source({"v": "square_avg", "u": "acc_delta"}, {"beta2": _key("rho"), "eps": _key("eps")}, PLAIN),
    "adam": Source(MOMENTS, BETAS, {**PLAIN, "amsgrad": False}),
    "adamw": Source(MOMENTS, {**BETAS, **DECAY}, {"amsgrad": False, "decoupled_weight_decay": True}),
    "amsgrad": Source({**MOMENTS, "u": "max_exp_avg_sq"}, BETAS, {**PLAIN, "amsgrad": True}),
    "adamax": Source({"m": "exp_avg", "u": "exp_inf"}, BETAS, PLAIN),
    "nadam": Source(MOMENTS, NADAM, PLAIN),
    "nadamw": Source(MOMENTS, {**NADAM, **DECAY}, {"decoupled_weight_decay": True}),
    "radam": Source(MOMENTS, BETAS, PLAIN),
    "rprop": Source(
        {"sign": "prev", "multiple": "step_size"},
        {
            "eta_minus": _at("etas", 0),
            "eta_plus": _at("etas", 1),
            "min_step_size": _at("step_sizes", 0),
            "max_step_size": _at("step_sizes", 1),
        },
        {},
    ),
}


def is_torchs(group: Mapping[str, Any]) -> bool:
    """True if a saved parameter group is of an optimizer of torch.optim."""
    return "foreach" in group and "differentiable" in group


def translated(rule: Rule, group: Mapping[str, Any]) -> dict[str, Any]:
    """A saved group in the rule's names.

    Raises:
        InputError: it is of an optimizer that the rule does not equal, or of one with other settings.
    """
    source = SOURCES.get(rule.name)
    needed = {**source.hyper, **source.fixed} if source else {}
    try:
        if source is None:
            raise KeyError
        hyper = {name: read(group) for name, read in source.hyper.items()}
        other = next((name for name, value in source.fixed.items() if group[name] != value), None)
    except (KeyError, TypeError):
        raise InputError(
            f"the saved state is of an optimizer of torch.optim that {rule.name} does not equal: "
            f"it has {', '.join(sorted(set(group) - {'params'}))}"
        ) from None
    if other is not None:
        raise InputError(
            f"the saved state has {other}={group[other]!r}: {rule.name} equals torch's with {other}={needed[other]!r}"
        )
    kept = {name: group[name] for name in ("params", "param_names", "initial_lr", "lr", "maximize") if name in group}
    return {**rule.defaults, **hyper, "maximize": False, **kept, "optimizer": rule.name}


def state_of(rule: Rule, theirs: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:
    """The state of one parameter in the rule's names; its clock is that of as many steps with these hyperparameters."""
    h = rule.Hyper(*(float(group[name]) for name in rule.Hyper._fields))
    time = clockwork(rule, "float64")
    numbers, steps = time.column(h, rule.initial_clock(h)), int(theirs.get("step", 0))
    for t in range(1, steps + 1):
        time.advance(numbers, h, t)
    clock = time.load_clock(numbers, 0)._asdict()
    own = {ours: theirs[name] for ours, name in SOURCES[rule.name].state.items() if theirs.get(name) is not None}
    if "multiple" in own:  # Rprop: a size there, a multiple of lr here; the last gradient there, its sign here
        own = {"sign": torch.sign(own["sign"]), "multiple": own["multiple"] / h.lr}
    return {"step": torch.tensor(float(steps)), **own, **{f"clock.{name}": float(v) for name, v in clock.items()}}
