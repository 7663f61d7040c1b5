"""Steps on someone's own arrays, against the rules in plain Python and against torch."""

from __future__ import annotations

import platform
import re

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import SHAPES, OnlyDLPack, Plain, assert_agree, copies, draws

from adamx.engine.stepper import cpu
from adamx.engine.stepper.stepper import Stepper
from adamx.engine.stepper.tiles import TILE
from adamx.inputs.errors import InputError
from adamx.optimizers import optimizers, rule
from adamx.portable import specialise


@pytest.mark.parametrize("name", optimizers())
def test_every_rule_agrees_with_plain_python(name):
    params = draws(SHAPES)
    plain = Plain(name, copies(params))
    stepper = Stepper(name, params)
    for t in range(3):
        grads = draws(SHAPES, seed=t + 1)
        plain.step(grads)
        stepper.step(grads)
    assert_agree(name, params, plain.params)
    assert stepper.t == 3


@pytest.mark.parametrize("name", ["adam", "lamb"])
def test_float32_arrays_are_float32_arithmetic(name):
    r, hyper = rule(name), np.float32([0.01, 0.9, 0.99, 1e-6])
    h = r.Hyper(*hyper)
    x, g = draws([(50,), (50,)], "float32")
    _, now = specialise(r.per_step, "float32")(np.float32(1), r.Clock(*map(np.float32, r.initial_clock(h))), h)
    state, mean = r.State(np.float32(0), np.float32(0)), ()
    if r.pool:
        terms = np.array([specialise(r.pool, "float32")(a, b, state, h, now) for a, b in zip(x, g, strict=True)])
        mean = (r.Pool(*terms.sum(0) / np.float32(50)),)
    update = specialise(r.update, "float32")
    expected = [update(a, b, state, h, now, *mean)[0] for a, b in zip(x, g, strict=True)]
    assert {value.dtype for value in expected} == {np.dtype("float32")}
    Stepper(name, x, **dict(zip(("lr", "beta1", "beta2", "eps"), map(float, hyper), strict=True))).step(g)
    np.testing.assert_allclose(x, expected, rtol=1e-6 if r.pool else 0)


def test_hyperparameters_change_from_a_step_on():
    params = draws([(9,)])
    plain, stepper = Plain("adam", copies(params), lr=0.1), Stepper("adam", params, lr=0.1)
    for t, changed in enumerate([{}, {"lr": 0.03, "beta2": 0.9}, {}]):
        grads = draws([(9,)], seed=t + 1)
        plain.step(grads, **changed)
        stepper.step(grads, **changed)
    assert_agree("adam", params, plain.params)
    assert stepper.hyper["lr"] == 0.03 and stepper.hyper["beta1"] == 0.9


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 3 * TILE), max_size=4), at=st.integers(0, 3))
def test_an_element_does_not_know_its_neighbours(cuts, at):
    whole, grad = draws([(3 * TILE,), (3 * TILE,)])
    pieces = np.split(whole.copy(), sorted(cuts))
    room = np.empty(whole.size + at)  # anywhere in memory
    room[at:] = grad
    Stepper("adam", whole).step(grad)
    Stepper("adam", pieces).step(np.split(room[at:], sorted(cuts)))
    assert np.array_equal(whole, np.concatenate(pieces))


@pytest.mark.parametrize("name", ["adam", "lamb"])
def test_threads_change_no_bit(name):
    def moved(threads):
        params = draws([(5 * TILE,), (100,)], "float32")
        before = numba.get_num_threads()
        numba.set_num_threads(threads)
        try:
            Stepper(name, params).step(draws([(5 * TILE,), (100,)], "float32", seed=1))
        finally:
            numba.set_num_threads(before)
        return np.concatenate(params)

    assert np.array_equal(moved(1), moved(numba.config.NUMBA_NUM_THREADS))


