"""Dual: exact derivatives of portable functions, by numbers that carry one: complex, value + derivative i.

`dual(fn, dtype)` compiles a copy of fn in which every operation also takes its derivative along (forward mode;
Griewank & Walther, Evaluating Derivatives, chapter 3). What decides is the value alone: comparisons, `if`, min and max
see the real part, so that the derivative is that of the branch taken. Arguments may be real: a constant.

    x + y, x - y, -x        as they are
    x * y, x / y, x ** y, x % y, x // y     by their rules; x ** y for a negative x and a whole y, too
    math.f, np.f            the functions of `SLOPES`; floor, ceil and sign are steps, their derivative is 0
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from adamx.inputs.errors import InputError
from adamx.portable import TypedNumbers, portable, rewritten
from adamx.portable.content import reads
from adamx.portable.unroll import generate

SLOPES = {  # of v, where y is the function's value
    "exp": "y", "expm1": "y + one", "exp2": "y * ln2", "log": "one / v", "log1p": "one / (one + v)",
    "log2": "one / (v * ln2)", "log10": "one / (v * ln10)", "sqrt": "one / (y + y)",
    "sin": "math.cos(v)", "cos": "-math.sin(v)", "tan": "one + y * y",
    "asin": "one / math.sqrt((one - v) * (one + v))", "acos": "-one / math.sqrt((one - v) * (one + v))",
    "atan": "one / (one + v * v)", "sinh": "math.cosh(v)", "cosh": "math.sinh(v)", "tanh": "(one - y) * (one + y)",
    "asinh": "one / math.sqrt(v * v + one)", "acosh": "one / math.sqrt((v - one) * (v + one))",
    "atanh": "one / ((one - v) * (one + v))", "erf": "bell * math.exp(-v * v)", "erfc": "-bell * math.exp(-v * v)",
    "degrees": "degree", "radians": "one / degree", "floor": "zero", "ceil": "zero", "trunc": "zero",
}  # fmt: skip
OF_TWO = {  # of v and w: the value and both slopes
    "atan2": ("math.atan2(v, w)", "w / (v * v + w * w)", "-v / (v * v + w * w)"),
    "hypot": ("math.hypot(v, w)", "v / y", "w / y"),
    "fmod": ("math.fmod(v, w)", "one", "-real(math.trunc(v / w))"),
    "copysign": ("math.copysign(v, w)", "math.copysign(one, v) * math.copysign(one, w)", "zero"),
}
NUMPY = {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "arctan2": "atan2", "power": "pow", "absolute": "fabs", "abs": "fabs", "minimum": "min", "maximum": "max",
    "fmin": "min", "fmax": "max", "deg2rad": "radians", "rad2deg": "degrees", "multiply": "mul", "divide": "div",
}  # fmt: skip
OPERATORS = {ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow", ast.Mod: "mod", ast.FloorDiv: "floordiv"}
BUILTINS = {"abs": "fabs", "pow": "pow", "int": "int", "round": "round", "bool": "truth", "float": "real"}
ASKED = ("isnan", "isinf", "isfinite")


@cache
def functions(dtype: str) -> dict[str, Callable[..., Any]]:
    """The functions that the new source calls, by name, on real numbers of `dtype` and on complex ones."""
    real: Any = np.dtype(dtype).type
    new: Any = np.complex64 if dtype == "float32" else np.complex128
    zero, one, none = real(0), real(1), new(0)  # a number of any kind plus `none` is complex
    names = {"math": math, "real": real, "zero": zero, "one": one, "none": none, "bell": real(2 / math.sqrt(math.pi))}
    names |= {"ln2": real(math.log(2)), "ln10": real(math.log(10)), "degree": real(180 / math.pi)}
    found: dict[str, Callable[..., Any]] = {}
    for name, slope in SLOPES.items():
        y = "real(2) ** v" if name == "exp2" else f"real(math.{name}(v))"
        body = f"z = z + none\n    v, d = z.real, z.imag\n    y = {y}\n"
        found[name] = generate(
            f"def {name}(z):\n    {body}    return complex(y, ({slope}) * d if d != zero else zero)\n", **names
        )
    for name, (y, left, right) in OF_TWO.items():
        slopes = f"(({left}) * a.imag if a.imag != zero else zero) + (({right}) * b.imag if b.imag != zero else zero)"
        body = f"a, b = a + none, b + none\n    v, w = a.real, b.real\n    y = {y}\n    return complex(y, {slopes})"
        found[name] = generate(f"def {name}(a, b):\n    {body}\n", **names)
    for name in ASKED:
        found[name] = generate(f"def {name}(z):\n    return math.{name}((z + none).real)\n", **names)

    @portable
    def value(z):
        return (z + none).real

    @portable
    def truth(z):
        return (z + none).real != zero

    @portable
    def mul(a, b):
        a, b = a + none, b + none
        return complex(a.real * b.real, a.real * b.imag + a.imag * b.real)

    @portable
    def div(a, b):
        a, b = a + none, b + none
        y = a.real / b.real
        return complex(y, (a.imag - y * b.imag) / b.real)

    @portable
    def power(a, b):
        a, b = a + none, b + none
        v, n = a.real, b.real
        y = v**n
        d = n * v ** (n - one) * a.imag if (a.imag != zero) & (n != zero) else zero
        return complex(y, d + (y * math.log(v) * b.imag if b.imag != zero else zero))

    @portable
    def mod(a, b):
        a, b = a + none, b + none
        return complex(a.real % b.real, a.imag - (a.real // b.real) * b.imag)

    @portable
    def floordiv(a, b):
        return complex((a + none).real // (b + none).real, zero)

    @portable
    def fabs(z):
        return -z if (z + none).real < zero else z + zero

    @portable
    def sign(z):
        v = (z + none).real
        return complex(one if v > zero else (-one if v < zero else v), zero)

    @portable
    def whole(z):
        return int((z + none).real)

    @portable
    def rounded(z):
        return complex(real(round((z + none).real)), zero)

    @portable
    def least(a, b):
        return b + none if (b + none).real < (a + none).real else a + none

    @portable
    def most(a, b):
        return b + none if (b + none).real > (a + none).real else a + none

    @portable
    def least_of(several):
        y = several[0] + none
        for z in several:
            y = least(y, z)
        return y

    @portable
    def most_of(several):
        y = several[0] + none
        for z in several:
            y = most(y, z)
        return y

    found |= {"value": value, "truth": truth, "mul": mul, "div": div, "pow": power, "mod": mod, "floordiv": floordiv}
    found |= {"fabs": fabs, "sign": sign, "int": whole, "round": rounded, "min": least, "max": most}
    return found | {"min_of": least_of, "max_of": most_of, "real": new}


def _called(name: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(f"_dual_{name}", ast.Load()), list(arguments), [])


class _Duals(TypedNumbers):
    """Operations become those of `functions`. `modules` are the names that stand for math and numpy."""

    def __init__(self, fn: Callable[..., Any], modules: Sequence[str]) -> None:
        self.fn, self.modules = fn, modules

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        name = OPERATORS.get(type(node.op))
        kept = isinstance(node.left, (ast.Tuple, ast.List)) or isinstance(node.right, (ast.Tuple, ast.List))
        if name is None or kept:
            return super().visit_BinOp(node)
        return ast.copy_location(_called(name, self.visit(node.left), self.visit(node.right)), node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        target = ast.parse(ast.unparse(node.target), mode="eval").body
        value = self.visit(ast.BinOp(ast.copy_location(target, node), node.op, node.value))
        return ast.copy_location(ast.Assign([node.target], value), node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if not any(isinstance(op, (ast.Is, ast.IsNot, ast.In, ast.NotIn)) for op in node.ops):
            node.left, *node.comparators = (_called("value", part) for part in (node.left, *node.comparators))
        return node

    def _test(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.BoolOp):
            node.values = [self._test(part) for part in node.values]
            return node
        if isinstance(node, (ast.Compare, ast.UnaryOp)) and not isinstance(getattr(node, "op", None), ast.USub):
            return self.visit(node)
        return _called("truth", self.visit(node))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if isinstance(node.op, ast.Not):
            node.operand = self._test(node.operand)
            return node
        return self.generic_visit(node)

    def _branch(self, node: Any) -> ast.AST:
        node.test = self._test(node.test)
        for name, part in ast.iter_fields(node):
            if name != "test" and isinstance(part, list):
                setattr(node, name, [self.visit(statement) for statement in part])
            elif name != "test" and isinstance(part, ast.AST):
                setattr(node, name, self.visit(part))
        return node

    visit_If = visit_IfExp = visit_While = visit_Assert = _branch

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        known = functions("float64")
        if not (isinstance(node.value, ast.Name) and node.value.id in self.modules):
            return self.generic_visit(node)
        name = NUMPY.get(node.attr, node.attr)
        if name in known:
            return ast.copy_location(ast.Name(f"_dual_{name}", ast.Load()), node)
        if isinstance(getattr(math, node.attr, None), float):
            return ast.copy_location(_called("real", node), node)
        if hasattr(math, node.attr):
            raise InputError(f"{self.fn.__name__} calls math.{node.attr}, whose derivative is not known")
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name):
            if node.func.id in ("min", "max"):
                return self.generic_visit(self._extreme(node.func.id, node.args))
            if node.func.id in BUILTINS:
                node.func.id = f"_dual_{BUILTINS[node.func.id]}"
        return super().visit_Call(node)

    def _extreme(self, name: str, values: Sequence[ast.expr]) -> ast.expr:
        first, *others = values
        found = first if others else _called(f"{name}_of", first)
        for other in others:
            found = _called(name, found, other)
        return found


@cache
def dual(fn: Callable[..., Any], dtype: str) -> Callable[..., Any]:
    """A copy of a portable function on complex numbers, value + derivative i, of the precision of `dtype`.

    Raises:
        InputError: it calls a function of math whose derivative is not known.
    """
    known = functions(dtype)
    modules = [name for name, value in reads(fn) if value is math or value is np]

    def replaced(value: Any) -> Any:
        if getattr(value, "__portable__", False):
            return dual(value, dtype)
        if type(value) is float:
            return known["real"](value)
        if getattr(value, "__module__", None) == "math" or isinstance(value, np.ufunc):  # from math import exp
            name = NUMPY.get(value.__name__, value.__name__)
            if name not in known:
                raise InputError(f"{fn.__name__} calls {value.__name__}, whose derivative is not known")
            return known[name]
        return value

    visitor = _Duals(fn, modules)
    names = {"_real": known["real"], **{f"_dual_{name}": function for name, function in known.items()}}
    return portable(rewritten(fn, lambda body: [visitor.visit(s) for s in body], replaced, names))
