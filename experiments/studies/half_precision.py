"""Why NaN in half precision: ε, β2 and v each have a way to be lost in 16 bits.

float16 has no number between 0 and 2^-24 = 6e-8. So ε = 1e-8 is 0 in it, and so is √v + ε wherever the gradient has
always been 0, as that of a pixel which is never lit: the step is 0/0. ε = 1e-4 survives. And v takes up a gradient
only by (1 - β2) g², which is stored as 0 below g = √(2^-25 / (1 - β2)), 0.0055 at β2 = 0.999: nothing is then
remembered, and the steps are 1/√(1 - β2) = 32 times too long.

bfloat16 has the range of float32 and 8 bits of precision. β2 = 0.999 is 1 in it: v never takes up anything and the
bias correction divides by 1 - 1. If β2 is kept in float32 and only v in bfloat16, β2 v is rounded back to v, so v never
decays; and it stops growing where (1 - β2)(g² - v) is less than half the distance to the next number: at v = g²/4 in
a constant gradient, so that Adam makes twice the steps it should. Either v is what is stored: a step is made with

    β2 v + (1 - β2) g²

Measured on digits (softmax regression; its borders have pixels that are never lit), for 16 bits everywhere, as where
√v + ε itself is a float16, and for ε and β kept in float32; and on a constant gradient.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import adamx
from adamx.analysis import COLORS
from adamx.inputs.axes import axis
from adamx.portable.precision import rounded
from adamx.regimes import REGIMES
from adamx.reproduce import FOLDER, Check, near

CLAIMS = "12"
SOURCE = "pytorch #8860 and #147437, optax #1754 (NaN); derived (v in 16 bits)"
SECONDS = 2
QUICK = False

EPS, BETA2 = axis("log:1e-12:1:49"), [0.95, 0.999]
FORMATS = {
    "float32": {"dtype": "float32"},
    "float16": {"dtype": "float16"},
    "float16, ε and β in float32": {"dtype": "float16", "storage": {"constants": "float32"}},
    "bfloat16": {"dtype": "bfloat16"},
    "bfloat16, ε and β in float32": {"dtype": "bfloat16", "storage": {"constants": "float32"}},
}
LEAST = np.sqrt(2.0**-25 / 0.001)  # the gradient below which a float16 v stays 0
STUCK = np.ceil((1.01**2 - 1) * LEAST**2 * 2**24) / 2**24  # at 1.01 of it: the first v that does not grow
EDGE = {"color": "black", "lw": 1.2, "ls": (0, (3, 2))}


def run():
    grid = adamx.grid(beta2=BETA2, eps=EPS, lr=0.01)
    runs = {name: adamx.simulate("adam", "digits_softmax", grid, 300, 300, **kept) for name, kept in FORMATS.items()}

    def constant(gradient, state):
        options = {"problem_args": {"drift": gradient}, "dtype": "float32", "storage": {"state": state}}
        return adamx.simulate("adam", str(FOLDER / "_stream.py"), {"beta1": 0.0, "eps": 1e-12}, 10_000, **options)

    runs |= {f"constant, v in {state}": constant(1.0, state) for state in ("float32", "bfloat16")}
    return runs | {f"{share:g} of the least": constant(share * LEAST, "float16") for share in (0.99, 1.01)}


def step(results):
    """The move over lr, in the mean of the last 1,000 steps."""
    return float(results.loss[-1001, 0] - results.loss[-1, 0]) / 1000 / 1e-3


def move(g, v):
    """The move over lr that follows from a stored v, without bias correction."""
    return g / np.sqrt(0.999 * v + 0.001 * g * g)


def lost(results):
    """(β2, ε) which runs were NaN after the first step."""
    return (results.figures["diverged_step"] == 1).reshape(len(BETA2), len(EPS))


def check(runs) -> list[Check]:
    zero = rounded(EPS, "float16") == 0
    wrong = int((lost(runs["float16"]) != zero).sum())
    full, half = (runs[name].loss[-1].reshape(len(BETA2), len(EPS)) for name in ("float32", "float16"))
    survivor = int(np.abs(np.log(EPS / 1e-4)).argmin())
    apart = np.abs(half / full - 1)[:, survivor].max()
    brain = lost(runs["bfloat16"])
    numbers = rounded(np.geomspace(1e-30, 1e30, 10001), "bfloat16")
    unmoved = (rounded(np.float32(0.999) * numbers, "bfloat16") == numbers).mean()
    below, above = (step(runs[f"{share:g} of the least"]) for share in (0.99, 1.01))
    exact, position = "an exact property of the format", "the position, up to 300, is a float32"
    return [
        Check(
            "float16: settings where 'ε is 0' and 'NaN after one step' disagree",
            "0", f"{wrong} of {zero.size * len(BETA2)}", not wrong, exact,
        ),
        Check(
            "float16 with ε = 1e-4: its loss from float32's, relative",
            "below 0.05", f"{apart:.2g}", bool(apart < 0.05), "11 bits, 5e-4 a rounding, for 300 steps",
        ),
        Check(
            "bfloat16: runs that are NaN at step 1, at β2 = 0.95 and at β2 = 0.999, which is 1",
            "0%, 100%", f"{brain[0].mean():.0%}, {brain[1].mean():.0%}", bool(brain[1].all() > brain[0].any()), exact,
        ),
        near("share of bfloat16 numbers v for which 0.999 v is v", 1, unmoved, 0, exact),
        near("constant gradient, v in float32: move over lr", 1, step(runs["constant, v in float32"]), 1e-3, position),
        near("v in bfloat16, stuck at g²/4", move(1, 0.25), step(runs["constant, v in bfloat16"]), 1e-3, position),
        near("v in float16, g = 0.0054: v stays 0", move(LEAST, 0), below, 1e-3, position),
        near("v in float16, g = 0.0055: stuck at g² - 0.00546²", move(1.01 * LEAST, STUCK), above, 1e-3, position),
    ]  # fmt: skip


def figure(runs) -> Figure:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    ratio = np.sqrt(EPS[1] / EPS[0])
    edges = np.append(EPS / ratio, EPS[-1] * ratio)
    names = list(FORMATS)
    shown = set()
    for axes, beta2 in zip(panels, BETA2, strict=True):
        for row, name in enumerate(names):
            regimes = runs[name].regime[runs[name].columns["beta2"] == beta2]
            shown |= set(regimes)
            axes.barh(
                np.full(len(EPS), row), np.diff(edges), left=edges[:-1], height=0.86, color=[COLORS[r] for r in regimes]
            )
        axes.axvline(2.0**-25, **EDGE)
        axes.set(xscale="log", xlim=edges[[0, -1]], ylim=(len(names) - 0.5, -0.5), xlabel="ε")
        axes.set_title(f"Adam on digits, lr = 0.01, β2 = {beta2:g}")
        axes.tick_params(axis="y", length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), names)
    handles = [Patch(color=COLORS[name], label=name) for name in REGIMES if name in shown]
    handles.append(Line2D([], [], label="left of this, ε is 0 in float16", **EDGE))
    figure.legend(handles=handles, loc="outside lower center", ncols=6, columnspacing=1.2, handlelength=1.4)
    return figure
