"""The flagship maps: 512 x 512 whole runs of Adam each, with the lines where theory puts the borders.

    python experiments/maps.py [eps] [betas] [--points 512] [--dpi 230] [--out FOLDER]

eps      lr and eps on x²/2, all else at its default: eps_map.png. Below eps = lr/38 the minimum is unstable, and Adam
         comes back from it and spikes (claim 1). Gradient noise of 1e-12, without which an iterate would underflow to 0
         and look stable.
betas    beta1 and beta2 on x⁴/4 without eps: beta_map.png. Adam converges exponentially for beta1 < beta2, and beyond
         that it spikes or oscillates (claim 7; `experiments/studies/quartic_phases.py` explains the setting, and says
         where the border between these two is known). Losses fall without end: a spike counts at any height.

Both: 217 s of CPU time on an AMD EPYC (numba 0.68), all but 5 s for drawing spread over all cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from matplotlib.patheffects import withStroke

import adamx
from adamx.analysis import theory
from adamx.analysis.plots import regime_map
from adamx.analysis.scales import Scale
from adamx.engine.results import Results
from adamx.problems import problem

STEPS, RECORDS = 20_000, 10
HERE = Path(__file__).parent


class Curve(NamedTuple):
    """A border: its values on both axes, and the formula that is written along it."""

    x: np.ndarray
    y: np.ndarray
    label: str


def eps(points: int) -> tuple[str, Results, list[Curve]]:
    """lr and eps on x²/2."""
    bowl = problem("quadratic", {"curvature": 1.0, "noise": 1e-12, "target": 1e-12})
    lr, eps = np.logspace(-4, 0, points), np.logspace(-10, 0, points)
    results = adamx.simulate("adam", bowl, adamx.grid(lr=lr, eps=eps), STEPS, STEPS // RECORDS)
    return "Adam on x²/2", results, [Curve(lr, theory.eps_threshold(lr, 0.9, 1.0), "ε = lr/38")]


def betas(points: int) -> tuple[str, Results, list[Curve]]:
    """beta1 and beta2 on x⁴/4."""
    quartic = problem("power", {"k": 4.0})
    strict = quartic.criteria._replace(target=1e-100, spike_floor=0.0, spike_ratio=100.0)
    axis = np.linspace(0.02, 0.98, points)
    hyper = adamx.grid(lr=1e-3, beta1=axis, beta2=axis)
    rule = str(HERE / "studies" / "_bai_adam.py")
    results = adamx.simulate(rule, replace(quartic, criteria=strict), hyper, STEPS, STEPS // RECORDS)
    return "Adam without ε on x⁴/4", results, [Curve(theory.power_boundary(axis, 4.0), axis, "β1 = β2")]


MAPS = {"eps": (eps, "lr", "eps", "eps_map.png"), "betas": (betas, "beta1", "beta2", "beta_map.png")}


def draw(name: str, points: int, dpi: int, folder: Path) -> Iterator[str]:
    """Compute a map and draw it; says how long both took."""
    compute, x, y, file = MAPS[name]
    began = perf_counter()
    title, results, borders = compute(points)
    computed = perf_counter()
    figure = regime_map(results, x, y)
    assert figure is not None
    figure.suptitle(f"{title}: {len(results):,} runs of {STEPS:,} steps", fontsize=12, weight="bold")
    across, up = (Scale(axis, np.unique(results.columns[axis])) for axis in (x, y))
    axes = figure.axes[0]
    limits = axes.axis()
    for border in borders:
        at = across.place(border.x), up.place(border.y)
        axes.plot(*at, color="white", linewidth=3)
        axes.plot(*at, color="black", linewidth=1.4, linestyle=(0, (4, 2)))
        first, last = (np.array([part[int(share * (len(part) - 1))] for part in at]) for share in (0.55, 0.85))
        axes.text(
            *(first + last) / 2 + (0, 0.012 * (limits[3] - limits[2])),
            border.label,
            rotation=np.degrees(np.arctan2(*(last - first)[::-1])),
            transform_rotates_text=True,
            rotation_mode="anchor",
            va="bottom",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    axes.axis(limits)
    figure.savefig(folder / file, dpi=dpi)
    yield f"{folder / file}: {len(results):,} runs of {STEPS:,} steps"
    yield f"  {computed - began:.1f} s to compute, {perf_counter() - computed:.1f} s to draw"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", nargs="*", metavar="eps betas", help="which; default: both")
    parser.add_argument("--points", type=int, default=512, help="values of each axis")
    parser.add_argument("--dpi", type=int, default=230)
    parser.add_argument("--out", type=Path, default=HERE)
    typed = parser.parse_args()
    typed.out.mkdir(parents=True, exist_ok=True)
    for name in typed.maps or MAPS:
        if name not in MAPS:
            parser.error(f"unknown map {name!r}: allowed: {', '.join(MAPS)}")
        print(*draw(name, typed.points, typed.dpi, typed.out), sep="\n", flush=True)


if __name__ == "__main__":
    main()
