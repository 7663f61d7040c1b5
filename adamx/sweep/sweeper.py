"""Sweeper: turns overrides into launches, with columns of hyperparameters and seeds.

Stock multirun composes and launches every job alone. Here Hydra composes only the distinct combinations of
compile-time choices (optimizer, problem, dtype, ...); hyperparameters and seeds become columns inside one launch.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from omegaconf import DictConfig, OmegaConf

from adamx.engine.launch import Launch, build
from adamx.inputs.axes import MOST_RUNS, Interval, interval, values
from adamx.inputs.errors import InputError
from adamx.inputs.nested import leaves
from adamx.optimizers import optimizers, rule
from adamx.schedules import Schedule
from adamx.sweep.compose import Composer, composing, resolved
from adamx.sweep.sources import GROUPS

SHARED = ("record", "dry_run", "default_grid", "skip", "resume", "open")  # one value for the whole sweep
ELSEWHERE = ("backend", "record")  # groups that say where runs are computed and recorded, not which
NESTED = ("storage", "regimes")  # keys that have settings and are no groups
Points = np.ndarray | Interval


class Sweeper:
    """Expands what was typed, and what files say, into launches.

    Attributes:
        notes: lines that say what the overrides mean, where they do not say it themselves.
    """

    def __init__(self, composer: Composer) -> None:
        self.composer = composer
        self.notes: list[str] = []

    @cached_property
    def typed(self) -> list[Override]:
        """The overrides that were typed, but for those of Hydra's own settings."""
        return [override for override in self.composer.overrides if not override.is_hydra_override()]

    @cached_property
    def master(self) -> DictConfig:
        """The configuration that all launches share."""
        return self.composer.master(self._single_values(self.typed))

    def _single_values(self, overrides: Sequence[Override]) -> list[str]:
        """The overrides that Hydra composes and that have one value each, the last of a key."""
        rules = self.rules(overrides)
        last = {o.key_or_group: o for o in overrides if not _is_fused(o) and root(o) not in rules}
        return [str(o.input_line) for o in last.values() if not o.is_sweep_override()]

    @property
    def single(self) -> bool:
        """True if one point was asked for, with --run or hydra.mode=RUN."""
        said = self.composer.typed.single
        return self.master.hydra.mode is not None and self.master.hydra.mode.name == "RUN" if said is None else said

    @cached_property
    def written(self) -> list[Override]:
        """The overrides of `hydra.sweeper.params`, which come before those typed."""
        with composing():
            params = [f"{key}={value}" for key, value in (self.master.hydra.sweeper.params or {}).items()]
        return self.composer.parse(params)

    def arguments(self) -> list[str]:
        """The overrides of files and those typed; the default grid before them if they name nothing.

        Raises:
            InputError: one that cannot be used.
        """
        if self.single:
            for override in self.typed:
                if override.is_sweep_override():
                    raise InputError(f"{override.input_line}: several values are a sweep, and one point was asked for")
            return lines(self.typed)
        words = lines([*self.written, *self.typed])
        return words if self._names_a_part([*self.written, *self.typed]) else [*self.words("default_grid"), *words]

    def words(self, key: str) -> list[str]:
        """A list of overrides in the configuration."""
        with composing():
            found = OmegaConf.to_container(OmegaConf.create({key: OmegaConf.select(self.master, key)}), resolve=True)
        words = found[key]  # type: ignore[index,call-overload]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InputError(f"{key} is {words!r}: a list of overrides is needed")
        return words

    def _names_a_part(self, overrides: Sequence[Override]) -> bool:
        """True if there is an optimizer, a problem, a group such as `preset` or `experiment`, or an axis."""
        groups = {group for group in self.master.hydra.runtime.choices if group not in ELSEWHERE}
        parts = {*GROUPS, *self.rules(overrides), *groups}
        added = {o.key_or_group for o in overrides if o.is_add() and "." not in o.key_or_group}
        named = (o for o in overrides if {root(o), o.key_or_group} & (parts | added))
        axes = (o for o in overrides if _is_fused(o) and (o.is_sweep_override() or isinstance(o.value(), (str, list))))
        return self.composer.typed.name is not None or any(named) or any(axes)

    def rules(self, overrides: Iterable[Override]) -> set[str]:
        """The names that may stand before a hyperparameter: adam.eps=1e-4 is for Adam alone."""
        return {*optimizers(), *self.rules_of(overrides)} - {*self.composer.loader.list_groups(""), *NESTED}

    def rules_of(self, overrides: Iterable[Override]) -> set[str]:
        """The names of the optimizers that overrides choose."""
        chosen = (choice for o in overrides if o.key_or_group == "optimizer" for choice in choices(o))
        return {Path(choice.partition("=")[2]).stem for choice in chosen}

    def launches(self, arguments: Sequence[str]) -> list[Launch]:
        """One launch for each distinct combination of compile-time choices.

        Raises:
            InputError: an override that cannot be used.
        """
        overrides = self.composer.parse(arguments)
        rules = self.rules(overrides)
        picked: dict[str, list[str]] = {}
        fused: list[Override] = []
        for override in overrides:
            if override.is_hydra_override():
                continue
            if _is_fused(override) or root(override) in rules:
                fused.append(override)
            else:
                picked.pop(override.key_or_group, None)  # the last one typed counts, as in Hydra
                picked[override.key_or_group] = choices(override)
        configs = [self._composed(c) for c in dict.fromkeys(itertools.product(*picked.values()))]
        fields = [_fields(config) for config in configs]
        together = set().union(*fields)
        names = [_stem(config) for config in configs]
        for override in fused:
            self._check_rule(override, names, rules)
        launches = []
        for config, own, name in zip(configs, fields, names, strict=True):
            expanded = Columns(config, own, together - own)
            for override in fused:
                if _is_fused(override) or root(override) == name:
                    expanded.take(override)
            launches.append(launch := expanded.launch())
            if expanded.same:
                seed = f"it runs once, with seed {launch.seeds[0]}"
                self.notes.append(f"nothing of {launch.problem.name} is drawn by the seed: {seed}")
            if expanded.absent:
                axes = " and ".join(f"optimizer.{key}" for key in expanded.absent)
                lacks = " and no ".join(expanded.absent)
                self.notes.append(f"{name} has no {lacks}: it runs once for all values of {axes}")
        self.notes = list(dict.fromkeys(self.notes))
        return launches

    def _check_rule(self, override: Override, chosen: Sequence[str], rules: set[str]) -> None:
        """Raise InputError for a setting of an optimizer that does not run, or without a field."""
        name, _, key = override.key_or_group.partition(".")
        if name in rules and not key:
            raise InputError(f"{override.input_line}: which setting of {name}? such as {name}.lr=0.1")
        if name in rules and name not in chosen:
            raise InputError(
                f"{override.input_line}: {name} is not among the optimizers, {', '.join(dict.fromkeys(chosen))}"
            )

    def _composed(self, combination: Sequence[str]) -> DictConfig:
        """The configuration of a combination; the master where it is the same."""
        if not self.composer.foreign and sorted(combination) == sorted(self._single_values(self.typed)):
            return copy.deepcopy(self.master)
        config = self.composer.compose(combination)
        if config.hydra.sweeper != self.master.hydra.sweeper:
            raise InputError(f"{' '.join(combination)}: its file has hydra.sweeper.params, and is to be swept alone")
        return config


