"""Least squares that Adam had solved comes back, because it was trained too long.

A linear model with Adam's defaults converges until its loss is least to the last digit, and then the loss jumps up by
ten orders of magnitude. Nothing is wrong with data or code. With the gradient gone v forgets, √v falls by √β2 a step,
and the effective rate grows until the sharpest direction is unstable: until the largest eigenvalue S of P⁻¹H, with H =
XᵀX/n and P = diag(√v̂ + ε), passes Λ = 2(1 + β1)/((1 - β1) lr). Then rounding errors of 1e-16 grow, by the root z of

    z² - (1 + β1 - (1 - β1) lr S) z + β1 = 0

a step. From a step t0 at which the loss is 1e-10 above its minimum v only forgets, and with Adam's bias correction S²
grows as β2^-t - 1. So it is known in advance when S passes Λ, and when errors have grown by 1e11, to 1e-5 in x and
1e-10 to 1e-9 in the loss: the next pop. (Smaller ones may come earlier, on the way down.)

Once v has gone P is ε in all coordinates, and Adam is momentum with lr/ε: stable iff ε > ε* = lr λ(1 - β1)/(2(1 + β1))
with λ the largest eigenvalue of H. That is claim 1 in many dimensions, and says which ε prevents it.

Measured on the 442 diabetes patients (353 to train on, 10 features and a bias), all rows every step, in float64. H and
the least loss are NumPy's.
"""

from functools import cache

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

import adamx
from adamx.analysis import theory
from adamx.problems import problem
from adamx.reproduce import Check, between, near

CLAIMS = "15"
SOURCE = (
    "datascience.stackexchange 25024, stackoverflow 42327543: a question without constants; the predictions are derived"
)
SECONDS = 4
QUICK = False

BETA1, BETA2 = 0.9, 0.999
LR = np.array([1e-3, 1e-2, 1e-1])
RATIO = np.array([0.01, 0.1, 0.5, 0.9, 0.98, 1.02, 1.1, 2.0, 10.0])  # ε/ε*
LATE = 25_000
SETTLED, ROUNDING = 1e-10, 1e-15  # gaps


@cache
def exact():
    """The task, the largest eigenvalue of its Hessian, and its least loss."""
    task = problem("diabetes_squares", {"batch": 0})
    inputs = np.column_stack([task.x, np.ones(len(task.x))])
    off = inputs @ np.linalg.lstsq(inputs, task.y, rcond=None)[0] - task.y
    return task, np.linalg.eigvalsh(inputs.T @ inputs / len(inputs))[-1], (off**2).mean() / 2


def gaps(results):
    """(records, runs) the loss above the least."""
    return results.loss - exact()[2]


def thresholds():
    """(lr,) ε*."""
    return theory.eps_threshold(LR, BETA1, exact()[1])


def run():
    eps = {"lr": np.repeat(LR, len(RATIO)), "eps": np.outer(thresholds(), RATIO).ravel()}
    task = exact()[0]
    return {
        "defaults": adamx.simulate("adam", task, {"lr": LR}, 12_000, 5),
        "sharpness": adamx.simulate("adam", task, {"lr": LR}, 8000, 100, instruments="sharpness"),
        "eps": adamx.simulate("adam", task, eps, 40_000, 19),
    }


def predicted(results, run):
    """(t0, step at which S passes its limit, step at which the errors are 1e11 times as large) from S at t0 alone."""
    ratio = results.curves["sharpness"][:, run] / results.curves["sharpness_limit"][:, run]
    start = np.argmax(gaps(results)[:, run] < SETTLED)
    t0, t = int(results.steps[start]), np.arange(results.steps[start], 20_000)
    later = ratio[start] * np.sqrt((BETA2**-t - 1) / (BETA2 ** -float(t0) - 1))  # S over its limit
    sum_of_roots = (1 + BETA1) * (1 - 2 * later)  # (1 - beta1) lr S = 2 (1 + beta1) S / its limit
    z = np.abs(sum_of_roots - np.sqrt(np.maximum(sum_of_roots**2 - 4 * BETA1, 0))) / 2
    growth = np.cumsum(np.log(np.maximum(z, 1)))
    return t0, t[np.argmax(later > 1)], t[np.argmax(growth > np.log(1e11))]


def check(runs) -> list[Check]:
    checks, default, sharp = [], runs["defaults"], runs["sharpness"]
    gap, stops = gaps(default), thresholds()
    late = gaps(runs["eps"])[runs["eps"].steps >= LATE].max(axis=0).reshape(len(LR), len(RATIO))
    peaks = []
    for i, lr in enumerate(LR):
        solved = np.argmax(gap[:, i] < 1e-12)
        peaks.append(gap[solved:, i].max())
        checks.append(
            between(f"lr = {lr:g}: least gap", -ROUNDING, gap[:, i].min(), 1e-12, "the claim's 1e-12; rounding")
        )
        t0, limit, seen = predicted(sharp, i)
        passed = np.argmax(
            (sharp.steps > t0) & (sharp.curves["sharpness"][:, i] > sharp.curves["sharpness_limit"][:, i])
        )
        why = "sharpness is recorded every 100 steps"
        checks.append(between(f"lr = {lr:g}: step at which S > Λ", limit, sharp.steps[passed], limit + 100, why))
        back = default.steps[np.argmax((default.steps > t0) & (gap[:, i] > 10 * SETTLED))]
        why = (
            "a factor of 10 more or less in the errors is 10 % of the steps that they need to grow, and 10 to read off"
        )
        room = 0.1 * (seen - limit) + 10
        checks.append(between(f"lr = {lr:g}: step at which the loss is back", seen - room, back, seen + room, why))
        stop = stops[i] * RATIO[np.argmax(late[i] < ROUNDING) + np.array([-1, 0])].mean()
        checks.append(near(f"lr = {lr:g}: ε that prevents it", stops[i], stop, 0.02, "the spacing of the ε axis at ε*"))
    reaches = np.exp(np.interp(np.log(1e-3), np.log(peaks), np.log(LR)))
    why = "the claim's range of lr; it names no lr for its 1e-3"
    return [*checks, between("lr at which the loss comes back by 1e-3", LR[0], reaches, LR[-1], why)]


def figure(runs) -> Figure:
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    default, many, stops = runs["defaults"], runs["eps"], thresholds()
    late = gaps(many)[many.steps >= LATE].max(axis=0).reshape(len(LR), len(RATIO))
    for i, lr in enumerate(LR):
        color = colormaps["viridis"](0.05 + 0.4 * i)
        gap = np.maximum(gaps(default)[:, i], 1e-16)
        left.plot(default.steps, gap, color=color, lw=0.8, label=f"lr = {lr:g}")
        left.plot(predicted(runs["sharpness"], i)[2], 4, "v", color=color, ms=8)
        right.plot(stops[i] * RATIO, np.maximum(late[i], 1e-16), ".-", color=color, lw=1)
        right.axvline(stops[i], color=color, lw=1, ls=(0, (4, 2)))
    left.set(yscale="log", xlabel="step", ylabel="loss - least loss", xlim=(0, 9000), ylim=(5e-17, 30))
    left.set_title("ε = 1e-8; triangles: the pop, as predicted")
    right.set(xscale="log", xlabel="ε", title="largest from step 25,000 on; dashed: ε*")
    figure.legend(loc="outside lower center", ncols=3)
    figure.suptitle("Adam on least squares (diabetes, all rows every step)", weight="bold")
    return figure
