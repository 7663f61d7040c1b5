"""Sources: what Hydra composes from besides adamx's YAML.

Optimizers and problems say what can be set of them in their own files: each is an option of its group, with its
defaults. A YAML in `conf/` is needed where there is more to say, as there is of a data set's settings. A user's Python
file is an option too, and so is what stands in the folder of --config-dir.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from adamx.optimizers import optimizers, rule
from adamx.problems import problems, settings


class Group(NamedTuple):
    """Options that are Python files: their names, and the settings of one with their defaults."""

    names: Callable[[], tuple[str, ...]]
    settings: Callable[[str], Mapping[str, Any]]


GROUPS = {  # their settings are open: what cannot be set is known when the file is read
    "optimizer": Group(optimizers, lambda name: rule(name).defaults),
    "problem": Group(problems, lambda name: plain(settings(name))),
}


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a configuration has them: lists for tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


class PythonFiles(ConfigSource):
    """The optimizers and problems of adamx, and `problem=./mine.py` and `optimizer=./mine.py` of a user's own."""

    @staticmethod
    def scheme() -> str:
        return "adamx"

    def is_config(self, config_path: str) -> bool:
        group, _, option = config_path.partition("/")
        return group in GROUPS and (option.endswith(".py") or _name(option) in GROUPS[group].names())

    def load_config(self, config_path: str) -> ConfigResult:
        group, _, option = config_path.partition("/")
        own = option.endswith(".py")  # a user's file is not run before the whole command line is read
        config = {"name": option} if own else {"name": _name(option), **GROUPS[group].settings(_name(option))}
        return ConfigResult(self.provider, self.full_path(), OmegaConf.create(config), header={"package": None})

    def is_group(self, config_path: str) -> bool:
        return config_path in ("", *GROUPS)

    def available(self) -> bool:
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "" and results_filter != ObjectType.CONFIG:
            return list(GROUPS)
        options = config_path in GROUPS and results_filter != ObjectType.GROUP
        return list(GROUPS[config_path].names()) if options else []


def _name(option: str) -> str:
    return option.removesuffix(".yaml")  # Hydra asks by the name of a file


class Folders(SearchPathPlugin):
    """Where configurations are besides adamx's own: in the folder that was typed, and in Python files."""

    typed: ClassVar[list[Path]] = []

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("adamx", "adamx://")
        for folder in self.typed:
            search_path.append("command-line", f"file://{folder}")


ConfigStore.instance().store(
    name="adamx_open",
    node=OmegaConf.create({group: DictConfig({}, flags={"struct": False}) for group in GROUPS}),
    provider="adamx",
)
