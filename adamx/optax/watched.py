"""Watched: an optax transformation that measures its own updates; `see` takes the figures out and judges them.

    optimizer = adamx.optax.watch(optax.adamw, learning_rate=1e-3, b2=0.95)      # made, so that all is known
    optimizer = adamx.optax.watch(optax.chain(clip, optax.adamw(schedule)), learning_rate=schedule)       # or wrapped

    updates, state = optimizer.update(gradients, state, params)                  # in jit, scan, vmap, as ever
    optimizer.see(state, loss)                                                   # outside of them, after each update
    print(optimizer.verdict)

As with `optax.snapshot`, figures stand in the state: `state.figures`. A training in `jax.lax.scan` stacks them and
hands them over at the end, with its losses: `optimizer.see(figures, losses)`; one under vmap has `lanes`.
"""

from __future__ import annotations

import inspect
from array import array
from math import isfinite, nan
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from adamx.inputs.errors import InputError, unknown, whole
from adamx.optax.figures import M, V, clipping, found, injected, measure, moments, norm, total
from adamx.optax.rules import precise
from adamx.regimes import FALL, RISE
from adamx.watch.seen import Seen
from adamx.watch.tape import MEASURES, Event
from adamx.watch.verdict import Verdict

FIRST, OUTLIER, AFTER, MOST = 5, 4.0, 3, (20, 0.02)  # when a step is measured: as in adamx.torch.probe
HYPER = ("lr", "b1", "b2", "eps", "eps_root", "weight_decay")
FACTS = {"b1": "beta1", "b2": "beta2", "eps": "eps", "weight_decay": "weight_decay"}
OURS = {"learning_rate": "lr", "lr": "lr", "b1": "b1", "momentum": "b1", "beta1": "b1", "b2": "b2", "decay": "b2",
        "beta2": "b2", "rho": "b2", "eps": "eps", "eps_root": "eps_root", "weight_decay": "weight_decay"}  # fmt: skip
NAMED = ("learning_rate", "b1", "b2", "decay", "momentum", "eps", "eps_root", "eps_in_sqrt", "weight_decay")
IN_ROOT = ("ScaleByRmsState", "ScaleByRmsWithCountState", "ScaleByRStdDevState", "ScaleByRStdDevWithCountState")
NAME_THEM = "Name it: adamx.optax.watch(optimizer, learning_rate=..., b2=..., eps=...)."
SIGHT = ("target", "minimum", "batch", "step", "mlflow")


class Figures(NamedTuple):
    """Of one update; stacked, an array of each."""

    step: Any  # updates made, this one among them: () int32
    norm: Any  # of all gradients
    measured: Any  # whether `values` are of this update: () bool
    values: Any  # (len(MEASURES),), NaN where not known
    hyper: Any  # (len(HYPER),), NaN where not known


class WatchState(NamedTuple):
    """The state of a watched transformation: its own, what decides whether to measure, and the last figures."""

    inner_state: Any
    level: Any  # the running median of the norm
    attention: Any  # steps that are still measured after an unusual one
    unusual: Any  # unusual steps that have been measured
    total: Any  # the sum of v
    figures: Figures


