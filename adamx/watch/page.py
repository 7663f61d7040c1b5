"""Page: a watched training as one HTML file that needs no network: the verdict, and all curves on one axis of steps."""

from __future__ import annotations

import html
from itertools import pairwise
from typing import Any

import numpy as np
from plotly.subplots import make_subplots

from adamx.watch.scene import Scene
from adamx.watch.tape import Tape
from adamx.watch.verdict import IN_WORDS, Verdict

# a picture each: its title, whether its axis is logarithmic, its curves
PICTURES = (
    ("loss", True, ("loss",)),
    ("norm of the gradient", True, ("norm",)),
    ("lr", True, ("lr",)),
    ("curvature and its limit", True, ("curvature", "sharpness", "sharpness_limit")),
    ("update / lr", True, ("step_rms", "largest_step")),
    ("lag: g² over v", True, ("lag",)),
    ("sqrt(v_hat), root mean square", True, ("root_rms",)),
    ("effective lr: 10, 50, 90 %", True, ("effective_lr_10", "effective_lr_50", "effective_lr_90")),
    ("shares", False, ("below_eps", "zero_grads", "dead", "lost_updates", "nonfinite_grads")),
    ("weights, root mean square", True, ("weight_rms",)),
    ("weight decay over the rest", True, ("decay",)),
)
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
LIMITS = {"sharpness_limit": "dash"}
LINES = {"lag: g² over v": 1.0, "weight decay over the rest": 1.0}  # where it begins to matter
MOST = 4000  # points of a curve: of more, the extremes of each stretch are kept
HEIGHT = 190
STYLE = """body { margin: 0 auto; padding: 20px 24px 48px; max-width: 1200px; color: #1c2024; background: #fff;
font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 20px; margin: 0 0 6px; } h2 { font-size: 15px; margin: 14px 0 2px; } p { margin: 0 0 6px; }
.soft { color: #60666d; } td { padding: 0 14px 1px 0; vertical-align: top; } td:first-child { color: #60666d; }"""


def page(tape: Tape, verdict: Verdict) -> bytes:
    """The page, UTF-8."""
    scene = Scene(tape)
    title = "Healthy" if verdict.cause == "healthy" else IN_WORDS.get(verdict.cause, "I cannot tell")
    parts = [f"<h1>{html.escape(title[:1].upper() + title[1:])}</h1>", '<div id="verdict">']
    parts += [f"<p>{html.escape(sentence)}</p>" for sentence in verdict.sentences]
    parts += ["</div>", f'<p class="soft">{html.escape(_facts(tape, verdict))}</p>', _settings(tape)]
    figure = _figure(tape, scene)
    parts.append(figure.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False}))
    head = f'<meta charset="utf-8"><title>adamx watch: {html.escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'.encode()


def _facts(tape: Tape, verdict: Verdict) -> str:
    regime = f", regime of the loss: {verdict.regime}" if verdict.regime else ""
    measured = f", {len(tape.rows)} measured" if tape.rows else ""
    return f"steps {tape.first} to {tape.last}{measured}{regime}"


def _settings(tape: Tape) -> str:
    """The groups' settings as tables."""
    tables = []
    for i, group in enumerate(tape.groups):
        said = {k: f"{v:.6g}" if isinstance(v, float) else str(v) for k, v in group.items()}
        cells = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in said.items())
        tables.append(f"<details><summary>group {i}: {html.escape(said.get('optimizer', ''))}</summary>")
        tables.append(f"<table>{cells}</table></details>")
    return "".join(tables)


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A curve with at most about MOST points, its spikes among them."""
    if len(x) <= MOST:
        return x, y
    bounds = np.linspace(0, len(x), MOST // 2 + 1).astype(int)
    filled = np.where(np.isfinite(y), y, -np.inf)
    kept = {0, len(x) - 1}
    for a, b in pairwise(bounds):
        kept |= {a + int(np.argmax(filled[a:b])), a + int(np.argmin(filled[a:b]))}
    some = np.array(sorted(kept))
    return x[some], y[some]


def _curves(tape: Tape, name: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    if name == "lr":
        return [(f"lr of group {i}" if i else "lr", *tape.series("lr", i)) for i in range(len(tape.lr))]
    return [(name, *tape.series(name))]


def _title(title: str, curves: list[tuple[str, np.ndarray, np.ndarray]]) -> str:
    """A picture's title; of several curves their names follow in their colors."""
    names = [f'<span style="color:{COLORS[i % len(COLORS)]}">{name}</span>' for i, (name, *_) in enumerate(curves)]
    return f"{title}: {', '.join(names)}" if len(names) > 1 else title


def _figure(tape: Tape, scene: Scene) -> Any:
    shown = []
    for title, log, names in PICTURES:
        curves = [c for name in names for c in _curves(tape, name) if np.isfinite(c[2]).any()]
        if log:
            curves = [(n, x, np.where(y > 0, y, np.nan)) for n, x, y in curves if (y[np.isfinite(y)] > 0).any()]
        if curves:
            shown.append((title, log, curves))
    figure = make_subplots(
        rows=max(1, len(shown)),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.022,
        subplot_titles=[_title(title, curves) for title, _, curves in shown],
    )
    for row, (title, log, curves) in enumerate(shown, 1):
        for i, (name, x, y) in enumerate(curves):
            x, y = thinned(x, y)
            line = {"color": COLORS[i % len(COLORS)], "width": 1.3, "dash": LIMITS.get(name, "solid")}
            mode = "lines+markers" if len(x) < 60 else "lines"
            figure.add_scatter(
                x=x, y=y, name=name, mode=mode, line=line, marker={"size": 4}, row=row, col=1, showlegend=False
            )
        figure.update_yaxes(type="log" if log else "linear", exponentformat="power", row=row, col=1)
        if title in LINES:
            figure.add_hline(LINES[title], line={"dash": "dash", "width": 1, "color": "#222"}, row=row, col=1)
    for step, color in _marks(tape, scene):
        figure.add_vline(step, line={"color": color, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="step", row=len(shown), col=1)
    figure.update_layout(
        template="plotly_white", height=HEIGHT * max(1, len(shown)) + 80, margin={"l": 70, "r": 20, "t": 40, "b": 50}
    )
    figure.update_layout(hovermode="x")
    return figure


def _marks(tape: Tape, scene: Scene) -> list[tuple[int, str]]:
    """The steps of spikes and of events, with a color each."""
    marks = {e.step: "#E69F00" for e in scene.episodes[:50]}
    marks |= {s.step: "#E69F00" for s in tape.spikes[:50]}
    marks |= {e.step: "#CC79A7" for e in tape.events[:50]}
    if scene.broken is not None:
        marks[scene.broken] = "#222222"
    return sorted(marks.items())
