"""python -m adamx.sweep: the command line, from what was typed to runs in MLflow and a summary on the terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from traceback import walk_tb
from typing import Any

import hydra
from hydra._internal import config_loader_impl
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

import adamx
from adamx.engine.launch import build
from adamx.inputs.errors import InputError, unknown
from adamx.inputs.files import only_typed
from adamx.sweep import run, waiting

PACKAGE = Path(__file__).parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # installed, or a checkout
PLUGINS = str(PACKAGE / "_hydra")  # Hydra finds plugins on sys.path only


def main(config_name: str = "sweep") -> int:
    """Run what the command line asks for; the exit code: 0, 2 for input that cannot be used, 130 for Ctrl-C."""
    if PLUGINS not in sys.path:
        sys.path.append(PLUGINS)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that `explain` can say it
    if not any(argument.startswith(("-", "hydra.mode=")) for argument in sys.argv[1:]):
        sys.argv.append("--multirun")  # else an error in the configuration is reported as a wrong mode
    if "--version" in sys.argv[1:]:
        print(f"adamx {adamx.__version__}")
        return 0
    try:
        if any(argument.startswith("--e") for argument in sys.argv[1:]):
            raise InputError("--experimental-rerun unpickles a file, which is code that runs: type the overrides")
        with only_typed(sys.argv[1:]):
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(_single)()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # a reader such as `head` has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        message = explain(error)
        waiting.clear()
        if message is None:
            raise
        print(f"adamx: {message}", file=sys.stderr)
        return 2
    finally:
        waiting.clear()
    return 0


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration in plain containers, without what only composing needs."""
    kept = OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("hydra", "default_grid", "resume")])
    return dict(OmegaConf.to_container(kept, resolve=True))  # type: ignore[arg-type]


def _single(config: DictConfig) -> None:
    """What Hydra calls with hydra.mode=RUN: one launch, without the sweeper."""
    if "record" not in config:
        raise InputError("hydra.mode=RUN is for sweeps of one point; a race has several racers")
    run.run([build(plain(config), {})], list(HydraConfig.get().overrides.task))


def explain(error: Exception) -> str | None:
    """What is wrong with the input, in one line; None for an error of any other kind."""
    if isinstance(error, InputError):
        return str(error)
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = error.missing_cfg_file.partition("/")
        return str(unknown(group, option, error.options))
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and cause.parent_node is not None:
        prefix = str(cause.full_key).removesuffix(str(cause.key))
        return str(unknown("key", cause.full_key, [f"{prefix}{k}" for k in cause.parent_node if k != "hydra"]))
    from_hydra = isinstance(error, (HydraException, OmegaConfBaseException)) or _raised_by_hydra(error)
    if isinstance(error, InstantiationException) or not from_hydra:
        return None
    lines = [line.strip() for line in f"{error}\n{cause or ''}".splitlines() if line.strip(" ^")]
    words = ": ".join([line for line in lines if not line.startswith("See https")][:2])
    if isinstance(error, OverrideParseException) and error.override not in words:
        words = f"{error.override}: {words}"
    return str(InputError(words))


def _raised_by_hydra(error: Exception) -> bool:
    """Any error while Hydra reads and merges files, such as a wrong YAML; else a ValueError of Hydra's own."""
    files = [frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__)]
    own = isinstance(error, ValueError) and Path(hydra.__file__).parent in Path(files[-1]).parents
    return own or config_loader_impl.__file__ in files
