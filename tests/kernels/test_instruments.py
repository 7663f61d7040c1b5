"""Instruments against NumPy: what they show of a run is what the run did, and looking changes nothing."""

import importlib
import math

import naive
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from networks import loss_in_torch

import adamx
from adamx import instruments
from adamx.engine.cpu import backend, landscape, task
from adamx.engine.kernels.landscape import kind_of
from adamx.engine.kernels.sharpness import largest_eigenvalue, largest_of_three_diagonals
from adamx.engine.kernels.task import kind_of as kind_of_task
from adamx.engine.tensorized import library, tensorized
from adamx.inputs.errors import InputError
from adamx.instruments import quantile
from adamx.models.mlp import Mlp
from adamx.optimizers import optimizers, rule
from adamx.problems import Task, problem, problems
from adamx.sweep import command

EVERY = tuple(instruments.INSTRUMENTS)
OF_TASKS = tuple(name for name in EVERY if instruments.LANDSCAPE not in instruments.INSTRUMENTS[name].needs)
LANDSCAPES = [n for n in problems() if not hasattr(importlib.import_module(f"adamx.problems.{n}"), "build")]
HYPER = {"lr": 0.05, "beta1": 0.8, "beta2": 0.95, "eps": 1.0}


@pytest.fixture
def interpreted(monkeypatch):
    """The kernels of the CPU as plain Python: nothing is compiled."""

    def kernel_for(p, chunk):
        if isinstance(p, Task):
            layout, kernel = task.kernel_for.__wrapped__(kind_of_task(p, chunk))
        else:
            layout, kernel = landscape.kernel_for.__wrapped__(kind_of(p, chunk))
        return layout, kernel.py_func

    monkeypatch.setattr(landscape, "LANES", 2)
    monkeypatch.setattr(backend, "kernel", kernel_for)


def columns(p):
    return [p.Params(*map(float, p.params[:, j])) for j in range(p.params.shape[1])]


def slopes(p, x):
    """The gradient of a landscape at x."""
    each = columns(p)
    if not p.separable:
        return np.array(p.function(tuple(x), each[0])[1])
    return np.array([p.function(xi, each[i % len(each)])[1] for i, xi in enumerate(x)])


def hessian(p, x):
    """By torch's automatic differentiation of the gradient."""
    torch = pytest.importorskip("torch")
    fn, each = tensorized(p.function, library("torch", "float64")), columns(p)

    def gradient(x):
        if not p.separable:
            return torch.stack(fn(tuple(x), each[0])[1])
        return torch.stack([fn(xi, each[i % len(each)])[1] for i, xi in enumerate(x)])

    return torch.func.jacrev(gradient)(torch.tensor(np.asarray(x, float))).numpy()


@pytest.fixture(scope="module")
def watched():
    """A run of Adam on Rosenbrock's valley with everything recorded at every step."""
    return adamx.simulate("adam", "rosenbrock", HYPER, 60, instruments=EVERY)


def test_the_path_is_the_runs(watched):
    losses, end, _ = naive.landscape("adam", problem("rosenbrock"), HYPER, 60)
    path = np.array([watched.curves["x0"][:, 0], watched.curves["x1"][:, 0]]).T
    assert np.array_equal(path[-1], end)
    p = problem("rosenbrock")
    assert np.array_equal([p.function(tuple(x), p.Params())[0] for x in path.tolist()], losses)