@pytest.mark.parametrize("name", ["spam", "rprop", "stable_adamw", "sgd"])
def test_a_saved_state_goes_on_to_the_bit(name, tmp_path):
    params = draws(SHAPES, "float32")
    stepper = Stepper(name, params)
    stepper.step(draws(SHAPES, "float32", seed=1), lr=0.02)
    np.savez(tmp_path / "state.npz", **stepper.state_dict())
    resumed = copies(params)
    other = Stepper(name, resumed)
    with np.load(tmp_path / "state.npz") as saved:
        other.load_state_dict(saved)
    assert (other.t, other.hyper) == (1, stepper.hyper)
    for seed in (2, 3):
        for s in (stepper, other):
            s.step(draws(SHAPES, "float32", seed=seed))
    assert all(np.array_equal(a, b) for a, b in zip(params, resumed, strict=True))
    assert all(np.array_equal(value, other.state_dict()[key]) for key, value in stepper.state_dict().items())


def test_the_state_is_one_flat_array_a_field():
    params = draws(SHAPES)
    stepper = Stepper("adam", params)
    grads = draws(SHAPES, seed=1)
    stepper.step(grads)
    flat = np.concatenate([g.ravel() for g in grads])
    assert np.array_equal(stepper.state_dict()["state.m"], (1 - 0.9) * flat)


@pytest.mark.parametrize("change", [{"t": None}, {"state.m": np.zeros(4)}, {"state.v": np.zeros(3, "f4")}, {"more": 1}])
def test_the_state_of_something_else_is_refused(change):
    stepper = Stepper("adam", np.zeros(3))
    saved = {k: v for k, v in {**stepper.state_dict(), **change}.items() if v is not None}
    with pytest.raises(InputError, match="saved state"):
        stepper.load_state_dict(saved)


def test_torch_agrees_and_its_parameters_change_in_place():
    torch = pytest.importorskip("torch")
    params = [torch.nn.Parameter(torch.tensor(x)) for x in draws([(7, 3), (5,)], "float32")]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in params]
    stepper = Stepper("adam", (p for p in params), lr=0.01)
    adam = torch.optim.Adam(theirs, lr=0.01)
    for t in range(5):
        for p, q in zip(params, theirs, strict=True):
            p.grad = q.grad = torch.tensor(draws([tuple(p.shape)], "float32", seed=t)[0])
        stepper.step([p.grad for p in params])
        adam.step()
    for p, q in zip(params, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-7)


def test_torch_tensors_without_memory_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"params\[0\] is on meta: cpu or cuda is needed"):
        Stepper("adam", torch.empty(3, device="meta"))
    with pytest.raises(InputError, match=r"grads\[0\] cannot be used"):
        Stepper("adam", torch.zeros(3)).step(torch.ones(3).to_sparse())


def test_torch_memory_that_moved_is_noticed():
    torch = pytest.importorskip("torch")
    param = torch.nn.Parameter(torch.zeros(3))
    stepper = Stepper("adam", param)
    param.data = torch.ones(3)
    with pytest.raises(InputError, match=r"params\[0\] has moved"):
        stepper.step(torch.ones(3))


def test_jax_arrays_are_gradients_but_not_params():
    jnp = pytest.importorskip("jax.numpy")
    x = np.zeros(3, "float32")
    Stepper("sgd", x, lr=1.0).step(jnp.arange(3, dtype="float32"))
    assert np.array_equal(x, [0, -1, -2])
    with pytest.raises(InputError, match=r"params\[0\] is read-only, as jax arrays are"):
        Stepper("adam", jnp.zeros(3))


def test_dlpack_is_enough():
    x = np.zeros(3)
    Stepper("sgd", OnlyDLPack(x), lr=1.0).step(OnlyDLPack(np.ones(3)))
    assert np.array_equal(x, [-1, -1, -1])


class Elsewhere(OnlyDLPack):
    """An array in the memory of something else."""

    def __dlpack_device__(self):
        return (8, 0)


