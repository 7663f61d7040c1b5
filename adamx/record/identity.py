"""Identity: 32 hex digits of everything that says what a run is, the machine and the compiler apart.

The same for a run that will be computed (a `Chunk`) and one that was (`Results`). The rule, the problem, the schedule
and the regimes count by their content, code and data, and not by their names. What looks on (instruments) does not
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
from adamx.portable.content import digest
from adamx.regimes import Criteria, begin, classify, track, track_tail
from adamx.schedules import SCHEDULES


def of_launch(launch: Launch) -> list[str]:
    """(runs,) of a launch that has not been computed."""
    found: list[str] = []
    code = code_of(launch.schedule)
    for chunk in launch.chunks():
        columns = {**chunk.hyper, **chunk.schedule[1], "seed": chunk.seeds}
        names = (chunk.rule.digest, code, launch.problem.digest, chunk.precision)
        found += _marks(names, launch.problem.criteria, launch.problem.settings, chunk.steps, columns)
    return found


def of_results(r: Results) -> list[str]:
    """(runs,) of runs that were computed."""
    contents = (r.digests.get("optimizer", r.optimizer), code_of(r.schedule), r.digests.get("problem", r.problem))
    names = (*contents, r.dtype)
    return _marks(names, r.criteria, r.settings, int(r.steps[-1]), r.columns)


def code_of(schedule: str) -> str:
    """The content of what a run shares with others: the schedule of lr, and how its figures and regime are found."""
    return digest(schedule, SCHEDULES[schedule], begin, track, track_tail, classify)


def _marks(
    names: Sequence[str], criteria: Criteria, settings: Mapping[str, Any], steps: int, columns: Mapping[str, np.ndarray]
) -> list[str]:
    said = {key: _plain(value) for key, value in settings.items() if key != "path"}  # data count by their content
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
