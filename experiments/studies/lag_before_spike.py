"""A loss spike is announced by v: it follows when g² has outgrown what v remembers.

v is an average over the past. Where a gradient grows faster than v can follow, g²/v is far above 1, the update is as
much too large, and the loss jumps. StableAdamW divides lr by that ratio's root whenever it is above 1.

Measured on a 10-32-1 ReLU network on the diabetes patients with lr = 0.03, all rows in every step, eight seeds, 3,000
steps: a lag event is √(mean g²/v̂) ≥ 2.3, a loss spike a log-loss 3.2 standard deviations above its mean over the
last 100 steps; events closer than 10 steps are one. Each loss spike is matched with the lag events about it. Beside
it what chance would give, from the share of all steps that lie 1 to 8 steps after a lag event.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import adamx
from adamx.reproduce import Check, between

CLAIMS = "14"
SOURCE = "Wortsman et al. 2023, arXiv 2304.13013, there for single layers of large vision models"
SECONDS = 3
QUICK = False

STEPS, SEEDS, WARM = 3000, 8, 200
NETWORK = {"hidden": [32], "batch": 0}
BETA2 = [0.99, 0.999, 0.9999]
AROUND = 12


def run():
    def train(optimizer, **more):
        grid = adamx.grid(lr=0.03, beta2=BETA2, eps=1e-8, seed=range(SEEDS), **more)
        return adamx.simulate(
            optimizer, "diabetes_squares", grid, STEPS, dtype="float32", problem_args=NETWORK, instruments=["lag"]
        )

    return {"adam": train("adam"), "stable_adamw": train("stable_adamw", weight_decay=0)}


def starts(mask):
    """The steps at which events begin, at least 10 apart, after the first steps of the run."""
    steps = np.flatnonzero(mask)
    return steps[(np.diff(steps, prepend=-100) > 10) & (steps > WARM)]


def events(results, run):
    """(lag events, loss spikes) of a run, by step."""
    loss = pd.Series(np.log(results.loss[:, run].astype(float)))
    past = loss.rolling(100)
    high = loss > past.mean().shift(1) + 3.2 * past.std().shift(1)
    return starts(results.curves["lag"][:, run] >= 2.3), starts(high.to_numpy())


def leads(results, runs):
    """Steps from each lag event to each loss spike, of all pairs at most `AROUND` apart."""
    found = [spike - lag for run in runs for lags, spikes in [events(results, run)] for spike in spikes for lag in lags]
    return np.array([lead for lead in found if abs(lead) <= AROUND], int)


def follow(results):
    """Loss spikes, those 1 to 8 and those 0 to 8 steps after a lag event, and the first by chance."""
    spikes = soon = now = chance = 0
    for run in range(len(results)):
        lags, found = events(results, run)
        after = [found - lag for lag in lags]
        spikes += len(found)
        soon += int(np.any([(a >= 1) & (a <= 8) for a in after], axis=0).sum()) if after else 0
        now += int(np.any([(a >= 0) & (a <= 8) for a in after], axis=0).sum()) if after else 0
        near = np.zeros(STEPS + 9, bool)
        for lag in lags:
            near[lag + 1 : lag + 9] = True
        chance += len(found) * near[WARM:].mean()
    return spikes, soon, now, chance


def check(runs) -> list[Check]:
    spikes, soon, now, chance = follow(runs["adam"])
    why = "a majority, against the share by chance"
    share = f"{soon / spikes:.0%} of {spikes}, {chance / spikes:.0%} by chance"
    counts = [len(events(runs["stable_adamw"], run)[1]) for run in range(len(runs["stable_adamw"]))]
    return [
        Check("loss spikes 1 to 8 steps after a lag event", "most", share, soon / spikes > 0.5, why),
        Check("the same, or at once", "most", f"{now / spikes:.0%} of {spikes}", now / spikes > 0.5, why),
        between("how many times more than chance", 3, soon / chance, np.inf, "chance is 1"),
        between("loss spikes of StableAdamW over Adam's", 0, sum(counts) / spikes, 0.5, "clipping is to end them"),
    ]


def figure(runs) -> Figure:
    results = runs["adam"]
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    run = int(np.argmax([len(events(results, run)[1]) for run in range(len(results))]))
    _, spikes = events(results, run)
    window = slice(max(int(spikes[0]) - 60, 0), int(spikes[0]) + 60)
    left.plot(results.steps[window], results.loss[window, run], "C0", label="loss")
    left.plot(results.steps[window], results.curves["lag"][window, run], "C5", label="lag √(mean g²/v̂)")
    left.axhline(2.3, color="C5", lw=0.8, ls="--")
    left.set(yscale="log", xlabel="step", title="one loss spike")
    bins = np.arange(-AROUND - 0.5, AROUND + 1)
    for i, beta2 in enumerate(BETA2):
        found = leads(results, np.flatnonzero(results.columns["beta2"] == beta2))
        right.hist(found, bins, histtype="step", color=f"C{i}", label=f"β2 = {beta2:g}")
    right.axvspan(0.5, 8.5, color="0.92", zorder=0)
    right.set(xlabel="steps from lag event to loss spike", ylabel="pairs", title="all of them")
    figure.legend(loc="outside lower center", ncols=5)
    return figure
