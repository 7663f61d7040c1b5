"""Studies of large ε, ε's place, 16 bits, batch and β2, and the wide grid: what they find, and the figures they use."""

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from adamx.precision import rounded
from adamx.registry import load
from adamx.study import FOLDER, study
from adamx.sweep import CONF


def module(name):
    return load("", "study", str(FOLDER / f"{name}.py"))


def test_large_eps_is_momentum():
    found = study("large_eps_is_momentum")
    runs = found.run()
    assert [check.what for check in found.check(runs) if not check.held] == []
    assert isinstance(found.figure(runs), Figure)


def kept(v, g, format, steps):
    """v as a format keeps it, in NumPy's float32."""
    beta2, g = np.float32(0.999), np.float32(g)
    for _ in range(steps):
        v = rounded(beta2 * v + (1 - beta2) * g * g, format).reshape(())[()]
    return float(v)


@pytest.mark.parametrize(
    ("format", "share", "v"), [("bfloat16", None, 0.25), ("float16", 0.99, 0.0), ("float16", 1.01, None)]
)
def test_where_v_is_stuck_in_16_bits(format, share, v):
    half = module("half_precision")
    g = 1.0 if share is None else share * half.LEAST
    assert kept(np.float32(0), g, format, 2000) == (half.STUCK if v is None else v)


@pytest.mark.parametrize(("half_life", "expected"), [(1024.0, 1.0), (256.0, 1.0), (None, 0.0)])
def test_the_slope_of_a_known_ridge(half_life, expected):
    """A loss that is least at one half-life, or at one β2, and 10 % worse at twice and at half of that."""
    batch = module("batch_and_beta2")
    one_beta2 = batch.BATCH / batch.BATCH[0] * batch.HALF_LIFE[0]
    best = one_beta2 if half_life is None else np.full(len(batch.BATCH), half_life)
    off = 0.1 * np.abs(np.log2(batch.HALF_LIFE[None, :] / best[:, None]))
    log_loss = np.broadcast_to(off[:, :, None, None], (*off.shape, len(batch.LR), batch.SEEDS))
    over = batch.excess(log_loss)
    np.testing.assert_allclose(over, off)
    assert batch.slope(batch.HALF_LIFE[over.argmin(axis=1)]) == pytest.approx(expected)
    one_half_life, one_beta2 = batch.kept(over)
    assert (one_half_life < one_beta2) == (half_life is not None)
    if half_life is not None:
        np.testing.assert_allclose(batch.edge(over), half_life / 2**0.5)
        assert batch.slope(batch.edge(over)) == pytest.approx(1)


def test_the_wide_grid_is_the_preset():
    text = (CONF / "preset" / "wide_grid.yaml").read_text()
    preset, wide = yaml.safe_load(text), module("wide_grid")
    assert preset == {"optimizer": wide.BOX, "samples": wide.POINTS}


@pytest.mark.parametrize(
    ("name", "claim"),
    [("where_eps_stands", "11"), ("half_precision", "12"), ("batch_and_beta2", "16"), ("wide_grid", "18")],
)
def test_a_study_has_all_its_parts(name, claim):
    assert study(name).claims == claim
