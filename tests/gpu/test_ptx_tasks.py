"""The compiled code of task kernels for every GPU architecture, without a GPU."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ptx import CAPABILITIES, compiled

from adamx.engine import simulate as engine
from adamx.engine.arrays import prepare
from adamx.engine.chunk import Times
from adamx.engine.cuda import task
from adamx.engine.kernels.task import kind_of
from adamx.models.activations import ACTIVATIONS
from adamx.models.mlp import Mlp
from adamx.problems import Task

TIMES = Times(0, 10, 100, 76, 10)
# Drawing the first weights takes CUDA's cos, which has a way for huge arguments, never taken here: up to 64 bytes of
# local memory, and for float32 three instructions on float64.
COS_LOCAL, COS_DOUBLES = 64, 3
SPILLED = 288  # bytes of local memory at most, with those, beside 255 registers; 264 on 7.5 and 8.0, 64 on 9.0


def digits(**changes):
    """A task of the benchmark's shape."""
    x, y = np.zeros((1437, 64)), np.zeros(1437)
    return Task(
        x, y, x[:360], y[:360], **{"model": Mlp((64, 32, 10)), "loss": "softmax", "batch": 128, "target": 0.1} | changes
    )


def code(optimizer, problem, dtype="float32", capability=(9, 0), **options):
    """(Plan, Code) of the kernel for a rule on a task."""
    whole = next(engine.chunks(optimizer, problem, {"lr": 0.1}, 100, 10, dtype=dtype, **options))
    layout, kernel = task.kernel_for(kind_of(problem, whole))
    plan = task.plan(problem, whole.rule, whole.dtype, whole.instruments)
    arrays = prepare(problem, whole, layout)
    return plan, compiled(kernel, (*arrays, plan.place(1, whole.dtype, np.empty), TIMES), capability)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_kernels_of_tasks_compile_and_live_in_registers(capability):
    _, found = code("adam", digits(), capability=capability)
    print(f"\nadam on the digits, {capability}: {found.registers} registers, {found.local} bytes of local memory")
    assert sum(map(int, re.findall(r"__local_depot\d+\[(\d+)\]", found.ptx))) <= COS_LOCAL
    assert found.local <= SPILLED
    assert len(found.doubles) <= COS_DOUBLES, found.doubles
    assert found.ptx.count("ld.shared.v4") >= 6  # two for each of three products: they take numbers four at a time
    assert "call" not in found.ptx


@pytest.mark.parametrize(("optimizer", "options"), [
    ("lamb", {"schedule": "cosine"}),
    ("adam", {"storage": {"params": "bfloat16", "state": "float16", "rounding": "stochastic"}}),
    ("adam", {"instruments": ("grad_norm", "effective_lr", "sharpness")}),
    ("sgd", {"dtype": "float64"}),
])  # fmt: skip
def test_pools_schedules_storage_and_instruments_compile(optimizer, options):
    _, found = code(optimizer, digits(), **options)
    print(f"\n{optimizer} {options}: {found.registers} registers, {found.local} bytes of local memory")
    assert options.get("dtype") == "float64" or len(found.doubles) <= 3 * COS_DOUBLES, found.doubles


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_and_normalisation_compile(activation):
    problem = digits(model=Mlp((64, 32, 10), activation, "layer"))
    _, found = code("adam", problem, instruments=("sharpness",))
    print(f"\n{activation}, normalised: {found.registers} registers, {found.local} bytes of local memory")
    assert len(found.doubles) <= 3 * COS_DOUBLES, found.doubles


def test_the_benchmark_fits_plain_shared_memory():
    plan = task.plan(digits(), engine.optimizers.rule("adam"), "float32", ())
    assert plan.layers_shared and plan.shared_bytes <= 48 * 1024
    assert 128 % plan.capacity == 0
    more = task.plan(digits(), engine.optimizers.rule("adam"), "float32", (), room=160 * 1024)
    assert more.run_shared and more.capacity == 128 and more.scratch == 0
