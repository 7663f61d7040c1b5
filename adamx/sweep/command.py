"""python -m adamx.sweep: the command line, from what was typed to runs in MLflow and a summary on the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from adamx.inputs.commands import command
from adamx.inputs.errors import InputError
from adamx.inputs.files import as_they_were, only_typed
from adamx.sweep.arguments import Arguments, read
from adamx.sweep.compose import CONF, PLUGINS, Composer, composing

if TYPE_CHECKING:
    from adamx.sweep.journal import Journal


@command
def main() -> int:
    """Run the sweep that the command line asks for; the exit code is that of `adamx.inputs.commands`."""
    return begin("sweep", sweep)


def begin(primary: str, run: Callable[[Arguments], None]) -> int:
    """What begins with `conf/PRIMARY.yaml` and a command line: Hydra shows what is asked for, or adamx runs."""
    with only_typed(sys.argv[1:]):
        typed = read(sys.argv[1:])
        if typed.shows:
            show(primary, typed)
        else:
            run(typed)
    return 0


def sweep(typed: Arguments) -> None:
    """Run the sweep of a command line, or go on with the one that it names."""
    resumed = _resumed(typed)
    try:
        _sweep(read(resumed.about["overrides"]) if resumed else typed, resumed)
    finally:
        if resumed:
            resumed.release(done=False)


def _sweep(typed: Arguments, resumed: Journal | None) -> None:
    from adamx.sweep import run
    from adamx.sweep.memory import exhausted
    from adamx.sweep.sweeper import Sweeper

    with as_they_were(resumed.files if resumed else {}), Composer("sweep", typed) as composer:
        sweeper = Sweeper(composer)
        words = [word for word in typed.overrides if word not in composer.hydras] if resumed else sweeper.arguments()
        launches = sweeper.launches(words)
        words = [*typed.options, *composer.hydras, *words]
        for note in sweeper.notes:
            print(note)
        try:
            run.run(launches, words, resumed)
        except MemoryError as error:
            raise exhausted(error) from error


def _resumed(typed: Arguments) -> Journal | None:
    """The journal that `resume=` names; it goes alone, with all that the sweep began with."""
    named = [word for word in typed.overrides if word.lstrip("+").startswith("resume=")]
    if not named or named[-1].endswith("=null"):
        return None
    if len(typed.words) > 1:
        raise InputError(f"{named[0]} goes alone, with the overrides that the sweep began with")
    from adamx.record.address import address
    from adamx.sweep.journal import find
    from adamx.sweep.run import check_resumable

    return find(address(), named[0].partition("=")[2], check_resumable)


def show(primary: str, typed: Arguments) -> None:
    """Let Hydra show what it was asked for: help, the configuration, a completion."""
    changes = typed.overrides or typed.name or typed.folder
    if changes and not typed.completes:  # Hydra's help logs as a configuration says
        with Composer(primary, typed) as composer:
            composer.master([word for word in typed.overrides if word not in composer.hydras])
    if PLUGINS not in sys.path:
        sys.path.append(PLUGINS)
    words, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [words[0], *typed.for_hydra]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing
    try:
        with composing():
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=primary)(_never)()
    finally:
        sys.argv = words
        os.environ["HYDRA_FULL_ERROR"] = full or "0"


def _never(config: DictConfig) -> None:
    raise AssertionError("Hydra was asked to show something")
