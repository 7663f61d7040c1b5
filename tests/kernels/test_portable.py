"""Write once: typed numbers, and a disk cache that an edit anywhere invalidates and nothing else does."""

import math
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import NamedTuple

import libm
import numba
import numpy as np
import pytest
from numba.core.bytecode import FunctionIdentity

import adamx
from adamx.optimizers import optimizers
from adamx.portable import portable, specialise
from adamx.portable.cache import cached, digest, folder_of
from adamx.portable.unroll import generate, rows

SCALE = 0.1


class Pair(NamedTuple):
    a: float
    b: float


@portable
def inner(x):
    return 1 - SCALE * x


@portable
def outer(x, n):
    pair = (x, inner(x))
    return pair[1] ** 2 + 0.5 * x / 3 + math.pi * float(n >> 1)


def test_float64_is_the_function_itself():
    assert specialise(outer, "float64") is outer


def test_every_number_has_the_type_of_the_data():
    x = np.float32(1.7)
    value = specialise(outer, "float32")(x, 5)
    assert type(value) is np.float32
    f = np.float32
    assert value == (f(1) - f(SCALE) * x) ** 2 + f(0.5) * x / f(3) + f(math.pi) * f(2)


def test_errors_name_the_line_of_the_source():
    with pytest.raises(TypeError) as error:
        specialise(outer, "float32")(None, 1)
    assert error.traceback[-1].path.name == "test_portable.py"


def test_rows_read_and_write_named_tuples():
    load, store, after = rows(Pair, 3)
    a = np.zeros((6, 2))
    store(a, 1, Pair(1.0, 2.0))
    assert load(a, 1) == Pair(1.0, 2.0)
    assert after == 5
    assert a[:, 1].tolist() == [0, 0, 0, 1, 2, 0]


def test_digest_follows_functions_values_and_closures():
    def close(value):
        def fn(x):
            return x + value

        return fn

    assert digest(close(1)) == digest(close(1)) != digest(close(2))
    assert digest(outer, "float32") != digest(outer, "float64")
    one, two = (generate(f"def f(x):\n    return x * {n}\n") for n in (1, 2))
    assert digest(one) != digest(two)
    assert digest(generate("def f(x):\n    return g(x)\n", g=one)) != digest(
        generate("def f(x):\n    return g(x)\n", g=two)
    )


def test_an_edit_within_a_process_is_seen(tmp_path):
    path = tmp_path / "bowl.py"
    text = "from adamx.portable import portable\nstart = (1.0,)\n"
    text += "@portable\ndef term(x, p):\n    return C * x * x, 2 * C * x\n"
    losses = []
    for c in (1.0, 3.0, 3.0):
        path.write_text(text.replace("C", str(c)))
        losses.append(adamx.simulate("sgd", str(path), {"lr": 0.125}, 1, dtype="float32").loss[:, 0].tolist())
    assert losses == [[1.0, 0.5625], [3.0, 0.1875], [3.0, 0.1875]]


def test_a_stale_kernel_is_seen(monkeypatch, tmp_path):
    """With a cache that does not look at the sources, as Numba's own, an edited problem would run as it was."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))  # nothing stale stays behind
    test_an_edit_within_a_process_is_seen(tmp_path)
    monkeypatch.setattr("adamx.portable.cache.digest", lambda *_: "always the same")
    (tmp_path / "other").mkdir()
    with pytest.raises(AssertionError):
        test_an_edit_within_a_process_is_seen(tmp_path / "other")


SWEEP = """
import sys
import numba.core.event as event
import adamx
with event.install_recorder("numba:compile") as compiled:
    loss = adamx.simulate(sys.argv[1], sys.argv[2], {"lr": 0.125}, 1).loss[-1, 0]
print(len(compiled.buffer) > 0, loss)
"""


def test_a_second_process_does_not_compile_and_an_edit_does(tmp_path):
    """For a rule and for a user's problem: first run, second run, edited helper, edited back."""
    helper, rule, bowl = tmp_path / "my_helper.py", tmp_path / "my_rule.py", tmp_path / "my_bowl.py"
    rule.write_text(
        textwrap.dedent("""
            from typing import NamedTuple
            from adamx.portable import portable
            class Hyper(NamedTuple):
                lr: float = 0.1
            @portable
            def update(x, g, state, h, now):
                return x - h.lr * g, state
        """)
    )
    bowl.write_text(
        textwrap.dedent("""
            from adamx.portable import portable
            from my_helper import curvature
            start = (1.0,)
            @portable
            def value_and_grad(x, p):
                return 0.5 * curvature(x[0]) * x[0] * x[0], (curvature(x[0]) * x[0],)
        """)
    )

    def write_helper(curvature):
        helper.write_text(
            f"from adamx.portable import portable\n@portable\ndef curvature(x):\n    return {curvature}.0\n"
        )

    def sweep():
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # a helper edited within a second keeps its old .pyc
        command = [sys.executable, "-c", SWEEP, str(rule), str(bowl)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        compiled, loss = done.stdout.split()
        return compiled == "True", float(loss)

    write_helper(1)
    assert sweep() == (True, 0.5 * 0.875**2)
    assert sweep() == (False, 0.5 * 0.875**2)
    write_helper(2)
    assert sweep() == (True, 0.75**2)
    rule.write_text(rule.read_text().replace("x - h.lr * g", "x - 2 * h.lr * g"))
    assert sweep() == (True, 0.5**2)
    assert sweep() == (False, 0.5**2)


@portable
def scaled(x, by=0.1):
    return by * x


def test_a_default_survives_and_has_the_type_of_the_data():
    value = specialise(scaled, "float32")(np.float32(3))
    assert type(value) is np.float32 and value == np.float32(0.1) * np.float32(3)


def doubled():
    """A kernel that was never seen in this process."""

    def kernel(x):
        return 2.0 * x

    return cached(numba.njit, kernel, "doubled")


def hits(kernel):
    assert kernel(3.0) == 6.0
    return sum(kernel.stats.cache_hits.values())


def changed(content):
    return content[:200] + bytes([content[200] ^ 1]) + content[201:]


@pytest.mark.parametrize("damage", [changed, lambda content: content[:-9], lambda content: b""])
def test_a_damaged_file_of_the_cache_is_compiled_again(damage, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert [hits(doubled()), hits(doubled())] == [0, 1]
    (path,) = tmp_path.rglob("*.nbc")
    path.write_bytes(damage(path.read_bytes()))
    assert [hits(doubled()), hits(doubled())] == [0, 1]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine on which Numba finds no folder for kernels."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file"))
    locators = [numba.core.caching.UserProvidedCacheLocator]
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", locators)


