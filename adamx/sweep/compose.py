"""Compose: what a command line and configuration files say together, by Hydra's own means.

Hydra composes and adamx runs: nothing of Hydra's that would call code, log or make folders is ever started, so a
configuration is data, whoever wrote it. What a user of Hydra expects beyond that is refused in a line (`CANNOT`).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir, version
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.plugins.config_source import ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from adamx.inputs.errors import InputError, first_line, unknown
from adamx.optimizers import optimizers
from adamx.sweep.arguments import AS_IN, Arguments
from adamx.sweep.sources import GROUPS, Folders

PACKAGE = Path(__file__).parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # installed, or a checkout
PLUGINS = str(PACKAGE / "_hydra")  # Hydra finds plugins on sys.path only
COMPOSING = ("hydra", "default_grid", "resume")  # of no use once a configuration is composed

MAY = (  # of Hydra's own settings: what composing needs, or what `${hydra:...}` reads
    "mode", "searchpath", "sweeper.params", "help", "hydra_help", "job.name", "job.config", "job.config_name",
    "job.override_dirname", "runtime", "overrides",
)  # fmt: skip
ALREADY = {"job.chdir": False, "output_subdir": None, "verbose": False}  # values that say what adamx does
NO_LOG = "adamx writes no log; what a sweep does is on the terminal and in MLflow"
NO_FOLDER = "adamx makes no folder for a run; runs are recorded in MLflow, where MLFLOW_TRACKING_URI says"
NO_JOBS = "adamx starts no jobs; all runs are computed in this process, on backend=cpu or backend=cuda"
BESIDES = ("See https", "Error parsing override")  # lines of Hydra's errors
CANNOT = {
    "launcher": NO_JOBS,
    "sweeper": "adamx has its own sweeper: all combinations, or samples=N points of intervals such as log:1e-4:1",
    "callbacks": "adamx calls no code that a configuration names",
    "hydra_logging": NO_LOG,
    "job_logging": NO_LOG,
    "verbose": NO_LOG,
    "run": NO_FOLDER,
    "sweep": NO_FOLDER,
    "output_subdir": NO_FOLDER,
    "job": "adamx computes where it is started, in the environment that it finds",
}


class Composer:
    """The configurations of one command line; a context manager, within which Hydra is at its service.

    Attributes:
        primary: the configuration of adamx's own that it is about, "sweep" or "race".
        typed: the command line.
    """

    def __init__(self, primary: str, typed: Arguments) -> None:
        self.primary, self.typed = primary, typed

    def __enter__(self) -> Composer:
        folder = self.typed.folder
        if folder is not None and not Path(folder).is_dir():
            raise InputError(f"--config-dir {folder}: there is no such folder")
        if PLUGINS not in sys.path:
            sys.path.append(PLUGINS)
        Folders.typed[:] = [] if folder is None else [Path(folder).resolve()]
        self._theirs = GlobalHydra.instance().hydra, version.getbase()  # within somebody's hydra.main
        GlobalHydra.instance().clear()
        own = import_module("hydra_plugins.adamx_plugins")
        for kind, plugin in ((ConfigSource, own.Files), (SearchPathPlugin, own.Folders)):
            if plugin.__qualname__ not in {found.__qualname__ for found in Plugins.instance().discover(kind)}:
                Plugins.instance().register(plugin)  # somebody's Hydra had looked for plugins before
        with composing():
            initialize_config_dir(str(CONF), job_name=self.primary, version_base="1.3")
        self.loader: ConfigLoader = GlobalHydra.instance().config_loader()
        return self

    def __exit__(self, *error: object) -> None:
        GlobalHydra.instance().hydra, base = self._theirs
        version.VersionBase.instance().version_base = base
        Folders.typed.clear()

    def parse(self, words: Sequence[str]) -> list[Override]:
        """The overrides that are typed as KEY=VALUE.

        Raises:
            InputError: it is not, or Hydra's grammar does not know its value.
        """
        return [self._parse(word) for word in words]

    def _parse(self, word: str) -> Override:
        if "=" not in word and not word.startswith("~"):
            raise InputError(f"{word!r} is no KEY=VALUE: several values have commas between them, {AS_IN}")
        try:
            (override,) = OverridesParser.create(self.loader).parse_overrides([word])
        except OverrideParseException as error:
            foreign = next((c for c in word if not c.isascii()), None)
            why = f"{foreign!r} needs quotes, as in KEY='\"{foreign}\"'" if foreign else _message(error)
            raise InputError(f"{word} cannot be read: {why}") from None
        except Exception as error:  # of the functions that a value may call
            raise InputError(f"{word} cannot be read: {first_line(error)}") from error
        if override.is_delete():
            raise InputError(f"{word}: nothing can be removed, only set")
        if override.key_or_group in ("optimizer.name", "problem.name"):
            group = override.key_or_group.split(".")[0]
            raise InputError(f"{word}: type {group}={_after_equals(word)}, which brings the settings of its own")
        return override

    @cached_property
    def overrides(self) -> list[Override]:
        """The overrides that were typed."""
        overrides = self.parse(self.typed.overrides)
        for override in overrides:
            if override.is_hydra_override():
                _check_typed(override)
        return overrides

    @cached_property
    def foreign(self) -> bool:
        """True if configuration files of the user take part."""
        searched = any(o.key_or_group == "hydra.searchpath" for o in self.overrides)
        return searched or self.typed.name is not None or self.typed.folder is not None

    @cached_property
    def name(self) -> str:
        """The name of the primary configuration."""
        return self.typed.name or self.primary

    @cached_property
    def hydras(self) -> list[str]:
        """The overrides of Hydra's own settings."""
        return [str(o.input_line) for o in self.overrides if o.is_hydra_override()]

    def master(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration that all launches share, composed of the overrides that are no sweeps."""
        if self.foreign:
            self._check_name()
        return self._load(self.name, overrides, RunMode.MULTIRUN)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of one launch, not resolved yet."""
        return self._load(self.name, overrides, RunMode.RUN)

    def _load(self, name: str, overrides: Sequence[str], mode: RunMode, check: bool = True) -> DictConfig:
        hydras = self.hydras if check else []
        with composing(self.loader):
            config = self.loader.load_configuration(name, [*hydras, *overrides], run_mode=mode)
            if check:
                self._check(config, overrides)
            OmegaConf.set_struct(config, False)
        return config

    @cached_property
    def own(self) -> DictConfig:
        """adamx's own configuration, without any override."""
        return self._load(self.primary, [], RunMode.MULTIRUN, check=False)

    def _check_name(self) -> None:
        """Raise InputError where the user's primary configuration names a Python package to be searched."""
        for source in self.loader.get_sources():
            if self.typed.name is not None and source.is_config(self.name):
                with composing():
                    config = source.load_config(self.name).config
                    places = OmegaConf.select(config, "hydra.searchpath") if OmegaConf.is_dict(config) else None
                for place in places if isinstance(places, ListConfig) else ():
                    if str(place).startswith("pkg:"):
                        raise InputError(
                            f"{self.name} searches {place!s}, which imports it: type hydra.searchpath instead"
                        )
                return

    def _check(self, config: DictConfig, overrides: Sequence[str]) -> None:
        """Raise InputError for what would be ignored: settings that do not exist, and those of Hydra's (`CANNOT`)."""
        added = any(word.startswith("+") or "@" in word.partition("=")[0] for word in overrides)
        if not self.foreign and not added:
            return
        for group in (None, "record"):
            known, found = (each if group is None else each.get(group) for each in (self.own, config))
            for key in map(str, found if isinstance(found, DictConfig) else ()):
                if key not in known:
                    name = f"{group}.{key}" if group else key
                    if name in config.hydra.runtime.choices:
                        chosen = f"{name}={config.hydra.runtime.choices[name]}"
                        raise InputError(f"{chosen}: its file begins with `# @package _global_`, or nothing reads it")
                    raise unknown_key(name, known)
        missing = [str(key) for key in self.own if key not in config]
        if missing:
            raise InputError(
                f"{self.name} has no {missing[0]}: its defaults begin with adamx's own, as in "
                f"`defaults: [{self.primary}, _self_]`"
            )
        hydras, own = (OmegaConf.to_container(each.hydra, resolve=False) for each in (config, self.own))
        for key in _differences(hydras, own):
            if not _may(key) and not (key in ALREADY and OmegaConf.select(config.hydra, key) == ALREADY[key]):
                raise _unusable(f"hydra.{key}", key)


@contextmanager
def composing(loader: ConfigLoader | None = None) -> Iterator[None]:
    """A context in which errors of Hydra, OmegaConf and YAML become InputErrors: the cause is typed or in a file.

    Hydra warns of what it leaves out, such as a folder that does not exist; nothing is left out here.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            yield
    except InputError:
        raise
    except Exception as error:
        raise _explained(error) from error


def _explained(error: Exception) -> InputError:
    """The error for wrong input, in one line."""
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return unknown(group, option, error.options)
    if isinstance(error, MissingConfigException):
        return InputError(first_line(error).rstrip("."))
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and isinstance(cause.parent_node, DictConfig):
        return unknown_key(str(cause.full_key), cause.parent_node)
    return InputError(_message(error))


def unknown_key(name: str, siblings: DictConfig) -> InputError:
    """The error for a setting that does not exist, with the nearest that does; `lr` is one of the optimizer's."""
    group = name.rpartition(".")[0]
    if group:
        return unknown("key", name, [f"{group}.{key!s}" for key in siblings])
    inside = (f"{group}.{key!s}" for group in GROUPS for key in siblings.get(group) or () if key != "name")
    return unknown("key", name, [str(key) for key in siblings if key != "hydra"], [*inside, *optimizers()])


def _message(error: Exception) -> str:
    """Hydra's message, in one line."""
    lines = [line.strip() for line in f"{error}\n{error.__cause__ or ''}".splitlines() if line.strip(" ^")]
    kept = [line.rstrip(".") for line in lines if not line.startswith(BESIDES)]
    return ": ".join(kept[:2]) or first_line(error)


def _after_equals(word: str) -> str:
    return word.partition("=")[2]


def _check_typed(override: Override) -> None:
    key = override.key_or_group.replace("/", ".").removeprefix("hydra.")
    value = None if override.is_sweep_override() else override.value()
    if override.is_sweep_override() and _may(key) and key.split(".")[0] != "sweeper":
        raise InputError(f"{override.input_line}: one value is needed")
    if not _may(key) and not (key in ALREADY and value == ALREADY[key]):
        raise _unusable(str(override.input_line), key)


def _may(key: str) -> bool:
    return any(f"{key}.".startswith(f"{may}.") for may in MAY)


def _unusable(what: str, key: str) -> InputError:
    why = CANNOT.get(key.split(".")[0], "adamx has no use for it")
    return InputError(f"{what}: {why}")


def _differences(one: Any, other: Any, prefix: str = "") -> Iterator[str]:
    """The keys, with dots, that differ between two nested dictionaries."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        if one != other:
            yield prefix
        return
    for key in dict.fromkeys([*one, *other]):
        yield from _differences(one.get(key), other.get(key), f"{prefix}.{key}" if prefix else str(key))


def resolved(config: DictConfig) -> dict[str, Any]:
    """A composed configuration in plain containers, without the keys that only composing needs.

    What an interpolation gives is as if it were typed: the text of an environment variable may be a number.
    """
    with composing():
        HydraConfig.instance().set_config(config)  # for ${hydra:...}
        return {str(key): _item(config, key) for key in config if key not in COMPOSING}


def _item(node: Any, key: Any) -> Any:
    value = node[key]
    if isinstance(value, str) and OmegaConf.is_interpolation(node, key):
        return _number(value)
    if isinstance(value, DictConfig):
        return {k: _item(value, k) for k in value}
    return [_item(value, i) for i in range(len(value))] if isinstance(value, ListConfig) else value


def _number(text: str) -> Any:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return {"true": True, "false": False, "null": None}.get(text.lower(), text)
