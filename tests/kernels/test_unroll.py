"""Loops that are written out do what they say, in plain Python and compiled; generated code shows in tracebacks."""

import traceback
from typing import NamedTuple

import numba
import numpy as np
import pytest

from adamx.portable.unroll import generate, offsets, rows, static, unrolled


class Pair(NamedTuple):
    a: float
    b: float


class Empty(NamedTuple):
    pass


def test_what_is_known_is_written_out():
    steps, count, doubled = (np.sin, np.cos), 2, True

    @unrolled
    def f(x):
        y = x[0] * 0
        if doubled:
            y = sum(x[i] for i in static(count)) * 2
        for i in static(count):
            for k in static(i + 1):
                y = y + steps[k](x[i]) * (i * count + k)
        return tuple(y + i for i in static(count)), Pair(*(x[i] for i in static(count)))

    x = (0.5, 0.25)
    y = 1.5 + np.sin(0.25) * 2 + np.cos(0.25) * 3
    for call in (f, numba.njit(lambda x: f(x))):
        found, pair = call(x)
        np.testing.assert_allclose(found, [y, y + 1], rtol=1e-15)
        assert pair == Pair(0.5, 0.25)
    read = set(f.__code__.co_names)
    assert "static" not in read and {"steps_0", "steps_1"} <= read


def test_a_branch_is_taken_when_it_is_written_out():
    few, name = 1, "f"

    @unrolled
    def f(x):
        return (x if few == 1 else missing) if few < 2 else missing  # noqa: F821

    assert f(3) == 3 and name == f.__name__


def test_rows_of_a_tuple():
    load, store, after = rows(Pair, 3)
    a = np.arange(10.0).reshape(5, 2)
    assert load(a, 1) == Pair(7, 9) and after == 5
    store(a, 0, Pair(-1.0, -2.0))
    assert a[3:, 0].tolist() == [-1, -2]
    load, store, after = rows(Empty, 3)
    assert load(a, 0) == Empty() and store(a, 0, Empty()) is None and after == 3
    assert offsets(2, 3) == [0, 2, 5]


def test_what_is_not_known_is_said():
    def f(x, n):
        return sum(x[i] for i in static(n))

    with pytest.raises(TypeError, match=r"static\(n\) is not known"):
        unrolled(f)


def test_a_traceback_shows_the_line():
    def shown(call, *arguments):
        with pytest.raises(ZeroDivisionError) as caught:
            call(*arguments)
        return "".join(traceback.format_exception(caught.value))

    one = 1

    @unrolled
    def share(x):
        for i in static(one):
            x = one / (x + i)  # the line
        return x

    assert "x = one / (x + i)  # the line" in shown(share, 0)
    assert "return 1 / x  # made" in shown(generate("def f(x):\n    return 1 / x  # made\n"), 0)
