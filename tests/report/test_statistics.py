"""Intervals, paired differences, shares and importance, against distributions and functions with known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import product

from adamx.analysis.statistics import Interval, importance, interval, paired, shares
from adamx.inputs.errors import InputError
from adamx.regimes import REGIMES


def holds(found: Interval, truth: float) -> bool:
    return found.low <= truth <= found.high


def sweep(loss, **axes) -> pd.DataFrame:
    """A table of a grid with the final losses that a function of its columns gives."""
    columns = product(**{"seed": 0} | axes)
    table = pd.DataFrame(columns)
    table["final_loss"] = loss(**columns)
    table["regime"] = np.where(np.isfinite(table["final_loss"]), "converged", "diverged")
    return table


@pytest.mark.parametrize(("seeds", "least"), [(5, 0.9), (10, 0.92), (30, 0.92)])
def test_an_interval_covers_the_median_as_often_as_it_says(seeds, least):
    rng = np.random.default_rng(seeds)
    covered = np.mean([holds(interval(rng.lognormal(sigma=2, size=seeds)), 1.0) for _ in range(300)])
    assert least <= covered <= 0.99


def test_an_interval_of_equal_values_is_a_point():
    assert interval([2.0] * 5) == (2.0, 2.0, 2.0)
    assert interval([np.inf, np.nan]) == (np.inf, np.inf, np.inf)


def test_an_interval_of_one_value_is_unknown():
    found = interval([0.5])
    assert found.value == 0.5 and np.isnan(found[1:]).all()


def test_lost_runs_are_worse_than_any_other():
    assert interval([1.0, 2.0, np.nan]) == (2.0, 1.0, np.inf)
    assert interval([1.0, np.inf, np.nan, np.inf]).value == np.inf
    assert interval([1.0, np.inf]).value == np.inf  # halfway to a lost run


def noisy(seed, eps, lr=1e-3):
    """A loss that a seed moves by e^2 and eps by 10 %."""
    luck = 2 * np.random.default_rng(7).standard_normal(100)
    return np.exp(luck[seed.astype(int)]) * np.where(eps > 1e-5, 0.9, 1.0) * lr**0


def test_shared_seeds_show_a_difference_that_luck_hides():
    table = sweep(noisy, seed=np.arange(10), eps=[1e-8, 1e-4])
    found = paired(table, {"eps": 1e-8}, {"eps": 1e-4})
    assert (found.seeds, found.better, found.worse) == (10, 10, 0)
    np.testing.assert_allclose(found.difference, np.log10(0.9), rtol=1e-9)
    alone = [interval(table.loc[table["eps"] == eps, "final_loss"]) for eps in (1e-8, 1e-4)]
    assert alone[0].low < alone[1].high and alone[1].low < alone[0].high  # unpaired, they overlap


def test_a_paired_difference_covers_the_truth_and_is_narrower_than_an_unpaired_one():
    rng, covered, narrower = np.random.default_rng(3), 0, 0
    for _ in range(100):
        luck, own = rng.normal(size=10), rng.normal(scale=0.2, size=(2, 10))
        logs = np.stack([luck + own[0], luck + own[1] + 0.5])
        table = sweep(lambda eps, seed: 10 ** logs[(eps > 0).astype(int), seed.astype(int)], eps=[0, 1], seed=range(10))
        found = paired(table, {"eps": 0}, {"eps": 1}).difference
        unpaired = stats.bootstrap(
            tuple(logs),
            lambda a, b, axis: np.median(b, axis) - np.median(a, axis),
            n_resamples=200,
            rng=rng,
            method="percentile",
        ).confidence_interval
        covered += holds(found, 0.5)
        narrower += found.high - found.low < unpaired.high - unpaired.low
    assert covered >= 90 and narrower >= 95


def test_pairs_with_lost_runs():
    ends = {1e-8: [1.0, np.nan, np.inf, 2.0, 1.0], 1e-4: [0.1, 0.1, np.nan, 0.2, 0.1]}
    table = sweep(
        lambda eps, seed: [ends[e][int(s)] for e, s in zip(eps, seed, strict=True)], eps=list(ends), seed=range(5)
    )
    found = paired(table, {"eps": 1e-8}, {"eps": 1e-4})
    assert (found.better, found.worse) == (4, 0)  # a seed that both lose is neither
    assert found.difference.value == pytest.approx(-1) and found.difference.low == -np.inf
    assert found.difference.high == 0
    back = paired(table, {"eps": 1e-4}, {"eps": 1e-8})
    assert back.difference == pytest.approx((1, 0, np.inf)) and (back.better, back.worse) == (0, 4)


def test_pairs_are_of_gaps_above_the_minimum():
    table = sweep(lambda eps, seed: -78 + 10.0**eps, eps=[-3, -1], seed=range(3))
    assert paired(table, {"eps": -3}, {"eps": -1}, minimum=-78).difference == pytest.approx((2, 2, 2))


def test_pairs_that_cannot_be_made():
    table = sweep(noisy, seed=np.arange(3), eps=[1e-8, 1e-4], lr=[1e-3, 1e-2])
    with pytest.raises(InputError, match="eps=1e-08 leaves several runs of a seed"):
        paired(table, {"eps": 1e-8}, {"eps": 1e-4, "lr": 1e-3})
    with pytest.raises(InputError, match="no run has eps=1"):
        paired(table, {"eps": 1}, {"eps": 1e-4})
    with pytest.raises(InputError, match="did you mean 'eps'"):
        paired(table, {"epz": 1}, {"eps": 1e-4})
    apart = table[(table["seed"] == 0) == (table["eps"] > 1e-5)]
    with pytest.raises(InputError, match="share no seed"):
        paired(apart, {"eps": 1e-8, "lr": 1e-3}, {"eps": 1e-4, "lr": 1e-3})


def test_shares_of_one_seed_are_clopper_pearson():
    regime = ["spiking"] * 7 + ["converged"] * 33
    found = shares(pd.DataFrame({"seed": 0, "regime": regime})).set_index("regime")
    assert list(found.index) == list(REGIMES) and found["runs"][found["runs"] > 0].to_dict() == {
        "converged": 33,
        "spiking": 7,
    }
    for name, hits in (("spiking", 7), ("converged", 33), ("diverged", 0)):
        exact = stats.binomtest(hits, 40).proportion_ci()
        np.testing.assert_allclose(found.loc[name, ["share", "low", "high"]], [hits / 40, *exact], rtol=1e-9)
    whole = shares(pd.DataFrame({"seed": 0, "regime": ["slow"] * 9})).set_index("regime").loc["slow"]
    assert whole["high"] == 1 and whole["low"] == pytest.approx(stats.binomtest(9, 9).proportion_ci().low)


def clustered(rng, seeds=10, runs=40):
    """Runs of a seed that are alike: the share of a seed is Beta(2, 2), on average one half."""
    spiking = rng.random((seeds, runs)) < rng.beta(2, 2, (seeds, 1))
    return pd.DataFrame(
        {"seed": np.repeat(np.arange(seeds), runs), "regime": np.where(spiking, "spiking", "slow").ravel()}
    )


def test_shares_count_seeds_and_not_runs():
    rng, covered, as_if_alone = np.random.default_rng(5), 0, 0
    for _ in range(100):
        table = clustered(rng)
        covered += holds(shares(table).set_index("regime").loc["spiking"], 0.5)
        as_if_alone += holds(shares(table.assign(seed=0)).set_index("regime").loc["spiking"], 0.5)
    assert covered >= 88 and as_if_alone < 60


def test_shares_along_an_axis():
    table = sweep(lambda lr, eps, seed: np.where(lr > 0.5, np.inf, 1), lr=[0.1, 1], eps=[1, 2, 3], seed=range(4))
    found = shares(table, "lr")
    assert list(found.columns) == ["lr", "regime", "runs", "share", "low", "high"] and len(found) == 2 * len(REGIMES)
    row = found[(found["lr"] == 1) & (found["regime"] == "diverged")].iloc[0]
    assert (row["runs"], row["share"], row["low"], row["high"]) == (12, 1, 1, 1)  # every seed says the same
    partial = shares(table.iloc[:-1], "lr")
    assert partial["low"].notna().all()  # a seed with a run less still has some
    missing = shares(table[(table["lr"] < 1) | (table["seed"] > 0)], "lr")
    assert missing.loc[missing["lr"] == 1, "low"].isna().all() and missing.loc[missing["lr"] < 1, "low"].notna().all()
    with pytest.raises(InputError, match="did you mean 'lr'"):
        shares(table, "lrs")


def indices(table, names, y):
    found = importance(table, names, y).set_index("name").loc[names]
    return found["main"].to_numpy(), found["total"].to_numpy()


def ishigami(a, b, c):
    """Ishigami & Homma 1990, with coordinates in [0, 1] scaled to [-pi, pi], a = 7, b = 0.1."""
    x1, x2, x3 = (np.pi * (2 * v - 1) for v in (a, b, c))
    return np.sin(x1) + 7 * np.sin(x2) ** 2 + 0.1 * x3**4 * np.sin(x1)


ISHIGAMI_MAIN, ISHIGAMI_TOTAL = (0.3139, 0.4424, 0.0), (0.5576, 0.4424, 0.2437)  # Sobol' & Levitan 1999


def test_importance_of_a_grid_is_exact():
    middle = (np.arange(40) + 0.5) / 40
    table = sweep(lambda seed, **x: ishigami(**x), a=middle, b=middle, c=middle).rename(columns={"final_loss": "z"})
    main, total = indices(table, ["a", "b", "c"], "z")
    np.testing.assert_allclose(main, ISHIGAMI_MAIN, atol=2e-3)
    np.testing.assert_allclose(total, ISHIGAMI_TOTAL, atol=2e-3)


def test_importance_of_a_sum_and_of_a_product():
    """A sum has no interactions. (x - 1/2)(y - 1/2) has nothing else."""
    x, y = (mesh.ravel() for mesh in np.meshgrid(np.linspace(0, 1, 11), np.linspace(0, 1, 11)))
    table = pd.DataFrame({"lr": x, "eps": y, "seed": 0, "sum": 3 * x + y, "product": (x - 0.5) * (y - 0.5)})
    np.testing.assert_allclose(indices(table, ["lr", "eps"], "sum"), [[0.9, 0.1]] * 2, rtol=1e-9)
    np.testing.assert_allclose(indices(table, ["lr", "eps"], "product"), [[0, 0], [1, 1]], atol=1e-12)


@pytest.mark.parametrize(("draws", "bias"), [(256, 0.05), (1024, 0.02)])  # the four humps in b need narrow bins
def test_importance_of_drawn_points_is_right_on_average(draws, bias):
    rng, names = np.random.default_rng(draws), ["a", "b", "c"]
    found = []
    for _ in range(60):
        drawn = pd.DataFrame(rng.random((draws, 3)), columns=names).assign(seed=0)
        drawn["z"] = ishigami(drawn["a"], drawn["b"], drawn["c"])
        main, total = indices(drawn, names, "z")
        assert np.isnan(total).all() and (main >= 0).all()
        found.append(main)
    np.testing.assert_allclose(np.mean(found, axis=0), ISHIGAMI_MAIN, atol=bias)


def test_what_does_nothing_has_no_importance_however_few_the_draws():
    """Bins alone would give it (bins - 1) / draws; crossed with seeds, a draw is not ten."""
    rng, found = np.random.default_rng(0), []
    for _ in range(100):
        drawn = pd.DataFrame(rng.random((36, 2)), columns=["lr", "eps"])
        table = drawn.merge(pd.DataFrame({"seed": np.arange(10)}), how="cross")
        table["z"] = table["lr"] + 0.1 * rng.standard_normal(10)[table["seed"]]
        found.append(importance(table, ["lr", "eps"], "z").set_index("name")["main"])
    mean = pd.concat(found, axis=1).mean(axis=1)
    assert mean["eps"] < 0.08  # zero, and what is cut off below it
    assert mean["lr"] > 0.8 and 0.05 < mean["seed"] < 0.15


def test_importance_of_few_draws_is_unknown():
    rng = np.random.default_rng(0)
    drawn = pd.DataFrame(rng.random((10, 2)), columns=["lr", "eps"]).assign(seed=0, z=rng.random(10))
    assert importance(drawn, ["lr", "eps"], "z")[["main", "total"]].isna().all(axis=None)


def test_importance_ranks_final_losses_so_that_a_lost_run_is_the_worst_and_no_more():
    axes = {"lr": [1e-3, 1e-2, 1e-1], "eps": [1e-8, 1e-4]}
    huge = sweep(lambda lr, eps, seed: np.where(lr > 0.05, 1e300, lr * (1 + eps)), **axes)
    lost = huge.assign(final_loss=np.where(huge["lr"] > 0.05, np.nan, huge["final_loss"]))
    pd.testing.assert_frame_equal(importance(huge, ["lr", "eps"]), importance(lost, ["lr", "eps"]))
    by_regime = importance(
        lost.assign(regime=np.where(lost["lr"] > 0.05, "diverged", "slow")), ["eps", "lr"], "diverged"
    )
    assert by_regime["name"].tolist() == ["lr", "eps"] and by_regime["main"].tolist() == pytest.approx([1, 0])


def test_importance_counts_luck():
    table = sweep(noisy, seed=np.arange(10), eps=[1e-8, 1e-4], lr=[1e-3, 1e-2])
    found = importance(table, ["lr", "eps"])
    assert found["name"][0] == "seed" and found["main"][0] > 0.9 and found["name"].tolist()[-1] == "lr"


def test_importance_of_nothing_or_of_a_figure_with_gaps():
    table = sweep(lambda lr, eps, seed: np.ones_like(lr), lr=[1, 2], eps=[1, 2])
    assert importance(table, ["lr", "eps"])[["main", "total"]].isna().all(axis=None)
    table["reached_step"] = pd.Series([5, pd.NA, 7, 9], dtype="Int64")
    with pytest.raises(InputError, match="reached_step is missing or infinite in 1 of 4 runs"):
        importance(table, ["lr"], "reached_step")
    with pytest.raises(InputError, match="did you mean 'spiking'"):
        importance(table, ["lr"], "spikin")
