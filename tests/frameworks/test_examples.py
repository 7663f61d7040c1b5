"""The models in experiments/models: each trains, from its file alone, and its instruments look at it."""

from pathlib import Path

import numpy as np
import pytest

import adamx

MODELS = Path(__file__).parents[2] / "experiments" / "models"
FILES = sorted(path.name for path in MODELS.glob("*.py"))


@pytest.mark.parametrize("file", FILES)
def test_an_example_trains(file):
    pytest.importorskip(file.removesuffix(".py").rpartition("_")[2])
    options = {"record_every": 20, "dtype": "float32", "instruments": ["grad_norm", "effective_lr"]}
    found = adamx.simulate("adam", str(MODELS / file), adamx.grid(lr=[1e-5, 3e-3]), 20, **options)
    assert len((MODELS / file).read_text().splitlines()) < 60
    assert found.loss[0, 0] == found.loss[0, 1] and found.loss[-1, 1] < min(0.9 * found.loss[0, 1], found.loss[-1, 0])
    assert all(np.isfinite(curve).all() and curve.min() > 0 for curve in found.curves.values())
