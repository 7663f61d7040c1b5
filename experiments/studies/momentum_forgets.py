"""Momentum forgets geometrically: an average of gradients in which each step back counts β times as much.

m_t = β m_{t-1} + (1 - β) g_t from m_0 = 0 unrolls to m_t = (1 - β)(g_t + β g_{t-1} + β² g_{t-2} + ...). At β = ½:

    m_1 = g_1/2        m_2 = g_1/4 + g_2/2        m_3 = g_1/8 + g_2/4 + g_3/2

The weights add up to 1 - β^t, not 1: a constant g gives m_t = (1 - β^t) g, too small at first. Dividing by 1 - β^t,
Adam's bias correction, makes it g from the first step on.

Measured in the engine, on a line whose slope at every step is to order: with lr = 1 each move is -m_t. In powers of ½
and small whole numbers float64 rounds nothing, so what is exact must come out exact.
"""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

import adamx
from adamx.reproduce import Check, between, near

CLAIMS = "3"
SOURCE = "course notes; derived"
SECONDS = 1
QUICK = True

LINE = str(Path(__file__).with_name("_gradients.py"))
BETA, STEPS = (0.5, 0.9, 0.99), 40
CONSTANT = 3.0


def run():
    def moves(rule, hyper, **gradients):
        return adamx.simulate(rule, LINE, {"lr": 1.0, **hyper}, STEPS, problem_args=gradients, instruments="path")

    half = {"momentum": 0.5, "ema": True}
    always = dict.fromkeys(("g1", "g2", "g3", "later"), CONSTANT)
    return {
        "8, 4, 2": moves("momentum", half, g1=8.0, g2=4.0, g3=2.0),
        "one": moves("momentum", half | {"momentum": list(BETA)}, g1=1.0),
        "constant": moves("momentum", half, **always),
        "corrected": moves("adam", {"beta1": 0.5, "beta2": 0.0, "eps": 0.0}, **always),
    }


def momentum(results):
    """(steps, runs) m_t: with lr = 1 what x moved by, downwards."""
    return -np.diff(results.curves["x0"], axis=0)


def check(runs) -> list[Check]:
    exact = "equal: every number has a finite binary expansion within 53 bits"
    checks = []
    for t, expected in enumerate((8 / 2, 8 / 4 + 4 / 2, 8 / 8 + 4 / 4 + 2 / 2)):
        checks.append(near(f"m_{t + 1} after 8, 4, 2 at β = 1/2", expected, momentum(runs["8, 4, 2"])[t, 0], 0, exact))
    t = np.arange(1, STEPS + 1)
    weights = momentum(runs["one"])
    same = int((weights[:, 0] == 0.5**t).sum())
    checks.append(near("weights (1 - β) β^age that are equal, of 40, at β = 1/2", STEPS, same, 0, exact))
    for i, beta in enumerate(BETA[1:], 1):
        off = np.abs(weights[:, i] / ((1 - beta) * beta ** (t - 1)) - 1).max()
        what = f"relative error of the worst of 40 weights, β = {beta:g}"
        checks.append(between(what, 0, off, 1e-12, "x near 1 rounds to 1e-16, a weight is at least 1e-3"))
    same = int((momentum(runs["constant"])[:, 0] == (1 - 0.5**t) * CONSTANT).sum())
    checks.append(near("m_t that equal (1 - 2^-t) g, of 40, for a constant g", STEPS, same, 0, exact))
    off = np.abs(momentum(runs["corrected"]) - 1).max()  # at β2 = 0 Adam divides by √v = |g|
    what = "relative error of the worst of 40 corrected m_t, for a constant g"
    checks.append(between(what, 0, off, 1e-13, "x up to 40 rounds to 7e-15, a move is 1"))
    return checks


def figure(runs) -> Figure:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    age = np.arange(STEPS)
    for i, beta in enumerate(BETA):
        color = colormaps["viridis"](0.05 + 0.35 * i)
        left.plot(age, (1 - beta) * beta**age, color=color, lw=1)
        left.plot(age, momentum(runs["one"])[:, i], "o", color=color, ms=4, label=f"β = {beta:g}")
    left.set(yscale="log", ylim=(1e-6, 1), xlabel="age of the gradient, steps", ylabel="its weight in m")
    left.set_title("lines (1 - β) β^age, dots measured")
    t = np.arange(1, 13)
    right.plot(t, momentum(runs["constant"])[:12, 0] / CONSTANT, "o-", color="#D55E00", label="m, β = 1/2")
    right.plot(t, momentum(runs["corrected"])[:12, 0], "s-", color="#0072B2", label="m bias-corrected")
    right.set(xlabel="step t", ylabel="momentum over the gradient", ylim=(0, 1.1), title="a constant gradient, β = 1/2")
    figure.legend(loc="outside lower center", ncols=5)
    return figure
