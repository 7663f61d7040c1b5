"""Emulated 16-bit formats against ml_dtypes and NumPy bit by bit, and what they do to Adam."""

import numba
import numpy as np
import pytest

import adamx
from adamx.optimizers import momentum
from adamx.portable import precision, rng, specialise
from adamx.portable.precision import FORMATS, NEAREST, STOCHASTIC, Storage
from adamx.problems import problem, rosenbrock


@numba.njit
def every(fn, bits, out):
    for i in range(len(bits)):
        out[i] = fn(np.int32(bits[i]).view(np.float32))


def reference(format, x):
    if format == "float16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    return x.astype(ml_dtypes.bfloat16).astype(np.float32)


@pytest.mark.parametrize("format", FORMATS)
def test_nearest_is_the_format_bit_by_bit(format):
    """Every 16-bit number, its halves and their neighbours (all ties and near ties), and random numbers."""
    step = 1 << (16 if format == "bfloat16" else 13)
    exact = np.arange(-(2**31), 2**31, step, dtype=np.int64)
    near = [exact + d for d in (0, 1, step // 2 - 1, step // 2, step // 2 + 1, step - 1, step + step // 2)]
    draws = np.random.default_rng(0).integers(-(2**31), 2**31, 1_000_000)
    bits = np.concatenate([*near, draws])
    bits = bits[(bits >= -(2**31)) & (bits < 2**31)].astype(np.int32)
    out = np.empty(len(bits), np.float32)
    every(numba.njit(NEAREST[format]), bits, out)
    with np.errstate(invalid="ignore"):
        expected = reference(format, bits.view(np.float32))
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(np.signbit(out), np.signbit(expected))
    some = bits[:: len(bits) // 2000].view(np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal([NEAREST[format](x) for x in some], reference(format, some))
        np.testing.assert_array_equal(precision.rounded(some, format), reference(format, some))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("x", [1.001, -3.14159, 1e-6, 6e-8, 123.456])
def test_stochastic_rounding_is_unbiased_between_neighbours(format, x):
    x = np.float32(x)
    words = [rng.bits(7, precision.STATE, t, 0)[0] for t in range(4000)]
    values = np.array([STOCHASTIC[format](x, w) for w in words], np.float64)
    assert len(set(values)) <= 2
    nearest = float(NEAREST[format](x))
    assert nearest in values or abs(nearest - x) / abs(values[0] - nearest) < 1e-2
    spread = values.max() - values.min()
    assert abs(values.mean() - x) <= 5 * max(spread, 1e-30) / np.sqrt(len(words)) + 1e-12 * abs(x)


@pytest.mark.parametrize("format", FORMATS)
def test_stochastic_rounding_keeps_what_can_be_kept(format):
    for x in (0.0, -0.0, 1.0, -1.5, 2.0**-10, np.inf, -np.inf):
        for word in (0, 1, 2**32 - 1):
            with np.errstate(invalid="ignore"):
                assert STOCHASTIC[format](np.float32(x), word) == x
    assert np.isnan(STOCHASTIC[format](np.float32(np.nan), 5))


def test_epsilon_in_float16():
    """Claim 12: in float16 eps = 1e-8 is 0 and a zero gradient gives NaN; 1e-4 survives."""
    p = problem("quadratic", {"curvature": [1.0, 0.0]})
    results = adamx.simulate("adam", p, {"eps": [1e-8, 1e-4]}, 50, dtype="float16")
    assert results.regime.tolist() == ["diverged", "slow"]
    assert results.table["diverged_step"][0] == 1
    assert results.dtype == "float16"
    wide = adamx.simulate("adam", p, {"eps": 1e-8}, 50, dtype="float32")
    assert wide.regime.tolist() == ["slow"]


def test_beta2_in_bfloat16():
    """Claim 12: in bfloat16 beta2 = 0.999 rounds to 1, so v never takes up a gradient and never decays."""
    assert precision.rounded(np.array([0.999, 0.9]), "bfloat16").tolist() == [1.0, 0.8984375]
    p = problem("quadratic", {"curvature": 1.0})
    hyper = {"beta2": [0.999, 0.9], "bias_correction": False, "eps": 1e-3, "lr": 1e-3}
    results = adamx.simulate("adam", p, hyper, 3, storage={"constants": "bfloat16"}, dtype="float32")
    assert results.dtype == "float32 constants=bfloat16"
    moves = 1 - results.x[:, 0]
    assert moves[0] > 20 * moves[1], "with v = 0 the step is lr m / eps"


@pytest.mark.parametrize("rounding", precision.ROUNDINGS)
def test_kernels_round_as_plain_python_does(rounding):
    """Heavy ball on Rosenbrock, all sums and products, in NumPy's float32 scalars."""
    storage, steps, seed = Storage("bfloat16", "float16", "bfloat16", rounding), 40, 3
    results = adamx.simulate(
        "momentum", "rosenbrock", {"lr": 1e-3}, steps, seed=seed, dtype="float32", storage=storage._asdict()
    )
    value_and_grad = specialise(rosenbrock.value_and_grad, "float32")
    update = specialise(momentum.update, "float32")
    keep = precision.keeper(storage.params, rounding, precision.PARAMS)
    keep_state = precision.keeper(storage.state, rounding, precision.STATE)
    h = momentum.Hyper(*precision.rounded(np.array([1e-3, 0.9, 0.0]), "bfloat16"))
    p = rosenbrock.Params(np.float32(1), np.float32(100))
    x, m = list(precision.rounded(np.array(rosenbrock.start), "bfloat16")), [np.float32(0)] * 2
    for t in range(steps + 1):
        value, g = value_and_grad(tuple(x), p)
        assert results.loss[t, 0] == value
        for i in range(2):
            x[i], state = update(x[i], g[i], momentum.State(m[i]), h, ())
            x[i], m[i] = keep(x[i], seed, t, i), keep_state(state.m, seed, t, i)
        if t == steps - 1:
            np.testing.assert_array_equal(results.x[0], x)
    np.testing.assert_array_equal(results.x, precision.rounded(results.x, "bfloat16"))


def test_stochastic_rounding_moves_where_nearest_stands_still():
    """lr far below half a unit of a bfloat16 near 1: nearest never moves, stochastic moves on average."""
    p = problem("quadratic", {"curvature": 1.0})
    hyper = {"lr": 1e-4, "seed": np.arange(64)}
    nearest, drawn = (
        adamx.simulate(
            "sgd", p, hyper, 1000, 100, dtype="float32", storage={"params": "bfloat16", "rounding": rounding}
        )
        for rounding in precision.ROUNDINGS
    )
    assert (nearest.x == 1).all()
    assert drawn.x.mean() == pytest.approx(np.exp(-0.1), rel=0.02)


def test_tasks_are_rounded_too():
    results = adamx.simulate("adam", "digits_softmax", {"lr": 0.01}, 3, dtype="bfloat16")
    np.testing.assert_array_equal(results.x, precision.rounded(results.x, "bfloat16"))


def test_wrong_formats_are_named():
    for arguments, words in [
        ({"dtype": "bfloat61"}, "did you mean 'bfloat16'"),
        ({"dtype": "float64", "storage": {"state": "bfloat16"}}, "dtype=float32"),
        ({"dtype": "float32", "storage": {"state": "bf16"}}, "unknown storage.state"),
        ({"dtype": "float32", "storage": {"stat": "bfloat16"}}, "did you mean 'state'"),
        ({"dtype": "float32", "storage": {"rounding": "up"}}, "unknown storage.rounding"),
    ]:
        with pytest.raises(adamx.InputError, match=words):
            adamx.simulate("adam", "beale", {}, 5, **arguments)
