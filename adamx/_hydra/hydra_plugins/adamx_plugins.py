"""What Hydra finds of adamx: it looks for plugins in modules of this package alone, and at classes that they define."""

from hydra.core.config_store import ConfigStore

from adamx.race import racers
from adamx.sweep import sweeper


class Sweep(sweeper.AdamxSweeper):
    """Of `python -m adamx.sweep`: hydra/sweeper=adamx."""


class Race(racers.RaceSweeper):
    """Of `python -m adamx.race`: hydra/sweeper=adamx_race."""


class Files(sweeper.PythonFileSource):
    """Python files as options of a group: searchpath adamx://."""


for name, sweeps in (("adamx", Sweep), ("adamx_race", Race)):
    node = {"_target_": f"{__name__}.{sweeps.__name__}"}
    ConfigStore.instance().store(group="hydra/sweeper", name=name, node=node, provider="adamx")
