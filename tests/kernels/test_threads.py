"""Kernels in threads, forked processes and beside each other: the same numbers, and nothing is left changed."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from subprocess import run
from threading import Event, current_thread, main_thread
from time import sleep

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import adamx
from adamx.engine.cpu import threads

GRID = dict(hyper={"lr": np.geomspace(1e-3, 1.0, 130)}, steps=50)


def of_blas():
    return sorted((each["filepath"], each["num_threads"]) for each in threadpool_info() if each["user_api"] == "blas")


@pytest.mark.parametrize("items", [0, 1, 2, 3, 100, 1001])
@pytest.mark.parametrize("many", [1, 2, 7])
def test_every_item_is_computed_once(items, many, monkeypatch):
    monkeypatch.setattr(threads, "count", lambda: many)
    done = np.zeros(items, np.int64)

    def compute(first, last, array):
        array[first:last] += 1

    threads.share(compute, items, done)
    assert (done == 1).all()


def test_an_error_and_an_interrupt_end_it_without_the_items_that_have_not_begun(monkeypatch):
    monkeypatch.setattr(threads, "count", lambda: 2)
    for error in (ValueError, KeyboardInterrupt):
        begun, failed = [], Event()

        def compute(first, last, error=error, begun=begun, failed=failed):
            begun.append(first)
            if first:
                failed.wait(10)
                sleep(0.02)
                return
            failed.set()
            raise error

        with pytest.raises(error):
            threads.share(compute, 1_000_000)
        assert len(begun) < 16


def test_one_thread_is_the_callers_own(monkeypatch):
    monkeypatch.setattr(threads, "count", lambda: 1)
    seen = []
    threads.share(lambda first, last: seen.append(current_thread()), 10)
    assert set(seen) == {main_thread()}


def test_as_many_threads_as_are_asked_for():
    try:
        threads.use(3)
        assert threads.count() == 3
    finally:
        threads.use(None)
    assert threads.count() == threads.most()


@pytest.mark.parametrize("name", ["beale", "digits_softmax"])
def test_sweeps_in_several_threads_are_those_of_one(name):
    expected = adamx.simulate("adam", name, **GRID)
    before = of_blas()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: adamx.simulate("adam", name, **GRID), range(8)):
            assert np.array_equal(found.loss, expected.loss, equal_nan=True)
    assert of_blas() == before


FORKED = """
import os, numpy as np, adamx
grid = dict(hyper={"lr": np.geomspace(1e-3, 1.0, 130)}, steps=50)
name = "NAME"
expected = adamx.simulate("adam", name, **grid)  # kernels have run here before the fork
child = os.fork()
if not child:
    found = adamx.simulate("adam", name, **grid)
    os._exit(0 if np.array_equal(found.loss, expected.loss, equal_nan=True) else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("name", ["beale", "digits_softmax"])
def test_a_forked_process_runs_kernels(name):
    made = run([sys.executable, "-c", FORKED.replace("NAME", name)], capture_output=True, text=True, timeout=120)
    assert made.stdout == "0\n", made.stderr
