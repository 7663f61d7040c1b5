"""python -m adamx.sweep: the command line, from what was typed to runs in MLflow and a summary on the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import hydra
from omegaconf import DictConfig

import adamx
from adamx.inputs.commands import command
from adamx.inputs.files import only_typed
from adamx.sweep import waiting
from adamx.sweep.arguments import Arguments, read
from adamx.sweep.compose import CONF, PLUGINS, Composer, composing


@command
def main() -> int:
    """Run the sweep that the command line asks for; the exit code is that of `adamx.inputs.commands`."""
    return begin("sweep", sweep)


def begin(primary: str, run: Callable[[Arguments], None]) -> int:
    """Start a command from `conf/PRIMARY.yaml` and a command line: Hydra shows something, or adamx runs."""
    if "--version" in sys.argv[1:]:
        print(f"adamx {adamx.__version__}")
        return 0
    try:
        with only_typed(sys.argv[1:]):
            typed = read(sys.argv[1:])
            if typed.shows:
                show(primary, typed)
            else:
                run(typed)
    finally:
        waiting.clear()
    return 0


def sweep(typed: Arguments) -> None:
    """Run the sweep of a command line, or go on with the one that it names."""
    waiting.say("composing")
    from adamx.sweep import run
    from adamx.sweep.plan import planned

    with planned(typed) as (plan, notes):
        waiting.clear()
        for note in notes:
            print(note)
        run.run(*plan)


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
