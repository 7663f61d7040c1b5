"""Contract of every problem in the folder: gradients against finite differences, minima, settings, the user's own."""

import itertools
import math
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from adamx.inputs.datasets import read
from adamx.inputs.errors import InputError
from adamx.problems import Landscape, Task, problem, problems, settings
from adamx.sweep.sources import PythonFiles

TASKS = {name: "batch" in settings(name) for name in problems()}
LANDSCAPES = [name for name, task in TASKS.items() if not task]


@pytest.fixture
def csv(tmp_path):
    def write(text):
        path = tmp_path / "data.csv"
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


def value_and_grad(p, x):
    """A landscape in plain Python."""
    columns = [p.Params(*p.params[:, j]) for j in range(p.params.shape[1])]
    if not p.separable:
        value, g = p.function(tuple(map(float, x)), columns[0])
        return value, np.array(g)
    terms = [p.function(float(xi), columns[i if len(columns) > 1 else 0]) for i, xi in enumerate(x)]
    return sum(t[0] for t in terms), np.array([t[1] for t in terms])


def central_difference(f, x, i):
    """Richardson's extrapolation of two central differences: error of order h^4."""

    def slope(h):
        step = np.zeros_like(x)
        step[i] = h
        return (f(x + step) - f(x - step)) / (2 * h)

    h = 1e-3 * max(1.0, abs(x[i]))
    return (4 * slope(h / 2) - slope(h)) / 3


@pytest.mark.parametrize("name", LANDSCAPES)
@given(data=st.data())
def test_gradient_is_the_slope(name, data):
    p = problem(name)
    x = np.array([data.draw(st.floats(-3, 3)) for _ in range(p.dim)])
    value, g = value_and_grad(p, x)
    numeric = [central_difference(lambda z: value_and_grad(p, z)[0], x, i) for i in range(p.dim)]
    np.testing.assert_allclose(g, numeric, rtol=1e-6, atol=1e-6 * (1 + abs(value)))


@pytest.mark.parametrize("name", sorted({*LANDSCAPES} - {"saddle"}))  # a saddle has a goal in place of a minimum
@given(data=st.data())
def test_nothing_lies_below_the_minimum(name, data):
    p = problem(name)
    x = np.array([data.draw(st.floats(-10, 10)) for _ in range(p.dim)])
    assert value_and_grad(p, x)[0] >= p.minimum - 1e-12 * abs(p.minimum)


@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("quadratic", (0, 0)), ("power", (0,)), ("rosenbrock", (1, 1)), ("beale", (3, 0.5)), ("long_valley", (0, 0)),
        ("himmelblau", (3, 2)), ("rastrigin", (0, 0)), ("styblinski_tang", (-2.903534027771177,) * 2),
    ],
)  # fmt: skip
def test_the_minimum_is_where_its_source_says(name, x):
    p = problem(name)
    value, g = value_and_grad(p, x)
    assert value == pytest.approx(p.minimum, abs=1e-12)
    assert np.abs(g).max() < 1e-9


@pytest.mark.parametrize("name", problems())
def test_the_configuration_names_every_setting(name):
    written = PythonFiles("adamx", "adamx://").load_config(f"problem/{name}").config
    known = {k: list(v) if isinstance(v, tuple) else v for k, v in settings(name).items()}
    assert OmegaConf.to_container(written) == {"name": name, **known}


def test_settings():
    p = problem("quadratic", {"curvature": [1, 10, 100], "noise": 1e-3, "target": 1e-9})
    assert isinstance(p, Landscape)
    assert (p.dim, p.noise, p.criteria.target) == (3, 1e-3, 1e-9)
    assert problem("rastrigin", {"x0": [1.0] * 5}).dim == 5
    assert problem("styblinski_tang", {"x0": [1.0] * 4}).minimum == pytest.approx(4 * -39.16616570377142)
    for name, args, words in [
        ("quadratic", {"curvture": 1}, "did you mean 'curvature'"),
        ("quadratic", {"curvature": "steep"}, "a number or a list of numbers"),
        ("quadratic", {"curvature": [1, 2], "x0": [1, 2, 3]}, "different lengths"),
        ("quadratic", {"noise": -1}, "noise is -1"),
        ("rosenbrock", {"x0": [1, 2, 3]}, "2 coordinates"),
        ("rosenbrock", {"a": [1, 2]}, "another length"),
        ("rosenbrok", {}, "did you mean 'rosenbrock'"),
        ("digits_mlp", {"hidden": [0]}, "hidden"),
        ("digits_mlp", {"batch": 5000}, "at most the 1438 training rows"),
        ("digits_mlp", {"batch": 2.5}, "whole number"),
        ("digits_mlp", {"held_out": 1.5}, "held_out"),
        ("digits_mlp", {"depth": 3}, "unknown setting"),
        ("digits_mlp", {"activation": "gleu"}, "did you mean 'gelu'"),
        ("digits_mlp", {"activation": ["relu", "gelu"]}, "unknown problem.activation"),
        ("digits_mlp", {"norm": "batch"}, "unknown problem.norm 'batch'"),
        ("moons_logistic", {"activation": None}, "allowed: gelu, relu, tanh"),
        ("dataset", {}, "problem.path is empty"),
        ("dataset", {"path": "nowhere.csv"}, "does not exist"),
    ]:
        with pytest.raises(InputError) as error:
            problem(name, args)
        assert words in str(error.value) and "\n" not in str(error.value)


