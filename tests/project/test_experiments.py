"""The benchmarks run, small; a peer that is not installed is a row that says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SAID = {
    "bench_kernels": ["adamx.simulate", "torch: not installed", "square roots", "matrix products", "GFLOP/s"],
    "bench_rules": ["Rosenbrock, float64", "adam", "amsgrad"],
    "bench_sweep": ["kernel, with loading it", "MLflow: children", "import adamx", "stock multirun", "A further run"],
}


@pytest.mark.parametrize("name", SAID)
def test_a_benchmark_runs(name, tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('hidden by this test', name='torch')")
    done = subprocess.run(
        [sys.executable, EXPERIMENTS / f"{name}.py", "--quick"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for words in SAID[name]:
        assert words in done.stdout
