"""Every rule on torch and jax arrays against its plain Python, and what a rule's source may hold."""

from __future__ import annotations

import contextlib
import math

import naive
import numpy as np
import pytest

from adamx.engine.tensorized import HOMES, library, on_arrays, tensorized
from adamx.inputs.errors import InputError
from adamx.optimizers import optimizers, rule
from adamx.portable import portable

SHAPE = 4, 12  # runs, parameters


@pytest.fixture(params=sorted(HOMES))
def lib(request):
    """(name, array of NumPy's, NumPy's of array), float64 in both."""
    module = pytest.importorskip(request.param)
    if request.param == "torch":
        yield "torch", module.as_tensor, lambda a: np.asarray(a)
        return
    with module.enable_x64(True) if hasattr(module, "enable_x64") else contextlib.nullcontext():
        yield "jax", module.numpy.asarray, lambda a: np.asarray(a)


def gradients(steps):
    """Gradients of every size: zeros, denormals, 1e30 and between, (steps, runs, parameters)."""
    rng = np.random.default_rng(0)
    scales = np.array([0.0, 5e-324, 1e-310, 1e-160, 1e-12, 1e-3, 1.0, 1.0, 10.0, 1e8, 1e30, 1e30])
    drawn = rng.normal(size=(steps, *SHAPE)) * scales
    drawn[::3, :, 7] = 0.0
    return drawn


def hyper(r):
    """Columns of hyperparameters, one a run."""
    runs = SHAPE[0]
    columns = {name: np.full(runs, float(value)) for name, value in r.defaults.items()}
    columns["lr"] = columns["lr"] * np.linspace(0.5, 2, runs)
    if "beta2" in columns:
        columns["beta2"][1:] = [0.5, 0.9, 0.97]
    for name, default in r.defaults.items():
        if isinstance(default, bool):
            columns[name][::2] = 1 - columns[name][::2]
    return columns


@pytest.mark.parametrize("name", optimizers())
def test_every_rule_agrees_with_plain_python(name, lib):
    library_name, put, get = lib
    r, columns, steps = rule(name), hyper(rule(name)), 6
    x, grads = np.random.default_rng(1).normal(size=SHAPE), gradients(steps)
    if library_name == "jax":  # whose kernels on the CPU take denormals for 0, and so the squares of these
        grads[np.abs(grads) < 1e-140] = 0
    on = on_arrays(r, library(library_name, "float64"))
    h = r.Hyper(**{key: put(column[:, None]) for key, column in columns.items()})
    clock, ours = on.initial_clock(h), put(x)
    state = r.State(*(field + 0 * ours for field in on.initial_state(h)))
    plain = x.copy()
    plain_h = [r.Hyper(**{key: float(column[run]) for key, column in columns.items()}) for run in range(SHAPE[0])]
    clocks = [r.Clock(*map(float, r.initial_clock(one))) for one in plain_h]
    states = [[r.initial_state(one)] * SHAPE[1] for one in plain_h]
    for t in range(steps):
        clock, now = on.per_step(t + 1.0, clock, h)
        ours, state = on.step(ours, put(grads[t]), state, h, now, over=(-1,))
        for run, one in enumerate(plain_h):
            clocks[run], now = r.per_step(t + 1.0, clocks[run], one)
            moved = naive.updates(r, plain[run].tolist(), grads[t, run].tolist(), states[run], one, now)
            plain[run], states[run] = [m[0] for m in moved], [m[1] for m in moved]
        np.testing.assert_allclose(get(ours), plain, rtol=1e-12, atol=0, err_msg=f"step {t + 1}")
        for k, field in enumerate(r.State._fields):
            expected = np.array([[s[k] for s in line] for line in states])
            np.testing.assert_allclose(get(state[k]) + 0 * x, expected, rtol=1e-12, atol=1e-306, err_msg=field)


@portable
def early(x, low):
    if x < low:
        return -1.0, x
    y = x
    if x > 1 and not x > 3:
        y *= 2
    elif x > 3:
        if x > 5:
            return 5.0, x
        y = x + 10
        z = 3.0
    else:
        z = 4.0
    for i in range(3):
        if i == 2:
            break
        y += i
    return y if -0.5 < x < 0.5 or x == 4 else min(y, 3.5, x + 2), max(x, low) + (z if x > 3 or x <= 1 else 0.5)


def test_statements_choose_for_every_element(lib):
    name, put, get = lib
    x = np.linspace(-2, 6, 41)
    found = tensorized(early, library(name, "float64"))(put(x), -1.0)
    expected = np.array([early(float(v), -1.0) for v in x]).T
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(get(a), b, rtol=1e-15)


@portable
def numbers(x):
    return 1.2 if x > 0 else (0.1 if x < 0 else float(x > 5)), math.atan2(2.0, x), abs(x) * math.pi


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_take_the_type_of_the_data(lib, dtype):
    name, put, get = lib
    x = np.array([-1.0, 0.0, 2.0], dtype)
    one, two, three = map(get, tensorized(numbers, library(name, dtype))(put(x)))
    assert {a.dtype.name for a in (one * x, two, three)} == {dtype}
    assert one.astype(dtype).tolist() == np.array([0.1, 0, 1.2], dtype).tolist()


def test_numbers_alone_are_decided_before_anything_is_computed(lib):
    name, *_ = lib

    @portable
    def guarded(x, eps):
        return x / eps if eps > 0 else x

    assert tensorized(guarded, library(name, "float64"))(2.0, 0.0) == 2.0


@portable
def jumps(x):
    for _ in range(3):
        if x > 1:
            break
    return x


@portable
def unheard(x):
    return math.perm(x)


def test_what_cannot_be_said_on_arrays_is_refused(lib):
    name, put, _ = lib
    with pytest.raises(InputError, match="break and continue"):
        tensorized(jumps, library(name, "float64"))(put(np.ones(2)))
    with pytest.raises(InputError, match="has no function 'perm'"):
        tensorized(unheard, library(name, "float64"))(put(np.ones(2)))
