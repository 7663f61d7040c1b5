"""The engine: columns of hyperparameters in, Results out, a chunk of runs at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from adamx import instruments as shows
from adamx import optimizers, problems
from adamx.engine import backends
from adamx.engine.chunk import Chunk
from adamx.engine.pipeline import in_order
from adamx.engine.results import Results, concatenate
from adamx.inputs.errors import InputError, unknown, whole
from adamx.inputs.files import is_user
from adamx.portable.precision import FORMATS, ROUNDINGS, Storage
from adamx.problems import Problem
from adamx.schedules import SCHEDULES, Schedule

DTYPES = ("float32", "float64", *FORMATS)
MAX_SEED = 2**32


def columns(
    optimizer: str | optimizers.Rule, hyper: Mapping[str, Any], seed: Any = 0
) -> tuple[optimizers.Rule, dict[str, np.ndarray], np.ndarray]:
    """The rule, a column for each of its hyperparameters and the seeds, all of one length.

    `hyper` may have the axis "seed" among the hyperparameters.
    """
    rule = optimizers.rule(optimizer)
    hyper = dict(hyper)
    seeds = check_seeds(hyper.pop("seed", seed))
    checked = optimizers.check(rule, hyper)
    runs = max(len(seeds), len(checked["lr"]))
    if {len(seeds), len(checked["lr"])} - {1, runs}:
        raise InputError(f"{len(seeds)} seeds for {len(checked['lr'])} runs: one for all or one each is needed")
    checked = {name: np.ascontiguousarray(np.broadcast_to(values, runs)) for name, values in checked.items()}
    return rule, checked, np.ascontiguousarray(np.broadcast_to(seeds, runs))


def check_seeds(typed: Any) -> np.ndarray:
    """(seeds,) int64, or an InputError that says what is needed."""
    seeds = np.atleast_1d(np.asarray(typed))
    if seeds.dtype.kind not in "iuf" or seeds.ndim != 1 or not seeds.size:
        raise InputError(f"seed is {typed!r}: a whole number, or one for each run, is needed")
    bad = ~((seeds >= 0) & (seeds < MAX_SEED) & (seeds == np.floor(seeds)))
    if bad.any():
        raise InputError(f"seed is {seeds[bad][0]}: whole numbers from 0 to 2^32 - 1 are needed")
    return seeds.astype(np.int64)


def check_shape(steps: object, record_every: object, dtype: str, backend: str, schedule: str) -> tuple[int, int]:
    """The whole numbers steps and record_every.

    Raises:
        InputError: one of steps, record_every, dtype, backend and schedule cannot be used.
    """
    number, every = whole("steps", steps, 1), whole("record_every", record_every, 1)
    if number >= 2**31:
        raise InputError(f"steps is {steps}: less than 2^31 is needed")
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    backends.backend(backend)
    if schedule not in tuple(SCHEDULES):  # the user may have typed a list, which cannot be a key
        raise unknown("schedule", schedule, SCHEDULES)
    return number, every


def precision(dtype: str, storage: Mapping[str, str | None] | None = None) -> tuple[str, Storage]:
    """The type of the arithmetic, and the formats that numbers are kept in.

    Args:
        dtype: one of `DTYPES`; a 16-bit format keeps all numbers so, in float32 arithmetic.
        storage: fields of `precision.Storage` that differ from that; None or "null" leaves a field as it is.
    """
    if storage is not None and not isinstance(storage, Mapping):
        raise InputError(f"storage is {storage!r}: fields are needed, such as storage.state=bfloat16")
    given = {key: value for key, value in (storage or {}).items() if value is not None}
    for key, value in given.items():
        if key not in Storage._fields:
            raise unknown("storage", key, Storage._fields)
        allowed = ROUNDINGS if key == "rounding" else (*FORMATS, "float32")
        if value not in allowed:
            raise unknown(f"storage.{key}", value, allowed)
    base = dtype if dtype in FORMATS else "float32"
    formats = (given.get(key, base) for key in ("params", "state", "constants"))
    params, state, constants = (None if kept == "float32" else kept for kept in formats)
    kept = Storage(params, state, constants, given.get("rounding", "nearest"))
    if dtype == "float64" and any(kept[:3]):
        raise InputError("storage in 16 bits needs dtype=float32, the arithmetic that it is emulated in")
    return ("float32" if dtype in FORMATS else dtype), kept


def chunks(
    optimizer: str | optimizers.Rule,
    problem: Problem,
    hyper: Mapping[str, Any],
    steps: int,
    record_every: int = 1,
    seed: Any = 0,
    dtype: str = "float64",
    backend: str = "cpu",
    schedule: str = "constant",
    storage: Mapping[str, str | None] | None = None,
    x0: np.ndarray | None = None,
    instruments: Sequence[str] = (),
    engine: str = backends.AUTO,
) -> Iterator[Chunk]:
    """The chunks for the backend, in order; each takes about a second where that keeps all threads busy.

    The arguments are those of `stream`.
    """
    steps, record_every = check_shape(steps, record_every, dtype, backend, schedule)
    rule, checked, seeds = columns(optimizer, hyper, seed)
    shown = shows.check(instruments, rule, problem)
    backends.check_engine(engine, problem)
    arithmetic, kept = precision(dtype, storage)
    if x0 is not None:
        x0 = np.broadcast_to(np.asarray(x0, dtype=np.float64), (len(seeds), problem.dim))
    scheduled = {name: checked.pop(name) for name in Schedule._fields}
    if schedule == "constant" and not scheduled["lr_warmup"].any():
        scheduled = {}
    whole = Chunk(
        rule, checked, (schedule, scheduled), seeds, steps, record_every, arithmetic, kept, shown, x0, engine=engine
    )
    size = backends.for_problem(backend, problem).chunk_runs(problem, whole)
    for first in range(0, len(whole), size):
        yield whole.part(slice(first, first + size))


def compiled(problem: Problem, chunk: Chunk, backend: str) -> bool:
    """True if the compiled kernel for a chunk is on the disk; compiling it takes 3 to 15 seconds, once."""
    return backends.for_problem(backend, problem).compiled(problem, chunk)


def stream(
    optimizer: str | optimizers.Rule,
    problem: Problem,
    hyper: Mapping[str, Any],
    steps: int,
    tick: Callable[[int], None] | None = None,
    **options: Any,
) -> Iterator[Results]:
    """Finished chunks of runs, in order; a run's numbers do not depend on the chunk it is in.

    Args:
        tick: told several times a second how many updates (runs x steps) are done in chunks that are not finished.
        options: as for `simulate`.
    """
    device = backends.for_problem(options.get("backend", "cpu"), problem)
    given = chunks(optimizer, problem, hyper, steps, **options)
    try:
        yield from in_order(partial(_halved, device, problem), given, device.at_once(), tick)
    except NumbaError as error:
        raise _uncompiled(optimizer, problem, error) from error


def _halved(device: Any, problem: Problem, chunk: Chunk) -> Iterator[Results]:
    """The Results of a chunk, in parts where memory is short."""
    try:
        results = device.run(problem, chunk)
    except MemoryError:
        half = len(chunk) // 2
        if not half:
            raise InputError(f"one run of {chunk.steps:,} steps does not fit the memory: raise record_every") from None
        for runs in (slice(0, half), slice(half, None)):
            yield from _halved(device, problem, chunk.part(runs))
    else:
        yield results


def _uncompiled(optimizer: str | optimizers.Rule, problem: Problem, error: NumbaError) -> Exception:
    """The error for a user's file that is good Python and no kernel; for what is shipped, the compiler's own."""
    function = getattr(problem, "function", None)
    rule = optimizers.rule(optimizer)
    yours = [name for name, f in ((rule.name, rule.update), (problem.name, function)) if is_user(f)]
    if not yours:
        return error
    innermost = str(error).rpartition("Failed in")[2].splitlines()[1:]  # Numba lists every call on the way to the error
    words = next((line.strip() for line in innermost if line.strip()), type(error).__name__)
    where = next((line.strip(" :") for line in innermost if line.strip().startswith("File ")), "")
    return InputError(f"{' or '.join(yours)} cannot be compiled, only numbers, tuples and math can: {words} {where}")


def simulate(
    optimizer: str | optimizers.Rule,
    problem: str | Problem,
    hyper: Mapping[str, Any],
    steps: int,
    record_every: int = 1,
    seed: Any = 0,
    dtype: str = "float64",
    backend: str = "cpu",
    problem_args: Mapping[str, Any] | None = None,
    x0: Any = None,
    schedule: str = "constant",
    storage: Mapping[str, str | None] | None = None,
    instruments: str | Sequence[str] = (),
    regimes: Mapping[str, float | None] | None = None,
    engine: str = backends.AUTO,
) -> Results:
    """Run an optimizer on a problem once for every row of `hyper`, all in one kernel.

    Args:
        optimizer: a name in `adamx.optimizers`, the path of a file with a rule, or a rule made before.
        problem: a name in `adamx.problems`, the path of a file with a landscape, or a problem made before.
        hyper: hyperparameter names to scalars or equal-length arrays, a run each; `adamx.grid` makes products.
            What is not named has the rule's default. "seed" may be among the names, and "lr_warmup" and "lr_end".
        steps: updates of every run.
        record_every: the loss is recorded at step 0, every so many steps and at the end.
        seed: one whole number or one a run: minibatches, noise and initial weights. Runs of one seed share them.
        dtype: "float64" or "float32", the type of all arithmetic; or "bfloat16" or "float16": float32 arithmetic on
            parameters, state and constants that are kept in 16 bits.
        backend: where it runs: "cpu", "cuda", or "auto", which is cuda where a GPU works.
        problem_args: settings of the problem.
        x0: (coordinates,) or (runs, coordinates) starting points in place of the problem's own.
        schedule: of lr: one of `schedules.SCHEDULES`.
        storage: formats that differ from dtype, as in {"state": "bfloat16", "rounding": "stochastic"}; the fields are
            those of `precision.Storage`.
        instruments: what to show besides the loss: names in `adamx.instruments`, such as "grad_norm" or "sharpness".
            Their curves are in `Results.curves`.
        regimes: thresholds of `regimes.Criteria` in place of the problem's own (of a problem that is named).
        engine: how a model of torch or jax is computed: "stacked" in this process, by "processes", or "auto", which
            measures both where it is worth it. The results are the same.

    Returns:
        Results; a run that diverges is a result like any other.

    Raises:
        InputError: (a ValueError) an unknown name or a value out of range, before anything is computed.

    Example:
        >>> import adamx
        >>> sweep = adamx.simulate("adam", "rosenbrock", adamx.grid(lr=[0.001, 0.01], eps=[1e-8, 1e-2]), steps=1000)
        >>> sweep.loss.shape
        (1001, 4)
    """
    if isinstance(problem, str):
        problem = problems.problem(problem, problem_args, regimes)
    options = {"record_every": record_every, "seed": seed, "dtype": dtype, "backend": backend, "schedule": schedule}
    own = {"storage": storage, "x0": x0, "instruments": instruments, "engine": engine}
    return concatenate(stream(optimizer, problem, hyper, steps, **options, **own))
