"""The contract of a study: one claim about an optimizer, as a file in `experiments/studies/`.

    its docstring   a title line, then the claim so that a student can follow it, and how it is measured
    CLAIMS          the numbers of the claims, as in "1" or "10, 11"
    SOURCE          who made it and where; "derived" where it is algebra, "second-hand" where the paper was not read
    SECONDS         how long it takes on two cores once its kernels are compiled
    QUICK           True for the subset that `--quick` runs
    run() -> dict of Results by a short name: the experiment
    check(runs) -> list of Check: expected beside measured
    figure(runs) -> Figure: one picture of it

`python -m adamx.reproduce` runs them. A claim that does not hold is a finding like any other: a tolerance follows from
the measurement's own error, which its Check states, and is not widened until a claim fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adamx.engine.results import Results
from adamx.inputs.errors import InputError, unknown
from adamx.inputs.files import load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parents[1]
FOLDER = HERE / "studies" if (HERE / "studies").is_dir() else HERE.parent / "experiments" / "studies"

Runs = Mapping[str, Results]


@dataclass(frozen=True)
class Check:
    """One figure of a claim.

    Attributes:
        what: is measured. expected, measured: in words. held: whether they agree. why: the tolerance, and its reason.
    """

    what: str
    expected: str
    measured: str
    held: bool
    why: str


def near(what: str, expected: float, measured: float, tolerance: float, why: str) -> Check:
    """A figure that must lie within a relative tolerance of what is expected."""
    held = abs(measured - expected) <= tolerance * abs(expected)
    return Check(what, f"{expected:.5g}", f"{measured:.5g}", bool(held), f"± {tolerance:.1%}: {why}")


def between(what: str, low: float, measured: float, high: float, why: str) -> Check:
    """A figure that must lie in a range, ends included."""
    return Check(what, f"{low:.4g} to {high:.4g}", f"{measured:.4g}", bool(low <= measured <= high), why)


@dataclass(frozen=True)
class Study:
    """A study as it was read from its file."""

    name: str
    doc: str
    claims: str
    source: str
    seconds: float
    quick: bool
    run: Callable[[], Runs]
    check: Callable[[Runs], list[Check]]
    figure: Callable[[Runs], Figure]

    @property
    def title(self) -> str:
        """The first line of its docstring."""
        return self.doc.strip().splitlines()[0].rstrip(".")


def studies() -> list[Study]:
    """All studies, in the order of their claims."""
    found = [study(path.stem) for path in FOLDER.glob("*.py") if not path.stem.startswith("_")]
    return sorted(found, key=lambda s: [int(number) for number in s.claims.split(",")])


def study(name: str) -> Study:
    """The study of that name, or of that claim's number.

    Raises:
        InputError: there is none; the message has the nearest name.
    """
    if name.isdigit():
        found = next((s for s in studies() if name in s.claims.replace(" ", "").split(",")), None)
        return found or _unknown(name)
    if not (FOLDER / f"{name}.py").is_file():
        _unknown(name)
    module = load("", "study", str(FOLDER / f"{name}.py"))
    needed = ("CLAIMS", "SOURCE", "SECONDS", "QUICK", "run", "check", "figure")
    missing = [part for part in needed if not hasattr(module, part)]
    if missing:
        raise InputError(f"study {name!r} has no {', '.join(missing)}: adamx/reproduce/__init__.py has the contract")
    return Study(name, module.__doc__ or "", *(getattr(module, part) for part in needed))


def _unknown(name: str) -> Study:
    raise unknown("study", name, [path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_")])