class Sight(Seen):
    """What has been seen of one training: a tape, filled by `see`; `verdict`, `regime`, `report` are of it."""

    groups: list[dict[str, Any]]  # the facts of its one group, as soon as shapes are known

    def see(self, state: Any, loss: Any = None) -> None:
        """Take the figures of an update, or of many in their order.

        They are read from the device at once. A step that has been seen is left out, with its loss; steps between two
        that are seen have no norm.

        Args:
            state: what `update` returned, alone or within a larger state (`optax.chain`, a TrainState); or
                `state.figures`, stacked along the first axis by `jax.lax.scan`, (steps,).
            loss: the loss whose gradients these were, () or (steps,); None where it is not known.
        Raises:
            InputError: state has no figures, or those of several watches or trainings; the shapes differ.
        """
        self._open()
        figures: Figures = jax.tree.map(np.asarray, jax.device_get(_figures(state)))
        if figures.step.ndim > 1 or (figures.step.size > 1 and len(np.unique(figures.step)) == 1):
            raise InputError("figures of several trainings: use lanes(figures, losses), which gives a watch for each")
        if not np.size(figures.step) or np.min(figures.step) < 1:
            raise InputError("no step was made yet: see(state, loss) is for the state that update returned")
        if not figures.step.ndim:
            figures = jax.tree.map(lambda f: f[None], figures)
        rows = figures
        steps = len(rows.step)
        losses = None if loss is None else np.asarray(jax.device_get(loss), float)
        if losses is not None and losses.size != steps:
            raise InputError(f"loss has {losses.size} values, the figures are of {steps} steps")
        if not self.tape.groups:
            self._begin(rows)
        for i in range(steps):
            self._row(Figures(*(f[i] for f in rows)), None if losses is None else losses.reshape(-1)[i])

    def _begin(self, rows: Figures) -> None:
        """The first figures: the tape begins."""
        tape = self.tape
        first = int(rows.step[0])
        if tape.first == 1:
            tape.first = first
        elif first == 1:
            said = f"step {tape.first} begins without any optimizer state: its moments were not restored"
            tape.events.append(Event(tape.first, "moments_lost", said))
        self.count = first - 1
        hyper = dict(zip(HYPER, map(float, rows.hyper[0]), strict=True))
        group = dict(self.groups[0]) if self.groups else {}
        needs, scalings = group.pop("needs", ()), group.pop("scalings", 0)
        group |= {here: hyper[name] for name, here in FACTS.items() if isfinite(hyper[name])}
        if hyper["eps_root"] > 0:
            group["eps"] = hyper["eps"] + hyper["eps_root"] ** 0.5  # as it compares with sqrt(v_hat)
        tape.groups.append(group)
        tape.lr.append(array("d"))
        tape.parts.append({name: [] for name in MEASURES})
        missing = ", ".join("learning_rate" if n == "lr" else n for n in ("lr", *needs) if not isfinite(hyper[n]))
        if missing:
            tape.notes.append(f"Not known of this optimizer: {missing}; what needs it is left out. {NAME_THEM}")
        if scalings > 1:
            tape.notes.append("Several parts of this optimizer keep a v: what needs v is left out. Watch each part.")

    def _row(self, figures: Figures, loss: Any) -> None:
        tape, now = self.tape, int(figures.step)
        if now == self.count:
            return
        lr = float(figures.hyper[0])
        for _ in range(now - self.count - 1):
            tape.step([lr], nan)  # not seen
        if now < self.count:
            said = f"the optimizer's own count of steps went from {self.count} to {now}"
            tape.events.append(Event(tape.last + 1, "moments_lost" if now <= 1 else "rewound", said))
        self.count = now
        tape.step([lr], float(figures.norm))
        if figures.measured:
            row = dict(zip(MEASURES, map(float, figures.values), strict=True))
            tape.row(tape.last, row, [row])
            self._measured()
        if loss is not None:
            self._tell(tape.last, loss)

    def _any(self) -> None:
        if not self.tape.steps:
            raise InputError("no step has been seen: call see(state, loss) after update, outside of jit")

    def close(self) -> None:
        """See no more; what was seen stays, and is written to MLflow if it was asked for."""
        if self.recording and not self.closed:
            self._any()
        super().close()

    @property
    def verdict(self) -> Verdict:
        """The verdict from all that was seen so far."""
        self._any()
        return super().verdict


class Watched(Sight, optax.GradientTransformationExtraArgs):
    """A transformation, `init` and `update`, and what has been seen of its training."""

    def __new__(cls, init: Any, update: Any, **options: Any) -> Watched:
        return super().__new__(cls, init, update)

    def __init__(self, init: Any, update: Any, **options: Any) -> None:
        super().__init__(**options)
        self.options, self.groups = options, []

    def lanes(self, figures: Any, losses: Any = None) -> list[Sight]:
        """A watch for each of several trainings that ran side by side under vmap, whose axis comes first.

        Args:
            figures: a state or `state.figures`, (trainings,) or (trainings, steps). losses: of the same shape, or None.
        Raises:
            InputError: the shapes differ.
        """
        figures = jax.tree.map(np.asarray, jax.device_get(_figures(figures)))
        if figures.step.ndim not in (1, 2):
            raise InputError(
                f"figures have {figures.step.ndim} axes: one of trainings, or two, trainings and steps, are needed"
            )
        if losses is not None and np.shape(losses) != figures.step.shape:
            raise InputError(f"losses have the shape {np.shape(losses)}, the figures {figures.step.shape}")
        losses = None if losses is None else np.asarray(jax.device_get(losses))
        lanes = []
        for i in range(len(figures.step)):
            one = Sight(**self.options)
            one.groups = self.groups
            one.see(jax.tree.map(lambda f, i=i: f[i], figures), None if losses is None else losses[i])
            lanes.append(one)
        return lanes


