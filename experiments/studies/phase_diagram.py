"""Where in the plane of β1 and β2 Adam spikes, and what ε does to that map.

On kx²/2 with ε next to nothing Adam converges, and then v, which has nothing left to average, decays until the
preconditioned curvature passes the threshold of claim 8. Whether spikes follow, again and again, depends on both
memories: with δ = 1 - β1 and γ = 1 - β2 they do below a curve γ = C δ^p and do not above. The default (0.9, 0.999) is a
spiker: 0.001 lies far below 15.6 · 0.1^3.07 = 0.013.

The paper leaves open what a larger ε does. Claim 1 has half of the answer: the effective rate cannot exceed lr/ε, so
that nothing spikes left of δ = 4ε/(lr k + 2ε). The maps show the other half: just right of that line ε does the
opposite, and settings spike that were calm above the curve.

Measured with lr = 0.1, k = 1, ε = 1e-30, from x = 1 with m = v = 0: 250,000 updates of every cell, of which the first
half is dropped; a cell spikes if lr/(√v̂ + ε) rose above 2 (1 + β1)/((1 - β1) k) at least three times in the second
half. (p, C) is a line through the boundary, which is for each δ the γ that parts spiking from calm cells with the
fewest errors, found on a band of γ about the published curve. With ε → 0 Adam is free of the scales of k and (but for
the start, x/lr) of lr: its law cannot depend on them, and the published differences between its controls are those of
the fit.
"""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

import adamx
from adamx.reproduce import Check, between, near

CLAIMS = "6"
SOURCE = "Tang, Chen & Liu 2026, arXiv 2609.18314; the maps along ε are new"
SECONDS = 110
QUICK = False

UPDATES, EVENTS = 250_000, 3
LR = 0.1
P, C = 3.07, 15.6
LAW = {  # (p, C) as published
    "ε = 1e-30": (P, C, {}),
    "ε = 1e-8": (3.095, 17.70, {"eps": 1e-8}),
    "k = 10": (3.064, 16.30, {"curvature": 10.0}),
    "lr = 0.01": (3.210, 25.00, {"lr": 0.01}),
    "ε = 1e-4": (3.009, 15.02, {"eps": 1e-4}),
}
ALONG = [1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.2e-2, 1.6e-2]
BAND = (np.geomspace(0.03, 0.3, 60), np.geomspace(0.4, 2.4, 60))  # δ, and γ over the published curve
FINE, COARSE = 256, 40  # cells a side
DELTA, GAMMA = (0.03, 0.5), (3e-4, 0.9)  # of the maps


def count(delta, gamma, lr=LR, eps=1e-30, curvature=1.0):
    """Results of every cell."""
    hyper = {"lr": lr, "eps": eps, "beta1": 1 - delta.ravel(), "beta2": 1 - gamma.ravel()}
    bowl = {"curvature": curvature}
    return adamx.simulate("adam", "quadratic", hyper, UPDATES, UPDATES, problem_args=bowl, instruments=["crossings"])


def run():
    delta, over = np.meshgrid(*BAND)
    bands = {name: count(delta, C * delta**P * over, **changed) for name, (_, _, changed) in LAW.items()}
    maps = {"map": count(*np.meshgrid(np.geomspace(*DELTA, FINE), np.geomspace(*GAMMA, FINE)))}
    coarse = np.meshgrid(np.geomspace(*DELTA, COARSE), np.geomspace(*GAMMA, COARSE))
    return bands | maps | {f"ε = {eps:g}, map": count(*coarse, eps=eps) for eps in ALONG}


def cells(results):
    """δ of the columns, and the (γ, δ) grids of γ and of the events in the second half."""
    side = round(len(results) ** 0.5)
    beta1, gamma = results.columns["beta1"][:side], (1 - results.columns["beta2"]).reshape(side, side)
    return 1 - beta1, gamma, results.figures["late_crossings"].reshape(side, side)


def law(results):
    """(p, C) of the boundary γ = C δ^p."""
    delta, gamma, events = cells(results)
    found = []
    for column in range(len(delta)):
        spiking = events[:, column] >= EVENTS
        errors = np.cumsum(~spiking)[:-1] + np.cumsum(spiking[::-1])[::-1][1:]
        least = errors.argmin()
        found.append(np.sqrt(gamma[least, column] * gamma[least + 1, column]))
    p, log_c = np.polyfit(np.log(delta), np.log(found), 1)
    return p, np.exp(log_c)


def cut(eps):
    """The δ below which ε keeps the effective rate under its threshold."""
    return 4 * eps / (LR + 2 * eps)


def check(runs) -> list[Check]:
    checks = []
    for name, (p, c, _) in LAW.items():
        measured_p, measured_c = law(runs[name])
        why = "the boundary is bent: fitted to δ below 0.1 and above it alone, its exponents are 3.01 and 2.90"
        checks.append(between(f"exponent p, {name}", p - 0.1, measured_p, p + 0.1, why))
        checks.append(near(f"constant C, {name}", c, measured_c, 0.25, "it moves so when p moves by 0.1"))
    maps = [(eps, cells(runs[f"ε = {eps:g}, map"])) for eps in ALONG]
    stray = sum(int(events[:, delta < cut(eps)].sum()) for eps, (delta, _, events) in maps)
    why = "exact: the threshold is out of reach"
    return [*checks, between("events left of δ = 4ε/(lr k + 2ε), all ε", 0, stray, 0, why)]


def figure(runs) -> Figure:
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.3))
    axes = left.subplots()
    mesh = _draw(axes, runs["map"])
    _ticks(axes, [0.03, 0.05, 0.1, 0.2, 0.4])
    delta, (p, c) = np.array(DELTA), law(runs["ε = 1e-30"])
    axes.plot(delta, C * delta**P, color="black", lw=1, ls="--", label=f"1 - β2 = {C} (1 - β1)$^{{{P}}}$, published")
    axes.plot(delta, c * delta**p, color="#D55E00", lw=1, label=f"1 - β2 = {c:.1f} (1 - β1)$^{{{p:.2f}}}$, measured")
    axes.set(xlabel="1 - β1", ylabel="1 - β2", title="ε = 1e-30")
    left.legend(loc="outside lower center")
    grid = right.subplots(2, 4, sharex=True, sharey=True)
    for axes, eps in zip(grid.flat, ALONG, strict=True):
        _draw(axes, runs[f"ε = {eps:g}, map"])
        _ticks(axes, [0.05, 0.1, 0.3])
        axes.axvline(cut(eps), color="#D55E00", lw=1)
        axes.plot(delta, C * delta**P, color="black", lw=0.8, ls="--")
        axes.set_title(f"ε = {eps:g}")
    right.supxlabel("1 - β1    (orange: 4ε/(lr + 2ε); nothing spikes left of it)", fontsize=10)
    right.colorbar(mesh, ax=grid, label="times over the threshold in the second half")
    figure.suptitle("Adam on x²/2, lr = 0.1, 250,000 updates: where it spikes", weight="bold")
    return figure


def _ticks(axes, places):
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw(axes, results):
    delta, gamma, events = cells(results)
    shown = np.ma.masked_less(events, EVENTS)
    mesh = axes.pcolormesh(delta, gamma[:, 0], shown, norm=LogNorm(10, 1e4), cmap="cividis", rasterized=True)
    axes.set(xscale="log", yscale="log", xlim=DELTA, ylim=GAMMA)
    return mesh
