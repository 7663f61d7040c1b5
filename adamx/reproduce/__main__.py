"""python -m adamx.reproduce: runs the studies of published claims and says which of them held."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from adamx.analysis.style import png, styled
from adamx.engine.results import Results
from adamx.inputs.commands import command
from adamx.reproduce import Check, Study, studies, study, verdicts
from adamx.sweep import waiting

CHILDREN = 200  # runs of a study that are children in MLflow; its tables have all


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the studies that were named; the exit code: 0 whatever they found, 2 for a name that does not exist."""
    parser = argparse.ArgumentParser("python -m adamx.reproduce", description=__doc__)
    parser.add_argument("names", nargs="*", help="studies by name or by number of claim; all where none is named")
    parser.add_argument("--quick", action="store_true", help="the subset that takes under two minutes")
    parser.add_argument("--list", action="store_true", help="the studies and how long they take, and nothing else")
    parser.add_argument("-v", "--verbose", action="store_true", help="every figure of each claim: expected, measured")
    parser.add_argument("--markdown", action="store_true", help="the same as README has it")
    parser.add_argument("--record", action="store_true", help="keep the verdicts in experiments/studies, for README")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep the figures here too, as PNG")
    given = parser.parse_args(arguments)
    console = Console()
    try:
        chosen = [study(name) for name in given.names] or [s for s in studies() if s.quick or not given.quick]
        if given.markdown:
            print(markdown(chosen, verdicts.read()), end="")
            return 0
        if given.list:
            console.print(_contents(chosen))
            return 0
        from adamx.record import parent  # with mlflow: seconds

        reproduce(chosen, parent.open(), console, given.out, given.verbose, given.record)
    except KeyboardInterrupt:
        console.print("interrupted: the studies above are recorded")
        raise
    return 0


def reproduce(
    chosen: Sequence[Study],
    store: Any,
    console: Console,
    out: Path | None = None,
    verbose: bool = False,
    record: bool = False,
) -> None:
    """Run studies, put each into MLflow as it ends (if `record` its verdict too is kept), print a line each and which
    claims hold, and if `verbose` the table of all checks."""
    if out:
        out.mkdir(parents=True, exist_ok=True)
    done = []
    for each in chosen:
        waiting.say(f"{each.claims:>6}  {each.name}: {each.title} (about {each.seconds:g} s)")
        checks, seconds = _one(each, store, out)
        waiting.clear()
        done.append((each, checks, seconds))
        if record:
            verdicts.record({each.name: verdicts.of(checks)})
        said = f"{each.claims:>6}  {each.name}: [bold]{verdicts.of(checks)}[/bold]  {each.title} "
        console.print(f"{said}[dim]{seconds:.1f} s[/dim]", highlight=False, soft_wrap=True)
    if verbose:
        console.print(_verdicts(done))
    found = {each.name: verdicts.of(checks) for each, checks, _ in done}
    console.print(verdicts.sentence(chosen, found), style="bold", highlight=False, soft_wrap=True)
    details = "" if verbose else "; -v prints what was expected and measured"
    console.print(
        f"figures and runs are in MLflow: [bold]{store.view}[/bold]{details}", highlight=False, soft_wrap=True
    )
    if record:
        console.print(f"verdicts are in {verdicts.FILE}", highlight=False, soft_wrap=True)


def _one(each: Study, store: Any, out: Path | None) -> tuple[list[Check], float]:
    """One study from start to end, recorded in MLflow: its checks, and seconds without the recording."""
    from adamx.record import parent

    config = {"study": each.name, "claims": each.claims, "source": each.source}
    said: dict[str, str] = {"module": "adamx.reproduce", "about": each.doc.strip()}
    sweep = parent.start(store, f"study {each.name}", config, [each.name], **said)  # type: ignore[arg-type]
    try:
        start = perf_counter()
        runs = each.run()
        checks = each.check(runs)
        seconds = perf_counter() - start
        with styled():
            picture = png(each.figure(runs))
        if out:
            (out / f"{each.name}.png").write_bytes(picture)
        results = list(runs.values())
        sweep.write(results, _varied(results), "auto", CHILDREN)
        files = [(f"{each.name}.png", picture), ("checks.md", _markdown(checks).encode())]
        metrics = {"seconds": seconds, "checks": len(checks), "checks_held": sum(check.held for check in checks)}
        sweep.finish("FINISHED", files, metrics, {"claims": each.claims, "verdict": str(verdicts.of(checks))})
    except BaseException as error:
        sweep.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    return checks, seconds


def _varied(results: Sequence[Results]) -> list[str]:
    """The names of all that differs between the runs of a study."""
    names = [key for key in ("optimizer", "problem", "dtype") if len({getattr(r, key) for r in results}) > 1]
    columns: dict[str, set[str]] = {}
    for r in results:
        for name, values in {**r.columns, **r.setup}.items():
            columns.setdefault(name, set()).update(str(value) for value in np.unique(np.asarray(values)))
    return names + [name for name, values in columns.items() if len(values) > 1]


def markdown(chosen: Sequence[Study], found: Mapping[str, verdicts.Verdict]) -> str:
    """README's table, a row a study, and the sentence that says what holds, from the recorded verdicts."""
    rows = [(s.claims, f"`{s.name}`", s.title, str(found.get(s.name, "")), s.source, f"{s.seconds:g}") for s in chosen]
    head = "| claim | study | it says | verdict | source | seconds |\n| --- | --- | --- | --- | --- | --- |\n"
    return (
        head
        + "".join("| " + " | ".join(row).replace("arXiv ", "arXiv\u00a0") + " |\n" for row in rows)
        + (f"\n{verdicts.sentence(chosen, found)}\n")
    )


def _contents(chosen: Sequence[Study]) -> Table:
    table = Table("claim", Column("study", no_wrap=True), "it says", "seconds", "quick", box=None)
    for each in chosen:
        table.add_row(each.claims, each.name, each.title, f"{each.seconds:g}", "yes" if each.quick else "")
    table.add_row("", "", "all of these", f"{sum(s.seconds for s in chosen):g}", "")
    return table


def _verdicts(done: Sequence[tuple[Study, list[Check], float]]) -> Table:
    """The table of claims: a heading for each study, then a line for each of its checks."""
    table = Table("claim", "measured is", "expected", "measured", "verdict", box=None)
    for each, checks, seconds in done:
        table.add_section()
        words = f"[bold]{each.title}[/bold]\n[dim]{each.source}; {seconds:.1f} s[/dim]"
        table.add_row(each.claims, words, "", "", f"[bold]{verdicts.of(checks)}[/bold]")
        for check in checks:
            table.add_row("", check.what, check.expected, check.measured, "held" if check.held else "did not hold")
    return table


def _markdown(checks: Sequence[Check]) -> str:
    head = "| measured is | expected | measured | verdict | tolerance and why |\n| --- | --- | --- | --- | --- |\n"
    cells = ((c.what, c.expected, c.measured, "held" if c.held else "did not hold", c.why) for c in checks)
    return head + "".join("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |\n" for row in cells)


if __name__ == "__main__":
    sys.exit(main())
