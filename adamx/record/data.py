"""Data: the data sets of problems as MLflow shows them, among the inputs of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.data.numpy_dataset import from_numpy
from mlflow.entities import Dataset, DatasetInput, InputTag

from adamx.portable.content import identity
from adamx.problems import Landscape, Problem, Task

DIGEST = 36  # characters that MLflow takes
CONTEXT = "mlflow.data.context"  # the tag that MLflow shows beside a data set


def inputs(problems: Iterable[Problem]) -> list[DatasetInput]:
    """The data of some problems, each once, under the digest of its rows; landscapes have none."""
    found = {}
    for p in problems:
        if not isinstance(p, Landscape):
            held = p.val_x.shape[0] and (p.val_x, p.val_y) if isinstance(p, Task) else None
            rows = (p.x, p.y) if isinstance(p, Task) else tuple(map(np.asarray, p.rows))
            for context, arrays in (("training", rows), ("validation", held)):
                if arrays:
                    made = _dataset(p, arrays)
                    found[made.name, made.digest] = DatasetInput(made, [InputTag(CONTEXT, context)])
    return list(found.values())


def _dataset(p: Problem, arrays: tuple[np.ndarray, ...]) -> Dataset:
    path = str(p.settings.get("path", ""))
    name, digest = Path(path).stem or Path(p.name).stem, identity(*arrays)[:DIGEST]
    targets: dict[str, Any] = {"targets": arrays[1]} if len(arrays) > 1 else {}
    said = json.loads(from_numpy(arrays[0], name=name, digest=digest, **targets).to_json())
    if path:
        said |= {"source_type": "local", "source": json.dumps({"uri": path})}
    return Dataset(**said)
