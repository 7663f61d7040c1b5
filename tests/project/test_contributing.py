"""CONTRIBUTING.md's steps for new parts, done in a temporary folder: nothing but the one file is needed."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

import adamx
from adamx import engine, instruments, optimizers, problems, reproduce
from adamx.engine import backends
from adamx.inputs.errors import InputError
from adamx.inputs.files import names
from adamx.optimizers import __main__ as catalogue
from adamx.reproduce import __main__ as reproducing

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"

RULE = '''"""Sign descent. Nobody 2026.

x_t = x_{t-1} - lr sign(g_t)
"""

from typing import NamedTuple

from adamx.portable import portable

EPS = "none"
RANGES = {"share": (0, 1)}


class Hyper(NamedTuple):
    lr: float = 0.01
    share: float = 1.0


@portable
def update(x, g, state, h, now):
    return x - h.lr * h.share * (1.0 if g > 0 else -1.0), state
'''

VALLEY = '''"""A valley: f = (x - a)^4 + y^2, a = 1. Minimum 0 at (a, 0)."""

from typing import NamedTuple

from adamx.portable import portable


class Params(NamedTuple):
    a: float = 1.0


start = (0.0, 1.0)
minimum = 0.0


@portable
def value_and_grad(x, p):
    d = x[0] - p.a
    return d**4 + x[1] * x[1], (4 * d**3, 2 * x[1])
'''

STUDY = '''"""Gradient descent halves: with lr = 1/4 on x² each step halves x.

Measured over four steps.
"""

import adamx
from adamx.reproduce import near

CLAIMS = "99"
SOURCE = "derived"
SECONDS = 1
QUICK = True


def run():
    return {"one": adamx.simulate("sgd", "quadratic", {"lr": 0.25}, 4, problem_args={"curvature": 2.0})}


def check(runs):
    return [near("x after 4 steps", 1 / 16, float(runs["one"].x[0, 0]), 1e-12, "rounding")]


def figure(runs):
    from matplotlib.figure import Figure

    return Figure()
'''

BACKEND = '''"""The CPU's, counted."""

from adamx.engine.cpu import backend as cpu
from adamx.engine.cpu.backend import at_once, chunk_runs, compiled

RAN = []


def configure(settings):
    return f"backend=counted with {settings['share']}"


def run(problem, chunk):
    RAN.append(len(chunk))
    return cpu.run(problem, chunk)
'''


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Puts a file into a package that looks into its folder: add(package, name, content)."""

    def add(package, name, content):
        folder = tmp_path / package.__name__
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        if str(folder) not in package.__path__:
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        names.cache_clear()

    yield add
    names.cache_clear()


def test_every_part_has_its_test():
    named = re.findall(r"^## Add an? (\w+)", CONTRIBUTING.read_text(), re.MULTILINE)
    here = {name.removeprefix("test_add_") for name in globals() if name.startswith("test_add_")}
    assert set(named) == {*here, "model"}
    assert "`tests/kernels/test_models.py` has a family in one file" in " ".join(CONTRIBUTING.read_text().split())


def test_add_optimizer(add, expand):
    add(optimizers, "descends.py", RULE)
    (launch,) = expand("optimizer=descends", "optimizer.share=0,0.5", "problem=beale", "steps=10")
    assert launch.hyper["share"].tolist() == [0, 0.5]
    r = adamx.simulate("descends", "quadratic", {"lr": 0.25}, 4, problem_args={"curvature": 2.0})
    assert r.x[0, 0] == 0
    assert catalogue.row("descends")[1:4] == ("lr=0.01 share=1", "none", "Sign descent. Nobody 2026")
    with pytest.raises(InputError, match=r"descends\.share is 2: 0 <= share <= 1 is needed"):
        adamx.simulate("descends", "beale", {"share": 2.0}, 4)


def test_add_landscape(add, expand):
    add(problems, "valley.py", VALLEY)
    (launch,) = expand("problem=valley", "problem.a=2", "optimizer=sgd", "steps=10")
    assert (launch.problem.params[0, 0], launch.problem.start.tolist()) == (2, [0, 1])
    r = adamx.simulate("sgd", "valley", {"lr": 0.1}, 10)
    assert r.loss[0, 0] == 2 and r.loss[-1, 0] < 1


def test_add_instrument(monkeypatch):
    monkeypatch.setattr(instruments, "INSTRUMENTS", dict(instruments.INSTRUMENTS))

    @instruments.instrument(instruments.LANDSCAPE)
    def step_norm(s):
        """|D|, Euclidean"""
        total = s.lr * 0
        for move in s.move:
            total += move * move
        return math.sqrt(total)

    monkeypatch.setattr(instruments, "ORDER", (*instruments.ORDER, "step_norm"))
    r = adamx.simulate("adam", "beale", {"lr": [0.1, 0.2]}, 20, 5, instruments=["step_norm", "update_rms"])
    np.testing.assert_allclose(r.curves["step_norm"], math.sqrt(2) * r.curves["update_rms"], rtol=1e-12)
    assert "step_norm" in instruments.markdown()
    with pytest.raises(InputError, match="'step_norm' is of landscapes; digits_mlp is a task"):
        adamx.simulate("adam", "digits_mlp", {"lr": 0.1}, 20, instruments=["step_norm"])


def test_add_study(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "FOLDER", tmp_path)
    (tmp_path / "halves.py").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    assert [study.title for study in reproduce.studies()] == [
        "Gradient descent halves: with lr = 1/4 on x² each step halves x"
    ]
    assert reproducing.main(["halves"]) == 0
    assert "halves" in capsys.readouterr().out


def test_add_backend(add, expand, tmp_path):
    add(engine, "counted/__init__.py", 'SETTINGS = ("share",)\n')
    add(engine, "counted/backend.py", BACKEND)
    assert "counted" in backends.backends()
    r = adamx.simulate("sgd", "beale", {"lr": [0.01, 0.02]}, 10, backend="counted")
    assert r.loss.shape[1] == 2 and sum(backends.backend("counted").RAN) == 2
    assert backends.configure({"name": "counted", "share": 3}) == "backend=counted with 3"
    with pytest.raises(InputError, match="unknown setting of backend counted 'shares': did you mean 'share'"):
        backends.configure({"name": "counted", "shares": 3})
    (tmp_path / "conf/backend").mkdir(parents=True)
    (tmp_path / "conf/backend/counted.yaml").write_text("name: counted\nshare: 1\n")
    (launch,) = expand("--config-dir", str(tmp_path / "conf"), "backend=counted", "problem=beale")
    assert launch.backend == "counted"
