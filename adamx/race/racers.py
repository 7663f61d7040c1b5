"""The sweeper of `python -m adamx.race`: a race of its own by name, before what is typed."""

from __future__ import annotations

from adamx.inputs.errors import InputError
from adamx.race import run
from adamx.sweep.arguments import Arguments
from adamx.sweep.compose import Composer
from adamx.sweep.sweeper import Sweeper, choices, lines, root


class RaceSweeper(Sweeper):
    """Expands overrides into racers: `optimizer.lr=0.1` is for all of them, `adam.lr=0.1` for Adam alone."""

    def arguments(self) -> list[str]:
        """The overrides: of the grid of all races, of the race that is chosen, and those typed, which count more.

        Raises:
            InputError: one that cannot be used.
        """
        if self.single:
            raise InputError("hydra.mode=RUN is for sweeps of one point; a race has several racers")
        preset = self.composer.parse(self._preset())
        typed = [*self.written, *self.typed]
        every = [*self.composer.parse(self.words("default_grid")), *preset, *typed]
        chosen = [o for o in every if o.key_or_group == "optimizer"][-1:]
        others = self.rules(every) - self.rules_of(chosen)
        own = [o for o in preset if root(o) not in others]
        return [*self.words("default_grid"), *lines(own), *lines(typed)]

    def _preset(self) -> list[str]:
        """The overrides of the race that is chosen; none where a problem is typed and no race."""
        named = [o for o in self.typed if o.key_or_group == "race"]
        if not named and any(root(o) == "problem" for o in self.typed):
            return []
        if named and len(choices(named[-1])) > 1:
            raise InputError(f"{named[-1].input_line}: one race at a time")
        return self.words("race.overrides")


def race(typed: Arguments) -> None:
    """Run the race of a command line."""
    with Composer("race", typed) as composer:
        sweeper = RaceSweeper(composer)
        launches = sweeper.launches(sweeper.arguments())
    for note in sweeper.notes:
        print(note)
    run.run(launches)