def test_each_curve_says_of_the_path_what_it_claims(watched):
    p, lr = problem("rosenbrock"), HYPER["lr"]
    path = np.array([watched.curves["x0"][:, 0], watched.curves["x1"][:, 0]]).T
    g = np.array([slopes(p, x) for x in path])
    v = np.zeros(2)
    v_hat = []
    for t, gt in enumerate(g, 1):
        v = HYPER["beta2"] * v + (1 - HYPER["beta2"]) * gt * gt
        v_hat.append(v / (1 - HYPER["beta2"] ** t))
    root = np.sqrt(v_hat)
    rate = lr / (root + HYPER["eps"])
    move = np.diff(path, axis=0)
    limit = (2 + 2 * 0.8) / (0.2 * lr)
    sharpness = []
    for x, r in zip(path, rate, strict=True):
        scale = np.sqrt(r / lr)
        sharpness.append(np.linalg.eigvalsh(scale[:, None] * hessian(p, x) * scale)[-1])
    expected = {
        "grad_norm": np.linalg.norm(g, axis=1),
        "update_rms": np.sqrt((move**2).mean(axis=1)),
        "largest_step": np.abs(move).max(axis=1) / lr,
        "below_eps": (root < HYPER["eps"]).mean(axis=1),
        "effective_lr_10": rate.min(axis=1),
        "effective_lr_50": rate.min(axis=1),
        "effective_lr_90": rate.max(axis=1),
        "lag": np.sqrt((g * g / np.maximum(root**2, HYPER["eps"] ** 2)).mean(axis=1)),
        "distance": np.linalg.norm(path - [1, 1], axis=1),
        "sharpness": np.array(sharpness),
        "sharpness_limit": np.full(61, limit),
    }
    assert {"x0", "x1", *expected} == set(watched.curves)
    for name, curve in expected.items():
        assert np.allclose(watched.curves[name][: len(curve), 0], curve, rtol=1e-9), name
    over = np.array(sharpness)[:-1] >= limit
    ups = 1 + np.flatnonzero(over[1:] & ~over[:-1])
    assert watched.figures["crossings"][0] == len(ups)
    assert watched.figures["late_crossings"][0] == (ups >= 30).sum()
    assert watched.figures["first_crossing_step"][0] == (ups[0] if len(ups) else -1)


def test_crossings_come_at_the_steps_that_the_literature_has():
    """Claim 8: Bai et al. 2025, arXiv 2506.04805."""
    grid = adamx.grid(lr=[0.01, 0.05, 0.1, 0.15, 0.3], beta2=0.99)
    r = adamx.simulate("adam", "quadratic", grid, 2000, 2000, problem_args={"curvature": 1}, instruments="crossings")
    assert r.figures["first_crossing_step"].tolist() == [1578, 1072, 887, 789, 637]
    assert (r.figures["late_crossings"] >= 1).all()
    assert (r.table["first_crossing_step"] == r.figures["first_crossing_step"]).all()


def test_looking_changes_nothing(watched):
    blind = adamx.simulate("adam", "rosenbrock", HYPER, 60)
    assert np.array_equal(watched.loss, blind.loss) and np.array_equal(watched.x, blind.x)
    assert all(np.array_equal(watched.figures[name], blind.figures[name]) for name in blind.figures)
    assert not blind.curves


@pytest.fixture(scope="module")
def least_squares():
    return problem("diabetes_squares", {"batch": 16})


