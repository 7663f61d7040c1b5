"""The CUDA backend on a GPU, or in Numba's simulator (NUMBA_ENABLE_CUDASIM=1), against the CPU."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import libm
import numpy as np
import pytest
from needs_gpu import QUIET, SIMULATED, quick_turns  # noqa: F401
from numba.cuda.cudadrv.driver import CudaAPIError
from runs import assert_same
from tasks import task

import adamx
from adamx import instruments
from adamx.engine import backends
from adamx.engine import simulate as engine
from adamx.engine.cuda import backend, device
from adamx.engine.cuda import task as blocks
from adamx.inputs.errors import InputError
from adamx.optimizers import optimizers
from adamx.problems import problem, problems, settings

pytestmark = QUIET
LANDSCAPES = [name for name in problems() if "x0" in settings(name)]
GRID = adamx.grid(lr=[1e-3, 1e-2], seed=[0, 1, 2])
LIBM = 1e-12 if not SIMULATED else 0.0  # relative, of runs of 20 steps whose cos, log or pow are CUDA's


def both(optimizer, name, hyper=GRID, steps=20, record_every=6, **options):
    """The same runs on the CPU and on the GPU."""
    arguments = (optimizer, name, hyper, steps, record_every)
    return adamx.simulate(*arguments, **options), adamx.simulate(*arguments, backend="cuda", **options)


def assert_agree(cpu, there, rtol):
    if not rtol:
        assert_same(cpu, there)
        return
    pairs = [(cpu.loss, there.loss), (cpu.x, there.x)]
    for a, b in [*pairs, *((cpu.curves[k], there.curves[k]) for k in cpu.curves)]:
        np.testing.assert_allclose(b, a, rtol=rtol, atol=rtol)
    assert (cpu.regime == there.regime).all()


@pytest.mark.parametrize("name", optimizers())
def test_every_rule_agrees_to_the_bit_in_float64(name):
    cpu, there = both(name, "rosenbrock")
    assert there.backend == "cuda"
    assert_agree(cpu, there, LIBM if libm.of_rule(name) else 0.0)


@pytest.mark.parametrize("name", LANDSCAPES)
def test_every_landscape_agrees(name):
    cpu, there = both("adam", name)
    assert_agree(cpu, there, LIBM if libm.of_landscape(name) else 0.0)


def test_every_instrument_agrees():
    cpu, there = both("adam", "beale", instruments=tuple(instruments.INSTRUMENTS))
    assert len(there.curves) > len(instruments.INSTRUMENTS) and "crossings" in there.figures
    assert_agree(cpu, there, 0.0)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "inverse_sqrt"])
def test_schedules_and_starts_agree(schedule):
    grid = {**GRID, "lr_warmup": np.arange(6.0), "lr_end": np.linspace(0, 0.5, 6)}
    starts = np.random.default_rng(0).normal(size=(6, 2))
    assert_agree(
        *both("nadam", "himmelblau", grid, schedule=schedule, x0=starts), LIBM if schedule == "cosine" else 0.0
    )


def test_noise_agrees():
    p = problem("quadratic", {"noise": 0.3})
    cpu, there = both("adam", p)
    assert_agree(cpu, there, LIBM)
    assert len(np.unique(cpu.x, axis=0)) == 6  # of every seed its own


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_precision_agrees(dtype, rounding):
    cpu, there = both("momentum", "rosenbrock", dtype=dtype, storage={"rounding": rounding})
    assert_agree(cpu, there, 0.0)


def test_float32_agrees():
    """Rules without libm to the bit on a GPU; the simulator's square roots are float64."""
    assert_agree(*both("adam", "rosenbrock", dtype="float32"), 1e-5 if SIMULATED else 0.0)


def test_bits_do_not_depend_on_batches_launches_or_neighbours(monkeypatch):
    hyper = {"lr": np.geomspace(1e-4, 1e150, 21), "eps": np.geomspace(1e-12, 1, 21)[::-1]}
    arguments = dict(steps=15, record_every=4, backend="cuda", instruments=("crossings",))
    together = adamx.simulate("adam", "rosenbrock", hyper, **arguments)
    assert_same(together, adamx.simulate("adam", "rosenbrock", hyper, **arguments))
    assert "diverged" in together.regime

    monkeypatch.setattr(backend, "chunk_runs", lambda *_: 4)
    monkeypatch.setattr(backend, "LAUNCH_SECONDS", 0.0)
    monkeypatch.setattr(backend, "FIRST_STEPS", 1)
    ticks: list[int] = []
    parts = list(engine.stream("adam", problem("rosenbrock"), hyper, tick=ticks.append, **arguments))
    assert len(parts) == 6 and len(ticks) == 16 * 6
    assert_same(together, adamx.engine.results.concatenate(parts))


