"""python -m adamx.race: optimizers side by side on the contours of one loss, as a film and as a strip of pictures."""

from __future__ import annotations

import sys

from adamx.sweep import command


def main() -> int:
    """Run what the command line asks for; the exit codes are those of `sweep.command.main`."""
    return command.main("race")


if __name__ == "__main__":
    sys.exit(main())