def test_tasks(least_squares):
    """The sharpness is of all rows, whatever the batch; the last record's step is looked at and not made."""
    grid = {"lr": [0.01, 0.1], "eps": 1e-3}
    seen = adamx.simulate("adam", least_squares, grid, 40, 10, instruments=OF_TASKS)
    blind = adamx.simulate("adam", least_squares, grid, 40, 10)
    assert np.array_equal(seen.loss, blind.loss) and np.array_equal(seen.x, blind.x)
    inputs = np.column_stack([least_squares.x, np.ones(len(least_squares.x))])
    curvature = inputs.T @ inputs / len(inputs)
    one = adamx.simulate("adam", least_squares, {**grid, "eps": 1e8}, 10, 10, instruments=OF_TASKS)
    for run in range(2):  # with this eps every coordinate has the same rate
        rate = one.curves["effective_lr_50"][-1, run]
        expected = np.linalg.eigvalsh(curvature)[-1] * rate / grid["lr"][run]
        assert one.curves["sharpness"][-1, run] == pytest.approx(expected, rel=1e-9)
    assert np.allclose(seen.curves["largest_step"][0], 1, rtol=1e-2)
    assert ((seen.curves["below_eps"] >= 0) & (seen.curves["below_eps"] <= 1)).all()
    assert (seen.curves["effective_lr_10"] <= seen.curves["effective_lr_90"]).all()


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.floats(1e-3, 1e3))
def test_largest_eigenvalue_and_residual_of_a_matrix_of_three_diagonals(numbers, last):
    n = (len(numbers) + 1) // 2
    a, b = np.array(numbers[:n]), np.append(np.abs(numbers[n : 2 * n - 1]) + 1e-3, last)
    m = np.diag(a) + np.diag(b[:-1], 1) + np.diag(b[:-1], -1)
    values, vectors = np.linalg.eigh(m)
    value, residual, size = largest_of_three_diagonals(a, b, n)
    assert value == pytest.approx(values[-1], rel=1e-12, abs=1e-12 * size)
    if n == 1 or values[-1] - values[-2] > 1e-3 * size:  # else the eigenvector is any
        exact = last * abs(vectors[-1, -1])
        assert residual >= exact * (1 - 1e-6) - 1e-9 * (size + last)  # small ones may look larger: rounding of pivots
        if abs(vectors[-1, -1]) > 0.01:
            assert residual == pytest.approx(exact, rel=1e-6)
    assert np.abs(values).max() <= size * (1 + 1e-12)


TASKS = [n for n in problems() if n not in LANDSCAPES and n != "dataset"]


DEEP = [
    ("moons_logistic", {"hidden": [16, 16]}),
    ("diabetes_squares", {"hidden": [16, 16]}),
    ("moons_logistic", {"hidden": [16, 16], "activation": "gelu", "norm": "layer"}),
    ("diabetes_squares", {"hidden": [16], "activation": "tanh"}),
]


@pytest.mark.parametrize(("name", "args"), [(n, {"hidden": [8]} if n == "digits_mlp" else {}) for n in TASKS] + DEEP)
def test_the_sharpness_of_every_task_is_that_of_its_hessian(name, args):
    """ReLU and its kinks, saddles and minima: the largest eigenvalue of the dense Hessian, as torch has it."""
    torch = pytest.importorskip("torch")
    p = problem(name, args)
    for steps, seed in ((1, 0), (60, 1)):
        lr = 0.01 if p.loss == "squares" else 0.1
        seen = adamx.simulate("sgd", p, {"lr": lr, "seed": seed}, steps, instruments=["sharpness"])
        end = torch.tensor(seen.x[0])  # torch.func's jacrev of itself is not symmetric where there is a layer_norm
        dense = torch.autograd.functional.hessian(lambda x: loss_in_torch(p, x), end).numpy()
        assert seen.curves["sharpness"][-1, 0] == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=1e-6)
        rarely = adamx.simulate("sgd", p, {"lr": lr, "seed": seed}, steps, 1000, instruments=["sharpness"])
        assert rarely.curves["sharpness"][-1, 0] == seen.curves["sharpness"][-1, 0]


@pytest.mark.parametrize("name", LANDSCAPES)
def test_the_sharpness_of_every_landscape_is_that_of_its_hessian(name, interpreted):
    p = problem(name)
    for x0 in np.random.default_rng(1).normal(size=(5, p.dim)).tolist():
        p = problem(name, {"x0": x0})
        seen = adamx.simulate("sgd", p, {"lr": 1e-3}, 5, instruments=["sharpness", "path"])
        path = np.stack([seen.curves[f"x{i}"][:, 0] for i in range(p.dim)], axis=1)
        for sharpness, x in zip(seen.curves["sharpness"][:, 0], path, strict=True):
            exact = np.linalg.eigvalsh(hessian(p, x))
            assert sharpness == pytest.approx(exact[-1], rel=1e-8, abs=1e-12 * np.abs(exact).max())


