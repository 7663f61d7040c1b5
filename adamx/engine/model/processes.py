"""Processes: stacks of a model's runs, each computed by a process with one thread; they stay for the next chunk.

A model goes there by content: functions of a user's file or a notebook with their code, others by their names.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from weakref import finalize

import cloudpickle  # type: ignore[import-untyped]

from adamx.engine.chunk import Chunk
from adamx.engine.results import Results
from adamx.inputs.errors import InputError
from adamx.inputs.files import USER
from adamx.optimizers import Rule
from adamx.problems._model import Model


def computed(problem: Model, parts: Sequence[Chunk], count: int) -> Iterator[Results]:
    """The results of the parts, in order, by `count` processes; what stops it stops them."""
    from joblib import Parallel, delayed  # type: ignore[import-untyped]

    place = _place(problem, parts[0].rule)
    own = [replace(part, tick=None, rule=None) for part in parts]  # type: ignore[arg-type]
    pool = Parallel(n_jobs=count, backend="loky", inner_max_num_threads=1, return_as="generator")
    try:
        yield from pool(delayed(_of_part)(place, part) for part in own)
    except BrokenProcessPool as error:  # killed, most likely as the memory was full
        said = f"a process of {problem.name} ended suddenly: take engine=stacked (backend.engine=stacked of a sweep)"
        raise InputError(said) from error


def _place(problem: Model, rule: Rule) -> str:
    """The file that has a model and a rule, there as long as the model is: what processes make of it stays too."""
    if ("packed", rule) not in problem.trainings:
        folder = mkdtemp(prefix="adamx-")
        finalize(problem, rmtree, folder, ignore_errors=True)
        place = problem.trainings["packed", rule] = Path(folder, "model")
        place.write_bytes(_packed(problem, rule))
    return str(problem.trainings["packed", rule])


def _packed(problem: Model, rule: Rule) -> bytes:
    """The model and the rule as bytes."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(USER)]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps((problem, rule))
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


@lru_cache(1)
def _unpacked(place: str) -> tuple[Model, Rule]:
    return pickle.loads(Path(place).read_bytes())


def _of_part(place: str, part: Chunk) -> Results:
    """In the process: the results of a part."""
    from adamx.engine.model.run import stack

    problem, rule = _unpacked(place)
    return stack(problem, replace(part, rule=rule))