def watch(transformation: Any, *, every: int = 10, **options: Any) -> Watched:
    """Watch an optax transformation.

    Its updates are what they were, to the bit. (Where one jit has the loss and the update, XLA fuses the gradients into
    the update only if nothing else reads them, so that their last bits are those of a training that logs their norm.)
    Every gradient is read once more for its norm, and at the first steps,
    every `every`-th and those that are unusual, the MEASURES of `adamx.watch.tape` are computed within the update
    (under vmap XLA computes them at all steps, and chooses). The curvature is not measured.

    Args:
        transformation: an optax transformation, or a function that makes one, such as `optax.adamw` or
            `adamx.optax.factory("adopt")`, which is called with the hyperparameters named here. Gradients are those
            handed to it: outside of it, clipping is not seen but in the updates. v is read from the states of optax's
            adam, amsgrad, belief, rms, stddev and rss (adagrad) scalings; other rules have the figures that need no v.
        every: steps between measurements.
        options: the hyperparameters: `learning_rate` (a number or a schedule), `b1` or `momentum`, `b2` or `decay`,
            `eps`, `eps_root`, `eps_in_sqrt` (of rmsprop: optax's default is True), `weight_decay` (decoupled), as far
            as a made transformation does not show them. Those in the state of `optax.inject_hyperparams` are read there
            at every step. And `target, minimum, batch, step, mlflow` as in `adamx.watch`.

    Returns:
        The watched transformation.

    Raises:
        InputError: an unknown option, or no transformation; when it runs: no params, complex ones.
    """
    sight = {name: options.pop(name) for name in SIGHT if name in options}
    made, named, name = _made(transformation, options)
    inner = optax.with_extra_args_support(made)
    every = whole("every", every, 1)

    def init(params: Any) -> WatchState:
        state = inner.init(params)
        leaves = [leaf for leaf in jax.tree.leaves(params) if _counts(leaf)]
        watched.groups[:] = [_facts(name, leaves, state)]
        dtype = max(map(precise, leaves), default="float32")
        zero, none = jnp.zeros((), jnp.int32), jnp.full((), nan, dtype)
        unseen = Figures(
            zero, none, jnp.zeros((), bool), jnp.full(len(MEASURES), nan, dtype), jnp.full(len(HYPER), nan, dtype)
        )
        v = total(moments(state, jax.tree.structure(params)), dtype)
        return WatchState(state, none, zero, zero, v, unseen)

    def update(updates: Any, state: WatchState, params: Any = None, **extra: Any) -> tuple[Any, WatchState]:
        if params is None:
            raise InputError("the watch needs the parameters: optimizer.update(gradients, state, params)")
        moved, new = inner.update(updates, state.inner_state, params, **extra)
        # what is measured is not computed along with the update, whose bits stay what they were
        gradients, made, now, values = jax.lax.optimization_barrier((updates, moved, new, params))
        tree: Any = jax.tree.structure(values)
        columns = [tree.flatten_up_to(one) for one in (gradients, made, values)]
        kept = [i for i, row in enumerate(zip(*columns, strict=True)) if all(map(_counts, row))]
        g, u, x = ([jnp.asarray(column[i]) for i in kept] for column in columns)
        watched.groups[:] = [_facts(name, x, now)]
        dtype, at = state.level.dtype, optax.safe_increment(state.figures.step)
        hyper = _hyper(named, now, state.figures.step, dtype)
        memory = moments(now, tree).of(kept)
        size, v = norm(g, dtype), total(memory, dtype)
        known = ~jnp.isnan(size) & (size != 0)
        level = jnp.where(jnp.isnan(state.level), size, state.level)
        unusual = known & (~jnp.isfinite(size) | (size > OUTLIER * level))
        level = jnp.where(known, level * jnp.where(size > level, RISE, FALL), state.level)
        due = (at <= FIRST) | (at % every == 0) | (state.attention > 0)
        more = unusual & ~due & (state.unusual < jnp.maximum(MOST[0], MOST[1] * at))
        attention = jnp.where(more, AFTER, jnp.maximum(state.attention - 1, 0))
        due = (due | more) & bool(kept)
        clip = clipping(state.total, v, size, hyper["b2"])
        none = jnp.full(len(MEASURES), nan, dtype)
        measured = (lambda: measure(g, u, x, memory, clip, hyper, dtype)) if kept else (lambda: none)
        figures = Figures(at, size, due, jax.lax.cond(due, measured, lambda: none), jnp.stack(list(hyper.values())))
        return moved, WatchState(new, level, attention, state.unusual + more, v, figures)

    watched = Watched(init, update, every=every, **sight)
    return watched