@pytest.mark.parametrize("name", LANDSCAPES)
def test_minimizers_are_minima(name):
    p = problem(name)
    for x in p.minimizers:
        assert np.allclose(slopes(p, x), 0, atol=1e-11)
        assert (np.linalg.eigvalsh(hessian(p, x)) > -1e-9).all()


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=36))
def test_largest_eigenvalue(numbers):
    n = math.isqrt(len(numbers))
    m = np.reshape(numbers[: n * n], (n, n))
    m = m + m.T
    assert largest_eigenvalue(m.copy()) == pytest.approx(
        np.linalg.eigvalsh(m)[-1], rel=1e-9, abs=1e-9 * np.abs(m).max()
    )


@given(st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=60), st.sampled_from([0.1, 0.5, 0.9]))
@example([*[1.0] * 8, 375299968947542.0, 1e-30, 1.0000000000000003e-30], 0.1)
def test_quantile(values, share):
    assert quantile(np.array(values), share) == np.quantile(values, share, method="inverted_cdf")


def test_what_cannot_be_asked():
    task, bowl = problem("digits_softmax"), problem("quadratic")
    for chosen, name, p, words in [
        ("sharpnes", "adam", bowl, "did you mean 'sharpness'"),
        (["lag"], "lion", bowl, "needs an optimizer with a `preconditioner`"),
        (["below_eps"], "sgd", bowl, "sgd has none"),
        (["path"], "adam", task, "digits_softmax is a task"),
        (["distance"], "adam", problem("saddle"), "saddle has none"),
        (3, "adam", bowl, "unknown instrument '3'"),
    ]:
        with pytest.raises(InputError, match=words):
            instruments.check(chosen, rule(name), p)
    assert instruments.check(["lag", "grad_norm", "lag"], rule("adam"), task) == ("grad_norm", "lag")


SCALED = [n for n in optimizers() if rule(n).preconditioner]


def without_momentum(r):
    """Hyperparameters with which a move is -rate g, and much besides lr changes the rate."""
    still = {"beta1": 0.0, "momentum": 0.0, "alpha": 0.0, "weight_decay": 0.0, "lr_decay": 0.05, "interval": 20.0}
    still |= {"eps": 0.1} | ({"beta2": 0.0} if r.name == "adan" else {})
    return {k: v for k, v in still.items() if k in r.defaults} | {"lr_warmup": 10.0, "lr_end": 0.1}


def test_all_but_the_rules_of_signs_have_an_effective_rate():
    assert {*optimizers()} - {*SCALED} == {"lion", "rprop", "signum"}
    assert [n for n in optimizers() if rule(n).alternating] == SCALED