ROOM = np.zeros(64)
FIXED = np.zeros(2)
FIXED.flags.writeable = False
BAD_PARAMS = {
    "params is empty": [],
    r"params\[1\] cannot be used: float is no array": [np.zeros(2), 1.5],
    r"params\[0\] cannot be used: the memory of DLPack's device 8": Elsewhere(np.zeros(2)),
    r"params\[0\] is int64: float32 or float64": np.zeros(2, int),
    r"params\[0\] is >f8": np.zeros(2, ">f8"),
    r"params\[1\] is float32 on cpu, params\[0\] float64 on cpu": [np.zeros(2), np.zeros(2, "f4")],
    r"params\[0\] is not contiguous": ROOM[::2],
    r"params\[0\] is read-only": FIXED,
    r"params\[0\] and params\[2\] overlap": [ROOM[:5], np.zeros(2), ROOM[4:9]],
    r"params\[0\] is not aligned": ROOM.view(np.uint8)[4:12].view("f8"),
}


@pytest.mark.parametrize("message", BAD_PARAMS)
def test_bad_params_are_refused(message):
    with pytest.raises(InputError, match=message):
        Stepper("adam", BAD_PARAMS[message])


BAD_STEPS = {
    "there are 1 gradients for 2 params": ([np.ones(3)], {}),
    r"grads\[1\] has the shape \(3,\), params\[1\] \(4,\)": ([np.ones(3), np.ones(3)], {}),
    "grads are float32 on cpu, params float64 on cpu": ([np.ones(3, "f4"), np.ones(4, "f4")], {}),
    r"grads\[0\] cannot be used: NoneType": ([None, np.ones(4)], {}),
    r"grads\[0\] is not contiguous": ([np.ones(6)[::2], np.ones(4)], {}),
    "a stream is for arrays on a GPU": ([np.ones(3), np.ones(4)], {"stream": 0}),
    "unknown hyperparameter of adam 'bata1': did you mean 'beta1'": ([np.ones(3), np.ones(4)], {"bata1": 0.5}),
    "unknown hyperparameter of adam 'lr_warmup'": ([np.ones(3), np.ones(4)], {"lr_warmup": 5}),
    "adam.beta1 is 1: 0 <= beta1 < 1": ([np.ones(3), np.ones(4)], {"beta1": 1.0}),
    "one number for every hyperparameter": ([np.ones(3), np.ones(4)], {"lr": [0.1, 0.2]}),
}


@pytest.mark.parametrize("message", BAD_STEPS)
def test_a_bad_step_is_refused_and_nothing_changes(message):
    grads, options = BAD_STEPS[message]
    params = [np.zeros(3), np.zeros(4)]
    stepper = Stepper("adam", params)
    with pytest.raises(InputError, match=message):
        stepper.step(grads, **options)
    assert not any(x.any() for x in params) and stepper.t == 0 and stepper.hyper["lr"] == 0.001


def test_gradients_that_share_memory_with_params_are_refused():
    x = np.ones(8)
    stepper = Stepper("sgd", [x[:3], x[5:]])
    with pytest.raises(InputError, match=r"grads\[1\] and params\[0\] overlap"):
        stepper.step([np.ones(3), x[2:5]])
    stepper.step([x[3:5].repeat(2)[:3], np.ones(3)])


@pytest.mark.parametrize(("name", "kernel"), [("adam", "move"), ("ademamix", "move"), ("stable_adamw", "add")])
def test_loops_over_elements_are_vectorised_and_have_no_float64(name, kernel, monkeypatch):
    compiled = getattr(cpu.kernels(rule(name), "float32"), kernel)
    fresh = numba.njit(parallel=True, error_model="numpy")(compiled.py_func)  # code from the cache cannot be inspected
    stepper = Stepper(name, np.zeros(3, "float32"))
    monkeypatch.setattr(stepper._launcher, "kernels", stepper._launcher.kernels._replace(**{kernel: fresh}))
    stepper.step(np.ones(3, "float32"))
    assembly = "\n".join(fresh.inspect_asm().values())
    assert not re.findall(r"\bv?(?:add|sub|mul|div|sqrt|cvtss2|cvtps2)(?:sd|pd)\b", assembly)
    if platform.machine() == "x86_64":
        assert re.search(r"\bv?divps\b", assembly)
