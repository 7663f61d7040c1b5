"""adamx: the commands under one name; `adamx NAME` is `python -m adamx.NAME`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import adamx

COMMANDS = {  # name: (the module whose `main` it is, what it does)
    "sweep": ("sweep.__main__", "run every point of a grid of hyperparameters, and record and map the runs"),
    "open": ("open", "open the report of the last sweep, or of another"),
    "why": ("why.__main__", "say which single change would have saved a run"),
    "watch": ("watch.__main__", "say what a log of losses did, and where it spiked"),
    "replay": ("replay", "compute a recorded sweep again and compare it to the last bit"),
    "report": ("report.__main__", "draw the figures of a recorded sweep again"),
    "race": ("race.__main__", "film optimizers side by side on the contours of a loss"),
    "reproduce": ("reproduce.__main__", "test published claims about optimizers"),
    "optimizers": ("optimizers.__main__", "list the optimizers and their hyperparameters"),
    "problems": ("problems.__main__", "list the problems and their settings"),
    "doctor": ("doctor", "check this machine, the store and the arithmetic"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that is named first with the rest of the words; its exit code, 2 for an unknown name."""
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    if name in ("-h", "--help"):
        print(contents())
        return 0
    if name == "--version" or (rest[:1] == ["--version"] and name in COMMANDS):
        print(f"adamx {adamx.__version__}")
        return 0
    if name not in COMMANDS:
        from adamx.inputs.errors import unknown

        print(f"adamx: {unknown('command', name, COMMANDS)}", file=sys.stderr)
        return 2
    sys.argv = [f"adamx {name}", *rest]
    try:
        return import_module(f"adamx.{COMMANDS[name][0]}").main()
    except BrokenPipeError:  # a reader such as `head` has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def contents() -> str:
    """All commands, one line for each."""
    width = max(map(len, COMMANDS))
    lines = [f"  adamx {name:{width}}  {said}" for name, (_, said) in COMMANDS.items()]
    return "\n".join(
        [
            f"adamx {adamx.__version__}: where optimizers converge, crawl, spike, oscillate and diverge, and why.",
            "",
            *lines,
            "",
            "Each has --help. A recorded sweep is named by its run's id or `last`, one of its runs by `last:ROW`.",
            "The first: adamx sweep optimizer.lr=log:1e-4:1:9 optimizer.eps=1e-8,1e-4",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
