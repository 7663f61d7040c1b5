"""Arguments: the words after `python -m adamx.sweep` on a command line: Hydra's options, and overrides KEY=VALUE."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from adamx.inputs.errors import InputError

FLAGS = (
    ("--help", "-h"), ("--hydra-help",), ("--version",), ("--shell-completion", "-sc"), ("--resolve",), ("--run", "-r"),
    ("--multirun", "-m"),
)  # fmt: skip
WITH_VALUES = (
    ("--config-name", "-cn"), ("--config-dir", "-cd"), ("--package", "-p"), ("--config-path", "-cp"),
    ("--experimental-rerun",),
)  # fmt: skip
OPTIONS = [names[0] for names in (*FLAGS, *WITH_VALUES)] + ["--cfg", "--info"]
SHOWN = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
AS_IN = "as in problem=beale optimizer.lr=0.1,0.2"


@dataclass(frozen=True)
class Arguments:
    """A command line.

    Attributes:
        words: all of it. overrides: those words that are no options.
        shows: whether Hydra is to show something (`--help`, `--cfg`, ...) and nothing is to run.
        completes: whether that is a completion, whose overrides are Hydra's own.
        single: whether it is for one point (`--run`), or for a sweep (`--multirun`); None where neither is said.
        name, folder: of `--config-name` and `--config-dir`.
    """

    words: list[str]
    overrides: list[str]
    shows: bool
    completes: bool
    single: bool | None
    name: str | None
    folder: str | None

    @property
    def options(self) -> list[str]:
        """The options that say where configurations are, for another command line."""
        folder = [] if self.folder is None else [f"--config-dir={Path(self.folder).resolve()}"]
        return folder + ([] if self.name is None else [f"--config-name={self.name}"])

    @property
    def for_hydra(self) -> list[str]:
        """The words in an order that Hydra's own parser takes."""
        options = [*self.words]
        for override in self.overrides:
            options.remove(override)
        return [*self.overrides, *options]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; anything else is KEY=VALUE, {AS_IN}")


def _parser() -> _Parser:
    """A parser of Hydra's options, which `python -m adamx.sweep --help` has in its own words."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    for names in FLAGS:
        parser.add_argument(*names, action="store_true")
    for names in WITH_VALUES:
        parser.add_argument(*names)
    parser.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=SHOWN)
    return parser


def read(words: Sequence[str]) -> Arguments:
    """The Arguments of a command line.

    Raises:
        InputError: an option that does not exist, is incomplete or cannot be used here.
    """
    for word in words:
        name, _, value = word.partition("=")
        if name.startswith("--") and name != "--" and name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.75)
            hint = f"did you mean {near[0]}?" if near else f"without dashes it is {name.strip('-')}={value or 'VALUE'};"
            raise InputError(f"there is no option {name}: {hint} anything else is KEY=VALUE, {AS_IN}")
    given = _parser().parse_intermixed_args(list(words))
    if given.experimental_rerun is not None:
        raise InputError("--experimental-rerun unpickles a file, which is code that runs: type the overrides")
    if given.config_path is not None:
        raise InputError("--config-path would take adamx's own configuration away: --config-dir FOLDER adds yours")
    shown = [given.help, given.hydra_help, given.version, given.shell_completion, given.cfg, given.info]
    if (given.resolve or given.package) and not (given.cfg or given.help):
        raise InputError("--resolve and --package go with --cfg")
    return Arguments(
        words=list(words),
        overrides=given.overrides,
        shows=any(shown),
        completes=given.shell_completion,
        single=False if given.multirun else True if given.run else None,
        name=given.config_name,
        folder=given.config_dir,
    )
