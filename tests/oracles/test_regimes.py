"""Regimes and figures on cases whose answer is known: from theory, and from curves made by hand."""

import dataclasses
import math
from types import SimpleNamespace

import definitions
import numpy as np
import pytest
from definitions import regime
from hypothesis import given
from hypothesis import strategies as st

import adamx
from adamx import regimes
from adamx.problems import problem
from adamx.regimes import REGIMES, Criteria


def test_by_hand():
    definitions.curves_by_hand_have_their_regimes(regimes)


def test_a_spike_is_counted_once_with_its_height():
    definitions.a_spike_is_counted_once_with_its_height(regimes)


def test_a_dropped_spike_is_seen():
    def dropped(t, gap, f, m, c):
        f, m = regimes.track(t, gap, f, m, c)
        return f, m._replace(spikes=0)

    faulty = SimpleNamespace(**{**vars(regimes), "track": dropped})
    with pytest.raises(AssertionError):
        definitions.a_spike_is_counted_once_with_its_height(faulty)
    with pytest.raises(AssertionError):
        definitions.figures_are_what_their_definitions_say(faulty)


def test_a_pop_is_leaving_after_settling():
    definitions.a_pop_is_leaving_after_settling(regimes)


def test_a_noisy_healthy_minibatch_curve_is_not_spiking():
    criteria = problem("digits_mlp").criteria
    rng = np.random.default_rng(0)
    for _ in range(20):
        mean = 0.02 + 2.3 * np.exp(-np.arange(1500) / 100)
        assert regime(mean * rng.gamma(1.5, 1 / 1.5, 1500), criteria=criteria)[0] == "converged"


@given(st.lists(st.floats(0, 1e6) | st.just(math.nan) | st.just(math.inf), min_size=2, max_size=60))
def test_figures_say_what_the_curve_says(curve):
    criteria = Criteria(0.5)
    name, figures = regime(curve, criteria=criteria)
    assert name in REGIMES
    bad = [t for t, v in enumerate(curve) if not math.isfinite(v)]
    assert figures["diverged_step"] == (bad[0] if bad else -1)
    if not bad:
        assert figures["best"] == min(curve)
        assert figures["best_step"] == curve.index(min(curve))
        under = [t for t, v in enumerate(curve) if v <= criteria.target]
        assert figures["reached_step"] == (under[0] if under else -1)


def test_criteria_of_noise_and_of_batches():
    definitions.criteria_are_those_of_noise_and_of_batches(regimes)


def test_the_tail_is_the_last_quarter():
    definitions.the_tail_is_the_last_quarter(regimes)


@pytest.mark.parametrize(("beta1", "threshold"), [(0.0, 0.05), (0.5, 0.016667), (0.9, 0.0026316), (0.99, 0.00025126)])
def test_epsilon_threshold_of_adam(beta1, threshold):
    """Claim 1: on x^2/2 the minimum is stable iff eps > lr (1 - beta1) / (2 (1 + beta1))."""
    assert 0.1 * (1 - beta1) / (2 * (1 + beta1)) == pytest.approx(threshold, rel=1e-4)
    p = problem("quadratic", {"curvature": 1.0, "noise": 1e-12, "target": 1e-14})
    results = adamx.simulate(
        "adam", p, {"lr": 0.1, "beta1": beta1, "eps": [0.98 * threshold, 1.02 * threshold]}, 60000, 500
    )
    unstable, stable = np.sqrt(2 * results.loss[-40:].max(axis=0))
    assert stable < 1e-9 < 1e-6 < unstable
    assert results.regime[1] == "converged"
    assert results.regime[0] != "converged"


def test_rmsprop_pops_at_the_end():
    """Claim 2: a 2-cycle of |x| = lr/2 - eps/curvature remains, gone iff eps >= lr curvature / 2."""
    p = problem("quadratic", {"curvature": 2.0, "noise": 1e-12, "target": 1e-8})
    eps = np.array([1e-8, 1e-3, 5e-3, 9e-3, 1.1e-2])
    results = adamx.simulate("rmsprop", p, {"lr": 0.01, "beta2": 0.9, "eps": eps}, 20000, record_every=100)
    np.testing.assert_allclose(np.abs(results.x[:4, 0]), 0.005 - eps[:4] / 2, rtol=1e-4)
    assert np.abs(results.x[4, 0]) < 1e-10
    assert results.regime.tolist() == ["spiking"] * 4 + ["converged"]
    assert results.table["popped"].tolist()[:3] == [True] * 3


def test_adam_spikes_on_a_plain_quadratic():
    """Claim 8: v decays until the preconditioned curvature passes its threshold; spikes follow with period 58-70."""
    p = problem("quadratic", {"curvature": 1.0})
    lr = np.array([0.01, 0.05, 0.1, 0.15, 0.3])
    crossing = np.array([1578, 1072, 887, 789, 637])
    spiky = adamx.simulate("adam", p, {"lr": lr, "beta2": 0.99}, 6000, record_every=100)
    assert spiky.regime.tolist() == ["spiking"] * 5
    first = spiky.figures["first_spike_step"]
    assert ((first > crossing) & (first < crossing + 100)).all()
    calm = adamx.simulate("adam", p, {"lr": lr, "beta2": 0.99, "eps": 0.1}, 6000, record_every=100)
    assert calm.regime.tolist() == ["converged"] * 5


