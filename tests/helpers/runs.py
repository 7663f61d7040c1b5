"""Runs that must be the same."""

import numpy as np


def assert_same(a, b):
    """Two Results agree in every bit."""
    for name in ("steps", "loss", "x"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in ("columns", "figures", "curves"):
        for key, value in getattr(a, name).items():
            np.testing.assert_array_equal(value, getattr(b, name)[key], err_msg=key)
