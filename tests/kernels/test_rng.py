"""The generator against its authors' known answers, and its distributions."""

import numpy as np
import pytest
from scipy import stats

from adamx.portable import rng


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0), 0, (0xFF1DAE59, 0x6CD10DF2)),
        ((0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF, (0x2C3F628B, 0xAB4FD7AD)),
        ((0x243F6A88, 0x85A308D3), 0x13198A2E, (0xDD7CE038, 0xF62A4C12)),
    ],
)
def test_known_answers_of_random123(counter, key, answer):
    assert rng.philox(*counter, key) == answer


def test_rows_are_uniform_and_normals_normal():
    rows = [rng.below(10, 1, rng.ROWS, t, i) for t in range(50) for i in range(100)]
    assert stats.chisquare(np.bincount(rows, minlength=10)).pvalue > 1e-3
    normals = [rng.gaussian(*rng.bits(2, rng.NOISE, t, i)) for t in range(50) for i in range(100)]
    assert stats.kstest(normals, "norm").pvalue > 1e-3


def test_streams_steps_and_seeds_differ():
    draws = {rng.bits(s, w, t, i) for s in range(4) for w in range(3) for t in range(5) for i in range(6)}
    assert len(draws) == 4 * 3 * 5 * 6
