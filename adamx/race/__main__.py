"""python -m adamx.race: optimizers side by side on the contours of one loss, as a film and as a strip of pictures."""

from __future__ import annotations

import sys

from adamx.inputs.commands import command
from adamx.sweep.arguments import Arguments
from adamx.sweep.command import begin


@command
def main() -> int:
    """Run the race that the command line asks for; the exit code is that of `adamx.inputs.commands`."""
    return begin("race", race)


def race(typed: Arguments) -> None:
    """Run the race of a command line."""
    from adamx.race.racers import race

    race(typed)


if __name__ == "__main__":
    sys.exit(main())
