"""Change the batch and β2 should follow: what counts is the half-life of v in samples.

v forgets half of what it knows in ln ½ / ln β2 steps, and a step is B samples. So β2 = 0.999 means a memory of 700
samples at batch 1 and of 180,000 at batch 256. The claim: what suits a problem is a half-life in samples,

    β2 = 2^(-B/half-life)        so that 1 - β2 grows like B, with slope 1 in logarithms

Measured on digits (softmax regression): 14,336 samples, ten epochs, whatever the batch; Adam with β1 = 0.9 and a
constant lr; the held-out loss at the end, the mean of its logarithm over 8 seeds that all settings share, at the best
of 13 lr for each batch and β2. "Excess" is the loss over the best for its batch. Two places on that curve are followed
from batch to batch: its minimum, and its edge, the shortest half-life that costs less than 5 %. Intervals are
bootstraps over seeds. The training loss, which digits let fall towards 0, is asked the last question too. The claim is
about language models of 30 million parameters and more.
"""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

import adamx
from adamx.reproduce import Check

CLAIMS = "16"
SOURCE = "Marek et al. 2025, arXiv 2507.07101; second-hand but for its abstract"
SECONDS = 16
QUICK = False

BATCH = 2 ** np.arange(2, 9)
HALF_LIFE = 2.0 ** np.arange(7, 22)  # in samples; as batches double too, one β2 is a diagonal, here 0.979 to 0.9999
LR = np.geomspace(1e-3, 0.7, 13)
SAMPLES, SEEDS, DRAWS, COST = 14336, 8, 500, 0.05


def run():
    runs = {}
    for batch in BATCH.tolist():
        grid = adamx.grid(half_life=HALF_LIFE, lr=LR, seed=range(SEEDS))
        grid["beta2"] = 0.5 ** (batch / grid.pop("half_life"))
        steps = SAMPLES // batch
        runs[f"batch {batch}"] = adamx.simulate(
            "adam", "digits_softmax", grid, steps, steps, dtype="float32", problem_args={"batch": batch}
        )
    return runs


def losses(runs, held_out=True):
    """(batches, half-lives, lr, seeds) the logarithm of a loss at the end; a lost run is worse than any."""
    last = np.array([(r.curves["val_loss"] if held_out else r.loss)[-1] for r in runs.values()])
    return np.log(np.where(np.isfinite(last), last, 1e6)).reshape(len(BATCH), len(HALF_LIFE), len(LR), SEEDS)


def excess(log_loss):
    """(batches, half-lives) over the best of each batch, of the mean over seeds, at the best lr."""
    best = log_loss.mean(axis=-1).min(axis=2)
    return best - best.min(axis=1, keepdims=True)


def slope(half_life):
    """Of log(ln 2 steps in the half-life)^-1, which is 1 - β2 where that is small, over log batch."""
    return float(np.polyfit(np.log(BATCH), np.log(BATCH / half_life), 1)[0])


def edge(over):
    """(batches,) the shortest half-life that costs less than COST, between two of the grid."""
    first = np.argmax(over < COST, axis=1)
    rows, log = np.arange(len(BATCH)), np.log(HALF_LIFE)
    left, right = over[rows, first - 1], over[rows, first]
    return np.exp(log[first] - (COST - right) / (left - right) * (log[1] - log[0]))


def kept(over):
    """The least mean excess with one half-life for all batches, and with one β2 for all: a diagonal."""
    spans = range(len(HALF_LIFE) - len(BATCH) + 1)
    return over.mean(axis=0).min(), min(np.mean(np.diagonal(over[:, first:])) for first in spans)


def check(runs) -> list[Check]:
    held_out, training = losses(runs), losses(runs, held_out=False)
    rng = np.random.default_rng(0)

    def measured(seeds):
        over, of_training = excess(held_out[..., seeds]), excess(training[..., seeds])
        gains = [100 * (one_beta2 - half_life) for half_life, one_beta2 in (kept(over), kept(of_training))]
        return slope(HALF_LIFE[over.argmin(axis=1)]), slope(edge(over)), *gains

    drawn = [measured(rng.integers(0, SEEDS, SEEDS)) for _ in range(DRAWS)]
    intervals = np.quantile(drawn, [0.025, 0.975], axis=0)
    minimum, brink, gain, of_training = zip(measured(np.arange(SEEDS)), *intervals, strict=True)
    why = f"95 % interval of {DRAWS} bootstraps over {SEEDS} seeds"
    few = "likely because at batch 256 such a memory has 2 to 4 steps, too few for an average"
    return [
        Check(
            "slope of 1 - β2 over batch, at the least loss",
            "1", words(minimum), bool(minimum[1] <= 1 <= minimum[2]), why,
        ),
        Check(
            f"slope at the shortest memory that costs less than {COST:.0%}",
            "1", words(brink), bool(brink[1] <= 1 <= brink[2]), f"{why}; {few}",
        ),
        Check(
            "mean excess of one β2 for all batches, less that of one half-life, in %",
            "above 0", words(gain), bool(gain[1] > 0), why,
        ),
        Check("the same of the training loss", "above 0", words(of_training), bool(of_training[1] > 0), why),
    ]  # fmt: skip


def words(estimate):
    """A figure with its interval."""
    return "{:.2f} [{:.2f}, {:.2f}]".format(*estimate)


def figure(runs) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    over = excess(losses(runs))
    forgets = np.log(2) * BATCH[:, None] / HALF_LIFE  # 1 - β2 where that is small
    ratio = 2**0.5
    for batch, row, rates in zip(BATCH, over, forgets, strict=True):
        y = np.append(rates * ratio, rates[-1] / ratio)
        image = left.pcolormesh([batch / ratio, batch * ratio], y, row[:, None], cmap="viridis_r", vmin=0, vmax=0.15)
    left.plot(BATCH, forgets[np.arange(len(BATCH)), over.argmin(axis=1)], "o", color="white", mec="black", label="best")
    left.plot(BATCH, np.log(2) * BATCH / edge(over), "_", color="black", ms=14, mew=2, label="shortest memory, < 5 %")
    left.plot(BATCH, np.log(2) * BATCH / 1024, color="#D55E00", lw=1.5, label="half-life 1,024 samples")
    left.axhline(1e-3, color="black", ls=":", lw=1.2, label="β2 = 0.999")
    left.set(xscale="log", yscale="log", xlabel="batch", ylabel="-ln β2  (about 1 - β2)", title="Excess held-out loss")
    left.set_xticks(BATCH, BATCH)
    left.minorticks_off()
    left.set_ylim(2e-5, 1.4)
    figure.colorbar(image, ax=left, extend="max", format="{x:.0%}")
    for row, batch, color in zip(over, BATCH, colormaps["Blues"](np.linspace(0.35, 1, len(BATCH))), strict=True):
        right.plot(HALF_LIFE, row, "-o", ms=3, lw=1.4, color=color, label=f"batch {batch}")
    right.axhline(COST, color="black", lw=0.8, ls=":")
    right.set(xscale="log", ylim=(0, 0.4), xlabel="half-life of v, in samples", title="The same, over the half-life")
    right.yaxis.set_major_formatter("{x:.0%}")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=4, columnspacing=1)
    return figure
