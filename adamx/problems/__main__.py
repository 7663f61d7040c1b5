"""The catalogue of problems: `python -m adamx.problems [NAME ...]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adamx.inputs.commands import command
from adamx.inputs.files import load
from adamx.problems import PACKAGE, problems, settings

HEADER = ("problem", "kind", "settings and defaults", "what it is")


def value(default: Any) -> str:
    """A default as it is typed on the command line."""
    if default is None:
        return "null"
    if isinstance(default, (tuple, list)):
        return f"[{','.join(map(value, default))}]"
    return f"{default:g}".replace("e-0", "e-") if isinstance(default, float) else str(default)


def row(name: str) -> tuple[str, ...]:
    """The cells of HEADER for one problem, plain text."""
    module = load(PACKAGE, "problem", name)
    kind = "landscape" if hasattr(module, "start") else "task"
    given = " ".join(f"{key}={value(default)}" for key, default in settings(name).items())
    said = (module.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
    return name.removesuffix(".py").rpartition("/")[2], kind, given, said


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the catalogue, or all about the problems named; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m adamx.problems", description="The problems of adamx.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="show these in full (a name, or your own file's path)")
    typed = parser.parse_args(arguments)
    rows = [row(name) for name in typed.names or problems()]
    console = Console()
    if typed.names:
        for name, (short, kind, given, _) in zip(typed.names, rows, strict=True):
            said = (load(PACKAGE, "problem", name).__doc__ or "").strip()
            fields = "\n".join(f"  problem.{each}" for each in given.split())
            print("\n\n".join(filter(None, [f"{short}, a {kind}", said, fields])), end="\n\n")
    elif console.is_terminal:
        shown = Table(*HEADER, box=box.SIMPLE_HEAD, row_styles=["", "dim"])
        shown.columns[0].no_wrap = True
        for cells in rows:
            shown.add_row(*map(Text, cells))  # as it is: [32] is no markup
        console.print(shown)
    else:
        print("\n".join("\t".join(cells) for cells in [HEADER, *rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
