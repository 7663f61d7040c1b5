"""Is it lr, β or ε? A public grid as wide as anyone draws it, and what becomes of its runs.

TaskSet trained over a thousand tasks with a thousand settings of Adam each. Its sampler `adam4p_wide_grid` draws all
four hyperparameters log-uniformly, the betas in 1 - β:

    lr 1e-8 to 10      1 - β1 1e-4 to 1      1 - β2 1e-6 to 1      ε 1e-10 to 1e3

It is a preset of the sweep: python -m adamx.sweep preset=wide_grid problem=digits_softmax steps=500. (TaskSet's ε is
TensorFlow's ε̂; here it is that of the paper.)

Measured on digits (softmax regression, batch 64, 500 steps) for 4,096 Sobol points of that box: the share of each
regime, alone and along each axis; and what each of the four explains alone of the variance of the final loss's rank,
Var(E[rank | it]) / Var(rank), over the whole box and where lr is within a factor of 30 of 0.03. What is missing to 1 is
interaction. The claim gives no figures: shares are compared between the two halves of the draws, which share no point.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import adamx
from adamx.analysis import COLORS
from adamx.analysis.scales import SYMBOLS
from adamx.analysis.statistics import importance, shares
from adamx.inputs.axes import interval, sample
from adamx.regimes import REGIMES
from adamx.reproduce import Check, near

CLAIMS = "18"
SOURCE = "Metz et al. 2020, arXiv 2002.11887; the sampler as in its task_set/optimizers/adam.py"
SECONDS = 7
QUICK = False

BOX = {"lr": "log:1e-8:10", "beta1": "1-log:1e-4:1", "beta2": "1-log:1e-6:1", "eps": "log:1e-10:1e3"}
POINTS, STEPS, BINS = 4096, 500, 16


def run():
    points = sample({name: interval(text) for name, text in BOX.items()}, POINTS)
    options = {"dtype": "float32", "problem_args": {"batch": 64}}
    return {"wide grid": adamx.simulate("adam", "digits_softmax", points, STEPS, STEPS, **options)}


def parts(runs):
    """The table of all runs, and of those whose lr is within a factor of 30 of 0.03."""
    table = runs["wide grid"].table
    return {"all runs": table, "lr 0.001 to 0.9": table[table["lr"].between(1e-3, 0.9)]}


def present(table):
    """How many runs have each regime that there is, in the order of `REGIMES`."""
    counts = {regime: int((table["regime"] == regime).sum()) for regime in REGIMES}
    return {regime: count for regime, count in counts.items() if count}


def words(found):
    """Hyperparameters and what they explain, the most first."""
    return ", ".join(f"{row.name} {row.main:.0%}" for row in found.itertuples(index=False))


def check(runs) -> list[Check]:
    table = runs["wide grid"].table
    checks = []
    first, second = (shares(half).set_index("regime")["share"] for half in (table[: POINTS // 2], table[POINTS // 2 :]))
    for regime in present(table):
        halves = first[regime], second[regime]
        share = np.mean(halves)
        error = 3 * np.sqrt(2 * share * (1 - share) / (POINTS // 2)) / halves[0]
        why = "three standard errors of the difference of two binomial shares"
        checks.append(near(f"share {regime}: one half of the draws, the other", *halves, error, why))
    for where, part in parts(runs).items():
        found = importance(part, list(BOX))
        halves = [importance(part[start::2], list(BOX)).set_index("name")["main"] for start in (0, 1)]
        error = (halves[0] - halves[1]).abs().max()
        held = bool(found["main"][0] - found["main"][1] > error)
        why = f"its lead is more than the {error:.0%} by which two halves of the draws differ at most"
        checks.append(Check(f"explained of the final loss, {where}", "one above all", words(found), held, why))
    return checks


def figure(runs) -> Figure:
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    grid = figure.subplots(2, len(BOX), sharey=True, sharex="col")
    for row, (where, table) in zip(grid, parts(runs).items(), strict=True):
        explained = importance(table, list(BOX)).set_index("name")["main"]
        for axes, name in zip(row, BOX, strict=True):
            _shares(axes, table, name)
            axes.set_title(f"{name} explains {explained[name]:.0%}")
        row[0].set_ylabel(f"{where}: share")
        row[0].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    handles = [
        Patch(color=COLORS[regime], label=f"{regime} {count / POINTS:.0%}")
        for regime, count in present(runs["wide grid"].table).items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _shares(axes, table, name):
    """The shares of the regimes along one axis."""
    box, beta = interval(BOX[name]), name.startswith("beta")
    edges = np.geomspace(box.low, box.high, BINS + 1)
    bins = np.digitize(1 - table[name] if beta else table[name], edges[1:-1])
    counts = np.array([np.bincount(bins[table["regime"] == regime], minlength=BINS) for regime in REGIMES])
    with np.errstate(invalid="ignore"):  # a bin without runs stays empty
        tops = np.cumsum(counts / counts.sum(axis=0), axis=0)
    for regime, low, high in zip(REGIMES, [np.zeros(BINS), *tops], tops, strict=False):
        axes.stairs(high, edges, baseline=low, fill=True, color=COLORS[regime], lw=0)
    axes.set(xscale="log", xlim=edges[[0, -1]], ylim=(0, 1))
    axes.tick_params(labelsize=8)
    axes.set_xlabel(f"1 - {SYMBOLS[name]}" if beta else SYMBOLS[name])
