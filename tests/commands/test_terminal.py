"""The output of a sweep while it runs: in windows of any width, without color, and piped into a file."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import numpy as np
import pytest
from rich.console import Console
from synthetic import product, synthetic

from adamx.analysis.summary import summary
from adamx.engine.results import Results
from adamx.sweep.progress import SweepProgress

RUNS = 10_000


@pytest.fixture(scope="module")
def chunk() -> Results:
    return synthetic(product(lr=np.geomspace(1e-4, 1, RUNS // 4)), optimizer="stable_adamw", problem="himmelblau")


class Work:
    """The attributes of a launch that progress reads."""

    steps = 1000

    def __len__(self) -> int:
        return RUNS

    def __str__(self) -> str:
        return "stable_adamw on himmelblau"


def console(width: int, terminal: bool = True, environment: Mapping[str, str] | None = None) -> Console:
    environ = {"TERM": "xterm-256color", "COLORTERM": "truecolor", **(environment or {})}
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, _environ=environ)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_progress_fits_its_window(width: int, chunk: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("adamx.sweep.progress.perf_counter", lambda: next(clock))
    work = Work()
    progress = SweepProgress([work], console(width))

    def shown() -> str:
        window = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
        window.print(progress._bar.get_renderable())
        lines = window.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert len(lines) == 2 and max(len(line.rstrip()) for line in lines) <= width
        assert "…" not in lines[1]
        return " ".join(" ".join(lines).split())

    progress.launch(work, compiled=False)
    assert "0/10,000 compiling its kernel, once: 5 to 15 s" in shown()
    progress.launch(work, compiled=True)
    assert "0/10,000 loading its kernel" in shown()
    progress.tick(1250 * 500)
    progress.tick(2500 * 1000)
    progress.finished(chunk)
    assert f"2,500/10,000 {2500 - 625:,} runs/s, 4 s left, best {progress.best:.3g}" in shown()
    assert progress.best == chunk.figures["best"].min() + chunk.minimum


def test_piped_progress_is_plain_lines(chunk: Results) -> None:
    out, work = console(40, terminal=False), Work()
    with SweepProgress([work], out) as progress:
        progress.launch(work, compiled=True)
        progress.finished(chunk)
    assert out.file.getvalue() == "stable_adamw on himmelblau, 10,000 runs of 1,000 steps: loading its kernel\n"  # type: ignore[attr-defined]


def test_no_color_is_honored(chunk: Results) -> None:
    colored, plain = console(80), console(80, environment={"NO_COLOR": "1"})
    for each in (colored, plain):
        each.print(summary([chunk]))
    shown = [each.file.getvalue() for each in (colored, plain)]  # type: ignore[attr-defined]
    assert ";48;2;" in shown[0] and "\x1b[1m" in shown[1]
    assert set(re.findall("\x1b\\[[0-9;]*m", shown[1])) == {"\x1b[1m", "\x1b[0m"}
