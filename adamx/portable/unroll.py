"""Unroll: functions whose loops over coordinates and fields are written out, for indices that must be static.

    @unrolled
    def store(a, j, value):
        for i in static(count):                       # count: a whole number that is known when store is made
            a[first + i, j] = value[i]

becomes, for count = 2 and first = 3, a portable function with the lines `a[3, j] = value[0]` and `a[4, j] = value[1]`.
So do `tuple(... for i in static(count))`, `sum(... for i in static(count))` and `f(*(... for i in static(count)))`.
Known whole numbers become literals, `known[i]` of a known tuple is that item, and an `if` on a known truth is decided.
"""

from __future__ import annotations

import ast
import copy
import itertools
import linecache
from collections.abc import Callable
from functools import reduce
from hashlib import blake2b
from typing import Any

from numba.extending import register_jitable

from adamx.portable import portable, rewritten
from adamx.portable.content import closed_over, reads

static = range  # marks a loop that is written out


def unrolled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A portable copy of a plain function, written out as the module's docstring says."""
    unroll = Unroll(dict([*reads(fn), *closed_over(fn)]))
    return portable(rewritten(fn, unroll.body, lambda value: value, unroll.items))


class Unroll(ast.NodeTransformer):
    """Writes loops out. `known` is what the source reads, by name; `items` those items of tuples that it then names."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known
        self.items: dict[str, Any] = {}

    def body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Statements, written out; at least one."""
        found: list[ast.stmt] = []
        for statement in statements:
            new = self.visit(statement)
            found += new if isinstance(new, list) else [new]
        return found or [ast.Pass()]

    def visit_For(self, node: ast.For) -> Any:
        if (count := self._count(node.iter)) is None:
            return self.generic_visit(node)
        copies = (self._at(node.target, i, lambda: self.body(copy.deepcopy(node.body))) for i in range(count))
        return list(itertools.chain.from_iterable(copies))

    def visit_If(self, node: ast.If) -> Any:
        test = self.visit(node.test)
        if isinstance(test, ast.Constant):
            return self.body(node.body if test.value else node.orelse)
        node.test, node.body = test, self.body(node.body)
        node.orelse = self.body(node.orelse) if node.orelse else []
        return node

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        test = self.visit(node.test)
        if isinstance(test, ast.Constant):
            return self.visit(node.body if test.value else node.orelse)
        return ast.IfExp(test, self.visit(node.body), self.visit(node.orelse))

    def visit_Name(self, node: ast.Name) -> ast.AST:
        value = self.known.get(node.id)
        return ast.Constant(value) if isinstance(node.ctx, ast.Load) and type(value) in (int, bool) else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        return _folded(self.generic_visit(node))

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        return _folded(self.generic_visit(node))

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.value, ast.Name) or not isinstance(node.slice, ast.Constant):
            return node
        several, at = self.known.get(node.value.id, self.items.get(node.value.id)), node.slice.value
        if not isinstance(several, (tuple, list)) or not isinstance(at, int):
            return node
        if type(several[at]) is int:
            return ast.Constant(several[at])
        name = f"{node.value.id}_{at}"
        self.items[name] = several[at]
        return ast.Name(name, ast.Load())

    def visit_Call(self, node: ast.Call) -> ast.AST:
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called in ("tuple", "sum") and (items := self._items(node.args[0])) is not None:
            if called == "tuple":
                return ast.Tuple(items, ast.Load())
            return reduce(lambda a, b: ast.BinOp(a, ast.Add(), b), items)
        arguments: list[ast.expr] = []
        for argument in node.args:
            items = self._items(argument.value) if isinstance(argument, ast.Starred) else None
            arguments += [self.visit(argument)] if items is None else items
        node.func, node.args = self.visit(node.func), arguments
        return node

    def _items(self, node: ast.AST) -> list[ast.expr] | None:
        """The items of a generator over `static(n)`; None for anything else."""
        if not isinstance(node, ast.GeneratorExp) or (count := self._count(node.generators[0].iter)) is None:
            return None
        target = node.generators[0].target
        return [self._at(target, i, lambda: self.visit(copy.deepcopy(node.elt))) for i in range(count)]

    def _count(self, node: ast.AST) -> int | None:
        """The n of `static(n)`."""
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != "static":
            return None
        count = self.visit(copy.deepcopy(node.args[0]))
        if not isinstance(count, ast.Constant) or not isinstance(count.value, int):
            raise TypeError(f"static({ast.unparse(node.args[0])}) is not known when it is unrolled")
        return count.value

    def _at(self, target: ast.expr, i: int, visit: Callable[[], Any]) -> Any:
        """The result of a visit with i as the loop's index."""
        assert isinstance(target, ast.Name)
        outer = self.known.get(target.id)
        self.known[target.id] = i
        found = visit()
        self.known[target.id] = outer
        return found


def _folded(node: ast.AST) -> ast.AST:
    """A constant in place of arithmetic on constants."""
    parts = ast.iter_child_nodes(node)
    if all(isinstance(part, (ast.Constant, ast.operator, ast.cmpop)) for part in parts):
        expression = ast.fix_missing_locations(ast.Expression(copy.deepcopy(node)))  # type: ignore[arg-type]
        return ast.Constant(eval(compile(expression, "<unroll>", "eval")))
    return node


def generate(source: str, **namespace: Any) -> Callable[..., Any]:
    """A portable function from its source text, for code that is not of one shape; tracebacks show its lines."""
    file = f"<adamx {blake2b(source.encode(), digest_size=8).hexdigest()}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), namespace)
    fn = next(v for k, v in namespace.items() if source.startswith(f"def {k}("))
    return register_jitable(fn)


def rows(kind: Any, first: int) -> tuple[Callable[..., Any], Callable[..., Any], int]:
    """Read and write a named tuple whose fields are consecutive rows of an array, with static indices.

    Returns:
        load(a, j) -> kind of a[first + i, j]; store(a, j, value); the row after the last.
    """
    count = len(kind._fields)

    @unrolled
    def load(a, j):
        return kind(*(a[first + i, j] for i in static(count)))

    @unrolled
    def store(a, j, value):
        for i in static(count):
            a[first + i, j] = value[i]

    return load, store, first + count


def offsets(*counts: int) -> list[int]:
    """Where each of several consecutive groups of rows begins, and the total."""
    return [0, *itertools.accumulate(counts)]
