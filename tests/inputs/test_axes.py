"""Axes: the texts people type, the points they get, and what is said when a text is not one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamx import InputError, grid
from adamx.inputs.axes import SAMPLERS, SCALES, Interval, axis, interval, sample, values

positive = st.floats(1e-15, 1e15)
counts = st.integers(2, 200)


def ends(a, b):
    return (a, b) if a < b else (b, a)


@given(positive, positive, counts)
def test_log_axis_has_equal_ratios_and_exact_ends(a, b, n):
    low, high = ends(a, max(b, 1.001 * a) if a <= b else b)
    points = axis(f"log:{low!r}:{high!r}:{n}")
    assert len(points) == n
    assert points[0] == low
    assert points[-1] == high
    np.testing.assert_allclose(points, np.geomspace(low, high, n), rtol=1e-11)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), counts)
def test_lin_axis_has_equal_differences_and_exact_ends(low, width, n):
    high = low + width
    points = axis(f"lin:{low!r}:{high!r}:{n}")
    assert len(points) == n
    assert points[0] == low
    assert points[-1] == high
    np.testing.assert_allclose(points, np.linspace(low, high, n), rtol=1e-11, atol=1e-11 * width)


@given(st.floats(1e-12, 0.5), st.floats(0.501, 1), counts)
def test_one_minus_log_axis_mirrors_the_log_axis(low, high, n):
    np.testing.assert_array_equal(axis(f"1-log:{low!r}:{high!r}:{n}"), 1 - axis(f"log:{low!r}:{high!r}:{n}"))


def test_decades_are_the_numbers_people_type():
    assert axis("log:1e-12:1:13").tolist() == [float(f"1e{k}") for k in range(-12, 1)]
    assert axis("lin:0:1:11").tolist() == [k / 10 for k in range(11)]
    assert axis("1-log:1e-4:1e-1:4").tolist() == [0.9999, 0.999, 0.99, 0.9]
    assert axis("log:1e-3:1:1").tolist() == [1e-3]


@pytest.mark.parametrize("text", ["", "adam", "0.1", "./mine.py", "data/a:b.csv", "s3://bucket/mine.csv"])
def test_other_texts_are_no_axes(text):
    assert axis(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lgo:1e-4:1:9", "did you mean 'log'"),
        ("logspace:1e-4:1:9", "allowed: 1-log, lin, log"),
        ("ln:1", "did you mean 'lin'"),
        ("log:1e-4", "needs log:LOW:HIGH:POINTS"),
        ("log:1e-4:1", "needs log:LOW:HIGH:POINTS"),
        ("log:1e-4:1:9:2", "needs log:LOW:HIGH:POINTS"),
        ("log:1:1e-4:9", "reversed"),
        ("lin:1:0:9", "reversed"),
        ("log:0:1:9", "ends above 0"),
        ("1-log:-1:1:9", "ends above 0"),
        ("lin:0:inf:9", "finite"),
        ("lin:nan:1:9", "finite"),
        ("log:a:1:9", "must be numbers"),
        ("log:1e-4:1:9.5", "a whole number"),
        ("log:1e-4:1:0", "no points"),
        ("lin:0:1:-3", "no points"),
        ("lin:0:1:99999999999", "more than"),
    ],
)
def test_bad_axes_are_one_line(text, said):
    with pytest.raises(InputError, match=said) as error:
        axis(text)
    assert "\n" not in str(error.value)


@given(st.text(alphabet="log1in-:.e095 ", max_size=20))
def test_any_text_is_an_axis_or_not_or_an_input_error(text):
    try:
        points = axis(text)
    except InputError:
        return
    assert points is None or (len(points) > 0 and np.isfinite(points).all())


def test_values_join_numbers_and_axes():
    assert values("eps", [0, "log:1e-8:1:2", 1e-3]).tolist() == [0, 1e-8, 1, 1e-3]
    assert values("seed", range(3)).dtype.kind == "i"
    for bad in ("foo", None, {}, [], [0.1, "foo"], np.ones((2, 2))):
        with pytest.raises(InputError, match="eps"):
            values("eps", bad)


def test_grid_is_the_product_with_the_last_axis_fastest():
    columns = grid(lr=[0.1, 0.2], eps="log:1e-8:1:2", beta1=0.9, seed=range(2))
    assert list(columns) == ["lr", "eps", "beta1", "seed"]
    assert columns["lr"].tolist() == [0.1] * 4 + [0.2] * 4
    assert columns["eps"].tolist() == [1e-8, 1e-8, 1, 1] * 2
    assert columns["beta1"].tolist() == [0.9] * 8
    assert columns["seed"].tolist() == [0, 1] * 4
    with pytest.raises(InputError, match="10000 lr x 10000 eps = 100,000,000 runs"):
        grid(lr="lin:0:1:10000", eps="lin:0:1:10000", beta1=0.9)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("n", [1, 7, 64])
def test_samples_fill_their_intervals(sampler, n):
    box = {"lr": Interval(1e-4, 1, "log"), "beta1": Interval(0.5, 0.99), "beta2": Interval(1e-4, 0.1, "1-log")}
    drawn = sample(box, n, sampler, seed=3)
    bounds = {"lr": (1e-4, 1), "beta1": (0.5, 0.99), "beta2": (0.9, 0.9999)}
    for name, (low, high) in bounds.items():
        assert drawn[name].shape == (n,)
        assert drawn[name].min() >= low
        assert drawn[name].max() <= high
    again = sample(box, n, sampler, seed=3)
    assert all((again[name] == drawn[name]).all() for name in box)
    assert any((sample(box, n, sampler, seed=4)[name] != drawn[name]).any() for name in box)


@pytest.mark.parametrize("scale", SCALES)
def test_a_text_without_points_is_an_interval(scale):
    drawn = interval(f"{scale}:1e-4:1")
    assert drawn == Interval(1e-4, 1, scale)
    assert interval(drawn) is drawn
    points = sample({"beta1": drawn}, 64)["beta1"]
    whole = axis(f"{scale}:1e-4:1:2")
    assert whole.min() <= points.min() < points.max() <= whole.max()
    for other in (f"{scale}:1e-4:1:9", f"{scale}:1", "./log:1:2", "adam", "", 0.1, None, ["log:1e-4:1"]):
        assert interval(other) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [("log:0:1", "ends above 0"), ("lin:2:1", "reversed"), ("log:a:1", "LOW and HIGH must be numbers")],
)
def test_bad_intervals_are_one_line(text, said):
    with pytest.raises(InputError, match=f"axis '{text}'.*{said}"):
        interval(text)


def test_sobol_points_are_even_on_the_scale_of_the_interval():
    lr = sample({"lr": Interval(1e-4, 1, "log")}, 64)["lr"]
    assert np.histogram(np.log10(lr), bins=16, range=(-4, 0))[0].tolist() == [4] * 16


def test_unknown_sampler_and_scale():
    with pytest.raises(InputError, match="did you mean 'sobol'"):
        sample({}, 1, "sobl")
    with pytest.raises(InputError, match="scale 'ln'"):
        Interval(0, 1, "ln")
