"""Mutation testing: faults planted in a module one at a time, and whether the tests see each.

    python tests/mutants.py              every fault, with those that survive
    python tests/mutants.py adam regimes     of some modules

A fault is one change of the source: + for -, * for /, a comparison turned, a number changed, beta1 for beta2, a square
root or a minus dropped, two branches or min and max swapped. A mutated module is judged in this process and in plain
Python by the fastest checks that are about it (helpers/), so nothing is compiled.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import dataclasses
import functools
import importlib
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).with_name("helpers")))
import definitions
import papers
import peers
import recorded
import rules
from synthetic import product, synthetic

from adamx import optimizers as optimizer
from adamx import portable
from adamx.optimizers import __main__ as catalogue
from adamx.optimizers import optimizers

SWAPPED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.FloorDiv: ast.Mult,
}  # fmt: skip
NAMES = {"beta1": "beta2", "beta2": "beta1", "max": "min", "min": "max", "beta1_t": "beta2_t", "beta2_t": "beta1_t"}
DROPPED = ("sqrt", "abs")  # f(x) becomes x
LEAST = 0.95  # of all faults; many of those that survive change no result, such as the size of a block


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A module's tree with one fault, and the fault in words."""

    module: str
    tree: ast.Module
    fault: str


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that may replace a node."""
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
        yield ast.BinOp(node.left, SWAPPED[type(node.op)](), node.right)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        yield ast.Compare(node.left, [SWAPPED[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield ast.Constant(node.value * 2 or 1)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in DROPPED:
        yield node.args[0]
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield ast.Attribute(node.value, NAMES[node.attr], node.ctx)
    elif isinstance(node, ast.Name) and node.id in NAMES and isinstance(node.ctx, ast.Load):
        yield ast.Name(NAMES[node.id], node.ctx)


def mutants(module: str) -> Iterator[Mutant]:
    """Every fault of the functions of a module, and of the defaults of its classes."""
    tree = ast.parse(Path(importlib.import_module(module).__file__).read_text())
    nodes = list(ast.walk(tree))
    outer = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    types_ = [each for node in nodes for each in (getattr(node, "annotation", None), getattr(node, "returns", None))]
    inside = {id(n) for part in outer for n in ast.walk(part)} - {id(n) for t in types_ if t for n in ast.walk(t)}
    for i, node in enumerate(nodes):
        for new in changes(node) if id(node) in inside else ():
            twin = copy.deepcopy(tree)
            old = list(ast.walk(twin))[i]
            for parent in ast.walk(twin):
                for field, value in ast.iter_fields(parent):
                    if value is old:
                        setattr(parent, field, new)
                    elif isinstance(value, list) and old in value:
                        value[value.index(old)] = new
            words = f"line {node.lineno}: {ast.unparse(node)}  ->  {ast.unparse(new)}"
            yield Mutant(module, ast.fix_missing_locations(twin), words)


def load(mutant: Mutant) -> types.ModuleType:
    """The mutant as a module of its own."""
    module = types.ModuleType(mutant.module)
    module.__file__ = importlib.import_module(mutant.module).__file__
    exec(compile(mutant.tree, f"<{mutant.module}: {mutant.fault}>", "exec"), module.__dict__)
    return module


def checks_of_a_rule(name: str, module: types.ModuleType) -> Iterator[Callable[[], object]]:
    """The oracles of a rule, its defaults, its contract, and what its preconditioner says."""
    mutated = optimizer._rule.__wrapped__(name, module)
    yield lambda: same_defaults(name, mutated)
    for case in (case for case, (of, *_) in peers.CASES.items() if of == name):
        yield functools.partial(rules.agrees_with_recorded_peer, mutated, case)
    for hyper in papers.CASES.get(name, ()):
        yield functools.partial(rules.agrees_with_the_paper, mutated, hyper)
    checks = [*OF_ONE.get(name, ()), rules.stays_without_a_gradient, rules.is_symmetric_in_sign]
    if mutated.preconditioner:
        checks = [*OF_SCALED, *checks]
    yield from (functools.partial(check, mutated) for check in checks)


def same_defaults(name: str, rule: optimizer.Rule) -> None:
    """The defaults of a rule are those of the table in `adamx/optimizers/README.md`."""
    table = (Path(optimizer.__file__).parent / "README.md").read_text()
    fields = " ".join(f"{field}={catalogue.value(default)}" for field, default in rule.defaults.items())
    assert f"| `{name}` | `{fields}` |" in table


def checks_of_regimes(module: types.ModuleType) -> Iterator[Callable[[], object]]:
    """Figures and regimes by their definitions, and the cases that are known."""
    yield from (functools.partial(check, module) for check in OF_REGIMES)
    yield functools.partial(definitions.what_is_not_finite_changes_no_other_figure, module, np.nan)


def checks_of_children(module: types.ModuleType) -> Iterator[Callable[[], object]]:
    """The values of a child, which runs become children, and where the points of a curve lie."""
    results = synthetic(product(lr=[1e-3, 1e-2, 1.0], eps=[1e-8, 1e-2], seed=[0, 1]))
    results.loss[30:, -1] = np.inf
    yield functools.partial(recorded.curves_end_at_the_last_finite_point, module, results)
    yield from (functools.partial(check, module) for check in OF_CHILDREN)
    for records in (2, 11, 100, 101, 102, 200, 1000, 10**5 + 1):
        yield functools.partial(recorded.points_are_log_spaced, module, records)


OF_SCALED = (
    definitions.a_preconditioner_tells_root_and_rate,
    definitions.momentum_answers_alternating_gradients_as_its_rule_says,
)
OF_ONE = {
    "rmsprop": (definitions.a_centered_root_is_the_standard_deviation, definitions.rounding_below_zero_is_no_deviation),
    "lamb": (definitions.lamb_without_a_ratio_takes_the_plain_step,),
    "ademamix": (definitions.ademamix_takes_a_beta_of_zero,),
}
OF_REGIMES = (
    definitions.figures_are_what_their_definitions_say,
    definitions.regimes_are_what_their_definitions_say,
    definitions.curves_by_hand_have_their_regimes,
    definitions.a_spike_is_counted_once_with_its_height,
    definitions.a_pop_is_leaving_after_settling,
    definitions.the_tail_is_the_last_quarter,
    definitions.criteria_are_those_of_noise_and_of_batches,
    definitions.thresholds_are_those_of_the_docstring,
)
OF_CHILDREN = (
    recorded.children_say_what_the_results_say,
    recorded.the_runs_that_are_wanted_become_children,
    recorded.a_record_more_is_no_other_curve,
    recorded.a_selection_is_the_best_or_some_of_every_regime,
)
SUITES = {
    **{f"adamx.optimizers.{name}": functools.partial(checks_of_a_rule, name) for name in optimizers()},
    "adamx.regimes": checks_of_regimes,
    "adamx.record.children": checks_of_children,
}


def killed(mutant: Mutant) -> bool:
    """True if a check fails on the mutant."""
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"), contextlib.redirect_stdout(None):
        patch.setattr(portable, "portable", _marked)
        try:
            for check in SUITES[mutant.module](load(mutant)):
                check()
        except (Exception, pytest.fail.Exception):
            return True
    return False


def _marked(function: Callable[..., object]) -> Callable[..., object]:
    """`portable` for plain Python alone."""
    function.__portable__ = True  # type: ignore[attr-defined]
    return function


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="such as adam or regimes; all if none is named")
    typed = parser.parse_args()
    peers.recorded, peers.gradients = functools.cache(peers.recorded), functools.cache(peers.gradients)
    start, made, dead = time.perf_counter(), 0, 0
    chosen = [m for m in SUITES if not typed.modules or m.rsplit(".", 1)[-1] in typed.modules]
    for module in chosen:
        sound = Mutant(module, ast.parse(Path(importlib.import_module(module).__file__).read_text()), "none")
        assert not killed(sound), f"{module} fails its tests without a fault"
    left: dict[str, list[str]] = {}
    for mutant in (mutant for module in chosen for mutant in mutants(module)):
        made += 1
        if killed(mutant):
            dead += 1
        else:
            left.setdefault(mutant.module, []).append(mutant.fault)
    for module, faults in left.items():
        print(module, *faults, sep="\n    ")
    print(f"{dead} of {made} faults seen ({dead / made:.1%}) in {time.perf_counter() - start:.0f} s")
    return 0 if dead >= LEAST * made else 1


if __name__ == "__main__":
    sys.exit(main())
