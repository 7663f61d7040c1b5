"""Shown: results as a session prints them, in ten lines, and as a notebook shows them, with the map."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape

from rich.console import Console

from adamx.analysis import COLORS
from adamx.analysis.curves import curves
from adamx.analysis.plots import regime_map
from adamx.analysis.style import image
from adamx.analysis.summary import brief, ink
from adamx.engine.results import Results
from adamx.engine.settings import best
from adamx.regimes import REGIMES

LINES = 10
MAPS = 4  # of several results that a notebook shows


def text(results: Sequence[Results], title: str = "") -> str:
    """The runs of each regime and the best settings, in at most `LINES` lines."""
    if not any(map(len, results)):
        return "\n".join(filter(None, [title, *(r.title for r in results)]))
    out = io.StringIO()
    Console(file=out, width=120, color_system=None, force_terminal=False, force_jupyter=False).print(brief(results))
    lines = [line.strip() for line in [*filter(None, [title]), *out.getvalue().splitlines()]]
    lines = [line for line in lines if line]
    return "\n".join(lines if len(lines) <= LINES else [*lines[: LINES - 1], f"... {len(lines) - LINES + 1} more"])


def html(results: Sequence[Results], title: str = "") -> str:
    """The same for a notebook: `title`, HTML already; a block for each of the results; the best settings."""
    blocks = [f"<div>{title}</div>" * bool(title)]
    results = [r for r in results if len(r)]
    for r in results:
        chips = (
            f'<span style="background: {COLORS[name]}; color: {ink(name)}; padding: 1px 6px; margin-right: 4px">'
            f"{name} {(r.regime == name).sum():,}</span>"
            for name in REGIMES
        )
        blocks.append(f'<div style="margin-top: 6px"><b>{escape(r.title)}</b></div><div>{"".join(chips)}</div>')
    if results:
        blocks.append(best(results).to_html(index=False, border=0, float_format=lambda v: f"{v:.4g}"))
    blocks += [image(regime_map(r) or curves(r)) for r in results[:MAPS]]
    if len(results) > MAPS:
        blocks.append(f"<div>and {len(results) - MAPS} more: results[{MAPS}].map() and so on</div>")
    return "\n".join(filter(None, blocks))
