"""Imported by tests that run kernels on a GPU or in Numba's simulator: where there is neither, they are skipped."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'adamx[cuda]'")

from numba import config, cuda

SIMULATED = bool(config.ENABLE_CUDASIM)  # kernels are plain Python; `NUMBA_ENABLE_CUDASIM=1` makes them so
if not (SIMULATED or cuda.is_available()):
    pytest.skip("neither a GPU nor NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)
QUIET = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the simulator's scalars are NumPy's, and warn


@pytest.fixture
def quick_turns():
    """The simulator asks in a loop whether all threads wait at a barrier: they run more if it yields sooner."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)
