"""Plan: the launches of a sweep from its overrides, within any Python process; Hydra's global state stays as it was."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from hydra import initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

from adamx.engine.launch import Launch
from adamx.inputs.errors import InputError
from adamx.inputs.files import only_typed
from adamx.sweep.command import CONF, PLUGINS, explain
from adamx.sweep.journal import Journal


def plan(overrides: Sequence[str]) -> tuple[list[Launch], list[str], Journal | None]:
    """What `run.perform` takes, as the command would find it for these overrides.

    Raises:
        InputError: an override that cannot be used.
    """
    try:
        with only_typed(overrides), _hydra():
            own = import_module("hydra_plugins.adamx_plugins")
            Plugins.instance().register(own.Files)  # where somebody's Hydra had looked for plugins before
            loader = GlobalHydra.instance().config_loader()
            config = loader.load_configuration(config_name="sweep", overrides=[], run_mode=RunMode.MULTIRUN)
            sweeper = own.Sweep()
            context = HydraContext(config_loader=loader, callbacks=None)  # type: ignore[arg-type]
            sweeper.setup(hydra_context=context, task_function=lambda _: None, config=config)
            return sweeper.plan(list(overrides))
    except Exception as error:
        message = explain(error)
        if message is None or isinstance(error, InputError):
            raise
        raise InputError(message) from error


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra with adamx's configuration, also within somebody's `hydra.main`, whose Hydra is put back."""
    if PLUGINS not in sys.path:
        sys.path.append(PLUGINS)
    theirs, base = GlobalHydra.instance(), version.getbase()
    before = theirs.hydra
    theirs.clear()
    try:
        with initialize_config_dir(str(CONF), job_name="adamx", version_base="1.3"):
            yield
    finally:
        GlobalHydra.set_instance(theirs)
        theirs.hydra = before
        version.VersionBase.instance().version_base = base
