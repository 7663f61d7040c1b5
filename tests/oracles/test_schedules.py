"""Schedules against their formulas and optax's."""

import math

import numpy as np
import pytest

from adamx.schedules import SCHEDULES, Schedule

STEPS = 100


def factors(name, warmup=0.0, end=0.0):
    return np.array([SCHEDULES[name](float(t), float(STEPS), Schedule(warmup, end)) for t in range(1, STEPS + 1)])


def test_by_hand():
    assert (factors("constant") == 1).all()
    assert factors("constant", 4)[:6].tolist() == [0.25, 0.5, 0.75, 1, 1, 1]
    assert factors("linear")[[0, 50, 99]] == pytest.approx([1, 0.5, 0.01])
    assert factors("linear", 20, 0.5)[[9, 19, 20, 60]] == pytest.approx([0.5, 1, 1, 0.75])
    assert factors("cosine", 0, 0.1)[[0, 25, 50]] == pytest.approx([1, 0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2, 0.55])
    assert factors("inverse_sqrt") == pytest.approx(1 / np.sqrt(np.arange(1, STEPS + 1)))
    assert factors("inverse_sqrt", 25)[[4, 24, 99]] == pytest.approx([0.2, 1, 0.5])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 1.0, 33.5, STEPS - 1, STEPS, 2 * STEPS])
def test_factors_stay_between_0_and_1(name, warmup):
    f = factors(name, warmup, 0.2)
    assert (f >= 0).all() and (f <= 1).all()