class Columns:
    """The points of one launch: what is typed, and what its composed configuration has, as columns."""

    def __init__(self, config: DictConfig, fields: set[str], elsewhere: set[str]) -> None:
        """fields: of the rule. elsewhere: those that it lacks and another of the sweep has."""
        self.config, self.elsewhere = config, elsewhere
        self.absent: dict[str, None] = {}  # a set in order
        self.same = False  # whether its seeds all give the same runs
        self.shown: dict[str, Any] = {}  # the text typed for an axis, as the record has it
        self.points: dict[str, Points] = {}  # by "seed" and "optimizer.lr"
        self.optimizer = isinstance(config.get("optimizer"), DictConfig)
        if self.optimizer:
            self.absent.update(dict.fromkeys(key for key in config.optimizer if key in elsewhere))
            for key in self.absent:
                del config.optimizer[key]
        for key, value in self._written():
            self._put(key, value)

    def _written(self) -> list[tuple[str, Any]]:
        """Seed and hyperparameters in the configuration, unresolved."""
        found: Any = OmegaConf.to_container(self.config, resolve=False)
        fields = found["optimizer"] if self.optimizer else {}
        return [("seed", found.get("seed"))] + [(f"optimizer.{key}", v) for key, v in fields.items() if key != "name"]

    def take(self, override: Override) -> None:
        """An override of one of its hyperparameters or of its seed."""
        root, _, field = override.key_or_group.partition(".")
        if root == "optimizer" and field in self.elsewhere:
            self.absent[field] = None
            return
        if "." in field:
            raise InputError(f"{override.input_line}: a hyperparameter is a number, without settings of its own")
        key = f"optimizer.{field}" if field else root
        if override.is_sweep_override():
            self._put_points(key, override.get_value_string(), _points(override))
        else:
            self._put(key, override.value())

    def _put(self, key: str, value: Any) -> None:
        """A value that may be an axis, a list, or an interpolation that is resolved later."""
        if isinstance(value, list):
            self._put_points(key, value, values(key, value))
        elif isinstance(value, str) and "${" not in value:
            self._put_points(key, value, _read(key, value))
        else:
            self.points.pop(key, None)
            self.shown.pop(key, None)
            self._set(key, value)

    def _put_points(self, key: str, text: Any, points: Points) -> None:
        self.shown[key], self.points[key] = text, points
        self._set(key, _mark(key))

    def _set(self, key: str, value: Any) -> None:
        group, _, field = key.rpartition(".")
        with composing():
            node = self.config[group] if group else self.config
            node[field] = value

    def launch(self) -> Launch:
        """The launch; a hyperparameter that is `${optimizer.lr}` follows lr row by row.

        Raises:
            InputError: a value that cannot be used, or that depends on an axis otherwise.
        """
        config = resolved(self.config)
        raw = dict(self._written())
        follows: dict[str, str] = {}
        for key, value in leaves(config):
            sources = [source for source in self.points if _mark(source) in str(value)]
            if key in self.points:
                continue
            if sources:
                if value != _mark(sources[0]) or not key.startswith("optimizer."):
                    raise InputError(
                        f"{key} depends on {sources[0]}, which has several values: only a hyperparameter can follow "
                        f"another, as in 'optimizer.eps=${{optimizer.lr}}'"
                    )
                follows[key.partition(".")[2]] = sources[0].rpartition(".")[2]
                self.shown[key] = raw[key]
            elif isinstance(value, (str, list)) and key in raw:
                raise InputError(f"{key} is {raw[key]}, which is {value!r}: one number is needed")
        for key, text in self.shown.items():
            group, _, field = key.rpartition(".")
            (config[group] if group else config)[field] = text
        if self.absent and not any(isinstance(points, Interval) for points in self.points.values()):
            config["samples"] = None  # only hyperparameters that this rule lacks were drawn
        built = build(config, {key.rpartition(".")[2]: points for key, points in self.points.items()}, follows)
        self.same = "seed" in self.points and not built.seeded and "seed" not in follows.values()
        return built.once() if self.same else built


