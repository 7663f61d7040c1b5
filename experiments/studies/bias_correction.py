"""Without bias correction Adam's first steps are too long, the more so the closer β2 is to 1.

m and v start at 0. After one step m = (1 - β1)g and √v = √(1 - β2)|g|, so the first step is lr(1 - β1)/√(1 - β2)
instead of lr: 100 times lr for β1 = 0, β2 = 0.9999. It stays too long until v has filled, 1/(1 - β2) steps. Dividing m
by 1 - β1^t and v by 1 - β2^t, as Adam does, makes it lr at once.

The first step is measured on x²/2. What it does is measured on handwritten digits (a 64-16-10 ReLU network, minibatches
of 128, three seeds): the largest training loss of 30 steps over the loss at the start. The lr at which it passes 1 is
lower by √10 for every 10 times that 1 - β2 is smaller; with the correction it is the same for all β2.

What that costs after 300 steps is another matter: with an lr of its own, a run without correction validates as well.
"""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

import adamx
from adamx.analysis import theory
from adamx.reproduce import Check, near

CLAIMS = "17"
SOURCE = "Kingma & Ba 2014, arXiv 1412.6980, section 6.4 (there: a variational autoencoder); the first step is derived"
SECONDS = 4
QUICK = False

BETA1, BETA2, LR = (0.0, 0.9), (0.99, 0.999, 0.9999), "log:1e-5:1:21"  # a decade more than the claim's 1e-1
SEEDS = range(3)


def run():
    one = adamx.grid(lr="log:1e-5:1e-1:5", beta1=BETA1, beta2=BETA2, bias_correction=[0, 1], eps=1e-30)
    many = adamx.grid(bias_correction=[0, 1], beta1=BETA1, beta2=BETA2, lr=LR, seed=SEEDS)
    network = {"dtype": "float32", "problem_args": {"hidden": [16]}}
    return {
        "first step": adamx.simulate("adam", "quadratic", one, 1, problem_args={"curvature": 1.0}),
        "start": adamx.simulate("adam", "digits_mlp", many, 30, 1, **network),
        "end": adamx.simulate("adam", "digits_mlp", many, 300, 300, **network),
    }


def by_setting(results, values):
    """(correction, beta1, beta2, lr) the median over the seeds."""
    return np.median(values.reshape(2, len(BETA1), len(BETA2), -1, len(SEEDS)), axis=-1)


def rises(results):
    """(correction, beta1, beta2, lr) the largest loss after the first step over the loss before it."""
    return by_setting(results, results.loss[1:].max(axis=0) / results.loss[0])


def limit(lr, rise):
    """The lr from which on the loss rises above its start, between the points of the axis."""
    first = np.argmax(rise > 1)
    return np.exp(np.interp(0, np.log(rise[first - 1 : first + 1]), np.log(lr[first - 1 : first + 1])))


def check(runs) -> list[Check]:
    first, checks = runs["first step"], []
    c, step = first.columns, (1 - first.x[:, 0]) / first.columns["lr"]
    exact = "the worst of all lr; exact but for rounding, 1e-16 of x = 1 in a step of 1e-5"
    plain = c["bias_correction"] == 0
    for beta1 in BETA1:
        for beta2 in BETA2:
            expected = theory.first_step(1.0, beta1, beta2)
            steps = step[plain & (c["beta1"] == beta1) & (c["beta2"] == beta2)]
            what = f"first step over lr without correction, β1 = {beta1:g}, β2 = {beta2:g}"
            checks.append(near(what, expected, steps[np.argmax(abs(steps - expected))], 1e-9, exact))
    worst = step[~plain][np.argmax(abs(step[~plain] - 1))]
    checks.append(near("first step over lr with correction", 1, worst, 1e-9, exact))

    rise, lr = rises(runs["start"]), np.unique(runs["start"].columns["lr"])
    limits = np.apply_along_axis(lambda r: limit(lr, r), -1, rise)
    why = "read off between points that are a factor of 1.8 apart, from the median of three seeds"
    for beta1, without, corrected in zip(BETA1, *limits, strict=True):
        for i in (0, 1):
            what = f"lr at which the loss rises, β2 = {BETA2[i]:g} over {BETA2[i + 1]:g}, without, β1 = {beta1:g}"
            checks.append(near(what, np.sqrt(10), without[i] / without[i + 1], 0.05, why))
        what = f"the same with correction, largest over least of all β2, β1 = {beta1:g}"
        checks.append(near(what, 1, corrected.max() / corrected.min(), 0.05, why))
    val_loss = by_setting(runs["end"], runs["end"].curves["val_loss"][-1]).min(axis=-1)
    ratio = val_loss[0] / val_loss[1]
    why = "the seeds of one setting differ by as much"
    worst = ratio.flat[np.argmax(abs(np.log(ratio)))]
    return [*checks, near("least validation loss over lr, without over with: the worst of six", 1, worst, 0.1, why)]


def figure(runs) -> Figure:
    figure = Figure(figsize=(9.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rise, lr = rises(runs["start"]), np.unique(runs["start"].columns["lr"])
    for b, beta1 in enumerate(BETA1):
        dash = ("-", (0, (4, 1.5)))[b]
        for k, beta2 in enumerate(BETA2):
            style = {"color": colormaps["viridis"](0.05 + 0.4 * k), "ls": dash, "lw": 1.5}
            left.plot(lr, rise[0, b, k], label=f"without: β1 = {beta1:g}, β2 = {beta2:g}", **style)
            right.plot(theory.first_step(lr, beta1, beta2), rise[0, b, k], **style)
        label = f"with: β1 = {beta1:g}, all three β2"
        for k in range(len(BETA2)):
            for axes in (left, right):
                axes.plot(lr, rise[1, b, k], color="0.5", ls=dash, lw=3, alpha=0.5, label=label if k == 0 else None)
    for axes, xlabel in ((left, "lr"), (right, "first step:  lr (1 - β1) / √(1 - β2), with correction lr")):
        axes.axhline(1, color="0.7", lw=0.8, zorder=0)
        axes.set(xscale="log", yscale="log", xlabel=xlabel)
        axes.set_xlim(left=1e-4)
    left.set_ylabel("largest loss of steps 1 to 30\nover the loss at the start")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle("Adam's first steps on handwritten digits, with and without bias correction", weight="bold")
    return figure
