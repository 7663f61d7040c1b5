"""On x⁴/4 Adam converges exponentially at a constant lr if β1 < β2, and else it spikes or oscillates.

Near a minimum of x^k/k with k > 2 the gradient falls faster than √v = C β2^(t/2) can follow: v forgets alone, the step
lr g/√v grows relative to the gradient, and x settles on a decay at which both keep pace, x^(k-2) ~ √v. So

    log loss falls by k ln β2 / (2(k-2)) a step

This decay is stable iff β1 < β2^(k/(2(k-2))), for k = 4 β1 < β2. Where it is not, Adam spikes, or x oscillates like
SignGD. The border between these two was claimed at β1 = β2^((k-1)/(2(k-2))), where m forgets as fast as the gradient
decays and that decay ceases to exist. But whether an unstable decay exists matters only as long as a run follows it,
which is until its first spike. What does hold, for small 1 - β1, is the border of Tang, Chen & Liu 2026,

    1 - β2 = 12(k-2)/(3k-4) (1 - β1), for k = 4   1 - β2 = 3 (1 - β1)

Measured with ε = 0, no bias correction, m and v started at the first gradient, x0 = 1, lr = 1e-3, 100,000 steps.
Regimes are those of adamx/regimes.py, which knows nothing of the formulas. Losses fall to 1e-300, so spikes count at
any height (`spike_floor` 0), and from 100 times the running median on: the same factor in x as 10 is on a quadratic.

Found: the first border is exact. The second is Tang's where 1 - β1 ≤ 0.03; there the claimed one lies in the midst of
the spikes, all but one of 36 settings between them: at 1 - β1 = 0.03, 10 % from Tang's, x oscillates. Nearer to β1 =
0 spikes cease earlier, and return where β2 is small. At β1 = 0.99, β2 = 0.93 x swings 8 times as far as SignGD's
lr/2, over many steps each way: the median of what oscillates ends near L(lr/2), it does not.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import adamx
from adamx.analysis import COLORS, theory
from adamx.problems import problem
from adamx.reproduce import Check, between, near

CLAIMS = "7"
SOURCE = (
    "Bai et al. 2026, arXiv 2603.09581; second-hand: its abstract was read, the formulas and settings are from notes; "
    "the border of spikes: Tang, Chen & Liu 2026, arXiv 2609.18314"
)
SECONDS = 3
QUICK = True

RULE = str(Path(__file__).with_name("_bai_adam.py"))
LR, BETA2, STEPS = 1e-3, 0.93, 100_000
THREE = {0.9: "converged", 0.94: "spiking", 0.99: "oscillating"}  # by β1 at BETA2
NAMES = ("converged", "spiking", "oscillating")
AXIS = np.linspace(0.02, 0.98, 50)
OFF = np.geomspace(0.003, 0.03, 9)  # 1 - β1 close to 1
RATIO = np.array([0.7, 0.8, 0.9, 1.1, 1.3, 1.6, 2.0, 2.4, 2.7, 3.3, 3.6, 4.0])  # (1 - β2)/(1 - β1), 10 % from 1 and 3
NEAR_SIGN = (LR / 2) ** 4 / 4


def run():
    quartic = problem("power", {"k": 4.0})
    strict = quartic.criteria._replace(target=1e-250, spike_floor=0.0, spike_ratio=100.0)
    quartic = replace(quartic, criteria=strict)
    three = {"lr": LR, "beta1": list(THREE), "beta2": BETA2}
    off = np.repeat(OFF, len(RATIO))
    corner = {"lr": LR, "beta1": 1 - off, "beta2": 1 - off * np.tile(RATIO, len(OFF))}
    return {
        "three": adamx.simulate(RULE, quartic, three, STEPS, 10),
        "corner": adamx.simulate(RULE, quartic, corner, STEPS, 1000),
        "map": adamx.simulate(RULE, quartic, adamx.grid(lr=LR, beta1=AXIS, beta2=AXIS), STEPS, 1000),
    }


def check(runs) -> list[Check]:
    three, grid = runs["three"], runs["map"]
    decay = (three.steps >= 2000) & (three.steps < 9000)
    slope = np.polyfit(three.steps[decay], np.log(three.loss[decay, 0]), 1)[0]
    checks = [
        near(
            "log-loss per step at β1 = 0.9, β2 = 0.93", theory.power_slope(BETA2, 4), slope, 1e-6, "a pure exponential"
        )
    ]
    for beta1, name, regime in zip(THREE, THREE.values(), three.regime, strict=True):
        checks.append(Check(f"regime at β1 = {beta1:g}, β2 = 0.93", name, str(regime), regime == name, "a word"))
    beta1, beta2 = grid.columns["beta1"], grid.columns["beta2"]
    clear = ~np.isclose(beta1, beta2, rtol=0, atol=1e-9)
    stable = ((grid.regime == "converged") == (beta1 < theory.power_boundary(beta2, 4)))[clear].mean()
    why = "the claim's 99 %; settings that lie on the border, β1 = β2, count nowhere"
    checks.append(between("share of the map: converged where the first formula says so", 0.99, stable, 1, why))
    corner = runs["corner"]
    spiking = (corner.regime == "spiking").reshape(len(OFF), len(RATIO))
    why = "the same 99 %; settings keep 10 % from both borders"
    agree = (spiking == ((RATIO > 1) & (RATIO < 3))).mean()
    checks.append(between("share spiking iff 1 < (1-β2)/(1-β1) < 3, 1-β1 ≤ 0.03", 0.99, agree, 1, why))
    old = (RATIO > 4 / 3) & (RATIO < 3)
    name = "share spiking between the claimed second border and that of Tang et al."
    why = "the claim, β1 < β2^(3/4), is 1 - β2 < 4/3 (1 - β1): beyond it no run would spike"
    checks.append(between(name, 0.99, spiking[:, old].mean(), 1, why))
    last = [(r.loss[r.steps >= STEPS // 2].max(axis=0) / NEAR_SIGN) ** 0.25 for r in (three, grid)]
    why = "near: within a factor of 2"
    checks.append(between("largest late |x| over lr/2 at β1 = 0.99, β2 = 0.93", 0.5, last[0][2], 2, why))
    middle = np.median(last[1][grid.regime == "oscillating"])
    checks.append(between("largest late |x| over lr/2, median of what oscillates", 0.5, middle, 2, why))
    return checks


def figure(runs) -> Figure:
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    grid, three = runs["map"], runs["three"]
    codes = np.searchsorted(sorted(COLORS), grid.regime).reshape(50, 50)  # [beta1, beta2]
    colors = ListedColormap([COLORS[name] for name in sorted(COLORS)])
    left.pcolormesh(AXIS, AXIS, codes.T, cmap=colors, vmin=-0.5, vmax=len(COLORS) - 0.5, rasterized=True)
    fine = np.linspace(0, 1, 200)
    left.plot(theory.power_boundary(fine, 4), fine, color="black", lw=1.5)
    close = 1 - np.array([OFF[-1], 0.0])
    left.plot(close, theory.power_spikes(close, 4), color="black", lw=1.5, ls=(0, (2, 1)))
    left.set(xlabel="β1", ylabel="β2", xlim=(0.01, 0.99), ylim=(0.01, 0.99), aspect="equal")
    left.set_title("solid β1 = β2, in the corner 1 - β2 = 3 (1 - β1)")
    for run in (2, 1, 0):
        beta1, regime = three.columns["beta1"][run], three.regime[run]
        right.plot(three.steps, three.loss[:, run], color=COLORS[regime], lw=0.8, label=f"β1 = {beta1:g}")
        left.plot(beta1, BETA2, "o", mfc="white", mec="black", ms=5, clip_on=False)
    right.plot([1000, 2400], BETA2 ** np.array([0.0, 1400]) * 1e-12, ":", color="black", lw=1.6)
    right.text(1500, 1e-42, "slope ln β2", ha="right")
    right.axhline(NEAR_SIGN, color="black", lw=0.8)
    right.text(60, NEAR_SIGN / 10, "x = lr/2", va="top")
    right.set(yscale="log", xlabel="step", ylabel="loss", xlim=(0, 6000), ylim=(1e-60, 1))
    right.set_title("β2 = 0.93 and β1 = 0.9, 0.94, 0.99: the white dots")
    figure.legend(
        handles=[Patch(color=COLORS[name], label=f"{name} {(grid.regime == name).sum():,}") for name in NAMES],
        loc="outside lower center",
        ncols=3,
    )
    figure.suptitle("Adam without ε on x⁴/4, lr = 0.001: 2,500 settings, 100,000 steps each", weight="bold")
    return figure
