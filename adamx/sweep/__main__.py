"""python -m adamx.sweep: every point of a grid of hyperparameters, in one kernel, recorded in MLflow."""

import sys

from adamx.sweep import waiting


def main() -> int:
    """Run what the command line asks for; the exit codes are those of `command.main`."""
    if not any(argument.startswith("-") for argument in sys.argv[1:]):
        waiting.say("importing")
    from adamx.sweep import command

    return command.main()


if __name__ == "__main__":
    sys.exit(main())
