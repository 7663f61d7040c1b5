"""Ways to do the same work, timed in turn, and the table of how long they took."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.table import Table

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Way:
    """One way: `call` does `share` of the work (times are scaled to all of it); without a call it is only a name."""

    name: str
    call: Callable[[], object] | None = None
    share: float = 1.0
    first: float = 0.0  # seconds of the call that compiles
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds for all of the work."""
        return float(np.median(self.seconds))


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def in_turn(ways: Iterable[Way], repeats: int) -> None:
    """Time all ways, one after another and again, so that a busy machine slows them alike."""
    calls = [(way, way.call) for way in ways if way.call]
    for _ in range(repeats):
        for way, call in calls:
            way.seconds.append(seconds(call) / way.share)


def race(ways: Sequence[Way], repeats: int) -> None:
    """Call every way once to compile, then all in turn."""
    for way in ways:
        way.first = seconds(way.call) if way.call else 0.0
    in_turn(ways, repeats)


def optional(make: Callable[..., Iterable[Way]], *arguments: object) -> list[Way]:
    """The ways of a peer, or one that says that it is not installed."""
    try:
        return list(make(*arguments))
    except ModuleNotFoundError as missing:
        return [Way(f"{missing.name}: not installed")]


def table(title: str, unit: str) -> Table:
    """A table for `fill`."""
    made = Table(title=title, title_justify="left", caption_justify="left")
    for name in ("way", "dtype"):
        made.add_column(name, no_wrap=True)
    for name in ("first call, s", "min, s", "median, s", f"{unit}, best", "median", "x adamx's time", "of the bound"):
        made.add_column(name, justify="right")
    return made


def fill(table: Table, ways: Sequence[Way], dtype: str, work: float) -> None:
    """A row a way, adamx first and the bound last; work in units of the table."""
    ours, bound = ways[0].median, ways[-1].median
    for way in ways:
        if way.call is None:
            table.add_row(way.name, dtype)
            continue
        least, median = min(way.seconds), way.median
        rates = (f"{work / s:,.0f}" if work / s >= 100 else f"{work / s:.3g}" for s in (least, median))
        times = f"{way.first:.1f}", f"{least:,.4g}", f"{median:,.4g}"
        table.add_row(way.name, dtype, *times, *rates, f"{median / ours:,.1f}", f"{bound / median:.2%}")
    table.add_section()


def machine(*packages: str) -> str:
    """The processor, and the versions of those packages that are installed."""
    cpu = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):  # Linux alone tells the model
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    said = [f"{cpu}, {CORES} cores", f"python {platform.python_version()}"]
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            said.append(f"{package} {importlib.metadata.version(package)}")
    if hasattr(os, "getloadavg"):
        said.append(f"load before {os.getloadavg()[0]:.2f}")
    return ", ".join(said)