def test_step_size_limit_of_gradient_descent():
    """Stable iff lr < 2 / curvature; with momentum iff lr < 2 (1 + momentum) / curvature."""
    lr = np.linspace(0.05, 3.95, 40)
    p = problem("quadratic", {"curvature": 1.0})
    sgd = adamx.simulate("sgd", p, {"lr": lr}, 3000, record_every=1000)
    assert ((sgd.regime == "diverged") == (lr > 2)).all()
    ball = adamx.simulate("momentum", p, {"lr": lr, "momentum": 0.5}, 3000, record_every=1000)
    assert ((ball.regime == "diverged") == (lr > 3)).all()


def test_leaving_a_saddle():
    """Claim 4: SGD needs ln 1e6 / ln 1.02 steps, momentum and the adaptive rules far fewer."""
    p = problem("saddle", {"x0": [0.0, 1e-6]})
    steps = [
        int(adamx.simulate(name, p, hyper, 1000).table["reached_step"][0])
        for name, hyper in [
            ("sgd", {"lr": 0.01}),
            ("momentum", {"lr": 0.01}),
            ("rmsprop", {"lr": 0.01, "beta2": 0.9}),
            ("adam", {"lr": 0.01}),
        ]
    ]
    assert steps[0] == math.ceil(math.log(1e6) / math.log(1.02))
    assert steps == [698, 140, 72, 77]


def test_regimes_agree_with_theory_on_a_fine_grid():
    """Claim 1 on 50 x 50 settings of lr and eps / eps*, and the step size limit on as many of SGD; borders left out."""
    p = problem("quadratic", {"curvature": 1.0, "noise": 1e-12, "target": 1e-12})  # below every cycle
    grid = adamx.grid(lr=np.geomspace(0.02, 1, 50), eps=np.geomspace(0.1, 10, 50))
    ratio = grid["eps"].copy()
    grid["eps"] = ratio * grid["lr"] * 0.1 / (2 * 1.9)
    off = np.abs(np.log(ratio)) > 0.1
    adam = adamx.simulate("adam", p, {**grid, "beta2": 0.99}, 20_000, record_every=20_000)
    agree = (adam.regime == "converged") == (ratio > 1)
    assert off.sum() >= 2300 and agree[off].mean() >= 0.99, agree[off].mean()
    assert set(adam.regime[off & (ratio < 1)]) <= {"spiking", "oscillating", "converged"}

    bowls = problem("quadratic", {"curvature": 1.0})
    lr = np.geomspace(0.02, 20, 2500)
    sgd = adamx.simulate("sgd", bowls, {"lr": lr}, 3000, record_every=3000)
    off = np.abs(lr / 2 - 1) > 0.02
    assert ((sgd.regime == "diverged") == (lr > 2))[off].all()


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_minibatches_is_no_spike(seed):
    """Healthy runs of every minibatch task as shipped, at its own best lr and below, for many steps."""
    grid = adamx.grid(lr=[1e-3, 3e-3], eps=[1e-8, 1e-4], seed=seed)
    for name in ("digits_softmax", "moons_logistic"):
        runs = adamx.simulate("adam", name, grid, 2000, record_every=500, dtype="float32")
        assert not (runs.regime == "spiking").any() and not (runs.figures["spikes"] > 0).any()


@pytest.mark.parametrize("name", ["rosenbrock", "beale"])
def test_float32_changes_a_regime_only_at_a_border(name):
    grid = adamx.grid(lr=np.geomspace(1e-3, 10, 24), eps=np.geomspace(1e-8, 1, 12))
    double, single = (
        adamx.simulate("adam", name, grid, 4000, 400, dtype=dtype).regime.reshape(24, 12)
        for dtype in ("float64", "float32")
    )
    border = np.zeros_like(double, bool)  # beside another regime
    for a, b in (np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1]):
        border[a] |= double[a] != double[b]
        border[b] |= double[a] != double[b]
    assert border.mean() < 0.5
    assert (double == single)[~border].all()


def test_a_cycle_of_two_steps_has_one_regime():
    runs = [adamx.simulate("signum", "quadratic", {"lr": 0.1, "momentum": 0.0}, steps) for steps in (500, 501)]
    assert [r.regime[0] for r in runs] == ["oscillating"] * 2


def test_what_stays_under_the_target_does_not_diverge_spike_or_pop():
    p = problem("quadratic", {"noise": 1e-4, "x0": [0.0, 0.0]})
    assert set(adamx.simulate("sgd", p, {"lr": 0.01, "seed": range(16)}, 300).regime) == {"converged"}
    bursts = [1e-9 if t % 50 else 9e-7 for t in range(1000)]
    assert regime([1.0, *bursts])[0] == "converged"


