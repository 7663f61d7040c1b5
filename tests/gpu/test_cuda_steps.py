"""Steps on a GPU's arrays, on a GPU or in Numba's simulator (NUMBA_ENABLE_CUDASIM=1), against the CPU."""

from __future__ import annotations

import libm
import numpy as np
import pytest
from needs_gpu import QUIET, SIMULATED
from numba import cuda
from plain import SHAPES, OnlyDLPack, Plain, assert_agree, copies, draws

from adamx.engine.stepper import cpu, tiles
from adamx.engine.stepper import cuda as gpu_steps
from adamx.engine.stepper.stepper import Stepper
from adamx.inputs.errors import InputError
from adamx.optimizers import optimizers

pytestmark = QUIET
ON_A_GPU = pytest.mark.skipif(SIMULATED, reason="the simulator has neither streams nor other libraries' arrays")


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Four threads a block in the simulator, where every thread is one of Python's."""
    made = (cpu.kernels, gpu_steps.kernels, gpu_steps._compiled)
    if SIMULATED:
        monkeypatch.setattr(tiles, "TILE", 40)
        monkeypatch.setattr(tiles, "LANES", 4)
        for kernels in made:
            kernels.cache_clear()
    yield
    for kernels in made * SIMULATED:
        kernels.cache_clear()


def sizes():
    """Shapes of tensors: none, one and several tiles."""
    return [*SHAPES[:-1], (2 * tiles.TILE + 3 * tiles.LANES + 1,)]


def sent(arrays):
    return [cuda.to_device(array) for array in arrays]


def fetched(arrays):
    return [array.copy_to_host() for array in arrays]


@pytest.mark.parametrize("name", optimizers())
def test_every_rule_agrees_with_plain_python(name):
    params = draws(sizes())
    plain, there = Plain(name, copies(params)), sent(params)
    stepper = Stepper(name, there)
    for t in range(2):
        grads = draws(sizes(), seed=t + 1)
        plain.step(grads)
        stepper.step(sent(grads))
    if libm.of_rule(name) and not SIMULATED:
        for a, b in zip(fetched(there), plain.params, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13)
    else:
        assert_agree(name, fetched(there), plain.params)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["adam", "lamb"])
def test_the_cpu_agrees_to_the_bit_sums_included(name, dtype):
    shapes = sizes()
    here = draws(shapes, dtype)
    there = sent(here)
    ours, theirs = Stepper(name, here), Stepper(name, there)
    for t in range(2):
        grads = draws(shapes, dtype, seed=t + 1)
        ours.step(grads, lr=0.01 / (t + 1))
        theirs.step(sent(grads), lr=0.01 / (t + 1))
    rtol = 1e-6 if SIMULATED and dtype == "float32" else 0  # the simulator's math.sqrt is that of float64
    for a, b in zip(here, fetched(there), strict=True):
        np.testing.assert_allclose(b, a, rtol=rtol)
    saved = theirs.state_dict()
    for key, value in ours.state_dict().items():
        np.testing.assert_allclose(saved[key], value, rtol=rtol)


def test_a_saved_state_goes_on_to_the_bit():
    here, grads = draws([(50,)], "float32"), draws([(50,)], "float32", seed=1)
    there = sent(here)
    stepper = Stepper("adam", there)
    stepper.step(sent(grads))
    again = sent(fetched(there))
    other = Stepper("adam", again)
    other.load_state_dict(stepper.state_dict())
    for s in (stepper, other):
        s.step(sent(grads))
    assert np.array_equal(again[0].copy_to_host(), there[0].copy_to_host())


def test_arrays_of_two_devices_are_refused():
    with pytest.raises(InputError, match="on cpu"):
        Stepper("adam", [cuda.to_device(np.zeros(3)), np.zeros(3)])
    stepper = Stepper("adam", cuda.to_device(np.zeros(3)))
    with pytest.raises(InputError, match="grads are float64 on cpu, params float64 on cuda"):
        stepper.step(np.zeros(3))
    with pytest.raises(InputError, match="an int or an object with __cuda_stream__"):
        stepper.step(cuda.to_device(np.zeros(3)), stream="default")


@ON_A_GPU
def test_streams_are_the_callers():
    stream = cuda.stream()
    x = cuda.to_device(np.zeros(1 << 20, "float32"))
    g = cuda.to_device(np.ones(1 << 20, "float32"))
    stepper = Stepper("sgd", x, lr=1.0)
    for _ in range(20):
        stepper.step(g, stream=stream)  # has __cuda_stream__
    stepper.step(g, stream=int(stream.handle))
    assert (x.copy_to_host(stream=stream) == -21).all()


@ON_A_GPU
def test_a_large_tensor_has_many_tiles():
    x = np.random.default_rng(0).normal(size=10_000_019).astype("float32")
    here, there = x.copy(), cuda.to_device(x)
    for params, grads in ((here, x), (there, cuda.to_device(x))):
        Stepper("stable_adamw", params).step(grads)
    assert np.array_equal(here, there.copy_to_host())


@ON_A_GPU
@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_arrays_of_other_libraries_change_in_place(library):
    module = pytest.importorskip(library)
    x, g = draws([(3, 5), (3, 5)], "float32")
    if library == "torch":
        param, grad = module.nn.Parameter(module.tensor(x, device="cuda")), module.tensor(g, device="cuda")
        stream = module.cuda.current_stream().cuda_stream
    else:
        param, grad = module.asarray(x), module.asarray(g)
        stream = module.cuda.get_current_stream().ptr
    Stepper("adam", param).step(grad, stream=stream)
    Stepper("adam", x).step(g)
    found = param.detach().cpu().numpy() if library == "torch" else module.asnumpy(param)
    assert np.array_equal(found, x)


@ON_A_GPU
def test_jax_arrays_are_gradients_but_not_params():
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "gpu":
        pytest.skip("jax has no GPU here")
    x, g = draws([(100,), (100,)], "float32")
    there = cuda.to_device(x)
    Stepper("adam", there).step(jax.numpy.asarray(g))
    Stepper("adam", x).step(g)
    assert np.array_equal(there.copy_to_host(), x)
    with pytest.raises(InputError, match="read-only"):
        Stepper("adam", jax.numpy.zeros(3))


@ON_A_GPU
def test_dlpack_is_enough():
    torch = pytest.importorskip("torch")
    x = torch.zeros(5, device="cuda")
    Stepper("sgd", OnlyDLPack(x), lr=1.0).step(OnlyDLPack(torch.ones(5, device="cuda")))
    assert (x.cpu() == -1).all()