def _mark(key: str) -> str:
    """A placeholder for an axis while a configuration is resolved: a reference to the axis resolves to it."""
    return f"«{key}»"


def lines(overrides: Iterable[Override]) -> list[str]:
    return [str(override.input_line) for override in overrides]


def root(override: Override) -> str:
    """The group or top-level key that an override is about."""
    return override.key_or_group.split(".")[0].split("/")[0]


def _is_fused(override: Override) -> bool:
    """True if the values of this key are columns inside a launch: seeds and hyperparameters."""
    key = override.key_or_group
    return key == "seed" or key.startswith("optimizer.")


def _stem(config: DictConfig) -> str:
    """The name of the rule, as it may stand before a hyperparameter."""
    return Path(str(OmegaConf.select(config, "optimizer.name"))).stem


def _fields(config: DictConfig) -> set[str]:
    """The hyperparameters of the rule and of the schedule; none where no rule is named, which is said later."""
    name = OmegaConf.select(config, "optimizer.name")
    return {*rule(name).defaults, *Schedule._fields} if isinstance(name, str) else set()


def _read(key: str, text: str) -> Points:
    """The points of a text in a file, in quotes or in an environment variable: what it would be if it were typed."""
    if found := interval(text):
        return found
    try:
        (override,) = OverridesParser.create().parse_overrides([f"{key}={text}"])
    except Exception:  # it is in no language of Hydra's
        return values(key, text)
    return _points(override) if override.is_sweep_override() else values(key, override.value())


def _points(override: Override) -> Points:
    """The points of a swept hyperparameter, or the interval to draw them from."""
    typed: Any = override.value()
    if override.is_interval_sweep():
        scales = [*typed.tags] or ["lin"]
        try:
            return Interval(float(typed.start), float(typed.end), *scales[:1])
        except InputError as error:
            raise InputError(f"{override.input_line}: {error}") from None
    if override.is_range_sweep():
        if not typed.step:
            raise InputError(f"{override.input_line}: a range needs a step")
        if (typed.stop - typed.start) / typed.step > MOST_RUNS:
            raise InputError(f"{override.input_line}: more than {MOST_RUNS:,} values")
    with composing():
        items = [item.text if isinstance(item, QuotedString) else item for item in override.sweep_iterator()]
    return values(override.key_or_group, items)


def choices(override: Override) -> list[str]:
    """The single overrides that one compile-time override stands for."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if root(override) in SHARED:
        raise InputError(f"{override.input_line}: {root(override)} is one for the whole sweep")
    if override.is_interval_sweep():
        raise InputError(f"{override.input_line}: only optimizer.* is drawn from an interval; list the values")
    with composing():
        found = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    if not found:
        raise InputError(f"{override.input_line}: no values")
    return found
