"""The catalogue of optimizers: `python -m adamx.optimizers [NAME ...] [--markdown]`.

Everything comes from the rules' files: the first line of the docstring, Hyper's defaults, and two constants,
`EPS` (where eps stands) and `MATCHES` (the optimizers of other libraries that the rule equals to rounding).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from adamx.inputs.commands import command
from adamx.inputs.files import load
from adamx.optimizers import PACKAGE, Rule, optimizers, rule

HEADER = ("optimizer", "fields and defaults", "eps", "source", "matches")


def value(default: float | bool) -> str:
    """A default as it is typed on the command line."""
    return str(default).lower() if isinstance(default, bool) else f"{default:g}".replace("e-0", "e-")


def row(name: str) -> tuple[str, ...]:
    """The cells of HEADER for one rule, plain text."""
    r, module = rule(name), load(PACKAGE, "optimizer", name)
    fields = " ".join(f"{field}={value(default)}" for field, default in r.defaults.items())
    source = r.doc.partition("\n\n")[0].replace("\n", " ").partition(";")[0].rstrip(".")
    return r.name, fields, getattr(module, "EPS", ""), source, ", ".join(getattr(module, "MATCHES", ()))


def markdown(rows: Sequence[tuple[str, ...]]) -> str:
    """The rows as a Markdown table; sources link to arXiv."""
    lines = [HEADER, ("---",) * len(HEADER)]
    for name, fields, eps, source, matches in rows:
        linked = re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", source)
        code = ", ".join(f"`{peer}`" for peer in matches.split(", ") if peer)
        lines.append((f"`{name}`", f"`{fields}`", eps, linked, code))
    text = [" | ".join(cell.replace("|", "\\|") for cell in cells) for cells in lines]
    return "\n".join(f"| {cells} |" for cells in text)


def table(rows: Sequence[tuple[str, ...]]) -> Table:
    """The rows for a terminal."""
    shown = Table(*HEADER, box=box.SIMPLE_HEAD, row_styles=["", "dim"])
    shown.columns[0].no_wrap = True
    for cells in rows:
        shown.add_row(*cells)
    return shown


def details(r: Rule, eps: str, matches: str) -> str:
    """All there is to say about one rule: its docstring, its fields with their ranges, its relatives."""
    width = max(map(len, r.defaults))
    fields = [f"  {f:{width}}  {value(d):8} {r.ranges[f].words}" for f, d in r.defaults.items()]
    text = [r.doc.strip(), "\n".join(fields), f"eps: {eps}" * bool(eps), f"matches: {matches}" * bool(matches)]
    return f"{r.name}\n\n" + "\n\n".join(filter(None, text)) + "\n"


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the catalogue, or all about the rules named; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m adamx.optimizers", description="The optimizers of adamx.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="show these in full (a name, or your own file's path)")
    parser.add_argument("--markdown", action="store_true", help="the table of the README")
    typed = parser.parse_args(arguments)
    rows = [row(name) for name in typed.names or optimizers()]
    console = Console()
    if typed.markdown:
        print(markdown(rows))
    elif typed.names:
        print("\n".join(details(rule(name), cells[2], cells[4]) for name, cells in zip(typed.names, rows, strict=True)))
    elif console.is_terminal:
        console.print(table(rows))
    else:
        print("\n".join("\t".join(cells) for cells in [HEADER, *rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
