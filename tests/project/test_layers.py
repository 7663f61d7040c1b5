"""Imports flow one way, `import adamx` stays light, and no test imports another."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import adamx

ROOT = Path(adamx.__file__).parent

# A room may import those that stand before it, and its own files one another. What a longer name tells apart has a
# place of its own, before the rest of its folder.
ORDER = (
    "inputs.errors inputs.commands inputs.files inputs.axes portable regimes schedules optimizers inputs models "
    "problems instruments engine.backends engine.chunk engine.results engine.kernels engine.arrays engine.cpu "
    "engine.cuda engine watch.tape watch.scene torch record watch analysis report sweep race reproduce replay why "
    "optax doctor open sweep.recorded sweep.python sweep.__init__ _hydra _moved __main__"
).split()
SHOWN_BY = {"engine.results": {"analysis", "engine"}}  # imported within methods, to rank or draw an object
ONLY_IN = {
    "mlflow": {"record", "report", "watch", "doctor"},
    "hydra": {"sweep", "race", "_hydra"},
    "matplotlib": {"analysis", "report", "race", "why", "reproduce"},
    "torch": {"torch", "problems"},
    "jax": {"optax", "problems"},
    "optax": {"optax"},
    "lightning": {"watch"},
    "pytorch_lightning": {"watch"},
    "transformers": {"watch"},
    "sklearn": {"inputs"},
    "numba.cuda": {"engine.cuda", "engine"},
}


def place(module: str) -> str:
    """The entry of ORDER for a module of adamx."""
    two = ".".join(module.split(".")[:2])
    return two if two in ORDER else module.split(".")[0]


def imported(path: Path):
    """(module, line) of every import statement, also of those inside functions, but not of those for types alone."""
    tree = ast.parse(path.read_text())
    types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    skipped = {node for block in types for node in ast.walk(block)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module in ("adamx", "numba"):
            yield from ((f"{node.module}.{name.name}", node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno


def line_in_method(path: Path, line: int) -> bool:
    functions = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef))
    return any(f.lineno < line <= (f.end_lineno or 0) for f in functions)


def test_imports_flow_one_way():
    wrong, seen = [], set()
    for path in ROOT.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if module == "__init__":
            continue
        here = place(module)
        assert here in ORDER, f"{module} has no place: add it to ORDER"
        seen.add(here)
        for name, line in imported(path):
            top, _, rest = name.partition(".")
            if any(f"{name}.".startswith(f"{own}.") and here not in allowed for own, allowed in ONLY_IN.items()):
                wrong.append(f"{module}:{line} imports {name}")
            if top == "adamx" and rest:
                there = place(rest)
                shown = there in SHOWN_BY.get(here, ()) and line_in_method(path, line)
                if there not in ORDER or (ORDER.index(there) > ORDER.index(here) and not shown):
                    wrong.append(f"{module}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)
    assert seen == set(ORDER)


def test_import_adamx_is_light():
    heavy = {"mlflow", "hydra", "pandas", "torch", "jax", "numba.cuda", "matplotlib", "sklearn", "scipy.linalg", "rich"}
    code = f"import sys, adamx; print(sorted({heavy!r} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_no_test_imports_another():
    """Code that two tests share is a helper; `mutants.py` and conftest.py import helpers, too."""
    folder = Path(__file__).parents[1]
    tests = {path.stem: path for path in folder.rglob("test_*.py")}
    wrong = [f"{path.name}:{line} imports {name}" for path in folder.rglob("*.py") for name, line in imported(path)
             if name.rpartition(".")[2] in tests]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def test_every_test_lies_in_a_folder_under_a_name_of_its_own():
    folder = Path(__file__).parents[1]
    tests = list(folder.rglob("test_*.py"))
    assert {path.parent.parent for path in tests} == {folder}
    assert "helpers" not in {path.parent.name for path in tests}
    assert len({path.name for path in tests}) == len(tests)


def test_the_wheel_has_every_package():
    listed = set(tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    packages = {path.parent.relative_to(ROOT.parent) for path in ROOT.rglob("*.py")}
    packages |= {"adamx" / path.parent.relative_to(ROOT.parent) for path in (ROOT.parent / "conf").rglob("*.yaml")}
    assert listed == {".".join(path.parts) for path in packages} | {"adamx.studies", "adamx.report.browser"}
