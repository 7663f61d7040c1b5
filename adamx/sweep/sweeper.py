"""Hydra plugins of adamx: the sweeper that turns a grid into columns, and Python files as options of a group.

Stock multirun composes and launches every job alone. Here Hydra composes only the distinct combinations of
compile-time choices (optimizer, problem, dtype, ...); hyperparameters and seeds become columns inside one launch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from adamx.engine.launch import Launch, build
from adamx.inputs.axes import MOST_RUNS, Interval, values
from adamx.inputs.errors import InputError
from adamx.sweep import command, run, waiting
from adamx.sweep.journal import Journal, find

GROUPS = ("optimizer", "problem")  # their settings are open, and a user's own Python file is an option
SHARED = ("record", "dry_run", "default_grid", "skip", "resume", "open")  # one value for the whole sweep


class AdamxSweeper(Sweeper):
    """Expands overrides into launches and runs them."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._loader, self._master = hydra_context.config_loader, config

    def sweep(self, arguments: list[str]) -> Any:
        """Run every launch that the overrides ask for."""
        waiting.say("composing")
        return run.run(*self.plan(arguments))

    def plan(self, arguments: list[str]) -> tuple[list[Launch], list[str], Journal | None]:
        """What `run.run` takes: the launches, the overrides that they come from, and the journal that is resumed."""
        resumed = self._resumed(arguments)
        arguments = resumed.about["overrides"] if resumed else self.with_default_grid(arguments)
        return self.launches(arguments), arguments, resumed

    def _resumed(self, arguments: list[str]) -> Journal | None:
        """The journal that `resume=` names; it goes alone, with the overrides that the sweep began with."""
        typed = [o for o in self._parse(arguments) if o.key_or_group == "resume"]
        if not typed:
            return None
        if len(arguments) > 1:
            raise InputError(f"{typed[0].input_line} goes alone, with the overrides that the sweep began with")
        from adamx.record import store  # with mlflow: seconds

        return find(store.address(), str(typed[0].value()))

    def with_default_grid(self, arguments: list[str]) -> list[str]:
        """The overrides, after the default grid if they name no optimizer, problem, preset or axis."""
        for override in self._parse(arguments):
            swept = override.is_sweep_override() or isinstance(override.value(), (str, list))
            if _root(override) in (*GROUPS, "preset") or (swept and _is_fused(override)):
                return arguments
        return [*self._master.default_grid, *arguments]

    def launches(self, arguments: list[str]) -> list[Launch]:
        """One launch for each distinct combination of compile-time choices.

        Raises:
            InputError, HydraException: an override that cannot be used.
        """
        swept: dict[str, Override] = {}
        choices: dict[str, list[str]] = {}
        for override in self._parse(arguments):
            key = override.key_or_group
            swept.pop(key, None)  # the last one typed counts, as in Hydra
            choices.pop(key, None)
            if override.is_sweep_override() and _is_fused(override):
                swept[key] = override
            else:
                choices[key] = _choices(override)
        points = {key.removeprefix("optimizer."): _points(override) for key, override in swept.items()}
        launches = []
        for combination in dict.fromkeys(itertools.product(*choices.values())):
            config = command.plain(self._loader.load_sweep_config(self._master, list(combination)))
            for key, override in swept.items():
                *group, name = key.split(".")
                (config[group[0]] if group else config)[name] = override.get_value_string()
            launches.append(build(config, points))
        return launches

    def _parse(self, arguments: list[str]) -> list[Override]:
        return OverridesParser.create(self._loader).parse_overrides(arguments)


def _root(override: Override) -> str:
    """The group or top-level key that an override is about."""
    return override.key_or_group.split(".")[0].split("/")[0]


def _is_fused(override: Override) -> bool:
    """Whether the values of this key are columns inside a launch: seeds and hyperparameters."""
    key = override.key_or_group
    return key == "seed" or (key.startswith("optimizer.") and key != "optimizer.name")


def _points(override: Override) -> np.ndarray | Interval:
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
    items = [item.text if isinstance(item, QuotedString) else item for item in override.sweep_iterator()]
    return values(override.key_or_group, items)


def _choices(override: Override) -> list[str]:
    """The single overrides that one compile-time override stands for."""
    if override.is_delete():
        raise InputError(f"{override.input_line}: nothing can be removed, only set")
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if _root(override) in SHARED:
        raise InputError(f"{override.input_line}: {_root(override)} is one for the whole sweep")
    if override.is_interval_sweep():
        raise InputError(f"{override.input_line}: only optimizer.* is drawn from an interval; list the values")
    choices = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    if not choices:
        raise InputError(f"{override.input_line}: no values")
    return choices


class PythonFileSource(ConfigSource):
    """Lets `problem=./mine.py` and `optimizer=./mine.py` choose a user's own file."""

    @staticmethod
    def scheme() -> str:
        return "adamx"

    def is_config(self, config_path: str) -> bool:
        return config_path.split("/")[0] in GROUPS and config_path.endswith(".py")

    def load_config(self, config_path: str) -> ConfigResult:
        config = OmegaConf.create({"name": config_path.split("/", 1)[1]})
        return ConfigResult(self.provider, self.full_path(), config, header={"package": None})

    def is_group(self, config_path: str) -> bool:
        return False

    def available(self) -> bool:
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []


def _harmless(load: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """Hydra calls what hydra.callbacks names, opens what its logging names, and writes where it is told. Configurations
    here are data, whether they are typed or come from a file: all of that is refused before it has an effect."""

    @wraps(load)
    def checked(*args: Any, config_name: str | None = None, **kwargs: Any) -> DictConfig:
        config = load(*args, config_name=config_name, **kwargs)
        if not any(str(command.CONF) in str(each.path) for each in args[0].config_search_path.get_path()):
            return config  # somebody else's, in whose process a sweep runs
        own = OmegaConf.to_container(config.hydra, resolve=False)
        assert isinstance(own, dict)
        harmless = {
            "callbacks": not own["callbacks"],
            "sweeper": str(own["sweeper"]).startswith("{'_target_': 'hydra_plugins.adamx_plugins."),
            "hydra_logging": not (own["hydra_logging"] or {}).get("handlers"),
            "job_logging": not (own["job_logging"] or {}).get("handlers"),
            "job.env_set": not own["job"]["env_set"],
            "output_subdir": own["output_subdir"] is None,
            "run": own["run"]["dir"] == ".",
        }
        for key, good in harmless.items():
            if config_name and not good:  # without a name it is Hydra's own help
                raise InputError(f"hydra.{key} cannot be set: a configuration is data, without code to run or files")
        return config

    return checked


ConfigLoaderImpl.load_configuration = _harmless(ConfigLoaderImpl.load_configuration)  # type: ignore[method-assign]
_store = ConfigStore.instance()
_store.store(
    name="adamx_open",
    node=OmegaConf.create({group: DictConfig({}, flags={"struct": False}) for group in GROUPS}),
    provider="adamx",
)
