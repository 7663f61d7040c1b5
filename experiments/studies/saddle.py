"""Gradient descent is weak at a saddle; momentum and the adaptive rules leave it, unless ε makes Adam gradient descent.

On x² - y² the slope in y is 2y, and from y = 1e-6 gradient descent grows y by a factor of 1 + 2 lr a step: ln 1e6 /
ln(1 + 2 lr) steps to |y| = 1. Momentum adds up the small slopes. RMSprop and Adam divide by their size: a step of about
lr wherever they are, and 1/lr steps to |y| = 1, however close to the saddle they start. That is so only while √v > ε.
Where ε is larger than all slopes Adam is momentum with lr/ε, and its y grows by the factor z a step, with

    z² - (1 + β1 + 2 (1 - β1) lr/ε) z + β1 = 0

Measured from (0, 1e-6) with lr = 0.01 and the rules' other defaults (RMSprop: β2 = 0.9): steps until |y| > 1.
"""

import math

import numpy as np
from matplotlib.figure import Figure

import adamx
from adamx.reproduce import Check, near

CLAIMS = "4"
SOURCE = (
    "course notes (SGD is weak at saddle points); the figures are adamx' own, SGD's and the limit of large ε derived"
)
SECONDS = 1
QUICK = True

LR, START = 0.01, 1e-6
STATED = {"sgd": 698, "momentum": 140, "rmsprop": 72, "adam": 77}
STATED_EPS = {0.01: 87, 0.1: 165, 1.0: 828}
LARGE = 10.0
NAMES = {"sgd": "SGD", "momentum": "heavy ball, 0.9", "rmsprop": "RMSprop, β2 = 0.9", "adam": "Adam, ε = 1e-8"}
COLORS = {"sgd": "#999999", "momentum": "#009E73", "rmsprop": "#CC79A7", "adam": "#0072B2"}


def growth(eps, beta1=0.9):
    """The factor a step by which Adam's y grows where eps is larger than all slopes."""
    return max(np.roots([1, -(1 + beta1 + 2 * (1 - beta1) * LR / eps), beta1]))


def run():
    settings = {"x0": [0.0, START]}
    rules = {name: {"lr": LR} | ({"beta2": 0.9} if name == "rmsprop" else {}) for name in STATED}
    runs = {name: adamx.simulate(name, "saddle", hyper, 1000, problem_args=settings) for name, hyper in rules.items()}
    eps = adamx.grid(lr=LR, eps=["log:1e-8:10:91", *STATED_EPS, LARGE])
    return runs | {"eps": adamx.simulate("adam", "saddle", eps, 8000, 10, problem_args=settings)}


def steps_of(results):
    """(runs,) the first step at which |y| > 1."""
    return results.figures["reached_step"]


def check(runs) -> list[Check]:
    exact = "a whole number of steps"
    checks = [
        near(f"{NAMES[name]}: steps", stated, steps_of(runs[name])[0], 0, exact) for name, stated in STATED.items()
    ]
    derived = math.ceil(math.log(1 / START) / math.log(1 + 2 * LR))
    checks.append(near("SGD: steps, against ln 1e6 / ln 1.02", derived, steps_of(runs["sgd"])[0], 0, exact))
    eps, steps = runs["eps"].columns["eps"], steps_of(runs["eps"])
    checks += [near(f"Adam, ε = {e:g}: steps", n, steps[eps == e][0], 0, exact) for e, n in STATED_EPS.items()]
    limit = math.log(1 / START) / math.log(growth(LARGE))
    why = "√v ≤ 2 beside ε = 10 slows the last of six decades of y by at most 20 %"
    checks.append(
        near(f"Adam, ε = {LARGE:g}: steps, against ln 1e6 / ln z", limit, steps[eps == LARGE][0], 0.2 / 6, why)
    )
    return checks


def figure(runs) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in STATED:
        y = np.sqrt(-runs[name].loss[:, 0])
        left.plot(y[: steps_of(runs[name])[0] + 1], color=COLORS[name], lw=1.8, label=NAMES[name])
    left.axhline(1, color="0.6", lw=0.8, zorder=0)
    left.set(yscale="log", xlabel="step", ylabel="distance |y| from the saddle", xlim=(0, 720), title="lr = 0.01")
    eps, steps = runs["eps"].columns["eps"], steps_of(runs["eps"])
    order = np.argsort(eps)
    right.plot(eps[order], steps[order], color=COLORS["adam"], lw=1.8, label="Adam over ε")
    large = eps[order][eps[order] > 0.03]
    limit = [math.log(1 / START) / math.log(growth(e)) for e in large]
    right.plot(large, limit, ":", color="black", lw=1.4, label="ε above all slopes: ln 1e6 / ln z")
    right.axhline(STATED["sgd"], color=COLORS["sgd"], lw=1.2, zorder=0)
    right.text(1e-8, STATED["sgd"] * 1.06, "SGD", color="0.4", va="bottom")
    right.plot(list(STATED_EPS), list(STATED_EPS.values()), "o", color=COLORS["adam"], ms=5)
    right.set(xscale="log", yscale="log", xlabel="ε", ylabel="steps until |y| > 1", title="an ε above 0.01 slows Adam")
    figure.legend(loc="outside lower center", ncols=3)
    figure.suptitle("Leaving the saddle of x² - y² from y = 1e-6", weight="bold")
    return figure
