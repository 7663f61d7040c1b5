"""Checks of the children of a sweep in MLflow: their values, which runs become children, and their curves.

Every check takes what it judges: adamx.record.children, or that with a fault planted in it (tests/mutants.py).
"""

import dataclasses
import math

import numpy as np
import pytest
from synthetic import product, synthetic

from adamx.inputs.errors import InputError


def curves_end_at_the_last_finite_point(by, sweep):
    for i, child in enumerate(by.children(sweep, [], {})):
        assert all(np.isfinite(value) for _, value, _ in child.metrics)
        curve = [(step, value) for key, value, step in child.metrics if key == "loss"]
        last = np.flatnonzero(np.isfinite(sweep.loss[:, i]))[-1]
        assert curve[-1] == (sweep.steps[last], sweep.loss[last, i]) and curve[0][0] == 0
        assert len({(key, step) for key, _, step in child.metrics}) == len(child.metrics)


def points_are_log_spaced(by, records):
    """As many as are wanted, one by one at the beginning, then ever farther apart by one factor."""
    at = by.points(records)
    assert at[0] == 0 and at[-1] == records - 1 and (np.diff(at) > 0).all()
    assert len(at) == min(records, 100)
    gaps = np.diff(at)
    assert (np.diff(gaps) >= -1).all()  # but for rounding
    if records > 1000:
        far = at[at > 200].astype(float)
        assert np.ptp(np.log(far[1:] / far[:-1])) < 0.02


def a_record_more_is_no_other_curve(by):
    """The curves of 100 and of 101 records have 100 points in MLflow, and their logarithms 50."""
    for records in (100, 101):
        run = synthetic(product(lr=[1e-3, 1e-2]), steps=records - 1, records=records - 1)
        assert len(run.steps) == records
        child = next(iter(by.children(run, ["lr"], {})))
        steps = {key: [step for name, _, step in child.metrics if name == key] for key in ("loss", "log10_loss")}
        assert len(steps["loss"]) == 100 and len(steps["log10_loss"]) == 50
        assert all(each[0] == 0 and each[-1] == records - 1 for each in steps.values())
        assert set(steps["log10_loss"]) < set(steps["loss"])


def a_selection_is_the_best_or_some_of_every_regime(by):
    results = [
        synthetic(product(lr=np.geomspace(1e-4, 1, 40), eps=[1e-8, 1e-2], beta1=[0.9, 0.99])),
        synthetic(product(lr=np.geomspace(1e-4, 1, 20)), optimizer="amsgrad"),
    ]
    keep, sentence = by.select(results)
    assert [len(k) for k in keep] == [160, 20] and sentence == "all 180 runs are children"
    assert [len(k) for k in by.select(results, "parent").keep] == [0, 0]
    top = by.select(results, "top", 30)
    assert sum(map(len, top.keep)) == 30 and "best 30 of 180" in top.sentence
    keep, sentence = by.select(results, "auto", 50)
    assert sum(map(len, keep)) == 50 and "50 of 180" in sentence and "table.parquet" in sentence
    assert all((a == b).all() for a, b in zip(keep, by.select(results, "auto", 50).keep, strict=True))
    regimes = [set(r.regime[k]) for r, k in zip(results, keep, strict=True)]
    assert set.union(*regimes) == set(results[0].regime) | set(results[1].regime)
    losses = np.concatenate([r.loss[-1] for r in results])
    kept = np.concatenate([r.loss[-1, k] for r, k in zip(results, keep, strict=True)])
    assert np.nanmin(kept) == np.nanmin(losses) and np.nanmax(kept) == np.nanmax(losses[np.isfinite(losses)])
    with pytest.raises(InputError, match="did you mean 'auto'"):
        by.select(results, "atuo")


