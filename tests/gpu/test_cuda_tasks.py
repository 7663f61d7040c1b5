"""Tasks on a GPU, a block of threads a run, against the same training by one thread in plain Python.

A GPU is needed, or Numba's simulator: NUMBA_ENABLE_CUDASIM=1. NumPy and Numba are all that is imported.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from needs_gpu import QUIET, quick_turns  # noqa: F401
from numba import cuda
from tasks import task

from adamx.engine import simulate as engine
from adamx.engine.arrays import prepare
from adamx.engine.cpu import task as training
from adamx.engine.cuda import device
from adamx.engine.cuda import task as blocks
from adamx.engine.kernels.task import kind_of
from adamx.models.activations import ACTIVATIONS
from adamx.models.mlp import NORMS

pytestmark = [QUIET, pytest.mark.usefixtures("quick_turns")]
STEPS, EVERY = 7, 3


def chunk(optimizer, problem, lr=(0.01, 0.3), seed=(1, 2), **options):
    return next(engine.chunks(optimizer, problem, {"lr": list(lr)}, STEPS, EVERY, seed=list(seed), **options))


def on_cpu(problem, whole):
    """The arrays after training in plain Python."""
    layout, kernel = training.kernel_for(kind_of(problem, whole))
    arrays = prepare(problem, whole, layout)
    with np.errstate(all="ignore"):
        for times in whole.launches(STEPS // 2, 1.0):
            kernel.py_func(0, len(whole), *arrays, times)
    return arrays


def plan(problem, whole, threads, room):
    return blocks.plan(problem, whole.rule, whole.dtype, whole.instruments, threads, room)


def on_gpu(problem, whole, threads=8, grid=None, room=blocks.SHARED_BYTES):
    """The arrays after training in blocks, as many as runs or `grid`; `room` is the shared memory of a block."""
    layout, kernel = blocks.kernel_for(kind_of(problem, whole), threads)
    made = plan(problem, whole, threads, room)
    arrays = prepare(problem, whole, layout)
    grid = grid or len(whole)
    there = [group._make(cuda.to_device(v) if isinstance(v, np.ndarray) else v for v in group) for group in arrays]
    place = made.place(grid, whole.dtype, lambda shape, dtype: cuda.to_device(np.zeros(shape, dtype)))
    compiled = device.jit(kernel, "test", whole.dtype)
    for times in whole.launches(STEPS // 2, 1.0):
        device.launch(compiled, (grid, threads, 0, made.shared_bytes), (*there, place, times))
    return arrays._make(
        group._make(v.copy_to_host() if hasattr(v, "copy_to_host") else v for v in group) for group in there
    )


def same(a, b, within=0.0):
    for group, names in (("curves", ("scores", "shown")), ("runs", ("x", "carry", "marks"))):
        for name in names:
            pair = (getattr(getattr(each, group), name) for each in (a, b))
            np.testing.assert_allclose(*pair, rtol=within, atol=within, err_msg=name)


@pytest.mark.parametrize("loss", ["softmax", "logistic", "squares"])
@pytest.mark.parametrize(("hidden", "batch"), [((), 5), ((3,), 0), ((4, 3), 5)])
@pytest.mark.parametrize("optimizer", ["adam", "lamb", "sgd"])
def test_a_block_trains_as_the_cpu_does(optimizer, hidden, batch, loss):
    problem = task(loss, hidden, batch)
    whole = chunk(optimizer, problem)
    same(on_gpu(problem, whole), on_cpu(problem, whole), 1e-10)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_norm(activation, norm):
    problem = task(hidden=(4, 3), rows=37, batch=35, activation=activation, norm=norm)
    whole = chunk("lamb", problem, instruments=["grad_norm"])
    same(on_gpu(problem, whole, room=6000), on_cpu(problem, whole), 1e-10)
    whole = chunk("adam", problem, instruments=["sharpness"])
    same(on_gpu(problem, whole), on_cpu(problem, whole), 1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "lamb"])
def test_in_float32_with_a_schedule(optimizer):
    problem = task(hidden=(3,))
    whole = chunk(optimizer, problem, dtype="float32", schedule="cosine")
    same(on_gpu(problem, whole), on_cpu(problem, whole), 1e-4)


@pytest.mark.parametrize("threads", [1, 5, 32])
def test_any_number_of_threads_gives_the_same_and_the_same_again(threads):
    problem = task(hidden=(3,))
    whole = chunk("lamb", problem)
    once, again = on_gpu(problem, whole, threads), on_gpu(problem, whole, threads)
    same(once, on_cpu(problem, whole), 1e-10)
    same(once, again)


@pytest.mark.parametrize(
    ("room", "layers", "own"), [(0, False, False), (8000, False, True), (9100, True, False), (14000, True, True)]
)
def test_numbers_lie_where_there_is_room(room, layers, own):
    problem = task(hidden=(4,), batch=0, features=5, rows=37)
    whole = chunk("adam", problem)
    found = plan(problem, whole, 8, room)
    assert (found.layers_shared, found.run_shared) == (layers, own)
    same(on_gpu(problem, whole, room=room), on_cpu(problem, whole), 1e-10)


def test_a_run_is_the_same_in_any_company():
    problem = task(hidden=(3,))
    whole = chunk("adam", problem, lr=(0.01, 0.1, 1.0), seed=(1, 2, 3))
    together, in_turn, apart = (
        on_gpu(problem, whole),
        on_gpu(problem, whole, grid=2),
        on_gpu(problem, whole.part(slice(1, 2))),
    )
    same(together, in_turn)
    np.testing.assert_array_equal(apart.runs.x[0], together.runs.x[1])
    np.testing.assert_array_equal(apart.curves.scores[:, :, 0], together.curves.scores[:, :, 1])


def test_instruments_and_sharpness():
    problem = task(hidden=(3,))
    whole = chunk("adam", problem, instruments=["grad_norm", "largest_step", "effective_lr", "sharpness"])
    same(on_gpu(problem, whole), on_cpu(problem, whole), 1e-6)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_numbers_kept_in_16_bits(rounding):
    """Mostly the same bits: a sum that another order of addition moves over a boundary is another number."""
    problem = task(hidden=(3,))
    storage = {"params": "bfloat16", "state": "bfloat16", "rounding": rounding}
    whole = chunk("adam", problem, dtype="float32", storage=storage)
    gpus, cpus = on_gpu(problem, whole).runs.x, on_cpu(problem, whole).runs.x
    assert not (gpus.view(np.int32) & 65535).any()
    assert (gpus == cpus).mean() > 0.9
    np.testing.assert_allclose(gpus, cpus, rtol=2**-6, atol=1e-3)


def test_a_run_that_diverges():
    problem = task("squares", hidden=(3,))
    whole = chunk("sgd", problem, lr=(1e3, 0.01))
    gpus, cpus = on_gpu(problem, whole), on_cpu(problem, whole)
    assert not np.isfinite(gpus.curves.scores[0, -1, 0])
    np.testing.assert_array_equal(gpus.runs.marks, cpus.runs.marks)


def test_nothing_held_out():
    """A run does not depend on the held-out rows, and there may be none."""
    some = task()
    none = replace(some, val_x=some.val_x[:0], val_y=some.val_y[:0])
    with_rows, without = (on_gpu(problem, chunk("adam", problem)) for problem in (some, none))
    np.testing.assert_array_equal(without.curves.scores[:2], with_rows.curves.scores[:2])
    for name in ("x", "carry", "marks"):
        np.testing.assert_array_equal(getattr(without.runs, name), getattr(with_rows.runs, name))
