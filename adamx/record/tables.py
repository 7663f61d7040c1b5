"""Tables: table.parquet and curves.parquet, all runs of a sweep as its parent run keeps them.

table.parquet    a row a run: `run` (0, 1, ...), `run_id` of its child (null where it has none), optimizer,
                 schedule, problem, dtype, backend, `optimizer_digest` and `problem_digest` (their content: code
                 and data), the problem's settings, hyperparameters, seed, `curve_digest`,
                 `point` (see `adamx.record.identity`),
                 figures as the kernel kept them (`figure.*`) and as a person reads them, regime
curves.parquet   a row a run and record, ordered so: `run` (the row of the table), `step`, `loss`, further curves;
                 NaN and infinities as they came. One run: pd.read_parquet(path, filters=[("run", "==", 7)])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from adamx.engine.results import Results
from adamx.record import codec, identity
from adamx.record.children import digests, text


def table(settings: pd.DataFrame, figures: pd.DataFrame, results: Sequence[Results]) -> bytes:
    """table.parquet, from its halves; its metadata has what the rows leave out, for `adamx.record.readback`."""
    rows = pa.Table.from_pandas(pd.concat([settings, figures], axis=1), preserve_index=False)
    return codec.parquet(rows, codec.said([_launch(r) for r in results]))


def halves(results: Sequence[Results], run_ids: Sequence[np.ndarray]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two halves of the table: what each run was, and what it did."""
    was, did = [], []
    for r, ids in zip(results, run_ids, strict=True):
        known = {k: v if isinstance(v, (bool, int, float)) else text(v) for k, v in r.settings.items()}
        contents = {f"{kind}_digest": content for kind, content in r.digests.items()}
        was.append(pd.DataFrame({"run_id": ids, **r.names, **contents, **known, **r.columns}))
        kept = {f"figure.{k}": v for k, v in r.figures.items() if k not in r.table}
        figures = r.table.drop(columns=list(r.columns)).astype({"regime": str})
        did.append(pd.DataFrame({"curve_digest": digests(r), "point": identity.of_results(r), **kept}).join(figures))
    settings = pd.concat(was, ignore_index=True)
    for name in settings.columns.drop("run_id"):
        if pd.api.types.is_object_dtype(settings[name]):  # a number here, a word there
            settings[name] = settings[name].map(text, na_action="ignore")
    settings.insert(0, "run", np.arange(len(settings), dtype=np.int32))
    return settings, pd.concat(did, ignore_index=True)


def _launch(r: Results) -> dict[str, Any]:
    """The parts of Results that are not in the rows."""
    shape = {"runs": len(r), "records": len(r.steps), "dtype": r.loss.dtype.name}
    names = {"columns": list(r.columns), "figures": list(r.figures), "curves": list(r.curves)}
    return {**shape, **names, "same": codec.same(r)}


def curves(results: Sequence[Results]) -> bytes:
    """curves.parquet: a row a run and record."""
    parts, first = [], 0
    for r in results:
        runs = np.arange(first, first + len(r), dtype=np.int32)
        columns = {"run": np.repeat(runs, len(r.steps)), "step": np.tile(np.asarray(r.steps, np.int64), len(r))}
        columns |= {name: curve.T.ravel() for name, curve in {"loss": r.loss, **r.curves}.items()}
        parts.append(pa.table(columns))
        first += len(r)
    return codec.parquet(pa.concat_tables(parts, promote_options="permissive"))
