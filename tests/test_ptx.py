"""The compiled code of landscape kernels for every GPU architecture, without a GPU."""

from __future__ import annotations

import numpy as np
import pytest
from ptx import CAPABILITIES, compiled

from adamx import engine
from adamx.arrays import prepare
from adamx.lane import kind_of
from adamx.optimizer import optimizers
from adamx.problem import problem, problems, settings

TIMES = (0, 10, 100, 76, 10)
LANDSCAPES = [name for name in problems() if "x0" in settings(name)]


def code(optimizer, p, dtype, capability=(9, 0), **options):
    """The code of the kernel for a rule on a landscape."""
    from adamx import threads

    whole = next(engine.chunks(optimizer, p, {"lr": 0.1}, 100, 10, dtype=dtype, **options))
    layout, kernel = threads.kernel_for(kind_of(p, whole))
    return compiled(kernel, (*prepare(p, whole, layout), *TIMES), capability)


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


# CUDA's own cos and pow of a float32 have ways for rare arguments in float64, and in local memory.
USE_LIBM = ("spam", "rastrigin", "power")


@pytest.mark.parametrize("name", optimizers())
def test_every_rule_compiles_and_lives_in_registers(name):
    found = code(name, problem("rosenbrock"), "float32", schedule="linear")
    assert (found.local == 0 and not found.doubles) or name in USE_LIBM, (found.local, found.doubles[:3])


@pytest.mark.parametrize("name", LANDSCAPES)
def test_every_landscape_compiles_and_lives_in_registers(name):
    found = code("adam", problem(name), "float32", schedule="inverse_sqrt")
    assert (found.local == 0 and not found.doubles) or name in USE_LIBM, (found.local, found.doubles[:3])


def test_noise_rounding_and_instruments_compile():
    storage = {"params": "bfloat16", "state": "float16", "rounding": "stochastic"}
    shown = ("grad_norm", "effective_lr", "lag", "distance", "path", "sharpness", "crossings")
    p = problem("long_valley", {"noise": 0.1})
    found = code("adam", p, "float32", storage=storage, schedule="cosine", instruments=shown)
    print(f"\nwith noise, rounding and instruments: {found.registers} registers, {found.local} bytes of local memory")
    assert 0 < found.registers <= 255
