"""Momentum overshoots, oscillates and gets there; RMSprop goes slowly down the walls and fast along the floor.

Gradient descent must take an lr that the steep direction bears, and crawls along the flat one. Momentum adds up the
small slope of the floor, and cannot stop at the end of it. RMSprop divides each direction by the size of its own
gradient: all directions get about the same speed, lr, which is slower than the slope where it is steep and faster where
it is flat.

Measured on a long valley with walls of curvature 50 and a floor of slope 1 (x across, y along), Beale's function, a
saddle and minibatches of noisy moons (20 seeds). Radford's animations (2014) that made this known have no constants:
these are those of `python -m adamx.race`, an lr for each rule and each surface with which it does well.
"""

import numpy as np
from matplotlib.figure import Figure

import adamx
from adamx.analysis.surface import surface
from adamx.problems import problem
from adamx.race.pictures import PALETTE
from adamx.reproduce import Check, near

CLAIMS = "5"
SOURCE = "Radford's animations, 2014 (no constants: our own); course notes"
SECONDS = 1
QUICK = False

RULES = {"sgd": {}, "momentum": {"momentum": 0.9}, "rmsprop": {"beta2": 0.9}, "adam": {}}
SURFACES = {  # settings, the lr of each rule, steps
    "long_valley": ({"target": 0.01}, (0.03, 0.01, 0.1, 0.2), 400),
    "beale": ({"x0": [0.5, 1.4], "target": 0.01}, (0.02, 0.01, 0.05, 0.2), 200),
    "saddle": ({"x0": [1.0, 1e-3]}, (0.01, 0.01, 0.01, 0.01), 400),
    "moons_logistic": ({"batch": 16}, (0.5, 0.1, 0.1, 0.1), 120),
}
SEEDS = 20
ORDER = {
    "long_valley": ["adam", "momentum", "sgd", "rmsprop"],
    "beale": ["adam", "momentum", "rmsprop", "sgd"],
    "saddle": ["momentum", "rmsprop", "adam", "sgd"],
}
VIEW = {"saddle": (-1.1, 1.1, -1.25, 1.25)}


def run():
    runs = {}
    for where, (settings, rates, steps) in SURFACES.items():
        task = where == "moons_logistic"
        seen = {"seed": range(SEEDS)} if task else {}
        for (rule, hyper), lr in zip(RULES.items(), rates, strict=True):
            runs[f"{rule} {where}"] = adamx.simulate(
                rule,
                where,
                adamx.grid(lr=lr, **hyper, **seen),
                steps,
                problem_args=settings,
                instruments=() if task else "path",
            )
    return runs


def goal(results):
    """The first step at the target, the median over the runs; infinite where it is not reached."""
    under = results.loss - results.minimum <= results.criteria.target
    return float(np.median(np.where(under.any(axis=0), results.steps[under.argmax(axis=0)], np.inf)))


def path(results):
    """(2, steps + 1) the points."""
    return np.stack([results.curves["x0"][:, 0], results.curves["x1"][:, 0]])


def less(what, measured, bound, why="a strict inequality between two figures without error") -> Check:
    return Check(what, f"< {bound:.4g}", f"{measured:.4g}", bool(measured < bound), why)


def check(runs) -> list[Check]:
    checks, steps = [], {key: goal(results) for key, results in runs.items()}
    for where, expected in ORDER.items():
        order = sorted(RULES, key=lambda rule: steps[f"{rule} {where}"])
        words = ", ".join(f"{rule} {steps[f'{rule} {where}']:g}" for rule in order).replace("inf", "never")
        why = "as in the race with these constants; nothing was published, and another lr may change it"
        checks.append(Check(f"{where}: order to the goal", ", ".join(expected), words, order == expected, why))
    for where in SURFACES:
        why = "an exact run; on the moons the median of 20 seeds, whose quartiles do not touch"
        what = f"{where}: momentum's steps to the goal, against SGD's"
        checks.append(less(what, steps[f"momentum {where}"], steps[f"sgd {where}"], why))

    (x, y), (x_sgd, y_sgd), (x_rms, y_rms) = (
        path(runs[f"{rule} long_valley"]) for rule in ("momentum", "sgd", "rmsprop")
    )
    checks.append(less("long_valley: momentum's least y: it overshoots", y.min(), 0))
    checks.append(less("long_valley: minus SGD's least y: it does not", -y_sgd.min(), 0))
    bounces, once = (np.flatnonzero(abs(across) > 0.1).max() + 1 for across in (x, x_sgd))
    checks.append(less("long_valley: steps until |x| stays below 0.1, SGD's against momentum's", once, bounces))
    end = runs["momentum long_valley"].loss[-1, 0]
    checks.append(less("long_valley: momentum's loss at the end, against the goal: it gets there", end, 0.01))
    walls = [int(np.argmax(abs(across) < 0.1)) for across in (x_sgd, x_rms)]
    checks.append(less("long_valley: steps down the wall to |x| < 0.1, SGD's against RMSprop's", *walls))
    floor = [int(np.argmax(along < 1)) for along in (y_rms, y_sgd)]
    checks.append(less("long_valley: steps along the floor to y < 1, RMSprop's against SGD's", *floor))
    t = np.arange(1, 200)
    moved = 0.1 * np.cumsum(1 / np.sqrt(1 - 0.9**t))  # lr a step, and more while v fills
    why = "the slope falls from 0.995 to 0.7, and v remembers ten steps"
    what = "long_valley: RMSprop's steps to y < 1, at lr a step"
    return [*checks, near(what, float(t[np.argmax(moved > 9)]), floor[0], 0.05, why)]


def figure(runs) -> Figure:
    figure = Figure(figsize=(9.5, 7.6), layout="constrained")
    for axes, (where, (settings, rates, _)) in zip(figure.subplots(2, 2).flat, SURFACES.items(), strict=True):
        for (rule, lr), color in zip(zip(RULES, rates, strict=True), PALETTE, strict=False):
            results = runs[f"{rule} {where}"]
            reached = goal(results)
            label = f"{rule}, lr = {lr:g}: " + (f"step {reached:g}" if np.isfinite(reached) else "never")
            if where == "moons_logistic":
                axes.plot(results.steps, np.median(results.loss, axis=1), color=color, lw=1.6, label=label)
                band = np.quantile(results.loss, [0.1, 0.9], axis=1)
                axes.fill_between(results.steps, *band, color=color, alpha=0.2, lw=0)
            else:
                axes.plot(*path(results), ".-", color=color, lw=1.4, ms=3, label=label)
        if where == "moons_logistic":
            axes.axhline(results.criteria.target, color="0.6", lw=0.8)
            axes.set(xlabel="step", ylabel="loss: median, 10-90 % of 20 seeds", ylim=(0.25, 0.7), xlim=(0, 80))
        else:
            where_to = problem(where, settings)
            paths = np.stack([path(runs[f"{rule} {where}"]).T for rule in RULES])
            losses = np.stack([runs[f"{rule} {where}"].loss[:, 0] for rule in RULES])
            surface(where_to, "sgd", paths, losses, VIEW.get(where)).draw(axes)
        axes.set_title(where)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8.5, columnspacing=1)
    figure.suptitle("Four rules on four surfaces, and the step at which each reaches the goal", weight="bold")
    return figure
