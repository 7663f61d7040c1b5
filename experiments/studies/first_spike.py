"""Adam spikes on a plain quadratic, at a step that its own memory sets.

On x²/2 the gradient fades as Adam converges and v, which averages its square, can fall no faster than β2^t. So √v̂ falls
with the slope ½ ln β2 a step, and the preconditioned curvature lr/√v̂ grows, until it passes what momentum can bear,
2 (1 + β1)/(1 - β1) = 38 at β1 = 0.9. Then the iterate grows instead of shrinking until its gradients refill v: a loss
spike, after which all of it begins anew. A larger lr is there earlier; ε = 0.1, which keeps lr/(√v̂ + ε) below 38 for
ever, never spikes.

Measured from x = 1 with β2 = 0.99, ε = 1e-8, 6,000 steps: the step of the first crossing (exact, from the kernel's
sharpness instrument), the slope of log √v̂ before it, and the steps between spikes.
"""

import numpy as np
from matplotlib.figure import Figure

import adamx
from adamx.reproduce import Check, between, near

CLAIMS = "8"
SOURCE = "Bai et al. 2025, arXiv 2506.04805 (second-hand)"
SECONDS = 1
QUICK = True

STEPS = 6000
FIRST = {0.01: 1578, 0.05: 1072, 0.1: 887, 0.15: 789, 0.3: 637}
INSTRUMENTS = ("sharpness", "crossings")


def run():
    bowl = {"curvature": 1.0}
    small = adamx.grid(lr=list(FIRST), beta2=0.99, eps=1e-8)
    large = adamx.grid(lr=list(FIRST), beta2=0.99, eps=0.1)
    return {
        name: adamx.simulate("adam", "quadratic", grid, STEPS, problem_args=bowl, instruments=INSTRUMENTS)
        for name, grid in (("eps = 1e-8", small), ("eps = 0.1", large))
    }


def period(results, run):
    """Steps between upward crossings, on average, and the standard error of that average."""
    over = results.curves["sharpness"][:, run] > results.curves["sharpness_limit"][:, run]
    steps = np.diff(np.flatnonzero(over[1:] & ~over[:-1]))
    return steps.mean(), steps.std(ddof=1) / len(steps) ** 0.5


def check(runs) -> list[Check]:
    results = runs["eps = 1e-8"]
    checks = [
        near(f"first crossing at lr = {lr:g}, step", expected, measured, 0, "deterministic: the same step")
        for (lr, expected), measured in zip(FIRST.items(), results.figures["first_crossing_step"], strict=True)
    ]
    root = 1 / results.curves["sharpness"][300:600, 2]  # √v̂ + ε at lr = 0.1
    slope = np.polyfit(np.arange(len(root)), np.log(root), 1)[0]
    checks.append(near("slope of log √v̂", np.log(0.99) / 2, slope, 0.02, "g² is not yet nothing beside v"))
    found = [period(results, run) for run in range(len(results))]
    held = all(58 - 2 * error <= mean <= 70 + 2 * error for mean, error in found)
    measured = ", ".join(f"{mean:.0f} ± {error:.0f}" for mean, error in found)
    why = "each run's mean, within two standard errors: single intervals lie between 14 and 150"
    checks.append(Check("steps between crossings", "58 to 70", measured, held, why))
    spikes = int(runs["eps = 0.1"].figures["crossings"].sum())
    checks.append(between("crossings at ε = 0.1, all lr", 0, spikes, 0, "lr/ε ≤ 3 < 38: none can come"))
    return checks


def figure(runs) -> Figure:
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    run = list(FIRST).index(0.1)
    for name, results in runs.items():
        label = name.replace("eps", "ε")
        above.plot(results.steps, results.loss[:, run], lw=0.8, label=label)
        below.plot(results.steps, results.curves["sharpness"][:, run], lw=0.8)
    below.axhline(38 / 0.1, color="black", lw=0.8, ls="--")
    below.annotate("38/lr", (1480, 38 / 0.1), va="bottom", ha="right")
    above.set(yscale="log", ylabel="loss", ylim=(1e-40, 100), xlim=(0, 1500))
    below.set(yscale="log", ylabel="1/(√v̂ + ε)", xlabel="step", ylim=(0.5, 1e4))
    above.set_title("Adam on x²/2, lr = 0.1, β = (0.9, 0.99)")
    figure.legend(loc="outside right center")
    return figure
