"""Adam with a large ε is momentum: ε is a dial between the two.

    Adam        x ← x - lr m̂ / (√v̂ + ε)
    momentum    x ← x - γ m̂

With lr = γε Adam's step is γ m̂ / (1 + √v̂/ε): where ε is far above √v̂, the size s of the gradients, nothing is left of
the division, and Adam is momentum. So whoever tunes ε and lr together can do no worse with Adam than with momentum. The
relative deviation of a step is √v̂ / (√v̂ + ε), and so is that of the whole path:

    s / (s + ε)

Measured along 500 steps of 64 streams of random normal gradients of size 1, for γ = 0.001, β1 = 0.9 and β2 = 0.999,
beside the momentum rule on the same gradients; its moves over 1 - β1^t are the m̂ of the limit. The claim's figures are
for "random gradients" of a size and a number of streams that it does not say.
"""

import numpy as np
from matplotlib.figure import Figure

import adamx
from adamx.reproduce import FOLDER, Check, between, near

CLAIMS = "10"
SOURCE = "Choi et al. 2019, arXiv 1910.05446; the figures second-hand"
SECONDS = 1
QUICK = True

GAMMA, BETA1, STEPS, STREAMS = 1e-3, 0.9, 500, 64
CLAIMED = {1e2: 1.2e-2, 1e3: 1.3e-3, 1e4: 1.3e-4}
EPS = np.geomspace(1e-2, 1e12, 15)


def run():
    stream = {"problem": str(FOLDER / "_stream.py"), "steps": STEPS, "problem_args": {"noise": 1.0}}
    grid = adamx.grid(bias_correction=[True, False], eps=EPS, seed=range(STREAMS))
    momentum = adamx.grid(lr=GAMMA, momentum=BETA1, ema=True, seed=range(STREAMS))
    return {
        "adam": adamx.simulate("adam", hyper={**grid, "lr": GAMMA * grid["eps"], "beta1": BETA1}, **stream),
        "momentum": adamx.simulate("momentum", hyper=momentum, **stream),
    }


def paths(runs):
    """Displacements (steps, corrected or not, ε, streams): Adam's, and momentum's, with one ε."""
    adam, momentum = (runs[name].loss - 1 for name in ("adam", "momentum"))
    correction = 1 - BETA1 ** np.arange(1, STEPS + 1)[:, None]
    corrected = np.cumsum(np.diff(momentum, axis=0) / correction, axis=0)
    return adam[1:].reshape(STEPS, 2, len(EPS), STREAMS), np.stack([corrected, momentum[1:]], axis=1)[:, :, None]


def deviations(runs):
    """(corrected or not, ε, streams) of Adam's path from momentum's, relative to its length."""
    adam, momentum = paths(runs)
    return np.linalg.norm(adam - momentum, axis=0) / np.linalg.norm(momentum, axis=0)


def check(runs) -> list[Check]:
    corrected, uncorrected = deviations(runs)
    checks = []
    for eps, claimed in CLAIMED.items():
        each = corrected[np.isclose(EPS, eps)][0]
        error = 2 * 1.25 * each.std() / np.sqrt(STREAMS) / np.median(each)
        why = f"twice the standard error of a median of {STREAMS} streams"
        checks.append(near(f"median deviation at ε = {eps:g}: 1 / (1 + ε)", 1 / (1 + eps), np.median(each), error, why))
        seen = f"{np.median(each):.2g}, single streams {each.min():.2g} to {each.max():.2g}"
        why = "the claim is of unknown gradients: it held if a stream of size 1 may give its figure"
        held = bool(each.min() <= claimed <= each.max())
        checks.append(Check(f"the claim's figure at ε = {eps:g}", f"{claimed:.2g}", seen, held, why))
    why = "500 roundings of 1e-16 in a path of 0.02, and √v/ε of 1e-12"
    checks.append(between("uncorrected Adam at ε = 1e12 against momentum", 0, uncorrected[-1].max(), 1e-11, why))
    return checks


def figure(runs) -> Figure:
    figure = Figure(figsize=(9, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    adam, momentum = paths(runs)
    for eps, color in zip([0.1, 1, 10, 100], ["#9AD0EC", "#56B4E9", "#0072B2", "#00466E"], strict=True):
        path = adam[:, 0, np.isclose(EPS, eps), 0]
        left.plot(path, color=color, lw=1.4, label=f"Adam, ε = {eps:g}")
    left.plot(momentum[:, 0, 0, 0], color="black", lw=1, ls=(0, (4, 3)), label="momentum")
    left.set(xlabel="step", ylabel="displacement", title="One stream of gradients of size 1, lr = γε")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, columnspacing=1, handlelength=1.4)
    each = deviations(runs)[0]
    right.fill_between(EPS, each.min(axis=1), each.max(axis=1), color="#0072B2", alpha=0.25, lw=0, label="64 streams")
    right.plot(EPS, np.median(each, axis=1), "o", color="#0072B2", ms=4, label="their median")
    right.plot(EPS, 1 / (1 + EPS), color="black", lw=1, label="1 / (1 + ε)")
    right.plot(CLAIMED.keys(), CLAIMED.values(), "x", color="#D55E00", ms=7, mew=1.6, label="the claim's")
    right.set(xscale="log", yscale="log", xlabel="ε, in units of the gradient's size", ylabel="relative deviation")
    right.set(xlim=(1e-2, 1e6), ylim=(1e-6, 3), title="Deviation of Adam's path from momentum's")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, columnspacing=1, handlelength=1.4)
    return figure
