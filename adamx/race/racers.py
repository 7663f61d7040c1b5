"""The sweeper of `python -m adamx.race`: presets, and settings of one optimizer among several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from adamx.engine.launch import Launch
from adamx.inputs.errors import InputError
from adamx.optimizers import optimizers
from adamx.race import run
from adamx.sweep.sweeper import AdamxSweeper, _choices, _root


class RaceSweeper(AdamxSweeper):
    """Expands overrides into racers: `optimizer.lr=0.1` is for all of them, `adam.lr=0.1` for Adam alone."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run the race that the overrides ask for."""
        return run.run(self.racers(arguments))

    def racers(self, arguments: list[str]) -> list[Launch]:
        """The launches of the race, after the overrides of its preset: what is typed counts more.

        Raises:
            InputError, HydraException: an override that cannot be used.
        """
        typed = self._parse(arguments)
        every = self._parse([*self._master.default_grid, *self._preset(typed), *arguments])
        chosen = _choices([o for o in every if o.key_or_group == "optimizer"][-1])
        racers = {choice: Path(choice.partition("=")[2]).stem for choice in chosen}
        names = {*optimizers(), *racers.values()}
        for override in typed:
            if _root(override) in names - {*racers.values()}:
                raise InputError(f"{override.input_line}: the racers are {', '.join(racers.values())}")
        launches = []
        for choice, name in racers.items():
            of_others = names - {name}
            shared = [o for o in every if o.key_or_group != "optimizer" and _root(o) not in of_others]
            launches += self.launches([choice, *(_as_shared(o, name) for o in shared)])
        return launches

    def _preset(self, typed: list[Override]) -> list[str]:
        """The overrides of the race that is chosen; none where a problem is typed and no race."""
        named = [o for o in typed if o.key_or_group == "race"]
        if not named and any(_root(o) == "problem" for o in typed):
            return []
        if named and len(_choices(named[-1])) > 1:
            raise InputError(f"{named[-1].input_line}: one race at a time")
        return list(self._master.race.overrides)


def _as_shared(override: Override, name: str) -> str:
    """An override as it reads where the optimizer of that name is the only one: adam.lr=0.1 as optimizer.lr=0.1."""
    root, _, key = override.key_or_group.partition(".")
    if root != name:
        return str(override.input_line)
    if not key:
        raise InputError(f"{override.input_line}: which setting of {name}? such as {name}.lr=0.1")
    return f"optimizer.{key}={override.get_value_string()}"


_store = ConfigStore.instance()
_store.store(
    name="adamx_racers",
    node=OmegaConf.create({name: DictConfig({}, flags={"struct": False}) for name in optimizers()}),
    provider="adamx",
)