def test_a_users_own_file(tmp_path):
    path = tmp_path / "bowl.py"
    path.write_text(
        textwrap.dedent("""
            from adamx.portable import portable
            start = (1.0, 2.0)
            @portable
            def value_and_grad(x, p):
                return x[0] ** 2 + 3 * x[1] ** 2, (2 * x[0], 6 * x[1])
        """)
    )
    p = problem(str(path), {"x0": [2, 2]})
    assert p.name == "bowl"
    assert value_and_grad(p, p.start) == (16.0, pytest.approx([4, 12]))
    good = path.read_text()
    for old, new, words in [
        ("6 * x[1]", "6 * x[2]", "raises IndexError at its start"),
        (", (2 * x[0], 6 * x[1])", ", (2 * x[0],)", "2 coordinates in its start and 1 in its gradient"),
        ("return ", "return None #", "raises TypeError"),
        ("@portable\n", "", "needs the decorator @portable"),
    ]:
        path.write_text(good.replace(old, new))
        with pytest.raises(InputError, match=words):
            problem(str(path))
    for text, words in [("1/0", "ZeroDivisionError"), ("start = (1,)", "needs `start` and"), ("def (", "SyntaxError")]:
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            problem(str(path))
    with pytest.raises(InputError, match="does not exist"):
        problem(str(tmp_path / "none.py"))


def test_a_users_own_data(tmp_path, csv):
    text = "a,b,kind\n" + "".join(f"{i},{i % 3},{'xy'[i % 2]}\n" for i in range(20))
    p = problem("dataset", {"path": csv(text), "loss": "logistic"})
    assert p.model.widths == (2, 1)
    assert set(p.y) == {0.0, 1.0}
    path = tmp_path / "data.npz"
    np.savez(path, x=np.eye(8), y=np.arange(8.0))
    assert problem("dataset", {"path": str(path), "loss": "squares"}).model.widths == (8, 1)

    for text, words in [
        ("a,b\n1,2\n3,\n5,6\n7,8\n", "NaN or infinite values in 1 rows, the first is row 1"),
        ("a,b\nx,2\ny,1\nz,2\nw,1\n", "columns that are not numbers: a"),
        ("a,b\n1,2\n", "are needed"),
        ("", "is empty"),
    ]:
        with pytest.raises(InputError, match=words):
            read(csv(text), None)
    with pytest.raises(InputError, match="did you mean 'kind'"):
        read(csv("a,kind\n1,0\n2,1\n3,0\n4,1\n"), "knd")
    np.savez(path, x=np.eye(4), z=np.arange(4.0))
    with pytest.raises(InputError, match="x and y are needed"):
        read(str(path), None)
    np.savez(path, x=np.array([{}], dtype=object), y=np.arange(4.0))
    with pytest.raises(InputError, match="Python objects in 'x'"):
        read(str(path), None)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task and name != "dataset"])
def test_tasks_are_standardised_and_split(name):
    p = problem(name)
    assert isinstance(p, Task)
    assert p.model.widths[0] == p.x.shape[1] == p.val_x.shape[1]
    assert len(p.x) == len(p.y) > len(p.val_x) == len(p.val_y)
    assert np.abs(p.x.mean(axis=0)).max() < 1e-9
    assert math.isclose(p.x.std(axis=0).max(), 1.0, rel_tol=1e-9)
    assert p.dim == sum((a + 1) * b for a, b in itertools.pairwise(p.model.widths))
