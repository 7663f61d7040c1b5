"""Adam can fail to converge, even on a convex problem; AMSGrad mends it.

Every third gradient is 3, the others are -1: the sum pushes x to -1. But Adam divides each gradient by the root of v,
and with a short memory (β2 = 0.1) the one large gradient divides itself away, while the two small ones that follow
are divided by what is left of it. The two small steps to the right outweigh the large one to the left, and Adam goes
to +1, the worst point there is. AMSGrad keeps the largest v so far, so that no gradient is divided by less than an
earlier one was.

Measured on f_t(x) = 3x if t mod 3 = 1, else -x, on [-1, 1] from x = 0 with steps 0.1/√t, β1 = 0, 6,000 steps: where the
point ends, and the regret (1/T) Σ (f_t(x_t) - f_t(-1)).
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import adamx
from adamx.reproduce import Check, between, near

CLAIMS = "9"
SOURCE = "Reddi, Kale & Kumar 2018, arXiv 1904.09237, Theorem 1"
SECONDS = 1
QUICK = True

STEPS = 6000
PROBLEM = str(Path(__file__).with_name("_reddi.py"))
RULES = {
    "adam": {"beta1": 0.0, "beta2": 0.1, "bias_correction": False},
    "amsgrad": {"beta1": 0.0, "beta2": 0.1, "bias_correction": False},
    "sgd": {},
}
ENDS = {"adam": 1.0, "amsgrad": -0.9991, "sgd": -0.9974}
REGRET = {"adam": 0.655, "amsgrad": 0.032, "sgd": 0.007}


def run():
    return {
        name: adamx.simulate(name, PROBLEM, {**hyper, "lr": 0.1}, STEPS, schedule="inverse_sqrt", instruments=["path"])
        for name, hyper in RULES.items()
    }


def regret(results):
    """Per step, of the steps that were taken: the best fixed point loses -3 once and +1 twice in three."""
    t = np.arange(1, STEPS + 1)
    x = 3 * results.loss[:STEPS, 0]  # of the objective, the mean of a cycle
    return (np.where(t % 3 == 1, 3, -1) * (x + 1)).mean()


def check(runs) -> list[Check]:
    checks = []
    for name, results in runs.items():
        why = "deterministic; the figures have four digits"
        checks.append(between(f"{name} ends at x", ENDS[name] - 1e-3, results.x[0, 0], ENDS[name] + 1e-3, why))
        checks.append(near(f"{name}'s regret / T", REGRET[name], regret(results), 0.08, "two digits were given"))
    return checks


def figure(runs) -> Figure:
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, results in runs.items():
        axes.plot(results.steps[1:], results.curves["x0"][1:, 0], lw=1, label=name)
    axes.set(xscale="log", xlabel="step", ylabel="x", ylim=(-1.1, 1.1), xlim=(1, STEPS))
    axes.axhline(-1, color="black", lw=0.8, ls="--")
    axes.annotate("the best fixed point", (1.2, -0.98), va="bottom")
    axes.set_title("f = 3x at every third step, else -x: Adam goes to the worst point")
    figure.legend(loc="outside right center")
    return figure
