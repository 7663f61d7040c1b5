"""Write once: plain Python functions on scalars that every backend compiles into its kernels.

A `portable` function stays ordinary Python (the oracle in tests) and is inlined by Numba's CPU and CUDA targets.

Numbers take the type of the data. Numba reads `1 - beta1` with a float32 beta1 as float64 arithmetic, so
`specialise(fn, "float32")` compiles a copy of fn in which every number literal, math constant and float global is a
float32, and so are those of the portable functions that fn calls; float(n) converts to float32. Left alone are whole
exponents (x**2), subscripts (x[0]), ranges and shifts (n >> 8).
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numba.extending import register_jitable

from adamx.portable.content import closed_over, reads

F = TypeVar("F", bound=Callable[..., Any])


def portable(fn: F) -> F:
    """Mark a function on scalars and tuples as compilable by every backend; it stays plain Python."""
    fn.__portable__ = True  # type: ignore[attr-defined]
    return register_jitable(fn)


def inlined(fn: F) -> F:
    """Mark a portable function that is a loop's body: one left outside of its loop would not be vectorised."""
    fn.__inlined__ = True  # type: ignore[attr-defined]
    return register_jitable(forceinline=True)(fn)


class TypedNumbers(ast.NodeTransformer):
    """Wrap number literals as `_real(literal)`."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) not in (int, float):
            return node
        return ast.copy_location(ast.Call(ast.Name("_real", ast.Load()), [node], []), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "math" and node.attr in ("pi", "e", "tau", "inf"):
            return ast.copy_location(ast.Call(ast.Name("_real", ast.Load()), [node], []), node)
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        node.value = self.visit(node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "range":
            return node
        if isinstance(node.func, ast.Name) and node.func.id == "float":
            node.func.id = "_real"
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if isinstance(node.op, (ast.LShift, ast.RShift)):
            return node
        node.left = self.visit(node.left)
        exponent = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
        whole = isinstance(exponent, ast.Constant) and type(exponent.value) is int
        if not (isinstance(node.op, ast.Pow) and whole):
            node.right = self.visit(node.right)
        return node


@cache
def specialise(fn: Callable[..., Any], dtype: str) -> Callable[..., Any]:
    """A copy of a portable function whose numbers are of `dtype`; float64 needs none and returns fn itself."""
    if dtype == "float64":
        return fn
    real = np.dtype(dtype).type

    def replaced(value: Any) -> Any:
        if getattr(value, "__portable__", False):
            return specialise(value, dtype)
        return real(value) if type(value) is float else value

    return portable(rewritten(fn, lambda body: [TypedNumbers().visit(s) for s in body], replaced, {"_real": real}))


def rewritten(
    fn: Callable[..., Any],
    rewrite: Callable[[list[ast.stmt]], list[ast.stmt]],
    replaced: Callable[[Any], Any],
    names: dict[str, Any],
) -> Callable[..., Any]:
    """A copy of a plain function whose source has been changed; errors still name the lines of the source.

    Args:
        rewrite: the new body from the old one.
        replaced: the new value of a global that fn reads or closes over, or of a default.
        names: more that the new source reads; a global of that name comes first.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(fn)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef), f"{fn.__name__} must be a plain function"
    definition.decorator_list = []
    definition.args.defaults = [ast.Constant(None) for _ in definition.args.defaults]
    definition.body = rewrite(definition.body)
    ast.fix_missing_locations(tree)
    ast.increment_lineno(tree, fn.__code__.co_firstlineno - 1)
    namespace: dict[str, Any] = {"__name__": fn.__module__, **names}
    namespace |= {name: replaced(value) for name, value in (*reads(fn), *closed_over(fn))}
    exec(compile(tree, inspect.getfile(fn), "exec"), namespace)
    made = namespace[fn.__name__]
    made.__defaults__ = fn.__defaults__ and tuple(map(replaced, fn.__defaults__))
    return made
