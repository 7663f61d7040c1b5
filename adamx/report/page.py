"""Report: a sweep as one HTML file that needs no network: the folder browser/, plotly.js and every run.

What the page shows is in elements with these ids: #launch, #x and #y (selects: which optimizer and problem, which
axes), #color (a select: regime, or a figure), #rank (a select: what is best), `.axis-slider` (a range input for each
other axis, `data-axis` names it), #map (plotly; hover and click), #curves (plotly; the clicked setting and its
neighbours), #details (its settings and figures), #sides and #best-curves (plotly: a map and the best curve of each
launch on the same problem), #fan and #shares (plotly, one for each regime, one for each axis), #importance (plotly),
#parallel (a canvas: parallel coordinates of all runs).
Above them stand what was found (#found), how and when the sweep was run (#about) and what the regimes mean.

The file stays under `LIMIT` bytes for 262,144 runs: hyperparameters, figures (to 6 digits) and regimes of all runs are
in it, and as many loss curves as then fit, on a scale of 65,534 levels.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Template

import numpy as np
from plotly.offline import get_plotlyjs

from adamx.analysis import COLORS
from adamx.engine.results import Results
from adamx.engine.settings import LOSS, best_run, named_rank
from adamx.regimes import MEANINGS
from adamx.report.content import BANDS, content
from adamx.report.packing import pack, zipped
from adamx.report.places import LEVELS, LossScale, loss_scale

LIMIT = 15_000_000  # bytes of the whole file
AROUND = 50_000  # of them for what is around the data
PAGE = Path(__file__).parent / "browser"
SCRIPTS = "data look color parallel map curves shares sides report".split()  # one module, in this order
SHOWN = ("adamx", "numba", "numpy", "mlflow")  # packages
SAMPLE = 256  # curves that tell how well curves pack


def report(results: Sequence[Results], about: Sequence[tuple[str, str]] = (), rank: str = LOSS) -> bytes:
    """The page, UTF-8; several results (optimizers, problems, dtypes) share it and are chosen by a drop-down.

    Args:
        about: how the sweep was run: lines of a name and its words (see `how_run`). rank: the figure by which settings
            are ranked when the page is opened: one of `engine.settings.ranks`, with or without its `final_`.
    Raises:
        InputError: no such figure.
    """
    rank = named_rank(results, rank)
    title = results[0].title if len(results) == 1 else f"adamx: {len(results)} launches"
    index = {"launches": [r.title for r in results], "colors": COLORS, "levels": LEVELS, "bands": BANDS}
    index |= {"about": list(about), "meanings": list(MEANINGS.items()), "rank": rank}
    page = {
        "title": html.escape(title),
        "script": "\n".join((PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS),
        "plotly": zipped(get_plotlyjs().encode()),
        "index": pack(index, {}),
    }
    scales = [loss_scale(r, r.loss) for r in results]
    launches = [pack(*content(r, scale)) for r, scale in zip(results, scales, strict=True)]
    room = (LIMIT - AROUND - sum(map(len, [*page.values(), *launches]))) / sum(r.loss.size for r in results)
    curves = [_curves(r, scale, room * r.loss.size) for r, scale in zip(results, scales, strict=True)]
    blocks = [
        f'<script type="text/plain" id="{kind}-{i}">{text}</script>'
        for kind, texts in (("launch", launches), ("curves", curves))
        for i, text in enumerate(texts)
    ]
    template = Template((PAGE / "report.html").read_text(encoding="utf-8"))
    return template.substitute(page, data="\n".join(blocks)).encode()


def how_run(tags: Mapping[str, str], started: int) -> list[tuple[str, str]]:
    """How a sweep was run, for `report`.

    Args:
        tags: of its parent run. started: in milliseconds since 1970.
    """
    packages = [f"{name} {tags[key]}" for name in SHOWN if (key := f"version.{name}") in tags]
    lines = [
        ("command", tags.get("command", "")),
        ("begun", f"{datetime.fromtimestamp(started / 1000, UTC):%Y-%m-%d %H:%M} UTC"),
        ("with", ", ".join([*packages, f"Python {tags.get('python', '')}"])),
        ("on", f"{tags.get('cpu', '')}, {tags.get('cores', '')} cores"),
    ]
    return [(name, words) for name, words in lines if words.strip(", ")]


def _curves(results: Results, scale: LossScale, room: float) -> str:
    """The loss curves of all runs where they pack into `room` bytes, else of the best and others drawn evenly."""
    order = np.random.default_rng(0).permutation(len(results))
    best = (best_run([results]) or (0, 0))[1]
    order = np.concatenate([[best], order[order != best]])

    def packed(count: int) -> str:
        kept = np.sort(order[:count])
        return pack(None, {"kept": kept.astype(np.uint32), "codes": scale.codes(results.loss[:, kept].T)})

    each = len(packed(SAMPLE)) / min(SAMPLE, len(results))
    return packed(int(np.clip(0.95 * room / each, 1, len(results))))
