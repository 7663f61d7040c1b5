"""RMSprop pops at the last moment because its ε is too small.

Near the minimum of λx²/2 the gradient shrinks, and so does the root of v that it is divided by: the step stays about lr
however close the point is. What remains is a 2-cycle across the minimum, in which √v is λ|x| and the point moves from
x to -x:

    lr λ|x| / (λ|x| + ε) = 2|x|    so    |x| = lr/2 - ε/λ

It is gone if and only if ε ≥ lr λ/2: ε is no guard against a division by zero, it is what lets RMSprop come to rest.
With an ε below that RMSprop converges, to all appearances, and comes back. At the other end of the run, v starts at 0
without correction and the first step is lr/√(1 - α), which for α = 0.999 is 32 times lr.

Measured on f = x² (λ = 2), lr = 0.01, from 0.3, with gradient noise of 1e-12 so that no run rests at an exact 0.
"""

import numpy as np
from matplotlib.figure import Figure

import adamx
from adamx.reproduce import Check, between, near

CLAIMS = "2"
SOURCE = "derived; the course lesson that ε too small makes RMSprop pop when it has converged"
SECONDS = 1
QUICK = True

LR, CURVATURE = 0.01, 2.0
EPS = [1e-8, 1e-3, 5e-3, 9e-3, 1.1e-2]
STEPS, LAST = 4000, 1000


def run():
    settings = {"curvature": CURVATURE, "x0": 0.3, "noise": 1e-12}
    pops = adamx.grid(lr=LR, eps=EPS, beta2=[0.9, 0.99])
    first = adamx.grid(lr=LR, beta2=[0.9, 0.99, 0.999], eps=1e-12)
    return {
        "pops": adamx.simulate("rmsprop", "quadratic", pops, STEPS, problem_args=settings),
        "first step": adamx.simulate("rmsprop", "quadratic", first, 1, problem_args=settings),
    }


def amplitudes(results):
    """(runs,) the largest |x| over the last steps."""
    return np.sqrt(results.loss[-LAST:].max(axis=0) / (CURVATURE / 2))


def check(runs) -> list[Check]:
    checks = []
    columns = runs["pops"].columns
    for eps, beta2, x in zip(columns["eps"], columns["beta2"], amplitudes(runs["pops"]), strict=True):
        left = LR / 2 - eps / CURVATURE
        what = f"|x| that remains at ε = {eps:g}, α = {beta2:g}"
        if left > 0:
            checks.append(near(what, left, x, 0.01, "a 2-cycle is exact; the iterates wander a little about it"))
        else:
            checks.append(between(what, 0, x, 1e-10, "noise of 1e-12, amplified near the threshold"))
    for beta2, x in zip(runs["first step"].columns["beta2"], runs["first step"].x[:, 0], strict=True):
        what = f"first step over lr at α = {beta2:g}"
        checks.append(near(what, 1 / np.sqrt(1 - beta2), (0.3 - x) / LR, 1e-9, "exact but for ε and rounding"))
    return checks


def figure(runs) -> Figure:
    results = runs["pops"]
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for run in np.flatnonzero(results.columns["beta2"] == 0.9):
        eps = results.columns["eps"][run]
        axes.plot(results.steps, np.sqrt(results.loss[:, run] / (CURVATURE / 2)), lw=0.8, label=f"ε = {eps:g}")
    axes.set(yscale="log", xlabel="step", ylabel="distance |x| to the minimum", xlim=(0, 1000), ylim=(1e-13, 1))
    axes.set_title(f"RMSprop on x², lr = {LR:g}, α = 0.9: at rest only where ε ≥ lr λ/2 = {LR * CURVATURE / 2:g}")
    figure.legend(loc="outside right center")
    return figure