def test_tasks_agree_through_the_backend(quick_turns, monkeypatch):  # noqa: F811
    for name in ("plan", "kernel_for"):
        monkeypatch.setattr(blocks, name, partial(getattr(blocks, name), threads=8))
    problem = replace(task("softmax", (3,)), name="tiny")
    cpu, there = both("adam", problem, {"lr": [0.01, 0.3], "seed": [1, 2]}, 4, 2)
    assert there.backend == "cuda" and cpu.curves.keys() == there.curves.keys()
    assert_agree(cpu, there, 1e-12)


def short_of_memory(real, most):
    def launch(kernel, shape, arguments):
        if len(arguments[0].seeds) > most:
            raise CudaAPIError(*([] if SIMULATED else [2]), "CUDA_ERROR_OUT_OF_MEMORY: out of memory")
        real(kernel, shape, arguments)

    return launch


def test_out_of_memory_halves_the_batch(monkeypatch):
    whole = adamx.simulate("adam", "beale", GRID, 10, backend="cuda")
    monkeypatch.setattr(device, "launch", short_of_memory(device.launch, 2))
    assert_same(whole, adamx.simulate("adam", "beale", GRID, 10, backend="cuda"))
    monkeypatch.setattr(device, "launch", short_of_memory(device.launch, 0))
    with pytest.raises(InputError, match="one run of 10 steps does not fit the memory"):
        adamx.simulate("adam", "beale", GRID, 10, backend="cuda")


def test_a_failed_launch_names_its_cause_after_what_was_finished(monkeypatch):
    real, left = device.launch, [3]

    def launch(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise CudaAPIError(*([] if SIMULATED else [719]), "CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure")
        real(*arguments)

    monkeypatch.setattr(backend, "chunk_runs", lambda *_: 2)
    monkeypatch.setattr(backend, "at_once", lambda: 1)
    monkeypatch.setattr(backend, "FIRST_STEPS", 1000)
    monkeypatch.setattr(device, "launch", launch)
    parts = engine.stream("adam", problem("beale"), {"lr": np.full(10, 0.01)}, 10, backend="cuda")
    assert [len(next(parts)) for _ in range(3)] == [2, 2, 2]
    with pytest.raises(InputError, match=r"the GPU stopped: .*LAUNCH_FAILED"):
        next(parts)


def test_auto_takes_the_gpu_and_says_which():
    assert adamx.simulate("adam", "beale", {}, 3, backend="auto").backend == "cuda"
    said = backends.configure({"name": "auto", "threads": None, "devices": "all"})
    assert said == f"backend=cuda: {device.describe()}" and backends.devices() == {"gpu": device.describe()}


@pytest.mark.parametrize("typed", ["some", 0, 99, [], [0, 99], 1.5, None, "0"])
def test_devices_that_are_not_there(typed):
    with pytest.raises(InputError, match=r"backend.devices is .*: all, how many, or numbers from 0 to"):
        device.use(typed)


@pytest.mark.parametrize("typed", ["all", 1, [0]])
def test_devices(typed):
    device.use(typed)
    assert device.count() >= 1
    device.use(1)
    assert device.count() == 1


@pytest.mark.skipif(SIMULATED, reason="10,000 runs are for a GPU")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_regimes_agree_on_ten_thousand_runs(dtype):
    grid = adamx.grid(lr=np.geomspace(1e-4, 1, 100), eps=np.geomspace(1e-12, 1, 100))
    cpu, there = both("adam", "rosenbrock", grid, 5000, 5000, dtype=dtype)
    differ = int((cpu.regime != there.regime).sum())
    print(f"\n{differ} of {len(cpu):,} runs have another regime on the GPU in {dtype}")
    assert differ <= (0 if dtype == "float64" else 10)
