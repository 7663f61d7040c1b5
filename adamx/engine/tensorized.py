"""Rules on arrays: the source of a portable function, written for one coordinate, on torch tensors and jax arrays.

A copy of the function is compiled in which every choice is made element by element:

    a if c else b          where(c, a, b); also `a and b`, `a or b`, `not a`, `a < b < c`, min and max
    if c: ... else: ...    both branches, then where(c, ...) for every name that they set, and for what they return
    math.x, np.x           the library's function of that name
    a *= b                 a = a * b: the array that came in stays as it is

Numbers that are no arrays stay Python's: where they alone decide, only the branch taken is evaluated.
"""

from __future__ import annotations

import ast
import importlib
import math
from collections.abc import Callable, Iterable
from functools import cache, reduce
from typing import Any

import numpy as np

from adamx.inputs.errors import InputError
from adamx.optimizers import Rule
from adamx.portable import rewritten

HOMES = {"torch": ("torch", "torch.special"), "jax": ("jax.numpy", "jax.lax")}  # where functions are looked for
CONSTANTS = ("pi", "e", "tau", "inf", "nan")
UNSET = object()


class Library:
    """The functions that the new source calls: those of `math` by name, and choices element by element.

    Args:
        name: "torch" or "jax".
        dtype: of the data, such as "float32": numbers that a choice turns into arrays get it.
    """

    def __init__(self, name: str, dtype: str) -> None:
        self._homes = [importlib.import_module(home) for home in HOMES[name]]
        self._torch: Any = self._homes[0] if name == "torch" else None
        self._array: Any = self._torch.Tensor if self._torch else importlib.import_module("jax").Array
        self._dtype: Any = getattr(self._homes[0], dtype)
        self.unset = UNSET
        self.names = {"_library": self, "min": self.least, "max": self.greatest, "float": self.real, "bool": self.truth}

    def __getattr__(self, name: str) -> Any:
        """The library's function for `math.name` or `np.name`."""
        if name.startswith("_"):
            raise AttributeError(name)
        if name in CONSTANTS:
            return getattr(math, name)
        here = "abs" if name == "fabs" else name
        functions = (getattr(home, here, None) for home in self._homes)
        arrays = next((f for f in functions if f is not None), None)
        plain = getattr(math, name, None) or getattr(np, name, None)
        if arrays is None or plain is None:
            raise InputError(f"{self._homes[0].__name__} has no function {name!r}, which the rule's source calls")

        def either(*values: Any) -> Any:
            some = next((v for v in values if self.is_array(v)), None)
            return plain(*values) if some is None else arrays(*(self._like(some, v) for v in values))

        vars(self)[name] = either
        return either

    def is_array(self, value: Any) -> bool:
        return isinstance(value, self._array)

    def _like(self, some: Any, value: Any) -> Any:
        """A number as an array on the device of `some`: torch's functions take no others."""
        if self._torch is None or self.is_array(value):
            return value
        dtype = some.dtype if some.is_floating_point() else self._dtype
        return self._torch.as_tensor(value, dtype=dtype, device=some.device)

    def real(self, value: Any) -> Any:
        """float(value)."""
        if not self.is_array(value):
            return float(value)
        if self._torch:
            return value if value.is_floating_point() else value.to(self._dtype)
        return value if np.issubdtype(value.dtype, np.floating) else value.astype(self._dtype)

    def truth(self, value: Any) -> Any:
        """bool(value)."""
        return value != 0 if self.is_array(value) else bool(value)

    def where(self, c: Any, a: Any, b: Any) -> Any:
        """a where c is true, else b; of tuples, field by field; what was never set gives way."""
        if a is UNSET or b is UNSET or a is b:
            return b if a is UNSET else a
        if not self.is_array(c):
            return a if c else b
        if isinstance(a, tuple):
            fields = [self.where(c, *pair) for pair in zip(a, b, strict=True)]
            return type(a)(*fields) if hasattr(a, "_fields") else tuple(fields)
        some = a if self.is_array(a) else b if self.is_array(b) else c
        return self._homes[0].where(self.truth(c), self._like(some, a), self._like(some, b))

    def choose(self, c: Any, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        """then() if c else otherwise()."""
        if not self.is_array(c):
            return then() if c else otherwise()
        return self.where(c, then(), otherwise())

    def both(self, a: Any, b: Callable[[], Any]) -> Any:
        """a and b()."""
        return self.choose(a, b, lambda: a)

    def either(self, a: Any, b: Callable[[], Any]) -> Any:
        """a or b()."""
        return self.choose(a, lambda: a, b)

    def opposite(self, a: Any) -> Any:
        """not a."""
        return a == 0 if self.is_array(a) else not a

    def greatest(self, first: Any, *others: Any) -> Any:
        """max(...), whose first stays where none is greater."""
        values = (first, *others) if others else first
        return reduce(lambda a, b: self.where(b > a, b, a), values)

    def least(self, first: Any, *others: Any) -> Any:
        """min(...)."""
        values = (first, *others) if others else first
        return reduce(lambda a, b: self.where(b < a, b, a), values)

    def possible(self, c: Any) -> Any:
        """True if c may hold for some element."""
        return True if self.is_array(c) else c

    def decided(self, c: Any) -> Any:
        """c, of which a jump depends: one for all elements."""
        if self.is_array(c):
            raise InputError("break and continue cannot depend on an element: choose values with `a if c else b`")
        return c

    def first(self, returned: Iterable[tuple[Any, Any]]) -> Any:
        """The value of the first return that an element reaches, from (condition, value) in their order."""
        *before, (_, value) = returned
        for c, earlier in reversed(before):
            value = self.where(c, earlier, value)
        return value


library = cache(Library)


def _call(name: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(ast.Attribute(ast.Name("_library", ast.Load()), name, ast.Load()), list(arguments), [])


def _later(value: ast.expr) -> ast.expr:
    return ast.Lambda(ast.arguments([], [], None, [], [], None, []), value)


def _holds(nodes: Iterable[ast.AST], *kinds: type) -> bool:
    return any(isinstance(inner, kinds) for node in nodes for inner in ast.walk(node))


class _Elementwise(ast.NodeTransformer):
    """Choices by an `if` become those of a Library."""

    def __init__(self) -> None:
        self.path: list[str] = []  # the source of the conditions under which a statement counts
        self.count = 0

    def body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """The new body of a function."""
        self.early = _holds((s for s in statements if not isinstance(s, ast.Return)), ast.Return)
        new = self._block(statements)
        if self.early:
            new = [*ast.parse("_returned = []").body, *new, *ast.parse("return _library.first(_returned)").body]
        return new

    def _block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        new = [self.visit(s) for s in statements]
        return [s for one in new for s in (one if isinstance(one, list) else [one])]

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        return _call("choose", node.test, _later(node.body), _later(node.orelse))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        name = "both" if isinstance(node.op, ast.And) else "either"
        *before, last = node.values
        return reduce(lambda after, value: _call(name, value, _later(after)), reversed(before), last)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return _call("opposite", node.operand) if isinstance(node.op, ast.Not) else node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if len(node.ops) == 1:
            self.generic_visit(node)
            return node
        sides = [node.left, *node.comparators]
        pairs: list[ast.expr] = [
            ast.Compare(a, [op], [b]) for a, op, b in zip(sides, node.ops, sides[1:], strict=False)
        ]
        return self.visit(ast.BoolOp(ast.And(), pairs))

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        self.generic_visit(node)
        if not isinstance(node.target, ast.Name):
            return node
        old = ast.Name(node.target.id, ast.Load())
        return ast.copy_location(ast.Assign([node.target], ast.BinOp(old, node.op, node.value)), node)

    def visit_Return(self, node: ast.Return) -> Any:
        self.generic_visit(node)
        if not self.early or node.value is None:
            return node
        path = reduce(lambda after, c: f"_library.both({c}, lambda: {after})", reversed(self.path), "True")
        new = ast.parse(
            f"_returned.append(({path}, None))\n"
            "if not _library.is_array(_returned[-1][0]):\n    return _library.first(_returned)"
        ).body
        new[0].value.args[0].elts[1] = node.value  # type: ignore[attr-defined]
        return [ast.copy_location(s, node) for s in new]

    def visit_If(self, node: ast.If) -> Any:
        if _holds([node], ast.Break, ast.Continue):
            self.generic_visit(node)
            node.test = _call("decided", node.test)
            return node
        n, self.count = self.count, self.count + 1
        inside = [inner for s in (*node.body, *node.orelse) for inner in ast.walk(s)]
        set_here = sorted({i.id for i in inside if isinstance(i, ast.Name) and isinstance(i.ctx, ast.Store)})
        names = "".join(f"{name}, " for name in set_here)
        start = [f"_c{n} = None", *(f"{v} = locals().get({v!r}, _library.unset)" for v in set_here)]
        middle = [f"_then{n} = ({names})", f"({names}) = _old{n}"] if names else []
        end = [f"({names}) = _library.where(_c{n}, _then{n}, ({names}))"] if names else []
        old = [f"_old{n} = ({names})"] if names else []
        branches = ast.parse(
            f"if _library.possible(_c{n}):\n    pass\nif _library.possible(_library.opposite(_c{n})):\n    pass"
        ).body
        test = self.visit(node.test)
        for branch, body, c in zip(
            branches, (node.body, node.orelse), (f"_c{n}", f"_library.opposite(_c{n})"), strict=True
        ):
            self.path.append(c)
            branch.body = self._block(body) or branch.body  # type: ignore[attr-defined]
            self.path.pop()
        lines = ast.parse("\n".join([*start, *old])).body
        lines[0].value = test  # type: ignore[attr-defined]
        new = [*lines, branches[0], *ast.parse("\n".join(middle)).body, branches[1], *ast.parse("\n".join(end)).body]
        return [ast.copy_location(s, node) for s in new]


@cache
def tensorized(fn: Callable[..., Any], to: Library) -> Callable[..., Any]:
    """A copy of a rule's function for arrays of a library; a lambda stays what it is.

    Raises:
        InputError: when it runs: the library has no such function, or break or continue depend on an element.
    """
    if getattr(fn, "__name__", "<lambda>") == "<lambda>":
        return fn

    def replaced(value: Any) -> Any:
        if value in (math, np):
            return to
        if getattr(value, "__portable__", False):
            return tensorized(value, to)
        if callable(value) and getattr(value, "__module__", "") in ("math", "numpy"):  # from math import sqrt
            return getattr(to, value.__name__)
        return value

    return rewritten(fn, _Elementwise().body, replaced, to.names)


class OnArrays:
    """A rule on arrays of a library: each of its functions by its name, and a step of whole tensors."""

    def __init__(self, rule: Rule, to: Library) -> None:
        self.rule = rule
        self.initial_state = tensorized(rule.initial_state, to)
        self.initial_clock = tensorized(rule.initial_clock, to)
        self.per_step = tensorized(rule.per_step, to)
        self.update = tensorized(rule.update, to)
        self.pool = rule.pool and tensorized(rule.pool, to)
        self.preconditioner = rule.preconditioner and tensorized(rule.preconditioner, to)
        self.alternating = rule.alternating and tensorized(rule.alternating, to)

    def step(self, x: Any, g: Any, state: Any, h: Any, now: Any, over: int | tuple[int, ...] = ()) -> tuple[Any, Any]:
        """(x, state) after a step of one tensor.

        Args:
            x, g, and the fields of state: arrays of one shape. The fields of h and now: numbers, or arrays that
                broadcast with them, such as (runs, 1).
            over: the axes of one run's tensor, for the means of a rule with a pool; all if empty.
        """
        return self.update(x, g, state, h, now, *self._mean(x, g, state, h, now, over))

    def rates(
        self, x: Any, g: Any, state: Any, clock: Any, h: Any, now: Any, over: int | tuple[int, ...] = ()
    ) -> tuple[Any, Any]:
        """sqrt(v_hat) and the effective rate of a step of one tensor, before it; (0, 0) of a rule that has none.

        They broadcast with x. The arguments are those of `step`, with the clock of `per_step`.
        """
        if not self.preconditioner:
            return 0.0, 0.0
        return self.preconditioner(x, g, state, clock, h, now, *self._mean(x, g, state, h, now, over))

    def _mean(self, x: Any, g: Any, state: Any, h: Any, now: Any, over: int | tuple[int, ...]) -> tuple[Any, ...]:
        """The Pool of a tensor, for a rule that has one."""
        if not self.pool:
            return ()
        terms = self.pool(x, g, state, h, now)
        axes = over if over != () else tuple(range(x.ndim))
        means = [(term + 0 * x).mean(axes, keepdims=True) if x.ndim else term for term in terms]
        return (type(terms)(*means),)


on_arrays = cache(OnArrays)
