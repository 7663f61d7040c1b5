"""Contract of every rule in the folder, and the rules against PyTorch, optax and the papers' formulas."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import papers
import peers
import pytest
from rules import (
    agrees_with_recorded_peer,
    agrees_with_the_paper,
    assert_follows,
    follow,
    is_symmetric_in_sign,
    stays_without_a_gradient,
)

from adamx import optimizers as optimizer
from adamx.optimizers import InputError, adam, check, optimizers, rule

ALL = optimizers()
FIELDS_WITH_MORE_TO_DO = {
    "spam": {"interval": 40.0, "warmup": 10.0},
    "ademamix": {"alpha_warmup": 90.0, "beta3_warmup": 60.0},
}  # than in 200 steps with the defaults


@pytest.mark.parametrize("case", peers.CASES)
def test_agrees_with_recorded_peer(case):
    agrees_with_recorded_peer(rule(peers.CASES[case][0]), case)


@pytest.mark.parametrize(
    ("old", "new"), [("(1 - h.beta1) * g", "(1.0001 - h.beta1) * g"), ("h.beta2 * v", "h.beta1 * v")]
)
def test_a_wrong_coefficient_is_seen(tmp_path, old, new):
    text = Path(adam.__file__).read_text()
    assert text.count(old) == 1
    (tmp_path / "adam.py").write_text(text.replace(old, new))
    wrong = rule(str(tmp_path / "adam.py"))
    agrees_with_recorded_peer(rule("adam"), "adam")
    with pytest.raises(AssertionError):
        agrees_with_recorded_peer(wrong, "adam")
    assert wrong.defaults == rule("adam").defaults


def test_recorded_figures_are_still_the_peers():
    """The libraries themselves, where they are installed."""
    if not any(map(peers.installed, peers.CASES)):
        pytest.skip("neither torch nor optax is installed: the recorded figures stand")
    done = subprocess.run([sys.executable, peers.__file__, "--print"], capture_output=True, text=True, check=True)
    for case, points in json.loads(done.stdout).items():
        np.testing.assert_allclose(points, peers.recorded()[case], rtol=1e-12, atol=0, err_msg=case)


def test_every_rule_has_an_oracle():
    assert {c[0] for c in peers.CASES.values()} | set(papers.CASES) == set(ALL)


@pytest.mark.parametrize(("name", "hyper"), [(name, hyper) for name, all_ in papers.CASES.items() for hyper in all_])
def test_agrees_with_the_paper(name, hyper):
    agrees_with_the_paper(rule(name), hyper)


def test_adam_without_correction_is_the_plain_formula():
    g, x, m, v = peers.gradients(), peers.start(), 0.0, 0.0
    lr, beta1, beta2, eps = 0.01, 0.9, 0.99, 1e-4
    expected = []
    for row in g:
        m, v = beta1 * m + (1 - beta1) * row, beta2 * v + (1 - beta2) * row**2
        x = x - lr * m / (np.sqrt(v) + eps)
        expected.append(x)
    hyper = dict(lr=lr, beta1=beta1, beta2=beta2, eps=eps, bias_correction=False)
    assert_follows("adam", hyper, np.array(expected)[peers.KEEP])


def test_momentum_remembers_gradients_geometrically():
    """Claim 3: at beta = 1/2 from zero, m_3 = g_1/8 + g_2/4 + g_3/2; bias correction makes a constant g exact."""
    x = follow("momentum", dict(lr=1.0, momentum=0.5, ema=True), [[8.0], [4.0], [2.0]], [0.0])
    assert (-np.diff(x[:, 0], prepend=0)).tolist() == [4.0, 4.0, 3.0]
    x = follow("adam", dict(lr=1.0, beta1=0.5, beta2=0.0, eps=0.0), [[3.0]] * 5, [0.0])
    assert np.diff(x[:, 0], prepend=0) == pytest.approx([-1.0] * 5, rel=1e-15)


@pytest.mark.parametrize("beta2", [0.9, 0.99, 0.999])
def test_rmsprop_first_step_is_uncorrected(beta2):
    x = follow("rmsprop", dict(lr=0.01, beta2=beta2, eps=0.0), [[5.0]], [0.0])
    assert -x[0, 0] == pytest.approx(0.01 / math.sqrt(1 - beta2), rel=1e-12)


def test_adam_with_a_large_eps_is_momentum():
    """Claim 10 (Choi et al. 2019, arXiv 1910.05446): with lr = gamma eps and eps large, x_t = x_{t-1} - gamma m_hat.

    What is left is sqrt(v_hat) / eps: 1 / eps for gradients of unit size. (The claim's 1.2e-2, 1.3e-3, 1.3e-4 at
    eps = 1e2, 1e3, 1e4 are those of gradients of size 1.3.)
    """
    gamma, beta1 = 0.01, 0.9
    for size in (1.0, 1.3):
        g, m, x, limit = np.random.default_rng(0).normal(0, size, (500, 20)), 0.0, np.zeros(20), []
        for t, row in enumerate(g, 1):
            m = beta1 * m + (1 - beta1) * row
            x = x - gamma * m / (1 - beta1**t)
            limit.append(x)
        for eps in (1e2, 1e3, 1e4):
            points = follow("adam", dict(lr=gamma * eps, beta1=beta1, eps=eps), g, np.zeros(20))
            deviation = np.linalg.norm(points - limit) / np.linalg.norm(limit)
            assert deviation == pytest.approx(size / (eps + size), rel=0.05)


@pytest.mark.parametrize(("beta2", "eps"), [(0.999, 1e-8), (0.9, 1e-3), (0.5, 1.0), (0.0, 1e-4)])
def test_eadam_is_adam_with_eps_inside_the_root(beta2, eps):
    """Claim 11: eps_root = eps / (1 - beta2), at every step of every stream."""
    inside = dict(beta2=beta2, eps=0.0, eps_root=eps / (1 - beta2))
    expected = follow("adam", inside, peers.gradients(), peers.start())[peers.KEEP]
    assert_follows("eadam", dict(beta2=beta2, eps=eps), expected)


def test_keras_eps_hat_grows_with_the_bias_correction():
    """Claim 11: TensorFlow and Keras add eps_hat to the uncorrected root: eps = eps_hat / sqrt(1 - beta2^t)."""
    g, (lr, beta1, beta2, eps) = np.random.default_rng(0).standard_normal((100, 5)), (0.01, 0.9, 0.99, 0.1)
    points = follow("adam", dict(lr=lr, beta1=beta1, beta2=beta2, eps=eps), g, np.zeros(5))
    m, v, x = np.zeros(5), np.zeros(5), np.zeros(5)
    for t, row in enumerate(g, 1):
        m, v = beta1 * m + (1 - beta1) * row, beta2 * v + (1 - beta2) * row**2
        eps_hat, rate = eps * math.sqrt(1 - beta2**t), lr * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        x = x - rate * m / (np.sqrt(v) + eps_hat)
        np.testing.assert_allclose(points[t - 1], x, rtol=1e-12)


RELATIVES = {
    "lion with equal betas is signum": (
        ("lion", dict(lr=0.01, beta1=0.9, beta2=0.9)), ("signum", dict(lr=0.01, momentum=0.9)),
    ),
    "qhadam with nu = 1 is adam (Ma & Yarats 2018)": (
        ("qhadam", dict(beta1=0.9, nu1=1.0, nu2=1.0)), ("adam", {}),
    ),
    "laprop without momentum is adam without momentum (Ziyin et al. 2020)": (
        ("laprop", dict(lr=0.01, beta1=0.0, eps=1e-5)), ("adam", dict(lr=0.01, beta1=0.0, eps=1e-5)),
    ),
    "ademamix with alpha = 0 is adamw (Pagliardini et al. 2024)": (
        ("ademamix", dict(alpha=0.0, weight_decay=0.1)), ("adamw", dict(weight_decay=0.1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("relation", RELATIVES)
def test_rules_meet_where_their_papers_say(relation):
    left, (name, hyper) = RELATIVES[relation]
    assert_follows(*left, follow(name, hyper, peers.gradients(), peers.start())[peers.KEEP])


def test_adopt_converges_where_adam_does_not():
    """Taniguchi et al. 2024 on the problem of Reddi et al.: gradients 3, -1, -1 in turn, which Adam here ascends."""
    g = np.where(np.arange(3000) % 3 == 0, 3.0, -1.0)[:, None]
    settings = dict(lr=0.01, beta1=0.0, beta2=0.1)
    assert follow("adam", settings, g, [0.0])[-1] > 1 > -1 > follow("adopt", settings, g, [0.0])[-1]


def test_padam_reaches_from_momentum_to_amsgrad():
    """Chen et al. 2018: p = 0 is momentum, p = 1/2 is AMSGrad."""
    g, x = peers.gradients(), peers.start()
    same = dict(lr=0.01, beta2=0.9, eps=1e-4)
    np.testing.assert_allclose(follow("padam", {**same, "p": 0.5}, g, x), follow("amsgrad", same, g, x), rtol=1e-13)
    none = follow("padam", {**same, "p": 0.0, "bias_correction": False}, g, x)
    np.testing.assert_allclose(none, follow("momentum", dict(lr=0.01, ema=True), g, x), rtol=1e-13)


def test_adam_atan2_is_scale_free_bounded_and_adam_in_the_limit():
    """Everett et al. 2024: no eps, so the scale of the gradient is gone, to the last bit; Adam where atan2(y) ~ y."""
    g, x = peers.gradients()[:, :1], [0.0]
    points = follow("adam_atan2", {}, g, x)
    np.testing.assert_array_equal(points, follow("adam_atan2", {}, g * 2.0**-400, x))
    assert np.abs(np.diff(points[:, 0])).max() <= 0.001 * 1.27 * math.pi / 2
    limit = follow("adam_atan2", dict(a=1e6, b=1e6), g, x)
    np.testing.assert_allclose(limit, follow("adam", dict(eps=0.0), g, x), rtol=1e-9)


@pytest.mark.parametrize("name", ALL)
class TestContract:
    def test_is_short_and_cites_its_source(self, name):
        r = rule(name)
        assert any(year in r.doc for year in map(str, range(1950, 2030))), "a rule cites its source"
        assert "x_t" in r.doc, "a rule states its equation"

    def test_every_field_matters(self, name):
        r = rule(name)
        own = FIELDS_WITH_MORE_TO_DO.get(name, {})
        base = follow(name, own, peers.gradients(), peers.start())
        for field, default in r.defaults.items():
            value = own.get(field, default)
            other = (not value) if isinstance(default, bool) else (value * 0.5 or 0.25)
            with np.errstate(all="ignore"):
                changed = follow(name, {**own, field: other}, peers.gradients(), peers.start())
            assert not np.array_equal(base, changed), f"{field} does nothing"

    def test_no_gradient_no_move(self, name):
        stays_without_a_gradient(rule(name))

    def test_sign_symmetry(self, name):
        is_symmetric_in_sign(rule(name))

    def test_defaults_are_in_range(self, name):
        check(rule(name), rule(name).defaults)


def test_wrong_values_are_named():
    adam = rule("adam")
    for hyper, words in [
        ({"betta1": 0.9}, "unknown hyperparameter of adam 'betta1': did you mean 'beta1'?"),
        ({"beta1": 1.0}, "adam.beta1 is 1: 0 <= beta1 < 1"),
        ({"beta2": -0.1}, "adam.beta2 is -0.1"),
        ({"lr": 0.0}, "lr > 0"),
        ({"lr": math.nan}, "lr > 0"),
        ({"lr": math.inf}, "lr > 0"),
        ({"lr": "fast"}, "not a number"),
        ({"eps": [1e-8, -1.0]}, "adam.eps is -1: eps >= 0"),
        ({"bias_correction": 0.5}, "true or false"),
        ({"lr": [0.1, 0.2], "eps": [1, 2, 3]}, "different lengths"),
        ({"lr": [[0.1]]}, "1-d"),
        ({"lr": []}, "1-d"),
    ]:
        with pytest.raises(InputError) as error:
            check(adam, hyper)
        assert words in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(InputError, match="did you mean 'adam'"):
        rule("adm")


def test_columns_have_one_length():
    columns = check(rule("adam"), {"lr": [0.1, 0.2], "eps": 1e-3})
    assert {len(v) for v in columns.values()} == {2}
    assert columns["beta1"].tolist() == [0.9, 0.9]
    assert optimizer.PACKAGE == "adamx.optimizers"


def test_places_of_epsilon_agree_where_they_must():
    """Without the others, eps is Adam's, eps_root optax's, and eps_added EAdam's."""
    g, x = peers.gradients(), peers.start()
    none = {"eps": 0.0, "eps_root": 0.0, "eps_hat": 0.0, "eps_added": 0.0, "eps_floor": 0.0}
    for field, name, other in [
        ("eps", "adam", {"eps": 1e-3}),
        ("eps_root", "adam", {"eps": 0.0, "eps_root": 1e-3}),
        ("eps_added", "eadam", {"eps": 1e-3}),
    ]:
        places = follow("adam_eps", {**none, field: 1e-3}, g, x)
        np.testing.assert_allclose(places, follow(name, other, g, x), rtol=1e-12, atol=1e-14)
    with pytest.raises(ZeroDivisionError):
        follow("adam_eps", none, [[0.0]], [1.0])
