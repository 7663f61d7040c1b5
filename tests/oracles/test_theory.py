"""Predictions of theory, against whole runs on both sides of every boundary."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest

import adamx
from adamx.analysis import theory
from adamx.analysis.scales import Scale
from adamx.optimizers import optimizers, rule
from adamx.problems import problem

QUADRATIC = {"curvature": 1.0, "noise": 1e-12}
NEAR = np.array([0.9, 0.97, 1.03, 1.1])  # of a threshold: below, below, above, above


def reach(optimizer, settings, hyper, steps=10_000):
    """The largest |x| over the last fifth of a run that starts at 1, in plain Python."""
    losses, _, _ = naive.landscape(optimizer, problem("quadratic", settings), hyper, steps)
    return math.sqrt(2 * max(losses[-steps // 5 :]) / np.max(settings["curvature"]))


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9, 0.99])
def test_adams_minimum_is_stable_above_the_eps_threshold(beta1):
    threshold = theory.eps_threshold(0.1, beta1, 4.0)
    assert threshold == pytest.approx(4 / theory.sharpness_limit(0.1, beta1))
    hyper = adamx.grid(lr=0.1, beta1=beta1, eps=threshold * NEAR)
    settings = {"curvature": 4.0, "noise": 1e-12}
    results = adamx.simulate("adam", "quadratic", hyper, steps=40_000, problem_args=settings)
    far = np.sqrt(results.loss[-8000:].max(axis=0) / 2)
    assert (far[:2] > 1e-5).all() and (far[2:] < 1e-9).all()


@pytest.mark.parametrize(
    ("optimizer", "settings", "hyper"),
    [
        ("adamw", QUADRATIC, {"lr": 0.2, "weight_decay": 1.5, "beta2": 0.99}),
        ("adam", {"curvature": (0.1, 3.0), "noise": 1e-12}, {"lr": 0.05, "bias_correction": False, "beta2": 0.99}),
        ("rmsprop", QUADRATIC, {"lr": 0.01, "momentum": 0.5}),
        ("rmsprop", QUADRATIC, {"lr": 0.01, "centered": True}),
    ],
)
def test_the_law_of_eps_holds_on_both_sides(optimizer, settings, hyper):
    law, *_ = theory.laws(optimizer, "quadratic", settings)
    bound = law.bound({"beta1": 0.9, "momentum": 0.0, "weight_decay": 0.0} | hyper)
    lost = [reach(optimizer, settings, hyper | {"eps": bound * side}) for side in (0.95, 1.05)]
    assert lost[0] > 1e-5 and lost[1] < 1e-9


@pytest.mark.parametrize(
    ("optimizer", "hyper"), [("sgd", {}), ("momentum", {"momentum": 0.8}), ("nesterov", {"momentum": 0.8})]
)
def test_the_law_of_lr_holds_on_both_sides(optimizer, hyper):
    settings = {"curvature": (1.0, 10.0)}
    law, *_ = theory.laws(optimizer, "quadratic", settings)
    limit = law.bound(hyper)
    assert reach(optimizer, settings, hyper | {"lr": 0.98 * limit}, 2000) < 1e-3
    assert reach(optimizer, settings, hyper | {"lr": 1.02 * limit}, 2000) > 1e3


def test_the_law_holds_wherever_the_curvature_is_known():
    """Rosenbrock: the Hessian at (1, 1) is ((802, -400), (-400, 200))."""
    sharpness = float(np.linalg.eigvalsh([[802.0, -400.0], [-400.0, 200.0]])[-1])
    assert theory.laws("adam", "rosenbrock", {}) == []
    law, *_ = theory.laws("adam", "rosenbrock", {}, sharpness)
    threshold = law.bound({"lr": 1e-3, "beta1": 0.9})
    hyper = adamx.grid(lr=1e-3, eps=threshold * NEAR)
    results = adamx.simulate("adam", "rosenbrock", hyper, steps=20_000, x0=(1.0, 1.0), problem_args={"noise": 1e-10})
    far = np.sqrt(2 * results.loss[-4000:].max(axis=0) / sharpness)
    assert (far[:2] > 1e-6).all() and (far[2:] < 1e-9).all()


@pytest.mark.parametrize("eps", [1e-8, 1e-3, 5e-3, 9e-3, 1.1e-2])
def test_rmsprop_is_left_in_the_two_cycle_of_theory(eps):
    far = reach("rmsprop", {"curvature": 2.0, "noise": 1e-12}, {"lr": 0.01, "beta2": 0.9, "eps": eps}, 4000)
    assert far == pytest.approx(theory.rmsprop_residual(0.01, eps, 2.0), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("beta2", [0.9, 0.99, 0.999])
def test_first_steps(beta2):
    for optimizer, beta1, hyper in (("rmsprop", 0.0, {}), ("adam", 0.7, {"beta1": 0.7, "bias_correction": False})):
        _, x, _ = naive.landscape(optimizer, problem("quadratic", QUADRATIC), {"lr": 1e-3, "beta2": beta2, **hyper}, 1)
        assert 1 - x[0] == pytest.approx(theory.first_step(1e-3, beta1, beta2), rel=1e-5)


def test_adam_without_eps_spikes_below_the_law_of_the_betas():
    """Far more often on its spiking side than on the other; the law is a fit, so a factor of 2 away from it."""
    beta1 = np.array([0.8, 0.9, 0.95])
    gamma = 1 - theory.spike_boundary(beta1)
    hyper = {"lr": 0.1, "eps": 1e-30, "beta1": np.tile(beta1, 2), "beta2": 1 - np.concatenate([gamma / 2, gamma * 2])}
    results = adamx.simulate(
        "adam",
        "quadratic",
        hyper,
        100_000,
        record_every=10_000,
        problem_args={"curvature": 1.0, "noise": 1e-40, "target": 1e-70},
    )
    spikes = results.figures["spikes"].reshape(2, 3)
    assert (spikes[0] > 500).all() and (spikes[0] > 30 * spikes[1]).all()


def test_adam_without_eps_on_a_power_law():
    """Stable, and as fast as said, below the boundary; held above a floor beyond it."""
    assert theory.power_boundary(0.93, 4.0) == pytest.approx(0.93)
    assert theory.power_boundary(0.93, 6.0) == pytest.approx(0.93**0.75)
    hyper = {"lr": 1e-3, "beta2": 0.93, "eps": 0.0}
    runs = [naive.landscape("adam", problem("power"), hyper | {"beta1": b}, 6000)[0] for b in (0.9, 0.92, 0.94, 0.99)]
    loss = np.transpose(runs)
    slope = (np.log(loss[6000]) - np.log(loss[3000])) / 3000
    np.testing.assert_allclose(slope[:2], theory.power_slope(0.93, 4.0), rtol=0.01)
    assert theory.power_slope(0.93, 4.0) == pytest.approx(-0.0726, abs=1e-4)
    late = loss[4000:].max(axis=0)
    assert late[1] < 1e-100 < late[2] < late[3]


@pytest.mark.parametrize("k", [3.0, 4.0, 6.0])
def test_both_borders_of_a_power_law(k):
    """(1 - beta2) / (1 - beta1) at which runs without eps settle, spike and oscillate: whole runs, in float64."""
    lower, upper, off = 2 * (k - 2) / k, 12 * (k - 2) / (3 * k - 4), 0.01
    assert theory.power_spikes(1 - off, k) == pytest.approx(1 - upper * off)
    assert theory.power_boundary(1 - lower * off, k) == pytest.approx(1 - off, abs=0.02 * off)
    sides = np.array([0.9 * lower, 1.1 * lower, 0.9 * upper, 1.2 * upper])
    # a spike counts at any height, from a factor of 10^0.5 in x on, as a factor of 10 in the loss of a quadratic is
    strict = {"spike_floor": 0.0, "spike_ratio": 10 ** (k / 2)}
    hyper = {"lr": 1e-3, "beta1": 1 - off, "beta2": 1 - sides * off, "eps": 0.0}
    runs = adamx.simulate("adam", "power", hyper, 60_000, 1000, problem_args={"k": k, "target": 1e-100}, regimes=strict)
    spikes = runs.figures["spikes"]
    assert spikes[0] == spikes[3] == 0 and (spikes[1:3] > 50).all()
    held = runs.loss[30:].max(axis=0)
    assert held[0] < 1e-60 < held[3], "below the lower border it converges, above the upper one it does not"


def test_what_is_said_of_a_power_law():
    """Where the old upper border, beta1 = beta2^0.75, lay, runs spike hundreds of times."""
    said = theory.prediction("adam", "power", {"k": 4.0}, {"beta1": 0.99, "beta2": 0.98, "eps": 0.0})
    assert "stable only for beta1 < 0.98 (= beta2), and beta1 is 0.99" in said
    assert "stable or spiking for ever only for beta2 > 0.97 (= 1 - 3 (1 - beta1)), and beta2 is 0.98" in said
    assert "spiking" not in theory.prediction("adam", "power", {"k": 4.0}, {"beta1": 0.9, "beta2": 0.8, "eps": 0.0})


LR = Scale("lr", np.geomspace(1e-4, 1, 49))
EPS = Scale("eps", np.concatenate([[0.0], np.geomspace(1e-10, 1, 40)]))
BETA1 = Scale("beta1", 1 - np.geomspace(1e-3, 0.5, 30)[::-1])
BETA2 = Scale("beta2", 1 - np.geomspace(1e-6, 0.5, 30)[::-1])
UNIT = np.linspace(0.02, 0.98, 50)


@pytest.mark.parametrize(("x", "y"), [(LR, EPS), (EPS, LR), (BETA1, EPS), (LR, BETA1), (BETA1, LR)])
def test_a_line_lies_on_its_law_inside_the_map(x, y):
    fixed = {"lr": 0.1, "eps": 1e-3, "beta1": 0.9}
    line = theory.lines("adam", "quadratic", QUADRATIC, x, y, fixed)[0]
    assert line.label == "stable for eps > lr curvature (1 - beta1) / (2 (1 + beta1))"
    h = fixed | {x.name: line.x, y.name: line.y}
    np.testing.assert_allclose(h["eps"], theory.eps_threshold(h["lr"], h["beta1"], 1.0), rtol=2e-3)
    assert len(line.x) > 50
    for axis, values in ((x, line.x), (y, line.y)):
        inside = axis.values[axis.values > 0]
        assert inside[0] * (1 - 1e-9) <= values.min() and values.max() <= inside[-1] * (1 + 1e-9)


def test_a_line_stands_upright_where_only_one_axis_counts():
    line, *_ = theory.lines("rmsprop", "quadratic", QUADRATIC, LR, BETA2, {"eps": 1e-3})
    np.testing.assert_allclose(line.x, 2e-3, rtol=2e-3)
    assert (line.y.min(), line.y.max()) == pytest.approx((0.5, 1 - 1e-6))


def test_the_lines_of_the_betas():
    (line,) = theory.lines("adam", "quadratic", QUADRATIC, BETA1, BETA2, {"lr": 0.1, "eps": 1e-30})
    assert "2609.18314" in line.source and line.x.min() >= theory.SPIKE_BETA1
    np.testing.assert_allclose(1 - line.y, 15.6 * (1 - line.x) ** 3.07, rtol=1e-2)
    x, y = Scale("beta2", UNIT), Scale("beta1", UNIT)
    stable, *_ = theory.lines("adam", "power", {"k": 4.0}, x, y, {"lr": 1e-3, "eps": 0.0})
    np.testing.assert_allclose(stable.y, stable.x, rtol=1e-6)
    close = Scale("beta1", 1 - np.geomspace(1e-3, 0.1, 30)[::-1])
    stable, spikes = theory.lines("adam", "power", {"k": 4.0}, close, BETA2, {"lr": 1e-3, "eps": 0.0})
    np.testing.assert_allclose(1 - spikes.y, 3 * (1 - spikes.x), rtol=1e-2)
    assert "2609.18314" in spikes.source and spikes.x.min() >= theory.POWER_BETA1, "only where it holds"


@pytest.mark.parametrize(
    ("optimizer", "name", "settings", "fixed"),
    [
        ("amsgrad", "quadratic", QUADRATIC, {}),  # v never forgets
        ("adam", "quadratic", QUADRATIC | {"noise": 0.1}, {}),  # noise stands in for eps
        ("adam", "quadratic", {"curvature": (1.0, -1.0)}, {}),  # no minimum
        ("adam", "quadratic", QUADRATIC, {"eps_root": 1e-8}),
        ("adam", "power", {"k": 4.0}, {"eps": 1e-8}),  # no curvature: always stable
        ("adam", "digits_mlp", {"hidden": (32,)}, {}),
    ],
)
def test_nothing_is_said_where_nothing_is_known(optimizer, name, settings, fixed):
    assert theory.lines(optimizer, name, settings, BETA1, BETA2, {"lr": 0.1, "eps": 1e-2, **fixed}) == []
    assert theory.prediction(optimizer, name, settings, fixed) is None


def test_large_eps_has_no_law_of_spikes():
    lines = theory.lines("adam", "quadratic", QUADRATIC, BETA1, BETA2, {"lr": 0.1, "eps": 1e-3})
    assert [line.label.split()[0] for line in lines] == ["stable"]


def test_optimizers_with_a_bound_and_no_others_have_a_prediction():
    said = {o for o in optimizers() if theory.prediction(o, "quadratic", {"curvature": (1.0, 100.0)}, {"lr": 1e-3})}
    assert said == {o for o in optimizers() if rule(o).stable} >= {"adam", "rmsprop", "sgd"}


@pytest.mark.parametrize("name", [o for o in optimizers() if rule(o).stable])
def test_a_bound_is_where_alternating_steps_begin_to_grow(name):
    """Once v is 0, the rate times the momentum's size times the curvature is 2 there."""
    r = rule(name)
    h = {**r.defaults, "lr": 0.3, "weight_decay": 0.0} if "weight_decay" in r.defaults else {**r.defaults, "lr": 0.3}
    h[r.stable.name] = r.stable.bound(h, 7.0)
    h = r.Hyper(**h)
    clock, now = r.per_step(1e9, r.initial_clock(h), h)
    _, rate = r.preconditioner(
        0.0, 0.0, r.initial_state(h), clock._replace(**dict.fromkeys(clock._fields, 0.0)), h, now
    )
    assert rate * r.alternating(clock, h, now) * 7.0 == pytest.approx(2)
    assert theory.prediction("momentum", "quadratic", QUADRATIC, {"ema": True}) is None


def test_a_prediction_is_a_sentence():
    assert theory.prediction("adam", "quadratic", QUADRATIC, {"lr": 0.1, "beta1": 0.99, "beta2": 0.9}) == (
        "theory: near the minimum a run is stable only for eps > 0.000251 (= lr curvature (1 - beta1) / "
        "(2 (1 + beta1))), and eps is 1e-08; spiking for ever only for beta2 > 0.999989 (= 1 - 15.6 "
        "(1 - beta1)^3.07), and beta2 is 0.9"
    )
    assert theory.prediction("sgd", "quadratic", {"curvature": 100.0}, {"lr": 0.1}) == (
        "theory: near the minimum a run is stable only for lr < 0.02 (= 2 / curvature), and lr is 0.1"
    )