@pytest.mark.parametrize("coordinates", [1, 2])
def test_noise_at_a_floor_is_not_spiking(coordinates):
    p = problem("quadratic", {"curvature": 1.0, "noise": 0.1, "x0": [1.0] * coordinates})
    for name, lr in (("sgd", [0.1, 0.01]), ("adam", [0.01])):
        grid = adamx.grid(lr=lr, seed=range(16))
        assert set(adamx.simulate(name, p, grid, 6000, 6000).regime) == {"oscillating"}


@pytest.mark.parametrize("k", [3.0, 4.0, 6.0])
def test_oscillations_on_a_flat_minimum_neither_pop_nor_spike(k):
    grid = adamx.grid(lr=np.geomspace(1e-4, 0.1, 12), momentum=[0.9, 0.99, 0.999])
    ringing = adamx.simulate("momentum", problem("power", {"k": k}), grid, 20_000, 20_000)
    assert set(ringing.regime) <= {"converged", "oscillating", "slow"}
    assert not ringing.figures["spikes"].any() and not ringing.figures["popped"].any()


def test_a_minibatch_of_one_row_is_judged_by_the_loss_of_all_rows():
    """Their loss ends below 0.6 of its start for every seed."""
    runs = adamx.simulate("sgd", "diabetes_squares", {"lr": 0.01, "seed": range(64)}, 400, problem_args={"batch": 1})
    assert (runs.loss[-1] < 0.6 * runs.loss[0]).all()
    assert not {"diverged", "spiking"} & set(runs.regime)
    np.testing.assert_allclose(runs.figures["start"], runs.loss[0], rtol=1e-12)


FILE = """
from adamx.portable import portable
start = ({start},)
{more}

@portable
def value_and_grad(x, p{t}):
    return {value}, ({slope},)
"""


def made(folder, name="mine", **words):
    words = {"start": 1.0, "more": "", "t": "", **words}
    (folder / f"{name}.py").write_text(FILE.format(**words))
    return str(folder / f"{name}.py")


def test_without_a_known_minimum_the_tail_decides(tmp_path):
    bowl = made(tmp_path, "bowl", value="(x[0] - 3) ** 2 - 7", slope="2 * (x[0] - 3)")
    runs = adamx.simulate("sgd", bowl, {"lr": [1e-5, 0.1, 1.1]}, 1000)
    assert runs.regime.tolist() == ["slow", "converged", "diverged"]
    assert (runs.figures["reached_step"] == -1).all()
    downhill = made(tmp_path, "downhill", value="-x[0]", slope="-1 + 0 * x[0]")
    assert adamx.simulate("sgd", downhill, {"lr": [0.01, 1.0]}, 1000).regime.tolist() == ["unbounded"] * 2
    under = made(tmp_path, "under", value="-x[0]", slope="-1 + 0 * x[0]", more="minimum = 0.0")
    assert adamx.simulate("sgd", under, {"lr": 1.0}, 1000).regime.tolist() == ["unbounded"]
    goal = made(tmp_path, "goal", value="x[0] ** 2", slope="2 * x[0]", more="target = 1e-3")
    assert adamx.simulate("sgd", goal, {"lr": 0.1}, 100).regime.tolist() == ["converged"]


def test_an_online_problem_is_judged_by_its_objective(tmp_path):
    """f_t = 10 x^2 if t is a multiple of 5, else -x^2: the last component that came decides nothing."""
    words = {"t": ", t", "value": "(10 if t % 5 == 0 else -1) * x[0] ** 2"}
    words |= {"slope": "(20 if t % 5 == 0 else -2) * x[0]", "start": 0.5}
    alone = adamx.simulate("sgd", made(tmp_path, "alone", **words), {"lr": [0.01, 1e4]}, 400)
    assert alone.regime.tolist() == ["unjudged", "diverged"]
    said = "minimum = 0.0\n@portable\ndef objective(x, p):\n    return 6 * x[0] ** 2 / 5"
    path = made(tmp_path, "judged", **words, more=said)
    both = [adamx.simulate("sgd", path, {"lr": 0.01}, steps) for steps in (4000, 4001)]
    assert [r.regime[0] for r in both] == ["converged"] * 2
    np.testing.assert_allclose(both[0].loss[0], 6 / 5 * 0.25)
    assert problem(path).digest != problem(made(tmp_path, "alone", **words)).digest


def test_a_record_of_other_figures_keeps_its_regimes():
    figures = {"regime": np.array(["spiking", "slow"])}
    old = adamx.simulate("sgd", "quadratic", {"lr": [0.1, 0.2]}, 10)
    old = dataclasses.replace(old, figures=figures)
    assert old.regime.tolist() == ["spiking", "slow"]
    assert old.take(np.array([1])).regime.tolist() == ["slow"]
