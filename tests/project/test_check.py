"""`make check`: which tests are left out, and that all others run."""

import os
import subprocess
import sys
from pathlib import Path

import uncompiled

TESTS = """
import subprocess, sys
import numba, numpy, pytest

@numba.njit(cache=True)
def twice(x):
    return 2 * x

@pytest.fixture(scope="module")
def computed():
    return twice(1)

def test_plain():
    assert twice.py_func(2) == 4

def test_compiles():
    with pytest.raises(Exception):
        twice(2.0)

def test_compiles_beforehand(computed):
    assert False

def test_starts_a_process():
    subprocess.run([sys.executable, "-c", "import adamx"])
    assert False

def test_asks_the_system():
    subprocess.run(["uname"])

def test_is_wrong():
    assert twice.py_func(2) == 5
"""


def test_what_compiles_is_left_out(tmp_path):
    """Without a mark, whether the kernel is kept on the disk or not; what is left out neither passes nor fails."""
    (tmp_path / "conftest.py").write_text("import uncompiled\nuncompiled.begin()\n")
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_all.py").write_text(f"from test_some import twice\ntwice(1)\n{TESTS}")
    environment = {**os.environ, "PYTHONPATH": str(Path(uncompiled.__file__).parent)}
    command = [sys.executable, "-c", "import test_some; test_some.twice(1); test_some.twice(2.0)"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    command = [sys.executable, "-m", "pytest", "-rA", "-q", "-p", "no:cacheprovider", tmp_path]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    assert "2 passed" in said and "1 failed" in said and "4 skipped" in said, said
    assert "FAILED test_some.py::test_is_wrong" in said
