"""Where ε stands: why one ε in PyTorch, Keras, optax and EAdam is four different optimizers.

    PyTorch, the paper's algorithm 1    m̂ / (√v̂ + ε)
    Keras, TensorFlow: ε̂                m̂ / (√v̂ + ε / √(1 - β2^t))      beside the uncorrected root
    optax's eps_root                    m̂ / √(v̂ + ε)
    EAdam: v ← v + ε at every step      m̂ / √(v̂ + ε / (1 - β2))

Two identities follow. EAdam is Adam with eps_root = ε/(1 - β2), at every step exactly: what it adds to v is a geometric
sum that the bias correction completes. And ε̂ = ε√(1 - β2^t): the same number acts as a larger one in Keras, by
1/√(1 - β2) at the first step, 32 at β2 = 0.999, and by less and less until both agree after some thousand steps. Where
gradients are not far above ε, that is a warm-up which PyTorch does not have. The defaults differ too: 1e-8 and 1e-7.

Measured on streams of random gradients, where m and v do not depend on ε: so step t under ε̂ must equal step t of the
run with ε = ε̂/√(1 - β2^t). Then on digits: the loss after 200 steps over the ε that was typed, in each of the places.
"""

import numpy as np
from matplotlib.figure import Figure

import adamx
from adamx.inputs.axes import axis
from adamx.reproduce import FOLDER, Check, between, near

CLAIMS = "11"
SOURCE = "derived; Yuan & Gao 2020, arXiv 2011.02150 (EAdam); Kingma & Ba 2014, section 2, and Keras' adam.py (ε̂)"
SECONDS = 2
QUICK = False

PLACES = {
    "eps": ("PyTorch: √v̂ + ε", "#0072B2"),
    "eps_hat": ("Keras, TensorFlow: √v + ε̂", "#D55E00"),
    "eps_root": ("optax's eps_root: √(v̂ + ε)", "#009E73"),
    "eps_added": ("EAdam: v + ε at every step", "#CC79A7"),
}
BETA2, EPS_HAT, EARLY, SEEDS = 0.999, 0.1, 100, 3
EPS = axis("log:1e-12:100:29")


def placed(place, eps, **others):
    """Columns of `adam_eps` with ε in one place and nowhere else."""
    grid = adamx.grid(**{place: eps}, **others)
    return {**dict.fromkeys(PLACES, 0.0), **grid}


def run():
    stream = {"problem": str(FOLDER / "_stream.py"), "problem_args": {"noise": 1.0}}
    line = {**stream, "problem_args": {"drift": 1.0, "noise": 1e-12}}
    added, seeds = np.array([1e-8, 1e-5, 1e-2]), range(20)
    inside = placed("eps_root", added / (1 - BETA2), seed=seeds)
    moving = EPS_HAT / np.sqrt(1 - BETA2 ** np.arange(1, EARLY + 1))
    digits = [placed(place, EPS, seed=range(SEEDS)) for place in PLACES]
    return {
        "EAdam": adamx.simulate("eadam", hyper=adamx.grid(eps=added, seed=seeds), steps=1000, **stream),
        "inside": adamx.simulate("adam_eps", hyper=inside, steps=1000, **stream),
        "hat": adamx.simulate("adam_eps", hyper=placed("eps_hat", EPS_HAT), steps=EARLY, **stream),
        "moving": adamx.simulate("adam_eps", hyper=placed("eps", moving), steps=EARLY, **stream),
        "warm-up": adamx.simulate("adam_eps", hyper=placed("eps_hat", [0.001, 0.01, 0.1]), steps=5000, **line),
        "digits": adamx.simulate(
            "adam_eps",
            "digits_softmax",
            {name: np.concatenate([np.broadcast_to(d[name], len(d["seed"])) for d in digits]) for name in digits[0]},
            steps=200,
            record_every=200,
            dtype="float32",
        ),
    }


def moves(results):
    """(steps, runs) the moves over lr."""
    return -np.diff(results.loss, axis=0) / results.columns["lr"]


