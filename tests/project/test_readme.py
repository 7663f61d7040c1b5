"""The Python of the READMEs runs as it stands there, and their links lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

import adamx
from adamx.problems import problem

ROOT = Path(__file__).parents[2]
READMES = [
    ROOT / "README.md",
    *(path for top in ("adamx", "conf", "experiments") for path in (ROOT / top).rglob("README.md")),
]
BLOCKS = [block for path in READMES for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)]


def test_the_front_page_is_short():
    assert len(READMES[0].read_text().splitlines()) <= 200


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(readme):
    text = readme.read_text()
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("#"):
            assert link[1:] in headings
        elif "://" not in link:
            assert readme.parent.joinpath(link).exists(), link


def test_from_python(here):
    example = next(block for block in BLOCKS if "adamx.sweep(" in block)
    namespace = {}
    exec(example.replace("steps=10_000", "steps=200"), namespace)
    assert namespace["sweep"].results[0].loss.shape == (11, 99)


def test_a_rule_on_arrays_of_ones_own():
    namespace = {}
    exec(next(block for block in BLOCKS if "adamx.Stepper(" in block), namespace)
    assert all((array < 1).all() for array in namespace["params"])


def test_a_landscape_of_ones_own_in_fifteen_lines(tmp_path):
    example = next(block for block in BLOCKS if "def value_and_grad" in block)
    assert len([line for line in example.splitlines() if line]) <= 15
    (tmp_path / "mine.py").write_text(example)
    p = problem(str(tmp_path / "mine.py"), {"steep": 10})
    assert (p.dim, p.setup) == (2, {"steep": 10})
    assert adamx.simulate("adam", p, {"lr": 0.1}, 300, dtype="float32").loss[-1, 0] < 0.01


def test_a_model_of_ones_own():
    pytest.importorskip("torch")
    example = next(block for block in BLOCKS if "adamx.Model.of" in block)
    namespace = {}
    exec(example.replace("steps=300", "steps=40"), namespace)
    assert namespace["results"].loss.shape == (41, 4) and np.isfinite(namespace["results"].loss).all()
    assert len(namespace["optimizer"].param_groups) == 1
    pytest.importorskip("jax")
    exec(next(block for block in BLOCKS if "import jax" in block).replace("steps=300", "steps=40"), namespace)
    assert namespace["results"].loss.shape == (41, 4) and (namespace["results"].loss[-1] < 2.3).all()


def test_the_watch(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    p = torch.nn.Parameter(torch.ones(3))
    names = {"optimizer": torch.optim.SGD([p], lr=0.1), "closure": lambda: (p**2).sum(), "loader": [1], "loss": 1.0}
    exec("import adamx\n" + next(block for block in BLOCKS if "adamx.watch" in block), names)
    assert (tmp_path / "run.html").is_file() and names["w"].closed