def children_say_what_the_results_say(by):
    r = synthetic(product(lr=[1e-4, 1e-3, 1e-2, 1.0], eps=[1e-8, 1e-2]), steps=4000, records=400)
    r.loss[200:, 3] = np.inf
    r = dataclasses.replace(r, settings={"batch": 64})
    table = r.table
    found = list(by.children(r, ["lr", "eps"], {"mine": "1"}))
    assert len(found) == len(r)
    for i, child in enumerate(found):
        assert child.name == f"lr={r.columns['lr'][i]:.4g} eps={r.columns['eps'][i]:.4g}"
        assert {k: float(child.params[k]) for k in r.columns} == {k: v[i] for k, v in r.columns.items()}
        assert (child.params["optimizer"], child.params["batch"]) == ("adam", "64")
        assert child.tags["regime"] == r.regime[i] and child.tags["mine"] == "1"
        at0 = {key: value for key, value, step in child.metrics if step == 0}
        for name in ("lr", "eps", "beta1", "best_loss", "spikes"):
            assert at0[name] == table[name][i]
        assert at0["log10_lr"] == pytest.approx(math.log10(r.columns["lr"][i]))
        loss = {step: value for key, value, step in child.metrics if key == "loss"}
        where = {int(step): k for k, step in enumerate(r.steps)}
        assert all(value == r.loss[where[step], i] for step, value in loss.items())
        finite = np.flatnonzero(np.isfinite(r.loss[:, i]))
        assert max(loss) == r.steps[finite[-1]] and len(loss) <= 100
        logs = {step: value for key, value, step in child.metrics if key == "log10_loss"}
        assert 25 <= len(logs) < 100 or i == 3
        assert all(value == pytest.approx(np.log10(r.loss[where[step], i])) for step, value in logs.items())
        assert max(logs) == max(loss)
    marks = [child.tags["curve_digest"] for child in found]
    assert len(set(marks)) == len(r)
    r.loss[5, 0] = np.nextafter(r.loss[5, 0], 0)
    again = [child.tags["curve_digest"] for child in by.children(r, ["lr", "eps"], {})]
    assert [a == b for a, b in zip(marks, again, strict=True)] == [False] + [True] * (len(r) - 1)
    deep = synthetic(product(lr=[1e-3, 1e-2]), minimum=-3.0)
    for i, child in enumerate(by.children(deep, [], {})):
        gaps = {step: value for key, value, step in child.metrics if key == "log10_gap"}
        assert gaps[0] == pytest.approx(np.log10(deep.loss[0, i] + 3))
    narrow = synthetic(product(lr=[1e-3, 2e-3], eps=[1e-8]))
    assert not any(key == "log10_lr" for child in by.children(narrow, ["lr"], {}) for key, *_ in child.metrics)


def the_runs_that_are_wanted_become_children(by):
    r = synthetic(product(lr=np.geomspace(1e-4, 1, 50), eps=[1e-8, 1e-2]))
    rank = np.argsort(np.where(np.isfinite(r.loss[-1]), r.loss[-1], np.inf), kind="stable")
    finite = int(np.isfinite(r.loss[-1]).sum())
    assert by.select([r], "top", 10).keep[0].tolist() == sorted(rank[:10])
    auto = set(by.select([r], "auto", 40).keep[0].tolist())
    assert {*rank[:10], *rank[finite - 5 : finite]} <= auto and len(auto) == 40
    others = np.setdiff1d(np.arange(len(r)), [*rank[:10], *rank[finite - 5 : finite]])
    sample = [int(np.sum(r.regime[sorted(auto & set(others.tolist()))] == name)) for name in np.unique(r.regime)]
    there = [int(np.sum(r.regime[others] == name)) for name in np.unique(r.regime)]
    short = [a for a, b in zip(sample, there, strict=True) if a < b]
    assert max(short) - min(short) <= 1, "equally many of every regime that has them"
    assert by.select([r]).keep[0].tolist() == list(range(100)) and by.select([r], "parent").keep[0].size == 0
    big = synthetic({"lr": np.full(2001, 1e-3)}, records=2)
    assert len(by.select([big]).keep[0]) == 2000
    assert len(by.select([big], "top").keep[0]) == 100
    assert by.points(5).tolist() == [0, 1, 2, 3, 4]
