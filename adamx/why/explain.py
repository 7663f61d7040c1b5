"""Explain: a recorded run again, with one of its knobs changed at a time.

The run is computed again with one knob changed and all else, the seed too, as it was: every hyperparameter of its rule
up and down, a warm-up, the other precisions, and the rules that share its hyperparameters (AMSGrad for Adam). What
differs in numbers alone is one launch. A change saves a run that it makes converge, and that converges at 2 and 4 times
the steps too. Of a run that did converge, and does at 2 and 4 times its steps, the same changes say how far each knob
may be turned before it does not. What theory names as a bound is among the values tried.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console

from adamx import replay
from adamx.analysis import theory
from adamx.inputs.errors import InputError, unknown
from adamx.record.readback import Recorded
from adamx.why import knobs
from adamx.why.cause import Cause


def explain(found: Recorded, only: Sequence[str], console: Console, trust: bool = False) -> Cause:
    """Run a recorded run again with each of its knobs changed.

    Args:
        only: the knobs to change; all of them where it is empty.
        trust: whether files that the record carries may run, though nobody has run them here.
    Raises:
        InputError: a sweep instead of a run, or a knob that the run does not have.
    """
    if len(found.rows) > 1:
        every = np.concatenate([r.regime for r in found.results])
        example = f"{found.run.info.run_id}:{np.argmax(every != 'converged')}"
        raise InputError(f"that is a sweep of {len(every):,} runs: one of them is needed, such as {example}")
    (launch,), (old,) = found.launches(trust), found.results
    of_run = (old.optimizer, old.problem, old.settings, {name: float(v[0]) for name, v in old.columns.items()})
    known = old.schedule == "constant" and not of_run[-1].get("lr_warmup") and not old.files
    changes = list(knobs.changes(launch, old.dtype, theory.bounds(*of_run) if known else {}))
    allowed = dict.fromkeys(change.knob for change in changes)
    for name in only:
        if name not in allowed:
            raise unknown("knob", name, allowed)
    changes = [change for change in changes if change.knob in (only or allowed)]
    run, regimes, tries = knobs.tried(launch, changes, lambda launches: replay.run(launches, console))
    return Cause(run, theory.prediction(*of_run) if known else None, tries, regimes)
