"""Code whose figures may differ in the last place between machines: it calls libm, of which each has its own."""

import dis
import math

from adamx.optimizers import rule
from adamx.portable.content import closed_over, reads
from adamx.problems import problem

EXACT = {"sqrt", "fabs", "copysign", "floor", "ceil", "trunc", "fmod", "isnan", "isinf", "isfinite", "inf", "nan", "pi"}


def calls_libm(function, seen=()):
    """True where a portable function, or one that it calls, has a power that is no whole number, a sine or the like."""
    before = None
    for step in dis.get_instructions(function):
        whole = before is not None and before.opname == "LOAD_CONST" and isinstance(before.argval, int)
        if step.opname == "BINARY_OP" and step.argrepr.startswith("**") and not whole:
            return True
        before = step
    names = set(function.__code__.co_names)
    if "math" in names and any(hasattr(math, name) and name not in EXACT for name in names - {"math"}):
        return True
    called = [value for _, value in (*reads(function), *closed_over(function)) if getattr(value, "__portable__", False)]
    return any(calls_libm(other, (*seen, function)) for other in called if other not in (*seen, function))


def of_rule(name):
    r = rule(name)
    return any(calls_libm(f) for f in (r.per_step, r.update, r.pool, r.preconditioner) if f)


def of_landscape(name):
    return calls_libm(problem(name).function)
