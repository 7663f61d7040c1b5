"""Regimes against curves that were judged by eye (labelled/), and how near to a border a label may change."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import naive
import numpy as np
import pytest

from adamx.optimizers import rule
from adamx.problems import problem
from adamx.regimes import REGIMES, classify

FOLDER = Path(__file__).with_name("labelled")


class Run(NamedTuple):
    label: str
    optimizer: str
    hyper: dict
    problem: str
    settings: dict
    steps: int
    seed: int

    def __str__(self):
        said = " ".join(f"{k}={v}" for k, v in {**self.hyper, **self.settings}.items())
        return f"{self.optimizer} on {self.problem} {said}, {self.steps} steps, seed {self.seed}"


def _values(words):
    def number(text):
        return [float(v) for v in text[1:-1].split(",")] if text.startswith("[") else float(text)

    return {name: number(value) for name, _, value in (word.partition("=") for word in words)}


def labelled(name):
    runs, label = [], ""
    for line in (FOLDER / name).read_text().splitlines():
        if line in REGIMES:
            label = line
        elif line.strip() and not line.startswith("#"):
            optimizer, hyper, what, steps, *seeds = (part.strip() for part in line.split("|"))
            for seed in seeds[0].split()[1:] if seeds else [0]:
                words = what.split()
                run = (label, optimizer, _values(hyper.split()), words[0], _values(words[1:]), int(steps), int(seed))
                runs.append(Run(*run))
    return runs


def _judged(run):
    """The regime of the run, of one step more, and under lr x 1.001."""
    p = problem(run.problem, run.settings)
    found = []
    for hyper, ends in ((run.hyper, (0, 1)), (run.hyper | {"lr": 1.001 * run.hyper["lr"]}, (0,))):
        with np.errstate(all="ignore"):
            losses, slopes, _ = naive.path(
                run.optimizer,
                p,
                {**rule(run.optimizer).Hyper._field_defaults, **hyper},
                run.steps + max(ends),
                run.seed,
            )
            gaps = [v - p.minimum for v in losses]
            for more in ends:
                steps = run.steps + more
                figures = naive.figures_of(gaps[: steps + 1], slopes[: steps + 1], p.criteria)
                figures = {name: np.array([value]) for name, value in figures.items()}
                found.append(str(classify(figures, p.criteria, steps)[0]))
    return found


@pytest.fixture(scope="module")
def judged():
    runs = labelled("landscapes.txt")
    with ProcessPoolExecutor(2) as pool:
        return list(zip(runs, pool.map(_judged, runs, chunksize=8), strict=True))


def test_regimes_are_those_that_a_person_sees(judged):
    assert len(judged) >= 80
    assert {run.label for run, _ in judged} == set(REGIMES) - {"unjudged"}
    assert [f"{run}: {found[0]}, by eye {run.label}" for run, found in judged if found[0] != run.label] == []


def test_a_step_more_or_another_lr_changes_a_regime_only_at_a_border(judged):
    for at, what in ((1, "a step more"), (2, "lr x 1.001")):
        changed = [f"{run}: {found[0]}, {found[at]}" for run, found in judged if found[at] != found[0]]
        assert len(changed) <= 0.03 * len(judged), (what, changed)
