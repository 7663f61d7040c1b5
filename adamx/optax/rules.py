"""A rule as a gradient transformation of optax.

    optimizer = adamx.optax.transformation("adopt", learning_rate=1e-3)

It is the rule's own source on jax arrays, so that it works under jit, vmap, scan and `optax.chain`. A rule needs the
parameters: `optimizer.update(gradients, state, params)`. To change hyperparameters during training:

    optimizer = optax.inject_hyperparams(adamx.optax.factory("adopt"))(learning_rate=1e-3)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adamx.engine.tensorized import library, on_arrays
from adamx.inputs.errors import InputError, unknown
from adamx.optimizers import check, rule


class RuleState(NamedTuple):
    """The state of a rule: the steps taken, its clock, and for each field of its State a tree like params."""

    steps: jax.Array
    clock: Any
    fields: Any


def transformation(
    optimizer: str, learning_rate: optax.ScalarOrSchedule | None = None, **hyper: Any
) -> optax.GradientTransformationExtraArgs:
    """Any rule of `adamx.optimizers`, or of a user's file.

    Args:
        optimizer: a rule's name, or the path of a file with a rule.
        learning_rate: the rule's lr, or a schedule: a function of the number of steps taken. None is the default.
        hyper: hyperparameters by name: numbers or jax scalars; what is not named has the rule's default.

    Returns:
        A transformation whose updates are what is to be added to the parameters. The state of parameters in half
        precision is float32, and so is the arithmetic; the updates have the parameters' dtype.

    Raises:
        InputError: (a ValueError) an unknown name, a value out of range; when it runs: no params, complex ones.
    """
    r = rule(optimizer)
    hyper = {**hyper.pop("hyper", {}), **hyper}  # how inject_hyperparams hands on what a signature does not name
    typed = {**hyper, **({} if learning_rate is None else {"lr": learning_rate})}
    for name in typed:
        if name not in r.defaults:
            raise unknown(f"hyperparameter of {r.name}", name, {*r.defaults, "learning_rate"} - {"lr"})
    if "lr" in hyper:
        raise InputError("lr is called learning_rate here, as everywhere in optax")
    known = {name: value for name, value in typed.items() if not callable(value) and not isinstance(value, jax.Array)}
    check(r, {name: value for name, value in known.items() if not (name == "lr" and value == 0)})

    def at(count: Any) -> Any:
        values = {**r.defaults, **typed}
        return {name: value(count) if callable(value) else value for name, value in values.items()}

    def hypers(count: Any, dtype: Any) -> Any:
        return r.Hyper(**{name: jnp.asarray(value, dtype) for name, value in at(count).items()})

    def init(params: Any) -> RuleState:
        leaves = jax.tree.leaves(params)
        for leaf in leaves:
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise InputError(f"a parameter is {jnp.result_type(leaf)}: a real float is needed")
        time = _clock_dtype(leaves)
        h = hypers(0, time)
        clock = on_arrays(r, library("jax", time)).initial_clock(h)
        start = on_arrays(r, library("jax", time)).initial_state(h)
        fields = (jax.tree.map(lambda p, s=s: jnp.full(jnp.shape(p), s, precise(p)), params) for s in start)
        return RuleState(jnp.zeros((), jnp.int32), _arrays(clock, time), r.State(*fields))

    def update(updates: Any, state: RuleState, params: Any = None, **_: Any) -> tuple[Any, RuleState]:
        if params is None:
            raise InputError(f"{r.name} needs the parameters: optimizer.update(gradients, state, params)")
        leaves = jax.tree.leaves(params)
        tree: Any = jax.tree.structure(params)
        gradients = tree.flatten_up_to(updates)
        fields = [tree.flatten_up_to(field) for field in state.fields]
        time, count = _clock_dtype(leaves), optax.safe_increment(state.steps)
        h = hypers(state.steps, time)
        clock, now = on_arrays(r, library("jax", time)).per_step(count.astype(time), state.clock, h)
        moves, states = [], []
        for i, (p, g) in enumerate(zip(leaves, gradients, strict=True)):
            dtype = precise(p)
            on = on_arrays(r, library("jax", dtype))
            x, one = jnp.asarray(p, dtype), r.State(*(field[i] for field in fields))
            new, one = on.step(x, jnp.asarray(g, dtype), one, _arrays(h, dtype), _arrays(now, dtype))
            moves.append((new - x).astype(jnp.result_type(p)))
            states.append([jnp.broadcast_to(field, x.shape).astype(dtype) for field in one])
        new_fields = (tree.unflatten([one[k] for one in states]) for k in range(len(fields)))
        return tree.unflatten(moves), RuleState(count, _arrays(clock, time), r.State(*new_fields))

    return optax.GradientTransformationExtraArgs(init, update)


def factory(optimizer: str) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """`transformation` for one rule, with every hyperparameter in its signature: what `inject_hyperparams` reads."""

    def made(**hyper: Any) -> optax.GradientTransformationExtraArgs:
        return transformation(optimizer, **hyper)

    kind = inspect.Parameter.KEYWORD_ONLY
    named = {"learning_rate" if name == "lr" else name: value for name, value in rule(optimizer).defaults.items()}
    fields = [inspect.Parameter(name, kind, default=value) for name, value in named.items()]
    made.__signature__ = inspect.Signature(fields)  # type: ignore[attr-defined]
    return made


def precise(leaf: Any) -> str:
    """The dtype in which a parameter is updated."""
    name = jnp.result_type(leaf).name
    return name if name in ("float32", "float64") else "float32"


def _clock_dtype(leaves: list[Any]) -> str:
    """The dtype of hyperparameters and clocks: that of the most precise parameter."""
    return max(map(precise, leaves), default="float32")


def _arrays(values: Any, dtype: str) -> Any:
    """The fields of a named tuple as arrays of a dtype."""
    return type(values)(*(jnp.asarray(value, dtype) for value in values))
