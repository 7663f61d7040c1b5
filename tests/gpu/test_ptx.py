"""The compiled code of landscape kernels for every GPU architecture, without a GPU."""

from __future__ import annotations

from types import SimpleNamespace

import libm
import numba
import numpy as np
import pytest
from ptx import CAPABILITIES, codegen, compiled, dispatcher, type_of

from adamx.engine import simulate as engine
from adamx.engine.arrays import prepare
from adamx.engine.chunk import Times
from adamx.engine.cuda import device, landscape
from adamx.engine.kernels.landscape import kind_of
from adamx.optimizers import optimizers
from adamx.portable.cache import on_disk
from adamx.problems import problem, problems, settings

TIMES = Times(0, 10, 100, 76, 10)
LANDSCAPES = [name for name in problems() if "x0" in settings(name)]


def code(optimizer, p, dtype, capability=(9, 0), **options):
    """The code of the kernel for a rule on a landscape."""
    whole = next(engine.chunks(optimizer, p, {"lr": 0.1}, 100, 10, dtype=dtype, **options))
    layout, kernel = landscape.kernel_for(kind_of(p, whole))
    return compiled(kernel, (*prepare(p, whole, layout), TIMES), capability)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_of_landscapes_live_in_registers(dtype, capability):
    found = code("adam", problem("rosenbrock"), dtype, capability)
    print(f"\nadam on rosenbrock, {dtype}, sm_{capability[0]}{capability[1]}: {found.registers} registers")
    assert found.local == 0 and ".local" not in found.ptx
    assert not found.fused
    assert bool(found.doubles) == (dtype == "float64")
    assert 0 < found.registers < 255


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_eight_coordinates_live_in_registers(dtype):
    found = code("adam", problem("quadratic", {"curvature": np.geomspace(1, 100, 8).tolist()}), dtype)
    print(f"\nadam on 8 coordinates, {dtype}: {found.registers} registers, {found.local} bytes of local memory")
    assert found.local == 0 and ".local" not in found.ptx


# CUDA's own cos and pow of a float32, for rare arguments, go through float64 and local memory: libm.py.


@pytest.mark.parametrize("name", optimizers())
def test_every_rule_compiles_and_lives_in_registers(name):
    found = code(name, problem("rosenbrock"), "float32", schedule="linear")
    assert (found.local == 0 and not found.doubles) or libm.of_rule(name), (found.local, found.doubles[:3])


@pytest.mark.parametrize("name", LANDSCAPES)
def test_every_landscape_compiles_and_lives_in_registers(name):
    found = code("adam", problem(name), "float32", schedule="inverse_sqrt")
    assert (found.local == 0 and not found.doubles) or libm.of_landscape(name), (found.local, found.doubles[:3])


def test_noise_rounding_and_instruments_compile():
    storage = {"params": "bfloat16", "state": "float16", "rounding": "stochastic"}
    shown = ("grad_norm", "effective_lr", "lag", "distance", "path", "sharpness", "crossings")
    p = problem("long_valley", {"noise": 0.1})
    found = code("adam", p, "float32", storage=storage, schedule="cosine", instruments=shown)
    print(f"\nwith noise, rounding and instruments: {found.registers} registers, {found.local} bytes of local memory")
    assert 0 < found.registers <= 255


def test_a_kernel_is_kept_on_disk_and_never_fused(monkeypatch, tmp_path):
    """The way of `gpu.launch` up to the card, where the driver alone is stood in for."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=(9, 0)))
    monkeypatch.setattr(codegen.JITCUDACodegen, "magic_tuple", lambda self: "cc 9.0")
    monkeypatch.setattr(codegen.CUDACodeLibrary, "_ensure_cc", lambda self, cc: cc or (9, 0))
    monkeypatch.setattr(dispatcher._Kernel, "bind", lambda self: self._codelibrary.get_cubin(cc=(9, 0)))
    launched = []
    monkeypatch.setattr(dispatcher.CUDADispatcher, "__getitem__", lambda self, shape: lambda *_: launched.append(shape))
    monkeypatch.setattr(dispatcher.CUDADispatcher, "typeof_pyval", lambda self, value: type_of(value))
    p = problem("rosenbrock")
    whole = next(engine.chunks("adam", p, {"lr": 0.1}, 100, 10, dtype="float32"))
    layout, kernel = landscape.kernel_for(kind_of(p, whole))
    arguments = (*prepare(p, whole, layout), TIMES)
    for kept in (False, True):
        made = device.jit(kernel, "test", "float32")
        assert on_disk(made) == kept
        for _ in range(2):
            device.launch(made, (1, 32, 0, 0), arguments)
        (code,) = made.overloads.values()
        assert "fma" not in code._codelibrary.get_asm_str(cc=(9, 0))
        assert sum(made._cache_misses.values()) == (not kept) and on_disk(made)
    assert launched == [(1, 32, 0, 0)] * 4
