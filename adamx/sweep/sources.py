"""Sources: what Hydra composes from besides adamx's YAML: Python files as options, and the folder of --config-dir."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

GROUPS = ("optimizer", "problem")  # their settings are open, and a user's own Python file is an option


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


class Folders(SearchPathPlugin):
    """Where configurations are besides adamx's own: in the folder that was typed, and in Python files."""

    typed: ClassVar[list[Path]] = []

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in self.typed:
            search_path.append("command-line", f"file://{folder}")
        search_path.append("adamx", "adamx://")


ConfigStore.instance().store(
    name="adamx_open",
    node=OmegaConf.create({group: DictConfig({}, flags={"struct": False}) for group in GROUPS}),
    provider="adamx",
)