def digits_loss(runs):
    """(places, ε, seeds) the loss at the end."""
    return runs["digits"].loss[-1].reshape(len(PLACES), len(EPS), SEEDS)


def check(runs) -> list[Check]:
    apart = np.abs(runs["EAdam"].loss - runs["inside"].loss).max() / np.ptp(runs["EAdam"].loss)
    hat, moving = moves(runs["hat"])[:, 0], np.diagonal(moves(runs["moving"]))
    first = (1 / moves(runs["warm-up"])[0] - 1) / runs["warm-up"].columns["eps_hat"]
    outside, keras = (digits_loss(runs)[k] for k in (0, 1))
    at = {eps: int(np.abs(np.log(EPS / eps)).argmin()) for eps in (1e-8, 1e-7, 1e-3)}
    default = np.abs(keras[at[1e-7]] / outside[at[1e-8]] - 1).max()
    excess = np.median(keras[at[1e-3]] / outside[at[1e-3]])
    seeds = outside[at[1e-8]].std() / outside[at[1e-8]].mean()
    rounding = "1,000 roundings of 1e-16, at a position of 1, over a path of about 0.1"
    shift = digits_loss(runs)[3, :-6] / digits_loss(runs)[2, 6:] - 1
    return [
        between("EAdam's path and that of eps_root = ε/(1 - β2), apart", 0, apart, 1e-12, rounding),
        between(
            f"steps 1 to {EARLY} under ε̂ and under ε = ε̂/√(1 - β2^t), apart, in lr",
            0, np.abs(hat - moving).max(), 1e-12, "a rounding of 1e-16 at a position of 1, over lr = 0.001",
        ),
        near("ε that acts in Keras' first step, over ε̂", 1 / np.sqrt(1 - BETA2), first[-1], 1e-9, "exact; noise 1e-12"),
        between(
            "digits: loss with Keras' default 1e-7 over PyTorch's 1e-8, minus 1",
            0, default, seeds, "far below all gradients ε does nothing: less than the spread between seeds",
        ),
        Check(
            "digits: loss with the same ε = 1e-3, Keras over PyTorch",
            f"above {1 + seeds:.4f}", f"{excess:.4f}", bool(excess > 1 + seeds),
            "near the gradients' size the place matters: more than the spread between seeds",
        ),
        between(
            "digits: EAdam's curve and eps_root's shifted by 1 - β2, apart",
            0, np.abs(shift).max(), 1e-3, "200 steps of float32 roundings on equal settings",
        ),
    ]  # fmt: skip


def figure(runs) -> Figure:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.15])
    steps = np.arange(1, 5001)
    results = runs["warm-up"]
    for run, style in enumerate([":", "--", "-"]):
        eps = results.columns["eps_hat"][run]
        left.plot(steps, moves(results)[:, run], style, color=PLACES["eps_hat"][1], lw=1.5, label=f"{eps:g}")
        left.axhline(1 / (1 + eps), ls=style, color=PLACES["eps"][1], lw=1.2)
    left.set(xscale="log", xlabel="step", ylabel="move / lr", ylim=(0, 1.05), xlim=(1, 5000))
    left.set_title("Constant gradient: ε̂ is a warm-up")
    left.legend(title="ε over the gradient", loc="lower right")
    for row, (label, color) in zip(digits_loss(runs), PLACES.values(), strict=True):
        right.plot(EPS, np.median(row, axis=1), color=color, lw=1.6, label=label)
    for eps, place, name in ((1e-8, "eps", "PyTorch's default"), (1e-7, "eps_hat", "Keras' default")):
        loss = np.median(digits_loss(runs)[list(PLACES).index(place), np.abs(np.log(EPS / eps)).argmin()])
        right.plot(eps, loss, "o", color=PLACES[place][1], mec="white", ms=8, zorder=5, label=name)
    right.set(xscale="log", ylim=(0, None), xlabel="ε that was typed", ylabel="training loss after 200 steps")
    right.set_title("Softmax regression on digits, lr = 0.001")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
