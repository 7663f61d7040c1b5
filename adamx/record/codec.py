"""Codec: Results as bytes and back, to the bit: what is the same for all runs as JSON, the runs as columns.

same, again             what is the same for all runs, for JSON and from it
encode, decode          all of a chunk: a Parquet file with a row a run, whose curves are lists
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adamx.engine.results import Results
from adamx.regimes import Criteria

GROUPS = ("columns", "figures", "curves")  # arrays by name
OF_RUNS = ("steps", "loss", "x", *GROUPS)
KEY = b"adamx"  # of a Parquet file's metadata


def same(r: Results) -> dict[str, Any]:
    """The fields that all runs share, without the steps, for `said`."""
    return {f.name: getattr(r, f.name) for f in fields(r) if f.name not in OF_RUNS}


def said(content: Any) -> str:
    """JSON of it; arrays are lists, and what JSON does not know is text."""
    return json.dumps(content, default=lambda value: value.tolist() if hasattr(value, "tolist") else str(value))


def again(same: Mapping[str, Any], **of_runs: Any) -> Results:
    """Results of what was said and of the arrays `OF_RUNS`."""
    return Results(**{**same, "criteria": Criteria(*same["criteria"])}, **of_runs)


def encode(r: Results) -> bytes:
    """The content of a file."""

    def lists(curve: np.ndarray) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(curve.T).ravel()), len(curve))

    cells = {f"columns.{k}": pa.array(v) for k, v in r.columns.items()}
    cells |= {f"figures.{k}": pa.array(v) for k, v in r.figures.items()}
    cells |= {f"curves.{k}": lists(v) for k, v in r.curves.items()} | {"loss": lists(r.loss), "x": lists(r.x.T)}
    return parquet(pa.table(cells), said({**same(r), "steps": r.steps}))


def decode(content: bytes) -> Results:
    """The Results that a file was made of.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    table = pq.read_table(io.BytesIO(content))
    kept = json.loads(table.schema.metadata[KEY])
    groups: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in GROUPS}
    for name in table.column_names:
        kind, _, key = name.partition(".")
        column = table[name].combine_chunks()
        if key:
            groups[kind][key] = _matrix(column).T if kind == "curves" else column.to_numpy()
    loss, x = (_matrix(table[name].combine_chunks()) for name in ("loss", "x"))
    return again(kept, steps=np.array(kept.pop("steps")), loss=loss.T, x=x, **groups)


def parquet(table: pa.Table, metadata: str = "") -> bytes:
    """The content of a file, with words under `KEY` where there are any."""
    buffer = io.BytesIO()
    if metadata:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: metadata})
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _matrix(column: Any) -> np.ndarray:
    """(runs, items) of a column of lists of equal length."""
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