def _made(transformation: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any], str]:
    """(the transformation, its hyperparameters as far as they are named, its name)."""
    if hasattr(transformation, "update") and hasattr(transformation, "init"):
        for name in options:
            if name not in NAMED:
                raise unknown("option of the watch", name, {*NAMED, *SIGHT, "every"})
        return transformation, options, ""
    if not callable(transformation):
        kind = type(transformation).__name__
        raise InputError(f"transformation is {kind}: an optax transformation is needed, or what makes one (optax.adam)")
    signature = inspect.signature(transformation)
    name = getattr(transformation, "__name__", "")
    for option in options:
        if option not in signature.parameters:
            raise unknown(f"option of {name or 'the transformation'}", option, {*signature.parameters, *SIGHT, "every"})
    try:
        bound = signature.bind(**options)
    except TypeError as error:
        raise InputError(f"{name or 'transformation'}: {error}") from None
    bound.apply_defaults()
    known = {"weight_decay": 0.0, **bound.arguments}  # optax's own have no decay that they do not name
    return transformation(**options), known, name


def _hyper(named: dict[str, Any], state: Any, count: Any, dtype: Any) -> dict[str, jax.Array]:
    """HYPER as scalars at an update, before which `count` were made; NaN for those that are not known."""
    values = dict.fromkeys(HYPER, jnp.asarray(nan, dtype))
    for name, value in {**named, **injected(state)}.items():
        value = value(count) if callable(value) and name == "learning_rate" else value
        if name in OURS and isinstance(value, (int, float, np.number, np.ndarray, jax.Array)):
            values[OURS[name]] = jnp.asarray(value, dtype)
    inside = found(state, IN_ROOT) and named.get("eps_in_sqrt", True)
    if inside or found(state, ("ScaleByRssState",)):
        values["eps_root"], values["eps"] = values["eps"], jnp.where(jnp.isnan(values["eps"]), nan, 0)
    values["eps_root"] = jnp.where(jnp.isnan(values["eps_root"]), 0, values["eps_root"])
    return values


def _counts(leaf: Any) -> bool:
    """True for an array of real numbers that has some: no None, no masked node, no integers."""
    if not isinstance(leaf, (jax.Array, np.ndarray, float)) or not np.size(leaf):
        return False
    kind = jnp.result_type(leaf)
    if jnp.issubdtype(kind, jnp.complexfloating):
        raise InputError(f"a parameter is {kind}: a real float is needed")
    return bool(jnp.issubdtype(kind, jnp.floating))


def _facts(name: str, leaves: list[Any], state: Any) -> dict[str, Any]:
    """The settings that shapes and states show, in the names of the tape's groups."""
    scalings, of_v = found(state, (*V, *M, "RuleState")), found(state, V)
    kinds = {type(s).__name__ for s in scalings}
    said = " and ".join(sorted(kind.removeprefix("ScaleBy").removesuffix("State").lower() for kind in kinds))
    plain = kinds <= {"TraceState"} and (not name or name in ("sgd", "noisy_sgd"))
    return {
        "optimizer": name or said or "a transformation",
        "adaptive": float(not plain),
        "corrected": float(not kinds & {"ScaleByRmsState", "ScaleByRStdDevState"}),
        "decoupled": 1.0,
        "coordinates": float(sum(np.size(leaf) for leaf in leaves)),
        "tensors": float(len(leaves)),
        "dtype": "/".join(sorted({jnp.result_type(leaf).name for leaf in leaves})),
        "scalings": len(of_v),
        "needs": (() if len(of_v) != 1 else ("b2", "eps") if V[type(of_v[0]).__name__][1] else ("eps",)),
    }


def _figures(state: Any) -> Figures:
    """The figures of the one watch in a state."""
    kinds = (WatchState, Figures)
    some = [s for s in jax.tree.leaves(state, is_leaf=lambda s: isinstance(s, kinds)) if isinstance(s, kinds)]
    if len(some) != 1:
        raise InputError(f"state has figures of {len(some)} watches: that of one is needed, as update returned it")
    return some[0].figures if isinstance(some[0], WatchState) else some[0]
