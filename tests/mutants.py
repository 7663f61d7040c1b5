"""Mutation testing: faults planted in a module one at a time, and whether the tests see each.

    python tests/mutants.py              every fault, with those that survive
    python tests/mutants.py adam regimes     of some modules

A fault is one change of the source: + for -, * for /, a comparison turned, a number changed, beta1 for beta2, a square
root or a minus dropped, two branches or min and max swapped. A mutated module is judged in this process and in plain
Python by the fastest tests that are about it, so nothing is compiled.
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

import naive
import numpy as np
import papers
import peers
import pytest
import test_honesty
import test_instruments
import test_optimizers
import test_record
import test_regimes
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
JUDGING = ("begin", "track", "track_tail", "tail_start", "classify")
DROPPED = ("sqrt", "abs")  # f(x) becomes x
LEAST = 0.95  # of all faults; among those that survive many change nothing, such as the size of a block


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A module's tree with one fault, and the fault in words."""

    module: str
    tree: ast.Module
    fault: str


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in place of a node."""
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


def tests_of_a_rule(name: str, patch: pytest.MonkeyPatch, module: types.ModuleType) -> Iterator[Callable[[], object]]:
    """The oracles of a rule, its defaults, its contract, and what its preconditioner says."""
    mutated, real = optimizer._rule.__wrapped__(name, module), optimizer.rule
    for where in (test_optimizers, test_instruments):
        patch.setattr(where, "rule", lambda asked: mutated if asked == name else real(asked))
    yield lambda: same_defaults(name, mutated)
    for case in (case for case, (of, *_) in peers.CASES.items() if of == name):
        yield functools.partial(test_optimizers.test_agrees_with_recorded_peer, case)
    for hyper in papers.CASES.get(name, ()):
        yield functools.partial(test_optimizers.test_agrees_with_the_paper, name, hyper)
    if mutated.preconditioner:
        yield functools.partial(test_honesty.test_a_preconditioner_tells_root_and_rate, name)
        yield functools.partial(test_honesty.test_momentum_answers_alternating_gradients_as_its_rule_says, name)
    yield from OF_ONE.get(name, ())
    contract = test_optimizers.TestContract()
    yield functools.partial(contract.test_no_gradient_no_move, name)
    yield functools.partial(contract.test_sign_symmetry, name)


def same_defaults(name: str, rule: optimizer.Rule) -> None:
    """The defaults of a rule are those of the table in `adamx/optimizers/README.md`."""
    table = (Path(optimizer.__file__).parent / "README.md").read_text()
    fields = " ".join(f"{field}={catalogue.value(default)}" for field, default in rule.defaults.items())
    assert f"| `{name}` | `{fields}` |" in table


def tests_of_regimes(patch: pytest.MonkeyPatch, module: types.ModuleType) -> Iterator[Callable[[], object]]:
    """Figures and regimes by their definitions, and the cases that are known."""
    for where in (naive, test_regimes, test_honesty):
        for name in [*JUDGING, "Criteria", "Marks", "of_landscape", "of_batches"]:
            if hasattr(where, name):
                patch.setattr(where, name, getattr(module, name))
    yield test_honesty.test_figures_are_what_their_definitions_say
    yield test_honesty.test_regimes_are_what_their_definitions_say
    yield functools.partial(test_honesty.test_what_is_not_finite_changes_no_other_figure, np.nan)
    yield test_regimes.test_by_hand
    yield test_regimes.test_a_spike_is_counted_once_with_its_height
    yield test_regimes.test_a_pop_is_leaving_after_settling
    yield test_regimes.test_the_tail_is_the_last_quarter
    yield test_regimes.test_criteria_of_noise_and_of_batches
    yield test_honesty.test_the_thresholds_are_those_of_the_docstring


def tests_of_children(patch: pytest.MonkeyPatch, module: types.ModuleType) -> Iterator[Callable[[], object]]:
    """What a child carries, which runs become children, and where the points of a curve lie."""
    for where in (test_record, test_honesty):
        for name in ("children", "points", "select"):
            patch.setattr(where, name, getattr(module, name))
    results = synthetic(product(lr=[1e-3, 1e-2, 1.0], eps=[1e-8, 1e-2], seed=[0, 1]))
    results.loss[30:, -1] = np.inf
    yield functools.partial(test_record.test_curves_end_at_the_last_finite_point, results)
    yield test_honesty.test_children_say_what_the_results_say
    yield test_honesty.test_which_runs_become_children
    for records in (2, 11, 100, 101, 102, 200, 1000, 10**5 + 1):
        yield functools.partial(test_record.test_points_are_log_spaced, records)
    yield test_record.test_a_record_more_is_no_other_curve
    yield test_record.test_selection


SUITES = {
    **{f"adamx.optimizers.{name}": functools.partial(tests_of_a_rule, name) for name in optimizers()},
    "adamx.regimes": tests_of_regimes,
    "adamx.record.children": tests_of_children,
}


OF_ONE = {
    "rmsprop": (
        test_honesty.test_a_centered_root_is_the_standard_deviation,
        test_honesty.test_rounding_below_zero_is_no_deviation,
    ),
    "lamb": (test_honesty.test_lamb_without_a_ratio_takes_the_plain_step,),
    "ademamix": (test_honesty.test_ademamix_takes_a_beta_of_zero,),
}


def killed(mutant: Mutant) -> bool:
    """Whether a test fails on the mutant."""
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"), contextlib.redirect_stdout(None):
        patch.setattr(portable, "portable", _marked)
        try:
            for test in SUITES[mutant.module](patch, load(mutant)):
                test()
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