@pytest.mark.parametrize("name", SCALED)
def test_the_effective_rate_is_the_one_that_is_applied(name, interpreted):
    """Of one coordinate without momentum |D| = rate |g| at every step, and the sharpness is that rate's."""
    hyper = {**without_momentum(rule(name)), "lr": [0.01, 0.3]}
    shown = ["effective_lr", "grad_norm", "update_rms", "sharpness"]
    bowl = problem("quadratic", {"curvature": 3.0})
    seen = adamx.simulate(name, bowl, hyper, 60, schedule="cosine", instruments=shown)
    rate, g, move = (seen.curves[k] for k in ("effective_lr_50", "grad_norm", "update_rms"))
    assert np.allclose(move, rate * g, rtol=1e-9, atol=1e-15) and (g > 0).any()
    over = seen.curves["sharpness"] / seen.curves["sharpness_limit"]
    assert np.allclose(over, 3 * rate / 2, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:overflow encountered in scalar multiply")  # random bits wrap around
@pytest.mark.parametrize("name", SCALED)
def test_the_effective_rates_of_a_task_are_those_that_are_applied(name, interpreted):
    """Least squares of one constant input: two coordinates, each a tensor of its own, with the same gradient."""
    p = Task(np.ones((3, 1)), np.full(3, 2.0), np.ones((1, 1)), np.ones(1), Mlp((1, 1)), "squares", 0, 0.1)
    hyper, shown = {**without_momentum(rule(name)), "lr": 0.05}, ["effective_lr", "grad_norm", "update_rms"]
    seen = adamx.simulate(name, p, hyper, 30, schedule="linear", instruments=shown)
    low, high, g, move = (seen.curves[k] for k in ("effective_lr_10", "effective_lr_90", "grad_norm", "update_rms"))
    assert np.allclose(low, high)
    assert np.allclose(move, low * g / math.sqrt(2), rtol=1e-9, atol=1e-15)


ONLINE = """
from adamx.portable import portable
start = (0.5,)
bounds = (-1.0, 1.0)
@portable
def value_and_grad(x, p, t):
    slope = 3 if t % 3 == 1 else -1
    return slope * x[0], (slope + 0 * x[0],)
"""


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_function_may_change_with_the_step_and_the_point_be_kept_in_bounds(dtype, tmp_path):
    (tmp_path / "online.py").write_text(ONLINE)
    p = problem(str(tmp_path / "online.py"))
    hyper = {"lr": 0.3, "beta1": 0.0, "beta2": 0.1}
    r = adamx.simulate("adam", p, hyper, 50, dtype=dtype, instruments=["path"])
    losses, _, _ = naive.landscape("adam", p, hyper, 50)
    assert np.allclose(r.loss[:, 0], losses, rtol=1e-12 if dtype == "float64" else 1e-5)
    assert r.curves["x0"].min() >= -1 and r.curves["x0"].max() == 1


BRANCHES = """
import math
from typing import NamedTuple
from adamx.portable import portable
class Params(NamedTuple):
    k: float = 3.0
    tiny: float = 1e-12
start = (-1.5, 0.3, 0.7)
minimum = 0.0
@portable
def value_and_grad(x, p):
    a = x[0] ** p.k if x[0] > 0 else -(x[0] ** p.k)
    da = p.k * x[0] ** (p.k - 1) * (1 if x[0] > 0 else -1)
    b, db = 0.5 * x[1] * x[1], x[1]
    if abs(x[1]) > 1:
        b, db = abs(x[1]) - 0.5, math.copysign(1.0, x[1])
    return a + b + 0.5 * p.tiny * x[2] * x[2], (da, db, p.tiny * x[2])
"""


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_landscape_may_branch_and_its_sharpness_is_of_the_branch(dtype, tmp_path):
    """|x|^k, Huber's function, and a curvature of 1e-12: -x_0^3 has 6 |x_0|, whatever rounding is about."""
    (tmp_path / "branches.py").write_text(BRANCHES)
    for x0, args, expected in [
        ((-1.5, 0.3, 0.7), {}, 9.0),
        ((-1e-3, 3.0, 0.7), {"k": 4.0}, 0.0),  # -12 x^2 = -1.2e-5, and flat
        ((-0.1, 0.3, 0.7), {}, 1.0),
        ((-0.1, 3.0, 0.7), {"k": 2.0}, 1e-12),  # -2, flat, tiny
    ]:
        p = problem(str(tmp_path / "branches.py"), {"x0": x0, **args})
        seen = adamx.simulate("sgd", p, {"lr": 1e-9}, 1, dtype=dtype, instruments=["sharpness"])
        exact = max(expected, 1e-12)
        assert seen.curves["sharpness"][0, 0] == pytest.approx(exact, rel=1e-12 if dtype == "float64" else 1e-6)


def test_the_readme_and_the_help_have_all_of_them():
    readme = (command.CONF / "README.md").read_text()
    table = readme.partition("<!-- instruments -->\n")[2].partition("\n<!-- /instruments -->")[0]
    assert table == instruments.markdown(), "adamx.instruments.markdown() makes it"
    help_ = (command.CONF / "sweep.yaml").read_text()
    assert [name for name in instruments.ORDER if name not in help_] == []
