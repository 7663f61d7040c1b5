"""Properties that hold for every rule whatever the gradients, and the laws of some."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rules import follow

from adamx.optimizers import optimizers, rule
from adamx.portable import specialise

ALL = optimizers()
START = np.array([1.5, -0.25, 3.0])
STREAMS = arrays(np.float64, (25, 3), elements=st.just(0.0) | st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3))
few = settings(max_examples=15, deadline=None)


@pytest.mark.parametrize("name", ALL)
@given(g=STREAMS)
@few
def test_finite_gradients_give_finite_points(name, g):
    assert np.isfinite(follow(name, {}, g, START)).all()


@pytest.mark.parametrize("name", ALL)
@given(g=STREAMS, order=st.permutations(range(3)))
@few
def test_the_order_of_coordinates_does_not_matter(name, g, order):
    straight, permuted = follow(name, {}, g, START)[:, order], follow(name, {}, g[:, order], START[order])
    if rule(name).pool:  # a sum in another order
        np.testing.assert_allclose(permuted, straight, rtol=1e-11, atol=1e-13)
    else:
        np.testing.assert_array_equal(permuted, straight)


@pytest.mark.parametrize("name", ALL)
@given(g=STREAMS)
@few
def test_a_coordinate_does_not_see_the_others_unless_pooled(name, g):
    if not rule(name).pool:
        np.testing.assert_array_equal(follow(name, {}, g[:, :1], START[:1]), follow(name, {}, g, START)[:, :1])


NO_EPS = {"eps": 0.0, "eps_root": 0.0}
SCALE_FREE = {
    "adam": NO_EPS, "adamw": NO_EPS, "amsgrad": NO_EPS, "nadam": NO_EPS, "nadamw": NO_EPS, "rmsprop": {"eps": 0.0},
    "adam_atan2": {}, "lion": {}, "signum": {}, "rprop": {}, "adamax": {"eps": 0.0}, "laprop": {"eps": 0.0},
}  # fmt: skip


@pytest.mark.parametrize("name", SCALE_FREE)
@given(g=STREAMS, power=st.integers(-30, 30))
@few
def test_without_eps_the_scale_of_gradients_does_not_matter(name, g, power):
    g = np.where(g == 0, 1.0, g)  # 0/0 else
    once, scaled = (follow(name, SCALE_FREE[name], g * scale, START) for scale in (1.0, 2.0**power))
    np.testing.assert_array_equal(scaled, once)


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov"])
@given(g=STREAMS)
@few
def test_moves_of_descent_scale_with_the_gradients(name, g):
    zero = np.zeros(3)
    np.testing.assert_array_equal(follow(name, {}, 4 * g, zero), 4 * follow(name, {}, g, zero))


@given(g=STREAMS, beta1=st.floats(0, 0.99), beta2=st.floats(0.1, 0.999))
@settings(max_examples=60, deadline=None)
def test_the_largest_step_of_adam(g, beta1, beta2):
    """Cauchy and Schwarz on m = sum a_i g_i, v = sum b_i g_i^2: |m_hat| / sqrt(v_hat) <= sqrt(sum a_i^2 / b_i)."""
    hyper = {"lr": 1.0, "beta1": beta1, "beta2": beta2, "eps": 1e-300}
    moves = np.abs(np.diff(follow("adam", hyper, g, np.zeros(3)), axis=0, prepend=0.0))
    for t in range(1, len(g) + 1):
        i = np.arange(t)
        a = (1 - beta1) * beta1**i / (1 - beta1**t)
        b = (1 - beta2) * beta2**i / (1 - beta2**t)
        assert (moves[t - 1] <= np.sqrt(np.sum(a**2 / b)) * (1 + 1e-9) + 1e-12).all()


@pytest.mark.parametrize(("name", "largest"), [("lion", 1.0), ("signum", 1.0), ("rprop", 50.0)])
@given(g=STREAMS)
@few
def test_the_largest_step_of_sign_rules(name, largest, g):
    hyper = {"lr": 1.0, **({"weight_decay": 0.0} if name == "lion" else {})}
    moves = np.abs(np.diff(follow(name, hyper, g, np.zeros(3)), axis=0, prepend=0.0))
    assert (moves <= largest * (1 + 1e-12)).all()


@pytest.mark.parametrize("name", ALL)
def test_float32_tracks_float64(name):
    """The rule with its numbers in float32, in NumPy scalars, on a healthy stream."""
    g = 1 + 0.5 * np.random.default_rng(1).standard_normal((60, 3))
    double = follow(name, {}, g, START)
    r = rule(name)
    typed = {key: specialise(getattr(r, key), "float32") for key in ("update", "per_step")}
    if r.pool:
        typed["pool"] = specialise(r.pool, "float32")
    single = dataclasses.replace(r, **typed)
    moves = np.abs(double - START).max()
    np.testing.assert_allclose(follow(single, {}, g.astype(np.float32), START), double, atol=2e-3 * moves)
