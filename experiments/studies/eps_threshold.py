"""Adam's minimum is stable only above a threshold of ε, and ε = 1e-8 lies far below it.

Near the minimum of λx²/2 the gradient vanishes and v with it, and what divides the step is ε alone: Adam becomes
momentum with the learning rate lr/ε, which is stable iff lr λ/ε < 2(1 + β1)/(1 - β1). So the minimum is stable iff

    ε > ε* = lr λ (1 - β1) / (2 (1 + β1))

Below it |x| grows until v is large enough to tame the step. Where it stays at a 2-cycle x → -x, with m alternating at
±(1 - β1)/(1 + β1) of the gradient and √v = λ|x|,

    2|x| = lr (1 - β1)/(1 + β1) λ|x| / (λ|x| + ε)    so    |x| = (ε* - ε)/λ

which for β1 = 0 is RMSprop's pop. Where that cycle is itself unstable (β1 = 0.9 and 0.99, and 0.5 far below ε*) Adam
spikes instead.

Above it the noise alone keeps |x| from 0: with v = 0 Adam is x' = (1 + β1 - a) x - β1 x'' - a n, a = lr (1 - β1)/ε, an
autoregression of second order, whose standard deviation is known. It is 7e-12 at 1.02 ε* for β1 = 0 and more for larger
ones: the fall from 0.98 to 1.02 ε*, six to seven orders of magnitude at β1 = 0.9, is more or less at others.

Measured on x²/2, lr = 0.1, β2 = 0.999, from 1, 60,000 steps: the largest |x| of the last 20,000. The gradient has noise
of 1e-12: without it a run with a low β1 shrinks until x² is an exact 0, and stays there, stable or not. That is the
trap.
"""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

import adamx
from adamx.analysis import theory
from adamx.reproduce import Check, between, near

CLAIMS = "1"
SOURCE = "derived, from the threshold of Cohen et al. 2022, arXiv 2207.14484, as v → 0; cf. Bock & Weiß 2019"
SECONDS = 1
QUICK = True

LR, STEPS, LAST, EVERY = 0.1, 60_000, 20_000, 7  # an odd interval of records sees both ends of a 2-cycle
BETA1 = np.array([0.0, 0.5, 0.9, 0.99])
NOISE = 1e-12
STATED = [0.05, 0.016667, 0.0026316, 0.00025126]
FINE = 0.0025
RATIO = np.unique(np.round(np.r_[np.geomspace(0.1, 10, 41), np.arange(0.94, 1.0601, FINE)], 6))  # ε/ε*
FLOOR = 1e-13  # where a figure draws what is less, or 0
SMALL = 1e-7  # noise of 1e-12 is amplified to 1e-8 at the very threshold, and a cycle is larger than 1e-6 at 0.995 ε*


def threshold(beta1):
    return theory.eps_threshold(LR, beta1, curvature=1.0)


def run():
    beta1 = np.repeat(BETA1, len(RATIO))
    hyper = {"lr": LR, "beta1": beta1, "eps": threshold(beta1) * np.tile(RATIO, len(BETA1))}
    runs = {}
    for name, noise in (("noise", NOISE), ("no noise", 0.0)):
        settings = {"curvature": 1.0, "noise": noise, "target": 1e-16}
        runs[name] = adamx.simulate("adam", "quadratic", hyper, STEPS, EVERY, problem_args=settings)
    return runs


def amplitudes(results):
    """(beta1, ratio) the largest |x| over the last steps."""
    last = results.steps >= STEPS - LAST
    return np.sqrt(2 * results.loss[last].max(axis=0)).reshape(len(BETA1), len(RATIO))


def deviations(results):
    """(beta1, ratio) the standard deviation of x over the last steps, of mean 0."""
    last = results.steps >= STEPS - LAST
    return np.sqrt(2 * results.loss[last].mean(axis=0)).reshape(len(BETA1), len(RATIO))


