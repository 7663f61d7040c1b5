"""Write once: typed numbers, and a disk cache that an edit anywhere invalidates and nothing else does."""

import math
import os
import subprocess
import sys
import textwrap
from typing import NamedTuple

import libm
import numba
import numpy as np
import pytest

import adamx
from adamx.optimizers import optimizers
from adamx.portable import portable, specialise
from adamx.portable.cache import cached, digest
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


@pytest.mark.parametrize("kind", ["nbc", "nbi"])
@pytest.mark.parametrize("damage", [changed, lambda content: content[:-9], lambda content: b""])
def test_a_damaged_file_of_the_cache_is_compiled_again(kind, damage, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert [hits(doubled()), hits(doubled())] == [0, 1]
    (path,) = tmp_path.rglob(f"*.{kind}")
    path.write_bytes(damage(path.read_bytes()))
    assert [hits(doubled()), hits(doubled())] == [0, 1]


def test_where_nothing_can_be_kept_a_kernel_is_compiled_and_it_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file"))
    locators = [numba.core.caching.UserProvidedCacheLocator]
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", locators)
    with pytest.warns(RuntimeWarning, match="doubled is compiled anew in every process: no folder .* NUMBA_CACHE_DIR"):
        kernel = doubled()
    assert hits(kernel) == 0


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX owners are not installed here")
@pytest.mark.parametrize(
    ("own", "mode", "said"), [(True, 0o777, "every user can write"), (False, 0o700, "is another user's")]
)
def test_kernels_that_others_may_have_written_do_not_run(own, mode, said, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    assert hits(doubled()) == 0
    (folder,) = {path.parent for path in tmp_path.rglob("*.nbi")}
    folder.chmod(mode)
    if not own:
        monkeypatch.setattr("adamx.portable.cache._trusted", lambda: {12345})
    with pytest.warns(RuntimeWarning, match=f"doubled is compiled anew in every process: .*{said}"):
        kernel = doubled()
    assert hits(kernel) == 0


def test_a_full_disk_stops_no_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def full(*_):
        raise OSError(28, "No space left on device")

    kernel = doubled()
    monkeypatch.setattr(kernel._cache._cache_file, "_open_for_write", full)
    assert hits(kernel) == 0 and not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_calls_libm_is_known_from_its_code():
    assert {"spam", "adam_atan2", "padam"} <= {name for name in optimizers() if libm.of_rule(name)}
    assert not any(map(libm.of_rule, ("adam", "lamb", "nadam", "radam", "lion")))
    assert libm.of_landscape("rastrigin") and libm.of_landscape("power") and not libm.of_landscape("rosenbrock")
