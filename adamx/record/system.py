"""System: the load of the machine as metrics of a run, where MLflow is asked for it.

`MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=true` or `mlflow.enable_system_metrics_logging()` asks, as for any run of MLflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from adamx.record.store import Store


@contextmanager
def system_metrics(store: Store, run_id: str) -> Iterator[None]:
    """Log system/cpu_utilization_percentage and the like every ten seconds, as long as what is within runs."""
    if not MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get():
        yield
        return
    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=store.uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