def noise_floor(beta1, ratio):
    """The standard deviation of x that noise of NOISE keeps up where ε is `ratio` times ε*, and v nothing beside it."""
    a = LR * (1 - beta1) / (ratio * threshold(beta1))
    first, second = 1 + beta1 - a, -beta1
    return a * NOISE * np.sqrt((1 - second) / ((1 + second) * ((1 - second) ** 2 - first**2)))


def check(runs) -> list[Check]:
    checks = []
    noisy, silent = amplitudes(runs["noise"]), amplitudes(runs["no noise"])
    below, above = np.searchsorted(RATIO, [0.98, 1.02])
    for beta1, stated, x, spread in zip(BETA1, STATED, noisy, deviations(runs["noise"]), strict=True):
        last = np.flatnonzero(x > SMALL).max()
        edge = threshold(beta1) * (RATIO[last] + RATIO[last + 1]) / 2
        checks.append(near(f"ε* at β1 = {beta1:g}", stated, edge, FINE, "the spacing of the ε axis"))
        if beta1 < 0.9:
            cycle = 0.02 * threshold(beta1)
            checks.append(near(f"|x| at 0.98 ε*, β1 = {beta1:g}", cycle, x[below], 0.01, "a 2-cycle is exact"))
        why = "within a third: the memory of |x| is 200 steps at β1 = 0.99, so 20,000 are some 50 draws of x²"
        what = f"standard deviation of x at 1.02 ε*, β1 = {beta1:g}"
        checks.append(near(what, noise_floor(beta1, 1.02), spread[above], 1 / 3, why))
    orders = np.log10(noisy[2][below] / noisy[2][above])
    what = "orders of magnitude that |x| falls from 0.98 to 1.02 ε*, β1 = 0.9"
    checks.append(between(what, 5.5, orders, 7.5, "the claim's six to seven, rounded"))
    x, why = noisy[2], "a factor of 2: the claim's own draws of the noise are not known"
    checks.append(between("|x| at 0.98 ε*, β1 = 0.9", 3.9e-4 / 2, x[below], 3.9e-4 * 2, why))
    checks.append(between("|x| at 1.02 ε*, β1 = 0.9", 1.2e-10 / 2, x[above], 1.2e-10 * 2, why))
    hidden = (silent[0][RATIO < 1] == 0).mean()
    why = "most, or it were no trap; a run escapes if it meets its 2-cycle before x² underflows"
    checks.append(between("share of runs at an exact 0 without noise, β1 = 0, ε < ε*", 0.5, hidden, 1, why))
    return checks


def figure(runs) -> Figure:
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    near_one = (RATIO >= 0.94) & (RATIO <= 1.06)
    shown = [
        ("noise", RATIO > 0, "gradient noise 1e-12", "-"),
        ("noise", near_one, "the same, close to ε*", "-"),
        ("no noise", RATIO > 0, "no noise: an exact 0 looks stable", ""),
    ]
    for axes, (name, part, title, line) in zip(panels, shown, strict=True):
        for i, (beta1, x) in enumerate(zip(BETA1, amplitudes(runs[name]), strict=True)):
            style = {"color": colormaps["viridis"](0.05 + 0.28 * i), "lw": 1, "ms": 3.5, "marker": "o^sd"[i]}
            label = f"β1 = {beta1:g}, ε* = {threshold(beta1):.3g}"
            axes.plot(RATIO[part], np.maximum(x[part], FLOOR), linestyle=line, label=label, **style)
        axes.axvline(1, color="0.6", lw=0.8, zorder=0)
        axes.set(yscale="log", xlabel="ε / ε*", title=title)
        if part.all():
            axes.set(xscale="log", xticks=[0.1, 1, 10], xticklabels=["0.1", "1", "10"])
    panels[0].set_ylabel("largest |x| over the last 20,000 steps")
    panels[2].text(0.1, 2 * FLOOR, "0", va="bottom")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle("Adam on x²/2, lr = 0.1, β2 = 0.999: at rest only where ε > ε*", weight="bold")
    return figure
