"""Full-batch Adam trains at its edge of stability.

Momentum with rates that stay as they are bears a preconditioned curvature of at most (2 + 2 β1)/((1 - β1) lr), 38/lr
at β1 = 0.9. As a network trains, its sharpness rises until it reaches that limit, and there it stays: each time it
goes over, the iterate starts to oscillate, which moves it to where the loss is less curved, and v takes the
oscillation in. So lr and β1, not the network, set how sharp the minimum is that training finds; a spike is an
excursion from this balance.

Measured on a 10-32-1 ReLU network on the diabetes patients, all rows in every step, β2 = 0.999, 10,000 steps: the
largest eigenvalue of P⁻¹H (power iteration on Hessian-vector products) over its limit, median of the second half of
each run.
"""

import numpy as np
from matplotlib.figure import Figure

import adamx
from adamx.reproduce import Check, near

CLAIMS = "13"
SOURCE = "Cohen et al. 2022, arXiv 2207.14484"
SECONDS = 2
QUICK = False

STEPS = 10_000
GRID = {"lr": [0.003, 0.01, 0.03], "beta1": [0.5, 0.9], "beta2": 0.999, "eps": 1e-7}
NETWORK = {"hidden": [32], "batch": 0}


def run():
    grid = adamx.grid(**GRID)
    return {
        "network": adamx.simulate(
            "adam", "diabetes_squares", grid, STEPS, 100, problem_args=NETWORK, instruments=["sharpness"]
        )
    }


def check(runs) -> list[Check]:
    results = runs["network"]
    late = results.steps >= STEPS / 2
    ratio = results.curves["sharpness"][late] / results.curves["sharpness_limit"][late]
    why = "the claim's own: it hovers within 10 % of the line"
    return [
        near(f"sharpness over its limit at lr = {lr:g}, β1 = {beta1:g}", 1, float(np.median(r)), 0.1, why)
        for lr, beta1, r in zip(results.columns["lr"], results.columns["beta1"], ratio.T, strict=True)
    ]


def figure(runs) -> Figure:
    results = runs["network"]
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, beta1 in zip(panels, GRID["beta1"], strict=True):
        for i, lr in enumerate(GRID["lr"]):
            run = np.flatnonzero((results.columns["lr"] == lr) & (results.columns["beta1"] == beta1))[0]
            axes.plot(results.steps, results.curves["sharpness"][:, run], f"C{i}", lw=0.9, label=f"lr = {lr:g}")
            axes.axhline(results.curves["sharpness_limit"][0, run], color=f"C{i}", lw=0.8, ls="--")
        axes.set(yscale="log", xlabel="step", title=f"β1 = {beta1:g}")
    panels[0].set_ylabel("preconditioned sharpness")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    figure.suptitle("The sharpness rises to its limit (dashed) and stays there")
    return figure