@pytest.mark.usefixtures("nowhere")
def test_a_private_temporary_folder_is_the_last_resort(temporary):
    kernel = doubled()
    assert [hits(kernel), hits(doubled())] == [0, 1]
    (made,) = temporary.iterdir()
    assert folder_of(kernel) == made and made.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("nowhere")
def test_where_nothing_can_be_kept_a_kernel_is_compiled_and_it_is_said(temporary):
    temporary.rmdir()
    with pytest.warns(RuntimeWarning, match="kernels are compiled anew in every process: no folder .* NUMBA_CACHE_DIR"):
        kernel = doubled()
    assert hits(kernel) == 0 and folder_of(kernel) is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX owners are not installed here")
def test_kernels_that_others_may_have_written_do_not_run(temporary, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    assert hits(doubled()) == 0
    (folder,) = {path.parent for path in (tmp_path / "cache").rglob("*.nbc")}
    folder.chmod(0o777)
    with pytest.warns(RuntimeWarning, match=f"every user can write to .*{folder.name}, so they are kept elsewhere"):
        kernel = doubled()
    assert [hits(kernel), folder_of(kernel).parent] == [0, temporary]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX owners are not installed here")
def test_kernels_of_another_user_do_not_run(temporary, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    assert hits(doubled()) == 0
    monkeypatch.setattr(
        "adamx.portable.cache._trusted", lambda: {12345}
    )  # who owns no folder, the temporary one neither
    with pytest.warns(RuntimeWarning) as said:
        kernel = doubled()
    assert hits(kernel) == 0 and folder_of(kernel) is None
    assert ["kept elsewhere" in str(said[0].message), "is another user's" in str(said[0].message)] == [True, True]
    assert "compiled anew in every process" in str(said[-1].message)


def test_a_full_disk_stops_no_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def full(*_):
        raise OSError(28, "No space left on device")

    kernel = doubled()
    monkeypatch.setattr(Path, "write_bytes", full)
    assert hits(kernel) == 0 and not list(tmp_path.rglob("*.nbc")) + list(tmp_path.rglob("*.tmp"))


SHARED = """
import sys, numba
from adamx.portable.cache import cached

def kernel(x):
    return 2.0 * x

made = cached(numba.njit, kernel, "shared")
print("ready", flush=True)
sys.stdin.readline()
assert made(3.0) == 6.0
print(sum(made.stats.cache_misses.values()))
"""


def test_of_processes_that_need_a_kernel_at_once_one_compiles_it(tmp_path):
    file = tmp_path / "shared.py"
    file.write_text(SHARED)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    pipe = subprocess.PIPE
    line = [sys.executable, str(file)]
    started = [subprocess.Popen(line, env=environment, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    assert [p.stdout.readline() for p in started] == ["ready\n"] * 4
    for p in started:
        p.stdin.write("go\n")
        p.stdin.flush()
    assert sorted(p.communicate(timeout=120)[0].strip() for p in started) == ["0", "0", "0", "1"]


def test_what_calls_libm_is_known_from_its_code():
    assert {"spam", "adam_atan2", "padam"} <= {name for name in optimizers() if libm.of_rule(name)}
    assert not any(map(libm.of_rule, ("adam", "lamb", "nadam", "radam", "lion")))
    assert libm.of_landscape("rastrigin") and libm.of_landscape("power") and not libm.of_landscape("rosenbrock")


def test_kernels_of_two_processes_do_not_mix(tmp_path):
    """Each compiles one; where both are loaded, each calls its own functions."""
    code = """
import sys, adamx
for name in sys.argv[1:]:
    print(name, adamx.simulate("adam", name, {"lr": [0.003, 0.02]}, 5).loss[-1].tolist())
"""

    def said(*names):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        made = subprocess.run(
            [sys.executable, "-c", code, *names], capture_output=True, text=True, check=True, env=environment
        )
        return made.stdout

    apart = said("rosenbrock") + said("beale")
    assert said("rosenbrock", "beale") == apart


def test_numba_still_counts_the_functions_of_a_process_as_it_did():
    assert FunctionIdentity.from_function(lambda: None).unique_id > 2**20, "see the top of portable/cache.py"
