"""Link: the address at which a person can open a file of a run's record."""

from __future__ import annotations

from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import get_local_path_or_none

from adamx.record.store import Store


def link(store: Store, run: Run, name: str) -> str | None:
    """file:// of an artifact on this machine, else its page at the tracking server; None where the run has none."""
    local = get_local_path_or_none(run.info.artifact_uri)
    if local is not None:
        path = Path(local, name).resolve()
        return path.as_uri() if path.is_file() else None
    try:
        there = {item.path for item in store.client.list_artifacts(run.info.run_id)}
    except (MlflowException, OSError):
        return None
    if name not in there or not store.uri.startswith("http"):
        return None
    return f"{store.uri.rstrip('/')}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{name}"
