"""Identity: 32 hex digits of everything that says what a run is, the code and its machine apart.

The same for a run that will be computed (a `Chunk`) and one that was (`Results`). What looks on (instruments) does not
count, nor does how often the loss is recorded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from adamx.engine.launch import Launch
from adamx.engine.results import Results
from adamx.engine.simulate import chunks
from adamx.problems import Problem
from adamx.regimes import Criteria


def of_launch(launch: Launch, problem: Problem) -> list[str]:
    """(runs,) of a launch that has not been computed."""
    found: list[str] = []
    for chunk in chunks(problem=problem, **launch.arguments):
        columns = {**chunk.hyper, **chunk.schedule[1], "seed": chunk.seeds}
        names = (chunk.rule.name, chunk.schedule[0], problem.name, chunk.precision)
        found += _marks(names, problem.criteria, problem.settings, chunk.steps, columns)
    return found


def of_results(r: Results) -> list[str]:
    """(runs,) of runs that were computed."""
    names = (r.optimizer, r.schedule, r.problem, r.dtype)
    return _marks(names, r.criteria, r.settings, int(r.steps[-1]), r.columns)


def _marks(
    names: Sequence[str], criteria: Criteria, settings: Mapping[str, Any], steps: int, columns: Mapping[str, np.ndarray]
) -> list[str]:
    said = {key: _plain(value) for key, value in settings.items()}
    same = json.dumps([*names, *criteria, steps, sorted(columns)]) + json.dumps(said, sort_keys=True)
    return digests(same, np.column_stack([columns[name].astype(np.float64) for name in sorted(columns)]))


def digests(same: str, rows: np.ndarray) -> list[str]:
    """32 hex digits of each row of numbers, to the last bit, together with words that are the same for all."""
    start, found = blake2b(same.encode(), digest_size=16), []
    for row in np.ascontiguousarray(rows):
        mark = start.copy()
        mark.update(row)
        found.append(mark.hexdigest())
    return found


def _plain(value: Any) -> Any:
    """A setting however it was typed: 1 and 1.0, a tuple and a list are the same."""
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Sequence):
        return [_plain(each) for each in value]
    return float(value)
