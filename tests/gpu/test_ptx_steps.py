"""The compiled code of the kernels over tensors for every GPU architecture, without a GPU."""

from __future__ import annotations

import re

import libm
import numpy as np
import pytest
from ptx import CAPABILITIES, compiled

from adamx.engine.stepper import cuda
from adamx.engine.stepper.clock import clockwork
from adamx.optimizers import optimizers, rule


def codes(name, dtype, capability=(9, 0)):
    """The code of a rule's kernels, by name."""
    r, time = rule(name), clockwork(rule(name), dtype)
    h = r.Hyper(**r.defaults)
    numbers = time.column(h, r.initial_clock(h))
    flat, tensors, table, pool = np.zeros(1, dtype), np.zeros(1, int), np.zeros((4, 1), int), np.zeros((1, 1), dtype)
    where = (flat, flat, tensors, table, time.load_hyper(numbers, 0), time.load_now(numbers, 0), pool)
    arguments = {"add": where, "average": (table, pool, pool), "move": where}
    kernels = cuda.kernels(r, dtype)._asdict().items()
    return {name: compiled(kernel, arguments[name], capability) for name, kernel in kernels if kernel}


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_live_in_registers(dtype, capability):
    for name in ("adam", "lamb"):
        for kernel, code in codes(name, dtype, capability).items():
            print(f"\n{name} {kernel}, {dtype}, sm_{capability[0]}{capability[1]}: {code.registers} registers")
            assert code.local == 0 and ".local" not in code.ptx
            assert bool(code.doubles) == (dtype == "float64")
            assert not code.fused
            assert 0 < code.registers <= 128


@pytest.mark.parametrize("name", optimizers())
def test_every_rule_compiles_and_lives_in_registers(name):
    for code in codes(name, "float32").values():
        assert code.local == 0 and not code.doubles
        assert not code.fused or libm.of_rule(name)  # CUDA's own pow and atan2 fuse


def test_a_thread_reads_four_elements_before_it_writes_the_first():
    loop = re.findall(r"(ld|st)\.global\.f32", codes("adam", "float32")["move"].ptx)
    assert loop[:28] == ["ld"] * 16 + ["st"] * 12  # x, g, m, v of four elements; x, m, v
